"""The reference of ``stability`` against torch; wrong solutions that no catalogue lists."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from course_lib import stability as own
from course_lib.checks.stability import (
    check_clip_norm,
    check_clip_value,
    check_lr_range_test,
    check_step_decay,
    check_warmup_cosine,
)

INF, NAN = math.inf, math.nan
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
FACTORIES = {"list": list, "tuple": tuple, "generator": iter}

cuda = pytest.mark.cuda
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@st.composite
def gradients(draw: st.DrawFn) -> list[Tensor | None]:
    """Draw gradients of any shape, some missing, some not contiguous."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    scale = draw(st.sampled_from([1e-6, 1e-2, 1.0, 1e3]))
    shapes = draw(st.lists(st.lists(st.integers(1, 4), max_size=3), max_size=5))
    made = [scale * torch.randn(shape, generator=rng, dtype=dtype) for shape in shapes]
    made = [grad.permute(tuple(reversed(range(grad.dim())))) for grad in made]
    return [None if draw(st.integers(0, 4)) == 0 else grad for grad in made]


def parameters_with(grads: list[Tensor | None], device: str = "cpu") -> list[Tensor]:
    params = []
    for grad in grads:
        like = torch.zeros(3) if grad is None else grad
        params.append(torch.ones_like(like, device=device, requires_grad=True))
        params[-1].grad = None if grad is None else grad.clone().to(device)
    return params


def assert_same(got: Any, expected: Any) -> None:
    exact = isinstance(expected, Tensor) and expected.dtype == torch.float64
    options = {"rtol": 1e-10, "atol": 1e-12} if exact else {}
    torch.testing.assert_close(got, expected, equal_nan=True, **options)


def assert_clips_as_torch(
    grads: list[Tensor | None], *args: Any, device: str = "cpu", **options: Any
) -> None:
    mine, theirs = parameters_with(grads, device), parameters_with(grads, device)
    assert_same(
        own.clip_grad_norm_(iter(mine), *args, **options),
        torch.nn.utils.clip_grad_norm_(theirs, *args, **options),
    )
    for param, expected in zip(mine, theirs, strict=True):
        assert_same(param.grad, expected.grad)


# --- clipping -------------------------------------------------------------------------------------


@given(gradients(), st.floats(0.01, 10), st.sampled_from([2.0, 1.0, 3.0, 1.5, INF]))
def test_clip_grad_norm_agrees_with_torch(grads: list, max_norm: float, order: float) -> None:
    assert_clips_as_torch(grads, max_norm)
    assert_clips_as_torch(grads, max_norm, order)


@given(gradients(), st.floats(0.01, 10))
def test_the_norm_after_clipping_is_at_most_max_norm(grads: list, max_norm: float) -> None:
    params = parameters_with(grads)
    before = own.clip_grad_norm_(params, max_norm)
    after = own.clip_grad_norm_(params, INF)
    assert after <= max_norm * 1.0001
    if before <= max_norm * 0.999:
        assert after == before


@given(gradients(), st.floats(0.01, 10))
def test_clip_grad_value_agrees_with_torch(grads: list, clip_value: float) -> None:
    mine, theirs = parameters_with(grads), parameters_with(grads)
    assert own.clip_grad_value_(iter(mine), clip_value) is None
    if any(param.grad is not None for param in theirs):  # torch fails where there is none
        torch.nn.utils.clip_grad_value_(theirs, clip_value)
    for param, expected in zip(mine, theirs, strict=True):
        assert_same(param.grad, expected.grad)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_works_in_every_dtype(dtype: torch.dtype) -> None:
    grads = [torch.tensor([3.0, -4.0], dtype=dtype), torch.tensor(12.0, dtype=dtype)]
    assert_clips_as_torch(grads, 6.5)
    assert_clips_as_torch(grads, 6.5, INF)


def test_several_dtypes_have_one_norm_in_the_widest() -> None:
    grads = [torch.tensor([3.0]).bfloat16(), torch.tensor([4.0]), torch.tensor([12.0]).double()]
    assert_clips_as_torch(grads, 6.5)
    assert own.clip_grad_norm_(parameters_with(grads), 1.0).dtype == torch.float64


