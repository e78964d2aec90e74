from pathlib import Path

import pytest
from toy_course import SOLUTION, hand_in

from grading.course import Course
from grading.intake import Intake, Submission, take_in


@pytest.fixture
def folder(course: Path) -> Path:
    return hand_in(course, "ada", SOLUTION)


def intake(folder: Path) -> Intake:
    course = Course(folder.parents[2])
    course.directory.max_file_size = 10
    return take_in(course, Submission("ada", "adder", folder))


def test_what_is_asked_for_is_taken(folder: Path) -> None:
    (folder / "timestamp.txt").write_text("2026-01-01 12:00:00 UTC")
    taken = intake(folder)
    assert taken.files.keys() == {"adder.ipynb", "toy/adder.py", "timestamp.txt"}
    assert taken.files["toy/adder.py"] == SOLUTION
    assert (taken.notes, taken.complete) == ([], True)


def test_a_linked_folder_is_not_followed(folder: Path) -> None:
    (folder / "toy").rename(folder.parent / "elsewhere")
    (folder / "toy").symlink_to(folder.parent / "elsewhere")
    taken = intake(folder)
    assert "raise NotImplementedError" in taken.files["toy/adder.py"]
    assert taken.notes == [
        "`toy/adder.py` is not an ordinary file, so the unchanged stub was graded."
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#" * 10_001, "is larger than 10 kB"),
        (b"\xff", "is not a text in UTF-8"),
    ],
)
def test_a_module_that_cannot_be_read(folder: Path, content: bytes, reason: str) -> None:
    (folder / "toy" / "adder.py").write_bytes(content)
    assert f"`toy/adder.py` {reason}, so the unchanged stub was graded." in intake(folder).notes


def test_names_of_files_are_shown_as_plain_text(folder: Path) -> None:
    for name in ("`<b>.py", "\x1b[31m.py", *"abcdef"):
        (folder / name).touch()
    assert intake(folder).notes == [
        r"Not part of the assignment, so not used: `\x1b[31m.py`, `'<b>.py`, `a`, `b`, `c` "
        "and 3 more."
    ]
