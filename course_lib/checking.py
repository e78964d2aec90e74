"""How an exercise is checked: draw inputs, run the student's code on them, judge what came.

A ``Check`` holds the two functions that belong to one exercise, ``inputs(rng)`` and
``probe(implementation, case)``, and the data that the judgement needs: a right implementation
(the oracle), known wrong ones (the mistakes), the points of every part. The probe runs beside
the student's code; an ``Exam`` judges, and sees only the tensors and plain data that came back.

On a student's own machine both halves run in one process. When a class is graded, ``answer`` runs
in a sandbox, and the exam is drawn and marked in a process that never imports a student's file.
"""

import contextlib
import io
import json
import os
import random
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib import border, student
from course_lib.watching import Watch, search

Case = dict[str, Any]
"""One input: tensors and plain data. ``"part"`` is the part of the exercise that it tests,
``"title"`` describes it in words."""

Outputs = dict[str, Any]
"""What came of one case: named tensors and plain data, or ``{"error": text}``."""

SEED_VARIABLE = "COURSE_LIB_SEED"
VISIBLE_SEED = 0
GRADED_ROUNDS = 3
SECONDS = 4.0
"""The time for all the cases of a part; a thousandth of it is usual."""
IMPORT_SECONDS = 12.0
"""The time for importing the student's file, with whatever that imports."""
SAID = 2000
"""So many characters are shown of what came from a student's code."""
SHOWN = 6
"""So many numbers of a tensor are shown; of a larger one, the first that is wrong."""

TOLERANCES = {
    torch.float64: (1e-7, 1e-9),
    torch.float32: (1e-5, 5e-6),
    torch.float16: (5e-3, 2e-3),
    torch.bfloat16: (5e-2, 2e-2),
}
"""Relative and absolute tolerance by dtype: wide enough for any order of the operations."""


class Mistake(NamedTuple):
    """A known wrong implementation, and the sentence for a student who wrote it."""

    name: str
    message: str
    implementation: Any


class Failure(NamedTuple):
    """A case that went wrong: the first output that differs, what it should be, what it is."""

    case: Case
    outputs: Outputs
    name: str
    expected: Any
    got: Any


@dataclass(frozen=True)
class Result:
    """What a check found. Its ``repr`` is the message, so that a notebook shows it."""

    module: str
    exercise: str
    points: float
    max_points: float
    passed: bool
    message: str
    mistake: str | None = None

    def __repr__(self) -> str:
        return self.message


class TimeLimit(BaseException):
    """Student's code ran too long. Not an ``Exception``: ``except Exception`` must let it by."""


