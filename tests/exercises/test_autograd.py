"""The reference engine against torch's own; wrong ones that no catalogue lists."""

import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import autograd as own
from course_lib.checking import Check
from course_lib.checks import autograd as checks
from course_lib.checks.autograd import (
    check_arithmetic,
    check_backward_pass,
    check_functions,
    check_gradcheck,
    check_matmul,
    check_shape_operations,
    check_unbroadcast,
)

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
seeds = st.integers(0, 2**32)


def draw(seed: int, *shapes: tuple, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Draw tensors whose numbers are from 0.3 to 2 in size, every second one negative."""
    rng = torch.Generator().manual_seed(seed)
    drawn = []
    for shape in shapes:
        size = 0.3 + 1.7 * torch.rand(shape, generator=rng, dtype=torch.float64)
        sign = torch.randint(0, 2, shape, generator=rng) * 2 - 1
        drawn.append((size * sign).to(dtype))
    return drawn


def agrees(
    func: Callable,
    data: list[torch.Tensor],
    engine: type = own.Tensor,
    constants: tuple = (),
    **tolerances: float,
) -> None:
    """Assert that an engine and torch agree on a function's value and all its gradients."""
    before = [tensor.clone() for tensor in data]
    mine = [engine(tensor, requires_grad=i not in constants) for i, tensor in enumerate(data)]
    theirs = [
        tensor.detach().clone().requires_grad_(i not in constants) for i, tensor in enumerate(data)
    ]
    result, expected = func(*mine), func(*theirs)
    torch.testing.assert_close(result.data, expected.detach(), **tolerances)
    cotangent = torch.linspace(-1, 2, expected.numel(), dtype=expected.dtype)
    result.backward(cotangent.reshape(expected.shape))
    expected.backward(cotangent.reshape(expected.shape))
    for tensor, reference in zip(mine, theirs, strict=True):
        if reference.grad is None:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, reference.grad, **tolerances)
    assert all(map(torch.equal, data, before))


# --- the operations -------------------------------------------------------------------------------

BINARY = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
}
UNARY: dict[str, Callable] = {
    "-x": lambda x: -x,
    "2 + x": lambda x: 2 + x,
    "x - 2.5": lambda x: x - 2.5,
    "2.5 - x": lambda x: 2.5 - x,
    "0.3 * x": lambda x: 0.3 * x,
    "x / 3": lambda x: x / 3,
    "3 / x": lambda x: 3 / x,
    "x ** 2": lambda x: x**2,
    "x ** 3.0": lambda x: x**3.0,
    "x ** -2": lambda x: x**-2,
    "x ** 0": lambda x: x**0,
    "(x * x) ** 0.7": lambda x: (x * x) ** 0.7,
    "relu": lambda x: x.relu(),
    "exp": lambda x: x.exp(),
    "log": lambda x: (x * x).log(),
}
engines = pytest.mark.parametrize("engine", [own.Tensor, checks.Tensor], ids=["own", "oracle"])


@st.composite
def broadcastable(draw: st.DrawFn) -> tuple[tuple, tuple]:
    """Draw two shapes that broadcast together, sizes 0 and 1 included."""
    full = draw(st.lists(st.integers(0, 4), max_size=4))
    shapes = []
    for _ in range(2):
        start = draw(st.integers(0, len(full)))
        shapes.append(tuple(draw(st.sampled_from([1, n])) for n in full[start:]))
    return shapes[0], shapes[1]


@engines
@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=20)
@given(shapes=broadcastable(), seed=seeds, constant=st.sampled_from([(), (0,), (1,)]))
def test_arithmetic_of_two_tensors_agrees_with_torch(
    engine: type, name: str, shapes: tuple, seed: int, constant: tuple
) -> None:
    agrees(BINARY[name], draw(seed, *shapes), engine, constant, **TIGHT)


@engines
@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=10)
@given(shape=st.lists(st.integers(0, 4), max_size=3), seed=seeds)
def test_functions_and_numbers_agree_with_torch(
    engine: type, name: str, shape: list[int], seed: int
) -> None:
    agrees(UNARY[name], draw(seed, tuple(shape)), engine, **TIGHT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("name", [*BINARY, *UNARY])
def test_other_dtypes_agree_with_torch(name: str, shape: tuple, dtype: torch.dtype) -> None:
    func = BINARY.get(name) or UNARY[name]
    data = draw(3, *[shape] * len(inspect.signature(func).parameters), dtype=dtype)
    tolerances = {} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 3e-2}
    agrees(func, data, **tolerances)


