"""Intake: of what a student handed in, the files that an assignment asks for, and nothing else."""

import io
import os
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nbgrader.utils import find_all_files, parse_utc

from grading.course import Course
from grading.jobs import quoted

TIMESTAMP = "timestamp.txt"


class Submission(NamedTuple):
    """What one student handed in for one assignment."""

    student: str
    assignment: str
    folder: Path


@dataclass
class Intake:
    """The texts of the files that are graded, and what there is to say about the others."""

    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complete: bool = True


class Unusable(Exception):
    """A file cannot be graded; the text goes on after the file's name: "is missing"."""


def take_in(course: Course, submission: Submission) -> Intake:
    """Read a submission. Nothing in it is changed, and no symbolic link is followed."""
    intake = Intake()
    notebooks = course.notebooks(submission.assignment)
    others = course.files_of_students(submission.assignment)
    release = course.folder("release", submission.assignment)
    expected = [*notebooks, *others, TIMESTAMP]
    for name in expected:
        try:
            text = _read(course, submission.folder / name)
            if name == TIMESTAMP:
                _check_timestamp(text)
            elif name.endswith(".py"):
                _check_encoding(text)
            intake.files[name] = text
        except Unusable as reason:
            if name in notebooks:
                intake.complete = False
                intake.notes.append(f"{quoted(name)} {reason}, so it scores 0.")
            elif name in others and (release / name).is_file():
                intake.files[name] = (release / name).read_text(encoding="utf-8")
                intake.notes.append(f"{quoted(name)} {reason}, so the unchanged stub was graded.")
            elif os.path.lexists(submission.folder / name):
                intake.notes.append(f"{quoted(name)} {reason}, so it was not used.")
    unknown = sorted(_names(course, submission.folder) - _names(course, release) - {*expected})
    if unknown:
        names = ", ".join(map(quoted, unknown[:5]))
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        intake.notes.append(f"Not part of the assignment, so not used: {names}{more}.")
    return intake


def _names(course: Course, folder: Path) -> set[str]:
    found = find_all_files(str(folder), course.directory.ignore)
    return {os.path.relpath(path, folder) for path in found}


def _read(course: Course, path: Path) -> str:
    limit = course.directory.max_file_size
    if not os.path.lexists(path):
        raise Unusable("is missing")
    base = Path(os.path.normpath(course.root / course.directory.submitted_directory))
    straight = Path(os.path.realpath(base)) / path.relative_to(base)
    if not path.is_file() or os.path.realpath(path) != str(straight):
        raise Unusable("is not an ordinary file")
    if path.stat().st_nlink > 1:
        raise Unusable("is a hard link, so it may be somebody else's file")
    if path.stat().st_size > 1000 * limit:
        raise Unusable(f"is larger than {limit} kB")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unusable("is not a text in UTF-8") from None


def _check_encoding(text: str) -> None:
    """A comment can let Python read a file as another text than the judge."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(text.encode()).readline)
    except SyntaxError:
        encoding = "unknown"
    if encoding != "utf-8":
        raise Unusable("asks for another encoding than UTF-8")


def _check_timestamp(text: str) -> None:
    try:
        parse_utc(text.strip())
    except Exception:
        raise Unusable("is not a date and time") from None
