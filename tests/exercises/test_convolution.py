"""The reference convolution and pools against torch's; wrong ones that no catalogue lists."""

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

from course_lib import convolution as own
from course_lib.checking import Check
from course_lib.checks import convolution as checks
from course_lib.convolution import avg_pool2d, conv2d, max_pool2d, windows

NAMES = ["conv2d", "max_pool2d", "avg_pool2d"]
TOLERANCE: dict[torch.dtype, dict[str, float]] = {torch.float64: {"rtol": 1e-10, "atol": 1e-10}}

every_function = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)


def halves(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw -1, -1/2, 0, 1/2 and 1: with many ties, and sums that are exact in every dtype."""
    return torch.randint(-2, 3, shape, generator=rng).double() / 2


@st.composite
def calls(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Draw the arguments of a call, with float64 tensors; what does not fit is made to fit."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    size = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    most = (3, 3) if name == "conv2d" else (kernel[0] // 2, kernel[1] // 2)
    padding = draw(st.tuples(st.integers(0, most[0]), st.integers(0, most[1])))
    channels = draw(st.integers(1, 3))
    image = [draw(st.integers(max(k - 2 * p, 1), 7)) for k, p in zip(kernel, padding)]
    batch = draw(st.sampled_from([[], [0], [1], [3]]))
    call: dict[str, Any] = {"input": halves(rng, *batch, channels, *image), "padding": padding}
    if draw(st.booleans()):
        call["stride"] = draw(size)
    if draw(st.booleans()):
        call["input"] = call["input"].transpose(-1, -3).contiguous().transpose(-1, -3)
    if name == "conv2d":
        filters = draw(st.integers(1, 3))
        call["weight"] = halves(rng, filters, channels, *kernel)
        if draw(st.booleans()):
            call["bias"] = halves(rng, filters)
    else:
        call["kernel_size"] = kernel
    return call


def results(function: Callable, call: dict[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the output and all gradients of a call in a dtype."""
    call = {
        key: value.to(dtype, copy=True).requires_grad_() if isinstance(value, Tensor) else value
        for key, value in call.items()
    }
    output = function(**call)
    cotangent = halves(torch.Generator().manual_seed(0), *output.shape)
    (output * cotangent.to(dtype)).sum().backward()
    grads = {key: value.grad for key, value in call.items() if isinstance(value, Tensor)}
    return {"the output": output.detach(), **grads}


@every_dtype
@every_function
@settings(max_examples=60)
@given(data=st.data())
def test_values_and_gradients_are_those_of_torch(
    name: str, dtype: torch.dtype, data: st.DataObject
) -> None:
    call = data.draw(calls(name))
    got = results(getattr(own, name), call, dtype)
    expected = results(getattr(F, name), call, dtype)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, **TOLERANCE.get(dtype, {}))


@every_function
@settings(max_examples=20)
@given(data=st.data())
def test_the_default_arguments_are_those_of_torch(name: str, data: st.DataObject) -> None:
    call = data.draw(calls(name))
    height, width = call["weight"].shape[2:] if name == "conv2d" else call["kernel_size"]
    if call["input"].shape[-2] < height or call["input"].shape[-1] < width:
        return
    given = {key: call[key] for key in ("input", "weight", "kernel_size") if key in call}
    torch.testing.assert_close(getattr(own, name)(**given), getattr(F, name)(**given))


@every_function
def test_a_signature_is_the_beginning_of_torchs(name: str) -> None:
    parameters = inspect.signature(getattr(own, name)).parameters.values()
    written = ", ".join(
        p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters
    )
    assert f"{name}({written}, " in getattr(F, name).__doc__


@every_function
def test_a_window_of_numbers_with_nan_and_infinity_is_that_of_torch(name: str) -> None:
    x = torch.tensor([[1.0, torch.nan, 2, 3], [0, -1, -torch.inf, -torch.inf]])[None]
    sizes = (torch.ones(1, 1, 2, 2),) if name == "conv2d" else (2,)
    torch.testing.assert_close(
        getattr(own, name)(x, *sizes), getattr(F, name)(x, *sizes), equal_nan=True
    )


def test_windows_hold_the_numbers_of_the_image() -> None:
    x = torch.arange(12.0).reshape(3, 4)
    view = windows(x, (2, 3), (1, 1), (0, 0))
    assert view.shape == (2, 2, 2, 3)
    assert view[1, 0].tolist() == [[4, 5, 6], [8, 9, 10]]


def test_nothing_is_written_into_the_arguments() -> None:
    x, weight, bias = torch.randn(2, 3, 5, 4), torch.randn(4, 3, 2, 2), torch.randn(4)
    kept = deepcopy((x, weight, bias))
    conv2d(x, weight, bias, padding=1)
    max_pool2d(x, 2, padding=1)
    avg_pool2d(x, 2, padding=1)
    assert all(map(torch.equal, kept, (x, weight, bias)))


