"""Checks of ``optimizers``: the shared base, SGD, Adam and AdamW, with torch's as the oracle."""

import re
from itertools import count
from typing import Any

import torch
from torch import Tensor

from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = ("torch.optim",)
MANY = ((3, 2), (4,), (2, 1, 3))
"""Shapes of several parameters."""

# --- the shared base: zero_grad, state_dict, load_state_dict -------------------------------------

Base = torch.optim.Optimizer


class ZeroesInstead(Base):
    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none=False)


class NeverZeroes(Base):
    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none=True)


class FirstGroupOnly(Base):
    def zero_grad(self, set_to_none: bool = True) -> None:
        Base(self.param_groups[0]["params"], {}).zero_grad(set_to_none)


class NewZeros(Base):
    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None if set_to_none else torch.zeros_like(param)


class NumbersRestart(Base):
    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        for group in saved["param_groups"]:
            group["params"] = list(range(len(group["params"])))
        return saved


class SavesParameters(Base):
    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        groups = [{**group, "params": list(group["params"])} for group in self.param_groups]
        return {"state": saved["state"], "param_groups": groups}


class SavesNoOptions(Base):
    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        groups = [{"params": group["params"]} for group in saved["param_groups"]]
        return {"state": saved["state"], "param_groups": groups}


class SavesStateOnly(Base):
    def state_dict(self) -> dict[str, Any]:
        return {"state": super().state_dict()["state"], "param_groups": []}


class SavesEmptyState(Base):
    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        numbers = [number for group in saved["param_groups"] for number in group["params"]]
        saved["state"] = {number: saved["state"].get(number, {}) for number in numbers}
        return saved


class LoadsOptionsOnly(Base):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "state": {}})


class LoadsStateOnly(Base):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        options = [dict(group) for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, own in zip(self.param_groups, options, strict=True):
            group.update({**own, "params": group["params"]})


class LoadsNumbers(Base):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group["params"] = list(saved["params"])


class KeepsOldState(Base):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old = dict(self.state)
        super().load_state_dict(state_dict)
        self.state.update({param: old[param] for param in old if param not in self.state})


class SharesTheSavedState(Base):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        saved = state_dict["state"]
        params = [param for group in self.param_groups for param in group["params"]]
        self.state.update({params[number]: values for number, values in saved.items()})


class KeepsTheSavedDtype(SharesTheSavedState):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = {number: dict(values) for number, values in state_dict["state"].items()}
        super().load_state_dict({**state_dict, "state": state})


class LoadsAnything(Base):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if len(state_dict["param_groups"]) == len(self.param_groups):
            super().load_state_dict(state_dict)


BASE_MISTAKES = (
    Mistake(
        "zeroes_by_default",
        "By default zero_grad sets .grad to None; it fills with zeros only for set_to_none=False.",
        ZeroesInstead,
    ),
    Mistake(
        "ignores_set_to_none",
        "With set_to_none=False the gradients stay, filled with zeros: here they became None.",
        NeverZeroes,
    ),
    Mistake(
        "first_group_only",
        "Go through every parameter group: only the first one was cleared.",
        FirstGroupOnly,
    ),
    Mistake(
        "zeros_for_none",
        "With set_to_none=False fill the existing gradient in place (.zero_()), and leave a "
        "missing one at None.",
        NewZeros,
    ),
    Mistake(
        "numbers_restart",
        "Number the parameters through all groups: here every group starts again at 0, so two "
        "parameters share a number.",
        NumbersRestart,
    ),
    Mistake(
        "saves_parameters",
        "The saved groups hold the numbers of the parameters, not the parameters themselves.",
        SavesParameters,
    ),
    Mistake(
        "saves_no_options",
        "The saved groups lack their options (lr and the others).",
        SavesNoOptions,
    ),
    Mistake(
        "saves_state_only", "The list param_groups is empty: save the groups too.", SavesStateOnly
    ),
    Mistake(
        "saves_empty_state",
        "A parameter that has made no step yet has no entry under state.",
        SavesEmptyState,
    ),
    Mistake(
        "loads_options_only",
        "The saved state was not restored: only the options of the groups were.",
        LoadsOptionsOnly,
    ),
    Mistake(
        "loads_state_only",
        "The saved options (lr and the others) were not restored: only the state was.",
        LoadsStateOnly,
    ),
    Mistake(
        "loads_numbers",
        "After loading, the groups hold the saved numbers instead of this optimizer's parameters.",
        LoadsNumbers,
    ),
    Mistake(
        "keeps_old_state",
        "Start from an empty state: a parameter without a saved state has none after loading.",
        KeepsOldState,
    ),
    Mistake(
        "shares_the_saved_state",
        "The optimizer now holds the saved dictionaries themselves, so that its next step changes "
        "what was saved: load a copy of each (_moved_to makes one).",
        SharesTheSavedState,
    ),
    Mistake(
        "keeps_the_saved_dtype",
        "The loaded tensors keep the dtype and device that they were saved with: bring them to "
        "their parameter's (_moved_to does it).",
        KeepsTheSavedDtype,
    ),
    Mistake(
        "loads_anything",
        "Saved groups of another size must raise a ValueError, not be taken or passed over.",
        LoadsAnything,
    ),
)


def base_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, title: str, sizes: list[list[int]], **more: Any) -> Case:
        dtype = more.pop("dtype", torch.float32)
        groups = [
            [torch.randn(size, generator=rng, dtype=dtype) for size in group] for group in sizes
        ]
        saved = {number: torch.randn(4, generator=rng) for number in more.pop("stepped", [])}
        return {"part": part, "title": title, "groups": groups, "saved": saved, **more}

    one, two = [[2]], [[2, 3], [4]]
    return [
        case("zero_grad", "one parameter, zero_grad()", one, arguments={}),
        case("zero_grad", "two groups, zero_grad(True)", two, arguments={"set_to_none": True}),
        case("zero_grad", "one parameter, zero_grad(False)", one, arguments={"set_to_none": False}),
        case("zero_grad", "two groups, zero_grad(False)", two, arguments={"set_to_none": False}),
        case("state_dict", "one parameter that made a step", one, stepped=[0]),
        case("state_dict", "two groups, no step made yet", two),
        case("state_dict", "two groups, parameters 1 and 2 made steps", two, stepped=[1, 2]),
        case("load_state_dict", "one parameter that made a step", one, stepped=[0]),
        case("load_state_dict", "two groups, parameters 1 and 2 made steps", two, stepped=[1, 2]),
        case(
            "load_state_dict",
            "a float64 parameter, saved as float32",
            one,
            stepped=[0],
            dtype=torch.float64,
        ),
        case("load_state_dict", "a dictionary with more groups", one, saved_sizes=[2, 1]),
        case("load_state_dict", "a dictionary with fewer parameters", two, saved_sizes=[1, 1]),
    ]


