"""Layers: from one matrix product to the blocks that deep networks are stacked from.

The functions and modules take the arguments of their namesakes in ``torch.nn`` and keep their
parameters under the same names, so that a model saved with one is loaded with the other. Book:
Neural Network Fundamentals, 1; Deep Learning Essentials, 1.2; Build and Train, 1, 2 and 5.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map every vector ``x`` of ``input`` to ``y_i = sum_j weight_ij x_j + bias_i``.

    Args:
        input: tensor of shape ``(*, in_features)``: any number of leading dimensions, also none.
        weight: tensor of shape ``(out_features, in_features)``, or ``(in_features,)`` for a
            single output, which then has no dimension of its own.
        bias: tensor of shape ``(out_features,)``, or nothing to add.

    Returns:
        Tensor of shape ``(*, out_features)``, of the inputs' dtype. The inputs are not changed,
        and gradients flow to all of them.

    Raises:
        RuntimeError: shapes that do not fit, or dtypes that differ.

    Source: torch.nn.functional.linear.
    """
    if bias is not None:
        _require_a_bias_of(weight, bias)
    ### BEGIN SOLUTION
    output = input @ weight.t()
    return output if bias is None else output + bias
    ### END SOLUTION


def _require_a_bias_of(weight: Tensor, bias: Tensor) -> None:
    if bias.dim() > 1 or bias.numel() not in (1, math.prod(weight.shape[:-1])):
        raise RuntimeError(f"bias {tuple(bias.shape)} does not fit weight {tuple(weight.shape)}")
    if bias.dtype != weight.dtype:
        raise RuntimeError(f"bias has dtype {bias.dtype}, weight has {weight.dtype}")


class Linear(nn.Module):
    """``linear`` with a weight and a bias of its own. This class is complete: build on it.

    Args:
        in_features: length of the input vectors.
        out_features: length of the output vectors.
        bias: whether there is a bias.

    Attributes:
        weight: parameter of shape ``(out_features, in_features)``.
        bias: parameter of shape ``(out_features,)``, or ``None``.

    Both are drawn from ``U(-1 / sqrt(in_features), 1 / sqrt(in_features))``, as in
    torch.nn.Linear.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(out_features).uniform_(-bound, bound)) if bias else None
        )

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class MLP(nn.Module):
    """A multi-layer perceptron: linear layers with an activation between them.

    The activation follows every layer but the last, whose outputs may have any sign and size.

    Args:
        sizes: the length of the input, of each hidden vector and of the output, at least two
            numbers: ``MLP([4, 64, 32, 3])`` has three layers.
        activation: a function from a tensor to a tensor of the same shape.

    Attributes:
        layers: an ``nn.ModuleList`` of one ``Linear``, with bias, for each pair of neighbouring
            sizes. So ``state_dict()`` has the names ``layers.0.weight``, ``layers.0.bias``,
            ``layers.1.weight`` and so on, and the parameters start as ``Linear`` draws them.

    Raises:
        ValueError: fewer than two sizes.
    """

    def __init__(
        self, sizes: Sequence[int], activation: Callable[[Tensor], Tensor] = torch.relu
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"an input size and an output size are needed, got {list(sizes)}")
        ### BEGIN SOLUTION
        self.layers = nn.ModuleList(Linear(m, n) for m, n in pairwise(sizes))
        self.activation = activation
        ### END SOLUTION

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs, shape ``(*, sizes[-1])``, for inputs of shape ``(*, sizes[0])``."""
        ### BEGIN SOLUTION
        *hidden, last = self.layers
        for layer in hidden:
            input = self.activation(layer(input))
        return last(input)
        ### END SOLUTION


def count_parameters(model: nn.Module, trainable_only: bool = False) -> int:
    """Return how many numbers the parameters of a model hold.

    A parameter that several layers share counts once. Buffers, such as the running averages of
    batch normalisation, are no parameters.

    Args:
        model: any module, with its parameters at any depth.
        trainable_only: leave out the parameters that take no gradient (``requires_grad`` is
            False).
    """
    ### BEGIN SOLUTION
    return sum(
        parameter.numel()
        for parameter in model.parameters()
        if parameter.requires_grad or not trainable_only
    )
    ### END SOLUTION


class SwiGLU(nn.Module):
    """The gated feed-forward block of many language models: ``w2(silu(w1(x)) * w3(x))``.

    ``silu(z) = z * sigmoid(z)``, and ``*`` is the product element by element.

    Args:
        dim: length of the input and of the output vectors.
        hidden_dim: length of the two vectors that are multiplied.

    Attributes:
        w1: ``Linear`` without bias from ``dim`` to ``hidden_dim``, the gate.
        w2: ``Linear`` without bias from ``hidden_dim`` to ``dim``, the output.
        w3: ``Linear`` without bias from ``dim`` to ``hidden_dim``, the value.

    Source: N. Shazeer, "GLU variants improve Transformer", 2020 (arXiv:2002.05202), with the
    names of the LLaMA code.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.w1 = Linear(dim, hidden_dim, bias=False)
        self.w2 = Linear(hidden_dim, dim, bias=False)
        self.w3 = Linear(dim, hidden_dim, bias=False)
        ### END SOLUTION

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the shape of ``input``, which is ``(*, dim)``."""
        ### BEGIN SOLUTION
        return self.w2(nn.functional.silu(self.w1(input)) * self.w3(input))
        ### END SOLUTION


class ResidualBlock(nn.Module):
    """A block with a way around it: the input, plus the block applied to the normalised input.

    The normalisation stands before the block ("pre-norm") and not on the way around, so from
    the last block to the first there is a path of additions alone.

    Args:
        dim: length of the vectors.
        block: any module that maps shape ``(*, dim)`` to the same shape.

    Attributes:
        norm: ``nn.LayerNorm(dim)``.
        block: the module given.

    Source: K. He et al., "Deep residual learning for image recognition", CVPR 2016; R. Xiong et
    al., "On layer normalization in the Transformer architecture", ICML 2020 (pre-norm).
    """

    def __init__(self, dim: int, block: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.block = block

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the shape of ``input``, which is ``(*, dim)`` and not changed."""
        ### BEGIN SOLUTION
        return input + self.block(self.norm(input))
        ### END SOLUTION
