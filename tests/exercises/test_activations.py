"""The reference activations against torch's; wrong ones that no catalogue lists."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from course_lib import activations as own
from course_lib.checks import activations as checks

PAIRS: dict[str, tuple[Callable, Callable]] = {
    "sigmoid": (own.sigmoid, torch.sigmoid),
    "tanh": (own.tanh, torch.tanh),
    "relu": (own.relu, torch.relu),
    "leaky_relu": (own.leaky_relu, F.leaky_relu),
    "leaky_relu-steep": (
        partial(own.leaky_relu, negative_slope=2.5),
        partial(F.leaky_relu, negative_slope=2.5),
    ),
    "gelu": (own.gelu, F.gelu),
    "gelu-tanh": (partial(own.gelu, approximate="tanh"), partial(F.gelu, approximate="tanh")),
    "silu": (own.silu, F.silu),
    "swish": (own.swish, F.silu),
    "softmax": (partial(own.softmax, dim=-1), partial(torch.softmax, dim=-1)),
}
FLOATING_ONLY = ["leaky_relu", "gelu", "silu", "swish", "softmax"]
LOW_PRECISION = [torch.float16, torch.bfloat16]
EXACT = {"rtol": 1e-10, "atol": 1e-10}

every_pair = pytest.mark.parametrize(("mine", "theirs"), PAIRS.values(), ids=PAIRS)


@st.composite
def tensors(draw: st.DrawFn, dtype: torch.dtype, least_dims: int = 0) -> Tensor:
    """Draw tensors of any size, from tiny to huge numbers, some not contiguous."""
    shape = draw(st.lists(st.integers(0, 5), min_size=least_dims, max_size=4))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.integers(-4, 4))
    tensor = scale * torch.randn(shape, generator=rng, dtype=torch.float64)
    if draw(st.booleans()) and len(shape) > 1:
        tensor = tensor.transpose(0, -1)
    return tensor.to(dtype)


def with_gradient(function: Callable, input: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a function gives and the gradient of its weighted sum."""
    leaf = input.clone().requires_grad_()
    output = function(leaf)
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype, device=output.device)
    return output, torch.autograd.grad(output, leaf, weights.reshape(output.shape))[0]


# --- the reference --------------------------------------------------------------------------------


@every_pair
@settings(max_examples=12)
@given(input=tensors(torch.float64, least_dims=1))
def test_float64_agrees_with_torch_to_ten_digits(
    mine: Callable, theirs: Callable, input: Tensor
) -> None:
    for got, expected in zip(with_gradient(mine, input), with_gradient(theirs, input)):
        torch.testing.assert_close(got, expected, **EXACT)


@every_pair
@settings(max_examples=12)
@given(input=tensors(torch.float32))
def test_float32_agrees_with_torch(mine: Callable, theirs: Callable, input: Tensor) -> None:
    before = input.clone()
    for got, expected in zip(with_gradient(mine, input), with_gradient(theirs, input)):
        torch.testing.assert_close(got, expected)
    assert torch.equal(input, before)


@pytest.mark.parametrize("dtype", LOW_PRECISION)
@every_pair
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32))
def test_low_precision_is_rounded_once(
    mine: Callable, theirs: Callable, dtype: torch.dtype, seed: int
) -> None:
    input = 4 * torch.randn(3, 7, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(mine(input.to(dtype)), theirs(input.to(dtype)))
    output, gradient = with_gradient(mine, input.to(dtype))
    exact, exact_gradient = with_gradient(theirs, input.to(dtype).double())
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(output.double(), exact, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *LOW_PRECISION])
@every_pair
def test_huge_inputs_and_zeros_have_the_gradients_of_torch(
    mine: Callable, theirs: Callable, dtype: torch.dtype
) -> None:
    extremes = torch.tensor([0.0, -0.0, 1e4, -1e4, 88.0, -104.0, 1e-6, -1e-6], dtype=dtype)
    for input in (extremes, extremes[:, None]):  # softmax along a dimension of one, too
        for got, expected in zip(with_gradient(mine, input), with_gradient(theirs, input)):
            torch.testing.assert_close(got, expected, rtol=0.02, atol=1e-6)


@every_pair
def test_nan_is_not_hidden(mine: Callable, theirs: Callable) -> None:
    input = torch.tensor([[float("nan")], [1.0]])
    assert torch.equal(mine(input).isnan(), theirs(input).isnan())


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "leaky_relu"])
def test_infinity_gives_the_limit(name: str) -> None:
    mine, theirs = PAIRS[name]
    infinities = torch.tensor([float("inf"), -float("inf")])
    assert torch.equal(mine(infinities), theirs(infinities))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_integers_give_the_values_and_dtype_of_torch(name: str, dtype: torch.dtype) -> None:
    mine, theirs = PAIRS[name]
    integers = torch.tensor([3, 0, 1], dtype=dtype)
    torch.testing.assert_close(mine(integers), theirs(integers))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_booleans_count_as_0_and_1(name: str) -> None:
    mine, theirs = PAIRS[name]
    booleans = torch.tensor([True, False])
    torch.testing.assert_close(mine(booleans), theirs(booleans))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