@pytest.mark.parametrize("name", BINARY)
def test_operands_of_different_dtypes_get_gradients_of_their_own(name: str) -> None:
    (x,), (y,) = draw(0, (3, 2)), draw(1, (2,), dtype=torch.float32)
    agrees(BINARY[name], [x, y])
    agrees(BINARY[name], [y, x])


@pytest.mark.parametrize("name", BINARY)
def test_a_torch_tensor_is_a_constant_on_either_side(name: str) -> None:
    x, y = draw(2, (3, 1), (2, 1, 4))
    agrees(lambda x: BINARY[name](x, y), [x], **TIGHT)
    agrees(lambda x: BINARY[name](y, x), [x], **TIGHT)


def test_at_zero_the_derivatives_are_those_of_torch() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    for func in (lambda x: x.relu(), lambda x: x**0, lambda x: x**1, lambda x: x**2):
        agrees(func, [zero], **TIGHT)


def test_large_and_small_numbers_stay_finite_where_torch_is() -> None:
    x, y = torch.tensor([1e30, 1e-30]), torch.tensor([1e30, 1e-20])
    agrees(lambda x, y: x / y, [x, y])
    agrees(lambda x: x.relu().exp(), [torch.tensor([-1e4, -1e30, 50.0])])
    agrees(lambda x: x.log(), [torch.tensor([1e-30, 1e30])])


def test_a_tensor_is_no_exponent() -> None:
    x = own.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError):
        x**x


MATRICES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((4, 2, 3), (3,)),
    ((3,), (4, 3, 2)),
    ((4, 2, 3), (3, 5)),
    ((2, 3), (4, 3, 5)),
    ((4, 2, 3), (4, 3, 5)),
    ((1, 2, 3), (4, 3, 1)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((2, 3), (1, 1, 3, 2)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((1, 1), (1, 1)),
    ((1,), (1,)),
]


@engines
@pytest.mark.parametrize(("left", "right"), MATRICES)
@pytest.mark.parametrize("constant", [(), (0,), (1,)])
def test_matrix_products_agree_with_torch(
    engine: type, left: tuple, right: tuple, constant: tuple
) -> None:
    agrees(lambda x, y: x @ y, draw(5, left, right), engine, constant, **TIGHT)


@pytest.mark.parametrize(("left", "right"), [((), (3,)), ((2, 3), (2, 3)), ((2,), (3,))])
def test_matrices_that_do_not_fit_are_torchs_error(left: tuple, right: tuple) -> None:
    x, y = draw(0, left, right)
    with pytest.raises(RuntimeError):
        x @ y
    with pytest.raises(RuntimeError):
        own.Tensor(x, requires_grad=True) @ own.Tensor(y)
    with pytest.raises(TypeError):
        own.Tensor(x, requires_grad=True) @ 2


REDUCTIONS: list[tuple[tuple, Any]] = [
    *(((2, 3, 4), dim) for dim in (None, 0, 1, -1, (0, 2), (-1, 0), (1, 2, 0), ())),
    ((), None),
    ((), 0),
    ((), -1),
    ((1,), 0),
    ((0, 3), 0),
    ((0, 3), 1),
    ((3, 1), 1),
]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("shape", "dim"), REDUCTIONS)
@pytest.mark.parametrize("name", ["sum", "mean"])
def test_sums_and_means_agree_with_torch(name: str, shape: tuple, dim: Any, keepdim: bool) -> None:
    def func(x: Any) -> Any:
        return getattr(x, name)(dim, keepdim)

    tolerances = {} if 0 in shape else TIGHT
    if name == "mean" and 0 in shape:
        tolerances = {"equal_nan": True}
    agrees(func, draw(1, shape), **tolerances)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("reshape", (6, 4)),
        ("reshape", ((3, 8),)),
        ("reshape", (-1,)),
        ("reshape", (2, -1, 2)),
        ("transpose", (0, 1)),
        ("transpose", (-1, 0)),
        ("transpose", (1, 1)),
    ],
)
def test_other_shapes_agree_with_torch(name: str, arguments: tuple) -> None:
    x = draw(0, (4, 3, 2))[0].transpose(0, 2)
    agrees(lambda x: getattr(x, name)(*arguments), [x], **TIGHT)
    agrees(lambda x: (x * x).reshape(6, 4).T, [x], **TIGHT)


@given(shapes=broadcastable(), seed=seeds)
def test_unbroadcast_is_what_torch_does(shapes: tuple, seed: int) -> None:
    full = torch.broadcast_shapes(*shapes)
    grad = draw(seed, tuple(full))[0]
    for shape in shapes:
        summed = own.unbroadcast(grad, torch.Size(shape))
        torch.testing.assert_close(summed, grad.sum_to_size(shape), **TIGHT)


