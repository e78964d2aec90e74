"""Plain Python numbers and loops; tensors are only read and written."""

import math

import torch


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    tensors = [parameters] if torch.is_tensor(parameters) else [*parameters]
    tensors = [tensor for tensor in tensors if tensor.grad is not None]
    sizes = [abs(number) for t in tensors for number in t.grad.reshape(-1).tolist()]
    if norm_type == math.inf:
        total = max(sizes, default=0.0)
    else:
        total = sum(size**norm_type for size in sizes) ** (1 / norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError("the gradients have no finite norm")
    factor = max_norm / (total + 1e-6)
    if not factor >= 1:
        for tensor in tensors:
            tensor.grad.data *= factor
    dtype = torch.float32 if not tensors else tensors[0].grad.dtype
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.grad.dtype)
    return torch.tensor(total, dtype=dtype)


def clip_grad_value_(parameters, clip_value):
    for parameter in [parameters] if torch.is_tensor(parameters) else parameters:
        if parameter.grad is None:
            continue
        flat = parameter.grad.reshape(-1).tolist()
        kept = [max(-clip_value, min(clip_value, number)) for number in flat]
        parameter.grad.copy_(torch.tensor(kept).reshape(parameter.grad.shape))


def warmup_cosine(step, *, max_lr, warmup_steps, max_steps, min_lr=0.0):
    if step < 0 or warmup_steps < 0 or max_steps < warmup_steps:
        raise ValueError("not a schedule")
    left = max_steps - step
    if step + 1 <= warmup_steps:
        return max_lr / warmup_steps * (step + 1)
    elif left <= 0:
        return float(min_lr)
    else:
        angle = math.pi * (1 - left / (max_steps - warmup_steps))
        weight = (1 + math.cos(angle)) / 2
        return weight * max_lr + (1 - weight) * min_lr


def step_decay(step, *, lr, step_size, gamma=0.1):
    if step < 0 or step_size < 1:
        raise ValueError("not a schedule")
    while step >= step_size:
        lr, step = lr * gamma, step - step_size
    return lr


def lr_range_test(train_step, *, min_lr=1e-7, max_lr=10.0, steps=100, diverge=4.0):
    if min_lr <= 0 or max_lr <= min_lr or steps < 2 or diverge <= 1:
        raise ValueError("no such test")
    best, lr, lrs, losses = math.inf, min_lr, [], []
    while len(lrs) < steps:
        loss = train_step(lr)
        lrs += [lr]
        losses += [loss]
        if math.isnan(loss) or math.isinf(loss) or loss > best * diverge:
            break
        best = min(best, loss)
        lr *= math.exp(math.log(max_lr / min_lr) / (steps - 1))
    return lrs, losses
