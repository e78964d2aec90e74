"""Boolean logic and in-place updates; an epoch is a method of its own."""

import torch


class Perceptron:
    def __init__(self, in_features):
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def predict(self, x):
        score = torch.einsum("nd,d->n", x, self.weight).add(self.bias)
        return score.gt(0).to(torch.int64)

    def fit(self, x, y, max_epochs=100):
        history = []
        for _ in range(max_epochs):
            history += [self.one_epoch(x, y)]
            if history[-1] == 0:
                return history
        return history

    def one_epoch(self, x, y):
        mistakes = 0
        for i, wanted in enumerate(y == 1):
            active = torch.dot(self.weight, x[i]) > -self.bias
            if active and not wanted:
                self.weight -= x[i]
                self.bias -= 1
                mistakes += 1
            elif wanted and not active:
                self.weight += x[i]
                self.bias += 1
                mistakes += 1
        return mistakes
