"""Wrong: the bias never learns."""

import torch


class Perceptron:
    def __init__(self, in_features):
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def predict(self, x):
        return (x @ self.weight + self.bias > 0).long()

    def fit(self, x, y, max_epochs=100):
        counts = []
        for _ in range(max_epochs):
            wrong = 0
            for i in range(len(x)):
                error = y[i] - self.predict(x[i : i + 1])[0]
                self.weight = self.weight + error * x[i]
                wrong += int(error != 0)
            counts.append(wrong)
            if wrong == 0:
                break
        return counts
