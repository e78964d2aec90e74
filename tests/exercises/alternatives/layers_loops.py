"""One output at a time in Python loops; recursion through the modules."""

import torch
from torch import nn


def linear(input, weight, bias=None):
    if weight.dim() == 1:
        output = torch.zeros_like(input[..., 0])
        for j in range(weight.shape[0]):
            output = output + weight[j] * input[..., j]
        return output if bias is None else output + bias
    columns = [linear(input, row) for row in weight]
    if bias is not None:
        columns = [column + b for column, b in zip(columns, bias)]
    return torch.stack(columns, dim=-1)


class Linear(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(in_features**-0.5), in_features**-0.5)

    def forward(self, input):
        return linear(input, self.weight, self.bias)


class MLP(nn.Module):
    def __init__(self, sizes, activation=torch.relu):
        super().__init__()
        self.layers = nn.ModuleList()
        self.activations = []
        for i in range(1, len(sizes)):
            self.layers.append(Linear(sizes[i - 1], sizes[i]))
            self.activations.append(activation)
        self.activations[-1] = lambda x: x

    def forward(self, input):
        output = input
        for i in range(len(self.layers)):
            output = self.activations[i](self.layers[i](output))
        return output


def count_parameters(model, trainable_only=False):
    seen = []

    def visit(module):
        total = 0
        for parameter in module._parameters.values():
            if parameter is not None and not any(parameter is other for other in seen):
                seen.append(parameter)
                if not trainable_only or parameter.requires_grad:
                    total += parameter.nelement()
        for child in module.children():
            total += visit(child)
        return total

    return visit(model)


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden_dim):
        super().__init__()
        self.w3 = Linear(dim, hidden_dim, False)
        self.w2 = Linear(hidden_dim, dim, False)
        self.w1 = Linear(dim, hidden_dim, False)

    def forward(self, input):
        gate = self.w1(input)
        # The sigmoid through tanh.
        swish = gate * (torch.tanh(gate / 2) + 1) / 2
        return self.w2(self.w3(input) * swish)


class ResidualBlock(nn.Module):
    def __init__(self, dim, block):
        super().__init__()
        self.norm, self.block = nn.LayerNorm(dim), block

    def forward(self, input):
        output = input.clone()
        output += self.block(self.norm(input))
        return output
