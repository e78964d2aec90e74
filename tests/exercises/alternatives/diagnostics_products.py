"""Inner products (einsum) for every norm; a hook object that counts down from the first find."""

import torch


def square(tensor):
    flat = tensor.detach().reshape(-1)
    return torch.einsum("i,i->", flat, flat)


def gradient_norms(model):
    seen, norms = set(), {}
    for path, module in model.named_modules():
        for own, param in module.named_parameters(recurse=False):
            if id(param) not in seen and param.grad is not None:
                norms[f"{path}.{own}" if path else own] = square(param.grad).sqrt().item()
            seen.add(id(param))
    return norms


def dead_fraction(activations, dim=-1):
    if not activations.numel():
        raise ValueError("no answers, no dead units")
    alive = (
        (activations > 0).transpose(0, dim).flatten(start_dim=1)
        if activations.dim() > 1
        else ((activations > 0)[:, None])
    )
    lively = torch.einsum("ue->u", alive.to(torch.float64)).count_nonzero()
    return 1.0 - lively.item() / activations.size(dim)


def update_ratios(model, previous):
    old = {name: square(tensor) for name, tensor in previous.items()}
    return {
        name: torch.sqrt(square(param.detach() - previous[name]) / old[name]).item()
        for name, param in model.named_parameters()
        if old[name] != 0
    }


class Watcher:
    def __init__(self):
        self.first = None

    def for_module(self, name):
        def hook(module, args, kwargs, output):
            if self.first is None and self.ill(output):
                self.first = name

        return hook

    def ill(self, output):
        stack = [output]
        while stack:
            item = stack.pop()
            if isinstance(item, torch.Tensor):
                # Only a finite number leaves 0 when it is taken from itself.
                if (item - item != 0).any():
                    return True
            elif isinstance(item, (list, tuple)):
                stack.extend(item)
            elif isinstance(item, dict):
                stack.extend(item.values())
        return False


def find_nonfinite(model, *inputs):
    watcher, handles = Watcher(), []
    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_hook(watcher.for_module(name), with_kwargs=True))
        with torch.inference_mode():
            model(*inputs)
    finally:
        while handles:
            handles.pop().remove()
    return watcher.first
