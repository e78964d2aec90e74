"""Reverse-mode automatic differentiation over torch tensors, with torch's own engine off.

A ``Tensor`` remembers which operation made it from which inputs, and ``backward`` walks back
through these memories with the chain rule. Every operation is one method: the value, and beside
it, for each input, the rule that turns the gradient of the result into the gradient of the input.

Sources: S. Linnainmaa, "Taylor expansion of the accumulated rounding error", BIT 16 (1976);
A. Baydin et al., "Automatic differentiation in machine learning: a survey", JMLR 18 (2018).
Names and semantics are those of ``torch.Tensor``. Book: Neural Network Fundamentals, 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

Rule = Callable[[torch.Tensor], torch.Tensor]
"""Takes the gradient of a result and returns the gradient of one input of the operation."""


def unbroadcast(grad: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Sum a gradient over everything that broadcasting repeated.

    When a tensor of shape ``shape`` was broadcast to the shape of ``grad``, every element of it
    was used in several places, and its gradient is the sum over these places.

    Args:
        grad: gradient of the shape that ``shape`` was broadcast to. It is not changed.
        shape: the shape before broadcasting.

    Returns:
        Tensor of shape ``shape`` and of the dtype of ``grad``. It may share memory with ``grad``
        where there is nothing to sum.
    """
    ### BEGIN SOLUTION
    if list(grad.shape) == list(shape):
        return grad
    added = grad.dim() - len(shape)
    dims = [*range(added), *(added + i for i, n in enumerate(shape) if n == 1)]
    return grad.sum(dims).reshape(shape)
    ### END SOLUTION


def topological_order(output: Tensor) -> list[Tensor]:
    """Return every tensor on which ``output`` depends through ``edges``, itself included.

    Each tensor stands in the list once, and after all the tensors that were computed from it:
    ``output`` is the first. Graphs may be deeper than Python's recursion limit.
    """
    ### BEGIN SOLUTION
    finished: list[Tensor] = []
    seen = set()
    stack = [(output, False)]
    while stack:
        tensor, inputs_are_finished = stack.pop()
        if inputs_are_finished:
            finished.append(tensor)
        elif tensor not in seen:
            seen.add(tensor)
            stack.append((tensor, True))
            stack.extend((input, False) for input, _ in tensor.edges)
    return finished[::-1]
    ### END SOLUTION


