"""Checks of ``perceptron``: a linear threshold unit and Rosenblatt's learning rule."""

from typing import Any

import torch
from torch import Tensor

from course_lib.checking import Case, Check, Mistake, Outputs


class Rosenblatt:
    """The oracle, in float64 and one decision a method, so that a mistake changes one of them."""

    def __init__(self, in_features: int) -> None:
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def score(self, x: Tensor) -> Tensor:
        return (x.double() * self.weight.double()).sum(-1) + self.bias.double()

    def predict(self, x: Tensor) -> Tensor:
        return (self.score(x) > 0).long()

    def learn(self, x: Tensor, y: Tensor, prediction: Tensor) -> None:
        self.weight = self.weight + (y - prediction) * x
        self.bias = self.bias + (y - prediction)

    def epoch(self, x: Tensor, y: Tensor) -> int:
        mistakes = 0
        for x_i, y_i in zip(x, y, strict=True):
            prediction = self.predict(x_i[None])[0]
            if prediction != y_i:
                self.learn(x_i, y_i, prediction)
                mistakes += 1
        return mistakes

    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> list[int]:
        mistakes: list[int] = []
        while len(mistakes) < max_epochs and (not mistakes or mistakes[-1] > 0):
            mistakes.append(self.epoch(x, y))
        return mistakes


class BoundaryIsOne(Rosenblatt):
    def predict(self, x: Tensor) -> Tensor:
        return (self.score(x) >= 0).long()


class NoBias(Rosenblatt):
    def score(self, x: Tensor) -> Tensor:
        return super().score(x) - self.bias


class SubtractsBias(Rosenblatt):
    def score(self, x: Tensor) -> Tensor:
        return super().score(x) - 2 * self.bias


class ReturnsScores(Rosenblatt):
    def predict(self, x: Tensor) -> Tensor:
        return self.score(x).float()


class ReturnsBooleans(Rosenblatt):
    def predict(self, x: Tensor) -> Tensor:
        return self.score(x) > 0


class ReturnsFloats(Rosenblatt):
    def predict(self, x: Tensor) -> Tensor:
        return (self.score(x) > 0).float()


class ReturnsSigns(Rosenblatt):
    def predict(self, x: Tensor) -> Tensor:
        return torch.where(self.score(x) > 0, 1, -1)


class ReturnsColumn(Rosenblatt):
    def predict(self, x: Tensor) -> Tensor:
        return super().predict(x)[:, None]


class ThresholdAtHalf(Rosenblatt):
    def predict(self, x: Tensor) -> Tensor:
        return (self.score(x) > 0.5).long()


class BiasNeverLearns(Rosenblatt):
    def learn(self, x: Tensor, y: Tensor, prediction: Tensor) -> None:
        self.weight = self.weight + (y - prediction) * x


class WrongSign(Rosenblatt):
    def learn(self, x: Tensor, y: Tensor, prediction: Tensor) -> None:
        super().learn(x, prediction, y)


class AddsLabelTimesInput(Rosenblatt):
    def learn(self, x: Tensor, y: Tensor, prediction: Tensor) -> None:
        super().learn(x, y, torch.zeros_like(prediction))


class ScaledSteps(Rosenblatt):
    rate = 0.1

    def learn(self, x: Tensor, y: Tensor, prediction: Tensor) -> None:
        self.weight = self.weight + self.rate * (y - prediction) * x
        self.bias = self.bias + self.rate * (y - prediction)


class HundredthSteps(ScaledSteps):
    rate = 0.01


class HalfSteps(ScaledSteps):
    rate = 0.5


class PredictsOncePerEpoch(Rosenblatt):
    def epoch(self, x: Tensor, y: Tensor) -> int:
        predictions = self.predict(x)
        for x_i, y_i, prediction in zip(x, y, predictions, strict=True):
            self.learn(x_i, y_i, prediction)
        return int((predictions != y).sum())


class CountsAfterTheEpoch(Rosenblatt):
    def epoch(self, x: Tensor, y: Tensor) -> int:
        super().epoch(x, y)
        return int((self.predict(x) != y).sum())


class CountsErrorsWithSign(Rosenblatt):
    def epoch(self, x: Tensor, y: Tensor) -> int:
        total = 0
        for x_i, y_i in zip(x, y, strict=True):
            prediction = self.predict(x_i[None])[0]
            self.learn(x_i, y_i, prediction)
            total += int(y_i - prediction)
        return total


class NeverStopsEarly(Rosenblatt):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> list[int]:
        return [self.epoch(x, y) for _ in range(max_epochs)]


class LeavesOutTheLastZero(Rosenblatt):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> list[int]:
        return [count for count in super().fit(x, y, max_epochs) if count > 0]


class OneEpochOnly(Rosenblatt):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> list[int]:
        return super().fit(x, y, min(max_epochs, 1))


class IgnoresMaxEpochs(Rosenblatt):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> list[int]:
        return super().fit(x, y, 100)


