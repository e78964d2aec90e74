"""Words as one-hot rows: every look-up and every gradient is a matrix product."""

import torch


def hot(indices, num_weights, dtype):
    return (indices[..., None] == torch.arange(num_weights)).to(dtype)


def embedding_dense_backward(
    grad_output, indices, num_weights, padding_idx=-1, scale_grad_by_freq=False
):
    hits = hot(indices.reshape(-1), num_weights, grad_output.dtype)
    if padding_idx >= 0:
        hits[:, padding_idx] = 0
    if scale_grad_by_freq:
        hits = hits / hits.sum(0).clamp(min=1)
    return hits.T @ grad_output.reshape(hits.shape[0], grad_output.shape[-1])


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, input, padding_idx, scale):
        ctx.input, ctx.rest = input, (weight.shape[0], padding_idx, scale)
        return hot(input, weight.shape[0], weight.dtype) @ weight

    @staticmethod
    def backward(ctx, grad):
        return embedding_dense_backward(grad, ctx.input, *ctx.rest), None, None, None


def embedding(input, weight, padding_idx=None, *, scale_grad_by_freq=False):
    if padding_idx is None:
        padding_idx = -1
    elif padding_idx < 0:
        padding_idx = weight.shape[0] + padding_idx
    return Product.apply(weight, input, padding_idx, scale_grad_by_freq)


def embedding_bag(input, weight, *, mode="mean", padding_idx=None):
    counts = hot(input, weight.shape[0], weight.dtype).sum(dim=-2)
    if padding_idx is not None:
        counts[:, padding_idx] = 0
    if mode == "mean":
        counts = counts / counts.sum(-1, keepdim=True).clamp(min=1)
    return counts @ weight
