"""Grading on more than one machine, with Dask: `python -m grading autograde --cluster ADDRESS`.

ADDRESS is that of a Dask scheduler: one that `dask scheduler` started, or the `scheduler_address`
of one of Dask's ready-made clusters, for instance SSHCluster, or SLURMCluster of dask-jobqueue.
Every machine has the same course in the same folder, the same versions of what it needs, and one
`dask worker`; so many submissions are graded on it at once as its worker has threads. After a
change of the course, start the workers again. Only the process that was started with `--cluster`
writes to the gradebook.

Dask sends pickles: whoever reaches a scheduler or a worker can run code there, and a worker knows
the hidden tests and the secret seed. So use machines that you trust, and have Dask encrypt
(`distributed.comm.require-encryption` and `distributed.comm.tls` in its configuration). Students'
code runs in the same sandbox as ever and reaches neither.
"""

import asyncio
import contextlib
import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from grading.course import Course, GradingError, UsageError
from grading.engine import ATTEMPTS, Pool, usable_level
from grading.jobs import Job, Result

try:
    from distributed import CancelledError, Client, Future, Worker, WorkerPlugin, get_worker, wait
    from distributed.scheduler import KilledWorker
except ImportError as error:
    raise GradingError(
        "A cluster needs Dask: install the course with its extra `scale`, as in "
        "`pip install --editable '.[grading,scale]'`."
    ) from error

PATIENCE = 15
"""Seconds that a scheduler, or the first worker, may take to be there."""
COURSE = "the course or Python"
"""What differs where no package does."""


class Cluster:
    """What a `Pool` is, on all machines of a Dask cluster. Leave it, and their pools are gone."""

    def __init__(self, course: Course, address: str, *, unsafe: bool = False) -> None:
        self.address = address
        self.machine = Machine(course, unsafe)

    def __enter__(self) -> "Cluster":
        with contextlib.ExitStack() as stack:
            self.client = stack.enter_context(self._connected())
            self._wait_for_workers()
            stack.callback(self._release)
            self._prepare()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stack.close()

    def _connected(self) -> Client:
        try:
            return Client(self.address, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise GradingError(
                f"No Dask scheduler answers at {self.address}: start one with `dask scheduler`, "
                "and give the address that it prints."
            ) from error
        except TypeError as error:
            raise GradingError(
                f"{self.address} is encrypted: name the certificates in Dask's configuration, "
                "under `distributed.comm.tls`."
            ) from error

    def _wait_for_workers(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise GradingError(
                f"The cluster at {self.address} has no workers: start one on each machine with "
                f"`dask worker {self.address}`."
            ) from error

    def _prepare(self) -> None:
        try:
            self.client.register_plugin(self.machine)
        except OSError as error:
            raise GradingError(
                f"A machine of the cluster at {self.address} was lost before it could begin: "
                "run this again."
            ) from error

    def _release(self) -> None:
        with contextlib.suppress(Exception):  # a machine that is gone has no pool
            self.client.unregister_worker_plugin(self.machine.name)

    def grade(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result | GradingError]]:
        """Grade jobs, and yield each with what came of it, in the order in which they end.

        Raises:
            GradingError: the cluster is gone, or one of its machines must not grade this course.
        """
        try:
            yield from self._grade(jobs)
        except (CancelledError, OSError) as error:
            raise GradingError(
                f"The scheduler at {self.address} is gone. What was finished is kept: "
                "start it and its workers, and run this again."
            ) from error

    def _grade(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result | GradingError]]:
        waiting = deque(jobs)
        running: dict[Future, Job] = {}
        while waiting or running:
            # One ahead for each thread, so that none has to wait for the collector.
            places = max(1, 2 * sum(self.client.nthreads().values()))
            while waiting and len(running) < places:
                job = waiting.popleft()
                future = self.client.submit(
                    grade, job, self.machine.name, pure=False, retries=ATTEMPTS - 1
                )
                running[future] = job
            for future in self._ended([*running]):
                yield running.pop(future), _result(future)

    def _ended(self, running: list[Future]) -> set[Future]:
        while True:
            try:
                return wait(running, timeout=PATIENCE, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                self._wait_for_workers()


def _result(future: Future) -> Result | GradingError:
    try:
        return future.result()
    except (CancelledError, GradingError):
        raise
    except KilledWorker:
        return GradingError("Its Dask worker died again and again. Is there enough memory?")
    except Exception as error:
        return GradingError(f"{type(error).__name__}: {error}")


def grade(job: Job, machine: str) -> Result | GradingError:
    """Grade one submission on the machine of this Dask worker."""
    plugin = get_worker().plugins[machine]
    assert isinstance(plugin, Machine)
    return plugin.grade(job)


class Machine(WorkerPlugin):
    """A Dask worker's pool, in a process of its own.

    A pool must not be a Dask worker's: that has threads, holds the cluster's sockets and keys, and
    may be a daemon, which multiprocessing does not let start processes. There is one lane, a pipe,
    for each of its threads. Dask sets one up on every worker, also on those that come later.
    """

    def __init__(self, course: Course, unsafe: bool) -> None:
        # One for each class, so that two can be graded at once, and none is left twice.
        self.name = f"grading {platform.node()}:{course.root}"
        self.told = str(course.home), versions(course), unsafe
        self.over = False

    async def setup(self, worker: Worker) -> None:
        self.refusal = f"{platform.node()} could not begin: see what its Dask worker printed."
        self.folder = tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True)
        pairs = [Pipe() for _ in range(worker.state.nthreads)]
        descriptors = [theirs.fileno() for _, theirs in pairs]
        self.process = subprocess.Popen(
            # Not `-m`: multiprocessing would import this module, and Dask, in all workers.
            [sys.executable, "-P", "-c", f"import {__name__} as c; c.serve({descriptors})"],
            env=os.environ | {"TMPDIR": self.folder.name},
            stdin=subprocess.PIPE,
            pass_fds=descriptors,
        )
        self.lanes: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        for ours, theirs in pairs:
            theirs.close()
            self.lanes.put(ours)
        await asyncio.to_thread(self._tell)
        if self.refusal:
            raise GradingError(self.refusal)

    def _tell(self) -> None:
        """Tell the process what to grade; it says why it cannot, or nothing."""
        lane = self.lanes.get()
        with contextlib.suppress(EOFError, OSError):
            lane.send(self.told)
            self.refusal = lane.recv()
        self.lanes.put(lane)

    def grade(self, job: Job) -> Result | GradingError:
        if self.refusal:
            raise GradingError(self.refusal)
        lane = self.lanes.get()
        try:
            lane.send(job)
            return lane.recv()
        except (EOFError, OSError):
            if self.over:
                raise
            # As if the machine had died: Dask starts the worker again, and the job elsewhere.
            self.folder.cleanup()
            os._exit(1)
        finally:
            self.lanes.put(lane)

    async def teardown(self, worker: Worker) -> None:
        self.over = True
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=PATIENCE)  # closes its standard input
        self.process.kill()
        self.folder.cleanup()


