"""The reference norms against torch's; wrong ones that no catalogue lists."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from course_lib import normalization as own
from course_lib.checking import Check
from course_lib.checks import normalization as checks
from course_lib.normalization import batch_norm, group_norm, layer_norm, rms_norm

NAMES = ["batch_norm", "layer_norm", "rms_norm", "group_norm"]
HALF = [torch.float16, torch.bfloat16]
TOLERANCE: dict[torch.dtype, dict[str, float]] = {torch.float64: {"rtol": 1e-10, "atol": 1e-10}}

every_norm = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF], ids=str)


def drawn(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=rng, dtype=torch.float64) * 2 + 0.5


@st.composite
def calls(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Draw the arguments of a norm, by name, with float64 tensors."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    call: dict[str, Any] = {"eps": draw(st.sampled_from([1e-5, 1e-3, 0.5]))}
    if name in ("layer_norm", "rms_norm"):
        shape[0] = draw(st.integers(0, 5))
        call["normalized_shape"] = parameter = shape[draw(st.integers(0, len(shape) - 1)) :]
    else:
        shape[0] = draw(st.sampled_from([0, 2, 3, 5]))  # torch refuses one value alone
        if name == "group_norm":
            call["num_groups"] = draw(st.integers(1, 3))
            shape[1] *= call["num_groups"]
        parameter = shape[1:2]
    if name == "batch_norm":
        call["training"] = draw(st.booleans())
        kept = not call["training"] or draw(st.booleans())
        call["running_mean"] = drawn(rng, *parameter) if kept else None
        call["running_var"] = drawn(rng, *parameter).square() + 0.1 if kept else None
        call["momentum"] = draw(st.sampled_from([0.1, 0.7, 1.0]))
    call["input"] = drawn(rng, *shape)
    if draw(st.booleans()):
        call["input"] = call["input"].transpose(0, -1).contiguous().transpose(0, -1)
    for parameter_name in ("weight", "bias")[: 1 if name == "rms_norm" else 2]:
        if draw(st.booleans()):
            call[parameter_name] = drawn(rng, *parameter)
    if name == "group_norm" and "weight" not in call:
        call.pop("bias", None)  # torch has no backward for a bias alone
    return call


def in_dtype(call: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return a copy of a call with its tensors in a dtype, as leaves of a new graph."""
    copy = {
        key: value.detach().to(dtype, copy=True) if isinstance(value, Tensor) else value
        for key, value in call.items()
    }
    for key in ("input", "weight", "bias"):
        if key in copy:
            copy[key].requires_grad_()
    return copy


def results(norm: Callable, call: dict[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the output, the running statistics and all gradients; ``dtype`` is the cotangent's."""
    output = norm(**call)
    found = {"output": output.detach()}
    found |= {
        key: call[key] for key in ("running_mean", "running_var") if call.get(key) is not None
    }
    if output.numel() > 0:  # for an empty batch torch's group_norm has no backward
        cotangent = drawn(torch.Generator().manual_seed(0), *output.shape) / 4
        output.backward(cotangent.to(dtype).to(output.dtype))
        found |= {key: call[key].grad for key in ("input", "weight", "bias") if key in call}
    return found


@every_dtype
@every_norm
@settings(max_examples=40)
@given(data=st.data())
def test_values_and_gradients_are_those_of_torch(
    name: str, dtype: torch.dtype, data: st.DataObject
) -> None:
    """Torch computes in float64, from the same numbers; the result is rounded to the dtype."""
    call = data.draw(calls(name))
    rounded = in_dtype(call, dtype)
    got = results(getattr(own, name), rounded, dtype)
    expected = results(getattr(F, name), in_dtype(in_dtype(call, dtype), torch.float64), dtype)
    for key, value in expected.items():
        tolerance = TOLERANCE.get(dtype, {})
        if dtype in HALF:
            tolerance = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 2e-5}
        torch.testing.assert_close(got[key], value.to(dtype), **tolerance)


@every_norm
@settings(max_examples=30)
@given(data=st.data())
def test_the_default_arguments_are_those_of_torch(name: str, data: st.DataObject) -> None:
    call = in_dtype(data.draw(calls(name)), torch.float64)
    del call["eps"]
    if name == "batch_norm":
        del call["momentum"]
    other = deepcopy(call)
    torch.testing.assert_close(getattr(own, name)(**call), getattr(F, name)(**other))
    torch.testing.assert_close(call, other)


@every_norm
def test_a_signature_is_that_of_torch(name: str) -> None:
    def described(function: Callable) -> list[tuple]:
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.default, p.kind) for p in parameters]

    assert described(getattr(own, name)) == described(getattr(F, name))


