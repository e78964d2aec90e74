"""The worker: grades one submission after another, and never imports what a student wrote.

What it does with a `Job` depends on nothing else, so any process on any machine can do it, and do
it again.
"""

import contextlib
import functools
import importlib
import json
import multiprocessing
import os
import pickle
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NoReturn

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output

from grading import sandbox
from grading.repair import Unrepairable, repaired
from grading.sandbox import Sandbox
from grading.shell import TIME_LIMIT, Cells, Questions, Task, time_limit
from grading.zygote import LONGEST_LINE, Run, Stopped, Zygote, ZygoteLost

KERNEL_LOST = "KernelLost"
"""The name of the error of a cell that could not be finished."""
FOLDER = "submission"
"""Where in its sandbox a submission lies, beside the reference of the other modules."""
REFERENCE = "reference"
LONGEST_TEXT = 100_000
"""Characters of a text that a cell shows."""
SHOWN = {
    "text/plain": LONGEST_TEXT,
    "text/html": 10 * LONGEST_TEXT,
    "text/markdown": 10_000,
    "text/latex": LONGEST_TEXT,
    "image/png": LONGEST_LINE,
    "image/jpeg": LONGEST_LINE,
    "image/gif": LONGEST_LINE,
    "image/svg+xml": LONGEST_LINE,
}
"""The kinds of output that are kept, those that a page shows and does not run, and the most
characters of each."""
LOST_OUTPUT = new_output(
    "error", ename="OutputLost", traceback=["What this cell sent cannot be read as an output."]
)
MOST_MARKDOWN = 100_000
"""Characters of Markdown that a notebook shows, because it is slow to turn into a page."""
MOST_OUTPUTS = 1000
"""So many outputs of a cell are kept."""
JUDGE_SECONDS = 60.0
"""The time for judging one answer; a hundredth of it is usual."""
GRACE = 3.0
"""Seconds that code has to obey its time limit before it is killed."""


@dataclass(frozen=True)
class Settings:
    """What holds for all submissions of a class.

    Args:
        sandbox: where students' code runs.
        cell_seconds: the time limit of a cell.
        notebook_seconds: the time limit of all cells of a notebook together.
        output: so many bytes may come out of one run.
        overlay_variable: the environment variable for the folders before the students' package.
        packages: folders of packages that students' code may import, besides Python's own.
    """

    sandbox: Sandbox
    cell_seconds: float
    notebook_seconds: float
    output: int
    overlay_variable: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Assignment:
    """What all submissions of an assignment share.

    Args:
        notebooks: as students got them, by name, but with the hidden tests in locked cells.
        files: what else lies beside the instructor's notebooks.
        module: the path of the module that students write, or nothing.
        reference: the modules of the other assignments.
        checks: the module with the checks that judge from outside, or nothing.
        variables: environment variables.
    """

    name: str
    notebooks: dict[str, str]
    files: dict[str, bytes]
    module: str
    reference: dict[str, bytes]
    checks: str
    variables: dict[str, str]


@dataclass(frozen=True)
class Job:
    """One submission: the texts of the files that were taken in, and the class's secret seed."""

    student: str
    assignment: Assignment
    files: dict[str, str]
    seed: int


@dataclass
class Result:
    """What came of a job: notebooks with their outputs, and what there is to say, to the student
    as well (`notes`) or only to the instructor (`log`).

    `beside` counts the tests that ran beside the student's code, which could tamper with them.
    """

    notebooks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    complete: bool = True
    beside: int = 0
    level: str = sandbox.NONE
    machine: str = field(default_factory=platform.node)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a block to one of the stages."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


_zygote: Zygote
_settings: Settings


def begin(settings: Settings) -> None:
    """Prepare a worker process. No secret may be in it yet: the zygote is forked here."""
    global _zygote, _settings
    sandbox.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # students may use it
    # multiprocessing has put the path of the command here, which may not lead to the course.
    sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)
    _settings = settings
    _zygote = Zygote(settings.sandbox)
    threading.Thread(target=_end_with_the_command, daemon=True).start()