def base_probe(optimizer: Any, case: Case) -> Outputs:
    probes = {
        "zero_grad": zero_grad_probe,
        "state_dict": state_dict_probe,
        "load_state_dict": load_state_dict_probe,
    }
    params = [param for group in case["groups"] for param in group]
    groups = [{"params": group, "lr": 0.1 / (i + 1)} for i, group in enumerate(case["groups"])]
    built = optimizer(groups, {"lr": 1.0, "momentum": 0.9})
    return probes[case["part"]](built, params, case)


def zero_grad_probe(optimizer: Any, params: list[Tensor], case: Case) -> Outputs:
    for param in params[len(params) > 1 :]:
        param.grad = torch.ones_like(param)
    gradient = params[-1].grad
    optimizer.zero_grad(**case["arguments"])
    outputs: Outputs = {f".grad of parameter {i}": param.grad for i, param in enumerate(params)}
    return {**outputs, "the tensor that was the last parameter's gradient": gradient}


def state_dict_probe(optimizer: Any, params: list[Tensor], case: Case) -> Outputs:
    for number, tensor in case["saved"].items():
        optimizer.state[params[number]] = {"step": number + 3, "average": tensor}
    saved = optimizer.state_dict()
    return {
        "state_dict()['param_groups']": saved["param_groups"],
        "state_dict()['state']": saved["state"],
        "the optimizer's own parameters afterwards": parameter_numbers(optimizer, params),
    }


def load_state_dict_probe(optimizer: Any, params: list[Tensor], case: Case) -> Outputs:
    state = {i: {"step": i + 3, "average": tensor} for i, tensor in case["saved"].items()}
    numbers = count()
    groups = [
        {"lr": 0.5, "momentum": 0.7, "params": [next(numbers) for _ in range(size)]}
        for size in case.get("saved_sizes", [len(group) for group in case["groups"]])
    ]
    saved = {"state": state, "param_groups": groups}
    optimizer.state[params[0]] = {"step": 1, "average": torch.zeros(4)}
    try:
        optimizer.load_state_dict(saved)
    except ValueError:
        return {
            "load_state_dict raised a ValueError": True,
            "the state afterwards, which must not change": optimizer.state[params[0]],
        }
    loaded = {i: dict(optimizer.state.get(param, {})) for i, param in enumerate(params)}
    for values in optimizer.state.values():
        values["step"] = 99
    return {
        "load_state_dict raised a ValueError": False,
        "the parameters after loading": parameter_numbers(optimizer, params),
        "the options after loading": [
            {name: group.get(name) for name in ("lr", "momentum")}
            for group in optimizer.param_groups
        ],
        "the state after loading": loaded,
        "the saved dictionary, which no later step may change": saved,
    }


def parameter_numbers(optimizer: Any, params: list[Tensor]) -> list[list[int | None]]:
    """Return which of ``params`` each group holds; None stands for anything else."""
    identities = {id(param): number for number, param in enumerate(params)}
    return [[identities.get(id(param)) for param in g["params"]] for g in optimizer.param_groups]


