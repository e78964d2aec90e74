"""Measure the graders: do they tell every wrong solution from every right one?

`mutation.py [MODULE ...]` grades mutants of the references (one small wrong change each, see
mutators.py) with the real checks and names those that pass; then the catalogued mistakes and the
right solutions of tests/exercises/alternatives. What it counts goes into
book/appendix/graders.json, which the instructor guide shows.

A mutant that computes the same as the reference for every input is equivalent. It stands in
tests/exercises/equivalents/MODULE.yaml, with a reason that a reader can verify:

    - function: SGD.step
      mutant: "if momentum != 0: -> if True:"
      reason: Why no input tells the two apart.

The exit code is 1 when a mutant survives that is not listed, when a listed one does not exist or
is killed, when a mistake is not recognised or a right solution is rejected.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import yaml
from mutators import mutants
from rich.console import Console
from rich.progress import Progress

from course_lib import checking
from course_lib.checking import GRADED_ROUNDS
from course_lib.checks import checks_of, modules

ROOT = Path(__file__).resolve().parents[1]
SCORES = ROOT / "book" / "appendix" / "graders.json"
EQUIVALENTS = ROOT / "tests" / "exercises" / "equivalents"
ALTERNATIVES = ROOT / "tests" / "exercises" / "alternatives"
SEEDS = range(200)
"""The seeds of the right solutions."""
MISTAKE_SEEDS = range(10)
PART_SECONDS = 2.0
"""The time for all the cases of a part, in place of the students' more generous one."""
SECONDS = 120.0
"""The time for one process, for code that swallows every exception."""
MEMORY = 16 << 30

