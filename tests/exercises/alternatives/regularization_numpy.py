"""NumPy masks and gradients by hand, in autograd functions; losses kept as a list."""

import copy
import math

import numpy as np
import torch


class Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, factors):
        ctx.factors = factors
        return input * factors

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factors, None


class HalfSquares(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight_decay, *parameters):
        ctx.weight_decay = weight_decay
        ctx.save_for_backward(*parameters)
        total = math.fsum(float(np.square(p.detach().double().numpy()).sum()) for p in parameters)
        return torch.tensor(weight_decay * total / 2)

    @staticmethod
    def backward(ctx, grad):
        return None, *(
            (grad * ctx.weight_decay * parameter).to(parameter.dtype)
            for parameter in ctx.saved_tensors
        )


def dropout(input, p=0.5, training=True, *, generator=None):
    if not 0 <= p <= 1:
        raise ValueError(p)
    if not training:
        return input
    seed = torch.randint(2**62, (), generator=generator).item()
    kept = np.random.default_rng(seed).random(tuple(input.shape)) >= p
    factors = kept / (1 - p) if p < 1 else kept
    return Masked.apply(input, torch.as_tensor(factors).to(input))


def l2_penalty(parameters, weight_decay):
    return HalfSquares.apply(weight_decay, *parameters)


class EarlyStopping:
    def __init__(self, patience=5, min_delta=0.0):
        if patience < 1:
            raise ValueError(patience)
        if min_delta < 0:
            raise ValueError(min_delta)
        self.patience = patience
        self.min_delta = min_delta
        self.losses = []
        self.records = [(math.inf, None)]
        self.best_state = None

    best = property(lambda self: self.records[-1][0])
    best_step = property(lambda self: self.records[-1][1])

    @property
    def steps(self):
        return len(self.losses)

    @property
    def wait(self):
        return self.steps if self.best_step is None else self.steps - 1 - self.best_step

    def step(self, loss, model=None):
        loss = float(loss)
        if self.best - loss > self.min_delta:
            self.records.append((loss, self.steps))
            if model is not None:
                self.best_state = copy.deepcopy(model)
        self.losses.append(loss)
        return np.bool_(self.wait >= self.patience)

    def restore(self, model):
        if self.best_state is None:
            raise RuntimeError("no model was seen")
        model.load_state_dict(self.best_state.state_dict())
