"""A small ordinary nbgrader course, with all that nbgrader lets a course do, and its class.

It knows nothing of ours: it has no package of modules and no checks, only cells with asserts.
"""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from nbgrader.api import SubmittedAssignment

from grading.course import Course

DUE = "2026-03-01 12:00:00 UTC"
IN_TIME = "2026-03-01 11:00:00 UTC"
LATE = "2026-03-01 14:30:00 UTC"

FILES = {
    "nbgrader_config.py": """\
import os
import sys

c = get_config()
sys.path.insert(0, os.path.dirname(__file__))
c.CourseDirectory.course_id = "plain"
c.Autograde.exclude_overwriting = {"first": ["units.py"]}
c.AssignLatePenalties.plugin_class = "late_policy.PointAnHour"
""",
    "late_policy.py": """\
from nbgrader.plugins import BasePlugin


class PointAnHour(BasePlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return total_seconds_late // 3600
""",
    "autotests.yml": """\
python3:
    setup: "from hashlib import sha1"
    hash: 'sha1({{snippet}}.encode() + b"{{salt}}").hexdigest()'
    dispatch: "type({{snippet}})"
    normalize: "str({{snippet}})"
    check: 'assert {{snippet}} == "{{value}}", "{{message}}"'
    success: "print('right')"
    templates:
        default:
            - test: "type({{snippet}})"
              fail: "{{snippet}} has another type"
            - test: "{{snippet}}"
              fail: "{{snippet}} has another value"
""",
    "source/first/readings.csv": "day,rain\n1,2.5\n2,0\n3,4\n",
    "source/first/units.py": "def litres(millimetres):\n    return millimetres\n",
}

# --- the notebooks --------------------------------------------------------------------------------

HIDDEN = "### BEGIN HIDDEN TESTS\n{}\n### END HIDDEN TESTS"
SOLUTION = "### BEGIN SOLUTION\n{}\n### END SOLUTION"
MARKS = "### BEGIN MARK SCHEME\n{}\n### END MARK SCHEME"


def read_only(name: str, text: str, kind: str = "markdown") -> NotebookNode:
    return _cell(kind, text, name, locked=True)


def solution(name: str, text: str) -> NotebookNode:
    return _cell("code", SOLUTION.format(text), name, solution=True)


def tests(name: str, points: float, visible: str, hidden: str) -> NotebookNode:
    text = f"{visible}\n{HIDDEN.format(hidden)}"
    return _cell("code", text, name, grade=True, locked=True, points=points)


def marked_by_hand(name: str, points: float, text: str, kind: str = "markdown") -> NotebookNode:
    return _cell(kind, SOLUTION.format(text), name, grade=True, solution=True, points=points)


def task(name: str, points: float, text: str, marks: str) -> NotebookNode:
    text = f"{text}\n{MARKS.format(marks)}"
    return _cell("markdown", text, name, task=True, locked=True, points=points)


def _cell(kind: str, text: str, name: str, **marks: object) -> NotebookNode:
    cell = new_code_cell(text) if kind == "code" else new_markdown_cell(text)
    base = dict.fromkeys(("grade", "solution", "locked", "task"), False)
    cell.metadata["nbgrader"] = {"schema_version": 3, "grade_id": name, **base, **marks}
    return cell


PARTIAL_CREDIT = """\
cases |= {(2, 4): 3, (-1, 1): 0, (1, 2, 4): 7 / 3}
right = [abs(mean(values) - answer) < 1e-9 for values, answer in cases.items()]
print(f"mean: {sum(right)} of {len(right)} are right")
4 * sum(right) / len(right)"""

READ = """\
import asyncio
from pathlib import Path

import units

lines = Path("readings.csv").read_text().splitlines()[1:]
rain = [float(line.split(",")[1]) for line in lines]"""

FUNCTIONS = [
    read_only("about", "# Functions\n\nRead this, and change nothing."),
    solution("square", "def square(x):\n    return x * x"),
    tests("test_square", 2, "assert square(3) == 9", "assert square(-2) == 4, 'signs'"),
    solution("mean", "def mean(values):\n    return sum(values) / len(values)"),
    tests("test_mean", 4, "cases = {(1.0,): 1.0}", PARTIAL_CREDIT),
    tests("test_name", 1, "mean.__name__", "assert mean.__name__ == 'mean'\nmean.__name__"),
    marked_by_hand("table", 3, "for x in range(3):\n    print(x, square(x))", "code"),
    marked_by_hand("why", 2, "Because minus times minus is plus."),
    task("project", 5, "Write a function of your own below.", "With a test: 2 points."),
]