# --- the backward pass ----------------------------------------------------------------------------


@engines
@settings(max_examples=50)
@given(seed=seeds, length=st.integers(1, 25))
def test_a_random_program_agrees_with_torch(engine: type, seed: int, length: int) -> None:
    """Every step takes two of the tensors so far, so that tensors are reused at will."""
    rng = torch.Generator().manual_seed(seed)
    choices = torch.randint(0, 1 << 30, (length, 3), generator=rng).tolist()
    steps: list[Callable] = [
        lambda x, y: x + y,
        lambda x, y: x - 0.5 * y,
        lambda x, y: (x * y) / (1 + x * x + y * y),
        lambda x, y: (x @ y.transpose(0, 1)) @ y / 20,
        lambda x, y: x.relu() - y.mean(0),
        lambda x, y: x * (1 + (y * y).sum(1, keepdim=True)) ** -0.5,
        lambda x, y: (x / (2 + x * x)).exp() + y.reshape(-1).sum(),
    ]

    def func(*leaves: Any) -> Any:
        tensors = list(leaves)
        for operation, first, second in choices:
            x, y = tensors[first % len(tensors)], tensors[second % len(tensors)]
            value = steps[operation % len(steps)](x, y)
            tensors.append(value / (1 + (value * value).mean()))
        return tensors[-1] + leaves[0]

    agrees(func, draw(seed, (2, 3), (2, 3), (2, 3)), engine, rtol=1e-8, atol=1e-10)


def test_several_passes_and_retained_gradients_are_torchs() -> None:
    kept = []
    for engine in (own.Tensor, torch.tensor):
        x = engine([1.0, 2.0], requires_grad=True)
        a = 3 * x
        b = a * x
        a.retain_grad()
        options = {} if engine is own.Tensor else {"retain_graph": True}
        b.backward(torch.tensor([1.0, -2.0]), **options)
        b.backward(torch.tensor([0.5, 0.5]), **options)
        a.backward(torch.tensor([3.0, 4.0]), **options)
        kept.append((x.grad, a.grad, b.is_leaf, a.is_leaf, x.is_leaf, x.requires_grad))
    for mine, theirs in zip(*kept, strict=True):
        assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs


def test_the_example_of_the_book_is_7() -> None:
    x = own.Tensor(2.0, requires_grad=True)
    y = x**2 + 3 * x
    y.backward()
    assert y.item() == 10
    assert x.grad is not None
    assert x.grad.item() == 7


def test_a_leaf_can_be_gone_back_from() -> None:
    x = own.Tensor([[2.0]], requires_grad=True)
    x.backward()
    assert torch.equal(x.grad, torch.ones(1, 1))


@pytest.mark.parametrize("engine", [own.Tensor, torch.tensor])
def test_bad_starts_are_runtime_errors(engine: Any) -> None:
    x = engine([1.0, 2.0], requires_grad=True)
    for start, arguments in [
        (x * 2, ()),
        (x * 2, (torch.ones(3),)),
        (x * 2, (torch.ones(()),)),
        (engine([1.0]), ()),
    ]:
        with pytest.raises(RuntimeError):
            start.backward(*arguments)
    with pytest.raises(RuntimeError):
        engine([1, 2], requires_grad=True)


def test_what_needs_no_gradient_is_not_recorded() -> None:
    x, y = own.Tensor([1.0]), own.Tensor([2.0], requires_grad=True)
    assert not (x * x + 1).requires_grad
    assert (x * x).edges == ()
    assert [input for input, _ in (x * y).edges] == [y]
    assert not (y.detach() * 2).requires_grad
    assert y.detach().data.data_ptr() == y.data.data_ptr()


def test_data_share_storage_and_leave_torchs_engine() -> None:
    data = torch.ones(2, requires_grad=True)
    x = own.Tensor(data, requires_grad=True)
    assert not x.data.requires_grad
    assert x.data.data_ptr() == data.data_ptr()
    (x * data.detach()).sum().backward()
    assert data.grad is None
    x.zero_grad()
    assert x.grad is None


def test_gradients_are_contiguous_tensors_of_their_own() -> None:
    x, y = (own.Tensor(torch.ones(2, 3), requires_grad=True) for _ in range(2))
    gradient = torch.ones(2, 3)
    (x + y).backward(gradient)
    x.grad[0, 0] = 9
    assert torch.equal(y.grad, torch.ones(2, 3))
    assert torch.equal(gradient, torch.ones(2, 3))
    x.zero_grad()
    (x.sum()).backward()
    x.grad[0, 0] = 9
    assert x.grad.sum() == 14


