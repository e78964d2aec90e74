"""The reference checkpointing against torch's; wrong ones that no catalogue lists."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint as torch_checkpoint
from torch.utils.checkpoint import checkpoint_sequential as torch_checkpoint_sequential

from course_lib import checkpointing as own
from course_lib.checks.checkpointing import (
    check_activation_checkpoint,
    check_checkpoint_sequential,
    check_optimal_segments,
    check_peak_activations,
)

seeds = st.integers(0, 2**32)


def plain(function: Callable, *args: Any, **_: Any) -> Any:
    return function(*args)


def block(width: int, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, width), nn.Tanh(), nn.Dropout(dropout), nn.LayerNorm(width)
    )


def run(checkpoint: Callable, seed: int, dtype: torch.dtype, device: str = "cpu") -> list[Any]:
    """Return output, gradients and the next random number of two checkpoints around a layer."""
    torch.manual_seed(seed)
    model = nn.ModuleList([block(4, 0.3), nn.Linear(4, 4), block(4, 0.3)]).to(device, dtype)
    x = torch.randn(3, 4, dtype=dtype, device=device, requires_grad=True)
    h = checkpoint(model[0], x * 2)
    output = checkpoint(model[2], model[1](h))
    torch.rand(1, device=device)
    (output * torch.randn_like(output)).sum().backward()
    return [
        output.detach(),
        x.grad,
        *(param.grad for param in model.parameters()),
        torch.rand(2),
        torch.rand(2, device=device),
    ]


def saved_bytes(call: Callable[[], Tensor]) -> int:
    """Return how many bytes a forward pass keeps for the backward pass, the parameters left out."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()
    assert output.requires_grad
    return sum(kept.values())


# --- the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_everything_is_as_without_a_checkpoint_and_as_in_torch(dtype: torch.dtype) -> None:
    for seed in range(3):
        found = run(own.checkpoint, seed, dtype)
        assert_close(found, run(plain, seed, dtype), rtol=0, atol=0)
        assert_close(
            found, run(partial(torch_checkpoint, use_reentrant=True), seed, dtype), rtol=0, atol=0
        )


def test_without_preserving_the_second_run_draws_new_numbers_as_in_torch() -> None:
    runs = [
        run(partial(checkpoint, preserve_rng_state=False), 0, torch.float64)
        for checkpoint in (own.checkpoint, partial(torch_checkpoint, use_reentrant=True))
    ]
    assert_close(runs[0], runs[1], rtol=0, atol=0)
    with pytest.raises(AssertionError):
        assert_close(runs[0], run(plain, 0, torch.float64))


@given(seeds, st.integers(1, 3), st.integers(1, 4), st.booleans())
@settings(max_examples=15)
def test_nested_checkpoints_of_any_depth(seed: int, depth: int, width: int, leaf: bool) -> None:
    torch.manual_seed(seed)
    layers = [block(width, 0.5).double() for _ in range(depth)]

    def nested(checkpoint: Callable, depth: int, x: Tensor) -> Tensor:
        if depth == 0:
            return x.sin()
        x = layers[depth - 1](x)
        return checkpoint(partial(nested, checkpoint, depth - 1), x) * x

    state, start = torch.get_rng_state(), torch.randn(2, width, dtype=torch.float64)
    results = []
    for checkpoint in (own.checkpoint, plain):
        torch.set_rng_state(state)
        x = start.clone().requires_grad_()
        nested(checkpoint, depth, x if leaf else x + 0).sum().backward()
        params = [param for layer in layers for param in layer.parameters()]
        results.append([x.grad, *(param.grad for param in params)])
        for param in params:
            param.grad = None
    assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def test_arguments_and_outputs_of_every_kind() -> None:
    x, y = torch.randn(3, requires_grad=True), torch.randn(3)
    rows = torch.tensor([2, 0])

    def function(scale: float, x: Tensor, none: None, rows: Tensor, y: Tensor) -> tuple:
        assert none is None
        return scale * x[rows] * y[rows], "words", rows, x.detach(), x * y

    first, words, same_rows, detached, second = own.checkpoint(function, 2.0, x, None, rows, y)
    assert words == "words"
    assert torch.equal(same_rows, rows)
    assert first.requires_grad
    assert second.requires_grad
    assert torch.equal(detached, x)
    (first.sum() + second.sum()).backward()
    assert_close(x.grad, y + 2 * torch.tensor([y[0], 0, y[2]]))
    assert y.grad is None
    assert not y.requires_grad


