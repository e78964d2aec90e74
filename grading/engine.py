"""The engine: worker processes that grade jobs, and what happens when one of them dies."""

import compileall
import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from typing import Any

import psutil
from traitlets import Integer, List, Unicode
from traitlets.config import Configurable

from grading import sandbox, worker
from grading.course import Course, GradingError, environment
from grading.jobs import Job, Result, Settings
from grading.sandbox import Limits, Sandbox, SandboxError

KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TZ")
"""Environment variables that workers may see; no token of a hub or a cloud is among them."""
ATTEMPTS = 4
"""So often a job is begun when workers die under it, or its sandbox cannot be set up."""


class Engine(Configurable):
    """How students' code is run."""

    preload = List(
        Unicode(), ["numpy"], help="Modules that are imported once, before all submissions."
    ).tag(config=True)
    readable = List(
        Unicode(), help="Folders that students' code may read besides Python's own, such as data."
    ).tag(config=True)
    memory = Integer(
        2048, help="MB that a run may allocate. A notebook is one run, its checks are another."
    ).tag(config=True)
    disk = Integer(256, help="MB that a run may write.").tag(config=True)
    processes = Integer(64, help="Processes and threads that a run may start.").tag(config=True)
    output = Integer(20, help="MB that may come out of a notebook, or of a check.").tag(config=True)
    notebook_timeout = Integer(
        300, help="Seconds for all cells of a notebook; `c.Execute.timeout` is for one cell."
    ).tag(config=True)

    def settings(self, course: Course, level: str) -> Settings:
        from nbgrader.preprocessors import Execute  # slow to import, and often not needed

        code = course.code
        seconds = Execute(config=course.config).timeout  # none, or below 0: no limit
        packages = (str(course.home / code.package),) if code.package else ()
        limits = Limits(
            memory=self.memory << 20,
            disk=self.disk << 20,
            processes=self.processes,
            seconds=2 * self.notebook_timeout,
        )
        return Settings(
            sandbox=Sandbox(level, (*packages, *self.readable), limits),
            cell_seconds=seconds if seconds and seconds > 0 else self.notebook_timeout,
            notebook_seconds=self.notebook_timeout,
            output=self.output * 1_000_000,
            overlay_variable=code.overlay_variable,
            packages=packages,
        )


class Pool:
    """Workers on this machine. Leave it, and they are gone."""

    lock = threading.RLock()
    """Held while one starts or ends: all of a process share its environment and forkserver."""
    in_use = 0

    def __init__(self, course: Course, workers: int, level: str) -> None:
        engine = Engine(config=course.config)
        self.workers = workers
        self.settings = engine.settings(course, level)
        self.preload = [*engine.preload, "grading.worker"]
        self.variables = self._variables(course)

    def _variables(self, course: Course) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        path = [str(course.home), os.environ.get("PYTHONPATH")]
        overlay = course.code.overlay_variable
        reference = {overlay: str(course.home / course.code.reference)} if overlay else {}
        return (
            kept
            | reference
            | {
                "PYTHONPATH": os.pathsep.join(filter(None, path)),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONHASHSEED": "0",
                "TMPDIR": tempfile.gettempdir(),
                "IPYTHONDIR": tempfile.gettempdir(),
                "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                "CUDA_VISIBLE_DEVICES": "",
                # More threads than one could not be forked, and would fight for the cores.
                **dict.fromkeys(
                    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
                ),
            }
        )

    def __enter__(self) -> "Pool":
        for package in self.settings.packages:
            # Or every run would compile it again, because it can write nothing there.
            compileall.compile_dir(package, quiet=2)
        with Pool.lock:
            self.executor = self._start()
            Pool.in_use += 1
        return self

    def __exit__(self, *_: Any) -> None:
        # What is not public here: Python 3.14 has `kill_workers`; nothing stops a forkserver, and
        # another class in this process needs one with another environment.
        workers = [*(self.executor._processes or {})]
        self.executor.shutdown(wait=False, cancel_futures=True)
        with Pool.lock:
            Pool.in_use -= 1
            server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
            # With the forkserver also a worker that it is just starting.
            _kill(workers if Pool.in_use or not server else [server])
            if not Pool.in_use:
                forkserver._forkserver._stop()  # type: ignore[attr-defined]
                multiprocessing.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(self.preload)
        # Or it makes one of its own, which stays when this process is killed.
        multiprocessing.current_process()._config["tempdir"] = tempfile.gettempdir()  # type: ignore[attr-defined]
        # Its environment stays readable in /proc of all that it forks.
        with environment(self.variables, only=True):
            resource_tracker.ensure_running()  # before, because it unblocks what is blocked
            # Ctrl-C is for this process alone: the forkserver would say a page about it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                with _standard_error_to_nowhere():
                    forkserver.ensure_running()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return ProcessPoolExecutor(self.workers, context, worker.begin, (self.settings,))

    def _at_once(self, jobs: list[tuple[Job, int]]) -> int:
        """Return how many jobs may be under way: of those that a worker died under, one.

        Otherwise one more than there are workers, so that none has to wait for the next job.
        """
        return 1 if any(attempt > 1 for _, attempt in jobs) else self.workers + 1

    def _submit(self, job: Job) -> Future[Result]:
        with Pool.lock:
            try:
                return self.executor.submit(worker.grade, job)
            except BrokenProcessPool:
                self.executor = self._start()
                return self.executor.submit(worker.grade, job)

    def grade(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result | GradingError]]:
        """Grade jobs, and yield each with what came of it, in the order in which they end."""
        waiting = deque((job, 1) for job in jobs)
        running: dict[Future[Result], tuple[Job, int]] = {}
        while waiting or running:
            while waiting and len(running) < self._at_once([*running.values(), waiting[0]]):
                job, attempt = waiting.popleft()
                running[self._submit(job)] = job, attempt
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, attempt = running.pop(future)
                try:
                    yield job, future.result()
                except (BrokenProcessPool, SandboxError) as error:
                    if attempt < ATTEMPTS:
                        waiting.appendleft((job, attempt + 1))
                    else:
                        yield job, GradingError(_reason(error))
                except Exception as error:
                    yield job, GradingError(f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def _standard_error_to_nowhere() -> Iterator[None]:
    """Start what is started in a block without it: what a worker has to say comes as a result.

    One that is just being started when we stop would print a page about it.
    """
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _kill(numbers: Iterable[int]) -> None:
    """Kill processes with all that they started: what has just begun does not yet end with us."""
    found: list[psutil.Process] = []
    for number in numbers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(number)
            found += [process, *process.children(recursive=True)]
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _reason(error: Exception) -> str:
    if isinstance(error, SandboxError):
        return f"No sandbox could be set up, {ATTEMPTS} times: {error}."
    return f"Its worker died {ATTEMPTS} times. Is there enough memory?"


def usable_level(unsafe: bool) -> str:
    """Return the sandbox level to grade at.

    Raises:
        GradingError: there is none, and the instructor does not want to go without.
    """
    level = sandbox.best_level()
    if level == sandbox.NONE and not unsafe:
        raise GradingError(
            "This machine has no sandbox for students' code: `python -m grading doctor` says what "
            "is missing. To grade code that you trust all the same, give --unsafe."
        )
    return level


def default_workers() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
