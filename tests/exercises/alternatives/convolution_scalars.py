"""One output number after the other; the padded image is written into a larger one."""

import torch


def conv2d(input, weight, bias=None, stride=1, padding=0):
    def weighted(window):
        sums = [(window * one).sum() for one in weight]
        if bias is not None:
            sums = [total + shift for total, shift in zip(sums, bias)]
        return torch.stack(sums)

    return slide(input, weight.shape[-2:], stride, padding, 0.0, weighted, len(weight))


def max_pool2d(input, kernel_size, stride=None, padding=0):
    def largest(window):
        return torch.stack([channel.max() for channel in window])

    return slide(input, kernel_size, stride, padding, -torch.inf, largest, input.shape[-3])


def avg_pool2d(input, kernel_size, stride=None, padding=0):
    def mean(window):
        return torch.stack([channel.sum() / channel.numel() for channel in window])

    return slide(input, kernel_size, stride, padding, 0.0, mean, input.shape[-3])


def slide(input, kernel_size, stride, padding, fill, function, channels):
    height, width = numbers(kernel_size)
    down, right = numbers(kernel_size if stride is None else stride)
    rows, columns = numbers(padding)
    outputs = []
    for image in input if input.dim() == 4 else [input]:
        large = image.new_full(
            (image.shape[0], image.shape[1] + 2 * rows, image.shape[2] + 2 * columns), fill
        )
        large[:, rows : rows + image.shape[1], columns : columns + image.shape[2]] = image
        lines = []
        for i in range(0, large.shape[1] - height + 1, down):
            line = []
            for j in range(0, large.shape[2] - width + 1, right):
                line.append(function(large[:, i : i + height, j : j + width]))
            lines.append(torch.stack(line, dim=-1))
        outputs.append(torch.stack(lines, dim=-2))
    if input.dim() == 3:
        return outputs[0]
    if not outputs:
        out_height = (input.shape[2] + 2 * rows - height) // down + 1
        out_width = (input.shape[3] + 2 * columns - width) // right + 1
        return input.new_zeros(0, channels, out_height, out_width)
    return torch.stack(outputs)


def numbers(size):
    if isinstance(size, int):
        size = [size]
    return size[0], size[-1]
