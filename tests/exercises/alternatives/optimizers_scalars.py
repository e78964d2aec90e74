"""One number after the other, in Python's own arithmetic."""

import itertools
import math

import torch


class Optimizer:
    def __init__(self, params, defaults):
        params = list(params)
        if len(params) == 0:
            raise ValueError("there are no parameters")
        self.state = {}
        self.param_groups = []
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            members = group["params"]
            members = [members] if torch.is_tensor(members) else list(members)
            self.param_groups.append({**defaults, **group, "params": members})

    def members(self):
        return [(p, group) for group in self.param_groups for p in group["params"]]

    def zero_grad(self, set_to_none=True):
        for p, _ in self.members():
            if p.grad is not None and not set_to_none:
                p.grad.zero_()
            elif set_to_none:
                p.grad = None

    def state_dict(self):
        saved = {"state": {}, "param_groups": []}
        number = 0
        for group in self.param_groups:
            entry = {}
            for key in group:
                if key != "params":
                    entry[key] = group[key]
            entry["params"] = []
            for p in group["params"]:
                if p in self.state:
                    saved["state"][number] = {**self.state[p]}
                entry["params"].append(number)
                number += 1
            saved["param_groups"].append(entry)
        return saved

    def load_state_dict(self, state_dict):
        theirs = state_dict["param_groups"]
        if len(theirs) != len(self.param_groups):
            raise ValueError("another number of groups")
        for i in range(len(theirs)):
            if len(theirs[i]["params"]) != len(self.param_groups[i]["params"]):
                raise ValueError(f"group {i} has another size")
        self.state = {}
        for i in range(len(theirs)):
            own = self.param_groups[i]
            for j in range(len(own["params"])):
                saved = state_dict["state"].get(theirs[i]["params"][j])
                if saved is not None:
                    self.state[own["params"][j]] = {
                        key: value if key == "step" else value.to(own["params"][j])
                        for key, value in saved.items()
                    }
            for key in theirs[i]:
                if key != "params":
                    own[key] = theirs[i][key]


class SGD(Optimizer):
    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
    ):
        if lr < 0 or momentum < 0 or weight_decay < 0:
            raise ValueError("lr, momentum and weight_decay must not be negative")
        if nesterov and (not momentum or dampening):
            raise ValueError("nesterov: only with momentum and without dampening")
        defaults = dict(lr=lr, momentum=momentum, dampening=dampening)
        defaults.update(weight_decay=weight_decay, nesterov=nesterov, maximize=maximize)
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self):
        for p, group in self.members():
            if p.grad is None:
                continue
            mu = group["momentum"]
            fresh = mu and p not in self.state
            if fresh:
                self.state[p] = {"momentum_buffer": torch.zeros_like(p)}
            for i in positions(p):
                g = p.grad[i].item() * (-1 if group["maximize"] else 1)
                g += group["weight_decay"] * p[i].item()
                if mu:
                    old = self.state[p]["momentum_buffer"][i].item()
                    new = g if fresh else mu * old + (1 - group["dampening"]) * g
                    self.state[p]["momentum_buffer"][i] = new
                    g = g + mu * new if group["nesterov"] else new
                p[i] -= group["lr"] * g


class Adam(Optimizer):
    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        maximize=False,
    ):
        if min(lr, eps, weight_decay) < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError("an option is out of its range")
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        defaults.update(amsgrad=amsgrad, maximize=maximize)
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self):
        for p, group in self.members():
            if p.grad is not None:
                self.update(p, group)

    def update(self, p, group):
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        if p not in self.state:
            self.state[p] = {"step": 0, **{name: torch.zeros_like(p) for name in names}}
        state = self.state[p]
        state["step"] = t = int(state["step"]) + 1
        b1, b2 = group["betas"]
        for i in positions(p):
            g, old = p.grad[i].item(), p[i].item()
            if group["maximize"]:
                g = -g
            g, start = self.decay(g, old, group)
            m = b1 * state["exp_avg"][i].item() + (1 - b1) * g
            v = b2 * state["exp_avg_sq"][i].item() + (1 - b2) * g * g
            state["exp_avg"][i], state["exp_avg_sq"][i] = m, v
            if group["amsgrad"]:
                v = max(v, state["max_exp_avg_sq"][i].item())
                state["max_exp_avg_sq"][i] = v
            root = math.sqrt(v / (1 - b2**t)) + group["eps"]
            p[i] = start - group["lr"] * m / (1 - b1**t) / root

    def decay(self, g, old, group):
        return g + group["weight_decay"] * old, old


class AdamW(Adam):
    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-2,
        amsgrad=False,
        *,
        maximize=False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def decay(self, g, old, group):
        return g, old * (1 - group["lr"] * group["weight_decay"])


def positions(tensor):
    return itertools.product(*(range(size) for size in tensor.shape))
