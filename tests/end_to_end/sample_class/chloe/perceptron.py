"""Correct, with Python numbers and loops instead of tensor products."""

import torch


class Perceptron:
    def __init__(self, in_features):
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def _fires(self, row):
        total = float(self.bias)
        for w, value in zip(self.weight.tolist(), row.tolist()):
            total += w * value
        return 1 if total > 0 else 0

    def predict(self, x):
        return torch.tensor([self._fires(row) for row in x], dtype=torch.int64)

    def fit(self, x, y, max_epochs=100):
        history = []
        for _ in range(max_epochs):
            wrong = 0
            for row, label in zip(x, y.tolist()):
                guess = self._fires(row)
                if guess == label:
                    continue
                wrong += 1
                sign = 1.0 if label > guess else -1.0
                self.weight = self.weight.add(row, alpha=sign)
                self.bias = self.bias + sign
            history.append(wrong)
            if not wrong:
                return history
        return history
