"""Everything an attribute of the context, and copies that require gradients as they should."""

import contextlib

import torch


@contextlib.contextmanager
def as_then(state, settings):
    """Hold the random state and the autocast of another moment while the block runs."""
    now = torch.default_generator.get_state()
    torch.default_generator.set_state(now if state is None else state)
    with torch.autocast(**settings):
        yield
    if state is not None:
        torch.default_generator.set_state(now)


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, keep, *args):
        ctx.function, ctx.args = function, args
        ctx.state = torch.default_generator.get_state() if keep else None
        ctx.settings = {
            "device_type": "cpu",
            "dtype": torch.get_autocast_dtype("cpu"),
            "enabled": torch.is_autocast_enabled("cpu"),
        }
        with torch.no_grad():
            return function(*args)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads):
        copies = []
        for arg in ctx.args:
            if isinstance(arg, torch.Tensor):
                copies.append(arg.clone().detach())
                copies[-1].requires_grad = arg.requires_grad
            else:
                copies.append(arg)
        with as_then(ctx.state, ctx.settings), torch.enable_grad():
            outputs = ctx.function(*copies)
        if isinstance(outputs, torch.Tensor):
            outputs.backward(grads[0])
        else:
            for number, output in enumerate(outputs):
                if getattr(output, "requires_grad", False):
                    output.backward(grads[number], retain_graph=True)
        return (None, None, *(getattr(copy, "grad", None) for copy in copies))


def checkpoint(function, *args, preserve_rng_state=True):
    return Twice.apply(function, preserve_rng_state, *args)


def checkpoint_sequential(functions, segments, input, *, preserve_rng_state=True):
    stack = torch.nn.ModuleList() if isinstance(functions, torch.nn.Module) else []
    stack.extend(functions)
    if segments not in range(1, len(stack) + 1):
        raise ValueError("segments must lie between 1 and the number of functions")
    size, made = len(stack) // segments, 0
    while made < segments - 1:

        def segment(x, first=made * size):
            for function in stack[first : first + size]:
                x = function(x)
            return x

        input = checkpoint(segment, input, preserve_rng_state=preserve_rng_state)
        made += 1
    for function in stack[made * size :]:
        input = function(input)
    return input


def peak_activations(num_layers, segments):
    if segments not in range(1, num_layers + 1):
        raise ValueError("segments must lie between 1 and the number of layers")
    return segments - 1 + num_layers // segments + num_layers % segments


def optimal_segments(num_layers):
    if num_layers <= 0:
        raise ValueError("there must be a layer")
    return sorted(range(1, num_layers + 1), key=lambda s: (peak_activations(num_layers, s), s))[0]
