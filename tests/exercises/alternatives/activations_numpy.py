"""NumPy computes the values, and autograd functions give the derivatives by hand."""

import math

import numpy as np
import torch

erf = np.vectorize(math.erf, otypes=[float])


def elementwise(value, derivative):
    """Make a differentiable function of a NumPy function and its derivative."""

    class Elementwise(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return computed(value, x)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * computed(derivative, x)

    return Elementwise.apply


def computed(function, x):
    with np.errstate(all="ignore"):
        y = torch.as_tensor(np.asarray(function(x.detach().double().numpy())))
    return y.to(x.dtype if x.is_floating_point() else torch.get_default_dtype())


def logistic(x):
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


def slope(function, step=1e-6):
    return lambda x: (function(x + step) - function(x - step)) / (2 * step)


def normal(x):
    return (1 + erf(x / math.sqrt(2))) / 2


def density(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def cubic(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def cubic_slope(x):
    return math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)


sigmoid = elementwise(logistic, lambda x: logistic(x) * logistic(-x))
tanh = elementwise(np.tanh, lambda x: 1 - np.tanh(x) ** 2)
exact_gelu = elementwise(lambda x: x * normal(x), lambda x: normal(x) + x * density(x))
tanh_gelu = elementwise(
    lambda x: x * logistic(2 * cubic(x)),
    lambda x: (
        logistic(2 * cubic(x))
        + 2 * x * cubic_slope(x) * logistic(2 * cubic(x)) * logistic(-2 * cubic(x))
    ),
)


def relu(input):
    if not input.is_floating_point():
        return torch.from_numpy(np.maximum(input.numpy(), 0))
    return elementwise(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0)(input)


def leaky_relu(input, negative_slope=0.01):
    return elementwise(
        lambda x: np.where(x > 0, x, negative_slope * x),
        lambda x: np.where(x > 0, 1.0, negative_slope),
    )(input)


def gelu(input, approximate="none"):
    return {"none": exact_gelu, "tanh": tanh_gelu}[approximate](input)


def silu(input):
    return elementwise(
        lambda x: x * logistic(x),
        lambda x: logistic(x) + x * logistic(x) * logistic(-x),
    )(input)


def swish(input, beta=1.0):
    return input * sigmoid(input * beta)


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dim):
        p = computed(lambda x: np.exp(x - x.max(dim, keepdims=True)), x)
        p = p / p.sum(dim, keepdim=True)
        ctx.save_for_backward(p)
        ctx.dim = dim
        return p

    @staticmethod
    def backward(ctx, grad):
        (p,) = ctx.saved_tensors
        return p * (grad - (grad * p).sum(ctx.dim, keepdim=True)), None


def softmax(input, dim):
    return (
        Softmax.apply(input.reshape(1), 0).reshape(())
        if input.dim() == 0
        else Softmax.apply(input, dim)
    )
