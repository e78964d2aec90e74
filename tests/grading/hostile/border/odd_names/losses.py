# Names that mean something to those who store things under them.
import torch


def mse_loss(input, target, reduction="mean"):
    names = (
        "__metadata__",
        "../../pwned",
        "/tmp/pwned",
        "tensor",
        "dict",
        "error",
        "",
        "\0",
        "\ud800",
    )
    return {name: torch.zeros(2) for name in names}


class Liar(dict):
    """Shows other items whenever it is looked at."""

    def items(self):
        return [("error", "your turn: nothing"), ("error", 7), (self, self)]

    keys = values = __iter__ = lambda self: iter([self])


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    return Liar(a=1)


class Multiple(list):
    def __iter__(self):
        while True:
            yield 0.0


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    raise RuntimeError("your turn\ud800\0\x1b")