@pytest.mark.parametrize("bad", [[INF, 1.0], [1.0, -INF], [NAN, 2.0], [INF, NAN]])
@pytest.mark.parametrize("order", [1.0, 2.0, INF])
def test_a_norm_that_is_not_finite_is_treated_as_in_torch(bad: list[float], order: float) -> None:
    grads = [torch.tensor([1.0, 2.0]), torch.tensor(bad)]
    assert_clips_as_torch(grads, 1.0, order)
    for source in (own, torch.nn.utils):
        params = parameters_with(grads)
        with pytest.raises(RuntimeError, match="norm"):
            source.clip_grad_norm_(params, 1.0, order, error_if_nonfinite=True)
        assert_same(params[0].grad, grads[0])
        assert_same(params[1].grad, grads[1])


@pytest.mark.parametrize("grads", [[], [None], [None, None]])
def test_without_gradients_the_norm_is_0(grads: list) -> None:
    assert_clips_as_torch(grads, 1.0)
    own.clip_grad_value_(parameters_with(grads), 1.0)


def test_a_parameter_without_elements_changes_nothing() -> None:
    assert_clips_as_torch([torch.zeros(0, 3), torch.tensor([3.0, 4.0])], 1.0)


@pytest.mark.parametrize("factory", FACTORIES)
def test_parameters_come_as_any_iterable_or_one_tensor(factory: str) -> None:
    params = parameters_with([torch.tensor([3.0]), torch.tensor([4.0])])
    assert own.clip_grad_norm_(FACTORIES[factory](params), 1.0) == 5
    assert [round(param.grad.item(), 4) for param in params] == [0.6, 0.8]
    own.clip_grad_value_(FACTORIES[factory](params), 0.7)
    assert [round(param.grad.item(), 4) for param in params] == [0.6, 0.7]
    (one,) = parameters_with([torch.tensor([3.0, 4.0])])
    assert own.clip_grad_norm_(one, 1.0) == 5
    own.clip_grad_value_(one, 0.7)
    torch.testing.assert_close(one.grad, torch.tensor([0.6, 0.7]))


def test_a_norm_type_in_words_and_a_max_norm_as_tensor_are_understood_as_in_torch() -> None:
    assert_clips_as_torch([torch.tensor([3.0, -4.0])], 1.0, "inf")
    assert_clips_as_torch([torch.tensor([3.0, -4.0])], torch.tensor(1.0))


def test_the_gradient_changes_in_place_and_nothing_is_added_to_the_graph() -> None:
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    (grad,) = torch.autograd.grad((weight**2).sum(), weight, create_graph=True)
    weight.grad = grad
    norm = own.clip_grad_norm_(weight, 1.0)
    own.clip_grad_value_(weight, 0.7)
    assert weight.grad is grad
    assert not norm.requires_grad
    torch.testing.assert_close(weight.grad.detach(), torch.tensor([0.6, 0.7]))


@pytest.mark.parametrize("name", ["clip_grad_norm_", "clip_grad_value_"])
def test_a_signature_is_that_of_torch_without_foreach(name: str) -> None:
    def arguments(function: Callable) -> list[tuple]:
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.default, p.kind) for p in parameters if p.name != "foreach"]

    assert arguments(getattr(own, name)) == arguments(getattr(torch.nn.utils, name))


@cuda
@needs_cuda
def test_clipping_works_on_cuda() -> None:
    grads = [torch.tensor([3.0, -4.0]), None, torch.tensor([12.0])]
    assert_clips_as_torch(grads, 1.0, device="cuda")
    params = parameters_with(grads, "cuda")
    assert own.clip_grad_norm_(params, 1.0).is_cuda
    own.clip_grad_value_(params, 0.1)
    assert max(param.grad.abs().max() for param in params if param.grad is not None) <= 0.1


# --- schedules ------------------------------------------------------------------------------------


