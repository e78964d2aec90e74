"""What runs inside the sandbox: the cells of a notebook, or the students' side of one check.

Whatever it sends can be forged by the code that it runs: nobody outside may trust it.
"""

import contextlib
import importlib
import io
import json
import os
import pickle
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ipykernel.jsonutil import encode_images, json_clean
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_output
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


def serve(channel: socket.socket) -> None:
    """Receive a task, do it, and send what came."""
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
    sys.path[:0] = [os.path.abspath(task.folder), os.path.abspath(PACKAGES)]
    os.chdir(task.folder)
    os.environ.update(task.variables)
    tempfile.tempdir = None
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    task.work.run(channel.sendall)


@dataclass(frozen=True)
class Question:
    """One check of the students' module, named by its module and its name there.

    Args:
        cases: what the check is to be tried on, pickled.
    """

    module: str
    check: str
    cases: bytes

    def run(self, send: Send) -> None:
        check = getattr(importlib.import_module(self.module), self.check)
        send(check.answer(pickle.loads(self.cases)))


@dataclass(frozen=True)
class Cells:
    """The code cells of a notebook, by their place in it, and the time limit of each."""

    sources: dict[int, str]
    seconds: float

    def run(self, send: Send) -> None:
        shell = Shell.instance()
        shell.send = send
        for place, source in self.sources.items():
            shell.event(cell=place)
            with _time_limit(self.seconds):
                shell.run_cell(source, store_history=True)
            shell.flush()
        shell.event(done=True)


class CellTimeout(BaseException):
    """A cell ran too long. No `Exception`, so that fewer students' handlers swallow it."""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt a block that runs longer, and every second from then on.

    Only a courtesy, so that the cells after it can run: who takes it away is killed from outside.
    """

    def stop(*_: object) -> None:
        raise CellTimeout

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    except CellTimeout:  # between the cell and here
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Shell(InteractiveShell):
    """An IPython without a kernel: what a cell shows is sent, line by line as JSON."""

    send: Send
    system = InteractiveShell.system_piped

    def __init__(self, **options: Any) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        super().__init__(
            config=config, displayhook_class=Hook, display_pub_class=Publisher, **options
        )
        self.streams = {name: Stream(self, name) for name in ("stdout", "stderr")}

    def event(self, **content: Any) -> None:
        self.send(json.dumps(content).encode() + b"\n")

    def show(self, kind: str, **content: Any) -> None:
        self.flush()
        self.event(output=json_clean(new_output(kind, **content)))

    def flush(self) -> None:
        for stream in self.streams.values():
            stream.flush()

    def run_cell(self, *arguments: Any, **options: Any) -> Any:
        with (
            contextlib.redirect_stdout(self.streams["stdout"]),
            contextlib.redirect_stderr(self.streams["stderr"]),
        ):
            return super().run_cell(*arguments, **options)

    def enable_gui(self, gui: Any = None) -> None:
        """Do nothing: there is no event loop."""

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        name, text = etype.__name__, ""
        with contextlib.suppress(Exception):
            text = str(evalue)
        if etype is CellTimeout:
            name, text = TIME_LIMIT, "this cell ran too long and was stopped"
            stb = [f"Time limit: {text}. Does a loop never end?"]
        self.show("error", ename=name, evalue=text, traceback=[str(line) for line in stb])


class Stream(io.TextIOBase):
    """Standard output or error of the cells."""

    def __init__(self, shell: Shell, name: str) -> None:
        self.shell, self.name, self.text = shell, name, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        if len(self.text) > BUFFER:
            self.flush()
        return len(text)

    def flush(self) -> None:
        if self.text:
            text, self.text = self.text, ""
            self.shell.event(output=new_output("stream", name=self.name, text=text))


class Publisher(DisplayPublisher):
    shell: Shell

    def publish(  # type: ignore[override]  # its other arguments are for kernels
        self, data: Any, metadata: Any = None, **options: Any
    ) -> None:
        self.shell.show("display_data", data=encode_images(data), metadata=metadata or {})

    def clear_output(self, wait: bool = False) -> None:
        self.shell.flush()
        self.shell.event(clear=True)


class Hook(DisplayHook):
    shell: Shell

    def write_output_prompt(self) -> None:
        """Do nothing: the count goes with the result."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self.shell.show(
            "execute_result",
            data=encode_images(format_dict),
            metadata=md_dict or {},
            execution_count=self.prompt_count,
        )
