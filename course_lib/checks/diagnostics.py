"""Checks of ``diagnostics``: gradient norms, dead units, update ratios, the first nan."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.checking import Case, Check, Mistake, Outputs

INF, NAN = math.inf, math.nan


def model_of(params: dict[str, Tensor], tied: dict[str, str]) -> nn.Module:
    """Return a model with these parameters; ``tied`` names more places of some of them."""
    model = nn.Module()
    made = {name: nn.Parameter(tensor) for name, tensor in params.items()}
    for name, param in [*made.items(), *((name, made[first]) for name, first in tied.items())]:
        *path, last = name.split(".")
        module = model
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.register_parameter(last, param)
    return model


def measured(values: Any, unit: float, dtype: torch.dtype, what: str) -> Outputs:
    """Return a dictionary of floats as outputs, in units that make them about 1."""
    return {
        "the names": sorted(values),
        **{
            f"{what} of {name}" + (f", in units of {unit:g}" if unit != 1 else ""): torch.tensor(
                float(value) / unit, dtype=dtype
            )
            for name, value in sorted(values.items())
        },
        "every value is a plain float": all(isinstance(value, float) for value in values.values()),
    }


def away_from_zero(rng: torch.Generator, *size: int, least: float = 0.5) -> Tensor:
    """Draw numbers of alternating sign, from ``least`` to ``least + 1`` in size."""
    numbers = least + torch.rand(size, generator=rng)
    numbers.view(-1)[::2] *= -1
    return numbers


def shown(tensors: dict[str, Tensor | None]) -> str:
    if sum(tensor.numel() for tensor in tensors.values() if tensor is not None) > 6:
        return ", ".join(f"{name} {_size(tensor)}" for name, tensor in tensors.items())
    return ", ".join(f"{name} {_numbers(tensor)}" for name, tensor in tensors.items())


def _size(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"of shape {tuple(tensor.shape)}"


def _numbers(tensor: Tensor | None) -> str:
    if tensor is None or tensor.dim() == 0:
        return "None" if tensor is None else f"{tensor.item():.4g}"
    return f"[{', '.join(map(_numbers, tensor))}]"


# --- gradient_norms -------------------------------------------------------------------------------


class GradientNorms:
    """The norms, one decision a method, so that a mistake changes one of them."""

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        return {
            self.name(number, name): self.value(param)
            for number, (name, param) in enumerate(self.parameters(model))
            if self.counts(param)
        }

    def parameters(self, model: nn.Module) -> Iterable[tuple[str, Any]]:
        return model.named_parameters()

    def counts(self, param: Any) -> bool:
        return param.grad is not None

    def name(self, number: int, name: str) -> str:
        return name

    def value(self, param: Any) -> Any:
        return float(self.norm(param.grad.flatten()))

    def norm(self, grad: Tensor) -> Tensor:
        return grad.dot(grad).sqrt()


class NoRoot(GradientNorms):
    def norm(self, grad: Tensor) -> Tensor:
        return grad.dot(grad)


class SumOfSizes(GradientNorms):
    def norm(self, grad: Tensor) -> Tensor:
        return grad.abs().sum()


class LargestElement(GradientNorms):
    def norm(self, grad: Tensor) -> Tensor:
        return grad.abs().max()


class RootMeanSquare(GradientNorms):
    def norm(self, grad: Tensor) -> Tensor:
        return super().norm(grad) / grad.numel() ** 0.5


class MeanSize(GradientNorms):
    def norm(self, grad: Tensor) -> Tensor:
        return grad.abs().mean()


class SizeOfSum(GradientNorms):
    def norm(self, grad: Tensor) -> Tensor:
        return grad.sum().abs()


class NormOfTheParameter(GradientNorms):
    def value(self, param: Any) -> Any:
        return float(self.norm(param.detach().flatten()))


class Tensors(GradientNorms):
    def value(self, param: Any) -> Any:
        return self.norm(param.grad.flatten())


class NoneIsZero(GradientNorms):
    def counts(self, param: Any) -> bool:
        return True

    def value(self, param: Any) -> Any:
        return 0.0 if param.grad is None else super().value(param)


class NoneIsNone(GradientNorms):
    def counts(self, param: Any) -> bool:
        return True

    def value(self, param: Any) -> Any:
        return NAN if param.grad is None else super().value(param)


class SharedTwice(GradientNorms):
    def parameters(self, model: nn.Module) -> Iterable[tuple[str, Any]]:
        return model.named_parameters(remove_duplicate=False)


class SharedUnderTheLastName(GradientNorms):
    def parameters(self, model: nn.Module) -> Iterable[tuple[str, Any]]:
        everywhere = model.named_parameters(remove_duplicate=False)
        return [(name, param) for param, name in {p: n for n, p in everywhere}.items()]


class OwnParametersOnly(GradientNorms):
    def parameters(self, model: nn.Module) -> Iterable[tuple[str, Any]]:
        return model.named_parameters(recurse=False)


class NumbersForNames(GradientNorms):
    def name(self, number: int, name: str) -> str:
        return str(number)


class LastPartOfTheName(GradientNorms):
    def name(self, number: int, name: str) -> str:
        return name.rpartition(".")[2]


class NameOfTheModule(GradientNorms):
    def name(self, number: int, name: str) -> str:
        return name.rpartition(".")[0]


class ClearsGradients(GradientNorms):
    def __call__(self, model: nn.Module) -> dict[str, Any]:
        norms = super().__call__(model)
        model.zero_grad()
        return norms


GRADIENT_NORMS_MISTAKES = (
    Mistake(
        "no_root", "The norm is the root of the sum of squares: the root is missing.", NoRoot()
    ),
    Mistake(
        "sum_of_sizes",
        "This is the sum of absolute values (the L1 norm): square, add, take the root.",
        SumOfSizes(),
    ),
    Mistake(
        "largest_element",
        "This is the largest element: the L2 norm squares all of them, adds, and takes the root.",
        LargestElement(),
    ),
    Mistake(
        "root_mean_square",
        "This is the root of the mean of the squares: the norm takes their sum.",
        RootMeanSquare(),
    ),
    Mistake(
        "mean_size",
        "This is the mean of the absolute values: the L2 norm squares, adds, and takes the root.",
        MeanSize(),
    ),
    Mistake(
        "size_of_sum",
        "Positive and negative elements cancel in this sum: square them before you add.",
        SizeOfSum(),
    ),
    Mistake(
        "norm_of_the_parameter",
        "This is the norm of the parameter itself: its gradient is in .grad.",
        NormOfTheParameter(),
    ),
    Mistake("tensors", "Return plain floats, not tensors: .item() turns one.", Tensors()),
    Mistake(
        "none_is_zero",
        "A parameter whose gradient is None took no part in the loss: leave it out. A norm of 0 "
        "says something else.",
        NoneIsZero(),
    ),
    Mistake("none_is_none", "Leave a parameter whose gradient is None out.", NoneIsNone()),
    Mistake(
        "shared_twice",
        "A parameter that two modules share stands there once, under its first name, as in "
        "named_parameters().",
        SharedTwice(),
    ),
    Mistake(
        "shared_under_the_last_name",
        "A shared parameter goes under the first of its names, not the last.",
        SharedUnderTheLastName(),
    ),
    Mistake(
        "own_parameters_only",
        "Only the parameters of the model itself are there: those of its layers count too, as in "
        "named_parameters().",
        OwnParametersOnly(),
    ),
    Mistake(
        "numbers_for_names",
        "The keys are the names of the parameters, from named_parameters(), not their numbers.",
        NumbersForNames(),
    ),
    Mistake(
        "last_part_of_the_name",
        "The keys are full names such as 'first.weight': 'weight' alone stands for many.",
        LastPartOfTheName(),
    ),
    Mistake(
        "name_of_the_module",
        "The keys are the names of parameters, such as 'first.weight', not of modules.",
        NameOfTheModule(),
    ),
    Mistake(
        "clears_gradients",
        "The gradients are gone: this function only looks, and the optimizer still needs them.",
        ClearsGradients(),
    ),
)


def gradient_norms_inputs(rng: torch.Generator) -> list[Case]:
    each, missing = "the norm of each gradient", "no gradient, shared parameters"
    n = int(torch.randint(3, 6, (), generator=rng))

    def case(
        part: str,
        grads: dict[str, Tensor | None],
        unit: float = 1,
        tied: dict[str, str] | None = None,
    ) -> Case:
        grads = {name: None if grad is None else unit * grad for name, grad in grads.items()}
        dtypes = {grad.dtype for grad in grads.values() if grad is not None}
        told = "".join(f", {name} is the same as {first}" for name, first in (tied or {}).items())
        return {
            "part": part,
            "title": f"gradients {shown(grads)}{told}",
            "params": {
                name: torch.full((2,), 7.0) if grad is None else torch.full_like(grad, 7.0)
                for name, grad in grads.items()
            },
            "grads": grads,
            "tied": tied or {},
            "unit": unit,
            "dtype": torch.bfloat16 if torch.bfloat16 in dtypes else torch.float32,
        }

    def layers() -> dict[str, Tensor | None]:
        return {
            "scale": away_from_zero(rng),
            "first.weight": away_from_zero(rng, 2, n).T,
            "first.bias": away_from_zero(rng, n),
            "blocks.0.weight": away_from_zero(rng, 2, 1, 3),
        }

    return [
        case(each, {"weight": away_from_zero(rng, 2)}),
        case(each, {"first.weight": away_from_zero(rng, 2), "first.bias": away_from_zero(rng, 1)}),
        case(each, layers()),
        case(each, {"first.weight": away_from_zero(rng, 2), "last.weight": torch.zeros(2)}),
        case(each, {"first.weight": away_from_zero(rng, 2, n)}, unit=1e-12),
        case(each, {"first.weight": away_from_zero(rng, 2, n).double()}),
        case(each, {"first.weight": away_from_zero(rng, n).bfloat16()}),
        case(missing, {"first.weight": away_from_zero(rng, 2), "first.bias": None}),
        case(missing, {"first.weight": None}),
        case(missing, {**layers(), "last.weight": None}),
        case(missing, {"a.weight": away_from_zero(rng, 2)}, tied={"b.weight": "a.weight"}),
    ]


def gradient_norms_probe(gradient_norms: Callable[..., Any], case: Case) -> Outputs:
    model = model_of(case["params"], case["tied"])
    held = dict(model.named_parameters())
    for name, grad in case["grads"].items():
        held[name].grad = grad
    outputs = measured(gradient_norms(model), case["unit"], case["dtype"], "the norm")
    for name, param in held.items():
        outputs[f"the gradient of {name}, which must not change"] = param.grad
    return outputs


# --- dead_fraction --------------------------------------------------------------------------------


class DeadFraction:
    """The share of dead units, one decision a method."""

    def __call__(self, activations: Tensor, dim: int = -1) -> Any:
        return self.share(self.dead(self.rows(activations, dim)))

    def rows(self, activations: Tensor, dim: int) -> Tensor:
        """Return a matrix of one row a unit."""
        return activations.movedim(dim, 0).reshape(activations.shape[dim], -1)

    def dead(self, rows: Tensor) -> Tensor:
        return self.silent(rows).all(1)

    def silent(self, values: Tensor) -> Tensor:
        return values <= 0

    def share(self, dead: Tensor) -> Any:
        return dead.double().mean().item()


class ShareOfZeros(DeadFraction):
    def dead(self, rows: Tensor) -> Tensor:
        return self.silent(rows)


class ShareOfExactZeros(ShareOfZeros):
    def silent(self, values: Tensor) -> Tensor:
        return values == 0


class SilentOnce(DeadFraction):
    def dead(self, rows: Tensor) -> Tensor:
        return self.silent(rows).any(1)


class DeadExamples(DeadFraction):
    def dead(self, rows: Tensor) -> Tensor:
        return self.silent(rows).all(0)


class ZeroOnly(DeadFraction):
    def silent(self, values: Tensor) -> Tensor:
        return values == 0


class NegativeOnly(DeadFraction):
    def silent(self, values: Tensor) -> Tensor:
        return values < 0


class ByTheMean(DeadFraction):
    def dead(self, rows: Tensor) -> Tensor:
        return self.silent(rows.float().mean(1))


class NearlyZero(DeadFraction):
    def silent(self, values: Tensor) -> Tensor:
        return values < 1e-3


class Alive(DeadFraction):
    def share(self, dead: Tensor) -> Any:
        return 1 - super().share(dead)


class Count(DeadFraction):
    def share(self, dead: Tensor) -> Any:
        return float(dead.sum())


class Percent(DeadFraction):
    def share(self, dead: Tensor) -> Any:
        return 100 * super().share(dead)


class ShareAsTensor(DeadFraction):
    def share(self, dead: Tensor) -> Any:
        return dead.float().mean()


class AlwaysTheLastDim(DeadFraction):
    def rows(self, activations: Tensor, dim: int) -> Tensor:
        return super().rows(activations, -1)


class FirstDimOnly(DeadFraction):
    """Every position is a unit of its own."""

    def rows(self, activations: Tensor, dim: int) -> Tensor:
        return activations.flatten(1).T if activations.dim() > 1 else activations[:, None]


class PositionsAreUnits(DeadFraction):
    """Looks for every unit at one example after the other, over the positions only."""

    def rows(self, activations: Tensor, dim: int) -> Tensor:
        if activations.dim() < 3:
            return super().rows(activations, dim)
        units_first = activations.movedim(dim, 0)
        return units_first.reshape(units_first.shape[0] * units_first.shape[1], -1)


DEAD_FRACTION_MISTAKES = (
    Mistake(
        "share_of_zeros",
        "This is the share of zeros. A healthy ReLU unit is 0 for about half of the examples; it "
        "is dead when it is 0 for all of them.",
        ShareOfZeros(),
    ),
    Mistake(
        "share_of_exact_zeros",
        "This counts the zeros. Count units, those that are 0 or less for all examples: a healthy "
        "ReLU unit is 0 for about half of them.",
        ShareOfExactZeros(),
    ),
    Mistake(
        "silent_once",
        "One example with 0 does not make a unit dead: it must be 0 for all examples (all, not "
        "any).",
        SilentOnce(),
    ),
    Mistake(
        "dead_examples",
        "This counts examples for which every unit is 0: ask of every unit whether it is 0 for "
        "every example. The wrong dimension was reduced.",
        DeadExamples(),
    ),
    Mistake(
        "zero_only",
        "Values below 0 count too: before a ReLU a dead unit is negative, not 0. Compare with "
        "<= 0.",
        ZeroOnly(),
    ),
    Mistake(
        "negative_only",
        "Behind a ReLU a dead unit is exactly 0: compare with <= 0.",
        NegativeOnly(),
    ),
    Mistake(
        "by_the_mean",
        "A unit with a mean of 0 or less can still answer to some examples: look at all of them, "
        "not at the mean.",
        ByTheMean(),
    ),
    Mistake(
        "nearly_zero",
        "A small positive answer is an answer, and has a gradient: compare with 0, not with a "
        "small number.",
        NearlyZero(),
    ),
    Mistake(
        "alive", "This is the share of units that are alive: return that of the dead.", Alive()
    ),
    Mistake("count", "Return the share of dead units, from 0 to 1, not their number.", Count()),
    Mistake("percent", "Return a share from 0 to 1, not a percentage.", Percent()),
    Mistake("share_as_tensor", "Return a plain float, not a tensor.", ShareAsTensor()),
    Mistake(
        "always_the_last_dim",
        "dim has no effect: here the units were always counted along the last dimension.",
        AlwaysTheLastDim(),
    ),
    Mistake(
        "first_dim_only",
        "Only the first dimension was taken for examples: all dimensions except dim are, so that a "
        "channel counts once and not at every position.",
        FirstDimOnly(),
    ),
    Mistake(
        "positions_are_units",
        "Each unit was judged for each example alone: a unit is dead when it is 0 at all positions "
        "of all examples.",
        PositionsAreUnits(),
    ),
)


def dead_fraction_inputs(rng: torch.Generator) -> list[Case]:
    linear, other = "units that are 0 for every example", "units along another dimension"

    def case(part: str, activations: Tensor, told: str, **options: Any) -> Case:
        size = f"activations of shape {tuple(activations.shape)}, {told}"
        if activations.numel() <= 6:
            size = f"activations {_numbers(activations)}"
        title = "".join([size, *(f", {name}={value}" for name, value in options.items())])
        return {"part": part, "title": title, "activations": activations, "options": options}

    def layer(n: int, always: int, seldom: int, dead: int, silent: float = 0.0) -> Tensor:
        """Draw answers of units that answer to all examples, to one, and to none."""
        lively = 0.1 + torch.rand(n, always, generator=rng)
        rare = torch.full((n, seldom), silent)
        rare[torch.randint(n, (), generator=rng)] = 5e-4
        answers = torch.cat([lively, rare, torch.full((n, dead), silent)], dim=1)
        return answers[:, torch.randperm(answers.shape[1], generator=rng)]

    def random(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=rng))

    n = random(4, 8)
    images = layer(n * 6, 3, 2, 2).reshape(n, 2, 3, 7).permute(0, 3, 1, 2).contiguous()
    mixed = torch.tensor([[0.0, -1.0, 0.5], [-2.0, 0.0, -3.0]])
    return [
        case(linear, layer(2, 1, 1, 1), "1 dead unit"),
        case(linear, mixed * (1 + torch.rand((), generator=rng)), "2 dead units"),
        case(linear, layer(n, 2, random(1, 4), random(1, 4)), "as after a ReLU"),
        case(linear, layer(n, 2, random(1, 4), random(1, 4), silent=-0.5), "as before a ReLU"),
        case(linear, layer(1, 2, 0, 3), "one example"),
        case(linear, layer(n, 3, 1, 0), "no dead unit"),
        case(linear, layer(n, 0, 0, 3), "all units dead"),
        case(linear, layer(n, 2, 1, 2).T.contiguous().T.bfloat16(), "2 dead units of 5"),
        case(other, layer(3, 1, 0, 1).T, "1 dead unit of 2", dim=0),
        case(other, layer(n, 2, 2, 3).T, "3 dead units of 7", dim=0),
        case(other, images, "images with 2 dead channels of 7", dim=1),
        case(other, images.double(), "images with 2 dead channels of 7", dim=-3),
        case(other, layer(n * 3, 2, 1, 2).reshape(n, 3, 5), "sequences, 2 dead units of 5"),
    ]


def dead_fraction_probe(dead_fraction: Callable[..., Any], case: Case) -> Outputs:
    share = dead_fraction(case["activations"], **case["options"])
    return {
        "the share of dead units": torch.tensor(float(share)),
        "it is a plain float": isinstance(share, float),
        "the activations, which must not change": case["activations"],
    }


# --- update_ratios --------------------------------------------------------------------------------


class UpdateRatios:
    """The ratios, one decision a method."""

    @torch.no_grad()
    def __call__(self, model: nn.Module, previous: dict[str, Tensor]) -> dict[str, Any]:
        return {
            name: self.value(self.ratio(param.detach(), previous[name]))
            for name, param in model.named_parameters()
            if self.counts(param, previous[name])
        }

    def counts(self, param: Tensor, previous: Tensor) -> bool:
        return bool((previous != 0).any())

    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return (param - previous).norm() / self.size(param, previous)

    def size(self, param: Tensor, previous: Tensor) -> Tensor:
        return previous.norm()

    def value(self, ratio: Tensor) -> Any:
        return float(ratio)


class OverTheNewSize(UpdateRatios):
    def size(self, param: Tensor, previous: Tensor) -> Tensor:
        return param.norm()


class UpdateOnly(UpdateRatios):
    def size(self, param: Tensor, previous: Tensor) -> Tensor:
        return torch.ones((), dtype=param.dtype)


class DifferenceOfNorms(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return (param.norm() - previous.norm()).abs() / previous.norm()


class SignedDifferenceOfNorms(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return (param.norm() - previous.norm()) / previous.norm()


class RatioOfNorms(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return param.norm() / previous.norm()


class MeanOfRatios(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return ((param - previous) / previous).abs().mean()


class NormOfRatios(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return ((param - previous) / previous).norm()


class Squared(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return super().ratio(param, previous) ** 2


class Reciprocal(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return 1 / super().ratio(param, previous)


class Spread(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return (param - previous).std() / previous.std()


class SizesAdded(UpdateRatios):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return (param - previous).abs().sum() / previous.abs().sum()


class RatioAsTensor(UpdateRatios):
    def value(self, ratio: Tensor) -> Any:
        return ratio


class ZeroGivesInfinity(UpdateRatios):
    def counts(self, param: Tensor, previous: Tensor) -> bool:
        return True


class ZeroGivesZero(ZeroGivesInfinity):
    def ratio(self, param: Tensor, previous: Tensor) -> Tensor:
        return super().ratio(param, previous) if previous.norm() > 0 else torch.zeros(())


class SmallAddend(ZeroGivesInfinity):
    def size(self, param: Tensor, previous: Tensor) -> Tensor:
        return previous.norm() + 1e-12


class UnmovedLeftOut(UpdateRatios):
    def counts(self, param: Tensor, previous: Tensor) -> bool:
        return super().counts(param, previous) and not torch.equal(param, previous)


class AnyZeroLeftOut(UpdateRatios):
    def counts(self, param: Tensor, previous: Tensor) -> bool:
        return bool((previous != 0).all())


UPDATE_RATIOS_MISTAKES = (
    Mistake(
        "over_the_new_size",
        "Divide by the norm before the step, not after it: a step that throws the parameter far "
        "away would look small.",
        OverTheNewSize(),
    ),
    Mistake(
        "update_only",
        "This is the norm of the update alone: divide it by the norm of the parameter before.",
        UpdateOnly(),
    ),
    Mistake(
        "difference_of_norms",
        "Take the norm of the difference, not the difference of the norms: a parameter can turn "
        "without becoming longer.",
        DifferenceOfNorms(),
    ),
    Mistake(
        "signed_difference_of_norms",
        "Take the norm of the difference p - q, which is never negative, not the difference of "
        "the norms.",
        SignedDifferenceOfNorms(),
    ),
    Mistake(
        "ratio_of_norms",
        "This compares the parameter after and before: subtract first, then take the norm.",
        RatioOfNorms(),
    ),
    Mistake(
        "mean_of_ratios",
        "This is the mean of the elements' own ratios, which one element near 0 ruins: divide one "
        "norm by the other.",
        MeanOfRatios(),
    ),
    Mistake(
        "norm_of_ratios",
        "The division came before the norm: divide one norm by the other.",
        NormOfRatios(),
    ),
    Mistake("squared", "The squared norms were divided: take their roots first.", Squared()),
    Mistake(
        "reciprocal", "The ratio is upside down: the norm of the update comes first.", Reciprocal()
    ),
    Mistake(
        "spread",
        "This is a ratio of standard deviations, which subtract the mean: use the norms.",
        Spread(),
    ),
    Mistake(
        "sizes_added",
        "These are sums of absolute values (L1 norms): use L2 norms.",
        SizesAdded(),
    ),
    Mistake("ratio_as_tensor", "Return plain floats, not tensors.", RatioAsTensor()),
    Mistake(
        "zero_gives_infinity",
        "A parameter that was all zeros has no ratio: leave it out, do not divide by 0.",
        ZeroGivesInfinity(),
    ),
    Mistake(
        "zero_gives_zero",
        "A parameter that was all zeros has no ratio: leave it out, 0 would mean that it did not "
        "move.",
        ZeroGivesZero(),
    ),
    Mistake(
        "small_addend",
        "A parameter that was all zeros has no ratio: leave it out. With a small number added to "
        "the denominator it gets a huge one.",
        SmallAddend(),
    ),
    Mistake(
        "unmoved_left_out",
        "A parameter that did not move has the ratio 0.0: it belongs in the dictionary.",
        UnmovedLeftOut(),
    ),
    Mistake(
        "any_zero_left_out",
        "Leave a parameter out only when all of its elements were 0, not when one was.",
        AnyZeroLeftOut(),
    ),
)


def update_ratios_inputs(rng: torch.Generator) -> list[Case]:
    moved, special = "the update over the parameter", "parameters at rest or at zero"
    n = int(torch.randint(3, 6, (), generator=rng))

    def case(part: str, moves: dict[str, tuple[Tensor, Tensor]], unit: float = 1) -> Case:
        previous = {name: before for name, (before, _) in moves.items()}
        now = {name: before + unit * update for name, (before, update) in moves.items()}
        dtypes = {tensor.dtype for tensor in now.values()}
        return {
            "part": part,
            "title": f"before {shown(dict(previous))}; after {shown(dict(now))}",
            "previous": previous,
            "params": now,
            "unit": unit,
            "dtype": torch.bfloat16 if torch.bfloat16 in dtypes else torch.float32,
        }

    def move(*size: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Draw a parameter, first element far from the others, and an update across it."""
        before, update = 2 * away_from_zero(rng, *size), away_from_zero(rng, *size)
        before.view(-1)[0] *= 3
        update.view(-1)[-1] *= -4
        return before.to(dtype), update.to(dtype)

    def across() -> tuple[Tensor, Tensor]:
        before, update = move(2, n)
        return before.T, update.T

    small = 1e-3 * move(2, n)[0], 1e-3 * move(2, n)[1]
    bias = torch.cat([torch.zeros(1), away_from_zero(rng, 2)]), away_from_zero(rng, 3)
    rest, zero = (move(2)[0], torch.zeros(2)), (torch.zeros(2), away_from_zero(rng, 2))
    return [
        case(moved, {"weight": move(2)}),
        case(moved, {"first.weight": move(2), "last.weight": move(1)}),
        case(moved, {"first.weight": across(), "first.bias": move(n), "scale": move()}),
        case(moved, {"first.weight": move(2, n), "first.bias": move(3)}, unit=1e-3),
        case(moved, {"first.weight": small}),
        case(moved, {"first.weight": move(n, dtype=torch.float64)}),
        case(moved, {"first.weight": move(n, dtype=torch.bfloat16)}),
        case(special, {"first.weight": move(2), "last.weight": rest}),
        case(special, {"first.weight": move(2), "first.bias": zero}),
        case(special, {"first.weight": move(2), "first.bias": (zero[0], zero[0])}),
        case(special, {"first.weight": move(2), "first.bias": bias}),
        case(special, {"first.weight": move(2, n), "first.bias": zero, "last.weight": rest}),
    ]