@pytest.mark.parametrize("dtype", HALF, ids=str)
@every_norm
def test_half_precision_with_float32_parameters_gives_the_dtype_of_the_input(
    name: str, dtype: torch.dtype
) -> None:
    rng = torch.Generator().manual_seed(0)
    x, weight = (300 * drawn(rng, 6, 8)).to(dtype), drawn(rng, 8).float()
    arguments: dict[str, Any] = {
        "batch_norm": (torch.zeros(8), torch.ones(8), weight, weight, True),
        "layer_norm": ((8,), weight, weight),
        "rms_norm": ((8,), weight),
        "group_norm": (2, weight, weight),
    }[name]
    output = getattr(own, name)(x, *deepcopy(arguments))
    assert output.dtype == dtype
    expected = getattr(F, name)(x.double(), *[_double(a) for a in arguments])
    torch.testing.assert_close(output, expected.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=0)


def _double(argument: Any) -> Any:
    return argument.double() if isinstance(argument, Tensor) else argument


# --- edge cases -----------------------------------------------------------------------------------


def test_equal_numbers_become_zeros_and_have_finite_gradients() -> None:
    x = torch.full((4, 6), 3.0, requires_grad=True)
    outputs = [
        batch_norm(x, None, None, training=True),
        layer_norm(x, (6,)),
        group_norm(x, 2),
        rms_norm(0 * x, (6,)),
    ]
    for output in outputs:
        assert torch.equal(output, torch.zeros(4, 6))
        (gradient,) = torch.autograd.grad(output.sum(), x)
        assert gradient.isfinite().all()


def test_a_large_mean_costs_no_digits_of_the_spread() -> None:
    near = drawn(torch.Generator().manual_seed(0), 8, 12).mul(64).round() / 64
    far = near + 2.0**30
    for norm, arguments in (
        (batch_norm, (None, None, None, None, True)),
        (layer_norm, ((12,),)),
        (group_norm, (3,)),
    ):
        torch.testing.assert_close(
            norm(far, *arguments), norm(near, *arguments), rtol=1e-6, atol=1e-6
        )


def test_the_running_statistics_stay_the_same_tensors_without_a_graph() -> None:
    x = torch.randn(8, 3, requires_grad=True)
    mean, var = torch.zeros(3), torch.ones(3)
    view = mean[:2]
    batch_norm(x, mean, var, training=True)
    assert not mean.requires_grad
    assert not var.requires_grad
    assert view.all()
    deepcopy([mean, var])


def test_an_empty_batch_and_an_evaluation_leave_the_running_statistics_alone() -> None:
    mean, var = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    assert batch_norm(torch.empty(0, 2, 5), mean, var, training=True).shape == (0, 2, 5)
    batch_norm(torch.randn(5, 2), mean, var)
    assert mean.tolist() == [1, 2]
    assert var.tolist() == [3, 4]


def test_a_dead_channel_in_half_precision_stays_zero() -> None:
    mean, var = torch.full((2,), 8.0).half(), torch.zeros(2).half()
    output = batch_norm(torch.full((3, 2), 8.0).half(), mean, var, eps=1e-8)
    assert torch.equal(output, torch.zeros(3, 2).half())


