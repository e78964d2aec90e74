"""Einstein summation; the network is one nn.Sequential; modules hold plain parameters."""

import math

import torch
from torch import nn


def linear(input, weight, bias=None):
    output = torch.einsum("...i,...i->..." if weight.dim() == 1 else "...i,oi->...o", input, weight)
    if bias is not None:
        output = torch.add(bias, output)
    return output


class Affine(nn.Module):
    def __init__(self, m, n, bias=True):
        super().__init__()
        limit = m**-0.5
        self.register_parameter("weight", nn.Parameter(torch.rand(n, m) * 2 * limit - limit))
        drawn = nn.Parameter(torch.rand(n) * 2 * limit - limit) if bias else None
        self.register_parameter("bias", drawn)

    def forward(self, input):
        return linear(input, self.weight, self.bias)


class MLP(nn.Module):
    def __init__(self, sizes, activation=torch.relu):
        super().__init__()
        self.layers = nn.Sequential(
            *[Affine(sizes[i], sizes[i + 1]) for i in range(len(sizes) - 1)]
        )
        self.phi = activation

    def forward(self, input):
        for i, layer in enumerate(self.layers):
            if i > 0:
                input = self.phi(input)
            input = layer(input)
        return input


def count_parameters(model, trainable_only=False):
    shapes = {id(p): p.shape for p in model.parameters() if p.requires_grad or not trainable_only}
    return sum(math.prod(shape) for shape in shapes.values())


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden_dim):
        super().__init__()
        for name, sizes in {"w1": (dim, hidden_dim), "w3": (dim, hidden_dim)}.items():
            self.add_module(name, Affine(*sizes, bias=False))
        self.add_module("w2", Affine(hidden_dim, dim, bias=False))

    def forward(self, input):
        gate = torch.einsum("...i,oi->...o", input, self.w1.weight)
        value = torch.einsum("...i,oi->...o", input, self.w3.weight)
        return torch.einsum("...o,...o,...o,io->...i", gate, gate.sigmoid(), value, self.w2.weight)


class ResidualBlock(nn.Module):
    def __init__(self, dim, block):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.block = block

    def forward(self, input):
        return torch.stack([self.block(self.norm(input)), input]).sum(0)