def test_an_argument_that_does_not_matter_gets_no_gradient_and_one_used_twice_gets_the_sum() -> (
    None
):
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    own.checkpoint(lambda a, b, c: a * b * 3, x, x, y).sum().backward()
    assert torch.equal(x.grad, torch.full((2,), 6.0))
    assert y.grad is None


def test_an_empty_and_a_strided_argument() -> None:
    for x in (torch.randn(0, 3), torch.randn(3, 4).T):
        x.requires_grad_()
        own.checkpoint(torch.tanh, x).sum().backward()
        assert_close(x.grad, 1 - torch.tanh(x.detach()) ** 2)


def test_without_a_gradient_nothing_is_recorded_as_in_torch() -> None:
    layer = nn.Linear(2, 2)
    assert not own.checkpoint(layer, torch.ones(1, 2)).requires_grad
    with torch.no_grad():
        assert not own.checkpoint(layer, torch.ones(1, 2, requires_grad=True)).requires_grad


def test_a_saved_argument_that_was_changed_is_an_error_as_in_torch() -> None:
    for checkpoint in (own.checkpoint, partial(torch_checkpoint, use_reentrant=True)):
        x = torch.ones(2, requires_grad=True) * 1
        output = checkpoint(torch.sin, x)
        x.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()


def test_autocast_of_the_forward_pass_holds_in_the_second_run() -> None:
    results = []
    for checkpoint in (own.checkpoint, plain):
        torch.manual_seed(0)
        layer = nn.Linear(4, 4)
        x = torch.randn(3, 4, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            output = checkpoint(lambda v, layer=layer: layer(v).tanh(), x)
        output.float().sum().backward()
        results.append([output.detach(), x.grad, layer.weight.grad])
    assert_close(results[0], results[1], rtol=0, atol=0)
    assert results[0][0].dtype == torch.bfloat16


def test_only_the_arguments_are_saved() -> None:
    layers = nn.Sequential(*[block(16) for _ in range(6)])
    x = torch.randn(8, 16, requires_grad=True)
    assert saved_bytes(lambda: own.checkpoint(layers, x)) == x.untyped_storage().nbytes()
    assert saved_bytes(lambda: layers(x)) > 12 * x.untyped_storage().nbytes()


@given(seeds, st.data())
@settings(max_examples=20)
def test_segments_are_those_of_torch(seed: int, data: st.DataObject) -> None:
    num_layers = data.draw(st.integers(1, 12))
    segments = data.draw(st.integers(1, num_layers))
    torch.manual_seed(seed)
    layers = [nn.Linear(3, 3).double() for _ in range(num_layers)]
    start = torch.randn(2, 3, dtype=torch.float64)
    results = []
    for sequential in (
        own.checkpoint_sequential,
        partial(torch_checkpoint_sequential, use_reentrant=True),
    ):
        ran: list[int] = []

        def note(number: int, x: Tensor, ran: list[int] = ran) -> Tensor:
            ran.append(number)
            return torch.tanh(layers[number](x))

        x = start.clone().requires_grad_()
        sequential([partial(note, i) for i in range(num_layers)], segments, x).sum().backward()
        results.append([ran, x.grad, *(layer.weight.grad for layer in layers)])
        for layer in layers:
            layer.weight.grad = layer.bias.grad = None
    assert results[0][0] == results[1][0]
    assert_close(results[0][1:], results[1][1:], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("num_layers", "segments"), [(4, 0), (4, 5), (4, -1), (0, 1)])
def test_impossible_numbers_of_segments_are_value_errors(num_layers: int, segments: int) -> None:
    layers = [torch.sin] * num_layers
    with pytest.raises(ValueError, match="cannot be split"):
        own.checkpoint_sequential(layers, segments, torch.ones(1, requires_grad=True))
    with pytest.raises(ValueError, match="cannot be split"):
        own.peak_activations(num_layers, segments)


def test_no_layers_have_no_best_split() -> None:
    with pytest.raises(ValueError, match="cannot be split"):
        own.optimal_segments(0)


@given(st.integers(1, 400))
def test_the_best_split_is_near_the_square_root(num_layers: int) -> None:
    segments = own.optimal_segments(num_layers)
    peak = own.peak_activations(num_layers, segments)
    assert all(peak <= own.peak_activations(num_layers, s) for s in range(1, num_layers + 1))
    assert all(peak < own.peak_activations(num_layers, s) for s in range(1, segments))
    assert 2 * num_layers**0.5 - 1 <= peak <= 2.5 * num_layers**0.5


@pytest.mark.parametrize(("num_layers", "segments"), [(16, 1), (16, 4), (15, 4), (9, 3), (12, 5)])
def test_the_cost_model_counts_what_is_really_held(num_layers: int, segments: int) -> None:
    held: set[int] = set()
    peak = 0

    class Count(torch.autograd.Function):
        """Holds one activation from its forward pass, with a graph, to its backward pass."""

        @staticmethod
        def forward(ctx: Any, x: Tensor, number: int, with_graph: bool) -> Tensor:
            nonlocal peak
            ctx.number = number
            if with_graph:
                held.add(number)
                peak = max(peak, len(held) + inputs)
            return x * 1

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple:
            held.discard(ctx.number)
            return grad, None, None

    inputs = segments - 1
    layers = [
        lambda x, number=number: Count.apply(x, number, torch.is_grad_enabled())
        for number in range(num_layers)
    ]
    own.checkpoint_sequential(layers, segments, torch.ones(1, requires_grad=True)).backward()
    assert peak == own.peak_activations(num_layers, segments)


def test_signatures_follow_torch() -> None:
    own_names = list(inspect.signature(own.checkpoint_sequential).parameters)
    assert own_names[:3] == list(inspect.signature(torch_checkpoint_sequential).parameters)[:3]
    own_names = list(inspect.signature(own.checkpoint).parameters)
    assert own_names[:2] == list(inspect.signature(torch_checkpoint).parameters)[:2]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_random_numbers_and_autocast_of_a_gpu_are_kept_too() -> None:
    for dtype in (torch.float64, torch.float32):
        found = run(own.checkpoint, 0, dtype, "cuda")
        assert_close(found, run(plain, 0, dtype, "cuda"), rtol=0, atol=0)
    dtypes = []
    weight = torch.randn(4, 4, device="cuda", requires_grad=True)

    def function(x: Tensor) -> Tensor:
        product = x @ weight
        dtypes.append(product.dtype)
        return product.tanh()

    with torch.autocast("cuda", torch.float16):
        output = own.checkpoint(function, torch.randn(3, 4, device="cuda", requires_grad=True))
    output.float().sum().backward()
    assert dtypes == [torch.float16, torch.float16]


# --- wrong solutions ------------------------------------------------------------------------------


def replaced(**methods: Callable) -> Callable:
    """Return ``checkpoint`` with other methods of its Function."""
    statics = {name: staticmethod(method) for name, method in methods.items()}
    function = type("Wrong", (own.Checkpoint,), statics)

    def checkpoint(run: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
        return function.apply(run, preserve_rng_state, *args)

    return checkpoint


def gradients(change: Callable[[list], list]) -> Callable:
    """Return a checkpoint whose gradients of the arguments are changed."""

    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None, *change(list(own.Checkpoint.backward(ctx, *grads))[2:])

    return replaced(backward=backward)


def graph_made_in_forward(ctx: Any, function: Callable, preserve: bool, *args: Any) -> Any:
    with torch.enable_grad():
        ctx.kept = own.Checkpoint.forward(ctx, function, preserve, *args)
    return torch.utils._pytree.tree_map_only(Tensor, Tensor.detach, ctx.kept)


def no_graph_in_backward(ctx: Any, *grads: Any) -> Any:
    with torch.no_grad():
        outputs = ctx.function(*ctx.saved_tensors)
        return None, None, *(outputs for _ in ctx.is_tensor)


def keeps_outputs(ctx: Any, function: Callable, preserve: bool, *args: Any) -> Any:
    held = []

    def remembering(*inner: Any) -> Any:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
            return function(*inner)

    outputs = own.Checkpoint.forward(ctx, function, preserve, *args)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        remembering(*(a.detach().requires_grad_() if torch.is_tensor(a) else a for a in args[:1]))
    ctx.held = held
    return outputs


def three_runs(ctx: Any, *grads: Any) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        ctx.function(*(t for t in ctx.saved_tensors))
    return own.Checkpoint.backward(ctx, *grads)


def changes_the_argument(ctx: Any, function: Callable, preserve: bool, *args: Any) -> Any:
    outputs = own.Checkpoint.forward(ctx, function, preserve, *args)
    for arg in args:
        if isinstance(arg, Tensor) and arg.is_floating_point():
            arg.data.add_(1)
    return outputs


def reseeds(function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
    torch.manual_seed(0)
    return own.checkpoint(function, *args, preserve_rng_state=preserve_rng_state)


def clears_parameters(ctx: Any, *grads: Any) -> Any:
    weight = ctx.function.function.__self__.weight
    weight.grad = None
    return own.Checkpoint.backward(ctx, *grads)


def tensors_only(function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
    return own.checkpoint(function, *(a for a in args if isinstance(a, Tensor)))


WRONG_CHECKPOINTS = {
    "graph made in forward": replaced(forward=graph_made_in_forward),
    "no graph in backward": replaced(backward=no_graph_in_backward),
    "keeps outputs": replaced(forward=keeps_outputs),
    "three runs": replaced(backward=three_runs),
    "changes the argument": replaced(forward=changes_the_argument),
    "tensors first": gradients(lambda g: sorted(g, key=lambda x: x is None)),
    "one gradient too few": gradients(lambda g: g[:-1]),
    "reseeds": reseeds,
    "clears the gradients of parameters": replaced(backward=clears_parameters),
    "tensors only": tensors_only,
}

sequential = own.checkpoint_sequential


def detached_input(functions: Any, segments: int, input: Tensor, **more: Any) -> Tensor:
    return sequential(functions, segments, input.detach().requires_grad_(), **more)


def without_the_first(functions: Any, segments: int, input: Tensor, **more: Any) -> Tensor:
    functions = list(functions)
    return sequential(functions[1:], min(segments, len(functions) - 1), input, **more)


def last_too(functions: Any, segments: int, input: Tensor, **more: Any) -> Tensor:
    functions = list(functions)
    head, last = functions[:-1], functions[-1]
    if len(head) >= segments:
        input = sequential(head, segments, input, **more)
    else:
        input = own.run_in_order(head, input)
    return own.checkpoint(last, input)


WRONG_SEQUENTIAL = {
    "plain": lambda functions, segments, input, **more: own.run_in_order(functions, input),
    "one checkpoint": lambda functions, segments, input, **more: own.checkpoint(
        partial(own.run_in_order, list(functions)), input
    ),
    "one segment": lambda functions, segments, input, **more: sequential(functions, 1, input),
    "reversed": lambda functions, segments, input, **more: sequential(
        list(functions)[::-1], segments, input, **more
    ),
    "detached input": detached_input,
    "without the first": without_the_first,
    "last too": last_too,
    "needs a list": lambda functions, segments, input, **more: sequential(
        functions[:], segments, input, **more
    ),
}

peak = own.peak_activations
WRONG_PEAKS = {
    "square root": lambda n, s: int(2 * n**0.5),
    "one too few": lambda n, s: peak(n, s) - 1,
    "two segments at once": lambda n, s: s - 1 + 2 * (n // s),
    "nothing": lambda n, s: None,
    "a tuple": lambda n, s: (peak(n, s),),
    "remainder only": lambda n, s: s - 1 + n % s,
    "arguments swapped": lambda n, s: n - 1 + s // n + s % n,
    "larger of two": lambda n, s: max(s, n // s + n % s),
}

best = own.optimal_segments
WRONG_BEST = {
    "half": lambda n: max(1, n // 2),
    "logarithm": lambda n: n.bit_length(),
    "one more": lambda n: best(n) + 1,
    "float root": lambda n: n**0.5,
    "from two on": lambda n: max(2, best(n)),
    "small networks only": lambda n: best(min(n, 20)),
    "largest peak": lambda n: max(range(1, n + 1), key=partial(peak, n)),
    "divisors only": lambda n: min(
        (s for s in range(1, n + 1) if n % s == 0), key=partial(peak, n)
    ),
    "a list": lambda n: [best(n)],
}

WRONG = [
    (check_activation_checkpoint, WRONG_CHECKPOINTS),
    (check_checkpoint_sequential, WRONG_SEQUENTIAL),
    (check_peak_activations, WRONG_PEAKS),
    (check_optimal_segments, WRONG_BEST),
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