def test_running_statistics_in_half_precision_are_kept_in_their_dtype() -> None:
    x = drawn(torch.Generator().manual_seed(0), 16, 3).bfloat16()
    mean, var = torch.zeros(3).bfloat16(), torch.ones(3).bfloat16()
    batch_norm(x, mean, var, training=True)
    assert mean.dtype == var.dtype == torch.bfloat16
    torch.testing.assert_close(mean, (0.1 * x.double().mean(0)).bfloat16())
    torch.testing.assert_close(var, (0.9 + 0.1 * x.double().var(0)).bfloat16())


def test_nothing_is_written_into_the_arguments() -> None:
    x, weight, bias = torch.randn(4, 6), torch.randn(6), torch.randn(6)
    before = deepcopy((x, weight, bias))
    batch_norm(x, None, None, weight, bias, training=True)
    layer_norm(x, (6,), weight, bias)
    rms_norm(x, (6,), weight)
    group_norm(x, 3, weight, bias)
    assert all(map(torch.equal, before, (x, weight, bias)))


def test_group_norm_with_one_group_is_layer_norm_over_all_channels() -> None:
    x = torch.randn(3, 6, 5)
    torch.testing.assert_close(group_norm(x, 1), layer_norm(x, (6, 5)))


def test_rms_norm_of_centred_numbers_is_layer_norm() -> None:
    x = torch.randn(3, 6, dtype=torch.float64)
    x -= x.mean(-1, keepdim=True)
    torch.testing.assert_close(rms_norm(x, (6,), eps=1e-5), layer_norm(x, (6,)))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("batch_norm", (torch.ones(1, 3), None, None, None, None, True)),
        ("batch_norm", (torch.ones(1, 3, 1), None, None, None, None, True)),
        ("batch_norm", (torch.ones(4, 3), None, None)),
        ("batch_norm", (torch.ones(4, 3), torch.ones(3), None)),
        ("batch_norm", (torch.ones(4, 3), torch.ones(3), None, None, None, True)),
        ("batch_norm", (torch.ones(4, 3), torch.ones(4), torch.ones(3))),
        ("batch_norm", (torch.ones(4, 3), torch.ones(3), torch.ones(1))),
        ("batch_norm", (torch.ones(4, 3), torch.ones(3), torch.ones(3), torch.ones(4))),
        ("batch_norm", (torch.ones(4, 3), torch.ones(3), torch.ones(3), None, torch.ones(1))),
        ("batch_norm", (torch.ones(3), torch.ones(3), torch.ones(3))),
        ("batch_norm", (torch.ones(4, 3), torch.ones(3), torch.ones(3), None, None, True, 0.1, 0)),
        ("batch_norm", (torch.ones(4, 3), torch.ones(3), torch.ones(3), None, None, False, 0, -1)),
        ("batch_norm", (torch.ones(4, 3).long(), torch.ones(3), torch.ones(3))),
        ("layer_norm", (torch.ones(4, 3), 3)),
        ("layer_norm", (torch.ones(4, 3), ())),
        ("layer_norm", (torch.ones(4, 3), (4,))),
        ("layer_norm", (torch.ones(4, 3), (2, 4, 3))),
        ("layer_norm", (torch.ones(4, 3), (3,), torch.ones(1))),
        ("layer_norm", (torch.ones(4, 3), (3,), None, torch.ones(4))),
        ("layer_norm", (torch.ones(4, 3).long(), (3,))),
        ("rms_norm", (torch.ones(4, 3), 3)),
        ("rms_norm", (torch.ones(4, 3), ())),
        ("rms_norm", (torch.ones(4, 3), (4,))),
        ("rms_norm", (torch.ones(4, 3), (2, 4, 3))),
        ("rms_norm", (torch.ones(4, 3), (3,), torch.ones(1))),
        ("rms_norm", (torch.ones(4, 3).long(), (3,))),
        ("group_norm", (torch.ones(4, 3), 2)),
        ("group_norm", (torch.ones(0, 3), 2)),
        ("group_norm", (torch.ones(4, 3), 0)),
        ("group_norm", (torch.ones(4, 3), -1)),
        ("group_norm", (torch.ones(3), 1)),
        ("group_norm", (torch.ones(1, 3), 3)),
        ("group_norm", (torch.ones(4, 3), 1, torch.ones(1))),
        ("group_norm", (torch.ones(4, 3), 1, torch.ones(3, 1))),
        ("group_norm", (torch.ones(4, 3), 1, None, torch.ones(2))),
        ("group_norm", (torch.ones(4, 3).long(), 3)),
    ],
)
def test_bad_arguments_raise_what_torch_raises(name: str, arguments: tuple) -> None:
    with pytest.raises(Exception) as torchs:  # noqa: PT011
        getattr(F, name)(*arguments)
    with pytest.raises(torchs.type):
        getattr(own, name)(*arguments)


