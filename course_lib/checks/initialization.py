"""Checks of ``initialization``: fans, and the distributions that weights are drawn from.

Right solutions may draw different numbers, so what is compared is statistics of tensors large
enough for them, as bfloat16: its tolerance of 5 % is more than 6 standard errors everywhere.
"""

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = ("torch.nn.init",)

# --- fan in and fan out ---------------------------------------------------------------------------


def swapped(tensor: Tensor) -> tuple[int, int]:
    return fans(tensor)[::-1]


def channels_only(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[1], tensor.shape[0]


def kernel_in_fan_in_only(tensor: Tensor) -> tuple[int, int]:
    return fans(tensor)[0], tensor.shape[0]


def kernel_in_fan_out_only(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[1], fans(tensor)[1]


def first_side_only(tensor: Tensor) -> tuple[int, int]:
    return fans(tensor[..., 0] if tensor.dim() > 3 else tensor)


def sides_added(tensor: Tensor) -> tuple[int, int]:
    places = sum(tensor.shape[2:]) if tensor.dim() > 2 else 1
    return tensor.shape[1] * places, tensor.shape[0] * places


def last_dimensions(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[-1], tensor.shape[-2]


def all_the_others(tensor: Tensor) -> tuple[int, int]:
    return fans(tensor)[0], tensor.shape[0] * tensor.shape[1]


def fans(tensor: Tensor) -> tuple[int, int]:
    places = math.prod(tensor.shape[2:])
    return tensor.shape[1] * places, tensor.shape[0] * places


FANS_MISTAKES = tuple(
    Mistake(wrong.__name__, message, wrong)
    for wrong, message in {
        swapped: "The two are swapped: a weight has shape (out, in, ...), so fan_in comes from "
        "shape[1] and fan_out from shape[0].",
        channels_only: "The kernel does not count: multiply both numbers of channels by the number "
        "of places in the kernel.",
        kernel_in_fan_in_only: "fan_out needs the size of the kernel too: an input number reaches "
        "every output channel from every place of the kernel.",
        kernel_in_fan_out_only: "fan_in needs the size of the kernel too: an output number sees "
        "every input channel at every place of the kernel.",
        first_side_only: "Only the first side of the kernel counts here: multiply all of "
        "shape[2:].",
        sides_added: "The sides of the kernel are added here: a kernel of 3 by 5 has 3 * 5 places.",
        last_dimensions: "The channels are the first two dimensions, whatever comes after them: "
        "here the last two were taken.",
        all_the_others: "fan_out is shape[0] times the places of the kernel; the input channels "
        "do not enter.",
    }.items()
)


def fans_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, *shape: int) -> Case:
        return {"part": part, "title": f"a tensor of shape {shape}", "shape": shape}

    # Different in every place, so that no mix-up gives the right product.
    a, b, c, d = (size + int(torch.randint(0, 2, (), generator=rng)) for size in (3, 5, 7, 11))
    return [
        case("matrices", 2, 3),
        case("matrices", d, c),
        case("matrices", 1, 4),
        case("matrices", 0, 3),
        case("convolution kernels", 2, 3, 5),
        case("convolution kernels", 2, 3, 5, 7),
        case("convolution kernels", d, c, b, a),
        case("convolution kernels", c, d, 1, 2),
        case("convolution kernels", 2, a, 3, 2, b),
    ]


def fans_probe(count: Any, case: Case) -> Outputs:
    fan_in, fan_out = count(torch.zeros(case["shape"]))
    return {"fan_in": operator.index(fan_in), "fan_out": operator.index(fan_out)}


# --- right and wrong initialisers -----------------------------------------------------------------


class Initialiser:
    """An initialiser with one decision a method, so that a mistake changes one of them."""

    numerator = 1.0
    width: Callable[..., float]

    def __call__(
        self, tensor: Tensor, *, generator: Generator | None = None, **options: Any
    ) -> Tensor | None:
        if tensor.numel():
            width = self.width(*self.fans(tensor), **options)
            with torch.no_grad():
                tensor.copy_(width * self.unit(tensor.shape, generator))
        return tensor

    def fans(self, tensor: Tensor) -> tuple[int, int]:
        return fans(tensor)

    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        raise NotImplementedError


class Normal(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        return torch.randn(shape, generator=generator)


class Uniform(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1


class Scaled(Initialiser):
    def root(self, variance: float) -> float:
        return math.sqrt(variance)

    def scaled(self, gain: float, width: float) -> float:
        return gain * width


class Xavier(Scaled):
    def width(self, fan_in: int, fan_out: int, gain: float = 1.0) -> float:
        return self.scaled(gain, self.root(self.numerator / self.denominator(fan_in, fan_out)))

    def denominator(self, fan_in: int, fan_out: int) -> float:
        return fan_in + fan_out


class Kaiming(Scaled):
    def width(
        self,
        fan_in: int,
        fan_out: int,
        a: float = 0,
        mode: str = "fan_in",
        nonlinearity: str = "leaky_relu",
    ) -> float:
        fan = self.fan(fan_in, fan_out, mode)
        return self.scaled(self.gain(nonlinearity, a), self.root(self.numerator / fan))

    def fan(self, fan_in: int, fan_out: int, mode: str) -> float:
        return fan_in if mode == "fan_in" else fan_out

    def gain(self, nonlinearity: str, a: float) -> float:
        return torch.nn.init.calculate_gain(nonlinearity, a)  # type: ignore[arg-type]


class XavierNormal(Normal, Xavier):
    numerator = 2.0


class XavierUniform(Uniform, Xavier):
    numerator = 6.0


class KaimingNormal(Normal, Kaiming):
    pass


class KaimingUniform(Uniform, Kaiming):
    numerator = 3.0


class ScaledResidual(Normal):
    def width(self, fan_in: int, fan_out: int, num_layers: int, std: float = 0.02) -> float:
        return std / self.divisor(num_layers, fan_in)

    def divisor(self, num_layers: int, layer_width: int) -> float:
        return math.sqrt(2 * num_layers)


Told = dict[type[Initialiser], str]


# --- mistakes in the drawing, which all initialisers share ----------------------------------------


class ReturnsANewTensor(Initialiser):
    def __call__(self, tensor: Tensor, **options: Any) -> Tensor | None:
        return super().__call__(tensor.detach().clone(), **options)


class ReturnsNothing(Initialiser):
    def __call__(self, tensor: Tensor, **options: Any) -> Tensor | None:
        super().__call__(tensor, **options)
        return None


class ReturnsACopy(Initialiser):
    def __call__(self, tensor: Tensor, **options: Any) -> Tensor | None:
        super().__call__(tensor, **options)
        return tensor.detach().clone()


class GeneratorIgnored(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        return super().unit(shape, None)


class SeedOfTheGenerator(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        if generator is not None:
            torch.manual_seed(generator.initial_seed())
        return super().unit(shape, None)


class Reseeds(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        torch.manual_seed(0)
        return super().unit(shape, generator)


class AlwaysTheSameNumbers(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        return super().unit(shape, Generator().manual_seed(0))


class EqualRows(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        return super().unit(shape[1:], generator).expand(shape)


class EqualColumns(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        alone = torch.Size([shape[0], *[1] * len(shape[1:])])
        return super().unit(alone, generator).expand(shape)


class TheOtherDistribution(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        if isinstance(self, Uniform):
            return torch.randn(shape, generator=generator) / math.sqrt(3)
        return (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3)


class OnlyPositive(Initialiser):
    def unit(self, shape: torch.Size, generator: Generator | None) -> Tensor:
        return super().unit(shape, generator).abs()


class ChannelsOnly(Initialiser):
    def fans(self, tensor: Tensor) -> tuple[int, int]:
        return channels_only(tensor)


DRAWING: Told = {
    ReturnsANewTensor: "The tensor that was given keeps its old numbers: fill it in place, with a "
    "method such as uniform_ or normal_ or copy_, because the model holds that tensor.",
    ReturnsNothing: "Return the tensor that was given.",
    ReturnsACopy: "Return the tensor that was given, not a copy of it.",
    GeneratorIgnored: "The generator has no effect: hand it on as generator=generator.",
    SeedOfTheGenerator: "The generator's seed went into torch.manual_seed: hand the generator "
    "itself on as generator=generator, and leave the global random state alone.",
    Reseeds: "Your code seeds torch's global generator: everything that the program draws "
    "afterwards is then the same again. Draw, and never call manual_seed.",
    AlwaysTheSameNumbers: "Every call draws the same numbers, from a generator with a fixed seed: "
    "use the one that is given, or else torch's global one.",
    EqualRows: "All rows are equal, so all units compute the same and learn the same: draw a "
    "number of its own for every element.",
    EqualColumns: "All numbers of a row are equal: draw a number of its own for every element.",
}
DRAWING_NORMAL: Told = {
    TheOtherDistribution: "This is a uniform distribution with the right standard deviation: "
    "a normal one is asked for.",
    OnlyPositive: "The numbers are all positive: their mean must be 0.",
}
DRAWING_UNIFORM: Told = {
    TheOtherDistribution: "This is a normal distribution with the right standard deviation: "
    "a uniform one is asked for.",
    OnlyPositive: "The numbers lie between 0 and the bound: they start at -bound.",
}
KERNEL: Told = {
    ChannelsOnly: "The size of the kernel has no effect on the width: fan_in and fan_out include "
    "it.",
}

# --- mistakes in the width ------------------------------------------------------------------------


class RootMissing(Scaled):
    def root(self, variance: float) -> float:
        return variance


class GainIgnored(Scaled):
    def scaled(self, gain: float, width: float) -> float:
        return width


class GainSquared(Scaled):
    def scaled(self, gain: float, width: float) -> float:
        return gain**2 * width


class GainInsideTheRoot(Scaled):
    def scaled(self, gain: float, width: float) -> float:
        return math.sqrt(gain) * width


class DividedByTheGain(Scaled):
    def scaled(self, gain: float, width: float) -> float:
        return width / gain


class BoundIsTheStd(Scaled):
    def root(self, variance: float) -> float:
        return math.sqrt(variance / 3)


class StdIsTheBound(Scaled):
    def root(self, variance: float) -> float:
        return math.sqrt(variance * 3)


class FanInAlone(Xavier):
    def denominator(self, fan_in: int, fan_out: int) -> float:
        return 2 * fan_in


class FanInForTheSum(Xavier):
    def denominator(self, fan_in: int, fan_out: int) -> float:
        return fan_in


class FanOutForTheSum(Xavier):
    def denominator(self, fan_in: int, fan_out: int) -> float:
        return fan_out


class SumForTheMean(Xavier):
    def denominator(self, fan_in: int, fan_out: int) -> float:
        return 2 * (fan_in + fan_out)


class TheOtherFan(Kaiming):
    def fan(self, fan_in: int, fan_out: int, mode: str) -> float:
        return super().fan(fan_out, fan_in, mode)


class ModeIgnored(Kaiming):
    def fan(self, fan_in: int, fan_out: int, mode: str) -> float:
        return fan_in


class MeanOfTheFans(Kaiming):
    def fan(self, fan_in: int, fan_out: int, mode: str) -> float:
        return (fan_in + fan_out) / 2


class SlopeIgnored(Kaiming):
    def gain(self, nonlinearity: str, a: float) -> float:
        return super().gain(nonlinearity, 0)


class NonlinearityIgnored(Kaiming):
    def gain(self, nonlinearity: str, a: float) -> float:
        return super().gain("leaky_relu", a)


class AlwaysRelu(Kaiming):
    def gain(self, nonlinearity: str, a: float) -> float:
        return super().gain("relu", 0)


WIDTH: Told = {
    RootMissing: "The square root is missing: the formula under it is a variance.",
    GainSquared: "The gain enters twice: it multiplies the square root, once.",
    GainInsideTheRoot: "The gain stands under the square root: it multiplies the root.",
    DividedByTheGain: "The gain divides here: multiply by it.",
}
WIDTH_NORMAL: Told = {
    StdIsTheBound: "This is the bound of the uniform distribution: for the normal one the "
    "standard deviation is smaller by the square root of 3.",
}
WIDTH_UNIFORM: Told = {
    BoundIsTheStd: "The standard deviation was taken as the bound: the bound is larger by the "
    "square root of 3.",
}
WIDTH_XAVIER: Told = {
    FanInAlone: "This is 1 / fan_in as the variance: Xavier's is 2 / (fan_in + fan_out).",
    FanInForTheSum: "This is 2 / fan_in as the variance, which is Kaiming's for ReLU: Xavier's is "
    "2 / (fan_in + fan_out).",
    FanOutForTheSum: "This is 2 / fan_out as the variance: Xavier's is 2 / (fan_in + fan_out).",
    SumForTheMean: "The variance is half of what it should be: 2 / (fan_in + fan_out) is one over "
    "the mean of the two fans, not over their sum.",
    GainIgnored: "The gain has no effect: multiply the width by it.",
}
WIDTH_KAIMING: Told = {
    TheOtherFan: "The other fan was taken: fan_in is shape[1] times the places of the kernel, and "
    "mode='fan_in' (the default) asks for that one.",
    ModeIgnored: "The mode has no effect: with mode='fan_out' divide by fan_out.",
    MeanOfTheFans: "This is Xavier's variance, one over the mean of both fans: Kaiming's has one "
    "fan, the one that mode names.",
    GainIgnored: "The gain is missing: multiply by calculate_gain(nonlinearity, a), which is the "
    "square root of 2 for ReLU.",
    SlopeIgnored: "The slope a has no effect: hand it on to calculate_gain.",
    NonlinearityIgnored: "The nonlinearity has no effect: hand it on to calculate_gain. Here every "
    "gain was that of leaky_relu.",
    AlwaysRelu: "The gain is always that of ReLU, the square root of 2: take it from "
    "calculate_gain(nonlinearity, a).",
}


class NotScaled(ScaledResidual):
    def divisor(self, num_layers: int, layer_width: int) -> float:
        return 1


class OneBranchPerLayer(ScaledResidual):
    def divisor(self, num_layers: int, layer_width: int) -> float:
        return math.sqrt(num_layers)


class NumberForItsRoot(ScaledResidual):
    def divisor(self, num_layers: int, layer_width: int) -> float:
        return 2 * num_layers


class TwoOutsideTheRoot(ScaledResidual):
    def divisor(self, num_layers: int, layer_width: int) -> float:
        return 2 * math.sqrt(num_layers)


class GrowsWithDepth(ScaledResidual):
    def divisor(self, num_layers: int, layer_width: int) -> float:
        return 1 / math.sqrt(2 * num_layers)


class LayerWidth(ScaledResidual):
    def divisor(self, num_layers: int, layer_width: int) -> float:
        return math.sqrt(layer_width)


class StdIgnored(ScaledResidual):
    def width(self, fan_in: int, fan_out: int, num_layers: int, std: float = 0.02) -> float:
        return super().width(fan_in, fan_out, num_layers)


WIDTH_RESIDUAL: Told = {
    NotScaled: "num_layers has no effect: divide std by sqrt(2 * num_layers).",
    OneBranchPerLayer: "Every layer has two branches, attention and feed-forward: divide by "
    "sqrt(2 * num_layers), not sqrt(num_layers).",
    NumberForItsRoot: "Variances add up, not standard deviations: divide by sqrt(2 * num_layers), "
    "not by 2 * num_layers.",
    TwoOutsideTheRoot: "The 2 belongs under the square root: sqrt(2 * num_layers).",
    GrowsWithDepth: "The weights must get smaller with depth: divide by sqrt(2 * num_layers).",
    LayerWidth: "This divides by the square root of the layer's width: N is the number of residual "
    "branches, 2 * num_layers.",
    StdIgnored: "The argument std has no effect: here it is always 0.02.",
}


def made_with(formula: type[Initialiser], *told: Told) -> tuple[Mistake, ...]:
    """Return the mistakes, each as a small change of one formula."""

    def mixed(mistake: type[Initialiser]) -> Any:
        if issubclass(mistake, ScaledResidual):
            return mistake()
        return type(mistake.__name__, (mistake, formula), {})()

    return tuple(
        Mistake(_snake_case(mistake.__name__), message, mixed(mistake))
        for messages in told
        for mistake, message in messages.items()
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


# --- inputs and probes ----------------------------------------------------------------------------

OLD = 9.0
"""What a tensor holds before: no initialiser draws it."""

Shapes = dict[str, tuple[int, ...]]


def large_shapes(rng: torch.Generator) -> Shapes:
    """Draw shapes with more than 43,000 elements and fans that differ by a factor of 2 or more."""
    few = 120 + int(torch.randint(0, 10, (), generator=rng))
    channels = 38 + int(torch.randint(0, 4, (), generator=rng))
    return {
        "wide": (few, 3 * few),
        "tall": (3 * few, few),
        "kernel": (2 * channels + 20, channels, 3, 4),
        "short kernel": (channels, 6 * channels, 5),
    }


def spread_case(
    formula: type[Initialiser],
    part: str,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Case:
    """Make a case about the numbers: are they spread as the normal ``formula`` says?"""
    return {
        "part": part,
        "title": titled(f"a tensor of shape {shape}", dtype, options),
        "shape": shape,
        "dtype": dtype,
        "options": options,
        "std": formula().width(*fans(torch.empty(shape, device="meta")), **options),
    }


def titled(tensor: str, dtype: torch.dtype, options: dict[str, Any]) -> str:
    words = [f"{tensor} and dtype {dtype}" if dtype != torch.float32 else tensor]
    words += [
        f"{name}={round(value, 4) if isinstance(value, float) else repr(value)}"
        for name, value in options.items()
    ]
    return ", ".join(words)


def small_cases(
    rng: torch.Generator, in_place: str, random_numbers: str, **options: Any
) -> list[Case]:
    """Make the cases about what is filled, and where the random numbers come from."""
    seed = int(torch.randint(0, 2**31, (), generator=rng))
    shape = (4, 5 + int(torch.randint(0, 4, (), generator=rng)))
    titles = {
        "parameter": (in_place, f"a parameter of shape {shape} that requires a gradient"),
        "view": (in_place, f"every second column of a larger tensor, shape {shape}"),
        "empty": (in_place, "a tensor of shape (0, 3)"),
        "generator": (random_numbers, f"a tensor of shape {shape}, three calls with a generator"),
        "global": (random_numbers, f"a tensor of shape {shape}, three calls without a generator"),
    }
    return [
        {
            "part": part,
            "title": titled(title, torch.float32, options),
            "kind": kind,
            "shape": shape if kind != "empty" else (0, 3),
            "seed": seed,
            "options": options,
        }
        for kind, (part, title) in titles.items()
    ]


def spread_probe(initialise: Any, case: Case) -> Outputs:
    """Fill a large tensor and describe the numbers."""
    tensor = torch.full(case["shape"], OLD, dtype=case["dtype"])
    initialise(tensor, **case["options"])
    rows = tensor.double().flatten(1)
    # A few columns are enough: two rows share none of their numbers by chance.
    equal_rows, equal_columns = repeats(rows[:, :16]), repeats(rows.T[:, :16])
    if not (tensor != OLD).all():
        return {"every number of the tensor is new": False}
    outputs: Outputs = {
        "every number of the tensor is new": True,
        "a row is equal to the first row": equal_rows,
        "a column is equal to the first column": equal_columns,
    }
    # A few numbers many times over have statistics that depend on chance.
    if equal_rows != equal_columns:
        return outputs
    std, size = rows.std(), rows.abs()
    return outputs | {
        "the standard deviation, in percent of the right one": coarse(100 * std / case["std"]),
        "the numbers above 0, in percent": percent(rows > 0),
        "the numbers within one standard deviation, in percent": percent(size < std),
        "a number lies beyond 1.75 standard deviations": bool(size.max() > 1.75 * case["std"]),
        "a number lies beyond three standard deviations": bool(size.max() > 3 * case["std"]),
    }


def repeats(rows: Tensor) -> bool:
    return bool((rows[1:] == rows[0]).all(1).any())


def percent(which: Tensor) -> Tensor:
    return coarse(100 * which.count_nonzero() / which.numel())


def coarse(number: Tensor) -> Tensor:
    return number.to(torch.bfloat16)


def in_place_probe(initialise: Any, case: Case) -> Outputs:
    rows, columns = case["shape"]
    memory = torch.full((rows, 2 * columns + 1), OLD)
    tensor = memory[:, 1::2]
    if case["kind"] == "parameter":
        tensor = torch.nn.Parameter(tensor.clone())
    same_memory = tensor.detach()
    result = initialise(tensor, **case["options"])
    return {
        "every number of the tensor is new": bool((same_memory != OLD).all()),
        "the numbers differ": same_memory.unique().numel() > 1,
        "the result is a tensor": isinstance(result, Tensor),
        "the result is the tensor that was given": result is tensor,
        "the tensor requires a gradient": tensor.requires_grad,
        "the tensor has a history": tensor.grad_fn is not None,
        "the memory beside the tensor is as before": bool((memory[:, ::2] == OLD).all()),
    }


def random_probe(initialise: Any, case: Case) -> Outputs:
    """Draw, draw again, and draw once more from the first state."""

    def draw(generator: Generator | None) -> Tensor:
        tensor = torch.full(case["shape"], OLD)
        initialise(tensor, generator=generator, **case["options"])
        return tensor

    if case["kind"] == "generator":
        generator = Generator().manual_seed(case["seed"])
        before = torch.get_rng_state()
        first, second = draw(generator), draw(generator)
        again = draw(generator.manual_seed(case["seed"]))
        untouched = torch.equal(before, torch.get_rng_state())
    else:
        torch.manual_seed(case["seed"])
        first, second = draw(None), draw(None)
        torch.manual_seed(case["seed"])
        again, untouched = draw(None), True
    return {
        "every number of the tensor is new": bool((first != OLD).all()),
        "the first and the second call give different numbers": not torch.equal(first, second),
        "the same random state gives the same numbers again": torch.equal(first, again),
        "torch's global random state is left alone": untouched,
    }


def probe(initialise: Any, case: Case) -> Outputs:
    probes: dict[str, Callable[[Any, Case], Outputs]] = {
        "spread": spread_probe,
        "parameter": in_place_probe,
        "view": in_place_probe,
        "empty": in_place_probe,
        "generator": random_probe,
        "global": random_probe,
    }
    with torch.random.fork_rng(devices=[]):
        return probes[case.get("kind", "spread")](initialise, case)


def xavier_inputs(rng: torch.Generator, width: str) -> list[Case]:
    shapes = large_shapes(rng)

    def case(part: str, shape: str, **options: Any) -> Case:
        return spread_case(XavierNormal, part, shapes[shape], **options)

    return [
        case(width, "wide"),
        case(width, "tall"),
        case(width, "kernel"),
        case(width, "short kernel"),
        case(width, "wide", dtype=torch.float64),
        case(width, "tall", dtype=torch.bfloat16),
        case("the gain", "wide", gain=5 / 3),
        case("the gain", "tall", gain=0.25),
        case("the gain", "tall", gain=10.0),
        *small_cases(rng, "in place", "random numbers"),
    ]


def kaiming_inputs(rng: torch.Generator, width: str) -> list[Case]:
    shapes = large_shapes(rng)
    gain = "nonlinearity and slope"

    def case(part: str, shape: str, **options: Any) -> Case:
        return spread_case(KaimingNormal, part, shapes[shape], **options)

    return [
        case(width, "wide"),
        case(width, "tall"),
        case(width, "kernel"),
        case(width, "short kernel"),
        case(width, "wide", dtype=torch.float64),
        case(width, "tall", dtype=torch.bfloat16),
        case("the mode", "wide", mode="fan_out"),
        case("the mode", "tall", mode="fan_out"),
        case("the mode", "tall", mode="fan_in"),
        case(gain, "wide", nonlinearity="linear"),
        case(gain, "wide", nonlinearity="tanh"),
        case(gain, "tall", nonlinearity="selu"),
        case(gain, "wide", a=math.sqrt(5)),
        case(gain, "tall", a=1, nonlinearity="leaky_relu"),
        case(gain, "wide", a=2, nonlinearity="relu"),
        *small_cases(rng, "in place", "random numbers"),
    ]


def residual_inputs(rng: torch.Generator) -> list[Case]:
    shapes = large_shapes(rng)
    width, rest = "the standard deviation", "in place and random numbers"

    def case(shape: str, **options: Any) -> Case:
        return spread_case(ScaledResidual, width, shapes[shape], **options)

    return [
        case("wide", num_layers=1),
        case("tall", num_layers=12),
        case("wide", num_layers=48, std=0.5),
        case("kernel", num_layers=3, dtype=torch.float64),
        case("tall", num_layers=12, dtype=torch.bfloat16),
        *small_cases(rng, rest, rest, num_layers=2),
    ]


def normal_of_gpt2(
    tensor: Tensor, num_layers: int, std: float = 0.02, generator: Generator | None = None
) -> Tensor:
    return torch.nn.init.normal_(tensor, 0.0, std / (2 * num_layers) ** 0.5, generator)


DRAW_HINT = (
    "Under torch.no_grad(), tensor.{method}(..., generator=generator) fills a tensor in place and "
    "returns it: nothing is recorded, and a generator of None means torch's global one."
)

check_fans = Check(
    module="initialization",
    exercise="fans",
    target="calculate_fan_in_and_fan_out",
    parts={"matrices": 1, "convolution kernels": 1},
    inputs=fans_inputs,
    probe=fans_probe,
    oracle=torch.nn.init._calculate_fan_in_and_fan_out,
    mistakes=FANS_MISTAKES,
    hints=(
        "How many weights meet in one output number of y = x @ W.T? How many leave one input?",
        "shape[0] counts outputs and shape[1] inputs; the rest is the size of the kernel.",
        "math.prod(tensor.shape[2:]) is the number of places in the kernel, and 1 for a matrix.",
    ),
    forbidden=FORBIDDEN,
)

check_xavier_uniform = Check(
    module="initialization",
    exercise="xavier_uniform",
    target="xavier_uniform_",
    parts={"the bound": 1, "the gain": 1, "in place": 1, "random numbers": 1},
    inputs=lambda rng: xavier_inputs(rng, "the bound"),
    probe=probe,
    oracle=torch.nn.init.xavier_uniform_,
    mistakes=made_with(
        XavierUniform, WIDTH, WIDTH_UNIFORM, WIDTH_XAVIER, KERNEL, DRAWING, DRAWING_UNIFORM
    ),
    hints=(
        "A uniform distribution on [-b, b] has the standard deviation b / sqrt(3).",
        "The bound is gain * sqrt(6 / (fan_in + fan_out)), with your own function for the fans.",
        DRAW_HINT.format(method="uniform_"),
    ),
    forbidden=FORBIDDEN,
)

check_xavier_normal = Check(
    module="initialization",
    exercise="xavier_normal",
    target="xavier_normal_",
    parts={"the standard deviation": 1, "the gain": 1, "in place": 1, "random numbers": 1},
    inputs=lambda rng: xavier_inputs(rng, "the standard deviation"),
    probe=probe,
    oracle=torch.nn.init.xavier_normal_,
    mistakes=made_with(
        XavierNormal, WIDTH, WIDTH_NORMAL, WIDTH_XAVIER, KERNEL, DRAWING, DRAWING_NORMAL
    ),
    hints=(
        "Only the distribution differs from xavier_uniform_: the standard deviation is the same.",
        "The standard deviation is gain * sqrt(2 / (fan_in + fan_out)).",
        DRAW_HINT.format(method="normal_"),
    ),
    forbidden=FORBIDDEN,
)

check_kaiming_uniform = Check(
    module="initialization",
    exercise="kaiming_uniform",
    target="kaiming_uniform_",
    parts={
        "the bound": 1,
        "the mode": 1,
        "nonlinearity and slope": 1,
        "in place": 1,
        "random numbers": 1,
    },
    inputs=lambda rng: kaiming_inputs(rng, "the bound"),
    probe=probe,
    oracle=torch.nn.init.kaiming_uniform_,
    mistakes=made_with(
        KaimingUniform, WIDTH, WIDTH_UNIFORM, WIDTH_KAIMING, KERNEL, DRAWING, DRAWING_UNIFORM
    ),
    hints=(
        "One fan and one gain: which fan says mode, which gain says calculate_gain.",
        "calculate_gain(nonlinearity, a) is given and knows what to do with a.",
        "The bound is gain * sqrt(3 / fan); fill the tensor with uniform_ as in xavier_uniform_.",
    ),
    forbidden=FORBIDDEN,
)

check_kaiming_normal = Check(
    module="initialization",
    exercise="kaiming_normal",
    target="kaiming_normal_",
    parts={
        "the standard deviation": 1,
        "the mode": 1,
        "nonlinearity and slope": 1,
        "in place": 1,
        "random numbers": 1,
    },
    inputs=lambda rng: kaiming_inputs(rng, "the standard deviation"),
    probe=probe,
    oracle=torch.nn.init.kaiming_normal_,
    mistakes=made_with(
        KaimingNormal, WIDTH, WIDTH_NORMAL, WIDTH_KAIMING, KERNEL, DRAWING, DRAWING_NORMAL
    ),
    hints=(
        "Only the distribution differs from kaiming_uniform_: the standard deviation is the same.",
        "The square root of 2 for ReLU is already in calculate_gain(nonlinearity, a).",
        "The standard deviation is gain / sqrt(fan); fill the tensor with normal_.",
    ),
    forbidden=FORBIDDEN,
)

check_scaled_residual = Check(
    module="initialization",
    exercise="scaled_residual",
    target="scaled_residual_",
    parts={"the standard deviation": 1, "in place and random numbers": 1},
    inputs=residual_inputs,
    probe=probe,
    oracle=normal_of_gpt2,
    mistakes=made_with(ScaledResidual, WIDTH_RESIDUAL, DRAWING, DRAWING_NORMAL),
    hints=(
        "No fan is needed: the shape of the tensor plays no part.",
        "A sum of 2 * num_layers independent branches has the sum of their variances.",
        "Fill the tensor with normal_(0, std / sqrt(2 * num_layers), generator=generator).",
    ),
    forbidden=FORBIDDEN,
)
