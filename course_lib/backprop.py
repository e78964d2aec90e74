"""Backpropagation by hand: the gradients of a neuron, of a layer and of a whole network.

Nothing here uses autograd: every function states a derivative and computes it. The name of a
gradient says of what, not by what: ``grad_weight`` is the derivative of the loss with respect to
``weight`` and has its shape.

Source: D. Rumelhart, G. Hinton and R. Williams, "Learning representations by back-propagating
errors", Nature 323 (1986). Book: Deep Learning Essentials, 2; ML Core, 2; Build and Train, 4 and 5.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
"""The activations that ``mlp_gradients`` knows."""


class NeuronGradients(NamedTuple):
    """The loss of one neuron and its derivatives with respect to ``w``, ``b`` and ``x``."""

    loss: Tensor
    w: Tensor
    b: Tensor
    x: Tensor


def neuron_gradients(w: Tensor, b: Tensor, x: Tensor, y_true: Tensor) -> NeuronGradients:
    """Return the loss of one neuron and its gradients, one factor of the chain rule at a time.

    The neuron computes ``z = sum(w * x) + b`` and ``a = relu(z)``; the loss is ``(a - y_true)**2``.
    The derivative of relu is 1 where ``z > 0`` and 0 elsewhere, so also at ``z = 0``, as in torch.

    Args:
        w: weights, floating-point tensor of shape ``()`` or ``(n,)``.
        b: bias, of shape ``()``.
        x: input, of the shape of ``w``.
        y_true: the value that the neuron should give, of shape ``()``.

    Returns:
        ``loss`` and ``b`` of shape ``()``, ``w`` and ``x`` of the shape of ``w``, all of the dtype
        of the arguments, which are not changed.
    """
    raise NotImplementedError("your turn: neuron_gradients")


def numerical_gradient(
    function: Callable[[Tensor], Tensor], input: Tensor, eps: float = 1e-6
) -> Tensor:
    """Estimate a gradient from values alone, by central differences: the test of every formula.

    Element ``i`` is ``(f(input + eps * e_i) - f(input - eps * e_i)) / (2 * eps)``, where ``e_i`` is
    1 at that element and 0 elsewhere.

    Args:
        function: takes a tensor like ``input`` and returns a tensor of shape ``()``.
        input: floating-point tensor of any shape; float64 is wise. It is not changed.
        eps: how far each element is moved; the default is that of ``torch.autograd.gradcheck``.

    Returns:
        Tensor of the shape and dtype of ``input``.
    """
    raise NotImplementedError("your turn: numerical_gradient")


def linear_backward(
    grad_output: Tensor, input: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Carry a gradient backward through ``output = input @ weight.T + bias``.

    Args:
        grad_output: the gradient of the loss with respect to ``output``, of shape ``(n, out)``.
        input: what the layer got, of shape ``(n, in)``; ``n`` may be 0.
        weight: the layer's weight, of shape ``(out, in)``.

    Returns:
        ``grad_input`` of shape ``(n, in)``, ``grad_weight`` of shape ``(out, in)``, ``grad_bias``
        of shape ``(out,)``, all of the dtype of the arguments, which are not changed.
    """
    raise NotImplementedError("your turn: linear_backward")


def cross_entropy_gradients(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of a batch and its gradient with respect to the logits.

    With ``p = softmax(logits)`` along the classes, the loss is the mean over the batch of
    ``-log(p[i, target[i]])``. Both results are right for logits of any size, such as 10000.

    Args:
        logits: floating-point tensor of shape ``(n, classes)``, ``n`` at least 1; not changed.
        target: int64 tensor of shape ``(n,)``, the right class of every example; not changed.

    Returns:
        The loss, of shape ``()``, and its gradient, of shape ``(n, classes)``, both in the dtype of
        ``logits``.

    Source: torch.nn.functional.cross_entropy, whose loss this is.
    """
    raise NotImplementedError("your turn: cross_entropy_gradients")


def activation_derivative(output: Tensor, activation: str) -> Tensor:
    """Return the derivative of an activation, found from its output ``a = activation(z)`` alone.

    Args:
        output: what the activation gave, floating-point tensor of any shape.
        activation: "relu", "tanh" or "sigmoid".

    Returns:
        The derivative at every element, a tensor of the shape and dtype of ``output``; for relu it
        is 0 where ``z <= 0``.
    """
    raise NotImplementedError("your turn: activation_derivative")


def mlp_gradients(
    params: list[tuple[Tensor, Tensor]], x: Tensor, y: Tensor, activation: str = "relu"
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Return the loss of a multi-layer perceptron on a batch and the gradients of all parameters.

    Each layer computes ``input @ weight.T + bias``. The activation follows every layer but the
    last, whose outputs are the logits of the mean cross-entropy.

    Args:
        params: for every layer, from the first to the last, a pair ``(weight, bias)`` of shapes
            ``(out, in)`` and ``(out,)``.
        x: the batch, of shape ``(n, in)`` of the first layer, ``n`` at least 1.
        y: int64 tensor of shape ``(n,)``, the right classes.
        activation: "relu", "tanh" or "sigmoid".

    Returns:
        The loss, of shape ``()``, and a list like ``params``: for each layer the pair
        ``(grad_weight, grad_bias)``, in the order of the layers. The arguments are not changed.

    Raises:
        ValueError: there is no layer, or no such activation.
    """
    if not params:
        raise ValueError("a network needs at least one layer")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation}")
    raise NotImplementedError("your turn: mlp_gradients")