def _end_with_the_command() -> None:
    """Wait until the process that gives us jobs is gone, and go too."""
    if command := multiprocessing.parent_process():
        command.join()
        os._exit(1)


def grade(job: Job) -> Result:
    """Grade one submission in this worker."""
    try:
        return Grading(job, _zygote, _settings).result
    except ZygoteLost:
        # Too late for another, because this process has seen the seed.
        os._exit(1)


class Grading:
    """The grading of one submission; `result` says what came of it."""

    def __init__(self, job: Job, zygote: Zygote, settings: Settings) -> None:
        self.job, self.zygote, self.settings = job, zygote, settings
        self.result = Result(level=settings.sandbox.level)
        for name in job.assignment.notebooks:
            if name in job.files:
                self._grade_notebook(name)

    def _grade_notebook(self, name: str) -> None:
        assignment, result = self.job.assignment, self.result
        try:
            with result.stage("repair"):
                notebook = repaired(self.job.files[name], assignment.notebooks[name])
        except Unrepairable as reason:
            result.complete = False
            result.notes.append(f"{quoted(name)} {reason}, so it scores 0.")
            return
        judged = {
            place: check
            for place, cell in enumerate(notebook.cells)
            if (check := self._check_of(cell))
        }
        tests = [place for place, cell in enumerate(notebook.cells) if _is_test(cell)]
        result.beside += len(tests) - len(judged)
        with result.stage("notebook"):
            self._execute(name, notebook, [*judged])
        with result.stage("checks"):
            answers = self._ask([*judged.values()])
        with result.stage("judge"):
            for place, check in judged.items():
                notebook.cells[place].outputs = self._judge(check, *answers[check])
        # JSON can say half of a character, which no file can hold.
        text = nbformat.writes(notebook).encode(errors="replace").decode()
        result.notebooks[name] = text

    def _check_of(self, cell: NotebookNode) -> str:
        """Return the name of the check that judges a cell; nothing for any other cell."""
        name = str(cell.metadata.nbgrader.grade_id) if _is_test(cell) else ""
        return name if name and find_check(self.job.assignment.checks, name) else ""

    def _execute(self, name: str, notebook: NotebookNode, judged: list[int]) -> None:
        """Run all cells but the judged ones, and put in what they show."""
        sources = {
            place: cell.source
            for place, cell in enumerate(notebook.cells)
            if cell.cell_type == "code" and cell.source.strip() and place not in judged
        }
        events = Events(notebook, [*sources])
        end = time.monotonic() + self.settings.notebook_seconds
        try:
            with self._run(Cells(sources, self.settings.cell_seconds)) as run:
                run.limit_time(min(GRACE + self.settings.cell_seconds, end - time.monotonic()))
                for line in run.lines(self.settings.output):
                    if events.take(line):
                        seconds = min(self.settings.cell_seconds, end - time.monotonic())
                        run.limit_time(seconds + GRACE)
                reason = "" if events.done else run.ending()
        except Stopped as stopped:
            reason = f"{stopped} and was stopped"
        if reason:
            events.lose(f"The notebook {reason}")
            self.result.complete = False
            self.result.notes.append(
                f"{quoted(name)} {reason}; what had not finished by then scores 0."
            )
        if events.late:
            self.result.notes.append(
                f"A cell of {quoted(name)} ran longer than its time limit and was stopped."
            )

    def _ask(self, checks: list[str]) -> dict[str, tuple[bytes, str]]:
        """Let the students' half of checks run; return their answers, or the reasons for none.

        When one of them ends the process, those that come after it get another.
        """
        answers: dict[str, tuple[bytes, str]] = {}
        while left := [check for check in checks if check not in answers]:
            reason = self._ask_until_it_ends(left, answers)
            if len(answers) < len(checks):
                lost = next(check for check in left if check not in answers)
                answers[lost] = b"", f"The code {reason}"
        return answers

    def _ask_until_it_ends(self, checks: list[str], answers: dict[str, tuple[bytes, str]]) -> str:
        module, seed = self.job.assignment.checks, self.job.seed
        limits = [find_check(module, check).seconds + GRACE for check in checks]
        work = Questions(module, {check: draw(module, check, seed)[1] for check in checks})
        try:
            with self._run(work) as run:
                run.limit_time(limits[0])
                received = run.answers(self.settings.output)
                for check, limit, answer in zip(checks, [*limits[1:], GRACE], received):
                    answers[check] = answer, ""
                    run.limit_time(limit)
                return "" if len(answers) == len(checks) else run.ending()
        except Stopped as stopped:
            return f"{stopped} and was stopped"

    def _judge(self, name: str, answer: bytes, reason: str) -> list[NotebookNode]:
        """Return the outputs that nbgrader reads the points from."""
        module = self.job.assignment.checks
        check = find_check(module, name)
        source = self.job.files.get(self.job.assignment.module, "")
        try:
            exam = draw(module, name, self.job.seed)[0]
            with time_limit(JUDGE_SECONDS, _stop_judging):
                result = check.refused(reason) if reason else exam.mark(answer, source)
        except Exception as error:  # nothing that a student sends may stop the class
            text = f"could not judge what came ({type(error).__name__})"
            result = check.refused(f"The check {text}")
            self.result.complete = False
            self.result.notes.append(f"{quoted(name)} {text}, so it scores 0.")
            self.result.log.append(traceback.format_exc())
        points = {"text/plain": repr(float(result.points))}
        return [
            new_output("stream", name="stdout", text=f"{result.message}\n"),
            new_output("execute_result", data=points, execution_count=None),
        ]

    def _run(self, work: Cells | Questions) -> contextlib.AbstractContextManager[Run]:
        return self.zygote.run(lambda folder: self._task(work, folder))

    def _task(self, work: Cells | Questions, folder: str) -> Task:
        """Return a task; `folder` is the sandbox's own folder as its code sees it."""
        assignment = self.job.assignment
        files = {f"{FOLDER}/{path}": content for path, content in assignment.files.items()}
        files |= {f"{REFERENCE}/{path}": text for path, text in assignment.reference.items()}
        files |= {
            f"{FOLDER}/{path}": text.encode()
            for path, text in self.job.files.items()
            if path not in assignment.notebooks
        }
        variables = {"HOME": folder, "TMPDIR": f"{folder}/{FOLDER}", **assignment.variables}
        if module := assignment.module:
            package = f"{folder}/{FOLDER}/{os.path.dirname(module)}"
            variables[self.settings.overlay_variable] = os.pathsep.join(
                [package, f"{folder}/{REFERENCE}"]
            )
        return Task(files, self.settings.packages, FOLDER, variables, work)


