"""Measure the course's autograd engine against torch's and those of other libraries.

A step of training (forward, backward, SGD) of an MLP 64-H-H-10 on a batch of 64 digits, in float32,
on one thread, by:

- torch: its functions and its autograd; what the others are compared with;
- torch, modules: nn.Sequential and optim.SGD;
- course: `solutions/autograd.py`, with the loss made of its primitives, in torch.inference_mode;
- course, two operations: the same engine, taught linear layers and cross-entropy as a whole by
  `Tensor.from_operation`;
- autograd (HIPS), tinygrad (with its JIT and without) and micrograd. It works number by number, so
  it gets a few examples of the batch, and its time is multiplied.

All start from the same weights and must have the same losses in their first steps. Then two graphs
that engines stumble over: a chain of 2000 operations, and 30 residual blocks, one in the other.

The other libraries are installed into _build/bench_env; `--only ours` does without them. tinygrad
needs clang. minitorch and TinyTorch are in no package index (what has their names there is
something else), so they are not here.
"""

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from benchmark import (
    command,
    command_line,
    go_on_with,
    in_short,
    machine,
    paired,
    ratios,
    require_quiet,
    spread,
    store,
    tell,
)
from sklearn.datasets import load_digits
from torch import nn

from course_lib.autograd import Tensor

LIBRARIES = ("autograd==1.8.0", "micrograd==0.1.0", "tinygrad==0.12.0")
BATCH = 64
SCALAR_BATCH = 8
"""How many examples an engine gets that works number by number."""
LR = 0.1
RECURSION_LIMIT = sys.getrecursionlimit()
"""Python's, as it is before a library changes it."""

Array = np.ndarray
Step = Callable[[], float]
"""Makes a step of training and returns the loss before it."""


class Problem(NamedTuple):
    """Digits, and the weights and biases to start from, layer by layer."""

    x: Array
    y: Array
    layers: list[tuple[Array, Array]]
    """Shapes (inputs, outputs) and (outputs,)."""


def problem(hidden: int, batch: int) -> Problem:
    pixels, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    layers = [
        (random.normal(0, math.sqrt(2 / n_in), (n_in, n_out)).astype("f4"), np.zeros(n_out, "f4"))
        for n_in, n_out in pairwise((64, hidden, hidden, 10))
    ]
    return Problem((pixels[:batch] / 16).astype("f4"), labels[:batch], layers)


# --- torch ----------------------------------------------------------------------------------------


def torch_functions(problem: Problem) -> Step:
    x, y = torch.tensor(problem.x), torch.tensor(problem.y)
    layers = [
        (torch.tensor(weight.T.copy()).requires_grad_(), torch.tensor(bias).requires_grad_())
        for weight, bias in problem.layers
    ]
    params = [param for layer in layers for param in layer]

    def step() -> float:
        h = x
        for weight, bias in layers[:-1]:
            h = F.relu(F.linear(h, weight, bias))
        loss = F.cross_entropy(F.linear(h, *layers[-1]), y)
        grads = torch.autograd.grad(loss, params)
        with torch.no_grad():
            for param, grad in zip(params, grads, strict=True):
                param.add_(grad, alpha=-LR)
        return loss.item()

    return step


