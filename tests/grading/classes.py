"""A class of the toy course of which everybody's grades and files are known beforehand.

Many students hand in few kinds of work. What one student of a kind gets, to the byte, every other
one must get, whatever happens to the machine in between.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import nbformat
from toy_course import SOLUTION, STUB, answer_double, edit, hand_in

from grading.autograde import JOURNAL
from grading.course import Course

STEPS = ("autograded", "feedback")


class Kind(NamedTuple):
    """One kind of work: a module, whether the notebook's question is answered, the points."""

    module: str
    answered: bool
    points: dict[str, float]


def _kind(module: str, answered: bool, *points: float) -> Kind:
    cells = ("check_add", "check_subtract", "check_double")
    return Kind(module, answered, dict(zip(cells, points, strict=True)))


KINDS = {
    "right": _kind(SOLUTION, True, 2, 3, 1),
    "slow": _kind(
        SOLUTION.replace("return a - b", "import time; time.sleep(0.1); return a - b"),
        True,
        2,
        3,
        1,
    ),
    "half": _kind(SOLUTION.replace("return a - b", "return abs(a - b)"), True, 2, 1.5, 1),
    "dying": _kind(SOLUTION.replace("return a - b", "import os; os._exit(1)"), True, 2, 0, 1),
    "untouched": _kind(STUB, False, 0, 0, 0),
}

Work = dict[str, str]
"""Who has handed in which kind."""
Files = dict[str, bytes]


def class_of(size: int) -> Work:
    names = [*KINDS]
    return {f"student{number:02}": names[number % len(names)] for number in range(size)}


def changed(work: Work) -> Work:
    """Let everybody have another kind."""
    names = [*KINDS]
    return {student: names[names.index(kind) - 1] for student, kind in work.items()}


def hand_in_all(root: Path, work: Work) -> None:
    for student, kind in work.items():
        folder = hand_in(root, student, KINDS[kind].module)
        (folder / "notes.txt").write_text("no part of the assignment, so it makes a note")
        if KINDS[kind].answered:
            edit(folder, answer_double)


def files(root: Path, step: str, student: str) -> Files:
    """Return what a student has in one of nbgrader's steps; nothing when there is no folder."""
    folder = root / step / student / "adder"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def grades(root: Path) -> list[tuple[str, str, float, bool]]:
    """Return every grade that the gradebook has, a grade that is there twice also twice."""
    with Course(root).gradebook() as gradebook:
        return sorted(
            (entry.student.id, grade.name, grade.auto_score, grade.needs_manual_grade)
            for entry in gradebook.assignment_submissions("adder")
            for notebook in entry.notebooks
            for grade in notebook.grades
        )


class Snapshot(NamedTuple):
    """What everybody has in every step at one moment."""

    files: dict[tuple[str, str], Files]

    @classmethod
    def of(cls, root: Path, work: Work) -> "Snapshot":
        return cls(
            {(step, student): files(root, step, student) for step in STEPS for student in work}
        )


class Undisturbed:
    """What an undisturbed run leaves of each kind of work."""

    def __init__(self, root: Path, work: Work) -> None:
        self.root, self.work = root, work
        self.files = {
            (step, kind): files(root, step, student)
            for step in STEPS
            for student, kind in work.items()
        }

        for (step, _), found in self.files.items():
            if step == "autograded":
                nbformat.validate(nbformat.reads(found["adder.ipynb"].decode(), as_version=4))
            else:
                assert found["adder.html"].decode().rstrip().endswith("</html>")

    def copy(self, target: Path) -> Path:
        return shutil.copytree(self.root, target)

    def assert_whole(self, root: Path, work: Work, before: Snapshot) -> None:
        """Nothing is half-written: everything is as before the run, or as after it.

        A folder cannot be replaced in one step: one may be gone, and the next run makes it again.
        """
        for step in STEPS:
            assert {path.name for path in (root / step).glob("*")} <= work.keys()
        gone = []
        for (step, student), found in Snapshot.of(root, work).files.items():
            states = before.files[step, student], self.files[step, work[student]]
            if found not in states:
                assert found == {}, f"{step}/{student} is neither as before nor as after"
                gone.append(student)
        assert len(gone) <= 1
        with closing(sqlite3.connect(root / "gradebook.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        journal(root)

    def assert_graded(self, root: Path, work: Work) -> None:
        """Every grade is there once, and right, and so is every autograded file."""
        assert grades(root) == sorted(
            (student, cell, points, False)
            for student, kind in work.items()
            for cell, points in KINDS[kind].points.items()
        )
        for student, kind in work.items():
            assert files(root, "autograded", student) == self.files["autograded", kind]
        assert {entry["student"] for entry in journal(root)} == work.keys()

    def assert_feedback(self, root: Path, work: Work) -> None:
        for student, kind in work.items():
            assert files(root, "feedback", student) == self.files["feedback", kind]


def journal(root: Path) -> list[dict[str, object]]:
    """Return the entries of the journal; every line must be one."""
    path = root / JOURNAL
    text = path.read_text() if path.exists() else ""
    assert text == "" or text.endswith("\n"), "the journal's last line is torn"
    return [json.loads(line) for line in text.splitlines()]
