"""Autograde: one submission becomes one outcome, whatever is in it."""

import os
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook
from nbgrader.api import MissingEntry
from nbgrader.converters import Autograde

from grading.course import (
    LOG,
    Course,
    GradingError,
    environment,
    replace_folder,
    write_atomically,
)
from grading.intake import TIMESTAMP, Intake, Submission, quoted, take_in
from grading.preprocessors import KERNEL_LOST
from grading.release import is_current

INCIDENTS = {
    KERNEL_LOST: "{} died or could not be stopped; what had not finished by then scores 0.",
    "CellTimeoutError": "A cell of {} ran longer than its time limit and was stopped.",
}
"""What the names of errors in an executed notebook mean."""


class Outcome(NamedTuple):
    """What came of a submission: a score where there is one, and what there is to say.

    It is complete when all of the submission could be graded.
    """

    submission: Submission
    notes: list[str]
    score: float | None = None
    max_score: float | None = None
    complete: bool = False
    reused: bool = False


def submissions(course: Course, assignment: str) -> list[Submission]:
    """Find all submissions of an assignment.

    Raises:
        GradingError: there are some, but no release of the present sources to grade them by.
    """
    found = [
        Submission(student, assignment, course.folder("submitted", assignment, student))
        for student in course.students("submitted", assignment)
    ]
    if found and not is_current(course, assignment):
        raise GradingError(
            f"{assignment} has not been released since it last changed: "
            f"run `python -m grading release {assignment}` first."
        )
    return found


def grade(course: Course, submission: Submission, *, force: bool = False) -> Outcome:
    """Grade one submission; whatever goes wrong becomes part of the outcome.

    The student's files stay as they are. The autograded folder is replaced when the new one is
    finished. Nothing is graded again while nothing that the grade depends on has changed.
    """
    try:
        return _grade(course, submission, force)
    except Exception as error:
        LOG.exception("%s could not be graded", submission)
        return Outcome(submission, [f"It was not graded. {type(error).__name__}: {error}"])


def _grade(course: Course, submission: Submission, force: bool) -> Outcome:
    student, assignment, _ = submission
    with course.gradebook() as gradebook:
        if student not in {entry.id for entry in gradebook.students}:
            advice = "add the student with `nbgrader db student import FILE.csv`"
            return Outcome(submission, [f"{student} is not in the gradebook: {advice}."])
    intake = take_in(course, submission)
    digest = _digest(course, assignment, intake)
    folder = course.folder("autograded", assignment, student)
    record = course.record("graded", assignment, student)
    before = record.read()
    scores = _scores(course, submission)
    if before.get("digest") == digest and folder.is_dir() and scores and not force:
        return Outcome(submission, before["notes"], *scores, before["complete"], reused=True)
    record.delete()
    settled = True
    with course.workplace() as work:
        try:
            _run(course, submission, intake, work)
        except GradingError as error:
            settled = intake.complete = False
            intake.notes.append(f"nbgrader could not grade this, so it scores 0. {error}")
            _record_zero(course, submission, intake)
        result = work / "autograded" / student / assignment
        _annotate(result, course.notebooks(assignment), intake)
        replace_folder(result, folder, work / "old")
    if settled:
        record.write(digest=digest, notes=intake.notes, complete=intake.complete)
    score, max_score = _scores(course, submission) or (None, None)
    return Outcome(submission, intake.notes, score, max_score, intake.complete)


def _digest(course: Course, assignment: str, intake: Intake) -> str:
    folders = [course.folder(step, assignment) for step in ("source", "release")]
    texts = [text for item in sorted(intake.files.items()) for text in item]
    return course.digest(folders, course.environment, *texts, *intake.notes)


def _run(course: Course, submission: Submission, intake: Intake, work: Path) -> None:
    """Let nbgrader grade what was taken in, in a folder of its own."""
    student, assignment, _ = submission
    if not any(name in intake.files for name in course.notebooks(assignment)):
        _record_zero(course, submission, intake)
        return
    for name, text in intake.files.items():
        path = work / "submitted" / student / assignment / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    module = course.module(assignment)
    with environment(_variables(course, work / "autograded" / student / assignment)):
        course.convert(
            Autograde,
            assignment,
            student,
            folders={step: work / step for step in ("submitted", "autograded")},
            exclude_overwriting={assignment: [module] if module else []},
        )


def _variables(course: Course, result: Path) -> dict[str, str]:
    """Return the environment variables of a graded run."""
    path = [str(course.home), os.environ.get("PYTHONPATH")]
    variables = {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    code = course.code
    if code.overlay_variable:
        folders = ((result, code.package), (course.home, code.reference))
        overlay = [str(base / name) for base, name in folders if name]
        variables[code.overlay_variable] = os.pathsep.join(overlay)
    if code.seed_variable:
        variables[code.seed_variable] = course.seed
    return variables


def _annotate(result: Path, names: list[str], intake: Intake) -> None:
    """Put what there is to say on top of the autograded notebooks, so that feedback shows it."""
    notebooks = {}
    for path in (result / name for name in names):
        notebook = nbformat.read(path, as_version=4) if path.exists() else new_notebook()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        errors = {output.ename for output in outputs if output.output_type == "error"}
        found = [text for name, text in INCIDENTS.items() if name in errors]
        intake.notes += [text.format(quoted(path.name)) for text in found]
        intake.complete &= KERNEL_LOST not in errors
        notebooks[path] = notebook
    if intake.notes:
        result.mkdir(parents=True, exist_ok=True)
        text = "\n".join(["**About this grading**", "", *(f"- {note}" for note in intake.notes)])
        for path, notebook in notebooks.items():
            notebook.cells.insert(0, new_markdown_cell(text))
            write_atomically(path, nbformat.writes(notebook))


def _record_zero(course: Course, submission: Submission, intake: Intake) -> None:
    timestamp = intake.files.get(TIMESTAMP, "").strip() or None
    with course.gradebook() as gradebook:
        entry = gradebook.update_or_create_submission(
            submission.assignment, submission.student, timestamp=timestamp
        )
        for notebook in entry.notebooks:
            notebook.late_submission_penalty = None
            for cell in notebook.grades:
                cell.auto_score, cell.needs_manual_grade = 0, False
        gradebook.db.commit()


def _scores(course: Course, submission: Submission) -> tuple[float, float] | None:
    with course.gradebook() as gradebook:
        try:
            entry = gradebook.find_submission(submission.assignment, submission.student)
        except MissingEntry:
            return None
        return entry.score, entry.max_score
