"""The reference perceptron against NumPy and its theorem; wrong ones that no catalogue lists."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from course_lib.checks.perceptron import check_fit, check_predict
from course_lib.perceptron import Perceptron

XOR = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 1, 1, 0])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw inputs, labels, weight and bias in quarters, whose sums of products are exact."""
    n, features = draw(st.integers(0, 12)), draw(st.integers(1, 5))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    x, weight, bias = (
        torch.randint(-8, 9, shape, generator=rng) / 4 for shape in ((n, features), (features,), ())
    )
    return x, torch.randint(0, 2, (n,), generator=rng), weight, bias


def trained(weight: Tensor, bias: Tensor) -> Perceptron:
    unit = Perceptron(len(weight))
    unit.weight, unit.bias = weight.clone(), bias.clone()
    return unit


def numpy_fit(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, max_epochs: int) -> tuple:
    w, b, history = weight.double().numpy(), bias.item(), []
    for _ in range(max_epochs):
        wrong = 0
        for row, label in zip(x.double().numpy(), y.numpy()):
            error = label - (1 if row @ w + b > 0 else 0)
            w, b, wrong = w + error * row, b + error, wrong + (error != 0)
        history.append(wrong)
        if wrong == 0:
            break
    return history, w, b


# --- the reference --------------------------------------------------------------------------------


def test_a_new_unit_has_zero_weights_and_answers_0() -> None:
    unit = Perceptron(3)
    assert torch.equal(unit.weight, torch.zeros(3))
    assert torch.equal(unit.bias, torch.zeros(()))
    assert torch.equal(unit.predict(torch.randn(4, 3)), torch.zeros(4, dtype=torch.int64))


@given(problems())
def test_predict_agrees_with_numpy(problem: tuple) -> None:
    x, _, weight, bias = problem
    expected = (x.numpy() @ weight.numpy() + bias.numpy() > 0).astype(np.int64)
    assert torch.equal(trained(weight, bias).predict(x), torch.from_numpy(expected))


@given(problems(), st.integers(0, 20), st.sampled_from([torch.int64, torch.int32, torch.float32]))
def test_fit_agrees_with_numpy(problem: tuple, max_epochs: int, label_dtype: torch.dtype) -> None:
    x, y, weight, bias = problem
    unit = trained(weight, bias)
    history = unit.fit(x, y.to(label_dtype), max_epochs)
    expected, w, b = numpy_fit(x, y, weight, bias, max_epochs)
    assert history == expected
    assert all(type(count) is int for count in history)
    assert np.array_equal(unit.weight.numpy(), w)
    assert unit.bias.item() == b
    assert unit.weight.dtype == unit.bias.dtype == torch.float32


@given(problems())
def test_inputs_are_not_changed(problem: tuple) -> None:
    x, y, weight, bias = problem
    before = x.clone(), y.clone()
    unit = trained(weight, bias)
    unit.fit(x, y, max_epochs=3)
    unit.predict(x)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@given(problems(), st.integers(1, 5), st.integers(1, 5))
def test_training_in_two_parts_is_training_at_once(problem: tuple, first: int, second: int) -> None:
    x, y, weight, bias = problem
    at_once, in_parts = trained(weight, bias), trained(weight, bias)
    history = at_once.fit(x, y, first + second)
    parts = in_parts.fit(x, y, first)
    if parts[-1] > 0:
        parts += in_parts.fit(x, y, second)
    assert parts == history
    assert torch.equal(in_parts.weight, at_once.weight)


