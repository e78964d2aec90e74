"""Wrong: the first momentum buffer is dampened, and AdamW's decay is not multiplied by lr."""

import torch


class Optimizer:
    def __init__(self, params, defaults):
        groups = list(params)
        if not groups:
            raise ValueError("no parameters")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = [{**defaults, **g, "params": list(g["params"])} for g in groups]
        self.state = {}

    def pairs(self):
        return [(p, g) for g in self.param_groups for p in g["params"]]

    def zero_grad(self, set_to_none=True):
        for p, _ in self.pairs():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    def state_dict(self):
        index = {p: i for i, (p, _) in enumerate(self.pairs())}
        groups = [{**g, "params": [index[p] for p in g["params"]]} for g in self.param_groups]
        return {"state": {index[p]: s for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict):
        saved = state_dict["param_groups"]
        if [len(g["params"]) for g in saved] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("different groups")
        self.state = {}
        for g, s in zip(self.param_groups, saved):
            for p, i in zip(g["params"], s["params"]):
                if i in state_dict["state"]:
                    self.state[p] = _moved_to(p, state_dict["state"][i])
            g.update({k: v for k, v in s.items() if k != "params"})


def _moved_to(param, values):
    return {k: v if k == "step" else v.to(param.device, param.dtype) for k, v in values.items()}


class SGD(Optimizer):
    def __init__(
        self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False
    ):
        defaults = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
        super().__init__(params, {**defaults, "nesterov": nesterov, "maximize": maximize})

    @torch.no_grad()
    def step(self):
        for p, g in self.pairs():
            if p.grad is None:
                continue
            d = -p.grad if g["maximize"] else p.grad
            d = d + g["weight_decay"] * p
            if g["momentum"]:
                state = self.state.setdefault(p, {"momentum_buffer": torch.zeros_like(p)})
                buffer = g["momentum"] * state["momentum_buffer"] + (1 - g["dampening"]) * d
                state["momentum_buffer"] = buffer
                d = d + g["momentum"] * buffer if g["nesterov"] else buffer
            p -= g["lr"] * d


class Adam(Optimizer):
    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, maximize=False
    ):
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)
        super().__init__(params, {**defaults, "maximize": maximize})

    def update(self, p, d, g):
        zeros = torch.zeros_like(p)
        s = self.state.setdefault(p, {"step": 0, "exp_avg": zeros, "exp_avg_sq": zeros})
        b1, b2 = g["betas"]
        s["step"] += 1
        s["exp_avg"] = b1 * s["exp_avg"] + (1 - b1) * d
        s["exp_avg_sq"] = b2 * s["exp_avg_sq"] + (1 - b2) * d * d
        v = s["exp_avg_sq"]
        if g["amsgrad"]:
            v = s["max_exp_avg_sq"] = torch.max(s.get("max_exp_avg_sq", zeros), v)
        m_hat, v_hat = s["exp_avg"] / (1 - b1 ** s["step"]), v / (1 - b2 ** s["step"])
        p -= g["lr"] * m_hat / (v_hat.sqrt() + g["eps"])

    @torch.no_grad()
    def step(self):
        for p, g in self.pairs():
            if p.grad is not None:
                d = -p.grad if g["maximize"] else p.grad
                self.update(p, d + g["weight_decay"] * p, g)


class AdamW(Adam):
    def __init__(self, params, *options, weight_decay=0.01, **more):
        super().__init__(params, *options, weight_decay=weight_decay, **more)

    @torch.no_grad()
    def step(self):
        for p, g in self.pairs():
            if p.grad is not None:
                p *= 1 - g["weight_decay"]
                self.update(p, -p.grad if g["maximize"] else p.grad, g)
