"""Two real processes, started by torchrun and joined by gloo, against one process.

The processes run this file as a script: each does the work that the command names, in a folder of
its own, and stores there what came out.
"""

import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from course_lib import distributed
from course_lib.training import Checkpoint, LossScaler, ResumableLoader, fit, train_step

cross_entropy = nn.functional.cross_entropy
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TRAIN = Path(__file__).parents[2] / "tools" / "train.py"
LONG = 120  # seconds: who takes longer hangs


def data(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=rng, dtype=torch.float64)
    return x, torch.randint(0, 3, (n,), generator=rng)


def network() -> nn.Module:
    """A network in which an example's gradient does not depend on the others, as in a batch norm.

    The weights are different ones in every process, as long as nobody makes them equal.
    """
    torch.manual_seed(distributed.rank())
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def in_two_processes(work: Callable[[], Any], folder: Path) -> list[Any]:
    """Let two processes do a work, and return what it returned in each."""
    folders = [folder / "0", folder / "1"]
    for each in folders:
        each.mkdir()
    command = [*TORCHRUN, __file__, work.__name__, str(folder)]
    subprocess.run(command, check=True, timeout=LONG)
    return [torch.load(each / "returned.pt", weights_only=True) for each in folders]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a run of which nothing may be left running."""
    yield tmp_path
    left = still_running(tmp_path)
    for process in left:
        process.kill()
    assert not left


def still_running(folder: Path) -> list[psutil.Process]:
    """Return the processes that were started for a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it may end meanwhile
            if str(folder) in " ".join(process.cmdline()):
                found.append(process)
    return found


# --- one step -------------------------------------------------------------------------------------

# By name: how many examples the micro-batches have, and the options of the step. In the second of
# three steps "overflow" is the number of the micro-batch that has one, in the share of process 1.
STEPS: dict[str, dict[str, Any]] = {
    "one batch": {"sizes": [8]},
    "an odd one": {"sizes": [7]},
    "two micro-batches": {"sizes": [6, 6]},
    "a short, odd last one": {"sizes": [6, 3]},
    "clipped": {"sizes": [7, 5], "max_norm": 0.05},
    "scaled": {"sizes": [7, 5], "max_norm": 0.05, "scale": 2.0**10},
    "an overflow": {"sizes": [7], "scale": 2.0**10, "overflow": 0},
    "an overflow, then none": {"sizes": [6, 5], "scale": 2.0**10, "overflow": 0},
    "an overflow at the end": {"sizes": [6, 5], "scale": 2.0**10, "overflow": 1, "max_norm": 1.0},
}


def steps() -> dict[str, Any]:
    made = {name: three_steps(**case) for name, case in STEPS.items()}
    return made | {"to be averaged later": own_gradient()}


def own_gradient() -> Tensor:
    model = distributed.replicate(network())
    x, y = data(10, seed=distributed.rank())
    with distributed.averaging(model, now=False):
        cross_entropy(model(x), y).backward()
    return next(model.parameters()).grad


