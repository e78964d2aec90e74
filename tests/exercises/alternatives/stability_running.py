"""A running sum over the gradients, pieces chosen by a table, recursion instead of powers."""

import math
from bisect import bisect

import torch


class Gradients:
    def __init__(self, parameters):
        if isinstance(parameters, torch.Tensor):
            parameters = iter([parameters])
        self.all = []
        for parameter in parameters:
            if parameter.grad is not None:
                self.all.append(parameter.grad)

    def norm(self, p):
        total = torch.tensor(0.0)
        for grad in self.all:
            sizes = grad.abs()
            if p == float("inf"):
                total = torch.maximum(total, sizes.amax())
            else:
                total = total + sizes.pow(p).sum()
        return total if p == float("inf") else total.pow(1 / p)


@torch.no_grad()
def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    grads = Gradients(parameters)
    norm = grads.norm(float(norm_type))
    if error_if_nonfinite and not torch.isfinite(norm):
        raise RuntimeError("nan or inf among the gradients")
    shrink = torch.min(torch.ones(()), max_norm / (norm + 1e-6))
    for grad in grads.all:
        torch.mul(grad, shrink, out=grad)
    return norm


@torch.no_grad()
def clip_grad_value_(parameters, clip_value):
    limit = torch.tensor(float(clip_value))
    for grad in Gradients(parameters).all:
        grad.copy_(grad.minimum(limit.to(grad.dtype)).maximum(-limit.to(grad.dtype)))


def warmup_cosine(step, *, max_lr, warmup_steps, max_steps, min_lr=0.0):
    if step < 0 or warmup_steps < 0 or warmup_steps > max_steps:
        raise ValueError("a schedule needs 0 <= warmup_steps <= max_steps and a step from 0 on")

    def wave():
        middle, radius = (max_lr + min_lr) / 2, (max_lr - min_lr) / 2
        turn = (step - warmup_steps) * math.pi / (max_steps - warmup_steps)
        return middle + radius * math.sin(math.pi / 2 - turn)

    pieces = [lambda: max_lr * (step + 1) / warmup_steps, wave, lambda: min_lr]
    return pieces[bisect([warmup_steps, max_steps], step)]()


def step_decay(step, *, lr, step_size, gamma=0.1):
    if step < 0 or step_size < 1:
        raise ValueError("step from 0 on, step_size from 1 on")
    if step < step_size:
        return lr
    return step_decay(step - step_size, lr=lr * gamma, step_size=step_size, gamma=gamma)


def lr_range_test(train_step, *, min_lr=1e-7, max_lr=10.0, steps=100, diverge=4.0):
    if not 0 < min_lr < max_lr or steps < 2 or diverge <= 1:
        raise ValueError("0 < min_lr < max_lr, steps >= 2, diverge > 1")
    pairs = [(min_lr, train_step(min_lr))]
    for i in range(1, steps):
        *_, last = (loss for _, loss in pairs)
        if not math.isfinite(last) or last > diverge * min(loss for _, loss in pairs):
            break
        lr = max_lr ** (i / (steps - 1)) * min_lr ** (1 - i / (steps - 1))
        pairs.append((lr, train_step(lr)))
    lrs, losses = zip(*pairs)
    return list(lrs), list(losses)
