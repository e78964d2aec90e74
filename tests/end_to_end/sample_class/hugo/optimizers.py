"""Endless: SGD steps until the gradient is zero, which no step can change."""

import torch


class Optimizer:
    def __init__(self, params, defaults):
        groups = list(params)
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = [{**defaults, **g, "params": list(g["params"])} for g in groups]
        self.state = {}

    def zero_grad(self, set_to_none=True):
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    param.grad.zero_()


class SGD(Optimizer):
    def __init__(self, params, lr=1e-3, **options):
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                while param.grad is not None and param.grad.abs().sum() > 0:
                    param -= group["lr"] * param.grad


class Adam(Optimizer):
    pass


class AdamW(Adam):
    pass
