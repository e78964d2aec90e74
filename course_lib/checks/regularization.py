"""Checks of ``regularization``: dropout, the L2 penalty and early stopping.

Right solutions of dropout may drop other numbers. What is compared is what they share: shares of
tensors large enough for them, as bfloat16, whose tolerance of 5 % is more than 6 standard errors;
factors; and facts with chances below 1e-12.
"""

import copy
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from course_lib.checking import Case, Check, Mistake, Outputs


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


# --- dropout --------------------------------------------------------------------------------------


def torch_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """The oracle: torch's function, which knows the global generator only."""
    if generator is None:
        return nn.functional.dropout(input, p, training)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        result = nn.functional.dropout(input, p, training)
        generator.set_state(torch.get_rng_state())
    return result


class Dropout:
    """Dropout with one decision a method, so that a mistake changes one of them."""

    def __call__(
        self,
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        if not training:
            return self.evaluation(input, p, generator)
        mask = self.mask(input, self.kept(p), generator)
        return self.applied(input, mask.to(input.dtype), self.factor(p))

    def evaluation(self, input: Tensor, p: float, generator: Generator | None) -> Tensor:
        return input

    def kept(self, p: float) -> float:
        return 1 - p

    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        return torch.rand(input.shape, generator=generator) < kept

    def factor(self, p: float) -> float:
        return 1 / (1 - p) if p < 1 else 0.0

    def applied(self, input: Tensor, mask: Tensor, factor: float) -> Tensor:
        return input * mask * factor


class NoScaling(Dropout):
    def factor(self, p: float) -> float:
        return 1.0


class ScaledByP(Dropout):
    def factor(self, p: float) -> float:
        return 1 / p if p > 0 else math.inf


class MultipliedByTheShare(Dropout):
    def factor(self, p: float) -> float:
        return 1 - p


class KeepsWithProbabilityP(Dropout):
    def kept(self, p: float) -> float:
        return p

    def factor(self, p: float) -> float:
        return 1 / p if p > 0 else 0.0


class DropsTheWrongShare(Dropout):
    def kept(self, p: float) -> float:
        return p


class AlwaysHalf(Dropout):
    def __call__(self, input: Tensor, p: float = 0.5, *args: Any, **options: Any) -> Tensor:
        return super().__call__(input, 0.5, *args, **options)


class ScalesInEvaluation(Dropout):
    def evaluation(self, input: Tensor, p: float, generator: Generator | None) -> Tensor:
        return input * (1 - p)


class DropsInEvaluation(Dropout):
    def evaluation(self, input: Tensor, p: float, generator: Generator | None) -> Tensor:
        return self(input, p, generator=generator)


class NanWithoutARest(Dropout):
    def factor(self, p: float) -> float:
        return super().factor(p) if p < 1 else math.inf


class WholeRows(Dropout):
    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        return super().mask(input[..., :1], kept, generator)


class WholeExamples(Dropout):
    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        return super().mask(input.flatten(1)[:, :1], kept, generator)[
            (..., *[None] * (input.dim() - 2))
        ]


class OneMaskForTheBatch(Dropout):
    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        return super().mask(input[:1], kept, generator)


class ExactNumber(Dropout):
    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        order = torch.randperm(input.numel(), generator=generator).reshape(input.shape)
        return order < round(kept * input.numel())


class AlwaysTheSameMask(Dropout):
    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        return super().mask(input, kept, Generator().manual_seed(0))


class Reseeds(Dropout):
    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        torch.manual_seed(0)
        return super().mask(input, kept, generator)


class GeneratorIgnored(Dropout):
    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        return super().mask(input, kept, None)


class SeedOfTheGenerator(Dropout):
    def mask(self, input: Tensor, kept: float, generator: Generator | None) -> Tensor:
        if generator is not None:
            torch.manual_seed(generator.initial_seed())
        return super().mask(input, kept, None)


class ChangesTheInput(Dropout):
    def applied(self, input: Tensor, mask: Tensor, factor: float) -> Tensor:
        return input.mul_(mask * factor)


class Float32Result(Dropout):
    def applied(self, input: Tensor, mask: Tensor, factor: float) -> Tensor:
        return super().applied(input.float(), mask.float(), factor)


class NoGradient(Dropout):
    def applied(self, input: Tensor, mask: Tensor, factor: float) -> Tensor:
        return super().applied(input.detach(), mask, factor)


class GradientPastTheMask(Dropout):
    def applied(self, input: Tensor, mask: Tensor, factor: float) -> Tensor:
        return input + (super().applied(input, mask, factor) - input).detach()


class GradientUnscaled(Dropout):
    def applied(self, input: Tensor, mask: Tensor, factor: float) -> Tensor:
        kept = input * mask
        return kept + (super().applied(input, mask, factor) - kept).detach()


DROPOUT_MISTAKES = tuple(
    Mistake(_snake_case(type(wrong).__name__), message, wrong)
    for wrong, message in {
        NoScaling(): "The numbers that are kept must be divided by 1 - p: otherwise the next layer "
        "gets less in training than in evaluation.",
        ScaledByP(): "Divide what is kept by 1 - p, the probability to keep it, not by p.",
        MultipliedByTheShare(): "What is kept must get larger: divide by 1 - p, do not multiply.",
        KeepsWithProbabilityP(): "p is the probability to drop a number, not to keep it: keep with "
        "probability 1 - p and divide by 1 - p.",
        DropsTheWrongShare(): "The comparison is the wrong way round: a number is dropped with "
        "probability p, here with 1 - p.",
        AlwaysHalf(): "p has no effect: half of the numbers are dropped, whatever p is.",
        ScalesInEvaluation(): "Evaluation multiplies by 1 - p. The scale belongs into training "
        "alone; in evaluation the numbers stay as they are.",
        DropsInEvaluation(): "With training=False nothing may be dropped: return the input.",
        NanWithoutARest(): "With p = 1 you divide 0 by 0, which is nan: the result and the "
        "gradient are 0 there.",
        WholeRows(): "Whole rows are dropped: the mask needs the shape of the input, so that every "
        "number has its own chance.",
        WholeExamples(): "Whole examples are dropped: the mask needs the shape of the input, so "
        "that every number has its own chance.",
        OneMaskForTheBatch(): "All examples of the batch share one mask: it needs the shape of the "
        "whole input, so that every number has its own chance.",
        ExactNumber(): "Just the same number of elements is dropped every time: drop each with "
        "probability p, independently of the others.",
        AlwaysTheSameMask(): "Every call drops the same numbers, from a generator with a fixed "
        "seed: use the one that is given, or else torch's global one.",
        Reseeds(): "Your code seeds torch's global generator, so every call drops the same "
        "numbers and the whole program draws the same again. Draw, and never call manual_seed.",
        GeneratorIgnored(): "The generator has no effect: hand it on as generator=generator.",
        SeedOfTheGenerator(): "The generator's seed went into torch.manual_seed: hand the "
        "generator itself on as generator=generator, and leave the global random state alone.",
        ChangesTheInput(): "The input itself is changed: return a new tensor.",
        Float32Result(): "The result is float32 whatever the input is: it has the input's dtype.",
        NoGradient(): "No gradient reaches the input: multiply the input itself by the mask, "
        "without detach, item or no_grad.",
        GradientPastTheMask(): "The gradient passes where the number was dropped: it takes the "
        "same mask and the same factor as the number.",
        GradientUnscaled(): "The gradient of what is kept is divided by 1 - p too.",
    }.items()
)

FORBIDDEN = (
    *(f"torch.nn.functional.{name}" for name in ("dropout", "dropout1d", "dropout2d", "dropout3d")),
    *(f"torch.nn.functional.{name}_dropout" for name in ("alpha", "feature_alpha")),
    *(f"torch.{name}{end}" for name in ("dropout", "alpha_dropout") for end in ("", "_")),
    *(f"torch.feature_{name}{end}" for name in ("dropout", "alpha_dropout") for end in ("", "_")),
    "torch.native_dropout",
    "torch.nn.Dropout",
    "torch.nn.Dropout1d",
    "torch.nn.Dropout2d",
    "torch.nn.Dropout3d",
    "torch.nn.AlphaDropout",
    "torch.nn.FeatureAlphaDropout",
    "torch.nn.modules.dropout",
)

EDGES = "evaluation, p = 0 and p = 1"
WHICH = "which numbers are dropped"
SCALE = "the scale of the rest"
GRADIENT = "the gradient"
RANDOM = "random numbers"


def dropout_inputs(rng: torch.Generator) -> list[Case]:
    rows = 200 + int(torch.randint(0, 10, (), generator=rng))

    def case(
        part: str,
        *shape: int,
        dtype: torch.dtype = torch.float32,
        kind: str | None = None,
        **options: Any,
    ) -> Case:
        words = [f"x of shape {shape}"]
        words += [f"dtype {dtype}"] if dtype != torch.float32 else []
        words += [f"{name}={value}" for name, value in options.items()]
        # Never 0, so that a 0 in the result is a dropped number.
        x = torch.rand(shape, generator=rng, dtype=torch.float64) * 1.5 + 0.5
        x *= torch.randint(0, 2, shape, generator=rng) * 2 - 1
        return {
            "part": part,
            "title": f"dropout({', '.join(words)})" + (f", {kind}" if kind else ""),
            "x": x.to(dtype),
            "cotangent": (torch.rand(shape, generator=rng, dtype=torch.float64) + 0.5).to(dtype),
            "options": options,
            "seed": int(torch.randint(0, 2**31, (), generator=rng)),
            "kind": kind or part,
        }

    bfloat16, float64 = torch.bfloat16, torch.float64
    return [
        case(EDGES, 4, 10, training=False),
        case(EDGES, 4, 10, p=0.3, training=False),
        case(EDGES, 4, 10, p=1.0, training=False),
        case(EDGES, 4, 10, p=0.0),
        case(EDGES, 4, 10, p=1.0),
        case(EDGES, 3, 4, 5, p=1.0, dtype=float64),
        case(EDGES, 4, 10, p=0.3, training=False, dtype=bfloat16),
        case(EDGES, 0, 3),
        case(WHICH, rows, 210),
        case(WHICH, rows, 220, p=0.2),
        case(WHICH, 30, rows, 9, p=0.8),
        case(WHICH, 20, 70, 5, 6, p=0.3),
        case(WHICH, rows, 230, p=0.3, dtype=bfloat16),
        case(WHICH, rows, 240, p=0.7, training=True, dtype=float64),
        case(WHICH, 40, 50, kind="eight calls"),
        case(SCALE, rows, 60),
        case(SCALE, rows, 60, p=0.2),
        case(SCALE, rows, 60, p=0.75),
        case(SCALE, rows, 60, p=0.3, dtype=float64),
        case(SCALE, rows, 60, p=0.3, dtype=bfloat16),
        case(GRADIENT, rows, 60),
        case(GRADIENT, rows, 60, p=0.2),
        case(GRADIENT, rows, 60, p=0.75, dtype=float64),
        case(RANDOM, 40, 50, kind="with a generator"),
        case(RANDOM, 40, 50, p=0.3, kind="without a generator"),
    ]


def edges_probe(dropout: Any, case: Case) -> Outputs:
    x = case["x"].clone().requires_grad_()
    before = case["x"].clone()
    plain = dropout(case["x"], **case["options"])
    result = dropout(x, **case["options"])
    dropped = result == 0
    outputs: Outputs = {
        "some numbers are dropped and some are kept": bool(dropped.any() and not dropped.all()),
        "the input is as before": torch.equal(case["x"], before),
    }
    if outputs["some numbers are dropped and some are kept"]:
        return outputs
    if result.requires_grad:
        (result * case["cotangent"]).sum().backward()
    return outputs | {
        "the result": result,
        "the result without a history": plain,
        "the gradient": x.grad,
    }


def which_probe(dropout: Any, case: Case) -> Outputs:
    before = case["x"].clone()
    result = dropout(case["x"], **case["options"])
    kept = result != 0
    # A mask that is the same along a dimension has a share that depends on chance.
    same = [bool((kept == kept.narrow(dim, 0, 1)).all()) for dim in range(kept.dim())]
    outputs: Outputs = {
        f"the numbers along dimension {dim} are kept or dropped together": together
        for dim, together in enumerate(same)
    }
    if any(same) and not all(same):
        return outputs
    share = 100 * kept.double().mean()
    few = case["options"].get("p", 0.5) > 0.5
    return outputs | {
        f"the numbers {'dropped' if few else 'kept'}, in percent": (
            (100 - share if few else share).to(torch.bfloat16)
        ),
        "the input is as before": torch.equal(case["x"], before),
    }


def eight_calls_probe(dropout: Any, case: Case) -> Outputs:
    torch.manual_seed(case["seed"])
    state = torch.get_rng_state()
    masks = [dropout(case["x"].clone(), **case["options"]) != 0 for _ in range(8)]
    return {
        "all calls drop the same numbers": all(torch.equal(mask, masks[0]) for mask in masks),
        "all calls drop equally many": len({int(mask.sum()) for mask in masks}) == 1,
        "torch's random state moves on": not torch.equal(state, torch.get_rng_state()),
    }


def scale_probe(dropout: Any, case: Case) -> Outputs:
    result = dropout(case["x"].clone(), **case["options"])
    kept = result != 0
    outputs: Outputs = {
        "the dtype of the result": str(result.dtype),
        "some numbers are kept": bool(kept.any()),
    }
    if not kept.any():
        return outputs
    factors = result[kept].double() / case["x"][kept].double()
    return outputs | {
        "the smallest factor of a kept number": factors.min().to(result.dtype),
        "the largest factor of a kept number": factors.max().to(result.dtype),
    }


def gradient_probe(dropout: Any, case: Case) -> Outputs:
    x = case["x"].requires_grad_()
    result = dropout(x, **case["options"])
    if result.requires_grad:
        (result * case["cotangent"]).sum().backward()
    if x.grad is None:
        return {"a gradient reaches the input": False}
    factors = x.grad / case["cotangent"]
    return {
        "a gradient reaches the input": True,
        "some gradients are 0 and some are not": bool(
            (factors == 0).any() and (factors != 0).any()
        ),
        "the largest gap between the factors of a number and of its gradient": (
            (factors - result.detach() / x.detach()).abs().max().float()
        ),
    }


def random_probe(dropout: Any, case: Case) -> Outputs:
    """Draw, draw again, and draw once more from the first state."""

    def drop(generator: Generator | None) -> Tensor:
        return dropout(case["x"].clone(), generator=generator, **case["options"])

    if case["kind"] == "with a generator":
        generator = Generator().manual_seed(case["seed"])
        before = torch.get_rng_state()
        first, second = drop(generator), drop(generator)
        again = drop(generator.manual_seed(case["seed"]))
        untouched = torch.equal(before, torch.get_rng_state())
    else:
        torch.manual_seed(case["seed"])
        first, second = drop(None), drop(None)
        torch.manual_seed(case["seed"])
        again, untouched = drop(None), True
    return {
        "the first and the second call drop different numbers": not torch.equal(first, second),
        "the same random state drops the same numbers again": torch.equal(first, again),
        "torch's global random state is left alone": untouched,
    }


def dropout_probe(dropout: Any, case: Case) -> Outputs:
    probes: dict[str, Callable[[Any, Case], Outputs]] = {
        EDGES: edges_probe,
        WHICH: which_probe,
        "eight calls": eight_calls_probe,
        SCALE: scale_probe,
        GRADIENT: gradient_probe,
        "with a generator": random_probe,
        "without a generator": random_probe,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case["seed"])
        return probes[case["kind"]](dropout, case)


# --- the L2 penalty -------------------------------------------------------------------------------


def right_penalty(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return half_of_the_squares(list(parameters), weight_decay)


def half_of_the_squares(parameters: list[Tensor], weight_decay: float) -> Tensor:
    total = torch.zeros(())
    for parameter in parameters:
        total = total + (parameter**2).sum()
    return 0.5 * weight_decay * total


def without_the_half(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return 2 * right_penalty(parameters, weight_decay)


def no_weight_decay(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return right_penalty(parameters, 1.0)


def weight_decay_squared(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return right_penalty(parameters, weight_decay**2)


def mean_of_the_squares(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return right_penalty((p / math.sqrt(p.numel()) for p in parameters), weight_decay)


def absolute_values(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return weight_decay * sum((p.abs().sum() for p in parameters), start=torch.zeros(()))


def norms(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return weight_decay / 2 * sum((p.norm() for p in parameters), start=torch.zeros(()))


def square_of_the_sum(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return right_penalty((p.sum() for p in parameters), weight_decay)


def first_parameter_only(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return right_penalty(list(parameters)[:1], weight_decay)


def last_parameter_only(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return right_penalty(list(parameters)[-1:], weight_decay)


def matrices_only(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return right_penalty((p for p in parameters if p.dim() > 1), weight_decay)


def reads_twice(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    if not list(parameters):
        return torch.zeros(())
    return right_penalty(parameters, weight_decay)


def negative(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return -right_penalty(parameters, weight_decay)


def detached(parameters: Iterable[Tensor], weight_decay: float) -> Tensor:
    return right_penalty(parameters, weight_decay).detach()


PENALTY_MISTAKES = tuple(
    Mistake(wrong.__name__, message, wrong)
    for wrong, message in {
        without_the_half: "The factor one half is missing: with it the gradient is "
        "weight_decay * w, as in SGD, and not twice as much.",
        no_weight_decay: "weight_decay has no effect: multiply the sum by it.",
        weight_decay_squared: "weight_decay is squared: it multiplies the sum of squares, once.",
        mean_of_the_squares: "This is the mean of the squares in each parameter: add them all up.",
        absolute_values: "These are absolute values, the L1 penalty: add up the squares.",
        norms: "This adds up the lengths of the parameters: leave out the square root.",
        square_of_the_sum: "This squares the sum of the numbers: square each number, then add up.",
        first_parameter_only: "Only the first parameter counts: add up over all of them before "
        "you return.",
        last_parameter_only: "Only the last parameter counts: the sum starts afresh for each.",
        matrices_only: "Parameters with fewer than two dimensions are left out: which ones count "
        "is for the caller to decide.",
        reads_twice: "The parameters may come from a generator, which is empty after one loop: "
        "go through them once.",
        negative: "The penalty is positive: it is added to the loss.",
        detached: "No gradient flows through the penalty: leave out item, detach, data and "
        "no_grad.",
    }.items()
)


def penalty_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, *shapes: tuple[int, ...], **more: Any) -> Case:
        dtype = more.get("dtype", torch.float32)
        values = [
            (torch.randint(3, 17, shape, generator=rng) / 8).to(dtype)
            * (torch.randint(0, 2, shape, generator=rng) * 2 - 1)
            for shape in shapes
        ]
        weight_decay = more.get("weight_decay", 0.1)
        shown = f"parameters of shapes {list(shapes)}"
        if sum(value.numel() for value in values) <= 4:
            shown = f"parameters {[value.tolist() for value in values]}"
        if more.get("iterator"):
            shown += " from an iterator"
        return {
            "part": part,
            "title": f"{shown}, weight_decay={weight_decay}",
            "parameters": values,
            "weight_decay": weight_decay,
            "iterator": more.get("iterator", False),
        }

    several = ((3, 4), (4,), (), (2, 3, 2))
    one_more = (int(torch.randint(2, 6, (), generator=rng)), 3)
    cases = []
    for part in ("the value", "the gradient"):
        cases += [
            case(part, (3,)),
            case(part, (1, 2), (2,), weight_decay=0.5),
            case(part, *several, one_more, weight_decay=0.01),
            case(part, *several, weight_decay=2.0, iterator=True),
            case(part, *several, one_more, weight_decay=0.25, dtype=torch.float64),
        ]
    return [*cases, case("the value"), case("the value", (0, 3), (2,))]


def penalty_probe(penalty: Any, case: Case) -> Outputs:
    parameters = [value.requires_grad_() for value in case["parameters"]]
    given = iter(parameters) if case["iterator"] else parameters
    result = penalty(given, case["weight_decay"])
    if case["part"] == "the value":
        # Without parameters there is nothing whose dtype a result could have.
        return {"the penalty": torch.as_tensor(result).float()}
    if not isinstance(result, Tensor) or not result.requires_grad:
        return {"a gradient flows through the penalty": False}
    (3 * result).backward()
    return {
        "a gradient flows through the penalty": True,
        **{
            f"the gradient of 3 times the penalty, parameter {number}": parameter.grad
            for number, parameter in enumerate(parameters)
        },
    }


# --- early stopping -------------------------------------------------------------------------------


class Stopping:
    """The oracle, with one decision a method, so that a mistake changes one of them."""

    def __init__(self, patience: int = 5, min_delta: float = 0.0) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.best = math.inf
        self.best_step: int | None = None
        self.wait = 0
        self.steps = 0
        self.best_state: Any = None

    def step(self, loss: float | Tensor, model: nn.Module | None = None) -> bool:
        loss = float(loss)
        if self.improves(loss):
            self.best = loss
            self.best_step = self.number()
            self.wait = 0
            self.keep(model)
        else:
            self.without_improvement(loss, model)
        self.steps += 1
        return self.stops()

    def improves(self, loss: float) -> bool:
        return self.best - loss > self.min_delta

    def number(self) -> int:
        return self.steps

    def keep(self, model: nn.Module | None) -> None:
        if model is not None:
            self.best_state = copy.deepcopy(model.state_dict())

    def without_improvement(self, loss: float, model: nn.Module | None) -> None:
        self.wait += 1

    def stops(self) -> bool:
        return self.wait >= self.patience

    def restore(self, model: nn.Module) -> None:
        model.load_state_dict(self.best_state)


class KeepsTheTensor(Stopping):
    def step(self, loss: Any, model: nn.Module | None = None) -> bool:
        answer = super().step(loss, model)
        if self.best_step == self.steps - 1:
            self.best = loss
        return answer


class StopsLate(Stopping):
    def stops(self) -> bool:
        return self.wait > self.patience


class StopsEarly(Stopping):
    def stops(self) -> bool:
        return self.wait + 1 >= self.patience and self.wait > 0


class StopsOnce(Stopping):
    def stops(self) -> bool:
        return self.wait == self.patience


class Opposite(Stopping):
    def stops(self) -> bool:
        return not super().stops()


class ReturnsNothing(Stopping):
    def step(self, loss: float | Tensor, model: nn.Module | None = None) -> Any:
        super().step(loss, model)


class CountsAllTheBadSteps(Stopping):
    def improves(self, loss: float) -> bool:
        self.bad_steps = self.wait
        return super().improves(loss)

    def keep(self, model: nn.Module | None) -> None:
        super().keep(model)
        self.wait = self.bad_steps


class HigherIsBetter(Stopping):
    def improves(self, loss: float) -> bool:
        return math.isinf(self.best) or loss - self.best > self.min_delta


class ComparesWithTheLast(Stopping):
    last = math.inf

    def improves(self, loss: float) -> bool:
        better, self.last = self.last - loss > self.min_delta, loss
        return better


class EqualIsEnough(Stopping):
    def improves(self, loss: float) -> bool:
        return self.best - loss >= self.min_delta


class NanIsBetter(Stopping):
    def improves(self, loss: float) -> bool:
        return not self.best - loss <= self.min_delta


class MinDeltaIgnored(Stopping):
    def improves(self, loss: float) -> bool:
        return loss < self.best


class MinDeltaAdded(Stopping):
    def improves(self, loss: float) -> bool:
        return loss < self.best + self.min_delta


class MinDeltaRelative(Stopping):
    def improves(self, loss: float) -> bool:
        return loss < self.best * (1 - self.min_delta)


class SmallGainsMoveTheBest(Stopping):
    def without_improvement(self, loss: float, model: nn.Module | None) -> None:
        super().without_improvement(loss, model)
        self.best = min(self.best, loss)


class CountsFromOne(Stopping):
    def number(self) -> int:
        return self.steps + 1


class NoCopy(Stopping):
    def keep(self, model: nn.Module | None) -> None:
        self.best_state = model and model.state_dict()


class LastState(Stopping):
    def without_improvement(self, loss: float, model: nn.Module | None) -> None:
        super().without_improvement(loss, model)
        self.keep(model)


class FirstState(Stopping):
    def keep(self, model: nn.Module | None) -> None:
        if self.best_state is None:
            super().keep(model)


class ParametersOnly(Stopping):
    def keep(self, model: nn.Module | None) -> None:
        self.best_state = model and copy.deepcopy(dict(model.named_parameters()))

    def restore(self, model: nn.Module) -> None:
        model.load_state_dict(self.best_state, strict=False)


class HandsOutItsCopy(Stopping):
    def restore(self, model: nn.Module) -> None:
        model.load_state_dict(self.best_state, assign=True)


class RestoresNothing(Stopping):
    def restore(self, model: nn.Module) -> None:
        pass


STOPPING_MISTAKES = tuple(
    Mistake(_snake_case(wrong.__name__), message, wrong)
    for wrong, message in {
        StopsLate: "It stops one step late: after patience losses without improvement, so where "
        "wait >= patience.",
        StopsEarly: "It stops one step early: only when wait has reached patience.",
        StopsOnce: "Past its patience it goes on again: True stays right as long as nothing "
        "improves, so wait >= patience, not ==.",
        Opposite: "True means stop: here it is returned as long as training should go on.",
        ReturnsNothing: "step must return True or False.",
        CountsAllTheBadSteps: "The count of losses without improvement starts again at 0 after "
        "each improvement: only those in a row matter.",
        HigherIsBetter: "A loss is better when it is lower.",
        ComparesWithTheLast: "Compare with the best loss so far, not with the one before.",
        EqualIsEnough: "An improvement is lower by more than min_delta: by just min_delta, or "
        "equal without it, is none.",
        NanIsBetter: "nan is no improvement: ask whether the loss is lower, not whether it fails "
        "to be higher, because every comparison with nan is False.",
        MinDeltaIgnored: "min_delta has no effect: the loss must be below best - min_delta.",
        MinDeltaAdded: "min_delta has the wrong sign: the loss must be below best - min_delta.",
        MinDeltaRelative: "min_delta is a difference, not a share of the best loss: compare with "
        "best - min_delta.",
        SmallGainsMoveTheBest: "A gain too small to count must not become the best loss: small "
        "gains add up until together they exceed min_delta.",
        KeepsTheTensor: "The loss may be a tensor whose memory is used again: keep float(loss) as "
        "the best, not the tensor.",
        CountsFromOne: "Steps are counted from 0: the first loss is step 0.",
        NoCopy: "The kept state is still the model's own memory, which later steps overwrite: keep "
        "a deep copy of state_dict().",
        LastState: "The last state is kept, not the best: keep a copy only on an improvement.",
        FirstState: "The first state is kept for good: a new best replaces it.",
        ParametersOnly: "Buffers are left out, such as the running mean of batch normalization: "
        "state_dict() has both.",
        HandsOutItsCopy: "restore gives the model the kept tensors themselves, and further "
        "training then changes them: copy the numbers, as load_state_dict does.",
        RestoresNothing: "restore changes nothing: load the kept state into the model.",
    }.items()
)

STOP, IMPROVES, WEIGHTS = "when to stop", "what is an improvement", "the best weights"


def stopping_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, *losses: float, tensors: bool = False, **options: Any) -> Case:
        words = ", ".join(f"{name}={value}" for name, value in options.items())
        kind = "tensors" if tensors else "losses"
        return {
            "part": part,
            "title": f"EarlyStopping({words}), {kind} {list(losses)}",
            "losses": torch.tensor(losses, dtype=torch.float64),
            "tensors": tensors,
            "options": options,
        }

    # Eighths: their differences are exact. All different: what equality means is another part.
    random = (torch.randperm(40, generator=rng) / 8).tolist()
    falling = sorted(random[:12], reverse=True)
    nan = math.nan
    return [
        case(STOP, 2.0, 1.0, 3.0, patience=1),
        case(STOP, 2.0, 3.0, 4.0, 1.0, 5.0, 6.0, 7.0, patience=3),
        case(STOP, 4.0, 3.0, 3.5, 3.75, 3.25, 3.875, 5.0, 6.0, 7.0, 2.0, 8.0),
        case(STOP, 3.0, 4.0, 2.0, 4.0, 1.0, 2.5, 2.25, 1.5, 0.5, 0.75, patience=2),
        case(STOP, 3.0, 2.0, 5.0, 4.0, 3.5, tensors=True, patience=2),
        case(STOP, 9.0, *random, patience=4),
        case(STOP, *falling, patience=2),
        case(IMPROVES, 2.0, 2.0, 2.0, 2.0, patience=3),
        case(IMPROVES, 4.0, 3.5, 3.25, 3.5, patience=2, min_delta=0.5),
        case(IMPROVES, 4.0, 3.75, 3.5, 3.25, 3.0, 2.875, 2.5, patience=2, min_delta=0.5),
        case(IMPROVES, 8.0, 6.0, 5.0, 4.75, 4.5, patience=3, min_delta=1.0),
        case(IMPROVES, -1.0, -1.25, -2.0, -1.5, patience=2, min_delta=0.5),
        case(IMPROVES, nan, 2.0, nan, 1.0, nan, nan, patience=2),
        case(IMPROVES, nan, nan, nan, patience=2),
        case(WEIGHTS, 2.0, 1.0, 3.0, patience=5),
        case(WEIGHTS, 1.0, 2.0, 3.0, patience=5),
        case(WEIGHTS, 4.0, 3.0, 5.0, 2.0, 6.0, patience=1),
        case(WEIGHTS, 4.0, 3.0, 2.75, 2.875, 5.0, patience=9, min_delta=0.5),
        case(WEIGHTS, 2.0, nan, 1.0, nan, patience=9),
    ]


def stopping_probe(early_stopping: Any, case: Case) -> Outputs:
    if case["part"] == WEIGHTS:
        return weights_probe(early_stopping, case)
    stopping = early_stopping(**case["options"])
    # One tensor for all losses, as in a loop that reuses its memory.
    tensor = torch.zeros(())
    answers = [
        stopping.step(tensor.fill_(loss) if case["tensors"] else loss)
        for loss in case["losses"].tolist()
    ]
    return {
        "the answers of step": [None if answer is None else bool(answer) for answer in answers],
        "best": str(float(stopping.best)),
        "best_step": stopping.best_step,
        "wait": stopping.wait,
    }


def weights_probe(early_stopping: Any, case: Case) -> Outputs:
    """Give the model new numbers before each step, as training would, and restore it twice."""
    stopping, model, other = early_stopping(**case["options"]), small_model(), small_model()
    for number, loss in enumerate(case["losses"].tolist()):
        train(model, number)
        stopping.step(loss, model)
    after_step = numbers(model)
    train(model, 100)
    stopping.restore(model)
    restored = numbers(model)
    train(model, 200)
    stopping.restore(model)
    stopping.restore(other)
    return {
        "the model after the last step": after_step,
        "the model after restore": restored,
        "the model after more training and restore": numbers(model),
        "another model after restore": numbers(other),
    }


def small_model() -> nn.Module:
    """Return a model with parameters and buffers, and without random numbers."""
    return nn.BatchNorm1d(2)


@torch.no_grad()
def train(model: nn.Module, number: int) -> None:
    model.get_parameter("weight").fill_(number)
    model.get_buffer("running_mean").fill_(number)


def numbers(model: nn.Module) -> dict[str, float]:
    return {
        "a parameter": model.get_parameter("weight")[0].item(),
        "a buffer": model.get_buffer("running_mean")[0].item(),
    }


check_dropout = Check(
    module="regularization",
    exercise="dropout",
    target="dropout",
    parts={EDGES: 1, WHICH: 2, SCALE: 1, GRADIENT: 1, RANDOM: 1},
    inputs=dropout_inputs,
    probe=dropout_probe,
    oracle=torch_dropout,
    mistakes=DROPOUT_MISTAKES,
    hints=(
        "In training, multiply the input by a mask of zeros and ones of the input's shape; in "
        "evaluation, return the input.",
        "torch.empty_like(input).bernoulli_(1 - p, generator=generator) is 1 with probability "
        "1 - p, in the dtype of the input.",
        "Divide the mask by 1 - p before you multiply; with p = 1 it is all zeros, and nothing is "
        "to be divided. The gradient needs no code of its own.",
    ),
    forbidden=FORBIDDEN,
)

check_l2_penalty = Check(
    module="regularization",
    exercise="l2_penalty",
    target="l2_penalty",
    parts={"the value": 1, "the gradient": 1},
    inputs=penalty_inputs,
    probe=penalty_probe,
    oracle=right_penalty,
    mistakes=PENALTY_MISTAKES,
    hints=(
        "Square every number, add up within a parameter, then over the parameters.",
        "The gradient should be weight_decay * w: which factor in front of w ** 2 gives that?",
        "weight_decay / 2 times the sum of parameter.square().sum() over all parameters.",
    ),
)

check_early_stopping = Check(
    module="regularization",
    exercise="early_stopping",
    target="EarlyStopping",
    parts={STOP: 2, IMPROVES: 1, WEIGHTS: 2},
    inputs=stopping_inputs,
    probe=stopping_probe,
    oracle=Stopping,
    mistakes=STOPPING_MISTAKES,
    hints=(
        "One question decides everything: is the loss below best - min_delta?",
        "If it is: new best, its step, wait = 0, a copy of the state. If not: wait += 1. In both "
        "cases one more step is counted.",
        "model.state_dict() holds the model's own tensors: copy.deepcopy makes a copy of them. "
        "model.load_state_dict is the way back.",
    ),
)
