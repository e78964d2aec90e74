"""The sample class through the real path: release, nbgrader's autograde, feedback, CSV."""

import csv
import html
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

HOME = Path(__file__).parents[2]
EXPECTED = yaml.safe_load((HOME / "tests/end_to_end/sample_class/expected.yaml").read_text())
CASES = [(student, name) for student, entries in EXPECTED.items() for name in entries]


def grade(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/sample_class.py", "--root", str(root)]
    return subprocess.run(command, cwd=HOME, capture_output=True, text=True)


@pytest.fixture(scope="module")
def graded() -> tuple[Path, subprocess.CompletedProcess[str]]:
    root = HOME / "_build" / "sample_class_of_the_tests"
    subprocess.run(["rm", "-rf", root], check=True)
    return root, grade(root)


def test_the_run_succeeds_and_ends_with_a_summary(graded):
    _, run = graded
    assert run.returncode == 0, run.stdout + run.stderr
    summary = run.stdout[run.stdout.index("The sample class") :]
    for text in ("chloe", "grades.csv", "feedback", "make serve", "make grade"):
        assert text in summary


@pytest.mark.parametrize(("student", "assignment"), CASES)
def test_the_gradebook_has_exactly_the_expected_score(graded, student, assignment):
    root, _ = graded
    with (root / "grades.csv").open() as file:
        scores = {
            (row["student_id"], row["assignment"]): row["score"] for row in csv.DictReader(file)
        }
    assert float(scores[student, assignment]) == EXPECTED[student][assignment]["score"]


@pytest.mark.parametrize(("student", "assignment"), CASES)
def test_the_feedback_names_the_mistake(graded, student, assignment):
    root, _ = graded
    page = (root / "feedback" / student / assignment / f"{assignment}.html").read_text()
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    for sentence in EXPECTED[student][assignment].get("feedback", []):
        assert sentence in text
    assert "HIDDEN" not in text


def test_a_second_run_grades_nothing_and_takes_seconds(graded):
    root, _ = graded
    start = time.monotonic()
    run = grade(root)
    assert run.returncode == 0
    assert run.stdout.count("(unchanged)") == len(CASES)
    assert f"feedback: 0 written, {len(CASES)} unchanged" in run.stdout
    assert time.monotonic() - start < 30
