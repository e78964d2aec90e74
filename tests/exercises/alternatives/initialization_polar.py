"""Normal numbers in pairs by the transform of Box and Muller; everything on a detached alias."""

import math

import torch


def calculate_fan_in_and_fan_out(tensor):
    if tensor.dim() <= 1:
        raise ValueError(f"{tensor.dim()} dimensions are too few")
    if tensor.numel() == 0:
        places = math.prod(tensor.shape[2:])
        return tensor.shape[1] * places, tensor.shape[0] * places
    return tensor.numel() // tensor.shape[0], tensor.numel() // tensor.shape[1]


def calculate_gain(nonlinearity, param=0.01):
    table = {"leaky_relu": math.sqrt(2) / math.hypot(1, param), "relu": math.sqrt(2)}
    table |= {"tanh": 5 / 3, "selu": 3 / 4, "sigmoid": 1, "linear": 1}
    table |= dict.fromkeys(["conv1d", "conv2d", "conv3d"], 1)
    table |= dict.fromkeys([f"conv_transpose{n}d" for n in range(1, 4)], 1)
    if nonlinearity not in table:
        raise ValueError("unsupported")
    return table[nonlinearity]


def box_muller(n, generator):
    u, v = torch.rand(2, (n + 1) // 2, generator=generator).double()
    radius, angle = (-2 * torch.log1p(-u)).sqrt(), 2 * math.pi * v
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:n]


def write(tensor, numbers):
    tensor.detach()[...] = numbers.view(tensor.shape).to(tensor.dtype)
    return tensor


def normal(tensor, std, generator):
    return write(tensor, std * box_muller(tensor.numel(), generator))


def uniform(tensor, bound, generator):
    numbers = torch.empty(tensor.numel(), dtype=torch.float64).uniform_(0, 2, generator=generator)
    return write(tensor, bound * (1 - numbers))


def xavier_uniform_(tensor, gain=1.0, generator=None):
    return uniform(tensor, gain * (6 / sum(calculate_fan_in_and_fan_out(tensor))) ** 0.5, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    return normal(tensor, gain * (2 / sum(calculate_fan_in_and_fan_out(tensor))) ** 0.5, generator)


def pick(tensor, mode):
    for name, fan in zip(("fan_in", "fan_out"), calculate_fan_in_and_fan_out(tensor)):
        if name == mode.lower():
            return fan
    raise ValueError(mode)


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    if tensor.nelement() > 0:
        bound = calculate_gain(nonlinearity, a) * (3 / pick(tensor, mode)) ** 0.5
        uniform(tensor, bound, generator)
    return tensor


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    if tensor.nelement() > 0:
        std = calculate_gain(nonlinearity, a) / pick(tensor, mode) ** 0.5
        normal(tensor, std, generator)
    return tensor


def scaled_residual_(tensor, num_layers, std=0.02, generator=None):
    if not num_layers >= 1:
        raise ValueError("too few layers")
    return normal(tensor, std * math.sqrt(0.5 / num_layers), generator)
