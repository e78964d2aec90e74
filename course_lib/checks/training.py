"""Checks of ``training``: device, loss scaler, one step, evaluation, checkpoint and the loop.

Everything runs on the CPU: availability, another device and a killed run are acted out. Models
compute in float64 and are compared in float32, so that no order of the operations decides.
"""

import io
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.checking import Case, Check, Mistake, Outputs, same

# --- resolve_device -------------------------------------------------------------------------------


class Resolver:
    """The oracle, one decision a method."""

    def __call__(self, device: str | torch.device = "auto") -> Any:
        if device == "auto":
            return self.best(torch.cuda.device_count(), torch.backends.mps.is_available())
        named = torch.device(device)
        return named if self.is_there(named) else self.missing(named)

    def best(self, cuda: int, mps: bool) -> Any:
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")

    def is_there(self, named: torch.device) -> bool:
        if named.type == "cuda":
            return (named.index or 0) < torch.cuda.device_count()
        return named.type != "mps" or torch.backends.mps.is_available()

    def missing(self, named: torch.device) -> Any:
        raise RuntimeError(f"there is no {named}: choose another device")


class NoMps(Resolver):
    def best(self, cuda: int, mps: bool) -> Any:
        return super().best(cuda, False)


class MpsFirst(Resolver):
    def best(self, cuda: int, mps: bool) -> Any:
        return torch.device("mps") if mps else super().best(cuda, mps)


class AlwaysCpu(Resolver):
    def best(self, cuda: int, mps: bool) -> Any:
        return torch.device("cpu")


class AlwaysCuda(Resolver):
    def best(self, cuda: int, mps: bool) -> Any:
        return torch.device("cuda")


class WithIndex(Resolver):
    def __call__(self, device: str | torch.device = "auto") -> Any:
        found = super().__call__(device)
        return torch.device("cuda:0") if found == torch.device("cuda") else found


class ReturnsText(Resolver):
    def __call__(self, device: str | torch.device = "auto") -> Any:
        return str(super().__call__(device))


class FallsBack(Resolver):
    def missing(self, named: torch.device) -> Any:
        return torch.device("cpu")


class TakesOnFaith(Resolver):
    def is_there(self, named: torch.device) -> bool:
        return True


class ForgetsTheIndex(Resolver):
    def is_there(self, named: torch.device) -> bool:
        return super().is_there(torch.device(named.type))


class OneTooMany(Resolver):
    def is_there(self, named: torch.device) -> bool:
        count = torch.cuda.device_count()
        return super().is_there(named) or (named.type == "cuda" and named.index == count > 0)


class MpsOnFaith(Resolver):
    def is_there(self, named: torch.device) -> bool:
        return named.type == "mps" or super().is_there(named)


class DropsTheIndex(Resolver):
    def __call__(self, device: str | torch.device = "auto") -> Any:
        return torch.device(super().__call__(device).type)


class SaysNothing(Resolver):
    def missing(self, named: torch.device) -> Any:
        raise RuntimeError("device not available")


DEVICE_MISTAKES = (
    Mistake(
        "no_mps", "Without CUDA the best device is MPS where there is one, not the CPU.", NoMps()
    ),
    Mistake("mps_first", "CUDA comes before MPS.", MpsFirst()),
    Mistake(
        "always_cpu", '"auto" must take CUDA or MPS where there is one, not the CPU.', AlwaysCpu()
    ),
    Mistake("always_cuda", '"auto" must ask first whether there is a CUDA device.', AlwaysCuda()),
    Mistake(
        "with_index", 'Without an index the device is "cuda", not "cuda:0": add none.', WithIndex()
    ),
    Mistake("returns_text", "Return a torch.device, not a string.", ReturnsText()),
    Mistake(
        "falls_back",
        "A named device that is missing must raise a RuntimeError: a silent fall back to the CPU "
        "makes a run slow, and nobody knows why.",
        FallsBack(),
    ),
    Mistake(
        "takes_on_faith",
        "Ask whether the named device is there: torch.device only parses the name.",
        TakesOnFaith(),
    ),
    Mistake(
        "forgets_the_index",
        "Ask for the index too: with fewer CUDA devices than that, the named one is missing.",
        ForgetsTheIndex(),
    ),
    Mistake(
        "one_too_many",
        "Indices start at 0: with n CUDA devices the last one is cuda:(n - 1).",
        OneTooMany(),
    ),
    Mistake(
        "mps_on_faith", "A named mps may be missing too: ask whether it is available.", MpsOnFaith()
    ),
    Mistake("drops_the_index", "Keep the index of a named device.", DropsTheIndex()),
    Mistake(
        "says_nothing",
        "The RuntimeError's sentence must name the device that is missing.",
        SaysNothing(),
    ),
)


def device_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, cuda: int, mps: bool, *arguments: Any) -> Case:
        machine = f"a machine with {cuda} CUDA devices and {'an' if mps else 'no'} MPS device"
        call = f"resolve_device({', '.join(map(repr, arguments))})"
        title = f"{call} on {machine}"
        return {"part": part, "title": title, "cuda": cuda, "mps": mps, "arguments": arguments}

    best, named, missing = "the best device", "a named device", "a missing device"
    n = int(torch.randint(2, 9, (), generator=rng))
    return [
        case(best, 0, False),
        case(best, 1, False),
        case(best, 0, True),
        case(best, n, True, "auto"),
        case(best, 0, True, "auto"),
        case(named, 0, False, "cpu"),
        case(named, n, False, "cpu"),
        case(named, 1, False, "cuda"),
        case(named, 1, True, "mps"),
        case(named, n, False, f"cuda:{n - 1}"),
        case(named, n, False, torch.device("cuda", 1)),
        case(missing, 0, False, "cuda"),
        case(missing, 0, True, "cuda:0"),
        case(missing, 0, False, "mps"),
        case(missing, n, False, "mps"),
        case(missing, n, False, f"cuda:{n}"),
        case(missing, n, True, f"cuda:{n + 3}"),
        case(missing, 1, False, torch.device("cuda", n)),
    ]


def device_probe(resolve_device: Any, case: Case) -> Outputs:
    with (
        mock.patch.object(torch.cuda, "is_available", return_value=case["cuda"] > 0),
        mock.patch.object(torch.cuda, "device_count", return_value=case["cuda"]),
        mock.patch.object(torch.backends.mps, "is_available", return_value=case["mps"]),
    ):
        try:
            found = resolve_device(*case["arguments"])
        except NotImplementedError:
            raise
        except RuntimeError as error:
            named = str(case["arguments"][0]) in str(error) if case["arguments"] else False
            return {"raised a RuntimeError": True, "its sentence names the device": named}
    return {
        "raised a RuntimeError": False,
        "the device": str(found),
        "it is a torch.device": isinstance(found, torch.device),
    }


check_resolve_device = Check(
    module="training",
    exercise="resolve_device",
    target="resolve_device",
    parts={"the best device": 1, "a named device": 1, "a missing device": 1},
    inputs=device_inputs,
    probe=device_probe,
    oracle=Resolver(),
    mistakes=DEVICE_MISTAKES,
    hints=(
        'Two questions: what is the best device, and is the named one there? Only "auto" asks the '
        "first.",
        "torch.device(device) parses a name or takes a device; its .type and .index tell what is "
        "asked for, and the index may be None.",
        "cuda:7 is there when torch.cuda.device_count() is above 7.",
    ),
)


# --- what the other probes share ------------------------------------------------------------------


