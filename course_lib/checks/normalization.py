"""Checks of ``normalization``: four norms, with torch's as the oracle."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = (
    *(
        f"torch.{name}"
        for name in (
            "batch_norm",
            "batch_norm_elemt",
            "batch_norm_stats",
            "cudnn_batch_norm",
            "group_norm",
            "instance_norm",
            "layer_norm",
            "miopen_batch_norm",
            "native_batch_norm",
            "native_group_norm",
            "native_layer_norm",
            "rms_norm",
            "_batch_norm_impl_index",
            "_fused_rms_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
        )
    ),
    *(
        f"torch.nn.functional.{name}"
        for name in ("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm")
    ),
    *(
        f"torch.nn.{name}"
        for name in (
            "BatchNorm1d",
            "BatchNorm2d",
            "BatchNorm3d",
            "GroupNorm",
            "InstanceNorm1d",
            "InstanceNorm2d",
            "InstanceNorm3d",
            "LayerNorm",
            "LazyBatchNorm1d",
            "LazyBatchNorm2d",
            "LazyBatchNorm3d",
            "LazyInstanceNorm1d",
            "LazyInstanceNorm2d",
            "LazyInstanceNorm3d",
            "RMSNorm",
            "SyncBatchNorm",
            "modules.batchnorm",
            "modules.instancenorm",
            "modules.normalization",
        )
    ),
    "torch._decomp",
    "torch._refs",
)

Averaged = list[int]


class Norm:
    """What every norm shares, one formula in each method, so that a mistake changes one of them."""

    def standardized(self, x: Tensor, averaged: Averaged, eps: float) -> Tensor:
        mean = self.mean(x, averaged)
        return self.scaled(x, mean, self.denominator(self.variance(x, mean, averaged), eps))

    def widened(self, input: Tensor) -> Tensor:
        return input.to(torch.promote_types(input.dtype, torch.float32))

    def entering(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return x

    def mean(self, x: Tensor, averaged: Averaged) -> Tensor:
        return x.mean(averaged, keepdim=True)

    def variance(self, x: Tensor, mean: Tensor, averaged: Averaged) -> Tensor:
        return (x - mean).square().mean(averaged, keepdim=True)

    def denominator(self, variance: Tensor, eps: float) -> Tensor:
        return (variance + eps).sqrt()

    def scaled(self, x: Tensor, mean: Tensor, denominator: Tensor) -> Tensor:
        return (x - mean) / denominator

    def affine(self, output: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        output = output if weight is None else output * self.aligned(weight, output)
        return output if bias is None else output + self.aligned(bias, output)

    def aligned(self, parameter: Tensor, output: Tensor) -> Tensor:
        raise NotImplementedError

    def rounded(self, output: Tensor, input: Tensor) -> Tensor:
        return output.to(input.dtype)


def batch_norm_in_float64(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return torch's, but rounded once: its kernels for float32 and less lose digits on the way."""
    mean, var, scale, shift = (
        None if tensor is None else tensor.to(torch.float64, copy=True)
        for tensor in (running_mean, running_var, weight, bias)
    )
    output = F.batch_norm(input.double(), mean, var, scale, shift, training, momentum, eps)
    for running, moved in ((running_mean, mean), (running_var, var)):
        if running is not None and moved is not None:
            running.copy_(moved)
    return output.to(input.dtype)


def per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    return parameter.reshape([-1, *[1] * (x.dim() - 2)])


