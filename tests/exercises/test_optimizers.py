"""The reference optimizers against torch's; wrong ones that no catalogue lists."""

import inspect
import io
import math
import runpy
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from course_lib import optimizers as own
from course_lib.checks.optimizers import check_adam, check_adamw, check_optimizer, check_sgd

NAMES = ["SGD", "Adam", "AdamW"]
ALTERNATIVES = sorted((Path(__file__).parent / "alternatives").glob("optimizers_*.py"))
SHARED = torch.zeros(2)
SHAPES = [(3, 2), (5,), (), (0, 3), (2, 4, 3)]
OPTIONS = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "maximize": True, "weight_decay": 0.1},
    ],
    "Adam": [
        {},
        {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.1, "betas": (0.9, 0.5), "amsgrad": True},
    ],
    "AdamW": [
        {},
        {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.1, "betas": (0.9, 0.5), "amsgrad": True, "weight_decay": 0.1},
    ],
}

every_optimizer = pytest.mark.parametrize("name", NAMES)
every_configuration = pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(name, options, id=f"{name}-{i}")
        for name in NAMES
        for i, options in enumerate(OPTIONS[name])
    ],
)


class Run(NamedTuple):
    """A training run without a model: start values, gradients (None: missing), groups."""

    params: list[Tensor]
    grads: list[list[Tensor | None]]
    group_sizes: list[int]
    group_options: list[dict[str, Any]]
    options: dict[str, Any]

    def groups(self, params: list[Tensor]) -> list[dict[str, Any]]:
        members = iter(params)
        return [
            {"params": [next(members) for _ in range(size)], **options}
            for size, options in zip(self.group_sizes, self.group_options)
        ]

    def with_optimizer(self, make: Callable) -> tuple[list[Tensor], dict[str, Any]]:
        """Return the parameters and the state after the run."""
        params = [param.clone(memory_format=torch.preserve_format) for param in self.params]
        optimizer = make(self.groups(params), **self.options)
        for grads in self.grads:
            for param, grad in zip(params, grads):
                param.grad = grad
            optimizer.step()
        return params, optimizer.state_dict()["state"]


