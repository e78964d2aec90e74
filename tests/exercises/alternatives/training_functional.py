"""Gradients as values, summed over examples; a scaler whose state is tensors."""

from contextlib import contextmanager, nullcontext
from functools import reduce
from io import BytesIO
from itertools import chain, islice
from math import inf, isfinite
from operator import add
from pathlib import Path
from random import getstate, setstate
from types import SimpleNamespace

import numpy
import torch
from torch.utils._pytree import tree_map


def resolve_device(device="auto"):
    here = {"cpu": 1, "mps": int(torch.backends.mps.is_available())}
    here["cuda"] = torch.cuda.is_available() * torch.cuda.device_count()
    if device == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if here[kind]))
    match wanted := torch.device(device):
        case torch.device(type="cuda" | "mps") if max(wanted.index or 0, 0) + 1 > here[wanted.type]:
            raise RuntimeError(f"no {wanted} here, only {here}: name another one")
    return wanted


class LossScaler:
    def __init__(
        self,
        init_scale=2.0**16,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
        enabled=True,
    ):
        self.enabled = enabled
        self.factors = growth_factor, backoff_factor, growth_interval
        self.now = torch.tensor(float(init_scale), dtype=torch.float64)
        self.count = torch.tensor(0)
        self.seen = {}

    def get_scale(self):
        return self.now.item() if self.enabled else 1.0

    def scale(self, outputs):
        return outputs * self.now.float() if self.enabled else outputs

    @torch.no_grad()
    def unscale_(self, optimizer):
        if not self.enabled:
            return
        if optimizer in self.seen:
            raise RuntimeError("twice")
        groups = (group["params"] for group in optimizer.param_groups)
        grads = [p.grad for p in chain.from_iterable(groups) if p.grad is not None]
        sums = [(grad - grad).abs().sum() for grad in grads]
        self.seen[optimizer] = [torch.stack(sums).sum() != 0, False]
        for grad in grads:
            grad *= self.now.reciprocal()

    def step(self, optimizer):
        if not self.enabled:
            return optimizer.step()
        if optimizer not in self.seen:
            self.unscale_(optimizer)
        overflow, done = self.seen[optimizer]
        if done:
            raise RuntimeError("twice")
        self.seen[optimizer] = [overflow, True]
        if not overflow:
            return optimizer.step()

    def update(self):
        if not self.enabled:
            return
        overflow = torch.stack([overflow for overflow, _ in self.seen.values()]).any()
        up, down, interval = self.factors
        count = torch.where(overflow, 0, self.count + 1)
        rise = count == interval
        self.now = self.now * torch.where(overflow, down, torch.where(rise, up, 1.0))
        self.count = torch.where(rise, 0, count)
        self.seen = {}

    names = "growth_factor", "backoff_factor", "growth_interval"

    def state_dict(self):
        if self.enabled:
            fixed = dict(zip(self.names, self.factors))
            return fixed | {"scale": self.now.item(), "_growth_tracker": self.count.item()}
        return {}

    def load_state_dict(self, state_dict):
        if self.enabled:
            self.factors = tuple(state_dict[name] for name in self.names)
            self.now = torch.tensor(state_dict["scale"], dtype=torch.float64)
            self.count = torch.tensor(state_dict["_growth_tracker"])


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
    params = [param for param in model.parameters() if param.requires_grad]
    kind = params[0].device.type
    cast = torch.autocast(kind, autocast_dtype) if autocast_dtype else nullcontext()

    def pulled(batch):
        x, y = batch
        with cast:
            total = loss_fn(model(x), y) * len(x)
        pulled_back = scaler.scale(total) if scaler else total
        return total.detach(), torch.autograd.grad(pulled_back, params)

    def added(one, other):
        return one[0] + other[0], tuple(map(add, one[1], other[1]))

    loss, grads = reduce(added, map(pulled, micro_batches))
    n = sum(len(x) for x, _ in micro_batches)
    for param, grad in zip(params, grads):
        param.grad = grad / n
    if scaler:
        scaler.unscale_(optimizer)
    norm = torch.cat([param.grad.flatten() for param in params]).norm()
    if max_norm is not None:
        factor = torch.clamp(max_norm / norm, max=1.0)
        for param in params:
            param.grad = param.grad * factor
    if check_finite and not all(map(isfinite, [loss] if scaler else [loss, norm])):
        raise FloatingPointError("inf or nan")
    made = True
    if scaler:
        old = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        made = not scaler.get_scale() < old
    else:
        optimizer.step()
    return loss / n, norm, made


