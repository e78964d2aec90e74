"""Checks of ``embedding``: the look-up, its gradient, and the mean of a bag of words."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from course_lib.checking import Case, Check, Mistake, Outputs

FORBIDDEN = (
    "torch.embedding",
    "torch.embedding_bag",
    "torch.nn.functional.embedding",
    "torch.nn.functional.embedding_bag",
    "torch.nn.Embedding",
    "torch.nn.EmbeddingBag",
)
DIFFERENTIATION = (
    "torch.autograd.grad",
    "torch.autograd.backward",
    "torch.autograd.functional",
    "torch.func",
    "torch.Tensor.backward",
)
UNUSED = 2
"""A row that no case looks up, so that it must get zeros."""


def quarters(rng: torch.Generator, *shape: int) -> Tensor:
    """Draw multiples of 1/4 from -2 to 2, but not 0: sums of them are exact in any order."""
    sizes = torch.randint(1, 9, shape, generator=rng) / 4
    return sizes * (2 * torch.randint(0, 2, shape, generator=rng) - 1)


def drawn(rng: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=rng))


def shuffled(rng: torch.Generator, numbers: list[int]) -> Tensor:
    return torch.tensor(numbers)[torch.randperm(len(numbers), generator=rng)]


def some_rows(rng: torch.Generator, rows: int, shape: tuple[int, ...]) -> Tensor:
    """Draw row numbers: the first and the last row three times and twice, others at random."""
    size = torch.Size(shape).numel()
    others = [row for row in range(rows) if row != UNUSED]
    picks = torch.randint(0, len(others), (max(size - 5, 0),), generator=rng)
    numbers = [0, rows - 1, 0, rows - 1, 0][:size] + [others[pick] for pick in picks]
    return shuffled(rng, numbers).reshape(shape) if size else torch.zeros(shape, dtype=torch.int64)


def described(numbers: Tensor) -> str:
    values = numbers.tolist() if numbers.numel() <= 8 else f"of shape {tuple(numbers.shape)}"
    return f"{values}, {numbers.dtype}" if numbers.dtype != torch.int64 else f"{values}"


def told(arguments: dict[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in arguments.items())


# --- embedding_dense_backward ---------------------------------------------------------------------


def torchs_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_weights: int,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
) -> Tensor:
    """The oracle: torch's own operator, with the defaults that it lacks."""
    return torch.ops.aten.embedding_dense_backward(
        grad_output, indices, num_weights, padding_idx, scale_grad_by_freq
    )


class Backward:
    """The gradient as a matrix product, one decision a method, so that a mistake changes one."""

    def __call__(
        self,
        grad_output: Tensor,
        indices: Tensor,
        num_weights: int,
        padding_idx: int = -1,
        scale_grad_by_freq: bool = False,
    ) -> Tensor:
        numbers = indices.reshape(-1)
        rows = grad_output.reshape(len(numbers), grad_output.shape[-1])
        grad = self.collected(rows, numbers, num_weights)
        if scale_grad_by_freq:
            grad = self.scaled(grad, numbers.bincount(minlength=num_weights)[:, None])
        return self.padded(grad, padding_idx)

    def collected(self, rows: Tensor, numbers: Tensor, num_weights: int) -> Tensor:
        hits = functional.one_hot(numbers.long(), num_weights).to(rows.dtype)
        return hits.t() @ rows

    def scaled(self, grad: Tensor, counts: Tensor) -> Tensor:
        return torch.where(counts > 0, grad / counts.clamp(min=1), 0)

    def padded(self, grad: Tensor, padding_idx: int) -> Tensor:
        keep = torch.arange(len(grad)) != padding_idx
        return torch.where(keep[:, None], grad, 0)


class LastOneWins(Backward):
    def collected(self, rows: Tensor, numbers: Tensor, num_weights: int) -> Tensor:
        grad = rows.new_zeros(num_weights, rows.shape[1])
        for number, row in zip(numbers.tolist(), rows, strict=True):
            grad[number] = row
        return grad


class AlwaysMeans(Backward):
    def collected(self, rows: Tensor, numbers: Tensor, num_weights: int) -> Tensor:
        counts = numbers.bincount(minlength=num_weights)[:, None]
        return super().scaled(super().collected(rows, numbers, num_weights), counts)

    def scaled(self, grad: Tensor, counts: Tensor) -> Tensor:
        return grad


