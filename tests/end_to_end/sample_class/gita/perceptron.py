"""Broken: Python cannot read it."""

import torch


class Perceptron:
    def __init__(self, in_features)
        self.weight = torch.zeros(in_features)