def update_ratios_probe(update_ratios: Callable[..., Any], case: Case) -> Outputs:
    model = model_of(case["params"], {})
    outputs = measured(
        update_ratios(model, case["previous"]), case["unit"], case["dtype"], "the ratio"
    )
    for name, param in model.named_parameters():
        outputs[f"{name}, which must not change"] = param
    for name, before in case["previous"].items():
        outputs[f"the previous {name}, which must not change"] = before
    return outputs


# --- find_nonfinite -------------------------------------------------------------------------------

Spec = dict[str, Any]
"""A module as plain data: what its output is, its children, and in which order they run."""


class Broken(Exception):
    """What a module of ours raises."""


class Staged(nn.Module):
    """A module that does what a specification says."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.gives = spec["gives"]
        self.order = spec["order"]
        self.calls = 0
        for name, child in spec["children"].items():
            self.add_module(name, Staged(child))

    def forward(self, x: Tensor, *more: Tensor) -> Any:
        self.calls += 1
        x = sum(more, x)
        for name in self.order:
            x = first_tensor(getattr(self, name)(x))
        return OUTPUTS[self.gives](x, self.calls)


def first_tensor(output: Any) -> Tensor:
    while not isinstance(output, Tensor):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output


def with_one(value: float) -> Callable[[Tensor, int], Tensor]:
    def put(x: Tensor, calls: int) -> Tensor:
        return x.masked_fill(torch.arange(x.numel()).reshape(x.shape) == x.numel() - 1, value)

    return put


def broken(x: Tensor, calls: int) -> Tensor:
    raise Broken("the layer is broken")


nan_in = with_one(NAN)
OUTPUTS: dict[str, Callable[[Tensor, int], Any]] = {
    "passes its input on": lambda x, calls: x * 1,
    "makes one nan": nan_in,
    "makes one inf": with_one(INF),
    "makes one -inf": with_one(-INF),
    "takes the log of 0": lambda x, calls: (0 * x).log(),
    "gives numbers of 3e38": lambda x, calls: torch.full_like(x, 3e38),
    "gives numbers of 1e35": lambda x, calls: torch.full_like(x, 1e35),
    "makes a nan in its second run": lambda x, calls: nan_in(x, calls) if calls == 2 else x,
    "replaces nan by 0": lambda x, calls: x.nan_to_num(),
    "gives (nan, x)": lambda x, calls: (nan_in(x, calls), x),
    "gives (x, nan)": lambda x, calls: (x, nan_in(x, calls)),
    "gives [x, (x, [nan])]": lambda x, calls: [x, (x, [nan_in(x, calls)])],
    "gives {'x': x, 'state': nan}": lambda x, calls: {"x": x, "state": nan_in(x, calls)},
    "gives {'x': x, 'state': [(x, nan)]}": lambda x, calls: {
        "x": x,
        "state": [(x, nan_in(x, calls))],
    },
    "gives (x, None, 'text', 7, integers)": lambda x, calls: (x, None, "text", 7, torch.arange(3)),
    "raises an exception": broken,
}


def module(gives: str = "passes its input on", order: str | None = None, **children: Spec) -> Spec:
    """Return the specification of a module; its children run in the order of ``order``."""
    runs = list(children) if order is None else order.split()
    return {"gives": gives, "order": runs, "children": children}


def told(spec: Spec, name: str = "") -> Iterator[str]:
    """Yield what the modules of a model give, in the order in which they finish."""
    for child in spec["order"]:
        yield from told(spec["children"][child], f"{name}.{child}".lstrip("."))
    yield f"{name or 'the model'} {spec['gives']}"


class FindNonfinite:
    """The search, one decision a method."""

    @torch.no_grad()
    def __call__(self, model: nn.Module, *inputs: Any) -> Any:
        found: list[str] = []

        def watch(name: str, module: nn.Module) -> Any:
            def hook(_: nn.Module, args: Any, output: Any) -> None:
                if self.bad(self.looked_at(args, output)):
                    found.append(self.name(name, module))

            return module.register_forward_hook(hook)

        handles = [watch(name, module) for name, module in self.watched(model)]
        self.run(model, inputs, handles)
        return self.answer(found, model)

    def watched(self, model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
        return model.named_modules()

    def name(self, name: str, module: nn.Module) -> str:
        return name

    def looked_at(self, args: Any, output: Any) -> Iterable[Tensor]:
        return tensors_in(output)

    def bad(self, tensors: Iterable[Tensor]) -> bool:
        return any(self.damaged(tensor) for tensor in tensors)

    def damaged(self, tensor: Tensor) -> bool:
        return not bool(tensor.isfinite().all())

    def run(self, model: nn.Module, inputs: Any, handles: list[Any]) -> None:
        try:
            model(*inputs)
        finally:
            self.clean(model, handles)

    def clean(self, model: nn.Module, handles: list[Any]) -> None:
        for handle in handles:
            handle.remove()

    def answer(self, found: list[str], model: nn.Module) -> Any:
        return found[0] if found else None


def tensors_in(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for item in output.values() if isinstance(output, dict) else output:
            yield from tensors_in(item)


class NanOnly(FindNonfinite):
    def damaged(self, tensor: Tensor) -> bool:
        return bool(tensor.isnan().any())


class InfOnly(FindNonfinite):
    def damaged(self, tensor: Tensor) -> bool:
        return bool(tensor.isinf().any())


class PositiveInfOnly(FindNonfinite):
    def damaged(self, tensor: Tensor) -> bool:
        return bool((tensor.isnan() | (tensor == INF)).any())


class AllElements(FindNonfinite):
    def damaged(self, tensor: Tensor) -> bool:
        return not bool(tensor.isfinite().any())


class OfTheSum(FindNonfinite):
    def damaged(self, tensor: Tensor) -> bool:
        return not bool(tensor.sum().isfinite())


class TooLarge(FindNonfinite):
    def damaged(self, tensor: Tensor) -> bool:
        return not bool((tensor.abs() < 1e30).all())


class LastFound(FindNonfinite):
    def answer(self, found: list[str], model: nn.Module) -> Any:
        return found[-1] if found else None


class OrderOfDefinition(FindNonfinite):
    def answer(self, found: list[str], model: nn.Module) -> Any:
        return next((name for name, _ in model.named_modules() if name in found), None)


class DefinitionWithoutTheModel(FindNonfinite):
    def answer(self, found: list[str], model: nn.Module) -> Any:
        names = [*(name for name, _ in model.named_modules() if name), ""]
        return next((name for name in names if name in found), None)


class NameOfTheLastModule(FindNonfinite):
    def answer(self, found: list[str], model: nn.Module) -> Any:
        return [name for name, _ in model.named_modules()][-1] if found else None


class AllNames(FindNonfinite):
    def answer(self, found: list[str], model: nn.Module) -> Any:
        return found


class EmptyForNone(FindNonfinite):
    def answer(self, found: list[str], model: nn.Module) -> Any:
        return found[0] if found else ""


class NoneForTheModel(FindNonfinite):
    def answer(self, found: list[str], model: nn.Module) -> Any:
        return (found[0] or None) if found else None


class ClassName(FindNonfinite):
    def name(self, name: str, module: nn.Module) -> str:
        return type(module).__name__


class LeavesOnly(FindNonfinite):
    def watched(self, model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
        return [(name, each) for name, each in model.named_modules() if not [*each.children()]]


class ChildrenOnly(FindNonfinite):
    def watched(self, model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
        return model.named_children()


class LooksAtInputs(FindNonfinite):
    def looked_at(self, args: Any, output: Any) -> Iterable[Tensor]:
        return tensors_in(args)


class TensorsOnly(FindNonfinite):
    def looked_at(self, args: Any, output: Any) -> Iterable[Tensor]:
        return [output] if isinstance(output, Tensor) else []


class FirstOfATuple(FindNonfinite):
    def looked_at(self, args: Any, output: Any) -> Iterable[Tensor]:
        return [first_tensor(output)]


class OneLevelOnly(FindNonfinite):
    def looked_at(self, args: Any, output: Any) -> Iterable[Tensor]:
        items = output.values() if isinstance(output, dict) else output
        items = [output] if isinstance(output, Tensor) else items
        return [item for item in items if isinstance(item, Tensor)]


class NoDictionaries(FindNonfinite):
    def looked_at(self, args: Any, output: Any) -> Iterable[Tensor]:
        return [] if isinstance(output, dict) else tensors_in(output)


class HooksStay(FindNonfinite):
    def clean(self, model: nn.Module, handles: list[Any]) -> None:
        pass


class HooksStayAfterAnException(FindNonfinite):
    def run(self, model: nn.Module, inputs: Any, handles: list[Any]) -> None:
        model(*inputs)
        self.clean(model, handles)


class RemovesAllHooks(FindNonfinite):
    def clean(self, model: nn.Module, handles: list[Any]) -> None:
        for each in model.modules():
            each._forward_hooks.clear()


class SwallowsTheException(FindNonfinite):
    def run(self, model: nn.Module, inputs: Any, handles: list[Any]) -> None:
        with contextlib.suppress(Exception):
            super().run(model, inputs, handles)


class LeavesEvalMode(FindNonfinite):
    def run(self, model: nn.Module, inputs: Any, handles: list[Any]) -> None:
        super().run(model.eval(), inputs, handles)


class RunsTwice(FindNonfinite):
    def run(self, model: nn.Module, inputs: Any, handles: list[Any]) -> None:
        model(*inputs)
        super().run(model, inputs, handles)


FIND_NONFINITE_MISTAKES = (
    Mistake(
        "nan_only", "An infinity counts too: isfinite is false for nan, inf and -inf.", NanOnly()
    ),
    Mistake("inf_only", "A nan counts too: isfinite is false for nan, inf and -inf.", InfOnly()),
    Mistake(
        "positive_inf_only",
        "-inf counts too, the log of 0 for example: isfinite is false for nan, inf and -inf.",
        PositiveInfOnly(),
    ),
    Mistake(
        "all_elements",
        "One nan among many numbers is enough: the output must be finite in all elements.",
        AllElements(),
    ),
    Mistake(
        "of_the_sum",
        "The sum of large finite numbers can overflow: look at the elements, not at their sum.",
        OfTheSum(),
    ),
    Mistake(
        "too_large", "A large number is still finite: ask isfinite, not for a size.", TooLarge()
    ),
    Mistake(
        "last_found",
        "This is the last module with a nan: everything after the first one has it too. Keep the "
        "first.",
        LastFound(),
    ),
    Mistake(
        "order_of_definition",
        "This is the first in the order of named_modules(), where a module comes before those in "
        "it: take the order in which they finish, as the hooks are called.",
        OrderOfDefinition(),
    ),
    Mistake(
        "definition_without_the_model",
        "This is the first in the order in which the layers were defined: take the order in which "
        "they run, as the hooks are called.",
        DefinitionWithoutTheModel(),
    ),
    Mistake(
        "name_of_the_last_module",
        "Every hook knows the same name, the last of the loop: a function made in a loop sees the "
        "variable as it is when it is called. Make each hook in a function that takes the name.",
        NameOfTheLastModule(),
    ),
    Mistake("all_names", "Return one name, the first, not a list of all.", AllNames()),
    Mistake(
        "empty_for_none",
        "Where every output is finite return None: '' is the name of the model itself.",
        EmptyForNone(),
    ),
    Mistake(
        "none_for_the_model",
        "The model's own name is '', which is false in an if: it must be returned all the same.",
        NoneForTheModel(),
    ),
    Mistake(
        "class_name",
        "Return the module's name from named_modules(): many modules have the same class.",
        ClassName(),
    ),
    Mistake(
        "leaves_only",
        "Only modules without children were watched: one that computes something itself, behind "
        "its children, can make a nan too.",
        LeavesOnly(),
    ),
    Mistake(
        "children_only",
        "Only the direct children were watched: named_modules() goes through all levels, and the "
        "model itself.",
        ChildrenOnly(),
    ),
    Mistake(
        "looks_at_inputs",
        "This is the module that receives the first nan: look at outputs, to find the one that "
        "made it.",
        LooksAtInputs(),
    ),
    Mistake(
        "tensors_only",
        "An output may be a tuple, a list or a dictionary: look into them, tensors_in helps.",
        TensorsOnly(),
    ),
    Mistake(
        "first_of_a_tuple",
        "Only the first tensor of the output was looked at: a recurrent layer's state, for "
        "example, comes second.",
        FirstOfATuple(),
    ),
    Mistake(
        "one_level_only",
        "Tuples can hold tuples: look into them at every depth, tensors_in helps.",
        OneLevelOnly(),
    ),
    Mistake(
        "no_dictionaries", "An output may be a dictionary: look at its values.", NoDictionaries()
    ),
    Mistake(
        "hooks_stay",
        "Your hooks are still there: they would run in every later step. Remove each handle.",
        HooksStay(),
    ),
    Mistake(
        "hooks_stay_after_an_exception",
        "When the model raises, your hooks stay: remove them in a finally block.",
        HooksStayAfterAnException(),
    ),
    Mistake(
        "removes_all_hooks",
        "Hooks that were there before are gone: remove your own handles only.",
        RemovesAllHooks(),
    ),
    Mistake(
        "swallows_the_exception",
        "An exception of the model must reach the caller: use try and finally, without except.",
        SwallowsTheException(),
    ),
    Mistake(
        "leaves_eval_mode",
        "The model is in evaluation mode now: leave its mode as it was.",
        LeavesEvalMode(),
    ),
    Mistake("runs_twice", "The model ran twice: once is enough.", RunsTwice()),
)


def find_nonfinite_inputs(rng: torch.Generator) -> list[Case]:
    first, nested = "the first module in the order of execution", "outputs of several tensors"
    clean = "the model stays as it was"

    def case(part: str, spec: Spec, *more: Tensor) -> Case:
        order = f"modules in the order in which they finish: {'; '.join(told(spec))}"
        return {
            "part": part,
            "title": "; ".join([*("a second input with an inf" for _ in more), order]),
            "spec": spec,
            "inputs": [torch.rand(2, 3, generator=rng), *more],
        }

    nan, fine = module("makes one nan"), module()
    encoder = module(first=fine, second=nan)
    shared = module(order="a b a", a=module("makes a nan in its second run"), b=fine)
    return [
        case(first, module(a=nan, b=fine)),
        case(first, module(a=fine, b=fine)),
        case(first, module(a=fine, b=module("makes one inf"), c=fine)),
        case(first, module(a=module("makes one -inf"), b=fine)),
        case(first, module(a=fine, b=module("takes the log of 0"), c=nan)),
        case(first, module(a=fine, b=nan), torch.tensor([1.0, INF, 1.0])),
        case(first, module(a=module("gives numbers of 3e38"), b=fine)),
        case(first, module(a=module("gives numbers of 1e35"), b=fine)),
        case(first, module(a=fine, b=nan, order="b a")),
        case(first, module("makes one nan", a=fine)),
        case(first, module(encoder=encoder, head=fine)),
        case(first, module(encoder=module("makes one nan", layer=fine), head=fine)),
        case(first, module(a=fine, b=nan, c=module("replaces nan by 0"))),
        case(first, module("replaces nan by 0", a=nan, b=module("replaces nan by 0"), c=nan)),
        case(first, module(a=nan, body=module(layer=nan))),
        case(first, shared),
        case(first, module(head=nan, body=module(x=fine, y=nan, order="y x"), order="body head")),
        case(nested, module(a=module("gives (x, nan)"), b=fine)),
        case(nested, module(a=fine, b=module("gives (nan, x)"))),
        case(nested, module(a=fine, b=module("gives [x, (x, [nan])]"), c=nan)),
        case(nested, module(a=module("gives {'x': x, 'state': nan}"), b=nan)),
        case(nested, module(a=module("gives {'x': x, 'state': [(x, nan)]}"))),
        case(nested, module(a=module("gives (x, None, 'text', 7, integers)"), b=nan)),
        case(clean, module(a=fine, b=nan)),
        case(clean, module(encoder=module(a=fine, b=fine), head=fine)),
        case(clean, module(a=fine, b=module("raises an exception"))),
        case(clean, module(encoder=encoder, head=module("raises an exception"))),
    ]


def find_nonfinite_probe(find_nonfinite: Callable[..., Any], case: Case) -> Outputs:
    model = Staged(case["spec"])
    for each in (model, *model.children()):
        each.register_forward_hook(lambda *_: None)
    outputs: Outputs = {}
    state, hooks = state_of(model), hooks_of(model)
    try:
        outputs["find_nonfinite(model, x)"] = find_nonfinite(model, *case["inputs"])
    except Broken:
        outputs["find_nonfinite(model, x)"] = "the model's exception"
    if case["part"] == "the model stays as it was":
        outputs["how often the model ran"] = model.calls
        outputs["the hooks that were added and are still there"] = max(hooks_of(model) - hooks, 0)
        outputs["the hooks that were there before and are gone"] = max(hooks - hooks_of(model), 0)
        outputs["the modules are in the mode they were in"] = state_of(model) == state
    return outputs


def hooks_of(model: nn.Module) -> int:
    """Count the hooks on a model's modules, and those that are called for every module."""
    everywhere = nn.modules.module
    return (
        len(everywhere._global_forward_hooks)
        + len(everywhere._global_forward_pre_hooks)
        + sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())
    )