@dataclass(frozen=True)
class Check:
    """The check of one exercise. Call it to run it.

    Args:
        module: the module that the student writes, for example ``"optimizers"``.
        exercise: the name of the exercise, unique in the course.
        target: the function or class of the module that is checked.
        parts: what the exercise asks for, each with its points.
        inputs: draws the cases, within each part the smallest first.
        probe: runs an implementation on one case, which it may change, and returns what came.
        oracle: a right implementation.
        mistakes: the catalogue of wrong ones.
        hints: from a nudge to nearly the answer.
        forbidden: dotted names of what the student's code must not call, because it is the
            answer itself: functions, methods, classes and modules.
    """

    module: str
    exercise: str
    target: str
    parts: dict[str, float]
    inputs: Callable[[torch.Generator], list[Case]]
    probe: Callable[[Any, Case], Outputs]
    oracle: Any
    mistakes: tuple[Mistake, ...] = ()
    hints: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()

    @property
    def max_points(self) -> float:
        return sum(self.parts.values())

    @property
    def seconds(self) -> float:
        """The longest time that the students' half may take, the import of their file included."""
        return IMPORT_SECONDS + (len(self.parts) + 1) * SECONDS

    def __call__(
        self, implementation: Any = None, *, seed: int = VISIBLE_SEED, rounds: int = 1
    ) -> Result:
        """Check an implementation; without one, the student's file as it is on disk now.

        Args:
            implementation: the class or function to check.
            seed: where the random inputs come from.
            rounds: how often inputs are drawn.
        """
        exam = self.exam(seed, rounds)
        if implementation is not None:
            return exam.judge(self.attempt_all(implementation, exam.cases))
        try:
            return exam.judge(self.attempt_file(exam.cases))
        except student.Unusable as error:
            return self.refused(str(error))

    def exam(self, seed: int, rounds: int = GRADED_ROUNDS) -> "Exam":
        """Draw the cases of one run."""
        rng = torch.Generator().manual_seed(seed)
        return Exam(self, [case for _ in range(rounds) for case in self.inputs(rng)])

    def answer(self, questions: bytes) -> bytes:
        """Do the students' half of a graded run; ``Exam.mark`` does the other.

        Args:
            questions: what ``Exam.questions`` returned.
        """
        try:
            return border.encode({"outputs": self.attempt_file(border.unpack(questions))})
        except student.Unusable as error:
            return border.encode({"refused": str(error)})

    def report(self) -> float:
        """Check the student's file, print the message, return the points, as nbgrader wants.

        In a graded run it does nothing: that run counts what ``grade`` returns.
        """
        if SEED_VARIABLE in os.environ:
            return 0.0
        result = self()
        print(result.message)
        return float(result.points)

    def grade(self) -> float:
        """Do what ``report`` does, with a secret seed and more cases.

        The seed comes from the environment variable ``COURSE_LIB_SEED``; without it a fresh one
        is drawn. What the student's code prints or warns about is left out.
        """
        seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().getrandbits(32))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = self(seed=seed, rounds=GRADED_ROUNDS)
        print(result.message)
        return float(result.points)

    def attempt_file(self, cases: list[Case]) -> list[Outputs]:
        """Import the student's file and probe what it defines on every case, watching it.

        Raises:
            Unusable: it cannot be imported, or does what no answer may do.
        """
        path = student.path_of(self.module)
        try:
            with Watch(path, self.forbidden, self.oracle) as watch:
                with time_limit(IMPORT_SECONDS):
                    implementation = student.load(self.module, self.target)
                outputs = self.attempt_all(implementation, cases)
        except TimeLimit as error:
            text = f"The import of course_lib/{self.module}.py {error}"
            raise student.Unusable(text) from None
        reason = watch.reason or search(path.read_text(encoding="utf-8-sig"), self.module)
        if reason:
            raise student.Unusable(reason)
        return outputs

    def attempt_all(self, implementation: Any, cases: list[Case]) -> list[Outputs]:
        """Probe an implementation on every case, with one time limit for each part."""
        left = dict.fromkeys(self.parts, SECONDS)
        outputs = []
        for case in cases:
            start = time.monotonic()
            try:
                with time_limit(left[case["part"]]):
                    output = self.attempt(implementation, case)
            except TimeLimit as error:
                output = {"error": f"it {error}"}
            outputs.append(output)
            left[case["part"]] -= time.monotonic() - start
        return outputs

    def attempt(self, implementation: Any, case: Case) -> Outputs:
        """Probe an implementation on a copy of one case; an exception becomes an output."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outputs = self.probe(implementation, deepcopy(case))
                return {name: _as_data(value) for name, value in outputs.items()}
        except (Exception, SystemExit) as error:
            return {"error": student.describe(error, student.path_of(self.module))}

    def refused(self, reason: str) -> Result:
        """Return the result of code that could not be checked at all."""
        message = f"{self.headline(0)}\n{reason.rstrip('?.')}."
        return Result(self.module, self.exercise, 0, self.max_points, False, message)

    def headline(self, points: float) -> str:
        return f"{self.exercise} ({self.target}): {points:g} of {self.max_points:g} points"


class Exam:
    """The cases of one run of a check, and the judgement of what students' code makes of them.

    What the oracle and the known mistakes make of them is computed once, when it is needed.
    """

    def __init__(self, check: Check, cases: list[Case]) -> None:
        self.check = check
        self.cases = cases
        self._remembered: dict[tuple[int, int], Outputs] = {}

    def questions(self) -> bytes:
        """Return the cases as they are sent to where students' code runs."""
        return border.pack(self.cases)

    def mark(self, answer: bytes, source: str) -> Result:
        """Judge the answer of a graded run. Every byte of it may be forged.

        Args:
            answer: what ``Check.answer`` returned.
            source: the text of the student's file.
        """
        try:
            content = border.decode(answer)
            if isinstance(content.get("refused"), str):
                return self.check.refused(content["refused"][:SAID])
            outputs = border.checked_outputs(content.get("outputs"), len(self.cases))
        except border.Garbled as error:
            return self.check.refused(f"What the code sent back cannot be used: {error}")
        if reason := search(source, self.check.module):
            return self.check.refused(reason)
        return self.judge(outputs)

    def judge(self, outputs: list[Outputs]) -> Result:
        """Compare the outputs with the oracle's and write the message."""
        check = self.check
        failures: dict[str, dict[int, Failure]] = {part: {} for part in check.parts}
        for place, output in enumerate(outputs):
            if failure := self._compare(place, output):
                failures[self.cases[place]["part"]][place] = failure
        mistakes = {
            part: self._recognise(part, [*failures[part]], outputs)
            for part in check.parts
            if failures[part]
        }
        points = sum(value for part, value in check.parts.items() if not failures[part])
        return Result(
            module=check.module,
            exercise=check.exercise,
            points=points,
            max_points=check.max_points,
            passed=points == check.max_points,
            message=self._message(points, failures, mistakes),
            mistake=next((mistake.name for mistake in mistakes.values() if mistake), None),
        )

    def _outputs_of(self, implementation: Any, place: int) -> Outputs:
        key = id(implementation), place
        if key not in self._remembered:
            self._remembered[key] = self.check.attempt(implementation, self.cases[place])
        return self._remembered[key]

    def _compare(self, place: int, outputs: Outputs) -> Failure | None:
        case = self.cases[place]
        if "error" in outputs:
            return Failure(case, outputs, "error", None, outputs["error"])
        for name, expected in self._outputs_of(self.check.oracle, place).items():
            if not same(expected, outputs.get(name)):
                return Failure(case, outputs, name, expected, outputs.get(name))
        return None

    def _recognise(self, part: str, failed: list[int], outputs: list[Outputs]) -> Mistake | None:
        """Return the mistake that gives just these outputs in a part."""
        places = [place for place, case in enumerate(self.cases) if case["part"] == part]
        # Where right code and this differ, most mistakes differ from it too.
        places.sort(key=lambda place: place not in failed)
        if any("error" in outputs[place] for place in places):
            return None
        for mistake in self.check.mistakes:
            if all(
                same(self._outputs_of(mistake.implementation, place), outputs[place])
                for place in places
            ):
                return mistake
        return None

    def _message(
        self,
        points: float,
        failures: dict[str, dict[int, Failure]],
        mistakes: dict[str, Mistake | None],
    ) -> str:
        stops = {
            str(failure.outputs.get("error"))
            for part in failures.values()
            for failure in part.values()
        }
        if points == 0 and all(stop.startswith("your turn") for stop in stops):
            return f"{self.check.headline(0)}\nNot written yet: {'; '.join(sorted(stops))}."
        lines = [self.check.headline(points)]
        for part, value in self.check.parts.items():
            lines.append(f"  [{'wrong' if failures[part] else 'ok'}] {part} ({value:g})")
            if failures[part]:
                first = next(iter(failures[part].values()))
                lines += [f"    {line}" for line in _explain(first, mistakes[part])]
        return "\n".join(lines)


