"""Measure how fast a class is graded: by stock nbgrader, by otter-grader and by our engine.

The class of grading_class.py is graded by the tools in turns, each time by new processes and into
an empty gradebook:

- stock nbgrader: `nbgrader autograde`, one process, nbgrader's own preprocessors;
- otter-grader without Docker: `otter run` for each submission, in an environment of its own;
- ours: `python -m grading autograde` with one worker and with four, in its sandbox; then the same
  command again, with nothing changed.

The first two are slow, so in each round they grade only the next few of the class (--subset). Their
time for the class is then their own start and end, and every submission at the pace that was
measured. Every tool must give every student the same points in every exercise: those that the
checks give in one warm process without any tool, whose time is the floor. Memory is measured in
runs of its own, before those that are timed.

The results go into book/appendix/grading_speed.json, and grading_results.py makes of them what the
book shows. The figures are worth something on a machine that does nothing else meanwhile. To try it
out: --students 8 --rounds 1 --subset 2 --to FILE.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil
from benchmark import QUIET, machine, store
from grading_class import ASSIGNMENT, MODULE, hand_in, make_class
from grading_results import SPEED, caption, stage_table, summary, table
from nbgrader.api import MissingEntry
from rich.console import Console

import course_lib
from course_lib import student
from course_lib.checking import SEED_VARIABLE, Exam
from course_lib.checks import checks_of
from grading.autograde import JOURNAL
from grading.course import Course

HOME = Path(__file__).resolve().parents[1]
WORK = HOME / "_build" / "bench_grading"
SUBMISSIONS = WORK / "class"
CHECKS = {f"check_{check.exercise}": check for check in checks_of(ASSIGNMENT)}
"""The checks by the names of the graded cells."""

OTTER_VERSION = "7.0.0"
OTTER_HOME = HOME / "_build" / "otter"
BIN = Path(sys.executable).parent
GRADING = (sys.executable, "-m", "grading")
WORKERS = (1, 4)
MEMORY_INTERVAL = 0.1
"""Seconds between two looks at the memory."""

Points = dict[str, dict[str, float]]
"""For every student the points of every graded cell."""


# --- the tools ------------------------------------------------------------------------------------


class Command(NamedTuple):
    """What a person types: the arguments, the folder, and what is set in the environment."""

    arguments: Sequence[str]
    folder: Path
    variables: Mapping[str, str] = MappingProxyType({})

    def __str__(self) -> str:
        return shlex.join(self.arguments)

    def start(self, **options: Any) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        variables = {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            self.arguments,
            cwd=self.folder,
            env={**os.environ, **variables, **self.variables},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )


class Tool(ABC):
    """A way to grade the class."""

    name: str
    workers = 1
    graded: re.Pattern[str]
    """The line of its output that says that a submission is graded."""

    @abstractmethod
    def reset(self, names: list[str]) -> None:
        """Undo all grading and put in the submissions of these students."""

    @abstractmethod
    def commands(self, names: list[str]) -> list[Command]:
        """Return what is typed to grade them."""

    @abstractmethod
    def points(self, names: list[str]) -> Points:
        """Return what came of it."""


class ClassFolder(Tool):
    """A tool that grades a class's folder, and writes into nbgrader's gradebook there."""

    clean: Path
    """The folder before anything was handed in."""

    @property
    def root(self) -> Path:
        return WORK / self.name.replace(" ", "_")

    def reset(self, names: list[str]) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.clean, self.root)
        for name in names:
            shutil.copytree(SUBMISSIONS / name, self.root / "submitted" / name / ASSIGNMENT)

    def points(self, names: list[str]) -> Points:
        points: Points = {}
        with Course(self.root).gradebook() as gradebook:
            for name in names:
                try:
                    notebooks = gradebook.find_submission(ASSIGNMENT, name).notebooks
                except MissingEntry:
                    sys.exit(f"{name} has no grade in {self.root}.")
                grades = [grade for notebook in notebooks for grade in notebook.grades]
                points[name] = {grade.name: grade.auto_score for grade in grades}
        return points


class Stock(ClassFolder):
    name = "stock nbgrader"
    graded = re.compile("Setting destination file permissions")
    CONFIG = r"""
