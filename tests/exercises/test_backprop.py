"""The reference backpropagation against autograd; wrong ones that no catalogue lists."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from course_lib import backprop as own
from course_lib.checks.backprop import (
    check_cross_entropy_gradients,
    check_linear_backward,
    check_mlp_gradients,
    check_neuron_gradients,
    check_numerical_gradient,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
seeds = st.integers(0, 2**32)
dtypes = st.sampled_from(DTYPES)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_as_precise(actual: Any, expected: Any) -> None:
    """Compare float64 to 1e-10, anything else with torch's own tolerances."""
    exact = {"rtol": 1e-10, "atol": 1e-10} if expected[0].dtype == torch.float64 else {}
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other, **exact)


def gradients_of(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


# --- the reference --------------------------------------------------------------------------------


@given(seeds, st.sampled_from([(), (1,), (2,), (7,), (0,)]), dtypes)
def test_a_neuron_has_the_gradients_of_autograd(
    seed: int, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    rng = generator(seed)
    w, x = (torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype) for _ in range(2))
    b, y_true = (torch.randn((), generator=rng, dtype=torch.float64).to(dtype) for _ in range(2))
    before = [tensor.clone() for tensor in (w, b, x, y_true)]
    leaves = [leaf(tensor) for tensor in (w, b, x)]
    loss = (torch.relu((leaves[0] * leaves[2]).sum() + leaves[1]) - y_true) ** 2
    found = own.neuron_gradients(w, b, x, y_true)
    assert_as_precise(found, [loss.detach(), *gradients_of(loss, leaves)])
    assert all(map(torch.equal, before, (w, b, x, y_true)))


def test_the_example_of_the_book() -> None:
    w, b, x, y = (torch.tensor(value) for value in (0.5, 0.5, 2.0, 1.0))
    found = own.neuron_gradients(w, b, x, y)
    assert [value.item() for value in found] == [0.25, 2.0, 1.0, 0.5]
    assert (w - 0.1 * found.w).item() == pytest.approx(0.3)


@pytest.mark.parametrize("b", [-1.0, -3.0])
def test_a_neuron_at_or_below_zero_is_dead(b: float) -> None:
    found = own.neuron_gradients(*(torch.tensor(value) for value in (0.5, b, 2.0, 1.0)))
    assert found.loss == 1
    assert found[1:] == (0, 0, 0)


@given(seeds, st.sampled_from([(), (0,), (4,), (2, 3), (0, 2), (2, 1, 3)]), st.booleans())
def test_the_numerical_gradient_is_close_to_the_derivative(
    seed: int, shape: tuple[int, ...], transposed: bool
) -> None:
    v = torch.randn(shape, generator=generator(seed), dtype=torch.float64)
    v = v.mT if transposed and v.dim() > 1 else v
    before = v.clone()
    found = own.numerical_gradient(lambda u: (u.sin() * u).sum(), v)
    assert found.dtype == v.dtype
    assert_close(found, v.sin() + v * v.cos(), rtol=1e-6, atol=1e-7)
    assert torch.equal(v, before)


def test_the_error_of_the_central_difference_falls_with_the_square_of_eps() -> None:
    v = torch.tensor([0.7], dtype=torch.float64)
    errors = [
        (own.numerical_gradient(lambda u: u.exp().sum(), v, eps) - v.exp()).abs().item()
        for eps in (1e-2, 1e-3)
    ]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.01)


@given(seeds, st.integers(0, 6), st.integers(1, 6), st.integers(1, 6), dtypes)
def test_linear_backward_agrees_with_autograd(
    seed: int, n: int, fan_in: int, out: int, dtype: torch.dtype
) -> None:
    rng = generator(seed)
    grad, x, weight = (
        torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype).T
        for shape in ((out, n), (fan_in, n), (fan_in, out))
    )
    leaves = [leaf(x), leaf(weight), torch.zeros(out, dtype=dtype, requires_grad=True)]
    expected = torch.autograd.grad(functional.linear(*leaves), leaves, grad)
    assert_as_precise(own.linear_backward(grad, x, weight), list(expected))