@contextmanager
def evaluating(model):
    modes = {name: module.training for name, module in model.named_modules()}
    try:
        yield model.eval()
    finally:
        for name, module in model.named_modules():
            module.training = modes[name]


def evaluate(model, loader, loss_fn, device="cpu"):
    with evaluating(model), torch.inference_mode():
        moved = ((x.to(device=device), y.to(device=device)) for x, y in loader)
        seen = [(model(x), y) for x, y in moved]
        sizes = torch.tensor([len(y) for _, y in seen], dtype=torch.float64)
        losses = torch.stack([loss_fn(outputs, y).cpu() for outputs, y in seen])
        result = {"loss": (sizes @ losses.double() / sizes.sum()).item()}
        outputs, targets = map(torch.cat, zip(*seen))
        if not targets.dtype.is_floating_point:
            result["accuracy"] = outputs.max(-1).indices.eq(targets).double().mean().item()
    return result


class Checkpoint:
    def __init__(self, path, **parts):
        self.path = Path(path)
        self.parts = {key: part for key, part in parts.items() if part}

    def save(self, progress):
        whole = BytesIO()
        states = {key: part.state_dict() for key, part in self.parts.items()}
        _, keys, *rest = numpy.random.get_state()  # noqa: NPY002
        words = torch.from_numpy(keys.astype("int64"))
        torch.save((states, progress, torch.get_rng_state(), (words, rest), getstate()), whole)
        beside = self.path.with_name("." + self.path.name)
        try:
            beside.write_bytes(whole.getbuffer())
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)

    def load(self):
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            states, progress, rng, (words, rest), python = torch.load(
                BytesIO(content), weights_only=True
            )
            found = [(part, states[key]) for key, part in self.parts.items()]
        except Exception as error:
            raise RuntimeError(f"not a checkpoint: {self.path}") from error
        for part, state in found:
            part.load_state_dict(state)
        torch.set_rng_state(rng)
        numpy.random.set_state(("MT19937", words.numpy().astype("uint32"), *rest))  # noqa: NPY002
        setstate(python)
        return progress


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
    monitor=lambda progress: None,
    step=train_step,
    device="cpu",
):
    run = SimpleNamespace(updates=0, steps=[], evals=[], weights={}, bad=0, best=inf)
    if checkpoint and (found := checkpoint.load()):
        vars(run).update(found)
    settings = {"scaler": scaler, "max_norm": max_norm, "autocast_dtype": autocast_dtype}
    done = inf if max_steps is None else max_steps

    def one(group):
        if schedule:
            for options in optimizer.param_groups:
                options.update(lr=schedule(run.updates))
        moved = tree_map(lambda tensor: tensor.to(device), group)
        loss, norm, made = step(model, moved, loss_fn, optimizer, **settings)
        run.updates += int(made)
        run.steps.append([loss.item(), norm.item(), optimizer.param_groups[0]["lr"]])
        monitor({"updates": run.updates, "history": history()})
        if checkpoint and not len(run.steps) % checkpoint_every:
            checkpoint.save(vars(run))
        return run.updates != done

    def history():
        losses, norms, rates = map(list, zip(*run.steps))
        return {"loss": losses, "grad_norm": norms, "lr": rates, "eval": run.evals}

    def epoch():
        model.train()
        batches = iter(loader)
        return all(map(one, iter(lambda: list(islice(batches, accumulate)), [])))

    def assess():
        run.evals.append(evaluate(model, eval_loader, loss_fn, device))
        loss = run.evals[-1]["loss"]
        if patience is not None:
            run.bad = 0 if loss < run.best else run.bad + 1
        if patience is not None and run.bad == 0:
            run.best, run.weights = loss, tree_map(torch.clone, dict(model.state_dict()))

    while loader.epoch < max_epochs and run.bad < (patience or inf) and epoch():
        if eval_loader:
            assess()
        loader.next_epoch()
    if run.weights:
        model.load_state_dict(run.weights)
    return history()