class BatchNorm(Norm):
    def __call__(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        x = self.entering(self.widened(input), weight, bias)
        if self.keeps_statistics(x, running_mean, training):
            self.keep(x, running_mean, running_var, momentum)
        if self.uses_batch(running_mean, training):
            output = self.standardized(x, self.averaged(x), eps)
        else:
            assert running_mean is not None
            assert running_var is not None
            mean = per_channel(running_mean, x)
            variance = per_channel(self.read(running_var), x)
            output = self.scaled(x, mean, self.denominator(variance, eps))
        return self.rounded(self.affine(output, weight, bias), input)

    def averaged(self, x: Tensor) -> Averaged:
        return [0, *range(2, x.dim())]

    def read(self, running_var: Tensor) -> Tensor:
        return self.widened(running_var)

    def uses_batch(self, running_mean: Tensor | None, training: bool) -> bool:
        return training

    def keeps_statistics(self, x: Tensor, running_mean: Tensor | None, training: bool) -> bool:
        return training and running_mean is not None and x.numel() > 0

    @torch.no_grad()
    def keep(self, x: Tensor, running_mean: Any, running_var: Any, momentum: float) -> None:
        averaged = [0, *range(2, x.dim())]
        self.move(running_mean, x.mean(averaged), momentum)
        self.move(running_var, self.kept_variance(x, averaged), momentum)

    def kept_variance(self, x: Tensor, averaged: Averaged) -> Tensor:
        return x.var(averaged)

    def move(self, running: Tensor, batch: Tensor, momentum: float) -> None:
        running.mul_(1 - momentum).add_(momentum * batch)

    def aligned(self, parameter: Tensor, output: Tensor) -> Tensor:
        return per_channel(parameter, output)


class LayerNorm(Norm):
    def __call__(
        self,
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        x = self.entering(self.widened(input), weight, bias)
        output = self.standardized(x, self.averaged(x, len(normalized_shape)), eps)
        return self.rounded(self.affine(output, weight, bias), input)

    def averaged(self, x: Tensor, count: int) -> Averaged:
        return list(range(-count, 0))

    def aligned(self, parameter: Tensor, output: Tensor) -> Tensor:
        return parameter


class RMSNorm(LayerNorm):
    def __call__(  # type: ignore[override]
        self,
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        x = self.widened(input)
        return super().__call__(
            input, normalized_shape, weight, None, self.default_eps(x) if eps is None else eps
        )

    def default_eps(self, x: Tensor) -> float:
        return torch.finfo(x.dtype).eps

    def mean(self, x: Tensor, averaged: Averaged) -> Tensor:
        return x.new_zeros(())


class GroupNorm(Norm):
    def __call__(
        self,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        x = self.entering(self.widened(input), weight, bias)
        groups = self.split(x, num_groups)
        output = self.join(self.standardized(groups, self.averaged(groups), eps))
        return self.rounded(self.affine(output, weight, bias), input)

    def split(self, x: Tensor, num_groups: int) -> Tensor:
        return x.unflatten(1, (num_groups, x.shape[1] // num_groups))

    def join(self, groups: Tensor) -> Tensor:
        return groups.flatten(1, 2)

    def averaged(self, groups: Tensor) -> Averaged:
        return list(range(2, groups.dim()))

    def aligned(self, parameter: Tensor, output: Tensor) -> Tensor:
        return per_channel(parameter, output)


# --- mistakes that several norms share ------------------------------------------------------------


class UnbiasedVariance(Norm):
    def variance(self, x: Tensor, mean: Tensor, averaged: Averaged) -> Tensor:
        return x.var(averaged, keepdim=True)


class VarianceByDifference(Norm):
    def variance(self, x: Tensor, mean: Tensor, averaged: Averaged) -> Tensor:
        return x.square().mean(averaged, keepdim=True) - mean.square()


class MeanNotSubtracted(Norm):
    def scaled(self, x: Tensor, mean: Tensor, denominator: Tensor) -> Tensor:
        return x / denominator


class EpsOutsideRoot(Norm):
    def denominator(self, variance: Tensor, eps: float) -> Tensor:
        return variance.sqrt() + eps


class NoEps(Norm):
    def denominator(self, variance: Tensor, eps: float) -> Tensor:
        return variance.sqrt()


class FixedEps(Norm):
    def denominator(self, variance: Tensor, eps: float) -> Tensor:
        return (variance + 1e-5).sqrt()


class LargerOfTheTwo(Norm):
    def denominator(self, variance: Tensor, eps: float) -> Tensor:
        return variance.clamp(min=eps).sqrt()


class NoRoot(Norm):
    def denominator(self, variance: Tensor, eps: float) -> Tensor:
        return variance + eps


class WeightIgnored(Norm):
    def affine(self, output: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return super().affine(output, None, bias)


class BiasIgnored(Norm):
    def affine(self, output: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return super().affine(output, weight, None)


class AffineIgnored(Norm):
    def affine(self, output: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return output


class BiasBeforeWeight(Norm):
    def affine(self, output: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return super().affine(super().affine(output, None, bias), weight, None)


class OneAddedToWeight(Norm):
    def affine(self, output: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return super().affine(output, None if weight is None else 1 + weight, bias)


class AffineFirst(Norm):
    def entering(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return super().affine(x, weight, bias)

    def affine(self, output: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return output


class WrongAxis(Norm):
    def aligned(self, parameter: Tensor, output: Tensor) -> Tensor:
        if super().aligned(parameter, output).dim() > parameter.dim():
            return parameter
        return parameter.T if parameter.dim() > 1 else parameter[:, None]


class DetachedStatistics(Norm):
    def mean(self, x: Tensor, averaged: Averaged) -> Tensor:
        return super().mean(x, averaged).detach()

    def variance(self, x: Tensor, mean: Tensor, averaged: Averaged) -> Tensor:
        return super().variance(x, mean, averaged).detach()


class DetachedMean(Norm):
    def mean(self, x: Tensor, averaged: Averaged) -> Tensor:
        return super().mean(x, averaged).detach()


class DetachedVariance(Norm):
    def variance(self, x: Tensor, mean: Tensor, averaged: Averaged) -> Tensor:
        return super().variance(x, mean, averaged).detach()


class DetachedInput(Norm):
    def widened(self, input: Tensor) -> Tensor:
        return super().widened(input).detach()


class ComputesInHalf(Norm):
    def widened(self, input: Tensor) -> Tensor:
        return input


class AlwaysFloat32(Norm):
    def widened(self, input: Tensor) -> Tensor:
        return input.float()


class StaysFloat32(Norm):
    def rounded(self, output: Tensor, input: Tensor) -> Tensor:
        return output


class ChangesInput(Norm):
    def scaled(self, x: Tensor, mean: Tensor, denominator: Tensor) -> Tensor:
        return x.sub_(mean).div_(denominator)


SCALE_MISTAKES = {
    EpsOutsideRoot: "eps stands under the root: sqrt({0} + eps), not sqrt({0}) + eps.",
    NoEps: "eps is missing: where all numbers are {1}, this divides 0 by 0. Divide by "
    "sqrt({0} + eps).",
    LargerOfTheTwo: "eps is added to the {0}; it is not the least value that counts.",
    NoRoot: "The root is missing: divide by sqrt({0} + eps), not by {0} + eps.",
    ChangesInput: "The input was changed: x -= ... and x /= ... write into the caller's tensor. "
    "Make new ones (x - ..., x / ...).",
    ComputesInHalf: "float16 and bfloat16 are too coarse to compute in, and squares overflow: "
    "turn the input to float32 first, and the result back at the end.",
    AlwaysFloat32: "A float64 input must be computed in float64: here it went through float32.",
    StaysFloat32: "The result must have the input's dtype: turn it back at the end.",
    DetachedInput: "No gradient reaches the input: .detach(), .data, .item(), .numpy() or "
    "torch.tensor(...) has cut the graph.",
    WeightIgnored: "The weight is ignored: multiply the normalised numbers by it.",
    AffineFirst: "Normalise first, then apply the weight: here the input was multiplied by it.",
    OneAddedToWeight: "Multiply by the weight, not by 1 + weight.",
}
CENTRING_MISTAKES = {
    UnbiasedVariance: "Divide by the variance with n: yours was divided by n - 1. "
    "x.var(...) needs correction=0.",
    MeanNotSubtracted: "Subtract the mean before you divide.",
    VarianceByDifference: "The mean of the squares minus the square of the mean loses all digits "
    "where the mean is large: average (x - mean)**2 instead.",
    FixedEps: "eps is fixed at 1e-5: use the argument.",
    AffineIgnored: "Both weight and bias are ignored: multiply by the one, then add the other.",
    BiasIgnored: "The bias is ignored: add it after the multiplication by the weight.",
    BiasBeforeWeight: "Multiply by the weight first, then add the bias: here the bias was "
    "multiplied too.",
    DetachedStatistics: "The values are right and the gradient is wrong: the mean and the "
    "variance depend on the input, so they must not be detached or computed under no_grad.",
    DetachedMean: "The values are right and the gradient is wrong: the mean depends on the input, "
    "so it must not be detached or computed under no_grad.",
    DetachedVariance: "The values are right and the gradient is wrong: the variance depends on "
    "the input, so it must not be detached or computed under no_grad.",
}


def made_with(
    formula: type[Norm], mistakes: dict[type[Norm], str], *words: str
) -> tuple[Mistake, ...]:
    """Return the mistakes, each made with one formula, and their sentences with its words."""
    return tuple(
        Mistake(
            _snake_case(mistake.__name__),
            message.format(*words),
            type(mistake.__name__, (mistake, formula), {})(),
        )
        for mistake, message in mistakes.items()
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


# --- the mistakes of one norm ---------------------------------------------------------------------


class StatisticsPerPosition(BatchNorm):
    def averaged(self, x: Tensor) -> Averaged:
        return [0]


class StatisticsPerSample(BatchNorm):
    def averaged(self, x: Tensor) -> Averaged:
        return list(range(1, x.dim()))


class StatisticsPerSampleAndChannel(BatchNorm):
    def averaged(self, x: Tensor) -> Averaged:
        return list(range(2, x.dim())) or [0]


class StatisticsOfEverything(BatchNorm):
    def averaged(self, x: Tensor) -> Averaged:
        return list(range(x.dim()))


class AlwaysTraining(BatchNorm):
    def uses_batch(self, running_mean: Tensor | None, training: bool) -> bool:
        return True


class AlwaysRunning(BatchNorm):
    def uses_batch(self, running_mean: Tensor | None, training: bool) -> bool:
        return running_mean is None


class RunningVarianceInHalf(BatchNorm):
    def read(self, running_var: Tensor) -> Tensor:
        return running_var


class UpdatesInEvaluation(BatchNorm):
    def keeps_statistics(self, x: Tensor, running_mean: Tensor | None, training: bool) -> bool:
        return running_mean is not None and x[:, 0].numel() > 1


class NeverUpdates(BatchNorm):
    def keeps_statistics(self, x: Tensor, running_mean: Tensor | None, training: bool) -> bool:
        return False


class EmptyBatchCounts(BatchNorm):
    def keeps_statistics(self, x: Tensor, running_mean: Tensor | None, training: bool) -> bool:
        return training and running_mean is not None


class OnlyMeanKept(BatchNorm):
    def keep(self, x: Tensor, running_mean: Any, running_var: Any, momentum: float) -> None:
        super().keep(x, running_mean, running_var.clone(), momentum)


class GraphKept(BatchNorm):
    keep = BatchNorm.keep.__wrapped__  # type: ignore[attr-defined]


class BiasedVarianceKept(BatchNorm):
    def kept_variance(self, x: Tensor, averaged: Averaged) -> Tensor:
        return x.var(averaged, correction=0)


class CorrectedByBatchSize(BatchNorm):
    def kept_variance(self, x: Tensor, averaged: Averaged) -> Tensor:
        return x.var(averaged, correction=0) * len(x) / (len(x) - 1)


class DeviationKept(BatchNorm):
    def kept_variance(self, x: Tensor, averaged: Averaged) -> Tensor:
        return x.std(averaged)


class MomentumReversed(BatchNorm):
    def move(self, running: Tensor, batch: Tensor, momentum: float) -> None:
        super().move(running, batch, 1 - momentum)


class FixedMomentum(BatchNorm):
    def move(self, running: Tensor, batch: Tensor, momentum: float) -> None:
        super().move(running, batch, 0.1)


class PastNotFaded(BatchNorm):
    def move(self, running: Tensor, batch: Tensor, momentum: float) -> None:
        running.add_(momentum * batch)


class LastBatchOnly(BatchNorm):
    def move(self, running: Tensor, batch: Tensor, momentum: float) -> None:
        super().move(running, batch, 1.0)


class LastDimensionOnly(LayerNorm):
    def averaged(self, x: Tensor, count: int) -> Averaged:
        return [-1]


class AllButTheFirst(LayerNorm):
    def averaged(self, x: Tensor, count: int) -> Averaged:
        return list(range(1, x.dim()))


class OverTheBatch(LayerNorm):
    def averaged(self, x: Tensor, count: int) -> Averaged:
        return [0]


class OverEverything(LayerNorm):
    def averaged(self, x: Tensor, count: int) -> Averaged:
        return list(range(x.dim()))


class SubtractsMean(RMSNorm):
    def mean(self, x: Tensor, averaged: Averaged) -> Tensor:
        return x.mean(averaged, keepdim=True)


class LengthNotMean(RMSNorm):
    def variance(self, x: Tensor, mean: Tensor, averaged: Averaged) -> Tensor:
        return x.square().sum(averaged, keepdim=True)


class MeanOfMagnitudes(RMSNorm):
    def variance(self, x: Tensor, mean: Tensor, averaged: Averaged) -> Tensor:
        return x.abs().mean(averaged, keepdim=True).square()


class DetachedMeanSquare(RMSNorm):
    def variance(self, x: Tensor, mean: Tensor, averaged: Averaged) -> Tensor:
        return super().variance(x, mean, averaged).detach()


class DefaultEpsAlways(RMSNorm):
    def denominator(self, variance: Tensor, eps: float) -> Tensor:
        return super().denominator(variance, self.default_eps(variance))


def with_default_eps(eps: float) -> RMSNorm:
    """Return a norm with another default than torch's."""
    formula = RMSNorm()
    formula.default_eps = lambda x: eps  # type: ignore[method-assign]
    return formula


class Interleaved(GroupNorm):
    def split(self, x: Tensor, num_groups: int) -> Tensor:
        return x.unflatten(1, (x.shape[1] // num_groups, num_groups)).transpose(1, 2)

    def join(self, groups: Tensor) -> Tensor:
        return super().join(groups.transpose(1, 2))


class GroupsOfThatSize(GroupNorm):
    def split(self, x: Tensor, num_groups: int) -> Tensor:
        return super().split(x, x.shape[1] // num_groups)


class OneGroup(GroupNorm):
    def split(self, x: Tensor, num_groups: int) -> Tensor:
        return super().split(x, 1)


class EveryChannelAlone(GroupNorm):
    def split(self, x: Tensor, num_groups: int) -> Tensor:
        return super().split(x, x.shape[1])


class PositionsApart(GroupNorm):
    def averaged(self, groups: Tensor) -> Averaged:
        return [2]


class SamplesTogether(GroupNorm):
    def averaged(self, groups: Tensor) -> Averaged:
        return [0, *range(2, groups.dim())]


BATCH_NORM_MISTAKES = (
    *made_with(BatchNorm, SCALE_MISTAKES, "variance", "equal"),
    *made_with(BatchNorm, CENTRING_MISTAKES),
    *made_with(
        BatchNorm,
        {
            WrongAxis: "weight and bias belong to the channels, dimension 1: bring them to the "
            "shape (C, 1, ...), else they line up with the last dimension.",
            StatisticsPerPosition: "Each channel has one mean and one variance: average over the "
            "positions too, not only over the batch.",
            StatisticsPerSample: "This normalises each sample on its own, as layer_norm does: "
            "average over the batch and the positions, separately for each channel.",
            StatisticsPerSampleAndChannel: "Average over the batch too, not only over the "
            "positions of one sample.",
            StatisticsOfEverything: "Each channel has its own mean and variance: here one mean "
            "was taken over all channels.",
            AlwaysTraining: "In evaluation use running_mean and running_var, not the statistics "
            "of the batch.",
            AlwaysRunning: "In training use the mean and variance of the batch, not the running "
            "ones.",
            RunningVarianceInHalf: "A float16 running_var must be turned to float32 before eps is "
            "added: a small eps is 0 in float16.",
            UpdatesInEvaluation: "Evaluation must not move the running statistics.",
            NeverUpdates: "The running statistics did not move. Change them in place "
            "(running_mean += ...): running_mean = ... only gives a local name to a new tensor.",
            EmptyBatchCounts: "An empty batch has no mean (0 / 0): leave the running statistics "
            "as they are.",
            OnlyMeanKept: "running_var must move too, not only running_mean.",
            GraphKept: "The running statistics carry a graph (requires_grad is True): move them "
            "under torch.no_grad().",
            BiasedVarianceKept: "running_var keeps the unbiased variance, divided by n - 1; only "
            "the normalisation divides by n.",
            CorrectedByBatchSize: "n counts all values of a channel, batch times positions: the "
            "correction n / (n - 1) was made with the batch size alone.",
            DeviationKept: "running_var keeps the variance, not its root.",
            MomentumReversed: "momentum is the share of the new batch: "
            "(1 - momentum) * running + momentum * batch.",
            FixedMomentum: "momentum is fixed at 0.1: use the argument.",
            PastNotFaded: "The past must fade: multiply the running statistics by 1 - momentum "
            "before you add.",
            LastBatchOnly: "The running statistics are just those of the last batch: only the "
            "share momentum of it counts.",
        },
    ),
)
AXIS_MISTAKES: dict[type[Norm], str] = {
    LastDimensionOnly: "Average over all the dimensions in normalized_shape together, not only "
    "over the last one.",
    AllButTheFirst: "Average over the last len(normalized_shape) dimensions only: here all but "
    "the first were taken.",
    OverTheBatch: "This averages over the batch: each sample is normalised on its own, over its "
    "last dimensions.",
    OverEverything: "Each sample has its own statistics: here one was taken over everything.",
}
LAYER_NORM_MISTAKES = (
    *made_with(LayerNorm, SCALE_MISTAKES, "variance", "equal"),
    *made_with(LayerNorm, CENTRING_MISTAKES),
    *made_with(LayerNorm, AXIS_MISTAKES),
    *made_with(
        LayerNorm,
        {
            WrongAxis: "weight and bias line up with the last dimensions, element by element: no "
            "reshaping or transposing is needed.",
        },
    ),
)
RMS_NORM_MISTAKES = (
    *made_with(RMSNorm, SCALE_MISTAKES, "mean square", "0"),
    *made_with(RMSNorm, AXIS_MISTAKES),
    *made_with(
        RMSNorm,
        {
            WrongAxis: "weight lines up with the last dimensions, element by element: no "
            "reshaping or transposing is needed.",
            SubtractsMean: "Nothing is subtracted here: RMSNorm leaves the mean where it is.",
            LengthNotMean: "Divide by the root of the mean square, not of the sum of squares: the "
            "length of x is sqrt(n) times too large.",
            MeanOfMagnitudes: "Square, average, then take the root: the mean of |x| is another "
            "number.",
            DetachedMeanSquare: "The values are right and the gradient is wrong: the mean square "
            "depends on the input, so it must not be detached or computed under no_grad.",
            DefaultEpsAlways: "The argument eps is ignored: its default was used.",
        },
    ),
    Mistake(
        "no_default_eps",
        "Without the argument eps is not 0: None means torch.finfo(dtype).eps.",
        with_default_eps(0.0),
    ),
    *(
        Mistake(
            "other_default_eps",
            f"The default of eps was {eps:.2g}: None means torch.finfo(dtype).eps.",
            with_default_eps(eps),
        )
        for eps in (1e-5, 1e-6, 1e-8, torch.finfo(torch.float32).eps)
    ),
)
GROUP_NORM_MISTAKES = (
    *made_with(GroupNorm, SCALE_MISTAKES, "variance", "equal"),
    *made_with(GroupNorm, CENTRING_MISTAKES),
    *made_with(
        GroupNorm,
        {
            WrongAxis: "weight and bias belong to the channels, dimension 1: bring them to the "
            "shape (C, 1, ...), else they line up with the last dimension.",
            Interleaved: "A group is made of neighbours: channels 0, 1, 2, ... are the first "
            "group. Here every num_groups-th channel went into the same group.",
            GroupsOfThatSize: "num_groups is the number of groups, not the number of channels in "
            "each.",
            OneGroup: "num_groups is ignored: all channels were one group.",
            EveryChannelAlone: "The channels of a group share one mean and one variance: here "
            "each channel had its own.",
            PositionsApart: "Average over the channels of the group and over all positions: here "
            "each position had its own statistics.",
            SamplesTogether: "Each sample has its own statistics: the average went over the "
            "batch too.",
        },
    ),
)


# --- inputs ---------------------------------------------------------------------------------------


def normal(rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw numbers whose mean is far from 0, so that it matters whether it is subtracted."""
    return (2 + 1.5 * torch.randn(shape, generator=rng, dtype=torch.float64)).to(dtype)


def signed(rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw weights with either sign: a norm undoes a positive one that comes before it."""
    sign = 1 - 2 * (torch.arange(math.prod(shape)) % 2).reshape(shape)
    return sign * (1 + torch.rand(shape, generator=rng, dtype=dtype))


def shuffled(rng: torch.Generator, rows: int, values: Sequence[float]) -> Tensor:
    """Return rows that hold the same values, each in an order of its own."""
    orders = [torch.randperm(len(values), generator=rng) for _ in range(rows)]
    return torch.tensor(values, dtype=torch.float32)[torch.stack(orders)]


def far_from_zero(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw float64 numbers whose squares lose the digits in which they differ."""
    return 1e6 + normal(rng, *shape, dtype=torch.float64)


SHOWN = 6
STATISTICS = "the running statistics"
LARGE = [-9e3, -5e3, -3e3, -1e3, 2e3, 4e3, 7e3, 8e3]
"""In float16 their squares overflow."""
BETWEEN = [294.0, 296.0, 298.0, 300.0, 302.0, 304.0, 306.0, 308.0]
"""bfloat16 has all of these numbers, but not their mean."""


def case(part: str, batches: Tensor | list[Tensor], **more: Any) -> Case:
    """Return a case: the batches that follow one another, and the other arguments by name.

    ``cotangent`` asks for the gradients, ``kept`` for the running statistics.
    """
    batches = batches if isinstance(batches, list) else [batches]
    cotangent, kept = more.pop("cotangent", None), more.pop("kept", False)
    return {
        "part": part,
        "title": title_of(batches, more),
        "batches": batches,
        "arguments": more,
        "cotangent": cotangent,
        "kept": kept,
    }


def title_of(batches: list[Tensor], arguments: dict[str, Any]) -> str:
    words = ["input " + " then ".join(map(described, batches))]
    return ", ".join(words + [f"{name} {described(value)}" for name, value in arguments.items()])


def described(value: Any) -> str:
    """Return the numbers of a small tensor, else its shape, and a dtype that is not float32."""
    if not isinstance(value, Tensor):
        return str(value)
    dtype = "" if value.dtype == torch.float32 else f" ({str(value.dtype).removeprefix('torch.')})"
    if 0 < value.numel() <= SHOWN:
        return f"{np.round(value.detach().double().numpy(), 4).tolist()}{dtype}"
    return f"of shape {tuple(value.shape)}{dtype}"


def probe(norm: Callable, case: Case) -> Outputs:
    """Call a norm on one batch after the other; return what came of the last one."""
    arguments, cotangent = case["arguments"], case["cotangent"]
    wanted = {}
    for batch in case["batches"]:
        wanted = {"input": batch} | {
            name: arguments[name] for name in ("weight", "bias") if arguments.get(name) is not None
        }
        if cotangent is not None:
            for tensor in wanted.values():
                tensor.requires_grad_()
        output = norm(batch, **arguments)
    # Who normalises wrongly can still keep the right statistics.
    outputs = {} if case["part"] == STATISTICS else {"the output": output}
    if case["kept"]:
        for name in ("running_mean", "running_var"):
            outputs[f"{name} after the call"] = arguments[name]
            outputs[f"{name}.requires_grad"] = arguments[name].requires_grad
    outputs |= {f"{name}, which must not change": tensor for name, tensor in wanted.items()}
    if cotangent is not None:
        outputs |= gradients(output, wanted, cotangent)
    return outputs


def gradients(output: Any, tensors: dict[str, Tensor], cotangent: Tensor) -> Outputs:
    """Return the gradients of ``(output * cotangent).sum()``, where there is a graph."""
    if not isinstance(output, Tensor) or output.shape != cotangent.shape:
        return {}
    if not output.requires_grad:
        return {}
    # A scalar, because torch imports sympy for the gradient of anything else.
    total = (output * cotangent).sum()
    found = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
    return {f"the gradient of {name}": grad for name, grad in zip(tensors, found, strict=True)}


def batch_norm_inputs(rng: torch.Generator) -> list[Case]:
    output, evaluation, kept = "training: the output", "evaluation", STATISTICS
    affine, gradient, half = "weight and bias", "the gradients", "half precision"
    n, c = (int(torch.randint(low, low + 5, (), generator=rng)) for low in (10, 3))
    small = shuffled(rng, 2, (0, 1, 5)).T.contiguous()
    square = shuffled(rng, 5, (0, 1, 2, 5, 9)).T.contiguous()

    def draw(*shape: int) -> Tensor:
        return normal(rng, *shape)

    def double(*shape: int) -> Tensor:
        return normal(rng, *shape, dtype=torch.float64)

    def doubles(n: int, c: int, *positions: int) -> dict[str, Tensor]:
        return {
            "weight": signed(rng, c, dtype=torch.float64),
            "bias": double(c),
            "cotangent": double(n, c, *positions),
        }

    def none() -> dict[str, Any]:
        return {"running_mean": None, "running_var": None}

    def running(size: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        return {
            "running_mean": torch.randn(size, generator=rng).to(dtype),
            "running_var": (0.5 + torch.rand(size, generator=rng)).to(dtype),
        }

    def train(part: str, batches: Tensor | list[Tensor], **more: Any) -> Case:
        return case(part, batches, training=True, **more)

    return [
        train(output, small, **none()),
        train(output, small / 1000, **none()),
        train(output, small, **none(), eps=0.5),
        train(output, torch.full((3, 2), 8.0), **none()),
        train(output, draw(n, c), **running(c)),
        train(output, draw(3, c, n), **running(c)),
        train(output, draw(2, c, 3, 4), **none()),
        train(output, draw(c, n).T, **none()),
        train(output, far_from_zero(rng, n, c, 3), **running(c, torch.float64)),
        case(evaluation, small, **running(2), kept=True),
        case(evaluation, draw(1, c), **running(c), training=False, kept=True),
        case(evaluation, draw(n, c, 2), **running(c), eps=0.5, kept=True),
        case(evaluation, draw(2, c, 3, 4), **running(c), kept=True),
        case(evaluation, draw(0, c), **running(c), kept=True),
        case(
            evaluation,
            shuffled(rng, 2, (8, 16, 32)).T,
            running_mean=torch.tensor([1.0, 2.0]),
            running_var=torch.tensor([0.0, 1e-6]),
            kept=True,
        ),
        train(
            kept,
            small,
            running_mean=torch.tensor([1.0, -2.0]),
            running_var=torch.tensor([3.0, 0.5]),
            kept=True,
        ),
        train(kept, draw(n, c, 4), **running(c), momentum=0.3, kept=True),
        train(kept, [draw(n, c) for _ in range(3)], **running(c), kept=True),
        train(kept, draw(2, c, 3, 4).requires_grad_(), **running(c), momentum=0.8, kept=True),
        train(kept, draw(0, c), **running(c), kept=True),
        train(affine, square, **none(), weight=signed(rng, 5)),
        train(affine, square, **none(), bias=draw(5)),
        train(affine, draw(3, 6, 6), **running(6), weight=signed(rng, 6), bias=draw(6)),
        train(affine, draw(3, 4, 5, 4), **none(), weight=signed(rng, 4), bias=draw(4)),
        train(gradient, draw(12, 2), **none(), cotangent=draw(12, 2) / 8),
        train(gradient, double(n, c, 4), **running(c, torch.float64), **doubles(n, c, 4)),
        train(gradient, double(4, c, 2, 3), **none(), eps=0.5, **doubles(4, c, 2, 3)),
        case(gradient, double(n, c), **running(c, torch.float64), **doubles(n, c)),
        train(half, shuffled(rng, 2, LARGE).T.half(), **running(2), kept=True),
        train(half, shuffled(rng, 3, BETWEEN).T.bfloat16(), **none()),
        *(
            case(
                half,
                torch.full((3, 2), 8.0).half(),
                running_mean=torch.full((2,), 8.0).to(dtype),
                running_var=torch.zeros(2).to(dtype),
                eps=1e-8,
            )
            for dtype in (torch.float16, torch.float32)
        ),
    ]


def layer_norm_inputs(rng: torch.Generator) -> list[Case]:
    values, affine, gradient, half = (
        "the values",
        "weight and bias",
        "the gradients",
        "half precision",
    )
    n, d = (int(torch.randint(low, low + 5, (), generator=rng)) for low in (3, 12))
    rows = shuffled(rng, 15, (0, 1, 2, 5, 9))

    def draw(*shape: int) -> Tensor:
        return normal(rng, *shape)

    def double(*shape: int) -> Tensor:
        return normal(rng, *shape, dtype=torch.float64)

    return [
        case(values, shuffled(rng, 2, (0, 1, 5)), normalized_shape=(3,)),
        case(values, shuffled(rng, 2, (0, 1, 5)) / 1000, normalized_shape=(3,)),
        case(values, shuffled(rng, 2, (0, 1, 5)), normalized_shape=(3,), eps=0.5),
        case(values, torch.full((2, 3), 8.0), normalized_shape=(3,)),
        case(values, draw(n, 4, d), normalized_shape=(d,)),
        case(values, draw(n, 4, d), normalized_shape=[4, d]),
        case(values, draw(d, n).T, normalized_shape=(d,)),
        case(values, draw(1, d), normalized_shape=(d,)),
        case(values, draw(d), normalized_shape=(d,)),
        case(values, draw(0, d), normalized_shape=(d,)),
        case(values, draw(3, 1), normalized_shape=(1,)),
        case(values, far_from_zero(rng, n, d), normalized_shape=(d,)),
        case(affine, rows[:5], normalized_shape=(5,), weight=signed(rng, 5)),
        case(affine, rows[5:10], normalized_shape=(5,), bias=draw(5)),
        case(
            affine,
            rows.unflatten(0, (3, 5)),
            normalized_shape=(5,),
            weight=signed(rng, 5),
            bias=draw(5),
        ),
        case(
            affine,
            draw(n, 4, 4),
            normalized_shape=(4, 4),
            weight=signed(rng, 4, 4),
            bias=draw(4, 4),
        ),
        case(gradient, draw(2, 12), normalized_shape=(12,), cotangent=draw(2, 12) / 8),
        case(
            gradient,
            double(n, 2, d),
            normalized_shape=(d,),
            weight=signed(rng, d, dtype=torch.float64),
            bias=double(d),
            cotangent=double(n, 2, d),
        ),
        case(
            gradient,
            double(n, 4, 3),
            normalized_shape=(4, 3),
            weight=signed(rng, 4, 3, dtype=torch.float64),
            bias=double(4, 3),
            eps=0.5,
            cotangent=double(n, 4, 3),
        ),
        case(half, shuffled(rng, 2, LARGE).half(), normalized_shape=(8,)),
        case(half, shuffled(rng, 3, BETWEEN).bfloat16(), normalized_shape=(8,)),
    ]


def rms_norm_inputs(rng: torch.Generator) -> list[Case]:
    values, affine, gradient, half = "the values", "the weight", "the gradients", "half precision"
    n, d = (int(torch.randint(low, low + 5, (), generator=rng)) for low in (3, 12))
    rows = shuffled(rng, 15, (0, 1, 2, 5, 9))

    def draw(*shape: int) -> Tensor:
        return normal(rng, *shape)

    def double(*shape: int) -> Tensor:
        return normal(rng, *shape, dtype=torch.float64)

    return [
        case(values, shuffled(rng, 2, (0, 3, 4)), normalized_shape=(3,)),
        case(values, shuffled(rng, 2, (0, 3, 4)) / 1e4, normalized_shape=(3,)),
        case(values, shuffled(rng, 2, (0, 3, 4)), normalized_shape=(3,), eps=0.5),
        case(values, torch.zeros(2, 3), normalized_shape=(3,)),
        case(values, draw(n, 4, d), normalized_shape=(d,)),
        case(values, draw(n, 4, d), normalized_shape=[4, d]),
        case(values, draw(d, n).T, normalized_shape=(d,)),
        case(values, draw(1, d), normalized_shape=(d,)),
        case(values, draw(d), normalized_shape=(d,)),
        case(values, draw(0, d), normalized_shape=(d,)),
        case(values, draw(3, 1), normalized_shape=(1,)),
        case(values, 1e-8 * double(n, d), normalized_shape=(d,)),
        case(values, 1e100 * double(n, d), normalized_shape=(d,)),
        case(affine, rows[:5], normalized_shape=(5,), weight=signed(rng, 5)),
        case(affine, rows.unflatten(0, (3, 5)), normalized_shape=(5,), weight=signed(rng, 5)),
        case(affine, draw(n, 4, 4), normalized_shape=(4, 4), weight=signed(rng, 4, 4), eps=0.5),
        case(gradient, draw(2, 12), normalized_shape=(12,), cotangent=draw(2, 12) / 8),
        case(
            gradient,
            double(n, 2, d),
            normalized_shape=(d,),
            weight=signed(rng, d, dtype=torch.float64),
            cotangent=double(n, 2, d),
        ),
        case(
            gradient,
            double(n, 4, 3),
            normalized_shape=(4, 3),
            weight=signed(rng, 4, 3, dtype=torch.float64),
            eps=0.5,
            cotangent=double(n, 4, 3),
        ),
        case(half, shuffled(rng, 2, LARGE).half(), normalized_shape=(8,)),
        case(half, shuffled(rng, 3, BETWEEN).bfloat16(), normalized_shape=(8,)),
    ]


def group_norm_inputs(rng: torch.Generator) -> list[Case]:
    values, affine, gradient, half = (
        "the values",
        "weight and bias",
        "the gradients",
        "half precision",
    )
    n, length = (int(torch.randint(low, low + 5, (), generator=rng)) for low in (2, 7))

    def draw(*shape: int) -> Tensor:
        return normal(rng, *shape)

    def double(*shape: int) -> Tensor:
        return normal(rng, *shape, dtype=torch.float64)

    small = shuffled(rng, 1, (0, 1, 2, 4, 7, 12))
    return [
        case(values, small, num_groups=2),
        case(values, small / 1000, num_groups=2),
        case(values, small, num_groups=2, eps=0.5),
        case(values, torch.full((1, 4), 8.0), num_groups=2),
        case(values, draw(n, 6, length), num_groups=3),
        case(values, draw(n, 6, 3, 4), num_groups=2),
        case(values, draw(n, 4, length + 5), num_groups=1),
        case(values, draw(n, 4, length + 5), num_groups=4),
        case(values, draw(length, 6, n).permute(2, 1, 0), num_groups=2),
        case(values, draw(0, 6, 3), num_groups=2),
        case(values, far_from_zero(rng, n, 6, length), num_groups=2),
        case(affine, small.repeat(6, 1), num_groups=2, weight=signed(rng, 6)),
        case(affine, draw(n, 6, 6), num_groups=2, bias=draw(6)),
        case(affine, draw(n, 6, 5, 6), num_groups=3, weight=signed(rng, 6), bias=draw(6)),
        case(gradient, draw(1, 4, 6), num_groups=2, cotangent=draw(1, 4, 6) / 8),
        case(
            gradient,
            double(n, 6, length),
            num_groups=3,
            weight=signed(rng, 6, dtype=torch.float64),
            bias=double(6),
            cotangent=double(n, 6, length),
        ),
        case(
            gradient,
            double(n, 6, 2, 3),
            num_groups=2,
            weight=signed(rng, 6, dtype=torch.float64),
            bias=double(6),
            eps=0.5,
            cotangent=double(n, 6, 2, 3),
        ),
        case(half, shuffled(rng, 2, LARGE).flatten()[None].half(), num_groups=2),
        case(half, shuffled(rng, 4, BETWEEN).reshape(2, 16).bfloat16(), num_groups=2),
    ]


check_batch_norm = Check(
    module="normalization",
    exercise="batch_norm",
    target="batch_norm",
    parts={
        "training: the output": 2,
        "evaluation": 1,
        STATISTICS: 2,
        "weight and bias": 1,
        "the gradients": 1,
        "half precision": 1,
    },
    inputs=batch_norm_inputs,
    probe=probe,
    oracle=batch_norm_in_float64,
    mistakes=BATCH_NORM_MISTAKES,
    hints=(
        "The channels are dimension 1. Average over every other dimension, and keep the averaged "
        "dimensions (keepdim=True), so that the result lines up with the input.",
        "Two variances: the output divides by n, running_var keeps the one divided by n - 1, where "
        "n = x.numel() / C. And a tensor of shape (C,) must become (1, C, 1, ...) to line up.",
        "Under torch.no_grad(): running_mean += momentum * (mean.flatten() - running_mean), and "
        "likewise for running_var; += changes the caller's tensor, running_mean = ... does not.",
    ),
    forbidden=FORBIDDEN,
)

check_layer_norm = Check(
    module="normalization",
    exercise="layer_norm",
    target="layer_norm",
    parts={"the values": 2, "weight and bias": 1, "the gradients": 1, "half precision": 1},
    inputs=layer_norm_inputs,
    probe=probe,
    oracle=F.layer_norm,
    mistakes=LAYER_NORM_MISTAKES,
    hints=(
        "How many dimensions are averaged? As many as normalized_shape has, counted from the end.",
        "tuple(range(-len(normalized_shape), 0)) names them; mean takes such a tuple and keepdim.",
        "Subtract the mean first; the variance is the mean of the squares of what is left.",
    ),
    forbidden=FORBIDDEN,
)

check_rms_norm = Check(
    module="normalization",
    exercise="rms_norm",
    target="rms_norm",
    parts={"the values": 2, "the weight": 1, "the gradients": 1, "half precision": 1},
    inputs=rms_norm_inputs,
    probe=probe,
    oracle=F.rms_norm,
    mistakes=RMS_NORM_MISTAKES,
    hints=(
        "Read the name from the right: square, mean, root.",
        "It is layer_norm without the subtraction and without a bias; only the default of eps is "
        "another one.",
        "x * torch.rsqrt(mean_of_squares + eps), where the mean is taken with keepdim=True.",
    ),
    forbidden=FORBIDDEN,
)

check_group_norm = Check(
    module="normalization",
    exercise="group_norm",
    target="group_norm",
    parts={"the values": 2, "weight and bias": 1, "the gradients": 1, "half precision": 1},
    inputs=group_norm_inputs,
    probe=probe,
    oracle=F.group_norm,
    mistakes=GROUP_NORM_MISTAKES,
    hints=(
        "Give the groups a dimension of their own: (N, C, ...) becomes (N, groups, C / groups, "
        "...).",
        "x.unflatten(1, (num_groups, C // num_groups)) does that, and .flatten(1, 2) undoes it. "
        "Average over everything but the first two dimensions in between.",
        "weight and bias belong to the channels, so they come after the way back, in the shape "
        "(C, 1, ...).",
    ),
    forbidden=FORBIDDEN,
)
