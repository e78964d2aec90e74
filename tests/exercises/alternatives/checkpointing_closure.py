"""A new Function for every call: its methods see the call's arguments in their closure."""

from functools import reduce
from itertools import islice

import torch


def checkpoint(function, *args, preserve_rng_state=True):
    wanted = [place for place, arg in enumerate(args) if getattr(arg, "requires_grad", False)]
    before = torch.random.get_rng_state()
    mixed = torch.is_autocast_enabled("cpu")

    class Again(torch.autograd.Function):
        @staticmethod
        def forward(*_):
            return function(*args)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx, *grads):
            inner = list(args)
            for place in wanted:
                inner[place] = args[place].detach().clone().requires_grad_()
            with torch.random.fork_rng(devices=[], enabled=preserve_rng_state):
                if preserve_rng_state:
                    torch.random.set_rng_state(before)
                with torch.set_grad_enabled(True), torch.autocast("cpu", enabled=mixed):
                    outputs = function(*inner)
                    outputs = [outputs] if torch.is_tensor(outputs) else outputs
                    # One number whose gradient is the one that is wanted.
                    total = sum(
                        (output * grad).sum()
                        for output, grad in zip(outputs, grads)
                        if grad is not None and output.requires_grad
                    )
            total.backward()
            return tuple(inner[place].grad for place in wanted)

    return Again.apply(*(args[place] for place in wanted))


def chained(functions):
    return lambda x: reduce(lambda value, function: function(value), functions, x)


def checkpoint_sequential(functions, segments, input, *, preserve_rng_state=True):
    functions = tuple(functions)
    if not 0 < segments <= len(functions):
        raise ValueError("too few functions, or no segments")
    rest = iter(functions)
    for _ in range(segments - 1):
        part = chained(tuple(islice(rest, len(functions) // segments)))
        input = checkpoint(part, input, preserve_rng_state=preserve_rng_state)
    return chained(rest)(input)


def peak_activations(num_layers, segments):
    if not 0 < segments <= num_layers:
        raise ValueError("too few layers, or no segments")
    lengths = [num_layers // segments for _ in range(segments)]
    lengths[-1] = num_layers - sum(lengths[:-1])
    # What is held during the run of each segment: the inputs of those before it and its own layers.
    held = [number + length for number, length in enumerate(lengths)]
    return max(held)


def optimal_segments(num_layers):
    if num_layers < 1:
        raise ValueError("no layers")
    peaks = {s: peak_activations(num_layers, s) for s in range(num_layers, 0, -1)}
    return min(s for s in peaks if peaks[s] == min(peaks.values()))
