"""One function for the moments; the scale and the shift of every channel folded into two numbers.

``mean(x**2) - mean**2`` is made safe by taking it of the differences from one of the numbers.
"""

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
    rows = wide(input).movedim(1, -1)
    count = rows.numel() // max(rows.shape[-1], 1)
    if not training:
        mean, var = wide(running_mean), wide(running_var)
    elif count == 0:
        mean, var = rows.new_zeros(rows.shape[-1]), rows.new_ones(rows.shape[-1])
    else:
        mean, var = moments(rows.reshape(count, -1), [0])
        if running_mean is not None:
            unbiased = var.detach() * (count / (count - 1))
            running_mean.copy_((1 - momentum) * running_mean + momentum * mean.detach())
            running_var.copy_((1 - momentum) * running_var + momentum * unbiased)
    scale = (var + eps) ** -0.5
    if weight is not None:
        scale = scale * weight
    output = (rows - mean) * scale
    return (output if bias is None else output + bias).movedim(-1, 1).type(input.dtype)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    leading = input.dim() - len(normalized_shape)
    x = wide(input).flatten(leading)
    mean, var = moments(x, [-1], keepdim=True)
    output = ((x - mean) / torch.sqrt(var + eps)).reshape(input.shape)
    output = output if weight is None else output.mul(weight)
    output = output if bias is None else output.add(bias)
    return output.type(input.dtype)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    x = wide(input)
    if eps is None:
        eps = torch.finfo(input.dtype).eps
    count = torch.Size(normalized_shape).numel()
    lengths = torch.linalg.vector_norm(x, dim=list(range(-len(normalized_shape), 0)), keepdim=True)
    output = x / torch.sqrt(lengths**2 / count + eps)
    return (output if weight is None else output * weight).type(input.dtype)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    channels = input.shape[1]
    parts = wide(input).tensor_split(num_groups, dim=1)
    parts = [layer_norm(part, part.shape[1:], eps=eps) for part in parts]
    shape = [1, channels] + [1] * (input.dim() - 2)
    scale = torch.ones(shape, dtype=parts[0].dtype) if weight is None else weight.reshape(shape)
    shift = torch.zeros(shape, dtype=parts[0].dtype) if bias is None else bias.reshape(shape)
    return torch.addcmul(shift, torch.cat(parts, dim=1), scale).type(input.dtype)


def wide(x):
    return x.float() if x.itemsize < 4 else x


def moments(x, dim, keepdim=False):
    if x.numel() == 0:
        return x.sum(dim, keepdim), x.sum(dim, keepdim)
    origin = x.detach().select(dim[0], 0).unsqueeze(dim[0])
    moved = x - origin
    mean = moved.mean(dim, keepdim=True)
    var = (moved * moved).mean(dim, keepdim=True) - mean * mean
    mean = mean + origin
    return (mean, var) if keepdim else (mean.squeeze(dim), var.squeeze(dim))