SURVIVED, KILLED, STOPPED = "survived", "killed", "stopped"
"""What became of a mutant: it got full points, it lost some, or it raised, hung or crashed."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="default: all")
    parser.add_argument(
        "--changed",
        action="store_true",
        help="only those whose files are not those of their scores",
    )
    options = parser.parse_args()
    if unknown := set(options.modules) - set(modules()):
        parser.error(f"there is no module {', '.join(sorted(unknown))}")
    known = json.loads(SCORES.read_text()) if SCORES.exists() else {}
    scores = {module: known[module] for module in modules() if module in known}
    problems = []
    for module in options.modules or modules():
        if options.changed and scores.get(module, {}).get("sources") == fingerprint(module):
            continue
        row, found = measure(module)
        problems += [f"{module}: {problem}" for problem in found]
        if row:
            scores[module] = row
            SCORES.write_text(json.dumps(dict(sorted(scores.items())), indent=2) + "\n")
            print(f"{module}: {row['score']:g} % of {row['mutants']} mutants killed", flush=True)
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


def fingerprint(module: str) -> str:
    """Return a hash of all that the scores of a module depend on."""
    files = [
        ROOT / "solutions" / f"{module}.py",
        ROOT / "course_lib" / "checks" / f"{module}.py",
        ROOT / "course_lib" / "checking.py",
        Path(__file__),
        Path(__file__).with_name("mutators.py"),
        EQUIVALENTS / f"{module}.yaml",
        *sorted(ALTERNATIVES.glob(f"{module}_*.py")),
    ]
    content = b"".join(file.read_bytes() for file in files if file.exists())
    return hashlib.sha256(content).hexdigest()[:16]


def measure(module: str) -> tuple[dict[str, Any], list[str]]:
    """Return the scores of one module and a sentence for everything that is wrong."""
    source = (ROOT / "solutions" / f"{module}.py").read_text()
    # Also warms this process up, for those that are forked from it.
    if rejection := rejected_by(module, (ROOT / "solutions" / f"{module}.py", SEEDS[:1])):
        return {}, [f"the reference does not get full points: {rejection}"]
    made = list(mutants(source))
    outcomes = in_processes(f"{module}: mutants", grade_mutant, module, [m.source for m in made])
    survivors = {(m.function, m.change) for m, o in zip(made, outcomes) if o == SURVIVED}
    equivalent = {(entry["function"], entry["mutant"]) for entry in equivalents(module)}
    problems = [f"survived  {' | '.join(mutant)}" for mutant in sorted(survivors - equivalent)]
    problems += [f"listed, but dead  {' | '.join(m)}" for m in sorted(equivalent - survivors)]

    checks = checks_of(module)
    catalogue = [(i, j) for i, check in enumerate(checks) for j in range(len(check.mistakes))]
    seen = in_processes(f"{module}: mistakes", is_recognised, module, catalogue)
    missed = [
        f"{checks[i].exercise}: {checks[i].mistakes[j].name}"
        for (i, j), recognised in zip(catalogue, seen)
        if recognised is not True
    ]
    paths = [ROOT / "solutions" / f"{module}.py", *sorted(ALTERNATIVES.glob(f"{module}_*.py"))]
    runs = [(path, SEEDS[i::10]) for path in paths for i in range(10)]
    reasons = in_processes(f"{module}: right solutions", rejected_by, module, runs)
    rejected = {path.name: reason for (path, _), reason in zip(runs, reasons) if reason}
    problems += [f"not recognised  {name}" for name in missed]
    problems += [f"rejected  {name}: {reason}" for name, reason in rejected.items()]

    killed, stopped = outcomes.count(KILLED), outcomes.count(STOPPED)
    counted = len(made) - len(survivors & equivalent)
    row = {
        "exercises": len(checks),
        "points": sum(check.max_points for check in checks),
        "mutants": len(made),
        "equivalent": len(survivors & equivalent),
        "stopped": stopped,
        "killed": killed,
        "score": round(100 * (killed + stopped) / counted, 2),
        "score_of_those_that_run": round(100 * killed / max(counted - stopped, 1), 2),
        "mistakes": len(catalogue),
        "recognised": len(catalogue) - len(missed),
        "right_solutions": len(paths),
        "rejected": len(rejected),
        "sources": fingerprint(module),
    }
    return row, problems


def equivalents(module: str) -> list[dict[str, str]]:
    path = EQUIVALENTS / f"{module}.yaml"
    return yaml.safe_load(path.read_text()) if path.exists() else []


def in_processes(title: str, task: Callable, module: str, items: Sequence[Any]) -> list[Any]:
    """Return ``task(module, item)`` for every item, ``STOPPED`` where its process died or hung.

    Every item has a process of its own, forked from this one, which has torch loaded and warm.
    """
    results: list[Any] = [STOPPED] * len(items)
    waiting, running = list(enumerate(items)), dict[Connection, Run]()
    console = Console(stderr=True)
    columns = Progress.get_default_columns()
    # A thread that refreshes the bar must not run while processes are forked.
    with Progress(
        *columns, console=console, auto_refresh=False, disable=not console.is_terminal
    ) as bar:
        shown = bar.add_task(title, total=len(items))
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                index, item = waiting.pop(0)
                receiver, process = start(task, module, item)
                running[receiver] = Run(index, process, time.monotonic() + SECONDS)
            ready = wait(list(running), timeout=1)
            for receiver, run in list(running.items()):
                if receiver in ready:
                    with contextlib.suppress(EOFError):
                        results[run.item] = receiver.recv()
                elif time.monotonic() < run.end:
                    continue
                run.process.kill()
                run.process.join()
                receiver.close()
                del running[receiver]
                bar.update(shown, advance=1, refresh=True)
    return results


class Run(NamedTuple):
    item: int
    process: BaseProcess
    end: float


def start(task: Callable, module: str, item: Any) -> tuple[Connection, BaseProcess]:
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(task, module, item, sender), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def send(task: Callable, module: str, item: Any, sender: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        sender.send(task(module, item))


def grade_mutant(module: str, source: str) -> str:
    """Grade a source as the student's visible run does, and as the graded run if it passes."""
    checking.SECONDS = PART_SECONDS
    try:
        loaded = load(module, source)
    except Exception:
        return STOPPED
    for options in ({"seed": 0}, {"seed": 1, "rounds": GRADED_ROUNDS}):
        for check in checks_of(module):
            if not hasattr(loaded, check.target):
                return STOPPED
            result = check(getattr(loaded, check.target), **options)
            if not result.passed:
                return KILLED if "expected  " in result.message else STOPPED
    return SURVIVED


def is_recognised(module: str, place: tuple[int, int]) -> bool:
    """Return whether a catalogued mistake is called by its name with every seed."""
    check = checks_of(module)[place[0]]
    mistake = check.mistakes[place[1]]
    return all(check(mistake.implementation, seed=s).mistake == mistake.name for s in MISTAKE_SEEDS)


def rejected_by(module: str, run: tuple[Path, range]) -> str:
    """Return the first message that a right solution gets with some seeds, or nothing."""
    path, seeds = run
    loaded = load(module, path.read_text())
    for check in checks_of(module):
        for seed in seeds:
            result = check(getattr(loaded, check.target), seed=seed)
            if not result.passed:
                return result.message
    return ""


def load(module: str, source: str) -> ModuleType:
    """Return a source as the module that students write."""
    loaded = ModuleType(f"course_lib.{module}")
    sys.modules[loaded.__name__] = loaded
    exec(compile(source, f"{module}.py", "exec"), vars(loaded))
    return loaded


if __name__ == "__main__":
    sys.exit(main())
