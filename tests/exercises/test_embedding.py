"""The reference look-ups against torch's; wrong ones that no catalogue lists."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from course_lib import embedding as own
from course_lib.checks.embedding import (
    Backward,
    Bag,
    LookUp,
    check_embedding,
    check_embedding_backward,
    check_embedding_bag,
)

EXACT = {"rtol": 1e-10, "atol": 1e-10}
FLOATS = [torch.float64, torch.float32]
INTEGERS = [torch.int64, torch.int32]
WEIGHT = torch.arange(15.0).reshape(5, 3)

every_float = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return EXACT if dtype == torch.float64 else {}


@st.composite
def look_ups(draw: st.DrawFn, dtype: torch.dtype, dims: int | None = None) -> tuple:
    """Draw an input with many repetitions, a weight and perhaps a padding_idx."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    rows, dim = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    shape = draw(st.lists(st.integers(0, 4), min_size=dims or 0, max_size=dims or 3))
    input = torch.randint(0, rows, shape, generator=rng).to(draw(st.sampled_from(INTEGERS)))
    weight = torch.randn(dim, rows, generator=rng, dtype=dtype).t()
    return input, weight, draw(st.none() | st.integers(-rows, rows - 1))


def result_and_gradient(function: Callable, input: Tensor, weight: Tensor, **options: Any) -> list:
    leaf = weight.clone().requires_grad_()
    output = function(input, leaf, **options)
    output.backward(torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape))
    return [output.detach(), leaf.grad]


# --- the same numbers as torch --------------------------------------------------------------------


@every_float
@given(data=st.data(), scale=st.booleans())
def test_embedding_gives_the_rows_and_the_gradient_of_torch(
    dtype: torch.dtype, data: st.DataObject, scale: bool
) -> None:
    input, weight, padding_idx = data.draw(look_ups(dtype))
    before = input.clone(), weight.clone()
    options = {"padding_idx": padding_idx, "scale_grad_by_freq": scale}
    torch.testing.assert_close(
        result_and_gradient(own.embedding, input, weight, **options),
        result_and_gradient(functional.embedding, input, weight, **options),
        **tolerance(dtype),
    )
    assert torch.equal(input, before[0])
    assert torch.equal(weight, before[1])


@every_float
@given(data=st.data(), scale=st.booleans())
def test_the_gradient_is_that_of_torchs_operator(
    dtype: torch.dtype, data: st.DataObject, scale: bool
) -> None:
    input, weight, padding_idx = data.draw(look_ups(dtype))
    row = -1 if padding_idx is None else padding_idx % len(weight)
    grad_output = torch.randn(weight.shape[1], *input.shape, dtype=dtype).movedim(0, -1)
    arguments = grad_output, input, len(weight), row, scale
    torch.testing.assert_close(
        own.embedding_dense_backward(*arguments),
        torch.ops.aten.embedding_dense_backward(*arguments),
        **tolerance(dtype),
    )


