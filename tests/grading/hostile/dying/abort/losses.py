import os
import signal


def mse_loss(input, target, reduction="mean"):
    os.abort()


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGILL, signal.SIGKILL):
        os.kill(os.getpid(), number)
    return input


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while True:
        pass