IMAGE = torch.ones(2, 3, 6, 5)
FILTERS = torch.ones(4, 3, 3, 2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("conv2d", (IMAGE[0, 0], FILTERS)),
        ("conv2d", (IMAGE[None], FILTERS)),
        ("conv2d", (IMAGE[:, :2], FILTERS)),
        ("conv2d", (IMAGE, FILTERS[0])),
        ("conv2d", (IMAGE, FILTERS[:0])),
        ("conv2d", (IMAGE, FILTERS, torch.ones(3))),
        ("conv2d", (IMAGE, FILTERS, torch.ones(4, 1))),
        ("conv2d", (IMAGE[:, :, :2], FILTERS)),
        ("conv2d", (IMAGE[:, :, :0], FILTERS, None, 1, 3)),
        ("conv2d", (IMAGE, FILTERS, None, 0)),
        ("conv2d", (IMAGE, FILTERS, None, (1, -1))),
        ("conv2d", (IMAGE, FILTERS, None, (1, 1, 1))),
        ("conv2d", (IMAGE, FILTERS, None, 1, -1)),
        ("conv2d", (IMAGE, FILTERS.double())),
        ("conv2d", (IMAGE, FILTERS, torch.ones(4).double())),
        *(
            (name, arguments)
            for name in ("max_pool2d", "avg_pool2d")
            for arguments in (
                (IMAGE[None], 2),
                (IMAGE[:, :0], 2),
                (IMAGE, 7),
                (IMAGE, (7, 1)),
                (IMAGE, 0),
                (IMAGE, -1),
                (IMAGE, (2, 2, 2)),
                (IMAGE, 2, 0),
                (IMAGE, 2, (1, -1)),
                (IMAGE, 2, None, 2),
                (IMAGE, (4, 2), None, (1, 2)),
                (IMAGE, 2, None, -1),
            )
        ),
    ],
)
def test_bad_arguments_raise_what_torch_raises(name: str, arguments: tuple) -> None:
    with pytest.raises(RuntimeError):
        getattr(F, name)(*arguments)
    with pytest.raises(RuntimeError):
        getattr(own, name)(*arguments)


