# Texts are cut; but there can be many of them.
def mse_loss(input, target, reduction="mean"):
    return {f"{number}": "x" * 1900 for number in range(1000)}


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    return [["x" * 1900] * 500]


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    return [[number] * 1000 for number in range(12)]
