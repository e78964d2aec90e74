"""The zygote: a warm process that forks another one into a sandbox for every run.

It is forked from a worker before the worker knows any secret, has one thread, and never runs a
student's code itself.
"""

import contextlib
import gc
import os
import pickle
import resource
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import psutil

from grading import sandbox
from grading.sandbox import Limits, Sandbox, SandboxError
from grading.shell import Shell, Task, prepare

LONGEST_LINE = 8_000_000
"""Bytes; what is read of them as JSON takes many times as much memory."""
READY = b"+"
"""What a zygote, and a process in the sandbox, send before anything else. Instead of it comes what
went wrong: until then no student's code has run, so nobody else can have sent it."""
MOST_FILES = 1 << 20
"""So many can be open where there is no limit: more, the kernel does not allow by itself."""
PATIENCE = 60.0
"""Seconds for becoming ready; a hundredth of it is usual."""
BURST = 5.0
"""Seconds of processor time that a run may use at its own pace."""
TICK = 0.25
"""Seconds between two looks at what a run uses."""


class ZygoteLost(Exception):
    """The zygote is gone, and with it the ability to run anything."""


class Stopped(Exception):
    """A run was stopped, or ended before it was finished; the text goes on after "it"."""


class Zygote:
    """Forks the zygote; `run` then asks it for sandboxed processes.

    Raises:
        SandboxError: it could not get ready.
        ZygoteLost: it hangs, or was ended by somebody else.
    """

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.lock = threading.Lock()
        self.socket, other = socket.socketpair()
        self.socket.settimeout(PATIENCE)
        self.process = os.fork()
        if not self.process:
            try:
                self.socket.close()
                _fork_on_demand(box, other)
            finally:  # never back to where we were forked
                os._exit(1)
        other.close()
        try:
            answer = self.socket.recv(4096)
        except OSError:  # also when it takes too long
            answer = b""
        if answer != READY:
            # While it lives, our parent does not see that we have ended: it has our descriptors.
            os.kill(self.process, signal.SIGKILL)
            if not answer:
                raise ZygoteLost
            raise SandboxError(f"the zygote failed: {answer.decode(errors='replace')}")

    @contextlib.contextmanager
    def run(self, task_in: Callable[[str], Task]) -> Iterator["Run"]:
        """Start a task in a sandbox of its own; at the end nothing of it is left.

        Args:
            task_in: makes the task, given the sandbox's folder as its code sees it.

        Raises:
            ZygoteLost: there is no zygote any more.
            SandboxError: the sandbox could not be set up.
        """
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as outside:
            ours, theirs = socket.socketpair()
            receiver, sender = os.pipe()
            try:
                keeper = self._fork(outside, theirs.fileno(), sender)
            finally:
                theirs.close()
                os.close(sender)
            run = Run(keeper, ours, receiver, self.box.limits)
            try:
                run.begin(task_in(self.box.folder(outside)))
                yield run
            finally:
                run.end()
                if self.box.level != sandbox.FULL:
                    _make_removable(outside)

    def _fork(self, outside: str, *descriptors: int) -> int:
        """Return the number of a new process, which has a folder and these descriptors."""
        with self.lock:  # one question, one answer
            try:
                socket.send_fds(self.socket, [outside.encode()], descriptors)
                return int(self.socket.recv(32))
            except (OSError, ValueError) as error:
                self.socket.close()  # who asks next need not wait as long to hear the same
                raise ZygoteLost from error


