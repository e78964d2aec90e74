"""The reference losses against torch's; wrong ones that no catalogue lists."""

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

from course_lib import losses as own
from course_lib.checks.losses import (
    check_binary_cross_entropy,
    check_cross_entropy,
    check_mse_loss,
)

REDUCTIONS = ["mean", "sum", "none"]
TOLERANCES = {torch.float64: {"rtol": 1e-10, "atol": 1e-10}, torch.float32: {}}
NAMES = ["mse_loss", "binary_cross_entropy_with_logits", "cross_entropy"]

every_loss = pytest.mark.parametrize("name", NAMES)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES)


def generator(draw: st.DrawFn) -> torch.Generator:
    return torch.Generator().manual_seed(draw(st.integers(0, 2**32)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw logits or predictions from tiny to huge, and targets from 0 to 1, both float64."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    rng = generator(draw)
    input = 10.0 ** draw(st.integers(-3, 4)) * torch.randn(shape, generator=rng).double()
    target = torch.rand(shape, generator=rng).double()
    if draw(st.booleans()):
        target = target.round()
    if draw(st.booleans()):
        input = input.round()  # some logits are exactly 0
    if draw(st.booleans()) and len(shape) > 1:
        input = input.transpose(0, 1).contiguous().transpose(0, 1)
    return input, target


@st.composite
def classifications(draw: st.DrawFn) -> tuple[Tensor, Tensor, float]:
    """Draw logits with classes along dimension 1 (or 0), targets of either kind, a smoothing."""
    classes = draw(st.integers(1, 5))
    further = draw(st.lists(st.integers(1, 3), max_size=2))
    shape = [draw(st.integers(0, 4)), classes, *further] if draw(st.integers(0, 4)) else [classes]
    axis = 0 if len(shape) == 1 else 1
    rng = generator(draw)
    input = 10.0 ** draw(st.integers(-3, 4)) * torch.randn(shape, generator=rng).double()
    positions = shape[:axis] + shape[axis + 1 :]
    target = torch.randint(0, classes, positions, generator=rng)
    if draw(st.booleans()):
        target = torch.rand(shape, generator=rng).double()
    return input, target, draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))


def with_gradients(loss: Callable, input: Tensor, target: Tensor) -> list[Tensor]:
    """Return a loss and the gradients of its weighted sum, of all arguments that can have one."""
    leaves = [input.clone().requires_grad_()]
    if target.is_floating_point():
        target = target.clone().requires_grad_()
        leaves.append(target)
    output = loss(leaves[0], target)
    weights = torch.linspace(1, 2, output.numel(), dtype=output.dtype, device=output.device)
    return [output, *torch.autograd.grad(output, leaves, weights.reshape(output.shape))]


def assert_like_torch(name: str, input: Tensor, target: Tensor, **options: Any) -> None:
    """Compare with torch in float64: in float32 its own binary loss loses digits."""
    before = input.clone(), target.clone()
    mine = with_gradients(partial(getattr(own, name), **options), input, target)
    exact_target = target.double() if target.is_floating_point() else target
    theirs = with_gradients(partial(getattr(F, name), **options), input.double(), exact_target)
    for got, exact in zip(mine, theirs, strict=True):
        expected = exact.to(input.dtype)
        torch.testing.assert_close(got, expected, **TOLERANCES[input.dtype], equal_nan=True)
    assert torch.equal(input, before[0])
    assert torch.equal(target, before[1])


# --- the reference --------------------------------------------------------------------------------


@every_reduction
@every_dtype
@settings(max_examples=25)
@given(pair=pairs())
def test_mse_loss_agrees_with_torch(reduction: str, dtype: torch.dtype, pair: tuple) -> None:
    input, target = (tensor.to(dtype) for tensor in pair)
    assert_like_torch("mse_loss", input, target, reduction=reduction)


@every_reduction
@every_dtype
@settings(max_examples=25)
@given(pair=pairs(), weights=st.sampled_from([None, 0.5, 3.0]))
def test_binary_cross_entropy_agrees_with_torch(
    reduction: str, dtype: torch.dtype, pair: tuple, weights: float | None
) -> None:
    input, target = (tensor.to(dtype) for tensor in pair)
    options: dict[str, Any] = {"reduction": reduction}
    if weights is not None:
        columns = input.shape[-1:] or (1,)
        options["pos_weight"] = torch.linspace(0.1, weights, columns[0], dtype=dtype)
    if input.dim() == 0 and weights is not None:
        options["pos_weight"] = torch.tensor(weights, dtype=dtype)
    assert_like_torch("binary_cross_entropy_with_logits", input, target, **options)


@every_reduction
@every_dtype
@settings(max_examples=40)
@given(problem=classifications())
def test_cross_entropy_agrees_with_torch(
    reduction: str, dtype: torch.dtype, problem: tuple
) -> None:
    input, target, smoothing = problem
    if target.is_floating_point():
        target = target.to(dtype)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    assert_like_torch("cross_entropy", input.to(dtype), target, **options)


