"""Arrays of NumPy; the hooks live in an exit stack."""

from contextlib import ExitStack
from functools import partial

import numpy as np
import torch


def array(tensor):
    return tensor.detach().double().numpy()


def gradient_norms(model):
    pairs = ((name, param.grad) for name, param in model.named_parameters())
    return {name: float(np.linalg.norm(array(grad))) for name, grad in pairs if grad is not None}


def dead_fraction(activations, dim=-1):
    values = array(activations)
    if values.size == 0:
        raise ValueError("no activations")
    flat = np.moveaxis(values, dim, -1).reshape(-1, values.shape[dim])
    answering = np.count_nonzero(flat > 0, axis=0)
    return float(np.mean(answering == 0))


def update_ratios(model, previous):
    result = {}
    for name, param in model.named_parameters():
        new, old = array(param).ravel(), array(previous[name]).ravel()
        if np.any(old):
            result[name] = float(np.sqrt(np.sum((new - old) ** 2) / np.sum(old**2)))
    return result


def tensors_of(output, found):
    if isinstance(output, torch.Tensor):
        found.append(output)
    elif isinstance(output, dict):
        [tensors_of(item, found) for item in output.values()]
    elif isinstance(output, (list, tuple)):
        [tensors_of(item, found) for item in output]
    return found


def watch(name, order, module, args, output):
    if not all(np.isfinite(array(tensor)).all() for tensor in tensors_of(output, [])):
        order.setdefault(name, len(order))


def find_nonfinite(model, *inputs):
    order = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            handle = module.register_forward_hook(partial(watch, name, order))
            stack.callback(handle.remove)
        model(*inputs)
    return min(order, key=order.get) if order else None
