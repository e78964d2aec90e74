"""Training: one step, a whole run, and a run that goes on after it was killed.

The pieces fit together from below: a device, a loss scaler for float16, one optimizer step, an
evaluation, a checkpoint, and the loop that uses them all. The loop works on every device, never
waits for the GPU in the middle of an epoch unless it must, and resumes to the last bit. Started by
``torchrun`` it trains in several processes.

Book: ML Core, 1, 5 and 6; Build and Train, 7.
"""

import contextlib
import math
import os
import random
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from course_lib import distributed
from course_lib.diagnostics import find_nonfinite

Batch = tuple[Tensor, Tensor]
"""Inputs and targets, each with one entry an example in the first dimension."""

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Takes a model's outputs and the targets, returns the mean loss of the examples as a scalar."""


# --- where to compute -----------------------------------------------------------------------------


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to train on, or say at once that it is not there.

    Args:
        device: ``"auto"`` takes the best device of this machine: CUDA, else MPS (Apple), else the
            CPU. Anything else is a device as ``torch.device`` names it.

    Returns:
        A ``torch.device``; a named one as it was named, with its index if it had one.

    Raises:
        RuntimeError: the named device is not there, also ``"cuda:7"`` where there are fewer than
            eight. The message names the device and says what to do.

    Ask ``torch.cuda.device_count()``, which is 0 where there is no CUDA, and
    ``torch.backends.mps.is_available()``. ``why_missing`` has words for the message.
    """
    raise NotImplementedError("your turn: resolve_device")


def why_missing(kind: str) -> str:
    """Return why there is no device of a kind, ``"cuda"`` or ``"mps"``, and what would help."""
    if kind == "mps":
        return "MPS needs a Mac with Apple silicon"
    if torch.version.cuda is None:
        return "this torch was built without CUDA: pytorch.org has the command for another build"
    try:
        torch.cuda.init()
    except RuntimeError as error:  # no driver, or one that is too old for this torch
        return str(error)
    return f"this machine has {torch.cuda.device_count()}, and they count from 0"


def set_numerics(*, deterministic: bool = False, tf32: bool = False) -> None:
    """Choose between bits that repeat and speed, for the whole process.

    Args:
        deterministic: the same program gives the same bits each time, on the GPU too. An operation
            for which torch has no such version raises. To be chosen before the first operation on
            the GPU, because cuBLAS reads its setting only once.
        tf32: the GPU may round the factors of float32 matrix products and convolutions to 10 bits
            behind the point.

    Source: PyTorch's notes "Reproducibility" and "CUDA semantics".
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    # By their older names, because torch.compile reads these and must not find the newer ones set.
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


# --- float16 needs its loss scaled ----------------------------------------------------------------