def test_a_network_trains_as_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(source: Any) -> list[float]:
        torch.manual_seed(0)
        first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3)
        parameters = [*first.parameters(), *second.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.05)
        x, y = torch.randn(8, 1, 8, 8), torch.randn(8, 6)
        history = []
        for _ in range(10):
            optimizer.zero_grad()
            h = source.max_pool2d(source.conv2d(x, *first.parameters(), padding=1).relu(), 2)
            h = source.avg_pool2d(source.conv2d(h, *second.parameters()).relu(), 2)
            loss = F.mse_loss(h.flatten(1), y)
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        return history

    assert losses(own) == pytest.approx(losses(F), rel=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_dtype
@every_function
def test_a_call_on_a_gpu_is_that_of_torch(name: str, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    x = halves(rng, 2, 3, 8, 7).to("cuda", dtype)
    sizes = (halves(rng, 4, 3, 3, 2).to("cuda", dtype),) if name == "conv2d" else (3,)
    got = getattr(own, name)(x, *sizes, stride=2, padding=1)
    assert got.is_cuda
    torch.testing.assert_close(got, getattr(F, name)(x, *sizes, stride=2, padding=1))


# --- the formulas of the catalogue ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "formula"),
    [
        (checks.check_conv2d, checks.Convolution),
        (checks.check_max_pool2d, checks.MaxPooling),
        (checks.check_avg_pool2d, checks.AveragePooling),
    ],
)
def test_a_formula_without_a_mistake_is_right(check: Check, formula: type) -> None:
    """So a mistake is wrong for its own reason."""
    for seed in range(20):
        assert check(formula(), seed=seed).passed


# --- wrong solutions ------------------------------------------------------------------------------


def after(change: Callable[[Tensor], Any], function: Callable) -> Callable:
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def before(change: Callable[[Tensor], Tensor], function: Callable) -> Callable:
    return lambda input, *args, **kwargs: function(change(input), *args, **kwargs)


def changed(function: Callable, **changes: Callable[[Any], Any]) -> Callable:
    """Return a function that changes some of its arguments before it looks at them."""
    signature = inspect.signature(function)

    def wrong(*args: Any, **kwargs: Any) -> Tensor:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        for name, change in changes.items():
            if call.arguments[name] is not None:
                call.arguments[name] = change(call.arguments[name])
        return function(*call.args, **call.kwargs)

    return wrong


def doubled(size: Any) -> Any:
    return 2 * size if isinstance(size, int) else tuple(2 * number for number in size)


def one_more(size: Any) -> Any:
    return size + 1 if isinstance(size, int) else tuple(number + 1 for number in size)


def last(size: Any) -> Any:
    return size if isinstance(size, int) else size[-1]


def wrongs(function: Callable) -> dict[str, Callable]:
    """Return wrong versions that each of the functions can have."""
    return {
        "nothing returned": after(lambda y: None, function),
        "zeros": after(torch.zeros_like, function),
        "a list returned": after(lambda y: y.tolist(), function),
        "float64 returned": after(torch.Tensor.double, function),
        "always float32": before(torch.Tensor.float, function),
        "negative outputs cut off": after(torch.relu, function),
        "rows and columns of the output swapped": after(lambda y: y.mT, function),
        "one image for a batch of one": after(lambda y: y[0] if len(y) == 1 else y, function),
        "a batch for one image": after(lambda y: y[None] if y.dim() == 3 else y, function),
        "output as a matrix": after(lambda y: y.flatten(-2), function),
        "image upside down": before(lambda x: x.flip(-2), function),
        "image mirrored": before(lambda x: x.flip(-1), function),
        "contiguous input wanted": before(lambda x: x.view(-1).view(x.shape), function),
        "padding one too large": changed(function, padding=one_more),
        "stride one too large": changed(function, stride=one_more),
        "stride doubled": changed(function, stride=doubled),
        "last number of the stride for both": changed(function, stride=last),
        "last number of the padding for both": changed(function, padding=last),
        "a square image assumed": lambda input, *args, **kwargs: function(
            input[..., : input.shape[-1], : input.shape[-2]], *args, **kwargs
        ),
    }


def unfolds_with_the_kernel_as_stride(input: Tensor, weight: Tensor, *args: Any, **kwargs: Any):
    return conv2d(input, weight, *args, **{**kwargs, "stride": tuple(weight.shape[2:])})


WRONG_CONVOLUTIONS = {
    **wrongs(conv2d),
    "weight detached": changed(conv2d, weight=torch.Tensor.detach),
    "bias detached": changed(conv2d, bias=torch.Tensor.detach),
    "flipped upside down": changed(conv2d, weight=lambda w: w.flip(-2)),
    "flipped left and right": changed(conv2d, weight=lambda w: w.flip(-1)),
    "filters in reverse": changed(conv2d, weight=lambda w: w.flip(0)),
    "channels in reverse": changed(conv2d, weight=lambda w: w.flip(1)),
    "same filter for all channels": changed(conv2d, weight=lambda w: w[:, :1].expand_as(w)),
    "magnitude of the weight": changed(conv2d, weight=torch.abs),
    "first bias for all": changed(conv2d, bias=lambda b: b[:1].expand_as(b)),
    "bias in reverse": changed(conv2d, bias=lambda b: b.flip(0)),
    "stride of the kernel": unfolds_with_the_kernel_as_stride,
    "padding as wide as the filter": changed(conv2d, padding=lambda p: 1),
    "largest product instead of the sum": lambda input, weight, bias=None, stride=1, padding=0: (
        max_pool2d(input, weight.shape[2:], stride, 0)
    ),
}


def last_of_the_window(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0
) -> Tensor:
    return own.windows(
        input,
        own._pair(kernel_size),
        own._pair(kernel_size if stride is None else stride),
        own._pair(padding),
        -torch.inf,
    ).flatten(-2)[..., -1]


WRONG_MAX_POOLS = {
    **wrongs(max_pool2d),
    "smallest": lambda input, *args, **kwargs: -max_pool2d(-input, *args, **kwargs),
    "largest of the batch": after(lambda y: y.amax(0, keepdim=True).expand_as(y), max_pool2d),
    "kernel one too large": changed(max_pool2d, kernel_size=one_more),
    "last of the window": last_of_the_window,
    "no gradient": after(torch.Tensor.detach, max_pool2d),
    "pairs only": changed(max_pool2d, kernel_size=lambda size: tuple(size)),
    "numbers only": changed(max_pool2d, kernel_size=lambda size: size + 0),
}

WRONG_AVG_POOLS = {
    **wrongs(avg_pool2d),
    "as max_pool2d": max_pool2d,
    "divided by one less": after(lambda y: y * 4 / 3, avg_pool2d),
    "kernel one too large": changed(avg_pool2d, kernel_size=one_more),
    "magnitudes": before(torch.abs, avg_pool2d),
    "no gradient": after(torch.Tensor.detach, avg_pool2d),
    "pairs only": changed(avg_pool2d, kernel_size=lambda size: tuple(size)),
    "numbers only": changed(avg_pool2d, kernel_size=lambda size: size + 0),
    "root of the mean square": lambda input, *args, **kwargs: avg_pool2d(
        input.square(), *args, **kwargs
    ).sqrt(),
}


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        pytest.param(check, wrong, id=f"{check.exercise}: {name}")
        for check, wrongs in (
            (checks.check_conv2d, WRONG_CONVOLUTIONS),
            (checks.check_max_pool2d, WRONG_MAX_POOLS),
            (checks.check_avg_pool2d, WRONG_AVG_POOLS),
        )
        for name, wrong in wrongs.items()
    ],
)
def test_a_wrong_function_loses_points(
    check: Check, wrong: Callable, assert_rejected: Callable[[Check, Any], None]
) -> None:
    """Whether it is recognised plays no part here, and looking for that takes most of the time."""
    assert_rejected(replace(check, mistakes=()), wrong)
