"""Measure how fast a class is graded: by stock nbgrader, by otter-grader and by our engine.

Sixty students hand in one assignment: right solutions in several styles, solutions with one or two
mistakes, unfinished, empty and broken ones, in notebooks with their own answers and cells. None of
them runs for ever. The tools grade in turns, each in new processes and an empty gradebook:

- stock nbgrader: `nbgrader autograde`, one process, nbgrader's own preprocessors;
- otter-grader without Docker: `otter run` for each submission, in an environment of its own;
- ours: `python -m grading autograde` with one worker and with four, in its sandbox; then the same
  command again, with nothing changed.

The first two are slow, so in each round they grade only the next few of the class (--subset). Their
time for the class is then their own start and end, and every submission at the pace that was
measured. Every tool must give every student the same points in every exercise: those that the
checks give in one warm process without any tool, whose time is the floor. Memory is measured in
runs of its own, which are not timed.

The results go into book/appendix/grading_speed.json, from which `table`, `stage_table`, `plot` and
`alternative` make what the book shows. The figures are worth something on a machine that does
nothing else meanwhile. To try it out: --students 8 --rounds 1 --subset 2 --to FILE.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import nbformat
import psutil
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from nbgrader.api import MissingEntry
from rich.console import Console
from rich.progress import Progress

import course_lib
from course_lib import plots, student
from course_lib.checking import SEED_VARIABLE, Exam
from course_lib.checks import checks_of
from course_lib.stubs import stub
from grading.course import Course

HOME = Path(__file__).resolve().parents[1]
RESULTS = HOME / "book" / "appendix" / "grading_speed.json"
WORK = HOME / "_build" / "bench_grading"
SUBMISSIONS = WORK / "class"
ASSIGNMENT = "optimizers"
NOTEBOOK, MODULE = f"{ASSIGNMENT}.ipynb", Path("course_lib", f"{ASSIGNMENT}.py")
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


class Problem(Exception):
    """Why there are no results, in words for whoever ran the command."""


# --- the class ------------------------------------------------------------------------------------


class Student(NamedTuple):
    """Who hands in what: the text of the module."""

    name: str
    kind: str
    module: str


MIXTURE = (
    *("right", "mistaken", "right", "mistaken", "mistaken", "unfinished"),
    *("right", "mistaken", "empty", "mistaken", "right", "broken"),
)
"""Who sits side by side; the class repeats it, so that any twelve in a row are alike."""

ZERO_GRAD, STATE_DICT, LOAD_STATE_DICT, SGD_STEP, UPDATE, ADAM_STEP, ADAMW_STEP = range(7)
"""The places of the solutions in the reference."""

SLIPS: tuple[tuple[int, str, str], ...] = (
    (ZERO_GRAD, "if set_to_none:", "if not set_to_none:"),
    (ZERO_GRAD, "in self.param_groups:", "in self.param_groups[:1]:"),
    (ZERO_GRAD, "elif param.grad is not None:", "else:"),
    (ZERO_GRAD, "param.grad.zero_()", "param.grad = torch.zeros_like(param)"),
    (STATE_DICT, "numbers[param] = len(numbers)", "numbers[param] = 0"),
    (STATE_DICT, "{**group, ", "{"),
    (STATE_DICT, '[numbers[param] for param in group["params"]]', 'group["params"]'),
    (STATE_DICT, '"param_groups": groups', '"param_groups": []'),
    (LOAD_STATE_DICT, "group.update(saved_group, params=params)", "pass"),
    (LOAD_STATE_DICT, "group.update(saved_group, params=params)", "group.update(saved_group)"),
    (LOAD_STATE_DICT, "        self.state.clear()\n", ""),
    (
        LOAD_STATE_DICT,
        '_moved_to(param, state_dict["state"][number])',
        'state_dict["state"][number]',
    ),
    (SGD_STEP, "continue", "break"),
    (SGD_STEP, "continue", "param.grad = torch.zeros_like(param)"),
    (SGD_STEP, 'grad = -param.grad if group["maximize"] else param.grad', "grad = param.grad"),
    (SGD_STEP, 'grad.add(param, alpha=group["weight_decay"])', 'grad + group["weight_decay"]'),
    (SGD_STEP, "= grad.clone()", "= grad"),
    (SGD_STEP, "= grad.clone()", '= grad * (1 - group["dampening"])'),
    (SGD_STEP, '(grad, alpha=1 - group["dampening"])', "(grad)"),
    (SGD_STEP, "grad.add(direction, alpha=momentum)", "direction.mul_(momentum).add_(grad)"),
    (SGD_STEP, 'alpha=-group["lr"]', 'alpha=group["lr"]'),
    (SGD_STEP, 'param.add_(direction, alpha=-group["lr"])', 'param -= group["lr"] * grad'),
    (
        SGD_STEP,
        'param.add_(direction, alpha=-group["lr"])',
        'param = param - group["lr"] * direction',
    ),
    (UPDATE, ' / (1 - beta1 ** int(state["step"]))', ""),
    (UPDATE, '(1 - beta2 ** int(state["step"])) ** 0.5', "1.0"),
    (UPDATE, '    state["step"] += 1\n', ""),
    (UPDATE, "beta1, beta2 = ", "beta2, beta1 = "),
    (UPDATE, '= group["betas"]', "= 0.9, 0.999"),
    (UPDATE, "lerp_(grad, 1 - beta1)", "mul_(beta1).add_(grad)"),
    (UPDATE, "addcmul_(grad, grad, value=1 - beta2)", "add_(grad.abs(), alpha=1 - beta2)"),
    (UPDATE, 'torch.maximum(state["max_exp_avg_sq"], second_moment)', "second_moment"),
    (UPDATE, "second_moment.sqrt() / correction", "second_moment / correction"),
    (UPDATE, '.add_(group["eps"])', ""),
    (ADAM_STEP, 'grad = grad.add(param, alpha=group["weight_decay"])', "pass"),
    (ADAM_STEP, "grad.add(param,", "grad.sub(param,"),
    (ADAMW_STEP, 'group["lr"] * group["weight_decay"]', 'group["weight_decay"]'),
    (ADAMW_STEP, "1 - ", "1 + "),
    (ADAMW_STEP, "                if param.grad is None:\n                    continue\n", ""),
)
"""Where a student slips, what stands there in the reference, and what the student writes."""

ACCIDENTS: tuple[tuple[str, str], ...] = (
    ("class SGD(Optimizer):", "class SGD(Optimizer)"),
    ("from collections import", "from helpers import"),
    ("class AdamW(Adam):", "class AdamW(torch.optim.AdamW):"),
    ("class Optimizer:", 'checkpoint = torch.load("run_3.pt")\n\n\nclass Optimizer:'),
    ("class Adam(Optimizer):", "class Adam(Optimiser):"),
)
"""Why a whole file is lost: syntax, imports, a file left at home, a misspelt name; or a class of
it, because it is torch's own."""

