"""Checks of ``autograd``: an engine for reverse-mode differentiation, operation by operation."""

import contextlib
import inspect
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import prod
from operator import pos
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch

# Student's code must not call what is in this file. Rules and functions that it has to call are
# decorated with ``torch.inference_mode``: then it calls torch, which calls them.
from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = (
    "torch.autograd",
    "torch.func",
    "torch.Tensor.backward",
    "torch.Tensor.requires_grad_",
    "torch.Tensor.sum_to_size",
)
DEEP, ROOM = 600, 500
"""Length of a chain of operations, and how many calls may stand inside each other meanwhile."""


def normal(rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)


def away_from_zero(
    rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Draw numbers of either sign, from 0.5 to 2 in size, the first two with different signs."""
    size = 0.5 + 1.5 * torch.rand(shape, generator=rng, dtype=torch.float64)
    signs = torch.ones(prod(shape), dtype=torch.float64)
    signs[1::2] = -1
    return (size * signs.reshape(shape)).to(dtype)


def positive(rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return away_from_zero(rng, *shape, dtype=dtype).abs()


def shown(name: str, tensor: torch.Tensor) -> str:
    """Return a tensor in words: its numbers when they are few, else its shape and dtype."""
    if tensor.numel() <= 4 and tensor.dtype == torch.float32:
        return f"{name} = {_rounded(tensor.tolist())}"
    dtype = "" if tensor.dtype == torch.float32 else f" ({str(tensor.dtype)[6:]})"
    return f"{name} of shape {tuple(tensor.shape)}{dtype}"


def _rounded(numbers: Any) -> Any:
    if isinstance(numbers, list):
        return [_rounded(number) for number in numbers]
    return float(f"{numbers:.4g}")


def sum_to_shape(grad: torch.Tensor, shape: Iterable[int]) -> torch.Tensor:
    """Undo a broadcast, one dimension after the other; other shapes are left as they are."""
    shape = tuple(shape)
    while grad.dim() > len(shape):
        grad = grad.sum(0)
    for dim, (n, wanted) in enumerate(zip(grad.shape, shape, strict=False)):
        if wanted == 1 and n != 1:
            grad = grad.sum(dim, keepdim=True)
    return grad


def spread(grad: torch.Tensor, x: torch.Tensor, dim: Any, keepdim: bool) -> torch.Tensor:
    """Give every element of ``x`` the gradient of the sum over ``dim`` that it went into."""
    if dim is None:
        return grad.reshape([1] * x.dim()).expand(x.shape)
    if not keepdim:
        dims = (dim,) if isinstance(dim, int) else dim
        for d in sorted(d % x.dim() for d in dims):
            grad = grad.unsqueeze(d)
    return grad.expand(x.shape)


def count(x: torch.Tensor, dim: Any) -> int:
    dims = range(x.dim()) if dim is None else (dim,) if isinstance(dim, int) else dim
    return prod(x.shape[d] for d in dims)


def matmul_grads(
    grad: torch.Tensor, a: torch.Tensor, b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    if a.dim() == 1 and b.dim() == 1:
        return grad * b, grad * a
    if a.dim() == 1:
        return (grad.unsqueeze(-2) * b).sum(-1), a.unsqueeze(-1) * grad.unsqueeze(-2)
    if b.dim() == 1:
        return grad.unsqueeze(-1) * b, (grad.unsqueeze(-1) * a).flatten(0, -2).sum(0)
    return grad @ b.mT, a.mT @ grad


OPERATIONS: dict[str, tuple[Callable, ...]] = {
    "neg": (lambda a: -a, lambda g, y, a: -g),
    "add": (lambda a, b: a + b, lambda g, y, a, b: g, lambda g, y, a, b: g),
    "sub": (lambda a, b: a - b, lambda g, y, a, b: g, lambda g, y, a, b: -g),
    "mul": (lambda a, b: a * b, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    "div": (lambda a, b: a / b, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * a / b**2),
    "pow": (lambda a, n: a**n, lambda g, y, a, n: g * n * a ** (n - 1) if n else 0 * g),
    "matmul": (
        lambda a, b: a @ b,
        lambda g, y, a, b: matmul_grads(g, a, b)[0],
        lambda g, y, a, b: matmul_grads(g, a, b)[1],
    ),
    "relu": (lambda a: a.clamp(min=0), lambda g, y, a: g * (a > 0)),
    "exp": (lambda a: a.exp(), lambda g, y, a: g * y),
    "log": (lambda a: a.log(), lambda g, y, a: g / a),
    "sum": (lambda a, dim, keep: a.sum(dim, keep), lambda g, y, a, *to: spread(g, a, *to)),
    "mean": (
        lambda a, dim, keep: a.mean(dim, keep),
        lambda g, y, a, dim, keep: spread(g, a, dim, keep) / count(a, dim),
    ),
    "reshape": (lambda a, shape: a.reshape(shape), lambda g, y, a, _: g.reshape(a.shape)),
    "transpose": (lambda a, i, j: a.transpose(i, j), lambda g, y, a, i, j: g.transpose(i, j)),
}
"""For each operation its value, and for each input a rule: from the gradient ``g`` of the result,
the result ``y`` and the inputs to the gradient of that input."""


class Tensor:
    """The oracle: an engine with one decision a method, so that a mistake changes one of them."""

    operations = OPERATIONS

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.data = torch.as_tensor(data).detach()
        self.requires_grad = requires_grad
        self.grad: torch.Tensor | None = None
        self.edges: tuple = ()
        self.retains_grad = False

    @classmethod
    def from_operation(cls, data: torch.Tensor, *edges: tuple[Any, Callable]) -> "Tensor":
        result = cls(data)
        result.edges = tuple(e for e in edges if isinstance(e[0], Tensor) and e[0].requires_grad)
        result.requires_grad = bool(result.edges)
        return result

    @property
    def shape(self) -> torch.Size:
        return self.data.shape

    def retain_grad(self) -> None:
        self.retains_grad = True

    def backward(self, gradient: torch.Tensor | None = None) -> None:
        self.walk(torch.ones_like(self.data) if gradient is None else gradient)

    def walk(self, gradient: torch.Tensor) -> None:
        arrived = {self: gradient}
        for tensor in self.order():
            grad = arrived[tensor]
            self.deposit(tensor, grad)
            for input, rule in tensor.edges:
                self.arrive(arrived, input, self.fitted(rule(grad), input))

    def order(self) -> list["Tensor"]:
        """Take a tensor when all that was computed from it has been taken."""
        waiting = Counter(input for tensor in self.reachable() for input, _ in tensor.edges)
        order = [self]
        for tensor in order:
            for input, _ in tensor.edges:
                waiting[input] -= 1
                if waiting[input] == 0:
                    order.append(input)
        return order

    def reachable(self) -> list["Tensor"]:
        """Go through the graph breadth first."""
        found = {self: None}
        for tensor in (queue := [self]):
            fresh = dict.fromkeys(input for input, _ in tensor.edges if input not in found)
            found |= fresh
            queue += fresh
        return queue

    def arrive(self, arrived: dict, input: "Tensor", part: torch.Tensor) -> None:
        arrived[input] = arrived[input] + part if input in arrived else part

    def fitted(self, grad: torch.Tensor, input: "Tensor") -> torch.Tensor:
        return sum_to_shape(grad, input.shape).to(input.data.dtype)

    def deposit(self, tensor: "Tensor", grad: torch.Tensor) -> None:
        if not tensor.edges or tensor.retains_grad:
            tensor.grad = grad.clone() if tensor.grad is None else tensor.grad + grad

    def operate(self, name: str, inputs: tuple, *options: Any) -> "Tensor":
        values = [input.data if isinstance(input, Tensor) else input for input in inputs]
        value, *rules = self.operations[name]
        y = value(*values, *options)

        def call(rule: Callable, grad: torch.Tensor) -> torch.Tensor:
            return rule(grad, y, *values, *options)

        return self.from_operation(
            y, *((input, partial(call, rule)) for input, rule in zip(inputs, rules, strict=True))
        )

    def __neg__(self) -> "Tensor":
        return self.operate("neg", (self,))

    def __add__(self, other: Any) -> "Tensor":
        return self.operate("add", (self, other))

    def __radd__(self, other: Any) -> "Tensor":
        return self.operate("add", (other, self))

    def __sub__(self, other: Any) -> "Tensor":
        return self.operate("sub", (self, other))

    def __rsub__(self, other: Any) -> "Tensor":
        return self.operate("sub", (other, self))

    def __mul__(self, other: Any) -> "Tensor":
        return self.operate("mul", (self, other))

    def __rmul__(self, other: Any) -> "Tensor":
        return self.operate("mul", (other, self))

    def __truediv__(self, other: Any) -> "Tensor":
        return self.operate("div", (self, other))

    def __rtruediv__(self, other: Any) -> "Tensor":
        return self.operate("div", (other, self))

    def __pow__(self, exponent: float) -> "Tensor":
        return self.operate("pow", (self,), exponent)

    def __matmul__(self, other: Any) -> "Tensor":
        return self.operate("matmul", (self, other))

    def relu(self) -> "Tensor":
        return self.operate("relu", (self,))

    def exp(self) -> "Tensor":
        return self.operate("exp", (self,))

    def log(self) -> "Tensor":
        return self.operate("log", (self,))

    def sum(self, dim: Any = None, keepdim: bool = False) -> "Tensor":
        return self.operate("sum", (self,), dim, keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False) -> "Tensor":
        return self.operate("mean", (self,), dim, keepdim)

    def reshape(self, *shape: Any) -> "Tensor":
        return self.operate("reshape", (self,), shape if isinstance(shape[0], int) else shape[0])

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        return self.operate("transpose", (self,), dim0, dim1)


def with_rules(operation: str, *rules: Callable | None, value: Callable | None = None) -> type:
    """Return an engine in which one operation has other rules; ``None`` leaves one as it is."""
    right_value, *right_rules = OPERATIONS[operation]
    mine = [rule or right for rule, right in zip(rules, right_rules, strict=False)]
    row = (value or right_value, *mine, *right_rules[len(mine) :])
    return type("WithRules", (Tensor,), {"operations": {**OPERATIONS, operation: row}})


# --- unbroadcast ----------------------------------------------------------------------------------


def only_in_front(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    return grad.sum(tuple(range(grad.dim() - len(shape)))) if grad.dim() > len(shape) else grad


def only_size_one(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    padded = (*grad.shape[: grad.dim() - len(shape)], *shape)
    return sum_to_shape(grad, padded)


def drops_size_one(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    return sum_to_shape(grad, shape).reshape([n for n in shape if n != 1])


def keeps_dimensions_in_front(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    return sum_to_shape(grad, [1] * (grad.dim() - len(shape)) + list(shape))


def takes_one_place(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    grad = grad[(0,) * (grad.dim() - len(shape))]
    return grad[tuple(slice(n) for n in shape)]


def averages(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    return sum_to_shape(grad, shape) * prod(shape) / grad.numel()


def aligns_at_the_left(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    while grad.dim() > len(shape):
        grad = grad.sum(-1)
    return sum_to_shape(grad, shape)


def sums_everything(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    return grad.sum().expand(shape) if grad.shape != torch.Size(shape) else grad


def counts_the_places(grad: torch.Tensor, shape: tuple) -> torch.Tensor:
    return sum_to_shape(grad, shape) * grad.numel() / prod(shape)


UNBROADCAST_MISTAKES = (
    Mistake(
        "only_in_front",
        "Dimensions of size 1 were stretched too: where the shape says 1 and the gradient has "
        "more, sum over that dimension and keep it.",
        only_in_front,
    ),
    Mistake(
        "only_size_one",
        "Broadcasting also puts new dimensions in front: where the gradient has more dimensions "
        "than the shape, sum over the first ones.",
        only_size_one,
    ),
    Mistake(
        "drops_size_one",
        "A dimension of size 1 belongs to the shape: sum with keepdim=True.",
        drops_size_one,
    ),
    Mistake(
        "keeps_dimensions_in_front",
        "The dimensions that broadcasting put in front must be gone: here they are left, with "
        "size 1.",
        keeps_dimensions_in_front,
    ),
    Mistake(
        "takes_one_place",
        "Sum over the places where an element was used: here the gradient of one place was taken.",
        takes_one_place,
    ),
    Mistake("averages", "Sum over the repeated places, do not average.", averages),
    Mistake(
        "aligns_at_the_left",
        "Broadcasting aligns shapes at the right: the dimensions to sum away are the first ones, "
        "not the last.",
        aligns_at_the_left,
    ),
    Mistake(
        "sums_everything",
        "Sum only over what was repeated: here the sum of the whole gradient stands everywhere.",
        sums_everything,
    ),
    Mistake(
        "counts_the_places",
        "The sum was multiplied by the number of places: the sum alone is the gradient.",
        counts_the_places,
    ),
)


def unbroadcast_inputs(rng: torch.Generator) -> list[Case]:
    def case(
        part: str, before: tuple, after: tuple, dtype: torch.dtype = torch.float32, **more: Any
    ) -> Case:
        grad = away_from_zero(rng, *after, dtype=dtype)
        return {
            "part": part,
            "title": f"{shown('grad', grad)}, shape {before}",
            "grad": grad.transpose(0, 1) if more.get("transposed") else grad,
            "shape": before,
        }

    front, ones, both = "dimensions in front", "dimensions of size 1", "both, or nothing to sum"
    n, m = (int(i) for i in torch.randint(3, 6, (2,), generator=rng))
    return [
        case(front, (), (3,)),
        case(front, (2,), (2, 2)),
        case(front, (), (2, 3)),
        case(front, (n, n), (m, n, n)),
        case(front, (n,), (2, n, n), torch.float64),
        case(ones, (1,), (3,)),
        case(ones, (2, 1), (2, 2)),
        case(ones, (1, 3), (4, 3)),
        case(ones, (1, 1), (n, m)),
        case(ones, (n, 1, 2, 1), (n, m, 2, 3)),
        case(ones, (1, 3), (0, 3)),
        case(ones, (3, 1), (3, 1024), torch.bfloat16),
        case(both, (2,), (2,)),
        case(both, (2, 1), (3, 2, 4)),
        case(both, (1,), (3, 4)),
        case(both, (1, n, 1), (2, m, n, 3)),
        case(both, (n, 1), (n, 1)),
        case(both, (1, 4), (2, 1, 4)),
        case(both, (4, 1), (5, 4, 3), transposed=False),
        case(both, (n, 1), (n, n), transposed=True),
    ]


def unbroadcast_probe(unbroadcast: Any, case: Case) -> Outputs:
    with torch.inference_mode():
        return {
            "unbroadcast(grad, shape)": unbroadcast(case["grad"], torch.Size(case["shape"])),
            "grad, which must not change": case["grad"],
        }


# --- the backward pass ----------------------------------------------------------------------------


class OverwritesWithinThePass(Tensor):
    def arrive(self, arrived: dict, input: Tensor, part: torch.Tensor) -> None:
        arrived[input] = part


class OverwritesTheLastPass(Tensor):
    def deposit(self, tensor: Tensor, grad: torch.Tensor) -> None:
        tensor.grad = None
        super().deposit(tensor, grad)


class BreadthFirst(Tensor):
    def order(self) -> list[Tensor]:
        return self.reachable()


class DepthFirst(Tensor):
    def order(self) -> list[Tensor]:
        order: list[Tensor] = []
        stack: list[Tensor] = [self]
        while stack:
            tensor = stack.pop()
            if tensor not in order:
                order.append(tensor)
                stack += self.stacked([input for input, _ in tensor.edges])
        return order

    def stacked(self, inputs: list[Tensor]) -> list[Tensor]:
        return inputs[::-1]


class DepthFirstFromTheLast(DepthFirst):
    def stacked(self, inputs: list[Tensor]) -> list[Tensor]:
        return inputs


class EveryPath(Tensor):
    def walk(self, gradient: torch.Tensor) -> None:
        stack = [(self, gradient)]
        while stack:
            tensor, grad = stack.pop()
            self.deposit(tensor, grad)
            for input, rule in tensor.edges:
                stack.append((input, self.fitted(rule(grad), input)))


class WholeSumOnEveryPath(Tensor):
    def walk(self, gradient: torch.Tensor) -> None:
        arrived = {self: gradient}
        stack = [self]
        while stack:
            tensor = stack.pop()
            for input, rule in tensor.edges:
                self.arrive(arrived, input, self.fitted(rule(arrived[tensor]), input))
                stack.append(input)
        for tensor, grad in arrived.items():
            self.deposit(tensor, grad)


class NotSummed(Tensor):
    def fitted(self, grad: torch.Tensor, input: Tensor) -> torch.Tensor:
        return grad.to(input.data.dtype)


class RuleAsItIs(Tensor):
    def fitted(self, grad: torch.Tensor, input: Tensor) -> torch.Tensor:
        return grad


class DtypeOfTheRule(Tensor):
    def fitted(self, grad: torch.Tensor, input: Tensor) -> torch.Tensor:
        return sum_to_shape(grad, input.shape)


class StartsFromOnes(Tensor):
    def walk(self, gradient: torch.Tensor) -> None:
        super().walk(torch.ones_like(gradient))


class EveryTensorGetsAGradient(Tensor):
    def deposit(self, tensor: Tensor, grad: torch.Tensor) -> None:
        tensor.grad = grad.clone() if tensor.grad is None else tensor.grad + grad


class OldGradientsFlowAgain(Tensor):
    def walk(self, gradient: torch.Tensor) -> None:
        order = self.order()
        self.grad = gradient if self.grad is None else self.grad + gradient
        for tensor in order:
            for input, rule in tensor.edges:
                part = self.fitted(rule(tensor.grad), input)
                input.grad = part.clone() if input.grad is None else input.grad + part


class LeavesOnly(Tensor):
    def deposit(self, tensor: Tensor, grad: torch.Tensor) -> None:
        if not tensor.edges:
            super().deposit(tensor, grad)


class AddsInPlace(Tensor):
    def arrive(self, arrived: dict, input: Tensor, part: torch.Tensor) -> None:
        if input in arrived:
            arrived[input] += part
        else:
            arrived[input] = part


class SharesMemory(Tensor):
    def deposit(self, tensor: Tensor, grad: torch.Tensor) -> None:
        if not tensor.edges or tensor.retains_grad:
            tensor.grad = grad if tensor.grad is None else tensor.grad + grad


class SharesMemoryAndAddsInPlace(Tensor):
    def deposit(self, tensor: Tensor, grad: torch.Tensor) -> None:
        if not tensor.edges or tensor.retains_grad:
            if tensor.grad is None:
                tensor.grad = grad
            else:
                tensor.grad += grad


class AveragesThePaths(Tensor):
    def walk(self, gradient: torch.Tensor) -> None:
        self.uses = Counter(input for tensor in self.reachable() for input, _ in tensor.edges)
        super().walk(gradient)

    def arrive(self, arrived: dict, input: Tensor, part: torch.Tensor) -> None:
        super().arrive(arrived, input, part / self.uses[input])


class TakesTheGraphApart(Tensor):
    def walk(self, gradient: torch.Tensor) -> None:
        tensors = self.reachable()
        super().walk(gradient)
        for tensor in tensors:
            tensor.edges = ()


class FollowsOneInput(Tensor):
    def walk(self, gradient: torch.Tensor) -> None:
        tensor: Tensor = self
        while tensor.edges:
            (input, rule), *_ = tensor.edges
            gradient, tensor = self.fitted(rule(gradient), input), input
        self.deposit(tensor, gradient)


FITTING_MISTAKES = (
    Mistake(
        "not_summed",
        "What a rule returns may have a shape that the input was broadcast to: call unbroadcast "
        "with the shape of the input.",
        NotSummed,
    ),
    Mistake(
        "rule_as_it_is",
        "What a rule returns was taken as it is: bring it to the shape of the input with "
        "unbroadcast, and to its dtype with .to.",
        RuleAsItIs,
    ),
)

BACKWARD_MISTAKES = (
    Mistake(
        "overwrites_within_the_pass",
        "A tensor that is used several times gets a part of its gradient from every use: add the "
        "parts. Here the last part replaced the others.",
        OverwritesWithinThePass,
    ),
    Mistake(
        "overwrites_the_last_pass",
        "Every call of backward adds to grad: here the second call replaced what the first had "
        "left.",
        OverwritesTheLastPass,
    ),
    Mistake(
        "breadth_first",
        "A tensor was taken before all the parts of its gradient had arrived: the order of "
        "breadth-first search is not enough, it must be a topological order.",
        BreadthFirst,
    ),
    Mistake(
        "depth_first",
        "A tensor was taken before all the parts of its gradient had arrived: append it to the "
        "list after its inputs, then reverse the list. Here it was appended before them.",
        DepthFirst,
    ),
    Mistake(
        "depth_first_from_the_last",
        "A tensor was taken when it was first met, the last input first: in a topological order "
        "it waits until everything that was computed from it has been taken.",
        DepthFirstFromTheLast,
    ),
    Mistake(
        "every_path",
        "The gradients are right, but every path through the graph was walked alone, and there "
        "are exponentially many. Add up the whole gradient of a tensor first, then call its rules "
        "once.",
        EveryPath,
    ),
    Mistake(
        "whole_sum_on_every_path",
        "A tensor that is reached along several paths was walked from each time, and each time "
        "with all that had arrived so far: parts are counted twice. Visit every tensor once.",
        WholeSumOnEveryPath,
    ),
    *FITTING_MISTAKES,
    Mistake(
        "dtype_of_the_rule",
        "A gradient has the dtype of its tensor: here it has the dtype of the operation's result.",
        DtypeOfTheRule,
    ),
    Mistake(
        "starts_from_ones",
        "The pass starts from the argument gradient: here it started from ones.",
        StartsFromOnes,
    ),
    Mistake(
        "every_tensor_gets_a_gradient",
        "Only leaves, and tensors with retains_grad, keep a gradient: the others stay None.",
        EveryTensorGetsAGradient,
    ),
    Mistake(
        "old_gradients_flow_again",
        "What flows is the gradient of this pass alone: here grad was passed on, with what earlier "
        "passes had left in it. Keep the gradients of a pass in a dictionary of its own.",
        OldGradientsFlowAgain,
    ),
    Mistake(
        "leaves_only",
        "A tensor with retains_grad keeps its gradient too, although it is not a leaf.",
        LeavesOnly,
    ),
    Mistake(
        "adds_in_place",
        "A gradient was changed in place (+=) while another tensor still used it: rules may return "
        "the very tensor that they were given. Make a new one: a = a + b.",
        AddsInPlace,
    ),
    Mistake(
        "shares_memory",
        "Gradients share memory: changing one changes another, or the gradient that was passed in. "
        "Store a clone.",
        SharesMemory,
    ),
    Mistake(
        "shares_memory_and_adds_in_place",
        "The second pass changed more than one gradient: after the first they shared memory, and "
        "+= wrote into it. Store a clone.",
        SharesMemoryAndAddsInPlace,
    ),
    Mistake(
        "averages_the_paths",
        "The parts of a gradient are added, not averaged.",
        AveragesThePaths,
    ),
    Mistake(
        "takes_the_graph_apart",
        "The graph must stay: a second backward through it found nothing.",
        TakesTheGraphApart,
    ),
    Mistake(
        "follows_one_input",
        "An operation with two inputs passes a gradient to both: here only the first was followed.",
        FollowsOneInput,
    ),
)


STEPS: dict[str, Callable] = {
    # pos, and not a lambda: the rule of a sum returns the very tensor that it was given.
    "{} + {}": lambda a, b: (a + b, pos, pos),
    "{} * {}": lambda a, b: (a * b, lambda g: g * b, lambda g: g * a),
    "3 * {}": lambda a: (3 * a, lambda g: 3 * g),
    "sum({})": lambda a: (a.sum(), lambda g: g.expand(a.shape)),
    "flat({})": lambda a: (a.reshape(-1), lambda g: g.reshape(a.shape)),
}
"""Operations of the probe's own: from the values to the result and a rule for each input."""


def graph_case(
    part: str,
    leaves: list[torch.Tensor],
    steps: list[tuple],
    passes: tuple = (),
    title: str = "",
    constants: tuple = (),
    retained: tuple = (),
    more: int = 0,
) -> Case:
    """Return a case: leaves x, y, z, then one tensor a, b, c, ... for each step.

    A step is a key of ``STEPS`` and the numbers of its inputs, leaves first; a pass is the number
    of the tensor to go back from and a gradient. Without passes there is one, from the last.
    ``more`` times the first leaf is added to the last tensor before the passes.
    """
    names = ["x", "y", "z"][: len(leaves)] + list(ascii_lowercase[: len(steps)])
    passes = passes or ((-1, None),)
    if not title:
        shown_leaves = [shown(*pair) for pair in zip(names, leaves, strict=False)]
        shown_steps = [
            f"{name} = {form.format(*(names[i] for i in inputs))}"
            for name, (form, *inputs) in zip(names[len(leaves) :], steps, strict=True)
        ]
        kept = [f"{names[i]}.retain_grad()" for i in retained]
        calls = [
            f"{names[i]}.backward({'' if grad is None else shown('gradient', grad)})"
            for i, grad in passes
        ]
        title = "; ".join((", ".join(shown_leaves), ", ".join([*shown_steps, *kept, *calls])))
    return {
        "part": part,
        "title": title,
        "leaves": leaves,
        "steps": steps,
        "passes": passes,
        "constants": constants,
        "retained": retained,
        "more": more,
    }


def backward_inputs(rng: torch.Generator) -> list[Case]:
    def pair() -> torch.Tensor:
        return away_from_zero(rng, 2)

    def one() -> torch.Tensor:
        return positive(rng)

    add, mul, triple, total, flat = STEPS
    path, uses, passes = "one path", "tensors that are used several times", "several passes"
    fit, memory, deep = "shapes and dtypes", "gradients with memory of their own", "a deep chain"
    skip = [(triple, 0), (triple, 1), (mul, 1, 2)]
    nested = [step for i in range(6) for step in ((triple, i * 2), (add, i * 2, i * 2 + 1))]
    return [
        graph_case(path, [one()], [(triple, 0)]),
        graph_case(path, [one(), one()], [(mul, 0, 1)]),
        graph_case(path, [one(), one()], [(mul, 0, 1)], constants=(0,)),
        graph_case(path, [pair()], [(triple, 0), (triple, 1)], ((-1, pair()),)),
        graph_case(path, [pair(), pair(), pair()], [(mul, 0, 1), (mul, 3, 2)], ((-1, pair()),)),
        graph_case(path, [pair()], [], ((0, pair()),)),
        graph_case(uses, [one()], [(add, 0, 0)]),
        graph_case(uses, [one()], [(triple, 0), (mul, 1, 1)]),
        graph_case(uses, [one()], skip),
        graph_case(uses, [one()], [(triple, 0), (triple, 1), (mul, 2, 1)]),
        graph_case(uses, [one()], [(triple, 0), (triple, 1), (triple, 2), (mul, 3, 1)]),
        graph_case(uses, [one()], [(triple, 0), (triple, 1), (triple, 2), (mul, 1, 3)]),
        graph_case(
            uses,
            [pair(), pair()],
            [(mul, 0, 1), (add, 2, 0), (mul, 3, 2), (add, 4, 3), (mul, 5, 1)],
            ((-1, pair()),),
        ),
        graph_case(uses, [one()], nested, title="x = ..., then six times x = x + 3 * x"),
        graph_case(passes, [one()], [(triple, 0)], ((1, None), (1, None))),
        graph_case(passes, [pair()], skip, ((3, pair()), (1, pair()), (3, pair()))),
        graph_case(
            passes, [pair(), pair()], [(mul, 0, 1), (triple, 0)], ((2, pair()), (3, pair()))
        ),
        graph_case(
            passes, [pair()], skip, ((3, pair()), (3, pair()), (2, pair())), retained=(1, 3)
        ),
        graph_case(fit, [one(), pair()], [(mul, 0, 1)], ((-1, pair()),)),
        graph_case(fit, [away_from_zero(rng, 2, 1), pair()], [(mul, 0, 1), (total, 2)]),
        graph_case(
            fit,
            [away_from_zero(rng, 3, 1), away_from_zero(rng, 4, dtype=torch.float64)],
            [(mul, 0, 1)],
            ((-1, normal(rng, 3, 4, dtype=torch.float64)),),
        ),
        graph_case(
            fit,
            [away_from_zero(rng, 2, 3), away_from_zero(rng, 1, 3, dtype=torch.bfloat16)],
            [(mul, 0, 1), (flat, 2), (total, 3)],
        ),
        graph_case(fit, [torch.empty(0, 2), pair()], [(mul, 0, 1), (total, 2)]),
        graph_case(memory, [pair(), pair()], [(add, 0, 1)], ((-1, pair()),)),
        graph_case(memory, [pair()], [], ((0, pair()),)),
        graph_case(memory, [pair()], [(add, 0, 0)], ((-1, pair()),)),
        graph_case(memory, [pair()], [(total, 0)]),
        graph_case(memory, [pair(), pair()], [(add, 0, 1)], ((-1, pair()), (-1, pair()))),
        graph_case(
            memory, [pair(), pair()], [(add, 0, 1), (add, 2, 0), (add, 3, 2)], ((-1, pair()),)
        ),
        graph_case(
            deep,
            [one()],
            [(triple, 0)],
            title=f"a = 3 * x, then {DEEP} times a = a + x, with a recursion limit of {ROOM}",
            more=DEEP,
        ),
    ]


@contextlib.contextmanager
def recursion_limit(room: int) -> Iterator[None]:
    """Leave room for so many calls inside each other, whatever the limit is around here."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(sum(1 for _ in traceback.walk_stack(None)) + room)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def backward_probe(tensor: Any, case: Case) -> Outputs:
    with torch.inference_mode(), recursion_limit(ROOM):
        tensors = [
            tensor(leaf, requires_grad=number not in case["constants"])
            for number, leaf in enumerate(case["leaves"])
        ]
        leaves, calls = tuple(tensors), Counter[tuple[int, int]]()
        for step, (form, *numbers) in enumerate(case["steps"]):
            inputs = [tensors[number] for number in numbers]
            value, *rules = STEPS[form](*(input.data for input in inputs))
            edges = [
                (input, counted(rule, calls, (step, place)))
                for place, (input, rule) in enumerate(zip(inputs, rules, strict=True))
            ]
            tensors.append(tensor.from_operation(value, *edges))
        for _ in range(case["more"]):
            last, first = tensors[-1], tensors[0]
            value = last.data + first.data
            tensors.append(tensor.from_operation(value, (last, pos), (first, pos)))
        for number in case["retained"]:
            tensors[number].retain_grad()
        outputs: Outputs = {}
        for number, (start, gradient) in enumerate(case["passes"], start=1):
            tensors[start].backward(*(() if gradient is None else (gradient,)))
            after = f" after pass {number}" if len(case["passes"]) > 1 else ""
            for name, leaf in zip("xyz", leaves, strict=False):
                outputs[f"the gradient of {name}{after}"] = as_it_is_now(leaf.grad)
            if case["part"] == "several passes":
                for name, made in zip(ascii_lowercase, tensors[len(leaves) :], strict=False):
                    outputs[f"the gradient of {name}{after}"] = as_it_is_now(made.grad)
        outputs["the most calls of one rule"] = max(calls.values(), default=0)
        outputs["the number of rules that were called"] = len(calls)
        gradients = [gradient for _, gradient in case["passes"] if gradient is not None]
        for number, gradient in enumerate(gradients, start=1):
            outputs[f"gradient {number}, which must not change"] = gradient.clone()
        for name, leaf in zip("xyz", leaves, strict=False):
            outputs[f"{name}, which must not change"] = leaf.data.clone()
        if case["part"] == "gradients with memory of their own":
            grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
            others = [*gradients, *(leaf.data for leaf in leaves)]
            outputs["each gradient can be changed in place alone"] = independent(grads, others)
        return outputs


def as_it_is_now(grad: Any) -> Any:
    """Copy a gradient: the next pass may add to it in place."""
    return grad.clone() if isinstance(grad, torch.Tensor) else grad


def counted(rule: Callable, calls: Counter, place: tuple[int, int]) -> Callable:
    @torch.inference_mode()
    def call(grad: torch.Tensor) -> torch.Tensor:
        calls[place] += 1
        return rule(grad)

    return call


def independent(grads: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    """Change the first element of every gradient and tell whether nothing else changes."""
    everything = [*grads, *others]
    for grad in grads:
        before = [tensor.clone() for tensor in everything]
        grad[0] += 1
        changed = [(new != old).sum() for new, old in zip(everything, before, strict=True)]
        if sum(changed) != 1:
            return False
    return True


# --- operations -----------------------------------------------------------------------------------

EXPRESSIONS: dict[str, Callable] = {
    "-x": lambda x: -x,
    "x - y": lambda x, y: x - y,
    "3 - x": lambda x: 3 - x,
    "x - 0.75": lambda x: x - 0.75,
    "x + 0.5": lambda x: x + 0.5,
    "0.5 + x": lambda x: 0.5 + x,
    "x * y": lambda x, y: x * y,
    "3 * x": lambda x: 3 * x,
    "x * 0.1": lambda x: x * 0.1,
    "x / y": lambda x, y: x / y,
    "3 / x": lambda x: 3 / x,
    "x / 4": lambda x: x / 4,
    "x ** 2": lambda x: x**2,
    "x ** 3": lambda x: x**3,
    "x ** -1": lambda x: x**-1,
    "x ** 0.5": lambda x: x**0.5,
    "x ** -1.5": lambda x: x**-1.5,
    "x ** 1": lambda x: x**1,
    "x ** 0": lambda x: x**0,
    "x ** 2 + 3 * x": lambda x: x**2 + 3 * x,
    "x * x": lambda x: x * x,
    "x - x / (x * y)": lambda x, y: x - x / (x * y),
    "(x - y) ** 2 / (1 + x * x)": lambda x, y: (x - y) ** 2 / (1 + x * x),
    "x @ y": lambda x, y: x @ y,
    "(x @ y) @ z": lambda x, y, z: (x @ y) @ z,
    "x.relu()": lambda x: x.relu(),
    "x.exp()": lambda x: x.exp(),
    "x.log()": lambda x: x.log(),
    "x.exp().log().relu()": lambda x: x.exp().log().relu(),
    "x.sum()": lambda x: x.sum(),
    "x.sum(0)": lambda x: x.sum(0),
    "x.sum(1)": lambda x: x.sum(1),
    "x.sum(-1)": lambda x: x.sum(-1),
    "x.sum(dim=-2)": lambda x: x.sum(dim=-2),
    "x.sum(1, keepdim=True)": lambda x: x.sum(1, keepdim=True),
    "x.sum((0, -1))": lambda x: x.sum((0, -1)),
    "x.sum((0, 2), keepdim=True)": lambda x: x.sum((0, 2), keepdim=True),
    "x.sum((2, 1))": lambda x: x.sum((2, 1)),
    "x.sum(None, keepdim=True)": lambda x: x.sum(None, keepdim=True),
    "x.mean()": lambda x: x.mean(),
    "x.mean(0)": lambda x: x.mean(0),
    "x.mean(1)": lambda x: x.mean(1),
    "x.mean(-1, keepdim=True)": lambda x: x.mean(-1, keepdim=True),
    "x.mean((0, -1))": lambda x: x.mean((0, -1)),
    "x.mean(dim=0, keepdim=True)": lambda x: x.mean(dim=0, keepdim=True),
    "x.reshape(4)": lambda x: x.reshape(4),
    "x.reshape(-1)": lambda x: x.reshape(-1),
    "x.reshape(3, 4)": lambda x: x.reshape(3, 4),
    "x.reshape((4, 3))": lambda x: x.reshape((4, 3)),
    "x.reshape(2, 2, -1)": lambda x: x.reshape(2, 2, -1),
    "x.reshape(1)": lambda x: x.reshape(1),
    "x.transpose(0, 1)": lambda x: x.transpose(0, 1),
    "x.transpose(1, 2)": lambda x: x.transpose(1, 2),
    "x.transpose(-1, 0)": lambda x: x.transpose(-1, 0),
    "x.transpose(0, 1).reshape(-1)": lambda x: x.transpose(0, 1).reshape(-1),
}


def operation_case(
    rng: torch.Generator,
    part: str,
    expression: str,
    *inputs: torch.Tensor,
    constant: int | None = None,
    plain: bool = False,
) -> Case:
    """Return a case: an expression in x, y, z and the gradient of its result.

    One of the inputs may be a ``constant``, or ``plain``: a torch tensor in place of a ``Tensor``.
    """
    given = ", ".join(shown(name, input) for name, input in zip("xyz", inputs, strict=False))
    fixed = "" if constant is None else f", {'xyz'[constant]} a constant"
    result = EXPRESSIONS[expression](*inputs)
    return {
        "part": part,
        "title": f"{expression}, {given}{fixed}",
        "expression": expression,
        "inputs": list(inputs),
        "constant": constant,
        "plain": plain,
        "gradient": away_from_zero(rng, *result.shape, dtype=result.dtype),
    }


def operation_probe(tensor: Any, case: Case) -> Outputs:
    with torch.inference_mode():
        inputs = [
            data
            if case["plain"] and number == case["constant"]
            else tensor(data, requires_grad=number != case["constant"])
            for number, data in enumerate(case["inputs"])
        ]
        result = EXPRESSIONS[case["expression"]](*inputs)
        outputs: Outputs = {case["expression"]: result.data.clone()}
        # The gradient fits only a result of the right shape.
        if result.shape == case["gradient"].shape:
            result.backward(case["gradient"])
        for number, (name, input) in enumerate(zip("xyz", inputs, strict=False)):
            if number != case["constant"]:
                outputs[f"the gradient of {name}"] = input.grad
        for name, data in zip("xyz", case["inputs"], strict=False):
            outputs[f"{name}, which must not change"] = data.clone()
        return outputs


class ReflectedTheWrongWay(Tensor):
    def __rsub__(self, other: Any) -> Tensor:
        return self - other


class DividesTheWrongWay(Tensor):
    def __rtruediv__(self, other: Any) -> Tensor:
        return self / other


# --- arithmetic -----------------------------------------------------------------------------------

ARITHMETIC_MISTAKES = (
    Mistake(
        "negation_keeps_the_sign",
        "The derivative of -x is -1: the gradient changes its sign too.",
        with_rules("neg", lambda g, y, a: g),
    ),
    Mistake(
        "difference_adds",
        "The derivative of x - y by y is -1: the gradient of y changes its sign.",
        with_rules("sub", None, lambda g, y, a, b: g),
    ),
    Mistake(
        "difference_turned_round",
        "The two gradients of x - y are exchanged: x gets the gradient, y its negative.",
        with_rules("sub", lambda g, y, a, b: -g, lambda g, y, a, b: g),
    ),
    Mistake(
        "reflected_the_wrong_way",
        "3 - x calls x.__rsub__(3): return other - self, not self - other.",
        ReflectedTheWrongWay,
    ),
    Mistake(
        "product_of_itself",
        "The derivative of x * y by x is y: each factor's gradient is multiplied by the other "
        "factor, not by itself.",
        with_rules("mul", lambda g, y, a, b: g * a, lambda g, y, a, b: g * b),
    ),
    Mistake(
        "product_like_a_sum",
        "The gradient goes through a product unchanged: multiply it by the other factor.",
        with_rules("mul", lambda g, y, a, b: g, lambda g, y, a, b: g),
    ),
    Mistake(
        "product_without_the_gradient",
        "The other factor is only the local derivative: multiply it by the gradient that comes in.",
        with_rules(
            "mul",
            lambda g, y, a, b: b + torch.zeros_like(g),
            lambda g, y, a, b: a + torch.zeros_like(g),
        ),
    ),
    Mistake(
        "product_of_all",
        "The gradients of a product were multiplied by the result x * y: only the other factor "
        "belongs there.",
        with_rules("mul", lambda g, y, a, b: g * y, lambda g, y, a, b: g * y),
    ),
    Mistake(
        "quotient_adds",
        "The derivative of x / y by y is -x / y**2: the minus is missing.",
        with_rules("div", None, lambda g, y, a, b: g * a / b**2),
    ),
    Mistake(
        "quotient_not_squared",
        "The derivative of x / y by y is -x / y**2: here y was not squared.",
        with_rules("div", None, lambda g, y, a, b: -g * a / b),
    ),
    Mistake(
        "quotient_without_the_numerator",
        "The derivative of x / y by y is -x / y**2: the x is missing.",
        with_rules("div", None, lambda g, y, a, b: -g / b**2),
    ),
    Mistake(
        "quotient_like_a_product",
        "The derivative of x / y by x is 1 / y: here the gradient was multiplied by y.",
        with_rules("div", lambda g, y, a, b: g * b),
    ),
    Mistake(
        "quotient_without_the_denominator",
        "The derivative of x / y by x is 1 / y: the gradient must be divided by y.",
        with_rules("div", lambda g, y, a, b: g),
    ),
    Mistake(
        "divides_the_wrong_way",
        "3 / x calls x.__rtruediv__(3): return other / self, not self / other.",
        DividesTheWrongWay,
    ),
    Mistake(
        "power_keeps_its_exponent",
        "The derivative of x**n is n * x**(n - 1): the exponent goes down by 1.",
        with_rules("pow", lambda g, y, a, n: g * n * a**n),
    ),
    Mistake(
        "power_without_its_factor",
        "The derivative of x**n is n * x**(n - 1): the factor n is missing.",
        with_rules("pow", lambda g, y, a, n: g * a ** (n - 1)),
    ),
    Mistake(
        "power_with_a_smaller_factor",
        "The derivative of x**n is n * x**(n - 1): the factor is n, only the exponent goes down.",
        with_rules("pow", lambda g, y, a, n: g * (n - 1) * a ** (n - 1)),
    ),
    Mistake(
        "power_is_a_square",
        "The derivative is 2 * x for n = 2 only: in general it is n * x**(n - 1).",
        with_rules("pow", lambda g, y, a, n: g * 2 * a),
    ),
    Mistake(
        "power_as_an_exponential",
        "The rule of n**x was used, with a logarithm: here x is the base, and the derivative is "
        "n * x**(n - 1).",
        with_rules("pow", lambda g, y, a, n: g * y * a.abs().log()),
    ),
    Mistake(
        "power_of_zero",
        "x**0 is 1 everywhere and its derivative 0, but 0 * x**-1 is NaN where x is 0: treat the "
        "exponent 0 on its own.",
        with_rules("pow", lambda g, y, a, n: g * n * a ** (n - 1)),
    ),
    Mistake(
        "power_without_the_gradient",
        "n * x**(n - 1) is only the local derivative: multiply it by the gradient that comes in.",
        with_rules("pow", lambda g, y, a, n: n * a ** (n - 1) if n else 0 * a),
    ),
    *FITTING_MISTAKES,
)


def arithmetic_inputs(rng: torch.Generator) -> list[Case]:
    draw = partial(away_from_zero, rng)
    case = partial(operation_case, rng)
    n = int(torch.randint(3, 6, (), generator=rng))
    minus, product, quotient = "negation and subtraction", "products", "quotients"
    power, together = "powers", "expressions"
    double, half = torch.float64, torch.bfloat16
    zero = torch.tensor([0.0, 2.0])
    return [
        case(minus, "-x", draw(2)),
        case(minus, "x - y", draw(2), draw(2)),
        case(minus, "3 - x", draw(2)),
        case(minus, "x - 0.75", draw(2)),
        case(minus, "x - y", draw(2), draw(2), constant=0),
        case(minus, "x - y", draw(2), draw(2), constant=1, plain=True),
        case(minus, "x - y", draw(2), draw(2), constant=0, plain=True),
        case(minus, "x - y", draw(3, 1), draw(n, 3, 4)),
        case(minus, "x - y", draw(2, n, dtype=double), draw(n)),
        case(minus, "3 - x", draw(dtype=half)),
        case(minus, "-x", draw(3, 2, dtype=double).mT),
        case(product, "x * y", draw(2), draw(2)),
        case(product, "3 * x", draw(2)),
        case(product, "x * 0.1", draw(2, dtype=double)),
        case(product, "x * y", draw(2), draw(2), constant=0),
        case(product, "x * y", draw(2), draw(2), constant=1),
        case(product, "x * y", draw(2), draw(2), constant=1, plain=True),
        case(product, "x * y", draw(4, 1), draw(2, 1, n)),
        case(product, "x * y", draw(3, n).mT, draw(1, dtype=double)),
        case(product, "x * 0.1", draw(dtype=half)),
        case(product, "x * y", draw(0, 3), draw(3)),
        case(quotient, "x / y", draw(2), draw(2)),
        case(quotient, "3 / x", draw(2)),
        case(quotient, "x / 4", draw(2)),
        case(quotient, "x / y", draw(2), draw(2), constant=0),
        case(quotient, "x / y", draw(2), draw(2), constant=1),
        case(quotient, "x / y", draw(2), draw(2), constant=0, plain=True),
        case(quotient, "x / y", draw(3, 1), draw(2, 3, n)),
        case(quotient, "x / y", draw(2, 3, n, dtype=double), draw(3, 1)),
        case(quotient, "3 / x", draw(dtype=half)),
        case(power, "x ** 2", draw(2)),
        case(power, "x ** 3", draw(2)),
        case(power, "x ** -1", draw(2)),
        case(power, "x ** 0.5", positive(rng, 2)),
        case(power, "x ** -1.5", positive(rng, n, 3, dtype=double)),
        case(power, "x ** 1", draw(2)),
        case(power, "x ** 2", zero),
        case(power, "x ** 1", zero),
        case(power, "x ** 0", zero),
        case(power, "x ** 2", draw(dtype=half)),
        case(together, "x ** 2 + 3 * x", torch.tensor(2.0)),
        case(together, "x ** 2 + 3 * x", draw(2)),
        case(together, "x * x", draw(2)),
        case(together, "0.5 + x", draw(2)),
        case(together, "x + 0.5", draw(2)),
        case(together, "x - x / (x * y)", draw(2), draw(2)),
        case(together, "(x - y) ** 2 / (1 + x * x)", draw(n, 1), draw(2, 1, 3)),
    ]


# --- matrix products ------------------------------------------------------------------------------


def batch_of_transposes(batch: torch.Tensor) -> torch.Tensor:
    """Reverse all dimensions, as ``.T`` does, which is the transpose of a matrix only."""
    return batch.permute(*range(batch.dim() - 1, -1, -1))


def dot_as_a_sum(which: int) -> Callable:
    def wrong(g: torch.Tensor, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.dim() == b.dim() == 1:
            return g.expand(a.shape)
        return matmul_grads(g, a, b)[which]

    return wrong


MATMUL_MISTAKES = (
    Mistake(
        "right_not_transposed",
        "The gradient of the left matrix is grad @ y transposed: here y was not transposed.",
        with_rules("matmul", lambda g, y, a, b: g @ b),
    ),
    Mistake(
        "left_not_transposed",
        "The gradient of the right matrix is x transposed @ grad: here x was not transposed.",
        with_rules("matmul", None, lambda g, y, a, b: a @ g),
    ),
    Mistake(
        "neither_transposed",
        "In the gradients the other matrix is transposed: grad @ y.mT for the left, x.mT @ grad "
        "for the right.",
        with_rules("matmul", lambda g, y, a, b: g @ b, lambda g, y, a, b: a @ g),
    ),
    Mistake(
        "exchanged",
        "Each matrix got the gradient of the other.",
        with_rules("matmul", lambda g, y, a, b: a.mT @ g, lambda g, y, a, b: g @ b.mT),
    ),
    Mistake(
        "wrong_order",
        "Matrix products do not commute: the gradient stands on the left for x (grad @ y.mT) and "
        "on the right for y (x.mT @ grad).",
        with_rules("matmul", lambda g, y, a, b: b.mT @ g, lambda g, y, a, b: g @ a.mT),
    ),
    Mistake(
        "gradient_transposed",
        "The gradients came out transposed: compare their shapes with those of a matrix that is "
        "not square.",
        with_rules("matmul", lambda g, y, a, b: b @ g.mT, lambda g, y, a, b: g.mT @ a),
    ),
    Mistake(
        "rule_of_the_elementwise_product",
        "These are the gradients of x * y: for x @ y they are matrix products too.",
        with_rules("matmul", lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    ),
    Mistake(
        "elementwise_product",
        "@ is the matrix product, not the product of the elements.",
        with_rules("matmul", value=lambda a, b: a * b),
    ),
    Mistake(
        "factors_exchanged",
        "x @ y was computed as y @ x.",
        with_rules("matmul", value=lambda a, b: b @ a),
    ),
    Mistake(
        "no_gradient_for_the_right",
        "Both operands need their gradient: the right one has got zeros.",
        with_rules("matmul", None, lambda g, y, a, b: torch.zeros_like(b)),
    ),
    Mistake(
        "without_the_gradient",
        "The gradient that comes in was left out: it is one of the two matrices in each product.",
        with_rules(
            "matmul",
            lambda g, y, a, b: torch.ones_like(g) @ b.mT,
            lambda g, y, a, b: a.mT @ torch.ones_like(g),
        ),
    ),
    Mistake(
        "all_dimensions_transposed",
        "In a batch only the last two dimensions are transposed: .mT does that, .T turns all of "
        "them round.",
        with_rules(
            "matmul",
            lambda g, y, a, b: g @ batch_of_transposes(b) if b.dim() > 1 else g.unsqueeze(-1) * b,
            lambda g, y, a, b: (
                batch_of_transposes(a) @ g if a.dim() > 1 < b.dim() else matmul_grads(g, a, b)[1]
            ),
        ),
    ),
    Mistake(
        "dot_like_a_sum",
        "The gradient of a dot product by one vector is grad times the other vector.",
        with_rules("matmul", dot_as_a_sum(0), dot_as_a_sum(1)),
    ),
)


def matmul_inputs(rng: torch.Generator) -> list[Case]:
    draw = partial(away_from_zero, rng)
    case = partial(operation_case, rng)
    n, m, k = (int(i) for i in torch.randperm(4, generator=rng)[:3] + 2)
    square, other, vector = "square matrices", "other matrices", "vectors"
    batch, broadcast = "batches", "batches that are broadcast"
    return [
        case(square, "x @ y", draw(2, 2), draw(2, 2)),
        case(square, "x @ y", draw(3, 3), draw(3, 3)),
        case(square, "x @ y", draw(2, 2), draw(2, 2), constant=0),
        case(square, "x @ y", draw(2, 2), draw(2, 2), constant=1),
        case(square, "(x @ y) @ z", draw(3, 3), draw(3, 3), draw(3, 3)),
        case(other, "x @ y", draw(1, 2), draw(2, 2)),
        case(other, "x @ y", draw(n, m), draw(m, k)),
        case(other, "x @ y", draw(m, n).mT, draw(k, m).mT, constant=1, plain=True),
        case(other, "x @ y", draw(n, m, dtype=torch.float64), draw(m, k, dtype=torch.float64)),
        case(other, "x @ y", draw(n, 2, dtype=torch.bfloat16), draw(2, k, dtype=torch.bfloat16)),
        case(other, "x @ y", draw(n, m), draw(m, 1)),
        case(other, "x @ y", draw(0, 3), draw(3, 2)),
        case(vector, "x @ y", draw(2), draw(2)),
        case(vector, "x @ y", draw(2, 2), draw(2)),
        case(vector, "x @ y", draw(2), draw(2, 2)),
        case(vector, "x @ y", draw(n, m), draw(m)),
        case(vector, "x @ y", draw(m), draw(m, k)),
        case(vector, "x @ y", draw(2, n, m), draw(m)),
        case(vector, "x @ y", draw(m), draw(2, m, k)),
        case(batch, "x @ y", draw(2, 2, 2), draw(2, 2, 2)),
        case(batch, "x @ y", draw(2, 2, 2), draw(2, 2, 2), constant=0),
        case(batch, "x @ y", draw(3, 3, 3), draw(3, 3, 3)),
        case(broadcast, "x @ y", draw(2, 2, 2), draw(2, 2)),
        case(broadcast, "x @ y", draw(n, m), draw(3, m, k)),
        case(broadcast, "x @ y", draw(2, 1, n, m), draw(3, m, k)),
        case(broadcast, "x @ y", draw(1, n, m), draw(2, m, k)),
    ]


# --- functions ------------------------------------------------------------------------------------

FUNCTION_MISTAKES = (
    Mistake(
        "relu_lets_zero_through",
        "The derivative of relu at 0 is 0 here, as in torch: the gradient passes where x > 0.",
        with_rules("relu", lambda g, y, a: g * (a >= 0)),
    ),
    Mistake(
        "relu_by_the_gradient",
        "Where relu lets the gradient through depends on x, not on the sign of the gradient.",
        with_rules("relu", lambda g, y, a: g * (g > 0)),
    ),
    Mistake(
        "relu_lets_everything_through",
        "Where x is negative relu is constant: its gradient there is 0.",
        with_rules("relu", lambda g, y, a: g),
    ),
    Mistake(
        "relu_without_the_gradient",
        "The 0s and 1s of relu are only the local derivative: multiply by the gradient.",
        with_rules("relu", lambda g, y, a: (a > 0).to(a.dtype)),
    ),
    Mistake(
        "relu_times_x",
        "The slope of relu is 1 where x > 0: here the gradient was multiplied by x.",
        with_rules("relu", lambda g, y, a: g * y),
    ),
    Mistake(
        "exp_without_its_derivative",
        "The derivative of exp is exp itself: multiply the gradient by the result.",
        with_rules("exp", lambda g, y, a: g),
    ),
    Mistake(
        "exp_as_a_power",
        "The derivative of exp(x) is exp(x), not x * exp(x - 1): x is the exponent, not the base.",
        with_rules("exp", lambda g, y, a: g * a * (a - 1).exp()),
    ),
    Mistake(
        "exp_times_x",
        "The derivative of exp(x) is exp(x): here the gradient was multiplied by x.",
        with_rules("exp", lambda g, y, a: g * a),
    ),
    Mistake(
        "exp_of_the_gradient",
        "Multiply the gradient by exp(x): here exp was taken of the gradient.",
        with_rules("exp", lambda g, y, a: g * g.exp()),
    ),
    Mistake(
        "exp_without_the_gradient",
        "exp(x) is only the local derivative: multiply it by the gradient that comes in.",
        with_rules("exp", lambda g, y, a: y),
    ),
    Mistake(
        "log_without_its_derivative",
        "The derivative of log(x) is 1 / x: divide the gradient by x.",
        with_rules("log", lambda g, y, a: g),
    ),
    Mistake(
        "log_times_x",
        "The derivative of log(x) is 1 / x: divide the gradient by x, do not multiply.",
        with_rules("log", lambda g, y, a: g * a),
    ),
    Mistake(
        "log_divided_by_itself",
        "The derivative of log(x) is 1 / x: here the gradient was divided by the result, log(x).",
        with_rules("log", lambda g, y, a: g / y),
    ),
    Mistake(
        "log_without_the_gradient",
        "1 / x is only the local derivative: multiply it by the gradient that comes in.",
        with_rules("log", lambda g, y, a: 1 / a),
    ),
    Mistake(
        "log_to_base_two",
        "log is the natural logarithm here: its base is e.",
        with_rules("log", value=torch.log2),
    ),
)


def function_inputs(rng: torch.Generator) -> list[Case]:
    draw = partial(away_from_zero, rng)
    case = partial(operation_case, rng)
    # Away from 1, where the logarithm is 0.
    above = partial(positive, rng)
    n = int(torch.randint(3, 6, (), generator=rng))
    double, half = torch.float64, torch.bfloat16
    return [
        case("relu", "x.relu()", draw(4)),
        case("relu", "x.relu()", torch.zeros(2)),
        case("relu", "x.relu()", draw(n, 3, dtype=double).mT),
        case("relu", "x.relu()", draw(3, 4, 2)),
        case("relu", "x.relu()", draw(3, dtype=half)),
        case("relu", "x.relu()", draw(0)),
        case("exp", "x.exp()", draw(2)),
        case("exp", "x.exp()", draw(n, 3, dtype=double)),
        case("exp", "x.exp()", draw(3, dtype=half)),
        case("exp", "x.exp()", torch.tensor([-100.0, 0.0])),
        case("log", "x.log()", 1 + above(2)),
        case("log", "x.log()", 1 + above(n, 3, dtype=double)),
        case("log", "x.log()", 1 + above(3, dtype=half)),
        case("log", "x.log()", torch.tensor([1e-3, 1e3])),
        case("one inside the other", "x.exp().log().relu()", draw(3)),
        case("one inside the other", "x.exp().log().relu()", draw(2, n)),
    ]


# --- operations that change the shape -------------------------------------------------------------


def reversed_elements(g: torch.Tensor, shape: Iterable[int]) -> torch.Tensor:
    """Fill a shape column by column."""
    shape = tuple(shape)
    return batch_of_transposes(batch_of_transposes(g).reshape(shape[::-1]))


SHAPE_MISTAKES = (
    Mistake(
        "sum_not_expanded",
        "Every element of the sum's input gets the gradient of its sum: the gradient must be "
        "expanded to the input's shape.",
        with_rules("sum", lambda g, y, a, dim, keep: g),
    ),
    Mistake(
        "sum_expanded_in_the_wrong_direction",
        "Without keepdim the summed dimension is gone: put it back, with size 1, before the "
        "gradient is expanded. Otherwise rows and columns are exchanged.",
        with_rules("sum", lambda g, y, a, dim, keep: g.expand(a.shape)),
    ),
    Mistake(
        "sum_like_a_mean",
        "The gradient of a sum goes to every element whole: here it was divided by their number.",
        with_rules("sum", lambda g, y, a, dim, keep: spread(g, a, dim, keep) / count(a, dim)),
    ),
    Mistake(
        "sum_times_x",
        "The derivative of a sum by each of its elements is 1: here it was multiplied by the "
        "element.",
        with_rules("sum", lambda g, y, a, dim, keep: spread(g, a, dim, keep) * a),
    ),
    Mistake(
        "sum_without_the_gradient",
        "The ones are only the local derivative of the sum: multiply them by the gradient that "
        "comes in.",
        with_rules("sum", lambda g, y, a, dim, keep: torch.ones_like(a)),
    ),
    Mistake(
        "sum_ignores_dim",
        "sum must use its argument dim: here everything was added up.",
        with_rules("sum", value=lambda a, dim, keep: a.sum()),
    ),
    Mistake(
        "sum_ignores_keepdim",
        "With keepdim=True the summed dimensions stay, with size 1.",
        with_rules("sum", value=lambda a, dim, keep: a.sum(dim)),
    ),
    Mistake(
        "mean_like_a_sum",
        "An element has only a share of 1 / n in a mean of n: divide the gradient by n.",
        with_rules("mean", lambda g, y, a, dim, keep: spread(g, a, dim, keep)),
    ),
    Mistake(
        "mean_over_everything",
        "Divide by the number of elements that went into one mean, not by the number of all.",
        with_rules("mean", lambda g, y, a, dim, keep: spread(g, a, dim, keep) / a.numel()),
    ),
    Mistake(
        "mean_of_everything",
        "The mean over some dimensions is their sum divided by the number of elements in each "
        "sum: here it was divided by the number of all elements.",
        with_rules(
            "mean",
            lambda g, y, a, dim, keep: spread(g, a, dim, keep) / a.numel(),
            value=lambda a, dim, keep: a.sum(dim, keep) / a.numel(),
        ),
    ),
    Mistake(
        "mean_over_the_rows",
        "Divide by the number of elements that went into one mean: len(x) counts the first "
        "dimension only.",
        with_rules("mean", lambda g, y, a, dim, keep: spread(g, a, dim, keep) / len(a)),
    ),
    Mistake(
        "mean_times_the_number",
        "Divide the gradient by the number of elements, do not multiply.",
        with_rules("mean", lambda g, y, a, dim, keep: spread(g, a, dim, keep) * count(a, dim)),
    ),
    Mistake(
        "mean_divided_twice",
        "The gradient of the mean was divided by the number of elements twice.",
        with_rules("mean", lambda g, y, a, dim, keep: spread(g, a, dim, keep) / count(a, dim) ** 2),
    ),
    Mistake(
        "mean_is_a_sum",
        "This is the sum: divide it by the number of elements.",
        with_rules("mean", value=lambda a, dim, keep: a.sum(dim, keep)),
    ),
    Mistake(
        "reshape_keeps_the_new_shape",
        "The gradient of the input has the input's shape: reshape it back.",
        with_rules("reshape", lambda g, y, a, shape: g),
    ),
    Mistake(
        "reshape_by_columns",
        "reshape keeps the elements in their order, row by row: its gradient does too.",
        with_rules("reshape", lambda g, y, a, shape: reversed_elements(g, a.shape)),
    ),
    Mistake(
        "transpose_not_undone",
        "The gradient of a transpose is transposed: swap the same two dimensions again.",
        with_rules("transpose", lambda g, y, a, i, j: g),
    ),
    Mistake(
        "transpose_of_the_last_two",
        "Swap the dimensions dim0 and dim1: here the last two were swapped in the gradient.",
        with_rules("transpose", lambda g, y, a, i, j: g.mT),
    ),
    Mistake(
        "transpose_reshapes",
        "A transpose moves elements: reshape gives the right shape with the elements in the wrong "
        "places.",
        with_rules(
            "transpose",
            lambda g, y, a, i, j: g.reshape(a.shape),
            value=lambda a, i, j: a.reshape(a.transpose(i, j).shape),
        ),
    ),
)


def shape_inputs(rng: torch.Generator) -> list[Case]:
    draw = partial(away_from_zero, rng)
    case = partial(operation_case, rng)
    n = int(torch.randint(4, 7, (), generator=rng))
    other, double = "other shapes, several dimensions", torch.float64
    return [
        case("sum", "x.sum()", draw(2)),
        case("sum", "x.sum(0)", draw(2, 2)),
        case("sum", "x.sum(1)", draw(2, 2)),
        case("sum", "x.sum(-1)", draw(3, 3, dtype=double)),
        case("sum", "x.sum(1, keepdim=True)", draw(2, 2)),
        case("sum", "x.sum()", draw(n, 3)),
        case("mean", "x.mean()", draw(2)),
        case("mean", "x.mean()", draw(2, 2)),
        case("mean", "x.mean(0)", draw(2, 3)),
        case("mean", "x.mean(1)", draw(2, 3)),
        case("mean", "x.mean(-1, keepdim=True)", draw(n, 3, dtype=double)),
        case("reshape", "x.reshape(4)", draw(2, 2)),
        case("reshape", "x.reshape((4, 3))", draw(2, 6)),
        case("reshape", "x.reshape(3, 4)", draw(6, 2, dtype=double)),
        case("transpose", "x.transpose(0, 1)", draw(2, 2)),
        case("transpose", "x.transpose(0, 1)", draw(3, 3, 3)),
        case("transpose", "x.transpose(-1, 0)", draw(2, 2, 2, dtype=double)),
        case("transpose", "x.transpose(1, 2)", draw(2, 2, 2)),
        case(other, "x.transpose(0, 1)", draw(2, 3)),
        case(other, "x.sum(0)", draw(2, n)),
        case(other, "x.sum(1)", draw(3, n, 2)),
        case(other, "x.sum(dim=-2)", draw(3, n, 2)),
        case(other, "x.sum((0, -1))", draw(2, n, 3)),
        case(other, "x.sum((0, 2), keepdim=True)", draw(2, 3, n)),
        case(other, "x.sum((2, 1))", draw(2, 3, n)),
        case(other, "x.sum(None, keepdim=True)", draw(2, 3)),
        case(other, "x.sum()", draw()),
        case(other, "x.sum(0)", draw(0, 3)),
        case(other, "x.mean((0, -1))", draw(2, n, 3)),
        case(other, "x.mean(dim=0, keepdim=True)", draw(n, 2, dtype=torch.bfloat16)),
        case(other, "x.mean()", draw()),
        case(other, "x.reshape(-1)", draw(2, n, 3).transpose(0, 2)),
        case(other, "x.reshape(2, 2, -1)", draw(4, n)),
        case(other, "x.reshape(1)", draw()),
        case(other, "x.transpose(-1, 0)", draw(2, 3, n)),
        case(other, "x.transpose(0, 1).reshape(-1)", draw(2, n)),
    ]


# --- gradcheck ------------------------------------------------------------------------------------


def planted(right: Callable, error: torch.Tensor | None) -> Callable:
    """Return a rule whose Jacobian differs from the right one by ``error``."""

    @torch.inference_mode()
    def rule(grad: torch.Tensor) -> torch.Tensor:
        mine = right(grad)
        if error is None:
            return mine
        return mine + (grad.flatten() @ error.to(grad.dtype)).reshape(mine.shape)

    return rule


SQUARE, CUBE, PRODUCT = "x ** 2", "x ** 3", "x @ y"
UNUSED, MIRROR = "x ** 2, without y", "x * x.flip(0)"
FUNCTIONS: dict[str, Callable] = {
    SQUARE: lambda x: (x**2, lambda g: 2 * g * x),
    CUBE: lambda x: (x**3, lambda g: 3 * g * x**2),
    PRODUCT: lambda x, y: (x @ y, lambda g: g @ y.mT, lambda g: x.mT @ g),
    UNUSED: lambda x, y: (x**2, lambda g: 2 * g * x),
    MIRROR: lambda x: (x * x.flip(0), lambda g: g * x.flip(0) + (g * x).flip(0)),
}


Jacobian = Callable[[Callable, tuple, int, float], torch.Tensor]


def difference(
    func: Callable, inputs: tuple, number: int, eps: float, behind: float = 1
) -> torch.Tensor:
    """Return the Jacobian by differences, one column for each element of the input."""
    data = inputs[number].data
    columns = []
    for j in range(data.numel()):
        step = torch.zeros_like(data)
        step.view(-1)[j] = eps
        shifted = [list(inputs), list(inputs)]
        shifted[0][number] = Tensor(data + step)
        shifted[1][number] = Tensor(data - behind * step)
        above, below = (func(*moved).data.flatten() for moved in shifted)
        columns.append((above - below) / (2 * eps))
    return torch.stack(columns, dim=1)


def by_backward(func: Callable, inputs: tuple, number: int, forget: bool = True) -> torch.Tensor:
    """Return the Jacobian that the rules give, one row for each element of the result."""
    input, result = inputs[number], func(*inputs)
    rows = []
    for i in range(result.data.numel()):
        if forget:
            input.grad = None
        gradient = torch.zeros_like(result.data)
        gradient.view(-1)[i] = 1
        if result.requires_grad:
            result.backward(gradient)
        grad = torch.zeros_like(input.data) if input.grad is None else input.grad
        rows.append(grad.flatten())
    return torch.stack(rows)


def forward_difference(func: Callable, inputs: tuple, number: int, eps: float) -> torch.Tensor:
    return 2 * difference(func, inputs, number, eps, behind=0)


def doubled_difference(func: Callable, inputs: tuple, number: int, eps: float) -> torch.Tensor:
    return 2 * difference(func, inputs, number, eps)


def fixed_difference(func: Callable, inputs: tuple, number: int, eps: float) -> torch.Tensor:
    return difference(func, inputs, number, 1e-6)


def forgetful_difference(func: Callable, inputs: tuple, number: int, eps: float) -> torch.Tensor:
    """Leave every element where its last step has taken it."""
    original = inputs[number].data
    columns = []
    for j in range(original.numel()):
        columns.append(difference(func, inputs, number, eps)[:, j])
        inputs[number].data = inputs[number].data.clone()
        inputs[number].data.view(-1)[j] -= eps
    inputs[number].data = original
    return torch.stack(columns, dim=1)


def agree(a: torch.Tensor, n: torch.Tensor, atol: float, rtol: float) -> torch.Tensor:
    return (a - n).abs() <= atol + rtol * n.abs()


def place_by_elements(number: int, input: Tensor, right: torch.Tensor) -> str:
    return place_of(number, input, int((~right).any(0).nonzero()[0]))


def place_of(number: int, input: Tensor, element: int) -> str:
    index = [int(i) for i in np.unravel_index(element, input.shape)]
    return f"input {number}, element {index}"


def with_gradient(inputs: tuple) -> list[int]:
    return [number for number, input in enumerate(inputs) if input.requires_grad]


def gradcheck_with(
    numerical: Jacobian = difference,
    analytical: Callable = by_backward,
    agree: Callable = agree,
    place: Callable = place_by_elements,
    shown_to: Callable = lambda analytical, numerical: (analytical, numerical),
    checked: Callable = with_gradient,
    defaults: dict[str, float] | None = None,
) -> Callable:
    """Return a gradcheck, right but for the decisions that are given."""

    def gradcheck(func: Callable, inputs: Any, **options: float) -> bool:
        options = {"eps": 1e-6, "atol": 1e-5, "rtol": 1e-3, **options, **(defaults or {})}
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        copies = tuple(
            Tensor(input.data.double().contiguous().clone(), input.requires_grad)
            for input in inputs
        )
        for number in checked(copies):
            jacobians = shown_to(
                analytical(func, copies, number), numerical(func, copies, number, options["eps"])
            )
            right = agree(*jacobians, options["atol"], options["rtol"])
            if not right.all():
                raise RuntimeError(place(number, copies[number], right))
        return True

    return gradcheck


def never_raises(func: Callable, inputs: Any, **options: float) -> bool:
    try:
        return gradcheck_with()(func, inputs, **options)
    except RuntimeError:
        return False


GRADCHECK_MISTAKES = (
    Mistake(
        "always_true",
        "A wrong gradient was accepted: compare both Jacobians and raise where they differ.",
        lambda func, inputs, **options: True,
    ),
    Mistake(
        "never_raises",
        "A wrong gradient is an error: raise a RuntimeError, do not return False.",
        never_raises,
    ),
    Mistake(
        "one_sided_difference",
        "The difference must be central, (f(x + eps) - f(x - eps)) / (2 eps): a one-sided one is "
        "wrong by a multiple of eps.",
        gradcheck_with(numerical=forward_difference),
    ),
    Mistake(
        "divided_by_eps",
        "The two points of a central difference are 2 eps apart: divide by 2 * eps.",
        gradcheck_with(numerical=doubled_difference),
    ),
    Mistake(
        "ignores_eps",
        "The step must be the argument eps.",
        gradcheck_with(defaults={"eps": 1e-6}),
    ),
    Mistake(
        "element_not_restored",
        "Set an element back before the next one is moved: here the differences were taken at a "
        "point that wandered off.",
        gradcheck_with(numerical=forgetful_difference),
    ),
    Mistake(
        "ignores_the_tolerances",
        "The tolerances must be the arguments atol and rtol.",
        gradcheck_with(defaults={"atol": 1e-5, "rtol": 1e-3}),
    ),
    Mistake(
        "absolute_only",
        "Two numbers agree when they differ by at most atol + rtol * abs(difference): the relative "
        "part is missing.",
        gradcheck_with(agree=lambda a, n, atol, rtol: (a - n).abs() <= atol),
    ),
    Mistake(
        "relative_only",
        "Two numbers agree when they differ by at most atol + rtol * abs(difference): the absolute "
        "part is missing.",
        gradcheck_with(agree=lambda a, n, atol, rtol: (a - n).abs() <= rtol * n.abs()),
    ),
    Mistake(
        "relative_to_the_gradient",
        "rtol is relative to the central difference, not to what backward gives: that is what is "
        "in doubt.",
        gradcheck_with(agree=lambda a, n, atol, rtol: (a - n).abs() <= atol + rtol * a.abs()),
    ),
    Mistake(
        "without_abs",
        "Compare the size of the difference: without abs a derivative that is much too small is "
        "accepted.",
        gradcheck_with(agree=lambda a, n, atol, rtol: ~(a - n > atol + rtol * n.abs())),
    ),
    Mistake(
        "accepts_nan",
        "Every comparison with NaN is false: ask whether the numbers agree, not whether they "
        "differ by too much.",
        gradcheck_with(agree=lambda a, n, atol, rtol: ~((a - n).abs() > atol + rtol * n.abs())),
    ),
    Mistake(
        "first_input_only",
        "Check every input that requires a gradient: here only the first was checked.",
        gradcheck_with(checked=lambda inputs: [0] if inputs[0].requires_grad else []),
    ),
    Mistake(
        "constants_too",
        "An input that does not require a gradient gets none: leave it out.",
        gradcheck_with(checked=lambda inputs: range(len(inputs))),
    ),
    Mistake(
        "sum_of_the_result",
        "Only the gradient of the sum of all results was checked: errors that cancel in the sum go "
        "unseen. Check every element of the result alone.",
        gradcheck_with(
            shown_to=lambda a, n: (a.sum(0, keepdim=True), n.sum(0, keepdim=True)),
        ),
    ),
    Mistake(
        "first_result_only",
        "Check every element of the result: here only the first was checked.",
        gradcheck_with(shown_to=lambda a, n: (a[:1], n[:1])),
    ),
    Mistake(
        "gradients_pile_up",
        "backward adds to grad: forget the gradient before the next row.",
        gradcheck_with(analytical=partial(by_backward, forget=False)),
    ),
    Mistake(
        "place_as_one_number",
        "Name the element by its index in every dimension, for example [0, 2], not by its number.",
        gradcheck_with(
            place=lambda number, input, right: (
                f"input {number}, element [{int((~right).any(0).nonzero()[0])}]"
            )
        ),
    ),
    Mistake(
        "place_counted_from_one",
        "Inputs are counted from 0 in the message.",
        gradcheck_with(
            place=lambda number, input, right: place_by_elements(number + 1, input, right)
        ),
    ),
    Mistake(
        "place_by_results",
        "Name the first element of the input that is wrong in any result: here it was the first "
        "result that decided.",
        gradcheck_with(
            place=lambda number, input, right: place_of(
                number, input, int((~right).nonzero()[0, 1])
            )
        ),
    ),
    Mistake(
        "last_place",
        "Name the first place that differs, not the last.",
        gradcheck_with(
            place=lambda number, input, right: place_of(
                number, input, int((~right).any(0).nonzero()[-1])
            )
        ),
    ),
)


def gradcheck_probe(gradcheck: Any, case: Case) -> Outputs:
    engine = inspect.unwrap(gradcheck).__globals__["Tensor"]

    @torch.inference_mode()
    def func(*inputs: Any) -> Any:
        value, *rules = FUNCTIONS[case["function"]](*(input.data for input in inputs))
        return engine.from_operation(
            value,
            *(
                (input, planted(rule, case["errors"].get(number)))
                for number, (input, rule) in enumerate(zip(inputs, rules, strict=False))
            ),
        )

    with torch.inference_mode():
        inputs = tuple(
            engine(data, requires_grad=number not in case["constants"])
            for number, data in enumerate(case["inputs"])
        )
        given = inputs[0] if case["alone"] else inputs
        outputs: Outputs = {}
        try:
            outputs["gradcheck"] = f"returned {gradcheck(func, given, **case['options'])}"
        except NotImplementedError:
            raise
        except RuntimeError as error:
            outputs["gradcheck"] = "raised a RuntimeError"
            if case["part"] == "the place":
                place = re.search(r"input \d+, element \[[\d, ]*\]", str(error))
                outputs["the place in the message"] = place[0] if place else str(error)
        outputs["the values of the inputs, which must not change"] = case["inputs"]
        outputs["the gradients of the inputs, which stay None"] = [i.grad for i in inputs]
        return outputs


def gradcheck_inputs(rng: torch.Generator) -> list[Case]:
    draw = partial(away_from_zero, rng, dtype=torch.float64)

    def case(
        part: str,
        function: str,
        *inputs: torch.Tensor,
        errors: dict[int, dict[tuple[int, int], float]] | None = None,
        constants: tuple = (),
        alone: bool = False,
        **options: float,
    ) -> Case:
        """Plant ``errors[input][row, column]`` into the Jacobian of the rules."""
        outputs = FUNCTIONS[function](*inputs)[0].numel()
        planted = {}
        words = []
        for number, places in (errors or {}).items():
            planted[number] = torch.zeros(outputs, inputs[number].numel(), dtype=torch.float64)
            for place, size in places.items():
                planted[number][place] = size
                words.append(
                    f"the derivative of output {place[0]} by element {place[1]} of input {number} "
                    f"off by {size:g}"
                )
        given = ", ".join(
            f"{name} of shape {tuple(input.shape)}" + (" (constant)" if i in constants else "")
            for i, (name, input) in enumerate(zip("xy", inputs, strict=False))
        )
        called = ", ".join(["gradcheck(f, inputs", *(f"{k}={v:g}" for k, v in options.items())])
        return {
            "part": part,
            "title": f"{called}), f = {function}, {given}; {'; '.join(words) or 'rules right'}",
            "function": function,
            "inputs": list(inputs),
            "errors": planted,
            "constants": constants,
            "alone": alone,
            "options": options,
        }

    one, several, tolerance = "right or wrong", "several inputs and outputs", "eps and tolerances"
    place, nan = "the place", float("nan")
    n = int(torch.randint(2, 4, (), generator=rng))
    ones = torch.ones(1, dtype=torch.float64)
    fine: dict[str, Any] = {"atol": 1e-7, "rtol": 0.0}
    return [
        case(one, SQUARE, draw(1)),
        case(one, SQUARE, draw(1), errors={0: {(0, 0): 0.5}}),
        case(one, SQUARE, draw(1), errors={0: {(0, 0): -0.5}}),
        case(one, SQUARE, draw(1), errors={0: {(0, 0): nan}}),
        case(one, CUBE, draw().abs(), alone=True),
        case(one, CUBE, draw(1).float()),
        case(one, CUBE, draw(1).float(), errors={0: {(0, 0): 0.1}}),
        case(several, UNUSED, draw(1), draw(2)),
        case(several, PRODUCT, draw(1, n), draw(n, 1)),
        case(several, PRODUCT, draw(1, 2), draw(2, n)),
        case(several, PRODUCT, draw(1, 2), draw(2, 2), errors={1: {(0, 3): 1.0}}),
        case(several, SQUARE, draw(2), errors={0: {(0, 0): 1.0, (1, 0): -1.0}}),
        case(several, SQUARE, draw(2), errors={0: {(1, 1): 1.0}}),
        case(several, MIRROR, draw(3)),
        case(several, UNUSED, draw(2), draw(2)),
        case(several, PRODUCT, draw(1, 2), draw(2, 2), constants=(0,)),
        case(several, PRODUCT, draw(1, 2), draw(2, 2), errors={1: {(0, 1): 1.0}}, constants=(0,)),
        case(several, UNUSED, draw(2), draw(2), constants=(0,)),
        case(several, CUBE, draw(2, 2).mT),
        case(tolerance, CUBE, ones, eps=0.1),
        case(tolerance, SQUARE, draw(1), eps=0.1, **fine),
        case(tolerance, MIRROR, draw(2), eps=0.1, **fine),
        case(tolerance, SQUARE, draw(2), errors={0: {(0, 0): 1e-4}}),
        case(tolerance, SQUARE, draw(2), errors={0: {(1, 1): 1e-4}}),
        case(tolerance, SQUARE, draw(2), errors={0: {(0, 0): 1e-4}}, rtol=1e-6),
        case(tolerance, SQUARE, draw(2), errors={0: {(0, 0): 0.1}}, atol=0.2),
        case(tolerance, SQUARE, draw(2), errors={0: {(0, 0): 0.1}}, rtol=0.2),
        case(tolerance, SQUARE, ones, errors={0: {(0, 0): 0.44}}, rtol=0.2),
        case(tolerance, SQUARE, draw(2), errors={0: {(0, 1): 5e-6}}),
        case(tolerance, SQUARE, draw(2), errors={0: {(0, 1): 2e-5}}),
        case(tolerance, SQUARE, draw(2), errors={0: {(1, 0): -2e-5}}),
        case(tolerance, SQUARE, draw(2), errors={0: {(0, 1): 5e-6}}, atol=1e-6),
        case(place, SQUARE, draw(3), errors={0: {(1, 1): 0.5}}),
        case(place, SQUARE, draw(), errors={0: {(0, 0): 1.0}}),
        case(place, PRODUCT, draw(1, 3), draw(3, 1), errors={0: {(0, 1): 0.5}}),
        case(place, PRODUCT, draw(1, 2), draw(2, 3), errors={1: {(1, 5): 0.5}}),
        case(place, PRODUCT, draw(1, n), draw(n, 2), errors={0: {(1, 1): 1.0}, 1: {(0, 0): 1.0}}),
        case(
            place,
            PRODUCT,
            draw(1, 2),
            draw(2, 3),
            errors={1: {(0, 3): 0.5, (1, 2): 0.5, (2, 4): 0.5}},
        ),
    ]


check_unbroadcast = Check(
    module="autograd",
    exercise="unbroadcast",
    target="unbroadcast",
    parts={"dimensions in front": 1, "dimensions of size 1": 1, "both, or nothing to sum": 1},
    inputs=unbroadcast_inputs,
    probe=unbroadcast_probe,
    oracle=sum_to_shape,
    mistakes=UNBROADCAST_MISTAKES,
    hints=(
        "Write the two shapes below each other, aligned at the right. Which dimensions of grad did "
        "broadcasting make?",
        "There are two kinds: those in front that shape does not have at all, and those where "
        "shape says 1. The gradient is summed over both.",
        "Sum over the first grad.dim() - len(shape) dimensions; then, for every dimension where "
        "shape is 1, sum over it with keepdim=True.",
    ),
    forbidden=FORBIDDEN,
)

check_backward_pass = Check(
    module="autograd",
    exercise="backward_pass",
    target="Tensor",
    parts={
        "one path": 1,
        "tensors that are used several times": 2,
        "several passes": 1,
        "shapes and dtypes": 1,
        "gradients with memory of their own": 1,
        "a deep chain": 1,
    },
    inputs=backward_inputs,
    probe=backward_probe,
    oracle=Tensor,
    mistakes=BACKWARD_MISTAKES,
    hints=(
        "Keep the gradients of this pass in a dictionary from a tensor to its gradient; it starts "
        "with {self: gradient}. Go through topological_order(self), where a tensor's gradient is "
        "complete when its turn comes.",
        "For the order, search depth first with a list as a stack: a tensor is put on the stack "
        "twice, first to visit its inputs, then, when they are finished, to be appended itself. "
        "Reversed, that is the order.",
        "For each edge: part = unbroadcast(rule(grad), input.shape).to(input.dtype), added to what "
        "is in the dictionary for the input, never in place. A leaf adds a copy of its gradient "
        "to grad.",
    ),
    forbidden=FORBIDDEN,
)

check_arithmetic = Check(
    module="autograd",
    exercise="arithmetic",
    target="Tensor",
    parts={
        "negation and subtraction": 1,
        "products": 1,
        "quotients": 1,
        "powers": 1,
        "expressions": 1,
    },
    inputs=arithmetic_inputs,
    probe=operation_probe,
    oracle=Tensor,
    mistakes=ARITHMETIC_MISTAKES,
    hints=(
        "Every operation looks like __add__: the value, then for each operand a rule that "
        "multiplies the gradient by the derivative with respect to that operand.",
        "The derivative of x * y by x is y, and of x / y by y it is -x / y**2. Broadcasting is not "
        "your concern here: backward sums.",
        "For x**n the rule is grad * n * x**(n - 1). Look at n = 0 where x is 0.",
    ),
    forbidden=FORBIDDEN,
)

check_matmul = Check(
    module="autograd",
    exercise="matmul",
    target="Tensor",
    parts={
        "square matrices": 1,
        "other matrices": 1,
        "vectors": 1,
        "batches": 1,
        "batches that are broadcast": 1,
    },
    inputs=matmul_inputs,
    probe=operation_probe,
    oracle=Tensor,
    mistakes=MATMUL_MISTAKES,
    hints=(
        "For x of shape (n, k) and y of shape (k, m) the gradient that comes in has shape (n, m). "
        "Which products with it have the shapes of x and of y?",
        "The gradient of x is grad @ y.mT and that of y is x.mT @ grad. .mT swaps the last two "
        "dimensions, so this holds for batches too.",
        "Make a vector a matrix with unsqueeze, one row on the left, one column on the right, and "
        "put the dimension that the result lacks back into grad. In the end the column's last "
        "dimension goes again.",
    ),
    forbidden=FORBIDDEN,
)

check_functions = Check(
    module="autograd",
    exercise="functions",
    target="Tensor",
    parts={"relu": 1, "exp": 1, "log": 1, "one inside the other": 1},
    inputs=function_inputs,
    probe=operation_probe,
    oracle=Tensor,
    mistakes=FUNCTION_MISTAKES,
    hints=(
        "Each of the three has one input and one rule: the gradient times the derivative.",
        "The derivative of exp is its own result, that of log is 1 / x, and that of relu is 1 "
        "where x > 0 and 0 elsewhere.",
        "self.from_operation(x.log(), (self, lambda grad: grad / x)) is log; the other two look "
        "the same.",
    ),
    forbidden=FORBIDDEN,
)

check_shape_operations = Check(
    module="autograd",
    exercise="shape_operations",
    target="Tensor",
    parts={
        "sum": 1,
        "mean": 1,
        "reshape": 1,
        "transpose": 1,
        "other shapes, several dimensions": 1,
    },
    inputs=shape_inputs,
    probe=operation_probe,
    oracle=Tensor,
    mistakes=SHAPE_MISTAKES,
    hints=(
        "Follow one element of the input: in which elements of the result does it stand, and with "
        "which factor?",
        "The gradient of a sum is the incoming one, copied to every element: bring the summed "
        "dimensions back with size 1 (reshape), then expand. reshape and transpose are undone.",
        "A mean is a sum divided by a number, and you have both already: how many elements went "
        "into each mean?",
    ),
    forbidden=FORBIDDEN,
)

check_gradcheck = Check(
    module="autograd",
    exercise="gradcheck",
    target="gradcheck",
    parts={
        "right or wrong": 1,
        "several inputs and outputs": 1,
        "eps and tolerances": 1,
        "the place": 1,
    },
    inputs=gradcheck_inputs,
    probe=gradcheck_probe,
    oracle=gradcheck_with(),
    mistakes=GRADCHECK_MISTAKES,
    hints=(
        "Two tables of derivatives, of every element of the result by every element of the input: "
        "one by backward, one from values alone. Then compare.",
        "backward with a gradient that is 1 at one element of the result and 0 elsewhere gives the "
        "derivatives of that element. Moving one element of the input up and down by eps gives the "
        "derivatives by that one.",
        "right = torch.isclose(analytical, numerical, rtol=rtol, atol=atol) is False for NaN too, "
        "and (~right).nonzero()[0] is the first place: the index of the element, then that of the "
        "result.",
    ),
    forbidden=FORBIDDEN,
)
