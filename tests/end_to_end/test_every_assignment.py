"""Every assignment through nbgrader's real path: release, hand in, autograde, feedback.

Three students each: the reference, the stub as released, and the reference with its last function
unwritten.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest

from course_lib.checks import checks_of, modules
from course_lib.stubs import stub
from grading.course import Course

HOME = Path(__file__).parents[2]
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
QUESTION = 2
"""The points of the question in words, which a person gives."""

every_module = pytest.mark.parametrize("module", modules())


def grading(*arguments: str | Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("COURSE_LIB_OVERLAY", None)
    subprocess.run(
        [sys.executable, "-m", "grading", *arguments],
        check=True,
        cwd=HOME,
        env=environment,
        capture_output=True,
    )


def nearly_done(source: str) -> str:
    """Return the reference with only its last function unwritten."""
    *regions, last = source.split(BEGIN)
    return stub("".join(region.replace(END, "") for region in regions) + BEGIN + last)


def grade_three_students(module: str, root: Path) -> Path:
    root.mkdir(parents=True)
    grading("release", module, "--root", root)
    course = Course(root)
    source = (HOME / "solutions" / f"{module}.py").read_text()
    handed_in = {"right": source, "empty": None, "nearly": nearly_done(source)}
    with course.gradebook() as gradebook:
        for student in handed_in:
            gradebook.update_or_create_student(student)
    for student, text in handed_in.items():
        folder = course.folder("submitted", module, student)
        shutil.copytree(course.folder("release", module), folder)
        if text is not None:
            (folder / "course_lib" / f"{module}.py").write_text(text)
    grading("autograde", module, "--root", root)
    grading("feedback", module, "--root", root)
    return root


@pytest.fixture(scope="module")
def roots() -> dict[str, Path]:
    folder = HOME / "_build" / "every_assignment"
    shutil.rmtree(folder, ignore_errors=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        graded = pool.map(lambda name: grade_three_students(name, folder / name), modules())
        return dict(zip(modules(), graded))


def submission(roots: dict[str, Path], module: str, student: str) -> dict[str, Any]:
    with Course(roots[module]).gradebook() as gradebook:
        found = gradebook.find_submission(module, student)
        return {"score": found.score, "max": found.max_score}


def feedback(roots: dict[str, Path], module: str, student: str) -> str:
    page = roots[module] / "feedback" / student / module / f"{module}.html"
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def most(module: str) -> float:
    return sum(check.max_points for check in checks_of(module))


@every_module
def test_the_release_holds_no_solution_and_no_hidden_test(roots: dict, module: str) -> None:
    released = roots[module] / "release" / module
    text = "".join(path.read_text() for path in released.rglob("*") if path.is_file())
    assert f"{module}.ipynb" in {path.name for path in released.iterdir()}
    for secret in ("BEGIN SOLUTION", "BEGIN HIDDEN", ".grade()", "MARK SCHEME"):
        assert secret not in text


@every_module
def test_the_reference_gets_every_point_but_those_that_a_person_gives(
    roots: dict, module: str
) -> None:
    assert submission(roots, module, "right") == {
        "score": most(module),
        "max": most(module) + QUESTION,
    }


@every_module
def test_the_stub_gets_nothing_and_the_feedback_says_what_to_write(
    roots: dict, module: str
) -> None:
    assert submission(roots, module, "empty")["score"] == 0
    page = feedback(roots, module, "empty")
    for check in checks_of(module):
        assert f"{check.exercise} ({check.target}): 0 of {check.max_points:g} points" in page
    assert page.count("Not written yet: your turn:") >= len(checks_of(module))


@every_module
def test_one_function_that_is_missing_costs_some_points_and_not_all(
    roots: dict, module: str
) -> None:
    assert 0 < submission(roots, module, "nearly")["score"] < most(module)
    assert "your turn" in feedback(roots, module, "nearly")


@every_module
def test_the_notebook_declares_its_points(module: str) -> None:
    notebook = nbformat.read(HOME / "notebooks" / module / f"{module}.ipynb", as_version=4)
    graded = [cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata]
    points = {entry.grade_id: entry.points for entry in graded if entry.grade}
    by_check = {f"check_{check.exercise}": check.max_points for check in checks_of(module)}
    assert points == {**by_check, "question": QUESTION}
    assert f"| Points | {sum(points.values()):g}: " in notebook.cells[0].source
