"""What a run leaves behind when it, or something that it needs, is killed, stopped or full.

Everything here is real: processes of the command line, kill -9, full disks. The moments are
random. A failure prints its seed; `ROBUSTNESS_SEED=... pytest` repeats it as far as a machine can
repeat such a thing, and `ROBUSTNESS_ROUNDS=20 pytest` does everything twenty times.
"""

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from classes import (
    KINDS,
    Snapshot,
    Undisturbed,
    Work,
    changed,
    class_of,
    grades,
    hand_in_all,
    journal,
)
from toy_course import CONFIG, JUDGED, REPOSITORY, Run, add_students, run, write_course

from grading.autograde import JOURNAL
from grading.course import Course

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox and its processes are Linux's"),
]

ROUNDS = int(os.environ.get("ROBUSTNESS_ROUNDS", "1"))
HELPERS = ("forkserver", "worker", "zygote", "keeper")
"""Whose parent is whose: the command's child is the forkserver, and so on."""
STOPPED = "Stopped. What was finished is kept: run it again to go on.\n"


class Command:
    """A command of ours under way; all of its processes are known by their folder for temporary
    files, which is a short name, because sockets are in it."""

    def __init__(
        self,
        temporary: Path,
        root: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.temporary, self.root = temporary, root
        self.graded_before = len(journal(root))
        self.lock_before = self.lock()
        self.seen: set[psutil.Process] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "grading", *arguments, "--root", root],
            cwd=REPOSITORY,
            env=os.environ | {"TMPDIR": str(temporary)} | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def lock(self) -> str:
        """Return the name of the folder for temporary files of the run that is under way."""
        path = self.root / ".grading" / "lock"
        return path.read_text() if path.exists() else ""

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it takes too long"
            time.sleep(0.01)

    def wait_for_lock(self) -> None:
        self.wait_until(lambda: self.lock() not in ("", self.lock_before))

    def wait_for_grades(self, number: int) -> None:
        """Wait until so many submissions are graded, or the command has ended."""
        wanted = self.graded_before + number
        self.wait_until(
            lambda: self.process.poll() is not None or _lines(self.root / JOURNAL) >= wanted
        )

    def wait_for_feedback(self, number: int) -> None:
        """Wait until so many more students have feedback, or the command has ended."""
        folder = self.root / "feedback"
        wanted = len([*folder.glob("*")]) + number
        self.wait_until(
            lambda: self.process.poll() is not None or len([*folder.glob("*")]) >= wanted
        )

    def one_of(self, helper: str, rng: random.Random) -> psutil.Process:
        """Return one of the processes that the command needs, as soon as there is one."""
        found: list[psutil.Process] = []

        def look() -> bool:
            nonlocal found
            assert self.process.poll() is None, f"the command has ended: {self.end()}"
            found = [psutil.Process(self.process.pid)]
            for step in HELPERS[: HELPERS.index(helper) + 1]:
                found = [child for process in found for child in _children(process)]
                if step == "forkserver":
                    found = [one for one in found if _is_forkserver(one)]
            return bool(found)

        self.wait_until(look)
        self.seen.update(found)
        return rng.choice(found)

    def processes(self) -> set[psutil.Process]:
        """Return those that live: by their environment, or because they were once seen as ours."""
        found = {process for process in self.seen if _lives(process)}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("TMPDIR", "").startswith(str(self.temporary)):
                    found.add(process)
        return found

    def kill_one(self, helper: str, rng: random.Random) -> None:
        """Kill one of the processes of a kind; one that ends by itself just then is no victim."""
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.one_of(helper, rng).kill()
                return

    def kill(self, *, everything: bool = False) -> None:
        """Kill the command, or with it all that it has started."""
        for process in self.processes() if everything else [self.process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def end(self, seconds: float = 120) -> Run:
        out, err = self.process.communicate(timeout=seconds)
        code = self.process.returncode
        # As a shell tells it; Python sometimes ends by the signal, after it has said all.
        return Run(130 if code == -signal.SIGINT else code, out, err)

    def assert_nothing_is_left(self) -> None:
        """No process; and of files only what a killed run could not remove, and the next will."""
        self.wait_until(lambda: not self.processes(), seconds=5)
        assert {str(path) for path in self.temporary.iterdir()} <= {self.lock()}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


Start = Callable[..., Command]


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [child for child in process.children() if _lives(child)]
    return []


def _is_forkserver(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "from multiprocessing.forkserver" in " ".join(process.cmdline())
    return False


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released course that nobody has handed anything in for, and its secret seed."""
    root = tmp_path_factory.mktemp("school")
    write_course(root)
    (root / "nbgrader_config.py").write_text(CONFIG + JUDGED)
    assert run("release", "--root", root).code == 0
    assert Course(root).seed
    return root


@contextlib.contextmanager
def commands() -> Iterator[Start]:
    """Commands that, whatever becomes of the test, end with the block."""
    with tempfile.TemporaryDirectory(prefix="") as folder:
        started: list[Command] = []

        def start(root: Path, *arguments: str, **options: Any) -> Command:
            started.append(Command(Path(folder), root, *arguments, **options))
            return started[-1]

        try:
            yield start
        finally:
            for command in started:
                command.kill(everything=True)


@pytest.fixture
def start() -> Iterator[Start]:
    with commands() as start:
        yield start


@pytest.fixture(scope="module")
def undisturbed(school: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root, work = tmp_path_factory.mktemp("undisturbed") / "class", class_of(len(KINDS))
    enrol(school, root, work)
    with commands() as start:
        for command in ("autograde", "feedback"):
            assert start(root, command).end().code == 0
    return Undisturbed(root, work)


@pytest.fixture(params=range(ROUNDS))
def rng() -> random.Random:
    seed = os.environ.get("ROBUSTNESS_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"ROBUSTNESS_SEED={seed}")
    return random.Random(seed)


def enrol(school: Path, root: Path, work: Work) -> None:
    """Make a class of its own, in which everybody has handed in."""
    shutil.copytree(school, root, dirs_exist_ok=True)
    add_students(root, *work)
    hand_in_all(root, work)


def test_a_run_goes_on_when_processes_that_it_needs_are_killed(
    school: Path, undisturbed: Undisturbed, start: Start, tmp_path: Path, rng: random.Random
) -> None:
    root, work = tmp_path / "class", class_of(60)
    enrol(school, root, work)
    command = start(root, "autograde", "--workers", "3")
    for number, helper in enumerate(rng.sample(HELPERS, len(HELPERS))):
        command.wait_for_grades(10 * number + rng.randrange(10))
        time.sleep(rng.uniform(0, 0.2))
        print("kill a", helper)
        command.kill_one(helper, rng)
    result = command.end()
    assert (result.code, result.err) == (0, "")
    undisturbed.assert_graded(root, work)
    command.assert_nothing_is_left()


def test_a_killed_run_is_taken_up_again(
    school: Path, undisturbed: Undisturbed, start: Start, tmp_path: Path, rng: random.Random
) -> None:
    """It is killed while it starts, and while it grades, and everybody hands in again after it."""
    root, work = tmp_path / "class", class_of(60)
    enrol(school, root, work)
    for number in (0, rng.randrange(1, 20), rng.randrange(1, 20)):
        before = Snapshot.of(root, work)
        command = start(root, "autograde", "--workers", "3")
        command.wait_for_grades(number)
        time.sleep(rng.uniform(0, 0.2 if number else 2))
        command.kill(everything=rng.random() < 0.3)
        assert command.end().code == -signal.SIGKILL
        command.assert_nothing_is_left()
        undisturbed.assert_whole(root, work, before)
        work = changed(work)
        hand_in_all(root, work)
    assert start(root, "autograde").end().code == 0
    undisturbed.assert_graded(root, work)


def test_killed_feedback_is_written_again(
    undisturbed: Undisturbed, start: Start, tmp_path: Path, rng: random.Random
) -> None:
    root, work = undisturbed.copy(tmp_path / "class"), undisturbed.work
    shutil.rmtree(root / "feedback")
    for _ in range(2):
        before = Snapshot.of(root, work)
        command = start(root, "feedback")
        command.wait_for_lock()
        command.wait_for_feedback(rng.randrange(3))
        time.sleep(rng.uniform(0, 0.3))
        command.kill()
        command.end()
        command.assert_nothing_is_left()
        undisturbed.assert_whole(root, work, before)
    assert start(root, "feedback").end().code == 0
    undisturbed.assert_feedback(root, work)


@pytest.mark.parametrize("command", ["autograde", "feedback"])
def test_killed_before_any_step_that_changes_a_file(
    command: str, undisturbed: Undisturbed, start: Start, tmp_path: Path, rng: random.Random
) -> None:
    """Of all these steps a sample, in a graded class that has handed in again."""
    ready, work = undisturbed.copy(tmp_path / "ready"), changed(undisturbed.work)
    hand_in_all(ready, work)
    if command == "feedback":
        assert start(ready, "autograde").end().code == 0
    (tmp_path / "sitecustomize.py").write_text(KILLED_BEFORE_A_STEP)
    counted = shutil.copytree(ready, tmp_path / "counted")
    assert start(counted, command, environment=_steps(counted)).end().code == 0
    steps = (tmp_path / "steps").read_text().splitlines()
    for number in rng.sample(range(1, len(steps) + 1), 2):
        root = shutil.copytree(ready, tmp_path / f"killed_before_{number}")
        before = Snapshot.of(root, work)
        killed = start(root, command, environment=_steps(root, number))
        assert killed.end().code == -signal.SIGKILL
        print("Killed before step", number, "of", len(steps), steps[number - 1])
        killed.assert_nothing_is_left()
        undisturbed.assert_whole(root, work, before)
        assert start(root, command).end().code == 0
        undisturbed.assert_graded(root, work)
        if command == "feedback":
            undisturbed.assert_feedback(root, work)


KILLED_BEFORE_A_STEP = """
import os
import signal
import sys

STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}


def before(event, arguments):
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if (writes or event in STEPS or event == "sqlite3.connect") and os.getpid() == process:
        if root in str(arguments):
            os.write(log, f"{event} {arguments}\\n".encode())
            taken.append(event)
            if len(taken) == number:
                os.kill(process, signal.SIGKILL)


if "STEPS_OF" in os.environ:  # now, because the command changes its environment for a while
    process, taken = os.getpid(), []
    root, number = os.environ["STEPS_OF"], int(os.environ["KILLED_BEFORE"])
    log = os.open(os.path.dirname(__file__) + "/steps", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    sys.addaudithook(before)
"""


def _steps(root: Path, number: int = 0) -> dict[str, str]:
    path = [str(root.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(path),
        "STEPS_OF": str(root),
        "KILLED_BEFORE": str(number),
    }


def test_a_full_disk(
    school: Path,
    undisturbed: Undisturbed,
    start: Start,
    tmp_path: Path,
    rng: random.Random,
) -> None:
    root, work = tmp_path / "class", class_of(60)
    with disk(root) as resize:
        enrol(school, root, work)
        before = Snapshot.of(root, work)
        resize(shutil.disk_usage(root).used + 4096 * rng.randrange(2, 200))
        command = start(root, "autograde")
        result = command.end()
        assert result.code == 1
        assert re.search("No space left|disk is full", result.out + result.err)
        assert "Traceback" not in result.err
        command.assert_nothing_is_left()
        undisturbed.assert_whole(root, work, before)
        resize(1 << 28)
        assert start(root, "autograde").end().code == 0
        undisturbed.assert_graded(root, work)


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A disk of its own for a folder, whose size can be set."""

    def mount(*options: str) -> None:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
        subprocess.run(command, check=True, capture_output=True)

    folder.mkdir()
    try:
        mount()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    try:
        yield lambda size: mount("-o", f"remount,size={size}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_gradebook_that_cannot_grow(
    school: Path,
    undisturbed: Undisturbed,
    start: Start,
    tmp_path: Path,
    rng: random.Random,
) -> None:
    """What a full disk, or a quota, does to it can be had without a disk: a limit on files."""
    root, work = tmp_path / "class", class_of(20)
    enrol(school, root, work)
    before = Snapshot.of(root, work)
    size = (root / "gradebook.db").stat().st_size + 4096 * rng.randrange(3)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    command = start(root, "autograde", preexec_fn=limit)
    result = command.end()
    assert result.code == 1
    assert "Traceback" not in result.err
    command.assert_nothing_is_left()
    undisturbed.assert_whole(root, work, before)
    assert start(root, "autograde").end().code == 0
    undisturbed.assert_graded(root, work)


def test_a_second_run_is_kept_out(
    school: Path, undisturbed: Undisturbed, start: Start, tmp_path: Path
) -> None:
    root, work = tmp_path / "class", class_of(10)
    enrol(school, root, work)
    first = start(root, "autograde")
    first.wait_for_grades(1)
    os.kill(first.process.pid, signal.SIGSTOP)  # or it might end before the second one begins
    for command in ("autograde", "feedback"):
        second = start(root, command).end()
        assert second == (1, "", f"Another run works in {root}: let it end.\n")
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.end()._replace(out="") == (0, "", "")
    undisturbed.assert_graded(root, work)


def test_two_runs_that_start_at_the_same_moment(
    school: Path, undisturbed: Undisturbed, start: Start, tmp_path: Path
) -> None:
    root, work = tmp_path / "class", class_of(10)
    enrol(school, root, work)
    results = [command.end() for command in [start(root, "autograde"), start(root, "autograde")]]
    kept_out = (1, "", f"Another run works in {root}: let it end.\n")
    assert sorted(result == kept_out for result in results) == [False, True]
    assert min(result.code for result in results) == 0
    undisturbed.assert_graded(root, work)


def test_control_c(
    school: Path,
    undisturbed: Undisturbed,
    start: Start,
    tmp_path: Path,
    rng: random.Random,
) -> None:
    """While it starts, while it grades and while it writes feedback."""
    root, work = tmp_path / "class", class_of(20)
    enrol(school, root, work)
    for name, number in (("autograde", 0), ("autograde", rng.randrange(1, 10)), ("feedback", 0)):
        before = Snapshot.of(root, work)
        command = start(root, name)
        command.wait_for_lock()
        command.wait_for_grades(number)
        time.sleep(rng.uniform(0, 0.5))
        os.killpg(command.process.pid, signal.SIGINT)
        assert command.end(seconds=3)._replace(out="") == (130, "", STOPPED)
        command.assert_nothing_is_left()
        assert [*command.temporary.iterdir()] == []
        undisturbed.assert_whole(root, work, before)
    for name in ("autograde", "feedback"):
        assert start(root, name).end().code == 0
    undisturbed.assert_graded(root, work)
    undisturbed.assert_feedback(root, work)


def test_a_submission_that_is_edited_between_two_runs(
    undisturbed: Undisturbed, start: Start, tmp_path: Path
) -> None:
    root, work = undisturbed.copy(tmp_path / "class"), dict(undisturbed.work)
    folders = {student: root / "autograded" / student / "adder" for student in work}
    times = {student: folder.stat().st_ctime_ns for student, folder in folders.items()}
    work["student03"] = "right"
    hand_in_all(root, {"student03": "right"})
    result = start(root, "autograde").end()
    assert result.code == 0
    assert "student03, adder: 6 / 6\n" in result.out
    assert result.out.count("(unchanged)") == len(work) - 1
    undisturbed.assert_graded(root, work)
    assert {s for s in work if folders[s].stat().st_ctime_ns != times[s]} == {"student03"}


def test_a_process_that_hangs_is_replaced(
    school: Path, undisturbed: Undisturbed, start: Start, tmp_path: Path, rng: random.Random
) -> None:
    root, work = tmp_path / "class", class_of(10)
    enrol(school, root, work)
    command = start(root, "autograde", "--workers", "2")
    command.one_of("zygote", rng).suspend()
    result = command.end()
    assert (result.code, result.err) == (0, "")
    undisturbed.assert_graded(root, work)
    command.assert_nothing_is_left()


def test_a_judge_that_hangs_is_stopped(
    undisturbed: Undisturbed, start: Start, tmp_path: Path
) -> None:
    root, work = undisturbed.copy(tmp_path / "class"), undisturbed.work
    checks = root / "toy" / "checks" / "adder.py"
    checks.write_text(checks.read_text() + HANGS)
    result = start(root, "autograde").end()
    assert result.code == 1
    assert result.err.startswith("1 of 5 could not be graded in full")
    scores = {
        student: points for student, cell, points, _ in grades(root) if cell == "check_subtract"
    }
    expected = {student: KINDS[kind].points["check_subtract"] for student, kind in work.items()}
    assert scores == expected | {"student02": 0}


HANGS = """

import time

import grading.worker

grading.worker.JUDGE_SECONDS = 1.0  # so that the test need not wait a minute
mark = Exam.mark


def hang(exam, answer, source):
    if "abs" in source and exam.check.name == "subtract":
        time.sleep(1000)
    return mark(exam, answer, source)


Exam.mark = hang
"""