@every_dtype
@every_loss
def test_huge_logits_and_zeros_have_the_gradients_of_torch(name: str, dtype: torch.dtype) -> None:
    input = torch.tensor([[0.0, 1e4], [-1e4, 0.0], [1e4, 1e4], [-1e4, 1e4], [0.0, 0.0]])
    for target in (torch.tensor([[1.0, 0.0]]).repeat(5, 1), torch.full((5, 2), 0.25)):
        assert_like_torch(name, input.to(dtype), target.to(dtype), reduction="none")


def test_impossible_classes_leave_the_loss_finite() -> None:
    infinity = float("inf")
    input = torch.tensor([[1.0, -infinity, 0.5], [-infinity, 2.0, -infinity]])
    assert_like_torch("cross_entropy", input, torch.tensor([2, 1]), reduction="none")


def test_small_losses_of_large_logits_keep_their_digits() -> None:
    input = torch.tensor([[1e4, 9999.0], [1e4, 9995.0]])
    assert_like_torch("cross_entropy", input, torch.tensor([0, 0]), reduction="none")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_loss
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_low_precision_agrees_with_float64_to_its_own_digits(
    name: str, dtype: torch.dtype, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    input = 3 * torch.randn(4, 5, generator=rng).to(dtype)
    target = torch.rand(4, 5, generator=rng).to(dtype)
    for reduction in REDUCTIONS:
        loss = getattr(own, name)(input, target, reduction=reduction)
        exact = getattr(F, name)(input.double(), target.double(), reduction=reduction)
        assert loss.dtype == dtype
        torch.testing.assert_close(loss.double(), exact, rtol=3 * torch.finfo(dtype).eps, atol=1e-3)


def test_indices_may_be_bytes() -> None:
    input, target = torch.randn(4, 3), torch.tensor([2, 0, 1, 1], dtype=torch.uint8)
    torch.testing.assert_close(own.cross_entropy(input, target), F.cross_entropy(input, target))


@every_loss
def test_an_empty_batch_has_the_mean_nan_and_the_sum_0(name: str) -> None:
    for source in (own, F):
        loss = getattr(source, name)
        assert loss(torch.empty(0, 3), torch.empty(0, 3)).isnan()
        assert loss(torch.empty(0, 3), torch.empty(0, 3), reduction="sum") == 0


def test_shapes_that_differ_broadcast_with_a_warning() -> None:
    for source in (own, F):
        with pytest.warns(UserWarning, match="broadcast"):
            loss = source.mse_loss(torch.ones(3, 1), torch.zeros(3), reduction="none")
        assert loss.shape == (3, 3)


@pytest.mark.parametrize("reduction", ["average", "Mean"])
@every_loss
def test_an_unknown_reduction_is_a_value_error(name: str, reduction: str) -> None:
    for source in (own, F):
        with pytest.raises(ValueError, match=reduction):
            getattr(source, name)(torch.ones(2, 3), torch.ones(2, 3), reduction=reduction)


ROWS = torch.zeros(3, 4)
CLASSES = torch.tensor([0, 1, 2])
BAD_ARGUMENTS = {
    "class too large": ("cross_entropy", ROWS, torch.tensor([0, 4, 1]), {}),
    "class negative": ("cross_entropy", ROWS, torch.tensor([0, -1, 1]), {}),
    "int32 classes": ("cross_entropy", ROWS, CLASSES.int(), {}),
    "float classes": ("cross_entropy", ROWS, CLASSES.float(), {}),
    "integer probabilities": ("cross_entropy", ROWS, ROWS.long(), {}),
    "another batch": ("cross_entropy", ROWS, CLASSES[:2], {}),
    "other positions": ("cross_entropy", torch.zeros(3, 4, 5), torch.zeros(3, 4).long(), {}),
    "smoothing above 1": ("cross_entropy", ROWS, CLASSES, {"label_smoothing": 1.5}),
    "other shape": ("binary_cross_entropy_with_logits", ROWS, ROWS[0], {}),
    "integer target": ("binary_cross_entropy_with_logits", ROWS, ROWS.long(), {}),
}


@pytest.mark.parametrize(
    ("name", "input", "target", "options"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS
)
def test_bad_arguments_raise_what_torch_raises(
    name: str, input: Tensor, target: Tensor, options: dict[str, Any]
) -> None:
    raised = []
    for source in (own, F):
        with pytest.raises((ValueError, RuntimeError, IndexError)) as caught:
            getattr(source, name)(input, target, **options)
        raised.append(caught.type)
    assert raised[0] is raised[1]


def test_minus_100_is_no_special_class() -> None:
    with pytest.raises(IndexError):
        own.cross_entropy(ROWS, torch.tensor([0, -100, 1]))


@every_loss
def test_arguments_are_some_of_torchs_with_the_same_defaults(name: str) -> None:
    mine = inspect.signature(getattr(own, name)).parameters
    theirs = inspect.signature(getattr(F, name)).parameters
    assert list(mine)[:2] == list(theirs)[:2] == ["input", "target"]
    assert {key: mine[key].default for key in mine} == {key: theirs[key].default for key in mine}
    by_position = [key for key in mine if mine[key].kind is not inspect.Parameter.KEYWORD_ONLY]
    assert by_position == ["input", "target", *(["reduction"] if name == "mse_loss" else [])]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_loss
def test_a_cuda_tensor_stays_on_its_device(name: str) -> None:
    rng = torch.Generator().manual_seed(0)
    input, target = (torch.rand(6, 5, generator=rng).cuda() for _ in range(2))
    assert getattr(own, name)(input, target).device == input.device
    assert_like_torch(name, input, target)
    if name == "cross_entropy":
        assert_like_torch(name, input, torch.tensor([0, 1, 2, 3, 4, 0]).cuda())


# --- wrong solutions ------------------------------------------------------------------------------

CHECKS = dict(zip(NAMES, [check_mse_loss, check_binary_cross_entropy, check_cross_entropy]))

SPOILT: dict[str, Callable[[Tensor], Any]] = {
    "float64": lambda loss: loss.double(),
    "three digits": lambda loss: loss + ((1000 * loss).round() / 1000 - loss).detach(),
    "a little too large": lambda loss: 1.001 * loss,
    "capped": lambda loss: loss.clamp(max=1),
}
ASTRAY: dict[str, Callable[[Tensor], Tensor]] = {
    "only contiguous tensors": lambda input: input.view(-1).view(input.shape),
    "no empty batch": lambda input: input - 0 * input.max(),
}


def spoilt(name: str, act: Callable) -> Callable:
    return lambda *args, **options: act(getattr(own, name)(*args, **options))


def astray(name: str, act: Callable) -> Callable:
    return lambda input, *args, **options: getattr(own, name)(act(input), *args, **options)


def wrong_for_all() -> list:
    return [
        pytest.param(name, made(name, act), id=f"{name}-{told}")
        for name in NAMES
        for made, table in ((spoilt, SPOILT), (astray, ASTRAY))
        for told, act in table.items()
    ]


def binary(**given: Any) -> Callable:
    """Return a wrong binary loss that passes other options on to torch."""
    return lambda input, target, **options: F.binary_cross_entropy_with_logits(
        input, target, **{**options, **given}
    )


def classes(**given: Any) -> Callable:
    return lambda input, target, **options: F.cross_entropy(input, target, **{**options, **given})


def tempered(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    return F.cross_entropy(1.01 * input, target, **options)


def ignoring_class_0(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    ignored = {} if target.is_floating_point() else {"ignore_index": 0}
    return F.cross_entropy(input, target, **ignored, **options)


def clipped_logits(loss: Callable, limit: float) -> Callable:
    return lambda input, target, **options: loss(input.clamp(-limit, limit), target, **options)


def rounded_target(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    return F.binary_cross_entropy_with_logits(input, target.round(), **options)


def normalised_target(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    if target.is_floating_point():
        target = target.softmax(min(input.dim(), 2) - 1)
    return F.cross_entropy(input, target, **options)


def flattened(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    """Reshapes (n, C, d) to (-1, C) without moving the classes to the end."""
    if input.dim() > 2 and not target.is_floating_point():
        input, target = input.reshape(-1, input.shape[1]), target.reshape(-1)
    return F.cross_entropy(input, target, **options)


WRONG = [
    ("mse_loss", F.l1_loss),
    ("mse_loss", F.huber_loss),
    ("mse_loss", lambda x, t, reduction="sum": F.mse_loss(x, t, reduction=reduction)),
    ("mse_loss", lambda x, t, reduction="mean": ((x - t) ** 2).mean(-1)),
    ("mse_loss", lambda x, t, reduction="mean": F.mse_loss(x, t, reduction="mean")),
    ("binary_cross_entropy_with_logits", binary(pos_weight=None)),
    ("binary_cross_entropy_with_logits", binary(reduction="mean")),
    ("binary_cross_entropy_with_logits", rounded_target),
    (
        "binary_cross_entropy_with_logits",
        clipped_logits(F.binary_cross_entropy_with_logits, 50),
    ),
    ("binary_cross_entropy_with_logits", F.soft_margin_loss),
    ("cross_entropy", classes(label_smoothing=0.0)),
    ("cross_entropy", classes(reduction="mean")),
    ("cross_entropy", tempered),
    ("cross_entropy", ignoring_class_0),
    ("cross_entropy", clipped_logits(F.cross_entropy, 50)),
    ("cross_entropy", normalised_target),
    ("cross_entropy", flattened),
    ("cross_entropy", F.multi_margin_loss),
]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [*wrong_for_all(), *(pytest.param(*pair, id=f"{pair[0]}-{i}") for i, pair in enumerate(WRONG))],
)
def test_a_wrong_loss_outside_the_catalogue_loses_points(
    name: str, wrong: Callable, assert_rejected: Callable
) -> None:
    assert_rejected(CHECKS[name], wrong)
