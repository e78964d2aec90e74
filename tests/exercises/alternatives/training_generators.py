"""The run as a generator of events; sums on the side, hooks for the scale, an inherited scaler."""

import dataclasses
import itertools
import os
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import nn


def resolve_device(device="auto"):
    machine = ["cpu"]
    if torch.backends.mps.is_available():
        machine += ["mps", "mps:0"]
    if torch.cuda.is_available():
        machine += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    best = [name for name in machine if ":" not in name][-1]
    wanted = torch.device(best if device == "auto" else device)
    if wanted.type in ("cuda", "mps") and str(wanted) not in machine:
        raise RuntimeError(f"{wanted} is missing; there are {', '.join(machine)}")
    return wanted


class Nothing:
    """A scaler that is not enabled."""

    def is_enabled(self):
        return False

    def scale(self, outputs):
        return outputs

    def unscale_(self, optimizer):
        pass

    def step(self, optimizer):
        return optimizer.step()

    def update(self):
        pass

    def get_scale(self):
        return 1.0

    def state_dict(self):
        return {}

    def load_state_dict(self, state_dict):
        pass


class Something:
    """A scaler that is."""

    def __init__(self, state):
        self.state = state
        self.stages = defaultdict(lambda: "ready")
        self.bad = {}

    def get_scale(self):
        return self.state["scale"]

    def scale(self, outputs):
        wide = outputs.new_full((), self.get_scale(), dtype=torch.float32)
        return torch.mul(outputs, wide)

    def advance(self, optimizer, stage, allowed):
        if self.stages[id(optimizer)] not in allowed:
            raise RuntimeError(f"{stage} after {self.stages[id(optimizer)]}")
        self.stages[id(optimizer)] = stage

    def unscale_(self, optimizer):
        self.advance(optimizer, "unscaled", ["ready"])
        bad = False
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    bad |= not np.isfinite(param.grad.float().numpy()).all()
                    torch.div(param.grad, self.get_scale(), out=param.grad)
        self.bad[id(optimizer)] = bool(bad)

    def step(self, optimizer):
        if self.stages[id(optimizer)] == "ready":
            self.unscale_(optimizer)
        self.advance(optimizer, "stepped", ["unscaled"])
        return optimizer.step() if not self.bad[id(optimizer)] else None

    def update(self):
        good = not any(self.bad.values())
        tracker = (self.state["_growth_tracker"] + 1) * good
        factor = 1.0 if good else self.state["backoff_factor"]
        if tracker == self.state["growth_interval"]:
            tracker, factor = 0, self.state["growth_factor"]
        self.state |= {"scale": self.state["scale"] * factor, "_growth_tracker": tracker}
        self.stages.clear()
        self.bad.clear()

    def state_dict(self):
        return {**self.state}

    def load_state_dict(self, state_dict):
        self.state = {key: state_dict[key] for key in self.state}


class LossScaler:
    def __new__(
        cls,
        init_scale=2.0**16,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
        enabled=True,
    ):
        if not enabled:
            return Nothing()
        state = {"scale": init_scale, "growth_factor": growth_factor, "_growth_tracker": 0}
        state |= {"backoff_factor": backoff_factor, "growth_interval": growth_interval}
        return Something(state)


def train_step(
    model,
    micro_batches,
    loss_fn,
    optimizer,
    *,
    scaler=None,
    max_norm=None,
    autocast_dtype=None,
    check_finite=False,
):
    scaler = scaler or Nothing()
    optimizer.zero_grad(set_to_none=False)
    total = torch.tensor([len(x) for x, _ in micro_batches]).sum()
    result = []
    for x, y in micro_batches:
        with torch.amp.autocast(
            x.device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None
        ):
            loss = loss_fn(model(x), y)
        share = torch.tensor(len(x) / total.item(), dtype=loss.dtype)
        scaler.scale(loss).backward(gradient=share)
        with torch.no_grad():
            result.append(loss * share)
    scaler.unscale_(optimizer)
    limit = float("inf") if max_norm is None else max_norm
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
    watched = sum(result) if scaler.is_enabled() else sum(result) * norm
    if check_finite and not watched.isfinite():
        raise FloatingPointError(f"loss {sum(result)}, norm {norm}")
    start = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return sum(result), norm, scaler.get_scale() / start >= 1