@pytest.mark.parametrize("module", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm([4, 5, 5])])
def test_a_network_trains_as_with_torch(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def losses() -> list[float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), deepcopy(module), nn.Flatten(), nn.Linear(100, 1))
        x, y = torch.randn(16, 1, 7, 7), torch.randn(16, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        history = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        return [*history, F.mse_loss(model.eval()(x), y).item()]

    expected = losses()
    for name in NAMES:
        monkeypatch.setattr(F, name, getattr(own, name))
    assert losses() == pytest.approx(expected, rel=1e-3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_dtype
@every_norm
def test_a_norm_on_a_gpu_is_that_of_torch(name: str, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    arguments: dict[str, Any] = {
        "batch_norm": {"running_mean": None, "running_var": None, "training": True},
        "layer_norm": {"normalized_shape": (8,)},
        "rms_norm": {"normalized_shape": (8,)},
        "group_norm": {"num_groups": 2},
    }[name]
    tensors = {"input": drawn(rng, 6, 8), "weight": drawn(rng, 8)}
    call = {key: value.to("cuda", dtype) for key, value in tensors.items()} | arguments
    got, expected = getattr(own, name)(**call), getattr(F, name)(**call)
    assert got.is_cuda
    torch.testing.assert_close(got, expected)


# --- the formulas of the catalogue ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "formula"),
    [
        (checks.check_batch_norm, checks.BatchNorm),
        (checks.check_layer_norm, checks.LayerNorm),
        (checks.check_rms_norm, checks.RMSNorm),
        (checks.check_group_norm, checks.GroupNorm),
    ],
)
def test_a_formula_without_a_mistake_is_right(check: Check, formula: type) -> None:
    """So a mistake is wrong for its own reason."""
    for seed in range(20):
        assert check(formula(), seed=seed).passed


# --- wrong solutions ------------------------------------------------------------------------------


def detached(name: str, norm: Callable) -> Callable:
    """Return a norm through which no gradient reaches one of the tensors."""
    parameters = inspect.signature(norm)

    def wrong(*args: Any, **kwargs: Any) -> Tensor:
        call = parameters.bind(*args, **kwargs)
        if call.arguments.get(name) is not None:
            call.arguments[name] = call.arguments[name].detach()
        return norm(*call.args, **call.kwargs)

    return wrong


def after(change: Callable[[Tensor], Any], norm: Callable) -> Callable:
    return lambda *args, **kwargs: change(norm(*args, **kwargs))


def before(change: Callable[[Tensor], Tensor], norm: Callable) -> Callable:
    return lambda input, *args, **kwargs: norm(change(input), *args, **kwargs)


def changed(norm: Callable, **changes: Callable[[Any], Any]) -> Callable:
    """Return a norm that changes some of its arguments before it looks at them."""
    signature = inspect.signature(norm)

    def wrong(*args: Any, **kwargs: Any) -> Tensor:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        for name, change in changes.items():
            if call.arguments[name] is not None:
                call.arguments[name] = change(call.arguments[name])
        return norm(*call.args, **call.kwargs)

    return wrong


def with_default(norm: Callable, **defaults: Any) -> Callable:
    return lambda *args, **kwargs: norm(*args, **{**defaults, **kwargs})


def wrongs(norm: Callable) -> dict[str, Callable]:
    """Return wrong versions that any norm can have."""
    return {
        "weight detached": detached("weight", norm),
        "weight as its magnitude": changed(norm, weight=torch.abs),
        "weight squared": changed(norm, weight=torch.square),
        "eps squared": changed(norm, eps=lambda eps: eps**2),
        "nothing returned": after(lambda y: None, norm),
        "numpy returned": after(lambda y: y.detach().numpy(), norm),
        "a pair returned": after(lambda y: (y, y), norm),
        "float64 returned": after(torch.Tensor.double, norm),
        "batch dropped": after(lambda y: y[0] if len(y) == 1 else y, norm),
        "outliers clipped": after(lambda y: y.clamp(-3, 3), norm),
        "rounded": after(lambda y: (y * 1e4).round() / 1e4, norm),
        "zeros": after(torch.zeros_like, norm),
        "input unchanged": after(lambda y: y, lambda input, *args, **kwargs: input),
        "contiguous input wanted": before(lambda x: x.view(-1).view(x.shape), norm),
        "twice": lambda input, *args, **kwargs: norm(norm(input, *args, **kwargs), *args, **kwargs),
    }


def with_bias(norm: Callable) -> dict[str, Callable]:
    return {
        "bias detached": detached("bias", norm),
        "bias subtracted": changed(norm, bias=torch.neg),
        "default eps 1e-3": with_default(norm, eps=1e-3),
        "default eps 1e-8": with_default(norm, eps=1e-8),
    }


def scaled_by_the_largest(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return input / input.abs().amax(-1, keepdim=True)


def keeps_a_copy(norm: Callable) -> Callable:
    return changed(norm, running_mean=torch.clone, running_var=torch.clone)


def keeps_twice(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    batch_norm(input, *args, **kwargs)
    return batch_norm(input, *args, **kwargs)


def swaps_the_statistics(
    input: Tensor, running_mean: Any, running_var: Any, *args: Any, **kwargs: Any
) -> Tensor:
    return batch_norm(input, running_var, running_mean, *args, **kwargs)


def needs_statistics(
    input: Tensor, running_mean: Any, running_var: Any, *args: Any, **kwargs: Any
) -> Tensor:
    return batch_norm(input, running_mean.add_(0), running_var.add_(0), *args, **kwargs)


def keeps_with_the_weights(
    input: Tensor, running_mean: Any, running_var: Any, *args: Any, **kwargs: Any
) -> Tensor:
    """Statistics of the output, not of the input."""
    output = batch_norm(input, *keep(running_mean, running_var), *args, **kwargs)
    batch_norm(output.detach(), running_mean, running_var, *args, **kwargs)
    return output


def keep(*statistics: Any) -> list[Any]:
    return [None if tensor is None else tensor.clone() for tensor in statistics]


def only_height(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if input.dim() < 4:
        return batch_norm(input, *args, **kwargs)
    return torch.stack([batch_norm(x, *args, **kwargs) for x in input.unbind(-1)], -1)


def at_most_three_dimensions(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return batch_norm(input[:, :, :, 0] if input.dim() == 4 else input, *args, **kwargs)


def first_half(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return torch.cat([batch_norm(half, *args, **kwargs) for half in input.chunk(2)])


WRONG_BATCH_NORMS = {
    **wrongs(batch_norm),
    **with_bias(batch_norm),
    "scaled by the largest": scaled_by_the_largest,
    "training by default": with_default(batch_norm, training=True),
    "default momentum 0.9": with_default(batch_norm, momentum=0.9),
    "momentum squared": changed(batch_norm, momentum=lambda momentum: momentum**2),
    "keeps a copy": keeps_a_copy(batch_norm),
    "keeps twice": keeps_twice,
    "swaps the statistics": swaps_the_statistics,
    "needs statistics": needs_statistics,
    "keeps with the weights": keeps_with_the_weights,
    "only the height": only_height,
    "at most three dimensions": at_most_three_dimensions,
    "every half alone": first_half,
    "always training": changed(batch_norm, training=lambda training: True),
    "never training": changed(batch_norm, training=lambda training: False),
}


def deviation_of_all(input: Tensor, normalized_shape: Any, *args: Any, **kwargs: Any) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    centred = input - input.mean(-1, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True) + 1e-5).sqrt()


def from_the_second_dimension(
    input: Tensor, normalized_shape: Any, *args: Any, **kwargs: Any
) -> Tensor:
    return layer_norm(input, input.shape[1:], *args, **kwargs)


WRONG_LAYER_NORMS = {
    **wrongs(layer_norm),
    **with_bias(layer_norm),
    "scaled by the largest": scaled_by_the_largest,
    "deviation of all, mean of the last": deviation_of_all,
    "from the second dimension on": from_the_second_dimension,
    "a row at a time": before(lambda x: x.reshape(-1, x.shape[-1]), layer_norm),
    "as rms_norm": lambda input, shape, weight=None, bias=None, eps=1e-5: rms_norm(
        input, shape, weight, eps
    ),
    "as batch_norm": lambda input, shape, weight=None, bias=None, eps=1e-5: (
        (input - input.mean(0)) / (input.var(0, correction=0) + eps).sqrt()
    ),
}

WRONG_RMS_NORMS = {
    **wrongs(rms_norm),
    "scaled by the largest": scaled_by_the_largest,
    "magnitudes": after(torch.abs, rms_norm),
    "default eps 1e-12": with_default(rms_norm, eps=1e-12),
    "as layer_norm": lambda input, shape, weight=None, eps=None: layer_norm(
        input, shape, weight, None, eps or torch.finfo(input.dtype).eps
    ),
    "unit length": lambda input, shape, weight=None, eps=None: F.normalize(input, dim=-1),
    "n - 1": lambda input, shape, weight=None, eps=None: (
        rms_norm(input, shape, weight, eps) * (1 - 1 / input.shape[-1]) ** 0.5
    ),
}


def weights_of_the_first_group(
    input: Tensor, num_groups: int, weight: Any = None, *args: Any, **kwargs: Any
) -> Tensor:
    if weight is not None:
        weight = weight[: len(weight) // num_groups].repeat(num_groups)
    return group_norm(input, num_groups, weight, *args, **kwargs)


def flat_groups(input: Tensor, num_groups: int, *args: Any, **kwargs: Any) -> Tensor:
    """Groups in the last dimension instead of the channels."""
    return group_norm(input.transpose(1, -1), num_groups, *args, **kwargs).transpose(1, -1)


WRONG_GROUP_NORMS = {
    **wrongs(group_norm),
    **with_bias(group_norm),
    "scaled by the largest": scaled_by_the_largest,
    "weights of the first group": weights_of_the_first_group,
    "last dimension for channels": flat_groups,
    "two groups": changed(group_norm, num_groups=lambda groups: 2),
    "channels reversed": after(lambda y: y.flip(1), group_norm),
    "input reversed": before(lambda x: x.flip(1), group_norm),
    "as rms_norm": lambda input, num_groups, weight=None, bias=None, eps=1e-5: rms_norm(
        input.unflatten(1, (num_groups, -1)), [input.shape[1] // num_groups, *input.shape[2:]]
    ).flatten(1, 2),
}


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        pytest.param(check, wrong, id=f"{check.exercise}: {name}")
        for check, wrongs in (
            (checks.check_batch_norm, WRONG_BATCH_NORMS),
            (checks.check_layer_norm, WRONG_LAYER_NORMS),
            (checks.check_rms_norm, WRONG_RMS_NORMS),
            (checks.check_group_norm, WRONG_GROUP_NORMS),
        )
        for name, wrong in wrongs.items()
    ],
)
def test_a_wrong_norm_loses_points(
    check: Check, wrong: Callable, assert_rejected: Callable[[Check, Any], None]
) -> None:
    """Whether it is recognised plays no part here, and looking for that takes most of the time."""
    assert_rejected(replace(check, mistakes=()), wrong)