def same(expected: Any, got: Any) -> bool:
    """Return whether two outputs agree: tensors within the dtype's tolerance, the rest exactly."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(same(expected[k], got[k]) for k in expected)
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        return len(expected) == len(got) and all(map(same, expected, got))
    if isinstance(expected, Tensor) or isinstance(got, Tensor):
        if type(expected) is not type(got):
            return False
        if expected.dtype != got.dtype or expected.shape != got.shape:
            return False
        rtol, atol = TOLERANCES.get(expected.dtype, (0, 0))
        return torch.allclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)
    return isinstance(expected, bool) == isinstance(got, bool) and expected == got


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeLimit`` inside the block when it runs longer; again every second if swallowed.

    Uses a signal, so it holds in the main thread only.
    """

    def stop(*_: Any) -> None:
        raise TimeLimit(
            f"was still running after {seconds:.2g} seconds: is there a loop that never ends?"
        )

    if seconds <= 0:
        raise TimeLimit("was not run: an earlier case used up the time")
    previous = signal.signal(signal.SIGALRM, stop)
    start = time.monotonic()
    outer, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if outer:  # the limit of a notebook's cell goes on
            left = max(0.001, outer - (time.monotonic() - start))
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def _as_data(value: Any) -> Any:
    """Return a value as a plain tensor or plain data, so that no object of the student's is judged.

    Raises:
        TypeError: the value is neither.
    """
    if type(value) in (Tensor, torch.nn.Parameter):
        if value.layout != torch.strided or value.is_meta:
            raise TypeError("a sparse tensor, or one without numbers, is not what was asked for")
        return value.detach().clone()
    if isinstance(value, dict):
        return {str(key): _as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_data(item) for item in value]
    return json.loads(json.dumps(value))