class AddsOne(Backward):
    def collected(self, rows: Tensor, numbers: Tensor, num_weights: int) -> Tensor:
        return super().collected(torch.ones_like(rows), numbers, num_weights)


class UsedRowsOnly(Backward):
    def __call__(self, *arguments: Any, **more: Any) -> Tensor:
        indices: Tensor = arguments[1]
        return super().__call__(*arguments, **more)[indices.unique()]


class RowsUpToTheLargest(Backward):
    def collected(self, rows: Tensor, numbers: Tensor, num_weights: int) -> Tensor:
        largest = int(numbers.max()) + 1 if len(numbers) else 0
        return super().collected(rows, numbers, num_weights)[:largest]

    def scaled(self, grad: Tensor, counts: Tensor) -> Tensor:
        return super().scaled(grad, counts[: len(grad)])


class AlwaysFloat32(Backward):
    def collected(self, rows: Tensor, numbers: Tensor, num_weights: int) -> Tensor:
        return super().collected(rows.float(), numbers, num_weights)


class LastRowIsPadding(Backward):
    def padded(self, grad: Tensor, padding_idx: int) -> Tensor:
        return super().padded(grad, padding_idx % len(grad))


class IgnoresPadding(Backward):
    def padded(self, grad: Tensor, padding_idx: int) -> Tensor:
        return grad


class IgnoresPaddingZero(Backward):
    def padded(self, grad: Tensor, padding_idx: int) -> Tensor:
        return super().padded(grad, padding_idx) if padding_idx else grad


class ZeroesGradOutput(Backward):
    def __call__(self, *arguments: Any, **more: Any) -> Tensor:
        grad_output, indices = arguments[:2]
        grad = super().__call__(*arguments, **more)
        grad_output[indices == more.get("padding_idx", -1)] = 0
        return grad


class IgnoresFrequency(Backward):
    def scaled(self, grad: Tensor, counts: Tensor) -> Tensor:
        return grad


class MultipliesByFrequency(Backward):
    def scaled(self, grad: Tensor, counts: Tensor) -> Tensor:
        return grad * counts


class DividesByTheLength(Backward):
    def scaled(self, grad: Tensor, counts: Tensor) -> Tensor:
        return grad / counts.sum()


class DividesByZero(Backward):
    def scaled(self, grad: Tensor, counts: Tensor) -> Tensor:
        return grad / counts


BACKWARD_MISTAKES = (
    Mistake(
        "last_one_wins",
        "A row that was looked up several times collects all its gradients: here the last one "
        "replaced the others. grad[indices] += ... does that too; index_add_ adds.",
        LastOneWins(),
    ),
    Mistake(
        "always_means",
        "The gradients of a repeated row are summed; they are averaged for "
        "scale_grad_by_freq=True only.",
        AlwaysMeans(),
    ),
    Mistake(
        "adds_one",
        "Add up the rows of grad_output: here only the look-ups were counted.",
        AddsOne(),
    ),
    Mistake(
        "used_rows_only",
        "The result has the shape of the weight, (num_weights, dim): rows that were not looked "
        "up are in it, with zeros.",
        UsedRowsOnly(),
    ),
    Mistake(
        "rows_up_to_the_largest",
        "The result has num_weights rows, also when the largest index is smaller.",
        RowsUpToTheLargest(),
    ),
    Mistake(
        "always_float32",
        "The result has the dtype of grad_output: here it is always float32.",
        AlwaysFloat32(),
    ),
    Mistake(
        "last_row_is_padding",
        "padding_idx=-1 stands for no padding at all: here the last row lost its gradient.",
        LastRowIsPadding(),
    ),
    Mistake(
        "ignores_padding",
        "padding_idx has no effect: the row of that number must be zero.",
        IgnoresPadding(),
    ),
    Mistake(
        "ignores_padding_zero",
        "padding_idx=0 was taken for no padding: 0 counts as False in an if, so compare it "
        "with the indices.",
        IgnoresPaddingZero(),
    ),
    Mistake(
        "zeroes_grad_output",
        "grad_output belongs to the caller: work on a copy, or use masked_fill without the "
        "underscore.",
        ZeroesGradOutput(),
    ),
    Mistake(
        "ignores_frequency",
        "scale_grad_by_freq has no effect: divide each row by how often it was looked up.",
        IgnoresFrequency(),
    ),
    Mistake(
        "multiplies_by_frequency",
        "Divide each row by how often it was looked up: here it was multiplied.",
        MultipliesByFrequency(),
    ),
    Mistake(
        "divides_by_the_length",
        "Divide each row by how often this row was looked up, not by the number of all look-ups.",
        DividesByTheLength(),
    ),
    Mistake(
        "divides_by_zero",
        "A row that was never looked up gets 0, not 0 / 0: divide the gradients before you add "
        "them up, or the counts by clamp(min=1).",
        DividesByZero(),
    ),
)


