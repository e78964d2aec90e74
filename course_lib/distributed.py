"""Several processes that train one model, each on its share of every batch.

``torchrun`` starts the processes and tells each its number; torch's DistributedDataParallel
averages their gradients. What is here lets the same code run in one process and in many.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")


@contextlib.contextmanager
def processes(device: str | torch.device = "cpu") -> Iterator[None]:
    """Join the processes that ``torchrun`` has started, for the length of the block.

    Without ``torchrun`` nothing happens, so that a script is the same either way.

    Args:
        device: where every process trains. With ``"cuda"`` each takes the GPU of its number on its
            machine; that is then the current device.

    On several machines set ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1``, so that a restart begins with
    a new store, and keep checkpoints in a folder that all of them see.

    Source: the environment variables that ``torchrun`` sets, PyTorch's "torchrun (Elastic Launch)".
    """
    if "LOCAL_RANK" not in os.environ:
        yield
        return
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, world_size = next(distributed.rendezvous("env://"))  # type: ignore[attr-defined]
    if os.environ["GROUP_WORLD_SIZE"] == "1":
        # torchrun keeps its store when it restarts the processes, with the addresses of those that
        # died. Several machines have no common number of restarts.
        store = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    backend = "nccl" if on_gpu else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def replicate(model: nn.Module) -> nn.Module:
    """Return the model with gradients that are averaged over the processes by ``backward``."""
    return DistributedDataParallel(model) if world_size() > 1 else model


def averaging(model: nn.Module, now: bool) -> contextlib.AbstractContextManager:
    """Let a ``backward`` in this block average the gradients only if it is to happen ``now``.

    Of several micro-batches only the last one needs it: gradients add up until then.
    """
    if isinstance(model, DistributedDataParallel) and not now:
        return model.no_sync()
    return contextlib.nullcontext()


def mean(number: float | Tensor, device: torch.device | None = None) -> float | Tensor:
    """Return the mean of the processes' numbers, on the device; in one process the number as is."""
    if world_size() == 1:
        return number
    total = torch.zeros((), dtype=torch.float64, device=device) + number
    distributed.all_reduce(total)
    return total / world_size()


def gather(value: Value) -> list[Value]:
    """Return every process's value, by the number of the process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


def from_first(value: Value) -> Value:
    """Return the value of process 0, so that all decide alike."""
    return gather(value)[0]
