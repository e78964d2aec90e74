"""Normalisation: keep the numbers that pass through a network at mean 0 and size 1.

The functions are drop-ins for their namesakes in ``torch.nn.functional``. They all divide by a
measure of size that is taken from the numbers themselves, and differ in what they average over.
Book: Neural Network Fundamentals, 4; Deep Learning Essentials, 3.2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise every channel over the batch and all positions: ``(x - mean) / sqrt(var + eps)``.

    In training, ``mean`` and ``var`` (the mean squared deviation, divided by the number ``n`` of
    values per channel) come from ``input``. In evaluation they are the running ones. Then every
    channel is multiplied by its ``weight`` and its ``bias`` is added.

    Training also moves the running statistics, in place and without a graph, by ``momentum``
    towards those of the batch: ``running = (1 - momentum) * running + momentum * batch``. For
    ``running_var`` the batch's variance is the unbiased one, divided by ``n - 1``. An empty batch
    has no statistics and moves nothing; evaluation never moves them.

    Args:
        input: floating-point tensor of shape ``(N, C)``, ``(N, C, L)`` or ``(N, C, H, W)``; not
            changed. float16 and bfloat16 (here or below) are computed in float32, and the output
            is rounded once.
        running_mean: tensor of shape ``(C,)``, or ``None`` in training: nothing is kept then.
        running_var: like ``running_mean``; both are ``None`` or neither.
        weight: tensor of shape ``(C,)``, or ``None`` for 1.
        bias: tensor of shape ``(C,)``, or ``None`` for 0.
        training: use the statistics of the batch, and keep them.
        momentum: share of the new batch in the running statistics.
        eps: added to the variance.

    Returns:
        Tensor of ``input``'s shape and dtype. Gradients flow to ``input``, ``weight`` and
        ``bias``, through the batch's mean and variance too.

    Raises:
        ValueError: in training, one value per channel (its variance says nothing), an ``eps``
            that is not positive, or one of the running statistics without the other; in
            evaluation, a negative ``eps``.
        RuntimeError: in evaluation, no running statistics; a tensor that does not have one value
            per channel.

    Source: S. Ioffe and C. Szegedy, "Batch normalization", ICML 2015;
    torch.nn.functional.batch_norm.
    """
    _require_floating_point(input)
    _require_batch(input, running_mean, running_var, training, eps)
    _require_one_value_per_channel(
        input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    raise NotImplementedError("your turn: batch_norm")


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise every sample over its last dimensions: ``(x - mean) / sqrt(var + eps)``.

    ``mean`` and ``var`` (the mean squared deviation) are taken over the last
    ``len(normalized_shape)`` dimensions together, so no sample sees another one. Then the result
    is multiplied by ``weight`` and ``bias`` is added, element by element.

    Args:
        input: floating-point tensor of shape ``(*, *normalized_shape)``; not changed. float16
            and bfloat16 are computed in float32 and rounded once at the end.
        normalized_shape: the sizes of the last dimensions, at least one.
        weight: tensor of shape ``normalized_shape``, or ``None`` for 1.
        bias: tensor of shape ``normalized_shape``, or ``None`` for 0.
        eps: added to the variance.

    Returns:
        Tensor of ``input``'s shape and dtype. Gradients flow to ``input``, ``weight`` and
        ``bias``, through the mean and the variance too.

    Raises:
        TypeError: ``normalized_shape`` is a number.
        RuntimeError: the last dimensions of ``input``, or ``weight`` or ``bias``, do not have
            the sizes ``normalized_shape``.

    Source: J. Ba, J. Kiros and G. Hinton, "Layer normalization", arXiv 1607.06450 (2016);
    torch.nn.functional.layer_norm.
    """
    _require_floating_point(input)
    _require_normalized_shape(input, normalized_shape, weight=weight, bias=bias)
    raise NotImplementedError("your turn: layer_norm")


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide every sample by its root mean square: ``x / sqrt(mean(x**2) + eps)``.

    The mean is taken over the last ``len(normalized_shape)`` dimensions together; nothing is
    subtracted. Then the result is multiplied by ``weight``, element by element.

    Args:
        input: floating-point tensor of shape ``(*, *normalized_shape)``; not changed. float16
            and bfloat16 are computed in float32 and rounded once at the end.
        normalized_shape: the sizes of the last dimensions, at least one.
        weight: tensor of shape ``normalized_shape``, or ``None`` for 1.
        eps: added to the mean square. ``None`` means ``torch.finfo(dtype).eps`` of the dtype in
            which it is computed: about 1.2e-7 in float32.

    Returns:
        Tensor of ``input``'s shape and dtype. Gradients flow to ``input`` and ``weight``, through
        the root mean square too.

    Raises:
        TypeError: ``normalized_shape`` is a number.
        ValueError: ``input`` has fewer dimensions than ``normalized_shape``.
        RuntimeError: the last dimensions of ``input``, or ``weight``, do not have the sizes
            ``normalized_shape``.

    Source: B. Zhang and R. Sennrich, "Root mean square layer normalization", NeurIPS 2019;
    torch.nn.functional.rms_norm.
    """
    _require_floating_point(input)
    if input.dim() < len(normalized_shape):
        raise ValueError(
            f"input needs at least {len(normalized_shape)} dimensions, it has {input.dim()}"
        )
    _require_normalized_shape(input, normalized_shape, weight=weight)
    raise NotImplementedError("your turn: rms_norm")


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise every group of channels of every sample: ``(x - mean) / sqrt(var + eps)``.

    The ``C`` channels are split, in order, into ``num_groups`` groups of neighbours: of 6
    channels in 2 groups, the first three are one group. ``mean`` and ``var`` (the mean squared
    deviation) are taken over the channels of a group and all positions together. Then every
    channel is multiplied by its ``weight`` and its ``bias`` is added.

    Args:
        input: floating-point tensor of shape ``(N, C, *)``; ``N`` may be 0; not changed. float16
            and bfloat16 are computed in float32 and rounded once at the end.
        num_groups: number of groups; it divides ``C``.
        weight: tensor of shape ``(C,)``, or ``None`` for 1.
        bias: tensor of shape ``(C,)``, or ``None`` for 0.
        eps: added to the variance.

    Returns:
        Tensor of ``input``'s shape and dtype. Gradients flow to ``input``, ``weight`` and
        ``bias``, through the mean and the variance too.

    Raises:
        RuntimeError: ``num_groups`` is negative or does not divide ``C``; ``weight`` or ``bias``
            does not have one value per channel.
        ZeroDivisionError: ``num_groups`` is 0.
        ValueError: there is only one sample, and only one value in each of its groups.

    Source: Y. Wu and K. He, "Group normalization", ECCV 2018; torch.nn.functional.group_norm.
    """
    _require_floating_point(input)
    _require_groups(input, num_groups)
    _require_one_value_per_channel(input, weight=weight, bias=bias)
    raise NotImplementedError("your turn: group_norm")


def _widened(x: Tensor) -> Tensor:
    """Return ``x`` in the dtype to compute in: float16 and bfloat16 become float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _require_floating_point(input: Tensor) -> None:
    if not input.is_floating_point():
        raise NotImplementedError(f"input must be floating point, it is {input.dtype}")


def _require_batch(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
) -> None:
    if input.dim() < 2:
        raise RuntimeError(f"input needs the shape (N, C, ...), it has {tuple(input.shape)}")
    if training and input.numel() == input.shape[1] > 0:
        raise ValueError("training needs more than one value per channel")
    if eps < 0 or (training and eps == 0):
        raise ValueError(f"eps must be positive, got {eps}")
    if training and (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must both be None, or neither")
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError("evaluation needs running_mean and running_var")


def _require_one_value_per_channel(input: Tensor, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and tensor.shape != input.shape[1:2]:
            raise RuntimeError(
                f"{name} needs the shape ({input.shape[1]},), it has {tuple(tensor.shape)}"
            )


def _require_normalized_shape(
    input: Tensor, normalized_shape: Sequence[int], **tensors: Tensor | None
) -> None:
    shape = tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"normalized_shape {shape} is not how the shape {tuple(input.shape)} of input ends"
        )
    for name, tensor in tensors.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise RuntimeError(f"{name} needs the shape {shape}, it has {tuple(tensor.shape)}")


def _require_groups(input: Tensor, num_groups: int) -> None:
    if input.dim() < 2:
        raise RuntimeError(f"input needs the shape (N, C, ...), it has {tuple(input.shape)}")
    if num_groups < 0 or input.shape[1] % num_groups != 0:
        raise RuntimeError(f"{num_groups} groups do not divide {input.shape[1]} channels")
    if input.numel() == num_groups:
        raise ValueError("one sample needs more than one value per group")
