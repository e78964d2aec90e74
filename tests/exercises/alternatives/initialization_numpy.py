"""NumPy draws, from a generator of its own that torch's random state seeds at every call."""

import numpy as np
import torch


class Weight:
    def __init__(self, tensor, generator):
        self.tensor = tensor
        seed = torch.randint(2**62, (), generator=generator).item()
        self.numpy = np.random.default_rng(seed)

    def filled(self, numbers):
        self.tensor.data.copy_(torch.from_numpy(np.asarray(numbers)))
        return self.tensor

    def uniform(self, std):
        half = std * np.sqrt(3)
        return self.filled(self.numpy.uniform(-half, half, size=self.tensor.shape))

    def normal(self, std):
        return self.filled(self.numpy.normal(scale=std, size=self.tensor.shape))


def calculate_fan_in_and_fan_out(tensor):
    if tensor.dim() < 2:
        raise ValueError("fewer than 2 dimensions")
    out_and_in, kernel = np.split(np.array(tensor.shape), [2])
    fan_out, fan_in = out_and_in * kernel.prod(dtype=np.int64)
    return int(fan_in), int(fan_out)


def xavier_std(tensor, gain):
    return gain / np.sqrt(np.mean(calculate_fan_in_and_fan_out(tensor)))


def xavier_uniform_(tensor, gain=1.0, generator=None):
    return Weight(tensor, generator).uniform(xavier_std(tensor, gain))


def xavier_normal_(tensor, gain=1.0, generator=None):
    return Weight(tensor, generator).normal(xavier_std(tensor, gain))


def kaiming_std(tensor, a, mode, nonlinearity):
    known = {"tanh": 5 / 3, "relu": np.sqrt(2), "selu": 0.75, "sigmoid": 1}
    known["leaky_relu"] = np.sqrt(2 / (1 + a**2))
    if nonlinearity == "linear" or nonlinearity.startswith("conv"):
        known[nonlinearity] = 1
    fans = dict(zip(("fan_in", "fan_out"), calculate_fan_in_and_fan_out(tensor), strict=True))
    try:
        return known[nonlinearity] * fans[mode.lower()] ** -0.5
    except KeyError as error:
        raise ValueError(f"unknown: {error}") from None


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    if not tensor.numel():
        return tensor
    return Weight(tensor, generator).uniform(kaiming_std(tensor, a, mode, nonlinearity))


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    if not tensor.numel():
        return tensor
    return Weight(tensor, generator).normal(kaiming_std(tensor, a, mode, nonlinearity))


def scaled_residual_(tensor, num_layers, std=0.02, generator=None):
    if num_layers < 1:
        raise ValueError("num_layers is a positive number")
    return Weight(tensor, generator).normal(std * (2 * num_layers) ** -0.5)
