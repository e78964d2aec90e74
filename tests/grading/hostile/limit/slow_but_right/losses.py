# Sleeps for nearly a second in all, and is within its limits all the same.
import time


def mse_loss(input, target, reduction="mean"):
    time.sleep(0.02)
    losses = (input - target) ** 2
    return {"mean": losses.mean, "sum": losses.sum, "none": losses.clone}[reduction]()
