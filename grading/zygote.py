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
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import psutil

from grading import sandbox
from grading.sandbox import Limits, Sandbox
from grading.shell import Shell, Task, serve

LONGEST_LINE = 8_000_000
"""Bytes; what is read of them as JSON takes many times as much memory."""
BURST = 5.0
"""Seconds of processor time that a run may use at its own pace."""
TICK = 0.25
"""Seconds between two looks at what a run uses."""


class ZygoteLost(Exception):
    """The zygote is gone, and with it the ability to run anything."""


class Stopped(Exception):
    """A run was stopped, or ended before it was finished; the text goes on after "it"."""


class Zygote:
    """Forks the zygote; `run` then asks it for sandboxed processes."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.process = os.fork()
        if not self.process:
            try:
                self.socket.close()
                _fork_on_demand(box, other)
            finally:  # never back to where we were forked
                os._exit(1)
        other.close()

    @contextlib.contextmanager
    def run(self, task_in: Callable[[str], Task]) -> Iterator["Run"]:
        """Start a task in a sandbox of its own; at the end nothing of it is left.

        Args:
            task_in: makes the task, given the sandbox's folder as its code sees it.

        Raises:
            ZygoteLost: there is no zygote any more.
        """
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as outside:
            ours, theirs = socket.socketpair()
            receiver, sender = os.pipe()
            try:
                socket.send_fds(self.socket, [outside.encode()], [theirs.fileno(), sender])
                answer = self.socket.recv(32)
            except OSError:
                answer = b""
            finally:
                theirs.close()
                os.close(sender)
            if not answer:
                raise ZygoteLost
            run = Run(int(answer), ours, receiver, self.box.limits)
            try:
                run.send(pickle.dumps(task_in(self.box.folder(outside))))
                yield run
            finally:
                run.end()
                if self.box.level != sandbox.FULL:
                    _make_removable(outside)


class Run:
    """A process in the sandbox, seen from outside: what it sends, and how long it may."""

    def __init__(self, keeper: int, channel: socket.socket, status: int, limits: Limits) -> None:
        self.keeper, self.channel, self.status, self.limits = keeper, channel, status, limits
        self.channel.setblocking(False)
        self.received = 0
        self.began = time.monotonic()
        self.next_look = time.monotonic() + TICK

    def send(self, content: bytes) -> None:
        """Send the task, unless the process has ended already.

        Raises:
            Stopped: the process did not take it within ten seconds.
        """
        self.limit_time(10)
        view = memoryview(content)
        with contextlib.suppress(ConnectionError):
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
            while len(rest) >= 8 + (size := int.from_bytes(rest[:8], "big")) >= 8:
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
        before = psutil.Process().memory_info().rss
        for process in processes:
            with contextlib.suppress(psutil.Error):  # it has ended by now
                memory += max(0, process.memory_info().rss - before)
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
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.keeper, signal.SIGTERM)
        # Only when its keeper is gone, all of it is gone.
        select.select([self.status], [], [], 10)
        os.close(self.status)
        self.channel.close()


def _fork_on_demand(box: Sandbox, requests: socket.socket) -> NoReturn:
    """Be the zygote."""
    sandbox.die_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    _close_all_but(requests.fileno())
    Shell.instance()
    if (threads := psutil.Process().num_threads()) > 1:
        raise RuntimeError(f"a zygote must have one thread, and this one has {threads}")
    gc.collect()
    gc.freeze()
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


def _run_in_sandbox(box: Sandbox, outside: str, channel: int, status: int) -> NoReturn:
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if process := sandbox.start(box, outside):
            os.close(channel)
            sandbox.keep(process, status)
        else:
            os.close(status)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            serve(socket.socket(fileno=channel))
        code = 0
    finally:
        os._exit(code)


def _close_all_but(kept: int) -> None:
    """Leave nothing open that a student's code could use; its standard streams lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.closerange(3, kept)
    os.closerange(kept + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _make_removable(folder: str) -> None:
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
