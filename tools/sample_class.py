"""Grade the sample class as an instructor grades a real one, and sum up what `make course` made.

Every student gets the released assignments and hands them in with an own module; what the
students hand in and what they must score is in tests/end_to_end/sample_class.
"""

import argparse
import csv
import shutil
import sys
from pathlib import Path

import yaml
from rich.console import Console

from grading.__main__ import main as grading
from grading.course import Course
from grading.report import as_table, summary

HOME = Path(__file__).parents[1]
CLASS = HOME / "tests" / "end_to_end" / "sample_class"
BOOK = HOME / "_build" / "html" / "index.html"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=HOME / "_build" / "sample_class")
    root: Path = parser.parse_args().root
    root.mkdir(parents=True, exist_ok=True)
    if status := grading(["release", "--root", str(root)]):
        return status
    course = Course(root)
    enrol(course)
    hand_in(course)
    # Our own code needs no sandbox, and macOS has none.
    for command in (["autograde", "--unsafe"], ["feedback"], ["export"]):
        if status := grading([*command, "--root", str(root)]):
            return status
    sum_up(root)
    return 0


def enrol(course: Course) -> None:
    """Put the roster into the gradebook, as `nbgrader db student import` does."""
    with (CLASS / "roster.csv").open() as roster, course.gradebook() as gradebook:
        for student in csv.DictReader(roster):
            gradebook.update_or_create_student(student.pop("id"), **student)


def hand_in(course: Course) -> None:
    """Let every student hand in every released assignment."""
    expected = yaml.safe_load((CLASS / "expected.yaml").read_text())
    for student, assignments in expected.items():
        for assignment, entry in assignments.items():
            folder = course.folder("submitted", assignment, student)
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(course.folder("release", assignment), folder)
            module = HOME / entry.get("file", CLASS / student / f"{assignment}.py")
            if module.exists():
                shutil.copy(module, folder / "course_lib" / f"{assignment}.py")


def sum_up(root: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print("\nThe sample class, of whose points 2 in each assignment wait for a person:")
    console.print(as_table(summary(root)))
    console.print(f"The book:      {BOOK}" if BOOK.exists() else "The book:      run make book")
    console.print(f"The feedback:  {root / 'feedback'}")
    console.print(f"The grades:    {root / 'grades.csv'}")
    console.print("Next:          make serve (read the book), make lab (solve an exercise),")
    console.print("               make release and make grade (teach a class of your own)")


if __name__ == "__main__":
    sys.exit(main())
