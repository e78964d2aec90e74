"""Checks of ``losses``: three losses and their gradients, with torch's as the oracle."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checking import Case, Check, Mistake, Outputs

REDUCTIONS = "mean, sum and none"
LARGE = "logits as large as 10,000"


# --- what all of them share -----------------------------------------------------------------------


def case(rng: torch.Generator, part: str, input: Tensor, target: Tensor, **options: Any) -> Case:
    """Return a case: the two tensors, the options, a cotangent for the backward pass."""
    told = [f"{name}={_told(value)}" for name, value in options.items()]
    cotangent = numbers(rng, max(1, input.numel()))
    cotangent[0] = 1  # so that the gradient of a single loss stands in the message as it is
    return {
        "part": part,
        "title": ", ".join([_told(input), f"target {_told(target)}", *told]),
        "input": input,
        "target": target,
        "options": options,
        "cotangent": cotangent,
    }


def _told(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    text = f"of shape {tuple(value.shape)}"
    if 1 <= value.numel() <= 4:
        text = str(_rounded(value.tolist()))
    return text if value.dtype in (torch.float32, torch.int64) else f"{text}, {value.dtype}"


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def numbers(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw numbers of either sign, from 0.25 to 2.75 in size."""
    sign = torch.randint(0, 2, shape, generator=rng) * 2 - 1
    return sign * (0.25 + 2.5 * torch.rand(shape, generator=rng))


def probe(function: Callable, case: Case) -> Outputs:
    """Run a loss, and its backward pass to the input and to a target that can have a gradient."""
    given = {"input": case["input"], "target": case["target"]}
    leaves = {
        name: value.requires_grad_() for name, value in given.items() if value.is_floating_point()
    }
    # A change in place of a leaf would stop the code; that of a copy shows in the copy.
    handed = {name: leaves[name].clone() if name in leaves else given[name] for name in given}
    loss = function(handed["input"], handed["target"], **case["options"])
    return {
        "the loss": loss,
        **_gradients(loss, leaves, case["cotangent"]),
        "input, which must not change": handed["input"],
        "target, which must not change": handed["target"],
    }


def _gradients(loss: Any, leaves: dict[str, Tensor], cotangent: Tensor) -> Outputs:
    """Return the gradient of every leaf.

    None in low precision, where each rounding shows, and none of an empty input, which a right
    solution may leave out of the graph.
    """
    if leaves["input"].dtype == torch.bfloat16 or not leaves["input"].numel():
        return {}
    gradients: Any = [None] * len(leaves)
    if isinstance(loss, Tensor) and loss.requires_grad and loss.numel() <= cotangent.numel():
        cotangent = cotangent[: loss.numel()].reshape(loss.shape).to(loss.dtype)
        gradients = torch.autograd.grad(loss, list(leaves.values()), cotangent, allow_unused=True)
    return {f"the gradient of {name}": grad for name, grad in zip(leaves, gradients, strict=True)}


Reduction = Callable[[Tensor, str], Tensor]


