"""Tensors are numbered as they are made; a heap hands out the youngest that has a gradient."""

import heapq
from itertools import count, product

import torch

numbers = count()


def unbroadcast(grad, shape):
    result = grad
    for _ in range(grad.dim() - len(shape)):
        result = result.sum(dim=0)
    for dim in range(len(shape)):
        if shape[dim] == 1:
            result = result.sum(dim=dim, keepdim=True)
    return result


class Tensor:
    def __init__(self, data, requires_grad=False):
        self.data = torch.as_tensor(data).detach()
        if requires_grad and not self.data.is_floating_point():
            raise RuntimeError("no gradient for integers")
        self.number = next(numbers)
        self.requires_grad, self.grad, self.retains_grad = requires_grad, None, False
        self.parents, self.rules = [], []

    def __lt__(self, other):
        return self.number > other.number

    @classmethod
    def from_operation(cls, data, *edges):
        result = cls(data)
        for parent, rule in edges:
            if getattr(parent, "requires_grad", False):
                result.parents.append(parent)
                result.rules.append(rule)
        result.requires_grad = len(result.parents) > 0
        return result

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)

    def retain_grad(self):
        self.retains_grad = True

    def zero_grad(self):
        self.grad = None

    def backward(self, gradient=None):
        if not self.requires_grad or (gradient is None and self.data.numel() != 1):
            raise RuntimeError("nothing to start from")
        if gradient is None:
            gradient = torch.ones_like(self.data)
        if gradient.shape != self.shape:
            raise RuntimeError("another shape")
        gradients = {id(self): gradient.to(self.dtype)}
        heap = [self]
        while heap:
            tensor = heapq.heappop(heap)
            mine = gradients.pop(id(tensor))
            if tensor.retains_grad or not tensor.parents:
                if tensor.grad is None:
                    tensor.grad = torch.zeros_like(tensor.data)
                tensor.grad.add_(mine)
            for parent, rule in zip(tensor.parents, tensor.rules, strict=True):
                part = unbroadcast(rule(mine), tuple(parent.shape)).type(parent.dtype)
                if id(parent) not in gradients:
                    heapq.heappush(heap, parent)
                    gradients[id(parent)] = torch.zeros_like(part)
                gradients[id(parent)] = torch.add(gradients[id(parent)], part)

    def __add__(self, other):
        return self.from_operation(
            self.data + plain(other), (self, lambda g: g), (other, lambda g: g)
        )

    def __neg__(self):
        return -1 * self

    def __sub__(self, other):
        return self + (-other)

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        a, b = self.data, plain(other)
        return self.from_operation(
            torch.mul(a, b), (self, lambda g: torch.mul(g, b)), (other, lambda g: torch.mul(g, a))
        )

    def __truediv__(self, other):
        return self * other**-1 if isinstance(other, Tensor) else self * (1 / other)

    def __rtruediv__(self, other):
        return other * self**-1

    def __pow__(self, exponent):
        x = self.data
        slope = torch.zeros_like(x) if exponent == 0 else exponent * x ** (exponent - 1)
        return self.from_operation(x**exponent, (self, lambda g: g * slope))

    __radd__, __rmul__ = __add__, __mul__

    def __matmul__(self, other):
        a, b = self.data, plain(other)
        if a.dim() == 1 or b.dim() == 1:
            left = self.reshape(1, -1) if a.dim() == 1 else self
            if b.dim() > 1:
                right = other
            else:
                right = other.reshape(-1, 1)
            result = left @ right
            sizes = list(result.shape)
            if b.dim() == 1:
                sizes.pop(-1)
            if a.dim() == 1:
                sizes.pop(-1 if b.dim() == 1 else -2)
            return result.reshape(tuple(sizes))
        return self.from_operation(
            a @ b,
            (self, lambda g: g @ b.transpose(-1, -2)),
            (other, lambda g: a.transpose(-1, -2) @ g),
        )

    def relu(self):
        slope = (self.data > 0).type(self.dtype)
        return self.from_operation(self.data * slope, (self, lambda g: g * slope))

    def exp(self):
        e = torch.exp(self.data)
        return self.from_operation(e, (self, lambda g: g * e))

    def log(self):
        return self.from_operation(
            torch.log(self.data), (self, lambda g: g * torch.reciprocal(self.data))
        )

    def sum(self, dim=None, keepdim=False):
        kept = self.data.sum(dim, keepdim=True).shape
        ones = torch.ones_like(self.data)
        return self.from_operation(
            self.data.sum(dim, keepdim), (self, lambda g: ones * g.reshape(kept))
        )

    def mean(self, dim=None, keepdim=False):
        share = torch.ones_like(self.data).sum(dim, keepdim=True).reciprocal()
        return (self * share).sum(dim, keepdim)

    def reshape(self, *shape):
        return self.from_operation(
            self.data.reshape(*shape), (self, lambda g: g.view_as(g).reshape(self.data.size()))
        )

    def transpose(self, dim0, dim1):
        return self.from_operation(
            self.data.transpose(dim0, dim1), (self, lambda g: g.transpose(dim1, dim0))
        )


def plain(operand):
    return operand.data if isinstance(operand, Tensor) else operand


def gradcheck(func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3):
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    if not any(x.requires_grad for x in inputs):
        raise ValueError("nothing to check")
    for which, x in enumerate(inputs):
        if not x.requires_grad:
            continue
        for place in product(*(range(n) for n in x.shape)):
            twins = [Tensor(t.data.double().clone(), t.requires_grad) for t in inputs]
            values = []
            for sign in (1, -1):
                moved = [Tensor(t.data.clone()) for t in twins]
                moved[which].data[place] += sign * eps
                values.append(func(*moved).data.reshape(-1))
            slopes = (values[0] - values[1]) / (2 * eps)
            result = func(*twins)
            for output, n in zip(product(*(range(k) for k in result.shape)), slopes, strict=True):
                a = 0.0
                if result.requires_grad:
                    twins[which].zero_grad()
                    start = torch.zeros_like(result.data)
                    start[output] = 1
                    result.backward(start)
                    a = 0.0 if twins[which].grad is None else float(twins[which].grad[place])
                if not abs(a - float(n)) <= atol + rtol * abs(float(n)):
                    raise RuntimeError(f"input {which}, element {list(place)}: {a} is not {n}")
    return True
