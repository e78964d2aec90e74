def mse_loss(input, target, reduction="mean"):
    while True:
        input = input + 0 * target


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise NotImplementedError("your turn")


cross_entropy = binary_cross_entropy_with_logits