def right_reduction(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses.clone()
    return losses.mean() if reduction == "mean" else losses.sum()


def reducing(losses: Callable, reduce: Reduction = right_reduction) -> Callable:
    """Return a loss with a reduction, given one that has a value for each element."""

    def loss(input: Tensor, target: Tensor, reduction: str = "mean", **options: Any) -> Tensor:
        return reduce(losses(input, target, **options), reduction)

    return loss


def sum_for_mean(losses: Tensor, reduction: str) -> Tensor:
    return right_reduction(losses, "sum" if reduction == "mean" else reduction)


def mean_over_the_batch(losses: Tensor, reduction: str) -> Tensor:
    batch = losses.shape[0] if losses.dim() else 1
    return losses.sum() / batch if reduction == "mean" else right_reduction(losses, reduction)


def common_mistakes(losses: Callable) -> tuple[Mistake, ...]:
    """Return the mistakes that can be made with any loss, made with its value for each element."""
    loss = reducing(losses)

    def detached(input: Tensor, target: Tensor, **options: Any) -> Tensor:
        return loss(input, target, **options).detach()

    def in_place(input: Tensor, target: Tensor, **options: Any) -> Tensor:
        output = loss(input.clone(), target, **options)
        input.data.sub_(1)
        return output

    def always_float32(input: Tensor, target: Tensor, **options: Any) -> Tensor:
        return loss(input, target, **options).float()

    def constant_target(input: Tensor, target: Tensor, **options: Any) -> Tensor:
        return loss(input, target.detach(), **options)

    return (
        Mistake(
            "ignores_reduction",
            "The mean is returned whatever reduction says.",
            reducing(losses, lambda losses, reduction: losses.mean()),
        ),
        Mistake(
            "never_reduces",
            "There is a loss for each element whatever reduction says: by default return their "
            "mean, a single number.",
            reducing(losses, lambda losses, reduction: losses.clone()),
        ),
        Mistake(
            "sum_for_mean",
            "By default the losses are averaged: here they are summed.",
            reducing(losses, sum_for_mean),
        ),
        Mistake(
            "mean_over_the_batch",
            "The mean is taken over all losses: here their sum is divided by the batch size only.",
            reducing(losses, mean_over_the_batch),
        ),
        Mistake(
            "no_gradient",
            "The loss is right, but autograd cannot follow: compute with torch functions on the "
            "tensors themselves, without .detach(), .data, .item(), NumPy or torch.no_grad().",
            detached,
        ),
        Mistake(
            "no_gradient_of_the_target",
            "The target may need a gradient too: use it as it is, without .detach().",
            constant_target,
        ),
        Mistake(
            "changes_its_input",
            "The input is overwritten: leave it as it is and compute new tensors (no functions "
            "that end in _, no input -= ...).",
            in_place,
        ),
        Mistake(
            "always_float32",
            "The loss must have the dtype of the input: here it is always float32.",
            always_float32,
        ),
    )


def softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


# --- mse_loss -------------------------------------------------------------------------------------


def squares(input: Tensor, target: Tensor) -> Tensor:
    return (input - target) ** 2


MSE_MISTAKES = (
    Mistake(
        "half",
        "The factor 1/2 of some textbooks does not belong here.",
        reducing(lambda input, target: squares(input, target) / 2),
    ),
    Mistake(
        "absolute",
        "The errors are squared: here their absolute values were taken.",
        reducing(lambda input, target: (input - target).abs()),
    ),
    Mistake(
        "not_squared",
        "The errors are squared: here positive and negative ones cancel.",
        reducing(lambda input, target: input - target),
    ),
    Mistake(
        "root",
        "No root is taken at the end: this is the root mean squared error.",
        reducing(
            squares,
            lambda losses, reduction: (
                losses.sqrt() if reduction == "none" else right_reduction(losses, reduction).sqrt()
            ),
        ),
    ),
    Mistake(
        "square_of_mean",
        "First square every error, then average: here errors cancel before they are squared.",
        reducing(
            lambda input, target: input - target,
            lambda losses, reduction: right_reduction(losses, reduction) ** 2,
        ),
    ),
    Mistake(
        "difference_of_squares",
        "Square the difference, not the two numbers: (input - target)**2.",
        reducing(lambda input, target: input**2 - target**2),
    ),
    Mistake(
        "added",
        "The error is input - target: here the two are added.",
        reducing(lambda input, target: (input + target) ** 2),
    ),
    *common_mistakes(squares),
)


def mse_inputs(rng: torch.Generator) -> list[Case]:
    values, forms = "values and gradients", "shapes and dtypes"
    n = int(torch.randint(4, 8, (), generator=rng))

    def drawn(part: str, *shape: int, dtype: Any = torch.float32, **options: Any) -> Case:
        # An error of at least 1, of either sign, on either side of 0.
        error = numbers(rng, *shape) + 0.75 * numbers(rng, *shape).sign()
        target = numbers(rng, *shape)
        return case(rng, part, (target + error).to(dtype), target.to(dtype), **options)

    three, zeros = torch.tensor([3.0, -1.0, 0.5]), torch.tensor([1.0, 2.0, 0.0])
    columns = [numbers(rng, 4, n).T for _ in range(2)]
    return [
        case(rng, values, torch.tensor([3.0]), torch.tensor([1.0])),
        case(rng, values, three, zeros),
        drawn(values, n, 3),
        case(rng, REDUCTIONS, three, zeros, reduction="sum"),
        case(rng, REDUCTIONS, three, zeros, reduction="none"),
        drawn(REDUCTIONS, n, 3, reduction="mean"),
        drawn(REDUCTIONS, n, 3, reduction="sum"),
        drawn(REDUCTIONS, 2, n, 3, reduction="none"),
        case(rng, forms, torch.tensor(3.0), torch.tensor(0.5)),
        drawn(forms, n, dtype=torch.float64),
        drawn(forms, n, dtype=torch.bfloat16),
        case(rng, forms, *columns),
        drawn(forms, 0, 3),
        drawn(forms, 0, 3, reduction="sum"),
    ]


check_mse_loss = Check(
    module="losses",
    exercise="mse_loss",
    target="mse_loss",
    parts={"values and gradients": 1, REDUCTIONS: 1, "shapes and dtypes": 1},
    inputs=mse_inputs,
    probe=probe,
    oracle=F.mse_loss,
    mistakes=MSE_MISTAKES,
    hints=(
        "One loss for each element first; then make one number of them, or not.",
        "Write reduced once, for all three losses: a tensor has .mean() and .sum().",
        "reduced((input - target) ** 2, reduction).",
    ),
    forbidden=(
        *("torch.nn.functional.mse_loss", "torch.nn.MSELoss"),
        *("torch.nn.functional.huber_loss", "torch.nn.HuberLoss"),
        *("torch.nn.functional.smooth_l1_loss", "torch.nn.SmoothL1Loss"),
        *("torch.nn.functional.gaussian_nll_loss", "torch.nn.GaussianNLLLoss"),
    ),
)


# --- binary_cross_entropy_with_logits -------------------------------------------------------------


def binary(input: Tensor, target: Tensor, *, pos_weight: Tensor | float | None = None) -> Tensor:
    weight = 1.0 if pos_weight is None else pos_weight
    return weight * target * softplus(-input) + (1 - target) * softplus(input)


def binary_of(p: Tensor, target: Tensor, pos_weight: Any = None, least: float = 0.0) -> Tensor:
    """Return the loss by its definition, given the probability of yes."""
    weight = 1.0 if pos_weight is None else pos_weight
    yes, no = torch.log(p + least), torch.log(1 - p + least)
    return -(weight * target * yes + (1 - target) * no)


def overflowing_sigmoid(input: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-input))