# --- what SGD, Adam and AdamW share ---------------------------------------------------------------


def step_case(
    rng: torch.Generator,
    part: str,
    *,
    sizes: tuple[tuple[int, ...], ...] = ((2,),),
    steps: int = 1,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    group_options: tuple[dict[str, Any], ...] = ({},),
    missing: tuple[tuple[int, int], ...] = (),
    new_lr: float | None = None,
    state: tuple[str, ...] = (),
    **options: Any,
) -> Case:
    """Return a case of ``steps`` steps with random gradients.

    Args:
        rng: source of the parameters and gradients.
        part: the part of the exercise.
        sizes: the parameters' shapes; the last ``len(group_options) - 1`` parameters are the
            later groups, one each.
        steps: how many steps are made.
        scale: the size of the gradients.
        dtype: of parameters and gradients.
        group_options: the options of every group.
        missing: pairs (step, parameter), counted from 0, where the gradient is None.
        new_lr: the learning rate from the second step on.
        state: the names whose state is compared after the last step.
        options: the optimizer's own.
    """
    # Gradients outweigh the decay, so that no sum of the two is near 0, where eps takes over.
    # Parameters of several dimensions are not contiguous.
    params = [away_from_zero(rng, size[::-1], 0.1).to(dtype) for size in sizes]
    params = [param.permute(*reversed(range(param.dim()))) for param in params]
    grads = [
        [scale * away_from_zero(rng, size, 1.0).to(dtype) for size in sizes] for _ in range(steps)
    ]
    told = [f"{name}={value}" for name, value in options.items()]
    told += [f"groups with {list(group_options)}"] if len(group_options) > 1 else []
    told += [f"lr={new_lr} from step 2 on"] if new_lr is not None else []
    told += [f"no gradient for parameter {p} at step {s + 1}" for s, p in missing]
    numbers = (
        f"parameter {_rounded(params[0])}, gradient {_rounded(grads[0][0])}"
        if sizes == ((2,),)
        else f"{len(sizes)} parameters"
    )
    return {
        "part": part,
        "title": f"{', '.join(told) or 'defaults'}; {numbers}, {steps} step{'s' * (steps > 1)}",
        "params": params,
        "grads": grads,
        "missing": missing,
        "groups": list(group_options),
        "new_lr": new_lr,
        "state": state,
        "options": options,
    }


def away_from_zero(rng: torch.Generator, size: tuple[int, ...], least: float) -> Tensor:
    """Draw numbers of either sign, from ``least`` to ``least + 1`` in size."""
    sign = torch.randint(0, 2, size, generator=rng) * 2 - 1
    return sign * (least + torch.rand(size, generator=rng))


def _rounded(tensor: Tensor) -> list[float]:
    return [float(f"{number:.4g}") for number in tensor.tolist()]


def steps_probe(optimizer: Any, case: Case) -> Outputs:
    params, options = [param.requires_grad_() for param in case["params"]], case["groups"]
    first = len(params) - len(options) + 1
    members = [params[:first], *([param] for param in params[first:])]
    built = optimizer(
        [{"params": group, **own} for group, own in zip(members, options, strict=True)],
        **case["options"],
    )
    # The loop writes every gradient into the same tensor, as accumulating ones does.
    held = [torch.zeros_like(param) for param in params]
    outputs: Outputs = {}
    for step, grads in enumerate(case["grads"]):
        for number, (param, grad) in enumerate(zip(params, grads, strict=True)):
            held[number].copy_(grad)
            param.grad = None if (step, number) in case["missing"] else held[number]
        given = [param.grad for param in params]
        if step == 1 and case["new_lr"] is not None:
            for group in built.param_groups:
                group["lr"] = case["new_lr"]
        built.step()
        for number, param in enumerate(params):
            outputs[f"parameter {number} after step {step + 1}"] = param.clone()
        outputs[f"the gradients are unchanged after step {step + 1}"] = all(
            param.grad is mine and (mine is None or torch.equal(mine, grad))
            for param, mine, grad in zip(params, given, grads, strict=True)
        )
    for name in case["state"]:
        for number, param in enumerate(params):
            kept = built.state.get(param)
            value = kept.get(name) if isinstance(kept, dict) else None
            if isinstance(value, Tensor) and value.dim() == 0:
                value = value.item()  # torch keeps its step count in a tensor
            outputs[f"state[parameter {number}]['{name}']"] = value
    return outputs


class Formula(Base):
    """An optimizer by its formulas, one in each method, so that a mistake changes one of them."""

    def __init__(self, params: Any, lr: float = 1e-3, **options: Any) -> None:
        super().__init__(params, {"lr": lr, **self.defaults_of(), **options})

    def defaults_of(self) -> dict[str, Any]:
        raise NotImplementedError

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    grad = -param.grad if group["maximize"] else param.grad.clone()
                    self.update(param, grad, self.state[param], group)

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        raise NotImplementedError


