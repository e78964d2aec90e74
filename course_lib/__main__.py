"""The student's command line: ``python -m course_lib check | hint | progress | reset``."""

import argparse
import difflib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from course_lib import student
from course_lib.checking import VISIBLE_SEED, Result
from course_lib.checks import checks_of, modules
from course_lib.isolation import run_apart

HINTS_SHOWN = Path(".hints.json")


class UsageError(Exception):
    """The command cannot be carried out; the message says what to do."""


def check(names: Sequence[str], seed: int, as_json: bool) -> int:
    """Check modules and tell what was found; return 0 only if everything passed."""
    results = run(names, seed)
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        print("\n\n".join(result.message for result in results))
        earned, most = total(results)
        print(f"\n{earned:g} of {most:g} points")
    return 0 if all(result.passed for result in results) else 1


def progress() -> int:
    """Show a table of every exercise and its points."""
    results = run([], VISIBLE_SEED)
    table = Table("module", "exercise", "points", "")
    for result in results:
        state = "done" if result.passed else "started" if result.points else ""
        points = f"{result.points:g} of {result.max_points:g}"
        table.add_row(result.module, result.exercise, points, state)
    earned, most = total(results)
    table.add_section()
    table.add_row("all", "", f"{earned:g} of {most:g}", "")
    Console().print(table)
    return 0


def hint(exercise: str) -> int:
    """Show the hints unlocked so far, and one more."""
    found = {check.exercise: check for module in modules() for check in checks_of(module)}
    if exercise not in found:
        raise UsageError(unknown("exercise", exercise, list(found)))
    hints = found[exercise].hints
    shown = hints_shown()
    shown[exercise] = min(shown.get(exercise, 0) + 1, len(hints))
    HINTS_SHOWN.write_text(json.dumps(shown))
    for number, text in enumerate(hints[: shown[exercise]], start=1):
        print(f"{number}. {text}")
    left = len(hints) - shown[exercise]
    print(f"\nHints left for {exercise}: {left}.")
    return 0


def hints_shown() -> dict[str, int]:
    """Return how many hints each exercise has shown; a damaged note counts as none."""
    try:
        return dict(json.loads(HINTS_SHOWN.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def reset(module: str) -> int:
    """Put the stub of a module back, keeping a backup of the student's file."""
    if module not in modules():
        raise UsageError(unknown("module", module, modules()))
    path = student.path_of(module)
    stub = pristine_stub(module, path)
    if path.read_bytes() == stub.encode():
        print(f"{path} is the stub already.")
        return 0
    backup = path.with_name(f"{path.name}.{datetime.now():%Y%m%d-%H%M%S-%f}.bak")
    shutil.copy2(path, backup)
    path.write_text(stub)
    print(f"{path} is the stub again; your work is in {backup.name} beside it.")
    return 0


def pristine_stub(module: str, path: Path) -> str:
    """Return the stub of a module: made from its solution, or the installed package's own file."""
    solution = Path(__file__).parent.parent / "solutions" / f"{module}.py"
    if solution.exists() and solution.samefile(path):
        raise UsageError(f"{path} is the reference solution: unset COURSE_LIB_OVERLAY first.")
    if solution.exists():
        from course_lib.stubs import stub  # nbgrader takes seconds to import

        return stub(solution.read_text())
    packaged = Path(__file__).parent / path.name
    if packaged == path:
        raise UsageError(f"No fresh copy of {path} is at hand: take it from the course's release.")
    return packaged.read_text()


def run(names: Sequence[str], seed: int) -> list[Result]:
    """Check the named modules (all without a name), every exercise in a process of its own."""
    for name in names:
        if name not in modules():
            raise UsageError(unknown("module", name, modules()))
    checks = [check for module in names or modules() for check in checks_of(module)]
    console = Console(stderr=True)
    shown = track(
        checks, "checking", console=console, disable=not console.is_terminal, transient=True
    )
    return [run_apart(check, seed) for check in shown]


def total(results: Sequence[Result]) -> tuple[float, float]:
    return sum(result.points for result in results), sum(result.max_points for result in results)


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {close[0]}?" if close else ""
    return f"There is no {kind} {name}.{guess} Known: {', '.join(known)}."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m course_lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="say what is right and what is wrong")
    command.add_argument("modules", nargs="*", metavar="MODULE", help="default: all")
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    command.add_argument("--seed", type=int, default=VISIBLE_SEED, help="of the random inputs")
    command = commands.add_parser("hint", help="show one hint more")
    command.add_argument("exercise", metavar="EXERCISE")
    commands.add_parser("progress", help="show what is done")
    command = commands.add_parser("reset", help="put a stub back; a backup is kept")
    command.add_argument("module", metavar="MODULE")
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "check":
                return check(options.modules, options.seed, options.json)
            case "hint":
                return hint(options.exercise)
            case "progress":
                return progress()
            case _:
                return reset(options.module)
    except (UsageError, student.Unusable) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