def rates_of_torch(scheduler: Callable, count: int, lr: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    schedule = scheduler(optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@given(st.floats(1e-5, 2), st.integers(2, 12), st.integers(1, 20), st.floats(0, 1))
def test_warmup_cosine_is_linear_then_cosine_as_in_torch(
    max_lr: float, warmup: int, length: int, share: float
) -> None:
    min_lr = share * max_lr
    linear = rates_of_torch(
        lambda optimizer: torch.optim.lr_scheduler.LinearLR(
            optimizer, start_factor=1 / warmup, total_iters=warmup - 1
        ),
        warmup,
        max_lr,
    )
    cosine = rates_of_torch(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length, min_lr),
        length + 1,
        max_lr,
    )
    options = {"max_lr": max_lr, "warmup_steps": warmup, "max_steps": warmup + length}
    got = [own.warmup_cosine(s, **options, min_lr=min_lr) for s in range(warmup + length + 3)]
    assert got == pytest.approx([*linear, *cosine, min_lr, min_lr], rel=1e-9, abs=1e-12)
    assert all(isinstance(rate, float) for rate in got)


@given(st.integers(0, 9), st.integers(0, 9), st.floats(0, 0.5))
def test_warmup_cosine_has_its_peak_and_its_end_where_it_says(
    warmup: int, length: int, min_lr: float
) -> None:
    options = {"max_lr": 0.5, "warmup_steps": warmup, "max_steps": warmup + length}
    rates = [own.warmup_cosine(step, **options, min_lr=min_lr) for step in range(warmup + length)]
    assert all(0 < rate <= 0.5 for rate in rates) or not length or min_lr == 0
    if warmup:
        assert rates[0] == 0.5 / warmup
        assert rates[warmup - 1] == 0.5
    if length:
        assert rates[warmup] == 0.5
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert own.warmup_cosine(warmup + length, **options, min_lr=min_lr) == min_lr
    assert own.warmup_cosine(10**6, **options) == 0


@given(st.floats(1e-5, 2), st.integers(1, 6), st.floats(0.05, 1.5))
def test_step_decay_agrees_with_torch(lr: float, step_size: int, gamma: float) -> None:
    expected = rates_of_torch(
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size, gamma), 20, lr
    )
    got = [own.step_decay(step, lr=lr, step_size=step_size, gamma=gamma) for step in range(20)]
    assert got == pytest.approx(expected, rel=1e-10)
    by_default = own.step_decay(step_size, lr=lr, step_size=step_size)
    assert by_default == pytest.approx(0.1 * lr, rel=1e-12)


@pytest.mark.parametrize(
    ("schedule", "arguments"),
    [
        (own.warmup_cosine, {"step": -1, "max_lr": 1.0, "warmup_steps": 1, "max_steps": 2}),
        (own.warmup_cosine, {"step": 0, "max_lr": 1.0, "warmup_steps": -1, "max_steps": 2}),
        (own.warmup_cosine, {"step": 0, "max_lr": 1.0, "warmup_steps": 3, "max_steps": 2}),
        (own.step_decay, {"step": -1, "lr": 1.0, "step_size": 1}),
        (own.step_decay, {"step": 0, "lr": 1.0, "step_size": 0}),
    ],
)
def test_a_schedule_that_makes_no_sense_is_a_value_error(
    schedule: Callable, arguments: dict
) -> None:
    with pytest.raises(ValueError, match="got"):
        schedule(**arguments)


# --- the range test -------------------------------------------------------------------------------


@given(st.floats(1e-8, 1e-2), st.floats(0.1, 10), st.integers(2, 50))
def test_the_rates_are_a_geometric_sequence_from_end_to_end(
    low: float, high: float, steps: int
) -> None:
    tried: list[float] = []

    def train_step(lr: float) -> float:
        tried.append(lr)
        return 1.0

    lrs, losses = own.lr_range_test(train_step, min_lr=low, max_lr=high, steps=steps)
    assert lrs == tried
    assert losses == [1.0] * steps
    assert lrs == pytest.approx(
        torch.logspace(math.log10(low), math.log10(high), steps, dtype=torch.float64).tolist(),
        rel=1e-9,
    )


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=12), st.floats(1.5, 10))
def test_the_test_ends_with_the_first_loss_above_the_limit(
    planned: list[float], diverge: float
) -> None:
    losses = iter(planned)
    lrs, recorded = own.lr_range_test(lambda lr: next(losses), steps=len(planned), diverge=diverge)
    assert recorded == planned[: len(recorded)]
    assert len(lrs) == len(recorded)
    over = [loss > diverge * min(planned[: i + 1]) for i, loss in enumerate(planned)]
    assert len(recorded) == (over.index(True) + 1 if any(over) else len(planned))


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_loss_that_is_not_finite_ends_the_test(bad: float) -> None:
    losses = iter([1.0, bad, 1.0])
    lrs, recorded = own.lr_range_test(lambda lr: next(losses))
    assert len(lrs) == len(recorded) == 2


