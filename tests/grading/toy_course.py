"""A small course that is not ours: `grading` serves any nbgrader course."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from grading.__main__ import main
from grading.course import Course

REPOSITORY = Path(__file__).resolve().parents[2]

CONFIG = f"""
load_subconfig("nbgrader_config.py", path={str(REPOSITORY)!r})
c.CourseCode.package = "toy"
c.CourseCode.reference = "answers"
c.CourseCode.stub = ""
c.CourseCode.overlay_variable = "TOY_OVERLAY"
c.CourseCode.seed_variable = "TOY_SEED"
c.CourseCode.checks = ""
c.Engine.preload = []
c.CourseDirectory.source_directory = "assignments"
c.Execute.timeout = 4
c.Execute.iopub_timeout = 2
"""

PACKAGE = """
import os

__path__[:0] = [folder for folder in os.environ.get("TOY_OVERLAY", "").split(os.pathsep) if folder]
"""

JUDGED = 'c.CourseCode.checks = "toy.checks"\n'
"""With this in the configuration, the checks judge from outside."""

CHECKS = """
import importlib
import json
import os
import random
from typing import NamedTuple


class Result(NamedTuple):
    points: float
    message: str


class Exam(NamedTuple):
    check: "Check"
    cases: list

    def questions(self):
        return json.dumps(self.cases).encode()

    def mark(self, answer, source):
        answers = zip(self.cases, json.loads(answer))
        right = [got == self.check.oracle(*case) for case, got in answers]
        message = f"{self.check.name}: {sum(right)} of {len(right)} right"
        return Result(self.check.points * sum(right) / len(right), message)


class Check:
    seconds = 4.0

    def __init__(self, name, cases, oracle, points):
        self.name, self.cases, self.oracle, self.points = name, cases, oracle, points

    def __call__(self):
        return self.exam(0).mark(self.answer(json.dumps(self.cases)), "").message

    def grade(self):
        exam = self.exam(int(os.environ["TOY_SEED"]))
        result = exam.mark(self.answer(exam.questions()), "")
        print(result.message)
        return result.points

    def exam(self, seed):
        return Exam(self, random.Random(seed).sample(self.cases, len(self.cases)))

    def answer(self, questions):
        function = getattr(importlib.import_module("toy.adder"), self.name)
        return json.dumps([function(*case) for case in json.loads(questions)]).encode()

    def refused(self, reason):
        return Result(0, f"{self.name}: {reason}")


check_add = Check("add", [(1, 2), (0, 0)], lambda a, b: a + b, 2.0)
check_subtract = Check("subtract", [(3, 2), (2, 3)], lambda a, b: a - b, 3.0)
"""

SOLUTION = """
def add(a, b):
    {begin}
    total = a + b
    return total
    {end}


def subtract(a, b):
    {begin}
    return a - b
    {end}
""".format(begin="### BEGIN SOLUTION", end="### END SOLUTION")

STUB = """
def add(a, b):
    raise NotImplementedError("your turn: add")


def subtract(a, b):
    raise NotImplementedError("your turn: subtract")
