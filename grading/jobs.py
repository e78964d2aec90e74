"""A job, and what comes of it: all that a worker is told, and all that it tells.

What a worker does with a `Job` depends on nothing else, so any process on any machine can do it,
and do it again.
"""

import contextlib
import functools
import importlib
import importlib.util
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from grading import sandbox
from grading.sandbox import Sandbox


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

    `beside` counts the tests that ran beside the student's code, which could tamper with them. In
    `seconds`, by stage, `runs` has `notebook` and `checks` in it, which go on at the same time.
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


@functools.cache
def find_check(module: str, name: str) -> Any:
    """Return a check that judges from outside, or None; it has `exam`, `answer` and `refused`."""
    if not module or not importlib.util.find_spec(module):
        return None
    check = getattr(importlib.import_module(module), name, None)
    return check if hasattr(check, "exam") and hasattr(check, "answer") else None


def quoted(name: str) -> str:
    """Return a student's name for a file as Markdown's code, with nothing in it that acts."""
    return "`" + ascii(name)[1:-1].replace("`", "'") + "`"
