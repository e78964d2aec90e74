"""A small ordinary nbgrader course, with everything that nbgrader lets a course do.

It knows nothing of ours: no package of modules, no checks, only cells with asserts.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.api import Gradebook

DUE = "2026-03-01 12:00:00 UTC"
LATE = "2026-03-01 14:30:00 UTC"

CONFIG = """
import sys

c = get_config()
sys.path.insert(0, {home!r})
c.CourseDirectory.course_id = "plain"
c.CourseDirectory.root = {home!r}
c.AssignLatePenalties.plugin_class = "late_policy.PointAnHour"
"""

LATE_POLICY = """
from nbgrader.plugins import BasePlugin


class PointAnHour(BasePlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return total_seconds_late // 3600
"""

READINGS = "day,rain\n1,2.5\n2,0\n3,4\n"


def read_only(name: str, text: str, kind: str = "markdown") -> NotebookNode:
    return _cell(kind, text, name, locked=True)


def solution(name: str, text: str) -> NotebookNode:
    return _cell("code", text, name, solution=True)


def tests(name: str, points: float, visible: str, hidden: str) -> NotebookNode:
    text = f"{visible}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
    return _cell("code", text, name, grade=True, locked=True, points=points)


def by_hand(name: str, points: float, text: str, kind: str = "markdown") -> NotebookNode:
    return _cell(kind, text, name, grade=True, solution=True, points=points)


def task(name: str, points: float, text: str) -> NotebookNode:
    return _cell("markdown", text, name, task=True, locked=True, points=points)


def _cell(kind: str, text: str, name: str, **marks: object) -> NotebookNode:
    cell = new_code_cell(text) if kind == "code" else new_markdown_cell(text)
    base = dict.fromkeys(("grade", "solution", "locked", "task"), False)
    cell.metadata["nbgrader"] = NotebookNode(
        {"schema_version": 3, "grade_id": name, "cell_type": kind} | base | marks
    )
    return cell


FUNCTIONS = [
    read_only("about", "# Functions\n\nRead this, and change nothing."),
    solution("square", "def square(x):\n    ### BEGIN SOLUTION\n    return x * x\n    ### END SOLUTION"),
    tests("test_square", 2, "assert square(3) == 9", "assert square(-2) == 4, 'signs'"),
    solution(
        "mean",
        "def mean(values):\n    ### BEGIN SOLUTION\n    return sum(values) / len(values)\n"
        "    ### END SOLUTION",
    ),
    tests(
        "test_mean",
        4,
        "cases = {(1.0,): 1.0}",
        "cases |= {(2, 4): 3, (-1, 1): 0, (1, 2, 4): 7 / 3}\n"
        "right = [abs(mean(values) - answer) < 1e-9 for values, answer in cases.items()]\n"
        "print(f'mean: {sum(right)} of {len(right)} are right')\n"
        "4 * sum(right) / len(right)",
    ),
    tests("test_name", 1, "mean.__name__", "assert mean.__name__ == 'mean'\nmean.__name__"),
    by_hand(
        "table",
        3,
        "### BEGIN SOLUTION\nfor x in range(3):\n    print(x, square(x))\n### END SOLUTION",
        "code",
    ),
    by_hand("why", 2, "### BEGIN SOLUTION\nBecause minus times minus is plus.\n### END SOLUTION"),
    task(
        "project",
        5,
        "Write a function of your own, with a test, in cells below.\n"
        "### BEGIN MARK SCHEME\nA test that can fail: 2 points.\n### END MARK SCHEME",
    ),
]

RAIN = [
    read_only(
        "read",
        "from pathlib import Path\n\n"
        "lines = Path('readings.csv').read_text().splitlines()[1:]\n"
        "rain = [float(line.split(',')[1]) for line in lines]",
        "code",
    ),
    solution("total", "### BEGIN SOLUTION\ntotal = sum(rain)\n### END SOLUTION"),
    tests("test_total", 3, "assert total > 0", "assert total == 6.5"),
    solution(
        "wait",
        "import asyncio\n\n### BEGIN SOLUTION\nanswer = await asyncio.sleep(0, 42)\n### END SOLUTION",
    ),
    tests("test_wait", 1, "assert answer", "assert await asyncio.sleep(0, answer) == 42"),
    by_hand("doubt", 1.5, "### BEGIN SOLUTION\nA gauge in the shade.\n### END SOLUTION"),
]

NOTEBOOKS = {"first": {"functions": FUNCTIONS, "rain": RAIN}}


def write_course(home: Path, notebooks: Mapping[str, Mapping[str, list[NotebookNode]]]) -> None:
    (home / "nbgrader_config.py").write_text(CONFIG.format(home=str(home)))
    (home / "late_policy.py").write_text(LATE_POLICY)
    for assignment, pages in notebooks.items():
        folder = home / "source" / assignment
        folder.mkdir(parents=True)
        (folder / "readings.csv").write_text(READINGS)
        for name, cells in pages.items():
            nbformat.write(_notebook(cells), folder / f"{name}.ipynb")


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})
