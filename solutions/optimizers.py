"""Optimizers: from a gradient to a step.

The classes take the constructor arguments of their namesakes in ``torch.optim``, keep the same
state under the same names, and read and write the same state dictionaries, so that a run can
be saved with one and continued with the other. Book: ML Core, 3.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Optimizer:
    """What every optimizer shares: parameter groups, ``zero_grad`` and saving.

    Args:
        params: an iterable of tensors (a generator is fine), or of dictionaries, one per
            parameter group, each with a key ``"params"`` and any options that differ there.
        defaults: the options of a group that does not set its own, for example ``{"lr": 0.1}``.

    Attributes:
        param_groups: list of dictionaries: ``"params"`` (a list of tensors) and every option.
        state: dictionary from a parameter to its own dictionary of tensors and counters; empty
            until the first step.

    Raises:
        TypeError: ``params`` is a tensor itself, or holds something that is none.
        ValueError: there are no parameters at all, one of them is in two groups, or one is the
            result of a computation.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params is a tensor: give a list of tensors, or model.parameters()")
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = [
            {**defaults, **group, "params": _as_list(group["params"])} for group in groups
        ]
        _require_own_leaves(self.param_groups)
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, before the next backward pass adds to them.

        Args:
            set_to_none: set ``.grad`` to ``None`` (the default, as in torch); otherwise fill
                the existing gradients with zeros in place and leave a ``None`` alone.
        """
        ### BEGIN SOLUTION
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    param.grad.zero_()
        ### END SOLUTION

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later run needs to continue, in torch's layout.

        Parameters are numbered 0, 1, 2, ... through all groups in order.

        Returns:
            ``{"state": {number: {name: value}}, "param_groups": [{option: value, "params":
            [numbers]}]}``. A parameter that has no state yet has no entry under ``"state"``.
            Nothing of the state is copied.
        """
        ### BEGIN SOLUTION
        numbers: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                numbers[param] = len(numbers)
            groups.append({**group, "params": [numbers[param] for param in group["params"]]})
        state = {numbers[param]: values for param, values in self.state.items()}
        return {"state": state, "param_groups": groups}
        ### END SOLUTION

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned, in this or in an earlier run.

        The options of the groups come from ``state_dict``, the parameters stay this
        optimizer's own. ``state_dict`` is not changed, now or by a later step. The state's
        floating-point tensors come to their parameter's device and dtype (``_moved_to`` does it).

        Args:
            state_dict: a dictionary as ``state_dict`` (or torch's optimizer) returns it.

        Raises:
            ValueError: the number of groups, or of parameters in a group, is not this one's;
                nothing has changed then.
        """
        ### BEGIN SOLUTION
        saved_groups = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in self.param_groups]
        saved_sizes = [len(group["params"]) for group in saved_groups]
        if sizes != saved_sizes:
            raise ValueError(f"saved groups have {saved_sizes} parameters, these have {sizes}")
        self.state.clear()
        for group, saved_group in zip(self.param_groups, saved_groups, strict=True):
            params = group["params"]
            for param, number in zip(params, saved_group["params"], strict=True):
                if number in state_dict["state"]:
                    self.state[param] = _moved_to(param, state_dict["state"][number])
            group.update(saved_group, params=params)
        ### END SOLUTION


def _moved_to(param: Tensor, values: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a parameter's saved state whose tensors can be used beside it."""
    return {
        name: value.to(param.device, param.dtype if value.is_floating_point() else value.dtype)
        if isinstance(value, Tensor) and name != "step"
        else value
        for name, value in values.items()
    }


def _as_list(params: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [params] if isinstance(params, Tensor) else list(params)


class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum.

    For a parameter ``p`` with gradient ``g``: with ``maximize``, ``g = -g``; then
    ``g += weight_decay * p``. With momentum, a buffer ``buf`` is ``g`` on its first step and
    ``momentum * buf + (1 - dampening) * g`` afterwards; the direction is ``buf``, or
    ``g + momentum * buf`` with ``nesterov``. Last, ``p -= lr * direction``.

    Args:
        params: parameters or parameter groups, see ``Optimizer``.
        lr: learning rate.
        momentum: share of the buffer that survives a step; 0 turns momentum off.
        dampening: share of the gradient that is kept out of the buffer after the first step.
        weight_decay: strength of the L2 penalty.
        nesterov: look ahead along the buffer.
        maximize: climb instead of descend.

    State: ``"momentum_buffer"``, a tensor like the parameter, only where momentum is not 0.

    Raises:
        ValueError: a negative ``lr``, ``momentum`` or ``weight_decay``, or ``nesterov`` without
            momentum or with dampening.

    Source: torch.optim.SGD; Sutskever et al., "On the importance of initialization and momentum
    in deep learning", ICML 2013.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        _require_non_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError("nesterov needs a momentum and no dampening")
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, options)

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient, in place; gradients are not changed."""
        ### BEGIN SOLUTION
        for group in self.param_groups:
            momentum = group["momentum"]
            for param in group["params"]:
                if param.grad is None:
                    continue
                grad = -param.grad if group["maximize"] else param.grad
                if group["weight_decay"] != 0:
                    grad = grad.add(param, alpha=group["weight_decay"])
                direction = grad
                if momentum != 0:
                    state = self.state.setdefault(param, {})
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = grad.clone()
                    else:
                        buffer = state["momentum_buffer"]
                        buffer.mul_(momentum).add_(grad, alpha=1 - group["dampening"])
                    direction = state["momentum_buffer"]
                    if group["nesterov"]:
                        direction = grad.add(direction, alpha=momentum)
                param.add_(direction, alpha=-group["lr"])
        ### END SOLUTION


def adam_update_(param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Make the step that Adam and AdamW share: update the two averages, then the parameter.

    With step number ``t`` (1 at the first call), ``beta1, beta2 = group["betas"]``::

        m = beta1 * m + (1 - beta1) * g            v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)                 v_hat = v / (1 - beta2**t)
        p -= lr * m_hat / (sqrt(v_hat) + eps)

    With ``group["amsgrad"]`` the largest ``v`` so far takes the place of ``v`` in ``v_hat``.

    Args:
        param: the parameter, changed in place.
        grad: its gradient, of the same shape; not changed.
        state: the parameter's own dictionary, empty before the first step. Kept up to date:
            ``"step"`` (how many steps were made), ``"exp_avg"`` (m), ``"exp_avg_sq"`` (v), and
            ``"max_exp_avg_sq"`` with ``amsgrad``; the tensors are like ``param``, zero at first.
        group: the options ``lr``, ``betas``, ``eps`` and ``amsgrad``.

    Source: D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015,
    algorithm 1; S. Reddi et al., "On the convergence of Adam and beyond", ICLR 2018 (amsgrad).
    """
    ### BEGIN SOLUTION
    if not state:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param)
        state["exp_avg_sq"] = torch.zeros_like(param)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = torch.zeros_like(param)
    state["step"] += 1
    beta1, beta2 = group["betas"]
    step_size = group["lr"] / (1 - beta1 ** int(state["step"]))
    correction = (1 - beta2 ** int(state["step"])) ** 0.5

    state["exp_avg"].lerp_(grad, 1 - beta1)
    second_moment = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    if group["amsgrad"]:
        second_moment = state["max_exp_avg_sq"].copy_(
            torch.maximum(state["max_exp_avg_sq"], second_moment)
        )
    # Both corrections are folded into scalars: one pass less over the tensors.
    denominator = second_moment.sqrt().div_(correction).add_(group["eps"])
    param.addcdiv_(state["exp_avg"], denominator, value=-step_size)
    ### END SOLUTION


