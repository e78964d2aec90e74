"""Choosing instead of multiplying: torch.where, masked_fill, one flat vector of parameters."""

import torch
from torch.nn.utils import parameters_to_vector


def dropout(input, p=0.5, training=True, *, generator=None):
    if p < 0 or p > 1:
        raise ValueError("not a probability")
    if not training or p == 0:
        return input.clone()
    zeros = torch.zeros_like(input)
    if p == 1:
        return torch.where(torch.zeros_like(input, dtype=torch.bool), input, zeros)
    uniform = torch.rand(input.shape, generator=generator, device=input.device)
    return torch.where(uniform >= p, input / (1 - p), zeros)


def l2_penalty(parameters, weight_decay):
    parameters = [parameter.reshape(-1) for parameter in parameters]
    if not parameters:
        return torch.tensor(0.0)
    vector = parameters_to_vector(parameters)
    return weight_decay * vector.dot(vector) / 2


class EarlyStopping:
    def __init__(self, patience=5, min_delta=0.0):
        if patience < 1 or min_delta < 0:
            raise ValueError("patience must be positive, min_delta not negative")
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_step, self.best_state = float("inf"), None, None
        self.wait = self.steps = 0

    def step(self, loss, model=None):
        loss = loss.item() if isinstance(loss, torch.Tensor) else loss
        number, self.steps = self.steps, self.steps + 1
        self.wait += 1
        if loss + self.min_delta < self.best:
            self.best, self.best_step, self.wait = loss, number, 0
            if model is not None:
                self.best_state = {
                    name: value.detach().clone() for name, value in model.state_dict().items()
                }
        return not self.wait < self.patience

    def restore(self, model):
        if self.best_state is None:
            raise RuntimeError("nothing to restore")
        for name, value in model.state_dict().items():
            value.copy_(self.best_state[name])
