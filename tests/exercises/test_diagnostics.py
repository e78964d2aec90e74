"""The reference of ``diagnostics`` on real modules; wrong solutions that no catalogue lists."""

import inspect
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from course_lib import diagnostics as own
from course_lib.checks.diagnostics import (
    check_dead_fraction,
    check_find_nonfinite,
    check_gradient_norms,
    check_update_ratios,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16]

cuda = pytest.mark.cuda
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def network(sizes: list[int], seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, dtype=dtype), nn.Tanh()]
    return nn.Sequential(*layers)


def backward(model: nn.Module, x: Tensor) -> None:
    model.zero_grad()
    model(x).square().sum().backward()


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


# --- gradient_norms -------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(0, 2**32))
def test_gradient_norms_are_those_of_numpy(sizes: list[int], seed: int) -> None:
    model = network(sizes, seed % 1000, torch.float64)
    backward(model, torch.randn(3, sizes[0], dtype=torch.float64))
    norms = own.gradient_norms(model)
    assert list(norms) == [name for name, _ in model.named_parameters()]
    for name, param in model.named_parameters():
        assert norms[name] == pytest.approx(np.linalg.norm(param.grad.numpy().ravel()), rel=1e-10)
        assert type(norms[name]) is float


def test_all_norms_together_are_the_total_norm_that_torch_clips_by() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    backward(model, torch.randn(2, 3, 8))
    norms = own.gradient_norms(model)
    total = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert math.hypot(*norms.values()) == pytest.approx(total.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_norms_are_floats_in_every_dtype(dtype: torch.dtype) -> None:
    model = network([3, 2], dtype=dtype)
    backward(model, torch.ones(4, 3, dtype=dtype))
    grad = model[0].weight.grad.double()
    assert own.gradient_norms(model)["0.weight"] == pytest.approx(grad.norm().item(), rel=1e-2)


def test_frozen_unused_and_shared_parameters() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "c": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    model["a"].bias.requires_grad_(False)
    model["b"](model["a"](torch.ones(1, 2))).sum().backward()
    assert list(own.gradient_norms(model)) == ["a.weight", "b.bias"]
    model.zero_grad()
    assert own.gradient_norms(model) == {}


# --- dead_fraction --------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.sampled_from(DTYPES),
    st.data(),
)
def test_dead_fraction_agrees_with_numpy(
    shape: list[int], seed: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randint(-2, 2, shape, generator=rng).to(dtype)
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    others = tuple(d for d in range(len(shape)) if d != dim % len(shape))
    expected = (x.double().numpy() <= 0).all(axis=others).mean()
    assert own.dead_fraction(x, dim) == pytest.approx(expected, rel=1e-12)
    assert own.dead_fraction(x.relu(), dim=dim) == own.dead_fraction(x, dim)


def test_dead_units_are_found_in_a_layer_of_either_kind() -> None:
    linear, convolution = nn.Linear(3, 4), nn.Conv2d(1, 5, 2)
    with torch.no_grad():
        linear.bias[:3] = -100
        convolution.bias[:1] = -100
        linear.bias[3:] = convolution.bias[1:] = 100
    flat, images = linear(torch.randn(6, 3)).relu(), convolution(torch.randn(6, 1, 4, 4)).relu()
    assert own.dead_fraction(flat) == 0.75
    assert own.dead_fraction(images, dim=1) == 0.2


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_no_activations_are_a_value_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no activations"):
        own.dead_fraction(torch.zeros(shape))


def test_a_dimension_that_is_not_there_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        own.dead_fraction(torch.zeros(2, 3), dim=2)


# --- update_ratios --------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.floats(1e-6, 1.0), st.sampled_from(DTYPES[:2]))
def test_a_step_of_gradient_descent_moves_lr_times_gradient_over_parameter(
    seed: int, lr: float, dtype: torch.dtype
) -> None:
    model = network([3, 4, 2], seed, torch.float64)
    backward(model, torch.randn(5, 3, dtype=torch.float64))
    previous, grads = state(model), own.gradient_norms(model)
    torch.optim.SGD(model.parameters(), lr=lr).step()
    ratios = own.update_ratios(model, previous)
    assert list(ratios) == list(previous)
    for name, before in previous.items():
        assert ratios[name] == pytest.approx(lr * grads[name] / before.norm().item(), rel=1e-6)
        assert type(ratios[name]) is float


def test_at_rest_the_ratio_is_0_and_at_zero_there_is_none() -> None:
    model = network([2, 3])
    nn.init.zeros_(model[0].bias)
    previous = state(model)
    assert own.update_ratios(model, previous) == {"0.weight": 0.0}
    nn.init.ones_(model[0].bias)
    assert own.update_ratios(model, previous) == {"0.weight": 0.0}
    assert own.update_ratios(model, state(model)) == {"0.weight": 0.0, "0.bias": 0.0}


@pytest.mark.parametrize("dtype", DTYPES)
def test_update_ratios_are_floats_in_every_dtype(dtype: torch.dtype) -> None:
    model = network([4, 2], dtype=dtype)
    previous = {name: 2 * tensor for name, tensor in state(model).items()}
    for ratio in own.update_ratios(model, previous).values():
        assert ratio == pytest.approx(0.5, rel=1e-2)


# --- find_nonfinite -------------------------------------------------------------------------------


class LogOfSoftmax(nn.Module):
    """Takes the log of a softmax, which underflows to 0 where the inputs lie far apart."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.softmax(x).log()


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize(("scale", "expected"), [(1.0, None), (1000.0, "2")])
def test_the_log_of_a_softmax_is_found(scale: float, expected: str | None) -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(), LogOfSoftmax(), nn.Tanh())
    assert own.find_nonfinite(model, scale * torch.arange(3.0)) == expected
    assert own.find_nonfinite(LogOfSoftmax(), scale * torch.arange(3.0)) == (expected and "")


def test_an_overflow_in_float16_is_found() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False, dtype=torch.float16) for _ in range(5)))
    for layer in model:
        nn.init.constant_(layer.weight, 8)
    # The numbers grow 32 times a layer: 1, 32, 1024, 32768, and then above 65504.
    assert own.find_nonfinite(model, torch.ones(1, 4, dtype=torch.float16)) == "3"
    assert own.find_nonfinite(model.float(), torch.ones(1, 4)) is None


def test_a_recurrent_layer_with_nan_in_its_state_alone_is_found() -> None:
    class Recurrent(nn.LSTM):
        def forward(self, *args: Any) -> Any:
            output, (hidden, cell) = super().forward(*args)
            return output, (hidden, cell / 0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = Recurrent(3, 2)
            self.head = nn.Linear(2, 1)

        def forward(self, x: Tensor, scale: float) -> Tensor:
            return self.head(self.recurrent(x)[0]) * scale

    assert own.find_nonfinite(Model(), torch.ones(4, 1, 3), 2.0) == "recurrent"


@given(st.integers(1, 6), st.data())
def test_the_broken_layer_of_many_is_found(depth: int, data: st.DataObject) -> None:
    model = network([2] * (depth + 1))
    bad = data.draw(st.none() | st.integers(0, depth - 1))
    if bad is not None:
        model[2 * bad].weight.data[0, 1] = data.draw(st.sampled_from([math.nan, math.inf]))
    assert own.find_nonfinite(model, torch.ones(3, 2)) == (None if bad is None else str(2 * bad))
    assert hooks(model) == 0


def test_the_model_its_hooks_and_its_mode_stay_and_no_graph_is_built() -> None:
    model, seen = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), []
    model[1].eval()
    model[0].register_forward_hook(lambda module, args, output: seen.append(output))
    before, modes = state(model), [module.training for module in model.modules()]
    own.find_nonfinite(model, torch.ones(1, 2))
    assert hooks(model) == len(seen) == 1
    assert not seen[0].requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(model).items())
    assert torch.is_grad_enabled()


def test_an_exception_of_the_model_passes_and_the_hooks_go() -> None:
    model = network([2, 2])
    with pytest.raises(RuntimeError, match="shape"):
        own.find_nonfinite(model, torch.ones(1, 3))
    assert hooks(model) == 0


def test_the_tensors_of_a_nested_output() -> None:
    tensors = [torch.tensor(float(i)) for i in range(4)]
    nested = {"a": tensors[0], "b": [(tensors[1], None), {"c": tensors[2]}], "d": (tensors[3], 7)}
    assert list(own.tensors_in(nested)) == tensors


def test_a_signature_tells_the_units_dimension_and_any_number_of_inputs() -> None:
    dim = inspect.signature(own.dead_fraction).parameters["dim"]
    inputs = inspect.signature(own.find_nonfinite).parameters["inputs"]
    assert dim.default == -1
    assert inputs.kind is inputs.VAR_POSITIONAL


@cuda
@needs_cuda
def test_diagnostics_work_on_cuda() -> None:
    model = network([3, 4, 2]).cuda()
    previous, x = state(model), torch.randn(5, 3, device="cuda")
    backward(model, x)
    assert all(norm > 0 for norm in own.gradient_norms(model).values())
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert all(ratio > 0 for ratio in own.update_ratios(model, previous).values())
    assert own.dead_fraction(model(x).relu() * 0) == 1.0
    assert own.find_nonfinite(model, x) is None
    assert own.find_nonfinite(model, x * math.nan) == "0"


# --- wrong solutions: gradient_norms --------------------------------------------------------------


def norms_by(
    value: Callable = lambda grad: grad.norm().item(),
    named: Callable = lambda model: model.named_parameters(),
    counts: Callable = lambda param: param.grad is not None,
    name_of: Callable = lambda name: name,
) -> Callable:
    def norms(model: nn.Module) -> Any:
        return {name_of(n): value(param.grad) for n, param in named(model) if counts(param)}

    return norms


def doubles_the_gradients(grad: Tensor) -> float:
    norm = grad.norm().item()
    grad.mul_(2)
    return norm


def pairs(model: nn.Module) -> Any:
    return list(own.gradient_norms(model).items())


def total(model: nn.Module) -> Any:
    return {"total": math.hypot(*own.gradient_norms(model).values())}


WRONG_NORMS = {
    "rounded": norms_by(lambda grad: round(grad.norm().item(), 4)),
    "eps": norms_by(lambda grad: grad.norm().item() + 1e-8),
    "logarithm": norms_by(lambda grad: math.log10(grad.norm().item() + 1e-300)),
    "rows": norms_by(lambda grad: grad.norm(dim=-1).max().item() if grad.dim() else grad.item()),
    "spectral": norms_by(
        lambda grad: (
            torch.linalg.matrix_norm(grad, 2).item() if grad.dim() == 2 else grad.norm().item()
        )
    ),
    "standard deviation": norms_by(lambda grad: grad.std().item()),
    "float16": norms_by(lambda grad: grad.half().norm().item()),
    "contiguous": norms_by(lambda grad: grad.view(-1).norm().item()),
    "doubles the gradients": norms_by(doubles_the_gradients),
    "positive only": norms_by(counts=lambda param: param.grad is not None and param.grad.any()),
    "weights only": norms_by(
        named=lambda model: [(n, p) for n, p in model.named_parameters() if "weight" in n]
    ),
    "children only": norms_by(
        named=lambda model: [
            (f"{name}.{n}", p)
            for name, child in model.named_children()
            for n, p in child.named_parameters()
        ]
    ),
    "module path": norms_by(name_of=lambda name: f"model.{name}"),
    "underscores": norms_by(name_of=lambda name: name.replace(".", "_")),
    "pairs": pairs,
    "total": total,
}


@pytest.mark.parametrize("name", WRONG_NORMS)
def test_wrong_norms_outside_the_catalogue_lose_points(
    name: str, assert_rejected: Callable
) -> None:
    assert check_gradient_norms(norms_by()).passed
    assert_rejected(check_gradient_norms, WRONG_NORMS[name])


# --- wrong solutions: dead_fraction ---------------------------------------------------------------


def share_by(
    dead: Callable = lambda rows: (rows <= 0).all(dim=1),
    share: Callable = lambda dead: dead.double().mean().item(),
    rows: Callable = lambda x, dim: x.movedim(dim, 0).reshape(x.shape[dim], -1),
    default: int = -1,
) -> Callable:
    def fraction(activations: Tensor, dim: int = default) -> Any:
        return share(dead(rows(activations, dim)))

    return fraction


def zeroes_its_input(activations: Tensor, dim: int = -1) -> float:
    share = own.dead_fraction(activations, dim)
    activations.clamp_(min=0)
    return share


WRONG_SHARES = {
    "median": share_by(lambda rows: rows.float().median(1).values <= 0),
    "smallest": share_by(lambda rows: rows.amin(1) <= 0),
    "nearly all": share_by(lambda rows: (rows <= 0).double().mean(1) > 0.7),
    "below 0.01": share_by(lambda rows: (rows < 0.01).all(1)),
    "sum of sizes": share_by(lambda rows: rows.abs().sum(1) == 0),
    "first example": share_by(lambda rows: rows[:, 0] <= 0),
    "last example": share_by(lambda rows: rows[:, -1] <= 0),
    "equal answers": share_by(lambda rows: (rows == rows[:, :1]).all(1)),
    "rounded": share_by(share=lambda dead: round(dead.double().mean().item(), 1)),
    "over one less": share_by(share=lambda dead: dead.sum().item() / max(len(dead) - 1, 1)),
    "whole number": share_by(share=lambda dead: dead.sum().item() // len(dead)),
    "over the elements": share_by(share=lambda dead: dead.sum().item() / (len(dead) * 2)),
    "reshape without moving": share_by(rows=lambda x, dim: x.reshape(x.shape[dim], -1)),
    "dim 1 by default": share_by(default=1),
    "dim 0 by default": share_by(default=0),
    "needs contiguous": share_by(rows=lambda x, dim: x.movedim(dim, 0).view(x.shape[dim], -1)),
    "zeroes its input": zeroes_its_input,
}


@pytest.mark.parametrize("name", WRONG_SHARES)
def test_a_wrong_share_outside_the_catalogue_loses_points(
    name: str, assert_rejected: Callable
) -> None:
    assert check_dead_fraction(share_by()).passed
    assert_rejected(check_dead_fraction, WRONG_SHARES[name])


# --- wrong solutions: update_ratios ---------------------------------------------------------------


def ratios_by(
    ratio: Callable = lambda p, q: (p - q).norm() / q.norm(),
    counts: Callable = lambda p, q: bool(q.any()),
    value: Callable = lambda ratio: ratio.item(),
) -> Callable:
    def ratios(model: nn.Module, previous: dict[str, Tensor]) -> Any:
        return {
            name: value(ratio(param.detach(), previous[name]))
            for name, param in model.named_parameters()
            if counts(param.detach(), previous[name])
        }

    return ratios


def changes_previous(model: nn.Module, previous: dict[str, Tensor]) -> dict[str, float]:
    ratios = own.update_ratios(model, previous)
    for name, param in model.named_parameters():
        previous[name].sub_(param.detach())
    return ratios


def undoes_the_step(model: nn.Module, previous: dict[str, Tensor]) -> dict[str, float]:
    ratios = own.update_ratios(model, previous)
    for name, param in model.named_parameters():
        param.data.copy_(previous[name])
    return ratios


def one_for_all(model: nn.Module, previous: dict[str, Tensor]) -> dict[str, float]:
    whole = torch.cat([previous[n].flatten() for n, _ in model.named_parameters()]).norm()
    return ratios_by(lambda p, q: (p - q).norm() / whole)(model, previous)


WRONG_RATIOS = {
    "over the average": ratios_by(lambda p, q: 2 * (p - q).norm() / (p.norm() + q.norm())),
    "over both": ratios_by(lambda p, q: (p - q).norm() / (p + q).norm()),
    "sum": ratios_by(lambda p, q: (p + q).norm() / q.norm()),
    "largest elements": ratios_by(lambda p, q: (p - q).abs().max() / q.abs().max()),
    "largest ratio": ratios_by(lambda p, q: ((p - q) / q).abs().max()),
    "means": ratios_by(lambda p, q: (p - q).mean().abs() / q.abs().mean()),
    "root too many": ratios_by(lambda p, q: ((p - q).norm() / q.norm()).sqrt()),
    "logarithm": ratios_by(lambda p, q: ((p - q).norm() / q.norm()).log10()),
    "percent": ratios_by(lambda p, q: 100 * (p - q).norm() / q.norm()),
    "per element": ratios_by(lambda p, q: (p - q).norm() / q.norm() / max(q.numel(), 2)),
    "only new zero": ratios_by(counts=lambda p, q: bool(p.any())),
    "small left out": ratios_by(counts=lambda p, q: bool(q.norm() > 0.1)),
    "nan": ratios_by(
        lambda p, q: (p - q).norm() / q.norm() if q.any() else q.norm() * math.nan,
        counts=lambda p, q: True,
    ),
    "rounded": ratios_by(value=lambda ratio: round(ratio.item(), 4)),
    "changes previous": changes_previous,
    "undoes the step": undoes_the_step,
    "one size for all": one_for_all,
}


@pytest.mark.parametrize("name", WRONG_RATIOS)
def test_wrong_ratios_outside_the_catalogue_lose_points(
    name: str, assert_rejected: Callable
) -> None:
    assert check_update_ratios(ratios_by()).passed
    assert_rejected(check_update_ratios, WRONG_RATIOS[name])


# --- wrong solutions: find_nonfinite --------------------------------------------------------------


def finder(
    bad: Callable = lambda tensor: not tensor.isfinite().all(),
    watched: Callable = lambda model: model.named_modules(),
    seen: Callable = lambda output: list(own.tensors_in(output)),
    answer: Callable = lambda found: found[0] if found else None,
    prepare: Callable = lambda model: None,
    call: Callable = lambda model, inputs: model(*inputs),
) -> Callable:
    def find(model: nn.Module, *inputs: Any) -> Any:
        found: list[str] = []

        def hook_for(name: str) -> Callable:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                if any(bad(tensor) for tensor in seen(output)):
                    found.append(name)

            return hook

        prepare(model)
        handles = [module.register_forward_hook(hook_for(name)) for name, module in watched(model)]
        try:
            call(model, inputs)
        finally:
            for handle in handles:
                handle.remove()
        return answer(found)

    return find


def leaves_a_hook(model: nn.Module, *inputs: Any) -> Any:
    name = own.find_nonfinite(model, *inputs)
    [*model.modules()][-1].register_forward_hook(lambda *_: None)
    return name


def layer_by_layer(model: nn.Module, *inputs: Any) -> Any:
    """Runs the children one by one itself, as if every model were sequential."""
    (x, *_) = inputs
    for name, child in model.named_children():
        inner = own.find_nonfinite(child, x)
        if inner is not None:
            return f"{name}.{inner}".rstrip(".")
        x = next(own.tensors_in(child(x)))
    return None


WRONG_FINDERS = {
    "first element": finder(bad=lambda tensor: not tensor.flatten()[0].isfinite()),
    "mean": finder(bad=lambda tensor: not tensor.float().mean().isfinite()),
    "largest": finder(bad=lambda tensor: bool(tensor.max() == math.inf)),
    "unequal to itself": finder(bad=lambda tensor: bool((tensor != tensor).any())),
    "norm": finder(bad=lambda tensor: not tensor.float().norm().isfinite()),
    "float16": finder(bad=lambda tensor: not tensor.half().isfinite().all()),
    "second": finder(answer=lambda found: found[1] if len(found) > 1 else None),
    "without the model": finder(watched=lambda model: list(model.named_modules())[1:]),
    "shortest": finder(answer=lambda found: min(found, key=len) if found else None),
    "deepest": finder(
        answer=lambda found: max(found, key=lambda n: n.count(".")) if found else None
    ),
    "last part": finder(answer=lambda found: found[0].split(".")[-1] if found else None),
    "alphabet": finder(answer=lambda found: sorted(found)[0] if found else None),
    "true or false": finder(answer=lambda found: bool(found)),
    "number": finder(answer=lambda found: len(found) or None),
    "lists only": finder(seen=lambda output: output if isinstance(output, list) else [output][:1]),
    "last of a tuple": finder(seen=lambda output: list(own.tensors_in(output))[-1:]),
    "one input": finder(call=lambda model, inputs: model(inputs[0])),
    "evaluation mode": finder(prepare=nn.Module.eval),
    "all hooks first": finder(
        prepare=lambda model: [module._forward_hooks.clear() for module in model.modules()]
    ),
    "one hook stays": leaves_a_hook,
    "layer by layer": layer_by_layer,
}


@pytest.mark.parametrize("name", WRONG_FINDERS)
def test_a_wrong_finder_outside_the_catalogue_loses_points(
    name: str, assert_rejected: Callable
) -> None:
    assert check_find_nonfinite(finder()).passed
    assert_rejected(check_find_nonfinite, WRONG_FINDERS[name])
