"""A chain of pure functions from a gradient to a step; an optimizer is a list of them."""

from dataclasses import dataclass
from functools import partial, reduce

import torch


@dataclass
class Optimizer:
    params: object
    defaults: dict

    def __post_init__(self):
        given = list(self.params)
        if not given:
            raise ValueError("no parameters were given")
        given = given if isinstance(given[0], dict) else [{"params": given}]
        self.param_groups = [{**self.defaults, **group} for group in given]
        for group in self.param_groups:
            alone = isinstance(group["params"], torch.Tensor)
            group["params"] = [group["params"]] if alone else list(group["params"])
        self.state = {}

    def walk(self):
        for group in self.param_groups:
            yield from ((param, group) for param in group["params"])

    def zero_grad(self, set_to_none=True):
        for param, _ in self.walk():
            match (param.grad, set_to_none):
                case (None, _):
                    pass
                case (_, True):
                    param.grad = None
                case (grad, False):
                    torch.nn.init.zeros_(grad)

    def state_dict(self):
        number = {param: i for i, (param, _) in enumerate(self.walk())}
        return {
            "state": {number[param]: {**kept} for param, kept in self.state.items()},
            "param_groups": [
                {**group, "params": list(map(number.get, group["params"]))}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict):
        groups, state = state_dict["param_groups"], state_dict["state"]
        try:
            matched = [
                (own, new, list(zip(own["params"], new["params"], strict=True)))
                for own, new in zip(self.param_groups, groups, strict=True)
            ]
        except ValueError:
            raise ValueError("the saved groups have other sizes") from None
        pairs = [pair for *_, members in matched for pair in members]
        self.state = {param: copied(state[key], param) for param, key in pairs if key in state}
        for own, new, _ in matched:
            own |= {**new, "params": own["params"]}

    @torch.no_grad()
    def step(self):
        for param, group in self.walk():
            if param.grad is None:
                continue
            before = {**self.state.get(param, {})}
            apply = partial(transform, param.detach().clone(), group)
            update, after = reduce(apply, self.chain, (param.grad.clone(), before))
            if after:
                self.state[param] = after
            param -= update


def transform(param, group, now, function):
    return function(param, group, *now)


def copied(kept, param):
    return {k: v if k == "step" else v.to(param.device, param.dtype) for k, v in kept.items()}


def turn_round(param, group, update, state):
    return (-update, state) if group["maximize"] else (update, state)


def add_decay(param, group, update, state):
    return torch.add(update, param, alpha=group["weight_decay"]), state


def remember(param, group, update, state):
    momentum = group["momentum"]
    if not momentum:
        return update, state
    buffer = update
    if "momentum_buffer" in state:
        buffer = momentum * state["momentum_buffer"] + (1 - group["dampening"]) * update
    direction = update + momentum * buffer if group["nesterov"] else buffer
    return direction, {**state, "momentum_buffer": buffer}


def normalise(param, group, update, state):
    beta1, beta2 = group["betas"]
    step = int(state.get("step", 0)) + 1
    zero = torch.zeros_like(param)
    first = torch.lerp(state.get("exp_avg", zero), update, 1 - beta1)
    second = torch.lerp(state.get("exp_avg_sq", zero), update.square(), 1 - beta2)
    new = {"step": step, "exp_avg": first, "exp_avg_sq": second}
    if group["amsgrad"]:
        second = torch.fmax(state.get("max_exp_avg_sq", zero), second)
        new["max_exp_avg_sq"] = second
    root = (second / (1 - beta2**step)).sqrt()
    return first / (1 - beta1**step) / (root + group["eps"]), new


def times_lr(param, group, update, state):
    return group["lr"] * update, state


def in_range(**options):
    for name, (value, below) in options.items():
        if value < 0 or value >= below:
            raise ValueError(f"{name}={value} is not in [0, {below})")


class SGD(Optimizer):
    chain = (turn_round, add_decay, remember, times_lr)

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
        inf = float("inf")
        in_range(lr=(lr, inf), momentum=(momentum, inf), weight_decay=(weight_decay, inf))
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError("nesterov=True needs momentum and dampening=0")
        options = {"lr": lr, "momentum": momentum, "dampening": dampening}
        options |= {"weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize}
        super().__init__(params, options)


class Adam(Optimizer):
    chain = (turn_round, add_decay, normalise, times_lr)

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
        inf = float("inf")
        in_range(lr=(lr, inf), eps=(eps, inf), weight_decay=(weight_decay, inf))
        in_range(beta1=(betas[0], 1), beta2=(betas[1], 1))
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})


class AdamW(Adam):
    chain = (turn_round, normalise, add_decay, times_lr)

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
