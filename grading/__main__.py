"""The instructor's command line: `python -m grading COMMAND`."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import track
from sqlalchemy.exc import SQLAlchemyError

from grading.autograde import Autograding, Outcome, submissions, was_incomplete
from grading.course import Course, GradingError, UsageError
from grading.doctor import examine
from grading.engine import Pool, default_workers, usable_level
from grading.intake import Submission
from grading.release import release
from grading.report import SafeCsvExportPlugin, as_table, by_exercise, write_feedback

if TYPE_CHECKING:
    from grading.cluster import Cluster

Item = TypeVar("Item")


class Command:
    """A command that runs: prints as it goes, and remembers whether all of it succeeded."""

    def __init__(self, course: Course, arguments: argparse.Namespace) -> None:
        self.course = course
        self.arguments = arguments
        self.assignments = course.choose(arguments.assignments)
        self.console = Console(markup=False, highlight=False)
        self.succeeded, self.interrupted = True, False

    def release(self) -> None:
        for assignment in self.track(self.assignments, "Releasing"):
            try:
                new = release(self.course, assignment)
            except GradingError as error:
                self.fail(f"{assignment} is not released. {error}")
            else:
                self.say(f"{assignment}: {'released' if new else 'unchanged'}")

    def autograde(self) -> None:
        found, only_failed = self.submissions(), self.arguments.only_failed
        if only_failed:
            found = [submission for submission in found if was_incomplete(self.course, submission)]
            if not found and self.succeeded:
                self.say("Everything could be graded in full the last time.")
        force, unsafe = self.arguments.force or only_failed, self.arguments.unsafe
        autograding = Autograding(self.course, found, force=force, unsafe=unsafe)
        if self.arguments.dry_run:
            self.preview(autograding)
        else:
            self.report(self.grade(autograding))

    def submissions(self) -> list[Submission]:
        found = []
        for assignment in self.assignments:
            try:
                found += submissions(self.course, assignment)
            except GradingError as error:
                self.fail(str(error))
        found = self.of_students(found, [submission.student for submission in found])
        if not found and self.succeeded:
            folder = self.course.root / self.course.directory.submitted_directory
            self.fail(f"There is no submission in {folder}: run `nbgrader zip_collect` first.")
        return found

    def grade(self, autograding: Autograding) -> list[Outcome]:
        done, total = [], len(autograding.kept) + len(autograding.pending)
        with contextlib.closing(self.outcomes(autograding)) as outcomes:
            for outcome in self.track(outcomes, "Autograding", total):
                done.append(outcome)
                if outcome.notes or not self.console.is_terminal:
                    self.say(_in_words(outcome))
        return done

    def report(self, outcomes: list[Outcome]) -> None:
        beside = dict[str, int]()
        for outcome in outcomes:
            assignment = outcome.submission.assignment
            beside[assignment] = max(outcome.beside, beside.get(assignment, 0))
        for assignment, number in sorted(beside.items()):
            self.console.print(as_table(by_exercise(self.course, assignment), assignment))
            if number:
                self.say(
                    f"{number} tests of {assignment} ran beside the students' code, which can "
                    "tamper with them: see SECURITY.md."
                )
        if incomplete := sum(not outcome.complete for outcome in outcomes):
            log = self.course.root / "grading.log"
            self.fail(f"{incomplete} of {len(outcomes)} could not be graded in full: see {log}.")

    def outcomes(self, autograding: Autograding) -> Generator[Outcome]:
        yield from autograding.kept
        if not autograding.pending:
            return
        with self.graders() as graders:
            yield from autograding.outcomes(graders)

    def graders(self) -> "Pool | Cluster":
        if self.arguments.cluster:
            from grading.cluster import Cluster  # Dask is an extra

            return Cluster(self.course, self.arguments.cluster, unsafe=self.arguments.unsafe)
        level = usable_level(self.arguments.unsafe)
        return Pool(self.course, self.arguments.workers, level)

    def preview(self, autograding: Autograding) -> None:
        for outcome in autograding.kept:
            self.say(_in_words(outcome))
        for pending in autograding.pending:
            self.say(f"{', '.join(pending.key)}: would be graded")

    def doctor(self) -> None:
        for finding in examine(self.course):
            self.say(f"{'ok ' if finding.good else '-> '} {finding.text}")

    def feedback(self) -> None:
        pairs = [
            (assignment, student)
            for assignment in self.assignments
            for student in self.course.students("autograded", assignment)
        ]
        pairs = self.of_students(pairs, [student for _, student in pairs])
        if not pairs and self.succeeded:
            self.fail("Nothing is autograded yet: run `python -m grading autograde` first.")
        written = 0
        for assignment, student in self.track(pairs, "Writing feedback"):
            try:
                written += write_feedback(self.course, assignment, student)
            except GradingError as error:
                self.fail(f"There is no feedback for {student} on {assignment}. {error}")
        self.say(f"feedback: {written} written, {len(pairs) - written} unchanged")

    def export(self) -> None:
        plugin = SafeCsvExportPlugin(config=self.course.config)
        plugin.to = str(Path(self.arguments.to or self.course.root / "grades.csv").absolute())
        plugin.assignment, plugin.student = self.arguments.assignments, self.arguments.student
        with self.course.gradebook() as gradebook:
            try:
                plugin.export(gradebook)
            except OSError as error:
                self.fail(f"The grades could not be written to {plugin.to}: {error.strerror}.")
            else:
                self.say(f"grades: {plugin.to}")

    def of_students(self, items: list[Item], students: list[str]) -> list[Item]:
        """Return the items of the students that were asked for, or all when none was."""
        wanted = self.arguments.student
        for student in wanted if self.succeeded else ():
            if student not in students:
                self.fail(f"There is nothing of {student}: is the name right?")
        return [item for item, owner in zip(items, students) if not wanted or owner in wanted]

    def track(self, items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
        if self.console.is_terminal:
            items = track(items, label, total, console=self.console, transient=True)
        for item in items:
            yield item
            if self.interrupted:
                raise KeyboardInterrupt

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Remember Ctrl-C: Python prints and forgets it when a destructor was just at work."""

        def interrupt(*_: object) -> None:
            self.interrupted = True
            raise KeyboardInterrupt

        def forget(lost: Any) -> None:
            if lost.exc_type is not KeyboardInterrupt:
                sys.__unraisablehook__(lost)

        before = signal.signal(signal.SIGINT, interrupt)
        sys.unraisablehook = forget
        try:
            yield
        finally:
            sys.unraisablehook = sys.__unraisablehook__
            signal.signal(signal.SIGINT, before)

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def fail(self, text: str) -> None:
        self.succeeded = False
        print(text, file=sys.stderr)


