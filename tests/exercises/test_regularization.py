"""The reference against torch and plain definitions; wrong solutions that no catalogue lists."""

import inspect
import math
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from course_lib.checks.regularization import check_dropout, check_early_stopping, check_l2_penalty
from course_lib.regularization import EarlyStopping, dropout, l2_penalty

SHAPES = st.lists(st.integers(0, 5), max_size=4)
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16])
SEEDS = st.integers(0, 2**32)
PROBABILITIES = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def assert_close(got: Any, expected: Any, dtype: torch.dtype) -> None:
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {}
    torch.testing.assert_close(got, expected, **tolerance)


# --- dropout: the reference -----------------------------------------------------------------------


@given(SHAPES, DTYPES, PROBABILITIES, st.booleans(), st.booleans(), SEEDS)
def test_dropout_and_its_gradient_agree_with_torch(
    shape: list[int],
    dtype: torch.dtype,
    p: float,
    training: bool,
    turned: bool,
    seed: int,
) -> None:
    rng = Generator().manual_seed(seed)
    x, cotangent = (torch.randn(shape, generator=rng).to(dtype) for _ in range(2))
    results = []
    for function in (dropout, F.dropout):
        leaf = x.clone().requires_grad_()
        given_ = leaf.permute(tuple(reversed(range(leaf.dim())))) if turned else leaf
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            result = function(given_, p, training)
        result.backward(cotangent.permute(tuple(reversed(range(x.dim())))) if turned else cotangent)
        assert torch.equal(leaf, x)
        results.append((result, leaf.grad))
    assert_close(*results, dtype)


def test_the_arguments_of_dropout_are_torchs_without_inplace() -> None:
    ours, theirs = (list(inspect.signature(f).parameters.values()) for f in (dropout, F.dropout))
    assert [(p.name, p.default) for p in ours[:3]] == [(p.name, p.default) for p in theirs[:3]]
    assert [(p.name, p.default, p.kind) for p in ours[3:]] == [
        ("generator", None, inspect.Parameter.KEYWORD_ONLY)
    ]


@pytest.mark.parametrize("p", [-0.1, 1.1, math.inf])
@pytest.mark.parametrize("training", [False, True])
def test_dropout_refuses_what_is_no_probability(p: float, training: bool) -> None:
    for function in (dropout, F.dropout):
        with pytest.raises(ValueError, match="probability"):
            function(torch.ones(3), p, training)


def test_dropout_of_integers_is_refused_in_training_only() -> None:
    for function in (dropout, F.dropout):
        with pytest.raises(RuntimeError, match="can't be cast"):
            function(torch.arange(5))
        assert torch.equal(function(torch.arange(5), training=False), torch.arange(5))


@settings(max_examples=20)
@given(SEEDS, st.sampled_from([0.2, 0.5, 0.8]))
def test_dropout_keeps_the_mean(seed: int, p: float) -> None:
    x = torch.rand(300, 300, generator=Generator().manual_seed(seed))
    mean = dropout(x, p, generator=Generator().manual_seed(seed + 1)).mean()
    assert mean.item() == pytest.approx(x.mean().item(), rel=0.06)


def test_dropout_draws_from_the_given_generator_or_torchs() -> None:
    x, generator, before = torch.ones(100), Generator().manual_seed(1), torch.get_rng_state()
    first = dropout(x, generator=generator)
    assert not torch.equal(first, dropout(x, generator=generator))
    assert torch.equal(first, dropout(x, generator=generator.manual_seed(1)))
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert torch.equal(first, dropout(x))
        assert not torch.equal(first, dropout(x))


@pytest.mark.cuda
@needs_a_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dropout_works_on_a_gpu(dtype: torch.dtype) -> None:
    x = torch.ones(300, 300, device="cuda", dtype=dtype, requires_grad=True)
    result = dropout(x, 0.2, generator=Generator("cuda").manual_seed(0))
    result.sum().backward()
    assert result.is_cuda
    assert result.dtype == dtype
    assert set(result.unique().tolist()) == {0.0, torch.tensor(1.25, dtype=dtype).item()}
    assert (result == 0).double().mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.equal(x.grad, result)


# --- dropout: wrong solutions ---------------------------------------------------------------------


def drops_alternately(input: Tensor, p: float = 0.5, training: bool = True, **_: Any) -> Tensor:
    if not training:
        return input
    places = torch.arange(input.numel()).reshape(input.shape)
    return input * (places % 100 >= 100 * p) / (1 - p if p < 1 else 1)