@st.composite
def options_of(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Draw some of an optimizer's options, but not those that depend on each other."""
    choices: dict[str, list] = {
        "lr": [0, 1e-3, 0.1, 1.5],
        "weight_decay": [0, 1e-2, 0.5],
        "maximize": [False, True],
    }
    if name == "SGD":
        choices |= {"momentum": [0, 0.5, 0.99], "dampening": [0, 0.3]}
    else:
        choices |= {
            "betas": [(0.9, 0.999), (0.0, 0.5), (0.7, 0.0), (0.5, 0.9)],
            "eps": [1e-8, 1e-2],
            "amsgrad": [False, True],
        }
    values = {key: st.sampled_from(values) for key, values in choices.items()}
    return draw(st.fixed_dictionaries({}, optional=values))


@st.composite
def runs(draw: st.DrawFn, name: str, dtype: torch.dtype) -> Run:
    """Draw 1 to 6 steps of 1 to 4 parameters in 1 to 3 groups, some of them not contiguous."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shapes = draw(st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=4))
    first = draw(st.integers(1, len(shapes)))
    sizes = [first, *[1] * (len(shapes) - first)]
    params = [
        tensor.permute(tuple(reversed(range(tensor.dim())))) if draw(st.booleans()) else tensor
        for tensor in (torch.randn(shape, generator=rng, dtype=dtype) for shape in shapes)
    ]
    grads = [
        [
            torch.randn(param.shape, generator=rng, dtype=dtype) if present else None
            for param, present in zip(params, draw(presence))
        ]
        for presence in [st.tuples(*[st.sampled_from([True, True, False])] * len(params))]
        * draw(st.integers(1, 6))
    ]
    options = draw(options_of(name))
    if options.get("momentum") and not options.get("dampening"):
        options["nesterov"] = draw(st.booleans())
    group_options = [draw(options_of(name)) for _ in sizes[1:]]
    return Run(params, grads, sizes, [{}, *group_options], options)


def assert_equal_to_torch(name: str, run: Run, **tolerance: float) -> None:
    params, state = run.with_optimizer(getattr(own, name))
    expected_params, expected_state = run.with_optimizer(getattr(torch.optim, name))
    torch.testing.assert_close(params, expected_params, **tolerance)
    assert state.keys() == expected_state.keys()
    for number, expected in expected_state.items():
        assert state[number].keys() == expected.keys()
        for key, value in expected.items():
            got = torch.as_tensor(state[number][key], dtype=value.dtype)
            torch.testing.assert_close(got, value, **tolerance)


def model_and_data(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 1)).to(dtype)
    x = torch.randn(32, 3, dtype=dtype)
    return model, x, x.prod(1, keepdim=True)


def losses(model: nn.Module, x: Tensor, y: Tensor, optimizer: Any, steps: int) -> list[float]:
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


# --- the same numbers as torch --------------------------------------------------------------------


@every_optimizer
@given(data=st.data())
def test_a_run_in_float64_ends_where_torch_ends(name: str, data: st.DataObject) -> None:
    assert_equal_to_torch(name, data.draw(runs(name, torch.float64)), rtol=1e-10, atol=1e-10)


@every_optimizer
@given(data=st.data())
def test_a_run_in_float32_ends_where_torch_ends(name: str, data: st.DataObject) -> None:
    assert_equal_to_torch(name, data.draw(runs(name, torch.float32)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@every_configuration
def test_a_hundred_steps_give_the_same_bits_as_torch(
    name: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    rng = torch.Generator().manual_seed(1)
    params = [torch.randn(shape, generator=rng).to(dtype) for shape in SHAPES]
    params.append(torch.randn(4, 6, generator=rng).to(dtype).t()[::2])
    grads = [[torch.randn(p.shape, generator=rng).to(dtype) for p in params] for _ in range(100)]
    run = Run(params, grads, [len(params)], [{}], options)
    assert_equal_to_torch(name, run, rtol=0, atol=0)


@every_configuration
def test_a_module_learns_with_the_same_losses_as_with_torch(
    name: str, options: dict[str, Any]
) -> None:
    histories = []
    for source in (own, torch.optim):
        model, x, y = model_and_data()
        optimizer = getattr(source, name)(model.parameters(), **options)
        histories.append(losses(model, x, y, optimizer, steps=30))
    assert histories[0] == histories[1]
    assert (histories[0][-1] < histories[0][0]) != options.get("maximize", False)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_configuration
def test_a_module_on_a_gpu_learns_as_with_torch(name: str, options: dict[str, Any]) -> None:
    histories = []
    for make in (getattr(own, name), getattr(torch.optim, name)):
        model, x, y = (part.to("cuda") for part in model_and_data(torch.float64))
        optimizer = make(model.parameters(), **options)
        histories.append(losses(model, x, y, optimizer, steps=30))
        assert all(
            value.is_cuda
            for kept in optimizer.state.values()
            for key, value in kept.items()
            if key != "step"
        )
    torch.testing.assert_close(histories[0], histories[1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("path", ALTERNATIVES, ids=lambda path: path.stem)
@every_optimizer
def test_an_alternative_learns_as_with_torch(name: str, path: Path) -> None:
    """So a check that rejects one of them is wrong."""
    alternative = runpy.run_path(str(path))
    histories = []
    for make in (alternative[name], getattr(torch.optim, name)):
        model, x, y = model_and_data(torch.float64)
        optimizer = make(model.parameters(), **OPTIONS[name][1])
        histories.append(losses(model, x, y, optimizer, steps=10))
    torch.testing.assert_close(histories[0], histories[1], rtol=1e-4, atol=1e-6)


# --- the same behaviour as torch ------------------------------------------------------------------


@every_optimizer
def test_arguments_have_the_order_kind_and_defaults_of_torch(name: str) -> None:
    mine = inspect.signature(getattr(own, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    shared = [(p.name, p.kind, p.default) for p in theirs.values() if p.name in mine]
    assert [(p.name, p.kind, p.default) for p in mine.values()] == shared


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("SGD", {"lr": -0.1}),
        ("SGD", {"momentum": -0.1}),
        ("SGD", {"weight_decay": -0.1}),
        ("SGD", {"nesterov": True}),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        *(
            (name, arguments)
            for name in ("Adam", "AdamW")
            for arguments in (
                {"lr": -0.1},
                {"lr": math.nan},
                {"eps": -0.1},
                {"weight_decay": -0.1},
                {"betas": (1.0, 0.9)},
                {"betas": (-0.1, 0.9)},
                {"betas": (0.9, 1.0)},
                {"betas": (0.9, -0.1)},
            )
        ),
        *(
            (name, arguments)
            for name in NAMES
            for arguments in (
                {"params": []},
                {"params": [torch.ones(2, requires_grad=True) * 2]},
                {"params": [{"params": [SHARED]}, {"params": [SHARED]}]},
            )
        ),
    ],
)
def test_a_bad_argument_is_a_value_error_as_in_torch(name: str, arguments: dict) -> None:
    for source in (own, torch.optim):
        with pytest.raises(ValueError):  # noqa: PT011
            getattr(source, name)(**{"params": [torch.zeros(2)], **arguments})


@every_optimizer
@pytest.mark.parametrize("params", [torch.zeros(2), [1.0], [{"params": [None]}]])
def test_what_is_no_tensor_is_a_type_error_as_in_torch(name: str, params: Any) -> None:
    for source in (own, torch.optim):
        with pytest.raises(TypeError):
            getattr(source, name)(params)


@every_optimizer
def test_a_loaded_state_comes_to_the_dtype_of_its_parameter(name: str) -> None:
    options = {"momentum": 0.9} if name == "SGD" else {}
    first, param = torch.zeros(2, requires_grad=True), torch.zeros(2, dtype=torch.float64)
    first.grad = torch.ones(2)
    for source in (own, torch.optim):
        saved = getattr(source, name)([first], **options)
        saved.step()
        loaded = getattr(source, name)([param], **options)
        loaded.load_state_dict(saved.state_dict())
        kept = {key: value for key, value in loaded.state[param].items() if key != "step"}
        assert all(value.dtype == torch.float64 for value in kept.values())


@every_optimizer
def test_a_parameter_has_an_empty_state_before_its_first_step(name: str) -> None:
    param = torch.zeros(2)
    assert getattr(own, name)([param]).state[param] == {}


@every_optimizer
def test_parameters_come_as_list_generator_tensor_or_groups(name: str) -> None:
    make, params = getattr(own, name), [torch.zeros(2), torch.ones(3)]

    def held(given: Any) -> list[list[int]]:
        return [[id(p) for p in group["params"]] for group in make(given).param_groups]

    first, second = map(id, params)
    assert held(params) == held(p for p in params) == [[first, second]]
    assert held({"params": p} for p in params) == [[first], [second]]
    assert held([{"params": (p for p in params)}]) == [[first, second]]


@every_optimizer
def test_a_group_sets_its_own_options_and_takes_the_rest_from_the_arguments(name: str) -> None:
    for source in (own, torch.optim):
        groups = [{"params": [torch.zeros(1)], "lr": 0.5}, {"params": [torch.zeros(1)]}]
        optimizer = getattr(source, name)(groups, lr=0.1, weight_decay=0.3)
        assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.3]


@pytest.mark.parametrize("arguments", [{}, {"set_to_none": True}, {"set_to_none": False}])
def test_zero_grad_forgets_as_torch_does(arguments: dict[str, bool]) -> None:
    for source in (own, torch.optim):
        missing, present = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
        grad = present.grad = torch.ones(2)
        source.SGD([missing, present], lr=0.1).zero_grad(**arguments)
        assert missing.grad is None
        if arguments.get("set_to_none", True):
            assert present.grad is None
            assert torch.equal(grad, torch.ones(2))
        else:
            assert present.grad.data_ptr() == grad.data_ptr()
            assert torch.equal(grad, torch.zeros(2))


# --- state dictionaries ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [(own, torch.optim), (torch.optim, own), (own, own)],
    ids=["from us to torch", "from torch to us", "from us to us"],
)
@every_configuration
def test_a_run_saved_by_one_is_continued_by_the_other_as_if_never_stopped(
    name: str, options: dict[str, Any], first: Any, second: Any
) -> None:
    model, x, y = model_and_data()
    optimizer = getattr(first, name)(model.parameters(), **options)
    losses(model, x, y, optimizer, steps=5)

    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file)
    twin = deepcopy(model)
    follower = getattr(second, name)(twin.parameters(), lr=7.0)
    follower.load_state_dict(saved)

    expected = losses(model, x, y, optimizer, steps=5)
    assert losses(twin, x, y, follower, steps=5) == expected


@every_optimizer
def test_a_state_dict_has_the_layout_of_torch(name: str) -> None:
    saved = []
    for source in (own, torch.optim):
        params = [torch.ones(2), torch.ones(3), torch.ones(1)]
        groups = [{"params": params[:2], "lr": 0.1}, {"params": params[2:]}]
        optimizer = getattr(source, name)(groups, **OPTIONS[name][1])
        params[1].grad = torch.ones(3)
        optimizer.step()
        saved.append(optimizer.state_dict())
    mine, theirs = saved
    assert mine.keys() == theirs.keys()
    assert {n: kept.keys() for n, kept in mine["state"].items()} == {
        n: kept.keys() for n, kept in theirs["state"].items()
    }
    for group, expected in zip(mine["param_groups"], theirs["param_groups"], strict=True):
        assert group == {key: expected[key] for key in group}


@every_optimizer
def test_loading_replaces_the_state_and_leaves_the_dictionary_alone(name: str) -> None:
    used, fresh = torch.ones(2), torch.ones(2)
    optimizer = getattr(own, name)([used], **OPTIONS[name][1])
    used.grad = torch.ones(2)
    optimizer.step()
    empty = getattr(own, name)([fresh], lr=0.5).state_dict()
    before = deepcopy(empty)
    optimizer.load_state_dict(empty)
    assert optimizer.state_dict() == before
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert empty == before


@pytest.mark.parametrize("sizes", [[1], [2, 1], [3], [1, 1, 1]])
@every_optimizer
def test_loading_groups_of_another_size_is_a_value_error_and_changes_nothing(
    name: str, sizes: list[int]
) -> None:
    def make(sizes: list[int], lr: float) -> Any:
        groups = [{"params": [torch.zeros(2) for _ in range(size)]} for size in sizes]
        return getattr(own, name)(groups, lr=lr)

    optimizer = make([1, 2], lr=0.1)
    before = deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match="parameters"):
        optimizer.load_state_dict(make(sizes, lr=0.2).state_dict())
    assert optimizer.state_dict() == before


# --- wrong solutions ------------------------------------------------------------------------------


class NumbersFromOne(own.Optimizer):
    def state_dict(self) -> Any:
        saved = super().state_dict()
        for group in saved["param_groups"]:
            group["params"] = [number + 1 for number in group["params"]]
        return {**saved, "state": {number + 1: kept for number, kept in saved["state"].items()}}


class StateUnderParameters(own.Optimizer):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "state": dict(self.state)}


class SavesNoState(own.Optimizer):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "state": {}}


class SavesAList(own.Optimizer):
    def state_dict(self) -> Any:
        return list(super().state_dict().values())


class SavingEmptiesTheGroups(own.Optimizer):
    def state_dict(self) -> Any:
        saved = super().state_dict()
        for group, numbers in zip(self.param_groups, saved["param_groups"]):
            group["params"] = numbers["params"]
        return saved


class StateInReverse(own.Optimizer):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        params = [param for group in self.param_groups for param in group["params"]]
        kept = [self.state[param] for param in params if param in self.state]
        self.state = dict(zip(params, kept))


class LoadingKeepsTheOldState(own.Optimizer):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old = dict(self.state)
        super().load_state_dict(state_dict)
        self.state = {**old, **self.state}


class LoadingEmptiesTheDictionary(own.Optimizer):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in state_dict["param_groups"]:
            group.pop("params")


class LoadsTheFirstOptionsForAll(own.Optimizer):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["lr"] = 0.125


class MultipliesGradientsByZero(own.Optimizer):
    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None if set_to_none else param.grad * 0


class ZeroesOnlyTheFirst(own.Optimizer):
    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            own.Optimizer(group["params"][:1], {}).zero_grad(set_to_none)


@pytest.mark.parametrize(
    "wrong",
    [
        NumbersFromOne,
        StateUnderParameters,
        SavesNoState,
        SavesAList,
        SavingEmptiesTheGroups,
        StateInReverse,
        LoadingKeepsTheOldState,
        LoadingEmptiesTheDictionary,
        LoadsTheFirstOptionsForAll,
        MultipliesGradientsByZero,
        ZeroesOnlyTheFirst,
    ],
)
def test_a_wrong_base_outside_the_catalogue_loses_points(wrong: type, assert_rejected) -> None:
    assert_rejected(check_optimizer, wrong)


Act = Callable[[Any, Any, dict[str, Any]], None]


def beside_step(name: str, before: Act | None = None, after: Act | None = None) -> type:
    """Return an optimizer that does something wrong to every parameter beside a right step."""

    class Wrong(getattr(own, name)):
        def step(self) -> None:
            self.do(before)
            super().step()
            self.do(after)

        @torch.no_grad()
        def do(self, act: Act | None) -> None:
            for group in self.param_groups if act else []:
                for param in group["params"]:
                    act(self, param, group)

    return Wrong


def clears_the_gradient(optimizer: Any, param: Any, group: dict) -> None:
    param.grad = None


def binds_another_gradient(optimizer: Any, param: Any, group: dict) -> None:
    param.grad = None if param.grad is None else param.grad + param


def clips_the_gradient(optimizer: Any, param: Any, group: dict) -> None:
    param.grad = None if param.grad is None else param.grad.clamp(-0.1, 0.1)


def needs_one_dimension(optimizer: Any, param: Any, group: dict) -> None:
    for i in range(len(param)):
        param[i].item()


def needs_contiguous_parameters(optimizer: Any, param: Any, group: dict) -> None:
    param.view(-1)


def makes_it_float64(optimizer: Any, param: Any, group: dict) -> None:
    param.data = param.data.double()


def halves_lr(optimizer: Any, param: Any, group: dict) -> None:
    group["lr"] *= 0.5


def resets_lr(optimizer: Any, param: Any, group: dict) -> None:
    group["lr"] = optimizer.__dict__.setdefault("first_lr", group["lr"])


def shares_one_state(optimizer: Any, param: Any, group: dict) -> None:
    shared = next(iter(optimizer.state.values()), {})
    if shared:
        optimizer.state[param] = shared


def resets_betas(optimizer: Any, param: Any, group: dict) -> None:
    group["betas"] = (0.9, 0.999)


def decays_without_a_gradient(optimizer: Any, param: Any, group: dict) -> None:
    if param.grad is None:
        param.mul_(1 - group["lr"] * group["weight_decay"])


def decays_by_the_first_group(optimizer: Any, param: Any, group: dict) -> None:
    group["weight_decay"] = optimizer.param_groups[0]["weight_decay"]


def decays_matrices_only(optimizer: Any, param: Any, group: dict) -> None:
    if param.grad is not None and param.dim() < 2:
        param.div_(1 - group["lr"] * group["weight_decay"])


def counts_steps_twice(optimizer: Any, param: Any, group: dict) -> None:
    if param in optimizer.state:
        optimizer.state[param]["step"] += 1


BESIDE_ANY_STEP = {
    "before": [
        clips_the_gradient,
        needs_one_dimension,
        needs_contiguous_parameters,
        resets_lr,
    ],
    "after": [
        clears_the_gradient,
        binds_another_gradient,
        makes_it_float64,
        halves_lr,
        shares_one_state,
    ],
}
BESIDE_AN_ADAM_STEP = {"before": [resets_betas], "after": [counts_steps_twice]}
BESIDE_AN_ADAMW_STEP = {
    "before": [decays_without_a_gradient, decays_by_the_first_group, decays_matrices_only],
    "after": [],
}


class UpdatesACopy(own.SGD):
    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param = param - group["lr"] * param.grad


class BufferIsTheGradient(own.SGD):
    """Without a copy the next backward pass, or zero_grad(False), writes into the buffer."""

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and group["momentum"] and param not in self.state:
                    self.state[param] = {}
                    self.aliases = [*getattr(self, "aliases", []), (param, param.grad, group)]
        super().step()
        for param, grad, group in getattr(self, "aliases", []):
            pure = not group["weight_decay"] and not group["maximize"]
            if pure and torch.equal(self.state[param]["momentum_buffer"], grad):
                self.state[param]["momentum_buffer"] = grad


class MaximumOfCorrected(own.Adam):
    """Takes amsgrad's maximum after the correction, not before."""

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            beta2 = group["betas"][1]
            for param in group["params"]:
                t = self.state.get(param, {}).get("step", 0)
                if param.grad is not None and group["amsgrad"] and t:
                    largest = self.state[param]["max_exp_avg_sq"]
                    largest.mul_((1 - beta2 ** (t + 1)) / (1 - beta2**t))
        super().step()


def without_no_grad(name: str) -> type:
    """Return an optimizer whose step fails on the parameters of a module."""
    optimizer = getattr(own, name)
    return type("WithoutNoGrad", (optimizer,), {"step": optimizer.step.__wrapped__})


def wrong_steps() -> list:
    tables = {
        "SGD": [BESIDE_ANY_STEP],
        "Adam": [BESIDE_ANY_STEP, BESIDE_AN_ADAM_STEP],
        "AdamW": [BESIDE_ANY_STEP, BESIDE_AN_ADAM_STEP, BESIDE_AN_ADAMW_STEP],
    }
    checks = {"SGD": check_sgd, "Adam": check_adam, "AdamW": check_adamw}
    beside = [
        pytest.param(checks[name], beside_step(name, **{when: act}), id=f"{name}-{act.__name__}")
        for name in NAMES
        for table in tables[name]
        for when, acts in table.items()
        for act in acts
    ]
    without = [
        pytest.param(checks[name], without_no_grad(name), id=f"{name}-without_no_grad")
        for name in NAMES
    ]
    classes = [
        pytest.param(check, wrong, id=wrong.__name__)
        for check, wrong in [
            (check_sgd, UpdatesACopy),
            (check_sgd, BufferIsTheGradient),
            (check_adam, MaximumOfCorrected),
        ]
    ]
    return beside + without + classes


@pytest.mark.parametrize(("check", "wrong"), wrong_steps())
def test_a_wrong_step_outside_the_catalogue_loses_points(
    check: Any, wrong: type, assert_rejected: Callable
) -> None:
    assert_rejected(check, wrong)