"""

STUBBORN = """while True:
        try:
            time.sleep(1)
        except BaseException:
            pass"""

MODULES = {
    "empty": None,
    "reference": SOLUTION,
    "partial": STUB.replace(
        'raise NotImplementedError("your turn: subtract")', "return abs(a - b)"
    ),
    "syntax": "def add(a, b:",
    "endless": SOLUTION.replace("total = a + b", "while True: total = a + b"),
    "stubborn": "import time\n" + SOLUTION.replace("return a - b", STUBBORN),
    "killed": SOLUTION.replace("return a - b", "import os; os.write(1, b'noise'); os._exit(1)"),
    "noisy": SOLUTION.replace("return a - b", "import warnings; warnings.warn('!'); return a - b"),
    "no_notebook": SOLUTION,
    "no_module": SOLUTION,
    "not_json": SOLUTION,
    "linked": None,
    "shadow": None,
    "stranger": SOLUTION,
    "deleted": SOLUTION,
    "doubled": SOLUTION,
    "skipping": None,
    "corrupt": SOLUTION,
}
"""The modules that the students of the graded class hand in."""

DOUBLE = "def double(a):\n    ### BEGIN SOLUTION\n    return 2 * a\n    ### END SOLUTION"

MAX_SCORE = 6


def source_notebook() -> NotebookNode:
    """Two checks of the module with partial credit, and an answer within the notebook."""
    heading = new_markdown_cell("Fill in `toy/adder.py`.")
    cells = [
        new_code_cell("from toy.checks.adder import check_add, check_subtract"),
        _nbgrader(heading, "heading", locked=True),
        _test_cell("check_add", "check_add()", "check_add.grade()", 2),
        _test_cell("check_subtract", "check_subtract()", "check_subtract.grade()", 3),
        _nbgrader(new_code_cell(DOUBLE), "double", solution=True, locked=False),
        _test_cell("check_double", "assert double(1) == 2", "assert double(21) == 42, 'halved'", 1),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _test_cell(name: str, visible: str, hidden: str, points: float) -> NotebookNode:
    text = f"{visible}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
    return _nbgrader(new_code_cell(text), name, grade=True, points=points, locked=True)


def _nbgrader(cell: NotebookNode, name: str, **flags: object) -> NotebookNode:
    base = {"schema_version": 3, "grade_id": name, "grade": False, "solution": False}
    cell.metadata["nbgrader"] = NotebookNode(base | flags)
    return cell


def write_course(home: Path) -> None:
    files = {
        "nbgrader_config.py": CONFIG,
        "toy/__init__.py": PACKAGE,
        "toy/checks/__init__.py": "",
        "toy/checks/adder.py": CHECKS,
        "toy/adder.py": STUB,
        "answers/adder.py": SOLUTION,
        "assignments/adder/adder.ipynb": nbformat.writes(source_notebook()),
    }
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Run(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


class Class(NamedTuple):
    """The course's folder, and what grading printed."""

    root: Path
    graded: Run


def run(*arguments: str | Path) -> Run:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Run(code, out.getvalue(), err.getvalue())


def add_students(root: Path, *students: str, **attributes: str) -> None:
    with Course(root).gradebook() as gradebook:
        for student in students:
            gradebook.add_student(student, **attributes)


def hand_in(root: Path, student: str, adder: str | None = None) -> Path:
    """Submit the released files, with another text of `toy/adder.py`."""
    folder = root / "submitted" / student / "adder"
    shutil.copytree(root / "release" / "adder", folder, dirs_exist_ok=True)
    if adder is not None:
        (folder / "toy" / "adder.py").write_text(adder)
    return folder


def edit(folder: Path, change: Callable[[NotebookNode], object]) -> None:
    path = folder / "adder.ipynb"
    notebook = nbformat.from_dict(json.loads(path.read_text()))
    change(notebook)
    path.write_text(json.dumps(notebook))


def answer_double(notebook: NotebookNode) -> None:
    cell(notebook, "double").source = "def double(a):\n    return a + a"


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name)


def delete_released_cells(notebook: NotebookNode) -> None:
    notebook.cells = [cell for cell in notebook.cells if "nbgrader" not in cell.metadata]


def double_every_cell(notebook: NotebookNode) -> None:
    notebook.cells += deepcopy(notebook.cells)


def skip_tests(notebook: NotebookNode) -> None:
    for each in notebook.cells:
        each.metadata["tags"] = ["skip-execution"]


def corrupt_metadata(notebook: NotebookNode) -> None:
    cell(notebook, "check_subtract").metadata["nbgrader"]["points"] = 1000
    cell(notebook, "double").metadata["nbgrader"]["grade_id"] = "from_another_notebook"
    cell(notebook, "check_add").metadata["nbgrader"] = {"grade": True}
    cell(notebook, "heading").metadata["nbgrader"] = "gone"