@pytest.mark.parametrize("label_dtype", [torch.int32, torch.bool, torch.float64])
def test_labels_of_any_dtype_give_the_same_unit(label_dtype: torch.dtype) -> None:
    x = torch.tensor([[0.5, 1.0], [-1.0, 0.25], [2.0, -0.5]])
    y = torch.tensor([1, 0, 1])
    usual, other = Perceptron(2), Perceptron(2)
    assert other.fit(x, y.to(label_dtype)) == usual.fit(x, y)
    assert torch.equal(other.weight, usual.weight)
    assert other.weight.dtype == other.bias.dtype == torch.float32


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_separable_data_are_learnt_within_the_novikoff_bound(seed: int, features: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    plane = torch.nn.functional.normalize(torch.randn(features + 1, generator=rng), dim=0)
    points = torch.cat([torch.randn(60, features, generator=rng), torch.ones(60, 1)], dim=1)
    points = points[(points @ plane).abs() > 0.2]
    margin = (points @ plane).abs().min()
    bound = (points.norm(dim=1).max() / margin) ** 2

    unit = Perceptron(features)
    x, y = points[:, :-1], (points @ plane > 0).long()
    history = unit.fit(x, y, max_epochs=int(bound) + 1)
    assert history[-1] == 0
    assert sum(history) <= bound
    assert torch.equal(unit.predict(x), y)


def test_exclusive_or_is_never_learnt() -> None:
    history = Perceptron(2).fit(*XOR, max_epochs=200)
    assert len(history) == 200
    assert min(history) > 0


def test_no_examples_are_no_mistakes() -> None:
    unit = Perceptron(2)
    assert unit.fit(torch.empty(0, 2), torch.empty(0)) == [0]
    assert unit.predict(torch.empty(0, 2)).shape == (0,)
    assert unit.predict(torch.empty(0, 2)).dtype == torch.int64


# --- wrong solutions ------------------------------------------------------------------------------


class Int32(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return super().predict(x).int()


class ListOfClasses(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return super().predict(x).tolist()


class NumpyArray(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return super().predict(x).numpy()


class ReturnsNothing(Perceptron):
    def predict(self, x: Tensor) -> Any:
        super().predict(x)


class Squeezed(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return super().predict(x).squeeze()


class FailsOnTheEmptyBatch(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return super().predict(x - 0 * x.max())


class WeighsTheInputInPlace(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return (x.mul_(self.weight).sum(1) + self.bias > 0).long()


class FirstRowOnly(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return super().predict(x)[:1].repeat(len(x))


class LastOfManyIsWrong(Perceptron):
    def predict(self, x: Tensor) -> Any:
        classes = super().predict(x)
        return torch.cat([classes[:4], 1 - classes[4:]])


class WeightMadeAUnitVector(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return (x @ self.weight / self.weight.norm() + self.bias > 0).long()


class TwoFeaturesOnly(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return (x[:, 0] * self.weight[0] + x[:, 1] * self.weight[1] + self.bias > 0).long()


class SmallThreshold(Perceptron):
    def predict(self, x: Tensor) -> Any:
        return (x @ self.weight + self.bias > 0.05).long()


class PredictingForgets(Perceptron):
    def predict(self, x: Tensor) -> Any:
        classes = super().predict(x)
        self.weight, self.bias = torch.zeros_like(self.weight), torch.zeros(())
        return classes


class PredictingDriftsInPlace(Perceptron):
    def predict(self, x: Tensor) -> Any:
        classes = super().predict(x)
        self.weight += 0.25
        return classes


@pytest.mark.parametrize(
    "wrong",
    [
        Int32,
        ListOfClasses,
        NumpyArray,
        ReturnsNothing,
        Squeezed,
        FailsOnTheEmptyBatch,
        WeighsTheInputInPlace,
        FirstRowOnly,
        LastOfManyIsWrong,
        WeightMadeAUnitVector,
        TwoFeaturesOnly,
        SmallThreshold,
        PredictingForgets,
        PredictingDriftsInPlace,
    ],
)
def test_a_wrong_predict_outside_the_catalogue_loses_points(wrong: type, assert_rejected) -> None:
    assert_rejected(check_predict, wrong)


class Shuffles(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        order = torch.arange(len(x)).roll(1)
        return super().fit(x[order], y[order], max_epochs)


class LastToFirst(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        return super().fit(x.flip(0), y.flip(0), max_epochs)


class StopsWhenItGetsNoBetter(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        counts: list[int] = []
        while len(counts) < max_epochs and (len(counts) < 2 or counts[-1] < counts[-2]):
            counts += super().fit(x, y, 1)
        return counts


class Pocket(Perceptron):
    """Keeps the best weights of all epochs."""

    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        counts: list[int] = []
        best = self.weight, self.bias
        while len(counts) < max_epochs and 0 not in counts:
            before = self.weight, self.bias
            counts += super().fit(x, y, 1)
            best = before if counts[-1] == min(counts) else best
        self.weight, self.bias = best
        return counts


class ReturnsRates(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        return [count / len(x) for count in super().fit(x, y, max_epochs)]


class ReturnsOnlyTheLastCount(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        return super().fit(x, y, max_epochs)[-1]


class ReturnsItself(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        super().fit(x, y, max_epochs)
        return self


class LabelsChangedInPlace(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        counts = super().fit(x, y, max_epochs)
        y.mul_(2).sub_(1)
        return counts


class InputsCentredInPlace(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        counts = super().fit(x.clone(), y, max_epochs)
        x -= x.mean(0)
        return counts


class ForgetsTheBiasOnly(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        self.bias = torch.zeros(())
        return super().fit(x, y, max_epochs)


class BiasLearnsTwice(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        counts = []
        for _ in range(max_epochs):
            counts.append(0)
            for row, label in zip(x, y):
                error = label - self.predict(row[None])[0]
                self.weight, self.bias = self.weight + error * row, self.bias + 2 * error
                counts[-1] += int(error != 0)
            if counts[-1] == 0:
                break
        return counts


class OneExampleTooFew(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        return super().fit(x[1:], y[1:], max_epochs)


class AnEpochTooMany(Perceptron):
    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> Any:
        return super().fit(x, y, max_epochs + 1)


@pytest.mark.parametrize(
    "wrong",
    [
        Shuffles,
        LastToFirst,
        StopsWhenItGetsNoBetter,
        Pocket,
        ReturnsRates,
        ReturnsOnlyTheLastCount,
        ReturnsItself,
        LabelsChangedInPlace,
        InputsCentredInPlace,
        ForgetsTheBiasOnly,
        BiasLearnsTwice,
        OneExampleTooFew,
        AnEpochTooMany,
    ],
)
def test_a_wrong_fit_outside_the_catalogue_loses_points(wrong: type, assert_rejected) -> None:
    assert_rejected(check_fit, wrong)
