"""The reference initialisers against torch's, number for number; wrong ones of no catalogue."""

import inspect
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch.nn import init

from course_lib import initialization as own
from course_lib.checking import Check
from course_lib.checks.initialization import (
    check_fans,
    check_kaiming_normal,
    check_kaiming_uniform,
    check_scaled_residual,
    check_xavier_normal,
    check_xavier_uniform,
)

XAVIER = ["xavier_uniform_", "xavier_normal_"]
KAIMING = ["kaiming_uniform_", "kaiming_normal_"]
NONLINEARITIES = [
    "linear",
    *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)),
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
]
SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=5)
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16])
SEEDS = st.integers(0, 2**32)
XAVIER_OPTIONS = st.fixed_dictionaries({}, optional={"gain": st.floats(1e-3, 1e3)})
KAIMING_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "a": st.one_of(st.floats(-5, 5), st.integers(-5, 5)),
        "mode": st.sampled_from(["fan_in", "fan_out", "FAN_OUT"]),
        "nonlinearity": st.sampled_from(NONLINEARITIES),
    },
)

every_initialiser = pytest.mark.parametrize("name", [*XAVIER, *KAIMING])
every_own_initialiser = pytest.mark.parametrize(
    "fill",
    [
        *(pytest.param(getattr(own, name), id=name) for name in [*XAVIER, *KAIMING]),
        pytest.param(partial(own.scaled_residual_, num_layers=3), id="scaled_residual_"),
    ],
)


def tensor_of(shape: list[int], dtype: torch.dtype, turned: bool) -> Tensor:
    """Return a tensor of a shape, not contiguous where it is turned."""
    if not turned:
        return torch.zeros(shape, dtype=dtype)
    reverse = tuple(reversed(range(len(shape))))
    return torch.zeros(shape[::-1], dtype=dtype).permute(reverse)


def assert_equal_to_torch(
    name: str, shape: list[int], dtype: torch.dtype, turned: bool, seed: int, options: dict
) -> None:
    tolerance = {"rtol": 1e-10, "atol": 0.0} if dtype == torch.float64 else {}
    filled = [
        getattr(module, name)(
            tensor_of(shape, dtype, turned), generator=Generator().manual_seed(seed), **options
        )
        for module in (own, init)
    ]
    torch.testing.assert_close(*filled, **tolerance)


# --- the reference --------------------------------------------------------------------------------


@given(SHAPES)
def test_fans_agree_with_torch(shape: list[int]) -> None:
    tensor = torch.empty(shape, device="meta")
    assert own.calculate_fan_in_and_fan_out(tensor) == init._calculate_fan_in_and_fan_out(tensor)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 4), (2, 3, 0)])
def test_fans_of_a_weight_without_elements_agree_with_torch(shape: tuple[int, ...]) -> None:
    tensor = torch.empty(shape)
    assert own.calculate_fan_in_and_fan_out(tensor) == init._calculate_fan_in_and_fan_out(tensor)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("param", [None, 0, 0.2, -3])
def test_gains_agree_with_torch(nonlinearity: str, param: Any) -> None:
    expected = init.calculate_gain(nonlinearity, param)  # type: ignore[arg-type]
    assert own.calculate_gain(nonlinearity, param) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("arguments", [("gelu",), ("leaky_relu", True), ("leaky_relu", "0.1")])
def test_gains_refuse_what_torch_refuses(arguments: tuple) -> None:
    for function in (own.calculate_gain, init.calculate_gain):
        with pytest.raises(ValueError, match=r"nonlinearity|negative.slope"):
            function(*arguments)  # type: ignore[operator]


@pytest.mark.parametrize("name", XAVIER)
@given(st.tuples(SHAPES, DTYPES, st.booleans(), SEEDS, XAVIER_OPTIONS))
def test_xavier_gives_the_numbers_of_torch(name: str, drawn: tuple) -> None:
    assert_equal_to_torch(name, *drawn)


@pytest.mark.parametrize("name", KAIMING)
@given(st.tuples(SHAPES, DTYPES, st.booleans(), SEEDS, KAIMING_OPTIONS))
def test_kaiming_gives_the_numbers_of_torch(name: str, drawn: tuple) -> None:
    assert_equal_to_torch(name, *drawn)


@given(SHAPES, SEEDS, st.integers(1, 100), st.floats(1e-3, 10))
def test_scaled_residual_is_a_normal_distribution(
    shape: list[int], seed: int, num_layers: int, std: float
) -> None:
    first, second = Generator().manual_seed(seed), Generator().manual_seed(seed)
    filled = own.scaled_residual_(torch.empty(shape).double(), num_layers, std, first)
    unit = torch.empty(shape).double().normal_(generator=second)
    torch.testing.assert_close(filled, unit * std * (2 * num_layers) ** -0.5, rtol=1e-10, atol=0)