@given(seeds, st.integers(1, 6), st.integers(1, 6), dtypes, st.sampled_from([0.1, 1.0, 30.0]))
def test_cross_entropy_agrees_with_torch(
    seed: int, n: int, classes: int, dtype: torch.dtype, scale: float
) -> None:
    rng = generator(seed)
    logits = (scale * torch.randn(n, classes, generator=rng, dtype=torch.float64)).to(dtype)
    target = torch.randint(0, classes, (n,), generator=rng)
    logits_leaf = leaf(logits)
    loss = functional.cross_entropy(logits_leaf, target)
    found = own.cross_entropy_gradients(logits, target)
    expected = [loss.detach(), *gradients_of(loss, [logits_leaf])]
    if dtype in (torch.bfloat16, torch.float16):
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == dtype
            assert_close(one, other, rtol=0.05, atol=0.02)
    else:
        assert_as_precise(found, expected)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_cross_entropy_is_right_for_large_logits(size: float) -> None:
    logits = torch.tensor([[size, size - 1, -size], [0.0, 1.0, 2.0]])
    target = torch.tensor([1, 0])
    logits_leaf = leaf(logits)
    loss = functional.cross_entropy(logits_leaf, target)
    assert_as_precise(
        own.cross_entropy_gradients(logits, target),
        [loss.detach(), *gradients_of(loss, [logits_leaf])],
    )


def test_a_class_that_is_ruled_out_has_no_gradient() -> None:
    loss, grad = own.cross_entropy_gradients(
        torch.tensor([[0.0, -math.inf, 0.0]]), torch.tensor([0])
    )
    assert_close(loss, torch.tensor(math.log(2)))
    assert_close(grad, torch.tensor([[-0.5, 0.0, 0.5]]))


@given(
    seeds,
    st.integers(1, 6),
    st.lists(st.integers(1, 5), min_size=2, max_size=6),
    st.sampled_from(["relu", "tanh", "sigmoid"]),
    st.sampled_from([torch.float64, torch.float32]),
)
def test_a_network_has_the_gradients_of_autograd(
    seed: int, n: int, sizes: list[int], activation: str, dtype: torch.dtype
) -> None:
    rng = generator(seed)
    params = [
        tuple(torch.randn(shape, generator=rng, dtype=dtype) for shape in ((o, i), (o,)))
        for i, o in pairwise(sizes)
    ]
    x = torch.randn(n, sizes[0], generator=rng, dtype=dtype)
    y = torch.randint(0, sizes[-1], (n,), generator=rng)
    leaves = [(leaf(weight), leaf(bias)) for weight, bias in params]
    hidden = x
    for weight, bias in leaves[:-1]:
        hidden = own.ACTIVATIONS[activation](functional.linear(hidden, weight, bias))
    loss = functional.cross_entropy(functional.linear(hidden, *leaves[-1]), y)
    expected = gradients_of(loss, [tensor for pair in leaves for tensor in pair])
    found_loss, found = own.mlp_gradients(params, x, y, activation)
    flat = [tensor for pair in found for tensor in pair]
    assert_as_precise([found_loss, *flat], [loss.detach(), *expected])


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_the_slope_of_an_activation_comes_from_its_output(activation: str) -> None:
    for dtype in (torch.float64, torch.float32):
        z = leaf(torch.linspace(-3, 3, 8, dtype=dtype))
        a = own.ACTIVATIONS[activation](z)
        found = own.activation_derivative(a.detach(), activation)
        assert_close(found, torch.autograd.grad(a.sum(), z)[0])


def test_parameters_of_a_module_can_be_given_as_they_are() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    _, found = own.mlp_gradients([(m.weight, m.bias) for m in (model[0], model[2])], x, y)
    functional.cross_entropy(model(x), y).backward()
    for param, grad in zip(model.parameters(), [g for pair in found for g in pair], strict=True):
        assert_close(grad, param.grad)


