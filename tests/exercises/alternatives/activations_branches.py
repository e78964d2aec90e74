"""Each side by itself with boolean masks, and the answers scattered into an empty tensor."""

import math

import torch


def by_side(input, on_the_right, on_the_left):
    positive = input > 0
    right, left = on_the_right(input[positive]), on_the_left(input[~positive])
    output = torch.empty(input.shape, dtype=right.dtype, device=input.device)
    return output.masked_scatter(positive, right).masked_scatter(~positive, left)


def logistic(x):
    return 1 / (1 + torch.exp(-x))


def logistic_on_the_left(x):
    z = torch.exp(x)
    return z / (1 + z)


def hyperbolic(x):
    z = torch.exp(-2 * x)
    return (1 - z) / (1 + z)


def sigmoid(input):
    return by_side(input, logistic, logistic_on_the_left)


def tanh(input):
    return by_side(input, hyperbolic, lambda x: -hyperbolic(-x))


def relu(input):
    return by_side(input, lambda x: x, lambda x: 0 * x)


def leaky_relu(input, negative_slope=0.01):
    return by_side(input, lambda x: x, lambda x: x * negative_slope)


def gelu(input, approximate="none"):
    if approximate == "none":
        return input * torch.erfc(-input * math.sqrt(0.5)) / 2
    return input * sigmoid(math.sqrt(8 / math.pi) * (input + 0.044715 * input.pow(3)))


def silu(input):
    return swish(input)


def swish(input, beta=1.0):
    gate = sigmoid(torch.mul(input, beta))
    return torch.mul(gate, input)


def softmax(input, dim):
    if input.dim() == 0:
        return input - input + 1
    slices = input.unbind(dim)
    largest = slices[0]
    for one in slices[1:]:
        largest = torch.maximum(largest, one)
    exponentials = [torch.exp(one - largest) for one in slices]
    return torch.stack([one / sum(exponentials) for one in exponentials], dim)
