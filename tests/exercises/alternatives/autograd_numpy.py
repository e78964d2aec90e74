"""All numbers are computed by NumPy in float64 and come back as torch tensors."""

import numpy as np
import torch


def array(tensor):
    return tensor.detach().double().numpy() if isinstance(tensor, torch.Tensor) else tensor


def tensor(values, dtype):
    return torch.tensor(np.asarray(values), dtype=torch.float64).to(dtype)


def unbroadcast(grad, shape):
    values = array(grad)
    padded = (1,) * (values.ndim - len(shape)) + tuple(shape)
    axes = tuple(axis for axis, (n, m) in enumerate(zip(values.shape, padded)) if n != m)
    return tensor(values.sum(axis=axes, keepdims=True).reshape(tuple(shape)), grad.dtype)


def order(root):
    """Search depth first with a stack of iterators."""
    found, finished, stack = {id(root)}, [], [(root, iter(root.edges))]
    while stack:
        node, edges = stack[-1]
        for child, _ in edges:
            if id(child) not in found:
                found.add(id(child))
                stack.append((child, iter(child.edges)))
                break
        else:
            finished.append(node)
            stack.pop()
    return reversed(finished)


class Tensor:
    def __init__(self, data, requires_grad=False):
        self.data = torch.as_tensor(data).detach()
        if requires_grad and not self.data.is_floating_point():
            raise RuntimeError("only floating point")
        self.requires_grad, self.retains_grad = requires_grad, False
        self.grad = None
        self.edges = []

    @classmethod
    def from_operation(cls, data, *edges):
        made = cls(data)
        made.edges = [(x, rule) for x, rule in edges if isinstance(x, Tensor) and x.requires_grad]
        made.requires_grad = bool(made.edges)
        return made

    @property
    def shape(self):
        return self.data.shape

    @property
    def dtype(self):
        return self.data.dtype

    def retain_grad(self):
        self.retains_grad = True

    def backward(self, gradient=None):
        if not self.requires_grad:
            raise RuntimeError("no gradient is required")
        if gradient is None and self.data.numel() == 1:
            gradient = torch.ones_like(self.data)
        if gradient is None or gradient.shape != self.shape:
            raise RuntimeError("a gradient of the shape of the tensor is needed")
        flowing = {self: gradient.to(self.dtype)}
        for node in order(self):
            grad = flowing.pop(node)
            for child, rule in node.edges:
                part = unbroadcast(rule(grad), child.shape).to(child.dtype)
                flowing[child] = part if child not in flowing else flowing[child] + part
            if node.retains_grad or not node.edges:
                node.grad = grad + (0 if node.grad is None else node.grad)

    def apply(self, function, others=(), rules=()):
        """Call a NumPy function on the operands; the rules take and return arrays too."""
        operands = (self, *others)
        values = [array(getattr(x, "data", x)) for x in operands]
        dtype = self.dtype
        for other in others:
            dtype = torch.result_type(
                torch.empty_like(self.data, dtype=dtype), getattr(other, "data", other)
            )

        def to_torch(rule):
            return lambda grad: tensor(rule(array(grad), *values), torch.float64)

        with np.errstate(all="ignore"):
            result = tensor(function(*values), dtype)
        return self.from_operation(
            result, *zip(operands, map(to_torch, rules or [lambda g, *_: g] * 2), strict=False)
        )

    def __add__(self, other):
        return self.apply(np.add, (other,), [lambda g, a, b: g] * 2)

    def __radd__(self, other):
        return self.__add__(other)

    def __neg__(self):
        return self.apply(np.negative, (), [lambda g, a: np.negative(g)])

    def __sub__(self, other):
        return self.apply(np.subtract, (other,), [lambda g, a, b: g, lambda g, a, b: -g])

    def __rsub__(self, other):
        return self.apply(lambda a, b: b - a, (other,), [lambda g, a, b: -g])

    def __mul__(self, other):
        return self.apply(np.multiply, (other,), [lambda g, a, b: g * b, lambda g, a, b: g * a])

    def __rmul__(self, other):
        return self.__mul__(other)

    def __truediv__(self, other):
        return self.apply(
            np.divide, (other,), [lambda g, a, b: g / b, lambda g, a, b: -(a * g) / np.square(b)]
        )

    def __rtruediv__(self, other):
        return self.apply(lambda a, b: b / a, (other,), [lambda g, a, b: -b * g / np.square(a)])

    def __pow__(self, n):
        slope = (lambda g, a: n * g * np.power(a, n - 1.0)) if n else (lambda g, a: 0 * g)
        return self.apply(lambda a: np.power(a, float(n)), (), [slope])

    def __matmul__(self, other):
        def matrices(a, b):
            return (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)

        def full(g, a, b):
            x, y = matrices(a, b)
            batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
            return g.reshape(*batch, x.shape[-2], y.shape[-1])

        def by_a(g, a, b):
            _, y = matrices(a, b)
            return full(g, a, b) @ np.swapaxes(y, -1, -2)

        def by_b(g, a, b):
            x, _ = matrices(a, b)
            grad = np.swapaxes(x, -1, -2) @ full(g, a, b)
            return grad[..., 0] if b.ndim == 1 else grad

        return self.apply(np.matmul, (other,), [by_a, by_b])

    def relu(self):
        return self.apply(lambda a: np.maximum(a, 0), (), [lambda g, a: np.where(a > 0, g, 0)])

    def exp(self):
        return self.apply(np.exp, (), [lambda g, a: g * np.exp(a)])

    def log(self):
        return self.apply(np.log, (), [lambda g, a: g / a])

    def sum(self, dim=None, keepdim=False):
        def spread(g, a):
            return np.broadcast_to(g.reshape(a.sum(axis=dim, keepdims=True).shape), a.shape)

        if self.data.dim() == 0:
            return self + 0
        return self.apply(lambda a: a.sum(axis=dim, keepdims=keepdim), (), [spread])

    def mean(self, dim=None, keepdim=False):
        total = self.sum(dim, keepdim)
        kept = np.ones(tuple(self.shape)).sum(axis=dim) if self.data.dim() else np.ones(())
        return total / float(kept.flat[0]) if kept.size else total

    def reshape(self, *shape):
        return self.apply(
            lambda a: a.reshape(*shape), (), [lambda g, a: g.reshape(tuple(self.shape))]
        )

    def transpose(self, dim0, dim1):
        def swap(a, *_):
            return np.swapaxes(a, dim0, dim1)

        return self.apply(swap, (), [swap])


def gradcheck(func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3):
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    checked = [i for i, x in enumerate(inputs) if x.requires_grad]
    if not checked:
        raise ValueError("gradcheck needs an input that requires grad")
    point = [array(x.data).copy() for x in inputs]

    def tensors():
        return [Tensor(torch.tensor(a), x.requires_grad) for a, x in zip(point, inputs)]

    for i in checked:
        for index in np.ndindex(point[i].shape):
            middle = point[i][index]
            point[i][index] = middle + eps
            high = func(*tensors()).data.numpy().ravel()
            point[i][index] = middle - eps
            low = func(*tensors()).data.numpy().ravel()
            point[i][index] = middle
            slopes = (high - low) / (2 * eps)
            found = np.zeros_like(slopes)
            for j in range(found.size):
                fresh = tensors()
                result = func(*fresh)
                unit = torch.zeros(result.data.numel(), dtype=torch.float64)
                unit[j] = 1.0
                if result.requires_grad:
                    result.backward(unit.reshape(result.shape))
                if fresh[i].grad is not None:
                    found[j] = fresh[i].grad.numpy()[index]
            if not np.allclose(found, slopes, rtol=rtol, atol=atol):
                raise RuntimeError(f"wrong gradient: input {i}, element {list(index)}")
    return True
