"""The class that the benchmarks grade, and what they make of their measurements."""

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from bench_grading import Timing
from grading_class import MISTAKES, MIXTURE, make_class
from grading_results import estimate


@pytest.mark.slow
def test_every_student_of_the_class_hands_in_another_file() -> None:
    students = make_class(60)
    kinds = Counter(student.kind for student in students)
    assert kinds == {kind: 5 * share for kind, share in Counter(MIXTURE).items()}
    assert len({student.module for student in students}) == 60
    mistaken = {
        student.module.rpartition("#")[0] for student in students if student.kind == "mistaken"
    }
    assert len(mistaken) == MISTAKES == kinds["mistaken"]
    unfinished = [student for student in students if student.kind in ("unfinished", "empty")]
    assert all("NotImplementedError" in student.module for student in unfinished)
    for student in students:
        if student.kind != "broken":
            ast.parse(student.module)


def test_a_part_of_the_class_tells_the_time_for_all_of_it() -> None:
    # 5 s of start, 2 s for each submission, 1 s of end.
    few = Timing(seconds=5 + 3 * 2 + 1, graded=[7, 9, 11])
    assert few.for_class(3) == few.seconds
    assert few.for_class(10) == 5 + 10 * 2 + 1


def test_the_estimate_knows_who_is_waited_for() -> None:
    figures = {"start": 6.0, "worker": 1.0, "collector": 0.1}
    assert estimate(100, 4, figures) == 6 + 100 / 4
    assert estimate(100, 20, figures) == 6 + 100 * 0.1