RAIN = [
    read_only("read", READ, "code"),
    solution("total", "total = sum(rain)"),
    tests("test_total", 3, "assert total > 0", "assert units.litres(total) == 6.5"),
    solution("wait", "later = await asyncio.sleep(0, 42)"),
    tests("test_wait", 1, "assert later", "assert await asyncio.sleep(0, later) == 42"),
    marked_by_hand("doubt", 1.5, "A gauge in the shade."),
]

TESTS_BY_NBGRADER = [
    solution("double", "def double(x):\n    return 2 * x"),
    tests("test_double", 2, "### AUTOTEST double(3)", "### HASHED AUTOTEST double(-1)"),
]

SHOWN = r"""
print("one"); print("two", end="")
print("three")
# %%
1 + 1
# %%
None
# %%
3;
# %%
_ + 1, Out[2], In[1][:5]
# %%
from IPython.display import *
display(1, HTML("<b>bold</b>"), Markdown("*m*"), Latex("$x$"), Math("x"), SVG("<svg></svg>"))
# %%
class Both:
    def _repr_html_(self):
        return "<i>both</i>"
    def __repr__(self):
        return "both"
Both()
# %%
handle = display("first", display_id="shown")
handle.update("second")
print("below")
# %%
handle.update("third")
# %%
for _ in ProgressBar(3):
    pass
# %%
print("gone")
clear_output()
print("stays")
# %%
for number in range(3):
    clear_output(wait=True)
    print(number)
# %%
print("stays, too")
clear_output(wait=True)
# %%
import sys
for number in range(2):
    print(number)
    print(number, file=sys.stderr)
# %%
import warnings
warnings.warn("a harmless one")
# %%
import logging
logging.warning("another one")
# %%
1 / 0
# %%
print("before")
raise ValueError("late")
# %%
raise SystemExit(3)
# %%
raise KeyboardInterrupt
# %%
class Odd(Exception):
    def _render_traceback_(self):
        return ["my own traceback"]
raise Odd("odd")
# %%
error = ValueError("noted")
error.add_note("a note")
raise error
# %%
%%capture captured
print("captured")
display(1)
# %%
captured.stdout, len(captured.outputs)
# %%
captured.show()
# %%
%%writefile program.py
print("in a program")
value = 17
# %%
%run program.py
value
# %%
%env SHOWN=yes
# %%
%precision 3
3.14159
# %%
%precision
# %%
%xmode Plain
1 / 0
# %%
%xmode Context
# %%
lines = !printf 'a\nb\n'
lines
# %%
!echo out; echo err >&2; exit 3
# %%
_exit_code
# %%
%%bash
echo from bash
echo to stderr >&2
# %%
%%html
<b>html</b>
# %%
%%markdown
*markdown*
# %%
import asyncio

async def later():
    await asyncio.sleep(0.01)
    return 5

task = asyncio.create_task(later())
# %%
await task
# %%
async def numbers():
    for number in range(3):
        yield number

[number async for number in numbers()]
# %%
asyncio.get_running_loop().is_running()
# %%
from threading import Thread
thread = Thread(target=print, args=["in a thread"])
thread.start()
thread.join()
# %%
from contextlib import redirect_stdout
from io import StringIO
with redirect_stdout(StringIO()) as text:
    print("away")
text.getvalue()
# %%
sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno() > 0
# %%
from pprint import pprint
pprint({"a": list(range(40))})
# %%
list(range(1200)), {"b": 1, "a": [2]}, {3, 1}, b"\xff", "ä → 🙂"
# %%
print("10 %\r100 %\x1b[31m red \x1b[0m ab\bc")
# %%
import numpy as np
np.arange(3), np.float64(1.5)
# %%
import matplotlib.pyplot as plt
plt.plot([1, 2])
# %%
figure, axes = plt.subplots(figsize=(2, 1))
axes.plot([1, 2])
plt.show()
print("below")
# %%
figure
# %%
%matplotlib inline
%config InlineBackend.figure_format = "jpeg"
plt.figure(figsize=(1, 1));
# %%
# only a comment
# %%
get_ipython().run_cell("print(8)\n8").result
# %%
from __future__ import annotations
value: Unknown = 3
value
"""
"""Cells that show something, in most of the ways that a cell has."""