def test_the_default_of_scaled_residual_is_gpt2s() -> None:
    fill = inspect.signature(own.scaled_residual_)
    assert fill.parameters["std"].default == 0.02
    tensor = own.scaled_residual_(torch.empty(300, 300), 12, generator=Generator().manual_seed(0))
    assert tensor.std().item() == pytest.approx(0.02 / math.sqrt(24), rel=0.01)


@every_initialiser
def test_the_signature_is_that_of_torch(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (own, init))
    assert list(ours.parameters) == list(theirs.parameters)
    assert [p.default for p in ours.parameters.values()] == [
        p.default for p in theirs.parameters.values()
    ]


@every_own_initialiser
def test_a_parameter_is_filled_in_place_without_a_graph(fill: Callable) -> None:
    parameter = torch.nn.Parameter(torch.zeros(4, 3))
    memory = parameter.data_ptr()
    assert fill(parameter) is parameter
    assert parameter.data_ptr() == memory
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert (parameter != 0).all()


@every_own_initialiser
def test_only_the_view_is_filled(fill: Callable) -> None:
    memory = torch.zeros(6, 8)
    fill(memory[1::2, ::2])
    assert (memory[1::2, ::2] != 0).all()
    assert memory.count_nonzero() == 12


@every_own_initialiser
def test_random_numbers_come_from_the_given_generator_or_torchs(fill: Callable) -> None:
    generator, before = Generator().manual_seed(1), torch.get_rng_state()
    first = fill(torch.empty(4, 3), generator=generator).clone()
    assert not torch.equal(first, fill(torch.empty(4, 3), generator=generator))
    assert torch.equal(first, fill(torch.empty(4, 3), generator=generator.manual_seed(1)))
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert torch.equal(first, fill(torch.empty(4, 3)))
        assert not torch.equal(first, fill(torch.empty(4, 3)))


@every_initialiser
@pytest.mark.parametrize("shape", [(), (3,)])
def test_fewer_than_two_dimensions_are_refused(name: str, shape: tuple[int, ...]) -> None:
    for module in (own, init):
        with pytest.raises(ValueError, match="2 dimensions"):
            getattr(module, name)(torch.empty(shape))