class Run:
    """A process in the sandbox, seen from outside: what it sends, and how long it may."""

    def __init__(self, keeper: int, channel: socket.socket, status: int, limits: Limits) -> None:
        self.keeper, self.channel, self.status, self.limits = keeper, channel, status, limits
        self.channel.setblocking(False)
        self.received = 0
        self.began = time.monotonic()
        self.next_look = time.monotonic() + TICK

    def begin(self, task: Task) -> None:
        """Send the task, and wait until the sandbox is ready for it.

        Raises:
            SandboxError: it could not be set up.
            ZygoteLost: it was ended by somebody else.
        """
        self.limit_time(PATIENCE)
        try:
            self._send(pickle.dumps(task))
            self._wait_for(self.channel, select.POLLIN)
            first = b""
            with contextlib.suppress(ConnectionError):
                first = self.channel.recv(1)
            if first != READY:
                rest = b"".join(iter(lambda: self.receive(LONGEST_LINE), b""))
                trouble = (first + rest).decode(errors="replace")
                raise SandboxError(trouble or f"its process {self.ending()}")
        except Stopped as stopped:
            raise SandboxError(f"its process {stopped}") from stopped

    def _send(self, content: bytes) -> None:
        view = memoryview(content)
        with contextlib.suppress(ConnectionError):  # why it has ended is told by what it sent
            while view:
                self._wait_for(self.channel, select.POLLOUT)
                view = view[self.channel.send(view[: 1 << 20]) :]

    def limit_time(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def receive(self, limit: int) -> bytes:
        """Return the next bytes; none when the process has closed its end.

        Raises:
            Stopped: it sent more than `limit` bytes in all, was too slow, or used too much.
        """
        self._wait_for(self.channel, select.POLLIN)
        try:
            data = self.channel.recv(1 << 20)
        except ConnectionError:
            data = b""
        self.received += len(data)
        if self.received > limit:
            raise Stopped(f"sent more than {limit // 1_000_000} MB of output")
        return data

    def answers(self, limit: int) -> Iterator[bytes]:
        """Yield what comes with its length in front; what is not complete is left out."""
        rest = b""
        while data := self.receive(limit):
            rest += data
            while len(rest) >= 8 + (size := int.from_bytes(rest[:8], "big")):
                yield rest[8 : 8 + size]
                rest = rest[8 + size :]

    def lines(self, limit: int) -> Iterator[bytes]:
        """Yield line after line, as they come.

        Raises:
            Stopped: also when a line is longer than any picture.
        """
        rest = b""
        while data := self.receive(limit):
            *lines, rest = (rest + data).split(b"\n")
            if any(len(line) > LONGEST_LINE for line in (rest, *lines)):
                raise Stopped(f"sent more than {LONGEST_LINE // 1_000_000} MB in one output")
            for line in lines:
                yield line
                self._check_time()

    def _wait_for(self, file: socket.socket | int, event: int) -> None:
        poller = select.poll()
        poller.register(file, event)
        ready = False
        while not ready:
            # Also when there is always something to read: it may be sent to keep us busy.
            now = self._check_time()
            if now > self.next_look:
                self._look()
                self.next_look = time.monotonic() + TICK
            ready = bool(poller.poll(min(TICK, self.deadline - now) * 1000))

    def _check_time(self) -> float:
        if (now := time.monotonic()) > self.deadline:
            raise Stopped("was still running at its time limit")
        return now

    def _look(self) -> None:
        """Stop a run that uses too much in all its processes together."""
        processes, memory, seconds = [], 0, 0.0
        with contextlib.suppress(psutil.Error):
            processes = psutil.Process(self.keeper).children(recursive=True)
        if len(processes) > self.limits.processes:
            raise Stopped(f"started more than {self.limits.processes} processes")
        for process in processes:
            with contextlib.suppress(psutil.Error):  # it has ended by now
                memory += _memory_of(process)
                seconds += sum(process.cpu_times()[:4])
        if memory > self.limits.memory:
            raise Stopped(f"used more than {self.limits.memory >> 20} MB of memory")
        if seconds > BURST + 2 * (time.monotonic() - self.began):
            raise Stopped("used more than two processors")

    def ending(self) -> str:
        """Wait until the process has ended; say how.

        Raises:
            ZygoteLost: it was ended by somebody else, and is not to blame.
            Stopped: it goes on although it has nothing more to send.
        """
        self.limit_time(10)
        self._wait_for(self.status, select.POLLIN)
        code = os.read(self.status, 32).decode()
        if not code:
            raise ZygoteLost
        if code.startswith("-"):
            return f"was ended by {signal.Signals(-int(code)).name}"
        return f"ended with exit code {code}"

    def end(self) -> None:
        # Not when it has ended: its number may be another process's by now.
        if not select.select([self.status], [], [], 0)[0]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.keeper, signal.SIGTERM)
            # Only when its keeper is gone, all of it is gone.
            select.select([self.status], [], [], 10)
        os.close(self.status)
        self.channel.close()


def _memory_of(process: psutil.Process) -> int:
    """Return the bytes that a process takes, and its share of what it has in common with others."""
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.uss))  # only Linux tells the share
    except psutil.AccessDenied:  # of another user, and we may not look into it
        return max(0, process.memory_info().rss - psutil.Process().memory_info().rss)


def _fork_on_demand(box: Sandbox, requests: socket.socket) -> NoReturn:
    """Be the zygote."""
    try:
        sandbox.die_with_parent(signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(requests.fileno())
        sandbox.give_up_shared_memory()
        Shell.instance()
        if (threads := psutil.Process().num_threads()) > 1:
            raise SandboxError(f"it must have one thread, and has {threads}")
        gc.freeze()
    except Exception as error:
        requests.send(_told(error))
        os._exit(1)
    requests.send(READY)
    while True:
        outside, descriptors, _, _ = socket.recv_fds(requests, 4096, 2)
        if not outside:
            os._exit(0)
        process = os.fork()
        if not process:
            requests.close()
            _run_in_sandbox(box, outside.decode(), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(str(process).encode())


def _run_in_sandbox(box: Sandbox, outside: str, descriptor: int, status: int) -> NoReturn:
    channel, code = socket.socket(fileno=descriptor), 1
    try:
        try:
            for number in (signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            if process := sandbox.start(box, outside):
                channel.close()
                sandbox.keep(process, status)
                os._exit(0)
            os.close(status)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            work = prepare(channel)
        except Exception as error:
            channel.sendall(_told(error))
            os._exit(1)
        channel.sendall(READY)
        work.run(channel.sendall)
        code = 0
    finally:
        os._exit(code)


def _told(error: Exception) -> bytes:
    text = str(error) if isinstance(error, SandboxError) else f"{type(error).__name__}: {error}"
    return text.encode()[:4000]


def _close_all_but(kept: int) -> None:
    """Leave nothing open that a student's code could use; its standard streams lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(3, kept)
    os.closerange(kept + 1, MOST_FILES if limit == resource.RLIM_INFINITY else limit)


def _make_removable(folder: str) -> None:
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