c = get_config()
# Without it a harmless warning on stderr costs all points of the cell.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"[\s\S]"
"""

    def __init__(self, seed: str) -> None:
        self.variables = variables_of_others(seed)
        self.clean = WORK / "stock"
        shutil.copytree(HOME / "notebooks" / ASSIGNMENT, self.clean / "source" / ASSIGNMENT)
        (self.clean / "nbgrader_config.py").write_text(self.CONFIG)
        finish("nbgrader", "generate_assignment", ASSIGNMENT, folder=self.clean)

    def commands(self, names: list[str]) -> list[Command]:
        return [Command(["nbgrader", "autograde", ASSIGNMENT], self.root, self.variables)]


class Ours(ClassFolder):
    graded = re.compile(rf"^student\d+, {ASSIGNMENT}: ")

    def __init__(self, clean: Path, workers: int) -> None:
        self.name = f"ours, {workers} worker{'s' * (workers > 1)}"
        self.workers = workers
        self.clean = clean

    def commands(self, names: list[str]) -> list[Command]:
        options = ["--root", str(self.root), "--workers", str(self.workers)]
        return [Command([*GRADING, "autograde", ASSIGNMENT, *options], HOME)]

    def log(self) -> list[dict[str, Any]]:
        """Return what the engine noted about each submission."""
        return [json.loads(line) for line in (self.root / JOURNAL).read_text().splitlines()]


class Otter(Tool):
    name = "otter-grader"
    graded = re.compile("Total Score")
    TEST = """\
from contextlib import redirect_stdout
from functools import cache
from io import StringIO

from otter.test_files import test_case

from course_lib.checks.{assignment} import {check}

OK_FORMAT = False
name = "{check}"


@cache
def message():
    with redirect_stdout(StringIO()) as printed:
        {check}.grade()
    return printed.getvalue()
"""
    TEST_CASE = """

@test_case(points={points}, hidden=True)
def part_{number}():
    assert "[ok] {part} (" in message()
