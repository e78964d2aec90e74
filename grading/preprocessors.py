"""What nbgrader's own preprocessors lack; `nbgrader_config.py` puts these into its lists."""

import re
from subprocess import DEVNULL
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import ClearHiddenTests, Execute
from nbgrader.preprocessors.base import NbGraderPreprocessor
from nbgrader.utils import is_grade, is_solution

KERNEL_LOST = "KernelLost"
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
GUTTER = re.compile(r"^\s*(-+>)?\s*\d*\s*")
STYLE = """
img, svg { max-width: 100%; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
th, td { padding: 0 1em 0.3em 0; }
"""


class ExecuteToTheEnd(Execute):
    """Executes a notebook; when its kernel is lost, the cells that could not run have failed.

    nbgrader would give up the whole notebook, and with it what ran before.
    """

    def preprocess(self, nb: NotebookNode, resources: Any, km: Any = None) -> tuple[Any, Any]:
        self.lost = ""
        result: tuple[Any, Any] = super().preprocess(nb, resources, km)
        return result

    def start_new_kernel(self, **options: Any) -> None:
        # What a student's code writes past Jupyter would come out on the instructor's terminal.
        super().start_new_kernel(**options, stdout=DEVNULL, stderr=DEVNULL)

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[Any, Any]:
        if not self.lost:
            try:
                self.execute_cell(cell, index, store_history=True)
            except DeadKernelError:
                self.lost = "The kernel died"
            except CellTimeoutError:
                self.lost = "The kernel did not answer and could not be stopped"
        if self.lost and cell.cell_type == "code":
            text = f"{self.lost}: this cell could not be finished."
            error = new_output("error", ename=KERNEL_LOST, evalue=text, traceback=[text])
            printed = [output for output in cell.outputs if output.output_type == "stream"]
            cell.outputs = [*printed, error]
        return cell, resources


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
