"""Diagnostics: what to measure when a network does not learn.

Four numbers that a training loop can log: how large the gradients are, how many units are dead,
how far a step moves the parameters, and which layer produced the first nan. Book: Neural Network
Fundamentals, 2 and 6; Deep Learning Essentials, case study 1; ML Core, 6.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """Return the L2 norm of every parameter's gradient, under the parameter's name.

    Args:
        model: after a backward pass. It and its gradients are not changed.

    Returns:
        A float for each name of ``model.named_parameters()``, in that order. A parameter whose
        ``.grad`` is ``None`` is left out; one that two modules share stands there once, under its
        first name.
    """
    raise NotImplementedError("your turn: gradient_norms")


def dead_fraction(activations: Tensor, dim: int = -1) -> float:
    """Return the share of dead units: those that answer 0 or less to every single example.

    Args:
        activations: a layer's output (behind a ReLU, or before it) on a batch of examples, of any
            shape. It is not changed.
        dim: the dimension that counts the units: the last one for a linear layer, 1 for the
            channels of a convolution. All other dimensions count as examples.

    Returns:
        A float from 0 (every unit is alive) to 1 (every unit is dead).

    Raises:
        ValueError: ``activations`` has no elements.

    Source: L. Lu et al., "Dying ReLU and initialization: theory and numerical examples", 2020.
    """
    if activations.numel() == 0:
        raise ValueError(f"there are no activations, shape {tuple(activations.shape)}")
    raise NotImplementedError("your turn: dead_fraction")


@torch.no_grad()
def update_ratios(model: nn.Module, previous: dict[str, Tensor]) -> dict[str, float]:
    """Return how far each parameter moved, relative to its size: ``norm(p - q) / norm(q)``.

    Here ``q`` is the parameter before the step and ``p`` after it; the norms are L2 norms. Around
    1e-3 a step is a rule of thumb for a learning rate that is neither too small nor too large.

    Args:
        model: after the step. It is not changed.
        previous: copies of the parameters before the step, under the names of
            ``model.named_parameters()``. It is not changed.

    Returns:
        A float for each name of ``model.named_parameters()``, 0.0 for a parameter that did not
        move. A parameter that was all zeros before the step has no ratio and is left out.

    Source: Stanford CS231n, course notes, "Neural networks part 3", ratio of weights to updates.
    """
    raise NotImplementedError("your turn: update_ratios")


@torch.no_grad()
def find_nonfinite(model: nn.Module, *inputs: Any) -> str | None:
    """Return the name of the first module whose output holds a nan or an infinity.

    Runs ``model(*inputs)`` once. "First" is the order of execution: of a module and the one
    around it the inner one, because it finishes first; of a module that runs several times, any
    of its runs counts. An output may be a tensor or nested tuples, lists and dictionaries of
    tensors; whatever else it holds is ignored.

    Args:
        model: any module. It is the same afterwards: forward hooks that this function adds are
            gone, even when ``model`` raises; hooks that were there before stay.
        inputs: the arguments of the model.

    Returns:
        The name as in ``model.named_modules()``, ``""`` for the model itself; ``None`` where every
        output is finite.

    Raises:
        Whatever ``model(*inputs)`` raises.
    """
    raise NotImplementedError("your turn: find_nonfinite")


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from tensors_in(list(output.values()))
    elif isinstance(output, list | tuple):
        for item in output:
            yield from tensors_in(item)