def test_gradient_descent_on_a_parabola_diverges_behind_2_over_its_curvature() -> None:
    point, curvature = torch.tensor(1.0), 4.0

    def train_step(lr: float) -> float:
        nonlocal point
        loss = curvature * point.square().item() / 2
        point = point - lr * curvature * point
        return loss

    lrs, losses = own.lr_range_test(train_step, min_lr=1e-3)
    assert len(lrs) < 100
    assert losses[-1] > 4 * min(losses)
    assert lrs[losses.index(min(losses))] < 2.5 * 2 / curvature


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_lr": 0.0},
        {"min_lr": -1.0},
        {"min_lr": 1.0, "max_lr": 1.0},
        {"min_lr": 2.0, "max_lr": 1.0},
        {"steps": 1},
        {"diverge": 1.0},
    ],
)
def test_a_range_that_makes_no_sense_is_a_value_error(arguments: dict) -> None:
    with pytest.raises(ValueError, match="got"):
        own.lr_range_test(lambda lr: 1.0, **arguments)


# --- wrong solutions: clip_grad_norm_ -------------------------------------------------------------


def gradients_of(parameters: Any) -> list[Tensor]:
    several = [parameters] if isinstance(parameters, Tensor) else parameters
    return [param.grad for param in several if param.grad is not None]


def by_norm(
    total_of: Callable = lambda grads, order: torch.cat([g.flatten() for g in grads]).norm(order),
    factor_of: Callable = lambda total, limit: (limit / (total + 1e-6)).clamp(max=1),
    chosen: Callable = gradients_of,
    change: Callable = lambda grad, factor: grad.mul_(factor),
    none: Any = None,
    raises: Callable = lambda total: not total.isfinite(),
    error: type[Exception] = RuntimeError,
) -> Callable:
    """Return a clipping function that is right but for the piece that is given."""

    def clip(
        parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
    ) -> Any:
        grads = chosen(parameters)
        if not grads:
            return torch.tensor(0.0) if none is None else none
        total = total_of(grads, norm_type)
        if error_if_nonfinite and raises(total):
            raise error("not finite")
        for grad in grads:
            change(grad, factor_of(total, max_norm))
        return total

    return clip


def two_norm_of_norms(grads: list[Tensor], order: float) -> Tensor:
    return torch.stack([grad.norm(order) for grad in grads]).norm()


def one_norm_of_norms(grads: list[Tensor], order: float) -> Tensor:
    return torch.stack([grad.norm(order) for grad in grads]).norm(1 if order == INF else order)


def norm_over_rows(grads: list[Tensor], order: float) -> Tensor:
    rows = [grad.norm(order, dim=-1).flatten() if grad.dim() else grad[None] for grad in grads]
    return torch.cat(rows).norm(2 if order == 1 else order)


def matrices_only(parameters: Any) -> list[Tensor]:
    return [grad for grad in gradients_of(parameters) if grad.dim() > 0]


def until_the_first_none(parameters: Any) -> list[Tensor]:
    grads = []
    for param in [parameters] if isinstance(parameters, Tensor) else parameters:
        if param.grad is None:
            break
        grads.append(param.grad)
    return grads


def copies(parameters: Any) -> list[Tensor]:
    return [grad.clone() for grad in gradients_of(parameters)]


def different_shapes_once(parameters: Any) -> list[Tensor]:
    return list({grad.shape: grad for grad in gradients_of(parameters)}.values())