def replaces_by_the_mean(input: Tensor, *args: Any, **options: Any) -> Tensor:
    result = dropout(input, *args, **options)
    return torch.where(result == 0, input.mean(), result)


def scaled_to_the_same_sum(input: Tensor, *args: Any, **options: Any) -> Tensor:
    result = dropout(input, *args, **options)
    return result * (input.abs().sum() / result.abs().sum()) if result.any() else result


def kept_with_noise(input: Tensor, *args: Any, **options: Any) -> Tensor:
    result = dropout(input, *args, **options)
    return result * (1 + 0.1 * torch.rand(result.shape))


def p_as_a_logit(input: Tensor, p: float = 0.5, *args: Any, **options: Any) -> Tensor:
    return dropout(input, 1 / (1 + math.exp(-p)), *args, **options)


def default_of_a_fifth(input: Tensor, p: float = 0.2, *args: Any, **options: Any) -> Tensor:
    return dropout(input, p, *args, **options)


def never_training(input: Tensor, p: float = 0.5, training: bool = False, **more: Any) -> Tensor:
    return dropout(input, p, training, **more)


def mask_made_once(input: Tensor, p: float = 0.5, training: bool = True, **options: Any) -> Tensor:
    cache = mask_made_once.__dict__.setdefault("masks", {})
    if not training:
        return input
    key = tuple(input.shape), p
    if key not in cache:
        cache[key] = dropout(torch.ones(input.shape), p, **options)
    return input * cache[key].to(input.dtype)


def channels(input: Tensor, p: float = 0.5, training: bool = True, **options: Any) -> Tensor:
    if input.dim() < 3:
        return dropout(input, p, training, **options)
    mask = dropout(torch.ones(input.shape[:2], dtype=input.dtype), p, training, **options)
    return input * mask[(..., *[None] * (input.dim() - 2))]


def hides_its_draws(input: Tensor, *args: Any, **options: Any) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        return dropout(input, *args, **options)


def returns_the_mask(input: Tensor, *args: Any, **options: Any) -> Tensor:
    return dropout(torch.ones_like(input), *args, **options)


def returns_a_copy_without_history(input: Tensor, *args: Any, **options: Any) -> Tensor:
    result = dropout(input, *args, **options)
    return result.detach().requires_grad_()


@pytest.mark.parametrize(
    "wrong",
    [
        drops_alternately,
        replaces_by_the_mean,
        scaled_to_the_same_sum,
        kept_with_noise,
        p_as_a_logit,
        default_of_a_fifth,
        never_training,
        mask_made_once,
        channels,
        hides_its_draws,
        returns_the_mask,
        returns_a_copy_without_history,
    ],
)
def test_a_wrong_dropout_outside_the_catalogue_loses_points(wrong: Any, assert_rejected) -> None:
    assert_rejected(check_dropout, wrong)


# --- the L2 penalty -------------------------------------------------------------------------------


@given(st.lists(SHAPES, max_size=4), st.floats(0, 10), SEEDS, st.booleans())
def test_the_penalty_is_half_the_sum_of_squares(
    shapes: list[list[int]], weight_decay: float, seed: int, wide: bool
) -> None:
    dtype = torch.float64 if wide else torch.float32
    rng = Generator().manual_seed(seed)
    parameters = [
        torch.randn(shape, generator=rng, dtype=dtype).requires_grad_() for shape in shapes
    ]
    penalty = l2_penalty((p for p in parameters), weight_decay)
    squares = math.fsum(float((p.detach().double() ** 2).sum()) for p in parameters)
    value = torch.as_tensor(penalty).item()
    assert value == pytest.approx(weight_decay / 2 * squares, rel=1e-10 if wide else 1e-5)
    if parameters:
        assert penalty.shape == ()
        assert penalty.dtype == dtype
        penalty.backward()
        for parameter in parameters:
            assert_close(parameter.grad, weight_decay * parameter.detach(), dtype)


def test_no_parameters_have_no_penalty() -> None:
    assert l2_penalty([], 0.1) == 0


