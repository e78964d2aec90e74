"""Autograde: every submission becomes one outcome, whatever is in it."""

import functools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from nbgrader.utils import find_all_files

from grading import sandbox
from grading.course import (
    LOG,
    Course,
    GradingError,
    MachineError,
    replace_folder,
    write_atomically,
)
from grading.engine import Pool, usable_level
from grading.intake import TIMESTAMP, Intake, Submission, take_in
from grading.jobs import Assignment, Job, Result
from grading.release import is_current
from grading.report import final_score

JOURNAL = "grading.jsonl"
"""One line of JSON for each submission that was graded, with the seconds of every stage."""


Scores = tuple[float, float]
"""The score after the penalty, and the highest that there is."""


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
    score: float | None = None
    max_score: float | None = None
    notes: list[str] = field(default_factory=list)
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
    finished. Nothing is graded again while nothing that the grade depends on has changed, unless
    it was graded without a sandbox, and has to be graded in one.
    """

    def __init__(
        self, course: Course, found: list[Submission], *, force: bool = False, unsafe: bool = False
    ) -> None:
        self.course, self.force, self.unsafe = course, force, unsafe
        self.kept: list[Outcome] = []
        self.pending: list[Pending] = []
        self._read_gradebook({submission.assignment for submission in found})
        for submission in found:
            try:
                self._sort(submission)
            except Exception as error:
                self.kept.append(_failed(submission, error))

    def _read_gradebook(self, assignments: set[str]) -> None:
        """Note who is in the gradebook, with which scores, and what each assignment's grades
        depend on, of which the gradebook has the due date."""
        self.scores: dict[tuple[str, str], Scores] = {}
        self.basis: dict[str, str] = {}
        with self.course.gradebook() as gradebook:
            self.students = {student.id for student in gradebook.students}
            for name in assignments:
                due = gradebook.find_assignment(name).duedate
                folders = [self.course.folder(step, name) for step in ("source", "release")]
                self.basis[name] = self.course.digest(folders, self.course.basis, str(due))
                for entry in gradebook.assignment_submissions(name):
                    self.scores[entry.student.id, name] = final_score(entry), entry.max_score

    def _sort(self, submission: Submission) -> None:
        student, assignment, _ = submission
        create = self.course.config.Autograde.get("create_student", True)
        if not create and student not in self.students:
            advice = "add the student with `nbgrader db student import FILE.csv`"
            raise GradingError(f"{student} is not in the gradebook: {advice}.")
        intake = take_in(self.course, submission)
        texts = [text for item in sorted(intake.files.items()) for text in item]
        digest = self.course.digest([], self.basis[assignment], *texts, *intake.notes)
        before = self.course.record("graded", assignment, student).read()
        scores = self.scores.get((student, assignment))
        there = self.course.folder("autograded", assignment, student).is_dir()
        protected = before.get("level") != sandbox.NONE or self.unsafe
        if before.get("digest") == digest and there and scores and protected and not self.force:
            facts = {name: before[name] for name in ("notes", "complete", "beside")}
            self.kept.append(Outcome(submission, *scores, reused=True, **facts))
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
        shared = functools.cache(functools.partial(read_assignment, self.course))
        for pending in self.pending:
            student, assignment = pending.key
            yield Job(student, shared(assignment), pending.intake.files, self.course.seed)

    def _record(self, pending: Pending, result: Result) -> Outcome:
        """Put what came of a submission into the gradebook and the autograded folder."""
        course, (student, assignment) = self.course, pending.key
        record = course.record("graded", assignment, student)
        for trouble in result.log:
            LOG.error("%s: %s", pending.submission, trouble)
        record.delete()
        with course.workplace() as work, result.stage("gradebook"):
            notes, settled = _record_points(course, pending, result, work)
            notes = pending.intake.notes + result.notes + notes
            new = work / "autograded" / student / assignment
            _annotate(new, course.notebooks(assignment), notes)
            replace_folder(new, course.folder("autograded", assignment, student), work / "old")
        outcome = Outcome(
            pending.submission,
            *_scores(course, pending),
            notes=notes,
            complete=settled and pending.intake.complete and result.complete,
            beside=result.beside,
        )
        _write_journal(course, outcome, result)
        if settled:
            record.write(
                digest=pending.digest,
                notes=notes,
                complete=outcome.complete,
                beside=result.beside,
                level=result.level,
                seconds=sum(result.seconds.values()),
            )
        return outcome


def grade_alone(course: Course, student: str, assignment: str) -> Result:
    """Grade one submission in a pool of its own, and record nothing."""
    folder = course.folder("submitted", assignment, student)
    intake = take_in(course, Submission(student, assignment, folder))
    files = tuple(sorted(intake.files.items()))
    result = _graded_last(course.root, course.basis, student, assignment, files)
    if not result.complete:  # the machine's fault, perhaps: try it again the next time
        _graded_last.cache_clear()
    return replace(result, notes=intake.notes + result.notes)


@functools.lru_cache(maxsize=1)
def _graded_last(
    root: Path, _basis: str, student: str, assignment: str, files: tuple[tuple[str, str], ...]
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
    return Outcome(submission, notes=[f"It was not graded. {text}"])


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
        sources = {cell.name: (cell.source, cell.checksum) for cell in kept if cell.locked}
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("grade_id") in sources:
            cell.source, marks["checksum"] = sources[marks["grade_id"]]
    return str(nbformat.writes(notebook))


def _record_points(
    course: Course, pending: Pending, result: Result, work: Path
) -> tuple[list[str], bool]:
    """Put the points into the gradebook; return what there is to say, and whether it is settled.

    Raises:
        MachineError: it cannot be done now; what the gradebook had is still there.
    """
    if not result.notebooks:
        return _record_zero(course, pending), True
    try:
        try:
            _let_nbgrader_score(course, pending, result, work)
        except MachineError:  # another run may have made the same entry just now
            _let_nbgrader_score(course, pending, result, work)
    except MachineError:
        raise
    except GradingError as error:
        note = f"nbgrader could not grade this, so it scores 0. {error}"
        return [note, *_record_zero(course, pending)], False
    return [], True


def _let_nbgrader_score(course: Course, pending: Pending, result: Result, work: Path) -> None:
    """Let nbgrader put the points of executed notebooks into the gradebook."""
    from nbgrader.converters import Autograde  # slow to import, and often not needed

    from grading.preprocessors import Executed, in_place_of_execute, without_repair

    student, assignment = pending.key
    usable = set(result.notebooks) | (set(pending.intake.files) - set(course.notebooks(assignment)))
    for name, text in (pending.intake.files | result.notebooks).items():
        path = work / "submitted" / student / assignment / name
        if name in usable:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
    autograde = Autograde(config=course.config)
    with Executed.holding(student, assignment, result.notebooks):
        course.convert(
            Autograde,
            assignment,
            student,
            folders={step: work / step for step in ("submitted", "autograded")},
            exclude_overwriting={assignment: course.files_of_students(assignment)},
            sanitize_preprocessors=without_repair(autograde),
            autograde_preprocessors=in_place_of_execute(autograde),
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


def _record_zero(course: Course, pending: Pending) -> list[str]:
    """Record 0 points; return what there is to say, because marks given by hand stay."""
    timestamp = pending.intake.files.get(TIMESTAMP, "").strip() or None
    student, assignment = pending.key
    by_hand = False
    with course.gradebook() as gradebook:
        gradebook.update_or_create_student(student)
        entry = gradebook.update_or_create_submission(assignment, student, timestamp=timestamp)
        for notebook in entry.notebooks:
            notebook.late_submission_penalty = None
            for cell in notebook.grades:
                cell.auto_score = 0
                cell.needs_manual_grade = bool(cell.manual_score is not None or cell.extra_credit)
                by_hand |= cell.needs_manual_grade
        gradebook.db.commit()
    return ["Marks that were given by hand before still count."] if by_hand else []


def _scores(course: Course, pending: Pending) -> Scores:
    student, assignment = pending.key
    with course.gradebook() as gradebook:
        entry = gradebook.find_submission(assignment, student)
        return final_score(entry), entry.max_score


def _write_journal(course: Course, outcome: Outcome, result: Result) -> None:
    facts = asdict(outcome)
    del facts["reused"]  # nothing that is reused comes here
    facts |= {
        "submission": os.path.relpath(outcome.submission.folder, course.root),
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
