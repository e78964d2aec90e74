"""Activation functions: what makes a stack of layers more than one layer.

Each takes the arguments of its namesake in ``torch`` or ``torch.nn.functional`` and gives the
same numbers, also for inputs so large that the textbook formula overflows, and the same
gradients through autograd. Book: Neural Network Fundamentals, 2; Deep Learning Essentials, 1.3.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor


def low_precision_in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a function compute float16 and bfloat16 inputs in float32 and round once, at the end.

    torch's own activations do the same: each operation in between would cost a rounding more.
    """

    @wraps(function)
    def rounding_once(input: Tensor, *args: object, **kwargs: object) -> Tensor:
        if input.dtype in (torch.float16, torch.bfloat16):
            return function(input.float(), *args, **kwargs).to(input.dtype)
        return function(input, *args, **kwargs)

    return rounding_once


def _as_floating_point(input: Tensor) -> Tensor:
    return input if input.is_floating_point() else input.to(torch.get_default_dtype())


def _require_floating_point(input: Tensor) -> None:
    if not input.is_floating_point():
        raise NotImplementedError(f"the input has dtype {input.dtype}: make it floating point")


@low_precision_in_float32
def sigmoid(input: Tensor) -> Tensor:
    """Squash every element into (0, 1): ``1 / (1 + exp(-x))``.

    Args:
        input: tensor of any shape, floating point or integer. It is not changed.

    Returns:
        Tensor of the same shape and dtype; for integers, of the default floating dtype. Neither
        it nor its gradient overflows, however large the input is.

    Source: torch.sigmoid.
    """
    input = _as_floating_point(input)
    ### BEGIN SOLUTION
    positive = input >= 0
    z = torch.exp(torch.where(positive, -input, input))  # at most 1: it cannot overflow
    return torch.where(positive, 1, z) / (1 + z)
    ### END SOLUTION


@low_precision_in_float32
def tanh(input: Tensor) -> Tensor:
    """Squash every element into (-1, 1): ``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``.

    Args:
        input: tensor of any shape, floating point or integer. It is not changed.

    Returns:
        Tensor of the same shape and dtype; for integers, of the default floating dtype. Neither
        it nor its gradient overflows, however large the input is.

    Source: torch.tanh.
    """
    input = _as_floating_point(input)
    ### BEGIN SOLUTION
    positive = input >= 0
    z = torch.expm1(2 * torch.where(positive, -input, input))  # from -1 to 0
    return torch.where(positive, -z, z) / (2 + z)
    ### END SOLUTION


def relu(input: Tensor) -> Tensor:
    """Keep what is positive and make the rest 0: ``max(0, x)``.

    Args:
        input: tensor of any shape, floating point or integer. It is not changed.

    Returns:
        Tensor of the same shape and dtype. Its derivative at 0 is 0.

    Source: torch.relu; V. Nair and G. Hinton, "Rectified linear units improve restricted
    Boltzmann machines", ICML 2010.
    """
    ### BEGIN SOLUTION
    return torch.where(input <= 0, 0, input)
    ### END SOLUTION


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Keep what is positive and multiply the rest by ``negative_slope``.

    Args:
        input: floating-point tensor of any shape. It is not changed.
        negative_slope: any number, also a negative one or one above 1.

    Returns:
        Tensor of the same shape and dtype. Its derivative at 0 is ``negative_slope``.

    Raises:
        NotImplementedError: ``input`` is not floating point.

    Source: torch.nn.functional.leaky_relu; A. Maas, A. Hannun and A. Ng, "Rectifier
    nonlinearities improve neural network acoustic models", ICML 2013.
    """
    _require_floating_point(input)
    ### BEGIN SOLUTION
    return torch.where(input > 0, input, negative_slope * input)
    ### END SOLUTION


@low_precision_in_float32
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Weigh every element by the probability that a standard normal number is smaller.

    That is ``x * Phi(x)`` with ``Phi(x) = (1 + erf(x / sqrt(2))) / 2``. The older approximation
    is ``x * (1 + tanh(u)) / 2`` with ``u = sqrt(2 / pi) * (x + 0.044715 * x**3)``.

    Args:
        input: floating-point tensor of any shape. It is not changed.
        approximate: ``"none"`` for the first formula, ``"tanh"`` for the second.

    Returns:
        Tensor of the same shape and dtype.

    Raises:
        NotImplementedError: ``input`` is not floating point.
        RuntimeError: ``approximate`` is neither ``"none"`` nor ``"tanh"``.

    Source: torch.nn.functional.gelu; D. Hendrycks and K. Gimpel, "Gaussian error linear units
    (GELUs)", 2016.
    """
    _require_floating_point(input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    ### BEGIN SOLUTION
    if approximate == "none":
        return 0.5 * input * (1 + torch.erf(input / 2**0.5))
    u = (2 / torch.pi) ** 0.5 * (input + 0.044715 * input**3)
    return 0.5 * input * (1 + tanh(u))
    ### END SOLUTION


@low_precision_in_float32
def silu(input: Tensor) -> Tensor:
    """Let every element gate itself: ``x * sigmoid(x)``.

    Args:
        input: floating-point tensor of any shape. It is not changed.

    Returns:
        Tensor of the same shape and dtype. Neither it nor its gradient overflows.

    Raises:
        NotImplementedError: ``input`` is not floating point.

    Source: torch.nn.functional.silu; S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-weighted linear
    units for neural network function approximation in reinforcement learning", 2017.
    """
    _require_floating_point(input)
    ### BEGIN SOLUTION
    return input * sigmoid(input)
    ### END SOLUTION


def swish(input: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """SiLU with a gate of adjustable steepness: ``x * sigmoid(beta * x)``.

    Args:
        input: floating-point tensor of any shape. It is not changed.
        beta: a number, or a tensor that broadcasts with ``input`` and may require a gradient.

    Returns:
        Tensor of the shape and dtype of ``beta * input``. Neither it nor its gradients overflow.

    Raises:
        NotImplementedError: ``input`` is not floating point.

    Source: P. Ramachandran, B. Zoph and Q. Le, "Searching for activation functions", 2017.
    """
    _require_floating_point(input)
    ### BEGIN SOLUTION
    return input * sigmoid(beta * input)
    ### END SOLUTION


@low_precision_in_float32
def softmax(input: Tensor, dim: int) -> Tensor:
    """Turn scores into probabilities: ``exp(x_i) / sum_j exp(x_j)``, with the sum along ``dim``.

    Args:
        input: floating-point tensor of any shape. An element may be ``-inf``: its probability
            is 0. It is not changed.
        dim: the dimension whose elements add up to 1; a negative one counts from the end.

    Returns:
        Tensor of the same shape and dtype. Neither it nor its gradient overflows. Where all
        elements along ``dim`` are ``-inf`` it is nan.

    Raises:
        IndexError: there is no dimension ``dim``.
        NotImplementedError: ``input`` is not floating point.

    Source: torch.softmax.
    """
    _require_floating_point(input)
    if input.numel() == 0 and input.size(dim) == 0:
        return input.clone()  # nothing adds up to 1, and nothing is the largest
    ### BEGIN SOLUTION
    exponentials = torch.exp(input - input.amax(dim, keepdim=True))  # at most 1: cannot overflow
    return exponentials / exponentials.sum(dim, keepdim=True)
    ### END SOLUTION