def _explain(failure: Failure, mistake: Mistake | None) -> list[str]:
    """Return the lines that tell one failure: the mistake, the input, expected against got."""
    lines = [mistake.message] if mistake else []
    lines.append(f"input     {failure.case['title']}")
    if failure.name == "error":
        return [*lines, f"stopped   {failure.got}"]
    name, expected, got = _narrowed(failure)
    digits = 6 if _shown(expected, 6) != _shown(got, 6) else 17
    return [
        *lines,
        f"compared  {name}",
        f"expected  {_shown(expected, digits)}",
        f"got       {_shown(got, digits)}",
    ]


def _narrowed(failure: Failure) -> tuple[str, Any, Any]:
    """Return what to show of a difference: the dtype, the shape, or one element of many."""
    name, expected, got = failure.name, failure.expected, failure.got
    if isinstance(expected, Tensor) != isinstance(got, Tensor) and got is not None:
        return f"the type of {name}", type(expected), type(got)
    if not isinstance(expected, Tensor) or not isinstance(got, Tensor):
        return name, expected, got
    if expected.dtype != got.dtype:
        return f"the dtype of {name}", expected.dtype, got.dtype
    if expected.shape != got.shape:
        return f"the shape of {name}", tuple(expected.shape), tuple(got.shape)
    if expected.numel() <= SHOWN:
        return name, expected, got
    wrong = [not same(e, g) for e, g in zip(expected.flatten(), got.flatten(), strict=True)]
    place = np.unravel_index(wrong.index(True), expected.shape)
    return f"{name}, element {[int(i) for i in place]}", expected[place], got[place]


def _shown(value: Any, digits: int) -> str:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, list) and len(value) > 2 * SHOWN:
        start = ", ".join(map(str, value[: 2 * SHOWN]))[:SAID]
        return f"[{start}, ...], {len(value)} entries"
    if not isinstance(value, Tensor):
        return repr(value)[:SAID]
    numbers = [f"{number:.{digits}g}" for number in value.flatten()[:SHOWN].tolist()]
    text = f"[{', '.join(numbers)}]" if value.dim() else numbers[0]
    return f"{text} of shape {tuple(value.shape)}" if value.dim() > 1 else text