def binary_with_epsilon(least: float) -> Callable:
    return reducing(
        lambda input, target, pos_weight=None: binary_of(
            torch.exp(-softplus(-input)), target, pos_weight, least
        )
    )


def binary_clamped_logs(input: Tensor, target: Tensor, *, pos_weight: Any = None) -> Tensor:
    weight = 1.0 if pos_weight is None else pos_weight
    yes, no = (-softplus(-input)).clamp(min=-100), (-softplus(input)).clamp(min=-100)
    return -(weight * target * yes + (1 - target) * no)


def binary_with_kink(positive: Callable[[Tensor], Tensor]) -> Callable:
    """Return the known stable formula, with its ``max(x, 0)`` as given."""

    def losses(input: Tensor, target: Tensor, *, pos_weight: Any = None) -> Tensor:
        extra = 0.0 if pos_weight is None else (pos_weight - 1) * target * softplus(-input)
        return positive(input) - target * input + torch.log1p(torch.exp(-input.abs())) + extra

    return reducing(losses)


def divided_by_weights(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    reduction, pos_weight = options.get("reduction", "mean"), options.get("pos_weight")
    losses = binary(input, target, pos_weight=pos_weight)
    if reduction != "mean" or pos_weight is None:
        return right_reduction(losses, reduction)
    return losses.sum() / (pos_weight * target + (1 - target)).sum()


AT_0 = (
    "At a logit of exactly 0, where a model with zero weights starts, the gradient is sigmoid(0) - "
    "t, that is 1/2 - t. clamp, relu and abs have a kink there; torch.logaddexp has none. "
)

BINARY_MISTAKES = (
    Mistake(
        "logarithm_of_rounded",
        "For large logits the sigmoid rounds to 0 or 1, and log(0) is infinite: take the logarithm "
        "on paper first, -log(sigmoid(x)) = log(1 + exp(-x)), and compute that safely.",
        reducing(
            lambda input, target, pos_weight=None: binary_of(
                overflowing_sigmoid(input), target, pos_weight
            )
        ),
    ),
    *(
        Mistake(
            "epsilon",
            f"{least:.0e} inside the logarithm hides the overflow: a very wrong prediction gets a "
            "loss that is far too small and no gradient. Take the logarithm on paper first, "
            "-log(sigmoid(x)) = log(1 + exp(-x)), and compute that safely.",
            binary_with_epsilon(least),
        )
        for least in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7)
    ),
    Mistake(
        "clamped_logarithm",
        "The logarithm is cut off at -100: a very wrong prediction gets a loss that is too small "
        "and no gradient.",
        reducing(binary_clamped_logs),
    ),
    Mistake(
        "slope_1_at_0",
        AT_0 + "Yours is 1 - t: max(x, 0) acts as if its slope were 1 there.",
        binary_with_kink(lambda x: x.clamp(min=0)),
    ),
    Mistake(
        "slope_0_at_0",
        AT_0 + "Yours is -t: max(x, 0) acts as if its slope were 0 there.",
        binary_with_kink(lambda x: x * (x > 0)),
    ),
    Mistake(
        "no_sigmoid",
        "The input holds logits, not probabilities: put the sigmoid into the formula.",
        reducing(lambda input, target, pos_weight=None: binary_of(input, target, pos_weight)),
    ),
    Mistake(
        "sigmoid_twice",
        "The sigmoid is applied twice: once is enough.",
        reducing(
            lambda input, target, pos_weight=None: binary(
                torch.exp(-softplus(-input)), target, pos_weight=pos_weight
            )
        ),
    ),
    Mistake(
        "only_yes",
        "The term of the no is missing: (1 - t) * log(1 - p).",
        reducing(
            lambda input, target, pos_weight=1.0: pos_weight * target * softplus(-input) + 0 * input
        ),
    ),
    Mistake(
        "swapped",
        "Yes and no are swapped: t goes with log(p), 1 - t with log(1 - p).",
        reducing(
            lambda input, target, pos_weight=None: binary(-input, target, pos_weight=pos_weight)
        ),
    ),
    Mistake(
        "negative",
        "The sign is wrong: a loss is never negative, because logarithms of probabilities are.",
        reducing(
            lambda input, target, pos_weight=None: -binary(input, target, pos_weight=pos_weight)
        ),
    ),
    Mistake(
        "squared_error",
        "This is the squared error of the probability: take the logarithm of p and of 1 - p.",
        reducing(
            lambda input, target, pos_weight=None: squares(torch.exp(-softplus(-input)), target)
        ),
    ),
    Mistake(
        "ignores_pos_weight",
        "pos_weight has no effect: it multiplies the term of the yes.",
        reducing(lambda input, target, pos_weight=None: binary(input, target)),
    ),
    Mistake(
        "weights_both",
        "pos_weight multiplies the term of the yes only: here it multiplies both.",
        reducing(lambda input, target, pos_weight=1.0: pos_weight * binary(input, target)),
    ),
    Mistake(
        "weights_the_no",
        "pos_weight multiplies the term of the yes: here it multiplies the other.",
        reducing(
            lambda input, target, pos_weight=1.0: binary(-input, 1 - target, pos_weight=pos_weight)
        ),
    ),
    Mistake(
        "mean_of_weights",
        "The mean divides by the number of elements, not by the sum of their weights.",
        divided_by_weights,
    ),
    *common_mistakes(binary),
)


