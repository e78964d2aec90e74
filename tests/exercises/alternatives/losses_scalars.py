"""One loss at a time in Python loops; the losses are stacked at the end."""

import torch


def collect(losses, like, shape, reduction):
    if reduction == "none":
        return torch.stack(losses).reshape(shape) if losses else like.new_empty(shape)
    total = like.new_zeros(())
    for loss in losses:
        total = total + loss
    return total / torch.tensor(len(losses)) if reduction == "mean" else total


def mse_loss(input, target, reduction="mean"):
    pairs = zip(input.flatten(), target.flatten())
    return collect([(x - t) * (x - t) for x, t in pairs], input, input.shape, reduction)


def surprise(x):
    """-log(sigmoid(x))"""
    if x >= 0:
        return torch.log1p(torch.exp(-x))
    return torch.log1p(torch.exp(x)) - x


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    weight = torch.ones_like(input) if pos_weight is None else pos_weight.expand_as(input)
    losses = [
        w * t * surprise(x) + (1 - t) * surprise(-x)
        for x, t, w in zip(input.flatten(), target.flatten(), weight.flatten())
    ]
    return collect(losses, input, input.shape, reduction)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    axis = 0 if input.dim() == 1 else 1
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    rows = input.movedim(axis, -1).reshape(-1, input.shape[axis])
    if target.is_floating_point():
        goals = target.movedim(axis, -1).reshape(rows.shape)
    else:
        goals = target.flatten().tolist()
    losses = [of_one(row, goal, label_smoothing) for row, goal in zip(rows, goals)]
    return collect(losses, input, shape, reduction)


def of_one(logits, goal, smoothing):
    largest = max(logits.tolist())
    log_total = sum(torch.exp(logit - largest) for logit in logits).log() + largest
    surprises = [log_total - logit for logit in logits]
    if isinstance(goal, int):
        loss = surprises[goal]
    else:
        loss = sum(q * s for q, s in zip(goal, surprises))
    if smoothing > 0:
        loss = (1 - smoothing) * loss + smoothing * sum(surprises) / len(surprises)
    return loss
