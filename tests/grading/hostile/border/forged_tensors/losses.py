# A header that promises more than there is, written straight onto the channel.
import json
import os


def frames():
    head = json.dumps({"dict": {"outputs": [{"dict": {"the loss": {"tensor": "0"}}}]}}).encode()
    for header in (
        {"0": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}},
        {"0": {"dtype": "F32", "shape": [-1], "data_offsets": [8, 0]}},
        {"0": {"dtype": "X99", "shape": [], "data_offsets": [0, 4]}},
        {"__metadata__": {"a": 7}, "0": {}},
        [],
    ):
        text = json.dumps(header).encode()
        tensors = len(text).to_bytes(8, "little") + text + bytes(4)
        yield len(head).to_bytes(8, "big") + head + tensors
    yield (1 << 63).to_bytes(8, "big") + head
    yield b"\xff" * 64
    yield b""


ALL = [*frames()]


def send(number):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, ALL[number % len(ALL)])
        except OSError:
            continue
    os._exit(0)


def mse_loss(input, target, reduction="mean"):
    send(0)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    send(1)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    send(5)
