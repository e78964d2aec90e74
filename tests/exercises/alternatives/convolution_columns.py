"""Every window becomes a column of a matrix, fetched by index from the flat image."""

import torch


def conv2d(input, weight, bias=None, stride=1, padding=0):
    matrix, size = columns(input, weight.shape[-2:], stride, padding, 0)
    batch, channels, window, places = matrix.shape
    output = weight.flatten(1) @ matrix.reshape(batch, channels * window, places)
    if bias is not None:
        output = output + bias.unsqueeze(1)
    return restored(output, size, input)


def max_pool2d(input, kernel_size, stride=None, padding=0):
    matrix, size = columns(input, kernel_size, stride, padding, float("-inf"))
    return restored(matrix.amax(dim=2), size, input)


def avg_pool2d(input, kernel_size, stride=None, padding=0):
    matrix, size = columns(input, kernel_size, stride, padding, 0)
    return restored(matrix.mean(dim=2), size, input)


def columns(input, kernel, stride, padding, fill):
    kernel = as_tensor(kernel)
    stride = kernel if stride is None else as_tensor(stride)
    padding = as_tensor(padding)
    images = input if input.dim() == 4 else input.unsqueeze(0)
    batch, channels, height, width = images.shape
    size = ((torch.tensor([height, width]) + 2 * padding - kernel) // stride + 1).tolist()
    (kh, kw), (sh, sw), (ph, pw) = kernel.tolist(), stride.tolist(), padding.tolist()
    y = torch.arange(size[0])[None, None, :, None] * sh + torch.arange(kh)[:, None, None, None] - ph
    x = torch.arange(size[1])[None, None, None, :] * sw + torch.arange(kw)[None, :, None, None] - pw
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    # What lies outside is the last element, which is the filling.
    index = torch.where(inside, y * width + x, height * width).reshape(kh * kw, -1)
    extra = images.new_full((batch, channels, 1), fill)
    return torch.cat([images.flatten(2), extra], dim=2)[:, :, index], size


def restored(output, size, input):
    output = output.unflatten(-1, size)
    return output if input.dim() == 4 else output.squeeze(0)


def as_tensor(size):
    return torch.tensor([size, size] if isinstance(size, int) else [size[0], size[-1]])
