"""Loops over slices and parameters, in-place products on a copy, and bytes for the best state."""

import io

import torch


def dropout(input, p=0.5, training=True, *, generator=None):
    if p != min(max(p, 0), 1):
        raise ValueError(f"{p} is outside [0, 1]")
    if not training:
        return input.view_as(input)
    rows = [dropped(row, p, generator) for row in input.unbind()] if input.dim() else []
    if rows:
        return torch.stack(rows)
    return dropped(input, p, generator)


def dropped(row, p, generator):
    probabilities = torch.full(row.shape, 1 - p, dtype=torch.float64, device=row.device)
    mask = torch.bernoulli(probabilities, generator=generator)
    result = row.clone()
    result *= mask.to(row.dtype)
    return result / (1 - p) if p < 1 else result


def l2_penalty(parameters, weight_decay):
    total = torch.zeros(())
    for parameter in parameters:
        flat = parameter.flatten()
        total = total + weight_decay * torch.einsum("i,i->", flat, flat)
    return total * 0.5


class EarlyStopping:
    def __init__(self, patience=5, min_delta=0.0):
        if not (patience >= 1 and min_delta >= 0):
            raise ValueError("patience >= 1 and min_delta >= 0 are needed")
        self.patience = patience
        self.min_delta = min_delta
        self.best = float("inf")
        self.best_step = None
        self.best_state = None
        self.wait = 0
        self.steps = 0

    def step(self, loss, model=None):
        target = self.best - self.min_delta
        is_improvement = bool(loss < target)
        self.wait = 0 if is_improvement else self.wait + 1
        if is_improvement:
            self.best = torch.as_tensor(loss).clone()
            self.best_step = self.steps
        if is_improvement and model is not None:
            file = io.BytesIO()
            torch.save(model.state_dict(), file)
            self.best_state = file.getvalue()
        self.steps += 1
        return self.wait // self.patience > 0

    def restore(self, model):
        if not self.best_state:
            raise RuntimeError("nothing was kept")
        model.load_state_dict(torch.load(io.BytesIO(self.best_state)))
