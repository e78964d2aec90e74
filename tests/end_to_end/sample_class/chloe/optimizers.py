"""Correct, out of place and by the formulas, with the decay taken off together with the step."""

import torch


class Optimizer:
    def __init__(self, params, defaults):
        groups = list(params)
        if len(groups) == 0:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = []
        for group in groups:
            members = group["params"]
            members = [members] if isinstance(members, torch.Tensor) else list(members)
            self.param_groups.append({**defaults, **group, "params": members})
        self.state = {}

    def _params(self):
        return [param for group in self.param_groups for param in group["params"]]

    def _with_gradient(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    sign = -1 if group["maximize"] else 1
                    yield group, param, sign * param.grad

    def zero_grad(self, set_to_none=True):
        for param in self._params():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad.fill_(0)

    def state_dict(self):
        params = self._params()
        state = {
            number: self.state[param] for number, param in enumerate(params) if param in self.state
        }
        groups, first = [], 0
        for group in self.param_groups:
            saved = dict(group)
            saved["params"] = list(range(first, first + len(group["params"])))
            first += len(group["params"])
            groups.append(saved)
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        saved = state_dict["param_groups"]
        if [len(g["params"]) for g in saved] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("these groups are not the saved ones")
        by_number = dict(zip([n for group in saved for n in group["params"]], self._params()))
        self.state = {}
        for n, state in state_dict["state"].items():
            own = by_number[n]
            self.state[own] = {k: v if k == "step" else v.to(own.dtype) for k, v in state.items()}
        for group, old in zip(self.param_groups, saved):
            for name, value in old.items():
                if name != "params":
                    group[name] = value


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
            raise ValueError("options must not be negative")
        if nesterov and (not momentum or dampening):
            raise ValueError("nesterov needs a momentum and no dampening")
        options = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    @torch.no_grad()
    def step(self):
        for group, param, grad in self._with_gradient():
            grad = grad + group["weight_decay"] * param
            if group["momentum"]:
                old = self.state.get(param)
                if old is None:
                    buffer = grad
                else:
                    kept = group["momentum"] * old["momentum_buffer"]
                    buffer = kept + (1 - group["dampening"]) * grad
                self.state[param] = {"momentum_buffer": buffer}
                grad = grad + group["momentum"] * buffer if group["nesterov"] else buffer
            param.copy_(param - group["lr"] * grad)


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
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError("an option is out of its range")
        options = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})

    def _direction(self, group, param, grad):
        (beta1, beta2), zero = group["betas"], torch.zeros_like(param)
        old = self.state.get(param, {"step": 0, "exp_avg": zero, "exp_avg_sq": zero})
        t = old["step"] + 1
        m = beta1 * old["exp_avg"] + (1 - beta1) * grad
        v = beta2 * old["exp_avg_sq"] + (1 - beta2) * grad.square()
        self.state[param] = {"step": t, "exp_avg": m, "exp_avg_sq": v}
        if group["amsgrad"]:
            v = torch.maximum(v, old.get("max_exp_avg_sq", zero))
            self.state[param]["max_exp_avg_sq"] = v
        return (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + group["eps"])

    @torch.no_grad()
    def step(self):
        for group, param, grad in self._with_gradient():
            grad = grad + group["weight_decay"] * param
            param.copy_(param - group["lr"] * self._direction(group, param, grad))


class AdamW(Adam):
    def __init__(self, params, *options, weight_decay=1e-2, **named):
        super().__init__(params, *options, weight_decay=weight_decay, **named)

    @torch.no_grad()
    def step(self):
        for group, param, grad in self._with_gradient():
            change = self._direction(group, param, grad) + group["weight_decay"] * param
            param.copy_(param - group["lr"] * change)