def backward_inputs(rng: torch.Generator) -> list[Case]:
    def case(
        part: str,
        indices: Tensor,
        rows: int,
        dim: int,
        dtype: torch.dtype = torch.float32,
        **arguments: Any,
    ) -> Case:
        grad_output = quarters(rng, *indices.shape, dim).to(dtype)
        small = indices.numel() * dim <= 4
        title = (
            f"grad_output {grad_output.tolist()}, indices {indices.tolist()}"
            if small
            else f"grad_output of shape {tuple(grad_output.shape)}, {dtype}, "
            f"indices {described(indices)}"
        )
        # The transposed copy is not contiguous.
        return {
            "part": part,
            "title": f"{title}, num_weights {rows}{told(arguments)}",
            "grad_output": grad_output.mT.contiguous().mT if indices.dim() else grad_output,
            "indices": indices,
            "rows": rows,
            "arguments": arguments,
        }

    once, repeated, shapes = "each row once", "repeated rows", "shapes and dtypes"
    padding, frequency = "padding_idx", "scale_grad_by_freq"
    rows, dim, n = drawn(rng, 6, 9), drawn(rng, 3, 5), drawn(rng, 8, 12)
    batch = some_rows(rng, rows, (n,))
    table = some_rows(rng, rows, (2, n))
    nothing = torch.zeros(0, dtype=torch.int64)
    # Only the first part looks up the last row without a padding_idx: whoever takes -1 for that
    # row fails there and is told so, once.
    return [
        case(once, torch.tensor([2]), 3, 2),
        case(once, torch.tensor([0]), 3, 2),
        case(once, shuffled(rng, [0, 1, 3, rows - 1]), rows, dim),
        case(once, shuffled(rng, [0, 1, 3]), rows, dim),
        case(repeated, torch.tensor([1, 1]), 3, 2),
        case(repeated, torch.tensor([2, 0, 2]), 4, 1),
        case(repeated, batch, rows + 1, dim),
        case(shapes, torch.tensor(1), 3, 2),
        case(shapes, table, rows + 1, dim),
        case(shapes, table.reshape(2, n, 1).expand(2, n, 3), rows + 1, dim),
        case(shapes, nothing, rows + 1, dim),
        case(shapes, nothing.reshape(2, 0), rows + 1, dim),
        case(shapes, table.int(), rows + 1, dim),
        case(shapes, batch, rows + 1, dim, torch.float64),
        case(shapes, batch, rows + 1, dim, torch.bfloat16),
        case(padding, torch.tensor([1, 0]), 3, 2, padding_idx=1),
        case(padding, torch.tensor([0, 1]), 3, 2, padding_idx=0),
        case(padding, table, rows, dim, padding_idx=0),
        case(padding, batch, rows, dim, padding_idx=rows - 1),
        case(padding, batch, rows, dim, padding_idx=UNUSED),
        case(frequency, torch.tensor([1, 1]), 3, 2, scale_grad_by_freq=True),
        case(frequency, torch.tensor([2, 0, 2]), 4, 1, scale_grad_by_freq=True),
        case(frequency, table.int(), rows + 1, dim, scale_grad_by_freq=True),
        case(frequency, table, rows + 1, dim, torch.float64, scale_grad_by_freq=True),
        case(frequency, batch, rows + 1, dim, scale_grad_by_freq=True, padding_idx=0),
        case(frequency, nothing, rows + 1, dim, scale_grad_by_freq=True),
    ]


def backward_probe(backward: Callable, case: Case) -> Outputs:
    result = backward(case["grad_output"], case["indices"], case["rows"], **case["arguments"])
    return {
        "embedding_dense_backward(...)": result,
        "grad_output, which must not change": case["grad_output"],
        "indices, which must not change": case["indices"],
    }


