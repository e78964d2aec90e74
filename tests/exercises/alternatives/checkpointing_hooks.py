"""No node of its own: hooks on the saved tensors compute them again when they are asked for."""

import math

import torch


class Frame:
    """One call: what the first unpacking needs to fill the slots that the packing left empty."""

    def __init__(self, function, args, preserve):
        self.function, self.args = function, args
        self.rng = torch.get_rng_state() if preserve else None
        self.amp = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        self.slots, self.values = 0, None

    def pack(self, tensor):
        self.slots += 1
        return self.slots - 1

    def unpack(self, slot):
        if self.values is None:
            self.values = []
            self.run_again()
        value, self.values[slot] = self.values[slot], None
        return value

    def run_again(self):
        def keep(tensor):
            self.values.append(tensor.detach())
            return len(self.values) - 1

        enabled, dtype = self.amp
        with (
            torch.random.fork_rng(devices=[], enabled=self.rng is not None),
            torch.enable_grad(),
            torch.autocast("cpu", dtype=dtype, enabled=enabled),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda slot: self.values[slot]),
        ):
            if self.rng is not None:
                torch.set_rng_state(self.rng)
            self.function(*self.args)


def checkpoint(function, *args, preserve_rng_state=True):
    frame = Frame(function, args, preserve_rng_state)
    with torch.autograd.graph.saved_tensors_hooks(frame.pack, frame.unpack):
        return function(*args)


def checkpoint_sequential(functions, segments, input, *, preserve_rng_state=True):
    layers = list(functions)
    if segments < 1 or segments > len(layers):
        raise ValueError("there must be as many layers as segments, and one segment at least")
    cuts = [number * (len(layers) // segments) for number in range(segments)] + [len(layers)]

    def between(first, end):
        def run(x):
            for layer in layers[first:end]:
                x = layer(x)
            return x

        return run

    for number in range(segments):
        run = between(cuts[number], cuts[number + 1])
        if number < segments - 1:
            input = checkpoint(run, input, preserve_rng_state=preserve_rng_state)
        else:
            input = run(input)
    return input


def peak_activations(num_layers, segments):
    if segments < 1 or segments > num_layers:
        raise ValueError("there must be as many layers as segments, and one segment at least")
    size, rest = divmod(num_layers, segments)
    return size + rest + segments - 1


def optimal_segments(num_layers):
    best, fewest = 0, math.inf
    for segments in range(1, num_layers + 1):
        activations = peak_activations(num_layers, segments)
        if activations < fewest:
            best, fewest = segments, activations
    if not best:
        raise ValueError("there are no layers")
    return best
