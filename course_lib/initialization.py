"""Initialization: how large the weights are before the first step.

A layer multiplies the spread of its inputs by a factor that its weights decide. The right spread of
the weights makes that factor 1, so that neither activations nor gradients fade or explode with
depth. The functions take the arguments of their namesakes in ``torch.nn.init``, draw from the same
distributions and, as these do, write into the tensor that they are given. Book: Neural Network
Fundamentals, 5; Deep Learning Essentials, 3.3.
"""

import math

import torch
from torch import Generator, Tensor


def calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Count the connections of one output number (fan in) and of one input number (fan out).

    A convolution kernel has a third and further dimensions, one for each direction in which it
    slides. Each output number then sees every input channel at every place of the kernel, and
    each input number reaches every output channel from every place of the kernel.

    Args:
        tensor: a weight of shape ``(out, in)`` or ``(out, in, *kernel_size)``; any dtype.

    Returns:
        ``(fan_in, fan_out)``, two integers.

    Raises:
        ValueError: the tensor has fewer than 2 dimensions.

    Source: torch.nn.init._calculate_fan_in_and_fan_out.
    """
    if tensor.dim() < 2:
        raise ValueError(f"a weight has at least 2 dimensions, not shape {tuple(tensor.shape)}")
    raise NotImplementedError("your turn: calculate_fan_in_and_fan_out")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor that makes up for what a nonlinearity does to the spread. (Given.)

    Args:
        nonlinearity: ``"linear"`` (or a kind of convolution), ``"sigmoid"``, ``"tanh"``,
            ``"relu"``, ``"leaky_relu"`` or ``"selu"``.
        param: the negative slope of ``"leaky_relu"``, 0.01 when it is None; otherwise unused.

    Raises:
        ValueError: another nonlinearity, or a slope that is not a number.

    Source: torch.nn.init.calculate_gain.
    """
    gains = {"sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    linear = {"linear"} | {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)}
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"the negative slope must be a number, got {slope!r}")
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity in linear:
        return 1.0
    if nonlinearity not in gains:
        raise ValueError(f"no gain is known for the nonlinearity {nonlinearity!r}")
    return gains[nonlinearity]


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill a weight from a uniform distribution on ``[-bound, bound]``, for tanh and sigmoid.

    The standard deviation is that of ``xavier_normal_``, so
    ``bound = gain * sqrt(6 / (fan_in + fan_out))``.

    Args:
        tensor: a weight of shape ``(out, in)`` or ``(out, in, *kernel_size)`` and any floating
            dtype, contiguous or not. It is overwritten in place; if it requires a gradient, it
            still does, and no graph is recorded.
        gain: factor of the standard deviation, see ``calculate_gain``.
        generator: where the random numbers come from. Without one it is torch's global
            generator, which is never seeded here; with one the global generator is not touched.

    Returns:
        The tensor that was given, itself.

    Raises:
        ValueError: the tensor has fewer than 2 dimensions.

    Source: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010; torch.nn.init.xavier_uniform_.
    """
    raise NotImplementedError("your turn: xavier_uniform_")


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill a weight from a normal distribution of mean 0, for tanh and sigmoid.

    The standard deviation is ``gain * sqrt(2 / (fan_in + fan_out))``: a compromise between what
    the forward pass asks for (``1 / fan_in`` as variance) and the backward pass (``1 / fan_out``).

    Args, result and errors are those of ``xavier_uniform_``.

    Source: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010; torch.nn.init.xavier_normal_.
    """
    raise NotImplementedError("your turn: xavier_normal_")


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill a weight from a uniform distribution on ``[-bound, bound]``, for ReLU and its kin.

    The standard deviation is that of ``kaiming_normal_``, so ``bound = gain * sqrt(3 / fan)``.

    Args:
        tensor: a weight as in ``xavier_uniform_``, overwritten in place in the same way. One
            without elements is returned as it is.
        a: the negative slope of the nonlinearity; it matters with ``"leaky_relu"`` only.
        mode: ``"fan_in"`` keeps the spread in the forward pass, ``"fan_out"`` in the backward
            pass: ``fan`` is the one that ``mode`` names.
        nonlinearity: what follows the layer: ``gain = calculate_gain(nonlinearity, a)``.
        generator: as in ``xavier_uniform_``.

    Returns:
        The tensor that was given, itself.

    Raises:
        ValueError: another mode or nonlinearity, or a tensor with fewer than 2 dimensions.

    Source: K. He et al., "Delving deep into rectifiers", ICCV 2015, section 2.2;
    torch.nn.init.kaiming_uniform_.
    """
    if tensor.numel() == 0:
        return tensor
    mode = _known_mode(mode)
    raise NotImplementedError("your turn: kaiming_uniform_")


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill a weight from a normal distribution of mean 0, for ReLU and its kin.

    The standard deviation is ``gain / sqrt(fan)``. ReLU sets half of its inputs to zero and so
    halves their mean square; its gain, the square root of 2, doubles it again.

    Args, result and errors are those of ``kaiming_uniform_``.

    Source: K. He et al., "Delving deep into rectifiers", ICCV 2015, section 2.2;
    torch.nn.init.kaiming_normal_.
    """
    if tensor.numel() == 0:
        return tensor
    mode = _known_mode(mode)
    raise NotImplementedError("your turn: kaiming_normal_")


def _known_mode(mode: str) -> str:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"the mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return mode.lower()


def scaled_residual_(
    tensor: Tensor, num_layers: int, std: float = 0.02, generator: Generator | None = None
) -> Tensor:
    """Fill the last weight of a residual branch as GPT-2 does: normal, smaller with depth.

    A transformer of ``num_layers`` layers adds ``2 * num_layers`` branches (attention and
    feed-forward) to its residual stream. Their variances add up, so each is divided by their
    number: the standard deviation is ``std / sqrt(2 * num_layers)``, whatever the tensor's shape.

    Args:
        tensor: a weight of any shape and floating dtype, overwritten in place as in
            ``xavier_uniform_``.
        num_layers: number of layers, at least 1, each with two residual branches.
        std: standard deviation of the weights elsewhere in the model.
        generator: as in ``xavier_uniform_``.

    Returns:
        The tensor that was given, itself.

    Raises:
        ValueError: ``num_layers`` is less than 1.

    Source: A. Radford et al., "Language models are unsupervised multitask learners", 2019, 2.3.
    """
    if num_layers < 1:
        raise ValueError(f"num_layers must be at least 1, got {num_layers}")
    raise NotImplementedError("your turn: scaled_residual_")
