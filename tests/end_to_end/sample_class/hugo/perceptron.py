"""Endless: fit waits for an epoch without a mistake, and forgets to learn."""

import torch


class Perceptron:
    def __init__(self, in_features):
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def predict(self, x):
        return (x @ self.weight + self.bias > 0).long()

    def fit(self, x, y, max_epochs=100):
        mistakes = []
        while True:
            wrong = int((self.predict(x) != y).sum())
            if wrong == 0 and mistakes:
                return mistakes
            mistakes = [*mistakes, wrong][-max_epochs:]