def versions(course: Course) -> dict[str, str]:
    """Return what must be the same on all machines, for the same grades."""
    packages = {each.metadata["Name"]: each.version for each in distributions()}
    return packages | {COURSE: course.version}


def serve(descriptors: list[int]) -> None:
    """Be a machine's grader: do what comes along the lanes, until standard input is closed."""
    lanes = [Connection(descriptor) for descriptor in descriptors]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    home, expected, unsafe = lanes[0].recv()
    try:
        course, level = _same_course(home, expected), usable_level(unsafe)
    except GradingError as error:
        lanes[0].send(f"{platform.node()} cannot grade. {error}")
        return
    with contextlib.suppress(EOFError), contextlib.ExitStack() as stack:
        # One worker each: when it dies, no neighbour's job dies with it.
        pools = [stack.enter_context(Pool(course, 1, level)) for _ in lanes]
        lanes[0].send("")
        for lane, pool in zip(lanes, pools):
            threading.Thread(target=_serve_lane, args=(lane, pool), daemon=True).start()
        sys.stdin.read()
        Pool.lock.acquire()  # or a lane would start another worker for the one that it loses now
        raise EOFError  # or the pools would wait for what is running
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os._exit(0)  # without waiting for the lanes


def _same_course(home: str, expected: dict[str, str]) -> Course:
    try:
        course = Course(home)
    except UsageError as error:
        raise GradingError(f"The course must be in {home} there too.") from error
    different = {name for name, _ in versions(course).items() ^ expected.items()}
    if different:
        what = ", ".join(sorted(different - {COURSE})[:5]) or COURSE
        raise GradingError(
            f"It has another version of {what}: "
            "install the same as here, and start its Dask worker again."
        )
    return course


def _serve_lane(lane: Connection, pool: Pool) -> None:
    # However it ends, the lane is closed, and nobody waits for it.
    with lane, contextlib.suppress(EOFError, ConnectionError):
        while True:
            [(_, result)] = pool.grade([lane.recv()])
            lane.send(result)