def test_a_pass_takes_time_in_proportion_to_the_graph() -> None:
    def seconds(run: Callable) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
        return min(times)

    def chain() -> None:
        y = own.Tensor(1.0, requires_grad=True)
        for _ in range(2000):
            y = y + 1.0
        y.backward()

    def residual_blocks() -> None:
        x = y = own.Tensor(torch.ones(4), requires_grad=True)
        for _ in range(30):
            y = y + (0.1 * y).relu()
        y.sum().backward()
        torch.testing.assert_close(x.grad, torch.full((4,), 1.1**30))

    assert seconds(chain) < 0.2
    assert seconds(residual_blocks) < 0.05


def test_a_graph_may_be_deeper_than_any_recursion_limit() -> None:
    x = y = own.Tensor(1.0, requires_grad=True)
    for _ in range(50_000):
        y = y + 1.0
    y.backward()
    assert x.grad == 1
    del y


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_engine_works_with_torchs_own_off(mode: Any) -> None:
    with mode():
        x = own.Tensor(torch.ones(2, 2), requires_grad=True)
        (x @ x).mean().backward()
        (x @ x).mean().backward()
    assert torch.equal(x.grad, torch.full((2, 2), 2.0))


def test_an_operation_of_ones_own_takes_part() -> None:
    def sine(x: own.Tensor) -> own.Tensor:
        return x.from_operation(x.data.sin(), (x, lambda grad: grad * x.data.cos()))

    x = own.Tensor(draw(0, (3,))[0], requires_grad=True)
    assert own.gradcheck(lambda x: (sine(x) * x).exp(), x)
    assert isinstance(sine(x), own.Tensor)


def test_a_network_is_trained_as_by_torch() -> None:
    shapes = ((6, 8), (8,), (8, 3), (3,))
    start = [0.3 * tensor for tensor in draw(0, *shapes)]
    x, target = draw(1, (20, 6), (20, 3))
    runs = []
    for engine in (own.Tensor, lambda data: data.clone().requires_grad_()):
        parameters = [
            engine(data.clone(), True) if engine is own.Tensor else engine(data) for data in start
        ]
        w1, b1, w2, b2 = parameters
        for _ in range(30):
            difference = (x @ w1 if engine is not own.Tensor else own.Tensor(x) @ w1) + b1
            difference = difference.relu() @ w2 + b2 - target
            (difference * difference).mean().backward()
            for parameter in parameters:
                parameter.data -= 0.1 * parameter.grad
                parameter.grad = None
        runs.append([parameter.data for parameter in parameters])
    for mine, theirs in zip(*runs, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), **TIGHT)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_everything_stays_on_the_device() -> None:
    x = own.Tensor(torch.randn(3, 3, device="cuda"), requires_grad=True)
    y = ((x @ x).relu() / (1 + x * x)).exp().mean(0) ** 2 + 1
    y.log().sum().backward()
    assert x.grad.device.type == "cuda"
    assert own.gradcheck(lambda x: (x @ x).exp().sum(0), x)


def test_names_and_defaults_are_torchs() -> None:
    theirs = inspect.signature(torch.autograd.gradcheck).parameters
    for name, parameter in inspect.signature(own.gradcheck).parameters.items():
        assert parameter.kind == theirs[name].kind
        assert parameter.default == theirs[name].default
    assert [*inspect.signature(own.gradcheck).parameters] == [*theirs][:5]
    backward = inspect.signature(torch.Tensor.backward).parameters
    assert [*inspect.signature(own.Tensor.backward).parameters] == [*backward][:2]
    x = own.Tensor(torch.ones(2, 3), requires_grad=True)
    assert x.sum(dim=0, keepdim=True).shape == x.data.sum(dim=0, keepdim=True).shape
    assert x.mean(dim=0).shape == x.data.mean(dim=0).shape
    assert x.transpose(dim0=0, dim1=1).shape == x.data.transpose(dim0=0, dim1=1).shape


# --- gradcheck ------------------------------------------------------------------------------------

RIGHT: list[tuple[Callable, tuple]] = [
    (lambda x: x * x, ((3,),)),
    (lambda x, y: (x @ y).exp() / 10, ((2, 3), (3, 2))),
    (lambda x, y: x / y - y, ((2, 1), (3,))),
    (lambda x: (x * x + 1).log().mean(), ((2, 2),)),
    (lambda x: x.transpose(0, 1).reshape(-1).sum(), ((2, 3),)),
    (lambda x: x**3, ((),)),
    (lambda x: x.sum(), ((0,),)),
]