# --- embedding ------------------------------------------------------------------------------------


class LookUp:
    """A right look-up, one decision a method: torch's indexing, its gradient bent where needed."""

    def __call__(
        self,
        input: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        *,
        scale_grad_by_freq: bool = False,
    ) -> Tensor:
        rows = self.rows(input, weight)
        padding = (input == self.padding(padding_idx, len(weight)))[..., None]
        rows = self.padded(rows, padding)
        return self.scaled(rows, input, len(weight)) if scale_grad_by_freq else rows

    def rows(self, input: Tensor, weight: Tensor) -> Tensor:
        return weight[input]

    def padding(self, padding_idx: int | None, num_weights: int) -> int:
        return -1 if padding_idx is None else padding_idx % num_weights

    def padded(self, rows: Tensor, padding: Tensor) -> Tensor:
        return torch.where(padding, rows.detach(), rows)

    def scaled(self, rows: Tensor, input: Tensor, num_weights: int) -> Tensor:
        share = rows / input.reshape(-1).bincount(minlength=num_weights)[input][..., None]
        return share + (rows - share).detach()


class NumbersFromOne(LookUp):
    def rows(self, input: Tensor, weight: Tensor) -> Tensor:
        return weight[input - 1]


class Columns(LookUp):
    def rows(self, input: Tensor, weight: Tensor) -> Tensor:
        return weight.t()[input]


class Flattened(LookUp):
    def __call__(self, input: Tensor, *arguments: Any, **more: Any) -> Tensor:
        return super().__call__(input.reshape(-1), *arguments, **more)


class FloatRows(LookUp):
    def rows(self, input: Tensor, weight: Tensor) -> Tensor:
        return super().rows(input, weight).float()


class Detached(LookUp):
    def rows(self, input: Tensor, weight: Tensor) -> Tensor:
        return super().rows(input, weight).detach()


class RepeatsCountOnce(LookUp):
    """The gradient of the last look-up of each row replaces the others."""

    def rows(self, input: Tensor, weight: Tensor) -> Tensor:
        rows = super().rows(input, weight)
        numbers = input.reshape(-1).tolist()
        last = [number not in numbers[i + 1 :] for i, number in enumerate(numbers)]
        keep = torch.tensor(last, dtype=torch.bool).reshape(*input.shape, 1)
        return torch.where(keep, rows, rows.detach())


class OneMemory(torch.autograd.Function):
    """Keeps the input on the class, where the next look-up overwrites it."""

    input = torch.zeros(0)

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor) -> Tensor:
        OneMemory.input = input
        ctx.rows = len(weight)
        return weight[input]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[None, Tensor]:
        numbers = OneMemory.input.reshape(-1)
        rows = grad_output.reshape(len(numbers), grad_output.shape[-1])
        return None, rows.new_zeros(ctx.rows, rows.shape[1]).index_add(0, numbers, rows)


class OneMemoryForAll(LookUp):
    def rows(self, input: Tensor, weight: Tensor) -> Tensor:
        return OneMemory.apply(input, weight)


class PaddingLooksUpZero(LookUp):
    def padded(self, rows: Tensor, padding: Tensor) -> Tensor:
        return rows.masked_fill(padding, 0)


class PaddingLearns(LookUp):
    def padded(self, rows: Tensor, padding: Tensor) -> Tensor:
        return rows


class NegativePaddingLearns(LookUp):
    def padding(self, padding_idx: int | None, num_weights: int) -> int:
        return -1 if padding_idx is None else padding_idx


class PaddingZeroLearns(LookUp):
    def padding(self, padding_idx: int | None, num_weights: int) -> int:
        return padding_idx % num_weights if padding_idx else -1


class PaddingByDefault(LookUp):
    def padding(self, padding_idx: int | None, num_weights: int) -> int:
        return (padding_idx or 0) % num_weights


class LastRowByDefault(LookUp):
    def padding(self, padding_idx: int | None, num_weights: int) -> int:
        return (-1 if padding_idx is None else padding_idx) % num_weights


class FrequencyIgnored(LookUp):
    def scaled(self, rows: Tensor, input: Tensor, num_weights: int) -> Tensor:
        return rows


