"""Loss functions: one number that says how wrong a model is, and a gradient that says why.

Each takes the arguments of its namesake in ``torch.nn.functional`` that are worth learning, under
the same names, and gives the same numbers and gradients. Book: Deep Learning Essentials, 2;
Build and Train, 3.
"""

import warnings
from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor


def low_precision_in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a loss compute float16 and bfloat16 inputs in float32 and round once, at the end.

    Each operation in between would cost a rounding more, and a small loss is a difference of
    large numbers.
    """

    @wraps(function)
    def rounding_once(input: Tensor, target: Tensor, **options: object) -> Tensor:
        if torch.promote_types(input.dtype, target.dtype) not in (torch.float16, torch.bfloat16):
            return function(input, target, **options)
        exact_target = target.float() if target.is_floating_point() else target
        return function(input.float(), exact_target, **options).to(input.dtype)

    return rounding_once


def _require_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Make one number of many losses, or leave them as they are.

    Args:
        losses: tensor of any shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        Tensor of shape ``()``, or ``losses`` itself for ``"none"``. The mean of nothing is nan.
    """
    ### BEGIN SOLUTION
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    return losses
    ### END SOLUTION


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Squared error: ``(input - target)**2``, averaged over all elements.

    Args:
        input: predictions, a floating-point tensor of any shape. It is not changed.
        target: what they should be, of the same shape; it may require a gradient. Another shape
            that broadcasts is taken with a warning. It is not changed.
        reduction: ``"mean"`` over all elements, their ``"sum"``, or ``"none"``: one loss each.

    Returns:
        Tensor of shape ``()``; for ``"none"``, of the shape of ``input``.

    Raises:
        ValueError: ``reduction`` is none of the three.

    Source: torch.nn.functional.mse_loss.
    """
    _require_reduction(reduction)
    if input.shape != target.shape:
        shapes = f"{tuple(input.shape)} and {tuple(target.shape)}"
        warnings.warn(f"shapes {shapes} differ: is broadcasting what you want?", stacklevel=2)
    ### BEGIN SOLUTION
    return reduced((input - target) ** 2, reduction)
    ### END SOLUTION


@low_precision_in_float32
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, *, reduction: str = "mean", pos_weight: Tensor | None = None
) -> Tensor:
    """Surprise of a yes-or-no prediction: ``-(w * t * log(p) + (1 - t) * log(1 - p))``.

    ``p = sigmoid(input)`` is the predicted probability of yes, ``t`` the target and ``w`` the
    ``pos_weight``, or 1 without one.

    Args:
        input: logits, a floating-point tensor of any shape. It is not changed.
        target: the probability of yes, often just 0 or 1, floating point and of the same shape;
            it may require a gradient. It is not changed.
        reduction: ``"mean"`` over all elements, their ``"sum"``, or ``"none"``: one loss each.
        pos_weight: tensor that broadcasts with ``input``: how much more a yes counts than a no.

    Returns:
        Tensor of shape ``()``; for ``"none"``, of the shape of ``input``. Neither it nor its
        gradient overflows, however large the logits are, and the gradient at a logit of 0 is
        right too: a model whose weights are still zero starts there.

    Raises:
        RuntimeError: ``target`` is not floating point.
        ValueError: ``reduction`` is none of the three, or the two shapes differ.

    Source: torch.nn.functional.binary_cross_entropy_with_logits.
    """
    _require_reduction(reduction)
    if input.shape != target.shape:
        shapes = f"{tuple(input.shape)} and {tuple(target.shape)}"
        raise ValueError(f"input and target must have one shape, got {shapes}")
    if not target.is_floating_point():
        raise RuntimeError(f"the target has dtype {target.dtype}: make it floating point")
    ### BEGIN SOLUTION
    zero = torch.zeros_like(input)
    minus_log_yes = torch.logaddexp(zero, -input)  # -log(sigmoid(x)) = log(1 + exp(-x))
    minus_log_no = torch.logaddexp(zero, input)
    if pos_weight is not None:
        minus_log_yes = pos_weight * minus_log_yes
    return reduced(target * minus_log_yes + (1 - target) * minus_log_no, reduction)
    ### END SOLUTION


@low_precision_in_float32
def cross_entropy(
    input: Tensor, target: Tensor, *, reduction: str = "mean", label_smoothing: float = 0.0
) -> Tensor:
    """Surprise of a prediction among C classes: ``-log(p)`` of the right class.

    ``p = softmax(input)`` along the classes. With class probabilities ``q`` as the target, the
    loss is ``-sum_c q_c * log(p_c)``. Label smoothing replaces the target distribution ``q`` (1 at
    the right class, 0 elsewhere, for class indices) by
    ``(1 - label_smoothing) * q + label_smoothing / C``.

    Args:
        input: logits, a floating-point tensor of shape ``(C,)``, ``(n, C)`` or
            ``(n, C, d1, ...)``. A logit may be ``-inf`` (an impossible class): with class
            indices and no smoothing, the loss of the other classes stays finite. It is not
            changed.
        target: class indices, int64 or uint8, of the shape of ``input`` without its classes; or
            class probabilities, floating point, of the shape of ``input``, which may require a
            gradient. It is not changed.
        reduction: ``"mean"`` over all positions, their ``"sum"``, or ``"none"``: one loss each.
        label_smoothing: from 0 to 1.

    Returns:
        Tensor of shape ``()``; for ``"none"``, of the shape of ``input`` without its classes.
        Neither it nor its gradient overflows, however large the logits are.

    Raises:
        IndexError: a class index is not in ``[0, C)``. There is no ``ignore_index``: -100 is an
            index like any other.
        RuntimeError: ``label_smoothing`` or the dtype of ``target`` is not as above, or the
            shapes do not fit.
        ValueError: ``reduction`` is none of the three, or the batch sizes differ.

    Source: torch.nn.functional.cross_entropy; label smoothing: C. Szegedy et al., "Rethinking the
    Inception architecture for computer vision", CVPR 2016.
    """
    _require_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must lie in [0, 1], got {label_smoothing}")
    classes = 0 if input.dim() == 1 else 1  # the dimension along which the classes lie
    target = _classes_or_probabilities(input, target, classes)
    ### BEGIN SOLUTION
    shifted = input - input.amax(classes, keepdim=True)  # at most 0: exp cannot overflow
    log_p = shifted - torch.log(torch.exp(shifted).sum(classes, keepdim=True))
    if target.shape == input.shape:
        losses = -(target * log_p).sum(classes)
    else:
        losses = -log_p.gather(classes, target.unsqueeze(classes)).squeeze(classes)
    if label_smoothing > 0:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_p.mean(classes)
    return reduced(losses, reduction)
    ### END SOLUTION


def _classes_or_probabilities(input: Tensor, target: Tensor, classes: int) -> Tensor:
    if target.shape == input.shape:
        if not target.is_floating_point():
            raise RuntimeError(f"probabilities must be floating point, got {target.dtype}")
        return target
    if target.dtype not in (torch.int64, torch.uint8):
        raise RuntimeError(f"class indices must be int64 or uint8, got {target.dtype}")
    expected = input.shape[:classes] + input.shape[classes + 1 :]
    if target.shape[:1] != expected[:1]:
        raise ValueError(f"expected {tuple(expected)} class indices, got {tuple(target.shape)}")
    if target.shape != expected:
        raise RuntimeError(f"expected {tuple(expected)} class indices, got {tuple(target.shape)}")
    outside = target[(target < 0) | (target >= input.shape[classes])]
    if outside.numel():
        raise IndexError(f"class {outside[0].item()} is not in [0, {input.shape[classes]})")
    return target.long()
