"""Autograde: every submission becomes one outcome, whatever is in it."""

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from nbgrader.api import MissingEntry
from nbgrader.utils import find_all_files

from grading.course import (
    LOG,
    Course,
    GradebookError,
    GradingError,
    replace_folder,
    write_atomically,
)
from grading.engine import Pool, usable_level
from grading.intake import TIMESTAMP, Intake, Submission, take_in
from grading.jobs import Assignment, Job, Result
from grading.release import is_current

JOURNAL = "grading.jsonl"
"""One line of JSON for each submission that was graded, with the seconds of every stage."""


class Graders(Protocol):
    """Whoever grades jobs, here or on other machines."""

    def grade(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result | GradingError]]: ...


@dataclass
class Outcome:
    """What came of a submission: a score where there is one, and what there is to say.

    It is complete when all of the submission could be graded; `beside` counts the tests that ran
    beside the student's code, which could tamper with them.
    """

    submission: Submission
    notes: list[str] = field(default_factory=list)
    score: float | None = None
    max_score: float | None = None
    complete: bool = False
    reused: bool = False
    beside: int = 0


def submissions(course: Course, assignment: str) -> list[Submission]:
    """Find all submissions of an assignment.

    Raises:
        GradingError: there are some, but no release of the present sources to grade them by, or
            in another language than Python.
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
    for name in course.notebooks(assignment) if found else ():
        notebook = nbformat.read(course.folder("release", assignment) / name, as_version=4)
        language = notebook.metadata.get("kernelspec", {}).get("language", "python")
        if language != "python":
            raise GradingError(
                f"{name} is written in {language}, and students' code can be run in Python only: "
                f"grade {assignment} with `nbgrader autograde`, which has no sandbox."
            )
    return found


def was_incomplete(course: Course, submission: Submission) -> bool:
    """Tell whether a submission could not be graded in full when it was graded last, if it was."""
    record = course.record("graded", submission.assignment, submission.student)
    return not record.read().get("complete", False)


@dataclass
class Pending:
    """A submission that has to be graded."""

    submission: Submission
    intake: Intake
    digest: str
    seconds: float

    @property
    def key(self) -> tuple[str, str]:
        return self.submission.student, self.submission.assignment


class Autograding:
    """One run over submissions: what is unchanged is kept, the rest is graded and recorded.

    The students' files stay as they are. An autograded folder is replaced when the new one is
    finished. Nothing is graded again while nothing that the grade depends on has changed.
    """

    def __init__(self, course: Course, found: list[Submission], *, force: bool = False) -> None:
        self.course = course
        self.kept: list[Outcome] = []
        self.pending: list[Pending] = []
        scores, students = self._gradebook(found)
        create = course.config.Autograde.get("create_student", True)
        for submission in found:
            if not create and submission.student not in students:
                advice = "add the student with `nbgrader db student import FILE.csv`"
                text = f"{submission.student} is not in the gradebook: {advice}."
                self.kept.append(Outcome(submission, [text]))
                continue
            try:
                self._sort(submission, scores.get(submission[:2]), force)
            except Exception as error:
                self.kept.append(_failed(submission, error))

    def _gradebook(
        self, found: list[Submission]
    ) -> tuple[dict[tuple[str, str], tuple[float, float]], set[str]]:
        """Return what the gradebook has: scores by student and assignment, and the students."""
        with self.course.gradebook() as gradebook:
            scores = {
                (entry.student.id, assignment): (
                    max(0.0, entry.score - entry.late_submission_penalty),
                    entry.max_score,
                )
                for assignment in {submission.assignment for submission in found}
                for entry in gradebook.assignment_submissions(assignment)
            }
            return scores, {student.id for student in gradebook.students}

    def _sort(
        self, submission: Submission, scores: tuple[float, float] | None, force: bool
    ) -> None:
        student, assignment, _ = submission
        intake = take_in(self.course, submission)
        texts = [text for item in sorted(intake.files.items()) for text in item]
        common = _digest_of_assignment(self.course, assignment)
        digest = self.course.digest([], common, *texts, *intake.notes)
        before = self.course.record("graded", assignment, student).read()
        there = self.course.folder("autograded", assignment, student).is_dir()
        if before.get("digest") == digest and there and scores and not force:
            notes, complete = before["notes"], before["complete"]
            self.kept.append(Outcome(submission, notes, *scores, complete, reused=True))
        else:
            seconds = before.get("seconds", float("inf"))
            self.pending.append(Pending(submission, intake, digest, seconds))

    def outcomes(self, graders: Graders) -> Iterator[Outcome]:
        """Grade what has to be graded, the longest first, and yield each when it is recorded."""
        self.pending.sort(key=lambda pending: -pending.seconds)
        waiting = {pending.key: pending for pending in self.pending}
        for job, result in graders.grade(self._jobs()):
            pending = waiting.pop((job.student, job.assignment.name))
            try:
                if isinstance(result, GradingError):
                    raise result
                yield self._record(pending, result)
            except Exception as error:
                yield _failed(pending.submission, error)

    def _jobs(self) -> Iterable[Job]:
        for pending in self.pending:
            student, assignment = pending.key
            shared = read_assignment(self.course, assignment)
            yield Job(student, shared, pending.intake.files, self.course.seed)

    def _record(self, pending: Pending, result: Result) -> Outcome:
        """Put what came of a submission into the gradebook and the autograded folder."""
        course, (student, assignment) = self.course, pending.key
        folder = course.folder("autograded", assignment, student)
        record = course.record("graded", assignment, student)
        intake, notes = pending.intake, pending.intake.notes + result.notes
        complete, settled = intake.complete and result.complete, True
        for trouble in result.log:
            LOG.error("%s: %s", pending.submission, trouble)
        record.delete()
        with course.workplace() as work, result.stage("gradebook"):
            try:
                try:
                    _let_nbgrader_score(course, pending, result, work)
                except GradebookError:  # another run may have made the same entry just now
                    _let_nbgrader_score(course, pending, result, work)
            except GradebookError:
                raise
            except GradingError as error:
                complete = settled = False
                notes.append(f"nbgrader could not grade this, so it scores 0. {error}")
                _record_zero(course, pending)
            new = work / "autograded" / student / assignment
            _annotate(new, course.notebooks(assignment), notes)
            replace_folder(new, folder, work / "old")
        score, max_score = _scores(course, pending) or (None, None)
        outcome = Outcome(
            pending.submission, notes, score, max_score, complete, beside=result.beside
        )
        _write_journal(course, outcome, result)
        if settled:
            facts = {"digest": pending.digest, "notes": notes, "complete": complete}
            seconds = sum(result.seconds.values())
            record.write(**facts, seconds=seconds, level=result.level)
        return outcome


def grade_alone(course: Course, student: str, assignment: str) -> Result:
    """Grade one submission in a pool of its own, and record nothing."""
    folder = course.folder("submitted", assignment, student)
    intake = take_in(course, Submission(student, assignment, folder))
    files = tuple(sorted(intake.files.items()))
    result = _graded_last(course.root, course.environment, student, assignment, files)
    return replace(result, notes=intake.notes + result.notes)


@functools.lru_cache(maxsize=1)
def _graded_last(
    root: Path, _environment: str, student: str, assignment: str, files: tuple[tuple[str, str], ...]
) -> Result:
    """Remembered, because nbgrader asks again for every notebook of a submission."""
    course = Course(root)
    job = Job(student, read_assignment(course, assignment), dict(files), course.seed)
    with course.at_work(), Pool(course, 1, usable_level(unsafe=False)) as pool:
        ((_, result),) = pool.grade([job])
    if isinstance(result, GradingError):
        raise result
    return result


def _failed(submission: Submission, error: Exception) -> Outcome:
    LOG.error("%s could not be graded", submission, exc_info=error)
    text = str(error) if isinstance(error, GradingError) else f"{type(error).__name__}: {error}"
    return Outcome(submission, [f"It was not graded. {text}"])


@functools.cache
def _digest_of_assignment(course: Course, assignment: str) -> str:
    folders = [course.folder(step, assignment) for step in ("source", "release")]
    return course.digest(folders, course.environment)


@functools.cache
def read_assignment(course: Course, name: str) -> Assignment:
    """Read what all submissions of an assignment share."""
    source, code = course.folder("source", name), course.code
    notebooks = course.notebooks(name)
    others = map(Path, find_all_files(str(source), [*course.directory.ignore, "*.ipynb"]))
    reference = (course.home / code.reference).glob("*.py") if code.reference else ()
    variables = {"NBGRADER_EXECUTION": "autograde"}
    if code.seed_variable and not code.checks:
        # Tests that run beside the student's code cannot do without it.
        variables[code.seed_variable] = str(course.seed)
    return Assignment(
        name=name,
        notebooks={each: _with_hidden_tests(course, name, each) for each in notebooks},
        files={str(path.relative_to(source)): path.read_bytes() for path in others},
        module=course.module(name) or "",
        reference={path.name: path.read_bytes() for path in reference if path.stem != name},
        checks=f"{code.checks}.{name}" if code.checks else "",
        variables=variables,
    )


def _with_hidden_tests(course: Course, assignment: str, name: str) -> str:
    """Return a released notebook with its locked cells as nbgrader keeps them for grading.

    Those of the source may differ: nbgrader makes tests out of lines like `### AUTOTEST f(3)`.
    """
    notebook = nbformat.read(course.folder("release", assignment) / name, as_version=4)
    with course.gradebook() as gradebook:
        kept = gradebook.find_notebook(Path(name).stem, assignment).source_cells
        sources = {cell.name: cell.source for cell in kept if cell.locked}
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = sources.get(grade_id, cell.source)
    return str(nbformat.writes(notebook))


def _let_nbgrader_score(course: Course, pending: Pending, result: Result, work: Path) -> None:
    """Let nbgrader put the points of executed notebooks into the gradebook."""
    from nbgrader.converters import Autograde  # slow to import, and often not needed

    from grading.preprocessors import Executed, in_place_of_execute

    student, assignment = pending.key
    if not result.notebooks:
        _record_zero(course, pending)
        return
    usable = set(result.notebooks) | (set(pending.intake.files) - set(course.notebooks(assignment)))
    for name, text in (pending.intake.files | result.notebooks).items():
        path = work / "submitted" / student / assignment / name
        if name in usable:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
    with Executed.holding(student, assignment, result.notebooks):
        course.convert(
            Autograde,
            assignment,
            student,
            folders={step: work / step for step in ("submitted", "autograded")},
            exclude_overwriting={assignment: course.files_of_students(assignment)},
            autograde_preprocessors=in_place_of_execute(Autograde(config=course.config)),
        )


def _annotate(folder: Path, names: list[str], notes: list[str]) -> None:
    """Put what there is to say on top of the autograded notebooks, so that feedback shows it."""
    if not notes:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder / name for name in names):
        notebook = nbformat.read(path, as_version=4) if path.exists() else new_notebook()
        notebook.cells.insert(0, note_cell(notes))
        write_atomically(path, nbformat.writes(notebook))


def note_cell(notes: list[str]) -> NotebookNode:
    text = "\n".join(["**About this grading**", "", *(f"- {note}" for note in notes)])
    return new_markdown_cell(text, id="about-this-grading")


def _record_zero(course: Course, pending: Pending) -> None:
    timestamp = pending.intake.files.get(TIMESTAMP, "").strip() or None
    student, assignment = pending.key
    with course.gradebook() as gradebook:
        gradebook.update_or_create_student(student)
        entry = gradebook.update_or_create_submission(assignment, student, timestamp=timestamp)
        for notebook in entry.notebooks:
            notebook.late_submission_penalty = None
            for cell in notebook.grades:
                cell.auto_score, cell.needs_manual_grade = 0, False
        gradebook.db.commit()


def _scores(course: Course, pending: Pending) -> tuple[float, float] | None:
    student, assignment = pending.key
    with course.gradebook() as gradebook:
        try:
            entry = gradebook.find_submission(assignment, student)
        except MissingEntry:
            return None
        return max(0.0, entry.score - entry.late_submission_penalty), entry.max_score


def _write_journal(course: Course, outcome: Outcome, result: Result) -> None:
    facts = asdict(outcome)
    del facts["reused"]  # nothing that is reused comes here
    facts |= {
        "submission": str(outcome.submission.folder.relative_to(course.root)),
        "student": outcome.submission.student,
        "assignment": outcome.submission.assignment,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": result.level,
        "machine": result.machine,
        "seconds": {stage: round(seconds, 4) for stage, seconds in result.seconds.items()},
    }
    with open(course.root / JOURNAL, "ab+", buffering=0) as journal:
        end = journal.tell()
        try:
            journal.write(json.dumps(facts).encode() + b"\n")
        except OSError:
            journal.truncate(end)  # no half line, when the disk is full
            raise
