import os
import shutil
import socket
from collections.abc import Callable
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
    course.directory.max_file_size = 200
    course.config.Autograde.exclude_overwriting = {"adder": ["weights"]}
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


def a_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def a_socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


@pytest.mark.parametrize("make", [a_link, a_socket, os.mkfifo, os.mkdir])
def test_what_is_no_ordinary_file_is_not_opened(
    folder: Path, make: Callable[[Path], object]
) -> None:
    module = folder / "toy" / "adder.py"
    module.unlink()
    make(module)
    assert intake(folder).notes == [
        "`toy/adder.py` is not an ordinary file, so the unchanged stub was graded."
    ]


def test_a_file_in_the_place_of_a_folder(folder: Path) -> None:
    shutil.rmtree(folder / "toy")
    (folder / "toy").touch()
    assert "`toy/adder.py` is missing, so the unchanged stub was graded." in intake(folder).notes


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#" * 200_001, "is larger than 200 kB"),
        (b"#" * 100_001, "has more than 100000 characters"),
        (b"\xff", "is not a text in UTF-8"),
    ],
)
def test_a_module_that_cannot_be_read(folder: Path, content: bytes, reason: str) -> None:
    (folder / "toy" / "adder.py").write_bytes(content)
    assert f"`toy/adder.py` {reason}, so the unchanged stub was graded." in intake(folder).notes


def test_a_coding_comment_is_left_to_those_who_parse_the_module(folder: Path) -> None:
    text = "# coding: utf-7\n" + SOLUTION
    (folder / "toy" / "adder.py").write_text(text)
    taken = intake(folder)
    assert (taken.files["toy/adder.py"], taken.notes) == (text, [])


def test_a_file_that_is_no_text(folder: Path) -> None:
    for place in (folder, folder.parents[2] / "release" / "adder"):
        (place / "weights").write_bytes(b"\xff")
    taken = intake(folder)
    assert "weights" not in taken.files
    assert taken.notes == ["`weights` is not a text in UTF-8, so it was not used."]


def test_names_of_files_are_shown_as_plain_text(folder: Path) -> None:
    for name in ("`<b>.py", "\x1b[31m.py", *"abcdef"):
        (folder / name).touch()
    assert intake(folder).notes == [
        r"Not part of the assignment, so not used: `\x1b[31m.py`, `'<b>.py`, `a`, `b`, `c` "
        "and 3 more."
    ]
