"""Checks of ``convolution``: sliding windows, with torch's convolution and pools as the oracle."""

import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = (
    *(
        f"{module.__name__}.{name}"
        for module in (torch, F, nn)
        for name in dir(module)
        if re.search("conv(?!ert)|pool|^unfold$", name, re.IGNORECASE)
    ),
    "torch.nn.modules.conv",
    "torch.nn.modules.pooling",
    "torch.nn.modules.fold",
    "torch._decomp",
    "torch._refs",
    "scipy",
)

Size = int | Sequence[int]


def pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


class Sliding:
    """What the three share, one step in each method, so that a mistake changes one of them."""

    fill = 0.0

    def windows(self, input: Tensor, kernel: Size, stride: Size, padding: Size) -> Tensor:
        padded = self.padded(self.entering(input), *pair(padding))
        kernel, stride = self.kernel(*pair(kernel)), self.stride(*pair(stride))
        return self.placed(padded.unfold(-2, kernel[0], stride[0]).unfold(-2, kernel[1], stride[1]))

    def entering(self, input: Tensor) -> Tensor:
        return input

    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        return F.pad(input, (columns, columns, rows, rows), value=self.fill)

    def kernel(self, rows: int, columns: int) -> tuple[int, int]:
        return rows, columns

    def stride(self, rows: int, columns: int) -> tuple[int, int]:
        return rows, columns

    def placed(self, windows: Tensor) -> Tensor:
        return windows


