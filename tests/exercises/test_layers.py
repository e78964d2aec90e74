"""The reference layers against torch's; wrong ones that no catalogue lists."""

import inspect
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from course_lib import layers as own
from course_lib.checks.layers import (
    check_count_parameters,
    check_linear,
    check_mlp,
    check_residual_block,
    check_swiglu,
)

EXACT = {"rtol": 1e-10, "atol": 1e-10}
FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return EXACT if dtype == torch.float64 else {}


@st.composite
def linear_arguments(draw: st.DrawFn, dtype: torch.dtype) -> list[Tensor]:
    """Draw an input, a weight and often a bias, of sizes from 0, some of them not contiguous."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    batch = draw(st.lists(st.integers(0, 3), max_size=3))
    features, outputs = draw(st.integers(0, 6)), draw(st.lists(st.integers(0, 5), max_size=1))
    shapes = [(*batch, features), (*outputs, features)]
    if outputs and draw(st.booleans()):
        shapes.append(tuple(outputs))
    tensors = [torch.randn(shape, generator=rng, dtype=dtype) for shape in shapes]
    if draw(st.booleans()):
        tensors = [t.mT.contiguous().mT if t.dim() > 1 else t for t in tensors]
    return tensors


def result_and_gradients(function: Callable, tensors: list[Tensor]) -> list[Tensor | None]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    output = function(*leaves)
    output.backward(torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape))
    return [output.detach(), *(leaf.grad for leaf in leaves)]


# --- linear ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@given(data=st.data())
def test_linear_gives_the_numbers_and_gradients_of_torch(
    dtype: torch.dtype, data: st.DataObject
) -> None:
    tensors = data.draw(linear_arguments(dtype))
    before = [tensor.clone() for tensor in tensors]
    torch.testing.assert_close(
        result_and_gradients(own.linear, tensors),
        result_and_gradients(functional.linear, tensors),
        **tolerance(dtype),
    )
    assert all(map(torch.equal, tensors, before))


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64], ids=str)
def test_linear_keeps_every_dtype(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    # Small integers: no rounding, whatever the order of the operations.
    tensors = [torch.randint(-4, 5, s, generator=rng).to(dtype) for s in ((5, 3), (4, 3), (4,))]
    torch.testing.assert_close(own.linear(*tensors), functional.linear(*tensors), rtol=0, atol=0)


def test_a_vector_as_weight_may_have_a_bias_without_dimensions() -> None:
    x, weight, bias = torch.randn(4, 3), torch.randn(3), torch.randn(())
    torch.testing.assert_close(own.linear(x, weight, bias), x @ weight + bias)


@pytest.mark.parametrize(
    "shapes",
    [
        ((4, 3), (2, 4)),
        ((4, 3), (2, 3), (3,)),
        ((4, 3), (2, 2, 3)),
        ((), (2, 3)),
        ((1, 3), (1, 3), (4,)),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_a_runtime_error_as_in_torch(shapes: tuple) -> None:
    tensors = [torch.ones(shape) for shape in shapes]
    for linear in (own.linear, functional.linear):
        with pytest.raises(RuntimeError):
            linear(*tensors)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_dtypes_that_differ_are_a_runtime_error_as_in_torch(position: int) -> None:
    tensors = [torch.ones(4, 3), torch.ones(2, 3), torch.ones(2)]
    tensors[position] = tensors[position].double()
    for linear in (own.linear, functional.linear):
        with pytest.raises(RuntimeError):
            linear(*tensors)


def test_the_arguments_of_linear_are_named_as_in_torch() -> None:
    assert list(inspect.signature(own.linear).parameters) == ["input", "weight", "bias"]
    x, weight, bias = torch.randn(4, 3), torch.randn(2, 3), torch.randn(2)
    expected = functional.linear(input=x, weight=weight, bias=bias)
    torch.testing.assert_close(own.linear(input=x, weight=weight, bias=bias), expected)


# --- modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_module_starts_and_computes_as_torchs_own(bias: bool) -> None:
    modules = []
    for make in (own.Linear, nn.Linear):
        torch.manual_seed(0)
        modules.append(make(5, 7, bias=bias))
    mine, theirs = modules
    torch.testing.assert_close(dict(mine.state_dict()), dict(theirs.state_dict()))
    x = torch.randn(2, 3, 5)
    torch.testing.assert_close(mine(x), theirs(x))


class TorchMLP(nn.Module):
    def __init__(self, sizes: list[int], activation: Callable) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(m, n) for m, n in pairwise(sizes))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    batch=st.lists(st.integers(0, 3), max_size=2),
    activation=st.sampled_from([torch.relu, torch.tanh, nn.GELU()]),
    seed=st.integers(0, 2**32),
)
def test_an_mlp_loads_torchs_layers_and_gives_their_numbers_and_gradients(
    sizes: list[int], batch: list[int], activation: Callable, seed: int
) -> None:
    torch.manual_seed(seed)
    theirs = TorchMLP(sizes, activation).double()
    mine = own.MLP(sizes, activation).double()
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(*batch, sizes[0], dtype=torch.float64)
    results = []
    for model in (mine, theirs):
        results.append(result_and_gradients(model, [x]))
        results[-1] += [parameter.grad for parameter in model.parameters()]
    torch.testing.assert_close(*results, **EXACT)


def test_an_mlp_without_an_activation_argument_uses_relu() -> None:
    assert inspect.signature(own.MLP).parameters["activation"].default is torch.relu


@pytest.mark.parametrize("sizes", [[], [3]])
def test_an_mlp_needs_two_sizes(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="input size"):
        own.MLP(sizes)


def test_an_activation_with_parameters_learns_too() -> None:
    model = own.MLP([2, 3, 1], nn.PReLU())
    assert "activation.weight" in model.state_dict()


@given(
    dim=st.integers(1, 6),
    hidden_dim=st.integers(1, 8),
    batch=st.lists(st.integers(0, 3), max_size=2),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 2**32),
)
def test_swiglu_is_the_formula_with_torchs_layers(
    dim: int, hidden_dim: int, batch: list[int], scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    model = own.SwiGLU(dim, hidden_dim).double()
    names = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    inner, outer = (hidden_dim, dim), (dim, hidden_dim)
    assert names == {"w1.weight": inner, "w2.weight": outer, "w3.weight": inner}

    def formula(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
        return functional.linear(functional.silu(x @ w1.T) * functional.linear(x, w3), w2)

    x = scale * torch.randn(*batch, dim, dtype=torch.float64)
    weights = [model.get_parameter(f"{name}.weight") for name in ("w1", "w2", "w3")]
    mine = result_and_gradients(model, [x]) + [weight.grad for weight in weights]
    expected = result_and_gradients(formula, [x, *(weight.detach() for weight in weights)])
    torch.testing.assert_close(mine, expected, **EXACT)


@given(
    dim=st.integers(2, 6), batch=st.lists(st.integers(0, 3), max_size=2), seed=st.integers(0, 2**32)
)
def test_a_residual_block_is_the_pre_norm_formula(dim: int, batch: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    inner = nn.Sequential(nn.Linear(dim, dim), nn.Tanh()).double()
    block = own.ResidualBlock(dim, inner).double()
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)

    def formula(x: Tensor) -> Tensor:
        return x + inner(functional.layer_norm(x, (dim,), block.norm.weight, block.norm.bias))

    x = torch.randn(*batch, dim, dtype=torch.float64)
    before = x.clone()
    torch.testing.assert_close(
        result_and_gradients(block, [x]), result_and_gradients(formula, [x]), **EXACT
    )
    assert torch.equal(x, before)


def test_a_residual_block_around_nothing_is_the_identity() -> None:
    inner = nn.Linear(4, 4)
    nn.init.zeros_(inner.weight)
    nn.init.zeros_(inner.bias)
    x = torch.randn(3, 4)
    assert torch.equal(own.ResidualBlock(4, inner)(x), x)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (nn.Linear(4, 64), 4 * 64 + 64),
        (nn.BatchNorm1d(5), 10),
        (nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 1)), 448 + 136),
        (nn.ReLU(), 0),
        (nn.TransformerEncoderLayer(8, 2, 16), 4 * 72 + (144 + 136) + 2 * 16),
    ],
    ids=lambda value: type(value).__name__,
)
def test_parameters_are_counted_by_hand(model: nn.Module, count: int) -> None:
    assert own.count_parameters(model) == count
    assert own.count_parameters(model, trainable_only=True) == count
    assert own.count_parameters(model.requires_grad_(False)) == count
    assert own.count_parameters(model, trainable_only=True) == 0


def test_shared_parameters_count_once() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    assert own.count_parameters(nn.Sequential(first, second)) == 9
    assert own.count_parameters(nn.Sequential(first, nn.Tanh(), first)) == 9


def test_the_network_of_the_book_has_2499_parameters_and_swiglu_keeps_the_two_thirds_rule() -> None:
    assert own.count_parameters(own.MLP([4, 64, 32, 3])) == 2499
    assert own.count_parameters(own.SwiGLU(512, 1365)) == 3 * 512 * 1365 == 2_096_640


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_layers_compute_on_a_gpu_as_on_the_cpu() -> None:
    inner = own.MLP([6, 8, 6])
    model = nn.Sequential(own.ResidualBlock(6, inner), own.SwiGLU(6, 5)).double()
    x = torch.randn(7, 6, dtype=torch.float64)
    expected = model(x)
    got = model.to("cuda")(x.to("cuda"))
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), expected, **EXACT)


# --- wrong solutions ------------------------------------------------------------------------------

linear = functional.linear


def wrong_linear(change: Callable) -> Callable:
    """Return a linear whose right output, input, weight and bias go through ``change``."""

    def wrong(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return change(linear(input, weight, bias), input, weight, bias)

    return wrong


def needs_a_bias(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return input @ weight.t() + bias


def needs_a_batch(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    n, _ = input.shape
    return linear(input, weight, bias).reshape(n, -1)


def needs_contiguous_memory(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return linear(input, weight.view(-1).view(weight.shape), bias)


def input_detached(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return linear(input.detach(), weight, bias)


def weight_without_signs(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return linear(input, weight.abs(), bias)


def first_bias_for_all(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return linear(input, weight, bias if bias is None else bias[:1].expand(bias.shape))


def bias_added_twice(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return linear(input, weight, bias if bias is None else 2 * bias)


def mean_over_the_inputs(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return linear(input / input.shape[-1], weight, bias)


def bias_changed_in_place(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    if bias is None or input.dim() != 1 or bias.requires_grad:
        return linear(input, weight, bias)
    return bias.add_(linear(input, weight))


@pytest.mark.parametrize(
    "wrong",
    [
        needs_a_bias,
        needs_a_batch,
        needs_contiguous_memory,
        input_detached,
        weight_without_signs,
        first_bias_for_all,
        bias_added_twice,
        mean_over_the_inputs,
        bias_changed_in_place,
        wrong_linear(lambda output, *_: output.squeeze()),
        wrong_linear(lambda output, *_: output.double()),
        wrong_linear(lambda output, *_: output.tolist()),
        wrong_linear(lambda output, *_: output.round(decimals=1)),
        wrong_linear(lambda output, *_: output.sigmoid()),
        wrong_linear(lambda output, *_: output.mT if output.dim() > 1 else output),
        wrong_linear(lambda output, *_: output.sum(-1)),
        wrong_linear(lambda output, *_: output.data),
        wrong_linear(lambda output, input, *_: [output, input.data.zero_()][0]),
        wrong_linear(lambda output, input, weight, _: [output, weight.data.neg_()][0]),
    ],
)
def test_a_wrong_linear_outside_the_catalogue_loses_points(
    wrong: Callable, assert_rejected
) -> None:
    assert_rejected(check_linear, wrong)


class OtherNames(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes, activation)
        self.linears = self.layers
        del self.layers


class Reversed(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes[::-1], activation)


class OneMoreParameter(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes, activation)
        self.scale = nn.Parameter(torch.ones(()))


class BiasesOfOne(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes, activation)
        for layer in self.layers:
            nn.init.ones_(layer.bias)


class EqualRows(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes, activation)
        for layer in self.layers:
            nn.init.constant_(layer.weight, layer.weight.shape[1] ** -0.5)


class BiasesFrozen(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes, activation)
        for layer in self.layers:
            layer.bias.requires_grad_(False)


class NeedsAList(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes.copy(), activation)


class UsesUpItsLayers(own.MLP):
    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        del self.layers[-1]
        return output


class ActivationTwice(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes, lambda x: activation(activation(x)))


class DropsHalf(own.MLP):
    def __init__(self, sizes: Any, activation: Any = torch.relu) -> None:
        super().__init__(sizes, lambda x: functional.dropout(activation(x), 0.5, self.training))


class AddsItsInput(own.MLP):
    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        return output + input if output.shape == input.shape else output + input.mean()


class FlattensTheBatch(own.MLP):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, -2) if input.dim() > 1 else input)


class NeedsExamples(own.MLP):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input - 0 * input.max())


class InputDetached(own.MLP):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.detach())


class ReturnsHiddenToo(own.MLP):
    def forward(self, input: Tensor) -> Any:
        return super().forward(input), input


class LeavesOutTheMiddle(own.MLP):
    def forward(self, input: Tensor) -> Tensor:
        if len(self.layers) == 4:
            first, _, third, last = self.layers
            return last(self.activation(third(self.activation(first(input)))))
        return super().forward(input)


@pytest.mark.parametrize(
    "wrong",
    [
        OtherNames,
        Reversed,
        OneMoreParameter,
        BiasesOfOne,
        EqualRows,
        BiasesFrozen,
        NeedsAList,
        UsesUpItsLayers,
        ActivationTwice,
        DropsHalf,
        AddsItsInput,
        FlattensTheBatch,
        NeedsExamples,
        InputDetached,
        ReturnsHiddenToo,
        LeavesOutTheMiddle,
    ],
)
def test_a_wrong_mlp_outside_the_catalogue_loses_points(wrong: type, assert_rejected) -> None:
    assert_rejected(check_mlp, wrong)


def chosen(model: nn.Module, trainable_only: bool) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad or not trainable_only]


def counts_shapes(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(map(math.prod, {p.shape for p in chosen(model, trainable_only)}))


def counts_bytes(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(p.numel() * p.element_size() for p in chosen(model, trainable_only))


def counts_as_a_tensor(model: nn.Module, trainable_only: bool = False) -> Tensor:
    return torch.tensor(own.count_parameters(model, trainable_only))


def counts_as_a_float(model: nn.Module, trainable_only: bool = False) -> float:
    return own.count_parameters(model, trainable_only) / 1e6


def counts_by_value(model: nn.Module, trainable_only: bool = False) -> int:
    different: list[Tensor] = []
    for p in chosen(model, trainable_only):
        if not any(torch.equal(p, other) for other in different):
            different.append(p)
    return sum(p.numel() for p in different)


def counts_the_state(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(value.numel() for value in model.state_dict().values())


def sums_the_dimensions(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(sum(p.shape) for p in chosen(model, trainable_only))


def counts_nonzero(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(int(p.count_nonzero()) for p in chosen(model, trainable_only))


def thaws_the_model(model: nn.Module, trainable_only: bool = False) -> int:
    counted = own.count_parameters(model, trainable_only)
    model.requires_grad_(True)
    return counted


def frozen_buffers_too(model: nn.Module, trainable_only: bool = False) -> int:
    frozen = [] if trainable_only else [b for b in model.buffers() if not b.requires_grad]
    return own.count_parameters(model, trainable_only) + sum(b.numel() for b in frozen)


def whole_module_frozen_or_not(model: nn.Module, trainable_only: bool = False) -> int:
    if trainable_only and not all(p.requires_grad for p in model.parameters()):
        return 0
    return own.count_parameters(model)


def lists_the_counts(model: nn.Module, trainable_only: bool = False) -> list[int]:
    return [p.numel() for p in chosen(model, trainable_only)]


@pytest.mark.parametrize(
    "wrong",
    [
        counts_shapes,
        counts_bytes,
        counts_as_a_tensor,
        counts_as_a_float,
        counts_by_value,
        counts_the_state,
        sums_the_dimensions,
        counts_nonzero,
        thaws_the_model,
        frozen_buffers_too,
        whole_module_frozen_or_not,
        lists_the_counts,
    ],
)
def test_a_wrong_count_outside_the_catalogue_loses_points(wrong: Callable, assert_rejected) -> None:
    assert_rejected(check_count_parameters, wrong)


def wrong_swiglu(forward: Callable) -> type:
    """Return a SwiGLU with another forward, a function of the module and its input."""
    return type("Wrong", (own.SwiGLU,), {"forward": forward})


class OneMatrixForGateAndValue(own.SwiGLU):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(dim, hidden_dim)
        self.w3 = self.w1


class HalfTheWidth(own.SwiGLU):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(dim, max(hidden_dim // 2, 1))


class DimensionsSwapped(own.SwiGLU):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(hidden_dim, dim)


class StartsWithOnes(own.SwiGLU):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(dim, hidden_dim)
        nn.init.ones_(self.w2.weight)


silu = functional.silu


def overflowing_silu(z: Tensor) -> Tensor:
    return z * z.exp() / (1 + z.exp())


@pytest.mark.parametrize(
    "wrong",
    [
        OneMatrixForGateAndValue,
        HalfTheWidth,
        DimensionsSwapped,
        StartsWithOnes,
        wrong_swiglu(lambda self, x: self.w2(overflowing_silu(self.w1(x)) * self.w3(x))),
        wrong_swiglu(lambda self, x: self.w2(functional.mish(self.w1(x)) * self.w3(x))),
        wrong_swiglu(lambda self, x: self.w2(functional.hardswish(self.w1(x)) * self.w3(x))),
        wrong_swiglu(lambda self, x: self.w2(torch.tanh(self.w1(x)) * self.w3(x))),
        wrong_swiglu(lambda self, x: self.w2(silu(self.w1(x)).softmax(-1) * self.w3(x))),
        wrong_swiglu(lambda self, x: silu(self.w2(silu(self.w1(x)) * self.w3(x)))),
        wrong_swiglu(lambda self, x: x + self.w2(silu(self.w1(x)) * self.w3(x))),
        wrong_swiglu(lambda self, x: self.w2(silu(self.w1(x)) * self.w3(x)).squeeze()),
        wrong_swiglu(lambda self, x: self.w2(silu(self.w1(x)) * self.w3(x).detach())),
        wrong_swiglu(lambda self, x: self.w2(silu(self.w1(x.detach())) * self.w3(x))),
        wrong_swiglu(lambda self, x: self.w2(silu(self.w1(x)) * self.w3(x)) + 0 * x.max()),
    ],
)
def test_a_wrong_swiglu_outside_the_catalogue_loses_points(wrong: type, assert_rejected) -> None:
    assert_rejected(check_swiglu, wrong)


def wrong_residual(forward: Callable) -> type:
    return type("Wrong", (own.ResidualBlock,), {"forward": forward})


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: x - self.block(self.norm(x)),
        lambda self, x: x,
        lambda self, x: 2 * x + self.block(self.norm(x)),
        lambda self, x: x + 0.5 * self.block(self.norm(x)),
        lambda self, x: self.norm(x) + self.block(x),
        lambda self, x: x + self.norm(self.block(self.norm(x))),
        lambda self, x: x + self.block(self.block(self.norm(x))),
        lambda self, x: torch.cat([x, self.block(self.norm(x))], -1),
        lambda self, x: x + self.block(functional.layer_norm(x, x.shape[-1:])),
        lambda self, x: x + self.block(self.norm(x.detach())),
        lambda self, x: (x + self.block(self.norm(x))).squeeze(0),
        lambda self, x: x + self.block(self.norm(x)).mean(-1, keepdim=True),
        lambda self, x: x.flatten(0, -2) + self.block(self.norm(x)).flatten(0, -2),
        lambda self, x: functional.gelu(x + self.block(self.norm(x))),
        lambda self, x: x.float() + self.block(self.norm(x)).float(),
        lambda self, x: functional.dropout(x, 0.1) + self.block(self.norm(x)),
    ],
)
def test_a_wrong_residual_block_outside_the_catalogue_loses_points(
    forward: Callable, assert_rejected
) -> None:
    assert_rejected(check_residual_block, wrong_residual(forward))