WRONG_CLIP_NORM = {
    "eps too large": by_norm(factor_of=lambda total, limit: (limit / (total + 1e-3)).clamp(max=1)),
    "eps beside the limit": by_norm(
        factor_of=lambda total, limit: ((limit + 1e-6) / total).clamp(max=1)
    ),
    "root of the factor": by_norm(
        factor_of=lambda total, limit: (limit / total).clamp(max=1).sqrt()
    ),
    "clips at half": by_norm(factor_of=lambda total, limit: (limit / total / 2).clamp(max=1)),
    "one step always": by_norm(factor_of=lambda total, limit: 1 / (total + 1e-6).clamp(min=1)),
    "nan for zeros": by_norm(
        factor_of=lambda total, limit: (limit * total / total**2).clamp(max=1)
    ),
    "sum of norms of order 1": by_norm(total_of=one_norm_of_norms),
    "norm over rows": by_norm(total_of=norm_over_rows),
    "shape (1,)": by_norm(total_of=lambda grads, order: two_norm_of_norms(grads, order)[None]),
    "float64": by_norm(
        total_of=lambda grads, order: torch.cat([g.flatten() for g in grads]).norm(order).double()
    ),
    "matrices only": by_norm(chosen=matrices_only),
    "until the first None": by_norm(chosen=until_the_first_none),
    "copies": by_norm(chosen=copies),
    "each shape once": by_norm(chosen=different_shapes_once),
    "needs contiguous": by_norm(change=lambda grad, factor: grad.view(-1).mul_(factor)),
    "divides": by_norm(change=lambda grad, factor: grad.div_(factor)),
    "subtracts": by_norm(change=lambda grad, factor: grad.sub_(factor)),
    "rounds": by_norm(change=lambda grad, factor: grad.mul_(factor).mul_(100).round_().div_(100)),
    "number for none": by_norm(none=0.0),
    "raises for nan only": by_norm(raises=lambda total: total.isnan()),
    "raises for inf only": by_norm(raises=lambda total: total.isinf()),
    "value error": by_norm(error=ValueError),
}


def test_the_pieces_of_the_wrong_ones_are_right_together() -> None:
    for seed in range(10):
        assert check_clip_norm(by_norm(), seed=seed).passed


@pytest.mark.parametrize("name", WRONG_CLIP_NORM)
def test_a_wrong_clip_by_norm_outside_the_catalogue_loses_points(
    name: str, assert_rejected: Callable
) -> None:
    assert_rejected(check_clip_norm, WRONG_CLIP_NORM[name])


# --- wrong solutions: clip_grad_value_ ------------------------------------------------------------


def by_value(
    clipped: Callable = lambda grad, limit: grad.clamp(-limit, limit),
    chosen: Callable = gradients_of,
) -> Callable:
    def clip(parameters: Any, clip_value: float) -> None:
        for grad in chosen(parameters):
            grad.copy_(clipped(grad, clip_value))

    return clip


WRONG_CLIP_VALUE = {
    "limit halved": by_value(lambda grad, limit: grad.clamp(-limit / 2, limit / 2)),
    "limit 1": by_value(lambda grad, limit: grad.clamp(-1, 1)),
    "sign only": by_value(lambda grad, limit: grad.sign() * limit),
    "tanh": by_value(lambda grad, limit: limit * (grad / limit).tanh()),
    "wraps": by_value(lambda grad, limit: (grad + limit) % (2 * limit) - limit),
    "swapped": by_value(
        lambda grad, limit: torch.where(grad.abs() > limit, -limit * grad.sign(), grad)
    ),
    "small become limit": by_value(lambda grad, limit: grad.sign() * grad.abs().clamp(min=limit)),
    "infinite becomes 0": by_value(
        lambda grad, limit: grad.nan_to_num(0, 0, 0).clamp(-limit, limit)
    ),
    "rows": by_value(
        lambda grad, limit: (
            grad * (limit / grad.abs().amax(-1, keepdim=True)).clamp(max=1) if grad.dim() else grad
        )
    ),
    "copies": by_value(chosen=copies),
    "until the first None": by_value(chosen=until_the_first_none),
    "matrices only": by_value(chosen=matrices_only),
}


@pytest.mark.parametrize("name", WRONG_CLIP_VALUE)
def test_a_wrong_clip_by_value_outside_the_catalogue_loses_points(
    name: str, assert_rejected: Callable
) -> None:
    assert check_clip_value(by_value()).passed
    assert_rejected(check_clip_value, WRONG_CLIP_VALUE[name])


