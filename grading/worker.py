"""The worker: grades one submission after another, and never imports what a student wrote."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import nbformat
import psutil
from nbformat import NotebookNode
from nbformat.v4 import new_output

from grading import sandbox
from grading.jobs import Job, Result, Settings, find_check, quoted
from grading.outputs import Events
from grading.repair import Unrepairable, repaired
from grading.sandbox import SandboxError
from grading.shell import Cells, Questions, Task, time_limit
from grading.zygote import Run, Stopped, Zygote, ZygoteLost

FOLDER = "submission"
"""Where in its sandbox a submission lies, beside the reference of the other modules."""
REFERENCE = "reference"
JUDGE_SECONDS = 60.0
"""The time for judging one answer; a hundredth of it is usual."""
GRACE = 3.0
"""Seconds that code has to obey its time limit before it is killed."""

_zygote: Zygote | SandboxError
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
    try:
        _zygote = _new_zygote(settings)
    except SandboxError as error:
        _zygote = error  # to be told with every job: an initializer's errors get lost
    except ZygoteLost:
        os._exit(1)  # another worker will have another
    threading.Thread(target=_end_with_the_command, daemon=True).start()


def _new_zygote(settings: Settings) -> Zygote:
    # Threads do not come along into a fork, and what they hold stays locked for ever.
    if (threads := psutil.Process(os.getppid()).num_threads()) > 1:
        raise SandboxError(f"one of c.Engine.preload has started threads: there are {threads}")
    return Zygote(settings.sandbox)


def _end_with_the_command() -> None:
    """Wait until the process that gives us jobs is gone, and go too."""
    if command := multiprocessing.parent_process():
        command.join()
        os._exit(1)


def grade(job: Job) -> Result:
    """Grade one submission in this worker.

    Raises:
        SandboxError: no student's code can be run here.
    """
    if isinstance(_zygote, SandboxError):
        raise _zygote
    try:
        return Grading(job, _zygote, _settings).run()
    except ZygoteLost:
        # Too late for another, because this process has seen the seed.
        os._exit(1)


class Grading:
    """The grading of one submission."""

    def __init__(self, job: Job, zygote: Zygote, settings: Settings) -> None:
        self.job, self.zygote, self.settings = job, zygote, settings
        self.result = Result(level=settings.sandbox.level)

    def run(self) -> Result:
        for name in self.job.assignment.notebooks:
            if name in self.job.files:
                self._grade_notebook(name)
        return self.result

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
        # Side by side: neither sandbox knows of the other.
        with result.stage("runs"), ThreadPoolExecutor(1) as thread:
            asking = thread.submit(self._ask, [*judged.values()])
            self._execute(name, notebook, [*judged])
            answers = asking.result()
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
            with (
                self.result.stage("notebook"),
                self._run(Cells(sources, self.settings.cell_seconds)) as run,
            ):
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
            with self.result.stage("checks"), self._run(work) as run:
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


def _stop_judging() -> NoReturn:
    raise TimeoutError


def _is_test(cell: NotebookNode) -> bool:
    marks = cell.metadata.get("nbgrader", {})
    return bool(cell.cell_type == "code" and marks.get("grade") and not marks.get("solution"))


@functools.cache
def draw(module: str, name: str, seed: int) -> tuple[Any, bytes]:
    """Return the exam of a check, and its questions; the same for a whole class."""
    exam = find_check(module, name).exam(seed)
    return exam, exam.questions()