EMBEDDING_MISTAKES = (
    Mistake(
        "numbers_from_one",
        "Rows are numbered from 0: input 0 is the first row of weight.",
        NumbersFromOne(),
    ),
    Mistake("columns", "Look up rows of weight, weight[input], not columns.", Columns()),
    Mistake(
        "flattened",
        "The output keeps the shape of input, with dim as one more dimension at its end.",
        Flattened(),
    ),
    Mistake(
        "float_rows",
        "The output has the dtype of weight: here it is always float32.",
        FloatRows(),
    ),
    Mistake(
        "detached",
        "No gradient reaches the weight: backward must return it in second place, and embedding "
        "must go through Lookup.apply.",
        Detached(),
    ),
    Mistake(
        "repeats_count_once",
        "A row that was looked up several times must collect all its gradients: here only the last "
        "one arrived.",
        RepeatsCountOnce(),
    ),
    Mistake(
        "one_memory_for_all",
        "Each look-up needs its own memory: keep the input in ctx.save_for_backward, because a "
        "later look-up overwrites what is kept anywhere else.",
        OneMemoryForAll(),
    ),
    Mistake(
        "padding_by_default",
        "Without a padding_idx every row learns: here row 0 got no gradient.",
        PaddingByDefault(),
    ),
    Mistake(
        "last_row_by_default",
        "Without a padding_idx every row learns: here the last row got no gradient, because "
        "None was made -1 before negative numbers were counted from the end.",
        LastRowByDefault(),
    ),
    Mistake(
        "padding_looks_up_zero",
        "The padding row is looked up as any other, with its own numbers: only its gradient is "
        "zero.",
        PaddingLooksUpZero(),
    ),
    Mistake(
        "padding_learns",
        "padding_idx has no effect: the row of that number must get no gradient.",
        PaddingLearns(),
    ),
    Mistake(
        "negative_padding_learns",
        "A negative padding_idx counts from the end: add the number of rows to it.",
        NegativePaddingLearns(),
    ),
    Mistake(
        "padding_zero_learns",
        "padding_idx=0 was taken for None: 0 counts as False in an if, so ask for `is None`.",
        PaddingZeroLearns(),
    ),
    Mistake(
        "frequency_ignored",
        "scale_grad_by_freq has no effect: hand it on to embedding_dense_backward.",
        FrequencyIgnored(),
    ),
)


def embedding_inputs(rng: torch.Generator) -> list[Case]:
    def case(
        part: str,
        input: Tensor,
        rows: int,
        dim: int,
        dtype: torch.dtype = torch.float32,
        **arguments: Any,
    ) -> Case:
        weight = quarters(rng, dim, rows).t().to(dtype)
        held = weight.tolist() if weight.numel() <= 6 else f"of shape {(rows, dim)}, {dtype}"
        return {
            "part": part,
            "title": f"input {described(input)}, weight {held}{told(arguments)}",
            "input": input,
            "weight": weight,
            "arguments": arguments,
            "cotangents": [quarters(rng, *input.shape, dim).to(dtype) for _ in range(2)],
        }

    found, back, padding, frequency = "the rows", "gradient", "padding_idx", "scale_grad_by_freq"
    rows, dim, n = drawn(rng, 5, 6), drawn(rng, 7, 9), drawn(rng, 8, 12)
    batch = some_rows(rng, rows, (n,))
    table = some_rows(rng, rows, (2, n))
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    return [
        case(found, torch.tensor([1]), 2, 3),
        case(found, torch.tensor([0, 1, 0]), 2, 3),
        case(found, table, rows, dim),
        case(found, table.reshape(2, n, 1).int(), rows, dim),
        case(found, torch.tensor(rows - 1), rows, dim),
        case(found, nothing, rows, dim),
        case(found, batch, rows, dim, torch.float64),
        case(found, batch, rows, dim, torch.bfloat16),
        case(back, torch.tensor([0, 1]), 2, 3),
        case(back, torch.tensor([1, 1]), 2, 3),
        case(back, table, rows, dim),
        case(back, torch.tensor(rows - 1), rows, dim),
        case(back, nothing, rows, dim),
        case(back, batch.int(), rows, dim, torch.float64),
        case(padding, torch.tensor([0, 1]), 2, 3, padding_idx=1),
        case(padding, torch.tensor([0, 1]), 2, 3, padding_idx=-1),
        case(padding, torch.tensor([0, 1]), 2, 3, padding_idx=0),
        case(padding, batch, rows, dim, padding_idx=-rows),
        case(padding, table, rows, dim, padding_idx=rows - 1),
        case(padding, table, rows, dim, padding_idx=1 - rows),
        case(frequency, torch.tensor([1, 0, 1]), 2, 3, scale_grad_by_freq=True),
        case(frequency, table, rows, dim, torch.float64, scale_grad_by_freq=True),
        case(frequency, batch, rows, dim, scale_grad_by_freq=True, padding_idx=0),
    ]


