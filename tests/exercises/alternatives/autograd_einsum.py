"""A tensor waits until everything made from it has paid; products and sums are einsums."""

from collections import defaultdict, deque

import torch


def unbroadcast(grad, shape):
    letters = "abcdefghij"[: grad.dim()]
    offset = grad.dim() - len(shape)
    kept = "".join(letters[offset + i] for i, n in enumerate(shape) if n != 1)
    return torch.einsum(f"{letters}->{kept}", grad).reshape(shape)


class Tensor:
    def __init__(self, data, requires_grad=False):
        self.data = torch.as_tensor(data).detach()
        if requires_grad and not self.data.is_floating_point():
            raise RuntimeError("integers have no gradient")
        self.requires_grad = requires_grad
        self.grad = None
        self.retains_grad = False
        self.edges = ()

    @classmethod
    def from_operation(cls, data, *edges):
        result = cls(data)
        result.edges = tuple(e for e in edges if isinstance(e[0], Tensor) and e[0].requires_grad)
        result.requires_grad = result.edges != ()
        return result

    @property
    def shape(self):
        return self.data.shape

    def retain_grad(self):
        self.retains_grad = True

    def backward(self, gradient=None):
        if not self.requires_grad:
            raise RuntimeError("does not require grad")
        if gradient is None:
            if self.data.numel() > 1:
                raise RuntimeError("which gradient?")
            gradient = torch.ones_like(self.data)
        if gradient.shape != self.shape:
            raise RuntimeError("wrong shape")
        owed, queue, met = defaultdict(int), deque([self]), {self}
        while queue:
            for input, _ in queue.popleft().edges:
                owed[input] += 1
                if input not in met:
                    met.add(input)
                    queue.append(input)
        received, ready = defaultdict(list), [self]
        received[self].append(gradient.to(self.data.dtype))
        while ready:
            tensor = ready.pop()
            grad = sum(received.pop(tensor))
            if tensor.edges == () or tensor.retains_grad:
                # The sum above started from 0, so this is new memory.
                tensor.grad = grad if tensor.grad is None else torch.add(tensor.grad, grad)
            for input, rule in tensor.edges:
                part = rule(grad)
                if part.shape != input.shape:
                    part = unbroadcast(part, tuple(input.shape))
                received[input].append(part.to(input.data.dtype))
                owed[input] -= 1
                if owed[input] == 0:
                    ready.append(input)

    def binary(self, other, function):
        """Apply a function that returns the value and both derivatives."""
        value, by_first, by_second = function(self.data, getattr(other, "data", other))
        return self.from_operation(
            value, (self, lambda grad: grad * by_first), (other, lambda grad: grad * by_second)
        )

    def __add__(self, other):
        return self.binary(other, lambda a, b: (a + b, 1, 1))

    def __sub__(self, other):
        return self.binary(other, lambda a, b: (a - b, 1, -1))

    def __mul__(self, other):
        return self.binary(other, lambda a, b: (a * b, b, a))

    def __truediv__(self, other):
        return self.binary(other, lambda a, b: (a / b, 1 / b, -a / (b * b)))

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other

    def __rsub__(self, other):
        return self.from_operation(other - self.data, (self, torch.neg))

    def __rtruediv__(self, other):
        x = self.data
        return self.from_operation(other / x, (self, lambda grad: -other * grad / (x * x)))

    def __neg__(self):
        return self.from_operation(torch.neg(self.data), (self, torch.neg))

    def __pow__(self, n):
        x = self.data
        if n == 0:
            return self.from_operation(torch.ones_like(x), (self, lambda grad: 0 * grad))
        return self.from_operation(x**n, (self, lambda grad: grad * (n * x ** (n - 1))))

    def __matmul__(self, other):
        a, b = self.data, getattr(other, "data", other)
        left = "ij"[-a.dim() :] if a.dim() < 2 else "...ij"
        right = "j" if b.dim() < 2 else "...jk"
        out = left.replace("j", "") + ("" if b.dim() < 2 else "k")
        if "..." in right and "..." not in out:
            out = "..." + out
        if a.dim() == 1 and b.dim() > 1:
            out = "...k"
        # Without the batch dimensions of an operand on the right of the arrow, einsum sums them,
        # but not those that were broadcast: they are left to backward.
        return self.from_operation(
            torch.einsum(f"{left},{right}->{out}", a, b),
            (self, lambda g: summed(f"{out},{right}->", g, b, left)),
            (other, lambda g: summed(f"{left},{out}->", a, g, right)),
        )

    def relu(self):
        return self.binary(0, lambda a, b: (torch.maximum(a, a.new_zeros(())), a > b, 0))

    def exp(self):
        return self.binary(0, lambda a, b: (a.exp(), a.exp(), 0))

    def log(self):
        return self.binary(0, lambda a, b: (a.log(), 1 / a, 0))

    def sum(self, dim=None, keepdim=False):
        kept = self.data.sum(dim, True)
        value = kept if keepdim else self.data.sum(dim)
        return self.from_operation(
            value, (self, lambda grad: torch.broadcast_to(grad.reshape(kept.shape), self.shape))
        )

    def mean(self, dim=None, keepdim=False):
        kept = self.data.mean(dim, True)
        value = kept if keepdim else self.data.mean(dim)
        count = self.data.numel() / max(kept.numel(), 1)
        return self.from_operation(
            value,
            (self, lambda grad: torch.broadcast_to(grad.reshape(kept.shape) / count, self.shape)),
        )

    def reshape(self, *shape):
        return self.from_operation(
            torch.reshape(self.data, shape if isinstance(shape[0], int) else shape[0]),
            (self, lambda grad: grad.reshape(self.shape)),
        )

    def transpose(self, dim0, dim1):
        return self.from_operation(
            self.data.swapaxes(dim0, dim1), (self, lambda grad: grad.swapaxes(dim0, dim1))
        )


def summed(equation, first, second, to):
    """Let einsum compute the gradient of an operand without dots of its own over all batches."""
    if "..." in equation and "..." not in to:
        to = "..." + to
    return torch.einsum(equation + to, first, second)


def gradcheck(func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3):
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    if all(not x.requires_grad for x in given):
        raise ValueError("no input requires grad")
    flat = [x.data.double().flatten() for x in given]

    def call(vectors):
        tensors = [
            Tensor(vector.reshape(x.shape), x.requires_grad)
            for vector, x in zip(vectors, given, strict=True)
        ]
        return tensors, func(*tensors)

    for i, x in enumerate(given):
        if not x.requires_grad:
            continue
        steps = eps * torch.eye(len(flat[i]), dtype=torch.float64)
        numerical = torch.stack(
            [
                call([*flat[:i], flat[i] + step, *flat[i + 1 :]])[1].data.flatten()
                - call([*flat[:i], flat[i] - step, *flat[i + 1 :]])[1].data.flatten()
                for step in steps
            ]
        ) / (2 * eps)
        results = numerical.shape[1]
        rows = []
        for unit in torch.eye(results, dtype=torch.float64):
            tensors, result = call(flat)
            if result.requires_grad:
                result.backward(unit.reshape(result.shape))
            grad = tensors[i].grad
            rows.append(torch.zeros_like(flat[i]) if grad is None else grad.flatten())
        analytical = torch.stack(rows, 1)
        bad = torch.logical_not((analytical - numerical).abs() <= atol + rtol * numerical.abs())
        for element, row in enumerate(bad.reshape(-1, results)):
            if row.any():
                index = []
                for size in reversed(x.shape):
                    element, rest = divmod(element, size)
                    index.insert(0, rest)
                raise RuntimeError(f"gradients differ at input {i}, element {index}")
    return True