DIFFERENT = r"""
input("Your name? ")  # nobody is there
# %%
import getpass
getpass.getpass()  # nobody is there
# %%
1 +  # the text of the error names the cell
# %%
def inner():
    raise ValueError("inner")

print("before")
inner()  # other lines stand around this one
# %%
raise ExceptionGroup("group", [ValueError(1), TypeError(2)])  # nbgrader has no text for it
# %%
%nosuchmagic  nor for this one
# %%
class Mute:
    def __repr__(self):
        raise ValueError("mute")
Mute()  # has a second error in nbgrader, whose name is NoneType
# %%
len?  # opens the pager, which is no part of a notebook
# %%
import subprocess
subprocess.run(["echo", "out"]).returncode  # writes past Jupyter
# %%
type(get_ipython()).__name__  # asks which Jupyter this is
# %%
display(HTML("<b>bold</b>", metadata={"shown": "bold"}))  # only texts and pictures come out
# %%
display(JSON({"a": 1}))
# %%
np.random.rand()  # drawn from a seed that nobody has set
"""
"""Cells that do not show the same in a kernel as in our shell, and why."""


def code_cells(text: str) -> list[NotebookNode]:
    return [new_code_cell(cell.strip("\n")) for cell in text.split("# %%\n")]


NOTEBOOKS = {
    "first": {"functions": FUNCTIONS, "rain": RAIN},
    "second": {"double": TESTS_BY_NBGRADER},
    "shown": {
        "shown": [
            *code_cells(SHOWN),
            *code_cells(DIFFERENT),
            tests("test_shown", 2, "assert value == 3", "assert lines == ['a', 'b']"),
            tests("test_magic", 1, "value", "%nosuchmagic"),
            tests("test_group", 1, "value", "raise ExceptionGroup('group', [ValueError(1)])"),
        ]
    },
}


def write_course(home: Path) -> None:
    for name, text in FILES.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for assignment, notebooks in NOTEBOOKS.items():
        folder = home / "source" / assignment
        folder.mkdir(parents=True, exist_ok=True)
        for name, cells in notebooks.items():
            notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
            nbformat.write(notebook, folder / f"{name}.ipynb")


# --- the class ------------------------------------------------------------------------------------

RIGHT = {
    "square": "def square(x):\n    return x**2",
    "mean": "from statistics import mean",
    "table": "for x in range(4):\n    print(x, square(x), sep='\\t')",
    "why": "The signs cancel.",
    "total": "total = 0\nfor drop in rain:\n    total += drop",
    "wait": "later = await asyncio.sleep(0, 42)",
    "doubt": "Wind.",
    "double": "def double(x):\n    return x + x",
}

WARNS = "import warnings\n\ndef square(x):\n    warnings.warn('slow')\n    return x * x"

ANSWERS: dict[str, dict[str, str]] = {
    "ada": RIGHT,
    "ben": {},
    "cleo": RIGHT
    | {
        "mean": "def mean(values):\n    return values[0] + 1 - len(values)",
        "double": "def double(x):\n    return x + 3",
    },
    "dan": RIGHT,
    "eva": {"square": "def square(x):\n    return x * x"},
    "finn": RIGHT,
    "gita": RIGHT | {"square": "def square(x)\n    return x * x", "wait": "later = 41"},
    "hugo": RIGHT | {"square": WARNS, "mean": "def mean(values):\n    return 'none'"},
    "ida": RIGHT | {"square": "def square(x):\n    return abs(x) * x"},
    "jon": RIGHT | {"total": "total = input('How much? ')", "table": "1 / 0"},
    "kim": RIGHT,
    "lou": RIGHT,
    "mia": RIGHT | {"square": "from helpers import square"},
    "zoe": RIGHT,
}
"""What each student writes; ben hands in what he got."""


def set_due_date(root: Path) -> None:
    """Nobody is enrolled: nbgrader adds who hands in, unless its configuration says else."""
    with Course(root).gradebook() as gradebook:
        gradebook.update_or_create_assignment("first", duedate=DUE)


def hand_in(root: Path, student: str, assignment: str = "first") -> Path:
    """Submit an assignment as a student does, who may do more to it than answer."""
    folder = root / "submitted" / student / assignment
    shutil.copytree(root / "release" / assignment, folder)
    (folder / "timestamp.txt").write_text(LATE if student in ("dan", "eva") else IN_TIME)
    for path in folder.glob("*.ipynb"):
        edit(path, lambda notebook: fill_in(notebook, ANSWERS[student]))
    if assignment == "first" and student in HABITS:
        HABITS[student](folder)
    return folder