class Events:
    """What comes out of a notebook's run, put into its cells. None of it can be trusted."""

    def __init__(self, notebook: NotebookNode, places: list[int]) -> None:
        self.cells = {place: notebook.cells[place] for place in places}
        self.left = places
        self.current: NotebookNode | None = None
        self.named: dict[str, NotebookNode] = {}
        self.clear_first = False
        self.count = 0
        self.markdown = MOST_MARKDOWN
        self.done = self.late = False

    def take(self, line: bytes) -> bool:
        """Take one event; return whether another cell has begun."""
        try:
            event = json.loads(line)
            output = _harmless(event.get("output"))
        except Exception:  # it may have been the error of a test, so it must not get lost
            event, output = {}, deepcopy(LOST_OUTPUT)
        if event.get("done"):
            self.done, self.left = True, []
        elif event.get("cell") in self.left:
            return self._begin(event["cell"])
        elif self.current is not None and event.get("clear"):
            self.clear_first = event["clear"] == "later"
            if not self.clear_first:
                self.current.outputs = []
        elif self.current is not None and output is not None:
            self._take_output(self.current, output, event.get("name"), event.get("update"))
        return False

    def _begin(self, place: int) -> bool:
        # In their order: what was passed over counts as not run.
        self.left = self.left[self.left.index(place) + 1 :]
        self.current = self.cells[place]
        self.clear_first = False
        self.count += 1
        self.current.execution_count = self.count
        return True

    def _take_output(
        self, cell: NotebookNode, output: NotebookNode, name: Any, update: Any
    ) -> None:
        """Add an output to a cell, or put it in the place of an earlier one of the same name."""
        self.markdown -= len(output.get("data", {}).get("text/markdown", ""))
        if self.markdown < 0 and "data" in output:
            output.data.pop("text/markdown", None)
        if isinstance(name, str) and output.output_type == "display_data":
            # Of several with one name only the last: nobody shall keep us busy with them.
            before = self.named.get(name, output)
            before.data, before.metadata = output.data, output.metadata
            if not update:
                self.named[name] = output
        if not update:
            if self.clear_first:
                cell.outputs, self.clear_first = [], False
            self._add(cell.outputs, output)

    def _add(self, outputs: list[NotebookNode], output: NotebookNode) -> None:
        last = outputs[-1] if outputs else NotebookNode()
        if output.output_type == "stream" and last.get("name") == output.name:
            last.text = (last.text + output.text)[:LONGEST_TEXT]
            return
        if len(outputs) >= MOST_OUTPUTS:
            if output.output_type not in ("error", "execute_result"):
                return
            outputs.pop()  # nbgrader scores by these
        if output.output_type == "execute_result":
            output.execution_count = self.count
        self.late |= output.output_type == "error" and output.ename == TIME_LIMIT
        outputs.append(output)

    def lose(self, reason: str) -> None:
        """Let every cell that is not finished fail."""
        text = f"{reason}: this cell could not be finished."
        lost = [self.cells[place] for place in self.left]
        for cell in [*([] if self.current is None else [self.current]), *lost]:
            error = new_output("error", ename=KERNEL_LOST, evalue=text, traceback=[text])
            printed = [output for output in cell.outputs if output.output_type == "stream"]
            cell.outputs = [*printed, error]


