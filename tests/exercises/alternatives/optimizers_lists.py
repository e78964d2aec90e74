"""A group at a time: lists of tensors, and torch's operations on whole lists.

The step count and the corrections are 0-d float32 tensors, as in torch's ``capturable`` form.
"""

import torch


class Optimizer:
    def __init__(self, params, defaults):
        params = list(params)
        if params == []:
            raise ValueError("empty")
        if not all(isinstance(group, dict) for group in params):
            params = [{"params": params}]
        self.state = {}
        self.param_groups = []
        for group in params:
            full = defaults.copy()
            full.update(group)
            tensors = group["params"]
            full["params"] = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
            self.param_groups.append(full)

    def zero_grad(self, set_to_none=True):
        for group in self.param_groups:
            if set_to_none:
                for param in group["params"]:
                    param.grad = None
            elif grads := [param.grad for param in group["params"] if param.grad is not None]:
                torch._foreach_zero_(grads)

    def state_dict(self):
        flat = [param for group in self.param_groups for param in group["params"]]
        state = {i: dict(self.state[p]) for i, p in enumerate(flat) if p in self.state}
        groups, numbers = [], iter(range(len(flat)))
        for group in self.param_groups:
            options = {name: value for name, value in group.items() if name != "params"}
            groups.append({**options, "params": [next(numbers) for _ in group["params"]]})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        def size(groups):
            return [len(group["params"]) for group in groups]

        saved = state_dict["param_groups"]
        if size(saved) != size(self.param_groups):
            raise ValueError("sizes differ")
        self.state = {
            param: {
                name: value if name == "step" else value.to(param.device, param.dtype)
                for name, value in state_dict["state"][number].items()
            }
            for own, new in zip(self.param_groups, saved)
            for param, number in zip(own["params"], new["params"])
            if number in state_dict["state"]
        }
        for own, new in zip(self.param_groups, saved):
            params = own["params"]
            own.clear()
            own.update({**new, "params": params})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if params:
                grads = [param.grad for param in params]
                self.move(params, torch._foreach_neg(grads) if group["maximize"] else grads, group)


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
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        if negative := [name for name, value in defaults.items() if value < 0]:
            raise ValueError(f"{negative} must not be negative")
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError("nesterov")
        defaults |= {"dampening": dampening, "nesterov": nesterov, "maximize": maximize}
        super().__init__(params, defaults)

    def move(self, params, grads, group):
        mu = group["momentum"]
        if group["weight_decay"]:
            grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
        if mu:
            grads = self.directions(params, grads, group)
        torch._foreach_add_(params, grads, alpha=-group["lr"])

    def directions(self, params, grads, group):
        buffers = []
        for param, grad in zip(params, grads):
            if param in self.state:
                buffer = self.state[param]["momentum_buffer"]
                buffer.mul_(group["momentum"]).add_(grad, alpha=1 - group["dampening"])
            else:
                buffer = grad.clone()
                self.state[param] = {"momentum_buffer": buffer}
            buffers.append(buffer)
        if not group["nesterov"]:
            return buffers
        return torch._foreach_add(grads, buffers, alpha=group["momentum"])


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
        defaults = {"lr": lr, "eps": eps, "weight_decay": weight_decay}
        if negative := [name for name, value in defaults.items() if value < 0]:
            raise ValueError(f"{negative} must not be negative")
        if max(betas) >= 1 or min(betas) < 0:
            raise ValueError("betas")
        defaults |= {"betas": betas, "amsgrad": amsgrad, "maximize": maximize}
        super().__init__(params, defaults)

    def move(self, params, grads, group):
        if group["weight_decay"]:
            grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
        self.adam(params, grads, group)

    def adam(self, params, grads, group):
        beta1, beta2 = group["betas"]
        for param in params:
            if param not in self.state:
                self.state[param] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(param),
                    "exp_avg_sq": torch.zeros_like(param),
                }
                if group["amsgrad"]:
                    self.state[param]["max_exp_avg_sq"] = torch.zeros_like(param)
            self.state[param]["step"] = torch.as_tensor(self.state[param]["step"]) + 1
        averages = [self.state[param]["exp_avg"] for param in params]
        squares = [self.state[param]["exp_avg_sq"] for param in params]
        steps = [self.state[param]["step"] for param in params]
        torch._foreach_lerp_(averages, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        if group["amsgrad"]:
            largest = [self.state[param]["max_exp_avg_sq"] for param in params]
            torch._foreach_maximum_(largest, squares)
            squares = largest
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, [(1 - beta2**step).sqrt() for step in steps])
        torch._foreach_add_(roots, group["eps"])
        corrected = torch._foreach_div(averages, [1 - beta1**step for step in steps])
        torch._foreach_addcdiv_(params, corrected, roots, -group["lr"])


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

    def move(self, params, grads, group):
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        self.adam(params, grads, group)
