"""Wrong: no bias correction. Not written: the base's methods and SGD."""

import torch


class Optimizer:
    def __init__(self, params, defaults):
        groups = list(params)
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = [{**defaults, **g, "params": list(g["params"])} for g in groups]
        self.state = {}

    def zero_grad(self, set_to_none=True):
        raise NotImplementedError("your turn: Optimizer.zero_grad")

    def state_dict(self):
        raise NotImplementedError("your turn: Optimizer.state_dict")

    def load_state_dict(self, state_dict):
        raise NotImplementedError("your turn: Optimizer.load_state_dict")


class SGD(Optimizer):
    def __init__(self, params, lr=1e-3, **options):
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self):
        raise NotImplementedError("your turn: SGD.step")


def adam_update_(param, grad, state, group):
    if not state:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param)
        state["exp_avg_sq"] = torch.zeros_like(param)
        state["max_exp_avg_sq"] = torch.zeros_like(param)
    beta1, beta2 = group["betas"]
    state["step"] += 1
    state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)
    state["exp_avg_sq"].mul_(beta2).add_(grad**2, alpha=1 - beta2)
    v = state["exp_avg_sq"]
    if group["amsgrad"]:
        v = state["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], v)
    param.sub_(group["lr"] * state["exp_avg"] / (v.sqrt() + group["eps"]))


class Adam(Optimizer):
    default_decay = 0

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, **options):
        defaults = {"weight_decay": self.default_decay, "amsgrad": False, "maximize": False}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, **defaults, **options})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    grad = param.grad * (-1 if group["maximize"] else 1)
                    grad = grad + group["weight_decay"] * param
                    adam_update_(param, grad, self.state.setdefault(param, {}), group)


class AdamW(Adam):
    default_decay = 0.01

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param.mul_(1 - group["lr"] * group["weight_decay"])
                    grad = param.grad * (-1 if group["maximize"] else 1)
                    adam_update_(param, grad, self.state.setdefault(param, {}), group)