# --- wrong solutions: schedules -------------------------------------------------------------------


def schedule(
    warm: Callable = lambda step, w: (step + 1) / w,
    shape: Callable = lambda progress: (1 + math.cos(math.pi * progress)) / 2,
    end: Callable = lambda max_lr, min_lr: min_lr,
    default: float = 0.0,
) -> Callable:
    def rate(
        step: int, *, max_lr: float, warmup_steps: int, max_steps: int, min_lr: float = default
    ) -> float:
        if step < warmup_steps:
            return max_lr * warm(step, warmup_steps)
        if step >= max_steps:
            return end(max_lr, min_lr)
        progress = (step - warmup_steps) / (max_steps - warmup_steps)
        return min_lr + (max_lr - min_lr) * shape(progress)

    return rate


def shifted(by: int) -> Callable:
    return lambda step, **options: own.warmup_cosine(max(step + by, 0), **options)


def rounded(step: int, **options: Any) -> float:
    return round(own.warmup_cosine(step, **options), 3)


def ends_late(step: int, **options: Any) -> float:
    return own.warmup_cosine(step, **{**options, "max_steps": options["max_steps"] + 1})


def length_after_warmup(step: int, **options: Any) -> float:
    total = options["max_steps"] + options["warmup_steps"]
    return own.warmup_cosine(step, **{**options, "max_steps": total})


def no_warmup_at_least_one(step: int, **options: Any) -> float:
    return own.warmup_cosine(step, **{**options, "warmup_steps": options["warmup_steps"] or 1})


WRONG_WARMUP_COSINE = {
    "warm-up over w + 1": schedule(warm=lambda step, w: (step + 1) / (w + 1)),
    "warm-up over w - 1": schedule(warm=lambda step, w: step / max(w - 1, 1)),
    "quadratic warm-up": schedule(warm=lambda step, w: ((step + 1) / w) ** 2),
    "exponential": schedule(shape=lambda progress: 0.01**progress),
    "parabola": schedule(shape=lambda progress: (1 - progress) ** 2),
    "square root": schedule(shape=lambda progress: (1 - progress) ** 0.5),
    "sine": schedule(shape=lambda progress: 1 - math.sin(math.pi / 2 * progress)),
    "whole period": schedule(shape=lambda progress: (1 + math.cos(2 * math.pi * progress)) / 2),
    "squared cosine": schedule(
        shape=lambda progress: ((1 + math.cos(math.pi * progress)) / 2) ** 2
    ),
    "pi is 3": schedule(shape=lambda progress: (1 + math.cos(3.14 * progress)) / 2),
    "ends at the peak": schedule(end=lambda max_lr, min_lr: max_lr),
    "default min_lr": schedule(default=1e-4),
    "one ahead": shifted(1),
    "one behind": shifted(-1),
    "rounded": rounded,
    "ends late": ends_late,
    "length after the warm-up": length_after_warmup,
    "no warm-up is one step": no_warmup_at_least_one,
}


@pytest.mark.parametrize("name", WRONG_WARMUP_COSINE)
def test_a_wrong_warmup_cosine_outside_the_catalogue_loses_points(
    name: str, assert_rejected: Callable
) -> None:
    assert check_warmup_cosine(schedule()).passed
    assert_rejected(check_warmup_cosine, WRONG_WARMUP_COSINE[name])


def stairs(factor: Callable, default: float = 0.1) -> Callable:
    def rate(step: int, *, lr: float, step_size: int, gamma: float = default) -> float:
        return lr * factor(step, step_size, gamma)

    return rate