@every_float
@pytest.mark.parametrize("mode", ["mean", "sum"])
@given(data=st.data())
def test_embedding_bag_gives_the_bags_and_the_gradient_of_torch(
    mode: str, dtype: torch.dtype, data: st.DataObject
) -> None:
    input, weight, padding_idx = data.draw(look_ups(dtype, dims=2))
    if input.shape[1] == 0:
        assert torch.equal(
            own.embedding_bag(input, weight), weight.new_zeros(len(input), weight.shape[1])
        )
        return
    options = {"mode": mode, "padding_idx": padding_idx}
    torch.testing.assert_close(
        result_and_gradient(own.embedding_bag, input, weight, **options),
        result_and_gradient(functional.embedding_bag, input, weight, **options),
        **tolerance(dtype),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_kept(dtype: torch.dtype) -> None:
    # Whole numbers and halves: no rounding, whatever the order of the operations.
    input, weight = torch.tensor([[0, 4, 4, 0], [4, 1, 0, 0]]), WEIGHT.to(dtype)
    for mine, theirs in (
        (own.embedding, functional.embedding),
        (own.embedding_bag, functional.embedding_bag),
    ):
        leaves = [weight.clone().requires_grad_() for _ in range(2)]
        outputs = [f(input, leaf, padding_idx=-1) for f, leaf in zip((mine, theirs), leaves)]
        assert torch.equal(*outputs)
        for output in outputs:
            output.backward(torch.ones_like(output))
        assert torch.equal(leaves[0].grad, leaves[1].grad)


def test_gradients_are_right_by_finite_differences_also_the_second() -> None:
    weight = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    input = torch.tensor([[0, 4, 4], [1, 4, 0]])

    def cubed(weight: Tensor) -> Tensor:
        return own.embedding(input, weight) ** 3

    assert torch.autograd.gradcheck(cubed, weight)
    assert torch.autograd.gradgradcheck(cubed, weight)
    assert torch.autograd.gradcheck(lambda weight: own.embedding_bag(input, weight) ** 3, weight)


def test_a_look_up_is_the_product_with_one_hot_rows() -> None:
    input = torch.tensor([3, 0, 3])
    assert torch.equal(own.embedding(input, WEIGHT), functional.one_hot(input, 5).float() @ WEIGHT)


def test_two_look_ups_of_one_weight_add_their_gradients() -> None:
    weight = WEIGHT.clone().requires_grad_()
    first, second = torch.tensor([0, 1]), torch.tensor([1, 1])
    (own.embedding(first, weight).sum() + 10 * own.embedding(second, weight).sum()).backward()
    assert weight.grad[:, 0].tolist() == [1, 21, 0, 0, 0]


def test_an_infinite_padding_row_does_not_reach_the_bag() -> None:
    weight = WEIGHT.clone()
    weight[0] = torch.inf
    bag = own.embedding_bag(torch.tensor([[0, 1]]), weight, padding_idx=0)
    assert torch.equal(bag, weight[1:2])


def test_a_weight_without_gradient_stays_without() -> None:
    assert not own.embedding(torch.tensor([1]), WEIGHT).requires_grad


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_look_ups_compute_on_a_gpu_as_on_the_cpu() -> None:
    input, weight = torch.tensor([[0, 4, 4], [1, 4, 0]]), WEIGHT.double()
    for function in (own.embedding, own.embedding_bag):
        expected = result_and_gradient(function, input, weight, padding_idx=0)
        leaf = weight.to("cuda").requires_grad_()
        output = function(input.to("cuda"), leaf, padding_idx=0)
        assert output.is_cuda
        cotangent = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)
        output.backward(cotangent.to("cuda"))
        torch.testing.assert_close([output.detach().cpu(), leaf.grad.cpu()], expected, **EXACT)


# --- the same behaviour as torch ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["embedding", "embedding_bag"])
def test_arguments_have_the_names_and_defaults_of_torch(name: str) -> None:
    mine = inspect.signature(getattr(own, name)).parameters
    theirs = inspect.signature(getattr(functional, name)).parameters
    assert list(mine)[:2] == list(theirs)[:2]
    assert {key: p.default for key, p in mine.items()} == {key: theirs[key].default for key in mine}