UNFINISHED = (
    (ZERO_GRAD, STATE_DICT, LOAD_STATE_DICT),
    (ZERO_GRAD, STATE_DICT, LOAD_STATE_DICT, SGD_STEP),
    (ZERO_GRAD, SGD_STEP),
    (ZERO_GRAD, STATE_DICT, LOAD_STATE_DICT, UPDATE, ADAM_STEP),
    (SGD_STEP, UPDATE, ADAM_STEP, ADAMW_STEP),
)
"""Which solutions are written."""

NAMES_OF_PARAM = ("param", "p", "w", "theta", "tensor")

ANSWERS = (
    "In AdamW the decay is no longer divided by sqrt(v), so the same number is far weaker. Tune "
    "weight_decay again, starting at 0.1.",
    "I think AdamW has a bug. I would go back to Adam.",
    "The two decays are not the same thing: AdamW multiplies by 1 - lr * weight_decay, which is "
    "0.99999 here. A larger weight_decay is needed.",
    "*Write your answer here.*",
    "Because weight_decay is decoupled. Try a smaller learning rate.",
)

OWN_CELLS = (
    "",
    """\
from course_lib.optimizers import SGD

w = torch.ones(3, requires_grad=True)
(w**2).sum().backward()
SGD([w], lr=0.1).step()
print(w)  # 0.8?
""",
    """\
from course_lib.optimizers import Adam

x = torch.linspace(-1, 1, 64)[:, None]
model = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = Adam(model.parameters(), lr=0.02)
losses = []
for _ in range(100):
    optimizer.zero_grad()
    loss = ((model(x) - torch.sin(3 * x)) ** 2).mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
plt.semilogy(losses)
plt.title("does it learn?")
plt.show()
""",
)
"""What students leave in the notebook below the third exercise."""