def edit(path: Path, change: Callable[[NotebookNode], object]) -> None:
    notebook = nbformat.from_dict(json.loads(path.read_text()))
    change(notebook)
    path.write_text(json.dumps(notebook))


def fill_in(notebook: NotebookNode, answers: dict[str, str]) -> None:
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(name, cell.source)


def named(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name)


def forget_a_notebook(folder: Path) -> None:
    (folder / "rain.ipynb").unlink()


def change_what_is_not_theirs(folder: Path) -> None:
    def change(notebook: NotebookNode) -> None:
        named(notebook, "about").source = "# My functions"
        named(notebook, "test_square").source = "assert True"
        named(notebook, "test_mean").metadata["nbgrader"]["points"] = 40
        notebook.cells[2:2] = [new_code_cell("note = 'my own'\nnote"), new_raw_cell("raw")]

    edit(folder / "functions.ipynb", change)
    (folder / "readings.csv").write_text("day,rain\n1,1000\n")
    (folder / "units.py").write_text("def litres(millimetres):\n    return 0\n")


def run_all_before(folder: Path) -> None:
    def change(notebook: NotebookNode) -> None:
        notebook.nbformat_minor = 2
        for number, cell in enumerate(notebook.cells):
            del cell["id"]
            if cell.cell_type == "code":
                shown = new_output("execute_result", data={"text/plain": "4"}, execution_count=1)
                cell.outputs, cell.execution_count = [shown], number

    edit(folder / "functions.ipynb", change)
    (folder / "scratch.ipynb").write_text((folder / "rain.ipynb").read_text())
    (folder / "photo.png").write_bytes(b"\x89PNG")


def delete_a_test(folder: Path) -> None:
    def change(notebook: NotebookNode) -> None:
        notebook.cells.remove(named(notebook, "test_square"))

    edit(folder / "functions.ipynb", change)


def bring_a_module(folder: Path) -> None:
    (folder / "helpers.py").write_text(RIGHT["square"])


def copy_cells(folder: Path) -> None:
    def change(notebook: NotebookNode) -> None:
        notebook.cells.insert(0, deepcopy(named(notebook, "test_square")))
        notebook.cells.append(deepcopy(named(notebook, "square")))

    edit(folder / "functions.ipynb", change)


HABITS: dict[str, Callable[[Path], None]] = {
    "finn": forget_a_notebook,
    "ida": change_what_is_not_theirs,
    "kim": run_all_before,
    "lou": delete_a_test,
    "mia": bring_a_module,
    "zoe": copy_cells,
}


def copy_of(root: Path, copy: Path, *students: str, assignment: str = "*") -> Path:
    """Copy a class, with the work of some students only."""
    shutil.copytree(root, copy)
    for step in ("submitted", "autograded"):
        kept = {path for student in students for path in (copy / step / student).glob(assignment)}
        for folder in {*(copy / step).glob("*/*")} - kept:
            shutil.rmtree(folder)
    return copy


# --- what the gradebook says of it ----------------------------------------------------------------

Rows = dict[tuple[str, ...], Any]
"""By student, assignment, notebook and cell."""

FIELDS = "auto_score manual_score extra_credit score max_score needs_manual_grade failed_tests"


def rows(root: Path, *students: str, assignment: str = "first") -> Rows:
    """Return all that the gradebook says of the submissions of some students, or of all."""
    with Course(root).gradebook() as gradebook:
        entries = gradebook.assignment_submissions(assignment)
        chosen = [entry for entry in entries if not students or entry.student_id in students]
        return dict(itertools.chain.from_iterable(map(_rows_of, chosen)))


def _rows_of(entry: SubmittedAssignment) -> Iterator[tuple[tuple[str, ...], Any]]:
    student = entry.student_id
    yield (student,), (entry.timestamp, entry.total_seconds_late, entry.needs_manual_grade)
    for notebook in entry.notebooks:
        yield (student, notebook.name), (notebook.score, notebook.late_submission_penalty)
        for grade in notebook.grades:
            fields = {name: getattr(grade, name) for name in FIELDS.split()}
            yield (student, notebook.name, grade.name), fields
        for comment in notebook.comments:
            place = student, notebook.name, comment.name, "comment"
            yield place, (comment.auto_comment, comment.manual_comment)
