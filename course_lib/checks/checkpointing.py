"""Checks of ``checkpointing``: torch's own checkpoint is the oracle."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from itertools import pairwise
from math import ceil, isqrt, sqrt
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import CheckpointFunction

from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = ("torch.utils.checkpoint",)


def uniform(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw numbers of both signs whose absolute value lies between 0.4 and 1.4."""
    sign = torch.randint(0, 2, shape, generator=rng) * 2 - 1
    return sign * (0.4 + torch.rand(shape, generator=rng))


# --- checkpoint: the oracle and the mistakes ------------------------------------------------------


def torch_checkpoint(function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
    return CheckpointFunction.apply(function, preserve_rng_state, *args)


class Node(torch.autograd.Function):
    """A node whose two passes are methods of the object that it gets."""

    @staticmethod
    def forward(ctx: Any, recompute: "Recompute", function: Callable, *args: Any) -> Any:
        ctx.recompute, ctx.function, ctx.args = recompute, function, args
        return recompute.forward(ctx, function, args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None, *ctx.recompute.backward(ctx, grads)


class Recompute:
    """Checkpointing with one decision a method, so that a mistake changes one of them."""

    preserve_rng_state = True

    def __call__(self, function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
        run = type(self)()
        run.preserve_rng_state = preserve_rng_state
        return Node.apply(run, function, *args)

    def forward(self, ctx: Any, function: Callable, args: tuple) -> Any:
        ctx.rng = torch.get_rng_state()
        ctx.autocast = torch.is_autocast_enabled("cpu")
        return function(*args)

    def backward(self, ctx: Any, grads: tuple) -> list[Tensor | None]:
        args = self.detached(ctx.args)
        outputs = self.again(ctx, args)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [
            (output, grad)
            for output, grad in zip(outputs, grads, strict=True)
            if isinstance(output, Tensor) and output.requires_grad
        ]
        self.go_back(pairs, args)
        return self.returned([a.grad if isinstance(a, Tensor) else None for a in args])

    def detached(self, args: tuple) -> list[Any]:
        return [
            a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in args
        ]

    def again(self, ctx: Any, args: list[Any]) -> Any:
        now = torch.get_rng_state()
        self.before(ctx)
        with torch.enable_grad(), torch.autocast("cpu", enabled=self.autocast(ctx)):
            outputs = ctx.function(*args)
        self.after(now)
        return outputs

    def before(self, ctx: Any) -> None:
        if self.preserve_rng_state:
            torch.set_rng_state(ctx.rng)

    def after(self, now: Tensor) -> None:
        if self.preserve_rng_state:
            torch.set_rng_state(now)

    def autocast(self, ctx: Any) -> bool:
        return ctx.autocast

    def go_back(self, pairs: list[tuple[Tensor, Tensor]], args: list[Any]) -> None:
        outputs, grads = zip(*pairs, strict=True)
        torch.autograd.backward(outputs, grads)

    def returned(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        return grads


class PlainCall(Recompute):
    def __call__(self, function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
        return function(*args)


class NoGraphAtAll(Recompute):
    def __call__(self, function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
        with torch.no_grad():
            return function(*args)


class TwiceInForward(Recompute):
    def __call__(self, function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            function(*args)
        return function(*args)


class KeepsTheGraph(Recompute):
    def forward(self, ctx: Any, function: Callable, args: tuple) -> Any:
        outputs = super().forward(ctx, function, args)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            ctx.kept = function(*self.detached(args))
        return outputs


class OtherRandomNumbers(Recompute):
    def before(self, ctx: Any) -> None:
        pass


class RandomNumbersTakenBack(Recompute):
    def after(self, now: Tensor) -> None:
        pass


class RandomNumbersIgnored(Recompute):
    def before(self, ctx: Any) -> None:
        pass

    def after(self, now: Tensor) -> None:
        pass


class StateTakenTooLate(Recompute):
    def forward(self, ctx: Any, function: Callable, args: tuple) -> Any:
        outputs = super().forward(ctx, function, args)
        ctx.rng = torch.get_rng_state()
        return outputs


class AlwaysPreserves(Recompute):
    def __call__(self, function: Callable, *args: Any, preserve_rng_state: bool = True) -> Any:
        return super().__call__(function, *args)


class NeverPreservesByDefault(Recompute):
    def __call__(self, function: Callable, *args: Any, preserve_rng_state: bool = False) -> Any:
        return super().__call__(function, *args, preserve_rng_state=preserve_rng_state)


class NoAutocast(Recompute):
    def autocast(self, ctx: Any) -> bool:
        return False


class ArgumentsWithoutGradient(Recompute):
    def detached(self, args: tuple) -> list[Any]:
        return [a.detach() if isinstance(a, Tensor) else a for a in args]


class NotDetached(Recompute):
    def detached(self, args: tuple) -> list[Any]:
        return list(args)

    def go_back(self, pairs: list[tuple[Tensor, Tensor]], args: list[Any]) -> None:
        outputs, grads = zip(*pairs, strict=True)
        torch.autograd.backward(outputs, grads, retain_graph=True)


class RequiresGradInPlace(Recompute):
    def forward(self, ctx: Any, function: Callable, args: tuple) -> Any:
        outputs = super().forward(ctx, function, args)
        for arg in args:
            if isinstance(arg, Tensor) and arg.is_floating_point() and arg.is_leaf:
                arg.requires_grad_()
        return outputs


class ParametersForgotten(Recompute):
    def go_back(self, pairs: list[tuple[Tensor, Tensor]], args: list[Any]) -> None:
        outputs, grads = zip(*pairs, strict=True)
        wanted = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
        found = torch.autograd.grad(outputs, wanted, grads, allow_unused=True)
        for arg, grad in zip(wanted, found, strict=True):
            arg.grad = grad


class BackwardTwice(Recompute):
    def go_back(self, pairs: list[tuple[Tensor, Tensor]], args: list[Any]) -> None:
        outputs, grads = zip(*pairs, strict=True)
        torch.autograd.backward(outputs, grads, retain_graph=True)
        torch.autograd.backward(outputs, grads)


class BackwardTwiceForParameters(Recompute):
    def go_back(self, pairs: list[tuple[Tensor, Tensor]], args: list[Any]) -> None:
        outputs, grads = zip(*pairs, strict=True)
        torch.autograd.backward(outputs, grads, retain_graph=True)
        kept = [deepcopy(a.grad) if isinstance(a, Tensor) else None for a in args]
        torch.autograd.backward(outputs, grads)
        for arg, grad in zip(args, kept, strict=True):
            if isinstance(arg, Tensor):
                arg.grad = grad


class OnesInsteadOfGradients(Recompute):
    def go_back(self, pairs: list[tuple[Tensor, Tensor]], args: list[Any]) -> None:
        super().go_back([(output, torch.ones_like(output)) for output, _ in pairs], args)


class FirstOutputOnly(Recompute):
    def go_back(self, pairs: list[tuple[Tensor, Tensor]], args: list[Any]) -> None:
        super().go_back(pairs[:1], args)


class LastOutputOnly(Recompute):
    def go_back(self, pairs: list[tuple[Tensor, Tensor]], args: list[Any]) -> None:
        super().go_back(pairs[-1:], args)


class InReverse(Recompute):
    def returned(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        places = [place for place, grad in enumerate(grads) if grad is not None]
        turned = list(grads)
        for place, other in zip(places, reversed(places), strict=True):
            turned[place] = grads[other]
        return turned


class FirstGradientOnly(Recompute):
    def returned(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        first = next(place for place, grad in enumerate(grads) if grad is not None)
        return [grad if place == first else None for place, grad in enumerate(grads)]


def as_tuple(outputs: Any) -> tuple:
    return outputs if isinstance(outputs, tuple) else (outputs,)


CHECKPOINT_MISTAKES = (
    Mistake(
        "plain_call",
        "The function runs once, with a graph, and its activations stay in memory until the "
        "backward pass: nothing is saved. Checkpoint.apply runs forward without a graph; run the "
        "function a second time in backward.",
        PlainCall(),
    ),
    Mistake(
        "no_graph_at_all",
        "The output has no node in the graph, so nothing goes backward through it. Call "
        "Checkpoint.apply, which makes the node.",
        NoGraphAtAll(),
    ),
    Mistake(
        "twice_in_forward",
        "The function runs twice in the forward pass and keeps its graph. The second run belongs "
        "into backward.",
        TwiceInForward(),
    ),
    Mistake(
        "keeps_the_graph",
        "The forward pass runs the function a second time with gradients turned on and keeps that "
        "graph: only backward needs one.",
        KeepsTheGraph(),
    ),
    Mistake(
        "rng_not_restored",
        "The second run draws other random numbers than the first, so dropout has another mask and "
        "the gradient is that of another function. Restore the state of the forward pass first.",
        OtherRandomNumbers(),
    ),
    Mistake(
        "rng_left_changed",
        "After the second run the generator stands where it stood in the forward pass, so that "
        "training draws the same numbers again. Put back the state it had before the second run.",
        RandomNumbersTakenBack(),
    ),
    Mistake(
        "rng_ignored",
        "preserve_rng_state has no effect: the second run draws other random numbers than the "
        "first and moves the generator on.",
        RandomNumbersIgnored(),
    ),
    Mistake(
        "rng_state_taken_too_late",
        "The state of the generator is taken after the first run, when its numbers are already "
        "drawn. Take it before the function runs.",
        StateTakenTooLate(),
    ),
    Mistake(
        "always_preserves_rng",
        "With preserve_rng_state=False the generator is left alone: here its state is restored "
        "all the same.",
        AlwaysPreserves(),
    ),
    Mistake(
        "default_does_not_preserve_rng",
        "preserve_rng_state is True unless the caller says otherwise.",
        NeverPreservesByDefault(),
    ),
    Mistake(
        "autocast_not_restored",
        "The second run must use the autocast settings of the first: the backward pass is usually "
        "outside the autocast block. AutocastState keeps them.",
        NoAutocast(),
    ),
    Mistake(
        "arguments_without_gradient",
        "The arguments of the second run do not require a gradient, so they get none: detach() "
        "turns that off, requires_grad_(tensor.requires_grad) takes it over.",
        ArgumentsWithoutGradient(),
    ),
    Mistake(
        "arguments_not_detached",
        "The second run used the saved tensors themselves, so its backward pass went on through "
        "the graph before them, and gradients were counted twice or lost. Detach them first.",
        NotDetached(),
    ),
    Mistake(
        "arguments_changed",
        "An argument that needed no gradient requires one afterwards: call requires_grad_ on a "
        "detached tensor, not on the caller's own.",
        RequiresGradInPlace(),
    ),
    Mistake(
        "parameters_forgotten",
        "The parameters that the function uses got no gradient: torch.autograd.backward fills "
        "their .grad, torch.autograd.grad fills only what it is asked for.",
        ParametersForgotten(),
    ),
    Mistake(
        "backward_twice",
        "All gradients are doubled: go backward through the second graph once.",
        BackwardTwice(),
    ),
    Mistake(
        "parameters_doubled",
        "The gradients of the parameters are doubled: torch.autograd.backward adds to .grad by "
        "itself, once is enough.",
        BackwardTwiceForParameters(),
    ),
    Mistake(
        "ones_instead_of_gradients",
        "The second backward pass starts with ones: it must start with the gradients of the "
        "outputs that backward receives.",
        OnesInsteadOfGradients(),
    ),
    Mistake(
        "first_output_only",
        "Only the first output is followed backward: a tuple has a gradient for each.",
        FirstOutputOnly(),
    ),
    Mistake(
        "last_output_only",
        "Only the last output is followed backward: a tuple has a gradient for each.",
        LastOutputOnly(),
    ),
    Mistake(
        "gradients_in_reverse",
        "The gradients are in the wrong order: the first belongs to the first argument.",
        InReverse(),
    ),
    Mistake(
        "first_gradient_only",
        "Only the first tensor argument got a gradient: each that requires one must get its own.",
        FirstGradientOnly(),
    ),
)


# --- checkpoint: the cases ------------------------------------------------------------------------


class Part(torch.nn.Module):
    """A function as the part of a network that is checkpointed."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


class Functions:
    """The functions that are checkpointed; they note how often they ran and what they computed."""

    def __init__(self, weight: Tensor, checkpoint: Callable) -> None:
        self.weight, self.checkpoint = weight, checkpoint
        self.runs = 0
        self.inner_runs = 0
        self.dtypes: list[str] = []
        self.activations: list[StorageWeakRef] = []

    def watched(self, activation: Tensor) -> Tensor:
        self.activations.append(StorageWeakRef(activation.untyped_storage()))
        return activation

    def held(self) -> int:
        """Return how many activations are still in memory."""
        return sum(not activation.expired() for activation in self.activations)

    def layer(self, x: Tensor) -> Tensor:
        self.runs += 1
        return torch.tanh(x @ self.weight) * 2

    def deep(self, x: Tensor) -> Tensor:
        self.runs += 1
        for _ in range(3):
            x = self.watched(torch.tanh(x @ self.weight)) * 2
        return x

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        self.runs += 1
        return torch.tanh(x @ self.weight) * y

    def pair(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        return torch.tanh(x @ self.weight) * y, torch.sin(x) * y

    def mixed_outputs(self, x: Tensor) -> tuple[Tensor, None, Tensor]:
        self.runs += 1
        return (torch.tanh(x @ self.weight), None, x > 0)

    def choice(
        self, scale: float, x: Tensor, nothing: None, rows: Tensor, y: Tensor, name: str
    ) -> Tensor:
        self.runs += 1
        assert nothing is None
        activation = getattr(torch, name)
        return scale * activation(x @ self.weight)[rows] * y[rows]

    def dropout(self, x: Tensor) -> Tensor:
        self.runs += 1
        return torch.dropout(x @ self.weight, 0.5, True)

    def half(self, x: Tensor) -> Tensor:
        self.runs += 1
        product = x @ self.weight
        self.dtypes.append(str(product.dtype))
        return torch.tanh(product)

    def inner(self, x: Tensor) -> Tensor:
        self.inner_runs += 1
        return torch.tanh(x @ self.weight)

    def nested(self, x: Tensor) -> Tensor:
        self.runs += 1
        return torch.sin(self.checkpoint(Part(self.inner), x + 1)) * x


def checkpoint_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, function: str, title: str, n: int, width: int, **more: Any) -> Case:
        names = more.pop("grads", ["x"])
        tensors = {name: uniform(rng, n, width) for name in ("x", "y")}
        return {
            "part": part,
            "title": f"{title}; x of shape {(n, width)}",
            "function": function,
            "tensors": tensors,
            "weight": uniform(rng, width, width) / width**0.5,
            "cotangents": [uniform(rng, n, width) for _ in range(2)],
            "rows": torch.randperm(n, generator=rng),
            "grads": names,
            "seed": int(torch.randint(1 << 30, (), generator=rng)),
            **more,
        }

    gradients, kinds = "output and gradients", "arguments and outputs of every kind"
    memory, random = "activations are not kept", "random numbers"
    nested, autocast = "a checkpoint inside a checkpoint", "autocast"
    n, width = (2 + torch.randperm(4, generator=rng)[:2]).tolist()
    return [
        case(gradients, "layer", "function(x) = 2 * tanh(x @ weight)", 1, 2),
        case(gradients, "layer", "2 * tanh(x @ weight), x computed before", n, width, leaf=False),
        case(
            gradients,
            "product",
            "tanh(x @ weight) * y",
            n,
            width,
            grads=["x", "y"],
            weight_grad=True,
        ),
        case(kinds, "product", "tanh(x @ weight) * y, y without gradient", 2, 3),
        case(kinds, "product", "tanh(x @ weight) * y, only y with gradient", 2, 3, grads=["y"]),
        case(kinds, "pair", "a pair (tanh(x @ weight) * y, sin(x) * y)", 3, 2, grads=["x", "y"]),
        case(kinds, "pair", "a pair, only the second part in the loss", 3, 2, used=[1]),
        case(kinds, "pair", "a pair, only the first part in the loss", 3, 2, used=[0]),
        case(kinds, "mixed_outputs", "a tuple with None and with booleans", 3, 2, used=[0]),
        case(
            kinds,
            "choice",
            "arguments (float, x, None, integers, y, str)",
            n,
            width,
            grads=["x", "y"],
            scale=1.5,
            name="sin",
        ),
        case(memory, "deep", "three layers, 2 * tanh(x @ weight)", 2, 3),
        case(memory, "deep", "three layers, 2 * tanh(x @ weight)", n, width, leaf=False),
        case(random, "dropout", "dropout(x @ weight)", 8, 8),
        case(random, "dropout", "dropout(x @ weight), preserve_rng_state=True", 8, 8, keep=True),
        case(random, "dropout", "dropout(x @ weight), preserve_rng_state=False", 8, 8, keep=False),
        case(nested, "nested", "sin(checkpoint(inner, x + 1)) * x", 2, 3),
        case(nested, "nested", "sin(checkpoint(inner, x + 1)) * x", n, width, leaf=False),
        case(autocast, "half", "tanh(x @ weight) under bfloat16 autocast", 3, 4, autocast=True),
        case(autocast, "half", "tanh(x @ weight) without autocast", 3, 4),
    ]


def checkpoint_probe(checkpoint: Any, case: Case) -> Outputs:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case["seed"])
        return run_checkpoint(checkpoint, case)


def run_checkpoint(checkpoint: Any, case: Case) -> Outputs:
    weight = case["weight"].requires_grad_()
    if case.get("weight_grad"):
        weight.grad = torch.ones_like(weight)
    functions = Functions(weight, checkpoint)
    function = Part(getattr(functions, case["function"]))
    leaves = {name: t.requires_grad_(name in case["grads"]) for name, t in case["tensors"].items()}
    given = {
        name: leaf if case.get("leaf", True) else leaf.clone() for name, leaf in leaves.items()
    }
    x, y = given["x"], given["y"]
    args: dict[str, list] = {
        "product": [x, y],
        "pair": [x, y],
        "choice": [case.get("scale"), x, None, case["rows"], y, case.get("name")],
    }
    options = {"preserve_rng_state": case["keep"]} if "keep" in case else {}
    with torch.autocast("cpu", torch.bfloat16) if case.get("autocast") else nullcontext():
        returned = checkpoint(function, *args.get(case["function"], [x]), **options)
    outputs: Outputs = {"the output": returned}
    held, runs = functions.held(), functions.runs
    torch.rand(3)  # others draw too: only then it shows where the second run leaves the generator
    if case["function"] == "deep":
        outputs["activations in memory after the forward pass"] = held
    used = [as_tuple(returned)[place] for place in case.get("used", range(len(as_tuple(returned))))]
    outputs["the output requires a gradient"] = all(output.requires_grad for output in used)
    if outputs["the output requires a gradient"]:
        loss = sum((o.float() * c).sum() for o, c in zip(used, case["cotangents"], strict=False))
        loss.backward()
    outputs["runs of the function, forward and in all"] = [runs, functions.runs]
    if case["function"] == "nested":
        outputs["runs of the inner function"] = functions.inner_runs
    if case["function"] == "half":
        outputs["the dtype of x @ weight in each run"] = functions.dtypes
    if case["function"] == "dropout":
        outputs["the next random numbers after the backward pass"] = torch.rand(2)
    if case.get("keep", True):
        outputs |= {f"the gradient of {name}": leaf.grad for name, leaf in leaves.items()}
        # Of a parameter whose output is not in the loss, None and zeros are both right.
        unused = torch.zeros_like(weight) if "used" in case else None
        outputs["the gradient of the weight"] = unused if weight.grad is None else weight.grad
    outputs["which arguments require a gradient"] = [t.requires_grad for t in given.values()]
    return outputs | {f"{name}, which must not change": leaf for name, leaf in leaves.items()}


# --- checkpoint_sequential ------------------------------------------------------------------------

Layers = list[Callable[[Tensor], Tensor]]


def run(layers: Layers, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


class Segments:
    """Splits and runs, one decision a method."""

    def __call__(
        self,
        functions: Iterable[Callable[[Tensor], Tensor]],
        segments: int,
        input: Tensor,
        *,
        preserve_rng_state: bool = True,
    ) -> Tensor:
        layers = list(functions)
        *firsts, last = self.split(layers, segments)
        for part in firsts:
            checkpointed = partial(self.part_run, layers, firsts, part)
            input = self.checkpoint(checkpointed, input, preserve_rng_state)
        return self.run_last(last, input, preserve_rng_state)

    def split(self, layers: Layers, segments: int) -> list[Layers]:
        size = len(layers) // segments
        starts = [size * number for number in range(segments)]
        return [*(layers[start : start + size] for start in starts[:-1]), layers[starts[-1] :]]

    def part_run(self, layers: Layers, firsts: list[Layers], part: Layers, x: Tensor) -> Tensor:
        return run(part, x)

    def checkpoint(self, function: Callable, x: Tensor, preserve_rng_state: bool) -> Tensor:
        return torch_checkpoint(function, x, preserve_rng_state=preserve_rng_state)

    def run_last(self, last: Layers, x: Tensor, preserve_rng_state: bool) -> Tensor:
        return run(last, x)


class LastCheckpointedToo(Segments):
    def run_last(self, last: Layers, x: Tensor, preserve_rng_state: bool) -> Tensor:
        return self.checkpoint(partial(run, last), x, preserve_rng_state)


class NothingCheckpointed(Segments):
    def checkpoint(self, function: Callable, x: Tensor, preserve_rng_state: bool) -> Tensor:
        return function(x)


class EveryLayerAlone(Segments):
    def split(self, layers: Layers, segments: int) -> list[Layers]:
        *firsts, last = super().split(layers, segments)
        return [*([layer] for part in firsts for layer in part), last]


class OneSegmentForAllFirsts(Segments):
    def split(self, layers: Layers, segments: int) -> list[Layers]:
        *firsts, last = super().split(layers, segments)
        return [*([[layer for part in firsts for layer in part]] if firsts else []), last]


class RestLeftOut(Segments):
    def split(self, layers: Layers, segments: int) -> list[Layers]:
        size = len(layers) // segments
        return [layers[start * size : (start + 1) * size] for start in range(segments)]


class RestCheckpointed(Segments):
    def split(self, layers: Layers, segments: int) -> list[Layers]:
        size = len(layers) // segments
        parts = [layers[start * size : (start + 1) * size] for start in range(segments)]
        rest = layers[size * segments :]
        return [*parts, rest] if rest else parts


class RoundedUp(Segments):
    def split(self, layers: Layers, segments: int) -> list[Layers]:
        size = ceil(len(layers) / segments)
        return [layers[start : start + size] for start in range(0, len(layers), size)]


class SpreadEvenly(Segments):
    def split(self, layers: Layers, segments: int) -> list[Layers]:
        size, more = divmod(len(layers), segments)
        ends = [size * number + min(number, more) for number in range(segments + 1)]
        return [layers[start:end] for start, end in pairwise(ends)]


class SegmentsAreSizes(Segments):
    def split(self, layers: Layers, segments: int) -> list[Layers]:
        return [layers[start : start + segments] for start in range(0, len(layers), segments)]


class OneSegmentTooMany(Segments):
    def split(self, layers: Layers, segments: int) -> list[Layers]:
        return super().split(layers, min(segments + 1, len(layers)))


class LateBinding(Segments):
    """A lambda in a loop: by the time of the backward pass its variable is the last segment."""

    def part_run(self, layers: Layers, firsts: list[Layers], part: Layers, x: Tensor) -> Tensor:
        return run(firsts[-1] if torch.is_grad_enabled() else part, x)


class IgnoresPreserve(Segments):
    def checkpoint(self, function: Callable, x: Tensor, preserve_rng_state: bool) -> Tensor:
        return super().checkpoint(function, x, True)


class TurnsPreserveOff(Segments):
    def checkpoint(self, function: Callable, x: Tensor, preserve_rng_state: bool) -> Tensor:
        return super().checkpoint(function, x, False)


SEQUENTIAL_MISTAKES = (
    Mistake(
        "last_checkpointed_too",
        "The last segment is checkpointed too. The backward pass starts with it, so its "
        "activations are needed at once: run it as it is.",
        LastCheckpointedToo(),
    ),
    Mistake(
        "nothing_checkpointed",
        "No segment is checkpointed: call checkpoint for each but the last.",
        NothingCheckpointed(),
    ),
    Mistake(
        "every_layer_alone",
        "Each function is checkpointed alone, which keeps an activation for each. Checkpoint a "
        "whole segment with one call.",
        EveryLayerAlone(),
    ),
    Mistake(
        "one_segment_for_all",
        "Everything before the last segment is one checkpoint: make one for each segment.",
        OneSegmentForAllFirsts(),
    ),
    Mistake(
        "rest_left_out",
        "The functions that are left over when the number does not divide evenly never run: they "
        "belong to the last segment.",
        RestLeftOut(),
    ),
    Mistake(
        "rest_is_a_segment",
        "The functions that are left over make one segment more here: they belong to the last "
        "segment.",
        RestCheckpointed(),
    ),
    Mistake(
        "size_rounded_up",
        "The size of a segment is rounded up: it is len(functions) // segments, and the last "
        "segment takes the rest.",
        RoundedUp(),
    ),
    Mistake(
        "spread_evenly",
        "The functions that are left over are spread over the first segments: as in torch they "
        "all belong to the last one.",
        SpreadEvenly(),
    ),
    Mistake(
        "segments_taken_for_size",
        "segments is the number of segments, not the number of functions in each.",
        SegmentsAreSizes(),
    ),
    Mistake("one_segment_too_many", "There is one segment too many.", OneSegmentTooMany()),
    Mistake(
        "late_binding",
        "In the backward pass every checkpoint ran the functions of the last one made: a function "
        "defined in a loop looks up the loop's variable when it is called. Bind the segment with "
        "functools.partial or a default argument.",
        LateBinding(),
    ),
    Mistake(
        "ignores_preserve_rng_state",
        "preserve_rng_state=False has no effect: pass it on to checkpoint.",
        IgnoresPreserve(),
    ),
    Mistake(
        "never_preserves_rng_state",
        "The random numbers are not preserved: pass preserve_rng_state on to checkpoint.",
        TurnsPreserveOff(),
    ),
)


def sequential_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, num_layers: int, segments: int, **more: Any) -> Case:
        told = "".join(f", {name}={value}" for name, value in more.get("options", {}).items())
        if more.get("dropout"):
            told += ", with dropout"
        return {
            "part": part,
            "title": f"{num_layers} layers, {segments} segments{told}",
            "segments": segments,
            "weights": [uniform(rng, 3, 3) / 2 for _ in range(num_layers)],
            "x": uniform(rng, 4, 3),
            "cotangent": uniform(rng, 4, 3),
            "seed": int(torch.randint(1 << 30, (), generator=rng)),
            **more,
        }

    even, rest = "layers that divide evenly", "layers left over"
    random = "random numbers"
    size = int(torch.randint(2, 4, (), generator=rng))
    return [
        case(even, 4, 2),
        case(even, 6, 3, module=True),
        case(even, 3, 1),
        case(even, 3, 3),
        case(even, 4 * size, 4),
        case(rest, 5, 2),
        case(rest, 8, 3, iterator=True),
        case(rest, 9, 4),
        case(random, 4, 2, dropout=True),
        case(random, 4, 2, dropout=True, options={"preserve_rng_state": True}),
        case(random, 6, 3, dropout=True, options={"preserve_rng_state": False}),
    ]


class Layer(torch.nn.Module):
    """tanh(x @ weight), with dropout where asked for; it notes that it ran."""

    def __init__(self, number: int, weight: Tensor, ran: list[int], dropout: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        self.number, self.ran, self.dropout = number, ran, dropout

    def forward(self, x: Tensor) -> Tensor:
        self.ran.append(self.number)
        return torch.dropout(torch.tanh(x @ self.weight), 0.5, self.dropout)


def sequential_probe(checkpoint_sequential: Any, case: Case) -> Outputs:
    ran: list[int] = []
    layers: Any = [
        Layer(number, weight, ran, case.get("dropout", False))
        for number, weight in enumerate(case["weights"], start=1)
    ]
    functions = torch.nn.Sequential(*layers) if case.get("module") else layers
    functions = iter(functions) if case.get("iterator") else functions
    x = case["x"].requires_grad_()
    options = case.get("options", {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case["seed"])
        output = checkpoint_sequential(functions, case["segments"], x, **options)
        forward = list(ran)
        torch.rand(3)
        (output * case["cotangent"]).sum().backward()
        next_numbers = torch.rand(2)
    outputs: Outputs = {
        "the layers that ran in the forward pass": forward,
        "the layers that ran again in the backward pass": ran[len(forward) :],
        "the output": output,
    }
    if options.get("preserve_rng_state", True):
        outputs["the gradient of x"] = x.grad
        for layer in layers:
            outputs[f"the gradient of weight {layer.number}"] = layer.weight.grad
    if case.get("dropout"):
        outputs["the next random numbers after the backward pass"] = next_numbers
    return {**outputs, "x, which must not change": x}


# --- the cost of a split --------------------------------------------------------------------------


def peak(num_layers: int, segments: int) -> int:
    sizes = [num_layers // segments] * segments
    sizes[-1] += num_layers % segments
    return segments - 1 + max(sizes)


def best(num_layers: int) -> int:
    peaks = [peak(num_layers, segments) for segments in range(1, num_layers + 1)]
    return 1 + peaks.index(min(peaks))


def largest_best(num_layers: int) -> int:
    choices = range(1, num_layers + 1)
    return max(s for s in choices if peak(num_layers, s) == peak(num_layers, best(num_layers)))


def first_valley(num_layers: int) -> int:
    segments = 1
    while segments < num_layers and peak(num_layers, segments + 1) < peak(num_layers, segments):
        segments += 1
    return segments


PEAK_MISTAKES = (
    Mistake(
        "rest_forgotten",
        "The last segment also holds the layers that are left over: it is the longest.",
        lambda num_layers, segments: segments - 1 + num_layers // segments,
    ),
    Mistake(
        "rounded_up",
        "The layers left over all belong to the last segment: its length is not the mean rounded "
        "up.",
        lambda num_layers, segments: segments - 1 + ceil(num_layers / segments),
    ),
    Mistake(
        "last_input_counted",
        "The last segment is not checkpointed: only segments - 1 inputs are held.",
        lambda num_layers, segments: peak(num_layers, segments) + 1,
    ),
    Mistake(
        "inputs_forgotten",
        "While one segment is run again, the inputs of the checkpointed segments are held too.",
        lambda num_layers, segments: peak(num_layers, segments) - (segments - 1),
    ),
    Mistake(
        "segments_forgotten",
        "Only the longest segment is added to the inputs, not all the layers.",
        lambda num_layers, segments: segments - 1 + num_layers,
    ),
    Mistake(
        "everything_held",
        "This is the number without checkpointing: a segment's activations are freed before the "
        "one before it is run again.",
        lambda num_layers, segments: num_layers,
    ),
    Mistake(
        "a_float",
        "Return an integer: // divides without a fraction.",
        lambda num_layers, segments: float(peak(num_layers, segments)),
    ),
)

OPTIMAL_MISTAKES = (
    Mistake(
        "root_rounded_down",
        "The square root is a good guess, but where the layers do not divide evenly another number "
        "is better: compare the peaks.",
        isqrt,
    ),
    Mistake(
        "root_rounded",
        "The rounded square root is a good guess, but where the layers do not divide evenly "
        "another number is better: compare the peaks.",
        lambda num_layers: round(sqrt(num_layers)),
    ),
    Mistake(
        "root_rounded_up",
        "The square root rounded up is a good guess, but where the layers do not divide evenly "
        "another number is better: compare the peaks.",
        lambda num_layers: ceil(sqrt(num_layers)),
    ),
    Mistake(
        "largest_of_equals",
        "Where several numbers have the same peak, the smallest counts.",
        largest_best,
    ),
    Mistake(
        "returns_the_peak",
        "Return the number of segments, not its peak.",
        lambda num_layers: peak(num_layers, best(num_layers)),
    ),
    Mistake(
        "stops_at_the_first_valley",
        "The peak does not fall evenly to its smallest value: try all numbers from 1 to "
        "num_layers, not only until it rises.",
        first_valley,
    ),
    Mistake(
        "every_layer_alone",
        "With a segment for every layer the inputs of all of them are held: somewhere between 1 "
        "and num_layers it is less.",
        lambda num_layers: num_layers,
    ),
    Mistake(
        "one_segment",
        "With one segment nothing is checkpointed at all.",
        lambda num_layers: 1,
    ),
)


def peak_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, num_layers: int, segments: int) -> Case:
        title = f"num_layers {num_layers}, segments {segments}"
        return {"part": part, "title": title, "arguments": [num_layers, segments]}

    even, rest = "layers that divide evenly", "layers left over"
    segments, size = (3 + torch.randperm(6, generator=rng)[:2]).tolist()
    return [
        case(even, 4, 2),
        case(even, 5, 1),
        case(even, 6, 6),
        case(even, 12, 3),
        case(even, 1, 1),
        case(even, segments * size, segments),
        case(rest, 5, 2),
        case(rest, 11, 4),
        case(rest, 15, 4),
        case(rest, segments * size + segments - 1, segments),
    ]


def optimal_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, num_layers: int) -> Case:
        return {"part": part, "title": f"num_layers {num_layers}", "arguments": [num_layers]}

    few, many = "up to 20 layers", "more layers"
    drawn = torch.randint(200, 500, (2,), generator=rng).tolist()
    return [
        *(case(few, num_layers) for num_layers in range(1, 21)),
        *(case(many, num_layers) for num_layers in (36, 50, 100, 101, 150, *drawn)),
    ]


def cost_probe(cost: Any, case: Case) -> Outputs:
    result = cost(*case["arguments"])
    return {"the result": result, "its type": type(result).__name__}


# --- the checks -----------------------------------------------------------------------------------

check_activation_checkpoint = Check(
    module="checkpointing",
    exercise="activation_checkpoint",
    target="checkpoint",
    parts={
        "output and gradients": 2,
        "arguments and outputs of every kind": 2,
        "activations are not kept": 2,
        "random numbers": 2,
        "a checkpoint inside a checkpoint": 1,
        "autocast": 1,
    },
    inputs=checkpoint_inputs,
    probe=checkpoint_probe,
    oracle=torch_checkpoint,
    mistakes=CHECKPOINT_MISTAKES,
    hints=(
        "checkpoint calls Checkpoint.apply(function, preserve_rng_state, *args). In forward keep "
        "what the second run needs, then return function(*args): torch has turned gradients off.",
        "In backward rebuild the arguments from detached tensors that require a gradient where the "
        "saved ones did, run the function under torch.enable_grad(), and call "
        "torch.autograd.backward(outputs, grad_outputs). The gradients are then in arg.grad.",
        "Around the second run: take RandomState(*args) first, restore the one of the forward "
        "pass, run inside ctx.autocast.again(), and restore the one taken first. Return None for "
        "function and preserve_rng_state, then arg.grad or None for every argument.",
    ),
    forbidden=FORBIDDEN,
)

check_checkpoint_sequential = Check(
    module="checkpointing",
    exercise="checkpoint_sequential",
    target="checkpoint_sequential",
    parts={"layers that divide evenly": 2, "layers left over": 1, "random numbers": 1},
    inputs=sequential_inputs,
    probe=sequential_probe,
    oracle=Segments(),
    mistakes=SEQUENTIAL_MISTAKES,
    hints=(
        "size = len(functions) // segments. All segments but the last start at 0, size, 2 * size "
        "and so on.",
        "run_in_order(functions[start : start + size], input) runs one segment; checkpoint wants a "
        "function of the input alone, which functools.partial makes of it.",
        "After the loop over segments - 1 segments run all the functions that are left, without a "
        "checkpoint.",
    ),
    forbidden=FORBIDDEN,
)

check_peak_activations = Check(
    module="checkpointing",
    exercise="peak_activations",
    target="peak_activations",
    parts={"layers that divide evenly": 1, "layers left over": 1},
    inputs=peak_inputs,
    probe=cost_probe,
    oracle=peak,
    mistakes=PEAK_MISTAKES,
    hints=(
        "Two things are held at once: the inputs of the checkpointed segments, and the activations "
        "of the one segment that the backward pass is in.",
        "Which segment is the longest? Look at how checkpoint_sequential shares out the layers.",
        "The last segment has num_layers - (segments - 1) * (num_layers // segments) layers.",
    ),
    forbidden=FORBIDDEN,
)

check_optimal_segments = Check(
    module="checkpointing",
    exercise="optimal_segments",
    target="optimal_segments",
    parts={"up to 20 layers": 1, "more layers": 1},
    inputs=optimal_inputs,
    probe=cost_probe,
    oracle=best,
    mistakes=OPTIMAL_MISTAKES,
    hints=(
        "There are only num_layers possibilities: try them all.",
        "min(..., key=...) returns the item whose key is smallest, and the first of equals.",
        "The items are range(1, num_layers + 1), the key of one is its peak_activations.",
    ),
    forbidden=FORBIDDEN,
)