def binary_inputs(rng: torch.Generator) -> list[Case]:
    values, weighted, at_zero = "values and gradients", "pos_weight", "a logit of exactly 0"
    n = int(torch.randint(4, 8, (), generator=rng))

    def drawn(part: str, *shape: int, dtype: Any = torch.float32, **options: Any) -> Case:
        target = 0.1 + 0.3 * torch.rand(shape, generator=rng)
        return case(rng, part, numbers(rng, *shape).to(dtype), target.to(dtype), **options)

    two, yes_no = torch.tensor([1.5, -0.5]), torch.tensor([1.0, 0.0])
    big = torch.tensor([1e4, -1e4])
    columns = numbers(rng, 4, n).T, torch.rand(4, n, generator=rng).T
    return [
        case(rng, values, torch.tensor([1.5]), torch.tensor([1.0])),
        case(rng, values, two, yes_no),
        drawn(values, n, 3),
        case(rng, values, torch.tensor(-1.5), torch.tensor(0.25)),
        drawn(values, n, dtype=torch.float64),
        drawn(values, n, dtype=torch.bfloat16),
        case(rng, values, *columns),
        drawn(values, 0, 3),
        case(rng, REDUCTIONS, two, yes_no, reduction="sum"),
        case(rng, REDUCTIONS, two, yes_no, reduction="none"),
        drawn(REDUCTIONS, n, 3, reduction="mean"),
        drawn(REDUCTIONS, 2, n, 3, reduction="none"),
        drawn(REDUCTIONS, 0, 3, reduction="sum"),
        case(rng, weighted, two, yes_no, pos_weight=torch.tensor(3.0)),
        case(rng, weighted, two, 1 - yes_no, pos_weight=torch.tensor([3.0]), reduction="sum"),
        drawn(weighted, n, 3, pos_weight=torch.tensor([0.5, 3.0, 2.0])),
        drawn(weighted, 3, n, pos_weight=torch.tensor([[0.5], [3.0], [2.0]]), reduction="none"),
        case(rng, at_zero, torch.tensor([0.0]), torch.tensor([1.0])),
        case(rng, at_zero, torch.zeros(3), torch.tensor([1.0, 0.0, 0.25]), reduction="sum"),
        case(rng, LARGE, big[:1], yes_no[:1]),
        case(rng, LARGE, big[:1], yes_no[1:]),
        case(rng, LARGE, big[1:], yes_no[:1]),
        case(rng, LARGE, big[1:], yes_no[1:]),
        case(rng, LARGE, big, torch.tensor([0.25, 0.75]), pos_weight=torch.tensor(3.0)),
    ]