def make_class(size: int) -> list[Student]:
    """Return the first students of the class; the same every time."""
    sources = {kind: module_texts(kind) for kind in MIXTURE}
    students = []
    for number, kind in enumerate(itertools.islice(itertools.cycle(MIXTURE), size)):
        name = f"student{number + 1:02}"
        text = re.sub(r"\bparam\b", NAMES_OF_PARAM[number % 5], next(sources[kind]))
        # No two files are equal, so that no tool can grade one for the other.
        students.append(Student(name, kind, f"{text}\n# {name}\n"))
    return students


def module_texts(kind: str) -> Iterator[str]:
    """Yield what students of one kind write, without end."""
    reference = (HOME / "solutions" / MODULE.name).read_text()
    if kind == "right":
        others = sorted((HOME / "tests/exercises/alternatives").glob(f"{ASSIGNMENT}_*.py"))
        others.append(HOME / "tests/end_to_end/sample_class/chloe" / MODULE.name)
        texts = [written(reference), *(path.read_text() for path in others)]
    elif kind == "mistaken":
        # The slips after the first 25 are second ones.
        texts = [written(reference, slips=SLIPS[number::25]) for number in range(25)]
    elif kind == "unfinished":
        texts = [written(reference, solutions) for solutions in UNFINISHED]
    elif kind == "empty":
        texts = [written(reference, ())]
    else:
        texts = [written(replaced(reference, old, new)) for old, new in ACCIDENTS]
    return itertools.cycle(texts)


def written(
    reference: str,
    solutions: Iterable[int] = range(7),
    slips: Iterable[tuple[int, str, str]] = (),
) -> str:
    """Return the reference as a student hands it in who has written some of its solutions."""
    region = re.compile(r" *### BEGIN SOLUTION\n(.*?) *### END SOLUTION\n", re.DOTALL)
    texts, wanted, number = region.findall(reference), {*solutions}, itertools.count()
    for place, old, new in slips:
        texts[place] = replaced(texts[place], old, new)

    def fill(found: re.Match[str]) -> str:
        place = next(number)
        return str(texts[place]) if place in wanted else found[0]

    return stub(region.sub(fill, reference))


def replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise Problem(f"The reference of {ASSIGNMENT} has changed: mend the slip {old!r}.")
    return text.replace(old, new)


def hand_in(students: list[Student], release: Path) -> None:
    """Write what each student hands in into a folder of the class."""
    shutil.rmtree(SUBMISSIONS, ignore_errors=True)
    for number, (name, _, module) in enumerate(students):
        folder = SUBMISSIONS / name
        shutil.copytree(release, folder)
        (folder / MODULE).write_text(module)
        notebook = nbformat.read(folder / NOTEBOOK, as_version=4)
        fill_in(notebook, ANSWERS[number % len(ANSWERS)], OWN_CELLS[number % len(OWN_CELLS)])
        nbformat.write(notebook, folder / NOTEBOOK)


def fill_in(notebook: NotebookNode, answer: str, own_cell: str) -> None:
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
    notebook.cells[names.index("question")].source = answer
    if own_cell:
        notebook.cells.insert(names.index("check_adam") + 1, new_code_cell(own_cell))


# --- the tools ------------------------------------------------------------------------------------


class Command(NamedTuple):
    """What a person types: the arguments, the folder, and what is set in the environment."""

    arguments: Sequence[str]
    folder: Path
    variables: Mapping[str, str] = MappingProxyType({})

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

    @property
    def output(self) -> Path:
        """Where its output goes."""
        return WORK / f"{self.name}.txt"

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
                    raise Problem(f"{name} has no grade in {self.root}.") from None
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
        finish(Command(["nbgrader", "generate_assignment", ASSIGNMENT], self.clean))

    def commands(self, names: list[str]) -> list[Command]:
        return [Command(["nbgrader", "autograde", ASSIGNMENT], self.root, self.variables)]