"""

    def __init__(self, seed: str) -> None:
        self.variables = variables_of_others(seed)
        self.root = WORK / "otter"
        self.command = install_otter()
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "tests").mkdir(parents=True)
        for name, check in CHECKS.items():
            text = self.TEST.format(assignment=ASSIGNMENT, check=name)
            for number, (part, points) in enumerate(check.parts.items()):
                text += self.TEST_CASE.format(points=points, number=number, part=part)
            (self.root / "tests" / f"{name}.py").write_text(text)
        finish(self.command, "generate", folder=self.root)

    def reset(self, names: list[str]) -> None:
        for folder in ("submissions", "results"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        for name in names:
            shutil.make_archive(str(self.root / "submissions" / name), "zip", SUBMISSIONS / name)
            (self.root / "results" / name).mkdir(parents=True)

    def commands(self, names: list[str]) -> list[Command]:
        run = [self.command, "run", "--output-dir"]
        paths = [[f"results/{name}", f"submissions/{name}.zip"] for name in names]
        return [Command([*run, *pair], self.root, self.variables) for pair in paths]

    def points(self, names: list[str]) -> Points:
        points: Points = {}
        for name in names:
            results = json.loads((self.root / "results" / name / "results.json").read_text())
            points[name] = {test["name"]: test.get("score", 0.0) for test in results["tests"]}
        return points


def variables_of_others(seed: str) -> dict[str, str]:
    """Return what grading elsewhere needs to know: the seed, and where modules are looked for.

    The student's module is beside the notebook, where the kernel starts; the others are the
    reference's, as in our own grading.
    """
    overlay = os.pathsep.join([str(MODULE.parent), str(HOME / "solutions")])
    return {"COURSE_LIB_OVERLAY": overlay, SEED_VARIABLE: seed}


def install_otter() -> str:
    """Return the command `otter` of an environment that shares our torch, made if need be."""
    requirements, made_for = HOME / "requirements.txt", OTTER_HOME / "requirements.txt"
    if not made_for.exists() or made_for.read_text() != requirements.read_text():
        folder = str(OTTER_HOME)
        finish("uv", "venv", "--clear", "--python", sys.executable, folder)
        install = ("uv", "pip", "install", "--no-config", "--compile-bytecode", "--python", folder)
        wanted = f"otter-grader[grading]=={OTTER_VERSION}"
        finish(*install, "--constraint", str(requirements), wanted)
        theirs = sysconfig.get_path("purelib", vars={"base": folder})
        ours = sysconfig.get_path("purelib")
        Path(theirs, "course.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
        shutil.copy(requirements, made_for)
    return str(OTTER_HOME / "bin" / "otter")


# --- measuring ------------------------------------------------------------------------------------


class Timing(NamedTuple):
    """How long a tool took, in seconds; `graded` says when each submission was done."""

    seconds: float
    graded: list[float]

    def for_class(self, size: int) -> float:
        """Return the time for a class: start and end once, and every submission at its pace."""
        missing = size - len(self.graded)
        if not missing:
            return self.seconds
        pace = (self.graded[-1] - self.graded[0]) / (len(self.graded) - 1)
        return self.seconds + missing * pace


def grade(tool: Tool, names: list[str]) -> Timing:
    """Let a tool grade, and measure how long it takes."""
    log, graded, start = WORK / f"{tool.name}.txt", list[float](), time.perf_counter()
    with log.open("w") as output:
        for command in tool.commands(names):
            with command.start(stdout=subprocess.PIPE) as process:
                for line in process.stdout or ():
                    output.write(line)
                    if tool.graded.search(line):
                        graded.append(time.perf_counter() - start)
            if process.returncode != 0:
                sys.exit(f"{command} failed. See {log}.")
    timing = Timing(time.perf_counter() - start, graded)
    if len(graded) != len(names):
        sys.exit(f"{tool.name} graded {len(graded)} of {len(names)} submissions. See {log}.")
    return timing


def finish(*arguments: str, folder: Path = HOME) -> None:
    command = Command(arguments, folder)
    process = command.start(stdout=subprocess.PIPE)
    output, _ = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{command} failed:\n{output}")


def peak_memory(tool: Tool, names: list[str]) -> float:
    """Let a tool grade, and return the most memory that all its processes had together."""
    peak = 0.0
    for command in tool.commands(names):
        with command.start(stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                peak = max(peak, memory_of(psutil.Process(process.pid)))
                time.sleep(MEMORY_INTERVAL)
        if process.returncode != 0:
            sys.exit(f"{command} failed while its memory was measured.")
    return peak


def memory_of(root: psutil.Process) -> float:
    """Return the memory of a process and its descendants in MB.

    It is the proportional set size (PSS): what processes share is shared out among them.
    """
    memory = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                memory += process.memory_full_info().pss / 1e6
    return memory


class Checked(NamedTuple):
    """What comes of the checks without a tool: points, and seconds."""

    points: dict[str, float]
    probes: float
    """Importing the student's file and running what it defines on every case."""
    checks: float
    """The same, watched and judged."""


