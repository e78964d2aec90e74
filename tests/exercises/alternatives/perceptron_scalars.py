"""Plain Python numbers; tensors only at the border."""

import torch


class Perceptron:
    def __init__(self, in_features):
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def predict(self, x):
        weight, bias = self.weight.tolist(), self.bias.item()
        return torch.tensor([side(weight, bias, row) for row in x.tolist()], dtype=torch.int64)

    def fit(self, x, y, max_epochs=100):
        weight, bias = self.weight.tolist(), self.bias.item()
        history = []
        for _ in range(max_epochs):
            wrong = 0
            for row, label in zip(x.tolist(), y.tolist()):
                error = int(label) - side(weight, bias, row)
                for j in range(len(row)):
                    weight[j] += error * row[j]
                bias += error
                wrong += abs(error)
            history.append(wrong)
            if not wrong:
                break
        self.weight, self.bias = torch.tensor(weight), torch.tensor(bias)
        return history


def side(weight, bias, row):
    total = bias
    for w, value in zip(weight, row):
        total += w * value
    return 1 if total > 0 else 0