@given(SEEDS, st.sampled_from([0.0, 0.01, 0.5]))
def test_a_step_with_the_penalty_is_a_step_of_sgd_with_weight_decay(
    seed: int, weight_decay: float
) -> None:
    rng = Generator().manual_seed(seed)
    weight, x, y = (torch.randn(4, 3, generator=rng, dtype=torch.float64) for _ in range(3))
    after = []
    for by_hand in (True, False):
        w = weight.clone().requires_grad_()
        loss = ((x * w).tanh() - y).square().mean()
        if by_hand:
            loss = loss + l2_penalty([w], weight_decay)
        optimizer = torch.optim.SGD([w], lr=0.1, weight_decay=0 if by_hand else weight_decay)
        loss.backward()
        optimizer.step()
        after.append(w.detach())
    assert_close(*after, torch.float64)


@pytest.mark.cuda
@needs_a_gpu
def test_the_penalty_works_on_a_gpu() -> None:
    parameters = [torch.ones(3, device="cuda", requires_grad=True), torch.ones((), device="cuda")]
    penalty = l2_penalty(parameters, 0.5)
    penalty.backward()
    assert penalty.is_cuda
    assert penalty.item() == 1
    assert torch.equal(parameters[0].grad, torch.full((3,), 0.5, device="cuda"))


def number(parameters: Iterable[Tensor], weight_decay: float) -> Any:
    return l2_penalty(parameters, weight_decay).item()