class LossScaler:
    """Keep small float16 gradients from vanishing: scale the loss up and the gradients down.

    A scale that is too large makes gradients infinite. Then the step is skipped and the scale
    falls; after ``growth_interval`` updates in a row without that, it rises.

    Args:
        init_scale: the first scale.
        growth_factor: by which the scale rises, above 1.
        backoff_factor: by which it falls, below 1.
        growth_interval: updates in a row without overflow before the scale rises.
        enabled: without it ``scale`` returns its argument, ``step`` is the optimizer's own, and
            everything else does nothing.

    Raises:
        AssertionError: a factor on the wrong side of 1 (as in torch).

    Source: ``torch.amp.GradScaler``; P. Micikevicius et al., "Mixed precision training", ICLR
    2018, section 3.2.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if enabled and growth_factor <= 1:
            raise AssertionError(f"growth_factor must be above 1, got {growth_factor}")
        if enabled and backoff_factor >= 1:
            raise AssertionError(f"backoff_factor must be below 1, got {backoff_factor}")
        self.enabled = enabled
        self.current_scale = init_scale
        self.growth_factor = growth_factor
        self.backoff_factor = backoff_factor
        self.growth_interval = growth_interval
        self.growth_tracker = 0  # updates without overflow since the scale last changed
        # By id(optimizer), since the last update:
        self.overflows: dict[int, Tensor] = {}  # was a gradient inf or nan? On its device
        self.stepped: set[int] = set()

    def is_enabled(self) -> bool:
        return self.enabled

    def get_scale(self) -> float:
        """Return the present scale, 1.0 if not enabled."""
        return self.current_scale if self.enabled else 1.0

    def scale(self, outputs: Tensor) -> Tensor:
        """Return ``outputs``, usually the loss, times the scale.

        The scale enters as a float32 tensor of shape ``()``: a float16 scalar becomes float32,
        in which the product does not overflow.
        """
        raise NotImplementedError("your turn: LossScaler.scale")

    @torch.no_grad()
    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients by the scale in place, and note whether one is not finite.

        ``gradients_of(optimizer)`` returns them. The note stands in ``self.overflows``, under
        ``id(optimizer)``, as a boolean tensor of shape ``()``: to read it here would make the
        program wait for the GPU.

        Raises:
            RuntimeError: it was called for this optimizer before, since the last update.
        """
        raise NotImplementedError("your turn: LossScaler.unscale_")

    def step(self, optimizer: Any) -> Any:
        """Make the optimizer's step, unless a gradient is inf or nan.

        Gradients that the caller has not unscaled are unscaled first.

        Returns:
            What ``optimizer.step()`` returns; None for a step that was skipped.

        Raises:
            RuntimeError: it was called for this optimizer before, since the last update.
        """
        raise NotImplementedError("your turn: LossScaler.step")

    def update(self) -> None:
        """Choose the next scale, and be ready for the next step.

        After an overflow the scale falls by ``backoff_factor`` and counting starts again. Else one
        more update is counted, and the ``growth_interval``-th raises the scale by
        ``growth_factor`` and starts the count again.

        Raises:
            AssertionError: no gradient was unscaled since the last update (as in torch).
        """
        if not self.enabled:
            return
        if not self.overflows:
            raise AssertionError("update was called before unscale_ or step")
        raise NotImplementedError("your turn: LossScaler.update")

    def state_dict(self) -> dict[str, Any]:
        """Return what a later run needs to continue, as ``torch.amp.GradScaler`` does.

        Returns:
            A dictionary with the keys ``"scale"``, ``"growth_factor"``, ``"backoff_factor"``,
            ``"growth_interval"`` and ``"_growth_tracker"``; an empty one if not enabled.
        """
        raise NotImplementedError("your turn: LossScaler.state_dict")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned. Does nothing if not enabled.

        Raises:
            RuntimeError: the dictionary is empty, so it comes from a scaler that was not enabled.
        """
        if not self.enabled:
            return
        if not state_dict:
            raise RuntimeError("the saved scaler was not enabled, so there is nothing to load")
        raise NotImplementedError("your turn: LossScaler.load_state_dict")


def gradients_of(optimizer: Any) -> list[Tensor]:
    """Return the gradients of all groups; parameters without one are left out.

    Raises:
        AssertionError: there is no gradient at all (as in torch).
        ValueError: a gradient is float16 (as in torch): autocast keeps the parameters, and so
            their gradients, in float32.
    """
    params = [param for group in optimizer.param_groups for param in group["params"]]
    gradients = [param.grad for param in params if param.grad is not None]
    if not gradients:
        raise AssertionError("no parameter has a gradient: was backward called?")
    if any(gradient.dtype == torch.float16 for gradient in gradients):
        raise ValueError("gradients are float16: keep the parameters in float32 and use autocast")
    return gradients


# --- one step -------------------------------------------------------------------------------------


class StepResult(NamedTuple):
    """What came of one step.

    ``loss`` and ``grad_norm`` are scalars on the device, without a graph: reading their numbers
    would make the program wait for the GPU. ``stepped`` is False where the scaler skipped it.
    """

    loss: Tensor
    grad_norm: Tensor
    stepped: bool


def train_step(
    model: nn.Module,
    micro_batches: Sequence[Batch],
    loss_fn: LossFunction,
    optimizer: Any,
    *,
    scaler: Any = None,
    max_norm: float | None = None,
    autocast_dtype: torch.dtype | None = None,
    check_finite: bool = False,
) -> StepResult:
    """Make one optimizer step on a batch that comes in one or several micro-batches.

    The gradient is that of the mean loss over all examples of all micro-batches, whatever their
    sizes. Only one micro-batch passes through the model at a time, so that memory is needed for
    one only. No gradient of an earlier step has a part in it, also when that step was skipped.

    Args:
        model: the model, in training mode; its mode stays as it is.
        micro_batches: at least one pair of inputs and targets, on the model's device.
        loss_fn: the mean loss of a micro-batch.
        optimizer: any of ``torch.optim``, over the model's parameters.
        scaler: a ``LossScaler`` or ``torch.amp.GradScaler``; its scale is updated after the step.
            Without one the step is made whatever the gradients are.
        max_norm: gradients are clipped to this total norm, at their true scale.
        autocast_dtype: the model and the loss run under ``torch.autocast`` with this dtype.
        check_finite: look at loss and norm before the step. It is for the hunt: the program waits
            for the GPU.

    Returns:
        The mean loss over all examples, the total norm of the gradients at their true scale
        before clipping, and whether the step was made.

    Raises:
        FloatingPointError: with ``check_finite``, the loss is inf or nan or, without an enabled
            scaler, the norm. No weight has changed. ``not_finite`` makes the error, which names the
            first layer.

    With several processes ``micro_batches`` are this one's share, and the examples are those of
    all: ``distributed.mean`` gives their number and the loss, ``distributed.averaging`` the
    gradients. (In one process both do nothing, and so much is graded.)

    Source: PyTorch's automatic mixed precision examples, "Working with unscaled gradients" and
    "Gradient accumulation".
    """
    raise NotImplementedError("your turn: train_step")


def not_finite(
    loss: Tensor, model: nn.Module, micro_batches: Sequence[Batch]
) -> FloatingPointError:
    """Return the error for a step whose loss or gradient norm is inf or nan: where it began.

    The micro-batches pass through the model once more. Where every output is finite, and the loss
    too, a gradient is not: backward goes from the loss to the input, so the last of these
    parameters was the first.
    """
    with contextlib.suppress(NotImplementedError):  # find_nonfinite may be still to be written
        for x, _ in micro_batches:
            name = find_nonfinite(model, x)
            if name is not None:
                return FloatingPointError(f"the output of layer {name!r} is not finite")
    if not loss.isfinite():
        return FloatingPointError(
            f"the loss is {loss.item()}, the outputs of all layers are finite"
        )
    names = [
        name
        for name, param in model.named_parameters()
        if param.grad is not None and not param.grad.isfinite().all()
    ]
    where = f"the gradient of {names[-1]!r}" if names else "the gradient norm"
    return FloatingPointError(f"{where} is not finite, the loss is")


# --- evaluation -----------------------------------------------------------------------------------


def evaluate(
    model: nn.Module,
    loader: Iterable[Batch],
    loss_fn: LossFunction,
    device: str | torch.device = "cpu",
) -> dict[str, float]:
    """Return the mean loss of a model over all examples, and its accuracy.

    The model is in evaluation mode meanwhile and no graph is kept. Afterwards every module is in
    the mode in which it was before: parts of a model may be frozen in evaluation mode.

    Args:
        model: the model, on ``device``.
        loader: batches with at least one example in all; the last one may be shorter.
        loss_fn: the mean loss of a batch.
        device: where the batches are moved.

    Returns:
        ``{"loss": ..., "accuracy": ...}``, both floats. The accuracy is the share of the examples
        whose largest output is at the target; it is there only for targets of an integer dtype,
        of shape ``(n,)``, with outputs of shape ``(n, classes)``.
    """
    raise NotImplementedError("your turn: evaluate")


# --- what a run is made of ------------------------------------------------------------------------


class ResumableLoader:
    """Batches of tensors in an order that the seed and the epoch decide, whatever else is drawn.

    Iterating goes from the present position to the end of the epoch; ``next_epoch`` begins the
    next one. A run that stops in mid-epoch and loads this loader's state goes on with the next
    batch. Of several processes each gets its share of every batch.

    Args:
        tensors: inputs and targets, with as many entries in the first dimension. On the GPU
            already, they are never copied there again.
        batch_size: examples in a batch, of all processes together; the last batch of an epoch may
            have fewer.
        seed: where the order comes from.
        pin_memory: put batches where the GPU can fetch them while the program goes on.

    Attributes:
        epoch: the present epoch, from 0.
        position: how many of its batches have been given out.

    Raises:
        ValueError: a batch has fewer examples than there are processes.
    """

    def __init__(
        self, *tensors: Tensor, batch_size: int, seed: int = 0, pin_memory: bool = False
    ) -> None:
        smallest = min(batch_size, len(tensors[0]) % batch_size or batch_size)
        if smallest < distributed.world_size():
            raise ValueError(
                f"a batch of {smallest} is too small for {distributed.world_size()} processes: "
                "choose another batch_size, also for the sake of the last batch"
            )
        self.tensors = tensors
        self.batch_size = batch_size
        self.seed = seed
        self.pin_memory = pin_memory
        self.epoch = 0
        self.position = 0

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(len(self.tensors[0]) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # torch takes 32 bits of a seed only, so the two numbers are mixed.
        mixed = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)
        rng = torch.Generator().manual_seed(int(mixed[0]))
        order = torch.randperm(len(self.tensors[0]), generator=rng)
        if self.tensors[0].is_cuda:
            order = order.pin_memory()  # or the copy would wait for the GPU
        order = order.to(self.tensors[0].device, non_blocking=True)
        for indices in order.split(self.batch_size)[self.position :]:
            self.position += 1
            share = indices[distributed.rank() :: distributed.world_size()]
            batch = tuple(tensor.index_select(0, share) for tensor in self.tensors)
            yield tuple(tensor.pin_memory() for tensor in batch) if self.pin_memory else batch

    def next_epoch(self) -> None:
        """Begin the next epoch, at its first batch."""
        self.epoch += 1
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "position": self.position,
            "batch_size": self.batch_size,
        }

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on where another loader was.

        Raises:
            ValueError: its batches had another size, so its position means another place.
        """
        if state_dict["batch_size"] != self.batch_size:
            raise ValueError(
                f"the saved loader has batch_size={state_dict['batch_size']}, this one "
                f"{self.batch_size}"
            )
        self.seed = state_dict["seed"]
        self.epoch = state_dict["epoch"]
        self.position = state_dict["position"]


