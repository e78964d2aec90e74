"""Checks of ``backprop``: gradients by hand, with torch's autograd as the oracle."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = (
    "torch.autograd",
    "torch.Tensor.backward",
    "torch.func",
    "torch.nn.functional.cross_entropy",
    "torch.nn.functional.nll_loss",
    "torch.nn.CrossEntropyLoss",
    "torch.nn.NLLLoss",
)


def rounded(tensor: Tensor) -> Any:
    """Return the numbers of a tensor with two decimals, for a title."""
    if tensor.dim():
        return [rounded(item) for item in tensor]
    return round(tensor.item(), 2)


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draw numbers of both signs whose absolute value lies between ``low`` and ``high``."""
    sign = torch.randint(0, 2, shape, generator=rng) * 2 - 1
    return sign * (low + (high - low) * torch.rand(shape, generator=rng))


def quarters(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw multiples of 1/4 from -2 to 2, never 0: sums of their products are exact."""
    sign = torch.randint(0, 2, shape, generator=rng) * 2 - 1
    return sign * torch.randint(1, 9, shape, generator=rng) / 4


def strided(tensor: Tensor) -> Tensor:
    """Return the same numbers in a tensor that is not contiguous."""
    return torch.stack([tensor, -tensor], dim=-1)[..., 0]


def unchanged(arguments: dict[str, Tensor]) -> Outputs:
    """Return the arguments under names for the message."""
    return {f"{name}, which must not change": tensor for name, tensor in arguments.items()}


# --- one neuron -----------------------------------------------------------------------------------


def neuron_by_autograd(w: Tensor, b: Tensor, x: Tensor, y_true: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        w, b, x = (tensor.detach().requires_grad_() for tensor in (w, b, x))
        loss = (torch.relu((w * x).sum() + b) - y_true) ** 2
        return loss, *torch.autograd.grad(loss, (w, b, x))


class Neuron:
    """The chain rule of one neuron, one factor a method, so that a mistake changes one of them."""

    def __call__(self, w: Tensor, b: Tensor, x: Tensor, y_true: Tensor) -> tuple[Tensor, ...]:
        z = self.weighted_sum(w, b, x)
        a = self.activated(z)
        grad_a = self.loss_derivative(a, y_true)
        grad_z = grad_a * self.mask(z, grad_a)
        return self.loss(a, y_true), *self.gradients(grad_z, w, x)

    def weighted_sum(self, w: Tensor, b: Tensor, x: Tensor) -> Tensor:
        return (w * x).sum() + b

    def activated(self, z: Tensor) -> Tensor:
        return z.clamp(min=0)

    def loss(self, a: Tensor, y_true: Tensor) -> Tensor:
        return (a - y_true) ** 2

    def loss_derivative(self, a: Tensor, y_true: Tensor) -> Tensor:
        return 2 * (a - y_true)

    def mask(self, z: Tensor, grad_a: Tensor) -> Tensor:
        return (z > 0).to(z.dtype)

    def gradients(self, grad_z: Tensor, w: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return grad_z * x, grad_z, grad_z * w


class NoTwo(Neuron):
    def loss_derivative(self, a: Tensor, y_true: Tensor) -> Tensor:
        return a - y_true


class HalfLoss(NoTwo):
    def loss(self, a: Tensor, y_true: Tensor) -> Tensor:
        return (a - y_true) ** 2 / 2


class AbsoluteLoss(Neuron):
    def loss(self, a: Tensor, y_true: Tensor) -> Tensor:
        return (a - y_true).abs()


class TargetMinusOutput(Neuron):
    def loss_derivative(self, a: Tensor, y_true: Tensor) -> Tensor:
        return 2 * (y_true - a)


class NoMask(Neuron):
    def mask(self, z: Tensor, grad_a: Tensor) -> Tensor:
        return torch.ones_like(z)


class NoRelu(NoMask):
    def activated(self, z: Tensor) -> Tensor:
        return z


class MaskByGradient(Neuron):
    def mask(self, z: Tensor, grad_a: Tensor) -> Tensor:
        return (grad_a > 0).to(z.dtype)


class MaskIsOutput(Neuron):
    def mask(self, z: Tensor, grad_a: Tensor) -> Tensor:
        return z.clamp(min=0)


class BoundaryPasses(Neuron):
    def mask(self, z: Tensor, grad_a: Tensor) -> Tensor:
        return (z >= 0).to(z.dtype)


class ForgetsTheBias(Neuron):
    def weighted_sum(self, w: Tensor, b: Tensor, x: Tensor) -> Tensor:
        return (w * x).sum()


class AveragesTheInputs(Neuron):
    def weighted_sum(self, w: Tensor, b: Tensor, x: Tensor) -> Tensor:
        return (w * x).mean() + b


class InputAndWeightSwapped(Neuron):
    def gradients(self, grad_z: Tensor, w: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return grad_z * w, grad_z, grad_z * x


class ForgetsTheInput(Neuron):
    def gradients(self, grad_z: Tensor, w: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return grad_z * torch.ones_like(x), grad_z, grad_z * w


class ForgetsTheWeight(Neuron):
    def gradients(self, grad_z: Tensor, w: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return grad_z * x, grad_z, grad_z * torch.ones_like(w)


class BiasTimesInput(Neuron):
    def gradients(self, grad_z: Tensor, w: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return grad_z * x, (grad_z * x).sum(), grad_z * w


class BiasGradientIsOne(Neuron):
    def gradients(self, grad_z: Tensor, w: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return grad_z * x, torch.ones_like(grad_z), grad_z * w


class BiasCountedPerInput(Neuron):
    def gradients(self, grad_z: Tensor, w: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return grad_z * x, grad_z * x.numel(), grad_z * w


class BackwardWithNewWeights(Neuron):
    def gradients(self, grad_z: Tensor, w: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return grad_z * x, grad_z, grad_z * (w - 0.1 * grad_z * x)


class ReturnsNewWeights(Neuron):
    def __call__(self, w: Tensor, b: Tensor, x: Tensor, y_true: Tensor) -> tuple[Tensor, ...]:
        loss, *gradients = super().__call__(w, b, x, y_true)
        return loss, *(p - 0.1 * grad for p, grad in zip((w, b, x), gradients, strict=True))


NEURON_MISTAKES = (
    Mistake(
        "no_two",
        "The factor 2 is missing: the derivative of (a - y)**2 with respect to a is 2 * (a - y).",
        NoTwo(),
    ),
    Mistake(
        "half_loss",
        "This is the loss (a - y)**2 / 2. Here it is (a - y)**2, so loss and gradients are twice "
        "as large.",
        HalfLoss(),
    ),
    Mistake(
        "absolute_loss",
        "The loss is the square (a - y)**2, not the distance |a - y|.",
        AbsoluteLoss(),
    ),
    Mistake(
        "target_minus_output",
        "The sign is turned round: the derivative of (a - y)**2 is 2 * (a - y), output minus "
        "target.",
        TargetMinusOutput(),
    ),
    Mistake(
        "no_mask",
        "The derivative of relu is missing: where z <= 0 it is 0, and no gradient passes.",
        NoMask(),
    ),
    Mistake(
        "no_relu",
        "The neuron has no activation here: the output is a = relu(z), which is 0 for negative z.",
        NoRelu(),
    ),
    Mistake(
        "mask_by_gradient",
        "relu passes the gradient on where its input z is positive. Here it passed where the "
        "gradient itself was positive.",
        MaskByGradient(),
    ),
    Mistake(
        "mask_is_output",
        "Multiply by the derivative of relu, which is 1 or 0, not by its output.",
        MaskIsOutput(),
    ),
    Mistake(
        "boundary_passes",
        "At z = 0 the derivative of relu counts as 0: use z > 0, not z >= 0.",
        BoundaryPasses(),
    ),
    Mistake("no_bias", "The bias is missing from z: z = sum(w * x) + b.", ForgetsTheBias()),
    Mistake(
        "averages_the_inputs",
        "z is the sum of w * x over the inputs, not the mean.",
        AveragesTheInputs(),
    ),
    Mistake(
        "input_and_weight_swapped",
        "z = w * x + b changes by x when w changes by 1: the gradient of w has the factor x, that "
        "of x has the factor w. Here they are swapped.",
        InputAndWeightSwapped(),
    ),
    Mistake(
        "no_input_factor",
        "The last factor is missing in the gradient of w: z changes by x when w changes by 1.",
        ForgetsTheInput(),
    ),
    Mistake(
        "no_weight_factor",
        "The last factor is missing in the gradient of x: z changes by w when x changes by 1.",
        ForgetsTheWeight(),
    ),
    Mistake(
        "bias_times_input",
        "The gradient of b has no factor x: z changes by 1 when b changes by 1.",
        BiasTimesInput(),
    ),
    Mistake(
        "bias_gradient_is_one",
        "1 is only the last factor of the gradient of b, dz/db. The factors before it, of the loss "
        "and of relu, belong to it too.",
        BiasGradientIsOne(),
    ),
    Mistake(
        "bias_counted_per_input",
        "b is added once, not once for every input: its gradient is dL/dz.",
        BiasCountedPerInput(),
    ),
    Mistake(
        "backward_with_new_weights",
        "The gradient of x was computed with weights that a step had already changed: use the "
        "weights of the forward pass.",
        BackwardWithNewWeights(),
    ),
    Mistake(
        "returns_new_weights",
        "Return the gradients, not the values after a step.",
        ReturnsNewWeights(),
    ),
)


def neuron_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, w: Any, b: Any, x: Any, y_true: Any) -> Case:
        tensors = [torch.as_tensor(value) for value in (w, b, x, y_true)]
        names = ("w", "b", "x", "y_true")
        title = ", ".join(f"{name} {rounded(t)}" for name, t in zip(names, tensors, strict=True))
        dtype = "" if tensors[0].dtype == torch.float32 else f", {tensors[0].dtype}"
        return {"part": part, "title": title + dtype, **dict(zip(names, tensors, strict=True))}

    def drawn(
        part: str, *shape: int, fires: bool, too_large: bool, dtype: torch.dtype = torch.float32
    ) -> Case:
        w, x = uniform(rng, 0.5, 1.5, *shape), uniform(rng, 0.5, 1.5, *shape)
        z = uniform(rng, 0.7, 1.7).abs() * (1 if fires else -1)
        error = uniform(rng, 0.6, 1.6).abs() * (1 if too_large else -1)
        b, y_true = z - (w * x).sum(), z.clamp(min=0) - error
        w, b, x, y_true = (tensor.to(dtype) for tensor in (w, b, x, y_true))
        return case(part, w, b, strided(x), y_true)

    one, dead, several = "one input", "a dead neuron", "several inputs"
    return [
        case(one, 0.5, 0.5, 2.0, 1.0),
        drawn(one, fires=True, too_large=True),
        drawn(one, fires=True, too_large=False),
        case(dead, 0.5, -2.0, 2.0, 1.0),
        drawn(dead, fires=False, too_large=False),
        drawn(dead, fires=False, too_large=True),
        drawn(dead, 3, fires=False, too_large=False),
        case(dead, 1.0, -2.0, 2.0, 1.0),
        case(dead, [1.0, -0.5], -2.0, [1.0, -2.0], -1.0),
        drawn(several, 2, fires=True, too_large=True),
        drawn(several, 2, fires=True, too_large=False),
        drawn(several, 5, fires=True, too_large=True, dtype=torch.float64),
        drawn(several, 3, fires=True, too_large=False, dtype=torch.bfloat16),
    ]


def neuron_probe(neuron_gradients: Any, case: Case) -> Outputs:
    arguments = {name: case[name] for name in ("w", "b", "x", "y_true")}
    with torch.no_grad():
        loss, grad_w, grad_b, grad_x = neuron_gradients(**arguments)
    return {
        "the loss": loss,
        "the gradient of w": grad_w,
        "the gradient of b": grad_b,
        "the gradient of x": grad_x,
        **unchanged(arguments),
    }


# --- the numerical gradient -----------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum(c * v**2)": lambda c, v: (c * v**2).sum(),
    "sum(c * v**3)": lambda c, v: (c * v**3).sum(),
    "prod(c * v)": lambda c, v: (c * v).prod(),
    "sum(c * sin(10000 * v)) / 10000": lambda c, v: (c * (10000 * v).sin()).sum() / 10000,
}
"""Functions of ``v`` with constants ``c``: smooth, and curved enough to show a step's size."""


class Function(torch.nn.Module):
    """One of the functions, as the module that is differentiated."""

    def __init__(self, name: str, c: Tensor) -> None:
        super().__init__()
        self.name, self.c = name, c

    def forward(self, v: Tensor) -> Tensor:
        return FUNCTIONS[self.name](self.c, v)


class CentralDifference:
    """The oracle, one decision a method."""

    def __call__(
        self, function: Callable[[Tensor], Tensor], input: Tensor, eps: float = 1e-6
    ) -> Tensor:
        values = [self.element(function, input, step, eps) for step in self.steps(input)]
        return self.arranged(torch.stack([*values, input.new_zeros(())])[:-1], input)

    def steps(self, input: Tensor) -> Tensor:
        """Return one unit step for every element, in their order."""
        return torch.eye(input.numel(), dtype=input.dtype).reshape(input.numel(), *input.shape)

    def element(self, function: Callable, input: Tensor, step: Tensor, eps: float) -> Tensor:
        return (function(input + eps * step) - function(input - eps * step)) / (2 * eps)

    def arranged(self, values: Tensor, input: Tensor) -> Tensor:
        return values.reshape(input.shape)


class ForwardDifference(CentralDifference):
    def element(self, function: Callable, input: Tensor, step: Tensor, eps: float) -> Tensor:
        return (function(input + eps * step) - function(input)) / eps


class BackwardDifference(CentralDifference):
    def element(self, function: Callable, input: Tensor, step: Tensor, eps: float) -> Tensor:
        return (function(input) - function(input - eps * step)) / eps


class DividedByEps(CentralDifference):
    def element(self, function: Callable, input: Tensor, step: Tensor, eps: float) -> Tensor:
        return 2 * super().element(function, input, step, eps)


class NotDivided(CentralDifference):
    def element(self, function: Callable, input: Tensor, step: Tensor, eps: float) -> Tensor:
        return 2 * eps * super().element(function, input, step, eps)


class DifferenceTurnedRound(CentralDifference):
    def element(self, function: Callable, input: Tensor, step: Tensor, eps: float) -> Tensor:
        return -super().element(function, input, step, eps)


class HalfSteps(CentralDifference):
    def element(self, function: Callable, input: Tensor, step: Tensor, eps: float) -> Tensor:
        return super().element(function, input, step, eps / 2)


class FixedEps(CentralDifference):
    def element(self, function: Callable, input: Tensor, step: Tensor, eps: float) -> Tensor:
        return super().element(function, input, step, 1e-6)


class AllAtOnce(CentralDifference):
    def steps(self, input: Tensor) -> Tensor:
        return torch.ones(input.numel(), *input.shape, dtype=input.dtype)


class StepsPileUp(CentralDifference):
    def __call__(
        self, function: Callable[[Tensor], Tensor], input: Tensor, eps: float = 1e-6
    ) -> Tensor:
        moved, values = input.clone(), [input.new_zeros(())]
        for step in self.steps(input):
            values.append(self.element(function, moved, step, eps))
            moved = moved - eps * step
        return self.arranged(torch.stack(values[1:] + values[:1])[:-1], input)


class ChangesTheInput(CentralDifference):
    def __call__(
        self, function: Callable[[Tensor], Tensor], input: Tensor, eps: float = 1e-6
    ) -> Tensor:
        gradient = super().__call__(function, input, eps)
        input -= eps
        return gradient


class Flat(CentralDifference):
    def arranged(self, values: Tensor, input: Tensor) -> Tensor:
        return values


class Float32(CentralDifference):
    def arranged(self, values: Tensor, input: Tensor) -> Tensor:
        return values.reshape(input.shape).float()


class OneValueOnly(CentralDifference):
    def arranged(self, values: Tensor, input: Tensor) -> Tensor:
        return values.sum()


NUMERICAL_MISTAKES = (
    Mistake(
        "forward_difference",
        "This is the one-sided difference (f(v + eps) - f(v)) / eps, whose error is of the order "
        "of eps. Take the central one, f(v + eps) - f(v - eps), whose error is of the order of "
        "eps squared.",
        ForwardDifference(),
    ),
    Mistake(
        "backward_difference",
        "This is the one-sided difference (f(v) - f(v - eps)) / eps. Take the central one, "
        "f(v + eps) - f(v - eps).",
        BackwardDifference(),
    ),
    Mistake(
        "divided_by_eps",
        "From v - eps to v + eps the distance is 2 * eps: divide by that, not by eps.",
        DividedByEps(),
    ),
    Mistake(
        "not_divided",
        "The difference of the two values is not divided by the distance, 2 * eps.",
        NotDivided(),
    ),
    Mistake(
        "turned_round",
        "The difference is turned round: f(v + eps) - f(v - eps), not the other way.",
        DifferenceTurnedRound(),
    ),
    Mistake(
        "half_steps",
        "Move the element by eps to each side, not by eps / 2, and divide by 2 * eps.",
        HalfSteps(),
    ),
    Mistake("fixed_eps", "The step is fixed at 1e-6: take the argument eps.", FixedEps()),
    Mistake(
        "all_at_once",
        "All elements were moved together, which gives the sum of the gradient. Move one element "
        "at a time and leave the others.",
        AllAtOnce(),
    ),
    Mistake(
        "steps_pile_up",
        "An element that was moved is not moved back before the next: at each element all the "
        "others must have their own values.",
        StepsPileUp(),
    ),
    Mistake(
        "changes_the_input",
        "The input has other values afterwards: work on a copy (clone), or put every element back.",
        ChangesTheInput(),
    ),
    Mistake("flat", "The gradient must have the shape of the input, not be a flat list.", Flat()),
    Mistake(
        "float32_result",
        "The gradient must have the dtype of the input: torch.zeros_like(input) takes it over.",
        Float32(),
    ),
    Mistake(
        "one_value_only",
        "Return one number for every element of the input, not their sum.",
        OneValueOnly(),
    ),
)


def numerical_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, function: str, *shape: int, **more: Any) -> Case:
        dtype = more.pop("dtype", torch.float64)
        draw = quarters if dtype == torch.float32 else lambda *args: uniform(rng, 0.6, 1.4, *shape)
        v, c = draw(rng, *shape).to(dtype), draw(rng, *shape).to(dtype)
        if "sin" in function:  # where the cosine is far from 0
            v = (2 * torch.pi * torch.randint(1, 99, shape, generator=rng) + v / 2) / 10000
            v = v.to(dtype)
        eps = f", eps={more['eps']}" if "eps" in more else ""
        numbers = f"v {rounded(v)}, c {rounded(c)}" if len(shape) < 2 else f"v of shape {shape}"
        title = f"function {function}{eps}; {numbers}"
        v = v.mT.contiguous().mT if v.dim() > 1 else v
        return {"part": part, "title": title, "function": function, "v": v, "c": c, **more}

    one, shapes, eps = "one number", "a tensor of any shape", "the step eps"
    squares, cubes, product, waves = FUNCTIONS
    return [
        case(one, squares, 1),
        case(one, cubes),
        case(one, cubes, 1, eps=0.5),
        case(shapes, product, 2, eps=0.25),
        case(shapes, cubes, 3),
        case(shapes, product, 2, 3, eps=0.1),
        case(shapes, squares, 3, 2, eps=0.125, dtype=torch.float32),
        case(shapes, cubes, 2, 1, 3),
        case(shapes, squares, 0),
        case(eps, cubes, 1, eps=0.1),
        case(eps, cubes, 2, eps=1e-2),
        case(eps, waves, 1),
        case(eps, waves, 2, eps=1e-5),
    ]


