"""Intake: of what a student handed in, the files that an assignment asks for, and nothing else."""

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nbgrader.utils import find_all_files, parse_utc

from grading.course import Course, GradingError
from grading.jobs import quoted
from grading.repair import LONGEST_CELL

TIMESTAMP = "timestamp.txt"
LONGEST_MODULE = LONGEST_CELL["code"]
NOT_ORDINARY = {errno.ELOOP, errno.ENXIO}
"""How opening a link or a socket ends."""


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
    """Read a submission. Nothing in it is changed, and no symbolic link is followed.

    Raises:
        GradingError: a file may be somebody else's: the instructor has to look at it.
    """
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
            elif name.endswith(".py") and len(text) > LONGEST_MODULE:
                raise Unusable(f"has more than {LONGEST_MODULE} characters")
            intake.files[name] = text
        except Unusable as reason:
            if name in notebooks:
                intake.complete = False
                intake.notes.append(f"{quoted(name)} {reason}, so it scores 0.")
            elif name in others and (stub := _stub(release / name)) is not None:
                intake.files[name] = stub
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
    base = Path(os.path.normpath(course.root / course.directory.submitted_directory))
    try:
        descriptor = _open(base, path.relative_to(base))
    except (FileNotFoundError, NotADirectoryError):
        raise Unusable("is missing") from None
    except OSError as error:
        if error.errno not in NOT_ORDINARY:
            raise
        raise Unusable("is not an ordinary file") from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Unusable("is not an ordinary file")
        if facts.st_nlink > 1:
            name = quoted(path.name)
            raise GradingError(f"{name} has other names elsewhere: is it theirs? Then copy it.")
        if facts.st_size > 1000 * limit:
            raise Unusable(f"is larger than {limit} kB")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read()
    finally:
        os.close(descriptor)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unusable("is not a text in UTF-8") from None


def _open(base: Path, path: Path) -> int:
    """Open what is below a folder to read it; no link on the way to it is followed."""
    descriptor = os.open(base, os.O_RDONLY)
    for name in path.parts:
        outer = descriptor
        try:
            # A pipe would wait for its writer.
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=outer)
        finally:
            os.close(outer)
    return descriptor


def _stub(path: Path) -> str | None:
    """Return the text of a released file, if it is there and is a text."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _check_timestamp(text: str) -> None:
    try:
        parse_utc(text.strip())
    except Exception:
        raise Unusable("is not a date and time") from None
