"""NumPy in float64 inside, with the gradient written by hand in an autograd Function."""

import numpy as np
import torch


class Standardize(torch.autograd.Function):
    """Rows of a matrix, divided by the root of their mean square, after centring if asked."""

    @staticmethod
    def forward(ctx, x, centre, eps):
        values = array(x)
        if centre:
            values = values - values.mean(axis=1, keepdims=True)
        inverse = (np.square(values).mean(axis=1, keepdims=True) + eps) ** -0.5
        ctx.save = values * inverse, inverse, centre
        return torch.from_numpy(values * inverse)

    @staticmethod
    def backward(ctx, grad_output):
        output, inverse, centre = ctx.save
        grad = grad_output.numpy()
        along = (grad * output).mean(axis=1, keepdims=True) * output
        if centre:
            along = along + grad.mean(axis=1, keepdims=True)
        return torch.from_numpy((grad - along) * inverse), None, None


def batch_norm(
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    rows = input.transpose(0, 1).double()
    shape, channels = rows.shape, rows.shape[0]
    if input.numel() == 0:
        output = rows
    elif training:
        flat = rows.reshape(channels, -1)
        output = Standardize.apply(flat, True, eps).reshape(shape)
        if running_mean is not None:
            values = array(flat)
            for running, now in (
                (running_mean, values.mean(axis=1)),
                (running_var, values.var(axis=1, ddof=1)),
            ):
                kept = (1 - momentum) * array(running) + momentum * now
                running.copy_(torch.from_numpy(kept))
    else:
        apart = [-1] + [1] * (rows.dim() - 1)
        deviation = torch.sqrt(running_var.double() + eps)
        output = (rows - running_mean.double().reshape(apart)) / deviation.reshape(apart)
    return per_channel(output.transpose(0, 1), weight, bias).to(input.dtype)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    return over_the_last(input, normalized_shape, True, weight, bias, eps)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    if eps is None:
        eps = 2.0**-52 if input.dtype == torch.float64 else 2.0**-23
    return over_the_last(input, normalized_shape, False, weight, None, eps)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    if input.numel() == 0:
        return input.clone()
    rows = input.double().reshape(len(input) * num_groups, -1)
    output = Standardize.apply(rows, True, eps).reshape(input.shape)
    return per_channel(output, weight, bias).to(input.dtype)


def over_the_last(input, normalized_shape, centre, weight, bias, eps):
    rows = input.double().reshape(-1, int(np.prod(normalized_shape)))
    output = Standardize.apply(rows, centre, eps).reshape(input.shape)
    if weight is not None:
        output = output * weight
    if bias is not None:
        output = output + bias
    return output.to(input.dtype)


def per_channel(output, weight, bias):
    output = output.movedim(1, -1)
    if weight is not None:
        output = output * weight
    if bias is not None:
        output = output + bias
    return output.movedim(-1, 1)


def array(x):
    return x.detach().double().numpy()