@pytest.mark.parametrize(("func", "shapes"), RIGHT)
@settings(max_examples=10)
@given(seed=seeds)
def test_gradcheck_accepts_what_torchs_accepts(func: Callable, shapes: tuple, seed: int) -> None:
    data = draw(seed, *shapes)
    assert own.gradcheck(func, tuple(own.Tensor(x, requires_grad=True) for x in data)) is True
    assert torch.autograd.gradcheck(func, tuple(x.clone().requires_grad_() for x in data))


@settings(max_examples=20)
@given(seed=seeds, size=st.sampled_from([-1.0, 0.01, 1e3]), place=st.integers(0, 11))
def test_gradcheck_finds_one_wrong_element(seed: int, size: float, place: int) -> None:
    def func(x: own.Tensor, y: own.Tensor) -> own.Tensor:
        def wrong(grad: torch.Tensor) -> torch.Tensor:
            result = grad * x.data
            result.view(-1)[place] += size * grad.view(-1)[(5 * place + 1) % 12]
            return result

        product = x.data * y.data
        return x.from_operation(product, (x, lambda grad: grad * y.data), (y, wrong))

    x, y = (own.Tensor(tensor, requires_grad=True) for tensor in draw(seed, (3, 4), (3, 4)))
    with pytest.raises(RuntimeError, match=rf"input 1, element \[{place // 4}, {place % 4}\]"):
        own.gradcheck(func, (x, y))
    assert own.gradcheck(func, (x, y.detach()))


def test_gradcheck_leaves_its_inputs_alone() -> None:
    x = own.Tensor(torch.ones(2, 3).T, requires_grad=True)
    x.grad = torch.full((3, 2), 5.0)
    assert own.gradcheck(lambda x: x * x, x)
    assert torch.equal(x.data, torch.ones(3, 2))
    assert torch.equal(x.grad, torch.full((3, 2), 5.0))


def test_gradcheck_without_anything_to_check_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="requires grad"):
        own.gradcheck(lambda x: x, own.Tensor([1.0]))
    with pytest.raises(ValueError, match="require"):
        torch.autograd.gradcheck(lambda x: x, torch.ones(1))


# --- wrong solutions ------------------------------------------------------------------------------


def without_catalogue(check: Check) -> Check:
    """Return the check without its known mistakes, among which these are sought in vain."""
    return replace(check, mistakes=())


def unbroadcast_then(change: Callable) -> Callable:
    def wrong(grad: torch.Tensor, shape: tuple) -> Any:
        return change(own.unbroadcast(grad, shape), grad, tuple(shape))

    return wrong


