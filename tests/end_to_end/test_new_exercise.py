"""Adding an exercise takes five files and three right solutions: shown with a twin."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
FIVE_FILES = (
    "solutions/perceptron.py",
    "course_lib/perceptron.py",
    "course_lib/checks/perceptron.py",
    "notebooks/perceptron/perceptron.ipynb",
    "tests/exercises/test_perceptron.py",
)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the course with a module `neuron`, which is the perceptron by another name."""
    copy = tmp_path_factory.mktemp("course")
    kept = ("course_lib", "grading", "notebooks", "solutions", "tests/exercises")
    for name in kept:
        shutil.copytree(HOME / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("nbgrader_config.py", "conftest.py", "pyproject.toml"):
        shutil.copy(HOME / name, copy / name)
    for name in FIVE_FILES:
        text = (HOME / name).read_text()
        for exercise in ("predict", "fit"):
            text = text.replace(f'exercise="{exercise}"', f'exercise="neuron_{exercise}"')
        path = copy / name.replace("perceptron", "neuron")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("perceptron", "neuron"))
    alternatives = copy / "tests" / "exercises" / "alternatives"
    for path in alternatives.glob("perceptron_*.py"):
        shutil.copy(path, alternatives / path.name.replace("perceptron", "neuron"))
    return copy


def run(course, *arguments, overlay=None):
    environment = {**os.environ, "PYTHONPATH": str(course), "OMP_NUM_THREADS": "1"}
    environment.pop("COURSE_LIB_OVERLAY", None)
    if overlay:
        environment["COURSE_LIB_OVERLAY"] = str(overlay)
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)


def test_its_stub_is_known(course):
    assert run(course, "course_lib.stubs", "--check").returncode == 0


def test_it_can_be_checked(course):
    empty = run(course, "course_lib", "check", "neuron")
    assert empty.returncode == 1
    assert "Not written yet: your turn: Perceptron.fit" in empty.stdout
    reference = run(course, "course_lib", "check", "neuron", overlay=course / "solutions")
    assert reference.returncode == 0, reference.stdout
    assert run(course, "course_lib", "hint", "neuron_fit").returncode == 0


def test_its_tests_run(course):
    files = ("tests/exercises/test_neuron.py", "tests/exercises/test_checks.py")
    tests = run(course, "pytest", "-q", *files, "-k", "neuron", "-p", "no:cacheprovider")
    assert tests.returncode == 0, tests.stdout


def test_it_is_released_and_graded(course):
    stub = (course / "course_lib/neuron.py").read_text()
    shutil.copy(course / "solutions/neuron.py", course / "course_lib/neuron.py")
    assert run(course, "grading", "release", "neuron").returncode == 0
    released = (course / "release/neuron/course_lib/neuron.py").read_text()
    assert released == stub, "what is released must not depend on a student's own work"
    for student in ("ada", "ben"):
        folder = course / "submitted" / student / "neuron"
        shutil.copytree(course / "release" / "neuron", folder)
        run(course, "nbgrader", "db", "student", "add", student)
    shutil.copy(
        course / "solutions/neuron.py", course / "submitted/ada/neuron/course_lib/neuron.py"
    )
    graded = run(course, "grading", "autograde", "neuron")
    assert graded.returncode == 0, graded.stdout + graded.stderr
    assert run(course, "grading", "export", "neuron").returncode == 0
    with (course / "grades.csv").open() as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {"ada": 10, "ben": 0}