class ForgetsBeforeTraining(Rosenblatt):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> list[int]:
        self.__init__(x.shape[1])  # type: ignore[misc]
        return super().fit(x, y, max_epochs)


class CumulativeCounts(Rosenblatt):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> list[int]:
        counts = super().fit(x, y, max_epochs)
        return [sum(counts[: epoch + 1]) for epoch in range(len(counts))]


ON_THE_BOUNDARY = Mistake(
    "boundary_is_class_1",
    "A point exactly on the boundary (w . x + b = 0) belongs to class 0: use >, not >=.",
    BoundaryIsOne,
)
NO_BIAS = Mistake(
    "no_bias",
    "The bias is missing from the weighted sum: compare w . x + b with 0, not w . x.",
    NoBias,
)

PREDICT_MISTAKES = (
    ON_THE_BOUNDARY,
    NO_BIAS,
    Mistake("subtracts_bias", "The bias is added to the sum, not subtracted.", SubtractsBias),
    Mistake("returns_scores", "Return the class, 0 or 1, not the weighted sum.", ReturnsScores),
    Mistake(
        "returns_booleans",
        "Return integers 0 and 1, not booleans: .long() turns them.",
        ReturnsBooleans,
    ),
    Mistake(
        "returns_floats", "Return integers (int64), not floats: .long() turns them.", ReturnsFloats
    ),
    Mistake("returns_signs", "The classes are 0 and 1 here, not -1 and 1.", ReturnsSigns),
    Mistake("returns_column", "Return shape (n,), one class a row, not (n, 1).", ReturnsColumn),
    Mistake(
        "threshold_at_half",
        "The threshold is 0, not 0.5: no sigmoid has been applied to the sum.",
        ThresholdAtHalf,
    ),
)

FIT_MISTAKES = (
    Mistake("bias_never_learns", "The bias must learn too: b += y - prediction.", BiasNeverLearns),
    Mistake(
        "wrong_sign",
        "The update goes the wrong way: add (y - prediction) * x, not (prediction - y) * x.",
        WrongSign,
    ),
    Mistake(
        "adds_label_times_input",
        "The update is (y - prediction) * x. With y * x a wrong 1 is never pushed down, "
        "because its label is 0.",
        AddsLabelTimesInput,
    ),
    *(
        Mistake(
            "scaled_steps",
            f"Every step is multiplied by {wrong.rate}: Rosenblatt's rule has no learning rate.",
            wrong,
        )
        for wrong in (ScaledSteps, HundredthSteps, HalfSteps)
    ),
    Mistake(
        "predicts_once_per_epoch",
        "Predict every example with the weights as they are at that moment: here all predictions "
        "of an epoch were made before its first update.",
        PredictsOncePerEpoch,
    ),
    Mistake(
        "counts_after_the_epoch",
        "Count a mistake when it is made, during the epoch: here the mistakes that are left "
        "after the epoch were counted.",
        CountsAfterTheEpoch,
    ),
    Mistake(
        "counts_errors_with_sign",
        "Count mistakes, not the sum of y - prediction: a -1 and a +1 cancel and look like none.",
        CountsErrorsWithSign,
    ),
    Mistake("never_stops_early", "Stop after the first epoch without a mistake.", NeverStopsEarly),
    Mistake(
        "leaves_out_the_last_zero",
        "The epoch without a mistake belongs in the list: it must end with 0.",
        LeavesOutTheLastZero,
    ),
    Mistake("one_epoch_only", "One pass is not enough: repeat up to max_epochs.", OneEpochOnly),
    Mistake("ignores_max_epochs", "Stop after max_epochs passes.", IgnoresMaxEpochs),
    Mistake(
        "forgets_before_training",
        "fit must start from the present weight and bias, not from zero.",
        ForgetsBeforeTraining,
    ),
    Mistake(
        "cumulative_counts",
        "The list holds the mistakes of each epoch, not their running total.",
        CumulativeCounts,
    ),
    ON_THE_BOUNDARY,
    NO_BIAS,
)


OFF_THE_BOUNDARY = 1 / 32
"""As a bias beside ``quarters`` it keeps every weighted sum away from 0."""


