"""Wrong: zero_grad sees the first group only, SGD has no options, AdamW decays as Adam does."""

import torch


class Optimizer:
    def __init__(self, params, defaults):
        groups = list(params)
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = [{**defaults, **g, "params": list(g["params"])} for g in groups]
        self.state = {}

    def zero_grad(self, set_to_none=True):
        for param in self.param_groups[0]["params"]:
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad.zero_()

    def state_dict(self):
        raise NotImplementedError("your turn: Optimizer.state_dict")

    def load_state_dict(self, state_dict):
        raise NotImplementedError("your turn: Optimizer.load_state_dict")


class SGD(Optimizer):
    def __init__(self, params, lr=1e-3, **options):
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param -= group["lr"] * param.grad


class Adam(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, **options):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "amsgrad": False, "maximize": False, **options})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self.update(param, group)

    def update(self, param, group):
        grad = -param.grad if group["maximize"] else param.grad
        grad = grad + group["weight_decay"] * param
        zero = torch.zeros_like(param)
        state = self.state.setdefault(
            param, {"step": 0, "exp_avg": zero, "exp_avg_sq": zero, "top": zero}
        )
        beta1, beta2 = group["betas"]
        state["step"] += 1
        state["exp_avg"] = beta1 * state["exp_avg"] + (1 - beta1) * grad
        state["exp_avg_sq"] = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad**2
        state["top"] = torch.maximum(state["top"], state["exp_avg_sq"])
        v = state["top"] if group["amsgrad"] else state["exp_avg_sq"]
        m_hat, v_hat = state["exp_avg"] / (1 - beta1 ** state["step"]), v / (1 - beta2 ** state["step"])
        param -= group["lr"] * m_hat / (v_hat.sqrt() + group["eps"])


class AdamW(Adam):
    def __init__(self, params, *options, weight_decay=0.01, **more):
        super().__init__(params, *options, weight_decay=weight_decay, **more)
