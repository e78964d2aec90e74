"""One long vector for the norm, clipping behind a condition, schedules from cut-off progress."""

from math import cos, isfinite, pi

import torch


def gradients(parameters):
    if isinstance(parameters, torch.Tensor):
        parameters = (parameters,)
    return tuple(p.grad.detach() for p in parameters if p.grad is not None)


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    grads = gradients(parameters)
    if len(grads) == 0:
        return torch.zeros(())
    total = torch.cat([grad.flatten() for grad in grads]).norm(p=norm_type)
    if error_if_nonfinite and (total.isnan() or total.isinf()):
        raise RuntimeError("cannot clip by a norm that is nan or infinite")
    if total > max_norm:
        for grad in grads:
            grad.copy_(grad / (total + 1e-6) * max_norm)
    return total


def clip_grad_value_(parameters, clip_value):
    for grad in gradients(parameters):
        grad[grad > clip_value] = clip_value
        grad[grad < -clip_value] = -clip_value


def warmup_cosine(step, *, max_lr, warmup_steps, max_steps, min_lr=0.0):
    if min(step, warmup_steps, max_steps - warmup_steps) < 0:
        raise ValueError("steps out of order")
    if step < warmup_steps:
        return (step + 1) * max_lr / warmup_steps
    length = max_steps - warmup_steps
    progress = min(1.0, (step - warmup_steps) / length) if length else 1.0
    # The half-angle formula: (1 + cos(x)) / 2 is the square of cos(x / 2).
    return min_lr + (max_lr - min_lr) * cos(pi / 2 * progress) ** 2


def step_decay(step, *, lr, step_size, gamma=0.1):
    if step < 0 or step_size <= 0:
        raise ValueError("steps out of range")
    drops, _ = divmod(step, step_size)
    return float(lr * pow(gamma, drops))


def lr_range_test(train_step, *, min_lr=1e-7, max_lr=10.0, steps=100, diverge=4.0):
    if not (0 < min_lr < max_lr and steps >= 2 and diverge > 1):
        raise ValueError("arguments out of range")
    ends = torch.tensor([min_lr, max_lr], dtype=torch.float64).log10().tolist()
    rates = torch.logspace(*ends, steps).tolist()
    losses = []
    for lr in rates:
        losses.append(train_step(lr))
        fine = isfinite(losses[-1]) and losses[-1] <= diverge * min(losses[:-1], default=torch.inf)
        if not fine:
            break
    return rates[: len(losses)], losses