def numerical_probe(numerical_gradient: Any, case: Case) -> Outputs:
    v, c = case["v"], case["c"]
    more = {"eps": case["eps"]} if "eps" in case else {}
    with torch.no_grad():
        gradient = numerical_gradient(Function(case["function"], c), v, **more)
    return {"the gradient": gradient, "the input, which must not change": v}


# --- one linear layer -----------------------------------------------------------------------------


def linear_by_autograd(grad_output: Tensor, input: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        input, weight = input.detach().requires_grad_(), weight.detach().requires_grad_()
        bias = weight.new_zeros(len(weight), requires_grad=True)
        output = functional.linear(input, weight, bias)
        return torch.autograd.grad(output, (input, weight, bias), grad_output)


class LinearBackward:
    """The three gradients of a linear layer, a method each."""

    def __call__(self, grad_output: Tensor, input: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return (
            self.of_input(grad_output, weight),
            self.of_weight(grad_output, input),
            self.of_bias(grad_output),
        )

    def of_input(self, grad: Tensor, weight: Tensor) -> Tensor:
        return grad @ weight

    def of_weight(self, grad: Tensor, input: Tensor) -> Tensor:
        return grad.T @ input

    def of_bias(self, grad: Tensor) -> Tensor:
        return grad.sum(dim=0)


class InputTransposed(LinearBackward):
    def of_input(self, grad: Tensor, weight: Tensor) -> Tensor:
        return (grad @ weight).T


class InputAveraged(LinearBackward):
    def of_input(self, grad: Tensor, weight: Tensor) -> Tensor:
        return grad @ weight / max(len(grad), 1)


class InputSummed(LinearBackward):
    def of_input(self, grad: Tensor, weight: Tensor) -> Tensor:
        return (grad @ weight).sum(dim=0)


class InputWithoutWeight(LinearBackward):
    def of_input(self, grad: Tensor, weight: Tensor) -> Tensor:
        return grad.sum(dim=1, keepdim=True).repeat(1, weight.shape[1])


class InputPassedOn(LinearBackward):
    def of_input(self, grad: Tensor, weight: Tensor) -> Tensor:
        return grad


class WeightTransposed(LinearBackward):
    def of_weight(self, grad: Tensor, input: Tensor) -> Tensor:
        return input.T @ grad


class WeightAveraged(LinearBackward):
    def of_weight(self, grad: Tensor, input: Tensor) -> Tensor:
        return grad.T @ input / max(len(grad), 1)


class WeightSummedFirst(LinearBackward):
    def of_weight(self, grad: Tensor, input: Tensor) -> Tensor:
        return torch.outer(grad.sum(dim=0), input.sum(dim=0))


class WeightWithoutInput(LinearBackward):
    def of_weight(self, grad: Tensor, input: Tensor) -> Tensor:
        return grad.sum(dim=0)[:, None].repeat(1, input.shape[1])


class WeightOfEveryExample(LinearBackward):
    def of_weight(self, grad: Tensor, input: Tensor) -> Tensor:
        return grad[:, :, None] * input[:, None, :]


class BiasOfEveryExample(LinearBackward):
    def of_bias(self, grad: Tensor) -> Tensor:
        return grad


class BiasAveraged(LinearBackward):
    def of_bias(self, grad: Tensor) -> Tensor:
        return grad.sum(dim=0) / max(len(grad), 1)


class BiasOverOutputs(LinearBackward):
    def of_bias(self, grad: Tensor) -> Tensor:
        return grad.sum(dim=1)


class BiasKeepsTheBatch(LinearBackward):
    def of_bias(self, grad: Tensor) -> Tensor:
        return grad.sum(dim=0, keepdim=True)


class BiasCounts(LinearBackward):
    def of_bias(self, grad: Tensor) -> Tensor:
        return torch.ones_like(grad).sum(dim=0)


LINEAR_MISTAKES = (
    Mistake(
        "input_transposed",
        "The gradient of the input is transposed: it must have the input's shape (n, in).",
        InputTransposed(),
    ),
    Mistake(
        "input_averaged",
        "Do not divide the gradient of the input by the batch size: the mean belongs to the loss, "
        "and grad_output holds it already.",
        InputAveraged(),
    ),
    Mistake(
        "input_summed",
        "Every example has its own input and its own gradient: do not sum the gradient of the "
        "input over the batch.",
        InputSummed(),
    ),
    Mistake(
        "input_without_weight",
        "The weight is missing in the gradient of the input: an input acts on each output with "
        "its weight.",
        InputWithoutWeight(),
    ),
    Mistake(
        "input_passed_on",
        "The gradient of the input is grad_output itself here: it must still be multiplied by the "
        "weight.",
        InputPassedOn(),
    ),
    Mistake(
        "weight_transposed",
        "The gradient of the weight is transposed: it must have the weight's shape (out, in).",
        WeightTransposed(),
    ),
    Mistake(
        "weight_averaged",
        "Do not divide the gradient of the weight by the batch size: the mean belongs to the loss, "
        "and grad_output holds it already. Here it is a sum over the batch.",
        WeightAveraged(),
    ),
    Mistake(
        "weight_summed_first",
        "Multiply gradient and input of each example first and sum over the batch then: here both "
        "were summed before the product.",
        WeightSummedFirst(),
    ),
    Mistake(
        "weight_without_input",
        "The input is missing in the gradient of the weight: a weight acts on the output with its "
        "input.",
        WeightWithoutInput(),
    ),
    Mistake(
        "weight_of_every_example",
        "All examples share one weight, so its gradient is the sum over the batch: here it has a "
        "gradient for every example.",
        WeightOfEveryExample(),
    ),
    Mistake(
        "bias_of_every_example",
        "All examples share one bias, so its gradient is the sum over the batch: here it was not "
        "summed.",
        BiasOfEveryExample(),
    ),
    Mistake(
        "bias_averaged",
        "Do not divide the gradient of the bias by the batch size: the mean belongs to the loss, "
        "and grad_output holds it already. Here it is a sum over the batch.",
        BiasAveraged(),
    ),
    Mistake(
        "bias_over_outputs",
        "The gradient of the bias is summed over the wrong dimension: sum over the batch (dim=0), "
        "and one number for each output stays.",
        BiasOverOutputs(),
    ),
    Mistake(
        "bias_keeps_the_batch",
        "The gradient of the bias must have shape (out,), not (1, out).",
        BiasKeepsTheBatch(),
    ),
    Mistake(
        "bias_counts",
        "The gradient of the bias is the sum of grad_output over the batch, not the number of "
        "examples.",
        BiasCounts(),
    ),
)

LINEAR_PARTS = {
    "the gradient of the input": 1,
    "the gradient of the weight": 1,
    "the gradient of the bias": 1,
}


def linear_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, n: int, fan_in: int, out: int, dtype: torch.dtype = torch.float32) -> Case:
        tensors = {
            "grad_output": quarters(rng, out, n).T.to(dtype),
            "input": quarters(rng, fan_in, n).T.to(dtype),
            "weight": quarters(rng, fan_in, out).T.to(dtype),
        }
        title = f"{n} examples, {fan_in} inputs, {out} outputs, {str(dtype).partition('.')[2]}"
        if n * fan_in * out in range(1, 5):
            title = ", ".join(f"{name} {rounded(tensor)}" for name, tensor in tensors.items())
        return {"part": part, "title": title, **tensors}

    cases = []
    for part in LINEAR_PARTS:
        n, fan_in, out = (2 + torch.randperm(5, generator=rng)[:3]).tolist()
        cases += [
            case(part, 2, 2, 1),
            case(part, 1, 2, 1),
            case(part, n, fan_in, out),
            case(part, 3, 3, 3, torch.float64),
            case(part, 4, 2, 3, torch.bfloat16),
            case(part, 0, 3, 2),
        ]
    return cases


def linear_probe(linear_backward: Any, case: Case) -> Outputs:
    arguments = {name: case[name] for name in ("grad_output", "input", "weight")}
    with torch.no_grad():
        gradients = linear_backward(**arguments)
    grad_input, grad_weight, grad_bias = gradients
    named = dict(zip(LINEAR_PARTS, (grad_input, grad_weight, grad_bias), strict=True))
    return {
        case["part"]: named[case["part"]],
        **unchanged(arguments),
    }


# --- softmax and cross-entropy --------------------------------------------------------------------


def cross_entropy_by_autograd(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        loss = functional.cross_entropy(logits, target)
        return loss, torch.autograd.grad(loss, logits)[0]


class CrossEntropy:
    """Softmax and cross-entropy, one decision a method."""

    def __call__(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        p = self.softmax(logits)
        one_hot = functional.one_hot(target, logits.shape[1]).to(logits.dtype)
        loss = self.mean(self.losses(p, logits, one_hot), logits)
        return loss, self.divided(self.difference(p, one_hot), logits)

    def softmax(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)

    def losses(self, p: Tensor, logits: Tensor, one_hot: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1)
        return -(log_p.masked_fill(one_hot == 0, 0)).sum(dim=1)

    def mean(self, losses: Tensor, logits: Tensor) -> Tensor:
        return losses.mean()

    def difference(self, p: Tensor, one_hot: Tensor) -> Tensor:
        return p - one_hot

    def divided(self, difference: Tensor, logits: Tensor) -> Tensor:
        return difference / len(logits)


class LossSummed(CrossEntropy):
    def mean(self, losses: Tensor, logits: Tensor) -> Tensor:
        return losses.sum()


class LossOverAllEntries(CrossEntropy):
    def mean(self, losses: Tensor, logits: Tensor) -> Tensor:
        return losses.sum() / logits.numel()


class LossOfEveryExample(CrossEntropy):
    def mean(self, losses: Tensor, logits: Tensor) -> Tensor:
        return losses


class LossWithoutMinus(CrossEntropy):
    def losses(self, p: Tensor, logits: Tensor, one_hot: Tensor) -> Tensor:
        return -super().losses(p, logits, one_hot)


class LossWithoutLog(CrossEntropy):
    def losses(self, p: Tensor, logits: Tensor, one_hot: Tensor) -> Tensor:
        return 1 - (p * one_hot).sum(dim=1)


class LossInBits(CrossEntropy):
    def losses(self, p: Tensor, logits: Tensor, one_hot: Tensor) -> Tensor:
        return super().losses(p, logits, one_hot) / torch.log(torch.tensor(2.0))


class LossIsLogit(CrossEntropy):
    def losses(self, p: Tensor, logits: Tensor, one_hot: Tensor) -> Tensor:
        return -(logits * one_hot).sum(dim=1)


class GradientNotDivided(CrossEntropy):
    def divided(self, difference: Tensor, logits: Tensor) -> Tensor:
        return difference


class GradientDividedTwice(CrossEntropy):
    def divided(self, difference: Tensor, logits: Tensor) -> Tensor:
        return difference / len(logits) ** 2


class GradientOverAllEntries(CrossEntropy):
    def divided(self, difference: Tensor, logits: Tensor) -> Tensor:
        return difference / logits.numel()


class SignSwapped(CrossEntropy):
    def difference(self, p: Tensor, one_hot: Tensor) -> Tensor:
        return one_hot - p


class OneHotAdded(CrossEntropy):
    def difference(self, p: Tensor, one_hot: Tensor) -> Tensor:
        return p + one_hot


class OneHotMissing(CrossEntropy):
    def difference(self, p: Tensor, one_hot: Tensor) -> Tensor:
        return p


class TargetsOnly(CrossEntropy):
    def difference(self, p: Tensor, one_hot: Tensor) -> Tensor:
        return (p - one_hot) * one_hot


class WithRespectToP(CrossEntropy):
    def difference(self, p: Tensor, one_hot: Tensor) -> Tensor:
        return -one_hot / p


class SigmoidDerivativeToo(CrossEntropy):
    def difference(self, p: Tensor, one_hot: Tensor) -> Tensor:
        return (p - one_hot) * p * (1 - p)


class SoftmaxOverTheBatch(CrossEntropy):
    def softmax(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=0)

    def losses(self, p: Tensor, logits: Tensor, one_hot: Tensor) -> Tensor:
        return -(logits.log_softmax(dim=0) * one_hot).sum(dim=1)


class LogOfSoftmax(CrossEntropy):
    eps = 0.0

    def losses(self, p: Tensor, logits: Tensor, one_hot: Tensor) -> Tensor:
        return -(self.guarded((p * one_hot).sum(dim=1))).log()

    def guarded(self, p: Tensor) -> Tensor:
        return p + self.eps


class LogWithEps(LogOfSoftmax):
    eps = 1e-12


class LogWithLargeEps(LogOfSoftmax):
    eps = 1e-10


class Unstable(LogOfSoftmax):
    def softmax(self, logits: Tensor) -> Tensor:
        return logits.exp() / logits.exp().sum(dim=1, keepdim=True)


class OneMaximumForAll(LogOfSoftmax):
    def softmax(self, logits: Tensor) -> Tensor:
        exp = (logits - logits.max()).exp()
        return exp / exp.sum(dim=1, keepdim=True)


LOSS_SUMMED = "The loss is the mean over the batch: here the losses of the examples were summed."
NOT_DIVIDED = (
    "The loss is a mean over the batch, so its gradient has the factor 1 / n: here it is missing."
)
DIVIDED_TWICE = "The gradient is divided by the batch size twice: once is enough."
SIGN_SWAPPED = "The sign of the gradient is turned round: it is p - one_hot, not one_hot - p."
ONE_HOT_MISSING = (
    "At the right class the gradient is p - 1: subtract 1 there. Here it is p everywhere, so a "
    "step would lower every logit."
)
OVER_THE_BATCH = (
    "The softmax runs over the examples here: each row is a distribution over the classes, dim=1."
)
UNSTABLE = (
    "exp overflows for large logits and gives nan: subtract each row's maximum first, which does "
    "not change the softmax."
)

CROSS_ENTROPY_MISTAKES = (
    Mistake("loss_summed", LOSS_SUMMED, LossSummed()),
    Mistake(
        "loss_over_all_entries",
        "Average the loss over the examples, n of them, not over all n * classes entries.",
        LossOverAllEntries(),
    ),
    Mistake(
        "loss_of_every_example",
        "The loss is one number, the mean over the batch: here there is one for every example.",
        LossOfEveryExample(),
    ),
    Mistake("loss_without_minus", "The loss is minus the log-probability.", LossWithoutMinus()),
    Mistake(
        "loss_without_log", "The loss is -log(p) of the right class, not 1 - p.", LossWithoutLog()
    ),
    Mistake("loss_in_bits", "Take the natural logarithm, not that to base 2.", LossInBits()),
    Mistake(
        "loss_is_logit",
        "The logit itself is not a log-probability: subtract the log of the sum of the row's "
        "exponentials.",
        LossIsLogit(),
    ),
    Mistake("gradient_not_divided", NOT_DIVIDED, GradientNotDivided()),
    Mistake("gradient_divided_twice", DIVIDED_TWICE, GradientDividedTwice()),
    Mistake(
        "gradient_over_all_entries",
        "Divide the gradient by the number of examples, not by n * classes.",
        GradientOverAllEntries(),
    ),
    Mistake("sign_swapped", SIGN_SWAPPED, SignSwapped()),
    Mistake("one_hot_added", "Subtract the one-hot row from p: here it was added.", OneHotAdded()),
    Mistake("one_hot_missing", ONE_HOT_MISSING, OneHotMissing()),
    Mistake(
        "targets_only",
        "The other classes have a gradient too, their p: raising any logit lowers the probability "
        "of the right class.",
        TargetsOnly(),
    ),
    Mistake(
        "with_respect_to_p",
        "-1 / p is the gradient with respect to the probabilities. Carry it on through the softmax "
        "to the logits; the two together become p - one_hot.",
        WithRespectToP(),
    ),
    Mistake(
        "softmax_derivative_twice",
        "p - one_hot is already the gradient with respect to the logits: the derivative of the "
        "softmax is in it, and p * (1 - p) does not belong here.",
        SigmoidDerivativeToo(),
    ),
    Mistake("softmax_over_the_batch", OVER_THE_BATCH, SoftmaxOverTheBatch()),
    Mistake(
        "log_of_softmax",
        "A probability can be too small for a float and become 0, whose log is -inf. Compute the "
        "log-probability directly: logit minus log of the sum of exponentials.",
        LogOfSoftmax(),
    ),
    *(
        Mistake(
            "log_with_eps",
            f"log(p + {wrong.eps}) hides the large losses. Compute the log-probability directly: "
            "logit minus log of the sum of exponentials.",
            wrong(),
        )
        for wrong in (LogWithEps, LogWithLargeEps)
    ),
    Mistake("unstable", UNSTABLE, Unstable()),
    Mistake(
        "one_maximum_for_all",
        "Subtract each row's own maximum: with the largest of the whole batch the exponentials of "
        "other rows vanish.",
        OneMaximumForAll(),
    ),
)


def cross_entropy_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, logits: Tensor, target: Tensor) -> Case:
        title = f"logits of shape {tuple(logits.shape)}"
        if logits.numel() <= 4:
            title = f"logits {rounded(logits)}"
        return {
            "part": part,
            "title": f"{title}, target {target.tolist()}",
            "logits": strided(logits),
            "target": target,
        }

    def drawn(part: str, n: int, classes: int, dtype: torch.dtype = torch.float32) -> Case:
        logits = uniform(rng, 0.3, 2.5, n, classes).to(dtype)
        return case(part, logits, torch.randint(0, classes, (n,), generator=rng))

    def large(rows: int, classes: int, gap: float) -> Case:
        order = torch.stack([torch.randperm(classes, generator=rng) for _ in range(rows)])
        offset = 10 * gap * torch.randperm(rows, generator=rng)[:, None]
        return case("large logits", gap * order + offset, order.argmin(dim=1))

    loss, gradient = "the loss", "its gradient"
    n = int(torch.randint(4, 9, (), generator=rng))
    cases = []
    for part in (loss, gradient):
        cases += [
            drawn(part, 2, 2),
            drawn(part, 1, 3),
            drawn(part, n, n + 2),
            drawn(part, n, n - 1, torch.float64),
            drawn(part, 3, 4, torch.bfloat16),
        ]
    return [
        *cases,
        case("large logits", torch.tensor([[200.0, 0.0]]), torch.tensor([0])),
        case("large logits", torch.tensor([[1000.0, 970.0]]), torch.tensor([1])),
        large(2, 2, 1000.0),
        large(4, 3, 300.0),
    ]


def cross_entropy_probe(cross_entropy_gradients: Any, case: Case) -> Outputs:
    logits, target = case["logits"], case["target"]
    with torch.no_grad():
        loss, grad_logits = cross_entropy_gradients(logits, target)
    outputs = {"the loss": loss, "its gradient": grad_logits}
    if case["part"] in outputs:
        outputs = {case["part"]: outputs[case["part"]]}
    return {
        **outputs,
        **unchanged({"logits": logits, "target": target}),
    }


# --- a network ------------------------------------------------------------------------------------

Params = list[tuple[Tensor, Tensor]]
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}


def forward(params: Params, x: Tensor, activation: str) -> list[Tensor]:
    """Return what every layer gives before its activation."""
    outputs: list[Tensor] = []
    for weight, bias in params:
        layer_input = ACTIVATIONS[activation](outputs[-1]) if outputs else x
        outputs.append(layer_input @ weight.T + bias)
    return outputs


def mlp_by_autograd(
    params: Params, x: Tensor, y: Tensor, activation: str = "relu"
) -> tuple[Tensor, Params]:
    with torch.enable_grad():
        leaves = [(w.detach().requires_grad_(), b.detach().requires_grad_()) for w, b in params]
        loss = functional.cross_entropy(forward(leaves, x, activation)[-1], y)
        gradients = torch.autograd.grad(loss, [leaf for pair in leaves for leaf in pair])
    return loss, list(zip(gradients[::2], gradients[1::2], strict=True))


class Backprop:
    """Backpropagation through a network, one decision a method."""

    cross_entropy: CrossEntropy = CrossEntropy()

    def __call__(
        self, params: Params, x: Tensor, y: Tensor, activation: str = "relu"
    ) -> tuple[Tensor, Params]:
        zs: list[Tensor] = []
        inputs = [x]
        for number, (weight, bias) in enumerate(params, start=1):
            last = number == len(params)
            zs.append(self.linear(inputs[-1], weight, bias, last))
            inputs.append(self.activated(zs[-1], activation, last))
        loss, grad = self.cross_entropy(inputs.pop(), y)
        gradients = []
        for i in reversed(range(len(params))):
            layer_input, below = inputs[i], zs[i - 1] if i else x
            of_weight = self.weight_gradient(grad, layer_input, below)
            gradients.append((of_weight, self.bias_gradient(grad)))
            if i:
                grad = self.carried(grad, params, i, of_weight)
                grad = grad * self.derivative(grad, zs, inputs, i, activation)
        return loss, self.in_order(gradients, params)

    def linear(self, layer_input: Tensor, weight: Tensor, bias: Tensor, last: bool) -> Tensor:
        return layer_input @ weight.T + bias

    def activated(self, z: Tensor, activation: str, last: bool) -> Tensor:
        return z if last else ACTIVATIONS[activation](z)

    def weight_gradient(self, grad: Tensor, layer_input: Tensor, z_below: Tensor) -> Tensor:
        return grad.T @ layer_input

    def bias_gradient(self, grad: Tensor) -> Tensor:
        return grad.sum(dim=0)

    def carried(self, grad: Tensor, params: Params, i: int, of_weight: Tensor) -> Tensor:
        return grad @ params[i][0]

    def derivative(
        self, grad: Tensor, zs: list[Tensor], inputs: list[Tensor], i: int, activation: str
    ) -> Tensor:
        return self.slope(inputs[i], activation)

    def slope(self, a: Tensor, activation: str) -> Tensor:
        slopes = {"relu": (a > 0).to(a.dtype), "tanh": 1 - a**2, "sigmoid": a * (1 - a)}
        return slopes[activation]

    def in_order(self, gradients: Params, params: Params) -> Params:
        return gradients[::-1]


def with_loss(mistake: type[CrossEntropy]) -> Backprop:
    """Return a network's backpropagation that makes a mistake in the loss."""
    return type(mistake.__name__, (Backprop,), {"cross_entropy": mistake()})()


class NoActivation(Backprop):
    def activated(self, z: Tensor, activation: str, last: bool) -> Tensor:
        return z


class ActivatesTheLogits(Backprop):
    def activated(self, z: Tensor, activation: str, last: bool) -> Tensor:
        return ACTIVATIONS[activation](z)


class NoBiases(Backprop):
    def linear(self, layer_input: Tensor, weight: Tensor, bias: Tensor, last: bool) -> Tensor:
        return layer_input @ weight.T


class NoLastBias(Backprop):
    def linear(self, layer_input: Tensor, weight: Tensor, bias: Tensor, last: bool) -> Tensor:
        return layer_input @ weight.T + bias * (not last)


class AlwaysRelu(Backprop):
    def __call__(
        self, params: Params, x: Tensor, y: Tensor, activation: str = "relu"
    ) -> tuple[Tensor, Params]:
        return super().__call__(params, x, y, "relu")


class TransposedWeights(Backprop):
    def weight_gradient(self, grad: Tensor, layer_input: Tensor, z_below: Tensor) -> Tensor:
        return layer_input.T @ grad


class WeightsDividedAgain(Backprop):
    def weight_gradient(self, grad: Tensor, layer_input: Tensor, z_below: Tensor) -> Tensor:
        return grad.T @ layer_input / len(grad)


class PreActivationAsInput(Backprop):
    def weight_gradient(self, grad: Tensor, layer_input: Tensor, z_below: Tensor) -> Tensor:
        return grad.T @ z_below


class BiasesOfEveryExample(Backprop):
    def bias_gradient(self, grad: Tensor) -> Tensor:
        return grad


class BiasesDividedAgain(Backprop):
    def bias_gradient(self, grad: Tensor) -> Tensor:
        return grad.mean(dim=0)


class WeightOfTheLayerBelow(Backprop):
    def carried(self, grad: Tensor, params: Params, i: int, of_weight: Tensor) -> Tensor:
        return grad @ params[i - 1][0]


class CarriedByTheTranspose(Backprop):
    def carried(self, grad: Tensor, params: Params, i: int, of_weight: Tensor) -> Tensor:
        return grad @ params[i][0].T


class CarriedByNewWeights(Backprop):
    rate = 0.1

    def carried(self, grad: Tensor, params: Params, i: int, of_weight: Tensor) -> Tensor:
        return grad @ (params[i][0] - self.rate * of_weight)


class NoDerivative(Backprop):
    def derivative(
        self, grad: Tensor, zs: list[Tensor], inputs: list[Tensor], i: int, activation: str
    ) -> Tensor:
        return torch.ones_like(grad)


class DerivativeOfTheLastOnly(Backprop):
    def derivative(
        self, grad: Tensor, zs: list[Tensor], inputs: list[Tensor], i: int, activation: str
    ) -> Tensor:
        if i < len(zs) - 1:
            return torch.ones_like(grad)
        return super().derivative(grad, zs, inputs, i, activation)


class MaskedByGradient(Backprop):
    def derivative(
        self, grad: Tensor, zs: list[Tensor], inputs: list[Tensor], i: int, activation: str
    ) -> Tensor:
        if activation == "relu":
            return (grad > 0).to(grad.dtype)
        return super().derivative(grad, zs, inputs, i, activation)


class DerivativeOfTheLayerAbove(Backprop):
    def derivative(
        self, grad: Tensor, zs: list[Tensor], inputs: list[Tensor], i: int, activation: str
    ) -> Tensor:
        return self.slope(ACTIVATIONS[activation](zs[i]), activation)


class SlopeAtZ(Backprop):
    def derivative(
        self, grad: Tensor, zs: list[Tensor], inputs: list[Tensor], i: int, activation: str
    ) -> Tensor:
        return self.slope(zs[i - 1], activation)


class SlopeOfReluForAll(Backprop):
    def slope(self, a: Tensor, activation: str) -> Tensor:
        return super().slope(a, "relu")


class SlopeIsOutput(Backprop):
    def slope(self, a: Tensor, activation: str) -> Tensor:
        return a


class TanhNotSquared(Backprop):
    def slope(self, a: Tensor, activation: str) -> Tensor:
        return 1 - a if activation == "tanh" else super().slope(a, activation)


class SlopesSwapped(Backprop):
    def slope(self, a: Tensor, activation: str) -> Tensor:
        swapped = {"relu": "relu", "tanh": "sigmoid", "sigmoid": "tanh"}
        return super().slope(a, swapped[activation])


class LastLayerFirst(Backprop):
    def in_order(self, gradients: Params, params: Params) -> Params:
        return gradients


class ReturnsNewParams(Backprop):
    def in_order(self, gradients: Params, params: Params) -> Params:
        return [
            (weight - 0.1 * of_weight, bias - 0.1 * of_bias)
            for (weight, bias), (of_weight, of_bias) in zip(params, gradients[::-1], strict=True)
        ]


MLP_MISTAKES = (
    Mistake("loss_summed", LOSS_SUMMED, with_loss(LossSummed)),
    Mistake("gradient_not_divided", NOT_DIVIDED, with_loss(GradientNotDivided)),
    Mistake("gradient_divided_twice", DIVIDED_TWICE, with_loss(GradientDividedTwice)),
    Mistake("sign_swapped", SIGN_SWAPPED, with_loss(SignSwapped)),
    Mistake("one_hot_missing", ONE_HOT_MISSING, with_loss(OneHotMissing)),
    Mistake("softmax_over_the_batch", OVER_THE_BATCH, with_loss(SoftmaxOverTheBatch)),
    Mistake("unstable", UNSTABLE, with_loss(Unstable)),
    Mistake(
        "no_activation",
        "The activation is missing in the forward pass: it follows every layer but the last.",
        NoActivation(),
    ),
    Mistake(
        "activates_the_logits",
        "No activation follows the last layer: its outputs are the logits.",
        ActivatesTheLogits(),
    ),
    Mistake("no_biases", "The biases are missing in the forward pass.", NoBiases()),
    Mistake("no_last_bias", "The bias of the last layer is missing.", NoLastBias()),
    Mistake(
        "always_relu", "The argument activation has no effect: relu is used always.", AlwaysRelu()
    ),
    Mistake(
        "weight_gradients_transposed",
        "The gradients of the weights are transposed: grad.T @ input has the weight's shape "
        "(out, in).",
        TransposedWeights(),
    ),
    Mistake(
        "weights_divided_again",
        "The gradients of the weights are sums over the batch: the mean is already in the gradient "
        "of the logits, so do not divide again.",
        WeightsDividedAgain(),
    ),
    Mistake(
        "pre_activation_as_input",
        "The gradient of a weight has the factor that entered the layer: the output of the "
        "activation below, not its input z.",
        PreActivationAsInput(),
    ),
    Mistake(
        "biases_of_every_example",
        "Sum the gradients of the biases over the batch: all examples share one bias.",
        BiasesOfEveryExample(),
    ),
    Mistake(
        "biases_divided_again",
        "The gradients of the biases are sums over the batch: the mean is already in the gradient "
        "of the logits, so do not divide again.",
        BiasesDividedAgain(),
    ),
    Mistake(
        "weight_of_the_layer_below",
        "A gradient goes backward through the weight of the layer it comes from: here it went "
        "through the weight of the layer below.",
        WeightOfTheLayerBelow(),
    ),
    Mistake(
        "carried_by_the_transpose",
        "Forward is x @ weight.T, so backward is grad @ weight, without the transpose.",
        CarriedByTheTranspose(),
    ),
    Mistake(
        "carried_by_new_weights",
        "The gradient was carried backward by weights that a step had already changed: compute all "
        "gradients first.",
        CarriedByNewWeights(),
    ),
    Mistake(
        "no_activation_derivative",
        "The derivative of the activation is missing: multiply by it on the way back through "
        "every hidden layer.",
        NoDerivative(),
    ),
    Mistake(
        "derivative_of_the_last_only",
        "The derivative of the activation belongs to every hidden layer: here only the last one "
        "has it.",
        DerivativeOfTheLastOnly(),
    ),
    Mistake(
        "mask_by_gradient",
        "relu passes the gradient on where its own output is positive, not where the gradient is.",
        MaskedByGradient(),
    ),
    Mistake(
        "derivative_of_the_layer_above",
        "The derivative of the activation is taken at the wrong layer: take it at the output of "
        "the activation below, the tensor that entered the layer.",
        DerivativeOfTheLayerAbove(),
    ),
    Mistake(
        "slope_at_z",
        "1 - a**2 and a * (1 - a) hold for the output a of the activation: here its input z was "
        "put in.",
        SlopeAtZ(),
    ),
    Mistake(
        "slope_of_relu_for_all",
        "The derivative is that of relu, whatever the activation.",
        SlopeOfReluForAll(),
    ),
    Mistake(
        "slope_is_output",
        "The gradient is multiplied by the output of the activation, not by its derivative.",
        SlopeIsOutput(),
    ),
    Mistake("tanh_not_squared", "The derivative of tanh is 1 - a**2, not 1 - a.", TanhNotSquared()),
    Mistake(
        "slopes_swapped",
        "The derivatives of tanh and sigmoid are swapped: 1 - a**2 is that of tanh, a * (1 - a) "
        "that of sigmoid.",
        SlopesSwapped(),
    ),
    Mistake(
        "last_layer_first",
        "Return the gradients in the order of params: here the last layer comes first.",
        LastLayerFirst(),
    ),
    Mistake(
        "returns_new_params",
        "Return the gradients, not the parameters after a step.",
        ReturnsNewParams(),
    ),
)


def mlp_inputs(rng: torch.Generator) -> list[Case]:
    def case(
        part: str,
        *sizes: int,
        n: int = 3,
        activation: str | None = None,
        dtype: torch.dtype = torch.float32,
        margin: float = 0.02,
        last_bias: Tensor | None = None,
    ) -> Case:
        while True:
            params = [
                (quarters(rng, i, o).T / i**0.5, uniform(rng, 0.2, 0.8, o))
                for i, o in pairwise(sizes)
            ]
            x = uniform(rng, 0.4, 1.6, sizes[0], n).T
            # A unit whose input is nearly 0 would be on in one arithmetic and off in another.
            hidden = forward(params, x, activation or "relu")[:-1]
            if all((z > margin).any() and (z < -margin).any() for z in hidden) and all(
                (z.abs() > margin).all() for z in hidden
            ):
                break
        if last_bias is not None:
            params[-1] = params[-1][0], last_bias
        told = f", activation={activation!r}" if activation else ""
        batch = f"{n} example{'s' * (n > 1)}"
        return {
            "part": part,
            "title": f"layers of sizes {list(sizes)}, {batch}{told}, {str(dtype)[6:]}",
            "params": [(weight.to(dtype), bias.to(dtype)) for weight, bias in params],
            "x": x.to(dtype),
            "y": torch.randint(0, sizes[-1], (n,), generator=rng),
            "more": {"activation": activation} if activation else {},
        }

    loss, one, hidden = "the loss", "one layer", "one hidden layer"
    equal, other = "hidden layers of equal width", "tanh and sigmoid"
    large = 150.0 * torch.randperm(3, generator=rng)
    return [
        case(loss, 2, 2),
        case(loss, 3, 4, 2, n=5),
        case(loss, 2, 4, 4, 3, activation="tanh"),
        case(one, 2, 2, n=2),
        case(one, 3, 2, n=1),
        case(one, 2, 4, n=3, dtype=torch.float64),
        case(one, 2, 3, n=4, last_bias=large),
        case(hidden, 2, 3, 2, n=2),
        case(hidden, 3, 5, 4, n=6),
        case(hidden, 4, 6, 3, n=5, activation="relu", dtype=torch.float64),
        case(hidden, 2, 4, 3, n=2, dtype=torch.bfloat16, margin=0.15),
        case(equal, 3, 3, 3, 3, n=3),
        case(equal, 4, 4, 4, 4, 4, n=4),
        case(other, 2, 3, 2, n=2, activation="tanh"),
        case(other, 2, 3, 2, n=2, activation="sigmoid", margin=0),
        case(other, 3, 5, 4, 2, n=4, activation="tanh"),
        case(other, 3, 4, 5, 2, n=4, activation="sigmoid", margin=0),
    ]


def mlp_probe(mlp_gradients: Any, case: Case) -> Outputs:
    params, x, y = case["params"], case["x"], case["y"]
    with torch.no_grad():
        loss, gradients = mlp_gradients(params, x, y, **case["more"])
    outputs: Outputs = {"the loss": loss}
    if case["part"] != "the loss":
        outputs["the number of layers with gradients"] = len(gradients)
        for number, (of_weight, of_bias) in enumerate(gradients, start=1):
            outputs[f"the gradient of weight {number}"] = of_weight
            outputs[f"the gradient of bias {number}"] = of_bias
    arguments = {"x": x, "y": y}
    for number, (weight, bias) in enumerate(params, start=1):
        arguments |= {f"weight {number}": weight, f"bias {number}": bias}
    return {**outputs, **unchanged(arguments)}


# --- the checks -----------------------------------------------------------------------------------

check_neuron_gradients = Check(
    module="backprop",
    exercise="neuron_gradients",
    target="neuron_gradients",
    parts={"one input": 2, "a dead neuron": 1, "several inputs": 1},
    inputs=neuron_inputs,
    probe=neuron_probe,
    oracle=neuron_by_autograd,
    mistakes=NEURON_MISTAKES,
    hints=(
        "Write the forward pass in three lines, z, a and loss, and keep every value: the backward "
        "pass needs them.",
        "Go backward one line at a time: how does the loss change with a, a with z, and z with w, "
        "b and x? Multiply along the way.",
        "dL/da = 2 * (a - y_true); dL/dz is that where z > 0 and 0 elsewhere; w, b and x differ "
        "in the last factor only: x, 1 and w.",
    ),
    forbidden=FORBIDDEN,
)

check_numerical_gradient = Check(
    module="backprop",
    exercise="numerical_gradient",
    target="numerical_gradient",
    parts={"one number": 1, "a tensor of any shape": 1, "the step eps": 1},
    inputs=numerical_inputs,
    probe=numerical_probe,
    oracle=CentralDifference(),
    mistakes=NUMERICAL_MISTAKES,
    hints=(
        "One element after the other: move only this one, up and down by eps, and see how much "
        "the function's value changes.",
        "itertools.product(*map(range, input.shape)) gives every index as a tuple, for any number "
        "of dimensions; step[index] = eps puts eps into a tensor of zeros.",
        "gradient[index] = (function(input + step) - function(input - step)) / (2 * eps).",
    ),
    forbidden=FORBIDDEN,
)

check_linear_backward = Check(
    module="backprop",
    exercise="linear_backward",
    target="linear_backward",
    parts=dict(LINEAR_PARTS),
    inputs=linear_inputs,
    probe=linear_probe,
    oracle=linear_by_autograd,
    mistakes=LINEAR_MISTAKES,
    hints=(
        "Write out one output: output[k, o] is the sum over i of input[k, i] * weight[o, i], plus "
        "bias[o]. What does each of the three change?",
        "A gradient has the shape of what it belongs to. Of grad_output (n, out), input (n, in) "
        "and weight (out, in) only one product gives (n, in), and one gives (out, in).",
        "The bias is added to every example alike: its gradient is the sum over dim 0. The "
        "matrix product grad_output.T @ input sums over the batch by itself.",
    ),
    forbidden=FORBIDDEN,
)

check_cross_entropy_gradients = Check(
    module="backprop",
    exercise="cross_entropy_gradients",
    target="cross_entropy_gradients",
    parts={"the loss": 1, "its gradient": 2, "large logits": 1},
    inputs=cross_entropy_inputs,
    probe=cross_entropy_probe,
    oracle=cross_entropy_by_autograd,
    mistakes=CROSS_ENTROPY_MISTAKES,
    hints=(
        "log(p) is the logit minus the logarithm of the sum of the row's exponentials. Subtract "
        "the row's maximum first, then nothing overflows.",
        "Through softmax and logarithm together the derivative is short: p, and 1 less at the "
        "right class.",
        "log_p[torch.arange(n), target] picks one entry of every row, and the same index changes "
        "those entries of p. Both results are means: divide by n.",
    ),
    forbidden=FORBIDDEN,
)

check_mlp_gradients = Check(
    module="backprop",
    exercise="mlp_gradients",
    target="mlp_gradients",
    parts={
        "the loss": 1,
        "one layer": 1,
        "one hidden layer": 2,
        "hidden layers of equal width": 1,
        "tanh and sigmoid": 1,
    },
    inputs=mlp_inputs,
    probe=mlp_probe,
    oracle=mlp_by_autograd,
    mistakes=MLP_MISTAKES,
    hints=(
        "In the forward pass keep what enters every layer: x for the first, the output of the "
        "activation below for the others. The backward pass needs it, last layer first.",
        "cross_entropy_gradients starts the way back and linear_backward makes one step of it; "
        "between two layers multiply by activation_derivative of what entered the layer.",
        "for (weight, _), layer_input in zip(reversed(params), reversed(inputs)): get the three "
        "gradients, keep two, carry the third on. At the end turn the list round.",
    ),
    forbidden=FORBIDDEN,
)
