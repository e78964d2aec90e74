"""Masks and weighted sums instead of indices; max(x, 0) and log1p instead of logaddexp."""

import torch


def mse_loss(input, target, reduction="mean"):
    error = input - target
    if reduction == "none":
        return error * error
    total = torch.dot(error.flatten(), error.flatten())
    return total / error.numel() if reduction == "mean" else total


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    zero = input.new_zeros(())
    # max(x, 0) shares its slope at 0, so that the whole is smooth there.
    yes = torch.maximum(-input, zero) + torch.log1p(torch.exp(-input.abs()))
    no = torch.maximum(input, zero) + torch.log1p(torch.exp(-input.abs()))
    weight = 1 if pos_weight is None else pos_weight
    losses = torch.lerp(no, yes * weight, target)
    return sum_or_mean(losses, reduction)


def sum_or_mean(losses, reduction):
    return {"none": lambda: losses, "sum": losses.sum, "mean": losses.mean}[reduction]()


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    axis = min(input.dim(), 2) - 1
    largest = input.detach().max(dim=axis, keepdim=True).values
    shifted = input - largest
    log_sum = torch.log(torch.exp(shifted).sum(axis, keepdim=True))
    surprise = log_sum - shifted
    if target.shape == input.shape:
        q = target + label_smoothing * (1 / input.shape[axis] - target)
        return sum_or_mean((q * surprise).sum(axis), reduction)
    shape = [1] * input.dim()
    shape[axis] = -1
    numbers = torch.arange(input.shape[axis], device=input.device).reshape(shape)
    right = numbers == target.unsqueeze(axis)
    losses = surprise.masked_fill(~right, 0).sum(axis)
    if label_smoothing > 0:
        uniform = surprise.sum(axis) / input.shape[axis]
        losses = losses + label_smoothing * (uniform - losses)
    return sum_or_mean(losses, reduction)
