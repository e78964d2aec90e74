"""One thing after the other: explicit branches, scalars in loops, gradients cleared at the end."""

import contextlib
import os
import random

import numpy as np
import torch


def resolve_device(device="auto"):
    cuda_devices = 0
    if torch.cuda.is_available():
        cuda_devices = torch.cuda.device_count()
    if str(device) == "auto":
        if cuda_devices > 0:
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    device = torch.device(device)
    if device.type == "cuda":
        index = 0 if device.index is None else device.index
        if index > cuda_devices - 1:
            raise RuntimeError(f"{device}: there are {cuda_devices} CUDA devices, take another")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError("mps: this is not a machine with Apple's GPU, take another device")
    return device


class LossScaler:
    def __init__(
        self,
        init_scale=2.0**16,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
        enabled=True,
    ):
        self.now = init_scale
        self.up = growth_factor
        self.down = backoff_factor
        self.interval = growth_interval
        self.on = enabled
        self.good = 0
        self.notes = []

    def get_scale(self):
        if self.on:
            return self.now
        return 1.0

    def scale(self, outputs):
        if not self.on:
            return outputs
        if outputs.dim() == 0 and outputs.dtype in (torch.float16, torch.bfloat16):
            return outputs.float() * self.now
        return outputs * self.now

    def note_of(self, optimizer):
        for note in self.notes:
            if note["optimizer"] is optimizer:
                return note
        return None

    def unscale_(self, optimizer):
        if not self.on:
            return
        if self.note_of(optimizer) is not None:
            raise RuntimeError("unscaled before")
        bad = False
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    for number in param.grad.flatten().tolist():
                        if number != number or number in (float("inf"), float("-inf")):
                            bad = True
                    param.grad.copy_(param.grad / self.now)
        self.notes.append({"optimizer": optimizer, "bad": bad, "stepped": False})

    def step(self, optimizer):
        if not self.on:
            return optimizer.step()
        note = self.note_of(optimizer)
        if note is None:
            self.unscale_(optimizer)
            note = self.note_of(optimizer)
        if note["stepped"]:
            raise RuntimeError("stepped before")
        note["stepped"] = True
        if note["bad"]:
            return None
        return optimizer.step()

    def update(self):
        if not self.on:
            return
        bad = False
        for note in self.notes:
            if note["bad"]:
                bad = True
        self.notes = []
        if bad:
            self.now = self.now * self.down
            self.good = 0
            return
        self.good = self.good + 1
        if self.good == self.interval:
            self.now = self.now * self.up
            self.good = 0

    def state_dict(self):
        if not self.on:
            return {}
        return {
            "scale": self.now,
            "growth_factor": self.up,
            "backoff_factor": self.down,
            "growth_interval": self.interval,
            "_growth_tracker": self.good,
        }

    def load_state_dict(self, state_dict):
        if self.on:
            self.now = state_dict["scale"]
            self.up = state_dict["growth_factor"]
            self.down = state_dict["backoff_factor"]
            self.interval = state_dict["growth_interval"]
            self.good = state_dict["_growth_tracker"]


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
    total = 0
    for x, _ in micro_batches:
        total += x.shape[0]
    mean = 0.0
    for x, y in micro_batches:
        if autocast_dtype is None:
            loss = loss_fn(model(x), y)
        else:
            with torch.autocast(device_type=x.device.type, dtype=autocast_dtype):
                loss = loss_fn(model(x), y)
        loss = loss * x.shape[0] / total
        mean = mean + loss.detach()
        if scaler is None:
            loss.backward()
        else:
            scaler.scale(loss).backward()
    if scaler is not None:
        scaler.unscale_(optimizer)
    squares = 0.0
    for param in model.parameters():
        if param.grad is not None:
            squares = squares + (param.grad.double() ** 2).sum()
    norm = squares**0.5
    if max_norm is not None and not norm <= max_norm:
        for param in model.parameters():
            if param.grad is not None:
                param.grad *= max_norm / norm
    if check_finite:
        if not torch.isfinite(mean):
            raise FloatingPointError("the loss is not finite")
        if (scaler is None or not scaler.is_enabled()) and not torch.isfinite(norm):
            raise FloatingPointError("the gradient norm is not finite")
    stepped = True
    if scaler is None:
        optimizer.step()
    else:
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() < before:
            stepped = False
    optimizer.zero_grad()
    return mean, norm, stepped


