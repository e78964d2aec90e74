"""NumPy inside, with the gradients written by hand in autograd Functions."""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view


class Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, weight, stride):
        x, w = image.detach().numpy(), weight.detach().numpy()
        view = windows(x, w.shape[2:], stride)
        ctx.kept = x, w, stride
        result = np.tensordot(view, w, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(result))

    @staticmethod
    def backward(ctx, grad_output):
        x, w, stride = ctx.kept
        grad = grad_output.numpy()
        grad_w = np.tensordot(grad, windows(x, w.shape[2:], stride), axes=([0, 2, 3], [0, 2, 3]))
        spread = np.tensordot(grad, w, axes=([1], [0]))  # n, i, j, c, a, b
        return torch.from_numpy(folded(spread, x.shape, stride)), torch.from_numpy(grad_w), None


class Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, kernel, stride):
        x = image.detach().numpy()
        view = windows(x, kernel, stride).reshape(
            *out_shape(x, kernel, stride), kernel[0] * kernel[1]
        )
        ctx.kept = x.shape, view.argmax(axis=-1), kernel, stride
        return torch.from_numpy(view.max(axis=-1))

    @staticmethod
    def backward(ctx, grad_output):
        shape, winner, kernel, stride = ctx.kept
        hot = winner[..., None] == np.arange(kernel[0] * kernel[1])
        spread = (grad_output.numpy()[..., None] * hot).reshape(*winner.shape, *kernel)
        return (
            torch.from_numpy(folded(spread.transpose(0, 2, 3, 1, 4, 5), shape, stride)),
            None,
            None,
        )


def conv2d(input, weight, bias=None, stride=1, padding=0):
    image = padded(input.double(), padding, 0.0)
    output = Convolve.apply(image, weight.double(), pair(stride))
    if bias is not None:
        output = output + bias.double()[:, None, None]
    return unbatched(output, input)


def max_pool2d(input, kernel_size, stride=None, padding=0):
    image = padded(input.double(), padding, -np.inf)
    output = Largest.apply(image, pair(kernel_size), pair(stride or kernel_size))
    return unbatched(output, input)


def avg_pool2d(input, kernel_size, stride=None, padding=0):
    height, width = pair(kernel_size)
    channels = input.shape[-3]
    mean = torch.eye(channels)[:, :, None, None].expand(-1, -1, height, width) / (height * width)
    return conv2d(input, mean, None, stride or kernel_size, padding)


def padded(input, padding, value):
    rows, columns = pair(padding)
    batch = input if input.dim() == 4 else input[None]
    n, c, h, w = batch.shape
    side = batch.new_full((n, c, h, columns), value)
    batch = torch.cat([side, batch, side], dim=3)
    edge = batch.new_full((n, c, rows, w + 2 * columns), value)
    return torch.cat([edge, batch, edge], dim=2)


def out_shape(x, kernel, stride):
    sizes = [(x.shape[2 + k] - kernel[k]) // stride[k] + 1 for k in range(2)]
    return (*x.shape[:2], *sizes)


def windows(x, kernel, stride):
    return sliding_window_view(x, tuple(kernel), (2, 3))[:, :, :: stride[0], :: stride[1]]


def folded(spread, shape, stride):
    """The way back from windows: what overlaps is added up."""
    image = np.zeros(shape)
    for i in range(spread.shape[1]):
        for j in range(spread.shape[2]):
            top, left = i * stride[0], j * stride[1]
            bottom, right = top + spread.shape[4], left + spread.shape[5]
            image[:, :, top:bottom, left:right] += spread[:, i, j]
    return image


def unbatched(output, input):
    output = output.to(input.dtype)
    return output if input.dim() == 4 else output[0]


def pair(size):
    return (size, size) if isinstance(size, int) else (size[0], size[-1])
