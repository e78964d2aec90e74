import os


def mse_loss(input, target, reduction="mean"):
    os._exit(0)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    os._exit(1)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    os._exit(255)
