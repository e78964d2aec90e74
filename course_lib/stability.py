"""Training stability: clipped gradients and learning rates that change with the step.

The clipping functions take the arguments of their namesakes in ``torch.nn.utils``. Book: Neural
Network Fundamentals, 6; Deep Learning Essentials, 5.1 and 5.3.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


@torch.no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Shorten all gradients together, so that their common norm is at most ``max_norm``.

    The norm is that of one long vector which holds every gradient. Each gradient is multiplied,
    in place, by the same factor ``min(1, max_norm / (total_norm + 1e-6))``: directions stay, and
    short gradients are left as they are.

    Args:
        parameters: one tensor or an iterable of tensors (a generator is fine) whose ``.grad`` is
            clipped. A ``.grad`` of ``None`` is skipped. Dtypes may differ; one device for all.
        max_norm: the largest norm that is left alone.
        norm_type: the order ``p`` of the norm ``(sum |g|**p)**(1/p)``, at least 1;
            ``float("inf")`` is the largest ``|g|``.
        error_if_nonfinite: raise where the norm is nan or infinite, before any gradient is
            changed. Otherwise the factor above is used as it comes.

    Returns:
        The total norm as it was before clipping: a tensor of shape ``()``, in the dtype of the
        gradients (of the widest, where they differ); ``tensor(0.)`` where there is no gradient.

    Raises:
        RuntimeError: a norm that is nan or infinite, with ``error_if_nonfinite``.

    Source: torch.nn.utils.clip_grad_norm_; R. Pascanu et al., "On the difficulty of training
    recurrent neural networks", ICML 2013, algorithm 1.
    """
    max_norm, norm_type = float(max_norm), float(norm_type)
    raise NotImplementedError("your turn: clip_grad_norm_")


@torch.no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring every element of every gradient into ``[-clip_value, clip_value]``, in place.

    Args:
        parameters: one tensor or an iterable of tensors (a generator is fine) whose ``.grad`` is
            clipped. A ``.grad`` of ``None`` is skipped.
        clip_value: the largest size of an element.

    Source: torch.nn.utils.clip_grad_value_.
    """
    raise NotImplementedError("your turn: clip_grad_value_")


def warmup_cosine(
    step: int, *, max_lr: float, warmup_steps: int, max_steps: int, min_lr: float = 0.0
) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a period of a cosine.

    - ``step < warmup_steps``: the rate is ``max_lr * (step + 1) / warmup_steps``. The very first
      step, number 0, already moves, and the last step of the warm-up has ``max_lr``.
    - From ``warmup_steps`` on, the rate falls from ``max_lr`` to ``min_lr`` as a cosine does
      between its maximum and its minimum. It is ``max_lr`` at ``warmup_steps`` and ``min_lr``
      at ``max_steps``.
    - ``step >= max_steps``: the rate stays ``min_lr``, also where ``max_steps`` is
      ``warmup_steps``.

    Args:
        step: number of the optimizer step, counted from 0.
        max_lr: the peak.
        warmup_steps: length of the warm-up; 0 for none.
        max_steps: the step at which the decay ends.
        min_lr: the rate at the end.

    Raises:
        ValueError: a negative ``step`` or ``warmup_steps``, or fewer ``max_steps`` than
            ``warmup_steps``.

    Source: I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
    ICLR 2017, equation 5, without restarts; P. Goyal et al., "Accurate, large minibatch SGD",
    2017, for the linear warm-up.
    """
    _require_step(step)
    if not 0 <= warmup_steps <= max_steps:
        raise ValueError(f"0 <= warmup_steps <= max_steps, got {warmup_steps} and {max_steps}")
    raise NotImplementedError("your turn: warmup_cosine")


def step_decay(step: int, *, lr: float, step_size: int, gamma: float = 0.1) -> float:
    """Return the learning rate of a step: every ``step_size`` steps it is multiplied by ``gamma``.

    The first ``step_size`` steps, numbers 0 to ``step_size - 1``, have the rate ``lr``.

    Args:
        step: number of the step (or epoch), counted from 0.
        lr: the rate at the start.
        step_size: so many steps in a row have the same rate.
        gamma: the factor from one such stretch to the next.

    Raises:
        ValueError: a negative ``step``, or a ``step_size`` below 1.

    Source: torch.optim.lr_scheduler.StepLR, in closed form.
    """
    _require_step(step)
    if step_size < 1:
        raise ValueError(f"step_size must be at least 1, got {step_size}")
    raise NotImplementedError("your turn: step_decay")


def _require_step(step: int) -> None:
    if step < 0:
        raise ValueError(f"steps are counted from 0, got {step}")


def lr_range_test(
    train_step: Callable[[float], float],
    *,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    steps: int = 100,
    diverge: float = 4.0,
) -> tuple[list[float], list[float]]:
    """Train with a growing learning rate and record the loss: a search for the right rate.

    The rates are a geometric sequence of length ``steps`` from ``min_lr`` to ``max_lr``, both
    included: each is the one before times the same factor. They are tried in this order, one
    training step each. The test ends early, after the first loss that is not finite or is above
    ``diverge`` times the smallest loss so far; this rate and loss are recorded too.

    Args:
        train_step: makes one training step with the rate that it is given, and returns the loss
            of that step as a float above 0.
        min_lr: the first rate.
        max_lr: the last rate.
        steps: how many rates there are at most.
        diverge: how far the loss may rise before the test ends.

    Returns:
        The rates that were tried and their losses, two lists of floats of the same length.

    Raises:
        ValueError: not ``0 < min_lr < max_lr``, fewer than 2 ``steps``, or ``diverge`` not
            above 1.

    Source: L. Smith, "Cyclical learning rates for training neural networks", WACV 2017, section
    3.3 (there the rate grows linearly; the geometric sequence is today's custom).
    """
    if not 0 < min_lr < max_lr:
        raise ValueError(f"0 < min_lr < max_lr, got {min_lr} and {max_lr}")
    if steps < 2 or diverge <= 1:
        raise ValueError(f"steps must be at least 2 and diverge above 1, got {steps}, {diverge}")
    raise NotImplementedError("your turn: lr_range_test")