LOGARITHMS = (
    *("torch.nn.functional.logsigmoid", "torch.nn.LogSigmoid"),
    *("torch.nn.functional.soft_margin_loss", "torch.nn.SoftMarginLoss"),
    *("torch.nn.functional.log_softmax", "torch.nn.LogSoftmax", "torch.log_softmax"),
    *("torch.Tensor.log_softmax", "torch.special.log_softmax"),
    *("torch.nn.functional.cross_entropy", "torch.nn.CrossEntropyLoss"),
    *("torch.nn.functional.linear_cross_entropy", "torch.nn.LinearCrossEntropyLoss"),
)
"""Shortcuts to the logarithm of a probability, which both cross-entropies are about."""

check_binary_cross_entropy = Check(
    module="losses",
    exercise="binary_cross_entropy",
    target="binary_cross_entropy_with_logits",
    parts={
        "values and gradients": 1,
        REDUCTIONS: 1,
        "pos_weight": 1,
        "a logit of exactly 0": 1,
        LARGE: 1,
    },
    inputs=binary_inputs,
    probe=probe,
    oracle=F.binary_cross_entropy_with_logits,
    mistakes=BINARY_MISTAKES,
    hints=(
        "Write down -log(sigmoid(x)) and simplify before you program: which function is left, and "
        "what is it for large x of either sign?",
        "-log(p) = log(1 + exp(-x)) and -log(1 - p) = log(1 + exp(x)). Each is the logarithm of a "
        "sum of two exponentials, exp(0) + exp(-x): torch.logaddexp computes such a thing safely.",
        "yes = torch.logaddexp(zero, -input), no = torch.logaddexp(zero, input), with zero = "
        "torch.zeros_like(input); the loss is target * yes + (1 - target) * no.",
    ),
    forbidden=(
        *("torch.nn.functional.binary_cross_entropy_with_logits", "torch.nn.BCEWithLogitsLoss"),
        *("torch.binary_cross_entropy_with_logits", "torch.nn.functional.binary_cross_entropy"),
        *("torch.nn.BCELoss", "torch.nn.functional.multilabel_soft_margin_loss"),
        "torch.nn.MultiLabelSoftMarginLoss",
        *LOGARITHMS,
    ),
)


# --- cross_entropy --------------------------------------------------------------------------------