@pytest.mark.parametrize(
    ("params", "activation"),
    [([], "relu"), ([(torch.ones(2, 2), torch.ones(2))], "softplus")],
)
def test_no_layer_and_an_unknown_activation_are_value_errors(params: list, activation: str) -> None:
    with pytest.raises(ValueError, match=r"layer|activation"):
        own.mlp_gradients(params, torch.ones(1, 2), torch.tensor([0]), activation)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_everything_works_on_a_gpu() -> None:
    cuda = torch.device("cuda")
    params = [(torch.randn(4, 3), torch.randn(4)), (torch.randn(2, 4), torch.randn(2))]
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    on_gpu = own.mlp_gradients(
        [(w.to(cuda), b.to(cuda)) for w, b in params], x.to(cuda), y.to(cuda)
    )
    on_cpu = own.mlp_gradients(params, x, y)
    assert on_gpu[0].device.type == "cuda"
    assert_close(on_gpu[0].cpu(), on_cpu[0])
    for one, other in zip(on_gpu[1], on_cpu[1], strict=True):
        assert_close([t.cpu() for t in one], list(other))
    numbers = [torch.tensor(value, device=cuda) for value in (0.5, 0.5, 2.0, 1.0)]
    assert [value.item() for value in own.neuron_gradients(*numbers)] == [0.25, 2.0, 1.0, 0.5]
    v = torch.ones(2, dtype=torch.float64, device=cuda)
    assert_close(own.numerical_gradient(lambda u: (u**2).sum(), v), 2 * v)


# --- wrong solutions ------------------------------------------------------------------------------


def after(right: Callable, change: Callable) -> Callable:
    """Return a function that changes what the right one gives."""
    return lambda *args, **kwargs: change(right(*args, **kwargs))


def mutating(right: Callable, place: int) -> Callable:
    """Return a function that is right but adds 1 to one of its arguments."""

    def wrong(*args: Any, **kwargs: Any) -> Any:
        result = right(*args, **kwargs)
        values = [*args, *kwargs.values()]
        values[place].add_(1)
        return result

    return wrong


neuron = own.neuron_gradients
WRONG_NEURONS = {
    "floats": after(neuron, lambda g: tuple(value.tolist() for value in g)),
    "three results": after(neuron, lambda g: g[:3]),
    "nothing": lambda w, b, x, y_true: None,
    "zeros": lambda w, b, x, y_true: (b * 0, w * 0, b * 0, x * 0),
    "column": after(neuron, lambda g: (g.loss[None], *g[1:])),
    "float64": after(neuron, lambda g: tuple(value.double() for value in g)),
    "leaky": lambda w, b, x, y_true: (
        neuron(w, b, x, y_true)
        if (w * x).sum() + b > 0
        else neuron(w, (w * x).sum().neg() + 1e-3, x, y_true)
    ),
    "cube": after(neuron, lambda g: (g.loss**1.5, *g[1:])),
    "first input only": lambda w, b, x, y_true: neuron(
        w, b, x if x.dim() == 0 else x * torch.eye(len(x), dtype=x.dtype)[0], y_true
    ),
    "clipped gradients": after(neuron, lambda g: (g.loss, *(v.clamp(-1, 1) for v in g[1:]))),
    "changes w": mutating(neuron, 0),
    "changes x": mutating(neuron, 2),
}

numerical = own.numerical_gradient
WRONG_NUMERICAL = {
    "small eps by default": lambda f, v, eps=1e-9: numerical(f, v, eps),
    "large eps by default": lambda f, v, eps=1e-4: numerical(f, v, eps),
    "relative eps": lambda f, v, eps=1e-6: numerical(f, v, eps * float(v.abs().sum())),
    "eps squared": lambda f, v, eps=1e-6: numerical(f, v, eps**2),
    "first element only": lambda f, v, eps=1e-6: (
        numerical(f, v, eps) * (torch.arange(v.numel()) == 0).reshape(v.shape)
    ),
    "zeros": lambda f, v, eps=1e-6: torch.zeros_like(v),
    "ones": lambda f, v, eps=1e-6: torch.ones_like(v),
    "absolute values": after(numerical, torch.abs),
    "a list": after(numerical, lambda g: g.tolist()),
    "rounded": after(numerical, lambda g: g.round(decimals=3)),
    "transposed": after(numerical, lambda g: g.mT if g.dim() > 1 else g),
}

