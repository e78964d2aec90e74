"""What a monitor writes, says and stops, in real runs."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from course_lib import plots
from course_lib.monitor import Monitor
from course_lib.training import Checkpoint, LossScaler, ResumableLoader, fit, train_step

mse = nn.functional.mse_loss


class Stopped(Exception):
    pass


def run(
    folder: Path,
    *,
    stop: float = math.inf,
    spoil: int | None = None,
    weight: float = 1.0,
    every: int = 5,
    max_epochs: int = 4,
    **options: Any,
) -> dict[str, list]:
    """Train for 12 steps an epoch; ``stop`` or spoil the loss in a step, counted from 0."""
    torch.manual_seed(0)
    x = torch.randn(48, 3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = ResumableLoader(x, x[:, :1], batch_size=4)
    checkpoint = Checkpoint(folder / "run.pt", model=model, optimizer=optimizer, loader=loader)
    steps = -1

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal steps
        steps += outputs.requires_grad
        if steps >= stop:
            raise Stopped
        factor = math.nan if steps == spoil and outputs.requires_grad else weight
        return mse(outputs, targets) * factor

    with Monitor(folder / "run.jsonl", every=every) as monitor:
        return fit(
            model,
            loader,
            loss_fn,
            optimizer,
            max_epochs=max_epochs,
            eval_loader=[(x, x[:, :1])],
            checkpoint=checkpoint,
            checkpoint_every=5,
            monitor=monitor,
            **options,
        )


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]


def expected(history: dict[str, list], per_epoch: int = 12) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    for step, (loss, norm, lr) in enumerate(
        zip(history["loss"], history["grad_norm"], history["lr"])
    ):
        found.append({"step": step, "loss": loss, "grad_norm": norm, "lr": lr})
        if (step + 1) % per_epoch == 0:
            found.append({"step": step + 1, **history["eval"][step // per_epoch]})
    return found


@pytest.mark.parametrize("every", [1, 5, 12, 100])
def test_the_metrics_file_has_the_whole_history_in_order(tmp_path: Path, every: int) -> None:
    history = run(tmp_path, every=every)
    assert lines(tmp_path) == expected(history)


@pytest.mark.parametrize("every", [5, 7, 100])
@pytest.mark.parametrize("stop", [0, 3, 7, 12, 13, 24, 30, 47])
def test_a_run_that_goes_on_writes_the_same_file(tmp_path: Path, stop: int, every: int) -> None:
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path, stop=stop, every=every)
    with open(tmp_path / "run.jsonl", "a") as file:
        file.write('{"step": 9')  # and a line that was being written
    run(tmp_path, every=every)
    assert lines(tmp_path) == lines(tmp_path / "whole")


def test_a_loss_that_is_nan_ends_the_run_before_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"step 17 is nan.*check_finite=True"):
        run(tmp_path, spoil=17)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    assert len(saved["progress"]["history"]["loss"]) == 15
    assert lines(tmp_path)[-1]["step"] == 19


def test_the_step_that_looks_first_leaves_the_weights_alone(tmp_path: Path) -> None:
    with pytest.raises(
        FloatingPointError, match="the loss is nan, the outputs of all layers are finite"
    ):
        run(tmp_path, spoil=17, step=partial(train_step, check_finite=True))


def test_a_skipped_step_is_no_reason_to_end(tmp_path: Path) -> None:
    """Its norm is not finite, its loss is."""
    history = run(tmp_path, weight=1e3, max_norm=1e-3, scaler=LossScaler(2.0**127), max_epochs=2)
    assert not math.isfinite(history["grad_norm"][0])
    assert len(lines(tmp_path)) == 26


def test_a_norm_far_above_the_usual_brings_one_warning(tmp_path: Path) -> None:
    def schedule(step: int) -> float:
        return 0.01 if step != 22 else 50.0

    with pytest.warns(UserWarning, match=r"gradient norm of step 2\d is .* lower the") as found:
        run(tmp_path, schedule=schedule, max_epochs=2)
    assert found


def test_an_even_run_brings_none(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    run(tmp_path)
    assert not recwarn.list


def test_a_plot_reads_the_file(tmp_path: Path) -> None:
    history = run(tmp_path)
    figure = plots.metrics(tmp_path / "run.jsonl")
    loss, norm, rate = (axes.lines[0].get_ydata() for axes in figure.axes)
    assert list(loss) == history["loss"]
    assert list(norm) == history["grad_norm"]
    assert list(rate) == history["lr"]
    assert list(figure.axes[0].lines[1].get_xdata()) == [11, 23, 35, 47]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear"]


def test_a_folder_that_is_not_there_is_told_at_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run\.jsonl"):
        fit_once(Monitor(tmp_path / "nowhere" / "run.jsonl"))


def fit_once(monitor: Monitor) -> None:
    model = nn.Linear(1, 1)
    loader = ResumableLoader(torch.ones(1, 1), torch.ones(1, 1), batch_size=1)
    fit(model, loader, mse, torch.optim.SGD(model.parameters()), monitor=monitor)