class Ours(ClassFolder):
    graded = re.compile(rf"^student\d+, {ASSIGNMENT}: ")

    def __init__(self, clean: Path, workers: int) -> None:
        self.name = name_of_ours(workers)
        self.workers = workers
        self.clean = clean

    def commands(self, names: list[str]) -> list[Command]:
        options = ["--root", str(self.root), "--workers", str(self.workers)]
        return [Command([*GRADING, "autograde", ASSIGNMENT, *options], HOME)]

    def log(self) -> list[dict[str, Any]]:
        """Return what the engine noted about each submission."""
        return [json.loads(line) for line in (self.root / "grading.jsonl").open()]


def name_of_ours(workers: int) -> str:
    return f"ours, {workers} worker{'s' * (workers > 1)}"


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
        finish(Command([self.command, "generate"], self.root))

    def reset(self, names: list[str]) -> None:
        for folder in ("submissions", "results"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        for name in names:
            shutil.make_archive(str(self.root / "submissions" / name), "zip", SUBMISSIONS / name)
            (self.root / "results" / name).mkdir(parents=True)

    def commands(self, names: list[str]) -> list[Command]:
        start = [self.command, "run", "--output-dir"]
        return [
            Command(
                [*start, f"results/{name}", f"submissions/{name}.zip"], self.root, self.variables
            )
            for name in names
        ]

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
        finish(Command(["uv", "venv", "--clear", "--python", sys.executable, folder], HOME))
        install = ["uv", "pip", "install", "--no-config", "--compile-bytecode", "--python", folder]
        same_versions = ["--constraint", str(requirements)]
        wanted = f"otter-grader[grading]=={OTTER_VERSION}"
        finish(Command([*install, *same_versions, wanted], HOME))
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
    start, graded = time.perf_counter(), list[float]()
    with tool.output.open("w") as output:
        for command in tool.commands(names):
            with command.start(stdout=subprocess.PIPE) as process:
                for line in process.stdout or ():
                    output.write(line)
                    if tool.graded.search(line):
                        graded.append(time.perf_counter() - start)
            if process.returncode != 0:
                raise Problem(f"{command_line(command)} failed. See {tool.output}.")
    timing = Timing(time.perf_counter() - start, graded)
    if len(graded) != len(names):
        told = f"{tool.name} graded {len(graded)} of {len(names)} submissions"
        raise Problem(f"{told}. See {tool.output}.")
    return timing


def finish(command: Command) -> None:
    process = command.start(stdout=subprocess.PIPE)
    output, _ = process.communicate()
    if process.returncode != 0:
        raise Problem(f"{command_line(command)} failed:\n{output}")


def command_line(command: Command) -> str:
    return shlex.join(command.arguments)


def peak_memory(tool: Tool, names: list[str]) -> dict[str, float]:
    """Let a tool grade, and return the most memory that all its processes had together."""
    peak = dict.fromkeys(("pss", "uss", "processes"), 0.0)
    for command in tool.commands(names):
        with command.start(stdout=subprocess.DEVNULL) as process:
            root = psutil.Process(process.pid)
            while process.poll() is None:
                for name, value in memory_of(root).items():
                    peak[name] = max(peak[name], value)
                time.sleep(MEMORY_INTERVAL)
        if process.returncode != 0:
            raise Problem(f"{command_line(command)} failed while its memory was measured.")
    return peak


def memory_of(root: psutil.Process) -> dict[str, float]:
    """Return the memory of a process and its descendants in MB.

    The proportional set size (pss) shares out what processes share; the unique one (uss) leaves
    it out.
    """
    total = dict.fromkeys(("pss", "uss", "processes"), 0.0)
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                memory = process.memory_full_info()
                total["pss"] += memory.pss / 1e6
                total["uss"] += memory.uss / 1e6
                total["processes"] += 1
    return total


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
    points, probes, checks = dict[str, float](), 0.0, 0.0
    for cell, exam in exams.items():
        start = time.perf_counter()
        probe(exam)
        middle = time.perf_counter()
        points[cell] = points_of(exam)
        probes += middle - start
        checks += time.perf_counter() - middle
    return Checked(points, probes, checks)


def probe(exam: Exam) -> None:
    with contextlib.suppress(student.Unusable):
        implementation = student.load(ASSIGNMENT, exam.check.target)
        exam.check.attempt_all(implementation, exam.cases)


def points_of(exam: Exam) -> float:
    try:
        return exam.judge(exam.check.attempt_file(exam.cases)).points
    except student.Unusable:
        return 0.0


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
        self.memory: dict[str, dict[str, float]] = {}
        self.stages: dict[str, list[dict[str, float]]] = defaultdict(list)

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield all that is to do, with a title for each."""
        for tool in self.tools:
            yield f"warming up, {tool.name}", partial(self.warm_up, tool)
        for number in range(self.rounds):
            first = number % len(self.tools)
            for tool in self.tools[first:] + self.tools[:first]:
                yield f"round {number + 1}, {tool.name}", partial(self.time, tool, number)
            yield f"round {number + 1}, the checks alone", self.time_the_checks
        for tool in self.tools:
            yield f"memory, {tool.name}", partial(self.weigh, tool)

    def set_up(self) -> None:
        shutil.rmtree(WORK, ignore_errors=True)
        clean = WORK / "ours"
        clean.mkdir(parents=True)
        finish(Command([*GRADING, "release", "--root", str(clean), ASSIGNMENT], HOME))
        course = Course(clean)
        self.students = make_class(self.size)
        self.names = [student.name for student in self.students]
        with course.gradebook() as gradebook:
            for name in self.names:
                gradebook.update_or_create_student(name)
        hand_in(self.students, course.folder("release", ASSIGNMENT))
        self.seed = str(course.seed)
        self.tools: list[Tool] = [Stock(self.seed), Otter(self.seed)]
        self.tools += [Ours(clean, workers) for workers in WORKERS]
        checked = run_without_a_tool(self.names, self.seed)
        self.right = {name: checked[name].points for name in self.names}

    def warm_up(self, tool: Tool) -> None:
        """Let a tool grade a little, so that every file has been read once."""
        self.grade(tool, self.names[:2])

    def time(self, tool: Tool, number: int) -> None:
        names = self.names_for(tool, number)
        timing = self.grade(tool, names)
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

    def look_closer(self, tool: Ours) -> None:
        """Note where the time went and in which sandbox; then grade the unchanged class again."""
        log = tool.log()
        self.levels |= {entry["level"] for entry in log}
        stages = {stage for entry in log for stage in entry["seconds"]}
        self.stages[tool.name].append(
            {s: sum(entry["seconds"].get(s, 0.0) for entry in log) / len(log) for s in stages}
        )
        self.unchanged[tool.name].append(grade(tool, self.names).seconds)
        if len(tool.log()) != len(log):
            told = f"With {tool.name} the unchanged class was graded again"
            raise Problem(f"{told}. Was a file of the course edited meanwhile?")

    def time_the_checks(self) -> None:
        checked = run_without_a_tool(self.names, self.seed).values()
        self.floor.append(
            {
                "probes": sum(one.probes for one in checked),
                "checks": sum(one.checks for one in checked),
            }
        )

    def weigh(self, tool: Tool) -> None:
        names = self.names if isinstance(tool, Ours) else self.names[:2]
        tool.reset(names)
        self.memory[tool.name] = peak_memory(tool, names)

    def names_for(self, tool: Tool, number: int) -> list[str]:
        """Return whom a tool grades in a round: ours all, the others the next few in the class."""
        if isinstance(tool, Ours):
            return self.names
        first = number * self.subset
        return [self.names[place % self.size] for place in range(first, first + self.subset)]

    def grade(self, tool: Tool, names: list[str]) -> Timing:
        """Let a tool grade from a cold start, and insist on the right points."""
        tool.reset(names)
        timing = grade(tool, names)
        points = tool.points(names)
        for name in names:
            given = {cell: points[name].get(cell) for cell in CHECKS}
            if given != self.right[name]:
                raise Problem(
                    f"{tool.name} gives {name} {given}, and the checks alone give "
                    f"{self.right[name]}. Tools that grade differently cannot be compared: find "
                    f"out why. The submission is in {SUBMISSIONS / name}."
                )
        return timing

    def results(self) -> dict[str, Any]:
        results: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", "tools/bench_grading.py", *sys.argv[1:]]),
            "machine": self.machine,
            "versions": {
                **{package: version(package) for package in ("nbgrader", "torch")},
                "otter-grader": OTTER_VERSION,
                "python": platform.python_version(),
            },
            "class": {
                "assignment": ASSIGNMENT,
                "students": self.size,
                "kinds": Counter(student.kind for student in self.students),
                "points": [sum(self.right[name].values()) for name in self.names],
                "subset": self.subset,
                "graded_by_all": min(self.size, self.rounds * self.subset),
            },
            "sandbox": sorted(self.levels),
            "workers": {tool.name: tool.workers for tool in self.tools},
            "runs": self.runs,
            "unchanged": self.unchanged,
            "floor": self.floor,
            "memory": self.memory,
            "stages": {
                tool: {stage: statistics.mean(run[stage] for run in runs) for stage in runs[0]}
                for tool, runs in self.stages.items()
            },
        }
        return rounded({**results, "summary": summary(results)})


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)", info.read_text() if info.exists() else "", re.M)
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": psutil.virtual_memory().total / 1e9,
        "system": platform.platform(),
        "load_before": os.getloadavg()[0],
    }


def rounded(value: Any) -> Any:
    """Return results with as many digits as they deserve."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return medians and spreads of the times and, from the same rounds, of the ratios."""
    size = results["class"]["students"]
    probes = statistics.median(run["probes"] for run in results["floor"])
    stock = times(results, Stock.name)
    tools: dict[str, Any] = {}
    for tool, workers in results["workers"].items():
        own = times(results, tool)
        first = [run["graded_after"][0] for run in results["runs"] if run["tool"] == tool]
        tools[tool] = {
            "class_seconds": spread(own),
            "seconds_each": spread([seconds / size for seconds in own]),
            "times_as_fast": spread([theirs / ours for theirs, ours in zip(stock, own)]),
            "first_grade_seconds": spread(first),
            "share_of_probes": probes / workers / statistics.median(own),
        }
        if tool in results["unchanged"]:
            tools[tool]["unchanged_seconds"] = spread(results["unchanged"][tool])
    floor = {
        part: spread([run[part] / size for run in results["floor"]])
        for part in ("probes", "checks")
    }
    return {"tools": tools, "floor": floor, "memory_of_a_worker": memory_of_a_worker(results)}


def times(results: dict[str, Any], tool: str) -> list[float]:
    """Return the seconds that a tool needs for the class, by round."""
    runs = sorted(results["runs"], key=lambda run: run["round"])
    return [run["class_seconds"] for run in runs if run["tool"] == tool]


def memory_of_a_worker(results: dict[str, Any]) -> float:
    """Return by how many MB our engine grows with each further worker."""
    few, many = map(name_of_ours, WORKERS)
    grown = results["memory"][many]["pss"] - results["memory"][few]["pss"]
    return float(grown / (WORKERS[1] - WORKERS[0]))


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


# --- what the book shows --------------------------------------------------------------------------


def table(results: dict[str, Any]) -> str:
    """Return the comparison in Markdown; with more than one round the spread is in brackets."""
    head = [
        "",
        f"{results['class']['students']} submissions",
        "one submission",
        "times as fast as stock",
        "share of the students' code",
        "first grade after",
        "again, unchanged",
        "memory",
    ]
    lines = [row_of(head), "|---" * len(head) + "|"]
    for tool, row in results["summary"]["tools"].items():
        again = row.get("unchanged_seconds")
        lines.append(
            row_of(
                [
                    tool,
                    f"{row['class_seconds']['median']:.0f} s",
                    in_words(row["seconds_each"], ".2f", " s"),
                    in_words(row["times_as_fast"], ".1f"),
                    f"{row['share_of_probes']:.0%}",
                    in_words(row["first_grade_seconds"], ".1f", " s"),
                    in_words(again, ".1f", " s") if again else "",
                    f"{results['memory'][tool]['pss']:.0f} MB",
                ]
            )
        )
    return "\n".join(lines)


def stage_table(results: dict[str, Any]) -> str:
    """Return where our engine's time goes, in Markdown: seconds for one submission."""
    stages: dict[str, dict[str, float]] = results["stages"]
    tools = list(stages)
    first = stages[tools[0]]
    lines = [row_of(["", *tools]), "|---" * (len(tools) + 1) + "|"]
    for stage in sorted(first, key=first.__getitem__, reverse=True):
        lines.append(row_of([stage, *(f"{stages[tool][stage]:.3f} s" for tool in tools)]))
    sums = [sum(stages[tool].values()) for tool in tools]
    each = [results["summary"]["tools"][tool]["seconds_each"]["median"] for tool in tools]
    busy = [time * results["workers"][tool] for time, tool in zip(each, tools)]
    lines.append(row_of(["all stages", *(f"{seconds:.3f} s" for seconds in sums)]))
    lines.append(row_of(["time that passed × workers", *(f"{seconds:.3f} s" for seconds in busy)]))
    return "\n".join(lines)


def row_of(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def in_words(values: dict[str, float], digits: str, unit: str = "") -> str:
    median, lowest, highest = (
        f"{values[name]:{digits}}" for name in ("median", "lowest", "highest")
    )
    return f"{median}{unit}" + (f" ({lowest} to {highest})" if lowest != highest else "")


def plot(results: dict[str, Any]) -> Figure:
    """Return the picture of the comparison: medians as bars, every round as a line across."""
    plots.use_style()
    fig, ax = plt.subplots(figsize=(8, 3.6))
    size = results["class"]["students"]
    bars = seconds_each(results)
    for place, (label, seconds) in enumerate(bars.items()):
        colour = plots.BLUE if label.startswith("ours") else plots.GREY
        ax.barh(place, seconds, color=colour, height=0.6)
        rounds = [time / size for time in times(results, label)]
        ax.plot(rounds, [place] * len(rounds), "|", color=plots.INK, markersize=12)
        ax.text(max([seconds, *rounds]), place, f"  {seconds:.2f} s", va="center")
    ax.set_yticks(range(len(bars)), bars)
    ax.invert_yaxis()
    ax.set_xlabel("seconds for one submission")
    ax.set_xlim(0, 1.2 * max(bars.values()))
    return fig


def alternative(results: dict[str, Any]) -> str:
    """Return what the picture shows, in words."""
    told = "; ".join(f"{label} {time:.2f} s" for label, time in seconds_each(results).items())
    return f"Bars of the time that one submission takes: {told}."


def seconds_each(results: dict[str, Any]) -> dict[str, float]:
    """Return the median seconds for one submission: of every tool, and without any."""
    found = results["summary"]
    seconds = {tool: row["seconds_each"]["median"] for tool, row in found["tools"].items()}
    seconds["the checks alone"] = found["floor"]["checks"]["median"]
    seconds["the students' code alone"] = found["floor"]["probes"]["median"]
    return seconds


# --- the command ----------------------------------------------------------------------------------


def follow(benchmark: Benchmark) -> None:
    """Do all steps of a benchmark, and show how far it is."""
    console = Console(stderr=True, highlight=False)
    with console.status("Setting up"):
        benchmark.set_up()
    steps = [*benchmark.steps()]
    with Progress(console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("", total=len(steps))
        for title, step in steps:
            bar.update(shown, description=title)
            start = time.perf_counter()
            step()
            console.print(f"{title}: {time.perf_counter() - start:.1f} s")
            bar.advance(shown)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--students", type=int, default=60, help="in the class (60)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each tool grades (5)")
    parser.add_argument(
        "--subset", type=int, default=12, help="submissions for the slow tools in a round (12)"
    )
    parser.add_argument("--to", type=Path, default=RESULTS, metavar="FILE", help="results as JSON")
    options = parser.parse_args()
    if not 2 <= options.subset <= options.students or options.rounds < 1:
        parser.error("there must be a round, and 2 or more of the students in the subset")
    benchmark = Benchmark(options.students, options.rounds, options.subset)
    try:
        follow(benchmark)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped: there are no results.", file=sys.stderr)
        return 130
    results = benchmark.results()
    # Numbers side by side: a list of sixty is one line.
    text = re.sub(
        r'\[[^][{}"]*\]', lambda found: " ".join(found[0].split()), json.dumps(results, indent=1)
    )
    options.to.write_text(f"{text}\n")
    print(f"{table(results)}\n\n{stage_table(results)}\n\n{options.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