def run_without_a_tool(names: list[str], seed: str) -> dict[str, Checked]:
    """Run the checks of the class in a new process that gets warm, with no grading around them."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(check_all, names, int(seed)).result()


def check_all(names: list[str], seed: int) -> dict[str, Checked]:
    exams = {cell: check.exam(seed) for cell, check in CHECKS.items()}
    course_lib.__path__.insert(0, "")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        check_one(names[0], exams)  # imports what is needed
        return {name: check_one(name, exams) for name in names}


def check_one(name: str, exams: dict[str, Exam]) -> Checked:
    course_lib.__path__[0] = str(SUBMISSIONS / name / MODULE.parent)
    points, probes, checks = dict.fromkeys(exams, 0.0), 0.0, 0.0
    for cell, exam in exams.items():
        start = time.perf_counter()
        with contextlib.suppress(student.Unusable):
            implementation = student.load(ASSIGNMENT, exam.check.target)
            exam.check.attempt_all(implementation, exam.cases)
        middle = time.perf_counter()
        with contextlib.suppress(student.Unusable):
            points[cell] = exam.judge(exam.check.attempt_file(exam.cases)).points
        probes += middle - start
        checks += time.perf_counter() - middle
    return Checked(points, probes, checks)


# --- the benchmark --------------------------------------------------------------------------------


class Benchmark:
    """One run of the benchmark: what was set up for it, and what came of it so far."""

    def __init__(self, size: int, rounds: int, subset: int) -> None:
        self.size, self.rounds, self.subset = size, rounds, subset
        self.machine = machine()
        self.runs: list[dict[str, Any]] = []
        self.unchanged: dict[str, list[float]] = defaultdict(list)
        self.levels: set[str] = set()
        self.floor: list[dict[str, float]] = []
        self.memory: dict[str, float] = {}
        self.stages: dict[str, list[dict[str, float]]] = defaultdict(list)

    def set_up(self) -> None:
        shutil.rmtree(WORK, ignore_errors=True)
        clean = WORK / "ours"
        clean.mkdir(parents=True)
        finish(*GRADING, "release", "--root", str(clean), ASSIGNMENT)
        course = Course(clean)
        self.students = make_class(self.size)
        self.names = [member.name for member in self.students]
        with course.gradebook() as gradebook:
            for member in self.students:
                gradebook.add_student(member.name)
                hand_in(member, course.folder("release", ASSIGNMENT), SUBMISSIONS / member.name)
        self.seed = str(course.seed)
        self.tools: list[Tool] = [Stock(self.seed), Otter(self.seed)]
        self.tools += [Ours(clean, workers) for workers in WORKERS]
        checked = run_without_a_tool(self.names, self.seed)
        self.right = {name: checked[name].points for name in self.names}

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield all that is to do, with a title for each."""
        # First, because it also warms up: every file has been read once.
        for tool in self.tools:
            yield f"memory, {tool.name}", partial(self.weigh, tool)
        for number in range(self.rounds):
            first = number % len(self.tools)
            for tool in self.tools[first:] + self.tools[:first]:
                yield f"round {number + 1}, {tool.name}", partial(self.time, tool, number)
            yield f"round {number + 1}, the checks alone", self.time_the_checks

    def weigh(self, tool: Tool) -> None:
        names = self.names if isinstance(tool, Ours) else self.names[:2]
        tool.reset(names)
        self.memory[tool.name] = peak_memory(tool, names)
        self.check_points(tool, names)

    def time(self, tool: Tool, number: int) -> None:
        names = self.names_for(tool, number)
        tool.reset(names)
        timing = grade(tool, names)
        self.check_points(tool, names)
        self.runs.append(
            {
                "tool": tool.name,
                "round": number + 1,
                "first_student": names[0],
                "submissions": len(names),
                "seconds": timing.seconds,
                "class_seconds": timing.for_class(self.size),
                "graded_after": timing.graded,
            }
        )
        if isinstance(tool, Ours):
            self.look_closer(tool)

    def names_for(self, tool: Tool, number: int) -> list[str]:
        """Return whom a tool grades in a round: ours all, the others the next few in the class."""
        if isinstance(tool, Ours):
            return self.names
        first = number * self.subset
        return [self.names[place % self.size] for place in range(first, first + self.subset)]

    def check_points(self, tool: Tool, names: list[str]) -> None:
        """Insist on the points that the checks give without a tool."""
        points = tool.points(names)
        for name in names:
            given = {cell: points[name].get(cell) for cell in CHECKS}
            if given != self.right[name]:
                sys.exit(
                    f"{tool.name} gives {name} {given}, and the checks alone give "
                    f"{self.right[name]}. Tools that grade differently cannot be compared: find "
                    f"out why. The submission is in {SUBMISSIONS / name}."
                )

    def look_closer(self, tool: Ours) -> None:
        """Note where the time went and in which sandbox; then grade the unchanged class again."""
        log = tool.log()
        self.levels |= {entry["level"] for entry in log}
        stages = {stage for entry in log for stage in entry["seconds"]}
        self.stages[tool.name].append(
            {stage: fmean(entry["seconds"].get(stage, 0.0) for entry in log) for stage in stages}
        )
        self.unchanged[tool.name].append(grade(tool, self.names).seconds)
        if len(tool.log()) != len(log):
            told = f"With {tool.name} the unchanged class was graded again"
            sys.exit(f"{told}. Was a file of the course edited meanwhile?")

    def time_the_checks(self) -> None:
        checked = run_without_a_tool(self.names, self.seed).values()
        probes, checks = sum(one.probes for one in checked), sum(one.checks for one in checked)
        self.floor.append({"probes": probes, "checks": checks})

    def results(self) -> dict[str, Any]:
        results: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", "tools/bench_grading.py", *sys.argv[1:]]),
            "machine": self.machine,
            "versions": {
                "nbgrader": version("nbgrader"),
                "otter-grader": OTTER_VERSION,
                "torch": version("torch"),
                "python": platform.python_version(),
            },
            "class": {
                "assignment": ASSIGNMENT,
                "students": self.size,
                "kinds": Counter(member.kind for member in self.students),
                "points": [sum(self.right[name].values()) for name in self.names],
                "subset": self.subset,
            },
            "sandbox": sorted(self.levels),
            "workers": {tool.name: tool.workers for tool in self.tools},
            "runs": self.runs,
            "unchanged": self.unchanged,
            "floor": self.floor,
            "memory": self.memory,
            "stages": {
                tool: {stage: fmean(run[stage] for run in runs) for stage in runs[0]}
                for tool, runs in self.stages.items()
            },
        }
        return {**results, "summary": summary(results)}