@dataclass
class Progress:
    """How far a run has come, beside what model, optimizer, scaler and loader know themselves.

    Attributes:
        updates: how often the optimizer has changed the model; skipped steps do not count.
        history: ``"loss"``, ``"grad_norm"`` and ``"lr"`` (of the first parameter group) of every
            step, skipped ones too, and under ``"eval"`` what ``evaluate`` returned after every
            epoch.
        best_loss: the lowest evaluation loss so far.
        best_weights: a copy of the model's state dictionary at that time.
        bad_epochs: evaluations in a row that were not better.
    """

    updates: int = 0
    history: dict[str, list] = field(
        default_factory=lambda: {"loss": [], "grad_norm": [], "lr": [], "eval": []}
    )
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] | None = None
    bad_epochs: int = 0

    def plain(self) -> dict[str, Any]:
        """Return everything by name, with floats for the history's tensors (one wait for all)."""
        for values in self.history.values():
            known = len(values)
            while known and isinstance(values[known - 1], Tensor):
                known -= 1
            if known < len(values):
                values[known:] = torch.stack(values[known:]).tolist()
        return dict(vars(self))


def keep_best(progress: Progress, loss: float, model: nn.Module) -> None:
    """Note an evaluation loss: keep a copy of the best weights, count the epochs since then.

    Only a loss below ``progress.best_loss`` is better; an equal one, or nan, is not. What is kept
    must not change when the model learns on, and must hold the buffers too.

    Source: L. Prechelt, "Early stopping - but when?", Neural Networks: Tricks of the Trade, 1998.
    """
    raise NotImplementedError("your turn: keep_best")


