import torch.nn.functional as F


def mse_loss(input, target, reduction="mean"):
    return F.mse_loss(input, target, reduction=reduction)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    loss = F.binary_cross_entropy_with_logits
    return loss(input, target, reduction=reduction, pos_weight=pos_weight)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    return F.cross_entropy(input, target, reduction=reduction, label_smoothing=label_smoothing)