# --- the command ----------------------------------------------------------------------------------


def follow(benchmark: Benchmark, console: Console) -> None:
    """Do all steps of a benchmark, and show how far it is."""
    with console.status("Setting up"):
        benchmark.set_up()
    steps = [*benchmark.steps()]
    for number, (title, step) in enumerate(steps, start=1):
        start = time.perf_counter()
        with console.status(f"{title} (step {number} of {len(steps)})"):
            step()
        console.print(f"{title}: {time.perf_counter() - start:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--students", type=int, default=60, help="in the class (60)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each tool grades (5)")
    parser.add_argument(
        "--subset", type=int, default=12, help="submissions for the slow tools in a round (12)"
    )
    parser.add_argument("--to", type=Path, default=SPEED, metavar="FILE", help="results as JSON")
    options = parser.parse_args()
    if not 2 <= options.subset <= options.students or options.rounds < 1:
        parser.error("there must be a round, and 2 or more of the students in the subset")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    benchmark = Benchmark(options.students, options.rounds, options.subset)
    if (load := benchmark.machine["load_before"]) > QUIET:
        console.print(f"This machine is busy (its load is {load:.1f}): the figures will say so.")
    try:
        follow(benchmark, console)
    except KeyboardInterrupt:
        sys.exit("Stopped: there are no results.")
    except psutil.AccessDenied as error:
        sys.exit(f"The memory of a sandboxed process cannot be read ({error}): run this as root.")
    results = benchmark.results()
    store(results, options.to)
    print(table(results), stage_table(results), caption(results), options.to, sep="\n\n")


if __name__ == "__main__":
    main()