def state_of(model: nn.Module) -> list[Any]:
    return [(each.training, sorted(vars(each))) for each in model.modules()]


check_gradient_norms = Check(
    module="diagnostics",
    exercise="gradient_norms",
    target="gradient_norms",
    parts={"the norm of each gradient": 2, "no gradient, shared parameters": 1},
    inputs=gradient_norms_inputs,
    probe=gradient_norms_probe,
    oracle=GradientNorms(),
    mistakes=GRADIENT_NORMS_MISTAKES,
    hints=(
        "model.named_parameters() gives pairs of name and parameter; a loop over it is nearly all.",
        "It gives a shared parameter once. Ask whether param.grad is None before you use it.",
        "A tensor has a method norm(), and .item() makes a float of a tensor with one element.",
    ),
)

check_dead_fraction = Check(
    module="diagnostics",
    exercise="dead_fraction",
    target="dead_fraction",
    parts={"units that are 0 for every example": 2, "units along another dimension": 1},
    inputs=dead_fraction_inputs,
    probe=dead_fraction_probe,
    oracle=DeadFraction(),
    mistakes=DEAD_FRACTION_MISTAKES,
    hints=(
        "Two questions, one after the other: which units never answer, and how many of all are "
        "they?",
        "activations <= 0 is a tensor of booleans, and .all(dim) reduces one dimension of it.",
        "Bring the units to the front (movedim), make a matrix of one row a unit (reshape), then "
        "take all over dim 1.",
    ),
)

