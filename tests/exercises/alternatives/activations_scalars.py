"""One number at a time; torch only adds, multiplies and takes exponentials of 0-dim tensors."""

import math

import torch


def each(function):
    """Let a function of one 0-dim tensor work on all elements of a tensor."""

    def over_all(input, *args):
        if input.dtype == torch.bfloat16:
            return over_all(input.float(), *args).bfloat16()
        if input.numel() == 0:
            return input.clone()
        numbers = [function(number, *args) for number in input.flatten().unbind()]
        return torch.stack(numbers).reshape(input.shape)

    return over_all


def logistic(x):
    if x < 0:
        return x.exp() / (x.exp() + 1)
    return (-x).exp().add(1).reciprocal()


def hyperbolic(x):
    if x < 0:
        return ((2 * x).exp() - 1) / ((2 * x).exp() + 1)
    return (1 - (-2 * x).exp()) / (1 + (-2 * x).exp())


def kinked(x, slope=0):
    return x.clone() if x > 0 else x * slope


def gaussian(x):
    return x * (torch.erf(x * math.sqrt(0.5)) + 1) * 0.5


def gaussian_by_tanh(x):
    return x * (hyperbolic(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)) + 1) * 0.5


def sigmoid(input):
    return each(logistic)(input)


def tanh(input):
    return each(hyperbolic)(input)


def relu(input):
    return each(kinked)(input)


def leaky_relu(input, negative_slope=0.01):
    return each(kinked)(input, negative_slope)


def gelu(input, approximate="none"):
    return each(gaussian if approximate == "none" else gaussian_by_tanh)(input)


def silu(input):
    return each(lambda x: x * logistic(x))(input)


def swish(input, beta=1.0):
    if not isinstance(beta, torch.Tensor):
        return each(lambda x: x * logistic(beta * x))(input)
    pairs = torch.broadcast_tensors(input, beta)
    numbers = [x * logistic(b * x) for x, b in zip(*(pair.flatten() for pair in pairs))]
    return torch.stack(numbers).reshape(pairs[0].shape)


def softmax(input, dim):
    if input.dim() == 0:
        return torch.exp(input - input)
    if input.numel() == 0:
        return input.clone()
    lanes = input.movedim(dim, -1)
    rows = [probabilities(row) for row in lanes.reshape(-1, input.shape[dim])]
    return torch.stack(rows).reshape(lanes.shape).movedim(-1, dim)


def probabilities(row):
    largest = max(row.tolist())
    weights = [torch.exp(score - largest) for score in row]
    total = weights[0]
    for weight in weights[1:]:
        total = total + weight
    return torch.stack([weight / total for weight in weights])
