"""Activation checkpointing: pay with time for memory.

A network keeps the activations of every layer for the backward pass. A checkpointed part of it
keeps its arguments only, and computes the activations again when the backward pass needs them.

Source: T. Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174 (2016);
torch.utils.checkpoint with ``use_reentrant=True``. Book: ML Core, 5.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor


class RandomState:
    """The state of torch's random number generators at the moment when this is created.

    It covers the CPU and the GPUs that hold tensors among the arguments.

    Args:
        args: tensors or anything else, which is passed over.
    """

    def __init__(self, *args: Any) -> None:
        gpus = {arg.device for arg in args if isinstance(arg, Tensor) and arg.is_cuda}
        self.cpu = torch.get_rng_state()
        self.gpus = {gpu: torch.cuda.get_rng_state(gpu) for gpu in gpus}

    def restore(self) -> None:
        """Make the generators go on from that moment."""
        torch.set_rng_state(self.cpu)
        for gpu, state in self.gpus.items():
            torch.cuda.set_rng_state(state, gpu)


class AutocastState:
    """The settings of autocast (mixed precision) at the moment when this is created.

    Args:
        args: tensors, whose devices' settings are kept beside the CPU's, or anything else.
    """

    def __init__(self, *args: Any) -> None:
        devices = {"cpu"} | {arg.device.type for arg in args if isinstance(arg, Tensor)}
        self.settings: list[dict[str, Any]] = [
            {
                "device_type": device,
                "enabled": torch.is_autocast_enabled(device),
                "dtype": torch.get_autocast_dtype(device),
                "cache_enabled": torch.is_autocast_cache_enabled(),
            }
            for device in devices
        ]

    def again(self) -> ExitStack:
        """Return a context (for ``with``) in which these settings hold again."""
        stack = ExitStack()
        for settings in self.settings:
            stack.enter_context(torch.autocast(**settings))
        return stack


class Checkpoint(torch.autograd.Function):
    """The one node that stands in the graph for all the nodes that ``function`` would make.

    See "Extending PyTorch" in torch's documentation for what torch does with the two methods.
    """

    @staticmethod
    def forward(ctx: Any, function: Callable, preserve_rng_state: bool, *args: Any) -> Any:
        """Run the function, and keep what it takes to run it again.

        Torch calls this with gradients turned off, so ``function`` leaves no graph behind.

        Args:
            ctx: carries to ``backward`` what is kept: tensors through ``ctx.save_for_backward``,
                once, anything else as attributes.
            function: the part of the network to be checkpointed.
            preserve_rng_state: whether the second run shall draw the random numbers of the first.
            args: the arguments of ``function``: tensors, or anything else.

        Returns:
            What ``function(*args)`` returns: a tensor, or a tuple of tensors and anything else.
        """
        raise NotImplementedError("your turn: Checkpoint.forward")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Run the function again, now with a graph, and go backward through that graph.

        Parameters that ``function`` uses without having them as arguments get their gradients
        added to ``.grad``. After the second run the random number generators are as they were
        before it, and autocast is too.

        Args:
            ctx: what ``forward`` kept.
            grad_outputs: the gradient of every output, in order; None for what is no tensor.

        Returns:
            One entry for each argument of ``forward`` after ``ctx``: the gradient of a tensor that
            requires one, None for anything else.
        """
        raise NotImplementedError("your turn: Checkpoint.backward")


def checkpoint(function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
    """Return ``function(*args)`` without keeping its activations for the backward pass.

    Outputs and gradients are those of the plain call. ``function`` runs once here, without a
    graph, and once more in the backward pass.

    Args:
        function: takes ``args``, returns a tensor or a tuple. It must compute the same when it is
            called again.
        args: tensors, of which at least one requires a gradient (otherwise nothing is recorded, as
            in torch), or anything else. They are not changed.
        preserve_rng_state: give the second run the random numbers of the first, for dropout.

    Source: torch.utils.checkpoint.checkpoint with ``use_reentrant=True``. As there, the backward
    pass must be started with ``backward``, not with ``torch.autograd.grad``.
    """
    raise NotImplementedError("your turn: checkpoint")


def run_in_order(functions: Iterable[Callable[[Tensor], Tensor]], input: Tensor) -> Tensor:
    """Return what the last function gives when each is called with the output of the one before."""
    for function in functions:
        input = function(input)
    return input


def checkpoint_sequential(
    functions: Iterable[Callable[[Tensor], Tensor]],
    segments: int,
    input: Tensor,
    *,
    preserve_rng_state: bool = True,
) -> Tensor:
    """Run functions one after the other in segments, each but the last one checkpointed.

    All segments have ``len(functions) // segments`` functions, and the last one also those that
    are left over. The last one keeps its activations: the backward pass needs them at once.

    Args:
        functions: a ``torch.nn.Sequential`` or any other iterable of functions.
        segments: their number, from 1 to the number of functions.
        input: the argument of the first function; it requires a gradient. It is not changed.
        preserve_rng_state: see ``checkpoint``.

    Returns:
        The output of the last function.

    Raises:
        ValueError: there are fewer functions than segments, or no segments.

    Source: torch.utils.checkpoint.checkpoint_sequential.
    """
    functions = list(functions)
    _require_segments(len(functions), segments)
    raise NotImplementedError("your turn: checkpoint_sequential")


def peak_activations(num_layers: int, segments: int) -> int:
    """Return how many activations ``checkpoint_sequential`` holds when it holds the most.

    Every layer counts one activation. Each checkpointed segment holds one, its input, from the
    forward pass on; a segment that is run with a graph, the last one among them, holds one for each
    of its layers until the backward pass has gone through it.

    Args:
        num_layers: how many layers there are.
        segments: into how many segments they are split, from 1 to ``num_layers``.

    Raises:
        ValueError: there are fewer layers than segments, or no segments.
    """
    _require_segments(num_layers, segments)
    raise NotImplementedError("your turn: peak_activations")


def optimal_segments(num_layers: int) -> int:
    """Return the number of segments with the smallest peak, the smaller one where two are equal.

    Args:
        num_layers: how many layers there are, at least 1.

    Raises:
        ValueError: there are no layers.
    """
    _require_segments(num_layers, 1)
    raise NotImplementedError("your turn: optimal_segments")


def _require_segments(num_layers: int, segments: int) -> None:
    if not 1 <= segments <= num_layers:
        raise ValueError(f"{num_layers} layers cannot be split into {segments} segments")