class Descent:
    """Gradient descent with momentum, which remembers its steps; nothing of ``torch.optim``."""

    def __init__(self, *groups: Sequence[Tensor], lr: float = 0.1, momentum: float = 0.0) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": group, "lr": lr} for group in groups]
        self.momentum = momentum
        self.buffers = [torch.zeros_like(param) for param in self.params()]
        self.rates: list[list[float]] = []

    def params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for param in self.params():
            param.grad = None

    @torch.no_grad()
    def step(self) -> int:
        self.rates.append([float(group["lr"]) for group in self.param_groups])
        buffers = iter(self.buffers)
        for group in self.param_groups:
            for param, buffer in zip(group["params"], buffers):
                if param.grad is not None:
                    buffer.mul_(self.momentum).add_(param.grad)
                    param.sub_(group["lr"] * buffer)
        return len(self.rates)

    def state_dict(self) -> dict[str, Any]:
        rates = [group["lr"] for group in self.param_groups]
        return {"buffers": list(self.buffers), "lr": rates, "rates": self.rates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.buffers = [buffer.clone() for buffer in state_dict["buffers"]]
        self.rates = deepcopy(state_dict["rates"])
        for group, lr in zip(self.param_groups, state_dict["lr"]):
            group["lr"] = lr


HERE = "cpu:0"
"""The model's device where ``Elsewhere`` plays a part: a name that nobody writes by chance."""


class Elsewhere(Tensor):
    """A tensor on another device, as far as a CPU can show: it tells its shape, and moves here."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict | None = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is Tensor.to and HERE in map(str, (*args[1:], *(kwargs or {}).values())):
                return args[0].as_subclass(Tensor)
            name = getattr(func, "__name__", "")
            if name in ("__get__", "__len__", "size", "dim", "is_floating_point", "numel"):
                return func(*args, **kwargs or {})
        raise RuntimeError("expected all tensors to be on the same device, but found two devices")


class Net(nn.Module):
    """A small network that remembers how it was called."""

    def __init__(self, weights: dict[str, Tensor], norm: bool = False) -> None:
        super().__init__()
        hidden, features = weights["first.weight"].shape
        out = weights["last.weight"].shape[0]
        dtype = weights["last.weight"].dtype
        self.first = nn.Linear(features, hidden, dtype=dtype)
        self.norm = nn.BatchNorm1d(hidden, dtype=dtype) if norm else nn.Identity()
        self.last = nn.Linear(hidden, out, dtype=dtype)
        self.calls: dict[str, list] = {"sizes": [], "autocast": [], "training": [], "grad": []}
        with torch.no_grad():
            for name, param in self.named_parameters():
                if name in weights:
                    param.copy_(weights[name])

    def forward(self, x: Tensor) -> Tensor:
        self.calls["sizes"].append(len(x))
        self.calls["autocast"].append(autocast_now())
        self.calls["training"].append(mode_of(self))
        self.calls["grad"].append(torch.is_grad_enabled())
        return self.last(torch.tanh(self.norm(self.first(x))))


def mode_of(model: nn.Module) -> str:
    modes = {module.training for module in model.modules()}
    return "mixed" if len(modes) == 2 else "training" if modes == {True} else "evaluation"


def autocast_now() -> str:
    enabled = torch.is_autocast_enabled("cpu")
    return str(torch.get_autocast_dtype("cpu")) if enabled else "off"


def draw_weights(
    rng: torch.Generator, features: int = 3, out: int = 2, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)

    return {
        "first.weight": draw(4, features),
        "first.bias": draw(4),
        "last.weight": draw(out, 4),
        "last.bias": draw(out),
    }


def draw_batch(
    rng: torch.Generator,
    size: int,
    features: int = 3,
    out: int = 2,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Draw inputs and real targets far from every output, so that no gradient is near zero."""
    x = torch.randn(size, features, generator=rng, dtype=torch.float64)
    y = 5 + torch.randn(size, out, generator=rng, dtype=torch.float64)
    return [x.to(dtype), y.to(dtype)]


def doubled(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return a mean loss that tells its two arguments apart."""
    return nn.functional.mse_loss(outputs, 2 * targets)


def weights_of(model: nn.Module) -> Tensor:
    """Return parameters and buffers in one vector, in the precision in which they are compared."""
    return torch.cat([value.detach().flatten().float() for value in model.state_dict().values()])


# --- LossScaler -----------------------------------------------------------------------------------


class TorchScaler(torch.amp.GradScaler):
    """The oracle: torch's scaler on the CPU, ready before the first loss."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__("cpu", *arguments, **options)
        self.scale(torch.zeros(()))


class Scaler:
    """The formula, one decision a method, so that a mistake changes one of them."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self.saved: dict[str, Any] = {
            "scale": init_scale,
            "growth_factor": growth_factor,
            "backoff_factor": backoff_factor,
            "growth_interval": growth_interval,
            "_growth_tracker": 0,
        }
        self.found: dict[int, bool] = {}
        self.done: set[int] = set()

    def is_enabled(self) -> bool:
        return self.enabled

    def get_scale(self) -> float:
        return self.saved["scale"] if self.enabled else 1.0

    def scale(self, outputs: Tensor) -> Tensor:
        return self.scaled(outputs) if self.enabled else outputs

    def scaled(self, outputs: Tensor) -> Tensor:
        return outputs * self.as_tensor(outputs)

    def as_tensor(self, outputs: Tensor) -> Tensor:
        wide = torch.float64 if outputs.dtype == torch.float64 else torch.float32
        return torch.tensor(self.get_scale(), dtype=wide)

    def unscale_(self, optimizer: Any) -> None:
        if not self.enabled:
            return
        self.once(id(optimizer) in self.found)
        grads = [grad for grad in self.grads(optimizer) if grad is not None]
        self.found[id(optimizer)] = any(map(self.overflowed, grads))
        self.divide_all(grads)

    def once(self, again: bool) -> None:
        if again:
            raise RuntimeError("a second call since the last update")

    def grads(self, optimizer: Any) -> list[Tensor | None]:
        return [param.grad for group in optimizer.param_groups for param in group["params"]]

    def overflowed(self, grad: Tensor) -> bool:
        return not bool(grad.isfinite().all())

    def divide_all(self, grads: list[Tensor]) -> None:
        for grad in grads:
            self.divide_(grad)

    def divide_(self, grad: Tensor) -> None:
        grad.div_(self.get_scale())

    def step(self, optimizer: Any) -> Any:
        if not self.enabled:
            return optimizer.step()
        self.once(id(optimizer) in self.done)
        if id(optimizer) not in self.found:
            self.unscale_(optimizer)
        self.done.add(id(optimizer))
        return None if self.skips(optimizer) else optimizer.step()

    def skips(self, optimizer: Any) -> bool:
        return self.found[id(optimizer)]

    def update(self) -> None:
        if self.enabled:
            self.next_scale(any(self.found.values()))
            self.forget()

    def next_scale(self, overflow: bool) -> None:
        if overflow:
            self.fall()
        else:
            self.saved["_growth_tracker"] += 1
            if self.saved["_growth_tracker"] == self.saved["growth_interval"]:
                self.rise()

    def fall(self) -> None:
        self.saved["scale"] *= self.saved["backoff_factor"]
        self.saved["_growth_tracker"] = 0

    def rise(self) -> None:
        self.saved["scale"] *= self.saved["growth_factor"]
        self.saved["_growth_tracker"] = 0

    def forget(self) -> None:
        self.found, self.done = {}, set()

    def state_dict(self) -> dict[str, Any]:
        return dict(self.saved) if self.enabled else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.enabled:
            self.saved = dict(state_dict)


class ScalesNothing(Scaler):
    def scaled(self, outputs: Tensor) -> Tensor:
        return outputs


class DividesTheLoss(Scaler):
    def scaled(self, outputs: Tensor) -> Tensor:
        return outputs / self.get_scale()


class ScalesInHalf(Scaler):
    def scaled(self, outputs: Tensor) -> Tensor:
        return outputs * self.get_scale()


class ScalesDetached(Scaler):
    def scaled(self, outputs: Tensor) -> Tensor:
        return super().scaled(outputs.detach())


class FirstScaleForEver(Scaler):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.first = self.saved["scale"]

    def as_tensor(self, outputs: Tensor) -> Tensor:
        return torch.full_like(super().as_tensor(outputs), self.first)


class DividesByTheFirst(FirstScaleForEver):
    def as_tensor(self, outputs: Tensor) -> Tensor:
        return Scaler.as_tensor(self, outputs)

    def divide_(self, grad: Tensor) -> None:
        grad.div_(self.first)


class MultipliesGradients(Scaler):
    def divide_(self, grad: Tensor) -> None:
        grad.mul_(self.get_scale())


class DividesACopy(Scaler):
    def divide_(self, grad: Tensor) -> None:
        pass


class UnscalesFirstGroup(Scaler):
    def grads(self, optimizer: Any) -> list[Tensor | None]:
        return [param.grad for param in optimizer.param_groups[0]["params"]]


class UnscalesTwice(Scaler):
    def step(self, optimizer: Any) -> Any:
        if self.enabled and id(optimizer) in self.found and id(optimizer) not in self.done:
            self.divide_all([grad for grad in self.grads(optimizer) if grad is not None])
        return super().step(optimizer)


class StepsScaled(Scaler):
    def step(self, optimizer: Any) -> Any:
        if self.enabled and id(optimizer) not in self.found:
            grads = [grad for grad in self.grads(optimizer) if grad is not None]
            self.found[id(optimizer)] = any(map(self.overflowed, grads))
        return super().step(optimizer)


class WorksDisabled(Scaler):
    """Scales and checks although it is not enabled."""

    def __init__(self, *arguments: Any, enabled: bool = True, **options: Any) -> None:
        super().__init__(*arguments, **options)


class NeverSkips(Scaler):
    def skips(self, optimizer: Any) -> bool:
        return False


class SeesNanOnly(Scaler):
    def overflowed(self, grad: Tensor) -> bool:
        return bool(grad.isnan().any())


class SeesInfOnly(Scaler):
    def overflowed(self, grad: Tensor) -> bool:
        return bool(grad.isinf().any())


class SeesPositiveInfOnly(Scaler):
    def overflowed(self, grad: Tensor) -> bool:
        return bool((grad.isnan() | grad.isposinf()).any())


class AllMustOverflow(Scaler):
    def overflowed(self, grad: Tensor) -> bool:
        return not bool(grad.isfinite().any())


class SeesFirstGradient(Scaler):
    def unscale_(self, optimizer: Any) -> None:
        super().unscale_(optimizer)
        if self.enabled:
            grads = [grad for grad in self.grads(optimizer) if grad is not None]
            self.found[id(optimizer)] = self.overflowed(grads[0])


class SeesLastGradient(Scaler):
    def unscale_(self, optimizer: Any) -> None:
        super().unscale_(optimizer)
        if self.enabled:
            grads = [grad for grad in self.grads(optimizer) if grad is not None]
            self.found[id(optimizer)] = self.overflowed(grads[-1])


class SquaresOverflow(Scaler):
    def overflowed(self, grad: Tensor) -> bool:
        return not bool(grad.float().norm().isfinite())


class ChecksOnlyInUnscale(Scaler):
    """A step without an unscale_ before it is made whatever the gradients are."""

    def step(self, optimizer: Any) -> Any:
        unchecked = self.enabled and id(optimizer) not in self.found
        result = super().step(optimizer)
        return optimizer.step() if unchecked and self.found[id(optimizer)] else result


class SkipsForAll(Scaler):
    def skips(self, optimizer: Any) -> bool:
        return any(self.found.values())


class ZeroesInstead(Scaler):
    def skips(self, optimizer: Any) -> bool:
        for grad in self.grads(optimizer):
            if grad is not None:
                grad.nan_to_num_(0, 0, 0)
        return False


class ReturnsNothing(Scaler):
    def step(self, optimizer: Any) -> None:
        super().step(optimizer)


class NeverForgets(Scaler):
    ever = False

    def overflowed(self, grad: Tensor) -> bool:
        self.ever = self.ever or super().overflowed(grad)
        return self.ever


class NeverRises(Scaler):
    def rise(self) -> None:
        pass


class NeverFalls(Scaler):
    def fall(self) -> None:
        self.saved["_growth_tracker"] = 0


class FallsByDivision(Scaler):
    def fall(self) -> None:
        self.saved["scale"] /= self.saved["growth_factor"]
        self.saved["_growth_tracker"] = 0


class RisesByDivision(Scaler):
    def rise(self) -> None:
        self.saved["scale"] /= self.saved["backoff_factor"]
        self.saved["_growth_tracker"] = 0


class FallsToTheFactor(Scaler):
    def fall(self) -> None:
        self.saved["scale"] = self.saved["backoff_factor"]
        self.saved["_growth_tracker"] = 0


class RisesEveryTime(Scaler):
    def next_scale(self, overflow: bool) -> None:
        self.fall() if overflow else self.rise()


class CountsThroughOverflow(Scaler):
    def fall(self) -> None:
        self.saved["scale"] *= self.saved["backoff_factor"]


class CountsOnAfterRise(Scaler):
    def rise(self) -> None:
        self.saved["scale"] *= self.saved["growth_factor"]


class CountsAllUpdates(Scaler):
    def next_scale(self, overflow: bool) -> None:
        self.saved["_growth_tracker"] += 1
        if overflow:
            self.saved["scale"] *= self.saved["backoff_factor"]
        elif self.saved["_growth_tracker"] % self.saved["growth_interval"] == 0:
            self.saved["scale"] *= self.saved["growth_factor"]


class OneUpdateLate(Scaler):
    def next_scale(self, overflow: bool) -> None:
        if overflow:
            return self.fall()
        if self.saved["_growth_tracker"] == self.saved["growth_interval"]:
            self.rise()
        else:
            self.saved["_growth_tracker"] += 1


class FixedFactors(Scaler):
    def fall(self) -> None:
        self.saved["scale"] *= 0.5
        self.saved["_growth_tracker"] = 0

    def rise(self) -> None:
        self.saved["scale"] *= 2
        self.saved["_growth_tracker"] = 0


class FallsForEveryOptimizer(Scaler):
    def next_scale(self, overflow: bool) -> None:
        for found in self.found.values():
            super().next_scale(found)


class SavesTheScaleOnly(Scaler):
    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.saved["scale"]} if self.enabled else {}


class SavesNoTracker(Scaler):
    def state_dict(self) -> dict[str, Any]:
        return {**self.saved, "_growth_tracker": 0} if self.enabled else {}


class SavesTheFirstScale(FirstScaleForEver):
    def as_tensor(self, outputs: Tensor) -> Tensor:
        return Scaler.as_tensor(self, outputs)

    def state_dict(self) -> dict[str, Any]:
        return {**self.saved, "scale": self.first} if self.enabled else {}


class SavesDisabled(Scaler):
    def state_dict(self) -> dict[str, Any]:
        return dict(self.saved)


class LoadsNothing(Scaler):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


class LoadsNoTracker(Scaler):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "_growth_tracker": 0})


class LoadsTheScaleOnly(Scaler):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.enabled:
            self.saved["scale"] = state_dict["scale"]


class LoadsNoOptions(Scaler):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.enabled:
            for name in ("scale", "_growth_tracker"):
                self.saved[name] = state_dict[name]


class AllowsAnyOrder(Scaler):
    def once(self, again: bool) -> None:
        pass


class ForgetsSteps(Scaler):
    def step(self, optimizer: Any) -> Any:
        self.done = set()
        return super().step(optimizer)


SCALER_MISTAKES = (
    Mistake("scales_nothing", "scale must multiply its argument by the scale.", ScalesNothing),
    Mistake(
        "divides_the_loss", "The loss is multiplied by the scale, not divided.", DividesTheLoss
    ),
    Mistake(
        "scales_in_half",
        "The scale must be a float32 tensor of shape (): times a Python number a float16 loss "
        "stays float16, and 65536 is beyond its range.",
        ScalesInHalf,
    ),
    Mistake(
        "scales_detached",
        "The scaled loss must keep its graph: backward starts from it, so detach nothing.",
        ScalesDetached,
    ),
    Mistake(
        "first_scale_for_ever",
        "Multiply by the present scale: here it is still the first one.",
        FirstScaleForEver,
    ),
    Mistake(
        "divides_by_the_first",
        "Divide the gradients by the present scale: here it is still the first one.",
        DividesByTheFirst,
    ),
    Mistake(
        "multiplies_gradients",
        "unscale_ divides the gradients by the scale: here they were multiplied again.",
        MultipliesGradients,
    ),
    Mistake(
        "gradients_unchanged",
        "unscale_ must change the gradients in place: grad.div_(scale), not grad / scale.",
        DividesACopy,
    ),
    Mistake(
        "first_group_only",
        "Unscale the gradients of every parameter group, not of the first one only.",
        UnscalesFirstGroup,
    ),
    Mistake(
        "unscales_twice",
        "The gradients were divided twice: step unscales only where unscale_ was not called.",
        UnscalesTwice,
    ),
    Mistake(
        "steps_scaled",
        "The step was made with scaled gradients: step must unscale them where the caller has not.",
        StepsScaled,
    ),
    Mistake(
        "works_disabled",
        "With enabled=False the scaler must do nothing: return the loss as it is, leave gradients "
        "and scale alone, and let step be the optimizer's own.",
        WorksDisabled,
    ),
    Mistake("never_skips", "Skip the optimizer's step when a gradient is inf or nan.", NeverSkips),
    Mistake("sees_nan_only", "An infinite gradient counts too, not only nan.", SeesNanOnly),
    Mistake("sees_inf_only", "A gradient that is nan counts too, not only inf.", SeesInfOnly),
    Mistake("sees_positive_inf_only", "-inf counts as much as inf.", SeesPositiveInfOnly),
    Mistake(
        "all_must_overflow",
        "One bad element is enough to skip: here all of a gradient had to be bad.",
        AllMustOverflow,
    ),
    Mistake("sees_first_gradient", "Look at every gradient, not at the first.", SeesFirstGradient),
    Mistake(
        "sees_last_gradient",
        "Look at every gradient: here the last one overwrote what the others had shown.",
        SeesLastGradient,
    ),
    Mistake(
        "squares_overflow",
        "A large gradient is no overflow as long as it is finite: its square may well be infinite, "
        "so ask every element (isfinite) and not the norm.",
        SquaresOverflow,
    ),
    Mistake(
        "checks_only_in_unscale",
        "step must check the gradients also where the caller did not call unscale_.",
        ChecksOnlyInUnscale,
    ),
    Mistake(
        "skips_for_all",
        "Each optimizer has its own note: an overflow in one must not skip the step of another.",
        SkipsForAll,
    ),
    Mistake(
        "zeroes_instead",
        "Skip the whole step: here bad gradients became zero, and the others made their step.",
        ZeroesInstead,
    ),
    Mistake("returns_nothing", "step returns what optimizer.step() returns.", ReturnsNothing),
    Mistake(
        "never_forgets",
        "update must forget the overflow: here every later step is skipped too.",
        NeverForgets,
    ),
    Mistake(
        "never_rises",
        "After growth_interval updates without overflow the scale rises by growth_factor.",
        NeverRises,
    ),
    Mistake("never_falls", "After an overflow the scale falls by backoff_factor.", NeverFalls),
    Mistake(
        "falls_by_division",
        "After an overflow multiply the scale by backoff_factor: growth_factor is for rising.",
        FallsByDivision,
    ),
    Mistake(
        "rises_by_division",
        "The scale rises by growth_factor, which need not be 1 / backoff_factor.",
        RisesByDivision,
    ),
    Mistake(
        "falls_to_the_factor",
        "backoff_factor is a factor: the scale is multiplied by it, not set to it.",
        FallsToTheFactor,
    ),
    Mistake(
        "rises_every_time",
        "The scale rises only after growth_interval updates in a row without overflow.",
        RisesEveryTime,
    ),
    Mistake(
        "counts_through_overflow",
        "After an overflow counting starts again from 0: growth_interval means updates in a row.",
        CountsThroughOverflow,
    ),
    Mistake(
        "counts_on_after_rise",
        "After the scale has risen, counting starts again from 0.",
        CountsOnAfterRise,
    ),
    Mistake(
        "counts_all_updates",
        "Count updates in a row without overflow, not all updates.",
        CountsAllUpdates,
    ),
    Mistake(
        "one_update_late",
        "The growth_interval-th good update raises the scale, not the one after it.",
        OneUpdateLate,
    ),
    Mistake(
        "fixed_factors",
        "The factors are fixed at 2 and 0.5: use growth_factor and backoff_factor.",
        FixedFactors,
    ),
    Mistake(
        "falls_for_every_optimizer",
        "One update changes the scale once, however many optimizers were stepped.",
        FallsForEveryOptimizer,
    ),
    Mistake(
        "saves_the_scale_only",
        "The saved dictionary lacks entries: the two factors, the interval and the count.",
        SavesTheScaleOnly,
    ),
    Mistake(
        "saves_no_tracker",
        "Save the present count of good updates under _growth_tracker, not 0.",
        SavesNoTracker,
    ),
    Mistake("saves_the_first_scale", "Save the present scale, not the first.", SavesTheFirstScale),
    Mistake(
        "saves_disabled", "A scaler that is not enabled has an empty dictionary.", SavesDisabled
    ),
    Mistake("loads_nothing", "load_state_dict had no effect.", LoadsNothing),
    Mistake(
        "loads_no_tracker",
        "Load the count of good updates too, or the scale rises too late after a resume.",
        LoadsNoTracker,
    ),
    Mistake(
        "loads_the_scale_only",
        "Load the factors, the interval and the count too, not only the scale.",
        LoadsTheScaleOnly,
    ),
    Mistake(
        "loads_no_options",
        "Load the two factors and the interval too: they belong to the state.",
        LoadsNoOptions,
    ),
    Mistake(
        "allows_any_order",
        "A second unscale_ or step before update must raise a RuntimeError: it would divide the "
        "gradients, or move the parameters, twice.",
        AllowsAnyOrder,
    ),
    Mistake(
        "forgets_steps",
        "A second step before update must raise a RuntimeError.",
        ForgetsSteps,
    ),
)

INF, NAN = math.inf, math.nan


def scaler_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, title: str, *rounds: str, **more: Any) -> Case:
        """A round is the calls of one step; a word in capitals plants a bad gradient before."""
        options = more.pop("options", {})
        told = ", ".join(f"{name}={value}" for name, value in options.items())
        sizes = more.pop("sizes", ((2,),))
        dtype = more.pop("dtype", torch.float32)
        return {
            "part": part,
            "title": f"LossScaler({told}), {title}",
            "options": options,
            "rounds": list(rounds),
            "params": [torch.randn(size, generator=rng).to(dtype) for size in sizes],
            "grads": [[signed(rng, size).to(dtype) for size in sizes] for _ in rounds],
            **more,
        }

    def losses(title: str, loss: Tensor, *rounds: str, **options: Any) -> Case:
        return case("scaling the loss", title, *rounds, options=options, loss=loss)

    unscaling, skipping = "unscaling the gradients", "skipping a step"
    growing, saving, order = "the next scale", "saving and loading", "calls in the wrong order"
    three, two_groups = ((2,), (3, 2), (4,)), ((2,), (2,))
    good, bad = "step update", "INF step update"
    own = {"growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 2, "init_scale": 64}
    number = 1 + torch.rand((), generator=rng)
    return [
        losses("a loss of shape ()", number),
        losses("a float16 loss of shape ()", (2 * number).half()),
        losses("a bfloat16 loss of shape ()", number.bfloat16(), init_scale=8.0),
        losses("outputs of shape (3, 2)", signed(rng, (3, 2)), init_scale=1024.0),
        losses("float16 outputs of shape (3,)", signed(rng, (3,)).half(), init_scale=4.0),
        losses("a float64 loss", number.double(), init_scale=4.0),
        losses("not enabled", number.half(), enabled=False),
        case(unscaling, "unscale_", "unscale"),
        case(unscaling, "unscale_, three parameters", "unscale", sizes=three),
        case(unscaling, "unscale_, a missing gradient", "unscale", sizes=three, missing=(1,)),
        case(unscaling, "unscale_, two groups", "unscale", sizes=two_groups, groups=2),
        case(unscaling, "unscale_, float64", "unscale", dtype=torch.float64),
        case(unscaling, "unscale_ and step", "unscale step"),
        case(unscaling, "step alone", "step", sizes=three),
        case(
            unscaling, "after a rise", good, "unscale step update", options={"growth_interval": 1}
        ),
        case(unscaling, "not enabled", "unscale step update", options={"enabled": False}),
        case(skipping, "a gradient with inf", "INF step update"),
        case(skipping, "a gradient with -inf", "MINUS step update"),
        case(skipping, "a gradient with nan", "NAN step update"),
        case(skipping, "a gradient of one element, inf", "INF step update", sizes=((1,),)),
        case(skipping, "good gradients", "step update", sizes=three),
        case(skipping, "inf in the first of three gradients", bad, sizes=three, where=0),
        case(skipping, "inf in the second", "INF unscale step update", sizes=three, where=1),
        case(skipping, "nan in the last", "NAN unscale step update", sizes=three, where=2),
        case(skipping, "inf, first gradient missing", bad, sizes=three, missing=(0,), where=1),
        case(skipping, "inf in the second group", bad, sizes=two_groups, where=1, groups=2),
        case(skipping, "gradients of 1e30", "LARGE step update", sizes=three, where=1),
        case(skipping, "two overflows, then good gradients", bad, bad, good, good),
        case(
            skipping, "two optimizers, inf in the second", bad, good, sizes=two_groups, split=True
        ),
        case(
            skipping, "two optimizers, inf in the first", bad, sizes=two_groups, split=True, where=0
        ),
        case(skipping, "not enabled, inf", bad, options={"enabled": False}),
        case(growing, "an overflow", bad),
        case(growing, "three good updates", *[good] * 3, options={"growth_interval": 3}),
        case(growing, "an overflow", bad, options=own),
        case(growing, "five good updates", *[good] * 5, options=own),
        case(growing, "good, overflow, good, good", good, bad, good, good, options=own),
        case(
            growing,
            "overflows between good updates",
            *[good, good, bad, bad, good, good, good, bad, good, good],
            options=own,
        ),
        case(growing, "two optimizers", good, bad, good, sizes=two_groups, split=True, options=own),
        case(growing, "unscale_ before step", "INF unscale step update", options=own),
        case(growing, "one update is enough", good, good, options={"growth_interval": 1}),
        case(growing, "not enabled", good, bad, options={"enabled": False}),
        case(saving, "a new one", save=True),
        case(saving, "after an overflow", bad, options=own, save=True),
        case(saving, "after a good update", good, options=own, save=True),
        case(saving, "three good updates", good, good, good, options=own, save=True),
        case(saving, "not enabled", good, options={"enabled": False}, save=True),
        case(order, "unscale_ twice", "unscale unscale"),
        case(order, "unscale_ after step", "step unscale"),
        case(order, "step twice", "step step"),
        case(order, "step twice after unscale_", "unscale step step"),
        case(order, "unscale_ twice after an update", "unscale step update", "unscale unscale"),
        case(order, "the right order, twice", "unscale step update", "unscale step update"),
    ]


def signed(rng: torch.Generator, size: tuple[int, ...]) -> Tensor:
    """Draw values with a size between 1 and 2 and a random sign."""
    sign = torch.randint(0, 2, size, generator=rng) * 2 - 1
    return sign * (1 + torch.rand(size, generator=rng))


def scaler_probe(scaler: Any, case: Case) -> Outputs:
    built = scaler(**case["options"])
    params = case["params"]
    count = case.get("groups", 1)
    groups = [params[:-1], params[-1:]] if count == 2 else [params]
    optimizers = [Descent(*groups)]
    if case.get("split"):
        optimizers = [Descent([param]) for param in params]
    outputs: Outputs = {}
    for number, words in enumerate(case["rounds"], start=1):
        plant_gradients(case, number - 1, built.get_scale())
        before = [param.grad for param in params]
        for word in words.split():
            outputs |= scaler_call(built, optimizers, word, f"{word} {number}")
        outputs |= {f"gradient {i}, round {number}": grad for i, grad in enumerate(before)}
        outputs |= {f"parameter {i}, round {number}": param for i, param in enumerate(params)}
        if case["part"] == "the next scale":
            outputs[f"get_scale(), round {number}"] = torch.tensor(float(built.get_scale()))
            outputs[f"scale(1), round {number}"] = built.scale(torch.ones(()))
    if "loss" in case:
        leaf = case["loss"].requires_grad_()
        scaled = built.scale(leaf)
        gradient = torch.autograd.grad(scaled.sum(), leaf)[0] if scaled.requires_grad else None
        return {"scale(loss)": scaled, "the gradient that reaches the loss": gradient}
    if "save" in case:
        outputs |= saving_outputs(scaler, built, case)
    return outputs


def plant_gradients(case: Case, round_number: int, scale: float) -> None:
    """Set the gradients as backward leaves them, scaled; a word in capitals makes one bad."""
    planted = {"INF": INF, "MINUS": -INF, "NAN": NAN, "LARGE": 1e30}
    value = planted.get(case["rounds"][round_number].split()[0])
    for param, grad in zip(case["params"], case["grads"][round_number]):
        param.grad = grad * scale
    if value is not None:
        case["params"][case.get("where", -1)].grad.view(-1)[-1] = value
    for i in case.get("missing", ()):
        case["params"][i].grad = None


def scaler_call(scaler: Any, optimizers: list[Descent], word: str, name: str) -> Outputs:
    """Make one of the calls for every optimizer; return what it returned, or that it raised."""
    calls: dict[str, Callable] = {"unscale": scaler.unscale_, "step": scaler.step}
    if word == "update":
        scaler.update()
        return {}
    if word not in calls:
        return {}
    try:
        returned = [calls[word](optimizer) for optimizer in optimizers]
    except NotImplementedError:
        raise
    except RuntimeError:
        return {f"the call {name} raised a RuntimeError": True}
    return {
        f"the call {name} raised a RuntimeError": False,
        f"the call {name} returned": [value if type(value) is int else None for value in returned],
    }


def saving_outputs(scaler: Any, built: Any, case: Case) -> Outputs:
    """Save, load into a scaler with other options, and go on for some rounds with both."""
    saved = built.state_dict()
    enabled = case["options"].get("enabled", True)
    outputs: Outputs = {"state_dict()": {key: torch.tensor(float(v)) for key, v in saved.items()}}
    other = scaler(init_scale=5.0, growth_factor=7.0, growth_interval=3, enabled=enabled)
    if enabled:
        other.load_state_dict(Scaler(**case["options"]).state_dict() | saved)
    else:
        other.load_state_dict({})
    for name, resumed in (("the scaler itself", built), ("the one that loaded", other)):
        param = torch.zeros(2)
        scales = []
        for bad in (False, False, False, True, False):
            param.grad = torch.full((2,), INF if bad else 1.0)
            resumed.step(Descent([param]))
            resumed.update()
            scales.append(resumed.get_scale())
        outputs[f"the next scales of {name}"] = torch.tensor(scales)
    return outputs


check_loss_scaler = Check(
    module="training",
    exercise="loss_scaler",
    target="LossScaler",
    parts={
        "scaling the loss": 1,
        "unscaling the gradients": 1,
        "skipping a step": 2,
        "the next scale": 2,
        "saving and loading": 1,
        "calls in the wrong order": 1,
    },
    inputs=scaler_inputs,
    probe=scaler_probe,
    oracle=TorchScaler,
    mistakes=SCALER_MISTAKES,
    hints=(
        "One round is scale, backward, unscale_, step, update. Between two updates an optimizer is "
        "unscaled once and stepped once: self.overflows and self.stepped remember that.",
        "In step: raise if it was stepped; unscale if it was not; remember it; then either skip or "
        "return optimizer.step().",
        "In update an overflow sets the count to 0, and so does a rise; only the "
        "growth_interval-th good update in a row makes the scale rise. Then empty both notes.",
    ),
    forbidden=(
        "torch.amp.GradScaler",
        "torch.amp.grad_scaler",
        "torch.cuda.amp",
        "torch.cpu.amp",
    ),
)


# --- train_step -----------------------------------------------------------------------------------


class Step:
    """The formula of one step, one decision a method."""

    def __call__(
        self,
        model: nn.Module,
        micro_batches: list,
        loss_fn: Callable,
        optimizer: Any,
        *,
        scaler: Any = None,
        max_norm: float | None = None,
        autocast_dtype: torch.dtype | None = None,
        check_finite: bool = False,
    ) -> tuple:
        scaler = Scaler(enabled=False) if scaler is None else scaler
        self.clear(optimizer)
        losses = self.backward(model, micro_batches, loss_fn, scaler, autocast_dtype, optimizer)
        self.unscale(scaler, optimizer)
        norm = self.norm(model)
        norm = self.clipped_norm(model, norm, max_norm, optimizer)
        if check_finite:
            self.look(self.loss(losses), norm, scaler)
        scale = scaler.get_scale()
        self.step(scaler, optimizer)
        self.update(scaler)
        return self.loss(losses), norm, self.stepped(scaler.get_scale() >= scale)

    def clear(self, optimizer: Any) -> None:
        optimizer.zero_grad()

    def backward(
        self,
        model: nn.Module,
        micro_batches: list,
        loss_fn: Callable,
        scaler: Any,
        autocast_dtype: torch.dtype | None,
        optimizer: Any,
    ) -> list[tuple[Tensor, float]]:
        sizes = [len(x) for x, _ in micro_batches]
        losses = []
        for (x, y), share in zip(micro_batches, self.shares(sizes)):
            loss = self.forward(model, loss_fn, x, y, autocast_dtype)
            scaler.scale(loss * share).backward()
            losses.append((loss if self.keeps_graph else loss.detach(), len(x) / sum(sizes)))
        return losses

    keeps_graph = False

    def shares(self, sizes: list[int]) -> list[float]:
        return [size / sum(sizes) for size in sizes]

    def forward(
        self, model: nn.Module, loss_fn: Callable, x: Tensor, y: Tensor, dtype: torch.dtype | None
    ) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            return loss_fn(model(x), y)

    def unscale(self, scaler: Any, optimizer: Any) -> None:
        scaler.unscale_(optimizer)

    def grads(self, model: nn.Module) -> list[Tensor]:
        return [param.grad for param in model.parameters() if param.grad is not None]

    def norm(self, model: nn.Module) -> Tensor:
        squares = [grad.double().square().sum() for grad in self.grads(model)]
        return torch.stack([*squares, torch.zeros((), dtype=torch.float64)]).sum().sqrt()

    def clipped_norm(
        self, model: nn.Module, norm: Tensor, max_norm: float | None, optimizer: Any
    ) -> Tensor:
        if max_norm is not None:
            self.clip(model, norm, max_norm)
        return norm

    def clip(self, model: nn.Module, norm: Tensor, max_norm: float) -> None:
        for grad in self.grads(model):
            grad.mul_((max_norm / norm).clamp(max=1))

    def look(self, loss: Any, norm: Tensor, scaler: Any) -> None:
        if not self.is_finite(loss, norm, scaler):
            raise FloatingPointError

    def is_finite(self, loss: Any, norm: Tensor, scaler: Any) -> bool:
        overflow = not scaler.is_enabled() and not math.isfinite(norm)
        return math.isfinite(loss) and not overflow

    def step(self, scaler: Any, optimizer: Any) -> None:
        scaler.step(optimizer)

    def update(self, scaler: Any) -> None:
        scaler.update()

    def loss(self, losses: list[tuple[Tensor, float]]) -> Any:
        return torch.stack([loss * share for loss, share in losses]).sum()

    def stepped(self, stepped: bool) -> bool:
        return stepped


class NeverClears(Step):
    def clear(self, optimizer: Any) -> None:
        pass


class ClearsBeforeTheStep(Step):
    def step(self, scaler: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        for param in optimizer.params():
            param.grad = torch.zeros_like(param)
        scaler.step(optimizer)


class ClearsUnlessSkipped(Step):
    skipped = False

    def clear(self, optimizer: Any) -> None:
        if not self.skipped:
            optimizer.zero_grad()

    def stepped(self, stepped: bool) -> bool:
        self.skipped = not stepped
        return stepped


class StepsFirst(Step):
    """Makes the step before the backward pass: with the gradients of the call before."""

    def clear(self, optimizer: Any) -> None:
        self.kept = [param.grad for param in optimizer.params()]
        optimizer.zero_grad()

    def step(self, scaler: Any, optimizer: Any) -> None:
        fresh = [param.grad for param in optimizer.params()]
        for param, grad in zip(optimizer.params(), self.kept):
            param.grad = torch.zeros_like(param) if grad is None else grad
        scaler.step(optimizer)
        for param, grad in zip(optimizer.params(), fresh):
            param.grad = grad


class NeverSteps(Step):
    def step(self, scaler: Any, optimizer: Any) -> None:
        for param in optimizer.params():
            param.grad = torch.zeros_like(param)
        scaler.step(optimizer)


class SumsMicroBatches(Step):
    def shares(self, sizes: list[int]) -> list[float]:
        return [1.0 for _ in sizes]


class MeanOfMeans(Step):
    def shares(self, sizes: list[int]) -> list[float]:
        return [1 / len(sizes) for _ in sizes]


class DividesByTheFirstSize(Step):
    def shares(self, sizes: list[int]) -> list[float]:
        return [size / (sizes[0] * len(sizes)) for size in sizes]


class LastMicroBatchOnly(Step):
    def shares(self, sizes: list[int]) -> list[float]:
        return [0.0] * (len(sizes) - 1) + [1.0]


class FirstMicroBatchOnly(Step):
    def shares(self, sizes: list[int]) -> list[float]:
        return [1.0] + [0.0] * (len(sizes) - 1)


class DropsTheRest(Step):
    def __call__(self, model: nn.Module, micro_batches: list, *rest: Any, **options: Any) -> tuple:
        return super().__call__(model, micro_batches[:1], *rest, **options)


class OneLargeBatch(Step):
    def __call__(self, model: nn.Module, micro_batches: list, *rest: Any, **options: Any) -> tuple:
        x, y = (torch.cat(tensors) for tensors in zip(*micro_batches))
        return super().__call__(model, [(x, y)], *rest, **options)


class StepsEveryMicroBatch(Step):
    def __call__(self, model: nn.Module, micro_batches: list, *rest: Any, **options: Any) -> tuple:
        results = [
            super(StepsEveryMicroBatch, self).__call__(model, [batch], *rest, **options)
            for batch in micro_batches
        ]
        return results[-1]


class UpdatesEveryMicroBatch(Step):
    def update(self, scaler: Any) -> None:
        for _ in range(self.count):
            scaler.update()

    def shares(self, sizes: list[int]) -> list[float]:
        self.count = len(sizes)
        return super().shares(sizes)


class LastLoss(Step):
    def loss(self, losses: list[tuple[Tensor, float]]) -> Any:
        return losses[-1][0]


class MeanOfLosses(Step):
    def loss(self, losses: list[tuple[Tensor, float]]) -> Any:
        return torch.stack([loss for loss, _ in losses]).mean()


class SumOfLosses(Step):
    def loss(self, losses: list[tuple[Tensor, float]]) -> Any:
        return torch.stack([loss for loss, _ in losses]).sum()


class WeightedLastLoss(Step):
    def loss(self, losses: list[tuple[Tensor, float]]) -> Any:
        return losses[-1][0] * losses[-1][1]


class ScaledLoss(Step):
    scale = 1.0

    def unscale(self, scaler: Any, optimizer: Any) -> None:
        self.scale = scaler.get_scale()
        super().unscale(scaler, optimizer)

    def loss(self, losses: list[tuple[Tensor, float]]) -> Any:
        return super().loss(losses) * self.scale


class KeepsTheGraph(Step):
    keeps_graph = True


class ReturnsFloats(Step):
    def loss(self, losses: list[tuple[Tensor, float]]) -> Any:
        return super().loss(losses).item()


class NeverClips(Step):
    def clip(self, model: nn.Module, norm: Tensor, max_norm: float) -> None:
        pass


class AlwaysRescales(Step):
    def clip(self, model: nn.Module, norm: Tensor, max_norm: float) -> None:
        for grad in self.grads(model):
            grad.mul_(max_norm / norm)


class ClipsValues(Step):
    def clip(self, model: nn.Module, norm: Tensor, max_norm: float) -> None:
        for grad in self.grads(model):
            grad.clamp_(-max_norm, max_norm)


class ClipsEachParameter(Step):
    def clip(self, model: nn.Module, norm: Tensor, max_norm: float) -> None:
        for grad in self.grads(model):
            grad.mul_((max_norm / grad.norm()).clamp(max=1))


class ReturnsTheClippedNorm(Step):
    def clipped_norm(
        self, model: nn.Module, norm: Tensor, max_norm: float | None, optimizer: Any
    ) -> Tensor:
        super().clipped_norm(model, norm, max_norm, optimizer)
        return self.norm(model)


class ClipsAfterTheStep(Step):
    def clip(self, model: nn.Module, norm: Tensor, max_norm: float) -> None:
        pass


class ClipsEveryMicroBatch(Step):
    """Clips what each micro-batch adds, instead of the sum."""

    def __call__(self, *arguments: Any, max_norm: float | None = None, **options: Any) -> tuple:
        self.max_norm = max_norm
        return super().__call__(*arguments, max_norm=max_norm, **options)

    def backward(
        self,
        model: nn.Module,
        micro_batches: list,
        loss_fn: Callable,
        scaler: Any,
        autocast_dtype: torch.dtype | None,
        optimizer: Any,
    ) -> list[tuple[Tensor, float]]:
        sizes = [len(x) for x, _ in micro_batches]
        total = [torch.zeros_like(param) for param in optimizer.params()]
        losses = []
        for (x, y), share in zip(micro_batches, self.shares(sizes)):
            loss = self.forward(model, loss_fn, x, y, autocast_dtype)
            scaler.scale(loss * share).backward()
            losses.append((loss.detach(), share))
            if self.max_norm is not None:
                self.clip(model, self.norm(model) / scaler.get_scale(), self.max_norm)
            for sum_, param in zip(total, optimizer.params()):
                sum_ += param.grad
                param.grad = None
        for sum_, param in zip(total, optimizer.params()):
            param.grad = sum_
        return losses

    def clipped_norm(
        self, model: nn.Module, norm: Tensor, max_norm: float | None, optimizer: Any
    ) -> Tensor:
        return norm


class ClipsBeforeUnscale(Step):
    def __call__(self, *arguments: Any, max_norm: float | None = None, **options: Any) -> tuple:
        self.max_norm = max_norm
        self.model = arguments[0]
        return super().__call__(*arguments, max_norm=max_norm, **options)

    def unscale(self, scaler: Any, optimizer: Any) -> None:
        self.scaled_norm = self.norm(self.model)
        if self.max_norm is not None:
            self.clip(self.model, self.scaled_norm, self.max_norm)
        super().unscale(scaler, optimizer)

    def clipped_norm(
        self, model: nn.Module, norm: Tensor, max_norm: float | None, optimizer: Any
    ) -> Tensor:
        return self.scaled_norm


class ReturnsTheScaledNorm(ClipsBeforeUnscale):
    def unscale(self, scaler: Any, optimizer: Any) -> None:
        self.scaled_norm = self.norm(self.model)
        scaler.unscale_(optimizer)

    def clipped_norm(
        self, model: nn.Module, norm: Tensor, max_norm: float | None, optimizer: Any
    ) -> Tensor:
        Step.clipped_norm(self, model, norm, max_norm, optimizer)
        return self.scaled_norm


class NeverUpdates(Step):
    def update(self, scaler: Any) -> None:
        scaler.forget()


class StepsByItself(Step):
    def step(self, scaler: Any, optimizer: Any) -> None:
        optimizer.step()


class IgnoresTheScaler(Step):
    def __call__(self, *arguments: Any, scaler: Any = None, **options: Any) -> tuple:
        return super().__call__(*arguments, **options)


class LossNotScaled(Step):
    """Unscales gradients of a loss that was never scaled."""

    def backward(self, *arguments: Any) -> list[tuple[Tensor, float]]:
        model, micro_batches, loss_fn, _, dtype, optimizer = arguments
        none = Scaler(enabled=False)
        return super().backward(model, micro_batches, loss_fn, none, dtype, optimizer)


class AlwaysStepped(Step):
    def stepped(self, stepped: bool) -> bool:
        return True


class ScaleMustRise(Step):
    """Takes a scale that stayed for one that fell."""

    def stepped(self, stepped: bool) -> bool:
        return False


class NoAutocast(Step):
    def forward(
        self, model: nn.Module, loss_fn: Callable, x: Tensor, y: Tensor, dtype: torch.dtype | None
    ) -> Tensor:
        return loss_fn(model(x), y)


class AlwaysBfloat16(Step):
    def forward(
        self, model: nn.Module, loss_fn: Callable, x: Tensor, y: Tensor, dtype: torch.dtype | None
    ) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            return loss_fn(model(x), y)


class LossOutsideAutocast(Step):
    def forward(
        self, model: nn.Module, loss_fn: Callable, x: Tensor, y: Tensor, dtype: torch.dtype | None
    ) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            outputs = model(x)
        return loss_fn(outputs, y)


class AutocastWithoutAsking(Step):
    def forward(
        self, model: nn.Module, loss_fn: Callable, x: Tensor, y: Tensor, dtype: torch.dtype | None
    ) -> Tensor:
        with torch.autocast("cpu", dtype):
            return loss_fn(model(x), y)


class NeverLooks(Step):
    def is_finite(self, *_: Any) -> bool:
        return True


class LooksAtTheLossOnly(Step):
    def is_finite(self, loss: Any, *_: Any) -> bool:
        return math.isfinite(loss)


class LooksAtTheNormOnly(Step):
    def is_finite(self, _: Any, norm: Tensor, scaler: Any) -> bool:
        return scaler.is_enabled() or math.isfinite(norm)


class StopsAtOverflows(Step):
    def is_finite(self, loss: Any, norm: Tensor, _: Any) -> bool:
        return math.isfinite(loss) and math.isfinite(norm)


class LooksForNanOnly(Step):
    def is_finite(self, loss: Any, norm: Tensor, scaler: Any) -> bool:
        return not math.isnan(loss) and (scaler.is_enabled() or not math.isnan(norm))


class LooksAfterTheStep(Step):
    def look(self, *seen: Any) -> None:
        self.seen = seen

    def __call__(self, *arguments: Any, **options: Any) -> tuple:
        result = super().__call__(*arguments, **options)
        if options.get("check_finite") and not self.is_finite(*self.seen):
            raise FloatingPointError
        return result


class EvaluationMode(Step):
    def __call__(self, model: nn.Module, *rest: Any, **options: Any) -> tuple:
        model.eval()
        return super().__call__(model, *rest, **options)


NEVER_CLEARS = (
    "never_clears",
    "Old gradients take part: backward adds to .grad, so call zero_grad before the first backward "
    "of every step.",
)
STEP_MISTAKES = (
    Mistake(*NEVER_CLEARS, NeverClears()),
    Mistake(
        "clears_before_the_step",
        "zero_grad came between backward and the step, so the step saw no gradient.",
        ClearsBeforeTheStep(),
    ),
    Mistake(
        "clears_unless_skipped",
        "Clear the gradients of a skipped step too: here its nan or inf stayed.",
        ClearsUnlessSkipped(),
    ),
    Mistake(
        "steps_first",
        "The step came before backward, so it used the gradients of the step before.",
        StepsFirst(),
    ),
    Mistake(
        "sums_micro_batches",
        "The gradients of the micro-batches were added up: weight each loss by its share of the "
        "examples, len(x) / examples.",
        SumsMicroBatches(),
    ),
    Mistake(
        "mean_of_means",
        "Micro-batches of different sizes counted alike: weight each loss by its share of the "
        "examples, len(x) / examples, not by 1 / (number of micro-batches).",
        MeanOfMeans(),
    ),
    Mistake(
        "divides_by_the_first_size",
        "Count the examples: here every micro-batch was taken to be as large as the first.",
        DividesByTheFirstSize(),
    ),
    Mistake(
        "last_micro_batch_only",
        "Only the last micro-batch reached the gradient: zero_grad belongs before the loop over "
        "the micro-batches, and backward inside it.",
        LastMicroBatchOnly(),
    ),
    Mistake(
        "first_micro_batch_only",
        "Only the first micro-batch reached the gradient: every one needs its backward.",
        FirstMicroBatchOnly(),
    ),
    Mistake(
        "drops_the_rest",
        "Only the first micro-batch was used: go through them all.",
        DropsTheRest(),
    ),
    Mistake(
        "one_large_batch",
        "The micro-batches went through the model at once: one at a time, so that memory is needed "
        "for one only.",
        OneLargeBatch(),
    ),
    Mistake(
        "steps_every_micro_batch",
        "Every micro-batch made a step of its own: accumulate the gradients of all of them, then "
        "make one step.",
        StepsEveryMicroBatch(),
    ),
    Mistake(
        "updates_every_micro_batch",
        "Call scaler.update() once a step, not once a micro-batch.",
        UpdatesEveryMicroBatch(),
    ),
    Mistake(
        "last_loss",
        "Return the mean loss of all examples: here it is that of the last micro-batch.",
        LastLoss(),
    ),
    Mistake(
        "mean_of_losses",
        "The loss that is returned must weight every micro-batch by its examples.",
        MeanOfLosses(),
    ),
    Mistake(
        "sum_of_losses",
        "The loss that is returned is the mean over the examples: here the micro-batches' losses "
        "were added up.",
        SumOfLosses(),
    ),
    Mistake(
        "weighted_last_loss",
        "Add up the weighted losses of all micro-batches: here the last one's was returned.",
        WeightedLastLoss(),
    ),
    Mistake(
        "scaled_loss",
        "Return the loss at its true scale: only what backward starts from is scaled.",
        ScaledLoss(),
    ),
    Mistake(
        "keeps_the_graph",
        "The loss that is returned still has its graph, and with it all activations: detach it.",
        KeepsTheGraph(),
    ),
    Mistake(
        "returns_floats",
        "Return the loss as a tensor: .item() makes the program wait for the GPU in every step.",
        ReturnsFloats(),
    ),
    Mistake(
        "never_clips", "max_norm has no effect: clip the gradients before the step.", NeverClips()
    ),
    Mistake(
        "always_rescales",
        "Gradients with a norm below max_norm must stay as they are: here they grew to it.",
        AlwaysRescales(),
    ),
    Mistake(
        "clips_values",
        "Clip the total norm, which keeps the direction, not each value (clip_grad_norm_, not "
        "clip_grad_value_).",
        ClipsValues(),
    ),
    Mistake(
        "clips_each_parameter",
        "Clip by the norm of all gradients together, not each parameter by its own.",
        ClipsEachParameter(),
    ),
    Mistake(
        "clips_every_micro_batch",
        "Clip once, after the last backward: here each micro-batch's gradient was clipped.",
        ClipsEveryMicroBatch(),
    ),
    Mistake(
        "returns_the_clipped_norm",
        "Return the norm before clipping: afterwards it never says that something exploded.",
        ReturnsTheClippedNorm(),
    ),
    Mistake(
        "clips_before_unscale",
        "The gradients were clipped while they were scaled: first scaler.unscale_(optimizer), then "
        "clip.",
        ClipsBeforeUnscale(),
    ),
    Mistake(
        "returns_the_scaled_norm",
        "The norm is that of the scaled gradients: measure it after scaler.unscale_(optimizer).",
        ReturnsTheScaledNorm(),
    ),
    Mistake(
        "never_updates",
        "scaler.update() is missing: the scale can neither rise nor fall.",
        NeverUpdates(),
    ),
    Mistake(
        "steps_by_itself",
        "scaler.step(optimizer) must make the step: optimizer.step() does not skip bad gradients.",
        StepsByItself(),
    ),
    Mistake(
        "stops_at_overflows",
        "With a scaler an overflow is nothing unusual: where it skips the step, nothing is raised.",
        StopsAtOverflows(),
    ),
    Mistake("ignores_the_scaler", "The scaler was not used.", IgnoresTheScaler()),
    Mistake(
        "loss_not_scaled",
        "backward must start from scaler.scale(loss): here gradients were divided by a scale that "
        "they never had.",
        LossNotScaled(),
    ),
    Mistake(
        "always_stepped",
        "stepped must be False where the scaler skipped the step: its scale is then lower after "
        "update than before.",
        AlwaysStepped(),
    ),
    Mistake(
        "scale_must_rise",
        "stepped must be True where the step was made: a scale that stays is no skipped step.",
        ScaleMustRise(),
    ),
    Mistake(
        "no_autocast",
        "autocast_dtype has no effect: run the model and the loss under torch.autocast.",
        NoAutocast(),
    ),
    Mistake(
        "always_bfloat16",
        "The dtype is fixed at bfloat16: give autocast_dtype to torch.autocast.",
        AlwaysBfloat16(),
    ),
    Mistake(
        "loss_outside_autocast",
        "The loss belongs under torch.autocast too, which computes it in float32.",
        LossOutsideAutocast(),
    ),
    Mistake(
        "autocast_without_asking",
        "Without an autocast_dtype there must be no autocast: enabled=autocast_dtype is not None.",
        AutocastWithoutAsking(),
    ),
    Mistake("never_looks", "check_finite has no effect.", NeverLooks()),
    Mistake(
        "looks_at_the_loss_only",
        "A gradient can be inf or nan while the loss is not: look at the norm too.",
        LooksAtTheLossOnly(),
    ),
    Mistake(
        "looks_at_the_norm_only",
        "With a scaler the norm says nothing: look at the loss too.",
        LooksAtTheNormOnly(),
    ),
    Mistake(
        "looks_for_nan_only", "inf is as bad as nan: ask isfinite, not isnan.", LooksForNanOnly()
    ),
    Mistake(
        "looks_after_the_step",
        "The weights have changed: look before the step.",
        LooksAfterTheStep(),
    ),
    Mistake(
        "evaluation_mode",
        "train_step must leave the model's mode as it is: here it went into evaluation mode.",
        EvaluationMode(),
    ),
)

LOW_BITS = torch.bfloat16, torch.float16


def step_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, title: str, *steps: tuple[int, ...], **more: Any) -> Case:
        """A step is the sizes of its micro-batches."""
        dtype = torch.float32 if more.get("autocast_dtype") else torch.float64
        batches = [[draw_batch(rng, size, dtype=dtype) for size in sizes] for sizes in steps]
        told = [f"{key}={more[key]}" for key in ("max_norm", "autocast_dtype") if key in more]
        told += [f"scale {more['scaler']['init_scale']:g}"] if "scaler" in more else []
        sizes = " and ".join(str(list(sizes)) for sizes in steps[:3])
        sizes += " ..." if len(steps) > 3 else ""
        return {
            "part": part,
            "title": ", ".join([title, *told, f"micro-batches of {sizes} examples"]),
            "weights": draw_weights(rng, dtype=dtype),
            "steps": batches,
            **more,
        }

    one, micro = "one batch a step", "several micro-batches"
    clipping, scaling, casting = "clipping", "the loss scaler", "autocast"
    looking = "a look for inf and nan"
    n = int(torch.randint(2, 6, (), generator=rng))
    small = {"init_scale": 1024.0, "growth_interval": 2}
    huge = {"init_scale": 2.0**1023, "growth_interval": 2, "backoff_factor": 2.0**-20}
    bfloat16, float16 = LOW_BITS
    return [
        case(one, "one example", (1,)),
        case(one, "a batch", (n,)),
        case(one, "a model in evaluation mode", (n,), evaluation=True),
        case(one, "a parameter without a gradient", (n,), frozen=True),
        case(one, "nan, without a scaler", (n,), bad=0),
        case(one, "two steps", (n,), (n,)),
        case(one, "four steps with momentum", *[(n,)] * 4, momentum=0.5),
        case(micro, "two of one size", (n, n)),
        case(micro, "the last is shorter", (n, n, 1)),
        case(micro, "the first is shorter", (1, n + 1)),
        case(micro, "two steps", (n, n, n - 1), (3, 1), momentum=0.5),
        case(clipping, "the norm is above", (n,), max_norm=0.5),
        case(clipping, "the norm is below", (n,), max_norm=1e4),
        case(clipping, "several micro-batches", (n, n, n), (n, n), max_norm=1.0),
        case(scaling, "one step", (n,), scaler=small),
        case(scaling, "clipping", (n,), (n,), scaler=small, max_norm=0.5),
        case(scaling, "large norm", (n,), scaler=small, max_norm=1e3),
        case(scaling, "micro-batches", (n, n, n), (n, n), (n, n), scaler=small, max_norm=1.0),
        case(scaling, "nan in the second step", (n,), (n,), (n,), scaler=small, bad=1),
        case(scaling, "nan, clipping", (n, n), (n, n), (n, n), scaler=small, bad=0, max_norm=1.0),
        case(scaling, "overflow at first", *[(n, n)] * 6, scaler=huge, max_norm=1.0),
        case(scaling, "not enabled", (n,), scaler={"init_scale": 8.0, "enabled": False}),
        case(casting, "one micro-batch", (4,), autocast_dtype=bfloat16),
        case(casting, "two micro-batches", (4, 4), autocast_dtype=bfloat16),
        case(casting, "with a scaler", (4,), autocast_dtype=float16, scaler={"init_scale": 16.0}),
        case(casting, "no dtype", (n,), (n,)),
        case(looking, "all is finite", (n,), (n,), check_finite=True),
        case(looking, "nan in the second step", (n, n), (n, n), bad=1, check_finite=True),
        case(looking, "inf", (n,), bad=0, value=math.inf, check_finite=True),
        case(looking, "nan in gradients only", (n,), pole=0, check_finite=True),
        case(looking, "inf in the norm only", (n,), pole=1, max_norm=1.0, check_finite=True),
        case(looking, "inf in the loss only", (n,), pole=2, check_finite=True),
        case(looking, "nan in the loss", (n,), scaler=small, bad=0, check_finite=True),
        case(looking, "an overflow", (n,), (n,), scaler=small, pole=0, check_finite=True),
        case(looking, "nan, not asked for", (n,), pole=0),
    ]


def pole(outputs: Tensor, kind: int) -> Tensor:
    """Return 0, whose gradient is nan (kind 0) or infinite (1), or inf, whose gradient is 0."""
    if kind == 2:
        return outputs.new_tensor(math.inf)
    return (0 * outputs).sum().sqrt() if kind == 0 else InfiniteSlope.apply(outputs).sum()


class InfiniteSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outputs: Tensor) -> Tensor:
        return torch.zeros_like(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.full_like(grads[0], math.inf)


def step_probe(train_step: Any, case: Case) -> Outputs:
    model = Net(case["weights"])
    model.train(not case.get("evaluation"))
    model.first.bias.requires_grad_(not case.get("frozen"))
    optimizer = Descent(list(model.parameters()), lr=0.01, momentum=case.get("momentum", 0.0))
    scaler = Scaler(**case["scaler"]) if "scaler" in case else None
    casts = []

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        casts.append(autocast_now())
        loss = doubled(outputs, targets)
        return loss + pole(outputs, case["pole"]) if "pole" in case else loss

    names = ("max_norm", "autocast_dtype", "check_finite")
    options: dict[str, Any] = {name: case[name] for name in names if name in case}
    if scaler is not None:
        options["scaler"] = scaler
    outputs: Outputs = {}
    raised = False
    for number, batches in enumerate(case["steps"], start=1):
        if case.get("bad") == number - 1:
            batches[0][0][0, 0] = case.get("value", NAN)
        try:
            result = train_step(model, [(x, y) for x, y in batches], loss_fn, optimizer, **options)
            outputs |= result_outputs(result, number, case["part"] == "one batch a step")
        except FloatingPointError:
            outputs[f"step {number} raised a FloatingPointError"] = raised = True
        outputs[f"the weights after step {number}"] = weights_of(model)
        outputs[f"the number of updates after step {number}"] = len(optimizer.rates)
        if scaler is not None:
            outputs[f"the scale after step {number}"] = torch.tensor(scaler.get_scale()).double()
        if raised:
            break
    outputs["the inputs, which must not change"] = [
        x for batches in case["steps"] for x, _ in batches
    ]
    if not raised:  # to find the layer takes as many passes as it takes
        outputs |= {
            "the sizes of the forward passes": model.calls["sizes"],
            "autocast in the model": model.calls["autocast"],
            "autocast in the loss": casts,
            "the mode in the forward passes": model.calls["training"],
        }
    return outputs


def result_outputs(result: Any, number: int, strict: bool) -> Outputs:
    """Return what one call of ``train_step`` returned, in the precision of the comparison.

    That loss and norm are tensors without a graph is asked in one part only, so that a slip there
    does not cost the others.
    """
    loss, norm, stepped = result
    outputs: Outputs = {}
    if strict:
        outputs[f"what the loss of step {number} is"] = kind_of(loss)
        outputs[f"what the gradient norm of step {number} is"] = kind_of(norm)
    return {
        **outputs,
        f"the loss of step {number}": torch.tensor(float(loss)),
        f"the gradient norm of step {number}": finite_or_nan(norm),
        f"step {number} was made": bool(stepped),
    }


def finite_or_nan(value: Any) -> Tensor:
    """Return a number as a tensor; the order of the sums decides between inf and nan."""
    return torch.tensor(float(value) if math.isfinite(value) else NAN)


def kind_of(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"a tensor with{'' if value.requires_grad else 'out'} a graph"


check_train_step = Check(
    module="training",
    exercise="train_step",
    target="train_step",
    parts={
        "one batch a step": 2,
        "several micro-batches": 2,
        "clipping": 1,
        "the loss scaler": 2,
        "autocast": 1,
        "a look for inf and nan": 1,
    },
    inputs=step_inputs,
    probe=step_probe,
    oracle=Step(),
    mistakes=STEP_MISTAKES,
    hints=(
        "The order: zero_grad; for each micro-batch forward, loss, backward; then unscale, measure "
        "and clip, step, update.",
        "The mean over all examples is the sum of the micro-batches' means, each times its share "
        "of the examples: multiply the loss by len(x) / examples before backward.",
        "LossScaler(enabled=False) stands in where there is no scaler, so that one code path "
        "serves both; the step was skipped when the scale is lower after update than before.",
    ),
)


# --- evaluate -------------------------------------------------------------------------------------


class Evaluation:
    """The formula, one decision a method."""

    def __call__(
        self, model: nn.Module, loader: Any, loss_fn: Callable, device: Any = "cpu"
    ) -> dict[str, float]:
        modes = [(module, module.training) for module in model.modules()]
        self.enter(model)
        rows = []
        with torch.set_grad_enabled(self.keeps_graph):
            for x, y in loader:
                x, y = x.to(device), y.to(device)
                outputs = model(x)
                right = None if y.is_floating_point() else self.right(outputs, y)
                rows.append((len(x), loss_fn(outputs, y).item(), right))
        self.leave(model, modes)
        return self.result(rows)

    keeps_graph = False

    def enter(self, model: nn.Module) -> None:
        model.eval()

    def leave(self, model: nn.Module, modes: list[tuple[nn.Module, bool]]) -> None:
        for module, training in modes:
            module.training = training

    def right(self, outputs: Tensor, y: Tensor) -> int:
        return int((outputs.argmax(-1) == y).sum())

    def result(self, rows: list[tuple]) -> dict[str, float]:
        sizes, losses, right = zip(*rows)
        result = {"loss": self.mean(sizes, losses)}
        if right[0] is not None:
            result["accuracy"] = self.accuracy(sizes, right)
        return result

    def mean(self, sizes: tuple[int, ...], losses: tuple[float, ...]) -> float:
        return sum(size * loss for size, loss in zip(sizes, losses)) / sum(sizes)

    def accuracy(self, sizes: tuple[int, ...], right: tuple[int, ...]) -> float:
        return sum(right) / sum(sizes)


class MeanOfBatchMeans(Evaluation):
    def mean(self, sizes: tuple[int, ...], losses: tuple[float, ...]) -> float:
        return sum(losses) / len(losses)


class SumOverExamples(Evaluation):
    def mean(self, sizes: tuple[int, ...], losses: tuple[float, ...]) -> float:
        return sum(size * loss for size, loss in zip(sizes, losses))


class SumOverBatches(Evaluation):
    def mean(self, sizes: tuple[int, ...], losses: tuple[float, ...]) -> float:
        return sum(losses)


class SumOfMeansPerExample(Evaluation):
    def mean(self, sizes: tuple[int, ...], losses: tuple[float, ...]) -> float:
        return sum(losses) / sum(sizes)


class LastBatchLoss(Evaluation):
    def mean(self, sizes: tuple[int, ...], losses: tuple[float, ...]) -> float:
        return losses[-1]


class FirstSizeForAll(Evaluation):
    def mean(self, sizes: tuple[int, ...], losses: tuple[float, ...]) -> float:
        return super().mean((sizes[0],) * len(sizes), losses) * len(sizes) * sizes[0] / sum(sizes)


class DropsTheShortBatch(Evaluation):
    def result(self, rows: list[tuple]) -> dict[str, float]:
        return super().result([row for row in rows if row[0] == rows[0][0]])


class MeanOfAccuracies(Evaluation):
    def accuracy(self, sizes: tuple[int, ...], right: tuple[int, ...]) -> float:
        return sum(hits / size for hits, size in zip(right, sizes)) / len(sizes)


class CountsInsteadOfShare(Evaluation):
    def accuracy(self, sizes: tuple[int, ...], right: tuple[int, ...]) -> float:
        return float(sum(right))


class Percent(Evaluation):
    def accuracy(self, sizes: tuple[int, ...], right: tuple[int, ...]) -> float:
        return 100 * super().accuracy(sizes, right)


class LastAccuracy(Evaluation):
    def accuracy(self, sizes: tuple[int, ...], right: tuple[int, ...]) -> float:
        return right[-1] / sizes[-1]


class ErrorRate(Evaluation):
    def accuracy(self, sizes: tuple[int, ...], right: tuple[int, ...]) -> float:
        return 1 - super().accuracy(sizes, right)


class NoAccuracy(Evaluation):
    def result(self, rows: list[tuple]) -> dict[str, float]:
        return {"loss": super().result(rows)["loss"]}


class AlwaysAccuracy(Evaluation):
    def result(self, rows: list[tuple]) -> dict[str, float]:
        return {"accuracy": 0.0, **super().result(rows)}


class StaysInTrainingMode(Evaluation):
    def enter(self, model: nn.Module) -> None:
        pass


class StaysInEvaluationMode(Evaluation):
    def leave(self, model: nn.Module, modes: list[tuple[nn.Module, bool]]) -> None:
        pass


class AlwaysBackToTraining(Evaluation):
    def leave(self, model: nn.Module, modes: list[tuple[nn.Module, bool]]) -> None:
        model.train()


class OneModeForAll(Evaluation):
    def leave(self, model: nn.Module, modes: list[tuple[nn.Module, bool]]) -> None:
        model.train(modes[0][1])


class EvaluatesWithGraph(Evaluation):
    keeps_graph = True


STAYS_IN_EVALUATION_MODE = (
    "stays_in_evaluation_mode",
    "The model was left in evaluation mode, so that dropout and batch norm are off in the next "
    "epoch: bring every module back into the mode it was in.",
)
EVALUATION_MISTAKES = (
    Mistake(
        "mean_of_batch_means",
        "A short last batch counted as much as a full one: weight each batch's mean by its size.",
        MeanOfBatchMeans(),
    ),
    Mistake(
        "sum_over_examples",
        "Divide the sum over all examples by their number.",
        SumOverExamples(),
    ),
    Mistake(
        "sum_over_batches",
        "The batches' means were added up: weight each by its size and divide by all examples.",
        SumOverBatches(),
    ),
    Mistake(
        "sum_of_means_per_example",
        "loss_fn returns a mean: multiply it by the batch's size before you divide by all "
        "examples.",
        SumOfMeansPerExample(),
    ),
    Mistake(
        "last_batch_loss",
        "The loss is that of the last batch only: add up over all batches.",
        LastBatchLoss(),
    ),
    Mistake(
        "first_size_for_all",
        "The last batch may be shorter: weight each batch by its own len(x).",
        FirstSizeForAll(),
    ),
    Mistake("drops_the_short_batch", "The short batch was left out.", DropsTheShortBatch()),
    Mistake(
        "mean_of_accuracies",
        "The accuracy is the share of all examples, not the mean of the batches' shares.",
        MeanOfAccuracies(),
    ),
    Mistake(
        "counts_instead_of_share",
        "The accuracy is a share: divide the number of hits by that of the examples.",
        CountsInsteadOfShare(),
    ),
    Mistake("percent", "The accuracy is a share from 0 to 1, not a percentage.", Percent()),
    Mistake(
        "last_accuracy", "The accuracy is that of the last batch only: count all.", LastAccuracy()
    ),
    Mistake(
        "error_rate", "The accuracy is the share that is right, not that is wrong.", ErrorRate()
    ),
    Mistake("no_accuracy", "Integer targets are classes: return the accuracy too.", NoAccuracy()),
    Mistake(
        "always_accuracy",
        "There is no accuracy for targets that are not integers: leave the key out.",
        AlwaysAccuracy(),
    ),
    Mistake(
        "stays_in_training_mode",
        "Evaluate in evaluation mode (model.eval()): here dropout and batch norm were in training "
        "mode.",
        StaysInTrainingMode(),
    ),
    Mistake(*STAYS_IN_EVALUATION_MODE, StaysInEvaluationMode()),
    Mistake(
        "always_back_to_training",
        "A model that came in evaluation mode must stay in it: here it was put into training mode.",
        AlwaysBackToTraining(),
    ),
    Mistake(
        "one_mode_for_all",
        "Modules may be in different modes, a frozen batch norm for one: model.train(...) gives "
        "them all the same, so note and restore each module's own.",
        OneModeForAll(),
    ),
    Mistake(
        "evaluates_with_graph",
        "A graph was built that nobody needs: evaluate under torch.inference_mode().",
        EvaluatesWithGraph(),
    ),
)


def evaluation_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, title: str, *sizes: int, classes: bool = False, **more: Any) -> Case:
        weights = draw_weights(rng)
        # Every batch has its own level, so that no two weightings of the batches agree.
        loader = [draw_batch(rng, size) for size in sizes]
        for level, batch in enumerate(loader, start=1):
            batch[1] += 3 * level
        if classes:
            outputs = [Net(weights).eval()(x).detach() for x, _ in loader]
            best = [out.argmax(-1) for out in outputs]
            # All right in the first batch, one right in the others, all wrong in the last.
            loader = [[x, (b + (torch.arange(len(b)) > 0)) % 2] for (x, _), b in zip(loader, best)]
            loader[0][1] = best[0]
            loader[-1][1] = (1 + best[-1]) % 2 if len(loader) > 1 else best[-1]
        told = f"batches of {list(sizes)} examples"
        return {
            "part": part,
            "title": f"{title}, {told}, {'classes' if classes else 'numbers'} as targets",
            "weights": weights,
            "loader": loader,
            **more,
        }

    loss, accuracy = "the mean loss", "the accuracy"
    modes, device = "modes and graphs", "batches from another device"
    n = int(torch.randint(3, 6, (), generator=rng))
    return [
        case(loss, "one batch", n),
        case(loss, "the last batch is shorter", n, n, 1),
        case(loss, "the first batch is shorter", 1, n + 1, n),
        case(accuracy, "one batch", n, classes=True),
        case(accuracy, "the last batch is shorter", n, n, 2, classes=True),
        case(accuracy, "no classes", n, n),
        case(modes, "a model in training mode", n, n),
        case(modes, "a model in evaluation mode", n, n, training=False),
        case(modes, "batch norm frozen in evaluation mode", n, n, frozen=True),
        case(device, f"device='{HERE}'", n, n, elsewhere=True),
    ]


def evaluation_probe(evaluate: Any, case: Case) -> Outputs:
    modes = case["part"] == "modes and graphs"
    model = Net(case["weights"], norm=modes)
    model.train(case.get("training", True))
    if case.get("frozen"):
        model.norm.eval()
    before = [module.training for module in model.modules()]
    integer = case["loader"][0][1].dtype == torch.int64
    loss_fn = nn.functional.cross_entropy if integer else nn.functional.mse_loss
    loader = [(x, y) for x, y in case["loader"]]
    device = []
    if case.get("elsewhere"):
        loader = [(x.as_subclass(Elsewhere), y.as_subclass(Elsewhere)) for x, y in loader]
        device = [HERE]
    result = evaluate(model, iter(loader), loss_fn, *device)
    outputs: Outputs = {}
    if case["part"] == "the accuracy":
        outputs["the result's keys"] = sorted(result)
    for name in ("loss", "accuracy"):
        wanted = name == "loss" or case["part"] == "the accuracy"
        if name in result and wanted:
            outputs[f"the {name}"] = torch.tensor(result[name])
            outputs[f"the {name} is a float"] = isinstance(result[name], float)
    if modes:
        after = [module.training for module in model.modules()]
        outputs |= {
            "the mode in the forward passes": model.calls["training"],
            "gradients enabled in the forward passes": model.calls["grad"],
            "every module is back in its mode": after == before,
            "weights and buffers, which must not change": weights_of(model),
        }
    return outputs


check_evaluate = Check(
    module="training",
    exercise="evaluate",
    target="evaluate",
    parts={
        "the mean loss": 2,
        "the accuracy": 1,
        "modes and graphs": 2,
        "batches from another device": 1,
    },
    inputs=evaluation_inputs,
    probe=evaluation_probe,
    oracle=Evaluation(),
    mistakes=EVALUATION_MISTAKES,
    hints=(
        "loss_fn gives the mean of one batch. The mean of all examples is the sum of these means, "
        "each times len(x), divided by the number of all examples.",
        "model.modules() goes through the model and everything in it: note {module: "
        "module.training} before model.eval(), and set module.training = ... afterwards.",
        "Targets are classes when not y.is_floating_point(); outputs.argmax(dim=1) == y are the "
        "hits.",
    ),
)


# --- Checkpoint -----------------------------------------------------------------------------------


class File:
    """The oracle: everything in one file, one decision a method."""

    def __init__(self, path: str | Path, **parts: Any) -> None:
        self.path = Path(path)
        self.parts = {name: part for name, part in parts.items() if part is not None}

    def save(self, progress: dict[str, Any]) -> None:
        states = {name: self.state_of(part) for name, part in self.kept().items()}
        self.write({"parts": states, "progress": progress, "rng": self.generators()})

    def kept(self) -> dict[str, Any]:
        return self.parts

    def state_of(self, part: Any) -> dict[str, Any]:
        return part.state_dict()

    def generators(self) -> dict[str, Any]:
        numpy_state: Any = np.random.get_state()  # noqa: NPY002
        _, keys, *rest = numpy_state
        version, words, gauss = random.getstate()
        return {
            "torch": torch.get_rng_state(),
            "numpy": [torch.from_numpy(keys.astype(np.int64)), *rest],
            "python": [version, torch.tensor(words), gauss],
        }

    def write(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        temporary = self.path.with_suffix(".new")
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(self.path)

    def load(self) -> Any:
        if not self.path.exists():
            return self.no_file()
        state = self.checked()
        for name, part in self.kept().items():
            self.restore(part, state["parts"][name])
        self.set_generators(state["rng"])
        return self.progress(state)

    def no_file(self) -> Any:
        return None

    def checked(self) -> dict[str, Any]:
        try:
            state = self.read()
            if set(state["parts"]) != set(self.kept()):
                raise KeyError("parts")
        except Exception as error:
            raise RuntimeError(f"{self.path} is no checkpoint of this run") from error
        return state

    def read(self) -> dict[str, Any]:
        return torch.load(self.path, weights_only=True)

    def restore(self, part: Any, state: dict[str, Any]) -> None:
        part.load_state_dict(state)

    def set_generators(self, saved: dict[str, Any]) -> None:
        torch.set_rng_state(saved["torch"])
        keys, *rest = saved["numpy"]
        np.random.set_state(("MT19937", keys.numpy(), *rest))  # noqa: NPY002
        version, words, gauss = saved["python"]
        random.setstate((version, tuple(words.tolist()), gauss))

    def progress(self, state: dict[str, Any]) -> Any:
        return state["progress"]


class WithoutPart(File):
    missing = ""

    def kept(self) -> dict[str, Any]:
        return {name: part for name, part in self.parts.items() if name != self.missing}


class NoOptimizer(WithoutPart):
    missing = "optimizer"


class NoScaler(WithoutPart):
    missing = "scaler"


class NoLoader(WithoutPart):
    missing = "loader"


class ModelOnly(File):
    def kept(self) -> dict[str, Any]:
        return {"model": self.parts["model"]}


class NoBuffers(File):
    def state_of(self, part: Any) -> dict[str, Any]:
        return dict(part.named_parameters()) if isinstance(part, nn.Module) else part.state_dict()

    def restore(self, part: Any, state: dict[str, Any]) -> None:
        if isinstance(part, nn.Module):
            part.load_state_dict(state, strict=False)
        else:
            part.load_state_dict(state)


class RestoresNoPart(File):
    def restore(self, part: Any, state: dict[str, Any]) -> None:
        pass


class NoGenerators(File):
    def set_generators(self, saved: dict[str, Any]) -> None:
        pass


class TorchGeneratorOnly(File):
    def set_generators(self, saved: dict[str, Any]) -> None:
        torch.set_rng_state(saved["torch"])


class NoTorchGenerator(File):
    def set_generators(self, saved: dict[str, Any]) -> None:
        super().set_generators({**saved, "torch": torch.get_rng_state()})


class NoPythonGenerator(File):
    def set_generators(self, saved: dict[str, Any]) -> None:
        super().set_generators({**saved, "python": self.generators()["python"]})


class NoNumpyGenerator(File):
    def set_generators(self, saved: dict[str, Any]) -> None:
        super().set_generators({**saved, "numpy": self.generators()["numpy"]})


class ReturnsNoProgress(File):
    def progress(self, state: dict[str, Any]) -> Any:
        return None


class ReturnsEverything(File):
    def progress(self, state: dict[str, Any]) -> Any:
        return state


class WritesInPlace(File):
    def write(self, state: dict[str, Any]) -> None:
        self.path.write_bytes(b"")
        torch.save(state, self.path)


class LeavesTheRest(File):
    def write(self, state: dict[str, Any]) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_bytes(b"")
        torch.save(state, temporary)
        temporary.replace(self.path)


class SwallowsTheError(File):
    def write(self, state: dict[str, Any]) -> None:
        try:
            super().write(state)
        except Exception:
            return


class CopiesInstead(File):
    def write(self, state: dict[str, Any]) -> None:
        super().write(state)
        self.path.with_suffix(".new").write_bytes(self.path.read_bytes())


class RemovesFirst(File):
    def save(self, progress: dict[str, Any]) -> None:
        self.path.unlink(missing_ok=True)
        super().save(progress)


class EmptyWithoutFile(File):
    def no_file(self) -> Any:
        return {}


class DamagedIsNone(File):
    def load(self) -> Any:
        try:
            return super().load()
        except RuntimeError:
            return None


class NamesNoFile(File):
    def checked(self) -> dict[str, Any]:
        try:
            return super().checked()
        except RuntimeError as error:
            raise RuntimeError("the checkpoint cannot be loaded") from error


class TrustsTheFile(File):
    def read(self) -> dict[str, Any]:
        return torch.load(self.path, weights_only=False)


class RestoresBeforeChecking(File):
    """Finds out that parts are missing when some have been restored."""

    def checked(self) -> dict[str, Any]:
        try:
            state = self.read()
        except Exception as error:
            raise RuntimeError(f"{self.path} is no checkpoint of this run") from error
        try:
            for name, part in self.kept().items():
                self.restore(part, state["parts"][name])
        except Exception as error:
            raise RuntimeError(f"{self.path} is no checkpoint of this run") from error
        return state


def not_saved(name: str, what: str, why: str) -> tuple[str, str]:
    return name, f"{what} must be saved and restored too: {why}."


CHECKPOINT_MISTAKES = (
    Mistake(
        *not_saved("no_optimizer", "The optimizer", "its averages are part of the next step"),
        NoOptimizer,
    ),
    Mistake(
        *not_saved("no_scaler", "The scaler", "a run that starts at the first scale skips again"),
        NoScaler,
    ),
    Mistake(
        *not_saved("no_loader", "The loader", "or the epoch's first batches are used twice"),
        NoLoader,
    ),
    Mistake(
        "model_only", "Only the model was saved and restored: go through all parts.", ModelOnly
    ),
    Mistake(
        "no_buffers",
        "The model's buffers are missing, batch norm's running averages for one: state_dict() has "
        "them, parameters() has not.",
        NoBuffers,
    ),
    Mistake(
        "restores_no_part",
        "load must give every part its state: part.load_state_dict(...).",
        RestoresNoPart,
    ),
    Mistake(
        "no_generators",
        "The random generators were not restored: rng_state() goes into the file, and "
        "set_rng_state(...) brings it back.",
        NoGenerators,
    ),
    Mistake(
        "torch_generator_only",
        "The generators of NumPy and Python count too: rng_state() has all of them.",
        TorchGeneratorOnly,
    ),
    Mistake(
        "no_torch_generator",
        "torch's own generator was not restored: dropout draws from it.",
        NoTorchGenerator,
    ),
    Mistake("no_python_generator", "Python's generator was not restored.", NoPythonGenerator),
    Mistake("no_numpy_generator", "NumPy's generator was not restored.", NoNumpyGenerator),
    Mistake("returns_no_progress", "load returns the progress that was saved.", ReturnsNoProgress),
    Mistake(
        "returns_everything",
        "load returns the progress that was saved, not the whole file.",
        ReturnsEverything,
    ),
    Mistake(
        "writes_in_place",
        "The old file was lost when writing failed: write a temporary file in the same folder, "
        "then os.replace it.",
        WritesInPlace,
    ),
    Mistake(
        "leaves_the_rest",
        "When writing fails, remove the temporary file: a finally clause does it in any case.",
        LeavesTheRest,
    ),
    Mistake(
        "swallows_the_error",
        "When writing fails the caller must hear of it: let the error go on.",
        SwallowsTheError,
    ),
    Mistake(
        "copies_instead",
        "The temporary file is still there: os.replace moves it, a copy does not.",
        CopiesInstead,
    ),
    Mistake(
        "removes_first",
        "The old file was removed before the new one was whole: os.replace takes its place in one "
        "step.",
        RemovesFirst,
    ),
    Mistake("empty_without_file", "Without a file load returns None.", EmptyWithoutFile),
    Mistake(
        "damaged_is_none",
        "A damaged or foreign file must raise a RuntimeError: a silent new start would overwrite "
        "it.",
        DamagedIsNone,
    ),
    Mistake("names_no_file", "The RuntimeError's sentence must name the file.", NamesNoFile),
    Mistake(
        "trusts_the_file",
        "Loading ran code from the file: torch.load needs weights_only=True.",
        TrustsTheFile,
    ),
    Mistake(
        "restores_before_checking",
        "A part changed although the file does not fit: look up everything in it before you change "
        "anything.",
        RestoresBeforeChecking,
    ),
)

MARKS: list[str] = []


def mark(text: str) -> None:
    MARKS.append(text)


class Stranger:
    """What a hostile file holds: unpickling it runs a function."""

    def __reduce__(self) -> tuple:
        return mark, ("a function that the file named",)


class Counter:
    """A part with a state: the place of the loader."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, int]:
        return {"value": self.value}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.value = state_dict["value"]


def checkpoint_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, title: str, **more: Any) -> Case:
        return {
            "part": part,
            "title": title,
            "weights": [draw_weights(rng), draw_weights(rng)],
            "batches": [draw_batch(rng, 4) for _ in range(2)],
            "seed": int(torch.randint(0, 2**31, (), generator=rng)),
            "value": int(torch.randint(2, 100, (), generator=rng)),
            **more,
        }

    parts, generators = "the parts and the progress", "the random generators"
    failing, foreign = "a save that fails", "no file, or a foreign one"
    return [
        case(parts, "a model alone", names=("model",)),
        case(parts, "model, optimizer, scaler and loader"),
        case(parts, "no scaler", names=("model", "optimizer", "loader")),
        case(parts, "saved twice", saves=2),
        case(generators, "draws from torch, NumPy and Python"),
        case(failing, "the first save fails", bad_first=True),
        case(failing, "the second save fails"),
        case(foreign, "no file", file="none"),
        case(foreign, "a damaged file", file="damaged"),
        case(foreign, "a text file", file="text"),
        case(foreign, "an empty file", file="empty"),
        case(foreign, "a file with a model's weights only", file="weights"),
        case(foreign, "a checkpoint that lacks a part", file="lacking"),
        case(foreign, "a file that holds code", file="code"),
    ]


def checkpoint_probe(checkpoint: Any, case: Case) -> Outputs:
    probes = {
        "the parts and the progress": parts_probe,
        "the random generators": generators_probe,
        "a save that fails": failing_probe,
        "no file, or a foreign one": foreign_probe,
    }
    generators = File("").generators()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return probes[case["part"]](checkpoint, case, Path(folder))
    finally:
        File("").set_generators(generators)


def some_parts(case: Case, which: int, trained: bool) -> dict[str, Any]:
    """Return model, optimizer, scaler and loader, as after some training or fresh."""
    model = Net(case["weights"][which], norm=True)
    optimizer = Descent(list(model.parameters()), lr=0.1 / (which + 1), momentum=0.5)
    scaler = Scaler(init_scale=8.0, growth_interval=2)
    loader = Counter(case["value"] if trained else 0)
    if trained:
        for x, y in case["batches"]:
            Step()(model, [(x, y)], nn.functional.mse_loss, optimizer, scaler=scaler)
    parts = {"model": model, "optimizer": optimizer, "scaler": scaler, "loader": loader}
    return {name: parts[name] if name in case.get("names", parts) else None for name in parts}


def states_of(parts: dict[str, Any]) -> Outputs:
    """Return every part's state as one vector."""
    return {
        f"the state of the {name}": torch.tensor(list(numbers_in(part.state_dict()))).double()
        for name, part in parts.items()
        if part is not None
    }


def numbers_in(state: Any) -> Iterator[float]:
    if isinstance(state, Tensor):
        yield from state.flatten().tolist()
    elif isinstance(state, dict | list):
        for value in state.values() if isinstance(state, dict) else state:
            yield from numbers_in(value)
    else:
        yield float(state)


def progress_of(case: Case) -> dict[str, Any]:
    best = {"last.bias": case["weights"][0]["last.bias"]}
    history = {"loss": [0.5, 0.25], "eval": [{"loss": 0.5}]}
    return {"updates": case["value"], "history": history, "best_weights": best, "nothing": None}


def parts_probe(checkpoint: Any, case: Case, folder: Path) -> Outputs:
    path = folder / "run.pt"
    saved = some_parts(case, 0, trained=True)
    for number in range(case.get("saves", 1)):
        if number:
            x, y = case["batches"][0]
            Step()(saved["model"], [(x, y)], nn.functional.mse_loss, saved["optimizer"])
        checkpoint(path, **saved).save({**progress_of(case), "number": number})
    before = states_of(saved)
    names = sorted(file.name for file in folder.iterdir())
    loaded = some_parts(case, 1, trained=False)
    progress = checkpoint(str(path), **loaded).load()
    return {
        "the files in the folder": names,
        "the progress": progress,
        **states_of(loaded),
        "the saved parts are as before": same(states_of(saved), before),
    }


def generators_probe(checkpoint: Any, case: Case, folder: Path) -> Outputs:
    seed_all(case["seed"])
    path = folder / "run.pt"
    checkpoint(path, **some_parts(case, 0, trained=False)).save({})
    drawn = draws()
    seed_all(case["seed"] + 1)
    checkpoint(path, **some_parts(case, 1, trained=False)).load()
    return {f"{name} goes on as before": drawn[name] == now for name, now in draws().items()}


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def draws() -> dict[str, float]:
    return {
        "torch's generator": torch.rand(()).item(),
        "NumPy's generator": float(np.random.rand()),  # noqa: NPY002
        "Python's generator": random.random(),
    }


def failing_probe(checkpoint: Any, case: Case, folder: Path) -> Outputs:
    path = folder / "run.pt"
    parts = some_parts(case, 0, trained=True)
    if not case.get("bad_first"):
        checkpoint(path, **parts).save(progress_of(case))
    before = path.read_bytes() if path.exists() else b""
    raised = False
    try:
        # No file can hold a generator.
        checkpoint(path, **parts).save({"generator": (number for number in range(3))})
    except NotImplementedError:
        raise
    except Exception:
        raised = True
    return {
        "the caller heard of it": raised,
        "the files in the folder": sorted(file.name for file in folder.iterdir()),
        "the old file is whole": (path.read_bytes() if path.exists() else b"") == before,
        "a run can go on from it": loads(checkpoint, case, path),
    }


def loads(checkpoint: Any, case: Case, path: Path) -> Any:
    try:
        return checkpoint(path, **some_parts(case, 1, trained=False)).load()
    except RuntimeError:
        return "no: load raised a RuntimeError"


def foreign_probe(checkpoint: Any, case: Case, folder: Path) -> Outputs:
    path = folder / "run.pt"
    parts = some_parts(case, 0, trained=True)
    write_foreign(checkpoint, case["file"], path, parts)
    before = states_of(parts)
    MARKS.clear()
    outputs: Outputs = {"raised a RuntimeError": False}
    try:
        outputs["load() returned"] = checkpoint(path, **parts).load()
    except NotImplementedError:
        raise
    except RuntimeError as error:
        outputs = {
            "raised a RuntimeError": True,
            "its sentence names the file": path.name in str(error),
        }
    outputs["code that ran"] = list(MARKS)
    outputs["the parts are as before"] = same(states_of(parts), before)
    return outputs


def write_foreign(checkpoint: Any, kind: str, path: Path, parts: dict[str, Any]) -> None:
    if kind == "text":
        path.write_text("loss 0.5\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "weights":
        torch.save(parts["model"].state_dict(), path)
    elif kind == "code":
        torch.save({"parts": {}, "more": Stranger()}, path)
    elif kind == "damaged":
        checkpoint(path, **parts).save({})
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "lacking":
        checkpoint(path, **{**parts, "loader": None}).save({})
        nn.init.ones_(parts["model"].first.weight)


check_checkpoint = Check(
    module="training",
    exercise="checkpoint",
    target="Checkpoint",
    parts={
        "the parts and the progress": 2,
        "the random generators": 1,
        "a save that fails": 2,
        "no file, or a foreign one": 2,
    },
    inputs=checkpoint_inputs,
    probe=checkpoint_probe,
    oracle=File,
    mistakes=CHECKPOINT_MISTAKES,
    hints=(
        "Put everything into one dictionary: the parts' states by name, the progress, rng_state(). "
        "torch.save writes it, torch.load(path, weights_only=True) reads it.",
        "Write to a temporary file beside the real one, then os.replace(temporary, path). A "
        "finally clause that removes the temporary file does no harm after the replacement.",
        "In load, first read the file and look up every part inside one try, which turns any error "
        "into a RuntimeError that names the file; only then restore.",
    ),
)


# --- fit ------------------------------------------------------------------------------------------


class Loop:
    """The formula of a run, one decision a method."""

    train_step = Step()
    evaluate = Evaluation()

    def __call__(
        self,
        model: nn.Module,
        loader: Any,
        loss_fn: Callable,
        optimizer: Any,
        *,
        max_epochs: int = 1,
        max_steps: int | None = None,
        accumulate: int = 1,
        schedule: Callable[[int], float] | None = None,
        eval_loader: Any = None,
        patience: int | None = None,
        checkpoint: Any = None,
        checkpoint_every: int = 100,
        monitor: Any = None,
        step: Any = None,
        device: Any = "cpu",
        **options: Any,
    ) -> dict[str, list]:
        self.limit = math.inf if max_steps is None else max_steps
        self.patience = patience
        self.device = device
        state = self.resumed(checkpoint)
        history = state["history"]
        self.start(model)
        while self.goes_on(loader, state, max_epochs):
            for group in self.groups(loader, accumulate, state):
                self.set_rates(optimizer, schedule, state, loader)
                moved = [(x.to(device), y.to(device)) for x, y in group]
                make_step = self.step_of(step)
                result = make_step(model, moved, loss_fn, optimizer, **options)
                self.record(state, optimizer, result)
                self.set_rates_after(optimizer, schedule, state)
                self.watch_and_save(monitor, checkpoint, checkpoint_every, state)
            if state["updates"] >= self.limit:
                break
            if eval_loader is not None:
                self.end_epoch(model, eval_loader, loss_fn, state)
            loader.next_epoch()
        self.finish(model, state)
        return history

    def new(self) -> dict[str, Any]:
        history: dict[str, list] = {"loss": [], "grad_norm": [], "lr": [], "eval": []}
        return {"updates": 0, "history": history, "best": math.inf, "weights": None, "bad": 0}

    def resumed(self, checkpoint: Any) -> dict[str, Any]:
        saved = None if checkpoint is None else checkpoint.load()
        return self.new() if saved is None else saved

    def start(self, model: nn.Module) -> None:
        model.train()

    def goes_on(self, loader: Any, state: dict[str, Any], max_epochs: int) -> bool:
        return loader.epoch < max_epochs and not self.gives_up(state["bad"])

    def gives_up(self, bad: int) -> bool:
        return self.patience is not None and bad >= self.patience

    def groups(self, loader: Any, accumulate: int, state: dict[str, Any]) -> Iterator[list]:
        batches = iter(loader)
        while self.has_steps_left(state) and (group := list(islice(batches, accumulate))):
            yield group

    def has_steps_left(self, state: dict[str, Any]) -> bool:
        return state["updates"] < self.limit

    def set_rates(self, optimizer: Any, schedule: Any, state: dict[str, Any], loader: Any) -> None:
        if schedule is not None:
            for group in optimizer.param_groups:
                group["lr"] = schedule(self.count(state))

    def set_rates_after(self, optimizer: Any, schedule: Any, state: dict[str, Any]) -> None:
        pass

    def count(self, state: dict[str, Any]) -> int:
        return state["updates"]

    def record(self, state: dict[str, Any], optimizer: Any, result: tuple) -> None:
        loss, norm, stepped = result
        state["updates"] += bool(stepped)
        state["history"]["loss"].append(float(loss))
        state["history"]["grad_norm"].append(float(norm))
        state["history"]["lr"].append(optimizer.param_groups[0]["lr"])

    def step_of(self, step: Any) -> Any:
        return self.train_step if step is None else step

    def watch_and_save(
        self, monitor: Any, checkpoint: Any, every: int, state: dict[str, Any]
    ) -> None:
        if monitor is not None:
            monitor(state)
        self.save(checkpoint, every, state)

    def save(self, checkpoint: Any, every: int, state: dict[str, Any]) -> None:
        if checkpoint is not None and len(state["history"]["loss"]) % every == 0:
            checkpoint.save(state)

    def end_epoch(
        self, model: nn.Module, eval_loader: Any, loss_fn: Callable, state: dict[str, Any]
    ) -> None:
        result = self.evaluate(model, eval_loader, loss_fn, self.device)
        state["history"]["eval"].append(result)
        if self.patience is not None:
            self.judge(state, result["loss"], model)

    def judge(self, state: dict[str, Any], loss: float, model: nn.Module) -> None:
        if self.is_better(loss, state):
            state |= {"best": loss, "weights": self.copied(model), "bad": 0}
        else:
            state["bad"] += 1

    def is_better(self, loss: float, state: dict[str, Any]) -> bool:
        return loss < state["best"]

    def copied(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in model.state_dict().items()}

    def finish(self, model: nn.Module, state: dict[str, Any]) -> None:
        if state["weights"] is not None:
            model.load_state_dict(state["weights"], strict=False)


class LoopNeverClears(Loop):
    train_step = NeverClears()


class LoopMeanOfMeans(Loop):
    train_step = MeanOfMeans()


class LoopIgnores(Loop):
    ignored = ""

    def __call__(self, *arguments: Any, **options: Any) -> dict[str, list]:
        return super().__call__(*arguments, **{**options, self.ignored: None})


class IgnoresMaxNorm(LoopIgnores):
    ignored = "max_norm"


class IgnoresScaler(LoopIgnores):
    ignored = "scaler"


class IgnoresAutocast(LoopIgnores):
    ignored = "autocast_dtype"


class IgnoresMonitor(LoopIgnores):
    ignored = "monitor"


class IgnoresStep(LoopIgnores):
    ignored = "step"


class MonitorsAfterSaving(Loop):
    def watch_and_save(
        self, monitor: Any, checkpoint: Any, every: int, state: dict[str, Any]
    ) -> None:
        self.save(checkpoint, every, state)
        super().watch_and_save(monitor, None, every, state)


class MonitorsBeforeTheStep(Loop):
    def __call__(self, *arguments: Any, monitor: Any = None, **options: Any) -> dict[str, list]:
        self.monitor = monitor
        return super().__call__(*arguments, **options)

    def record(self, state: dict[str, Any], optimizer: Any, result: tuple) -> None:
        if self.monitor is not None:
            self.monitor(state)
        super().record(state, optimizer, result)


class MonitorsEpochs(MonitorsBeforeTheStep):
    def record(self, state: dict[str, Any], optimizer: Any, result: tuple) -> None:
        Loop.record(self, state, optimizer, result)

    def groups(self, loader: Any, accumulate: int, state: dict[str, Any]) -> Iterator[list]:
        yield from super().groups(loader, accumulate, state)
        if self.monitor is not None:
            self.monitor(state)


class IgnoresSchedule(LoopIgnores):
    ignored = "schedule"


class IgnoresMaxSteps(LoopIgnores):
    ignored = "max_steps"


class IgnoresPatience(LoopIgnores):
    ignored = "patience"


class NeverStopsEarly(Loop):
    def gives_up(self, bad: int) -> bool:
        return False


class IgnoresCheckpoint(LoopIgnores):
    ignored = "checkpoint"


class OneEpochOnly(Loop):
    def __call__(self, *arguments: Any, max_epochs: int = 1, **options: Any) -> dict[str, list]:
        return super().__call__(*arguments, **options)


class OneEpochTooMany(Loop):
    def goes_on(self, loader: Any, state: dict[str, Any], max_epochs: int) -> bool:
        return super().goes_on(loader, state, max_epochs + 1)


class NoAccumulation(Loop):
    def groups(self, loader: Any, accumulate: int, state: dict[str, Any]) -> Iterator[list]:
        return super().groups(loader, 1, state)


class DropsTheLastGroup(Loop):
    def groups(self, loader: Any, accumulate: int, state: dict[str, Any]) -> Iterator[list]:
        for group in super().groups(loader, accumulate, state):
            if len(group) == accumulate:
                yield group


class WholeEpochInOneStep(Loop):
    def groups(self, loader: Any, accumulate: int, state: dict[str, Any]) -> Iterator[list]:
        yield list(loader)


class NeverInTrainingMode(Loop):
    def start(self, model: nn.Module) -> None:
        pass


class StaysInEvaluation(Loop):
    evaluate = StaysInEvaluationMode()


class RateAfterTheStep(Loop):
    def set_rates(self, optimizer: Any, schedule: Any, state: dict[str, Any], loader: Any) -> None:
        pass

    def set_rates_after(self, optimizer: Any, schedule: Any, state: dict[str, Any]) -> None:
        if schedule is not None:
            for group in optimizer.param_groups:
                group["lr"] = schedule(state["updates"])


class RateOneAhead(Loop):
    def count(self, state: dict[str, Any]) -> int:
        return state["updates"] + 1


class RateCountsSkipped(Loop):
    def count(self, state: dict[str, Any]) -> int:
        return len(state["history"]["loss"])


class RatePerEpoch(Loop):
    def set_rates(self, optimizer: Any, schedule: Any, state: dict[str, Any], loader: Any) -> None:
        if schedule is not None:
            for group in optimizer.param_groups:
                group["lr"] = schedule(loader.epoch)


class RateOfFirstGroup(Loop):
    def set_rates(self, optimizer: Any, schedule: Any, state: dict[str, Any], loader: Any) -> None:
        if schedule is not None:
            optimizer.param_groups[0]["lr"] = schedule(state["updates"])


class RateIsAFactor(Loop):
    def set_rates(self, optimizer: Any, schedule: Any, state: dict[str, Any], loader: Any) -> None:
        if schedule is not None:
            for group in optimizer.param_groups:
                group["lr"] *= schedule(state["updates"])


class MaxStepsCountsSkipped(Loop):
    def has_steps_left(self, state: dict[str, Any]) -> bool:
        if len(state["history"]["loss"]) >= self.limit:
            self.limit = 0
        return self.limit > 0


class OneStepTooMany(Loop):
    def has_steps_left(self, state: dict[str, Any]) -> bool:
        return state["updates"] <= self.limit


class MaxStepsAfterTheEpoch(Loop):
    def has_steps_left(self, state: dict[str, Any]) -> bool:
        return True


class EvaluatesAtMaxSteps(Loop):
    """Evaluates once more when max_steps is reached."""

    def __call__(self, *arguments: Any, eval_loader: Any = None, **options: Any) -> dict[str, list]:
        model, _, loss_fn, _ = arguments
        history = super().__call__(*arguments, eval_loader=eval_loader, **options)
        if eval_loader is not None and self.limit < math.inf:
            history["eval"].append(self.evaluate(model, eval_loader, loss_fn))
        return history


class NeverEvaluates(Loop):
    def __call__(self, *arguments: Any, eval_loader: Any = None, **options: Any) -> dict[str, list]:
        return super().__call__(*arguments, **options)


class EvaluatesAtTheEndOnly(Loop):
    def __call__(self, *arguments: Any, eval_loader: Any = None, **options: Any) -> dict[str, list]:
        history = super().__call__(*arguments, eval_loader=eval_loader, **options)
        history["eval"] = history["eval"][-1:]
        return history


class EvaluatesTheTrainingData(Loop):
    def __call__(self, *arguments: Any, eval_loader: Any = None, **options: Any) -> dict[str, list]:
        batches = None if eval_loader is None else arguments[1].batches
        return super().__call__(*arguments, eval_loader=batches, **options)


class KeepsLossOnly(Loop):
    def end_epoch(
        self, model: nn.Module, eval_loader: Any, loss_fn: Callable, state: dict[str, Any]
    ) -> None:
        super().end_epoch(model, eval_loader, loss_fn, state)
        state["history"]["eval"][-1] = state["history"]["eval"][-1]["loss"]


class RecordsEveryLossTwice(Loop):
    def record(self, state: dict[str, Any], optimizer: Any, result: tuple) -> None:
        super().record(state, optimizer, result)
        if not result[2]:
            for name in ("loss", "grad_norm", "lr"):
                state["history"][name].pop()


class BestByReference(Loop):
    def copied(self, model: nn.Module) -> dict[str, Tensor]:
        return dict(model.state_dict())


class BestWithoutBuffers(Loop):
    def copied(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: param.detach().clone() for name, param in model.named_parameters()}


class LargestIsBest(Loop):
    def new(self) -> dict[str, Any]:
        return super().new() | {"best": -math.inf}

    def is_better(self, loss: float, state: dict[str, Any]) -> bool:
        return loss > state["best"]


class TiesAreBetter(Loop):
    def is_better(self, loss: float, state: dict[str, Any]) -> bool:
        return loss <= state["best"]


class ComparesWithTheLast(Loop):
    def is_better(self, loss: float, state: dict[str, Any]) -> bool:
        losses = [result["loss"] for result in state["history"]["eval"]]
        return len(losses) < 2 or losses[-1] < losses[-2]


class CountsAllBadEpochs(Loop):
    def judge(self, state: dict[str, Any], loss: float, model: nn.Module) -> None:
        bad = state["bad"]
        super().judge(state, loss, model)
        state["bad"] = max(state["bad"], bad)


class StopsOneLate(Loop):
    def gives_up(self, bad: int) -> bool:
        return self.patience is not None and bad > self.patience


class StopsAtTheFirst(Loop):
    def gives_up(self, bad: int) -> bool:
        return self.patience is not None and bad > 0


class RestoresOnlyWhenStopped(Loop):
    def finish(self, model: nn.Module, state: dict[str, Any]) -> None:
        if self.gives_up(state["bad"]):
            super().finish(model, state)


class KeepsBestAlways(Loop):
    def end_epoch(
        self, model: nn.Module, eval_loader: Any, loss_fn: Callable, state: dict[str, Any]
    ) -> None:
        result = self.evaluate(model, eval_loader, loss_fn, self.device)
        state["history"]["eval"].append(result)
        self.judge(state, result["loss"], model)


class NeverResumes(Loop):
    def resumed(self, checkpoint: Any) -> dict[str, Any]:
        return self.new()


class ForgetsWhatWas(Loop):
    """Restores the parts but not the progress."""

    def resumed(self, checkpoint: Any) -> dict[str, Any]:
        if checkpoint is not None:
            checkpoint.load()
        return self.new()


class ForgetsHistory(Loop):
    def resumed(self, checkpoint: Any) -> dict[str, Any]:
        return super().resumed(checkpoint) | {"history": self.new()["history"]}


class ForgetsTheBest(Loop):
    def resumed(self, checkpoint: Any) -> dict[str, Any]:
        fresh = self.new()
        kept = {name: fresh[name] for name in ("best", "weights", "bad")}
        return super().resumed(checkpoint) | kept


class ForgetsUpdates(Loop):
    def resumed(self, checkpoint: Any) -> dict[str, Any]:
        return super().resumed(checkpoint) | {"updates": 0}


class SavesEveryStep(Loop):
    def save(self, checkpoint: Any, every: int, state: dict[str, Any]) -> None:
        super().save(checkpoint, 1, state)


class SavesEveryEpoch(Loop):
    def save(self, checkpoint: Any, every: int, state: dict[str, Any]) -> None:
        pass

    def end_epoch(
        self, model: nn.Module, eval_loader: Any, loss_fn: Callable, state: dict[str, Any]
    ) -> None:
        super().end_epoch(model, eval_loader, loss_fn, state)
        self.checkpoint.save(state)

    def resumed(self, checkpoint: Any) -> dict[str, Any]:
        self.checkpoint = checkpoint
        return super().resumed(checkpoint)


class SavesBeforeTheStep(Loop):
    def groups(self, loader: Any, accumulate: int, state: dict[str, Any]) -> Iterator[list]:
        for group in super().groups(loader, accumulate, state):
            if self.checkpoint is not None and len(state["history"]["loss"]) % self.every == 0:
                self.checkpoint.save(state)
            yield group

    def __call__(self, *arguments: Any, **options: Any) -> dict[str, list]:
        self.checkpoint = options.get("checkpoint")
        self.every = options.get("checkpoint_every", 100)
        return super().__call__(*arguments, **options)

    def save(self, checkpoint: Any, every: int, state: dict[str, Any]) -> None:
        pass


class SavesOneLate(Loop):
    def save(self, checkpoint: Any, every: int, state: dict[str, Any]) -> None:
        if checkpoint is not None and (len(state["history"]["loss"]) - 1) % every == 0:
            checkpoint.save(state)


class TrainsMaxEpochsMore(Loop):
    def __call__(self, *arguments: Any, max_epochs: int = 1, **options: Any) -> dict[str, list]:
        self.first: int | None = None
        return super().__call__(*arguments, max_epochs=max_epochs, **options)

    def goes_on(self, loader: Any, state: dict[str, Any], max_epochs: int) -> bool:
        if self.first is None:
            self.first = loader.epoch
        return super().goes_on(loader, state, self.first + max_epochs)


LOOP_MISTAKES = (
    Mistake(*NEVER_CLEARS, LoopNeverClears()),
    Mistake(
        "mean_of_means",
        "Batches of different sizes counted alike in one step: weight each loss by its share of "
        "the examples (in train_step).",
        LoopMeanOfMeans(),
    ),
    Mistake("ignores_max_norm", "max_norm did not reach train_step.", IgnoresMaxNorm()),
    Mistake("ignores_scaler", "scaler did not reach train_step.", IgnoresScaler()),
    Mistake("ignores_autocast", "autocast_dtype did not reach train_step.", IgnoresAutocast()),
    Mistake(
        "one_epoch_only",
        "One pass is not enough: go on while loader.epoch < max_epochs.",
        OneEpochOnly(),
    ),
    Mistake(
        "one_epoch_too_many",
        "Epochs count from 0: stop when loader.epoch has come to max_epochs.",
        OneEpochTooMany(),
    ),
    Mistake(
        "no_accumulation",
        "Every batch made a step of its own: take accumulate of them for each step.",
        NoAccumulation(),
    ),
    Mistake(
        "drops_the_last_group",
        "The batches left at the end of an epoch were dropped: they make a step too, however few.",
        DropsTheLastGroup(),
    ),
    Mistake(
        "whole_epoch_in_one_step",
        "A whole epoch made one step: take accumulate batches for each.",
        WholeEpochInOneStep(),
    ),
    Mistake(
        "never_in_training_mode",
        "Train in training mode: call model.train() before the first step.",
        NeverInTrainingMode(),
    ),
    Mistake(*STAYS_IN_EVALUATION_MODE, StaysInEvaluation()),
    Mistake("ignores_monitor", "Call monitor(progress) after every step.", IgnoresMonitor()),
    Mistake(
        "monitors_before_the_step",
        "The monitor was called before the step was in the history: call it after.",
        MonitorsBeforeTheStep(),
    ),
    Mistake(
        "monitors_after_saving",
        "Call the monitor before the checkpoint is saved: it may stop a run that is no good.",
        MonitorsAfterSaving(),
    ),
    Mistake("monitors_epochs", "The monitor wants to see every step.", MonitorsEpochs()),
    Mistake("ignores_step", "Make the steps with step(...), not with train_step.", IgnoresStep()),
    Mistake("ignores_schedule", "schedule had no effect.", IgnoresSchedule()),
    Mistake(
        "rate_after_the_step",
        "The learning rate was set after the step: the first step is made with schedule(0).",
        RateAfterTheStep(),
    ),
    Mistake(
        "rate_one_ahead",
        "The schedule starts at 0: count the changes made before the step.",
        RateOneAhead(),
    ),
    Mistake(
        "rate_counts_skipped",
        "The schedule moved on with a skipped step: count only those that were made.",
        RateCountsSkipped(),
    ),
    Mistake(
        "rate_per_epoch",
        "The schedule got the number of the epoch: it wants the changes made so far.",
        RatePerEpoch(),
    ),
    Mistake(
        "rate_of_first_group", "Set the learning rate of every parameter group.", RateOfFirstGroup()
    ),
    Mistake(
        "rate_is_a_factor",
        "schedule gives the learning rate itself, not a factor for it.",
        RateIsAFactor(),
    ),
    Mistake("ignores_max_steps", "max_steps had no effect.", IgnoresMaxSteps()),
    Mistake(
        "max_steps_counts_skipped",
        "A skipped step does not count towards max_steps: the model has not changed.",
        MaxStepsCountsSkipped(),
    ),
    Mistake(
        "one_step_too_many",
        "Stop when max_steps changes have been made: here one more was.",
        OneStepTooMany(),
    ),
    Mistake(
        "max_steps_after_the_epoch",
        "Stop at max_steps at once, not at the end of the epoch.",
        MaxStepsAfterTheEpoch(),
    ),
    Mistake(
        "evaluates_at_max_steps",
        "A run that ends at max_steps ends without another evaluation.",
        EvaluatesAtMaxSteps(),
    ),
    Mistake(
        "never_evaluates",
        "Evaluate on eval_loader after every epoch: the history has no evaluations.",
        NeverEvaluates(),
    ),
    Mistake(
        "evaluates_at_the_end_only",
        "Evaluate after every epoch, not only after the last.",
        EvaluatesAtTheEndOnly(),
    ),
    Mistake(
        "evaluates_the_training_data",
        "Evaluate on eval_loader, not on the training batches.",
        EvaluatesTheTrainingData(),
    ),
    Mistake(
        "keeps_loss_only",
        'history["eval"] holds what evaluate returns: dictionaries, not losses alone.',
        KeepsLossOnly(),
    ),
    Mistake(
        "skipped_steps_unrecorded",
        "The history has an entry for every step, also for one that was skipped.",
        RecordsEveryLossTwice(),
    ),
    Mistake(
        "ends_with_the_last_weights",
        "With patience the model ends with its best weights, but here it had the last: keep "
        "clones, because state_dict() gives the tensors that training changes, and load them at "
        "the end.",
        BestByReference(),
    ),
    Mistake(
        "best_without_buffers",
        "The best weights lack the buffers (batch norm's averages): copy state_dict(), not "
        "parameters().",
        BestWithoutBuffers(),
    ),
    Mistake("largest_is_best", "The best loss is the lowest.", LargestIsBest()),
    Mistake(
        "ties_are_better",
        "An equal loss is no improvement: compare with <, not <=.",
        TiesAreBetter(),
    ),
    Mistake(
        "compares_with_the_last",
        "Compare with the best loss so far, not with the one before.",
        ComparesWithTheLast(),
    ),
    Mistake(
        "counts_all_bad_epochs",
        "patience means epochs in a row: a better one sets the count back to 0.",
        CountsAllBadEpochs(),
    ),
    Mistake(
        "ignores_patience",
        "patience had no effect: stop after so many evaluations in a row that were not better, and "
        "restore the best weights.",
        IgnoresPatience(),
    ),
    Mistake(
        "never_stops_early",
        "Training went on: stop after patience evaluations in a row that were not better.",
        NeverStopsEarly(),
    ),
    Mistake(
        "stops_one_late",
        "Stop when patience evaluations in a row were not better: here one more was made.",
        StopsOneLate(),
    ),
    Mistake(
        "stops_at_the_first",
        "One evaluation that is not better is not enough: wait for patience of them.",
        StopsAtTheFirst(),
    ),
    Mistake(
        "restores_only_when_stopped",
        "The model ends with its best weights also when it was not stopped early.",
        RestoresOnlyWhenStopped(),
    ),
    Mistake(
        "keeps_best_always",
        "Without patience the model keeps the weights of the last step.",
        KeepsBestAlways(),
    ),
    Mistake(
        "ignores_checkpoint", "Nothing was saved: checkpoint had no effect.", IgnoresCheckpoint()
    ),
    Mistake(
        "never_resumes",
        "The run started from the beginning: call checkpoint.load() first, and go on from what it "
        "returns.",
        NeverResumes(),
    ),
    Mistake(
        "forgets_what_was",
        "checkpoint.load() restores the parts and returns the progress: go on from that too.",
        ForgetsWhatWas(),
    ),
    Mistake(
        "forgets_history",
        "The history starts at the checkpoint: keep what was saved, and append to it.",
        ForgetsHistory(),
    ),
    Mistake(
        "forgets_the_best",
        "Early stopping started anew: best loss, best weights and the count belong to what is "
        "saved and restored.",
        ForgetsTheBest(),
    ),
    Mistake(
        "forgets_updates",
        "The schedule started anew after the resume: the number of updates belongs to what is "
        "saved and restored.",
        ForgetsUpdates(),
    ),
    Mistake(
        "saves_every_step",
        "Save after every checkpoint_every steps only: writing takes time.",
        SavesEveryStep(),
    ),
    Mistake(
        "saves_every_epoch",
        "Save after every checkpoint_every steps, not after every epoch.",
        SavesEveryEpoch(),
    ),
    Mistake(
        "saves_before_the_step",
        "Save after a step and with its loss in the history: here it was saved before the step, "
        "with the step's batches already drawn.",
        SavesBeforeTheStep(),
    ),
    Mistake(
        "saves_one_late",
        "Save when the number of steps made is divisible by checkpoint_every: here each save came "
        "a step late.",
        SavesOneLate(),
    ),
    Mistake(
        "trains_max_epochs_more",
        "max_epochs counts from the start of the whole run: after a resume only the epochs that "
        "are left are trained.",
        TrainsMaxEpochsMore(),
    ),
)


class Killed(Exception):
    """What ends a run in the middle, in place of a power cut."""


class Batches:
    """A loader that gives the same batches in every epoch, starting elsewhere each time."""

    def __init__(self, batches: list, elsewhere: bool = False) -> None:
        self.batches = [
            tuple(t.as_subclass(Elsewhere) if elsewhere else t for t in batch) for batch in batches
        ]
        self.epoch = 0
        self.position = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple]:
        start = self.epoch % len(self.batches)
        for batch in (self.batches[start:] + self.batches[:start])[self.position :]:
            self.position += 1
            yield batch

    def next_epoch(self) -> None:
        self.epoch += 1
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.epoch, self.position = state_dict["epoch"], state_dict["position"]


class Memory:
    """A checkpoint without a file: only plain data goes through it, as through a file."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.saved: bytes | None = None
        self.updates_when_saved: list[int] = []

    def save(self, progress: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save([[part.state_dict() for part in self.parts], progress], buffer)
        self.saved = buffer.getvalue()
        self.updates_when_saved.append(len(self.parts[1].rates))

    def load(self) -> Any:
        if self.saved is None:
            return None
        states, progress = torch.load(io.BytesIO(self.saved), weights_only=True)
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)
        return progress


def falling(step: int) -> float:
    return 0.05 / (1 + step)


def resting(step: int) -> float:
    """Learn for two steps, then stand still: every later evaluation is the same."""
    return 0.02 if step < 2 else 0.0


def climbing(step: int) -> float:
    """Learn for four steps, then run away from the minimum."""
    return 0.02 if step < 4 else -0.05


def wavering(step: int) -> float:
    """Learn, run away a little, and learn again, in turns of two steps."""
    return (0.02, 0.02, -0.01, -0.01)[step % 4]


def leaping(step: int) -> float:
    """Learn for four steps, leap away, and come back slowly."""
    return 0.02 if step < 4 else -0.1 if step < 6 else 0.002


SCHEDULES: dict[str, Callable[[int], float]] = {
    schedule.__name__: schedule for schedule in (falling, resting, climbing, wavering, leaping)
}


def loop_inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, title: str, *sizes: int, **more: Any) -> Case:
        own = ("norm", "bad", "elsewhere", "evaluated", "killed", "saved", "groups", "training")
        told = [f"{name}={value}" for name, value in more.items() if name not in own]
        dtype = torch.float32 if "autocast_dtype" in more else torch.float64
        batches = [draw_batch(rng, size, dtype=dtype) for size in sizes]
        if "bad" in more:
            batches[more["bad"]][0][0, 0] = NAN
        return {
            "part": part,
            "title": ", ".join([title, f"batches of {list(sizes)} examples", *told]),
            "weights": draw_weights(rng, dtype=dtype),
            "batches": batches,
            "evaluation": [draw_batch(rng, size) for size in (4, 3)],
            **more,
        }

    epochs, rates = "epochs and micro-batches", "schedule and max_steps"
    evaluating, stopping = "evaluation after every epoch", "early stopping"
    saving, watching = "saving and going on", "monitor and step"
    n = int(torch.randint(3, 6, (), generator=rng))
    even, uneven = (n, n), (n, n + 1, 2)
    scaler = {"init_scale": 1024.0, "growth_interval": 2}
    long = {"max_epochs": 9, "schedule": "climbing", "evaluated": True, "norm": True}
    run = {"max_epochs": 3, "accumulate": 2, "checkpoint_every": 2, "norm": True, "momentum": 0.5}
    return [
        case(epochs, "one epoch", n),
        case(epochs, "two batches", *even),
        case(epochs, "two groups, no schedule", *even, groups=2),
        case(epochs, "no checkpoint", *even, checkpoint_every=1),
        case(epochs, "three epochs", *uneven, max_epochs=3),
        case(epochs, "a short last group", *uneven, max_epochs=2, accumulate=2),
        case(epochs, "one group only", *uneven, max_epochs=2, accumulate=5),
        case(epochs, "clipping", *uneven, max_epochs=2, max_norm=0.5),
        case(epochs, "a scaler", *uneven, max_epochs=2, accumulate=2, scaler=scaler, max_norm=0.5),
        case(epochs, "autocast", 4, 4, autocast_dtype=torch.bfloat16),
        case(epochs, "batch norm", *uneven, max_epochs=2, norm=True, training=False),
        case(epochs, "batches on another device", *even, elsewhere=True, evaluated=True),
        case(rates, "falling rates", *even, max_epochs=2, schedule="falling"),
        case(rates, "two groups", *uneven, accumulate=2, schedule="falling", groups=2),
        case(
            rates, "a skipped step", *uneven, max_epochs=2, schedule="falling", bad=1, scaler=scaler
        ),
        case(rates, "in mid-epoch", *uneven, max_epochs=9, max_steps=4, evaluated=True),
        case(rates, "at the end of an epoch", *even, max_epochs=9, max_steps=4, evaluated=True),
        case(rates, "a skipped step", *uneven, max_epochs=9, max_steps=4, bad=0, scaler=scaler),
        case(rates, "more than there are", *even, max_steps=50, evaluated=True),
        case(evaluating, "two epochs", *even, max_epochs=2, evaluated=True),
        case(evaluating, "batch norm", *uneven, max_epochs=3, evaluated=True, norm=True),
        case(evaluating, "rates that run away", *even, **{**long, "max_epochs": 4}),
        case(
            stopping,
            "no improvement",
            *even,
            max_epochs=9,
            schedule="resting",
            evaluated=True,
            patience=2,
        ),
        case(stopping, "rates that run away", *even, **long, patience=1),
        case(stopping, "rates that run away", *even, **long, patience=3),
        case(stopping, "patience is not used up", *even, **{**long, "max_epochs": 3}, patience=4),
        case(
            stopping,
            "better than the last, not than the best",
            *even,
            max_epochs=6,
            schedule="leaping",
            evaluated=True,
            patience=2,
        ),
        case(
            stopping,
            "to and fro",
            *even,
            max_epochs=8,
            schedule="wavering",
            evaluated=True,
            patience=2,
        ),
        case(stopping, "ended by max_steps", *even, **long, max_steps=9, patience=9),
        case(saving, "killed before the first save", *uneven, **run, killed=3),
        case(saving, "killed after the first", *uneven, **run, killed=5, schedule="falling"),
        case(saving, "killed in the last epoch", *uneven, **run, killed=9, evaluated=True),
        case(
            saving,
            "killed, early stopping",
            *even,
            **long,
            patience=3,
            killed=10,
            checkpoint_every=3,
        ),
        case(
            saving, "killed, a scaler", *uneven, **run, killed=6, scaler=scaler, schedule="falling"
        ),
        case(watching, "a monitor", *even, max_epochs=2, monitor=True),
        case(watching, "a monitor, skipped steps", *uneven, monitor=True, bad=0, scaler=scaler),
        case(watching, "a monitor and a checkpoint", *even, checkpoint_every=1, monitor=True),
        case(watching, "a step of one's own", *uneven, accumulate=2, step=True),
        case(watching, "a step of one's own, options", *even, step=True, max_norm=0.5),
    ]


def loop_probe(fit: Any, case: Case) -> Outputs:
    names = ("max_epochs", "max_steps", "accumulate", "max_norm", "autocast_dtype", "patience")
    options = {name: case[name] for name in (*names, "checkpoint_every") if name in case}
    if "schedule" in case:
        options["schedule"] = SCHEDULES[case["schedule"]]
    if case.get("evaluated"):
        options["eval_loader"] = Batches(case["evaluation"], case.get("elsewhere", False)).batches
    calls = iter(range(1, 1000))

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.requires_grad and next(calls) == case.get("killed"):
            raise Killed
        return doubled(outputs, targets)

    memory, seen = Memory(), list[list[int]]()

    def watch(progress: Any) -> None:
        state = progress if isinstance(progress, dict) else vars(progress)
        made = len(state["history"]["loss"])
        seen.append([made, state["updates"], len(memory.updates_when_saved)])

    def half_step(*arguments: Any, **options: Any) -> Made:
        """Make a step, and tell of half its loss."""
        loss, *others = Step()(*arguments, **options)
        return Made(loss / 2, *others)

    if case.get("monitor"):
        options["monitor"] = watch
    if case.get("step"):
        options["step"] = half_step
    for _ in range(2 if "killed" in case else 1):
        model, optimizer, loader, scaler = run_parts(case)
        memory.parts = [part for part in (model, optimizer, loader, scaler) if part is not None]
        if case["part"] == "saving and going on" or case.get("monitor"):
            options["checkpoint"] = memory
        if scaler is not None:
            options["scaler"] = scaler
        if case.get("elsewhere"):
            options["device"] = HERE
        try:
            history = fit(model, loader, loss_fn, optimizer, **options)
        except Killed:
            continue
        break
    outputs = loop_outputs(history, model, optimizer, scaler, memory)
    return outputs | {"steps, updates and saves at each call of the monitor": seen}


class Made(NamedTuple):
    """What a step returns."""

    loss: Tensor
    grad_norm: Tensor
    stepped: bool


def run_parts(case: Case) -> tuple:
    model = Net(case["weights"], norm=case.get("norm", False))
    model.train(case.get("training", True))
    params = list(model.parameters())
    groups = [params[:2], params[2:]] if case.get("groups") == 2 else [params]
    optimizer = Descent(*groups, lr=0.01, momentum=case.get("momentum", 0.0))
    if len(groups) == 2:
        optimizer.param_groups[1]["lr"] = 0.02
    scaler = Scaler(**case["scaler"]) if "scaler" in case else None
    return model, optimizer, Batches(case["batches"], case.get("elsewhere", False)), scaler


def loop_outputs(
    history: Any, model: Net, optimizer: Descent, scaler: Any, memory: Memory
) -> Outputs:
    numbers = [history[name] for name in ("loss", "grad_norm", "lr")]
    outputs: Outputs = {
        "the learning rates of the steps that were made": torch.tensor(optimizer.rates).float(),
        "the sizes of the forward passes": model.calls["sizes"],
        "the mode in the forward passes": model.calls["training"],
        "autocast in the forward passes": model.calls["autocast"],
        "history['loss']": torch.tensor([float(loss) for loss in history["loss"]]),
        "history['grad_norm']": torch.tensor([float(norm) for norm in history["grad_norm"]]),
        "history['lr']": torch.tensor([float(lr) for lr in history["lr"]]),
        "the kinds of the entries of history['eval']": [type(r).__name__ for r in history["eval"]],
        "the losses in history['eval']": torch.tensor(
            [float(r["loss"]) if isinstance(r, dict) else float(r) for r in history["eval"]]
        ),
        "the history holds floats": all(isinstance(n, float) for values in numbers for n in values),
        "the weights and buffers at the end": weights_of(model),
        "the updates made when it was saved": memory.updates_when_saved,
    }
    if scaler is not None:
        outputs["the scale at the end"] = torch.tensor(scaler.get_scale())
    return outputs


check_training_loop = Check(
    module="training",
    exercise="training_loop",
    target="fit",
    parts={
        "epochs and micro-batches": 2,
        "schedule and max_steps": 2,
        "evaluation after every epoch": 1,
        "early stopping": 2,
        "saving and going on": 2,
        "monitor and step": 1,
    },
    inputs=loop_inputs,
    probe=loop_probe,
    oracle=Loop(),
    mistakes=LOOP_MISTAKES,
    hints=(
        "Two loops: epochs outside, steps inside. One iter(loader) serves an epoch, and "
        "list(islice(batches, accumulate)) takes the batches of one step: an empty list means that "
        "the epoch is over.",
        "Inside a step: set the rates from progress.updates, call train_step, add result.stepped "
        "to progress.updates, append to the history, save if it is time.",
        "A run goes on when Progress(**checkpoint.load()) takes the place of Progress(): the "
        "loader knows its epoch and position, so nothing else has to be counted.",
    ),
)