class IgnoresMaximize(Formula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        super().update(param, -grad if group["maximize"] else grad, state, group)


class IgnoresGroups(Formula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        super().update(param, grad, state, self.param_groups[0])


class MissingIsZero(Formula):
    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        params = [param for group in self.param_groups for param in group["params"]]
        missing = [param for param in params if param.grad is None]
        for param in missing:
            param.grad = torch.zeros_like(param)
        super().step()
        for param in missing:
            param.grad = None


class ForgetsItsState(Formula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        super().update(param, grad, {}, group)


def shared_mistakes(formula: type[Formula]) -> tuple[Mistake, ...]:
    """Return the mistakes that any optimizer can have, made with one formula."""

    def made_with(mistake: type[Formula]) -> type[Formula]:
        return type(mistake.__name__, (mistake, formula), {})

    return (
        Mistake(
            "ignores_maximize",
            "maximize=True must turn the gradient round before anything else is done with it.",
            made_with(IgnoresMaximize),
        ),
        Mistake(
            "ignores_groups",
            "Every group has its own options: the first group's were used for all.",
            made_with(IgnoresGroups),
        ),
        Mistake(
            "missing_is_zero",
            "A parameter without a gradient (None) is left alone: it neither moves nor decays, and "
            "its averages and step count stay. Here None counted as a gradient of zero.",
            made_with(MissingIsZero),
        ),
        Mistake(
            "forgets_its_state",
            "Nothing is remembered from step to step: keep the state in self.state[param].",
            made_with(ForgetsItsState),
        ),
    )


# --- SGD ------------------------------------------------------------------------------------------


class SGDFormula(Formula):
    def defaults_of(self) -> dict[str, Any]:
        return {
            "momentum": 0.0,
            "dampening": 0.0,
            "weight_decay": 0.0,
            "nesterov": False,
            "maximize": False,
        }

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        grad = self.decayed(param, grad, group)
        if group["momentum"]:
            grad = self.direction(grad, state, group)
        param -= group["lr"] * grad

    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        return grad + group["weight_decay"] * param

    def direction(self, grad: Tensor, state: dict[str, Any], group: dict) -> Tensor:
        if "momentum_buffer" in state:
            kept = group["momentum"] * state["momentum_buffer"]
            state["momentum_buffer"] = kept + (1 - group["dampening"]) * grad
        else:
            state["momentum_buffer"] = grad.clone()
        return self.look_ahead(grad, state["momentum_buffer"], group)

    def look_ahead(self, grad: Tensor, buffer: Tensor, group: dict) -> Tensor:
        return grad + group["momentum"] * buffer if group["nesterov"] else buffer


class Ascends(SGDFormula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        super().update(param, grad, state, {**group, "lr": -group["lr"]})


class PlainDescent(SGDFormula):
    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param -= group["lr"] * param.grad


class NoDecay(SGDFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        return grad


class DecayGrows(SGDFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        return grad - group["weight_decay"] * param


class DoubleDecay(SGDFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        return grad + 2 * group["weight_decay"] * param


class DecayBeforeMaximize(SGDFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        sign = -1 if group["maximize"] else 1
        return grad + sign * group["weight_decay"] * param


class FirstBufferDampened(SGDFormula):
    def direction(self, grad: Tensor, state: dict[str, Any], group: dict) -> Tensor:
        state.setdefault("momentum_buffer", torch.zeros_like(grad))
        return super().direction(grad, state, group)


class NoDampening(SGDFormula):
    def direction(self, grad: Tensor, state: dict[str, Any], group: dict) -> Tensor:
        return super().direction(grad, state, {**group, "dampening": 0})


class AveragedBuffer(SGDFormula):
    def direction(self, grad: Tensor, state: dict[str, Any], group: dict) -> Tensor:
        return super().direction(grad, state, {**group, "dampening": group["momentum"]})


class LearningRateInBuffer(SGDFormula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        lr = group["lr"] if group["momentum"] else 1
        super().update(param, grad * lr, state, {**group, "lr": group["lr"] / lr})


class NoLookAhead(SGDFormula):
    def look_ahead(self, grad: Tensor, buffer: Tensor, group: dict) -> Tensor:
        return buffer


class AlwaysLooksAhead(SGDFormula):
    def look_ahead(self, grad: Tensor, buffer: Tensor, group: dict) -> Tensor:
        return grad + group["momentum"] * buffer


SGD_MISTAKES = (
    Mistake("ascends", "The step goes uphill: subtract lr * gradient.", Ascends),
    Mistake(
        "plain_descent",
        "The options have no effect: this is plain descent, p -= lr * g.",
        PlainDescent,
    ),
    Mistake(
        "no_decay", "weight_decay has no effect: add weight_decay * p to the gradient.", NoDecay
    ),
    Mistake(
        "decay_grows",
        "The decay makes the parameters grow: weight_decay * p is added to the gradient.",
        DecayGrows,
    ),
    Mistake(
        "double_decay",
        "The decay is twice too strong: the gradient of (weight_decay / 2) * p**2 is "
        "weight_decay * p, without a 2.",
        DoubleDecay,
    ),
    Mistake(
        "decay_before_maximize",
        "Turn the gradient round (maximize) before the decay is added: the decay always shrinks.",
        DecayBeforeMaximize,
    ),
    Mistake(
        "first_buffer_dampened",
        "At the first step the buffer is the gradient itself, without the factor 1 - dampening.",
        FirstBufferDampened,
    ),
    Mistake("no_dampening", "The gradient enters the buffer times 1 - dampening.", NoDampening),
    Mistake(
        "averaged_buffer",
        "The buffer is momentum * buf + g. With (1 - momentum) * g it would be an average, as in "
        "Adam, and the steps ten times smaller.",
        AveragedBuffer,
    ),
    Mistake(
        "lr_in_buffer",
        "The learning rate has crept into the buffer: it multiplies the buffer only in the step, "
        "so that a change of lr acts at once.",
        LearningRateInBuffer,
    ),
    Mistake("no_look_ahead", "With nesterov the direction is g + momentum * buf.", NoLookAhead),
    Mistake(
        "always_looks_ahead",
        "Without nesterov the direction is the buffer alone.",
        AlwaysLooksAhead,
    ),
    *shared_mistakes(SGDFormula),
)


def sgd_inputs(rng: torch.Generator) -> list[Case]:
    momentum: dict[str, Any] = {"lr": 0.1, "momentum": 0.9}
    plain, decay = "the plain step", "weight decay and maximize"
    groups, nesterov = "groups and missing gradients", "nesterov"
    return [
        step_case(rng, plain, lr=0.1, state=("momentum_buffer",)),
        step_case(rng, plain),
        step_case(rng, plain, steps=3, lr=0.5, sizes=MANY),
        step_case(rng, plain, lr=0.1, dtype=torch.float64),
        step_case(rng, plain, lr=0.1, dtype=torch.bfloat16),
        step_case(rng, decay, lr=0.1, weight_decay=0.5),
        step_case(rng, decay, lr=0.1, weight_decay=1),
        step_case(rng, decay, lr=0.1, maximize=True),
        step_case(rng, decay, steps=3, lr=0.1, weight_decay=0.5, maximize=True, sizes=MANY),
        step_case(rng, "momentum", steps=2, **momentum, state=("momentum_buffer",)),
        step_case(rng, "momentum", steps=2, **momentum, dampening=0.5),
        step_case(rng, "momentum", steps=2, lr=0.1, momentum=1),
        step_case(rng, "momentum", steps=4, **momentum, new_lr=0.01, weight_decay=0.1, sizes=MANY),
        step_case(rng, nesterov, lr=0.1, momentum=0.9, nesterov=True),
        step_case(rng, nesterov, steps=4, lr=0.1, momentum=0.5, nesterov=True, sizes=MANY),
        step_case(rng, groups, sizes=((2,), (2,)), group_options=({"lr": 0.1}, {"lr": 0.01})),
        step_case(rng, groups, sizes=((2,), (2,)), missing=((0, 0),), lr=0.1, weight_decay=0.5),
        step_case(
            rng,
            groups,
            steps=4,
            group_options=({"momentum": 0.9}, {"weight_decay": 0.5, "lr": 0.3}),
            missing=((0, 0), (2, 1)),
            lr=0.1,
            momentum=0.5,
            sizes=MANY,
        ),
    ]


# --- Adam and AdamW -------------------------------------------------------------------------------


class AdamFormula(Formula):
    def defaults_of(self) -> dict[str, Any]:
        return {
            "betas": (0.9, 0.999),
            "eps": 1e-8,
            "weight_decay": 0.0,
            "amsgrad": False,
            "maximize": False,
        }

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        grad = self.decayed(param, grad, group)
        if not state:
            state["step"] = 0
            for name in ("exp_avg", "exp_avg_sq") + ("max_exp_avg_sq",) * group["amsgrad"]:
                state[name] = torch.zeros_like(param)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        m = state["exp_avg"] = self.first(state["exp_avg"], grad, beta1)
        v = state["exp_avg_sq"] = self.second(state["exp_avg_sq"], grad, m, beta2)
        if group["amsgrad"]:
            v = state["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], v)
        m_hat = self.corrected(m, beta1, state["step"])
        v_hat = self.corrected(v, beta2, state["step"])
        param -= group["lr"] * m_hat / self.denominator(v_hat, group["eps"])

    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        return grad + group["weight_decay"] * param

    def first(self, m: Tensor, grad: Tensor, beta: float) -> Tensor:
        return beta * m + (1 - beta) * grad

    def second(self, v: Tensor, grad: Tensor, m: Tensor, beta: float) -> Tensor:
        return beta * v + (1 - beta) * grad**2

    def corrected(self, average: Tensor, beta: float, step: int) -> Tensor:
        return average / (1 - beta**step)

    def denominator(self, v_hat: Tensor, eps: float) -> Tensor:
        return v_hat.sqrt() + eps


class AdamWFormula(AdamFormula):
    def defaults_of(self) -> dict[str, Any]:
        return {**super().defaults_of(), "weight_decay": 1e-2}

    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        self.shrink(param, group)
        return grad

    def shrink(self, param: Tensor, group: dict) -> None:
        param *= 1 - group["lr"] * group["weight_decay"]


class NoBiasCorrection(AdamFormula):
    def corrected(self, average: Tensor, beta: float, step: int) -> Tensor:
        return average


class FirstCorrectionOnly(AdamFormula):
    def denominator(self, v_hat: Tensor, eps: float) -> Tensor:
        return (v_hat * self.second_correction).sqrt() + eps

    def corrected(self, average: Tensor, beta: float, step: int) -> Tensor:
        self.second_correction = 1 - beta**step
        return super().corrected(average, beta, step)


class CorrectionWithoutPower(AdamFormula):
    def corrected(self, average: Tensor, beta: float, step: int) -> Tensor:
        return average / (1 - beta)


class StepsFromZero(AdamFormula):
    def corrected(self, average: Tensor, beta: float, step: int) -> Tensor:
        return average / max(1 - beta ** (step - 1), 1e-300)


class StepsShared(AdamFormula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        self.steps_of_all = getattr(self, "steps_of_all", 0) + 1
        super().update(param, grad, state, group)

    def corrected(self, average: Tensor, beta: float, step: int) -> Tensor:
        return super().corrected(average, beta, self.steps_of_all)


class EpsInsideRoot(AdamFormula):
    def denominator(self, v_hat: Tensor, eps: float) -> Tensor:
        return (v_hat + eps).sqrt()


class NoEps(AdamFormula):
    def denominator(self, v_hat: Tensor, eps: float) -> Tensor:
        return v_hat.sqrt()


class NoRoot(AdamFormula):
    def denominator(self, v_hat: Tensor, eps: float) -> Tensor:
        return v_hat + eps


class BetasSwapped(AdamFormula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        super().update(param, grad, state, {**group, "betas": group["betas"][::-1]})


class DefaultBetas(AdamFormula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        super().update(param, grad, state, {**group, "betas": (0.9, 0.999)})


class GradientUnscaled(AdamFormula):
    def first(self, m: Tensor, grad: Tensor, beta: float) -> Tensor:
        return beta * m + grad


class SquareOfAverage(AdamFormula):
    def second(self, v: Tensor, grad: Tensor, m: Tensor, beta: float) -> Tensor:
        return beta * v + (1 - beta) * m**2


class NoSquare(AdamFormula):
    def second(self, v: Tensor, grad: Tensor, m: Tensor, beta: float) -> Tensor:
        return beta * v + (1 - beta) * grad.abs()


class NoFirstMoment(AdamFormula):
    def first(self, m: Tensor, grad: Tensor, beta: float) -> Tensor:
        return (1 - beta) * grad


class IgnoresAmsgrad(AdamFormula):
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        super().update(param, grad, state, {**group, "amsgrad": False})


class DecayOutsideTheGradient(AdamFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        param *= 1 - group["lr"] * group["weight_decay"]
        return grad


class NoDecayAtAll(AdamFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        return grad


class DecayInTheGradient(AdamWFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        return grad + group["weight_decay"] * param


class DecayWithoutLr(AdamWFormula):
    def shrink(self, param: Tensor, group: dict) -> None:
        param *= 1 - group["weight_decay"]


class DecayUpwards(AdamWFormula):
    def shrink(self, param: Tensor, group: dict) -> None:
        param *= 1 + group["lr"] * group["weight_decay"]


class DecayDoubled(AdamWFormula):
    def shrink(self, param: Tensor, group: dict) -> None:
        param *= 1 - 2 * group["lr"] * group["weight_decay"]


class NoShrinking(AdamWFormula):
    def shrink(self, param: Tensor, group: dict) -> None:
        pass


class DecayBothWays(AdamWFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        grad = grad + group["weight_decay"] * param
        self.shrink(param, group)
        return grad


class DecayAfterTheStep(AdamWFormula):
    def decayed(self, param: Tensor, grad: Tensor, group: dict) -> Tensor:
        return grad

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict) -> None:
        super().update(param, grad, state, group)
        self.shrink(param, group)


def moment_mistakes(formula: type[AdamFormula]) -> tuple[Mistake, ...]:
    """Return the mistakes in the averages that Adam and AdamW share, made with one formula."""

    def made_with(mistake: type[AdamFormula]) -> type[AdamFormula]:
        return type(mistake.__name__, (mistake, formula), {})

    told = {
        NoBiasCorrection: "The averages start at zero and are too small at first: divide m by "
        "1 - beta1**t and v by 1 - beta2**t.",
        FirstCorrectionOnly: "v needs its correction too: divide it by 1 - beta2**t.",
        CorrectionWithoutPower: "The correction is 1 - beta**t, with the step number t as a power.",
        StepsFromZero: "The first step is number 1: raise the step count before it is used.",
        StepsShared: "Every parameter has its own step count: here each parameter's update raised "
        "one count for all.",
        EpsInsideRoot: "eps stands outside the root: sqrt(v_hat) + eps, not sqrt(v_hat + eps).",
        NoEps: "eps is missing: divide by sqrt(v_hat) + eps.",
        NoRoot: "Divide by the square root of v_hat, not by v_hat.",
        BetasSwapped: "The betas are swapped: betas[0] belongs to the average of the gradients, "
        "betas[1] to that of their squares.",
        DefaultBetas: "The betas are fixed at 0.9 and 0.999: take them from the group.",
        GradientUnscaled: "The gradient enters the first average times 1 - beta1.",
        SquareOfAverage: "v averages the squares of the gradients, not of their average m.",
        NoSquare: "v averages the squares of the gradients: here they were not squared.",
        NoFirstMoment: "The first average forgets its past: m = beta1 * m + (1 - beta1) * g.",
        IgnoresAmsgrad: "With amsgrad the largest v so far is the denominator.",
    }
    return tuple(
        Mistake(_snake_case(mistake.__name__), message, made_with(mistake))
        for mistake, message in told.items()
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


ADAM_MISTAKES = (
    *moment_mistakes(AdamFormula),
    Mistake(
        "decay_outside_the_gradient",
        "This is AdamW's decay: in Adam weight_decay * p is added to the gradient.",
        DecayOutsideTheGradient,
    ),
    Mistake(
        "no_decay",
        "weight_decay has no effect: add weight_decay * p to the gradient.",
        NoDecayAtAll,
    ),
    *shared_mistakes(AdamFormula),
)

ADAMW_MISTAKES = (
    Mistake(
        "decay_in_the_gradient",
        "This is Adam's decay: in AdamW the parameter itself shrinks by the factor "
        "1 - lr * weight_decay, and the gradient stays as it is.",
        DecayInTheGradient,
    ),
    Mistake(
        "decay_without_lr",
        "Your decay is not multiplied by lr: the factor is 1 - lr * weight_decay.",
        DecayWithoutLr,
    ),
    Mistake(
        "decay_upwards", "The decay makes the parameters grow: the factor is 1 - ...", DecayUpwards
    ),
    Mistake(
        "decay_doubled",
        "The decay is twice too strong: the factor is 1 - lr * weight_decay, without a 2.",
        DecayDoubled,
    ),
    Mistake(
        "no_decay", "weight_decay has no effect: multiply p by 1 - lr * weight_decay.", NoShrinking
    ),
    Mistake(
        "decay_both_ways",
        "The decay acts twice, in the gradient and on the parameter: only the second belongs here.",
        DecayBothWays,
    ),
    Mistake(
        "decay_after_the_step",
        "Shrink the parameter before the step, not after it: the step itself must not shrink.",
        DecayAfterTheStep,
    ),
    *moment_mistakes(AdamWFormula),
    *shared_mistakes(AdamWFormula),
)

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def adam_inputs(rng: torch.Generator) -> list[Case]:
    return [
        *moment_inputs(rng),
        step_case(rng, "state", lr=0.1, state=ADAM_STATE),
        step_case(rng, "state", steps=3, betas=(0.5, 0.7), state=ADAM_STATE, sizes=((3, 2), (4,))),
        step_case(rng, "weight decay", lr=0.1, weight_decay=0.5),
        step_case(rng, "weight decay", steps=2, lr=0.1, weight_decay=1),
        step_case(rng, "weight decay", steps=4, lr=0.1, weight_decay=0.5, sizes=((3, 2), (4,))),
        step_case(rng, "weight decay", steps=2, lr=0.1, weight_decay=0.5, maximize=True),
    ]


def adamw_inputs(rng: torch.Generator) -> list[Case]:
    decay = "decoupled weight decay"
    return [
        *moment_inputs(rng, weight_decay=0),
        step_case(rng, decay, lr=0.1, weight_decay=0.5),
        step_case(rng, decay, steps=2, lr=0.1),
        step_case(rng, decay, steps=4, lr=0.1, weight_decay=0.5, sizes=((3, 2), (4,))),
        step_case(rng, decay, steps=2, lr=0.1, weight_decay=0.5, new_lr=0.01),
        step_case(rng, decay, steps=2, lr=0.1, weight_decay=0.5, maximize=True),
    ]


def moment_inputs(rng: torch.Generator, **fixed: Any) -> list[Case]:
    """Draw the cases about the two averages, which Adam and AdamW share."""
    one, several, amsgrad = "one step", "several steps", "maximize and amsgrad"
    groups = "groups and missing gradients"
    return [
        step_case(rng, one, lr=0.1, **fixed),
        step_case(rng, one, **fixed),
        step_case(rng, one, lr=0.1, scale=1e-8, **fixed),
        step_case(rng, one, lr=0.1, eps=0.1, **fixed),
        step_case(rng, one, lr=0.1, betas=(0.5, 0.75), dtype=torch.float64, **fixed),
        step_case(rng, one, lr=0.1, dtype=torch.bfloat16, **fixed),
        step_case(rng, several, steps=2, lr=0.1, **fixed),
        step_case(rng, several, steps=3, lr=0.1, betas=(0.5, 0.7), **fixed),
        step_case(rng, several, steps=8, lr=0.1, betas=(0.8, 0.5), sizes=MANY, **fixed),
        step_case(rng, several, steps=3, lr=0.1, new_lr=0.01, **fixed),
        step_case(rng, amsgrad, lr=0.1, maximize=True, **fixed),
        step_case(rng, amsgrad, steps=6, lr=0.1, betas=(0.9, 0.2), amsgrad=True, **fixed),
        step_case(
            rng, groups, sizes=((2,), (2,)), group_options=({"lr": 0.1}, {"lr": 0.01}), **fixed
        ),
        step_case(rng, groups, steps=2, sizes=((2,), (2,)), missing=((0, 1),), lr=0.1, **fixed),
        step_case(
            rng,
            groups,
            steps=4,
            group_options=({"betas": (0.5, 0.9)}, {"weight_decay": 0.5, "eps": 0.1}),
            missing=((0, 0), (2, 1), (2, 2)),
            lr=0.1,
            sizes=MANY,
            **fixed,
        ),
    ]


check_optimizer = Check(
    module="optimizers",
    exercise="optimizer",
    target="Optimizer",
    parts={"zero_grad": 1, "state_dict": 1, "load_state_dict": 2},
    inputs=base_inputs,
    probe=base_probe,
    oracle=Base,
    mistakes=BASE_MISTAKES,
    hints=(
        "self.param_groups is a list of dictionaries, and group['params'] a list of tensors: two "
        "loops reach every parameter.",
        "A tensor can be the key of a dictionary: numbers[param] = len(numbers) numbers them.",
        "For loading, walk through the groups and the saved groups side by side (zip): the saved "
        "numbers tell which state belongs to which of this optimizer's parameters.",
    ),
    forbidden=FORBIDDEN,
)

check_sgd = Check(
    module="optimizers",
    exercise="sgd",
    target="SGD",
    parts={
        "the plain step": 1,
        "weight decay and maximize": 1,
        "momentum": 1,
        "nesterov": 1,
        "groups and missing gradients": 1,
    },
    inputs=sgd_inputs,
    probe=steps_probe,
    oracle=torch.optim.SGD,
    mistakes=SGD_MISTAKES,
    hints=(
        "Build the direction in the order of the docstring: maximize, decay, momentum, nesterov; "
        "then one line changes the parameter in place.",
        "self.state.setdefault(param, {}) is the place for the buffer; at the first step it is a "
        "copy of the gradient (clone), because the gradient itself will be overwritten.",
        "param.add_(direction, alpha=-lr) changes the parameter in place; param = param - ... "
        "would only make a new tensor that the model never sees.",
    ),
    forbidden=FORBIDDEN,
)

check_adam = Check(
    module="optimizers",
    exercise="adam",
    target="Adam",
    parts={
        "one step": 1,
        "several steps": 1,
        "state": 1,
        "weight decay": 1,
        "maximize and amsgrad": 1,
        "groups and missing gradients": 1,
    },
    inputs=adam_inputs,
    probe=steps_probe,
    oracle=torch.optim.Adam,
    mistakes=ADAM_MISTAKES,
    hints=(
        "Write adam_update_ first: it is the step that Adam and AdamW share.",
        "At the very first step m_hat is the gradient and v_hat its square, so every coordinate "
        "moves by nearly lr. If yours does not, look at the bias correction.",
        "Count the steps of every parameter in its own state; t is 1 at the first step.",
    ),
    forbidden=FORBIDDEN,
)

check_adamw = Check(
    module="optimizers",
    exercise="adamw",
    target="AdamW",
    parts={
        "one step": 1,
        "several steps": 1,
        "decoupled weight decay": 2,
        "maximize and amsgrad": 1,
        "groups and missing gradients": 1,
    },
    inputs=adamw_inputs,
    probe=steps_probe,
    oracle=torch.optim.AdamW,
    mistakes=ADAMW_MISTAKES,
    hints=(
        "AdamW differs from Adam in one line: where the decay acts.",
        "The averages must never see the decay, so it cannot be part of the gradient.",
        "Before the step, multiply the parameter in place by 1 - lr * weight_decay.",
    ),
    forbidden=FORBIDDEN,
)