def _harmless(output: Any) -> NotebookNode | None:
    """Return an output with nothing in it but texts of a bearable length, and pictures.

    Raises:
        Exception: it is not an output of a notebook.
    """
    if output is None:
        return None
    if "data" in output:
        output["data"] = {
            kind: text[:LONGEST_TEXT] if kind == "text/plain" else text
            for kind, text in output["data"].items()
            if isinstance(text, str) and (len(text) <= SHOWN.get(kind, -1) or kind == "text/plain")
        }
        output["metadata"] = {
            kind: {name: size[name] for name in ("width", "height") if type(size.get(name)) is int}
            for kind, size in output["metadata"].items()
            if kind in SHOWN and isinstance(size, dict)
        }
    elif output["output_type"] == "stream":
        output["text"] = output["text"][:LONGEST_TEXT] + ""  # a list is no text here
    elif output["output_type"] == "error":
        for name in ("ename", "evalue"):
            output[name] = output[name][:LONGEST_TEXT]
        output["traceback"] = [line[:LONGEST_TEXT] for line in output["traceback"][:100]]
    node = nbformat.from_dict(output)
    nbformat.validate(node, ref="output", version=4)
    return node


def _stop_judging() -> NoReturn:
    raise TimeoutError


def _is_test(cell: NotebookNode) -> bool:
    marks = cell.metadata.get("nbgrader", {})
    return bool(cell.cell_type == "code" and marks.get("grade") and not marks.get("solution"))


@functools.cache
def find_check(module: str, name: str) -> Any:
    """Return a check that judges from outside, or None; it has `exam`, `answer` and `refused`."""
    if not module or not importlib.util.find_spec(module):
        return None
    check = getattr(importlib.import_module(module), name, None)
    return check if hasattr(check, "exam") and hasattr(check, "answer") else None


@functools.lru_cache(maxsize=32)
def draw(module: str, name: str, seed: int) -> tuple[Any, bytes]:
    """Return the exam of a check, and its cases as they are sent in; the same for a whole class."""
    exam = find_check(module, name).exam(seed)
    return exam, pickle.dumps(exam.cases)


def quoted(name: str) -> str:
    """Return a student's name for a file as Markdown's code, with nothing in it that acts."""
    return "`" + ascii(name)[1:-1].replace("`", "'") + "`"
