# The message is the output that goes furthest.
import warnings


def mse_loss(input, target, reduction="mean"):
    raise RuntimeError("x" * 9_000_000)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    for _ in range(1000):
        print("x" * 10_000)
        warnings.warn("x" * 1000, stacklevel=1)
    return "x" * 9_000_000


class Talkative(Exception):
    def __str__(self):
        return "\n".join("x" * 1000 for _ in range(20_000))


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    raise Talkative