def of_shape_1(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return l2_penalty(parameters, weight_decay).reshape(1)


def one_for_each(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return torch.stack([l2_penalty([p], weight_decay) for p in parameters])


def quarter(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return l2_penalty(parameters, weight_decay) / 2


def norm_of_everything(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return (2 * l2_penalty(parameters, 1.0) + 1e-12).sqrt() * weight_decay


def cubes(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return l2_penalty((p.abs() ** 1.5 for p in parameters), weight_decay)


def distance_from_one(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return l2_penalty((p - 1 for p in parameters), weight_decay)


def vectors_only(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return l2_penalty((p for p in parameters if p.dim() == 1), weight_decay)


def through_the_data(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    parameters = list(parameters)
    value = l2_penalty((p.data for p in parameters), weight_decay)
    return value + 0 * sum(p.sum() for p in parameters)


def needs_a_list(parameters: Any, weight_decay: float) -> Tensor:
    return l2_penalty([parameters[i] for i in range(len(parameters))], weight_decay)


def shrinks_the_parameters(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    parameters = list(parameters)
    penalty = l2_penalty(parameters, weight_decay)
    for parameter in parameters:
        parameter.data.mul_(1 - weight_decay)
    return penalty


def weight_decay_added(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return l2_penalty(parameters, 1.0) + weight_decay


@pytest.mark.parametrize(
    "wrong",
    [
        number,
        of_shape_1,
        one_for_each,
        quarter,
        norm_of_everything,
        cubes,
        distance_from_one,
        vectors_only,
        through_the_data,
        needs_a_list,
        shrinks_the_parameters,
        weight_decay_added,
    ],
)
def test_a_wrong_penalty_outside_the_catalogue_loses_points(wrong: Any, assert_rejected) -> None:
    assert_rejected(check_l2_penalty, wrong)


# --- early stopping: the reference ----------------------------------------------------------------

LOSSES = st.lists(
    st.one_of(st.integers(-8, 8).map(lambda n: n / 4), st.just(math.nan), st.just(math.inf)),
    max_size=30,
)


def by_definition(losses: list[float], patience: int, min_delta: float) -> list[tuple]:
    """Return what is asked for after each loss, from the list of all losses so far."""
    records, after = [-1], []
    best = math.inf
    for i, loss in enumerate(losses):
        if best - loss > min_delta:
            best = loss
            records.append(i)
        last = records[-1]
        after.append((i - last >= patience, best, None if last < 0 else last, i - last))
    return after


@given(LOSSES, st.integers(1, 6), st.sampled_from([0.0, 0.25, 1.0]), st.booleans())
def test_early_stopping_follows_its_definition(
    losses: list[float], patience: int, min_delta: float, tensors: bool
) -> None:
    stopping = EarlyStopping(patience, min_delta)
    after = []
    for loss in losses:
        answer = stopping.step(torch.tensor(loss) if tensors else loss)
        assert type(answer) is bool
        after.append((answer, stopping.best, stopping.best_step, stopping.wait))
    assert after == by_definition(losses, patience, min_delta)
    assert stopping.steps == len(losses)
    assert type(stopping.best) is float


def test_the_defaults_are_a_patience_of_5_and_no_min_delta() -> None:
    stopping = EarlyStopping()
    assert (stopping.patience, stopping.min_delta) == (5, 0.0)
    assert [stopping.step(loss) for loss in (1, 1, 1, 1, 1, 1)] == [False] * 5 + [True]


@pytest.mark.parametrize("options", [{"patience": 0}, {"patience": -1}, {"min_delta": -0.1}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        EarlyStopping(**options)


def test_nothing_is_restored_where_nothing_was_kept() -> None:
    stopping = EarlyStopping()
    stopping.step(1.0)
    stopping.step(math.nan, nn.Linear(2, 2))
    assert stopping.best_state is None
    with pytest.raises(RuntimeError, match="no state"):
        stopping.restore(nn.Linear(2, 2))


def test_the_best_model_of_a_real_training_run_is_restored() -> None:
    generator = Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    x, y, x_val, y_val = (torch.randn(n, d, generator=generator) for n in (16, 40) for d in (3, 1))
    optimizer, stopping = torch.optim.Adam(model.parameters(), lr=0.1), EarlyStopping(patience=3)

    def validate() -> Tensor:
        model.eval()
        with torch.no_grad():
            return (model(x_val) - y_val).square().mean()

    for _ in range(200):
        model.train()
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
        if stopping.step(validate(), model):
            break
    assert stopping.wait == 3
    assert validate().item() != stopping.best
    stopping.restore(model)
    assert validate().item() == stopping.best


# --- early stopping: wrong solutions --------------------------------------------------------------


class CountsEveryLoss(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        super().step(loss, model)
        return self.steps >= self.patience


class FixedPatience(EarlyStopping):
    def __init__(self, patience: int = 5, min_delta: float = 0.0) -> None:
        super().__init__(5, min_delta)


class DefaultPatienceOfTen(EarlyStopping):
    def __init__(self, patience: int = 10, min_delta: float = 0.0) -> None:
        super().__init__(patience, min_delta)


class WaitHalvesAfterAnImprovement(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        before = self.wait
        answer = super().step(loss, model)
        if self.wait == 0:
            self.wait = before // 2
        return answer


class StopsForGood(EarlyStopping):
    stopped = False

    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        self.stopped = super().step(loss, model) or self.stopped
        return self.stopped


class NanStopsAtOnce(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        return super().step(loss, model) or bool(loss != loss)


class NanIsSkipped(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        return False if loss != loss else super().step(loss, model)


class StartsFromZero(EarlyStopping):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.best = 0.0


class TakesAbsoluteValues(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        return super().step(abs(loss), model)


class BestStepIsTheLast(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        answer = super().step(loss, model)
        self.best_step = self.steps - 1
        return answer


class ReturnsTheCount(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        super().step(loss, model)
        return self.wait


class KeepsAShallowCopy(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        answer = super().step(loss, model)
        if self.wait == 0 and model is not None:
            self.best_state = copy(model.state_dict())
        return answer


class RestoresAtOnce(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        answer = super().step(loss, model)
        if answer and model is not None:
            self.restore(model)
        return answer


class RestoresOnce(EarlyStopping):
    def restore(self, model: nn.Module) -> None:
        if self.best_state:
            super().restore(model)
            self.best_state = {}


class RestoresTheFirstOnly(EarlyStopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> Any:
        return super().step(loss, model if self.steps == 0 else None)


class BuffersOnly(EarlyStopping):
    def restore(self, model: nn.Module) -> None:
        assert self.best_state is not None
        names = dict(model.named_buffers())
        model.load_state_dict(
            {k: v for k, v in self.best_state.items() if k in names}, strict=False
        )


@pytest.mark.parametrize(
    "wrong",
    [
        CountsEveryLoss,
        FixedPatience,
        DefaultPatienceOfTen,
        WaitHalvesAfterAnImprovement,
        StopsForGood,
        NanStopsAtOnce,
        NanIsSkipped,
        StartsFromZero,
        TakesAbsoluteValues,
        BestStepIsTheLast,
        ReturnsTheCount,
        KeepsAShallowCopy,
        RestoresAtOnce,
        RestoresOnce,
        RestoresTheFirstOnly,
        BuffersOnly,
    ],
)
def test_a_wrong_early_stopping_outside_the_catalogue_loses_points(
    wrong: Callable, assert_rejected
) -> None:
    assert_rejected(check_early_stopping, wrong)
