"""What the loop has around it: reasons, numerics, errors that name a layer, compiled models."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from course_lib import training
from course_lib.training import (
    Checkpoint,
    ResumableLoader,
    fit,
    resolve_device,
    set_numerics,
    train_step,
)

mse = nn.functional.mse_loss
looking = partial(train_step, check_finite=True)

# --- a device that is not there -------------------------------------------------------------------


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch was built with CUDA")
def test_a_torch_without_cuda_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"there is no cuda .*built without CUDA.*or 'auto'"):
        resolve_device("cuda")


def test_a_driver_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch tells it: the sentence is its own."""

    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(RuntimeError, match=r"no cuda:1 .*driver on your system is too old"):
        resolve_device("cuda:1")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_number_that_is_too_high_is_counted() -> None:
    with pytest.raises(RuntimeError, match=rf"no cuda:99 .*has {torch.cuda.device_count()}"):
        resolve_device("cuda:99")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this is such a Mac")
def test_mps_needs_a_mac() -> None:
    with pytest.raises(RuntimeError, match=r"no mps .*Apple silicon"):
        resolve_device("mps")


# --- numerics -------------------------------------------------------------------------------------

NUMERICS = """
import os, torch
from course_lib.training import set_numerics
set_numerics(deterministic=True, tf32=True)
print(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
      torch.backends.cuda.matmul.allow_tf32, os.environ["CUBLAS_WORKSPACE_CONFIG"])
print(torch.get_float32_matmul_precision())  # torch.compile asks for it
set_numerics()
print(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
      torch.backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision())
"""


def test_numerics_are_those_of_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NUMERICS], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.splitlines() == [
        "True False True :4096:8",
        "high",
        "False True False highest",
    ], done.stderr


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tf32_rounds_and_its_absence_does_not() -> None:
    a = torch.randn(512, 512, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    exact = (a.double() @ a.double()).float()
    errors = []
    for tf32 in (False, True):
        set_numerics(tf32=tf32)
        errors.append((a @ a - exact).abs().max().item())
    set_numerics()
    assert errors[0] < 1e-3 < errors[1]


# --- where inf and nan begin ----------------------------------------------------------------------


class Root(nn.Module):
    """Its output is 0 at 0, its slope infinite."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


def steps_of(model: nn.Module, x: Tensor, y: Tensor, loss_fn: training.LossFunction = mse) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(model, ResumableLoader(x, y, batch_size=4), loss_fn, optimizer, step=looking)


def test_the_first_layer_is_named_and_nothing_has_changed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh(), Root()), nn.Linear(4, 1))
    before = [param.clone() for param in model.parameters()]
    with pytest.raises(FloatingPointError, match=r"the output of layer '1\.1' is not finite"):
        steps_of(model, torch.randn(8, 3), torch.randn(8, 1))
    assert all(map(torch.equal, before, model.parameters()))


def test_a_gradient_that_is_not_finite_names_its_parameter() -> None:
    model = nn.Sequential(nn.Linear(3, 4), Root(), nn.Linear(4, 1))
    for param in model[0].parameters():
        nn.init.zeros_(param)
    with pytest.raises(FloatingPointError, match=r"the gradient of '0\.bias' is not finite"):
        steps_of(model, torch.randn(8, 3), torch.randn(8, 1))


def test_a_loss_that_alone_is_not_finite_is_to_blame() -> None:
    model = nn.Linear(3, 1)
    with pytest.raises(FloatingPointError, match="the loss is nan, the outputs of all layers"):
        steps_of(model, torch.randn(8, 3), torch.full((8, 1), torch.nan))


def test_without_a_name_the_error_still_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """``find_nonfinite`` is an exercise too, and may be still to be written."""

    def stub(*_: object) -> None:
        raise NotImplementedError("your turn: find_nonfinite")

    monkeypatch.setattr(training, "find_nonfinite", stub)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        steps_of(nn.Linear(3, 1), torch.full((8, 3), torch.nan), torch.randn(8, 1))


# --- compiled models ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_compiled_model_learns_the_same_and_resumes(tmp_path: Path) -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))

    def run(name: str, compiled: bool, max_epochs: int = 4) -> dict[str, list]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        loader = ResumableLoader(x, x[:, :1], batch_size=8)
        parts = {"model": model, "optimizer": optimizer, "loader": loader}
        return fit(
            torch.compile(model, backend="aot_eager") if compiled else model,
            loader,
            mse,
            optimizer,
            max_epochs=max_epochs,
            eval_loader=[(x, x[:, :1])],
            patience=3,
            checkpoint=Checkpoint(tmp_path / name, **parts),
            checkpoint_every=5,
        )

    plain = run("plain", compiled=False)
    run("compiled", compiled=True, max_epochs=2)
    compiled = run("compiled", compiled=True)  # goes on
    assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert [result["loss"] for result in compiled["eval"]] == pytest.approx(
        [result["loss"] for result in plain["eval"]], rel=1e-5
    )


# --- pinned memory --------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_pinned_batches_bring_the_same_run() -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    histories = []
    for pin_memory in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(3, 1).cuda()
        loader = ResumableLoader(x, x[:, :1], batch_size=8, pin_memory=pin_memory)
        assert next(iter(loader))[0].is_pinned() == pin_memory
        loader.position = 0
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        histories.append(fit(model, loader, mse, optimizer, max_epochs=3, device="cuda"))
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-6)