WRONG_STEP_DECAY = {
    "default 0.5": stairs(lambda step, size, gamma: gamma ** (step // size), default=0.5),
    "rounds to nearest": stairs(lambda step, size, gamma: gamma ** round(step / size)),
    "one drop too many": stairs(lambda step, size, gamma: gamma ** (step // size + 1)),
    "twice as long": stairs(lambda step, size, gamma: gamma ** (step // (2 * size))),
    "1 - gamma": stairs(lambda step, size, gamma: (1 - gamma) ** (step // size)),
    "hyperbola": stairs(lambda step, size, gamma: gamma / (gamma + step // size)),
    "linear": stairs(lambda step, size, gamma: max(1 - (1 - gamma) * (step // size), 0.0)),
    "e to the power": stairs(lambda step, size, gamma: math.exp(-gamma * (step // size))),
    "drops double": stairs(lambda step, size, gamma: gamma ** (2 * (step // size))),
    "two drops at most": stairs(lambda step, size, gamma: gamma ** min(step // size, 2)),
    "constant": stairs(lambda step, size, gamma: 1.0),
}


@pytest.mark.parametrize("name", WRONG_STEP_DECAY)
def test_a_wrong_step_decay_outside_the_catalogue_loses_points(
    name: str, assert_rejected: Callable
) -> None:
    assert check_step_decay(stairs(lambda step, size, gamma: gamma ** (step // size))).passed
    assert_rejected(check_step_decay, WRONG_STEP_DECAY[name])


# --- wrong solutions: lr_range_test ---------------------------------------------------------------


def range_test(
    rate: Callable = lambda low, high, i, steps: low * (high / low) ** (i / (steps - 1)),
    goes_on: Callable = lambda losses, diverge: losses[-1] <= diverge * min(losses) < INF,
    kept: Callable = lambda losses: losses,
    defaults: tuple = (1e-7, 10.0, 100, 4.0),
) -> Callable:
    def test(
        train_step: Callable,
        *,
        min_lr: float = defaults[0],
        max_lr: float = defaults[1],
        steps: int = defaults[2],
        diverge: float = defaults[3],
    ) -> tuple:
        lrs: list[float] = []
        losses: list[float] = []
        for i in range(steps):
            lrs.append(rate(min_lr, max_lr, i, steps))
            losses.append(train_step(lrs[-1]))
            if not goes_on(losses, diverge):
                break
        return lrs, kept(losses)

    return test


def smoothed(losses: list[float]) -> list[float]:
    return [sum(losses[: i + 1]) / (i + 1) for i in range(len(losses))]


WRONG_RANGE_TEST = {
    "quadratic": range_test(
        lambda low, high, i, steps: low + (high - low) * (i / (steps - 1)) ** 2
    ),
    "doubles": range_test(lambda low, high, i, steps: low * 2**i),
    "tenfold": range_test(lambda low, high, i, steps: min(low * 10**i, high)),
    "constant": range_test(lambda low, high, i, steps: low),
    "default min_lr": range_test(defaults=(1e-6, 10.0, 100, 4.0)),
    "default max_lr": range_test(defaults=(1e-7, 1.0, 100, 4.0)),
    "default steps": range_test(defaults=(1e-7, 10.0, 99, 4.0)),
    "default diverge": range_test(defaults=(1e-7, 10.0, 100, 3.0)),
    "at the limit": range_test(
        goes_on=lambda losses, d: losses[-1] < d * min(losses[:-1], default=INF)
    ),
    "largest so far": range_test(goes_on=lambda losses, d: losses[-1] <= d * max(losses)),
    "mean so far": range_test(
        goes_on=lambda losses, d: losses[-1] <= d * sum(losses) / len(losses)
    ),
    "added": range_test(goes_on=lambda losses, d: losses[-1] <= d + min(losses)),
    "one more": range_test(
        goes_on=lambda losses, d: len(losses) < 2 or losses[-2] <= d * min(losses[:-1]) < INF
    ),
    "twice in a row": range_test(
        goes_on=lambda losses, d: min(losses[-2:]) <= d * min(losses) < INF
    ),
    "smoothed": range_test(kept=smoothed),
    "best so far": range_test(
        kept=lambda losses: [min(losses[: i + 1]) for i in range(len(losses))]
    ),
    "no losses": range_test(kept=lambda losses: []),
}


@pytest.mark.parametrize("name", WRONG_RANGE_TEST)
def test_a_wrong_range_test_outside_the_catalogue_loses_points(
    name: str, assert_rejected: Callable
) -> None:
    assert check_lr_range_test(range_test()).passed
    assert_rejected(check_lr_range_test, WRONG_RANGE_TEST[name])
