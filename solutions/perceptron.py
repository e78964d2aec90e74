"""The perceptron: one artificial neuron that learns to separate two classes.

Source: F. Rosenblatt, "The perceptron: a probabilistic model for information storage and
organization in the brain", Psychological Review 65 (1958). Book: Deep Learning Essentials, 1.1.
"""

import torch
from torch import Tensor


class Perceptron:
    """A linear threshold unit for two classes, labelled 0 and 1.

    Args:
        in_features: number of inputs, at least 1.

    Attributes:
        weight: float32 tensor of shape ``(in_features,)``, zero before training.
        bias: float32 tensor of shape ``()``, zero before training.
    """

    def __init__(self, in_features: int) -> None:
        self.weight = torch.zeros(in_features)
        self.bias = torch.zeros(())

    def predict(self, x: Tensor) -> Tensor:
        """Return the class of every row of ``x``: 1 where ``w . x + b > 0``, else 0.

        The inequality is strict: a point exactly on the boundary belongs to class 0.

        Args:
            x: float32 tensor of shape ``(n, in_features)``; ``n`` may be 0. It is not changed.

        Returns:
            int64 tensor of shape ``(n,)`` with values 0 and 1.
        """
        ### BEGIN SOLUTION
        return (x @ self.weight + self.bias > 0).long()
        ### END SOLUTION

    def fit(self, x: Tensor, y: Tensor, max_epochs: int = 100) -> list[int]:
        """Learn with Rosenblatt's rule, one example after the other, in the order given.

        An example ``x_i`` with label ``y_i`` and prediction ``p_i`` changes the unit by
        ``w += (y_i - p_i) * x_i`` and ``b += y_i - p_i``: nothing where the prediction is right.
        Training starts from the present weight and bias.

        Args:
            x: float32 tensor of shape ``(n, in_features)``. It is not changed.
            y: tensor of shape ``(n,)`` with labels 0 and 1, of any dtype. It is not changed.
            max_epochs: the largest number of passes over the data.

        Returns:
            The number of mistakes in each epoch. Training stops after the first epoch without
            a mistake, so the list then ends with 0; otherwise it has ``max_epochs`` entries.
        """
        ### BEGIN SOLUTION
        mistakes_per_epoch = []
        for _ in range(max_epochs):
            mistakes = 0
            for x_i, y_i in zip(x, y.float(), strict=True):
                prediction = self.predict(x_i[None])[0]
                error = y_i - prediction
                if error != 0:
                    self.weight = self.weight + error * x_i
                    self.bias = self.bias + error
                    mistakes += 1
            mistakes_per_epoch.append(mistakes)
            if mistakes == 0:
                break
        return mistakes_per_epoch
        ### END SOLUTION