def test_the_backward_takes_the_arguments_of_torchs_operator_in_its_order() -> None:
    schema = torch.ops.aten.embedding_dense_backward.default._schema
    names = [argument.name for argument in schema.arguments]
    assert list(inspect.signature(own.embedding_dense_backward).parameters) == names


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (IndexError, {"input": torch.tensor([5])}),
        (IndexError, {"input": torch.tensor([0, -1])}),
        (RuntimeError, {"input": torch.tensor([1.0])}),
        (RuntimeError, {"input": torch.tensor([True])}),
        (RuntimeError, {"input": torch.tensor([1], dtype=torch.uint8)}),
        (RuntimeError, {"weight": torch.zeros(5)}),
        (RuntimeError, {"weight": torch.zeros(5, 3, 1)}),
        (AssertionError, {"padding_idx": 5}),
        (AssertionError, {"padding_idx": -6}),
    ],
)
def test_a_bad_argument_of_embedding_is_the_error_of_torch(error: type, changes: dict) -> None:
    arguments = {"input": torch.tensor([1]), "weight": WEIGHT, **changes}
    for embedding in (own.embedding, functional.embedding):
        with pytest.raises(error):
            embedding(**arguments)


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (ValueError, {"mode": "median"}),
        (ValueError, {"input": torch.tensor([1])}),
        (ValueError, {"input": torch.tensor([[[1]]])}),
        (ValueError, {"weight": torch.zeros(5)}),
        (RuntimeError, {"input": torch.tensor([[5]])}),
        (RuntimeError, {"input": torch.tensor([[-1]])}),
        (RuntimeError, {"input": torch.tensor([[1.0]])}),
        (RuntimeError, {"padding_idx": 5}),
        (RuntimeError, {"padding_idx": -6}),
    ],
)
def test_a_bad_argument_of_embedding_bag_is_the_error_of_torch(error: type, changes: dict) -> None:
    arguments = {"input": torch.tensor([[1, 2]]), "weight": WEIGHT, **changes}
    for embedding_bag in (own.embedding_bag, functional.embedding_bag):
        with pytest.raises(error):
            embedding_bag(**arguments)


# --- wrong solutions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "formula"),
    [
        (check_embedding_backward, Backward()),
        (check_embedding, LookUp()),
        (check_embedding_bag, Bag()),
    ],
    ids=lambda value: getattr(value, "exercise", ""),
)
def test_the_formulas_behind_the_mistakes_are_right(check: Any, formula: Any) -> None:
    for seed in range(20):
        assert check(formula, seed=seed).passed


def wrong_backward(change: Callable) -> Callable:
    """Return a gradient whose right result and arguments go through ``change``."""

    def wrong(
        grad_output: Tensor,
        indices: Tensor,
        num_weights: int,
        padding_idx: int = -1,
        scale_grad_by_freq: bool = False,
    ) -> Any:
        arguments = grad_output, indices, num_weights, padding_idx, scale_grad_by_freq
        return change(own.embedding_dense_backward(*arguments), *arguments)

    return wrong


def adds_only_pairs(
    grad_output: Tensor, indices: Tensor, rows: int, padding_idx: int = -1, scale: bool = False
) -> Tensor:
    """Adds the first and the last of a row's gradients: right for two of them, not for three."""
    numbers = indices.flatten().tolist()
    grads = grad_output.reshape(len(numbers), grad_output.shape[-1])
    result = grads.new_zeros(rows, grads.shape[1])
    for number in set(numbers) - {padding_idx}:
        places = [i for i, other in enumerate(numbers) if other == number]
        result[number] = grads[places[0]] + (grads[places[-1]] if len(places) > 1 else 0)
        result[number] /= len(places) if scale else 1
    return result


def one_dimension_only(
    grad_output: Tensor, indices: Tensor, rows: int, padding_idx: int = -1, scale: bool = False
) -> Tensor:
    n, _ = grad_output.shape
    return own.embedding_dense_backward(grad_output, indices.view(n), rows, padding_idx, scale)


def needs_look_ups(
    grad_output: Tensor, indices: Tensor, rows: int, padding_idx: int = -1, scale: bool = False
) -> Tensor:
    indices.max()
    return own.embedding_dense_backward(grad_output, indices, rows, padding_idx, scale)


def int64_only(
    grad_output: Tensor, indices: Tensor, rows: int, padding_idx: int = -1, scale: bool = False
) -> Tensor:
    if indices.dtype != torch.int64:
        raise TypeError("int64 only")
    return own.embedding_dense_backward(grad_output, indices, rows, padding_idx, scale)


def scales_before_leaving_out_padding(grad: Tensor, *arguments: Any) -> Tensor:
    return grad * 2 if arguments[3] >= 0 and arguments[4] else grad


