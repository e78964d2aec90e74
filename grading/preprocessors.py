"""What nbgrader's own preprocessors lack; `nbgrader_config.py` puts these into its lists."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import nbformat
from nbconvert.preprocessors import ExecutePreprocessor
from nbformat import NotebookNode
from nbgrader.converters.base import BaseConverter
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearOutput,
    DeduplicateIds,
    OverwriteCells,
    OverwriteKernelspec,
)
from nbgrader.preprocessors.base import NbGraderPreprocessor
from nbgrader.utils import is_grade, is_solution
from traitlets.utils.importstring import import_item

from grading.course import GradingError

ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
GUTTER = re.compile(r"^\s*(-+>)?\s*\d*\s*")
STYLE = """
img, svg { max-width: 100%; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
th, td { padding: 0 1em 0.3em 0; }
"""


class Executed(NbGraderPreprocessor):
    """Puts in the outputs that came of a notebook in the sandbox, in the place of nbgrader's
    Execute, which would run it here and unprotected.

    When nbgrader runs by itself, as from formgrader's button, the engine is started for it.
    """

    results: ClassVar[dict[tuple[str, str, str], NotebookNode]] = {}
    """By student, assignment and notebook."""

    @classmethod
    @contextlib.contextmanager
    def holding(cls, student: str, assignment: str, notebooks: dict[str, str]) -> Iterator[None]:
        """Have the results of a submission at hand for a while."""
        new = {
            (student, assignment, Path(name).stem): nbformat.reads(text, as_version=4)
            for name, text in notebooks.items()
        }
        cls.results = cls.results | new
        try:
            yield
        finally:
            cls.results = {key: value for key, value in cls.results.items() if key not in new}

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[Any, Any]:
        names = resources["nbgrader"]
        student, assignment, notebook = (
            names[each] for each in ("student", "assignment", "notebook")
        )
        if (student, assignment, notebook) in self.results:
            self._fill_in(nb, self.results[student, assignment, notebook])
            return nb, resources
        # Imported here because nbgrader imports this module wherever it reads the configuration.
        from grading.autograde import grade_alone, note_cell
        from grading.course import Course

        course = Course(CourseDirectory(config=self.config).root)
        result = grade_alone(course, student, assignment)
        with self.holding(student, assignment, result.notebooks):
            executed = self.results.get((student, assignment, notebook))
        if executed is None:
            # Without outputs every test would count as passed.
            raise GradingError(" ".join(result.notes) or "It could not be executed.")
        self._fill_in(nb, executed)
        if result.notes:
            nb.cells.insert(0, note_cell(result.notes))
        return nb, resources

    def _fill_in(self, nb: NotebookNode, executed: NotebookNode) -> None:
        if [cell.source for cell in executed.cells] != [cell.source for cell in nb.cells]:
            raise GradingError("The gradebook has another version of this notebook: release it.")
        for cell, done in zip(nb.cells, executed.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = done.outputs, done.execution_count


REPAIRED = (ClearOutput, DeduplicateIds, OverwriteKernelspec, OverwriteCells, CheckCellMetadata)
"""What nbgrader does before it runs a notebook. `repair` has done it, and each takes time in the
one process that writes to the gradebook."""


def without_repair(autograde: BaseConverter) -> list[type]:
    """Return a course's own preprocessors for what was handed in."""
    return [each for each in _classes(autograde.sanitize_preprocessors) if each not in REPAIRED]


def in_place_of_execute(autograde: BaseConverter) -> list[type]:
    """Return a course's own preprocessors for autograding, of which none may run a notebook."""
    classes = _classes(autograde.autograde_preprocessors)
    return [Executed if issubclass(each, ExecutePreprocessor) else each for each in classes]


def _classes(named: Iterable[str | type]) -> list[type]:
    """Return the classes that a course's configuration names, or has."""
    return [import_item(each) if isinstance(each, str) else each for each in named]


class HideTests(ClearHiddenTests):
    """Takes hidden tests out of graded cells and out of the tracebacks below them.

    It leaves the students' own cells alone, so that a marker in them breaks nothing.
    """

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[Any, Any]:
        if not is_grade(cell) or is_solution(cell):
            return cell, resources
        before = _lines(cell.source)
        super().preprocess_cell(cell, resources, index)
        hidden = set(before) - set(_lines(cell.source))
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = [_without(hidden, frame) for frame in output.traceback]
        return cell, resources


class FeedbackStyle(NbGraderPreprocessor):
    """Keeps feedback on the page: wide figures shrink, and long lines of a message wrap."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[Any, Any]:
        resources.setdefault("inlining", {}).setdefault("css", []).append(STYLE)
        return nb, resources


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def _without(hidden: set[str], frame: str) -> str:
    return "\n".join(
        line
        for line in frame.splitlines()
        if GUTTER.sub("", ANSI_COLOUR.sub("", line)).strip() not in hidden
    )
