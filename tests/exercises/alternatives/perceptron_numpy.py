"""NumPy inside, with a float64 copy of the weights while training."""

import numpy as np
import torch


class Perceptron:
    def __init__(self, in_features):
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def predict(self, x):
        scores = x.numpy() @ self.weight.numpy() + self.bias.numpy()
        return torch.from_numpy(np.where(scores > 0, 1, 0).astype(np.int64))

    def fit(self, x, y, max_epochs=100):
        inputs, labels = x.numpy(), y.numpy()
        weight, bias = self.weight.numpy().astype(np.float64), float(self.bias)
        counts = np.zeros(0, dtype=int)
        while counts.size < max_epochs and (counts.size == 0 or counts[-1] != 0):
            mistakes = 0
            for i in range(len(inputs)):
                if (np.dot(weight, inputs[i]) + bias > 0) != (labels[i] == 1):
                    direction = 1 if labels[i] == 1 else -1
                    weight = weight + direction * inputs[i]
                    bias = bias + direction
                    mistakes += 1
            counts = np.append(counts, mistakes)
        self.weight = torch.from_numpy(weight.astype(np.float32))
        self.bias = torch.tensor(bias, dtype=torch.float32)
        return counts.tolist()