check_update_ratios = Check(
    module="diagnostics",
    exercise="update_ratios",
    target="update_ratios",
    parts={"the update over the parameter": 2, "parameters at rest or at zero": 1},
    inputs=update_ratios_inputs,
    probe=update_ratios_probe,
    oracle=UpdateRatios(),
    mistakes=UPDATE_RATIOS_MISTAKES,
    hints=(
        "For every name there are two tensors: the parameter now and previous[name].",
        "Subtract first, then take the norm; divide by the norm of what was there before.",
        "Ask whether that norm is above 0 before you divide.",
    ),
)

check_find_nonfinite = Check(
    module="diagnostics",
    exercise="find_nonfinite",
    target="find_nonfinite",
    parts={
        "the first module in the order of execution": 2,
        "outputs of several tensors": 1,
        "the model stays as it was": 2,
    },
    inputs=find_nonfinite_inputs,
    probe=find_nonfinite_probe,
    oracle=FindNonfinite(),
    mistakes=FIND_NONFINITE_MISTAKES,
    hints=(
        "A forward hook is called with (module, args, output) each time a module has finished: "
        "module.register_forward_hook(hook) adds one and returns a handle.",
        "A hook does not know its module's name: make one hook for each name, in a function that "
        "takes the name and returns the hook. Append the name to a list when the output is bad.",
        "try: model(*inputs), finally: handle.remove() for every handle. The first entry of the "
        "list is the answer.",
    ),
)