class Formula:
    """The loss with one idea in each method, so that a mistake changes one of them."""

    def __call__(self, input: Tensor, target: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        dim = 0 if input.dim() == 1 else 1
        log_p = self.log_p(input, dim)
        given = self.of_probabilities if target.shape == input.shape else self.of_indices
        losses = given(log_p, target, dim)
        if label_smoothing:
            losses = self.smoothed(losses, log_p, target, dim, label_smoothing)
        return losses

    def log_p(self, input: Tensor, dim: int) -> Tensor:
        shifted = input - input.amax(dim, keepdim=True)
        return shifted - shifted.exp().sum(dim, keepdim=True).log()

    def of_indices(self, log_p: Tensor, target: Tensor, dim: int) -> Tensor:
        return -log_p.gather(dim, target.unsqueeze(dim)).squeeze(dim)

    def of_probabilities(self, log_p: Tensor, target: Tensor, dim: int) -> Tensor:
        return -(target * log_p).sum(dim)

    def smoothed(
        self, losses: Tensor, log_p: Tensor, target: Tensor, dim: int, smoothing: float
    ) -> Tensor:
        return (1 - smoothing) * losses - smoothing * log_p.mean(dim)


class LogOfOverflow(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        exponentials = torch.exp(input)
        return (exponentials / exponentials.sum(dim, keepdim=True)).log()


class OverflowingSum(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return input - torch.exp(input).sum(dim, keepdim=True).log()


class LogOfSoftmax(Formula):
    least = 0.0

    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return (super().log_p(input, dim).exp() + self.least).log()


def with_epsilon(epsilon: float) -> Formula:
    formula = LogOfSoftmax()
    formula.least = epsilon
    return formula


class LargestOfAll(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        shifted = input - input.flatten().amax() if input.numel() else input
        return shifted - shifted.exp().sum(dim, keepdim=True).log()


class NoSoftmax(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return input.log()


class NoLogarithm(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return super().log_p(input, dim).exp()


class SoftmaxTwice(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return super().log_p(super().log_p(input, dim).exp(), dim)


class LogitsThemselves(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return 1 * input


class NormalisesTheBatch(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return super().log_p(input, 0) if len(input) else input


class NormalisesTheLast(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return super().log_p(input, -1)


class EachAlone(Formula):
    def log_p(self, input: Tensor, dim: int) -> Tensor:
        return -softplus(-input)


class Negative(Formula):
    def __call__(self, input: Tensor, target: Tensor, **options: Any) -> Tensor:
        return -super().__call__(input, target, **options)


class AllColumns(Formula):
    def of_indices(self, log_p: Tensor, target: Tensor, dim: int) -> Tensor:
        return -log_p[:, target]


class TimesOneHot(Formula):
    def of_indices(self, log_p: Tensor, target: Tensor, dim: int) -> Tensor:
        one_hot = torch.zeros_like(log_p).scatter(dim, target.unsqueeze(dim), 1)
        return self.of_probabilities(log_p, one_hot, dim)


class ClassesFromOne(Formula):
    def of_indices(self, log_p: Tensor, target: Tensor, dim: int) -> Tensor:
        return super().of_indices(log_p.roll(1, dim), target, dim)


class MostProbable(Formula):
    def of_probabilities(self, log_p: Tensor, target: Tensor, dim: int) -> Tensor:
        return self.of_indices(log_p, target.argmax(dim), dim)


class MeanOverClasses(Formula):
    def of_probabilities(self, log_p: Tensor, target: Tensor, dim: int) -> Tensor:
        return -(target * log_p).mean(dim)


class Divergence(Formula):
    def of_probabilities(self, log_p: Tensor, target: Tensor, dim: int) -> Tensor:
        return (target * (target.log() - log_p)).sum(dim)


class NoSmoothing(Formula):
    def smoothed(
        self, losses: Tensor, log_p: Tensor, target: Tensor, dim: int, smoothing: float
    ) -> Tensor:
        return losses


class SmoothsTheOthers(Formula):
    def smoothed(
        self, losses: Tensor, log_p: Tensor, target: Tensor, dim: int, smoothing: float
    ) -> Tensor:
        classes = log_p.shape[dim]
        others = -log_p.sum(dim) - losses
        return (1 - smoothing) * losses + smoothing / (classes - 1) * others


class SmoothingOnTop(Formula):
    def smoothed(
        self, losses: Tensor, log_p: Tensor, target: Tensor, dim: int, smoothing: float
    ) -> Tensor:
        return losses - smoothing * log_p.mean(dim)


class SmoothingNotShared(Formula):
    def smoothed(
        self, losses: Tensor, log_p: Tensor, target: Tensor, dim: int, smoothing: float
    ) -> Tensor:
        return (1 - smoothing) * losses - smoothing * log_p.sum(dim)


class SmoothsIndicesOnly(Formula):
    def smoothed(
        self, losses: Tensor, log_p: Tensor, target: Tensor, dim: int, smoothing: float
    ) -> Tensor:
        if target.is_floating_point():
            return losses
        return super().smoothed(losses, log_p, target, dim, smoothing)


class OnlyShrinks(Formula):
    def smoothed(
        self, losses: Tensor, log_p: Tensor, target: Tensor, dim: int, smoothing: float
    ) -> Tensor:
        return (1 - smoothing) * losses


def mean_over_everything(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    reduction = options.pop("reduction", "mean")
    losses = Formula()(input, target, **options)
    if reduction != "mean" or target.shape != input.shape:
        return right_reduction(losses, reduction)
    return losses.sum() / input.numel()


ON_PAPER = (
    "Simplify on paper first: log(p_c) = x_c - log(sum(exp(x))), and take the largest logit out of "
    "the sum before exp."
)
SAFE_SUM = "subtract the largest logit first and add it back after, or use torch.logsumexp."

CROSS_ENTROPY_MISTAKES = (
    Mistake(
        "overflow",
        f"For large logits exp overflows, and inf / inf is nan. {ON_PAPER}",
        reducing(LogOfOverflow()),
    ),
    Mistake(
        "overflowing_sum",
        f"For large logits exp overflows, and the logarithm of the sum is infinite: {SAFE_SUM}",
        reducing(OverflowingSum()),
    ),
    Mistake(
        "logarithm_of_rounded",
        f"For logits far apart the softmax rounds to 0, and log(0) is infinite. {ON_PAPER}",
        reducing(LogOfSoftmax()),
    ),
    *(
        Mistake(
            "epsilon",
            f"{least:.0e} inside the logarithm hides the overflow: a very wrong prediction gets a "
            f"loss that is far too small and no gradient. {ON_PAPER}",
            reducing(with_epsilon(least)),
        )
        for least in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7)
    ),
    Mistake(
        "largest_of_all",
        "Subtract the largest logit of each position, not of the whole tensor: in a row far "
        "below it all exponentials are 0.",
        reducing(LargestOfAll()),
    ),
    Mistake(
        "no_softmax",
        "The input holds logits, not probabilities: softmax comes before the logarithm.",
        reducing(NoSoftmax()),
    ),
    Mistake(
        "no_logarithm",
        "Take the logarithm of the probability: here it is missing.",
        reducing(NoLogarithm()),
    ),
    Mistake(
        "softmax_twice", "The softmax is applied twice: once is enough.", reducing(SoftmaxTwice())
    ),
    Mistake(
        "logits_themselves",
        "The logits are not logarithms of probabilities yet: subtract log(sum(exp(x))).",
        reducing(LogitsThemselves()),
    ),
    Mistake(
        "each_class_alone",
        "This is the binary loss, one class at a time: the classes share one softmax.",
        reducing(EachAlone()),
    ),
    Mistake(
        "normalises_the_batch",
        "The probabilities of one example add up to 1, along the classes (dimension 1): here "
        "those of one class do, along the batch.",
        reducing(NormalisesTheBatch()),
    ),
    Mistake(
        "normalises_the_last_dimension",
        "The classes lie along dimension 1, not along the last one.",
        reducing(NormalisesTheLast()),
    ),
    Mistake(
        "negative",
        "The sign is wrong: a loss is never negative, because logarithms of probabilities are.",
        reducing(Negative()),
    ),
    Mistake(
        "all_columns",
        "x[:, target] takes all targets from every row, n * n numbers: each row has one target "
        "(gather, or x[range(n), target]).",
        reducing(AllColumns()),
    ),
    Mistake(
        "times_one_hot",
        "0 times -inf is nan: pick the logarithm of the right class (gather), instead of "
        "multiplying all of them by 0 and 1.",
        reducing(TimesOneHot()),
    ),
    Mistake("classes_from_1", "Classes are counted from 0.", reducing(ClassesFromOne())),
    Mistake(
        "most_probable_only",
        "Every class counts with its probability: here only the most probable one does.",
        reducing(MostProbable()),
    ),
    Mistake(
        "mean_over_classes",
        "Sum over the classes, which are weighted by their probabilities already: here they are "
        "averaged.",
        reducing(MeanOverClasses()),
    ),
    Mistake(
        "divergence",
        "This is the Kullback-Leibler divergence: leave out the logarithm of the target.",
        reducing(Divergence()),
    ),
    Mistake(
        "mean_over_everything",
        "The mean divides by the number of positions, not by that times the number of classes.",
        mean_over_everything,
    ),
    Mistake("no_smoothing", "label_smoothing has no effect.", reducing(NoSmoothing())),
    Mistake(
        "smooths_the_others",
        "Smoothing gives label_smoothing / C to all C classes, the right one too: here the other "
        "C - 1 share it.",
        reducing(SmoothsTheOthers()),
    ),
    Mistake(
        "smoothing_on_top",
        "The right class keeps only its share 1 - label_smoothing: that factor is missing.",
        reducing(SmoothingOnTop()),
    ),
    Mistake(
        "smoothing_not_shared",
        "label_smoothing is shared by the C classes: divide it by C.",
        reducing(SmoothingNotShared()),
    ),
    Mistake(
        "smooths_indices_only",
        "Class probabilities are smoothed too.",
        reducing(SmoothsIndicesOnly()),
    ),
    Mistake(
        "only_shrinks",
        "What smoothing takes from the right class goes to all classes: that part is missing.",
        reducing(OnlyShrinks()),
    ),
    *common_mistakes(Formula()),
)


def cross_entropy_inputs(rng: torch.Generator) -> list[Case]:
    indices, further, smoothing = "class indices", "further dimensions", "label smoothing"
    probabilities, impossible = "class probabilities", "an impossible class (logit -inf)"
    n, c = (int(k) for k in torch.randint(3, 6, (2,), generator=rng))
    c += n == c  # a wrong axis must differ in size

    def classes(count: int, *shape: int) -> Tensor:
        return torch.randint(0, count, shape, generator=rng)

    def weights(*shape: int) -> Tensor:
        drawn = 0.2 + torch.rand(shape, generator=rng)
        return drawn / drawn.sum(0 if len(shape) == 1 else 1, keepdim=True)

    rows = torch.tensor([[0.5, 2.0], [1.0, -1.0]])
    diagonal = torch.tensor([0, 1])
    infinity = float("inf")
    logits = numbers(rng, n, c)
    apart = torch.tensor([[1e4, 9000.0, -1e4], [-1e4, -9000.0, -8000.0]])
    masked = torch.tensor([[1.0, -infinity, 0.5], [-infinity, 2.0, -infinity]])
    return [
        case(rng, indices, rows[:1], diagonal[:1]),
        case(rng, indices, rows, diagonal),
        case(rng, indices, logits, classes(c, n)),
        case(rng, indices, logits.double(), classes(c, n)),
        case(rng, indices, logits.bfloat16(), classes(c, n)),
        case(rng, indices, numbers(rng, c, n).T, classes(c, n)),
        case(rng, indices, numbers(rng, 0, c), classes(c, 0)),
        case(rng, REDUCTIONS, rows, diagonal, reduction="sum"),
        case(rng, REDUCTIONS, rows, diagonal, reduction="none"),
        case(rng, REDUCTIONS, logits, classes(c, n), reduction="mean"),
        case(rng, REDUCTIONS, logits, classes(c, n), reduction="none"),
        case(rng, REDUCTIONS, numbers(rng, 0, c), classes(c, 0), reduction="sum"),
        case(rng, further, rows[0], torch.tensor(0)),
        case(rng, further, numbers(rng, 2, c, n), classes(c, 2, n)),
        case(rng, further, numbers(rng, n, c, 2, 7), classes(c, n, 2, 7)),
        case(rng, further, numbers(rng, n, c, 2), classes(c, n, 2), reduction="none"),
        case(rng, further, numbers(rng, n, c, 2), weights(n, c, 2), reduction="sum"),
        case(rng, probabilities, rows[:1], torch.tensor([[0.25, 0.75]])),
        case(rng, probabilities, logits, weights(n, c)),
        case(rng, probabilities, numbers(rng, c), weights(c)),
        case(rng, probabilities, numbers(rng, 2, c, n), weights(2, c, n)),
        case(rng, probabilities, logits, weights(n, c), reduction="none"),
        case(rng, smoothing, numbers(rng, 1, 3), classes(3, 1), label_smoothing=0.3),
        case(rng, smoothing, logits, classes(c, n), label_smoothing=0.5),
        case(rng, smoothing, logits, classes(c, n), label_smoothing=1.0),
        case(rng, smoothing, numbers(rng, 2, c, n), classes(c, 2, n), label_smoothing=0.25),
        case(rng, smoothing, logits, weights(n, c), label_smoothing=0.4, reduction="none"),
        case(rng, LARGE, torch.tensor([[1e4, -1e4]]), diagonal[:1]),
        case(rng, LARGE, torch.tensor([[1e4, -1e4]]), diagonal[1:]),
        case(rng, LARGE, torch.tensor([[-1e4, -8000.0]]), diagonal[1:]),
        case(rng, LARGE, apart, torch.tensor([1, 0]), reduction="none"),
        case(rng, LARGE, apart, torch.full((2, 3), 0.25), reduction="none"),
        case(rng, impossible, masked[:1], torch.tensor([0])),
        case(rng, impossible, masked, torch.tensor([2, 1]), reduction="none"),
    ]


check_cross_entropy = Check(
    module="losses",
    exercise="cross_entropy",
    target="cross_entropy",
    parts={
        "class indices": 1,
        REDUCTIONS: 1,
        "further dimensions": 1,
        "class probabilities": 1,
        "label smoothing": 1,
        LARGE: 1,
        "an impossible class (logit -inf)": 1,
    },
    inputs=cross_entropy_inputs,
    probe=probe,
    oracle=F.cross_entropy,
    mistakes=CROSS_ENTROPY_MISTAKES,
    hints=(
        "Two steps: the logarithms of all probabilities, log(p_c) = x_c - log(sum(exp(x))), "
        "computed safely along the classes; then, for each position, the one of its target.",
        "log_p.gather(1, target.unsqueeze(1)).squeeze(1) picks one number for each position, "
        "whatever dimensions follow; for probabilities multiply and sum along the classes.",
        "Smoothing mixes two losses you have: (1 - s) times the usual one, and s times the mean "
        "of -log_p along the classes.",
    ),
    forbidden=(
        *("torch.nn.functional.nll_loss", "torch.nn.NLLLoss", "torch.nn.NLLLoss2d"),
        *("torch.nn.functional.kl_div", "torch.nn.KLDivLoss"),
        *("torch.nn.functional.multilabel_soft_margin_loss", "torch.nn.MultiLabelSoftMarginLoss"),
        *LOGARITHMS,
    ),
)
