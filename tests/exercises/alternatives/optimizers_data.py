"""Out of place: ``param.data`` is replaced, buffers are rebound, decay and step are one formula."""

from copy import deepcopy

import torch


class Optimizer:
    def __init__(self, params, defaults):
        groups = list(params)
        if not groups:
            raise ValueError("no parameters")
        if isinstance(groups[0], torch.Tensor):
            groups = [dict(params=groups)]
        for group in groups:
            one = isinstance(group["params"], torch.Tensor)
            group["params"] = [group["params"]] if one else [*group["params"]]
        self.param_groups = [defaults | group for group in groups]
        self.state = dict()

    def zero_grad(self, set_to_none=True):
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    param.grad.detach_()
                    param.grad.copy_(torch.zeros_like(param.grad))

    def state_dict(self):
        everything = [param for group in self.param_groups for param in group["params"]]
        positions = {id(param): i for i, param in enumerate(everything)}
        return dict(
            state={
                positions[id(param)]: dict(self.state[param])
                for param in everything
                if param in self.state
            },
            param_groups=[
                group | dict(params=[positions[id(param)] for param in group["params"]])
                for group in self.param_groups
            ],
        )

    def load_state_dict(self, state_dict):
        saved = deepcopy(state_dict)
        sizes = [len(group["params"]) for group in saved["param_groups"]]
        if sizes != [len(group["params"]) for group in self.param_groups]:
            raise ValueError("the groups do not fit")
        mine = [param for group in self.param_groups for param in group["params"]]
        numbers = [number for group in saved["param_groups"] for number in group["params"]]
        by_number = dict(zip(numbers, mine))
        self.state = {}
        for number, values in saved["state"].items():
            mine = by_number[number]
            for name in set(values) - {"step"}:
                values[name] = values[name].to(mine.device, mine.dtype)
            self.state[mine] = values
        self.param_groups = [
            own | group | {"params": own["params"]}
            for own, group in zip(self.param_groups, saved["param_groups"])
        ]


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
        for value in (lr, momentum, weight_decay):
            if value < 0:
                raise ValueError("negative option")
        if nesterov and not (momentum > 0 and dampening == 0):
            raise ValueError("nesterov does not go with these options")
        options = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
        super().__init__(params, options | dict(nesterov=nesterov, maximize=maximize))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    step = group["lr"] * self.direction(param, group)
                    param.data = param.data - step

    def direction(self, param, group):
        sign = 1 - 2 * group["maximize"]
        grad = sign * param.grad.data + group["weight_decay"] * param.data
        if group["momentum"] == 0:
            return grad
        kept = self.state.get(param, {}).get("momentum_buffer")
        if kept is None:
            kept = grad
        else:
            kept = group["momentum"] * kept + (1 - group["dampening"]) * grad
        self.state[param] = {"momentum_buffer": kept}
        return grad + group["momentum"] * kept if group["nesterov"] else kept


class Adam(Optimizer):
    decoupled = False

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
        for value in (lr, eps, weight_decay):
            if value < 0:
                raise ValueError("negative option")
        for beta in betas:
            if not 0 <= beta < 1:
                raise ValueError("beta out of range")
        options = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(params, options | dict(amsgrad=amsgrad, maximize=maximize))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param.data = param.data - group["lr"] * self.change(param, group)

    def change(self, param, group):
        decay = group["weight_decay"] * param.data
        grad = -param.grad if group["maximize"] else param.grad
        grad = grad if self.decoupled else grad + decay
        zero = torch.zeros_like(param.data)
        state = self.state.get(param, {"step": 0, "exp_avg": zero, "exp_avg_sq": zero})
        (beta1, beta2), t = group["betas"], float(state["step"]) + 1.0
        m = state["exp_avg"] * beta1 + grad * (1 - beta1)
        v = state["exp_avg_sq"] * beta2 + grad * grad * (1 - beta2)
        self.state[param] = {"step": t, "exp_avg": m, "exp_avg_sq": v}
        if group["amsgrad"]:
            v = torch.maximum(v, state.get("max_exp_avg_sq", zero))
            self.state[param]["max_exp_avg_sq"] = v
        ratio = (m / (1 - beta1**t)) / (torch.sqrt(v / (1 - beta2**t)) + group["eps"])
        return ratio + decay if self.decoupled else ratio


class AdamW(Adam):
    decoupled = True

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