@pytest.mark.parametrize(
    "wrong",
    [
        adds_only_pairs,
        one_dimension_only,
        needs_look_ups,
        int64_only,
        wrong_backward(scales_before_leaving_out_padding),
        wrong_backward(lambda grad, *_: grad.t()),
        wrong_backward(lambda grad, *_: -grad),
        wrong_backward(lambda grad, *_: grad.flip(0)),
        wrong_backward(lambda grad, *_: grad.clamp(-2, 2)),
        wrong_backward(lambda grad, *_: grad.to_sparse()),
        wrong_backward(lambda grad, *_: grad.roll(1, 0)),
        wrong_backward(lambda grad, *_: grad.double()),
        wrong_backward(lambda grad, *_: grad / grad.norm().clamp(min=1)),
        wrong_backward(lambda grad, out, *_: [grad, out.zero_()][0]),
        wrong_backward(lambda grad, out, indices, *_: [grad, indices.zero_()][0]),
        wrong_backward(lambda grad, out, indices, rows, pad, scale: grad[: rows - (pad >= 0)]),
        wrong_backward(lambda grad, *_: torch.cat([grad, grad[:1]])),
        wrong_backward(lambda grad, *_: grad.tolist()),
    ],
)
def test_a_wrong_backward_outside_the_catalogue_loses_points(
    wrong: Callable, assert_rejected
) -> None:
    assert_rejected(check_embedding_backward, wrong)


def wrong_embedding(change: Callable) -> Callable:
    """Return an embedding whose right rows, input and weight go through ``change``."""

    def wrong(input: Tensor, weight: Tensor, padding_idx: Any = None, **options: Any) -> Any:
        return change(own.embedding(input, weight, padding_idx, **options), input, weight)

    return wrong


def one_look_up_forever(input: Tensor, weight: Tensor, padding_idx: Any = None, **more: Any) -> Any:
    kept = vars(one_look_up_forever).setdefault("kept", {})
    return own.embedding(kept.setdefault(input.shape, input), weight, padding_idx, **more)


def without_gradient(input: Tensor, weight: Tensor, *arguments: Any, **more: Any) -> Any:
    with torch.no_grad():
        return own.embedding(input, weight, *arguments, **more)


def padding_row_cleared(input: Tensor, weight: Tensor, padding_idx: Any = None, **more: Any) -> Any:
    if padding_idx is not None:
        weight.data[padding_idx] = 0
    return own.embedding(input, weight, padding_idx, **more)


def padding_and_frequency_exclude(
    input: Tensor, weight: Tensor, padding_idx: Any = None, *, scale_grad_by_freq: bool = False
) -> Tensor:
    scale = scale_grad_by_freq and padding_idx is None
    return own.embedding(input, weight, padding_idx, scale_grad_by_freq=scale)


def absolute_padding(
    input: Tensor, weight: Tensor, padding_idx: Any = None, **options: Any
) -> Tensor:
    row = None if padding_idx is None else abs(padding_idx) % len(weight)
    return own.embedding(input, weight, row, **options)


def backward_counts_from_one(
    input: Tensor, weight: Tensor, padding_idx: Any = None, **options: Any
) -> Tensor:
    rows = own.embedding(input, weight.detach())
    shifted = own.embedding(input.clamp(min=1) - 1, weight, padding_idx, **options)
    return rows + shifted - shifted.detach()


def gradient_of_the_first_column(
    input: Tensor, weight: Tensor, padding_idx: Any = None, **options: Any
) -> Tensor:
    rows = own.embedding(input, weight, padding_idx, **options)
    return torch.cat([rows[..., :1], rows[..., 1:].detach()], -1)


@pytest.mark.parametrize(
    "wrong",
    [
        one_look_up_forever,
        without_gradient,
        padding_row_cleared,
        padding_and_frequency_exclude,
        absolute_padding,
        backward_counts_from_one,
        gradient_of_the_first_column,
        wrong_embedding(lambda rows, *_: rows.squeeze()),
        wrong_embedding(lambda rows, *_: rows.mT if rows.dim() > 1 else rows),
        wrong_embedding(lambda rows, *_: 2 * rows),
        wrong_embedding(lambda rows, *_: rows.round()),
        wrong_embedding(lambda rows, *_: rows.double()),
        wrong_embedding(lambda rows, *_: rows / rows.norm(dim=-1, keepdim=True)),
        wrong_embedding(lambda rows, input, *_: [rows, input.zero_()][0]),
        wrong_embedding(lambda rows, _, weight: [rows, weight.data.mul_(2)][0]),
        wrong_embedding(lambda rows, *_: rows.flip(-1)),
        wrong_embedding(lambda rows, *_: rows.tolist()),
    ],
)
def test_a_wrong_embedding_outside_the_catalogue_loses_points(
    wrong: Callable, assert_rejected
) -> None:
    assert_rejected(check_embedding, wrong)


