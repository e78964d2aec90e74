"""Checks of ``stability``: clipped gradients, learning-rate schedules and the range test."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.checking import Case, Check, Mistake, Outputs

CLIPPING = (
    "torch.nn.utils.clip_grad",
    "torch.nn.utils.clip_grad_norm",
    "torch.nn.utils.clip_grad_norm_",
    "torch.nn.utils.clip_grad_value_",
    "torch.nn.utils.clip_grads_with_norm_",
    "torch.nn.utils.get_total_norm",
)
SCHEDULERS = ("torch.optim.lr_scheduler",)

# --- clip_grad_norm_ ------------------------------------------------------------------------------


class ClipNorm:
    """Clipping by the norm, one decision a method, so that a mistake changes one of them."""

    @torch.no_grad()
    def __call__(
        self,
        parameters: Tensor | Iterable[Tensor],
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
    ) -> Any:
        params = self.listed(parameters)
        grads = self.gradients(params)
        if not grads:
            return self.answer(torch.tensor(0.0), max_norm)
        total = self.total(grads, norm_type)
        if error_if_nonfinite:
            self.insist_on_finite(total)
        self.clip(params, grads, max_norm, total)
        return self.answer(total, max_norm)

    def listed(self, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
        return [parameters] if isinstance(parameters, Tensor) else list(parameters)

    def gradients(self, params: list[Tensor]) -> list[Tensor]:
        return [param.grad for param in params if param.grad is not None]

    def total(self, grads: list[Tensor], order: float) -> Tensor:
        return joined(grads).norm(order)

    def insist_on_finite(self, total: Tensor) -> None:
        if not total.isfinite():
            raise RuntimeError(f"the norm is {total}")

    def factor(self, max_norm: float, total: Tensor) -> Tensor:
        return (max_norm / (total + 1e-6)).clamp(max=1)

    def clip(
        self, params: list[Tensor], grads: list[Tensor], max_norm: float, total: Tensor
    ) -> None:
        for grad in grads:
            grad *= self.factor(max_norm, total)

    def answer(self, total: Tensor, max_norm: float) -> Any:
        return total


def joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


class AlwaysRescales(ClipNorm):
    def factor(self, max_norm: float, total: Tensor) -> Tensor:
        return max_norm / (total + 1e-6)


class UpsideDown(ClipNorm):
    def factor(self, max_norm: float, total: Tensor) -> Tensor:
        return (total / max_norm).clamp(min=1)


class NoEps(ClipNorm):
    def factor(self, max_norm: float, total: Tensor) -> Tensor:
        return (max_norm / total).clamp(max=1)


class EachOnItsOwn(ClipNorm):
    def clip(
        self, params: list[Tensor], grads: list[Tensor], max_norm: float, total: Tensor
    ) -> None:
        for grad in grads:
            grad *= self.factor(max_norm, grad.norm())


class ClampsElements(ClipNorm):
    def clip(
        self, params: list[Tensor], grads: list[Tensor], max_norm: float, total: Tensor
    ) -> None:
        for grad in grads:
            grad.clamp_(-max_norm, max_norm)


class NothingChanges(ClipNorm):
    def clip(
        self, params: list[Tensor], grads: list[Tensor], max_norm: float, total: Tensor
    ) -> None:
        pass


class NewGradients(ClipNorm):
    def clip(
        self, params: list[Tensor], grads: list[Tensor], max_norm: float, total: Tensor
    ) -> None:
        for param in params:
            if param.grad is not None:
                param.grad = param.grad * self.factor(max_norm, total).to(param.dtype)


class ScalesTheParameters(ClipNorm):
    def clip(
        self, params: list[Tensor], grads: list[Tensor], max_norm: float, total: Tensor
    ) -> None:
        for param in params:
            param *= self.factor(max_norm, total)


class NormOfTheParameters(ClipNorm):
    @torch.no_grad()
    def __call__(
        self,
        parameters: Tensor | Iterable[Tensor],
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
    ) -> Any:
        params = self.listed(parameters)
        total = self.total(params, norm_type) if params else torch.tensor(0.0)
        self.clip(params, self.gradients(params), max_norm, total)
        return total


class FirstOnly(ClipNorm):
    def gradients(self, params: list[Tensor]) -> list[Tensor]:
        return super().gradients(params)[:1]


class LastNorm(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        return super().total(grads[-1:], order)


class SumOfNorms(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        return torch.stack([grad.norm(order).double() for grad in grads]).sum().to(grads[0].dtype)


class NoRoot(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        total = super().total(grads, order)
        return total if math.isinf(order) else total**order


class SquareRootAlways(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        total = super().total(grads, order)
        return total if math.isinf(order) else (total**order).sqrt()


class NoAbsoluteValue(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        elements = joined(grads)
        if math.isinf(order):
            return elements.max()
        return (elements**order).sum() ** (1 / order)


class MeanOfSquares(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        return super().total(grads, order) / joined(grads).numel() ** (1 / order)


class AlwaysTheTwoNorm(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        return super().total(grads, 2.0)


class TwoNormOfNorms(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        return torch.stack([grad.norm(order) for grad in grads]).norm()


class ReturnsClippedNorm(ClipNorm):
    def answer(self, total: Tensor, max_norm: float) -> Any:
        return total.clamp(max=max_norm)


class ReturnsNothing(ClipNorm):
    def answer(self, total: Tensor, max_norm: float) -> Any:
        return None


class ReturnsNumber(ClipNorm):
    def answer(self, total: Tensor, max_norm: float) -> Any:
        return total.item()


class GeneratorUsedUp(ClipNorm):
    @torch.no_grad()
    def __call__(
        self,
        parameters: Tensor | Iterable[Tensor],
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
    ) -> Any:
        used_up = not isinstance(parameters, Tensor) and iter(parameters) is parameters
        wrong = NothingChanges() if used_up else ClipNorm()
        return wrong(parameters, max_norm, norm_type, error_if_nonfinite)


class GoesThroughTheTensor(ClipNorm):
    def listed(self, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
        return [] if isinstance(parameters, Tensor) else list(parameters)


class NoneBecomesZero(ClipNorm):
    def gradients(self, params: list[Tensor]) -> list[Tensor]:
        for param in params:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
        return super().gradients(params)


class NeverRaises(ClipNorm):
    def insist_on_finite(self, total: Tensor) -> None:
        pass


class AlwaysRaises(ClipNorm):
    def total(self, grads: list[Tensor], order: float) -> Tensor:
        total = super().total(grads, order)
        self.insist_on_finite(total)
        return total


class RaisesTooLate(ClipNorm):
    def insist_on_finite(self, total: Tensor) -> None:
        pass

    def __call__(self, parameters: Any, max_norm: float, *options: Any, **more: Any) -> Any:
        total = super().__call__(parameters, max_norm, *options, **more)
        if more.get("error_if_nonfinite"):
            super().insist_on_finite(total)
        return total


CLIP_NORM_MISTAKES = (
    Mistake(
        "always_rescales",
        "Gradients whose norm is below max_norm must stay as they are: the factor is at most 1. "
        "Here they were made longer.",
        AlwaysRescales(),
    ),
    Mistake(
        "upside_down",
        "The factor is upside down: multiply by max_norm / total_norm, which is below 1 when the "
        "gradients are too long.",
        UpsideDown(),
    ),
    Mistake(
        "no_eps",
        "The factor is max_norm / (total_norm + 1e-6): the 1e-6 is missing, and it counts where "
        "gradients are tiny.",
        NoEps(),
    ),
    Mistake(
        "each_on_its_own",
        "Each gradient was clipped by its own norm, which turns the direction of the whole. "
        "Compute one norm over all gradients, and one factor for all.",
        EachOnItsOwn(),
    ),
    Mistake(
        "clamps_elements",
        "The elements were clamped to max_norm, as clip_grad_value_ does. Here all of them are "
        "multiplied by one factor.",
        ClampsElements(),
    ),
    Mistake(
        "nothing_changes",
        "The norm is right, and the gradients are unchanged: grad = grad * factor makes a new "
        "tensor that nobody sees. Change the gradient in place (grad.mul_(factor)).",
        NothingChanges(),
    ),
    Mistake(
        "new_gradients",
        "param.grad is another tensor now: multiply the one that was there in place "
        "(param.grad.mul_(factor)).",
        NewGradients(),
    ),
    Mistake(
        "scales_the_parameters",
        "The parameters were multiplied by the factor: multiply their gradients, in .grad.",
        ScalesTheParameters(),
    ),
    Mistake(
        "norm_of_the_parameters",
        "This is the norm of the parameters: take the norm of their gradients, in .grad.",
        NormOfTheParameters(),
    ),
    Mistake(
        "first_only",
        "Only the first gradient was used: is there a return inside the loop? The norm goes over "
        "all of them.",
        FirstOnly(),
    ),
    Mistake(
        "last_norm",
        "The total norm is that of the last gradient alone: add up over the loop, do not start "
        "again in every round.",
        LastNorm(),
    ),
    Mistake(
        "sum_of_norms",
        "The norms of the gradients were added. The total norm is the norm of these norms: add "
        "their squares, then take the root.",
        SumOfNorms(),
    ),
    Mistake(
        "no_root",
        "The root is missing: the norm is (sum |g|**p)**(1/p), not the sum itself.",
        NoRoot(),
    ),
    Mistake(
        "square_root_always",
        "The root belongs to norm_type: with norm_type=p it is the p-th root, not the square root.",
        SquareRootAlways(),
    ),
    Mistake(
        "no_absolute_value",
        "A norm takes the absolute value of every element first: negative ones must not cancel "
        "positive ones, nor be overlooked by the maximum.",
        NoAbsoluteValue(),
    ),
    Mistake(
        "mean_of_squares",
        "This is a mean: a norm adds up, and is not divided by the number of elements.",
        MeanOfSquares(),
    ),
    Mistake(
        "always_the_two_norm",
        "norm_type has no effect: here the norm was the 2-norm whatever it says.",
        AlwaysTheTwoNorm(),
    ),
    Mistake(
        "two_norm_of_norms",
        "norm_type counts twice: for the norm of each gradient, and again where these norms are "
        "put together. Here the second one was the 2-norm.",
        TwoNormOfNorms(),
    ),
    Mistake(
        "returns_clipped_norm",
        "Return the total norm as it was before clipping: it is what a training loop wants to log.",
        ReturnsClippedNorm(),
    ),
    Mistake("returns_nothing", "The total norm must be returned.", ReturnsNothing()),
    Mistake(
        "returns_number",
        "Return the total norm as a tensor: .item() makes a GPU wait for the CPU.",
        ReturnsNumber(),
    ),
    Mistake(
        "generator_used_up",
        "A generator, such as model.parameters(), can be gone through once: after the norm nothing "
        "was left to clip. Make a list of it first.",
        GeneratorUsedUp(),
    ),
    Mistake(
        "goes_through_the_tensor",
        "parameters may be one single tensor. A loop over it goes through its rows, which have no "
        "gradient: put it into a list first.",
        GoesThroughTheTensor(),
    ),
    Mistake(
        "none_becomes_zero",
        "A gradient of None must stay None: an optimizer leaves that parameter alone, but not one "
        "with a gradient of zero.",
        NoneBecomesZero(),
    ),
    Mistake(
        "never_raises",
        "With error_if_nonfinite=True a norm that is nan or infinite is a RuntimeError.",
        NeverRaises(),
    ),
    Mistake(
        "always_raises",
        "Raise only where error_if_nonfinite is True: the default goes on with the norm as it is.",
        AlwaysRaises(),
    ),
    Mistake(
        "raises_too_late",
        "Look at the norm before you multiply: when the error came, the gradients were changed.",
        RaisesTooLate(),
    ),
)

INF, NAN = float("inf"), float("nan")


def gradient(rng: torch.Generator, *size: int) -> Tensor:
    """Draw numbers from 1 to 2 in size, of alternating sign; the first, below 0, is the largest."""
    numbers = 1 + torch.rand(size, generator=rng)
    flat = numbers.view(-1)
    flat[::2] *= -1
    flat[0] *= 3
    return numbers


def clip_case(
    rng: torch.Generator,
    part: str,
    grads: list[Tensor | None],
    *,
    share: float = 0.4,
    given_as: str = "a list",
    order: float = 2.0,
    norm_dtype: torch.dtype | None = None,
    **options: Any,
) -> Case:
    """Return a case of ``clip_grad_norm_`` whose ``max_norm`` is ``share`` times the true norm.

    ``norm_dtype`` is the one in which the norm is compared, where several are as good.
    """
    present = [grad.double() for grad in grads if grad is not None]
    total = float(joined(present).norm(order)) if present else 1.0
    max_norm = float(f"{share * (total if math.isfinite(total) else 1.0):.3g}")
    if order != 2.0:
        options["norm_type"] = order
    told = [f"max_norm={max_norm:g}", *(f"{name}={value}" for name, value in options.items())]
    told += [f"parameters as {given_as}"] if given_as != "a list" else []
    sizes = [(2,) if grad is None else grad.shape for grad in grads]
    params = [
        0.3 * torch.rand(size, generator=rng).to(torch.float32 if grad is None else grad.dtype)
        for size, grad in zip(sizes, grads, strict=True)
    ]
    return {
        "part": part,
        "title": f"{shown_gradients(grads)}, {', '.join(told)}",
        "params": params,
        "grads": grads,
        "given_as": given_as,
        "norm_dtype": norm_dtype,
        "options": {"max_norm": max_norm, **options},
    }


def shown_gradients(grads: list[Tensor | None]) -> str:
    if not grads:
        return "no parameters"
    numbers = [number for grad in grads if grad is not None for number in grad.flatten().tolist()]
    if len(numbers) > 6:
        return (
            f"gradients of shapes {', '.join(str(tuple(g.shape)) for g in grads if g is not None)}"
        )
    return f"gradients {', '.join('None' if grad is None else rounded(grad) for grad in grads)}"


def rounded(numbers: Tensor) -> str:
    if numbers.dim() == 0:
        return f"{numbers.item():.4g}"
    return f"[{', '.join(map(rounded, numbers))}]"


def clip_norm_inputs(rng: torch.Generator) -> list[Case]:
    one, short, other = "one norm over all the gradients", "short gradients stay", "other norms"
    missing, nonfinite = "None, one tensor, a generator", "a norm that is not finite"
    n = int(torch.randint(3, 6, (), generator=rng))

    def two() -> list[Tensor | None]:
        return [gradient(rng, 2), gradient(rng, 1)]

    def many() -> list[Tensor | None]:
        return [gradient(rng, 2, n).T, gradient(rng), gradient(rng, 2, 1, 3)]

    def mixed() -> list[Tensor | None]:
        # Lengths 5 and 12, which bfloat16 holds exactly, so that any order of dtypes gives 13.
        unit = 2.0 ** torch.randint(-2, 3, (), generator=rng)
        return [unit * torch.tensor([3.0, -4.0]), (unit * torch.tensor([-12.0])).bfloat16()]

    def damaged(value: float) -> list[Tensor | None]:
        return [gradient(rng, 2), torch.tensor([2.0, value])]

    return [
        clip_case(rng, one, [gradient(rng, 2)]),
        clip_case(rng, one, two()),
        clip_case(rng, one, many()),
        clip_case(rng, one, [1e-5 * gradient(rng, 2).double()], share=0.1),
        clip_case(rng, one, [gradient(rng, n).bfloat16()], norm_dtype=torch.bfloat16),
        clip_case(rng, one, mixed(), norm_dtype=torch.float32),
        clip_case(rng, short, [gradient(rng, 2)], share=2.0),
        clip_case(rng, short, [torch.zeros(2), torch.zeros(1)]),
        clip_case(rng, short, many(), share=1.1),
        clip_case(rng, short, many(), share=0.9),
        clip_case(rng, other, [gradient(rng, 2)], order=1.0),
        clip_case(rng, other, two(), order=1.0),
        clip_case(rng, other, two(), order=INF),
        clip_case(rng, other, many(), order=3.0),
        clip_case(rng, other, many(), order=INF, share=1.5),
        clip_case(rng, missing, [None, gradient(rng, 2)]),
        clip_case(rng, missing, [gradient(rng, 2)], given_as="one tensor"),
        clip_case(rng, missing, two(), given_as="a generator"),
        clip_case(rng, missing, [gradient(rng, 2), None, *many(), None], given_as="a generator"),
        clip_case(rng, missing, [None]),
        clip_case(rng, missing, []),
        clip_case(rng, nonfinite, two(), error_if_nonfinite=True),
        clip_case(rng, nonfinite, damaged(INF)),
        clip_case(rng, nonfinite, damaged(-INF), error_if_nonfinite=True),
        clip_case(rng, nonfinite, damaged(NAN), error_if_nonfinite=True),
    ]


def clip_norm_probe(clip: Callable[..., Any], case: Case) -> Outputs:
    params, outputs = with_gradients(case), {}
    max_norm, options = case["options"].pop("max_norm"), case["options"]
    may_raise = case["part"] == "a norm that is not finite"
    try:
        total = clip(handed_over(params, case["given_as"]), max_norm, **options)
    except RuntimeError as error:
        if not may_raise or isinstance(error, NotImplementedError):
            raise
        outputs["the error"] = "RuntimeError"
    else:
        outputs["the error"] = "none"
        lenient = isinstance(total, Tensor) and case["norm_dtype"]
        outputs["the total norm"] = total.to(case["norm_dtype"]) if lenient else total
    return {**outputs, **what_became_of(params, case)}


def with_gradients(case: Case) -> list[nn.Parameter]:
    params = [nn.Parameter(param) for param in case["params"]]
    for param, grad in zip(params, case["grads"], strict=True):
        param.grad = grad
    return params


def handed_over(params: list[nn.Parameter], given_as: str) -> Any:
    if given_as == "one tensor":
        return params[0]
    return params if given_as == "a list" else (param for param in params)


def what_became_of(params: list[nn.Parameter], case: Case) -> Outputs:
    outputs: Outputs = {}
    for number, param in enumerate(params):
        outputs[f"the gradient of parameter {number}"] = param.grad
    outputs["the gradients are still the same tensors"] = all(
        param.grad is grad for param, grad in zip(params, case["grads"], strict=True)
    )
    for number, param in enumerate(params):
        outputs[f"parameter {number}, which must not change"] = param
    return outputs


# --- clip_grad_value_ -----------------------------------------------------------------------------


class ClipValue:
    """Clipping by the value, one decision a method."""

    @torch.no_grad()
    def __call__(self, parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
        params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        for param in self.chosen(params):
            self.change(param, self.clipped(param.grad, clip_value))

    def chosen(self, params: list[Tensor]) -> list[Any]:
        return [param for param in params if param.grad is not None]

    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return grad.clamp(-limit, limit)

    def change(self, param: Any, clipped: Tensor) -> None:
        param.grad.copy_(clipped)


class NoLowerLimit(ClipValue):
    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return grad.clamp(max=limit)


class NoUpperLimit(ClipValue):
    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return grad.clamp(min=-limit)


class LosesTheSign(ClipValue):
    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return grad.abs().clamp(max=limit)


class LowerLimitZero(ClipValue):
    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return grad.clamp(0, limit)


class LargeBecomeZero(ClipValue):
    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return torch.where(grad.abs() > limit, 0.0, grad).to(grad.dtype)


class ScalesByTheNorm(ClipValue):
    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return grad * (limit / (grad.norm() + 1e-6)).clamp(max=1)


class ScalesByTheLargest(ClipValue):
    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return grad * (limit / grad.abs().max()).clamp(max=1)


class ValueNothingChanges(ClipValue):
    def change(self, param: Any, clipped: Tensor) -> None:
        pass


class ValueNewGradients(ClipValue):
    def change(self, param: Any, clipped: Tensor) -> None:
        param.grad = clipped


class ClampsTheParameters(ClipValue):
    def clipped(self, grad: Tensor, limit: float) -> Tensor:
        return torch.tensor(limit)

    def change(self, param: Any, clipped: Tensor) -> None:
        param.clamp_(-clipped, clipped)


class ValueFirstOnly(ClipValue):
    def chosen(self, params: list[Tensor]) -> list[Any]:
        return super().chosen(params)[:1]


class ValueNoneBecomesZero(ClipValue):
    def chosen(self, params: list[Tensor]) -> list[Any]:
        for param in params:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
        return params


class ValueGoesThroughTheTensor(ClipValue):
    def __call__(self, parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
        super().__call__([] if isinstance(parameters, Tensor) else parameters, clip_value)


CLIP_VALUE_MISTAKES = (
    Mistake(
        "no_lower_limit",
        "Large negative elements stayed: the smallest value allowed is -clip_value.",
        NoLowerLimit(),
    ),
    Mistake(
        "no_upper_limit",
        "Large positive elements stayed: the largest value allowed is clip_value.",
        NoUpperLimit(),
    ),
    Mistake(
        "loses_the_sign",
        "Negative elements became positive: clamp between -clip_value and clip_value, without the "
        "absolute value.",
        LosesTheSign(),
    ),
    Mistake(
        "lower_limit_zero",
        "Negative elements became 0: the lower limit is -clip_value, not 0.",
        LowerLimitZero(),
    ),
    Mistake(
        "large_become_zero",
        "An element that is too large becomes clip_value (or -clip_value), not 0.",
        LargeBecomeZero(),
    ),
    Mistake(
        "scales_by_the_norm",
        "This is clipping by the norm. Here every element is clamped for itself, and small ones "
        "stay as they are.",
        ScalesByTheNorm(),
    ),
    Mistake(
        "scales_by_the_largest",
        "The whole gradient was scaled until its largest element fits. Here every element is "
        "clamped for itself, and small ones stay as they are.",
        ScalesByTheLargest(),
    ),
    Mistake(
        "nothing_changes",
        "The gradients are unchanged: grad = grad.clamp(...) makes a new tensor that nobody sees. "
        "Change the gradient in place (grad.clamp_).",
        ValueNothingChanges(),
    ),
    Mistake(
        "new_gradients",
        "param.grad is another tensor now: clamp the one that was there in place (grad.clamp_).",
        ValueNewGradients(),
    ),
    Mistake(
        "clamps_the_parameters",
        "The parameters were clamped: clamp their gradients, in .grad.",
        ClampsTheParameters(),
    ),
    Mistake(
        "first_only",
        "Only the first gradient was clipped: clip all of them, and return after the loop.",
        ValueFirstOnly(),
    ),
    Mistake(
        "none_becomes_zero",
        "A gradient of None must stay None: an optimizer leaves that parameter alone, but not one "
        "with a gradient of zero.",
        ValueNoneBecomesZero(),
    ),
    Mistake(
        "goes_through_the_tensor",
        "parameters may be one single tensor. A loop over it goes through its rows, which have no "
        "gradient: put it into a list first.",
        ValueGoesThroughTheTensor(),
    ),
)


def clip_value_inputs(rng: torch.Generator) -> list[Case]:
    every, kinds = "every element", "None, one tensor, a generator"
    sizes = torch.tensor([-2.0, -0.2, 0.3, 1.5])

    def numbers(*size: int) -> Tensor:
        """Draw elements on both sides of both limits, none near them or 0."""
        chosen = sizes.repeat(math.prod(size) // 4 + 1)[: math.prod(size)]
        return (chosen * (0.8 + 0.4 * torch.rand(chosen.shape, generator=rng))).reshape(size)

    def case(part: str, grads: list[Tensor | None], given_as: str = "a list") -> Case:
        limit = float(f"{0.6 + 0.4 * float(torch.rand((), generator=rng)):.2g}")
        told = f", parameters as {given_as}" if given_as != "a list" else ""
        params = [
            torch.full((2,), 3.0) if grad is None else torch.full(grad.shape, 3.0, dtype=grad.dtype)
            for grad in grads
        ]
        return {
            "part": part,
            "title": f"{shown_gradients(grads)}, clip_value={limit}{told}",
            "params": params,
            "grads": grads,
            "given_as": given_as,
            "clip_value": limit,
        }

    return [
        case(every, [numbers(4)]),
        case(every, [numbers(4), numbers(2)]),
        case(every, [numbers(3, 5).T, numbers(), numbers(2, 1, 4)]),
        case(every, [numbers(6).double(), numbers(4).bfloat16()]),
        case(every, [torch.tensor([INF, -INF, 0.5])]),
        case(kinds, [None, numbers(4)]),
        case(kinds, [numbers(4)], given_as="one tensor"),
        case(kinds, [numbers(4), None, numbers(2, 3)], given_as="a generator"),
    ]


def clip_value_probe(clip: Callable[..., Any], case: Case) -> Outputs:
    params = with_gradients(case)
    clip(handed_over(params, case["given_as"]), case["clip_value"])
    return what_became_of(params, case)


# --- schedules ------------------------------------------------------------------------------------


class WarmupCosine:
    """Warm-up and cosine, one decision a method."""

    def __call__(
        self, step: int, *, max_lr: float, warmup_steps: int, max_steps: int, min_lr: float = 0.0
    ) -> Any:
        if step < self.first_after(warmup_steps):
            return self.warm(step, warmup_steps, max_lr, min_lr)
        if step >= max_steps:
            return self.end(step, warmup_steps, max_steps, max_lr, min_lr)
        return self.decayed(self.progress(step, warmup_steps, max_steps), max_lr, min_lr)

    def first_after(self, warmup_steps: int) -> int:
        return warmup_steps

    def warm(self, step: int, warmup_steps: int, max_lr: float, min_lr: float) -> float:
        return max_lr * (step + 1) / warmup_steps

    def progress(self, step: int, warmup_steps: int, max_steps: int) -> float:
        return (step - warmup_steps) / (max_steps - warmup_steps)

    def decayed(self, progress: float, max_lr: float, min_lr: float) -> Any:
        return min_lr + (max_lr - min_lr) * self.shape(progress)

    def shape(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))

    def end(
        self, step: int, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float
    ) -> float:
        return min_lr


class StartsAtZero(WarmupCosine):
    def warm(self, step: int, warmup_steps: int, max_lr: float, min_lr: float) -> float:
        return max_lr * step / warmup_steps


class StartsAtMinLr(WarmupCosine):
    def warm(self, step: int, warmup_steps: int, max_lr: float, min_lr: float) -> float:
        return min_lr + (max_lr - min_lr) * (step + 1) / warmup_steps


class NoWarmup(WarmupCosine):
    def warm(self, step: int, warmup_steps: int, max_lr: float, min_lr: float) -> float:
        return max_lr


class WarmupTooLong(WarmupCosine):
    def first_after(self, warmup_steps: int) -> int:
        return warmup_steps + 1 if warmup_steps else 0


class ProgressFromZero(WarmupCosine):
    def progress(self, step: int, warmup_steps: int, max_steps: int) -> float:
        return step / max_steps


class ProgressNotShifted(WarmupCosine):
    def progress(self, step: int, warmup_steps: int, max_steps: int) -> float:
        return step / (max_steps - warmup_steps)


class EndsOneStepEarly(WarmupCosine):
    def progress(self, step: int, warmup_steps: int, max_steps: int) -> float:
        return (step - warmup_steps) / (max_steps - warmup_steps - 1)


class Linear(WarmupCosine):
    def shape(self, progress: float) -> float:
        return 1 - progress


class QuarterPeriod(WarmupCosine):
    def shape(self, progress: float) -> float:
        return math.cos(math.pi / 2 * progress)


class Rises(WarmupCosine):
    def shape(self, progress: float) -> float:
        return 0.5 * (1 - math.cos(math.pi * progress))


class Degrees(WarmupCosine):
    def shape(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(180 * progress))


class NotHalved(WarmupCosine):
    def shape(self, progress: float) -> float:
        return 1 + math.cos(math.pi * progress)


class PlainCosine(WarmupCosine):
    def shape(self, progress: float) -> float:
        return math.cos(math.pi * progress)


class MinLrOnTop(WarmupCosine):
    def decayed(self, progress: float, max_lr: float, min_lr: float) -> Any:
        return min_lr + max_lr * self.shape(progress)


class IgnoresMinLr(WarmupCosine):
    def decayed(self, progress: float, max_lr: float, min_lr: float) -> Any:
        return max_lr * self.shape(progress)

    def end(
        self, step: int, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float
    ) -> float:
        return 0.0


class FloorOnly(WarmupCosine):
    def decayed(self, progress: float, max_lr: float, min_lr: float) -> Any:
        return max(min_lr, max_lr * self.shape(progress))


class RisesAgain(WarmupCosine):
    def end(
        self, step: int, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float
    ) -> float:
        if max_steps == warmup_steps:
            return min_lr
        return self.decayed(self.progress(step, warmup_steps, max_steps), max_lr, min_lr)


class ZeroAfterTheEnd(WarmupCosine):
    def end(
        self, step: int, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float
    ) -> float:
        return 0.0


class ReturnsTensor(WarmupCosine):
    def __call__(self, step: int, **options: Any) -> Any:
        return torch.tensor(super().__call__(step, **options), dtype=torch.float64)


WARMUP_COSINE_MISTAKES = (
    Mistake(
        "starts_at_zero",
        "Step 0 of the warm-up has rate 0 and would be lost: the fraction is "
        "(step + 1) / warmup_steps.",
        StartsAtZero(),
    ),
    Mistake(
        "starts_at_min_lr",
        "The warm-up starts from 0, not from min_lr: min_lr belongs to the end of the decay.",
        StartsAtMinLr(),
    ),
    Mistake(
        "no_warmup",
        "There is no warm-up: below warmup_steps the rate grows linearly to max_lr.",
        NoWarmup(),
    ),
    Mistake(
        "warmup_too_long",
        "The warm-up is one step too long and shoots above max_lr: it holds for "
        "step < warmup_steps.",
        WarmupTooLong(),
    ),
    Mistake(
        "progress_from_zero",
        "The cosine must start where the warm-up ends: count its progress from warmup_steps, as "
        "(step - warmup_steps) / (max_steps - warmup_steps).",
        ProgressFromZero(),
    ),
    Mistake(
        "progress_not_shifted",
        "The progress is 0 at warmup_steps: subtract warmup_steps from step too.",
        ProgressNotShifted(),
    ),
    Mistake(
        "ends_one_step_early",
        "min_lr is reached at step max_steps, not one step before: divide by "
        "max_steps - warmup_steps.",
        EndsOneStepEarly(),
    ),
    Mistake("linear", "This decay is a straight line: it should be a cosine.", Linear()),
    Mistake(
        "quarter_period",
        "This is a quarter of the period, which ends steeply: half a period goes from cos(0) = 1 "
        "to cos(pi) = -1, flat at both ends.",
        QuarterPeriod(),
    ),
    Mistake("rises", "The rate rises: 1 + cos falls from 2 to 0, 1 - cos rises.", Rises()),
    Mistake("degrees", "math.cos takes radians: half a period is pi, not 180.", Degrees()),
    Mistake(
        "not_halved", "1 + cos goes from 2 to 0: halve it, so that the peak is max_lr.", NotHalved()
    ),
    Mistake(
        "plain_cosine",
        "The cosine falls to -1: shift it up and halve it, (1 + cos) / 2.",
        PlainCosine(),
    ),
    Mistake(
        "min_lr_on_top",
        "The rate starts at max_lr + min_lr: scale the cosine by max_lr - min_lr.",
        MinLrOnTop(),
    ),
    Mistake(
        "zero_after_the_end", "From max_steps on the rate is min_lr, not 0.", ZeroAfterTheEnd()
    ),
    Mistake(
        "ignores_min_lr", "The decay ends at 0 whatever min_lr is: end at min_lr.", IgnoresMinLr()
    ),
    Mistake(
        "floor_only",
        "min_lr cuts the cosine off: the whole curve must be scaled to lie between max_lr and "
        "min_lr.",
        FloorOnly(),
    ),
    Mistake(
        "rises_again",
        "After max_steps the cosine goes up again: from there on the rate is min_lr.",
        RisesAgain(),
    ),
    Mistake("returns_tensor", "Return a plain float, not a tensor.", ReturnsTensor()),
)


def schedule_case(part: str, name: str, steps: list[int], **options: Any) -> Case:
    told = ", ".join(f"{option}={value}" for option, value in options.items())
    numbers = ", ".join(map(str, steps[:8])) + (", ..." if len(steps) > 8 else "")
    return {
        "part": part,
        "title": f"{name}(step, {told}) for step {numbers}",
        "steps": steps,
        "options": options,
    }


def schedule_probe(schedule: Callable[..., Any], case: Case) -> Outputs:
    rates = [schedule(step, **case["options"]) for step in case["steps"]]
    return {
        "the rates": torch.tensor([float(rate) for rate in rates], dtype=torch.float64),
        "every rate is a plain number": all(isinstance(rate, int | float) for rate in rates),
    }


def rate(rng: torch.Generator, low: float, high: float) -> float:
    return float(f"{low + (high - low) * float(torch.rand((), generator=rng)):.2g}")


def warmup_cosine_inputs(rng: torch.Generator) -> list[Case]:
    warm, cosine, end = "the warm-up", "the cosine", "the end"
    w = int(torch.randint(3, 7, (), generator=rng))
    last = w + int(torch.randint(5, 12, (), generator=rng))

    def case(part: str, steps: list[int], warmup: int, maximum: int, **more: float) -> Case:
        options = {"max_lr": rate(rng, 0.5, 2), "warmup_steps": warmup, "max_steps": maximum}
        return schedule_case(part, "warmup_cosine", steps, **options, **more)

    def floor() -> float:
        return rate(rng, 0.1, 0.3)

    return [
        case(warm, [0], 1, 4),
        case(warm, [0, 1], 2, 6),
        case(warm, list(range(w)), w, last),
        case(warm, list(range(w)), w, last, min_lr=floor()),
        case(warm, list(range(w)), w, w),
        case(cosine, [0, 1, 2, 3], 0, 4),
        case(cosine, [2, 3, 4, 5], 2, 6),
        case(cosine, [2, 3, 4, 5], 2, 6, min_lr=floor()),
        case(cosine, list(range(w, last)), w, last),
        case(cosine, list(range(w, last)), w, last, min_lr=floor()),
        case(end, [1, 6, 7, 11], 2, 6),
        case(end, [1, 6, 7, 11], 2, 6, min_lr=floor()),
        case(end, [w - 1, last, last + 1, last + 30], w, last, min_lr=floor()),
        case(end, [w - 1, w, w + 1], w, w, min_lr=floor()),
    ]


class StepDecay:
    def __call__(self, step: int, *, lr: float, step_size: int, gamma: float = 0.1) -> float:
        return self.decayed(lr, gamma, self.times(step, step_size))

    def times(self, step: int, step_size: int) -> float:
        return step // step_size

    def decayed(self, lr: float, gamma: float, times: float) -> float:
        return lr * gamma**times


class Continuous(StepDecay):
    def times(self, step: int, step_size: int) -> float:
        return step / step_size


class EveryStep(StepDecay):
    def times(self, step: int, step_size: int) -> float:
        return step


class OneEarly(StepDecay):
    def times(self, step: int, step_size: int) -> float:
        return (step + 1) // step_size


class OneLate(StepDecay):
    def times(self, step: int, step_size: int) -> float:
        return max(step - 1, 0) // step_size


class RoundedUp(StepDecay):
    def times(self, step: int, step_size: int) -> float:
        return -(-step // step_size)


class OnlyOnce(StepDecay):
    def times(self, step: int, step_size: int) -> float:
        return min(step // step_size, 1)


class OnlyAtTheStep(StepDecay):
    def times(self, step: int, step_size: int) -> float:
        return float(step > 0 and step % step_size == 0)


class Remainder(StepDecay):
    def times(self, step: int, step_size: int) -> float:
        return step % step_size


class Divides(StepDecay):
    def decayed(self, lr: float, gamma: float, times: float) -> float:
        return lr / gamma**times


class TimesGamma(StepDecay):
    def decayed(self, lr: float, gamma: float, times: float) -> float:
        return lr * gamma * times


class FixedGamma(StepDecay):
    def decayed(self, lr: float, gamma: float, times: float) -> float:
        return lr * 0.1**times


class FactorOnly(StepDecay):
    def decayed(self, lr: float, gamma: float, times: float) -> float:
        return gamma**times


STEP_DECAY_MISTAKES = (
    Mistake(
        "continuous",
        "The rate falls a little at every step: it must stay for step_size steps and then drop. "
        "Divide without remainder, step // step_size.",
        Continuous(),
    ),
    Mistake(
        "every_step",
        "The rate drops at every step: gamma counts once for each full step_size steps.",
        EveryStep(),
    ),
    Mistake(
        "one_early",
        "The drop comes one step too early: the steps 0 to step_size - 1 have the first rate.",
        OneEarly(),
    ),
    Mistake(
        "one_late",
        "The drop comes one step too late: step_size itself has the new rate.",
        OneLate(),
    ),
    Mistake(
        "rounded_up",
        "The rate drops right after step 0: round step / step_size down, not up.",
        RoundedUp(),
    ),
    Mistake(
        "only_once", "The rate drops once and never again: gamma counts every time.", OnlyOnce()
    ),
    Mistake(
        "only_at_the_step",
        "The rate is lower at the multiples of step_size only, and then back: it must stay low. "
        "This function sees one step, so count the drops up to it, step // step_size.",
        OnlyAtTheStep(),
    ),
    Mistake(
        "remainder",
        "This counts the steps since the last drop (%): count the drops, step // step_size.",
        Remainder(),
    ),
    Mistake("divides", "The rate grows: multiply by gamma, do not divide by it.", Divides()),
    Mistake(
        "times_gamma",
        "The drops multiply: gamma to the power of their number, not times it.",
        TimesGamma(),
    ),
    Mistake("fixed_gamma", "gamma has no effect: the factor was always 0.1.", FixedGamma()),
    Mistake("factor_only", "This is the factor alone: multiply it by lr.", FactorOnly()),
)


def step_decay_inputs(rng: torch.Generator) -> list[Case]:
    size = int(torch.randint(3, 8, (), generator=rng))

    def case(part: str, steps: list[int], step_size: int, **more: float) -> Case:
        options = {"lr": rate(rng, 0.2, 0.9), "step_size": step_size, **more}
        return schedule_case(part, "step_decay", steps, **options)

    return [
        case("stairs", [0, 1, 2, 3, 4, 5], 2),
        case("stairs", [0, 1, 2, 3], 1),
        case("stairs", list(range(3 * size + 1)), size),
        case("other factors", [0, 1, 2, 3, 4, 5, 6], 3, gamma=rate(rng, 0.4, 0.8)),
        case("other factors", list(range(3 * size + 1)), size, gamma=rate(rng, 0.4, 0.8)),
    ]


# --- lr_range_test --------------------------------------------------------------------------------

TrainStep = Callable[[float], float]


class RangeTest:
    """The range test, one decision a method."""

    def __call__(
        self,
        train_step: TrainStep,
        *,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        steps: int = 100,
        diverge: float = 4.0,
    ) -> tuple[Any, Any]:
        lrs: list[float] = []
        losses: list[float] = []
        for lr in self.rates(min_lr, max_lr, steps):
            lrs.append(lr)
            losses.append(self.loss(train_step, lr))
            if self.over(losses, diverge):
                return self.answer(lrs, losses, over=True)
        return self.answer(lrs, losses, over=False)

    def rates(self, min_lr: float, max_lr: float, steps: int) -> list[float]:
        return [self.rate(min_lr, max_lr, i / (steps - 1)) for i in range(steps)]

    def rate(self, min_lr: float, max_lr: float, progress: float) -> float:
        return min_lr * (max_lr / min_lr) ** progress

    def loss(self, train_step: TrainStep, lr: float) -> float:
        return train_step(lr)

    def over(self, losses: list[float], diverge: float) -> bool:
        return not math.isfinite(losses[-1]) or losses[-1] > diverge * min(losses)

    def answer(self, lrs: list[float], losses: list[float], over: bool) -> tuple[Any, Any]:
        return lrs, losses


class LinearRates(RangeTest):
    def rate(self, min_lr: float, max_lr: float, progress: float) -> float:
        return min_lr + (max_lr - min_lr) * progress


class LeavesOutTheLast(RangeTest):
    def rates(self, min_lr: float, max_lr: float, steps: int) -> list[float]:
        return [self.rate(min_lr, max_lr, i / steps) for i in range(steps)]


class LeavesOutTheFirst(RangeTest):
    def rates(self, min_lr: float, max_lr: float, steps: int) -> list[float]:
        return [self.rate(min_lr, max_lr, (i + 1) / steps) for i in range(steps)]


class OneTooMany(RangeTest):
    def rates(self, min_lr: float, max_lr: float, steps: int) -> list[float]:
        return [self.rate(min_lr, max_lr, i / steps) for i in range(steps + 1)]


class Downwards(RangeTest):
    def rates(self, min_lr: float, max_lr: float, steps: int) -> list[float]:
        return super().rates(min_lr, max_lr, steps)[::-1]


class ReturnsExponents(RangeTest):
    def answer(self, lrs: list[float], losses: list[float], over: bool) -> tuple[Any, Any]:
        return [math.log10(lr) for lr in lrs], losses


class LossesFirst(RangeTest):
    def answer(self, lrs: list[float], losses: list[float], over: bool) -> tuple[Any, Any]:
        return losses, lrs


class TrainsTwice(RangeTest):
    def loss(self, train_step: TrainStep, lr: float) -> float:
        train_step(lr)
        return train_step(lr)


class NeverStops(RangeTest):
    def over(self, losses: list[float], diverge: float) -> bool:
        return False


class NanGoesOn(RangeTest):
    def over(self, losses: list[float], diverge: float) -> bool:
        return losses[-1] > diverge * min(losses)


class NanOnly(RangeTest):
    def over(self, losses: list[float], diverge: float) -> bool:
        return not math.isfinite(losses[-1])


class ComparesWithTheFirst(RangeTest):
    def over(self, losses: list[float], diverge: float) -> bool:
        return not losses[-1] <= diverge * losses[0] or math.isinf(losses[-1])


class ComparesWithTheOneBefore(RangeTest):
    def over(self, losses: list[float], diverge: float) -> bool:
        return super().over(losses[-2:], diverge)


class StopsAtAnyRise(RangeTest):
    def over(self, losses: list[float], diverge: float) -> bool:
        return super().over(losses, 1.0)


class FixedLimit(RangeTest):
    def over(self, losses: list[float], diverge: float) -> bool:
        return super().over(losses, 4.0)


class AbsoluteLimit(RangeTest):
    def over(self, losses: list[float], diverge: float) -> bool:
        return not losses[-1] <= diverge


class LeavesOutTheDivergedLoss(RangeTest):
    def answer(self, lrs: list[float], losses: list[float], over: bool) -> tuple[Any, Any]:
        return (lrs[:-1], losses[:-1]) if over else (lrs, losses)


RANGE_MISTAKES = (
    Mistake(
        "linear_rates",
        "The rates grow by the same amount: each must be the one before times the same factor, "
        "so that every power of ten gets as many.",
        LinearRates(),
    ),
    Mistake(
        "leaves_out_the_last",
        "The last rate is below max_lr: from the first to the last there are steps - 1 factors.",
        LeavesOutTheLast(),
    ),
    Mistake(
        "leaves_out_the_first",
        "The first rate is above min_lr: the first one is min_lr itself.",
        LeavesOutTheFirst(),
    ),
    Mistake(
        "one_too_many", "There is one rate too many: there are steps of them in all.", OneTooMany()
    ),
    Mistake(
        "downwards",
        "The rates fall: start with the smallest, because a large one may ruin the model for "
        "those after it.",
        Downwards(),
    ),
    Mistake(
        "returns_exponents",
        "Return the rates themselves, not their logarithms: a plot can have a logarithmic axis.",
        ReturnsExponents(),
    ),
    Mistake("losses_first", "The rates come first, then the losses.", LossesFirst()),
    Mistake(
        "trains_twice",
        "train_step was called twice for each rate: every call is a training step. Call it once "
        "and keep the loss.",
        TrainsTwice(),
    ),
    Mistake(
        "nan_only",
        "The test ends also when a loss is above diverge times the smallest so far, not only when "
        "it is no number.",
        NanOnly(),
    ),
    Mistake("never_stops", "The test must end when the loss diverges.", NeverStops()),
    Mistake(
        "nan_goes_on",
        "A loss of nan must end the test: every comparison with nan is false, so ask for it with "
        "math.isfinite.",
        NanGoesOn(),
    ),
    Mistake(
        "compares_with_the_first",
        "Compare with the smallest loss so far, not with the first: the loss falls before it "
        "explodes.",
        ComparesWithTheFirst(),
    ),
    Mistake(
        "compares_with_the_one_before",
        "Compare with the smallest loss so far, not with the one before: a slow explosion would "
        "go unseen.",
        ComparesWithTheOneBefore(),
    ),
    Mistake(
        "stops_at_any_rise",
        "A loss may rise a little: end the test above diverge times the smallest loss so far.",
        StopsAtAnyRise(),
    ),
    Mistake("fixed_limit", "diverge has no effect: the limit was always 4 times.", FixedLimit()),
    Mistake(
        "absolute_limit",
        "The limit is relative: diverge times the smallest loss so far, not diverge itself.",
        AbsoluteLimit(),
    ),
    Mistake(
        "leaves_out_the_diverged_loss",
        "The loss that ended the test, and its rate, belong in the lists too: record first, then "
        "leave the loop.",
        LeavesOutTheDivergedLoss(),
    ),
)


def range_inputs(rng: torch.Generator) -> list[Case]:
    grid, early = "the rates", "ending early"

    def case(part: str, losses: list[float], **options: Any) -> Case:
        told = ", ".join(f"{name}={value}" for name, value in options.items())
        numbers = ", ".join(f"{loss:.4g}" for loss in losses[:8])
        more = ", ..." if len(losses) > 8 else ""
        return {
            "part": part,
            "title": f"{told or 'defaults'}; the losses will be {numbers}{more}",
            "losses": torch.tensor(losses, dtype=torch.float64),
            "options": options,
        }

    def calm(steps: int) -> list[float]:
        return (1.2 + torch.rand(steps, generator=rng)).tolist()

    def limits() -> dict[str, float]:
        return {"min_lr": rate(rng, 0.001, 0.009), "max_lr": rate(rng, 1.0, 9.0)}

    n = int(torch.randint(4, 8, (), generator=rng))
    scale = float(2 ** torch.randint(3, 6, (), generator=rng))
    return [
        case(grid, calm(2), min_lr=0.01, max_lr=1.0, steps=2),
        case(grid, calm(4), min_lr=0.001, max_lr=1.0, steps=4),
        case(grid, calm(n), **limits(), steps=n),
        case(grid, calm(n), max_lr=rate(rng, 1.0, 9.0), steps=n),
        case(grid, calm(100)),
        case(early, [2.0, 1.0, 1.9, 3.5, 4.5, 1.5, 1.2], **limits(), steps=7),
        case(early, [scale * loss for loss in [2.0, 1.0, 4.0, 2.0, 4.5, 1.0]], **limits(), steps=6),
        case(early, [*calm(2), NAN, 1.1, 1.2], **limits(), steps=5),
        case(early, [INF, 1.1, 1.2], **limits(), steps=3),
        case(early, [1.1, 1.2, 1.0, 1.7, 1.1], **limits(), steps=5, diverge=1.5),
        case(early, [1.0, 5.0, 9.0, 11.0, 1.1], **limits(), steps=5, diverge=10.0),
    ]


def range_probe(range_test: Callable[..., Any], case: Case) -> Outputs:
    tried: list[float] = []

    def train_step(lr: float) -> float:
        tried.append(float(lr))
        return case["losses"][(len(tried) - 1) % len(case["losses"])].item()

    lrs, losses = range_test(train_step, **case["options"])
    return {
        "the rates tried, as powers of ten": powers_of_ten(tried),
        "the rates returned, as powers of ten": powers_of_ten(lrs),
        "the losses returned": torch.tensor([float(loss) for loss in losses], dtype=torch.float64),
    }


def powers_of_ten(rates: Iterable[float]) -> Tensor:
    return torch.tensor([float(lr) for lr in rates], dtype=torch.float64).log10().float()


check_clip_norm = Check(
    module="stability",
    exercise="clip_norm",
    target="clip_grad_norm_",
    parts={
        "one norm over all the gradients": 2,
        "short gradients stay": 1,
        "other norms": 1,
        "None, one tensor, a generator": 1,
        "a norm that is not finite": 1,
    },
    inputs=clip_norm_inputs,
    probe=clip_norm_probe,
    oracle=torch.nn.utils.clip_grad_norm_,
    mistakes=CLIP_NORM_MISTAKES,
    hints=(
        "Three steps: collect the gradients in a list, compute one norm, multiply every gradient "
        "by one factor.",
        "The norm of the list of norms is the norm of everything: torch.linalg.vector_norm takes "
        "the order as its second argument, and torch.stack makes a tensor of several numbers.",
        "torch.clamp(max_norm / (total_norm + 1e-6), max=1) is the factor; grad.mul_(factor) each.",
    ),
    forbidden=CLIPPING,
)

check_clip_value = Check(
    module="stability",
    exercise="clip_value",
    target="clip_grad_value_",
    parts={"every element": 1, "None, one tensor, a generator": 1},
    inputs=clip_value_inputs,
    probe=clip_value_probe,
    oracle=torch.nn.utils.clip_grad_value_,
    mistakes=CLIP_VALUE_MISTAKES,
    hints=(
        "Every element is looked at for itself: what is too large becomes the limit.",
        "A tensor has a method that brings its elements between two limits.",
        "Its name with an underscore at the end changes the tensor in place.",
    ),
    forbidden=CLIPPING,
)

check_warmup_cosine = Check(
    module="stability",
    exercise="warmup_cosine",
    target="warmup_cosine",
    parts={"the warm-up": 1, "the cosine": 2, "the end": 1},
    inputs=warmup_cosine_inputs,
    probe=schedule_probe,
    oracle=WarmupCosine(),
    mistakes=WARMUP_COSINE_MISTAKES,
    hints=(
        "Three stretches of steps, three returns: the warm-up, the end, and what is between.",
        "Between, let progress go from 0 at warmup_steps to 1 at max_steps. Then cos(pi * "
        "progress) goes from 1 to -1.",
        "(1 + cos(pi * progress)) / 2 goes from 1 to 0: scale it by max_lr - min_lr, add min_lr.",
    ),
    forbidden=SCHEDULERS,
)

check_step_decay = Check(
    module="stability",
    exercise="step_decay",
    target="step_decay",
    parts={"stairs": 1, "other factors": 1},
    inputs=step_decay_inputs,
    probe=schedule_probe,
    oracle=StepDecay(),
    mistakes=STEP_DECAY_MISTAKES,
    hints=(
        "How often has the rate dropped before this step? Each time it was multiplied by gamma.",
        "The number of drops is how many whole step_size fit into step.",
        "Whole-number division is //, and a repeated factor is a power.",
    ),
    forbidden=SCHEDULERS,
)

check_lr_range_test = Check(
    module="stability",
    exercise="lr_range_test",
    target="lr_range_test",
    parts={"the rates": 2, "ending early": 2},
    inputs=range_inputs,
    probe=range_probe,
    oracle=RangeTest(),
    mistakes=RANGE_MISTAKES,
    hints=(
        "One loop: choose the rate, make a training step, record both, decide whether to go on.",
        "From min_lr to max_lr there are steps - 1 equal factors, so one factor is the root of "
        "order steps - 1 of max_lr / min_lr.",
        "math.isfinite is false for nan and for infinities; min(losses) is the smallest so far.",
    ),
    forbidden=SCHEDULERS,
)
