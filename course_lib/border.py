"""What crosses the border between the judge and a student's process: plain data and tensors.

On the way to the judge JSON says how the tensors hang together, safetensors holds their numbers.
Neither can run code when it is read, and what is read is checked before it is used. On the way to
the student's process nothing is in doubt, so that is a pickle.
"""

import io
import json
import pickle
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

LONGEST = 2000
"""So many characters of a text are kept."""
DEEPEST = 50
LARGEST_HEAD = 1_000_000
"""Bytes of JSON, which take many times as much memory when they are read."""


class Garbled(Exception):
    """What came cannot be read, or is not what was asked for."""


def encode(content: dict[str, Any]) -> bytes:
    """Return plain data with dense tensors in it as bytes."""
    tensors: dict[str, Tensor] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            name = str(len(tensors))
            # A copy of its own: two tensors that share their numbers could not be saved.
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"tensor": name}
        if isinstance(value, dict):
            return {"dict": {key: plain(item) for key, item in value.items()}}
        return [plain(item) for item in value] if isinstance(value, list) else value

    head = json.dumps(plain(content)).encode()
    return len(head).to_bytes(8, "big") + head + save(tensors)


def decode(data: bytes) -> dict[str, Any]:
    """Return what ``encode`` was given.

    Raises:
        Garbled: these bytes do not come from ``encode``.
    """
    size = int.from_bytes(data[:8], "big")
    if size > LARGEST_HEAD:
        raise Garbled("there is too much of it")
    try:
        head = json.loads(data[8 : 8 + size])
        tensors = load(data[8 + size :])
        content = _rebuilt(head, tensors, 0)
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise Garbled("it is not in the form that was agreed") from error
    if not isinstance(content, dict):
        raise Garbled("it is not in the form that was agreed")
    return content


def _rebuilt(value: Any, tensors: dict[str, Tensor], depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError("too deep")
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "tensor":
            return tensors[inner]
        if kind == "dict" and isinstance(inner, dict):
            return {key: _rebuilt(item, tensors, depth + 1) for key, item in inner.items()}
        raise ValueError(kind)
    if isinstance(value, list):
        return [_rebuilt(item, tensors, depth + 1) for item in value]
    return value[:LONGEST] if isinstance(value, str) else value


def checked_outputs(outputs: Any, number: int) -> list[dict[str, Any]]:
    """Return the outputs of a check if they have the right form: a dictionary for each case.

    Raises:
        Garbled: they have not.
    """
    if not isinstance(outputs, list) or len(outputs) != number:
        raise Garbled("it has not one answer for each question")
    for output in outputs:
        if not isinstance(output, dict) or not isinstance(output.get("error", ""), str):
            raise Garbled("an answer is not in the form that was agreed")
    return outputs


def pack(content: Any) -> bytes:
    """Return anything that can be pickled as bytes, for ``unpack``."""
    stream = io.BytesIO()
    Pickler(stream).dump(content)
    return stream.getvalue()


def unpack(data: bytes) -> Any:
    """Return what ``pack`` was given. It must not come from a student's process."""
    return pickle.loads(data)


class Pickler(pickle.Pickler):
    """A pickler for many small tensors: torch's own form of one takes five times as long."""

    def reducer_override(self, value: Any) -> Any:
        is_simple = (
            type(value) is Tensor
            and value.numel() > 0
            and value.is_contiguous()
            and not value.requires_grad
            and value.nbytes == value.untyped_storage().nbytes()
        )
        if not is_simple:
            return NotImplemented
        numbers = value.flatten().view(torch.uint8).numpy().tobytes()
        return _tensor, (numbers, value.dtype, value.shape)


def _tensor(numbers: bytes, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    return torch.frombuffer(bytearray(numbers), dtype=dtype).reshape(shape)