def embedding_probe(embedding: Callable, case: Case) -> Outputs:
    input, weight, arguments = case["input"], case["weight"], case["arguments"]
    weight.requires_grad_(case["part"] != "the rows")
    # A second look-up, of other rows, comes between the first and its gradient.
    inputs = [input, len(weight) - 1 - input]
    first, second = (embedding(numbers, weight, **arguments) for numbers in inputs)
    outputs = {
        "embedding(input, weight)": first,
        "a second look-up": second,
        "input, which must not change": input,
        "weight, which must not change": weight,
    }
    if case["part"] == "the rows":
        return outputs
    for output, cotangent in zip((first, second), case["cotangents"], strict=True):
        if output.requires_grad and output.shape == cotangent.shape:
            output.backward(cotangent)
    return {**outputs, "the gradient of weight after both look-ups": weight.grad}


# --- embedding_bag --------------------------------------------------------------------------------


class Bag:
    """A right embedding_bag that counts words, one decision a method."""

    def __call__(
        self, input: Tensor, weight: Tensor, *, mode: str = "mean", padding_idx: int | None = None
    ) -> Tensor:
        hits = functional.one_hot(input.long(), len(weight)).to(weight.dtype)
        row = self.padding(padding_idx, len(weight))
        if row is not None:
            hits = hits * (torch.arange(len(weight)) != row)
        total = self.total(hits, weight)
        return self.divided(total, hits, mode)

    def padding(self, padding_idx: int | None, num_weights: int) -> int | None:
        return None if padding_idx is None else padding_idx % num_weights

    def total(self, hits: Tensor, weight: Tensor) -> Tensor:
        return hits.sum(1) @ weight

    def divided(self, total: Tensor, hits: Tensor, mode: str) -> Tensor:
        return total / self.count(hits) if mode == "mean" else total

    def count(self, hits: Tensor) -> Tensor:
        return hits.sum((1, 2)).clamp(min=1)[:, None]


class AlwaysSums(Bag):
    def divided(self, total: Tensor, hits: Tensor, mode: str) -> Tensor:
        return total


class AlwaysAverages(Bag):
    def divided(self, total: Tensor, hits: Tensor, mode: str) -> Tensor:
        return total / self.count(hits)


class TakesTheLargest(Bag):
    def total(self, hits: Tensor, weight: Tensor) -> Tensor:
        largest = torch.where(hits[..., None] > 0, weight, -torch.inf).amax((1, 2))
        return torch.where(hits.sum((1, 2)) > 0, largest.t(), 0).t()

    def divided(self, total: Tensor, hits: Tensor, mode: str) -> Tensor:
        return total


class AcrossTheBags(Bag):
    def total(self, hits: Tensor, weight: Tensor) -> Tensor:
        return hits.sum(0) @ weight

    def count(self, hits: Tensor) -> Tensor:
        return hits.sum((0, 2)).clamp(min=1)[:, None]


class NotSummed(Bag):
    def total(self, hits: Tensor, weight: Tensor) -> Tensor:
        return hits @ weight

    def count(self, hits: Tensor) -> Tensor:
        return super().count(hits)[..., None]


class DividesByTheWidth(Bag):
    def count(self, hits: Tensor) -> Tensor:
        return torch.full((len(hits), 1), max(hits.shape[1], 1), dtype=hits.dtype)


class EmptyBagIsNan(Bag):
    def count(self, hits: Tensor) -> Tensor:
        return hits.sum((1, 2))[:, None]


class PaddingIsAWord(Bag):
    def padding(self, padding_idx: int | None, num_weights: int) -> int | None:
        return None


class NegativePaddingIsAWord(Bag):
    def padding(self, padding_idx: int | None, num_weights: int) -> int | None:
        return padding_idx


class PaddingZeroIsAWord(Bag):
    def padding(self, padding_idx: int | None, num_weights: int) -> int | None:
        return padding_idx % num_weights if padding_idx else None


