# Numbers that are not what they seem, and some that nobody can write down.
import decimal
import fractions

import numpy as np


class Chameleon(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


def mse_loss(input, target, reduction="mean"):
    kinds = [
        10**6000,
        Chameleon(7),
        np.float64(0),
        decimal.Decimal("NaN"),
        fractions.Fraction(1, 3),
        complex(0, float("nan")),
        np.longdouble("1e4900"),
    ]
    return kinds[input.numel() % len(kinds)]


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    return [True, False, None, float("nan"), float("inf"), -0.0, 10**400][input.numel() % 7]


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    return np.array([object()])