def torch_modules(problem: Problem) -> Step:
    x, y = torch.tensor(problem.x), torch.tensor(problem.y)
    modules: list[nn.Module] = []
    for weight, bias in problem.layers:
        linear = nn.Linear(*weight.shape)
        linear.load_state_dict({"weight": torch.tensor(weight.T), "bias": torch.tensor(bias)})
        modules += [linear, nn.ReLU()]
    model = nn.Sequential(*modules[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)

    def step() -> float:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


# --- the course's engine --------------------------------------------------------------------------

Linear = Callable[[Tensor, Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, torch.Tensor], Tensor]


def course(linear: Linear, cross_entropy: Loss) -> Callable[[Problem], Step]:
    """Return what makes the steps, with these two functions."""

    def of_problem(problem: Problem) -> Step:
        x, one_hot = Tensor(problem.x), F.one_hot(torch.tensor(problem.y), 10).float()
        layers = [(parameter(weight), parameter(bias)) for weight, bias in problem.layers]
        params = [param for layer in layers for param in layer]

        @torch.inference_mode()
        def step() -> float:
            h = x
            for weight, bias in layers[:-1]:
                h = linear(h, weight, bias).relu()
            loss = cross_entropy(linear(h, *layers[-1]), one_hot)
            loss.backward()
            for param in params:
                assert param.grad is not None
                param.data.add_(param.grad, alpha=-LR)
                param.zero_grad()
            return loss.item()

        return step

    return of_problem


def parameter(values: Array) -> Tensor:
    return Tensor(torch.tensor(values), requires_grad=True)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight + bias


def cross_entropy(logits: Tensor, one_hot: torch.Tensor) -> Tensor:
    shifted = logits - logits.data.amax(1, keepdim=True)
    log_p = shifted - shifted.exp().sum(1, keepdim=True).log()
    return -(log_p * one_hot).sum() / len(one_hot)


def whole_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.from_operation(
        torch.addmm(bias.data, x.data, weight.data),
        (x, lambda grad: grad @ weight.data.T),
        (weight, lambda grad: x.data.T @ grad),
        (bias, lambda grad: grad.sum(0)),
    )


def whole_cross_entropy(logits: Tensor, one_hot: torch.Tensor) -> Tensor:
    log_p = logits.data.log_softmax(1)
    return logits.from_operation(
        -(log_p * one_hot).sum() / len(one_hot),
        (logits, lambda grad: (log_p.exp() - one_hot) * (grad / len(one_hot))),
    )


# --- other libraries ------------------------------------------------------------------------------


def hips(problem: Problem) -> Step:
    import autograd.numpy as anp
    from autograd import value_and_grad

    rows = np.arange(len(problem.y))
    layers = [(weight.copy(), bias.copy()) for weight, bias in problem.layers]

    def loss_of(layers: Sequence[tuple[Any, Any]]) -> Any:
        h = problem.x
        for weight, bias in layers[:-1]:
            h = anp.maximum(anp.dot(h, weight) + bias, 0)
        weight, bias = layers[-1]
        logits = anp.dot(h, weight) + bias
        shifted = logits - anp.max(logits, axis=1, keepdims=True)
        log_p = shifted - anp.log(anp.sum(anp.exp(shifted), axis=1, keepdims=True))
        return -anp.mean(log_p[rows, problem.y])

    value_and_grads = value_and_grad(loss_of)

    def step() -> float:
        loss, grads = value_and_grads(layers)
        for layer, layer_grads in zip(layers, grads, strict=True):
            for param, grad in zip(layer, layer_grads, strict=True):
                param -= LR * grad
        return float(loss)

    return step


def tinygrad(jit: bool) -> Callable[[Problem], Step]:
    def of_problem(problem: Problem) -> Step:
        os.environ["CPU_COUNT"] = "1"  # how many threads its kernels have
        if shutil.which("clang") is None:
            os.environ["CPU_LLVM"] = "1"  # its other compiler
        import tinygrad
        from tinygrad.nn.optim import SGD

        x, y = tinygrad.Tensor(problem.x), tinygrad.Tensor(problem.y)
        layers = [tuple(tinygrad.Tensor(array) for array in layer) for layer in problem.layers]
        optimizer = SGD([param for layer in layers for param in layer], lr=LR)

        def training() -> Any:
            h = x
            for weight, bias in layers[:-1]:
                h = h.linear(weight, bias).relu()
            loss = h.linear(*layers[-1]).sparse_categorical_crossentropy(y)
            optimizer.zero_grad()
            loss.backward()
            return loss.realize(*optimizer.schedule_step())

        compiled = tinygrad.TinyJit(training) if jit else training

        def step() -> float:
            with tinygrad.Tensor.train():
                return compiled().item()

        return step

    return of_problem


def micrograd(problem: Problem) -> Step:
    from micrograd.engine import Value
    from micrograd.nn import MLP

    def with_slope(x: Value, value: float, slope: float) -> Value:
        """Return what micrograd lacks: the result of a function whose derivative is known."""
        result = Value(value, (x,))

        def backward() -> None:
            x.grad += slope * result.grad

        result._backward = backward
        return result

    def exp(x: Value) -> Value:
        return with_slope(x, math.exp(x.data), math.exp(x.data))

    def log(x: Value) -> Value:
        return with_slope(x, math.log(x.data), 1 / x.data)

    model = MLP(64, [len(bias) for _, bias in problem.layers])
    for layer, (weight, bias) in zip(model.layers, problem.layers, strict=True):
        for neuron, column, shift in zip(layer.neurons, weight.T.tolist(), bias.tolist()):
            neuron.b.data = shift
            for value, number in zip(neuron.w, column, strict=True):
                value.data = number
    examples = list(zip(problem.x.tolist(), problem.y.tolist(), strict=True))

    def loss_of(pixels: list[float], label: int) -> Value:
        logits = model(pixels)
        largest = max(logit.data for logit in logits)
        shifted = [logit - largest for logit in logits]
        return log(sum(exp(logit) for logit in shifted)) - shifted[label]

    def step() -> float:
        loss = sum(loss_of(*example) for example in examples) / len(examples)
        model.zero_grad()
        loss.backward()
        for value in model.parameters():
            value.data -= LR * value.grad
        return loss.data

    return step


# --- networks -------------------------------------------------------------------------------------

OURS: dict[str, Callable[[Problem], Step]] = {
    "torch": torch_functions,
    "torch, modules": torch_modules,
    "course": course(linear, cross_entropy),
    "course, two operations": course(whole_linear, whole_cross_entropy),
}
THEIRS: dict[str, Callable[[Problem], Step]] = {
    "autograd": hips,
    "tinygrad, JIT": tinygrad(jit=True),
    "tinygrad": tinygrad(jit=False),
    "micrograd": micrograd,
}


def compare_steps(
    engines: Iterable[str], hidden: int, rounds: int, seconds: float
) -> dict[str, Any]:
    steps: dict[str, Step] = {}
    failed: dict[str, str] = {}
    for name in engines:
        try:
            steps[name] = checked_step(name, hidden)
        except Exception as error:  # whatever goes wrong in another library
            if name in OURS:
                raise
            failed[name] = told(name, error)
    times = paired(steps, rounds=rounds, seconds=seconds, title=f"H = {hidden}")
    times = {name: [each * BATCH / batch_of(name) for each in row] for name, row in times.items()}
    return {
        "hidden": hidden,
        "seconds": {name: spread(row) for name, row in times.items()},
        "to_torch": ratios(times, "torch"),
        "failed": failed,
    }


def checked_step(name: str, hidden: int) -> Step:
    """Return an engine's step, after a few that must have the same losses as torch's."""
    start = problem(hidden, batch_of(name))
    step, expected = {**OURS, **THEIRS}[name](start), torch_functions(start)
    for number in range(3):
        loss, right = step(), expected()
        if not math.isclose(loss, right, rel_tol=1e-4):
            raise ValueError(f"its loss in step {number} is {loss}, torch's {right}")
    return step


def batch_of(name: str) -> int:
    return SCALAR_BATCH if name == "micrograd" else BATCH


def told(name: str, error: Exception) -> str:
    """Tell what went wrong, and return it in short."""
    tell(f"{name} is left out: {in_short(error)}")
    return in_short(error)


# --- graphs ---------------------------------------------------------------------------------------

Graph = Callable[[Any, Callable[[Any], Any]], Any]
"""Takes a number of an engine and its ReLU, returns a number."""


def chain(x: Any, relu: Callable[[Any], Any]) -> Any:
    for _ in range(2000):
        x = x + 1.0
    return x


def nested(x: Any, relu: Callable[[Any], Any]) -> Any:
    for _ in range(30):
        x = x + relu(x * 0.1)
    return x


GRAPHS: dict[str, tuple[Graph, float]] = {
    "chain of 2000 operations": (chain, 1.0),
    "30 residual blocks": (nested, 1.1**30),
}
"""And the derivative at 1."""


def torch_derivative(graph: Graph) -> float:
    x = torch.tensor(1.0, requires_grad=True)
    [grad] = torch.autograd.grad(graph(x, torch.relu), x)
    return grad.item()


def course_derivative(graph: Graph) -> float:
    x = Tensor(1.0, requires_grad=True)
    graph(x, Tensor.relu).backward()
    assert x.grad is not None
    return x.grad.item()


def hips_derivative(graph: Graph) -> float:
    import autograd.numpy as anp
    from autograd import grad

    return grad(lambda x: graph(x, lambda value: anp.maximum(value, 0.0)))(1.0)


def micrograd_derivative(graph: Graph) -> float:
    from micrograd.engine import Value

    x = Value(1.0)
    graph(x, Value.relu).backward()
    return x.grad


DERIVATIVES: dict[str, Callable[[Graph], float]] = {
    "torch": torch_derivative,
    "course": course_derivative,
    "autograd": hips_derivative,
    "micrograd": micrograd_derivative,
}


def compare_graphs(
    engines: Iterable[str], name: str, rounds: int, seconds: float
) -> dict[str, Any]:
    sys.setrecursionlimit(RECURSION_LIMIT)
    graph, right = GRAPHS[name]
    runs: dict[str, Callable[[], float]] = {}
    failed: dict[str, str] = {}
    for engine in engines:
        run = partial(DERIVATIVES[engine], graph)
        try:
            if not math.isclose(value := run(), right, rel_tol=1e-4):
                raise ValueError(f"its derivative is {value}, not {right}")
        except Exception as error:  # whatever goes wrong in another library
            if engine in OURS:
                raise
            failed[engine] = told(f"{engine}, {name}", error)
        else:
            runs[engine] = run
    times = paired(runs, rounds=rounds, seconds=seconds, title=name)
    return {
        "graph": name,
        "seconds": {engine: spread(row) for engine, row in times.items()},
        "to_torch": ratios(times, "torch"),
        "failed": failed,
    }


# --- the benchmark --------------------------------------------------------------------------------


def main() -> None:
    options = command_line(__doc__, rounds=15).parse_args()
    engines = OURS if options.only == "ours" else {**OURS, **THEIRS}
    if options.only != "ours":
        os.environ["OMP_NUM_THREADS"] = "1"  # for NumPy, which reads it when it is imported
        go_on_with(*LIBRARIES)
    torch.set_num_threads(1)
    require_quiet()
    sizes, seconds = ((8,), 0.01) if options.trial else ((32, 128, 512), 0.2)
    results: dict[str, Any] = {
        "command": command(),
        "machine": machine(),
        "rounds": options.rounds,
        "libraries": LIBRARIES,
        "batch": BATCH,
        "scalar_batch": SCALAR_BATCH,
    }
    results["steps"] = [
        # A network of numbers has a million of them where H is larger.
        compare_steps(
            [name for name in engines if name != "micrograd" or hidden <= 32],
            hidden,
            options.rounds,
            seconds,
        )
        for hidden in sizes
    ]
    results["graphs"] = [
        compare_graphs(
            [name for name in engines if name in DERIVATIVES], graph, options.rounds, seconds
        )
        for graph in GRAPHS
    ]
    store(results, options.to)


if __name__ == "__main__":
    main()