class WordZeroIsPadding(Bag):
    def padding(self, padding_idx: int | None, num_weights: int) -> int | None:
        return (padding_idx or 0) % num_weights


class BagDetached(Bag):
    def total(self, hits: Tensor, weight: Tensor) -> Tensor:
        return super().total(hits, weight.detach())


class PaddingLearnsInTheBag(Bag):
    """Right numbers, but the padding row gets the gradient of a word."""

    def __call__(self, input: Tensor, weight: Tensor, **arguments: Any) -> Tensor:
        bag = super().__call__(input, weight, **arguments)
        arguments.pop("padding_idx", None)
        with_padding = super().__call__(input, weight, **arguments)
        return bag.detach() + with_padding - with_padding.detach()


BAG_MISTAKES = (
    Mistake(
        "always_sums",
        "In the mode 'mean', which is the default, divide the sum by the number of words.",
        AlwaysSums(),
    ),
    Mistake(
        "always_averages",
        "mode has no effect: 'sum' gives the sum of the words, not their mean.",
        AlwaysAverages(),
    ),
    Mistake(
        "takes_the_largest",
        "Add the words up (and divide for the mean): here the largest number of each column was "
        "taken.",
        TakesTheLargest(),
    ),
    Mistake(
        "across_the_bags",
        "A bag is a row of input: sum over dimension 1, the words, not over dimension 0, the bags.",
        AcrossTheBags(),
    ),
    Mistake(
        "not_summed",
        "One vector for each bag: sum over the words of a bag.",
        NotSummed(),
    ),
    Mistake(
        "divides_by_the_width",
        "The mean is over the words that count: here the padding was counted as well.",
        DividesByTheWidth(),
    ),
    Mistake(
        "empty_bag_is_nan",
        "A bag without words is zero, not 0 / 0: divide by clamp(min=1) of the count.",
        EmptyBagIsNan(),
    ),
    Mistake(
        "padding_is_a_word",
        "padding_idx has no effect: leave that word out of the sum and out of the count.",
        PaddingIsAWord(),
    ),
    Mistake(
        "negative_padding_is_a_word",
        "A negative padding_idx counts from the end: -1 is the last row.",
        NegativePaddingIsAWord(),
    ),
    Mistake(
        "padding_zero_is_a_word",
        "padding_idx=0 was taken for None: 0 counts as False in an if, so ask for `is None`.",
        PaddingZeroIsAWord(),
    ),
    Mistake(
        "word_zero_is_padding",
        "Without a padding_idx every word counts: here word 0 was left out.",
        WordZeroIsPadding(),
    ),
    Mistake(
        "bag_detached",
        "No gradient reaches the weight: use your embedding, without .detach(), .data or no_grad.",
        BagDetached(),
    ),
    Mistake(
        "padding_learns_in_the_bag",
        "The padding row must get no gradient: its vector has no part in the sum.",
        PaddingLearnsInTheBag(),
    ),
)


def bag_inputs(rng: torch.Generator) -> list[Case]:
    def case(
        part: str,
        input: Tensor,
        rows: int,
        dim: int,
        dtype: torch.dtype = torch.float32,
        **arguments: Any,
    ) -> Case:
        weight = quarters(rng, dim, rows).t().to(dtype)
        held = weight.tolist() if weight.numel() <= 6 else f"of shape {(rows, dim)}, {dtype}"
        return {
            "part": part,
            "title": f"input {described(input)}, weight {held}{told(arguments)}",
            "input": input,
            "weight": weight,
            "arguments": arguments,
            "cotangent": quarters(rng, len(input), dim).to(dtype),
        }

    mean, total, padding, back = "mean", "sum", "padding_idx", "gradient"
    rows, dim = drawn(rng, 6, 9), drawn(rng, 3, 5)
    bags, words = drawn(rng, 3, 4), drawn(rng, 5, 7)
    table = some_rows(rng, rows, (bags, words))
    # Padding stands before and after the words; the first bag has one word, the last has none.
    filled = functional.pad(table.where(table != 0, 1), (1, words))
    filled[0, 2:] = 0
    filled[-1] = 0
    last = torch.where(filled == 0, rows - 1, filled.where(filled != rows - 1, 0))
    nothing = torch.zeros(0, 3, dtype=torch.int64)
    return [
        case(mean, torch.tensor([[0, 1]]), 2, 3),
        case(mean, torch.tensor([[1, 1, 0]]), 2, 3),
        case(mean, table, rows, dim),
        case(mean, table.int(), rows, dim, torch.float64),
        case(mean, nothing, rows, dim),
        case(total, torch.tensor([[0, 1]]), 2, 3, mode="sum"),
        case(total, table, rows, dim, mode="sum"),
        case(total, table, rows, dim, torch.float64, mode="sum"),
        case(padding, torch.tensor([[1, 0]]), 2, 3, padding_idx=0),
        case(padding, torch.tensor([[0, 1]]), 2, 3, padding_idx=-1),
        case(padding, torch.tensor([[0, 1], [1, 1]]), 2, 3, padding_idx=1),
        case(padding, filled, rows, dim, padding_idx=0),
        case(padding, last, rows, dim, padding_idx=rows - 1),
        case(padding, last, rows, dim, padding_idx=-1),
        case(back, torch.tensor([[0, 1]]), 2, 3),
        case(back, table, rows, dim),
        case(back, table, rows, dim, torch.float64, mode="sum"),
        case(back, filled, rows, dim, padding_idx=0),
        case(back, last, rows, dim, padding_idx=-1, mode="sum"),
    ]


