"""Reports on the grading: feedback for students, the grades as CSV, the scores as a table."""

import csv
import io
from pathlib import Path
from statistics import fmean
from typing import Any

from nbgrader.api import Assignment, Gradebook, MissingEntry, Student, SubmittedAssignment
from nbgrader.converters import GenerateFeedback
from nbgrader.plugins import ExportPlugin
from rich.markup import escape
from rich.table import Table

from grading.course import Course, GradingError, replace_folder, write_atomically
from grading.markup import SAFE

COLUMNS = (
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
)
"""Those of nbgrader's own CSV."""


def write_feedback(course: Course, assignment: str, student: str) -> bool:
    """Write the feedback on an autograded submission; return whether it had to be written.

    Raises:
        GradingError: nbgrader cannot make it; earlier feedback stays as it is.
    """
    autograded = course.folder("autograded", assignment, student)
    folder = course.folder("feedback", assignment, student)
    record = course.record("feedback", assignment, student)
    marks = _marks(course, assignment, student)
    digest = course.digest([autograded], course.basis, marks)
    if folder.is_dir() and record.read().get("digest") == digest:
        return False
    record.delete()
    course.config.merge(SAFE)
    with course.workplace() as work:
        course.convert(GenerateFeedback, assignment, student, folders={"feedback": work / "new"})
        replace_folder(work / "new" / student / assignment, folder, work / "old")
    record.write(digest=digest)
    return True


def _marks(course: Course, assignment: str, student: str) -> str:
    """Everything in the gradebook that the feedback shows, graders' own marks included."""
    with course.gradebook() as gradebook:
        try:
            entry = gradebook.find_submission(assignment, student)
        except MissingEntry:
            raise GradingError(f"{student} has no grade for {assignment}: autograde it.") from None
        return repr(
            [
                (
                    notebook.late_submission_penalty,
                    sorted((grade.name, grade.score) for grade in notebook.grades),
                    sorted((comment.name, comment.comment) for comment in notebook.comments),
                )
                for notebook in entry.notebooks
            ]
        )


class SafeCsvExportPlugin(ExportPlugin):
    """nbgrader's CSV, quoted where needed and written as a whole or not at all.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front.
    """

    def export(self, gradebook: Gradebook) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for assignment in _assignments(gradebook):
            for student in _students(gradebook):
                chosen = assignment.name in (self.assignment or [assignment.name])
                if chosen and student.id in (self.student or [student.id]):
                    row = _row(assignment, student, _find(gradebook, assignment, student))
                    writer.writerow({name: _harmless(value) for name, value in row.items()})
        write_atomically(Path(self.to or "grades.csv").absolute(), text.getvalue())


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def _assignments(gradebook: Gradebook) -> list[Assignment]:
    return sorted(gradebook.assignments, key=lambda assignment: str(assignment.name))


def _students(gradebook: Gradebook) -> list[Student]:
    return sorted(gradebook.students, key=lambda student: str(student.id))


def _find(
    gradebook: Gradebook, assignment: Assignment, student: Student
) -> SubmittedAssignment | None:
    try:
        return gradebook.find_submission(assignment.name, student.id)
    except MissingEntry:
        return None


def _row(
    assignment: Assignment, student: Student, entry: SubmittedAssignment | None
) -> dict[str, Any]:
    """Return a row of the CSV; who handed in nothing has 0 points, as in nbgrader's."""
    return {
        "assignment": assignment.name,
        "duedate": assignment.duedate,
        "timestamp": entry and entry.timestamp,
        "student_id": student.id,
        "last_name": student.last_name,
        "first_name": student.first_name,
        "email": student.email,
        "raw_score": entry.score if entry else 0.0,
        "late_submission_penalty": entry.late_submission_penalty if entry else 0.0,
        "score": final_score(entry) if entry else 0.0,
        "max_score": assignment.max_score,
    }


def final_score(entry: SubmittedAssignment) -> float:
    return max(0.0, entry.score - entry.late_submission_penalty)


def summary(root: Path | str | None = None) -> list[list[str]]:
    """Return the class's scores as rows of text: a heading, then one row per student.

    An assignment that nobody has handed in has no column.
    """
    with Course(root).gradebook() as gradebook:
        assignments = _assignments(gradebook)
        lines = [["student", *(assignment.name for assignment in assignments)]]
        for student in _students(gradebook):
            entries = [_find(gradebook, assignment, student) for assignment in assignments]
            cells = [
                f"{final_score(entry):g} / {entry.max_score:g}" if entry else ""
                for entry in entries
            ]
            lines.append([student.id, *cells])
    used = [column for column in zip(*lines, strict=True) if any(column[1:])]
    return [list(line) for line in zip(*used, strict=True)] or [["student"]]


def by_exercise(course: Course, assignment: str) -> list[list[str]]:
    """Return the points for every exercise as rows of text: a heading, students, their means."""
    rows = []
    with course.gradebook() as gradebook:
        for entry in gradebook.assignment_submissions(assignment):
            grades = [grade for notebook in entry.notebooks for grade in notebook.grades]
            points = {f"{grade.name} ({grade.max_score:g})": grade.score for grade in grades}
            rows.append((entry.student.id, points, final_score(entry)))
    names = list(rows[0][1]) if rows else []
    lines = [["student", *names, "score"]]
    for student, points, score in sorted(rows, key=lambda row: row[0]):
        lines.append([student, *(f"{points.get(name, 0):g}" for name in names), f"{score:g}"])
    if rows:
        columns = [[row[1].get(name, 0) for row in rows] for name in names]
        means = [fmean(column) for column in [*columns, [row[2] for row in rows]]]
        lines.append(["mean", *(f"{mean:.1f}" for mean in means)])
    return lines


def as_table(lines: list[list[str]], title: str | None = None) -> Table:
    """Return rows of text as a table for rich's console."""
    table = Table(title=title)
    for number, column in enumerate(zip(*lines, strict=True)):
        # A table that is too wide runs over the edge rather than losing its numbers.
        width = max(map(len, column))
        table.add_column(column[0], justify="right" if number else "left", min_width=width)
    for line in lines[1:]:
        table.add_row(*map(escape, line))
    return table
