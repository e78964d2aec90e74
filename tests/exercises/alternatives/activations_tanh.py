"""Everything from torch.tanh, which never overflows; the tanh itself from a sigmoid."""

import torch


def sigmoid(input):
    return torch.tanh(input / 2) / 2 + 0.5


def tanh(input):
    x = input if input.is_floating_point() else input.to(torch.get_default_dtype())
    return 1 - 2 * torch.exp(-torch.nn.functional.softplus(2 * x))


def relu(input):
    return input * torch.gt(input, 0)


def leaky_relu(input, negative_slope=0.01):
    slope = torch.full_like(input, negative_slope).masked_fill(input > 0, 1)
    return slope * input


def gelu(input, approximate="none"):
    if approximate == "tanh":
        cubic = torch.addcmul(input, input * input, input, value=0.044715)
        return input / 2 + input / 2 * torch.tanh(cubic * 0.7978845608028654)
    return input * torch.special.ndtr(input)


def silu(input):
    return input / 2 * torch.tanh(input / 2) + input / 2


def swish(input, beta=1.0):
    half = input / 2
    return half * torch.tanh(half * beta) + half


def softmax(input, dim):
    return torch.exp(input - torch.logsumexp(input, dim, keepdim=True))
