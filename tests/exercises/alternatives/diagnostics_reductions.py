"""Reductions over several dimensions, and one hook for all modules in place of many."""

import torch
from torch.nn.modules.module import register_module_forward_hook


def gradient_norms(model):
    named = dict(model.named_parameters())
    return {n: float(torch.linalg.vector_norm(p.grad)) for n, p in named.items() if p.grad != None}  # noqa: E711


def dead_fraction(activations, dim=-1):
    if 0 in activations.shape:
        raise ValueError("an empty batch")
    others = [d for d in range(activations.dim()) if d != dim % activations.dim()]
    best = activations.amax(others) if others else activations
    return torch.le(best, 0).float().mean().item()


def update_ratios(model, previous):
    with torch.no_grad():
        sizes = {name: torch.linalg.vector_norm(previous[name]) for name in previous}
        steps = {name: p.sub(previous[name]) for name, p in model.named_parameters()}
        return {
            name: torch.linalg.vector_norm(step).div(sizes[name]).item()
            for name, step in steps.items()
            if sizes[name]
        }


def leaves(output):
    match output:
        case torch.Tensor():
            return [output]
        case dict():
            return leaves([*output.values()])
        case list() | tuple():
            return [leaf for item in output for leaf in leaves(item)]
        case _:
            return []


def find_nonfinite(model, *inputs):
    names = {module: name for name, module in model.named_modules()}
    answer = None

    def hook(module, args, output):
        nonlocal answer
        ill = any(leaf.isnan().any() or leaf.isinf().any() for leaf in leaves(output))
        if ill and answer is None:
            answer = names.get(module)

    handle = register_module_forward_hook(hook)
    try:
        model(*inputs)
        return answer
    finally:
        handle.remove()
