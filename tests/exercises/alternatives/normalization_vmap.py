"""The formula for one set of numbers, spread over the others by torch.func.vmap."""

import torch
from torch.func import vmap


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
    x = input.to(torch.result_type(input, torch.empty(0)) if input.itemsize > 2 else torch.float32)
    affine = (0 if weight is not None else None), (0 if bias is not None else None)
    if input.numel() == 0:
        return input.clone()
    if not training:

        def with_running(values, mean, var, weight, bias):
            return finished((values - mean) * (var + eps).rsqrt(), weight, bias)

        spread = vmap(with_running, in_dims=(1, 0, 0, *affine), out_dims=1)
        return spread(x, running_mean, running_var.to(x), weight, bias).to(input)
    if running_mean is not None:
        with torch.no_grad():
            rows = x.transpose(0, 1).reshape(x.shape[1], -1)
            running_mean.lerp_(rows.mean(1), momentum)
            running_var.lerp_(rows.var(1), momentum)
    spread = vmap(one_set(eps), in_dims=(1, *affine), out_dims=1)
    return spread(x, weight, bias).to(input)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    x = input.to(torch.float64 if input.dtype == torch.float64 else torch.float32)
    rows = x.reshape(-1, *normalized_shape)
    if len(rows) == 0:
        return input.clone()
    one = one_set(eps)
    output = vmap(lambda row: one(row, weight, bias))(rows)
    return output.view(input.shape).to(input)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    x = input.to(torch.float64 if input.dtype == torch.float64 else torch.float32)
    rows = x.reshape(-1, *normalized_shape)
    if len(rows) == 0:
        return input.clone()

    def one(row):
        floor = torch.finfo(row.dtype).eps if eps is None else eps
        return finished(row * (row.pow(2).mean() + floor).rsqrt(), weight, None)

    return vmap(one)(rows).view(input.shape).to(input)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    if input.numel() == 0:
        return input.clone()
    x = input.to(torch.float64 if input.dtype == torch.float64 else torch.float32)
    groups = x.reshape(len(x), num_groups, -1)
    one = one_set(eps)
    spread = vmap(vmap(lambda values: one(values, None, None)))
    channels = vmap(
        finished,
        in_dims=(1, 0 if weight is not None else None, 0 if bias is not None else None),
        out_dims=1,
    )
    return channels(spread(groups).view(x.shape), weight, bias).to(input)


def one_set(eps):
    def normalise(values, weight, bias):
        var, mean = torch.var_mean(values, correction=0)
        return finished((values - mean) * (var + eps).rsqrt(), weight, bias)

    return normalise


def finished(values, weight, bias):
    if weight is not None:
        values = values * weight
    return values if bias is None else values + bias
