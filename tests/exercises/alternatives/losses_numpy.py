"""NumPy computes every loss and its derivatives by hand; autograd only passes them on."""

import numpy as np
import torch


def with_derivatives(function):
    """Make a loss of a NumPy function that returns losses and what multiplies their gradient."""

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, input, target, *options):
            arrays = [tensor.detach().double().numpy() for tensor in (input, target)]
            with np.errstate(all="ignore"):
                losses, ctx.by_input, ctx.by_target, ctx.axis = function(*arrays, *options)
            ctx.dtype = input.dtype
            ctx.count = 2 + len(options)
            return torch.as_tensor(np.asarray(losses)).to(input.dtype)

        @staticmethod
        def backward(ctx, grad):
            upstream = grad.double() if ctx.axis is None else grad.double().unsqueeze(ctx.axis)
            grads = [
                None if factor is None else (upstream * torch.as_tensor(factor)).to(ctx.dtype)
                for factor in (ctx.by_input, ctx.by_target)
            ]
            return (*grads, *[None] * (ctx.count - 2))

    return Loss.apply


@with_derivatives
def squared(x, t):
    return (x - t) ** 2, 2 * (x - t), 2 * (t - x), None


@with_derivatives
def binary(x, t, weight):
    yes, no = np.logaddexp(0, -x), np.logaddexp(0, x)
    by_input = (1 - t) * np.exp(-yes) - weight * t * np.exp(-no)
    return weight * t * yes + (1 - t) * no, by_input, weight * yes - no, None


@with_derivatives
def multiclass(x, t, smoothing):
    axis = min(x.ndim, 2) - 1
    shifted = x - x.max(axis, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
    classes = np.moveaxis(np.eye(x.shape[axis]), -1, 0)
    q = t if t.shape == x.shape else np.moveaxis(classes[t.astype(int)], -1, axis)
    smooth = (1 - smoothing) * q + smoothing / x.shape[axis]
    losses = -np.where(smooth == 0, 0, smooth * log_p).sum(axis)
    # The probabilities of the target need not add up to 1.
    by_input = smooth.sum(axis, keepdims=True) * np.exp(log_p) - smooth
    by_target = None if t.shape != x.shape else (smoothing - 1) * log_p
    return losses, by_input, by_target, axis


def collected(losses, reduction):
    if reduction == "none":
        return losses
    return torch.sum(losses) if reduction == "sum" else torch.mean(losses)


def mse_loss(input, target, reduction="mean"):
    return collected(squared(input, target), reduction)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    weight = 1.0 if pos_weight is None else pos_weight.numpy().astype(float)
    return collected(binary(input, target, weight), reduction)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    return collected(multiclass(input, target, label_smoothing), reduction)
