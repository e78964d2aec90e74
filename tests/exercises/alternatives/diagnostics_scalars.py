"""Lists of Python numbers; forward methods are wrapped instead of hooked."""

import math

import torch


def length(tensor):
    return math.sqrt(sum(number * number for number in tensor.flatten().tolist()))


def gradient_norms(model):
    norms = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        norms[name] = length(parameter.grad)
    return norms


def dead_fraction(activations, dim=-1):
    if activations.nelement() == 0:
        raise ValueError("nothing to look at")
    units = activations.shape[dim]
    dead = 0
    for unit in range(units):
        answers = activations.select(dim, unit).flatten().tolist()
        dead += max(answers) <= 0
    return dead / units


def update_ratios(model, previous):
    ratios = {}
    for name, parameter in model.named_parameters():
        before = previous[name].flatten().tolist()
        after = parameter.flatten().tolist()
        if any(before):
            moved = math.dist(after, before)
            ratios[name] = moved / math.hypot(*before)
    return ratios


def bad(output):
    if isinstance(output, torch.Tensor):
        return not all(map(math.isfinite, output.flatten().tolist()))
    if isinstance(output, dict):
        return any(bad(item) for item in output.values())
    return isinstance(output, list | tuple) and any(bad(item) for item in output)


def find_nonfinite(model, *inputs):
    damaged = []

    def wrapped(name, forward):
        def call(*args, **kwargs):
            output = forward(*args, **kwargs)
            if bad(output):
                damaged.append(name)
            return output

        return call

    modules = list(model.named_modules())
    for name, module in modules:
        module.forward = wrapped(name, module.forward)
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for _, module in modules:
            del module.forward
    return next(iter(damaged), None)