def bag_probe(embedding_bag: Callable, case: Case) -> Outputs:
    input, weight, cotangent = case["input"], case["weight"], case["cotangent"]
    weight.requires_grad_(case["part"] == "gradient")
    output = embedding_bag(input, weight, **case["arguments"])
    outputs = {
        "embedding_bag(input, weight)": output,
        "input, which must not change": input,
        "weight, which must not change": weight,
    }
    if case["part"] != "gradient":
        return outputs
    if output.requires_grad and output.shape == cotangent.shape:
        output.backward(cotangent)
    return {**outputs, "the gradient of weight": weight.grad}


check_embedding_backward = Check(
    module="embedding",
    exercise="embedding_backward",
    target="embedding_dense_backward",
    parts={
        "each row once": 1,
        "repeated rows": 2,
        "shapes and dtypes": 1,
        "padding_idx": 1,
        "scale_grad_by_freq": 1,
    },
    inputs=backward_inputs,
    probe=backward_probe,
    oracle=torchs_backward,
    mistakes=BACKWARD_MISTAKES,
    hints=(
        "Row r of the result is the sum of grad_output over all places where indices is r. "
        "Start from zeros of shape (num_weights, dim).",
        "Make indices one-dimensional, and grad_output a matrix with one row for each index: then "
        "index_add_ adds row i of it to row indices[i] of the result.",
        "A row times 0 is zero: multiply by (indices != padding_idx), or use masked_fill. "
        "torch.bincount counts how often each number occurs.",
    ),
    forbidden=(*FORBIDDEN, *DIFFERENTIATION),
)

check_embedding = Check(
    module="embedding",
    exercise="embedding",
    target="embedding",
    parts={"the rows": 1, "gradient": 2, "padding_idx": 1, "scale_grad_by_freq": 1},
    inputs=embedding_inputs,
    probe=embedding_probe,
    oracle=functional.embedding,
    mistakes=EMBEDDING_MISTAKES,
    hints=(
        "A tensor of numbers between the brackets, weight[input], gives one row for each number.",
        "backward needs the input and the number of rows: save the tensor with "
        "ctx.save_for_backward and the rest as attributes of ctx.",
        "backward returns as many things as forward has arguments after ctx: None, the gradient of "
        "weight, None, None.",
    ),
    forbidden=FORBIDDEN,
)

check_embedding_bag = Check(
    module="embedding",
    exercise="embedding_bag",
    target="embedding_bag",
    parts={"mean": 1, "sum": 1, "padding_idx": 1, "gradient": 1},
    inputs=bag_inputs,
    probe=bag_probe,
    oracle=functional.embedding_bag,
    mistakes=BAG_MISTAKES,
    hints=(
        "embedding(input, weight) has the shape (bags, words, dim): what remains is a sum over "
        "the words.",
        "words = input != padding_idx says which words count: set the other vectors to zero "
        "before the sum, and divide by the number of words that count.",
        "rows.masked_fill(~words[..., None], 0).sum(1) is the sum; words.sum(1, keepdim=True) "
        "counts, and clamp(min=1) saves a bag without words.",
    ),
    forbidden=FORBIDDEN,
)