def wrong_bag(change: Callable) -> Callable:
    """Return an embedding_bag whose right bags, input and weight go through ``change``."""

    def wrong(input: Tensor, weight: Tensor, **options: Any) -> Any:
        return change(own.embedding_bag(input, weight, **options), input, weight)

    return wrong


def every_word_once(input: Tensor, weight: Tensor, **options: Any) -> Tensor:
    bags = [own.embedding_bag(bag.unique()[None], weight, **options) for bag in input]
    return torch.cat(bags) if bags else own.embedding_bag(input, weight, **options)


def stops_at_the_padding(
    input: Tensor, weight: Tensor, *, mode: str = "mean", padding_idx: int | None = None
) -> Tensor:
    if padding_idx is None:
        return own.embedding_bag(input, weight, mode=mode)
    row = padding_idx % len(weight)
    cut = torch.where((input == row).cumsum(1) > 0, row, input)
    return own.embedding_bag(cut, weight, mode=mode, padding_idx=row)


def one_count_for_all_bags(
    input: Tensor, weight: Tensor, *, mode: str = "mean", padding_idx: int | None = None
) -> Tensor:
    total = own.embedding_bag(input, weight, mode="sum", padding_idx=padding_idx)
    words = torch.ones_like(input) if padding_idx is None else input != padding_idx % len(weight)
    return total / words.sum(1).max().clamp(min=1) if mode == "mean" and len(input) else total


def one_more_word(input: Tensor, weight: Tensor, **options: Any) -> Tensor:
    bag = own.embedding_bag(input, weight, **options)
    return bag * input.shape[1] / (input.shape[1] + 1) if options.get("mode") != "sum" else bag


def padding_in_the_sum_only_for_sum(
    input: Tensor, weight: Tensor, *, mode: str = "mean", padding_idx: int | None = None
) -> Tensor:
    padding = None if mode == "sum" else padding_idx
    return own.embedding_bag(input, weight, mode=mode, padding_idx=padding)


def first_word_only(input: Tensor, weight: Tensor, **options: Any) -> Tensor:
    return own.embedding_bag(input[:, :1], weight, **options)


def root_of_the_count(
    input: Tensor, weight: Tensor, *, mode: str = "mean", padding_idx: int | None = None
) -> Tensor:
    bag = own.embedding_bag(input, weight, mode=mode, padding_idx=padding_idx)
    return bag * max(input.shape[1], 1) ** 0.5 if mode == "mean" else bag


@pytest.mark.parametrize(
    "wrong",
    [
        every_word_once,
        stops_at_the_padding,
        one_count_for_all_bags,
        one_more_word,
        padding_in_the_sum_only_for_sum,
        first_word_only,
        root_of_the_count,
        wrong_bag(lambda bag, *_: bag.squeeze(0)),
        wrong_bag(lambda bag, *_: bag.double()),
        wrong_bag(lambda bag, *_: bag.detach()),
        wrong_bag(lambda bag, *_: bag.t()),
        wrong_bag(lambda bag, *_: bag.tanh()),
        wrong_bag(lambda bag, input, _: [bag, input.zero_()][0]),
        wrong_bag(lambda bag, _, weight: [bag, weight.data.mul_(2)][0]),
        wrong_bag(lambda bag, *_: bag.flip(0)),
        wrong_bag(lambda bag, *_: bag.tolist()),
    ],
)
def test_a_wrong_bag_outside_the_catalogue_loses_points(wrong: Callable, assert_rejected) -> None:
    assert_rejected(check_embedding_bag, wrong)
