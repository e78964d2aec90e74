"""Embeddings: a vector for every word, found by its number, and the gradient of that look-up.

The functions take the arguments of their namesakes in torch. Book: Build and Train, 8.
"""

from typing import Any

import torch
from torch import Tensor


def embedding_dense_backward(
    grad_output: Tensor,
    indices: Tensor,
    num_weights: int,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
) -> Tensor:
    """Return the gradient of the weight whose rows ``weight[indices]`` were looked up.

    A row of the weight that was looked up several times collects the gradients of all its
    copies; a row that was not looked up gets zeros.

    Args:
        grad_output: gradient of the rows found, shape ``(*, dim)``. It is not changed.
        indices: int64 or int32 tensor of shape ``(*)``, any number of dimensions, also none.
        num_weights: number of rows of the weight.
        padding_idx: the row that gets no gradient; -1 for none.
        scale_grad_by_freq: divide the gradient of each row by how often it was looked up.

    Returns:
        Tensor of shape ``(num_weights, dim)``, of the dtype of ``grad_output``.

    Source: the operator of the same name inside torch, behind torch.nn.functional.embedding.
    """
    raise NotImplementedError("your turn: embedding_dense_backward")


class Lookup(torch.autograd.Function):
    """The look-up ``weight[input]`` as an operation with a gradient of its own.

    torch calls ``forward`` when the operation is used, and ``backward`` when a gradient comes
    back. ``ctx`` is the same object in both: tensors go into ``ctx.save_for_backward(...)`` and
    come out of ``ctx.saved_tensors``; other things are attributes, ``ctx.name = value``.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, padding_idx: int, scale_grad_by_freq: bool
    ) -> Tensor:
        """Return the rows of ``weight`` that ``input`` names, and keep what backward needs.

        Args:
            ctx: see the class.
            input: int64 or int32 tensor of shape ``(*)``, each number in ``[0, num_weights)``.
            weight: tensor of shape ``(num_weights, dim)``.
            padding_idx: the row that gets no gradient; -1 for none.
            scale_grad_by_freq: divide the gradient of each row by how often it was looked up.

        Returns:
            Tensor of shape ``(*, dim)``, of the dtype of ``weight``.
        """
        raise NotImplementedError("your turn: Lookup.forward")

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Return a gradient for each argument of forward: ``None`` for all but the weight.

        Args:
            ctx: see the class.
            grad_output: gradient of what forward returned, shape ``(*, dim)``.
        """
        raise NotImplementedError("your turn: Lookup.backward")


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    *,
    scale_grad_by_freq: bool = False,
) -> Tensor:
    """Look up the rows of a weight by their numbers.

    Args:
        input: int64 or int32 tensor of any shape ``(*)``, each number in ``[0, num_weights)``.
        weight: tensor of shape ``(num_weights, dim)``.
        padding_idx: a row that gets no gradient, though it is looked up as any other. A negative
            number counts from the end: -1 is the last row.
        scale_grad_by_freq: divide the gradient of each row by how often it was looked up.

    Returns:
        Tensor of shape ``(*, dim)``, of the dtype of ``weight``. Its gradient flows to
        ``weight`` through ``embedding_dense_backward``. The inputs are not changed.

    Raises:
        IndexError: a number outside ``[0, num_weights)``.
        RuntimeError: ``weight`` is not a matrix, or ``input`` is neither int64 nor int32.
        AssertionError: ``padding_idx`` names no row.

    Source: torch.nn.functional.embedding.
    """
    _require_indices(input, weight, IndexError)
    if padding_idx is not None and not -len(weight) <= padding_idx < len(weight):
        raise AssertionError(f"padding_idx {padding_idx} names none of {len(weight)} rows")
    raise NotImplementedError("your turn: embedding")


def embedding_bag(
    input: Tensor, weight: Tensor, *, mode: str = "mean", padding_idx: int | None = None
) -> Tensor:
    """Look up bags of words, and return one vector for each bag: the mean or the sum.

    Args:
        input: int64 or int32 tensor of shape ``(bags, words)``, each number in
            ``[0, num_weights)``. Short bags are filled up with ``padding_idx``.
        weight: tensor of shape ``(num_weights, dim)``.
        mode: ``"mean"`` or ``"sum"``.
        padding_idx: the word that only fills up: it adds nothing to a bag, does not count in its
            mean, and gets no gradient. A negative number counts from the end.

    Returns:
        Tensor of shape ``(bags, dim)``, of the dtype of ``weight``. A bag without words is zero.
        The inputs are not changed.

    Raises:
        ValueError: ``input`` does not have two dimensions, or the mode is another.
        RuntimeError: a number of ``input`` or ``padding_idx`` that names no row, or another
            dtype of ``input``.

    Source: torch.nn.functional.embedding_bag.
    """
    if mode not in ("mean", "sum"):
        raise ValueError(f"mode must be 'mean' or 'sum', got {mode!r}")
    if input.dim() != 2 or weight.dim() != 2:
        raise ValueError(
            f"input and weight must have two dimensions, got {input.dim()} and {weight.dim()}"
        )
    _require_indices(input, weight, RuntimeError)
    if padding_idx is not None and not -len(weight) <= padding_idx < len(weight):
        raise RuntimeError(f"padding_idx {padding_idx} names none of {len(weight)} rows")
    raise NotImplementedError("your turn: embedding_bag")


def _require_indices(input: Tensor, weight: Tensor, out_of_range: type[Exception]) -> None:
    if weight.dim() != 2:
        raise RuntimeError(f"weight must be a matrix, got {weight.dim()} dimensions")
    if input.dtype not in (torch.int64, torch.int32):
        raise RuntimeError(f"input must be int64 or int32, got {input.dtype}")
    if input.numel() and not (input.min() >= 0 and input.max() < len(weight)):
        raise out_of_range(f"input must name rows from 0 to {len(weight) - 1}")
