"""NumPy for every number: grids, masks and norms of arrays."""

import itertools

import numpy as np
import torch


def arrays(tensors):
    return [tensor.double().numpy() for tensor in tensors]


def collected(parameters):
    several = [parameters] if isinstance(parameters, torch.Tensor) else parameters
    return list(filter(lambda grad: grad is not None, (tensor.grad for tensor in several)))


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    grads = collected(parameters)
    if not grads:
        return torch.tensor(0.0)
    total = np.linalg.norm(np.concatenate([a.ravel() for a in arrays(grads)]), ord=norm_type)
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(f"norm {total}")
    with np.errstate(invalid="ignore"):
        factor = np.minimum(1.0, max_norm / (total + 1e-6))
    for grad in grads:
        grad *= float(factor)
    dtype = max((grad.dtype for grad in grads), key=lambda dtype: torch.finfo(dtype).bits)
    return torch.as_tensor(total, dtype=dtype)


def clip_grad_value_(parameters, clip_value):
    for grad in collected(parameters):
        grad.copy_(torch.as_tensor(np.clip(grad.double().numpy(), -clip_value, clip_value)))


def warmup_cosine(step, *, max_lr, warmup_steps, max_steps, min_lr=0.0):
    if step < 0 or not 0 <= warmup_steps <= max_steps:
        raise ValueError(step)
    if step < warmup_steps:
        return float(np.linspace(0, max_lr, warmup_steps + 1)[step + 1])
    tail = np.cos(np.linspace(0, np.pi, max_steps - warmup_steps + 1))
    position = np.minimum(step, max_steps) - warmup_steps
    if max_steps == warmup_steps:
        return float(min_lr)
    return float(np.interp(tail[position], [-1, 1], [min_lr, max_lr]))


def step_decay(step, *, lr, step_size, gamma=0.1):
    if step < 0 or step_size < 1:
        raise ValueError((step, step_size))
    return float(lr * np.prod(np.full(int(np.floor(step / step_size)), gamma)))


def lr_range_test(train_step, *, min_lr=1e-7, max_lr=10.0, steps=100, diverge=4.0):
    if not 0 < min_lr < max_lr or steps < 2 or not diverge > 1:
        raise ValueError
    going = [True]

    def record(lr):
        loss, best = train_step(lr), min(history, default=np.inf)
        going[0] = bool(np.isfinite(loss) and loss <= diverge * best)
        history.append(loss)
        return lr

    history = []
    grid = iter(np.geomspace(min_lr, max_lr, steps).tolist())
    lrs = [record(lr) for lr in itertools.takewhile(lambda _: going[0], grid)]
    return lrs, history
