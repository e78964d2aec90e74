"""NumPy in float64 inside; tensors of the parameter's dtype in the state."""

from collections import defaultdict

import numpy as np
import torch


class Optimizer:
    def __init__(self, params, defaults):
        given = [*params]
        if not given:
            raise ValueError("expected at least one parameter")
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        self.param_groups = []
        for group in groups:
            params = group["params"]
            params = [params] if isinstance(params, torch.Tensor) else list(params)
            self.param_groups.append({**defaults, **group, "params": params})
        self.state = defaultdict(dict)

    def zero_grad(self, set_to_none=True):
        with_grad = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        for p in with_grad:
            if set_to_none:
                p.grad = None
            else:
                p.grad.detach().fill_(0)

    def state_dict(self):
        start, groups, state = 0, [], {}
        for group in self.param_groups:
            numbers = list(range(start, start + len(group["params"])))
            start += len(numbers)
            groups.append({**group, "params": numbers})
            for number, p in zip(numbers, group["params"]):
                if self.state.get(p):
                    state[number] = self.state[p].copy()
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        groups = state_dict["param_groups"]
        if len(groups) != len(self.param_groups):
            raise ValueError("wrong number of groups")
        pairs = list(zip(self.param_groups, groups))
        if any(len(own["params"]) != len(new["params"]) for own, new in pairs):
            raise ValueError("wrong number of parameters")
        self.state.clear()
        for own, new in pairs:
            own.update({name: value for name, value in new.items() if name != "params"})
            for p, number in zip(own["params"], new["params"]):
                for name, value in state_dict["state"].get(number, {}).items():
                    average = name != "step"
                    self.state[p][name] = value.to(p.device, p.dtype) if average else value

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    sign = -1.0 if group["maximize"] else 1.0
                    value = self.moved(array(p), sign * array(p.grad), self.state[p], p, group)
                    with torch.no_grad():
                        p.copy_(torch.from_numpy(value))


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
        if np.min([lr, momentum, weight_decay]) < 0:
            raise ValueError("negative lr, momentum or weight_decay")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("nesterov needs momentum > 0 and dampening = 0")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def moved(self, w, g, state, p, group):
        mu = group["momentum"]
        g = g + group["weight_decay"] * w
        direction = g
        if mu:
            direction = g
            if "momentum_buffer" in state:
                direction = mu * array(state["momentum_buffer"]) + (1 - group["dampening"]) * g
            state["momentum_buffer"] = like(p, direction)
            if group["nesterov"]:
                direction = g + mu * direction
        return w - group["lr"] * direction


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
        if np.min([lr, eps, weight_decay]) < 0:
            raise ValueError("negative lr, eps or weight_decay")
        if np.min(betas) < 0 or np.max(betas) >= 1:
            raise ValueError("betas outside [0, 1)")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def moved(self, w, g, state, p, group):
        g = g + group["weight_decay"] * w
        return w - group["lr"] * self.ratio(g, state, p, group)

    def ratio(self, g, state, p, group):
        step = int(state.get("step", 0)) + 1
        averages = []
        for name, beta, new in zip(("exp_avg", "exp_avg_sq"), group["betas"], (g, np.square(g))):
            old = array(state[name]) if name in state else np.zeros_like(g)
            averages.append(beta * old + (1 - beta) * new)
            state[name] = like(p, averages[-1])
        m, v = averages
        if group["amsgrad"]:
            v = np.maximum(v, array(state["max_exp_avg_sq"])) if step > 1 else v
            state["max_exp_avg_sq"] = like(p, v)
        state["step"] = step
        first, second = (1 - np.power(beta, step) for beta in group["betas"])
        return (m / first) / (np.sqrt(v) / np.sqrt(second) + group["eps"])


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

    def moved(self, w, g, state, p, group):
        ratio = self.ratio(g, state, p, group)
        return w - group["lr"] * (ratio + group["weight_decay"] * w)


def array(tensor):
    return tensor.detach().double().numpy().copy()


def like(param, values):
    return torch.from_numpy(np.asarray(values)).to(param.dtype)