def evaluate(model, loader, loss_fn, device="cpu"):
    was_training = []
    for module in model.modules():
        was_training.append(module.training)
    model.eval()
    loss, hits, count, classes = 0.0, 0, 0, False
    for x, y in loader:
        x = x.to(device)
        y = y.to(device)
        with torch.no_grad():
            outputs = model(x)
            loss += float(loss_fn(outputs, y)) * len(x)
        count += len(x)
        if y.dtype in (torch.int64, torch.int32):
            classes = True
            for row, target in zip(outputs, y):
                if int(row.argmax()) == int(target):
                    hits += 1
    for module, training in zip(model.modules(), was_training):
        module.training = training
    if classes:
        return {"accuracy": hits / count, "loss": loss / count}
    return {"loss": loss / count}


class Checkpoint:
    def __init__(self, path, **parts):
        self.path = str(path)
        self.parts = parts

    def save(self, progress):
        content = {"progress": progress, "torch": torch.get_rng_state()}
        content["python"] = random.getstate()
        name, numbers, a, b, c = np.random.get_state()  # noqa: NPY002
        content["numpy"] = (name, [int(number) for number in numbers], a, b, c)
        for key in self.parts:
            if self.parts[key] is not None:
                content["part " + key] = self.parts[key].state_dict()
        new = self.path + ".new"
        try:
            torch.save(content, new)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.remove(new)
            raise
        os.rename(new, self.path)

    def load(self):
        if not os.path.exists(self.path):
            return None
        try:
            content = torch.load(self.path, weights_only=True)
        except Exception:
            raise RuntimeError(self.path + " cannot be read as a checkpoint") from None
        wanted = ["progress", "torch", "python", "numpy"]
        for key in self.parts:
            if self.parts[key] is not None:
                wanted.append("part " + key)
        for key in wanted:
            if key not in content:
                raise RuntimeError(self.path + " has no " + key)
        for key in self.parts:
            if self.parts[key] is not None:
                self.parts[key].load_state_dict(content["part " + key])
        random.setstate(content["python"])
        torch.set_rng_state(content["torch"])
        np.random.set_state(content["numpy"])  # noqa: NPY002
        return content["progress"]


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
    step=None,
    device="cpu",
):
    run = {
        "losses": [],
        "norms": [],
        "rates": [],
        "evaluations": [],
        "made": 0,
        "best": None,
        "copy": None,
        "waited": 0,
    }
    if checkpoint is not None:
        found = checkpoint.load()
        if found is not None:
            run = found
    finished = False
    while loader.epoch < max_epochs and not finished:
        if patience is not None and run["waited"] >= patience:
            break
        model.train()
        group = []
        batches = iter(loader)
        while not finished:
            batch = next(batches, None)
            if batch is not None:
                group.append((batch[0].to(device), batch[1].to(device)))
            if group and (batch is None or len(group) == accumulate):
                if schedule is not None:
                    for param_group in optimizer.param_groups:
                        param_group["lr"] = schedule(run["made"])
                make_step = train_step
                if step is not None:
                    make_step = step
                loss, norm, stepped = make_step(
                    model,
                    group,
                    loss_fn,
                    optimizer,
                    scaler=scaler,
                    max_norm=max_norm,
                    autocast_dtype=autocast_dtype,
                )
                group = []
                if stepped:
                    run["made"] += 1
                run["losses"].append(loss.item())
                run["norms"].append(norm.item())
                run["rates"].append(optimizer.param_groups[0]["lr"])
                if monitor is not None:
                    monitor({"updates": run["made"], "history": {"loss": run["losses"]}})
                if max_steps is not None and run["made"] == max_steps:
                    finished = True
                if checkpoint is not None and len(run["losses"]) % checkpoint_every == 0:
                    checkpoint.save(run)
            if batch is None:
                break
        if finished:
            break
        if eval_loader is not None:
            result = evaluate(model, eval_loader, loss_fn, device)
            run["evaluations"].append(result)
            if patience is not None:
                if run["best"] is None or result["loss"] < run["best"]:
                    run["best"] = result["loss"]
                    run["waited"] = 0
                    run["copy"] = {}
                    for name, value in model.state_dict().items():
                        run["copy"][name] = value.clone()
                else:
                    run["waited"] += 1
        loader.next_epoch()
    if run["copy"] is not None:
        model.load_state_dict(run["copy"])
    return {
        "loss": run["losses"],
        "grad_norm": run["norms"],
        "lr": run["rates"],
        "eval": run["evaluations"],
    }
