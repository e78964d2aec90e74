"""Watching a run: a progress bar, a metrics file that a plot reads, and warnings."""

import json
import math
import warnings
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from course_lib import distributed, training


class Monitor:
    """Looks at a run every few steps, and writes down what it sees.

    ``with Monitor("run.jsonl") as monitor: fit(..., monitor=monitor)``. To read a number from the
    GPU the program must wait for it, so the numbers of many steps are read at once. Of several
    processes only the first says and writes something.

    Args:
        path: the metrics file, one JSON object a line: ``step`` (from 0), ``loss``, ``grad_norm``
            and ``lr`` of a step; ``step`` (steps made before it) and what ``evaluate`` returned. A
            run that goes on from a checkpoint takes the place of what came after it.
        max_steps: the length of the bar, which is drawn on a terminal only.
        every: steps between two looks. With ``checkpoint_every`` a multiple of it, no run that has
            come to nan is ever saved.
        warn_above: a gradient norm so many times the median of those before it brings a warning.

    Raises:
        FloatingPointError: at a look, if a loss is inf or nan.
        OSError: the metrics file cannot be written.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        max_steps: int | None = None,
        every: int = 50,
        warn_above: float = 10.0,
    ) -> None:
        self.path = None if path is None or distributed.rank() > 0 else Path(path)
        self.every = every
        self.warn_above = warn_above
        self.seen = self.evaluations = 0
        self.progress: training.Progress | None = None
        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=distributed.rank() > 0 or not console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=max_steps)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.progress is not None and kind is None:
                self._look(len(self.progress.history["loss"]))
        finally:
            self.bar.stop()

    def __call__(self, progress: training.Progress) -> None:
        """Take note of a step that was made."""
        steps = len(progress.history["loss"])
        if self.progress is None:
            self._begin(progress, steps - 1)
        if len(progress.history["eval"]) > self.evaluations:
            self._look(steps - 1)  # the evaluation came before the last step
        if steps % self.every == 0:
            self._look(steps)

    def _begin(self, progress: training.Progress, done: int) -> None:
        self.progress = progress
        kept = _lines_before(self.path, done) if self.path is not None else []
        # The last evaluation may have been made again, at the end of the epoch that was saved.
        evaluations = sum("lr" not in line for line in kept)
        self.evaluations = max(evaluations, len(progress.history["eval"]) - 1)
        # Steps that were saved after the last look are still to be written.
        self.seen = len(kept) - evaluations if self.path is not None else done
        self._write(kept, "w")

    def _look(self, steps: int) -> None:
        """Read the numbers of all steps up to this one that have not been seen."""
        assert self.progress is not None
        history = self.progress.plain()["history"]
        lines = [
            {"step": step, **{name: history[name][step] for name in ("loss", "grad_norm", "lr")}}
            for step in range(self.seen, steps)
        ]
        lines += [{"step": steps, **result} for result in history["eval"][self.evaluations :]]
        self._write(lines, "a")
        losses, norms = (history[name][self.seen : steps] for name in ("loss", "grad_norm"))
        self._warn(norms, history["grad_norm"][max(0, self.seen - 10 * self.every) : self.seen])
        self.seen, self.evaluations = steps, len(history["eval"])
        if losses:
            self.bar.update(self.task, completed=steps, description=f"loss {losses[-1]:.4g}")
        for step, loss in enumerate(losses, start=steps - len(losses)):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss of step {step} is {loss}: start again from the last checkpoint with "
                    "step=functools.partial(train_step, check_finite=True), which names the layer"
                )

    def _write(self, lines: list[dict[str, float]], mode: str) -> None:
        if self.path is not None:
            with open(self.path, mode) as file:
                file.writelines(f"{json.dumps(line)}\n" for line in lines)

    def _warn(self, norms: list[float], before: list[float]) -> None:
        usual = [norm for norm in before if math.isfinite(norm)]
        # An infinite one is an overflow, which the scaler has seen to.
        largest = max(filter(math.isfinite, norms), default=0.0)
        if usual and largest > self.warn_above * median(usual) and distributed.rank() == 0:
            step = self.seen + norms.index(largest)
            warnings.warn(
                f"the gradient norm of step {step} is {largest:.3g}, {largest / median(usual):.0f} "
                "times what is usual in this run: lower the learning rate, or clip (max_norm)",
                stacklevel=2,
            )


def _lines_before(path: Path, step: int) -> list[dict[str, float]]:
    """Return the lines of a metrics file that belong to the first steps."""
    if not path.exists():
        return []
    with open(path) as file:
        whole = [json.loads(line) for line in file if line.endswith("\n")]  # the last may be cut
    # An evaluation after so many steps belongs to them.
    return [line for line in whole if line["step"] < step + ("lr" not in line)]
