"""Wrong: the boundary belongs to class 1, and an epoch is predicted as a whole."""

import torch


class Perceptron:
    def __init__(self, in_features):
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def predict(self, x):
        return (x @ self.weight + self.bias >= 0).long()

    def fit(self, x, y, max_epochs=100):
        counts = []
        for _ in range(max_epochs):
            errors = y - self.predict(x)
            self.weight = self.weight + errors.float() @ x
            self.bias = self.bias + errors.sum()
            counts.append(int(errors.abs().sum()))
            if counts[-1] == 0:
                break
        return counts