def three_steps(
    sizes: list[int],
    max_norm: float | None = None,
    scale: float | None = None,
    overflow: int | None = None,
) -> list[dict[str, Any]]:
    model = distributed.replicate(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = None if scale is None else LossScaler(scale)
    share = slice(distributed.rank(), None, distributed.world_size())
    results = []
    for number in range(3):
        x, y = data(sum(sizes), seed=number)
        batches = list(zip(x.split(sizes), y.split(sizes)))
        if overflow is not None and number == 1:
            batches[overflow][0][1, 2] = math.inf
        batches = [(x[share], y[share]) for x, y in batches]
        result = train_step(
            model, batches, cross_entropy, optimizer, scaler=scaler, max_norm=max_norm
        )
        results.append(
            {
                "stepped": result.stepped,
                "finite inputs": all(bool(x.isfinite().all()) for x, _ in batches),
                "loss": result.loss,
                "norm": result.grad_norm,
                "gradients": [param.grad.clone() for param in model.parameters()],
                "weights": [param.detach().clone() for param in model.parameters()],
                "scale": scaler and scaler.get_scale(),
            }
        )
    return results


@pytest.mark.slow
def test_a_step_on_two_processes_is_one_on_the_joined_batch(folder: Path) -> None:
    first, second = in_two_processes(steps, folder)
    alone = steps()
    own = [process.pop("to be averaged later") for process in (first, second, alone)]
    assert torch.equal(own[0], own[2])
    assert not torch.isclose(own[0], own[1]).any()
    for name, joined in alone.items():
        for number, expected in enumerate(joined):
            here = f"{name}, step {number}"
            finite = [process[name][number].pop("finite inputs") for process in (first, second)]
            assert finite == [True, expected.pop("finite inputs")], here
            assert expected["stepped"] == all(finite), here
            torch.testing.assert_close(
                first[name][number],
                second[name][number],
                rtol=0,
                atol=0,
                equal_nan=True,
                msg=lambda difference, here=here: f"between the processes, {here}: {difference}",
            )
            torch.testing.assert_close(
                first[name][number],
                expected,
                rtol=1e-6,
                atol=1e-9,
                equal_nan=True,
                check_dtype=False,
                msg=lambda difference, here=here: f"{here}: {difference}",
            )


# --- a whole run ----------------------------------------------------------------------------------


def whole_run() -> dict[str, Any]:
    """Train until early stopping, with every option; only process 0 has the right labels for it."""
    model = network()
    loader = ResumableLoader(*data(45), batch_size=8, seed=1)
    optimizer = torch.optim.AdamW(model.parameters())
    scaler = LossScaler(2.0**10, growth_interval=4)
    x, y = data(20, seed=1)
    parts = {"model": model, "optimizer": optimizer, "scaler": scaler, "loader": loader}
    history = fit(
        model,
        loader,
        cross_entropy,
        optimizer,
        max_epochs=30,
        accumulate=2,
        max_norm=0.5,
        schedule=lambda step: 0.05 / (1 + step / 20),
        scaler=scaler,
        eval_loader=[(x, (y + distributed.rank()) % 3)],
        patience=3,
        checkpoint=Checkpoint("run.pt", **parts),
        checkpoint_every=5,
    )
    return {"history": history, "weights": model.state_dict()}


@pytest.mark.slow
def test_a_run_on_two_processes_is_one_on_one_and_process_0_alone_writes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = in_two_processes(whole_run, folder)
    (folder / "alone").mkdir()
    monkeypatch.chdir(folder / "alone")
    alone = whole_run()
    assert 4 <= len(alone["history"]["eval"]) < 30, "nothing stopped early"
    assert first["history"] == second["history"]
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    torch.testing.assert_close(first, alone, rtol=1e-6, atol=1e-6)
    written = [{file.name for file in (folder / rank).iterdir()} for rank in "01"]
    assert written == [{"returned.pt", "run.pt"}, {"returned.pt"}]


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    model, number = network(), torch.tensor(3.0)
    with distributed.processes("cuda"):
        assert not torch.distributed.is_initialized()
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert distributed.replicate(model) is model
        with distributed.averaging(model, now=False):
            assert distributed.mean(number) is number
        assert distributed.gather(number) == [number]
        assert distributed.from_first(number) is number


# --- kills ----------------------------------------------------------------------------------------


class Training:
    """`torchrun tools/train.py` in a folder, where its files are; a checkpoint every ten steps."""

    def __init__(self, folder: Path, *options: str, restarts: int = 0) -> None:
        self.checkpoint = folder / "run.pt"
        files = {
            "--checkpoint": self.checkpoint,
            "--metrics": folder / "metrics.jsonl",
            "--weights": folder / "weights.safetensors",
        }
        arguments = [str(part) for pair in files.items() for part in pair]
        self.torchrun = subprocess.Popen(
            [
                *[*TORCHRUN, "--max-restarts", str(restarts), str(TRAIN), "--device", "cpu"],
                *["--max-epochs", "12", "--every", "10", *arguments, *options],
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self) -> tuple[str, str]:
        """Wait for the end; return standard output and error."""
        return self.torchrun.communicate(timeout=LONG)

    def after_a_save(self) -> list[psutil.Process]:
        """Wait for the next save and a little longer; return the processes that train, in order."""
        before, deadline = self._last_save(), time.monotonic() + LONG
        while self._last_save() == before:
            assert self.torchrun.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline, "there is no save"
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        processes = psutil.Process(self.torchrun.pid).children()
        return sorted(processes, key=lambda process: process.environ()["RANK"])

    def _last_save(self) -> int:
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    training = Training(folder)
    out, err = training.said()
    assert training.torchrun.returncode == 0, err
    assert out.count("test accuracy") == 1
    assert float(out.split()[-1].rstrip("%")) > 90
    return folder


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("metrics.jsonl", "weights.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
def test_every_process_draws_dropout_of_its_own(undisturbed: Path) -> None:
    first, second = torch.load(undisturbed / "run.pt", weights_only=True)["rng"]
    assert not torch.equal(first["torch"], second["torch"])


@pytest.mark.slow
def test_a_killed_process_costs_a_restart_and_no_bit(undisturbed: Path, folder: Path) -> None:
    training = Training(folder, restarts=3)
    for victim in (1, 0):
        processes = training.after_a_save()
        processes[victim].kill()
        assert not psutil.wait_procs(processes, timeout=LONG)[1], "the other one goes on alone"
    out, err = training.said()
    assert training.torchrun.returncode == 0, err
    assert out.count("going on from") == 2
    assert out.count("test accuracy") == 1
    assert_same_run(folder, undisturbed)


@pytest.mark.slow
def test_a_run_of_which_all_was_killed_goes_on_bit_for_bit(undisturbed: Path, folder: Path) -> None:
    for _ in range(2):
        training = Training(folder)
        for process in (training.torchrun, *training.after_a_save()):
            process.kill()
        training.said()
        assert training.torchrun.returncode == -signal.SIGKILL
        assert not (folder / "weights.safetensors").exists()
    out, err = Training(folder).said()
    assert out.count("going on from") == 1, err
    assert_same_run(folder, undisturbed)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_batch_too_small_for_the_processes_ends_the_run_with_a_sentence(folder: Path) -> None:
    training = Training(folder, "--batch-size", "1")
    _, err = training.said()
    assert training.torchrun.returncode != 0
    assert "a batch of 1 is too small for 2 processes: choose another batch_size" in err
    assert not list(folder.iterdir())


if __name__ == "__main__":
    with distributed.processes():
        os.chdir(Path(sys.argv[2]) / str(distributed.rank()))
        torch.save(globals()[sys.argv[1]](), "returned.pt")
