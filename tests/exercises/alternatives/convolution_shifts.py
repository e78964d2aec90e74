"""A sum over the places in the filter: each adds a shifted image, taken with strided slices."""

import functools

import torch
from torch.nn.functional import pad


def conv2d(input, weight, bias=None, stride=1, padding=0):
    rows, columns = two(padding)
    image = pad(input, (columns, columns, rows, rows))
    terms = (
        torch.tensordot(weight[:, :, a, b], shifted, dims=([1], [-3]))
        for (a, b), shifted in shifts(image, weight.shape[2:], two(stride))
    )
    output = sum(terms)
    if input.dim() == 4:
        output = output.transpose(0, 1)
    return output if bias is None else output + bias.reshape(-1, 1, 1)


def max_pool2d(input, kernel_size, stride=None, padding=0):
    rows, columns = two(padding)
    image = pad(input, (columns, columns, rows, rows), value=float("-inf"))
    views = shifts(image, two(kernel_size), two(stride or kernel_size))
    return functools.reduce(torch.maximum, (shifted for _, shifted in views))


def avg_pool2d(input, kernel_size, stride=None, padding=0):
    height, width = two(kernel_size)
    rows, columns = two(padding)
    image = pad(input, [columns, columns, rows, rows])
    views = shifts(image, (height, width), two(stride or kernel_size))
    return sum(shifted for _, shifted in views) / (height * width)


def shifts(image, kernel, stride):
    height = (image.shape[-2] - kernel[0]) // stride[0] + 1
    width = (image.shape[-1] - kernel[1]) // stride[1] + 1
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            down = slice(a, a + (height - 1) * stride[0] + 1, stride[0])
            right = slice(b, b + (width - 1) * stride[1] + 1, stride[1])
            yield (a, b), image[..., down, right]


def two(size):
    if isinstance(size, int):
        return size, size
    return tuple(size) if len(size) > 1 else (*size, *size)