def rng_state() -> list[dict[str, Any]]:
    """Return the state of every random generator that a training run may draw from, by process."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002, others may use it
    numpy_name, numpy_keys, *numpy_rest = numpy_state
    own = {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(gpu) for gpu in range(torch.cuda.device_count())],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "numpy": [numpy_name, torch.from_numpy(numpy_keys.astype(np.int64)), *numpy_rest],
        "python": random.getstate(),
    }
    return distributed.gather(own)


def set_rng_state(states: list[dict[str, Any]]) -> None:
    """Set every random generator to what ``rng_state`` returned.

    To go on with more processes than before, or on another device, is possible, but not to the last
    bit.
    """
    state = states[distributed.rank() % len(states)]
    torch.set_rng_state(state["torch"])
    for gpu, cuda_state in zip(range(torch.cuda.device_count()), state["cuda"]):
        torch.cuda.set_rng_state(cuda_state, gpu)
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
    numpy_name, numpy_keys, *numpy_rest = state["numpy"]
    np.random.set_state((numpy_name, numpy_keys.numpy(), *numpy_rest))  # noqa: NPY002
    random.setstate(state["python"])


class Checkpoint:
    """A file from which a run goes on as if it had never stopped.

    Args:
        path: where the file is, or will be.
        parts: whatever has ``state_dict`` and ``load_state_dict``, by name: ``model=...``,
            ``optimizer=...``, ``scaler=...``, ``loader=...``. A part that is None is left out.
    """

    def __init__(self, path: str | Path, **parts: Any) -> None:
        self.path = Path(path)
        self.parts = {name: part for name, part in parts.items() if part is not None}

    def save(self, progress: dict[str, Any]) -> None:
        """Write the state of every part, ``progress`` and every random generator into the file.

        Whenever the program is stopped, the file is the old one or the new one, whole. When
        writing fails, the old file stays, nothing else is left in its folder, and the error goes
        on to the caller. Of several processes the first writes (``distributed.rank()`` is 0).

        Args:
            progress: plain data: numbers, strings, tensors, and lists and dictionaries of them.

        Source: POSIX, ``rename``: replacing a file in the same folder is atomic.
        """
        raise NotImplementedError("your turn: Checkpoint.save")

    def load(self) -> dict[str, Any] | None:
        """Restore every part and every random generator, and return the saved progress.

        The file may come from anyone: loading runs no code of its own (``weights_only=True``).

        Returns:
            What ``save`` was given; None if there is no file yet.

        Raises:
            RuntimeError: the file is damaged, or is something else than a checkpoint of these
                parts. The message names the file, and no part has changed.
        """
        require_checksums(self.path)
        raise NotImplementedError("your turn: Checkpoint.load")

    def restore(self, states: dict[str, Any]) -> None:
        """Load the state of every part, or of none: if one does not fit, its error goes on."""
        before = {name: deepcopy(part.state_dict()) for name, part in self.parts.items()}
        try:
            for name, part in self.parts.items():
                part.load_state_dict(states[name])
        except Exception:
            for name, part in self.parts.items():
                part.load_state_dict(before[name])
            raise


def require_checksums(path: Path) -> None:
    """Raise a RuntimeError if a file that ``torch.save`` wrote has changed since.

    ``torch.load`` looks at no checksum: from a file with one wrong bit it may return wrong weights.
    A file of another kind has none, and passes.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # of many kinds, when the archive's own table is damaged
        damaged = str(error)
    if damaged is not None:
        raise RuntimeError(f"{path} is no checkpoint of this run: move it away ({damaged})")


