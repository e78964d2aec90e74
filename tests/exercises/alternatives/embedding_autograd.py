"""Indexing with torch's own gradient, stopped or scaled where needed; scatter_add by hand."""

import torch


def embedding_dense_backward(
    grad_output, indices, num_weights, padding_idx=-1, scale_grad_by_freq=False
):
    dim = grad_output.shape[-1]
    where = indices.long().flatten()[:, None].expand(-1, dim)
    rows = grad_output.contiguous().view(where.shape)
    grad = torch.scatter_add(grad_output.new_zeros(num_weights, dim), 0, where, rows)
    if scale_grad_by_freq:
        ones = torch.ones_like(rows)
        grad /= torch.scatter_add(torch.zeros_like(grad), 0, where, ones).clamp_min(1)
    if padding_idx >= 0:
        grad[padding_idx].zero_()
    return grad


def embedding(input, weight, padding_idx=None, *, scale_grad_by_freq=False):
    if weight.requires_grad:
        row = -1 if padding_idx is None else padding_idx % weight.size(0)
        kept = weight.clone()
        counts = torch.bincount(input.flatten(), minlength=len(weight))
        kept.register_hook(lambda grad: changed(grad, row, counts if scale_grad_by_freq else None))
        weight = kept
    return weight.index_select(0, input.flatten()).reshape(*input.shape, weight.shape[1])


def changed(grad, row, counts):
    grad = grad.clone()
    if counts is not None:
        grad = grad / counts.clamp(min=1)[:, None]
    if row >= 0:
        grad[row] = 0
    return grad


def embedding_bag(input, weight, *, mode="mean", padding_idx=None):
    rows = embedding(input, weight, padding_idx)
    counted = torch.ones(input.shape, dtype=weight.dtype)
    if padding_idx is not None:
        counted[input == (padding_idx + len(weight)) % len(weight)] = 0
    total = torch.einsum("bwd,bw->bd", rows, counted)
    if mode == "mean":
        total = total / counted.sum(1).clamp(min=1)[:, None]
    return total
