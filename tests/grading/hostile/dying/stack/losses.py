# Without Python's limit, a recursion through C goes on until the stack is full.
import sys
import threading

sys.setrecursionlimit(2**31 - 1)
threading.stack_size(1 << 28)


class Deep:
    def __lt__(self, other):
        return sorted([Deep(), Deep()])[0]

    def __repr__(self):
        return repr([self])


def mse_loss(input, target, reduction="mean"):
    return sorted([Deep(), Deep()])


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise RuntimeError(repr(Deep()))


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    return cross_entropy(input, target)