class Tensor:
    """A torch tensor that can be differentiated.

    The other operand of an operation may be a ``Tensor``, or a number or torch tensor, which
    counts as a constant. Values, dtypes and broadcasting are torch's.

    Args:
        data: a torch tensor (its storage is shared), a number or a nested list of numbers.
        requires_grad: whether ``backward`` shall compute a gradient for this tensor.

    Attributes:
        data: the values, a torch tensor outside torch's own autograd.
        grad: ``None``, or the gradient: a torch tensor of the shape and dtype of ``data``, with
            memory of its own. Only leaves that require a gradient get one, and tensors that
            asked for it with ``retain_grad``. Every call of ``backward`` adds to it.
        requires_grad: whether this tensor, or one that it was computed from, needs a gradient.
        edges: the pairs ``(input, rule)`` of the operation that made this tensor, only for the
            inputs that require a gradient; empty for a leaf.
        retains_grad: whether ``retain_grad`` was called.

    Raises:
        RuntimeError: ``requires_grad`` for data that are not floating point.
    """

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.data = torch.as_tensor(data).detach()
        if requires_grad and not self.data.is_floating_point():
            raise RuntimeError(f"only floating point data can require grad, not {self.data.dtype}")
        self.requires_grad = requires_grad
        self.grad: torch.Tensor | None = None
        self.edges: tuple[tuple[Tensor, Rule], ...] = ()
        self.retains_grad = False

    @classmethod
    def from_operation(cls, data: torch.Tensor, *edges: tuple[Any, Rule]) -> Tensor:
        """Record the result of an operation: this is how the engine learns a new one.

        Args:
            data: the value of the result.
            edges: one pair ``(input, rule)`` for each input. The rule gets the gradient of the
                result, which it must not change, and returns the gradient of the input, in the
                input's shape or in a shape that the input was broadcast to. Inputs that are
                constants, or need no gradient, are left out of the record.
        """
        result = cls(data)
        result.edges = tuple(
            edge for edge in edges if isinstance(edge[0], Tensor) and edge[0].requires_grad
        )
        result.requires_grad = bool(result.edges)
        return result

    @property
    def shape(self) -> torch.Size:
        return self.data.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.data.dtype

    @property
    def is_leaf(self) -> bool:
        return not self.edges

    def __repr__(self) -> str:
        return f"Tensor({self.data}, requires_grad={self.requires_grad})"

    def item(self) -> float:
        """Return the value of a tensor with one element as a Python number."""
        return self.data.item()

    def detach(self) -> Tensor:
        """Return a tensor with the same storage and without a history."""
        return type(self)(self.data)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def retain_grad(self) -> None:
        """Ask ``backward`` to keep the gradient here too, although this is not a leaf."""
        self.retains_grad = True

    def backward(self, gradient: torch.Tensor | None = None) -> None:
        """Add the gradient of this tensor to ``grad`` of the leaves that it depends on.

        Every rule is called once, with the whole gradient of its result, when all the parts of
        that gradient have come together. What it returns is brought to the shape (see
        ``unbroadcast``) and the dtype of the input. The graph stays, so that ``backward`` can be
        called again.

        Args:
            gradient: torch tensor of the shape of this tensor, the gradient to start from.
                It is not changed. A tensor with one element can do without: it starts from 1.

        Raises:
            RuntimeError: this tensor does not require grad; or it has more than one element and
                there is no ``gradient``; or ``gradient`` has another shape.
        """
        if not self.requires_grad:
            raise RuntimeError("this tensor does not require grad: there is nothing to compute")
        if gradient is None:
            if self.data.numel() != 1:
                raise RuntimeError(f"backward from shape {tuple(self.shape)} needs a gradient")
            gradient = torch.ones_like(self.data)
        if gradient.shape != self.shape:
            raise RuntimeError(
                f"gradient has shape {tuple(gradient.shape)}, the tensor {tuple(self.shape)}"
            )
        gradient = gradient.to(self.dtype)
        ### BEGIN SOLUTION
        grads = {self: gradient}
        for tensor in topological_order(self):
            grad = grads.pop(tensor)
            if tensor.is_leaf or tensor.retains_grad:
                tensor.grad = grad.clone() if tensor.grad is None else tensor.grad + grad
            for input, rule in tensor.edges:
                # Never in place: a rule may return the very tensor that it was given.
                part = unbroadcast(rule(grad), input.shape).to(input.dtype)
                grads[input] = grads[input] + part if input in grads else part
        ### END SOLUTION

    # --- arithmetic -------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        """Return ``self + other``. Written for you: the other operations look like it."""
        return self.from_operation(
            self.data + _value(other),
            (self, lambda grad: grad),
            (other, lambda grad: grad),
        )

    def __neg__(self) -> Tensor:
        """Return ``-self``."""
        ### BEGIN SOLUTION
        return self.from_operation(-self.data, (self, lambda grad: -grad))
        ### END SOLUTION

    def __sub__(self, other: Any) -> Tensor:
        """Return ``self - other``."""
        ### BEGIN SOLUTION
        return self.from_operation(
            self.data - _value(other),
            (self, lambda grad: grad),
            (other, lambda grad: -grad),
        )
        ### END SOLUTION

    def __rsub__(self, other: Any) -> Tensor:
        """Return ``other - self`` for a constant ``other``."""
        ### BEGIN SOLUTION
        return self.from_operation(other - self.data, (self, lambda grad: -grad))
        ### END SOLUTION

    def __mul__(self, other: Any) -> Tensor:
        """Return the elementwise product ``self * other``."""
        ### BEGIN SOLUTION
        a, b = self.data, _value(other)
        return self.from_operation(
            a * b,
            (self, lambda grad: grad * b),
            (other, lambda grad: grad * a),
        )
        ### END SOLUTION

    def __truediv__(self, other: Any) -> Tensor:
        """Return the elementwise quotient ``self / other``."""
        ### BEGIN SOLUTION
        b = _value(other)
        quotient = self.data / b
        return self.from_operation(
            quotient,
            (self, lambda grad: grad / b),
            (other, lambda grad: -grad * quotient / b),
        )
        ### END SOLUTION

    def __rtruediv__(self, other: Any) -> Tensor:
        """Return ``other / self`` for a constant ``other``."""
        ### BEGIN SOLUTION
        quotient = other / self.data
        return self.from_operation(quotient, (self, lambda grad: -grad * quotient / self.data))
        ### END SOLUTION

    def __pow__(self, exponent: float) -> Tensor:
        """Return ``self ** exponent``, elementwise, for an exponent that is a number.

        With exponent 0 the gradient is 0 everywhere, even where the base is 0.
        """
        if not isinstance(exponent, int | float):
            return NotImplemented
        ### BEGIN SOLUTION
        base = self.data
        if exponent == 0:
            return self.from_operation(base**exponent, (self, torch.zeros_like))
        return self.from_operation(
            base**exponent, (self, lambda grad: grad * exponent * base ** (exponent - 1))
        )
        ### END SOLUTION

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, other: Tensor) -> Tensor:
        """Return the matrix product ``self @ other``, as ``torch.matmul`` does.

        Operands with two dimensions are matrices. One with a single dimension is a row vector on
        the left and a column vector on the right, and the result lacks the dimension that it
        lacks. One with more dimensions is a batch of matrices, and batches are broadcast.
        """
        ### BEGIN SOLUTION
        a, b = self.data, _value(other)
        product = a @ b
        rows = torch.atleast_2d(a)
        columns = b[:, None] if b.dim() == 1 else b

        def matrix(grad: torch.Tensor) -> torch.Tensor:
            grad = grad.unsqueeze(-1) if b.dim() == 1 else grad
            return grad.unsqueeze(-2) if a.dim() == 1 else grad

        def grad_b(grad: torch.Tensor) -> torch.Tensor:
            grad = rows.mT @ matrix(grad)
            return grad.squeeze(-1) if b.dim() == 1 else grad

        return self.from_operation(
            product, (self, lambda grad: matrix(grad) @ columns.mT), (other, grad_b)
        )
        ### END SOLUTION

    # --- functions --------------------------------------------------------------------------------

    def relu(self) -> Tensor:
        """Return ``max(x, 0)``, elementwise. Its derivative at 0 is 0."""
        ### BEGIN SOLUTION
        x = self.data
        return self.from_operation(x.relu(), (self, lambda grad: grad.masked_fill(x <= 0, 0)))
        ### END SOLUTION

    def exp(self) -> Tensor:
        """Return ``e ** x``, elementwise."""
        ### BEGIN SOLUTION
        result = self.data.exp()
        return self.from_operation(result, (self, lambda grad: grad * result))
        ### END SOLUTION

    def log(self) -> Tensor:
        """Return the natural logarithm, elementwise."""
        ### BEGIN SOLUTION
        x = self.data
        return self.from_operation(x.log(), (self, lambda grad: grad / x))
        ### END SOLUTION

    # --- operations that change the shape ---------------------------------------------------------

    def sum(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
        """Return the sum over the dimensions ``dim``, or over all.

        Args:
            dim: a dimension or several; a negative one counts from the end.
            keepdim: keep the summed dimensions, with size 1.
        """
        ### BEGIN SOLUTION
        summed = _dimensions(dim, self.data.dim())
        kept = [1 if i in summed else n for i, n in enumerate(self.shape)]
        return self.from_operation(
            self.data.sum(dim, keepdim),
            (self, lambda grad: grad.reshape(kept).expand(self.shape)),
        )
        ### END SOLUTION

    def mean(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
        """Return the mean over the dimensions ``dim``, or over all; see ``sum``."""
        ### BEGIN SOLUTION
        count = math.prod(self.shape[i] for i in _dimensions(dim, self.data.dim()))
        return self.sum(dim, keepdim) / count
        ### END SOLUTION

    def reshape(self, *shape: int) -> Tensor:
        """Return the same elements, in the same order, in another shape.

        Args:
            shape: the new sizes, as numbers or as one tuple; one of them may be -1.
        """
        ### BEGIN SOLUTION
        return self.from_operation(
            self.data.reshape(*shape), (self, lambda grad: grad.reshape(self.shape))
        )
        ### END SOLUTION

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Return the tensor with the dimensions ``dim0`` and ``dim1`` swapped."""
        ### BEGIN SOLUTION
        return self.from_operation(
            self.data.transpose(dim0, dim1), (self, lambda grad: grad.transpose(dim0, dim1))
        )
        ### END SOLUTION

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        return self.transpose(0, 1)


def _value(operand: Any) -> Any:
    """Return the torch tensor or number behind an operand."""
    return operand.data if isinstance(operand, Tensor) else operand


def _dimensions(dim: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Return the dimensions that ``dim`` names, each from 0 to ``ndim - 1``."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) else dim
    return tuple(i for i in range(ndim) if i in dims or i - ndim in dims)


def numerical_jacobian(
    func: Callable[..., Tensor], inputs: tuple[Tensor, ...], number: int, eps: float
) -> torch.Tensor:
    """Estimate the derivatives of ``func(*inputs)`` by input ``number`` from its values alone.

    For an element ``x`` of the input it is ``(f(x + eps) - f(x - eps)) / (2 eps)``, the central
    difference. The inputs have afterwards the values that they had before.

    Returns:
        Tensor of shape ``(*shape of the input, elements of the result)``.
    """
    ### BEGIN SOLUTION
    input = inputs[number]
    # The elements are moved in place: a view of contiguous data.
    elements = input.data.view(-1)
    differences = elements.new_zeros(elements.numel(), func(*inputs).data.numel())
    for j, start in enumerate(elements.tolist()):
        elements[j] = start + eps
        above = func(*inputs).data.flatten()
        elements[j] = start - eps
        below = func(*inputs).data.flatten()
        elements[j] = start
        differences[j] = (above - below) / (2 * eps)
    return differences.reshape(*input.shape, differences.shape[1])
    ### END SOLUTION


def analytical_jacobian(
    func: Callable[..., Tensor], inputs: tuple[Tensor, ...], number: int
) -> torch.Tensor:
    """Compute the derivatives of ``func(*inputs)`` by input ``number`` with ``backward``.

    They are zero where the result does not depend on the input.

    Returns:
        Tensor of shape ``(*shape of the input, elements of the result)``.
    """
    ### BEGIN SOLUTION
    input, result = inputs[number], func(*inputs)
    derivatives = input.data.new_zeros(*input.shape, result.data.numel())
    if not result.requires_grad:
        return derivatives
    for i in range(result.data.numel()):
        gradient = torch.zeros_like(result.data)
        gradient.view(-1)[i] = 1
        input.zero_grad()
        result.backward(gradient)
        if input.grad is not None:
            derivatives[..., i] = input.grad
    return derivatives
    ### END SOLUTION


def gradcheck(
    func: Callable[..., Tensor],
    inputs: Tensor | tuple[Tensor, ...],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
) -> bool:
    """Compare the gradients that ``backward`` computes with central differences.

    Everything is computed in float64 on copies: ``inputs`` keep their values and their ``grad``.

    Args:
        func: takes the inputs, returns one ``Tensor`` of any shape.
        inputs: one ``Tensor`` or a tuple. Those that require a gradient are checked.
        eps: half the distance of the two points of a difference.
        atol: absolute tolerance: a derivative ``a`` agrees with a difference ``n`` when
            ``abs(a - n) <= atol + rtol * abs(n)``; a NaN never does.
        rtol: relative tolerance.

    Returns:
        ``True`` if every element of every checked input agrees.

    Raises:
        ValueError: no input requires a gradient.
        RuntimeError: something differs. The message names the first place, inputs in order and
            elements row by row, both counted from 0, for example ``input 1, element [0, 2]``.

    Source: ``torch.autograd.gradcheck``.
    """
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if not any(input.requires_grad for input in inputs):
        raise ValueError("gradcheck needs an input that requires grad")
    inputs = tuple(_float64(input) for input in inputs)
    ### BEGIN SOLUTION
    for number, input in enumerate(inputs):
        if not input.requires_grad:
            continue
        analytical = analytical_jacobian(func, inputs, number)
        numerical = numerical_jacobian(func, inputs, number, eps)
        wrong = ~torch.isclose(analytical, numerical, rtol=rtol, atol=atol)
        if wrong.any():
            *element, output = wrong.nonzero()[0].tolist()
            raise RuntimeError(
                f"input {number}, element {element}: backward gives "
                f"{analytical[*element, output]:.6g}, a central difference "
                f"{numerical[*element, output]:.6g}"
            )
    return True
    ### END SOLUTION


def _float64(input: Tensor) -> Tensor:
    """Return a contiguous copy in float64; data that are not floating point keep their dtype."""
    data = input.data.double() if input.data.is_floating_point() else input.data
    return Tensor(data.clone(memory_format=torch.contiguous_format), input.requires_grad)
