"""Dictionaries and Python loops; the gradient of the bag is left to autograd."""

import torch


def embedding_dense_backward(
    grad_output, indices, num_weights, padding_idx=-1, scale_grad_by_freq=False
):
    sums, dim = {}, grad_output.shape[-1]
    numbers = indices.flatten().tolist()
    for number, row in zip(numbers, grad_output.reshape(len(numbers), dim)):
        sums[number] = sums[number] + row if number in sums else row
    result = torch.zeros(num_weights, dim, dtype=grad_output.dtype)
    for number, total in sums.items():
        if number != padding_idx:
            result[number] = total / numbers.count(number) if scale_grad_by_freq else total
    return result


class Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, padding_idx, scale):
        ctx.save_for_backward(input, weight)
        ctx.padding_idx, ctx.scale = padding_idx, scale
        output = weight.new_empty(*input.shape, weight.shape[1])
        rows = output.view(input.numel(), weight.shape[1])
        for i, number in enumerate(input.flatten().tolist()):
            rows[i] = weight[number]
        return output

    @staticmethod
    def backward(ctx, grad_output):
        input, weight = ctx.saved_tensors
        grad = embedding_dense_backward(
            grad_output,
            input,
            weight.size(0),
            padding_idx=ctx.padding_idx,
            scale_grad_by_freq=ctx.scale,
        )
        return None, grad, None, None


def embedding(input, weight, padding_idx=None, *, scale_grad_by_freq=False):
    row = range(len(weight))[padding_idx] if padding_idx is not None else -100
    return Lookup.apply(input, weight, row, scale_grad_by_freq)


def embedding_bag(input, weight, *, mode="mean", padding_idx=None):
    filler = None if padding_idx is None else range(len(weight))[padding_idx]
    bags = []
    for numbers in input.tolist():
        words = [weight[number] for number in numbers if number != filler]
        total = sum(words, start=torch.zeros_like(weight[0]))
        bags.append(total / len(words) if words and mode == "mean" else total)
    return torch.stack(bags) if bags else weight.new_zeros(0, weight.shape[1])
