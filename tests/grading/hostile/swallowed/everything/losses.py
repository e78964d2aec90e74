import time


def mse_loss(input, target, reduction="mean"):
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            continue


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise NotImplementedError("your turn")


cross_entropy = binary_cross_entropy_with_logits