def evaluate(model, loader, loss_fn, device="cpu"):
    training = [module for module in model.modules() if module.training]
    sums = defaultdict(float)
    model.train(False)
    with torch.no_grad():
        for batch in loader:
            x, y = [tensor.to(device) for tensor in batch]
            outputs = model(x)
            sums["examples"] += x.size(0)
            sums["loss"] += loss_fn(outputs, y).double() * x.size(0)
            if y.dtype == torch.int64:
                ranks = outputs.sort(dim=-1, descending=True).indices
                sums["accuracy"] += (ranks[..., 0] == y).double().sum()
    for module in training:
        module.training = True
    examples = sums.pop("examples")
    return {name: float(value / examples) for name, value in sums.items()}


class Checkpoint:
    def __init__(self, path, **parts):
        self.path, self.parts = Path(path), parts

    def everything(self):
        yield from ((name, part) for name, part in self.parts.items() if part is not None)
        yield "generators", self

    def state_dict(self):
        _, keys, *rest = np.random.get_state()  # noqa: NPY002
        return {
            "t": torch.random.get_rng_state(),
            "n": [keys.tolist(), rest],
            "p": random.getstate(),
        }

    def load_state_dict(self, state):
        torch.random.set_rng_state(state["t"])
        keys, rest = state["n"]
        np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
        random.setstate(state["p"])

    def save(self, progress):
        states = {name: part.state_dict() for name, part in self.everything()}
        handle, new = tempfile.mkstemp(dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save({"states": states, "progress": progress}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
        except BaseException:
            os.unlink(new)
            raise

    def load(self):
        if not self.path.is_file():
            return None
        try:
            saved = torch.load(str(self.path), weights_only=True)
            pairs = [(part, saved["states"][name]) for name, part in self.everything()]
            progress = saved["progress"]
        except Exception as error:
            message = f"{self.path}: no checkpoint of these parts ({type(error).__name__})"
            raise RuntimeError(message) from error
        for part, state in pairs:
            part.load_state_dict(state)
        return progress


@dataclasses.dataclass
class Run:
    steps: list = dataclasses.field(default_factory=list)
    evals: list = dataclasses.field(default_factory=list)
    best: dict = dataclasses.field(default_factory=dict)

    @property
    def updates(self):
        return sum(made for *_, made in self.steps)

    @property
    def bad(self):
        losses = [result["loss"] for result in self.evals]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def fit(
    model,
    loader,
    loss_fn,
    optimizer,
    *,
    max_epochs=1,
    max_steps=None,
    accumulate=1,
    max_norm=None,
    schedule=None,
    scaler=None,
    autocast_dtype=None,
    eval_loader=None,
    patience=None,
    checkpoint=None,
    checkpoint_every=100,
    monitor=None,
    step=train_step,
    device="cpu",
):
    run = Run(**((checkpoint.load() if checkpoint else None) or {}))

    def groups():
        while loader.epoch < max_epochs:
            source = iter(loader)
            for first in source:
                yield [first, *itertools.islice(source, accumulate - 1)]
            yield None
            loader.next_epoch()

    def waited_enough():
        return patience is not None and run.bad >= patience

    model.train()
    for group in itertools.chain([...], groups()):
        if group is ...:
            if waited_enough():
                break
        elif group is None:
            if eval_loader is not None:
                run.evals.append(evaluate(model, eval_loader, loss_fn, device))
                if patience is not None and run.bad == 0:
                    run.best = {k: v.detach().clone() for k, v in model.state_dict().items()}
                if waited_enough():
                    break
        else:
            for options in optimizer.param_groups if schedule else ():
                options["lr"] = schedule(run.updates)
            loss, norm, made = step(
                model,
                [(x.to(device), y.to(device)) for x, y in group],
                loss_fn,
                optimizer,
                scaler=scaler,
                max_norm=max_norm,
                autocast_dtype=autocast_dtype,
            )
            rate = optimizer.param_groups[0]["lr"]
            run.steps.append([float(loss), float(norm), rate, int(made)])
            if monitor:
                losses = [row[0] for row in run.steps]
                monitor({"updates": run.updates, "history": {"loss": losses}})
            if checkpoint and len(run.steps) % checkpoint_every == 0:
                checkpoint.save(vars(run))
            if run.updates == max_steps:
                break
    model.load_state_dict({**model.state_dict(), **run.best})
    columns = [list(column) for column in zip(*run.steps)]
    return dict(zip(("loss", "grad_norm", "lr"), columns)) | {"eval": run.evals}