@pytest.mark.parametrize("name", FLOATING_ONLY)
def test_integers_are_refused_where_torch_refuses_them(name: str, dtype: torch.dtype) -> None:
    for function in PAIRS[name]:
        with pytest.raises(NotImplementedError):
            function(torch.tensor([1, 0]).to(dtype))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "gelu-tanh", "silu", "softmax"])
def test_the_second_derivative_is_right_too(name: str) -> None:
    input = torch.linspace(-2, 2.1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(PAIRS[name][0], input)


def test_arguments_have_the_names_order_and_defaults_of_torch() -> None:
    def arguments(function: Callable) -> dict[str, Any]:
        parameters = inspect.signature(function).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    leaky = arguments(F.leaky_relu)
    leaky.pop("inplace")
    assert list(arguments(own.leaky_relu).items()) == list(leaky.items())
    for name in ("sigmoid", "tanh", "relu", "silu"):
        assert arguments(getattr(own, name)) == {"input": inspect.Parameter.empty}
    # torch's own gelu and softmax are built-in and show no signature.
    input = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(
        own.softmax(input=input, dim=0), torch.softmax(input=input, dim=0), **EXACT
    )
    torch.testing.assert_close(own.gelu(input), F.gelu(input, approximate="none"))
    assert list(arguments(own.softmax)) == ["input", "dim"]
    assert arguments(own.gelu) == {"input": inspect.Parameter.empty, "approximate": "none"}
    assert arguments(own.swish) == {"input": inspect.Parameter.empty, "beta": 1.0}


def test_gelu_knows_two_formulas() -> None:
    for function in (own.gelu, F.gelu):
        with pytest.raises(RuntimeError, match="approximate"):
            function(torch.ones(2), approximate="exact")


@settings(max_examples=12)
@given(input=tensors(torch.float64, least_dims=1), data=st.data())
def test_softmax_agrees_with_torch_along_every_dimension(input: Tensor, data: Any) -> None:
    dim = data.draw(st.integers(-input.dim(), input.dim() - 1))
    mine, theirs = partial(own.softmax, dim=dim), partial(torch.softmax, dim=dim)
    for got, expected in zip(with_gradient(mine, input), with_gradient(theirs, input)):
        torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize(("shape", "dim"), [((2,), 1), ((2, 3), -3), ((0, 3), 2), ((), 1)])
def test_softmax_refuses_a_dimension_that_is_not_there(shape: tuple, dim: int) -> None:
    for function in (own.softmax, torch.softmax):
        with pytest.raises(IndexError):
            function(torch.ones(shape), dim)


def test_softmax_of_impossible_scores() -> None:
    infinity = float("inf")
    scores = torch.tensor([[-infinity, 1.0, -infinity], [2.0, -infinity, 1e4]])
    mine, theirs = partial(own.softmax, dim=1), partial(torch.softmax, dim=1)
    for got, expected in zip(with_gradient(mine, scores), with_gradient(theirs, scores)):
        torch.testing.assert_close(got, expected)
    assert own.softmax(torch.full((3,), -infinity), 0).isnan().all()


def swish_in_float64(input: Tensor, beta: Any) -> Tensor:
    return input / (1 + torch.exp(-beta * input))


@pytest.mark.parametrize("shape", [(), (3,), (4, 1), (2, 4, 3)])
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32))
def test_swish_and_the_gradient_of_a_beta_that_broadcasts(shape: tuple, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    input = torch.randn(4, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    beta = 2 * torch.randn(shape, generator=rng, dtype=torch.float64)
    beta.requires_grad_()
    mine, expected = own.swish(input, beta), swish_in_float64(input, beta)
    torch.testing.assert_close(mine, expected, **EXACT)
    for got, right in zip(
        torch.autograd.grad(mine.square().sum(), (input, beta)),
        torch.autograd.grad(expected.square().sum(), (input, beta)),
    ):
        torch.testing.assert_close(got, right, **EXACT)


def test_swish_with_beta_0_is_half_the_input_and_with_a_large_one_relu() -> None:
    input = torch.randn(50, dtype=torch.float64)
    torch.testing.assert_close(own.swish(input, 0), input / 2)
    torch.testing.assert_close(own.swish(input, 1e6), torch.relu(input))
    torch.testing.assert_close(own.swish(input, -1.5), own.swish(-input, 1.5) * -1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@every_pair
def test_a_cuda_tensor_stays_on_its_device(
    mine: Callable, theirs: Callable, dtype: torch.dtype
) -> None:
    input = torch.linspace(-5, 5, 24, dtype=dtype, device="cuda").reshape(4, 6).T
    for got, expected in zip(with_gradient(mine, input), with_gradient(theirs, input)):
        assert got.device == input.device
        torch.testing.assert_close(got, expected)


# --- wrong solutions ------------------------------------------------------------------------------

CHECKS = {
    name: getattr(checks, f"check_{name}")
    for name in ("sigmoid", "tanh", "relu", "leaky_relu", "gelu", "silu", "swish", "softmax")
}

SPOILT: dict[str, Callable[[Tensor], Any]] = {
    "a list": lambda output: output.tolist(),
    "float64": lambda output: output.double(),
    "two digits": lambda output: output + ((100 * output).round() / 100 - output).detach(),
    "a little too large": lambda output: output * 1.001,
    "the gradient of a clamp": lambda output: (
        output.clamp(-1, 1) + (output - output.clamp(-1, 1)).detach()
    ),
    "the last element is zero": lambda output: torch.cat(
        [output.flatten()[:-1], 0 * output.flatten()[-1:]]
    ).reshape(output.shape),
}
"""What is done to a right output. A clamp at 1 changes no probability: left out where it cannot
be seen."""

ASTRAY: dict[str, Callable[[Tensor], Tensor]] = {
    "only contiguous tensors": lambda input: input.view(-1).view(input.shape),
    "no empty tensors": lambda input: input - 0 * input.max(),
    "shuffled": lambda input: input.flip(-1) if input.dim() else input,
}
"""What is done to the input before a right function sees it."""


def spoilt(name: str, act: Callable) -> Callable:
    return lambda *args, **options: act(getattr(own, name)(*args, **options))


def astray(name: str, act: Callable) -> Callable:
    return lambda input, *args, **options: getattr(own, name)(act(input), *args, **options)


def wrong_for_all() -> list:
    within_1 = {"sigmoid", "tanh", "softmax"}
    return [
        pytest.param(name, made(name, act), id=f"{name}-{told}")
        for name in CHECKS
        for made, table in ((spoilt, SPOILT), (astray, ASTRAY))
        for told, act in table.items()
        if not (name in within_1 and told == "the gradient of a clamp")
    ]


WRONG = [
    ("sigmoid", lambda x: 0.5 + 0.5 * x / (1 + x.abs())),
    ("sigmoid", lambda x: torch.special.ndtr(1.702 * x)),
    ("sigmoid", lambda x: (0.2 * x + 0.5).clamp(0, 1)),
    ("tanh", lambda x: x / (1 + x.abs())),
    ("tanh", lambda x: x.clamp(-1, 1)),
    ("tanh", lambda x: 2 / torch.pi * torch.atan(x * torch.pi / 2)),
    ("tanh", lambda x: torch.erf(x * torch.pi**0.5 / 2)),
    ("relu", lambda x: torch.where(x > 0.01, x, 0 * x)),
    ("relu", lambda x: x * torch.sigmoid(1000 * x)),
    ("relu", lambda x: (x * x).sqrt() / 2 + x / 2),
    ("relu", lambda x: torch.where(x > 0, x, 0.0)),
    ("leaky_relu", lambda x, negative_slope=0.01: x.relu() - negative_slope * x.abs()),
    ("leaky_relu", lambda x, slope=0.01: torch.where(x > 0, x, slope * x)),
    ("leaky_relu", lambda x, negative_slope=0.01: torch.minimum(x, negative_slope * x)),
    ("leaky_relu", lambda x, negative_slope=0.01: F.elu(x, negative_slope)),
    ("gelu", lambda x, approximate="none": F.silu(x)),
    (
        "gelu",
        lambda x, approximate="none": (
            F.gelu(x)
            if approximate == "none"
            else x / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.0447 * x**3)))
        ),
    ),
    ("gelu", lambda x, approximate="none": x * torch.special.ndtr(x).detach()),
    ("gelu", lambda x, approximate="tanh": F.gelu(x, approximate=approximate)),
    ("silu", lambda x: x * F.hardsigmoid(x)),
    ("silu", lambda x: x * torch.special.ndtr(1.702 * x)),
    ("silu", lambda x: F.softplus(x)),
    ("silu", lambda x: x.relu() * torch.sigmoid(x)),
    ("swish", lambda x, beta=1.0: x * torch.sigmoid(float(beta) * x)),
    ("swish", lambda x, beta=1.0: F.silu(beta * x)),
    ("swish", lambda x, beta=1.0: x * torch.sigmoid(torch.as_tensor(beta).clamp(min=0) * x)),
    ("swish", lambda x, beta=2.0: x * torch.sigmoid(beta * x)),
    ("softmax", lambda x, dim: torch.softmax(1.01 * x, dim)),
    ("softmax", lambda x, dim: torch.softmax(x, dim) + 1e-3),
    ("softmax", lambda x, dim: x.exp() / (1 + x.exp().sum(dim, keepdim=True))),
    ("softmax", lambda x, dim: torch.softmax(x, abs(dim))),
    ("softmax", lambda x, dim=-1: F.one_hot(x.argmax(dim), x.shape[dim]).to(x.dtype)),
    ("softmax", lambda x, dim: F.softmin(x, dim)),
]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [*wrong_for_all(), *(pytest.param(*pair, id=f"{pair[0]}-{i}") for i, pair in enumerate(WRONG))],
)
def test_a_wrong_activation_outside_the_catalogue_loses_points(
    name: str, wrong: Callable, assert_rejected: Callable
) -> None:
    assert_rejected(CHECKS[name], wrong)
