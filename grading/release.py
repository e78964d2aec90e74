"""Release assignments: what students get, with nothing in it that they must not see."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import ClearHiddenTests, ClearMarkScheme, ClearSolutions
from nbgrader.utils import is_solution
from traitlets.utils.importstring import import_item

from grading.course import CONFIG, Course, GradingError, replace_folder


def release(course: Course, assignment: str) -> bool:
    """Release one assignment; return whether there was anything new to release.

    Raises:
        GradingError: nbgrader refuses it (an earlier release stays as it is), or it would
            give something away (then there is no release any more).
    """
    if is_current(course, assignment):
        return False
    folder = course.folder("release", assignment)
    module = course.module(assignment)
    reference = _reference(course, assignment)
    if reference and not module:
        raise GradingError(f"The stub of {reference} is missing in {course.code.package}/.")
    record = course.record("released", assignment)
    record.delete()
    with course.workplace() as work:
        course.convert(GenerateAssignment, assignment, folders={"release": work / "release"})
        new = work / "release" / assignment
        if module:
            (new / module).parent.mkdir(exist_ok=True)
            (new / module).write_text(_stub(course, assignment), encoding="utf-8")
        if leak := find_leak(course, assignment, new):
            shutil.rmtree(folder, ignore_errors=True)
            raise GradingError(f"It would give something away: {leak}.")
        replace_folder(new, folder, work / "old")
    record.write(source=source_digest(course, assignment), release=course.digest([folder]))
    return True


def is_current(course: Course, assignment: str) -> bool:
    """Tell whether the release belongs to the present sources, and is as we left it."""
    folder = course.folder("release", assignment)
    record = course.record("released", assignment).read()
    with course.gradebook() as gradebook:
        known = {entry.name for entry in gradebook.assignments}
    return (
        assignment in known
        and folder.is_dir()
        and record.get("source") == source_digest(course, assignment)
        and record.get("release") == course.digest([folder])
    )


def source_digest(course: Course, assignment: str) -> str:
    paths = [course.folder("source", assignment), course.home / CONFIG]
    return course.digest(paths, _stub(course, assignment))


def _stub(course: Course, assignment: str) -> str:
    """Return the text of the module that students start from; empty when there is none."""
    module, reference = course.module(assignment), _reference(course, assignment)
    if reference and course.code.stub:
        return str(import_item(course.code.stub)(reference.read_text(encoding="utf-8")))
    return (course.home / module).read_text(encoding="utf-8") if module else ""


def find_leak(course: Course, assignment: str, folder: Path) -> str | None:
    """Say what in a release students must not see, or return None."""
    begins, ends = _markers(course)
    secret = _secret_lines(course, assignment, begins, ends)
    for path in filter(Path.is_file, folder.rglob("*")):
        if leak := _leak_in(path, begins + ends, secret):
            return f"{leak} remains in {path.name}"
    return None


def _markers(course: Course) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what begins a part of a cell that students must not see, and what ends it."""
    solutions = ClearSolutions(config=course.config)
    tests = ClearHiddenTests(config=course.config)
    schemes = ClearMarkScheme(config=course.config)
    begins = (
        solutions.begin_solution_delimeter,
        tests.begin_test_delimeter,
        schemes.begin_mark_scheme_delimeter,
    )
    ends = (
        solutions.end_solution_delimeter,
        tests.end_test_delimeter,
        schemes.end_mark_scheme_delimeter,
    )
    return begins, ends


def _secret_lines(
    course: Course, assignment: str, begins: tuple[str, ...], ends: tuple[str, ...]
) -> set[str]:
    """Return the lines that stand in solutions and hidden tests and nowhere else."""
    stubs = ClearSolutions(config=course.config)
    public = _lines("\n".join([*stubs.code_stub.values(), stubs.text_stub])) | {""}
    secret: set[str] = set()
    for text in _sources(course, assignment, begins):
        hidden = False
        for line in text.splitlines():
            if any(marker in line for marker in begins + ends):
                hidden = any(marker in line for marker in begins)
            else:
                (secret if hidden else public).add(line.strip())
    return secret - public


def _leak_in(path: Path, markers: tuple[str, ...], secret: set[str]) -> str | None:
    text = path.read_text(encoding="utf-8", errors="replace")
    for marker in markers:
        # Also when mistyped: nbgrader passes over "Begin hidden test".
        if marker.lower().removesuffix("s") in text.lower():
            return f'a marker like "{marker}"'
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        if any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
            return "a stored output"
        text = "\n".join(cell.source for cell in cells)
    for line in sorted(_lines(text) & secret):
        return f'the line "{line}" of a solution or hidden test'
    return None


def _sources(course: Course, assignment: str, begins: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts that hold an assignment's solutions and hidden tests."""
    for name in course.notebooks(assignment):
        notebook = nbformat.read(course.folder("source", assignment) / name, as_version=4)
        for cell in notebook.cells:
            whole = is_solution(cell) and not any(marker in cell.source for marker in begins)
            yield f"{begins[0]}\n{cell.source}" if whole else cell.source
    if reference := _reference(course, assignment):
        yield reference.read_text(encoding="utf-8")


def _reference(course: Course, assignment: str) -> Path | None:
    path = course.home / course.code.reference / f"{assignment}.py"
    return path if course.code.reference and path.is_file() else None


def _lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines()}
