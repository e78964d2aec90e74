"""Measure what a training loop costs beside the work: `fit` against loops by hand and frameworks.

Every candidate trains the same network on the same examples in batches of the same size, on one
thread. Each trains for a few steps, of which the median over the rounds counts, and for many. The
time of a step is the difference by the additional steps: what happens once, at the start or at the
end, is not in it.

- small: an MLP 64-128-128-10 and batches of 64. The loop by hand has the forward pass, the backward
  pass, the optimizer and a list of losses, and nothing else; `fit` records gradient norms too,
  and so does one of the loops by hand.
- small, clipped: the same, with gradients clipped to a norm of 1, and a learning rate that falls
  along a cosine.
- moderate, clipped: six hidden layers of 512 and batches of 128.
- both with every safety feature: norms clipped and recorded, a schedule, a check for nan before
  each step, a metrics file, a checkpoint every 100 steps. The loop by hand has them too.

The textbook loop takes its batches from a DataLoader and reads the loss in every step. All others
cut theirs from tensors, where a framework takes such batches. A framework is called lean with
everything off that it can do without, and default as its documentation begins. All optimizers are
torch's AdamW, tensor after tensor where the name says nothing else; Keras has its own, and the one
on one vector is shown on the book's page "Optimisers".

The frameworks are installed into _build/bench_env; without them: --only ours.
"""