def one_dimension_only(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    """Sum over the first stretched dimension and leave the others."""
    if grad.dim() > len(shape):
        return own.unbroadcast(grad, grad.shape[grad.dim() - len(shape) :])
    for dim, (n, m) in enumerate(zip(grad.shape, shape, strict=True)):
        if n != m:
            return grad.sum(dim, keepdim=True)
    return grad


def in_place(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    result = own.unbroadcast(grad, shape).clone()
    grad.zero_()
    return result


def one_in_front_only(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    return own.unbroadcast(grad.sum(0) if grad.dim() > len(shape) + 1 else grad, shape)[:1]


WRONG_UNBROADCAST = [
    unbroadcast_then(lambda result, grad, shape: result.double()),
    unbroadcast_then(lambda result, grad, shape: -result),
    unbroadcast_then(lambda result, grad, shape: result.flatten()),
    unbroadcast_then(lambda result, grad, shape: result.tolist()),
    unbroadcast_then(lambda result, grad, shape: result.abs()),
    unbroadcast_then(lambda result, grad, shape: torch.zeros(shape, dtype=grad.dtype)),
    unbroadcast_then(lambda result, grad, shape: result if grad.dim() < 3 else 2 * result),
    unbroadcast_then(lambda result, grad, shape: result.expand(grad.shape)),
    lambda grad, shape: grad.reshape(-1)[: own.math.prod(shape)].reshape(shape),
    lambda grad, shape: own.unbroadcast(grad.contiguous().view(grad.shape[::-1]), shape),
    one_dimension_only,
    one_in_front_only,
    in_place,
]


@pytest.mark.parametrize("wrong", WRONG_UNBROADCAST)
def test_a_wrong_unbroadcast_outside_the_catalogue_loses_points(
    wrong: Callable, assert_rejected: Callable
) -> None:
    assert_rejected(without_catalogue(check_unbroadcast), wrong)


def backward_with(
    start: Callable = lambda gradient: gradient,
    order: Callable = own.topological_order,
    part: Callable = lambda part, rule, grad: part,
    arrive: Callable = lambda old, new: new if old is None else old + new,
    deposit: Callable = lambda old, grad: grad.clone() if old is None else old + grad,
    keeps: Callable = lambda tensor: tensor.is_leaf or tensor.retains_grad,
) -> type:
    """Return an engine whose backward pass is right but for the decisions that are given."""

    class Wrong(own.Tensor):
        def backward(self, gradient: Any = None) -> None:
            gradient = torch.ones_like(self.data) if gradient is None else gradient
            grads = {self: start(gradient)}
            for tensor in order(self):
                grad = grads[tensor]
                if keeps(tensor):
                    tensor.grad = deposit(tensor.grad, grad)
                for input, rule in tensor.edges:
                    new = own.unbroadcast(rule(grad), input.shape).to(input.dtype)
                    grads[input] = arrive(grads.get(input), part(new, rule, grad))

    return Wrong


def recursive_order(tensor: own.Tensor) -> list[own.Tensor]:
    finished: list[own.Tensor] = []
    seen = set()

    def visit(tensor: own.Tensor) -> None:
        if tensor not in seen:
            seen.add(tensor)
            for input, _ in tensor.edges:
                visit(input)
            finished.append(tensor)

    visit(tensor)
    return finished[::-1]


def first_hundred(tensor: own.Tensor) -> list[own.Tensor]:
    return own.topological_order(tensor)[:100]


def twice_called(part: torch.Tensor, rule: Callable, grad: torch.Tensor) -> torch.Tensor:
    rule(grad)
    return part


def changed_in_place(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.mul_(1.5) / 1.5


def largest(old: Any, new: torch.Tensor) -> torch.Tensor:
    return new if old is None else torch.maximum(old, new)


def added_to_itself(old: Any, grad: torch.Tensor) -> torch.Tensor:
    return grad.clone() if old is None else old + old


WRONG_BACKWARD = {
    "upside_down": backward_with(start=lambda gradient: -gradient),
    "normalised": backward_with(start=lambda gradient: gradient / gradient.norm()),
    "summed_start": backward_with(start=lambda gradient: gradient.sum().expand(gradient.shape)),
    "float_start": backward_with(start=lambda gradient: gradient.double()),
    "changes_the_gradient": backward_with(start=changed_in_place),
    "recursive": backward_with(order=recursive_order),
    "first_hundred": backward_with(order=first_hundred),
    "root_only": backward_with(order=lambda tensor: [tensor]),
    "twice_called": backward_with(part=twice_called),
    "clipped": backward_with(part=lambda part, rule, grad: part.clamp(-1, 1)),
    "largest": backward_with(arrive=largest),
    "product_of_parts": backward_with(arrive=lambda old, new: new if old is None else old * new),
    "first_part": backward_with(arrive=lambda old, new: new if old is None else old),
    "keeps_the_first_pass": backward_with(deposit=lambda old, g: g.clone() if old is None else old),
    "doubles": backward_with(deposit=added_to_itself),
    "averages_passes": backward_with(
        deposit=lambda old, g: g.clone() if old is None else (old + g) / 2
    ),
    "an_engine_tensor": backward_with(deposit=lambda old, g: own.Tensor(g.clone())),
    "nothing_for_leaves": backward_with(keeps=lambda tensor: tensor.retains_grad),
    "retains_everything": backward_with(keeps=lambda tensor: True),
}


@pytest.mark.parametrize("wrong", WRONG_BACKWARD.values(), ids=WRONG_BACKWARD)
def test_a_wrong_backward_pass_outside_the_catalogue_loses_points(
    wrong: type, assert_rejected: Callable
) -> None:
    assert_rejected(without_catalogue(check_backward_pass), wrong)


def test_the_variations_start_from_a_right_backward_pass() -> None:
    assert check_backward_pass(backward_with()).passed


def operation(name: str, method: Callable) -> type:
    return type(f"Wrong{name}", (own.Tensor,), {name: method})


def with_rule(name: str, change: Callable, only: int | None = None) -> type:
    """Return an engine that changes what the rules of one operation return."""

    def method(self: own.Tensor, *arguments: Any, **options: Any) -> own.Tensor:
        result = getattr(own.Tensor, name)(self, *arguments, **options)

        def changed(rule: Callable, number: int) -> Callable:
            if only is not None and number != only:
                return rule
            return lambda grad: change(rule(grad), grad, self.data, result.data)

        result.edges = tuple(
            (input, changed(rule, number)) for number, (input, rule) in enumerate(result.edges)
        )
        return result

    return operation(name, method)


def with_value(name: str, change: Callable) -> type:
    """Return an engine that changes the value of one operation, but no gradient."""

    def method(self: own.Tensor, *arguments: Any, **options: Any) -> own.Tensor:
        result = getattr(own.Tensor, name)(self, *arguments, **options)
        result.data = change(result.data, self.data)
        return result

    return operation(name, method)


def halved(part: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    return part / 2


def is_history_free(self: own.Tensor, *arguments: Any) -> own.Tensor:
    return (own.Tensor.__mul__(self, *arguments)).detach()


def scalar_first(self: own.Tensor, other: Any) -> own.Tensor:
    """Turn numbers into float32 tensors, which changes dtypes."""
    return own.Tensor.__mul__(self, torch.as_tensor(other) if isinstance(other, float) else other)


WRONG_OPERATIONS: list[tuple[Any, dict[str, type]]] = [
    (
        check_arithmetic,
        {
            "neg_is_one": with_value("__neg__", lambda result, x: result - 0.001),
            "sub_halved": with_rule("__sub__", halved),
            "sub_first_only": with_rule("__sub__", lambda part, *_: 0 * part, only=0),
            "rsub_halved": with_rule("__rsub__", halved),
            "mul_abs": with_rule("__mul__", lambda part, *_: part.abs()),
            "mul_no_history": operation("__mul__", is_history_free),
            "mul_squares": with_rule("__mul__", lambda part, grad, x, y: part * part),
            "mul_doubles": with_rule("__mul__", lambda part, *_: 2 * part, only=1),
            "mul_by_float32": operation("__mul__", scalar_first),
            "div_floor": with_value("__truediv__", lambda result, x: result.floor()),
            "div_second_zero": with_rule("__truediv__", lambda part, *_: 0 * part, only=1),
            "rdiv_halved": with_rule("__rtruediv__", halved),
            "rdiv_sign": with_rule("__rtruediv__", lambda part, *_: -part),
            "pow_abs": with_rule("__pow__", lambda part, *_: part.abs()),
            "pow_value": with_value("__pow__", lambda result, x: result.abs()),
            "pow_of_result": with_rule("__pow__", lambda part, grad, x, y: grad * y),
            "changes_its_input": with_value("__mul__", lambda result, x: x.mul_(2) * 0 + result),
        },
    ),
    (
        check_matmul,
        {
            "halved": with_rule("__matmul__", halved),
            "left_zero": with_rule("__matmul__", lambda part, *_: 0 * part, only=0),
            "right_zero": with_rule("__matmul__", lambda part, *_: 0 * part, only=1),
            "abs": with_rule("__matmul__", lambda part, *_: part.abs()),
            "transposed_value": with_value("__matmul__", lambda y, x: y.mT if y.dim() > 1 else y),
            "no_batches": with_value("__matmul__", lambda y, x: y[:1] if y.dim() > 2 else y),
            "kept_dimension": with_value("__matmul__", lambda y, x: y[None] if x.dim() == 1 else y),
            "double": with_value("__matmul__", lambda y, x: y.double()),
            "first_row": with_rule(
                "__matmul__", lambda part, *_: part[:1].expand(part.shape) if part.dim() else part
            ),
            "transposes_its_input": with_value("__matmul__", lambda y, x: x.t_() * 0 + y),
        },
    ),
    (
        check_functions,
        {
            "leaky": with_rule(
                "relu", lambda part, grad, x, y: torch.where(x > 0, grad, 0.01 * grad)
            ),
            "relu_at_one": with_rule("relu", lambda part, grad, x, y: grad * (x > 1)),
            "relu_absolute": with_value("relu", lambda y, x: x.abs()),
            "relu_one_at_zero": with_rule(
                "relu", lambda part, g, x, y: g * (x >= 0) * 0.5 + part / 2
            ),
            "relu_in_place": with_value("relu", lambda y, x: x.relu_()),
            "relu_halved": with_rule("relu", halved),
            "exp_halved": with_rule("exp", halved),
            "exp_minus_one": with_value("exp", lambda y, x: y - 1),
            "exp_two": with_value("exp", lambda y, x: 2**x),
            "exp_squared": with_rule("exp", lambda part, grad, x, y: part * y),
            "exp_abs": with_rule("exp", lambda part, *_: part.abs()),
            "log_plus_one": with_value("log", lambda y, x: (x + 1).log()),
            "log_squared": with_rule("log", lambda part, grad, x, y: part / x),
            "log_sign": with_rule("log", lambda part, *_: -part),
            "log_ten": with_value("log", lambda y, x: x.log10()),
            "log_clamped": with_value("log", lambda y, x: x.clamp(min=0.01).log()),
            "exp_clamped": with_value("exp", lambda y, x: x.clamp(min=-4).exp()),
        },
    ),
    (
        check_shape_operations,
        {
            "sum_halved": with_rule("sum", halved),
            "sum_is_mean": with_value("sum", lambda y, x: y / 2),
            "sum_sign": with_rule("sum", lambda part, *_: -part),
            "sum_first": with_rule("sum", lambda part, grad, x, y: part * (x > 0)),
            "sum_average": with_rule("sum", lambda part, *_: part.mean().expand(part.shape)),
            "mean_max": with_value("mean", lambda y, x: y + 0.001),
            "mean_doubled": operation(
                "mean", lambda self, *a, **k: own.Tensor.mean(self, *a, **k) * 2
            ),
            "mean_plus_one": operation(
                "mean", lambda self, *a, **k: self.sum(*a, **k) / (self.data.numel() + 1)
            ),
            "mean_of_all": operation(
                "mean", lambda self, *a, **k: self.sum(*a, **k) / self.data.numel()
            ),
            "reshape_flat": with_rule("reshape", lambda part, *_: part.flip(0)),
            "reshape_transposed": with_value("reshape", lambda y, x: y.flip(-1)),
            "reshape_halved": with_rule("reshape", halved),
            "transpose_all": operation(
                "transpose", lambda self, a, b: own.Tensor.transpose(self, 0, -1)
            ),
            "transpose_none": with_value("transpose", lambda y, x: x),
            "transpose_flipped": with_rule("transpose", lambda part, *_: part.flip(0)),
            "no_keepdim": operation(
                "sum", lambda self, dim=None, keepdim=False: own.Tensor.sum(self, dim)
            ),
            "no_history": operation(
                "sum", lambda self, *a, **k: own.Tensor.sum(self.detach(), *a, **k)
            ),
        },
    ),
]


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        pytest.param(check, wrong, id=f"{check.exercise}-{name}")
        for check, table in WRONG_OPERATIONS
        for name, wrong in table.items()
    ],
)
def test_a_wrong_operation_outside_the_catalogue_loses_points(
    check: Any, wrong: type, assert_rejected: Callable
) -> None:
    assert_rejected(without_catalogue(check), wrong)


Tensor = own.Tensor  # where the probe of gradcheck finds the engine of a function of this file


def gradcheck_then(change: Callable) -> Callable:
    def wrong(func: Callable, inputs: Any, **options: float) -> Any:
        return change(lambda: own.gradcheck(func, inputs, **options), func, inputs, options)

    return wrong


def swallowing(call: Callable, *_: Any) -> Any:
    try:
        return call()
    except RuntimeError as error:
        return str(error)


def without_a_place(call: Callable, *_: Any) -> Any:
    try:
        return call()
    except RuntimeError:
        raise RuntimeError("the gradients differ") from None


def as_value_error(call: Callable, *_: Any) -> Any:
    try:
        return call()
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def in_single_precision(call: Callable, func: Callable, inputs: Any, options: dict) -> Any:
    return own.gradcheck(func, inputs, **{**options, "eps": max(options.get("eps", 0), 1e-3) * 50})


def leaves_gradients(call: Callable, func: Callable, inputs: Any, options: dict) -> Any:
    for input in inputs if isinstance(inputs, tuple) else (inputs,):
        input.grad = torch.zeros_like(input.data)
    return call()


def moves_the_inputs(call: Callable, func: Callable, inputs: Any, options: dict) -> Any:
    for input in inputs if isinstance(inputs, tuple) else (inputs,):
        input.data += 1e-3
    return call()


def last_input(call: Callable, func: Callable, inputs: Any, options: dict) -> Any:
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    fixed = tuple(Tensor(x.data) for x in given[:-1])
    return own.gradcheck(func, (*fixed, Tensor(given[-1].data, requires_grad=True)), **options)


WRONG_GRADCHECK = [
    gradcheck_then(lambda call, *_: call() and None),
    gradcheck_then(lambda call, *_: 1 if call() else 0),
    gradcheck_then(lambda call, func, inputs, options: own.gradcheck(func, inputs)),
    gradcheck_then(
        lambda call, func, inputs, options: own.gradcheck(func, inputs, **{**options, "rtol": 0})
    ),
    gradcheck_then(
        lambda call, func, inputs, options: own.gradcheck(func, inputs, **{**options, "atol": 1e-2})
    ),
    gradcheck_then(swallowing),
    gradcheck_then(without_a_place),
    gradcheck_then(as_value_error),
    gradcheck_then(in_single_precision),
    gradcheck_then(leaves_gradients),
    gradcheck_then(moves_the_inputs),
    gradcheck_then(last_input),
]


@pytest.mark.parametrize("wrong", WRONG_GRADCHECK)
def test_a_wrong_gradcheck_outside_the_catalogue_loses_points(
    wrong: Callable, assert_rejected: Callable
) -> None:
    assert_rejected(without_catalogue(check_gradcheck), wrong)