class Convolution(Sliding):
    def __call__(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Size = 1,
        padding: Size = 0,
    ) -> Tensor:
        weight = self.filters(weight)
        windows = self.windows(input, weight.shape[-2:], stride, padding)
        output = self.summed(windows, weight)
        return output if bias is None else self.shifted(output, bias, weight)

    def filters(self, weight: Tensor) -> Tensor:
        return weight

    def summed(self, windows: Tensor, weight: Tensor) -> Tensor:
        return torch.einsum("...chwab,ocab->...ohw", windows, weight)

    def shifted(self, output: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        return output + bias[:, None, None]


class Pooling(Sliding):
    def __call__(
        self, input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0
    ) -> Tensor:
        stride = self.default_stride(kernel_size) if stride is None else stride
        return self.pooled(self.windows(input, kernel_size, stride, padding))

    def default_stride(self, kernel_size: Size) -> Size:
        return kernel_size

    def pooled(self, windows: Tensor) -> Tensor:
        raise NotImplementedError


class MaxPooling(Pooling):
    fill = -torch.inf

    def pooled(self, windows: Tensor) -> Tensor:
        return windows.amax((-2, -1))


class AveragePooling(Pooling):
    def pooled(self, windows: Tensor) -> Tensor:
        return windows.mean((-2, -1))


# --- mistakes that they share ---------------------------------------------------------------------


class StrideIgnored(Sliding):
    def stride(self, rows: int, columns: int) -> tuple[int, int]:
        return 1, 1


class StrideSwapped(Sliding):
    def stride(self, rows: int, columns: int) -> tuple[int, int]:
        return columns, rows


class FirstStrideForBoth(Sliding):
    def stride(self, rows: int, columns: int) -> tuple[int, int]:
        return rows, rows


class LastWindowMissing(Sliding):
    def placed(self, windows: Tensor) -> Tensor:
        return windows[..., :-1, :-1, :, :]


class PaddingIgnored(Sliding):
    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        return input


class PaddingSwapped(Sliding):
    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        return super().padded(input, columns, rows)


class FirstPaddingForBoth(Sliding):
    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        return super().padded(input, rows, rows)


class PaddedAfterOnly(Sliding):
    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        return F.pad(input, (0, columns, 0, rows), value=self.fill)


class PaddedBeforeOnly(Sliding):
    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        return F.pad(input, (columns, 0, rows, 0), value=self.fill)


class PaddedTwice(Sliding):
    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        return super().padded(input, 2 * rows, 2 * columns)


class EdgeRepeated(Sliding):
    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        height, width = input.shape[-2:]
        down = torch.arange(-rows, height + rows).clamp(0, height - 1)
        right = torch.arange(-columns, width + columns).clamp(0, width - 1)
        return input[..., down, :][..., right]


class DetachedInput(Sliding):
    def entering(self, input: Tensor) -> Tensor:
        return input.detach()


class AlwaysFloat32(Sliding):
    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().__call__(*args, **kwargs).float()  # type: ignore[misc]


SLIDING_MISTAKES: dict[type[Sliding], str] = {
    StrideIgnored: "The stride is ignored: the next window starts stride rows or columns further.",
    StrideSwapped: "The stride is the wrong way round: its first number belongs to the rows, its "
    "second one to the columns.",
    FirstStrideForBoth: "A stride of two numbers has one for the rows and one for the columns: "
    "here the first one served for both.",
    LastWindowMissing: "The last row and the last column of windows are missing: along H there "
    "are (H - kH) // stride + 1 places.",
    PaddingIgnored: "The padding is ignored: extend the image before the windows are taken.",
    PaddingSwapped: "The padding is the wrong way round: its first number belongs to the rows, "
    "its second one to the columns. F.pad wants the columns first.",
    FirstPaddingForBoth: "A padding of two numbers has one for the rows and one for the columns: "
    "here the first one served for both.",
    PaddedAfterOnly: "The padding belongs on all four sides: here only the bottom and the right "
    "were extended.",
    PaddedBeforeOnly: "The padding belongs on all four sides: here only the top and the left were "
    "extended.",
    PaddedTwice: "The padding is what is added on each side: here it was twice as much.",
    AlwaysFloat32: "The output must have the input's dtype: torch.zeros(...) alone makes float32, "
    "input.new_zeros(...) does not.",
    DetachedInput: "No gradient reaches the input: .detach(), .data, .item(), .numpy() or "
    "torch.tensor(...) has cut the graph.",
}
ZERO_PADDING_MISTAKES: dict[type[Sliding], str] = {
    EdgeRepeated: "The padding adds zeros: here it repeated the edge of the image.",
}


class KernelSwapped(Pooling):
    def kernel(self, rows: int, columns: int) -> tuple[int, int]:
        return columns, rows


class StrideOneByDefault(Pooling):
    def default_stride(self, kernel_size: Size) -> Size:
        return 1


class StrideIsAlwaysTheKernel(Pooling):
    def windows(self, input: Tensor, kernel: Size, stride: Size, padding: Size) -> Tensor:
        return super().windows(input, kernel, kernel, padding)


class PartialWindowsKept(Pooling):
    def padded(self, input: Tensor, rows: int, columns: int) -> Tensor:
        self.size = input.shape[-2] + 2 * rows, input.shape[-1] + 2 * columns
        return super().padded(input, rows, columns)

    def windows(self, input: Tensor, kernel: Size, stride: Size, padding: Size) -> Tensor:
        (height, width), (down, right), (rows, columns) = pair(kernel), pair(stride), pair(padding)
        more_rows = -(input.shape[-2] + 2 * rows - height) % down
        more_columns = -(input.shape[-1] + 2 * columns - width) % right
        padded = F.pad(
            input, (columns, columns + more_columns, rows, rows + more_rows), value=self.fill
        )
        return super().windows(padded, kernel, stride, 0)


POOLING_MISTAKES: dict[type[Sliding], str] = {
    KernelSwapped: "The window is the wrong way round: the first number of kernel_size is its "
    "height, the second one its width.",
    StrideOneByDefault: "Without a stride the windows do not overlap: stride=None means "
    "kernel_size, not 1.",
    StrideIsAlwaysTheKernel: "The argument stride is ignored: only without it is it kernel_size.",
    PartialWindowsKept: "Only whole windows count: rows and columns that are left over at the end "
    "are dropped.",
}


def made_with(formula: type[Sliding], mistakes: dict[type[Sliding], str]) -> tuple[Mistake, ...]:
    """Return the mistakes, each made with one formula."""
    return tuple(
        Mistake(
            re.sub(r"(?<!^)(?=[A-Z])", "_", mistake.__name__).lower(),
            message,
            type(mistake.__name__, (mistake, formula), {})(),
        )
        for mistake, message in mistakes.items()
    )


# --- the mistakes of one of them ------------------------------------------------------------------


class Flipped(Convolution):
    def filters(self, weight: Tensor) -> Tensor:
        return weight.flip(-1, -2)


class RowsAndColumnsSwapped(Convolution):
    def filters(self, weight: Tensor) -> Tensor:
        return weight.mT


class FiltersAndChannelsSwapped(Convolution):
    def filters(self, weight: Tensor) -> Tensor:
        return weight.transpose(0, 1)


class FirstFilterForAll(Convolution):
    def filters(self, weight: Tensor) -> Tensor:
        return weight[:1].expand_as(weight)


class DetachedWeight(Convolution):
    def filters(self, weight: Tensor) -> Tensor:
        return weight.detach()


class FirstChannelOnly(Convolution):
    def summed(self, windows: Tensor, weight: Tensor) -> Tensor:
        return super().summed(windows.narrow(-5, 0, 1), weight[:, :1])


class ChannelsAveraged(Convolution):
    def summed(self, windows: Tensor, weight: Tensor) -> Tensor:
        return super().summed(windows, weight) / weight.shape[1]


class WindowAveraged(Convolution):
    def summed(self, windows: Tensor, weight: Tensor) -> Tensor:
        return super().summed(windows, weight) / weight[0, 0].numel()


class FiltersSummedUp(Convolution):
    def summed(self, windows: Tensor, weight: Tensor) -> Tensor:
        return super().summed(windows, weight).sum(-3, keepdim=True)


class BatchIsFirstOnly(Convolution):
    def summed(self, windows: Tensor, weight: Tensor) -> Tensor:
        output = super().summed(windows, weight)
        return output[:1].expand_as(output) if output.dim() == 4 and len(output) else output


class BiasIgnored(Convolution):
    def shifted(self, output: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        return output


class BiasSubtracted(Convolution):
    def shifted(self, output: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        return super().shifted(output, -bias, weight)


class BiasPerChannel(Convolution):
    def shifted(self, output: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        return super().shifted(output, bias * weight.shape[1], weight)


class BiasPerTerm(Convolution):
    def shifted(self, output: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        return super().shifted(output, bias * weight[0].numel(), weight)


class BiasAlongWidth(Convolution):
    def shifted(self, output: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        return output + bias


class ZeroPadding(MaxPooling):
    fill = 0.0


class FinitePadding(MaxPooling):
    fill = -1e9


class MeanInstead(MaxPooling):
    def pooled(self, windows: Tensor) -> Tensor:
        return windows.mean((-2, -1))


class LargestMagnitude(MaxPooling):
    def pooled(self, windows: Tensor) -> Tensor:
        flat = windows.flatten(-2)
        return flat.gather(-1, flat.abs().nan_to_num(posinf=-1).argmax(-1, keepdim=True))[..., 0]


class MagnitudeOfTheLargest(MaxPooling):
    def pooled(self, windows: Tensor) -> Tensor:
        return super().pooled(windows).abs()


class AcrossChannels(MaxPooling):
    def pooled(self, windows: Tensor) -> Tensor:
        largest = super().pooled(windows)
        return largest.amax(-3, keepdim=True).expand_as(largest)


class GradientForAll(MaxPooling):
    def pooled(self, windows: Tensor) -> Tensor:
        largest = super().pooled(windows)
        mean = windows.nan_to_num(neginf=0).mean((-2, -1))
        return largest.detach() + mean - mean.detach()


class SumInstead(AveragePooling):
    def pooled(self, windows: Tensor) -> Tensor:
        return windows.sum((-2, -1))


class DividedByHeight(AveragePooling):
    def pooled(self, windows: Tensor) -> Tensor:
        return windows.sum((-2, -1)) / windows.shape[-2] ** 2


class PaddingNotCounted(AveragePooling):
    def windows(self, input: Tensor, kernel: Size, stride: Size, padding: Size) -> Tensor:
        counted = super().windows(torch.ones_like(input), kernel, stride, padding)
        self.share = counted.mean((-2, -1))
        return super().windows(input, kernel, stride, padding)

    def pooled(self, windows: Tensor) -> Tensor:
        return super().pooled(windows) / self.share


class LargestInstead(AveragePooling):
    def pooled(self, windows: Tensor) -> Tensor:
        return windows.amax((-2, -1))


CONVOLUTION_MISTAKES = (
    *made_with(
        Convolution,
        {
            Flipped: "The filter must not be turned round: weight[o, c, 0, 0] meets the top left "
            "of the window.",
            RowsAndColumnsSwapped: "Rows and columns of the filter are swapped: weight[o, c, a, b] "
            "meets row a, column b of the window.",
            FiltersAndChannelsSwapped: "The first dimension of weight counts the filters, the "
            "second one the channels: here they were swapped.",
            FirstFilterForAll: "Each output channel has its own filter, weight[o]: here the "
            "first one served for all.",
            FirstChannelOnly: "Add up over all input channels: here only the first one was seen.",
            ChannelsAveraged: "Add up over the channels: here their mean was taken.",
            WindowAveraged: "Add up over the window: here the sum was divided by its size.",
            FiltersSummedUp: "Every filter gives an output channel: here they were added up.",
            BatchIsFirstOnly: "Every image of the batch has its own output: here the first one's "
            "was repeated.",
            BiasIgnored: "The bias is ignored: add bias[o] to output channel o.",
            BiasSubtracted: "The bias is added, not subtracted.",
            BiasPerChannel: "Add the bias once for each output number: here it came in with every "
            "input channel.",
            BiasPerTerm: "Add the bias once for each output number: here it came in with every "
            "term of the sum.",
            BiasAlongWidth: "bias[o] belongs to output channel o: bring it to the shape "
            "(out_channels, 1, 1), else it lines up with the columns.",
            DetachedWeight: "No gradient reaches the weight: .detach(), .data, .item(), .numpy() "
            "or torch.tensor(...) has cut the graph.",
        },
    ),
    *made_with(Convolution, SLIDING_MISTAKES | ZERO_PADDING_MISTAKES),
)
MAX_POOL_MISTAKES = (
    *made_with(MaxPooling, POOLING_MISTAKES),
    *made_with(MaxPooling, SLIDING_MISTAKES),
    *made_with(
        MaxPooling,
        {
            ZeroPadding: "The padding must never win: a 0 is larger than a negative number. Fill "
            "with minus infinity.",
            FinitePadding: "The padding must never win, however small the numbers are: fill with "
            "minus infinity.",
            MeanInstead: "Take the largest number of each window, not the mean.",
            LargestMagnitude: "Take the largest number, not the one that is farthest from 0.",
            MagnitudeOfTheLargest: "Take the largest number itself, with its sign.",
            AcrossChannels: "Each channel is pooled on its own: here the largest of all channels "
            "was taken.",
            GradientForAll: "The gradient goes to the largest number of the window alone: the "
            "others do not change the output.",
        },
    ),
)
AVG_POOL_MISTAKES = (
    *made_with(AveragePooling, POOLING_MISTAKES),
    *made_with(AveragePooling, SLIDING_MISTAKES | ZERO_PADDING_MISTAKES),
    *made_with(
        AveragePooling,
        {
            SumInstead: "Divide the sum by the size of the window.",
            DividedByHeight: "The size of the window is its height times its width: here the "
            "height was squared.",
            PaddingNotCounted: "The zeros of the padding count: divide by the size of the whole "
            "window, also at the edge.",
            LargestInstead: "Take the mean of each window, not the largest number.",
        },
    ),
)


# --- inputs ---------------------------------------------------------------------------------------


def quarters(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw multiples of 1/4 from -2 to 2: sums of their products are exact in any order."""
    return torch.randint(-8, 9, shape, generator=rng) / 4


def distinct(rng: torch.Generator, *shape: int) -> Tensor:
    """Return numbers around 0, none of them 0, that all differ: each window has one largest."""
    numbers = (torch.randperm(torch.Size(shape).numel(), generator=rng) + 0.5) / 4
    return (numbers - numbers.numel() // 8).reshape(shape)


def case(part: str, input: Tensor, *, cotangent: Tensor | None = None, **arguments: Any) -> Case:
    """Return a case. ``cotangent``, repeated as often as needed, asks for the gradients."""
    words = [f"{name} {described(value)}" for name, value in arguments.items()]
    return {
        "part": part,
        "title": ", ".join([f"input {described(input)}", *words]),
        "input": input,
        "arguments": arguments,
        "cotangent": cotangent,
    }


def described(value: Any) -> str:
    """Return the numbers of a small tensor, else its shape, and a dtype that is not float32."""
    if not isinstance(value, Tensor):
        return str(value)
    dtype = "" if value.dtype == torch.float32 else f" ({str(value.dtype).removeprefix('torch.')})"
    if 0 < value.numel() <= 9:
        return f"{value.tolist()}{dtype}"
    return f"of shape {tuple(value.shape)}{dtype}"


def probe(function: Any, case: Case) -> Outputs:
    arguments = case["arguments"]
    tensors = {"input": case["input"]} | {
        name: arguments[name] for name in ("weight", "bias") if name in arguments
    }
    wanted = case["cotangent"] is not None
    for tensor in tensors.values():
        tensor.requires_grad_(wanted)
    output = function(case["input"], **arguments)
    outputs = {"the output": output}
    outputs |= {f"{name}, which must not change": tensor for name, tensor in tensors.items()}
    if wanted and isinstance(output, Tensor) and output.requires_grad:
        places = torch.arange(output.numel()) % len(case["cotangent"])
        # A scalar, because torch imports sympy for the gradient of anything else.
        total = (output * case["cotangent"][places].reshape(output.shape)).sum()
        found = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
        outputs |= {
            f"the gradient of {name}": grad for name, grad in zip(tensors, found, strict=True)
        }
    return outputs


def conv2d_inputs(rng: torch.Generator) -> list[Case]:
    one, channels, bias = "one channel, one filter", "several channels and filters", "the bias"
    stride, padding, gradient = "stride", "padding", "the gradients"
    single = "one image without a batch"
    n = int(torch.randint(2, 5, (), generator=rng))
    c, out = (
        int(torch.randint(2, 4, (), generator=rng)),
        int(torch.randint(4, 6, (), generator=rng)),
    )

    def draw(*shape: int) -> Tensor:
        return quarters(rng, *shape)

    def kernel(*shape: int) -> Tensor:
        """Draw filters whose numbers all differ: turned round or swapped they are others."""
        return distinct(rng, *shape)

    return [
        case(one, distinct(rng, 1, 1, 3, 3), weight=kernel(1, 1, 2, 2)),
        case(one, draw(1, 1, 2, 3), weight=kernel(1, 1, 2, 3)),
        case(one, draw(1, 1, 6, 4), weight=kernel(1, 1, 2, 3)),
        case(one, draw(1, 1, 5, 7), weight=kernel(1, 1, 3, 3)),
        case(one, draw(1, 1, 5, 4), weight=kernel(1, 1, 1, 1)),
        case(channels, draw(1, 2, 2, 2), weight=kernel(2, 2, 1, 1)),
        case(channels, draw(n, 3, 5, 4), weight=kernel(3, 3, 3, 2)),
        case(channels, draw(n, 4, 6, 5), weight=kernel(4, 4, 2, 2)),
        case(channels, draw(0, 3, 5, 4), weight=kernel(3, 3, 3, 2)),
        case(channels, draw(5, 6, 2, n).permute(3, 2, 0, 1), weight=kernel(3, 2, 2, 2).mT),
        case(channels, draw(n, 3, 6, 5).double() / 3, weight=kernel(3, 3, 2, 3).double()),
        case(
            channels,
            draw(n, 2, 3, 4).sign().bfloat16(),
            weight=draw(2, 2, 1, 2).sign().bfloat16(),
        ),
        case(bias, draw(1, 1, 3, 3), weight=kernel(1, 1, 2, 2), bias=distinct(rng, 1) + 1),
        case(bias, draw(n, 3, 5, 4), weight=kernel(3, 3, 3, 2), bias=distinct(rng, 3) + 1),
        case(bias, draw(n, 4, 6, 5), weight=kernel(4, 4, 2, 2), bias=distinct(rng, 4) + 1),
        case(stride, draw(1, 1, 3, 3), weight=kernel(1, 1, 1, 1), stride=2),
        case(stride, draw(n, c, 8, 7), weight=kernel(out, c, 2, 3), stride=(2, 1)),
        case(stride, draw(n, c, 6, 9), weight=kernel(out, c, 3, 2), stride=[1, 3]),
        case(stride, draw(n, c, 9, 8), weight=kernel(out, c, 2, 2), stride=3),
        case(padding, 1 + draw(1, 1, 2, 2).abs(), weight=kernel(1, 1, 2, 2), padding=1),
        case(padding, 1 + draw(n, c, 5, 4).abs(), weight=kernel(out, c, 3, 2), padding=(2, 1)),
        case(padding, 1 + draw(n, c, 4, 5).abs(), weight=kernel(out, c, 2, 3), padding=[0, 3]),
        case(
            padding,
            1 + draw(n, c, 4, 5).abs(),
            weight=kernel(out, c, 5, 3),
            padding=2,
            stride=(1, 2),
        ),
        case(single, draw(1, 2, 3), weight=kernel(1, 1, 2, 2)),
        case(single, draw(c, 6, 5), weight=kernel(out, c, 3, 2), bias=distinct(rng, out)),
        case(single, draw(c, 6, 5), weight=kernel(out, c, 2, 3), stride=2, padding=(1, 2)),
        case(gradient, draw(1, 1, 3, 3), weight=kernel(1, 1, 2, 2), cotangent=distinct(rng, 11)),
        case(
            gradient,
            draw(n, c, 6, 5),
            weight=draw(out, c, 2, 3),
            bias=draw(out),
            cotangent=distinct(rng, 11),
        ),
        case(
            gradient,
            draw(n, c, 6, 5),
            weight=draw(out, c, 3, 2),
            bias=draw(out),
            stride=(2, 1),
            padding=(1, 2),
            cotangent=distinct(rng, 11),
        ),
    ]


def pool_inputs(rng: torch.Generator) -> list[Case]:
    """Draw the cases of both pools."""
    windows, stride, padding, gradient = "the windows", "stride", "padding", "the gradients"
    n, c = (int(torch.randint(2, 5, (), generator=rng)) for _ in range(2))

    def draw(*shape: int) -> Tensor:
        return distinct(rng, *shape)

    def negative(*shape: int) -> Tensor:
        return distinct(rng, *shape) - torch.Size(shape).numel()

    return [
        case(windows, draw(1, 1, 2, 4), kernel_size=2),
        case(windows, draw(n, c, 6, 4), kernel_size=2),
        case(windows, draw(n, c, 7, 8), kernel_size=3),
        case(windows, draw(n, c, 6, 6), kernel_size=(3, 2)),
        case(windows, draw(n, c, 6, 8), kernel_size=2, stride=2),
        case(windows, draw(n, c, 6, 9), kernel_size=[2, 3], stride=None),
        case(windows, draw(c, 4, 7), kernel_size=2),
        case(windows, draw(0, c, 4, 6), kernel_size=2),
        case(windows, draw(c, 3, 5), kernel_size=1),
        case(windows, draw(6, 4, c, n).permute(3, 2, 0, 1), kernel_size=2),
        case(windows, draw(n, c, 4, 6).double() / 3, kernel_size=2),
        case(windows, draw(2, 2, 4, 4).bfloat16(), kernel_size=2),
        case(stride, draw(1, 1, 3, 3), kernel_size=2, stride=1),
        case(stride, draw(n, c, 6, 7), kernel_size=3, stride=(2, 1)),
        case(stride, draw(n, c, 8, 7), kernel_size=(2, 3), stride=[1, 2]),
        case(stride, draw(n, c, 9, 8), kernel_size=2, stride=3),
        case(padding, negative(1, 1, 2, 2), kernel_size=2, padding=1),
        case(padding, negative(n, c, 5, 8), kernel_size=(4, 2), padding=(2, 1)),
        case(padding, draw(n, c, 6, 7), kernel_size=3, padding=[0, 1], stride=2),
        case(padding, negative(n, c, 5, 5) * 1e12, kernel_size=3, padding=1, stride=(1, 2)),
        case(gradient, draw(1, 1, 2, 4), kernel_size=2, cotangent=distinct(rng, 11)),
        case(gradient, draw(n, c, 6, 4), kernel_size=(3, 2), cotangent=distinct(rng, 11)),
        case(
            gradient,
            draw(n, c, 6, 5),
            kernel_size=3,
            stride=(1, 2),
            padding=1,
            cotangent=distinct(rng, 11),
        ),
    ]


POOL_PARTS: dict[str, float] = {"the windows": 1, "stride": 1, "padding": 1, "the gradients": 1}

check_conv2d = Check(
    module="convolution",
    exercise="conv2d",
    target="conv2d",
    parts={
        "one channel, one filter": 2,
        "several channels and filters": 1,
        "the bias": 1,
        "stride": 1,
        "padding": 1,
        "one image without a batch": 1,
        "the gradients": 1,
    },
    inputs=conv2d_inputs,
    probe=probe,
    oracle=F.conv2d,
    mistakes=CONVOLUTION_MISTAKES,
    hints=(
        "Begin with windows: pad, then take the windows along the rows, then along the columns. "
        "x.unfold(dimension, size, step) does one direction and puts the window last.",
        "The windows have the shape (N, C, H_out, W_out, kH, kW), the filters (out, C, kH, kW). "
        "Which of these dimensions are summed over? C, kH and kW, all at once.",
        "torch.einsum writes that sum down: name the dimensions of both, and leave out of the "
        "result those that are summed over. The bias comes last, in the shape (out, 1, 1).",
    ),
    forbidden=FORBIDDEN,
)

check_max_pool2d = Check(
    module="convolution",
    exercise="max_pool2d",
    target="max_pool2d",
    parts=POOL_PARTS,
    inputs=pool_inputs,
    probe=probe,
    oracle=F.max_pool2d,
    mistakes=MAX_POOL_MISTAKES,
    hints=(
        "The windows are the same as for conv2d. Only what is done with each of them differs.",
        "What must the padding be filled with, so that it never wins? The value argument of "
        "windows is for that.",
        "Bring the two window dimensions together (flatten(-2)), and take the largest along the "
        "last one.",
    ),
    forbidden=FORBIDDEN,
)

check_avg_pool2d = Check(
    module="convolution",
    exercise="avg_pool2d",
    target="avg_pool2d",
    parts=POOL_PARTS,
    inputs=pool_inputs,
    probe=probe,
    oracle=F.avg_pool2d,
    mistakes=AVG_POOL_MISTAKES,
    hints=(
        "The windows are the same as for conv2d, padded with zeros.",
        "stride=None means that the windows lie side by side: the stride is kernel_size.",
        "The mean goes over the last two dimensions of the windows at once.",
    ),
    forbidden=FORBIDDEN,
)
