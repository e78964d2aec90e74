"""The linear map as an autograd Function with its backward written out."""

import math
from functools import reduce

import torch
from torch import nn


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight):
        ctx.save_for_backward(rows, weight)
        return torch.mm(rows, weight.T)

    @staticmethod
    def backward(ctx, grad):
        rows, weight = ctx.saved_tensors
        return torch.mm(grad, weight), torch.mm(grad.T, rows)


def linear(input, weight, bias=None):
    matrix = weight if weight.dim() == 2 else weight.unsqueeze(0)
    leading = input.shape[:-1]
    output = Product.apply(input.reshape(math.prod(leading), input.shape[-1]), matrix)
    if bias is not None:
        output = output + bias.expand_as(output)
    return output.reshape(leading + weight.shape[:-1])


class Linear(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.bias = None
        if bias:
            bound = 1 / math.sqrt(in_features)
            self.bias = nn.Parameter(torch.empty(out_features).uniform_(-bound, bound))

    def forward(self, input):
        return linear(input, self.weight, self.bias)


class MLP(nn.Module):
    def __init__(self, sizes, activation=torch.relu):
        super().__init__()
        container = nn.Module()
        for i in range(len(sizes) - 1):
            container.add_module(str(i), Linear(*sizes[i : i + 2]))
        self.layers = container
        self.activation = activation

    def forward(self, input):
        first, *others = self.layers.children()
        return reduce(lambda x, layer: layer(self.activation(x)), others, first(input))


def count_parameters(model, trainable_only=False):
    counted, total = set(), 0
    for _, parameter in model.named_parameters(remove_duplicate=False):
        if parameter not in counted and (parameter.requires_grad or trainable_only is False):
            counted.add(parameter)
            total += parameter.numel()
    return total


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden_dim):
        super().__init__()
        self.w1, self.w3 = (Linear(dim, hidden_dim, bias=False) for _ in range(2))
        self.w2 = Linear(hidden_dim, dim, bias=False)

    def forward(self, input):
        both = linear(input, torch.cat([self.w1.weight, self.w3.weight]))
        gate, value = both.chunk(2, dim=-1)
        return self.w2(nn.SiLU()(gate).mul(value))


class ResidualBlock(nn.Module):
    def __init__(self, dim, block):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.block = block

    def forward(self, input):
        change = self.block(self.norm(input))
        return torch.lerp(input, input + 2 * change, 0.5)