def quarters(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw multiples of 1/4 from -2 to 2: sums of their products are exact in any order."""
    return torch.randint(-8, 9, shape, generator=rng) / 4


def predict_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, x: Tensor, weight: Tensor, bias: float) -> Case:
        title = f"weight {weight.tolist()}, bias {bias}, x of shape {tuple(x.shape)}"
        if x.numel() <= 4:
            title = f"weight {weight.tolist()}, bias {bias}, x {x.tolist()}"
        return {"part": part, "title": title, "x": x, "weight": weight, "bias": bias}

    ones = torch.tensor([1.0, 1.0])
    corners = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    n = int(torch.randint(5, 40, (), generator=rng))
    features = int(torch.randint(3, 9, (), generator=rng))
    wide = quarters(rng, n, features)
    return [
        case("the side of the boundary", corners, ones, 0.0),
        case("the side of the boundary", torch.tensor([[0.5, 0.0]]), ones, -0.25),
        case("the side of the boundary", corners, ones, 1.75),
        case("the side of the boundary", corners, ones, 3.0),
        case("the side of the boundary", torch.tensor([[2.0**-20, 0.0]]), ones, 0.0),
        case("the side of the boundary", wide, quarters(rng, features), OFF_THE_BOUNDARY),
        case("the side of the boundary", wide[:0], quarters(rng, features), OFF_THE_BOUNDARY),
        case("a point exactly on the boundary", torch.tensor([[1.0, 1.0]]), ones, -2.0),
        case("a point exactly on the boundary", wide, torch.zeros(features), 0.0),
    ]


def predict_probe(perceptron: Any, case: Case) -> Outputs:
    unit = perceptron(case["weight"].numel())
    unit.weight, unit.bias = case["weight"], torch.tensor(case["bias"])
    return {
        "predict(x)": unit.predict(case["x"]),
        "x, which must not change": case["x"],
        "the weight, which predict must not change": unit.weight,
        "the bias, which predict must not change": unit.bias,
    }


def fit_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, title: str, x: Tensor, y: Tensor, **more: Any) -> Case:
        title = f"{title}, fit(x, y, max_epochs={more.get('max_epochs', 100)})"
        return {"part": part, "title": title, "x": x, "y": y, **more}

    one_example = torch.tensor([[2.0, 1.0]]), torch.tensor([1])
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    logical_and, xor = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 0])
    features = int(torch.randint(2, 6, (), generator=rng))
    x = quarters(rng, 30, features)
    teacher = quarters(rng, features)
    y = (x @ teacher + OFF_THE_BOUNDARY > 0).long()
    noisy = torch.randint(0, 2, (30,), generator=rng)
    start = {"weight": -teacher, "bias": 5 + OFF_THE_BOUNDARY}
    return [
        case("one epoch of the rule", "x [[2, 1]], y [1]", *one_example, max_epochs=1),
        case("one epoch of the rule", "logical and", corners, logical_and, max_epochs=1),
        case("one epoch of the rule", "30 random points", x, noisy.float(), max_epochs=1),
        case("training until no mistake is left", "x [[2, 1]], y [1]", *one_example),
        case("training until no mistake is left", "logical and", corners, logical_and),
        case("training until no mistake is left", "30 separable points", x, y),
        case("stopping at max_epochs", "exclusive or", corners, xor, max_epochs=2),
        case("stopping at max_epochs", "exclusive or", corners, xor, max_epochs=7),
        case("stopping at max_epochs", "30 random points", x, noisy, max_epochs=5),
        case(
            "starting from the present weights", "a unit with weights", x, y, **start, max_epochs=1
        ),
    ]


def fit_probe(perceptron: Any, case: Case) -> Outputs:
    unit = perceptron(case["x"].shape[1])
    if "weight" in case:
        unit.weight, unit.bias = case["weight"], torch.tensor(case["bias"])
    mistakes = unit.fit(case["x"], case["y"], max_epochs=case.get("max_epochs", 100))
    return {
        "the mistakes per epoch": [int(count) for count in mistakes],
        "the weight after training": unit.weight.float(),
        "the bias after training": unit.bias.float().reshape(()),
        "x, which must not change": case["x"],
        "y, which must not change": case["y"],
    }


check_predict = Check(
    module="perceptron",
    exercise="predict",
    target="Perceptron",
    parts={"the side of the boundary": 2, "a point exactly on the boundary": 1},
    inputs=predict_inputs,
    probe=predict_probe,
    oracle=Rosenblatt,
    mistakes=PREDICT_MISTAKES,
    hints=(
        "The unit answers one question: on which side of the line w . x + b = 0 does x lie?",
        "x has one example a row, so x @ weight is the weighted sum of every row at once.",
        "A comparison gives booleans; .long() turns False and True into 0 and 1.",
    ),
)

check_fit = Check(
    module="perceptron",
    exercise="fit",
    target="Perceptron",
    parts={
        "one epoch of the rule": 3,
        "training until no mistake is left": 2,
        "stopping at max_epochs": 1,
        "starting from the present weights": 1,
    },
    inputs=fit_inputs,
    probe=fit_probe,
    oracle=Rosenblatt,
    mistakes=FIT_MISTAKES,
    hints=(
        "Two loops: epochs outside, examples inside. Predict one example with the weights as "
        "they are now, compare, and change the weights before the next example.",
        "With labels 0 and 1, y - prediction is 0 when right, 1 when the unit should have said 1, "
        "and -1 when it should have said 0. That is the factor of the update.",
        "Append the number of mistakes after each epoch, and leave the outer loop when it is 0.",
    ),
)
