"""One uniform number for each element; a distribution is the function that maps it (quantiles)."""

from functools import partial, reduce
from operator import mul

import torch


def calculate_fan_in_and_fan_out(tensor):
    match tuple(tensor.shape):
        case (out, inputs, *kernel):
            places = reduce(mul, kernel, 1)
            return inputs * places, out * places
    raise ValueError("a weight is at least a matrix")


@torch.no_grad()
def fill(tensor, quantile, generator):
    # Never 0 or 1, where the normal quantile is infinite.
    u = torch.rand(tensor.shape, generator=generator, dtype=torch.float64, device=tensor.device)
    tensor.copy_(quantile(u.clamp(1e-12, 1 - 1e-12)))
    return tensor


def uniform_quantile(variance, u):
    return (12 * variance) ** 0.5 * (u - 0.5)


def normal_quantile(variance, u):
    return (2 * variance) ** 0.5 * torch.erfinv(2 * u - 1)


def xavier_variance(tensor, gain):
    return 2 * gain**2 / sum(calculate_fan_in_and_fan_out(tensor))


def xavier_uniform_(tensor, gain=1.0, generator=None):
    return fill(tensor, partial(uniform_quantile, xavier_variance(tensor, gain)), generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    return fill(tensor, partial(normal_quantile, xavier_variance(tensor, gain)), generator)


# The squares of the gains.
GAINS = {"tanh": 25 / 9, "relu": 2.0, "selu": 9 / 16, "sigmoid": 1.0, "linear": 1.0}
GAINS |= {f"conv{kind}{n}d": 1.0 for kind in ("", "_transpose") for n in (1, 2, 3)}


def kaiming(quantile, tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    if tensor.numel() == 0:
        return tensor
    modes = ["fan_in", "fan_out"]
    fan = calculate_fan_in_and_fan_out(tensor)[modes.index(mode.lower())]
    gains = GAINS | {"leaky_relu": 2 / (1 + a**2)}
    if nonlinearity not in gains:
        raise ValueError(nonlinearity)
    return fill(tensor, partial(quantile, gains[nonlinearity] / fan), generator)


kaiming_uniform_ = partial(kaiming, uniform_quantile)
kaiming_normal_ = partial(kaiming, normal_quantile)


def scaled_residual_(tensor, num_layers, std=0.02, generator=None):
    if num_layers < 1:
        raise ValueError("no layers")
    return fill(tensor, partial(normal_quantile, std**2 / num_layers / 2), generator)
