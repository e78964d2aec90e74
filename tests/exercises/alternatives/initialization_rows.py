"""One row after the other, each number from Python's own arithmetic where that is quick enough."""

import math

import torch


def calculate_fan_in_and_fan_out(tensor):
    if tensor.ndim < 2:
        raise ValueError("two dimensions are needed")
    fan_out, fan_in = tensor.size(0), tensor.size(1)
    for side in tensor.size()[2:]:
        fan_in *= side
        fan_out *= side
    return fan_in, fan_out


def gain_of(nonlinearity, slope):
    match nonlinearity:
        case "relu":
            return 2**0.5
        case "leaky_relu":
            return (2 / (1 + slope * slope)) ** 0.5
        case "tanh":
            return 5 / 3
        case "selu":
            return 0.75
        case "sigmoid" | "linear":
            return 1
    if nonlinearity.startswith("conv"):
        return 1
    raise ValueError(nonlinearity)


def fill_rows(tensor, draw):
    with torch.no_grad():
        for row in tensor:
            row.copy_(draw(row.shape))
    return tensor


def uniform_rows(tensor, bound, generator):
    def draw(shape):
        return torch.rand(shape, generator=generator).mul(2).sub(1).mul(bound)

    return fill_rows(tensor, draw)


def normal_rows(tensor, std, generator):
    return fill_rows(tensor, lambda shape: std * torch.randn(shape, generator=generator))


def xavier_uniform_(tensor, gain=1.0, generator=None):
    limit = gain * math.sqrt(3) / math.sqrt(sum(calculate_fan_in_and_fan_out(tensor)) / 2)
    return uniform_rows(tensor, limit, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    mean_fan = sum(calculate_fan_in_and_fan_out(tensor)) / 2
    return normal_rows(tensor, gain * mean_fan**-0.5, generator)


def chosen_fan(tensor, mode):
    fan_in, fan_out = calculate_fan_in_and_fan_out(tensor)
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(mode)
    return fan_out if mode.lower() == "fan_out" else fan_in


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    if 0 in tensor.shape:
        return tensor
    variance = gain_of(nonlinearity, a) ** 2 / chosen_fan(tensor, mode)
    return uniform_rows(tensor, math.sqrt(3 * variance), generator)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    if 0 in tensor.shape:
        return tensor
    variance = gain_of(nonlinearity, a) ** 2 / chosen_fan(tensor, mode)
    return normal_rows(tensor, math.sqrt(variance), generator)


def scaled_residual_(tensor, num_layers, std=0.02, generator=None):
    branches = sum(2 for _ in range(num_layers))
    if branches < 2:
        raise ValueError(num_layers)
    return normal_rows(tensor, std / math.sqrt(branches), generator)
