"""Regularization: three ways to keep a network from learning its training data by heart.

``dropout`` makes units unreliable, ``l2_penalty`` makes large weights expensive, and
``EarlyStopping`` ends the training when new data stop to gain from it. Book: Deep Learning
Essentials, 3.1 and 5.2; ML Core, 4.
"""

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Generator, Tensor, nn


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Set numbers to zero at random in training, and scale up the rest; do nothing in evaluation.

    In training every number of ``input`` is dropped with probability ``p``, independently of all
    others and anew at every call; what is kept is divided by ``1 - p``, so that the expected value
    stays the same. With ``p = 1`` everything is zero, and so is the gradient.

    Args:
        input: tensor of any shape and floating dtype. It is not changed.
        p: probability to drop a number, from 0 to 1.
        training: whether to drop anything at all; otherwise the result has the input's values.
        generator: where the random numbers come from. Without one it is torch's global
            generator, which is never seeded here; with one the global generator is not touched.

    Returns:
        Tensor of the input's shape and dtype. The gradient of a dropped number is 0, that of a
        kept one is divided by ``1 - p`` too.

    Raises:
        ValueError: ``p`` is not between 0 and 1.

    Source: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 15 (2014), which scales in evaluation instead; torch.nn.functional.dropout,
    whose argument ``inplace`` is left out.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, from 0 to 1, got {p}")
    ### BEGIN SOLUTION
    if not training:
        return input
    mask = torch.empty_like(input).bernoulli_(1 - p, generator=generator)
    # With p = 1 nothing is left to scale, and 0 / 0 would be nan.
    if p < 1:
        mask.div_(1 - p)
    return input * mask
    ### END SOLUTION


def l2_penalty(parameters: Iterable[Tensor], weight_decay: float) -> Tensor | float:
    """Return ``weight_decay / 2`` times the sum of the squares of all numbers in all parameters.

    With the factor one half the gradient is ``weight_decay * parameter``: added to the loss, the
    penalty does what ``torch.optim.SGD`` does with the same ``weight_decay``.

    Args:
        parameters: an iterable of tensors of any shapes (a generator is fine; it is read once).
            All of them are counted: to spare biases, leave them out.
        weight_decay: strength of the penalty.

    Returns:
        Tensor of shape ``()`` through which gradients flow; without parameters 0, as a tensor or
        a number.

    Source: A. Krogh and J. Hertz, "A simple weight decay can improve generalization", NIPS 1991.
    """
    ### BEGIN SOLUTION
    return weight_decay / 2 * sum(parameter.square().sum() for parameter in parameters)
    ### END SOLUTION


class EarlyStopping:
    """Say when to stop: after ``patience`` losses in a row without an improvement.

    A loss is an improvement when it is lower than the best one so far by more than ``min_delta``.
    Anything else is none: a loss just ``min_delta`` lower, an equal one, ``nan``. Only an
    improvement becomes the best loss.

    Args:
        patience: how many losses without improvement to wait for, at least 1.
        min_delta: how much lower is lower, at least 0.

    Attributes:
        best: the best loss so far, a float; infinity at first.
        best_step: number of the step with the best loss, counted from 0; None at first.
        wait: number of losses since then.
        steps: number of all losses so far.
        best_state: the model's ``state_dict()`` at the best step, as a copy that later training
            does not change; None at first, and as long as ``step`` gets no model.

    Raises:
        ValueError: ``patience`` is less than 1, or ``min_delta`` is negative.

    Source: L. Prechelt, "Early stopping: but when?", in: Neural Networks: Tricks of the Trade,
    1998.
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        if min_delta < 0:
            raise ValueError(f"min_delta must not be negative, got {min_delta}")
        self.patience = patience
        self.min_delta = min_delta
        self.best = math.inf
        self.best_step: int | None = None
        self.wait = 0
        self.steps = 0
        self.best_state: dict[str, Any] | None = None

    def step(self, loss: float | Tensor, model: nn.Module | None = None) -> bool:
        """Take in one validation loss, and keep the model's state if it is the best so far.

        Args:
            loss: a number, or a tensor with one element.
            model: the model that has this loss. It is not changed.

        Returns:
            True when the last ``patience`` losses, or more, brought no improvement: stop now.
        """
        ### BEGIN SOLUTION
        if loss < self.best - self.min_delta:
            self.best = float(loss)
            self.best_step = self.steps
            self.wait = 0
            if model is not None:
                self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.wait += 1
        self.steps += 1
        return self.wait >= self.patience
        ### END SOLUTION

    def restore(self, model: nn.Module) -> None:
        """Give ``model`` the state of the best step, parameters and buffers, in place.

        Args:
            model: a model like the one given to ``step``.

        Raises:
            RuntimeError: no state was kept.
        """
        if self.best_state is None:
            raise RuntimeError("no state was kept: give step the model as well")
        ### BEGIN SOLUTION
        model.load_state_dict(self.best_state)
        ### END SOLUTION
