"""Convolution and pooling: one small window that slides over an image.

The functions are drop-ins for their namesakes in ``torch.nn.functional``, without the arguments
that this course does not use: ``dilation`` and ``groups``, a padding given as a word, and the
pools' ``ceil_mode``, ``return_indices``, ``count_include_pad`` and ``divisor_override``, which are
as by default in torch. Book: Deep Learning Essentials, 4.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def windows(
    input: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    value: float = 0.0,
) -> Tensor:
    """Return all windows of an image, for the three functions below. It has no check of its own.

    The image is extended by ``padding[0]`` rows of ``value`` above and as many below, and by
    ``padding[1]`` columns on the left and as many on the right. The first window stands at the
    top left; each next one is ``stride[0]`` rows further down, or ``stride[1]`` columns further to
    the right, as long as it fits.

    Args:
        input: tensor of shape ``(*, H, W)``; not changed.
        kernel_size: height ``kH`` and width ``kW`` of a window.
        stride: rows and columns from one window to the next.
        padding: rows and columns that are added on each side.
        value: what they are filled with.

    Returns:
        Tensor of shape ``(*, H_out, W_out, kH, kW)``: its element ``[..., i, j, :, :]`` is the
        window in row ``i`` and column ``j``. ``H_out`` is
        ``(H + 2 * padding[0] - kH) // stride[0] + 1``, and likewise ``W_out``.
    """
    raise NotImplementedError("your turn: windows")


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> Tensor:
    """Slide filters over an image; each output is a weighted sum of one window of all channels.

    With the input extended by ``padding`` zeros on each side::

        output[n, o, i, j] = bias[o] + sum over c, a, b of
            weight[o, c, a, b] * input[n, c, i * stride[0] + a, j * stride[1] + b]

    The filter is not turned round: in mathematics this is a cross-correlation.

    Args:
        input: floating-point tensor of shape ``(N, C, H, W)`` or, without a batch, ``(C, H, W)``;
            ``N`` may be 0. It is not changed.
        weight: tensor of shape ``(out_channels, C, kH, kW)``, of ``input``'s dtype.
        bias: tensor of shape ``(out_channels,)``, or ``None`` for 0.
        stride: rows and columns from one window to the next; one number stands for both.
        padding: rows and columns of zeros on each side; one number stands for both.

    Returns:
        Tensor of shape ``(N, out_channels, H_out, W_out)``, without ``N`` where ``input`` has
        none, of ``input``'s dtype. ``H_out`` is ``(H + 2 * padding[0] - kH) // stride[0] + 1``, and
        likewise ``W_out``. Gradients flow to ``input``, ``weight`` and ``bias``.

    Raises:
        RuntimeError: the shapes or dtypes do not fit together, the window is larger than the
            padded image, ``stride`` is not positive or ``padding`` is negative.

    Source: Y. LeCun et al., "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86 (1998); torch.nn.functional.conv2d.
    """
    _require_image(input)
    _require_filters(input, weight, bias)
    _require_sliding(input, weight.shape[2:], _pair(stride), _pair(padding))
    raise NotImplementedError("your turn: conv2d")


def max_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Tensor:
    """Return the largest number of every window, for each channel on its own.

    What ``padding`` adds never wins: it counts as less than every number.

    Args:
        input: floating-point tensor of shape ``(N, C, H, W)`` or ``(C, H, W)``; ``N`` may be 0.
            It is not changed.
        kernel_size: height and width of a window; one number stands for both.
        stride: rows and columns from one window to the next; ``None`` means ``kernel_size``.
        padding: rows and columns that are added on each side, at most half of ``kernel_size``.

    Returns:
        Tensor of shape ``(N, C, H_out, W_out)``, without ``N`` where ``input`` has none, of
        ``input``'s dtype. ``H_out`` is ``(H + 2 * padding[0] - kernel_size[0]) // stride[0] + 1``,
        and likewise ``W_out``. The gradient of a window goes to its largest number.

    Raises:
        RuntimeError: ``input`` has no such shape, the window is larger than the padded image,
            ``kernel_size`` or ``stride`` is not positive, or ``padding`` is negative or too large.

    Source: torch.nn.functional.max_pool2d.
    """
    _require_image(input)
    _require_pooling(input, kernel_size, stride, padding)
    raise NotImplementedError("your turn: max_pool2d")


def avg_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Tensor:
    """Return the mean of every window, for each channel on its own.

    What ``padding`` adds are zeros, and they count: every sum is divided by the size of the whole
    window.

    Args:
        input: floating-point tensor of shape ``(N, C, H, W)`` or ``(C, H, W)``; ``N`` may be 0.
            It is not changed.
        kernel_size: height and width of a window; one number stands for both.
        stride: rows and columns from one window to the next; ``None`` means ``kernel_size``.
        padding: rows and columns that are added on each side, at most half of ``kernel_size``.

    Returns:
        Tensor of shape ``(N, C, H_out, W_out)``, without ``N`` where ``input`` has none, of
        ``input``'s dtype. ``H_out`` is ``(H + 2 * padding[0] - kernel_size[0]) // stride[0] + 1``,
        and likewise ``W_out``.

    Raises:
        RuntimeError: ``input`` has no such shape, the window is larger than the padded image,
            ``kernel_size`` or ``stride`` is not positive, or ``padding`` is negative or too large.

    Source: torch.nn.functional.avg_pool2d.
    """
    _require_image(input)
    _require_pooling(input, kernel_size, stride, padding)
    raise NotImplementedError("your turn: avg_pool2d")


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return two numbers, for the rows and for the columns; one number stands for both."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) == 1:
        pair *= 2
    if len(pair) != 2:
        raise RuntimeError(f"a size must be one number or two, got {size}")
    return pair


def _require_image(input: Tensor) -> None:
    if input.dim() not in (3, 4) or 0 in input.shape[-3:]:
        raise RuntimeError(
            f"input needs the shape (N, C, H, W) or (C, H, W), it has {tuple(input.shape)}"
        )


def _require_filters(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if weight.dim() != 4 or 0 in weight.shape or weight.shape[1] != input.shape[-3]:
        raise RuntimeError(
            f"weight needs the shape (out_channels, {input.shape[-3]}, kH, kW), "
            f"it has {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise RuntimeError(f"bias needs the shape ({len(weight)},), it has {tuple(bias.shape)}")
    if any(t is not None and t.dtype != input.dtype for t in (weight, bias)):
        raise RuntimeError(f"weight and bias need the dtype of input, {input.dtype}")


def _require_sliding(
    input: Tensor, kernel_size: Sequence[int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    if min(kernel_size) < 1 or min(stride) < 1 or min(padding) < 0:
        raise RuntimeError(
            f"kernel_size and stride must be positive and padding must not be negative, "
            f"got {tuple(kernel_size)}, {stride} and {padding}"
        )
    padded = [size + 2 * border for size, border in zip(input.shape[-2:], padding, strict=True)]
    if any(size < kernel for size, kernel in zip(padded, kernel_size, strict=True)):
        raise RuntimeError(
            f"a window of {tuple(kernel_size)} does not fit into the padded image of {padded}"
        )


def _require_pooling(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int],
) -> None:
    kernel, border = _pair(kernel_size), _pair(padding)
    _require_sliding(input, kernel, kernel if stride is None else _pair(stride), border)
    if any(2 * added > size for added, size in zip(border, kernel, strict=True)):
        raise RuntimeError(f"padding must be at most half of kernel_size, got {border}, {kernel}")