def _in_words(outcome: Outcome) -> str:
    student, assignment, _ = outcome.submission
    score = "not graded"
    if outcome.score is not None:
        score = f"{outcome.score:g} / {outcome.max_score:g}"
    unchanged = " (unchanged)" if outcome.reused else ""
    return "\n    ".join([f"{student}, {assignment}: {score}{unchanged}", *outcome.notes])


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        course = Course(arguments.root)
        command = Command(course, arguments)
        with command.interruptible(), course.at_work():
            getattr(command, arguments.command)()
    except GradingError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except (OSError, SQLAlchemyError) as error:
        print(f"Cannot go on: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept: run it again to go on.", file=sys.stderr)
        return 130
    return 0 if command.succeeded else 1


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("assignments", nargs="*", metavar="ASSIGNMENT", help="default: all")
    common.add_argument("--root", type=Path, metavar="DIR", help="folder with the class's work")
    some = argparse.ArgumentParser(add_help=False)
    some.add_argument("--student", action="append", default=[], metavar="ID", help="default: all")
    parser = argparse.ArgumentParser(prog="python -m grading", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("release", parents=[common], help="make what students get")
    autograde = commands.add_parser("autograde", parents=[common, some], help="grade submissions")
    autograde.add_argument("--force", action="store_true", help="also what is unchanged")
    autograde.add_argument(
        "--workers",
        type=_at_least_one,
        default=default_workers(),
        metavar="N",
        help="default: all cores",
    )
    autograde.add_argument(
        "--cluster", metavar="ADDRESS", help="grade on the machines of this Dask scheduler"
    )
    autograde.add_argument(
        "--only-failed", action="store_true", help="what could not be graded in full last time"
    )
    autograde.add_argument(
        "--dry-run", action="store_true", help="say what would be graded, and grade nothing"
    )
    autograde.add_argument(
        "--unsafe", action="store_true", help="grade even where there is no sandbox"
    )
    commands.add_parser("feedback", parents=[common, some], help="write what students get back")
    export = commands.add_parser("export", parents=[common, some], help="write the grades as CSV")
    export.add_argument("--to", type=Path, metavar="FILE", help="default: grades.csv")
    commands.add_parser(
        "doctor", parents=[common], help="say how well this machine protects you, and what to do"
    )
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