@every_initialiser
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3), (0, 0), (0,)])
def test_a_tensor_without_elements_is_treated_as_torch_does(name: str, shape: tuple) -> None:
    results = []
    for module in (own, init):
        tensor = torch.empty(shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                results.append(getattr(module, name)(tensor) is tensor)
            except Exception as error:
                results.append(type(error))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", KAIMING)
@pytest.mark.parametrize("options", [{"mode": "fan_avg"}, {"nonlinearity": "gelu"}, {"a": True}])
def test_kaiming_refuses_what_torch_refuses(name: str, options: dict[str, Any]) -> None:
    for module in (own, init):
        with pytest.raises(ValueError, match=r"(?i)mode|nonlinearity|negative.slope"):
            getattr(module, name)(torch.empty(3, 4), **options)


def test_scaled_residual_needs_a_layer() -> None:
    with pytest.raises(ValueError, match="num_layers"):
        own.scaled_residual_(torch.empty(3, 4), 0)


def test_kaiming_keeps_the_second_moment_through_relu() -> None:
    generator = Generator().manual_seed(0)
    h = torch.randn(500, 512, generator=generator)
    for _ in range(10):
        weight = own.kaiming_normal_(
            torch.empty(512, 512), nonlinearity="relu", generator=generator
        )
        h = (h @ weight.T).relu()
    assert 0.7 < h.square().mean() < 1.4


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_initialiser
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_on_a_gpu_the_numbers_are_those_of_torch(name: str, dtype: torch.dtype) -> None:
    filled = [
        getattr(module, name)(
            torch.empty(40, 30, 3, device="cuda", dtype=dtype),
            generator=Generator("cuda").manual_seed(3),
        )
        for module in (own, init)
    ]
    assert filled[0].is_cuda
    torch.testing.assert_close(*filled)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scaled_residual_works_on_a_gpu() -> None:
    tensor = torch.empty(400, 400, device="cuda")
    assert own.scaled_residual_(tensor, 8) is tensor
    assert tensor.std().item() == pytest.approx(0.005, rel=0.05)


# --- wrong solutions ------------------------------------------------------------------------------

Fill = Callable[..., Tensor]


def changed(change: Callable[[Tensor], Any]) -> Callable[[Fill], Fill]:
    """Return what makes a wrong initialiser of a right one by a change of the filled tensor."""

    def wrong(right: Fill) -> Fill:
        def fill(tensor: Tensor, **options: Any) -> Any:
            right(tensor, **options)
            with torch.no_grad():
                change(tensor)
            return tensor

        return fill

    return wrong


def two_values(tensor: Tensor) -> None:
    tensor.copy_(tensor.sign() * tensor.double().std())


def clipped(tensor: Tensor) -> None:
    tensor.clamp_(-1.2 * tensor.double().std().item(), 1.2 * tensor.double().std().item())


def peaked(tensor: Tensor) -> None:
    cubes = tensor.double() ** 3
    tensor.copy_(cubes * tensor.double().std() / cubes.std())


def columns_twice(tensor: Tensor) -> None:
    half = tensor.shape[1] // 2
    tensor[:, half : 2 * half] = tensor[:, :half].clone()


def last_row_forgotten(tensor: Tensor) -> None:
    tensor[-1:] = 9.0


def half_are_zero(tensor: Tensor) -> None:
    tensor[::2] = 0
    tensor.mul_(math.sqrt(2))


def returns_the_data(right: Fill) -> Fill:
    return lambda tensor, **options: right(tensor, **options).data


def returns_a_flat_view(right: Fill) -> Fill:
    return lambda tensor, **options: right(tensor, **options).flatten()


def replaces_the_data(right: Fill) -> Fill:
    def fill(tensor: Tensor, **options: Any) -> Any:
        tensor.data = right(torch.empty(tensor.shape, dtype=tensor.dtype), **options)
        return tensor

    return fill


def needs_contiguous_memory(right: Fill) -> Fill:
    def fill(tensor: Tensor, **options: Any) -> Any:
        tensor.view(-1)
        return right(tensor, **options)

    return fill


def freezes_the_parameter(right: Fill) -> Fill:
    def fill(tensor: Tensor, **options: Any) -> Any:
        return right(tensor.requires_grad_(False), **options)

    return fill


def records_a_graph(right: Fill) -> Fill:
    def fill(tensor: Tensor, **options: Any) -> Any:
        tensor.copy_(right(torch.empty_like(tensor), **options))
        return tensor

    return fill


def seeds_from_the_clock(right: Fill) -> Fill:
    def fill(tensor: Tensor, **options: Any) -> Any:
        torch.seed()
        return right(tensor, **options)

    return fill


def hides_its_draws(right: Fill) -> Fill:
    def fill(tensor: Tensor, **options: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            return right(tensor, **options)

    return fill


def seeds_from_numpy(right: Fill) -> Fill:
    def fill(tensor: Tensor, **options: Any) -> Any:
        seed = int(np.random.default_rng().integers(2**31))
        return right(tensor, **{**options, "generator": Generator().manual_seed(seed)})

    return fill


def copies_the_generator(right: Fill) -> Fill:
    def fill(tensor: Tensor, **options: Any) -> Any:
        if options.get("generator"):
            options["generator"] = options["generator"].clone_state()
        return right(tensor, **options)

    return fill


WRONG_SPREAD: dict[str, Callable[[Fill], Fill]] = {
    "ten percent too wide": changed(lambda tensor: tensor.mul_(1.1)),
    "mean not zero": changed(lambda tensor: tensor.add_(0.3 * tensor.double().std().item())),
    "clipped": changed(clipped),
    "two values": changed(two_values),
    "peaked": changed(peaked),
    "columns twice": changed(columns_twice),
    "last row forgotten": changed(last_row_forgotten),
    "half are zero": changed(half_are_zero),
}
WRONG_MEMORY: dict[str, Callable[[Fill], Fill]] = {
    "returns the data": returns_the_data,
    "returns a flat view": returns_a_flat_view,
    "replaces the data": replaces_the_data,
    "needs contiguous memory": needs_contiguous_memory,
    "freezes the parameter": freezes_the_parameter,
    "records a graph": records_a_graph,
}
WRONG_RANDOM: dict[str, Callable[[Fill], Fill]] = {
    "seeds from the clock": seeds_from_the_clock,
    "hides its draws": hides_its_draws,
    "seeds from numpy": seeds_from_numpy,
    "copies the generator": copies_the_generator,
}
XAVIER_CHECKS = [
    (check_xavier_uniform, own.xavier_uniform_),
    (check_xavier_normal, own.xavier_normal_),
]
KAIMING_CHECKS = [
    (check_kaiming_uniform, own.kaiming_uniform_),
    (check_kaiming_normal, own.kaiming_normal_),
]
RESIDUAL_CHECK = (check_scaled_residual, own.scaled_residual_)


def checks(chosen: list[tuple[Check, Fill]]) -> Any:
    return pytest.mark.parametrize(
        ("check", "right"), [pytest.param(*pair, id=pair[0].exercise) for pair in chosen]
    )


@checks(XAVIER_CHECKS)
@pytest.mark.parametrize("wrong", WRONG_SPREAD)
def test_numbers_spread_in_another_way_lose_points(
    check: Check, right: Fill, wrong: str, assert_rejected
) -> None:
    assert_rejected(check, WRONG_SPREAD[wrong](right))


@checks([KAIMING_CHECKS[1], RESIDUAL_CHECK])
@pytest.mark.parametrize("wrong", WRONG_MEMORY)
def test_anything_but_filling_in_place_loses_points(
    check: Check, right: Fill, wrong: str, assert_rejected
) -> None:
    assert_rejected(check, WRONG_MEMORY[wrong](right))


@checks(KAIMING_CHECKS[:1])
@pytest.mark.parametrize("wrong", WRONG_RANDOM)
def test_random_numbers_from_elsewhere_lose_points(
    check: Check, right: Fill, wrong: str, assert_rejected
) -> None:
    assert_rejected(check, WRONG_RANDOM[wrong](right))


@checks(XAVIER_CHECKS)
@pytest.mark.parametrize(
    "other",
    [
        {"gain": math.sqrt(2)},
        {"gain": 0.9},
    ],
)
def test_another_default_of_xavier_loses_points(
    check: Check, right: Fill, other: dict, assert_rejected
) -> None:
    assert_rejected(check, lambda tensor, **options: right(tensor, **{**other, **options}))


@checks(KAIMING_CHECKS)
@pytest.mark.parametrize(
    "other",
    [
        {"a": math.sqrt(5)},
        {"mode": "fan_out"},
        {"nonlinearity": "linear"},
        {"nonlinearity": "tanh"},
    ],
)
def test_another_default_of_kaiming_loses_points(
    check: Check, right: Fill, other: dict, assert_rejected
) -> None:
    assert_rejected(check, lambda tensor, **options: right(tensor, **{**other, **options}))


@checks(KAIMING_CHECKS)
def test_a_slope_that_counts_for_every_nonlinearity_loses_points(
    check: Check, right: Fill, assert_rejected
) -> None:

    def wrong(tensor: Tensor, a: float = 0, **options: Any) -> Tensor:
        with torch.no_grad():
            return right(tensor, **options).div_(math.sqrt(1 + a**2))

    assert_rejected(check, wrong)


@pytest.mark.parametrize(
    "divisor",
    [
        lambda n: math.sqrt(2 * n + 1),
        lambda n: math.sqrt(n + 1),
        lambda n: 2 * n**0.25,
        lambda n: 1 + math.log(n),
        lambda n: math.sqrt(24),
    ],
)
def test_another_dependence_on_depth_loses_points(divisor: Callable, assert_rejected) -> None:
    def wrong(
        tensor: Tensor, num_layers: int, std: float = 0.02, generator: Generator | None = None
    ) -> Tensor:
        with torch.no_grad():
            return tensor.normal_(0, std / divisor(num_layers), generator=generator)

    assert_rejected(check_scaled_residual, wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda w: w.shape[:2], id="channels, as a size"),
        pytest.param(lambda w: (w.numel(), w.numel()), id="all elements"),
        pytest.param(lambda w: (w.shape[1] * w.dim(), w.shape[0] * w.dim()), id="dimensions"),
        pytest.param(lambda w: (w[0].numel(), w[0].numel()), id="fan in twice"),
        pytest.param(lambda w: (w[0].numel() / 1, w[:, 0].numel() / 1), id="floats"),
        pytest.param(lambda w: (w[0].numel() + 1, w[:, 0].numel() + 1), id="with the bias"),
        pytest.param(lambda w: sum(w.shape), id="one number"),
        pytest.param(lambda w: (w.shape[1] ** 2, w.shape[0] ** 2), id="squares"),
        pytest.param(
            lambda w: (w.shape[1] * w.shape[-1], w.shape[0] * w.shape[-1]), id="last side always"
        ),
        pytest.param(
            lambda w: (w.shape[1] * w.shape[-1] ** (w.dim() - 2), w.shape[0] * w.shape[-1]),
            id="square kernels only",
        ),
        pytest.param(lambda w: (w.shape[1], w.shape[0], 1), id="three numbers"),
    ],
)
def test_wrong_fans_outside_the_catalogue_lose_points(wrong: Callable, assert_rejected) -> None:
    assert_rejected(check_fans, wrong)
