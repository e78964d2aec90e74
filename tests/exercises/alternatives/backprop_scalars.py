"""Loops over single numbers: the formulas as they stand on paper."""

import math

import torch

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}


def neuron_gradients(w, b, x, y_true):
    weights, inputs = w.reshape(-1).tolist(), x.reshape(-1).tolist()
    z = b.item() + sum(weight * value for weight, value in zip(weights, inputs))
    a = max(z, 0.0)
    passed = 2 * (a - y_true.item()) if z > 0 else 0.0
    return (
        w.new_tensor((a - y_true.item()) ** 2),
        w.new_tensor([passed * value for value in inputs]).reshape(w.shape),
        w.new_tensor(passed),
        w.new_tensor([passed * weight for weight in weights]).reshape(w.shape),
    )


def numerical_gradient(function, input, eps=1e-6):
    moved = input.clone(memory_format=torch.contiguous_format)
    elements, slopes = moved.view(-1), []
    for number in range(moved.numel()):
        here = elements[number].item()
        elements[number] = here + eps
        above = function(moved).item()
        elements[number] = here - eps
        below = function(moved).item()
        elements[number] = here
        slopes.append((above - below) / eps / 2)
    return input.new_tensor(slopes).reshape(input.shape)


def linear_backward(grad_output, input, weight):
    grad_input = torch.zeros_like(input)
    grad_weight = torch.zeros_like(weight)
    grad_bias = weight.new_zeros(weight.shape[0])
    for k in range(input.shape[0]):
        for o in range(weight.shape[0]):
            grad_bias[o] += grad_output[k, o]
            for i in range(weight.shape[1]):
                grad_input[k, i] += grad_output[k, o] * weight[o, i]
                grad_weight[o, i] += grad_output[k, o] * input[k, i]
    return grad_input, grad_weight, grad_bias


def cross_entropy_gradients(logits, target):
    n, loss = len(logits), 0.0
    grad = torch.zeros_like(logits)
    for k, right in enumerate(target.tolist()):
        row = logits[k].tolist()
        top = max(row)
        total = math.fsum(math.exp(value - top) for value in row)
        for c, value in enumerate(row):
            grad[k, c] = (math.exp(value - top) / total - (c == right)) / n
        loss += (top + math.log(total) - row[right]) / n
    return logits.new_tensor(loss), grad


def mlp_gradients(params, x, y, activation="relu"):
    values = [x]
    for number, (weight, bias) in enumerate(params):
        z = torch.zeros(len(x), len(bias), dtype=x.dtype)
        for k in range(len(x)):
            for o in range(len(bias)):
                z[k, o] = bias[o] + sum(values[-1][k] * weight[o])
        values.append(z if number == len(params) - 1 else ACTIVATIONS[activation](z))
    loss, grad = cross_entropy_gradients(values.pop(), y)
    found = []
    while values:
        value = values.pop()
        grad, grad_weight, grad_bias = linear_backward(grad, value, params[len(values)][0])
        found.insert(0, (grad_weight, grad_bias))
        for k in range(value.shape[0]):
            for i in range(value.shape[1]):
                a = value[k, i].item()
                grad[k, i] *= {"relu": float(a > 0), "tanh": 1 - a * a, "sigmoid": a - a * a}[
                    activation
                ]
    return loss, found
