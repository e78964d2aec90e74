"""What runs inside the sandbox: the cells of a notebook, or the students' side of one check.

Whatever it sends can be forged by the code that it runs: nobody outside may trust it.
"""

import asyncio
import contextlib
import importlib
import io
import json
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.jsonutil import json_default
from traitlets.config import Config

Send = Callable[[bytes], None]
TIME_LIMIT = "CellTimeoutError"
"""The name of the error of a cell that ran too long, as nbclient calls it."""

PACKAGES = "packages"
"""A folder with nothing but links to packages: the folder that they lie in may not be read."""

BUFFER = 4096
"""So many characters of a stream are sent together, so that most of it survives a crash."""


class Work(Protocol):
    """What a process in the sandbox does: it sends what comes of it."""

    def run(self, send: Send) -> None: ...


@dataclass(frozen=True)
class Task:
    """What a process in the sandbox is told.

    Args:
        files: contents by path, relative to the sandbox's own folder.
        packages: folders of packages that can be imported.
        folder: where in it to work.
        variables: environment variables.
        work: what to do.
    """

    files: dict[str, bytes]
    packages: tuple[str, ...]
    folder: str
    variables: dict[str, str]
    work: Work


def prepare(channel: socket.socket) -> Work:
    """Receive a task, and put everything in its place; return what is to be done."""
    with channel.makefile("rb") as stream:
        task: Task = pickle.load(stream)
    for name, content in task.files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for folder in (task.folder, PACKAGES):
        os.makedirs(folder, exist_ok=True)
    for package in task.packages:
        os.symlink(package, f"{PACKAGES}/{os.path.basename(package)}")
    for name in ("IPYTHONDIR", "PYTHONPATH", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ.pop(name, None)  # where the instructor's files lie is nobody's business
    sys.path[:0] = [os.path.abspath(task.folder), os.path.abspath(PACKAGES)]
    os.chdir(task.folder)
    os.environ.update(task.variables)
    tempfile.tempdir = None
    # The same submission gets the same points.
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    return task.work


@dataclass(frozen=True)
class Questions:
    """Checks of the students' module: the module that they are in, and the questions of each.

    An answer is sent as soon as it is there, after its length in eight bytes.
    """

    module: str
    questions: dict[str, bytes]

    def run(self, send: Send) -> None:
        module = importlib.import_module(self.module)
        for name, questions in self.questions.items():
            answer = getattr(module, name).answer(questions)
            send(len(answer).to_bytes(8, "big") + answer)


@dataclass(frozen=True)
class Cells:
    """The code cells of a notebook, by their place in it, and the time limit of each."""

    sources: dict[int, str]
    seconds: float

    def run(self, send: Send) -> None:
        shell = Shell.instance()
        shell.begin(send)
        for place, source in self.sources.items():
            shell.event(cell=place)
            shell.execute(source, self.seconds)
        shell.event(done=True)


class CellTimeout(BaseException):
    """A cell ran too long. No `Exception`, so that fewer students' handlers swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float, stop: Callable[[], NoReturn]) -> Iterator[None]:
    """Call what raises an error in a block that runs longer, again every second from then on.

    In students' code only a courtesy, so that the cells after it can run: who takes it away is
    killed from outside.
    """

    signal.signal(signal.SIGALRM, lambda *_: stop())
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no time limit raise its error inside a block; it does after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Shell(InteractiveShell):
    """An IPython without a kernel: what a cell shows is sent, line by line as JSON."""

    send: Send
    loop: asyncio.AbstractEventLoop
    lock = threading.RLock()
    """Held while something is sent: students' threads may print as well."""

    def __init__(self, **options: Any) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        super().__init__(
            config=config, displayhook_class=Hook, display_pub_class=Publisher, **options
        )
        self.streams = {name: Stream(self, name) for name in ("stdout", "stderr")}

    def event(self, **content: Any) -> None:
        # As a kernel writes them: pictures in base64, dates as texts, NumPy's numbers as numbers.
        line = json.dumps(content, default=json_default).encode() + b"\n"
        with self.lock, undisturbed():
            self.send(line)

    def show(self, kind: str, **content: Any) -> None:
        self.flush()
        self.event(output={"output_type": kind, **content})

    def flush(self) -> None:
        for stream in self.streams.values():
            stream.flush()

    def begin(self, send: Send) -> None:
        self.send = send
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.loop_runner = self._run_in_loop

    def execute(self, source: str, seconds: float) -> None:
        """Run a cell; an error is shown as one also where IPython only prints it, or nothing."""
        self.failed = False
        sys.stdout, sys.stderr = self.streams["stdout"], self.streams["stderr"]
        error: BaseException | None
        try:
            with time_limit(seconds, self._stop):
                result = self.run_cell(source, store_history=True)
            error = result.error_before_exec or result.error_in_exec
        except BaseException as raised:  # most likely a time limit after the cell's last line
            error, self.failed = raised, False  # nobody has shown it
        if error is not None and not self.failed:
            self._showtraceback(type(error), error, traceback.format_exception_only(error))
        self.flush()

    def should_run_async(self, *_: Any, **__: Any) -> bool:
        """Run every cell in the event loop, as a kernel does; what a cell runs is in it already."""
        return not self.loop.is_running()

    def _run_in_loop(self, cell: Coroutine[Any, Any, Any]) -> Any:
        task = self.loop.create_task(cell)
        try:
            return self.loop.run_until_complete(task)
        except CellTimeout:
            # It was waiting, and must end before another cell begins.
            task.cancel()
            self.loop.run_until_complete(task)
            raise

    def system(self, command: str) -> None:
        """Run what follows a `!`. IPython's own way needs a terminal."""
        with subprocess.Popen(
            self.var_expand(command, depth=1),
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                print(line, end="")
        self.user_ns["_exit_code"] = process.returncode

    def _stop(self) -> NoReturn:
        self.flush()  # who looks for an endless loop by printing needs it
        raise CellTimeout

    def ask_exit(self) -> None:
        """Do nothing: the other cells are still to be run."""

    def enable_gui(self, gui: Any = None) -> None:
        """Do nothing: there is no event loop."""

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        self.failed = True
        name, text = etype.__name__, ""
        with contextlib.suppress(Exception):
            text = str(evalue)
        if etype is CellTimeout:
            name, text = TIME_LIMIT, "this cell ran too long and was stopped"
            stb = [f"Time limit: {text}. Does a loop never end?"]
        self.show("error", ename=name, evalue=text, traceback=[str(line) for line in stb])


class Stream(io.TextIOBase):
    """Standard output or error of the cells."""

    encoding = "UTF-8"

    def __init__(self, shell: Shell, name: str) -> None:
        self.shell, self.name, self.text = shell, name, ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self.name == "stdout" else 2

    def write(self, text: str) -> int:
        self.text += text
        if len(self.text) > BUFFER:
            self.flush()
        return len(text)

    def flush(self) -> None:
        with self.shell.lock, undisturbed():
            if self.text:
                text, self.text = self.text, ""
                self.shell.event(output={"output_type": "stream", "name": self.name, "text": text})


class Publisher(DisplayPublisher):
    shell: Shell

    def publish(  # type: ignore[override]  # its other arguments are for kernels
        self,
        data: Any,
        metadata: Any = None,
        *,
        transient: Any = None,
        update: bool = False,
        **options: Any,
    ) -> None:
        self.shell.flush()
        output = {"output_type": "display_data", "data": data, "metadata": metadata or {}}
        name = (transient or {}).get("display_id")
        self.shell.event(output=output, name=name, update=update)

    def clear_output(self, wait: bool = False) -> None:
        self.shell.flush()
        self.shell.event(clear="later" if wait else "now")


class Hook(DisplayHook):
    shell: Shell

    def write_output_prompt(self) -> None:
        """Do nothing: the count goes with the result."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self.shell.show(
            "execute_result",
            data=format_dict,
            metadata=md_dict or {},
            execution_count=self.prompt_count,
        )