linear = own.linear_backward
WRONG_LINEAR = {
    "bias before weight": after(linear, lambda g: (g[0], g[2], g[1])),
    "input last": after(linear, lambda g: (g[1], g[2], g[0])),
    "two results": after(linear, lambda g: g[:2]),
    "a list of lists": after(linear, lambda g: [t.tolist() for t in g]),
    "negative": after(linear, lambda g: tuple(-t for t in g)),
    "first example only": lambda grad_output, input, weight: linear(
        grad_output * (torch.arange(len(input)) == 0)[:, None], input, weight
    ),
    "absolute bias": lambda grad_output, input, weight: (
        *linear(grad_output, input, weight)[:2],
        grad_output.abs().sum(0),
    ),
    "float32 always": lambda grad_output, input, weight: linear(
        grad_output.float(), input.float(), weight.float()
    ),
    "fails on the empty batch": lambda grad_output, input, weight: linear(
        grad_output + 0 * input.max(), input, weight
    ),
    "changes grad_output": mutating(linear, 0),
    "changes input": mutating(linear, 1),
    "changes weight": mutating(linear, 2),
}

cross = own.cross_entropy_gradients
WRONG_CROSS = {
    "gradient first": after(cross, lambda r: r[::-1]),
    "gradient only": after(cross, lambda r: r[1]),
    "float": after(cross, lambda r: (r[0].item(), r[1])),
    "smoothed": lambda logits, target: (
        functional.cross_entropy(logits, target, label_smoothing=0.1),
        cross(logits, target)[1],
    ),
    "temperature": lambda logits, target: cross(logits / 2, target),
    "targets shifted": lambda logits, target: cross(logits, (target + 1) % logits.shape[1]),
    "same target for all": lambda logits, target: cross(logits, target[:1].repeat(len(target))),
    "clamped logits": lambda logits, target: cross(logits.clamp(-50, 50), target),
    "clipped gradient": after(cross, lambda r: (r[0], r[1].clamp(-0.1, 0.1))),
    "predictions for targets": lambda logits, target: cross(logits, logits.argmax(1)),
    "changes the logits": mutating(cross, 0),
    "changes the target": mutating(cross, 1),
    "float32 always": lambda logits, target: cross(logits.float(), target),
}

mlp = own.mlp_gradients


def with_params(change: Callable) -> Callable:
    return lambda params, x, y, **more: mlp([change(*pair) for pair in params], x, y, **more)


def changes_params(params: list, x: Tensor, y: Tensor, **more: Any) -> Any:
    result = mlp(params, x, y, **more)
    for (weight, _), (grad, _) in zip(params, result[1]):
        weight -= 0.1 * grad
    return result


WRONG_MLP = {
    "one list": after(mlp, lambda r: (r[0], [t for pair in r[1] for t in pair])),
    "biases first": after(mlp, lambda r: (r[0], [pair[::-1] for pair in r[1]])),
    "gradients only": after(mlp, lambda r: r[1]),
    "first layer missing": after(mlp, lambda r: (r[0], r[1][1:])),
    "last layer only": after(
        mlp, lambda r: (r[0], [(w * 0, b * 0) for w, b in r[1][:-1]] + r[1][-1:])
    ),
    "normalised": after(mlp, lambda r: (r[0], [(w / w.norm(), b) for w, b in r[1]])),
    "with decay": lambda params, x, y, **more: after(
        mlp,
        lambda r: (r[0], [(g + 0.1 * w, b) for (g, b), (w, _) in zip(r[1], params)]),
    )(params, x, y, **more),
    "without biases": with_params(lambda w, b: (w, b * 0)),
    "float": after(mlp, lambda r: (r[0].item(), r[1])),
    "float32 always": with_params(lambda w, b: (w.float(), b.float())),
    "first example only": lambda params, x, y, **more: mlp(params, x[:1], y[:1], **more),
    "tanh by default": lambda params, x, y, activation="tanh": mlp(params, x, y, activation),
    "sigmoid for tanh": lambda params, x, y, activation="relu": mlp(
        params, x, y, "sigmoid" if activation == "tanh" else activation
    ),
    "changes the parameters": changes_params,
    "changes x": mutating(mlp, 1),
}

WRONG = [
    (check_neuron_gradients, WRONG_NEURONS),
    (check_numerical_gradient, WRONG_NUMERICAL),
    (check_linear_backward, WRONG_LINEAR),
    (check_cross_entropy_gradients, WRONG_CROSS),
    (check_mlp_gradients, WRONG_MLP),
]


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        pytest.param(check, wrong, id=f"{check.exercise}-{name}")
        for check, table in WRONG
        for name, wrong in table.items()
    ],
)
def test_a_wrong_solution_outside_the_catalogue_loses_points(
    check: Any, wrong: Callable, assert_rejected: Callable
) -> None:
    assert_rejected(check, wrong)