import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from bench_optimizers import chapters_class
from benchmark import (
    Times,
    command,
    command_line,
    go_on_with,
    in_short,
    machine,
    paired,
    ratios,
    require_quiet,
    spread,
    store,
    tell,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

from course_lib.monitor import Monitor
from course_lib.training import Checkpoint, ResumableLoader, fit, train_step

LR = 1e-3


# --- what is trained ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One epoch of training a classifier of random examples.

    Attributes:
        sizes: the widths of the layers, from the inputs to the classes.
        steps: the length of the epoch.
        max_norm: to which the gradients are clipped, if they are.
        cosine: does the learning rate fall?
        checkpoint_every: steps between two checkpoints, where there are any.
    """

    sizes: tuple[int, ...]
    batch_size: int
    steps: int = 0
    max_norm: float | None = None
    cosine: bool = False
    checkpoint_every: int = 100

    @cached_property
    def tensors(self) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(self.steps * self.batch_size, self.sizes[0], generator=rng)
        return x, torch.randint(self.sizes[-1], (len(x),), generator=rng)

    def model(self) -> nn.Sequential:
        torch.manual_seed(0)
        layers = [layer for pair in pairwise(self.sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return LR * (1 + math.cos(math.pi * step / self.steps)) / 2 if self.cosine else LR


Train = Callable[[Task], Any]
Make = Callable[..., Any]
"""Takes parameters and ``lr``, returns an optimizer."""


class Batches:
    """The batches of an epoch, cut from tensors in the plainest way."""

    def __init__(self, task: Task) -> None:
        self.tensors, self.batch_size = task.tensors, task.batch_size

    def __len__(self) -> int:
        return len(self.tensors[0]) // self.batch_size

    def __iter__(self) -> Iterator[Any]:
        for indices in torch.randperm(len(self.tensors[0])).split(self.batch_size):
            yield tuple(tensor[indices] for tensor in self.tensors)


def loader_of(task: Task) -> DataLoader:
    return DataLoader(TensorDataset(*task.tensors), task.batch_size, shuffle=True)


def scheduler_of(task: Task, optimizer: Any) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: task.rate(step) / LR)


# --- by hand --------------------------------------------------------------------------------------


def by_hand(task: Task, make: Make = AdamW, norms: bool = False) -> list[float]:
    """Train, and return the losses.

    Args:
        make: makes the optimizer of parameters and ``lr``.
        norms: is the norm of the gradients recorded?
    """
    model, losses, recorded = task.model(), list[Tensor](), list[Tensor]()
    optimizer = make(model.parameters(), lr=LR)
    for step, (x, y) in enumerate(Batches(task)):
        if task.cosine:
            for group in optimizer.param_groups:
                group["lr"] = task.rate(step)
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        if norms:
            gradients = [param.grad for param in model.parameters() if param.grad is not None]
            recorded.append(get_total_norm(gradients))
        if task.max_norm is not None:
            clip_grad_norm_(model.parameters(), task.max_norm)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


def textbook(task: Task) -> list[float]:
    model, losses = task.model(), []
    optimizer = AdamW(model.parameters(), lr=LR)
    scheduler = scheduler_of(task, optimizer)
    for x, y in loader_of(task):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        if task.max_norm is not None:
            clip_grad_norm_(model.parameters(), task.max_norm)
        optimizer.step()
        if task.cosine:
            scheduler.step()
        losses.append(loss.item())
    return losses


def by_hand_and_safe(
    task: Task, batches: Iterable[Any] | None = None, make: Make = AdamW
) -> list[float]:
    assert task.max_norm is not None
    model, losses, norms = task.model(), list[float](), list[float]()
    optimizer = make(model.parameters(), lr=LR)
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/metrics.jsonl", "w") as metrics:
        for step, (x, y) in enumerate(batches or Batches(task), start=1):
            lr = task.rate(step - 1)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            norm = clip_grad_norm_(model.parameters(), task.max_norm)
            losses.append(loss.item())
            norms.append(norm.item())
            if not math.isfinite(losses[-1] + norms[-1]):
                raise FloatingPointError(f"step {step} is not finite")
            optimizer.step()
            line = {"step": step, "loss": losses[-1], "grad_norm": norms[-1], "lr": lr}
            metrics.write(f"{json.dumps(line)}\n")
            if step % task.checkpoint_every == 0:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "losses": losses,
                    "norms": norms,
                    "rng": torch.get_rng_state(),
                }
                torch.save(state, f"{folder}/checkpoint.tmp")
                os.replace(f"{folder}/checkpoint.tmp", f"{folder}/checkpoint.pt")
    return losses


# --- ours -----------------------------------------------------------------------------------------


def with_fit(task: Task, make: Make = AdamW) -> list[float]:
    model = task.model()
    optimizer = make(model.parameters(), lr=LR)
    schedule = task.rate if task.cosine else None
    history = fit(
        model,
        resumable(task),
        cross_entropy,
        optimizer,
        max_norm=task.max_norm,
        schedule=schedule,
    )
    return history["loss"]


def resumable(task: Task) -> ResumableLoader:
    return ResumableLoader(*task.tensors, batch_size=task.batch_size)


def with_fit_and_safe(task: Task, make: Make = AdamW) -> list[float]:
    model, loader = task.model(), resumable(task)
    optimizer = make(model.parameters(), lr=LR)
    with tempfile.TemporaryDirectory() as folder, Monitor(Path(folder, "metrics.jsonl")) as monitor:
        history = fit(
            model,
            loader,
            cross_entropy,
            optimizer,
            max_norm=task.max_norm,
            schedule=task.rate,
            checkpoint=Checkpoint(
                Path(folder, "checkpoint.pt"), model=model, optimizer=optimizer, loader=loader
            ),
            checkpoint_every=task.checkpoint_every,
            monitor=monitor,
            step=partial(train_step, check_finite=True),
        )
    return history["loss"]


# --- frameworks -----------------------------------------------------------------------------------

LIBRARIES = {
    "lightning": "2.6.6",
    "transformers": "5.23.0",
    "accelerate": "1.15.0",
    "pytorch-ignite": "0.5.5",
    "skorch": "1.4.0",
    "fastai": "2.8.12",
    "keras": "3.15.1",
}


def lightning(task: Task, lean: bool) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.model()
            self.losses: list[Tensor] = []

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            x, y = batch
            loss = cross_entropy(self.network(x), y)
            if lean:
                self.losses.append(loss.detach())
            else:
                self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = AdamW(self.parameters(), lr=LR)
            if not task.cosine:
                return optimizer
            scheduler = {"scheduler": scheduler_of(task, optimizer), "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": scheduler}

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=1,
            gradient_clip_val=task.max_norm,
            default_root_dir=folder,
            barebones=lean,
        )
        trainer.fit(Module(), Batches(task) if lean else loader_of(task))


class Dictionaries(Batches, Dataset):
    """Examples, and batches of them, as Hugging Face's models take them."""

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x, y = self.tensors
        return {"x": x[index], "labels": y[index]}


class DictionaryBatches(Batches):
    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for x, y in super().__iter__():
            yield {"x": x, "labels": y}


class WithLoss(nn.Module):
    """A network as Hugging Face's Trainer takes it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        outputs = self.network(x)
        return {"loss": cross_entropy(outputs, labels), "logits": outputs}


def hugging_face(task: Task, lean: bool) -> None:
    from transformers import Trainer, TrainingArguments

    class LeanTrainer(Trainer):
        def get_train_dataloader(self) -> Any:
            return DictionaryBatches(task)

    off = {
        "report_to": "none",
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "max_grad_norm": task.max_norm or 0.0,
        "lr_scheduler_type": "cosine" if task.cosine else "constant",
        "optim": "adamw_torch",
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=task.batch_size,
            learning_rate=LR,
            use_cpu=True,
            **off if lean else {},
        )
        trainer = (LeanTrainer if lean else Trainer)(
            WithLoss(task.model()), arguments, train_dataset=Dictionaries(task)
        )
        trainer.train()


def accelerate(task: Task) -> list[Tensor]:
    from accelerate import Accelerator

    accelerator, model, losses = Accelerator(cpu=True), task.model(), []
    optimizer = AdamW(model.parameters(), lr=LR)
    scheduler = scheduler_of(task, optimizer)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    for x, y in Batches(task):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        accelerator.backward(loss)
        if task.max_norm is not None:
            accelerator.clip_grad_norm_(model.parameters(), task.max_norm)
        optimizer.step()
        if task.cosine:
            scheduler.step()
        losses.append(loss.detach())
    return losses


def ignite(task: Task) -> list[Tensor]:
    from ignite.engine import Engine

    model, losses = task.model(), list[Tensor]()
    optimizer = AdamW(model.parameters(), lr=LR)
    scheduler = scheduler_of(task, optimizer)

    def update(engine: Engine, batch: tuple[Tensor, Tensor]) -> None:
        x, y = batch
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        if task.max_norm is not None:
            clip_grad_norm_(model.parameters(), task.max_norm)
        optimizer.step()
        if task.cosine:
            scheduler.step()
        losses.append(loss.detach())

    Engine(update).run(Batches(task), max_epochs=1)
    return losses


def skorch(task: Task) -> None:
    from skorch import NeuralNet
    from skorch.callbacks import GradientNormClipping, LRScheduler

    callbacks: list[Any] = []
    if task.max_norm is not None:
        callbacks.append(("clip", GradientNormClipping(task.max_norm)))
    if task.cosine:
        rate = {"lr_lambda": lambda step: task.rate(step) / LR}
        callbacks.append(("lr", LRScheduler(LambdaLR, step_every="batch", **rate)))
    net = NeuralNet(
        task.model,
        nn.CrossEntropyLoss,
        optimizer=AdamW,
        lr=LR,
        batch_size=task.batch_size,
        max_epochs=1,
        train_split=None,
        iterator_train=lambda dataset, **options: Batches(task),
        # Of the usual callbacks none is needed.
        callbacks=callbacks,
        callbacks__epoch_timer=None,
        callbacks__train_loss=None,
        callbacks__print_log=None,
    )
    net.fit(*task.tensors)


def fastai(task: Task) -> None:
    from fastai.callback.schedule import ParamScheduler
    from fastai.callback.training import GradientClip
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    callbacks: list[Any] = []
    if task.max_norm is not None:
        callbacks.append(GradientClip(task.max_norm))
    if task.cosine:
        callbacks.append(ParamScheduler({"lr": lambda share: task.rate(int(share * task.steps))}))
    learner = Learner(
        DataLoaders(Batches(task), [], device=torch.device("cpu")),
        task.model(),
        loss_func=cross_entropy,
        opt_func=partial(OptimWrapper, opt=AdamW),
        lr=LR,
        cbs=callbacks,
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(1)


def keras(task: Task) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    rate = keras.optimizers.schedules.CosineDecay(LR, task.steps) if task.cosine else LR
    layers = [keras.layers.Dense(width, activation="relu") for width in task.sizes[1:-1]]
    model = keras.Sequential(
        [keras.Input(task.sizes[:1]), *layers, keras.layers.Dense(task.sizes[-1])]
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, global_clipnorm=task.max_norm),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x, y = task.tensors
    model.fit(x.numpy(), y.numpy(), batch_size=task.batch_size, epochs=1, verbose=0)


FRAMEWORKS: dict[str, Train] = {
    "Lightning, lean": partial(lightning, lean=True),
    "Lightning, default": partial(lightning, lean=False),
    "Hugging Face Trainer, lean": partial(hugging_face, lean=True),
    "Hugging Face Trainer, default": partial(hugging_face, lean=False),
    "accelerate": accelerate,
    "ignite": ignite,
    "skorch": skorch,
    "fastai": fastai,
    "Keras on torch": keras,
}


# --- the benchmark --------------------------------------------------------------------------------

BY_HAND, TEXTBOOK, FIT = "by hand", "textbook", "fit"


OPTIMIZERS: dict[str, Make] = {
    "foreach AdamW": partial(AdamW, foreach=True),
    "fused AdamW": partial(AdamW, fused=True),
    "AdamW on one vector": chapters_class(),
}


def with_optimizers(name: str, train: Callable[..., Any]) -> dict[str, Train]:
    """Return a loop with several kinds of AdamW."""
    kinds = {f"{name}, {kind}": partial(train, make=make) for kind, make in OPTIMIZERS.items()}
    return {name: train, **kinds}


CLIPPED: dict[str, Train] = {
    **with_optimizers(BY_HAND, by_hand),
    TEXTBOOK: textbook,
    **with_optimizers(FIT, with_fit),
}
PLAIN: dict[str, Train] = {**CLIPPED, "by hand, norms recorded": partial(by_hand, norms=True)}
SAFE = {
    **with_optimizers(BY_HAND, by_hand_and_safe),
    **with_optimizers(FIT, with_fit_and_safe),
}
SMALL = Task(sizes=(64, 128, 128, 10), batch_size=64)
SMALL_CLIPPED = replace(SMALL, max_norm=1.0, cosine=True)
MODERATE_CLIPPED = replace(SMALL_CLIPPED, sizes=(64, *[512] * 6, 10), batch_size=128)


class Comparison(NamedTuple):
    task: Task
    lengths: tuple[int, int]
    """A few steps, and many."""
    candidates: dict[str, Train]
    frameworks: dict[str, Train]


COMPARISONS = {
    "small": Comparison(SMALL, (10, 410), PLAIN, FRAMEWORKS),
    "small, clipped": Comparison(SMALL_CLIPPED, (10, 410), CLIPPED, FRAMEWORKS),
    "moderate, clipped": Comparison(MODERATE_CLIPPED, (4, 44), CLIPPED, FRAMEWORKS),
    "small, every safety feature": Comparison(SMALL_CLIPPED, (10, 410), SAFE, {}),
    "moderate, every safety feature": Comparison(MODERATE_CLIPPED, (10, 110), SAFE, {}),
}


def smallest(comparison: Comparison) -> Comparison:
    """Return a comparison of small networks for a few steps, in which everything still happens."""
    sizes = tuple(min(size, 64) for size in comparison.task.sizes)
    task = replace(comparison.task, sizes=sizes, checkpoint_every=4)
    return comparison._replace(task=task, lengths=(4, 12))


def measure(title: str, comparison: Comparison, rounds: int) -> dict[str, Any]:
    """Return the seconds of a step: of every candidate in every round, and what comes of them."""
    short, long = (replace(comparison.task, steps=steps) for steps in comparison.lengths)
    usable, missing = try_out(comparison.frameworks, short)
    candidates = comparison.candidates | usable
    runs = {
        f"{name}, {task.steps} steps": partial(train, task)
        for name, train in candidates.items()
        for task in (short, long)
    }
    seconds = paired(runs, rounds=rounds, seconds=0, title=title)
    times: Times = {}
    for name in candidates:
        start = median(seconds[f"{name}, {short.steps} steps"])
        many = seconds[f"{name}, {long.steps} steps"]
        times[name] = [(each - start) / (long.steps - short.steps) for each in many]
    bases = [base for base in (BY_HAND, TEXTBOOK, FIT) if base in times]
    return {
        "steps": comparison.lengths,
        "seconds": {name: spread(row) for name, row in times.items()},
        "ratios_to": {base: ratios(times, base) for base in bases},
        "times": times,
        "missing": missing,
    }


def try_out(frameworks: Mapping[str, Train], task: Task) -> tuple[dict[str, Train], dict[str, str]]:
    """Return the frameworks that can be used, and what keeps the others from it."""
    usable, missing = dict[str, Train](), dict[str, str]()
    for name, train in frameworks.items():
        try:
            silent(train, task)
            usable[name] = partial(silent, train)
        except Exception as error:
            missing[name] = in_short(error)
            tell(f"{name} is left out. {missing[name]}")
    return usable, missing


def silent(train: Train, task: Task) -> None:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        train(task)


def difference(task: Task) -> dict[str, Any]:
    """Return whether `fit` with every safety feature has the losses of the loop by hand."""
    pairs = [*zip(with_fit_and_safe(task), by_hand_and_safe(task, resumable(task)))]
    return {
        "steps": len(pairs),
        "bit_for_bit": all(ours == theirs for ours, theirs in pairs),
        "largest_difference": max(abs(ours - theirs) for ours, theirs in pairs),
    }


def table(title: str, found: dict[str, Any]) -> str:
    lines = [f"{title}: ms a step, and the ratio to the loop by hand"]
    for name, seconds in found["seconds"].items():
        ratio = found["ratios_to"][BY_HAND][name]
        told = "{median:.2f} ({lowest:.2f} to {highest:.2f})".format(**ratio)
        lines.append(f"  {name:30}{seconds['median'] * 1e3:8.3f}   {told}")
    return "\n".join(lines)


def main() -> None:
    options = command_line(__doc__, rounds=10).parse_args()
    if options.only != "ours":
        go_on_with(*(f"{name}=={number}" for name, number in LIBRARIES.items()))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    require_quiet()
    about = machine()
    results: dict[str, Any] = {"command": command(), "machine": about, "comparisons": {}}
    for title, comparison in COMPARISONS.items():
        if options.trial:
            comparison = smallest(comparison)
        if options.only == "ours":
            comparison = comparison._replace(frameworks={})
        found = measure(title, comparison, rounds=2 if options.trial else options.rounds)
        if comparison.candidates is SAFE:
            longest = replace(comparison.task, steps=comparison.lengths[1])
            found["same_losses"] = difference(longest)
        results["comparisons"][title] = found
        print(table(title, found))
    results["versions"] = versions()
    store(results, options.to)


def versions() -> dict[str, str]:
    installed = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


if __name__ == "__main__":
    main()
