"""One set of numbers after the other, in Python loops over unbound tensors."""

import itertools

import torch


def batch_norm(
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    channels = []
    for c in range(input.shape[1]):
        x = input[:, c].to(dtype)
        if training:
            mean, var = mean_and_var(x)
            if running_mean is not None and x.numel():
                n = x.numel()
                with torch.no_grad():
                    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean
                    running_var[c] = (1 - momentum) * running_var[c] + momentum * var * n / (n - 1)
        else:
            mean, var = running_mean[c], running_var[c].to(dtype)
        x = (x - mean) / (var + eps).sqrt()
        if weight is not None:
            x = x * weight[c]
        if bias is not None:
            x = x + bias[c]
        channels.append(x)
    return torch.stack(channels, dim=1).to(input.dtype)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    def one(x):
        mean, var = mean_and_var(x)
        x = (x - mean) / (var + eps).sqrt()
        if weight is not None:
            x = weight * x
        return x if bias is None else bias + x

    return each_sample(input, normalized_shape, one)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    def one(x):
        least = torch.finfo(x.dtype).eps if eps is None else eps
        x = x / (sum_of(x * x) / x.numel() + least).sqrt()
        return x if weight is None else weight * x

    return each_sample(input, normalized_shape, one)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    size = input.shape[1] // num_groups
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    samples = []
    for sample in input.to(dtype):
        channels = []
        for start in range(0, input.shape[1], size):
            group = sample[start : start + size]
            mean, var = mean_and_var(group)
            for c, x in enumerate((group - mean) / (var + eps).sqrt(), start):
                x = x if weight is None else x * weight[c]
                channels.append(x if bias is None else x + bias[c])
        samples.append(torch.stack(channels))
    return torch.stack(samples).to(input.dtype) if samples else input.clone()


def each_sample(input, normalized_shape, one):
    leading = input.shape[: input.dim() - len(normalized_shape)]
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    places = itertools.product(*map(range, leading))
    samples = [one(input[place].to(dtype)) for place in places]
    return torch.stack(samples).reshape(input.shape).to(input.dtype) if samples else input.clone()


def mean_and_var(x):
    mean = sum_of(x) / x.numel() if x.numel() else 0.0
    return mean, sum_of((x - mean) ** 2) / max(x.numel(), 1)


def sum_of(x):
    return x.flatten() @ x.new_ones(x.numel())