class Adam(Optimizer):
    """Adam: every coordinate gets its own step length from two running averages.

    With ``maximize``, ``g = -g``; then ``g += weight_decay * p`` (an L2 penalty: the decay
    passes through both averages), then the step of ``adam_update_``.

    Args:
        params: parameters or parameter groups, see ``Optimizer``.
        lr: learning rate, roughly the length of a step in every coordinate.
        betas: memory of the average of the gradients and of their squares, each in [0, 1).
        eps: added to the denominator.
        weight_decay: strength of the L2 penalty.
        amsgrad: never let the denominator shrink.
        maximize: climb instead of descend.

    State: see ``adam_update_``.

    Raises:
        ValueError: a negative ``lr``, ``eps`` or ``weight_decay``, or a beta outside [0, 1).

    Source: D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        _require_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        _require_betas(betas)
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, options)

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient, in place; gradients are not changed."""
        ### BEGIN SOLUTION
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                grad = -param.grad if group["maximize"] else param.grad
                if group["weight_decay"] != 0:
                    grad = grad.add(param, alpha=group["weight_decay"])
                adam_update_(param, grad, self.state.setdefault(param, {}), group)
        ### END SOLUTION


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameter itself shrinks, the averages never see it.

    Before the step of ``adam_update_``, ``p *= 1 - lr * weight_decay``; with ``maximize``,
    ``g = -g``. Only parameters that have a gradient shrink.

    Args and errors are Adam's; only the default of ``weight_decay`` differs.

    Source: I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient, in place; gradients are not changed."""
        ### BEGIN SOLUTION
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                param.mul_(1 - group["lr"] * group["weight_decay"])
                grad = -param.grad if group["maximize"] else param.grad
                adam_update_(param, grad, self.state.setdefault(param, {}), group)
        ### END SOLUTION


def _require_non_negative(**options: float) -> None:
    for name, value in options.items():
        if not value >= 0:  # nan is refused too
            raise ValueError(f"{name} must not be negative, got {value}")


def _require_betas(betas: tuple[float, float]) -> None:
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must lie in [0, 1), got {betas}")


def _require_own_leaves(groups: list[dict[str, Any]]) -> None:
    seen: set[Tensor] = set()
    for group in groups:
        for param in group["params"]:
            if not isinstance(param, Tensor):
                raise TypeError(f"optimizers change tensors, not a {type(param).__name__}")
            if not param.is_leaf:
                raise ValueError("a parameter is the result of a computation: give its source")
        if seen.intersection(group["params"]):
            raise ValueError("a parameter is in more than one group")
        seen.update(group["params"])
