"""What a run leaves behind when it, or something that it needs, is killed, stopped or full.

Everything here is real: processes of the command line, kill -9, full disks. The moments are
random. A failure prints its seed; `ROBUSTNESS_SEED=... pytest` repeats it as far as a machine can
repeat such a thing, and `ROBUSTNESS_ROUNDS=20 pytest` tries that many times more.
"""

import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from classes import (
    KINDS,
    Snapshot,
    Undisturbed,
    Work,
    changed,
    class_of,
    files,
    hand_in_all,
    journal,
)
from toy_course import CONFIG, JUDGED, REPOSITORY, Run, add_students, run, write_course

from grading.autograde import JOURNAL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox and its processes are Linux's"),
]

ROUNDS = int(os.environ.get("ROBUSTNESS_ROUNDS", "1"))
HELPERS = ("forkserver", "worker", "zygote", "keeper")
"""Whose parent is whose: the command's child is the forkserver, and so on."""
STOPPED = "Stopped. What was finished is kept: run it again to go on.\n"


class Command:
    """A command of ours under way.

    It has a folder for temporary files of its own: nothing may be left there, and all of its
    processes are known by it.
    """

    def __init__(self, root: Path, *arguments: str, soft_limit: int | None = None) -> None:
        self.root = root
        self.temporary = root.parent / f"{root.name}-temporary"
        self.temporary.mkdir(exist_ok=True)
        self.before = len(journal(root))

        def limit() -> None:
            if soft_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft_limit, resource.RLIM_INFINITY))

        self.process = subprocess.Popen(
            [sys.executable, "-m", "grading", *arguments, "--root", root],
            cwd=REPOSITORY,
            env=os.environ | {"TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=limit,
        )

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it takes too long"
            time.sleep(0.005)

    def wait_for_grades(self, number: int) -> None:
        """Wait until so many submissions are graded, or the command has ended."""
        path = self.root / JOURNAL
        self.wait_until(
            lambda: (
                self.process.poll() is not None
                or (path.exists() and path.read_bytes().count(b"\n") - self.before >= number)
            )
        )

    def one_of(self, helper: str, rng: random.Random) -> psutil.Process:
        """Return one of the processes that the command needs, as soon as there is one."""
        found: list[psutil.Process] = []

        def look() -> bool:
            nonlocal found
            found = [psutil.Process(self.process.pid)]
            for step in HELPERS[: HELPERS.index(helper) + 1]:
                found = [child for process in found for child in _children(process)]
                if step == "forkserver":
                    found = [one for one in found if _is_forkserver(one)]
            return bool(found)

        self.wait_until(look)
        return rng.choice(found)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("TMPDIR") == str(self.temporary):
                    found.append(process)
        return found

    def end(self, seconds: float = 120) -> Run:
        out, err = self.process.communicate(timeout=seconds)
        return Run(self.process.returncode, out, err)

    def assert_nothing_is_left(self) -> None:
        self.wait_until(lambda: not self.processes(), seconds=5)
        assert os.listdir(self.temporary) == []


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [child for child in process.children() if child.status() != psutil.STATUS_ZOMBIE]
    return []


def _is_forkserver(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "from multiprocessing.forkserver" in " ".join(process.cmdline())
    return False


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Undisturbed]:
    """A released course without submissions, and what an undisturbed run makes of each kind."""
    root = tmp_path_factory.mktemp("school")
    write_course(root)
    config = root / "nbgrader_config.py"
    config.write_text(CONFIG + JUDGED)
    assert run("release", "--root", root).code == 0
    graded = tmp_path_factory.mktemp("undisturbed") / "class"
    work = class_of(len(KINDS))
    Classroom(root, graded, work)
    shutil.copy(graded / "grading_seed", root)
    return root, Undisturbed(graded, work)