# --- the loop -------------------------------------------------------------------------------------


def fit(
    model: nn.Module,
    loader: ResumableLoader,
    loss_fn: LossFunction,
    optimizer: Any,
    *,
    max_epochs: int = 1,
    max_steps: int | None = None,
    accumulate: int = 1,
    max_norm: float | None = None,
    schedule: Callable[[int], float] | None = None,
    scaler: Any = None,
    autocast_dtype: torch.dtype | None = None,
    eval_loader: Iterable[Batch] | None = None,
    patience: int | None = None,
    checkpoint: Any = None,
    checkpoint_every: int = 100,
    monitor: Callable[[Progress], None] | None = None,
    step: Callable[..., StepResult] = train_step,
    device: str | torch.device = "cpu",
) -> dict[str, list]:
    """Train a model, and return the history of the run.

    With several processes (``distributed.processes``) each trains on its share of every batch, with
    the same result as one on all of it.

    Args:
        model: the model, on ``device``. It is trained in training mode.
        loader: the training batches; only ``epoch``, iterating and ``next_epoch`` are used.
        loss_fn: the mean loss of a batch.
        optimizer: any of ``torch.optim``, over the model's parameters.
        max_epochs: training stops when ``loader.epoch`` has come to this number.
        max_steps: training stops at once, without an evaluation, when the model has been changed
            so often. A step that the scaler skipped does not count.
        accumulate: so many batches in a row are the micro-batches of one step; the last step of
            an epoch takes those that are left.
        max_norm: see ``train_step``.
        schedule: gives the learning rate of a step from the number of changes made before it. It
            is set in every parameter group, before the step.
        scaler: see ``train_step``.
        autocast_dtype: see ``train_step``.
        eval_loader: batches for ``evaluate`` after every epoch.
        patience: early stopping. Training stops when so many evaluations in a row were not better
            than the best, and the model ends with the weights of the best, however it stops.
        checkpoint: a ``Checkpoint`` that has the model, the optimizer, the scaler and the loader
            as parts. If it can be loaded, the run goes on from there.
        checkpoint_every: the checkpoint is saved after every so many steps, skipped ones too.
        monitor: called with the progress after every step.
        step: makes the steps; ``train_step`` or another with its arguments and result.
        device: where the batches are moved, without waiting for those that are in pinned memory.

    Returns:
        ``Progress.history`` of the whole run, also of what was before the checkpoint, with floats.
    """
    raise NotImplementedError("your turn: fit")
