"""A course on disk: its configuration, its folders, what was done before, and nbgrader's runs."""

import contextlib
import difflib
import fcntl
import functools
import glob
import hashlib
import json
import logging
import logging.handlers
import os
import re
import secrets
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import nbgrader.api
from nbgrader.api import Gradebook
from nbgrader.converters.base import BaseConverter, NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import find_all_files
from sqlalchemy.exc import SQLAlchemyError
from traitlets import Unicode
from traitlets.config import Config, Configurable
from traitlets.config.loader import PyFileConfigLoader

CONFIG = "nbgrader_config.py"
TEMPORARY = "grading-"
"""So begins the name of a run's folder for temporary files."""
LOG = logging.getLogger("traitlets")
"""Where nbgrader's converters write."""

# Nbgrader opens the gradebook eight times for a submission, each time with an engine that has yet
# to compile all its SQL: a third of the time that an entry takes.
nbgrader.api.create_engine = functools.cache(nbgrader.api.create_engine)


class GradingError(Exception):
    """Something that the instructor can put right; the text says how."""


class MachineError(GradingError):
    """The database or the machine failed, so nothing can be said of the submission."""


class UsageError(GradingError):
    """The command names something that does not exist."""


class CourseCode(Configurable):
    """Where the students' code is: assignment NAME belongs to the module NAME of a package."""

    package = Unicode("", help="Package of the modules that students write.").tag(config=True)
    reference = Unicode("", help="Folder of their reference implementations.").tag(config=True)
    stub = Unicode(
        "",
        help="Dotted name of the function that makes the text of a stub from that of a reference. "
        "Without it, the package's own file is the stub.",
    ).tag(config=True)
    overlay_variable = Unicode(
        "", help="Environment variable for the folders that stand in front of the package."
    ).tag(config=True)
    seed_variable = Unicode(
        "", help="Environment variable for the secret seed of the graded run."
    ).tag(config=True)
    checks = Unicode(
        "",
        help="Package of the checks that judge from outside the sandbox: the test cell CHECK of "
        "assignment NAME belongs to the object CHECK of its module NAME.",
    ).tag(config=True)


class Course:
    """A course: `home` holds the configuration and the sources, `root` one class's work.

    They are the same folder, unless a class is kept in a folder of its own below the course.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        start = Path(root or ".").resolve()
        homes = [folder for folder in (start, *start.parents) if (folder / CONFIG).is_file()]
        if not start.is_dir() or not homes:
            raise UsageError(f"{start} is no course: there is no {CONFIG} in it. Give --root.")
        if glob.has_magic(str(start)):
            raise UsageError(f"nbgrader finds nothing in {start}: take [, ? and * out of the name.")
        self.home = homes[0]
        self.root = start if root else self.home
        self.state = self.root / ".grading"
        try:
            self.config: Config = PyFileConfigLoader(CONFIG, path=str(self.home)).load_config()
        except Exception as error:
            raise UsageError(f"{self.home / CONFIG} cannot be read: {error}") from error
        self.code = CourseCode(config=self.config)
        if self.code.package and not self.code.overlay_variable:
            raise UsageError("c.CourseCode.package needs c.CourseCode.overlay_variable.")
        self.directory = self._course_directory()

    def _course_directory(self, **traits: str) -> CourseDirectory:
        directory = CourseDirectory(config=self.config, root=str(self.root), **traits)
        # Relative, because nbgrader escapes only its root when it matches paths.
        source = os.path.relpath(self.home / directory.source_directory, self.root)
        directory.source_directory = source
        return directory

    def folder(self, step: str, assignment: str, student: str = ".") -> Path:
        """Return the folder of an assignment in one of nbgrader's steps, say `"submitted"`."""
        name = getattr(self.directory, f"{step}_directory")
        return Path(os.path.normpath(self.directory.format_path(name, student, assignment)))

    def students(self, step: str, assignment: str) -> list[str]:
        """Return the students who have a folder for an assignment in one of nbgrader's steps."""
        name = getattr(self.directory, f"{step}_directory")
        pattern = self.directory.format_path(name, "(?P<student>.*)", assignment, escape=True)
        paths = glob.glob(self.directory.format_path(name, "*", assignment))
        matches = [re.fullmatch(pattern, path) for path in paths if os.path.isdir(path)]
        return sorted(match["student"] for match in matches if match)

    @cached_property
    def assignments(self) -> list[str]:
        """The names of all assignments in the source directory."""
        notebooks = glob.glob(f"{self.folder('source', '*')}/*.ipynb")
        return sorted({Path(notebook).parent.name for notebook in notebooks})

    def choose(self, names: list[str]) -> list[str]:
        """Return the assignments of these names, or all when none is named."""
        for name in names:
            if name not in self.assignments:
                close = difflib.get_close_matches(name, self.assignments, n=1)
                hint = f" Did you mean {close[0]}?" if close else ""
                known = ", ".join(self.assignments) or "none"
                raise UsageError(f"There is no assignment {name}.{hint} Known: {known}.")
        return names or self.assignments

    def notebooks(self, assignment: str) -> list[str]:
        return sorted(path.name for path in self.folder("source", assignment).glob("*.ipynb"))

    def module(self, assignment: str) -> str | None:
        """Return the path of the module that students write for an assignment, if there is one."""
        path = f"{self.code.package}/{assignment}.py"
        return path if self.code.package and (self.home / path).is_file() else None

    def files_of_students(self, assignment: str) -> list[str]:
        """Return the paths of what students write besides notebooks."""
        module = self.module(assignment)
        others = self.config.Autograde.get("exclude_overwriting", {}).get(assignment, [])
        return [*([module] if module else []), *others]

    def gradebook(self) -> Gradebook:
        # For a new one nbgrader looks for alembic on PATH, where a virtual environment may not be.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        with environment({"PATH": path}):
            return Gradebook(self.directory.db_url, self.directory.course_id)

    @cached_property
    def seed(self) -> int:
        """The secret seed of the graded runs: drawn once, so that grading again gives the same."""
        path = self.root / "grading_seed"
        if not path.exists():
            with tempfile.NamedTemporaryFile("w", dir=self.root, prefix="grading_seed.") as new:
                new.write(f"{secrets.randbits(63)}\n")
                new.flush()
                with contextlib.suppress(FileExistsError):  # another run was faster
                    os.link(new.name, path)
        return int(path.read_text())

    @cached_property
    def version(self) -> str:
        """The digest of the code that grades: the course's, our own, and what is installed."""
        folders = [self.code.package, self.code.reference]
        paths = [self.home / folder for folder in folders if folder]
        packages = Path(sysconfig.get_path("purelib")).glob("*.dist-info")
        texts = [sys.version, *sorted(path.name for path in packages)]
        return self.digest([*paths, self.home / CONFIG, Path(__file__).parent], *texts)

    @cached_property
    def basis(self) -> str:
        """The digest of everything that all grades depend on."""
        return self.digest([], self.version, str(self.seed))

    def digest(self, paths: Iterable[Path], *texts: str) -> str:
        """Return the digest of files, of folders with all that is in them, and of texts."""
        total = hashlib.sha256()
        for path in paths:
            found = find_all_files(str(path), self.directory.ignore) if path.is_dir() else [path]
            for file in sorted(map(Path, found)):
                content = file.read_bytes()
                total.update(f"{os.path.relpath(file, path)}\0{len(content)}\0".encode() + content)
        for text in texts:
            total.update(f"{text}\0".encode())
        return total.hexdigest()

    def record(self, *names: str) -> "Record":
        return Record(self.state.joinpath(*names[:-1], f"{names[-1]}.json"))

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Path]:
        """An empty folder for a while. Its name, which tracebacks show, is always the same."""
        work = self.state / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def convert(
        self,
        converter: type[BaseConverter],
        assignment: str,
        student: str = "*",
        *,
        folders: Mapping[str, Path],
        **traits: Any,
    ) -> None:
        """Run one of nbgrader's converters, with some of nbgrader's steps in other folders.

        Raises:
            MachineError: the database failed, or the machine.
            GradingError: it failed; the text is the cause, and the log has the rest.
        """
        directory = self._course_directory(assignment_id=assignment, student_id=student)
        for step, folder in folders.items():
            setattr(directory, f"{step}_directory", os.path.relpath(folder, self.root))
        causes = _Causes()
        LOG.addHandler(causes)
        try:
            converter(coursedir=directory, config=self.config, force=True, **traits).start()
        except NbGraderException as error:
            kind = MachineError if causes.of_the_machine else GradingError
            raise kind(causes.last or str(error)) from error
        except Exception as error:
            LOG.exception("nbgrader failed")
            of_the_machine = isinstance(error, SQLAlchemyError | OSError | MemoryError)
            kind = MachineError if of_the_machine else GradingError
            raise kind(f"{type(error).__name__}: {error}") from error
        finally:
            LOG.removeHandler(causes)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep other runs out, and send what nbgrader says to `grading.log`.

        Temporary files go to a folder of their own, which is removed even after a crash: by the
        next run, because the lock names it.
        """
        self.state.mkdir(exist_ok=True)
        with open(self.state / "lock", "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise GradingError(f"Another run works in {self.root}: let it end.") from None
            lock.seek(0)
            left = lock.read().strip()
            if Path(left).name.startswith(TEMPORARY):
                shutil.rmtree(left, ignore_errors=True)
            lock.truncate(0)
            with _temporary_folder(lock), _log_to(self.root / "grading.log"):
                yield


@contextlib.contextmanager
def _temporary_folder(lock: TextIO) -> Iterator[None]:
    before = tempfile.gettempdir()
    # There will be sockets in it, whose paths must be short.
    place = before if len(before) < 60 else "/tmp"
    folder = Path(place, f"{TEMPORARY}{secrets.token_hex(4)}")
    lock.write(str(folder))
    lock.flush()  # before there is a folder that nobody would know of
    folder.mkdir(mode=0o700)
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)
        lock.truncate(0)


class Record:
    """A small JSON file that says what was done, so that it need not be done again.

    Delete it before the work and write it after: then a crash cannot leave a wrong one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return content

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)

    def write(self, **content: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(content))


class _Causes(logging.Handler):
    """Keeps the last exception that nbgrader logs: what it raises only says to read the log."""

    last = ""
    of_the_machine = False

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if text.startswith("Traceback"):
            self.last = text.splitlines()[-1]
            of_the_system = re.match(r"\w+: \[Errno \d+\]|MemoryError", self.last)
            self.of_the_machine = "sqlalchemy.exc." in text or bool(of_the_system)


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=10_000_000, backupCount=1)
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is told once
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    # And what others say of what fails, as Tornado's and SQLAlchemy's do for a gradebook.
    loggers = [LOG, logging.getLogger()]
    before = [(logger.level, logger.propagate) for logger in loggers]
    LOG.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is there as a whole or not at all; it keeps its permissions."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8", newline="")
    if path.exists():
        shutil.copymode(path, new)
    new.replace(path)


def replace_folder(new: Path, folder: Path, trash: Path) -> None:
    """Put a finished folder in the place of an older one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.move(folder, trash)
    shutil.move(new, folder)


@contextlib.contextmanager
def environment(variables: Mapping[str, str], *, only: bool = False) -> Iterator[None]:
    """Set environment variables for a while; with `only`, have no others."""
    others = os.environ.keys() - variables.keys() if only else set()
    before = {name: os.environ.get(name) for name in others | variables.keys()}
    _set_environment({**variables, **dict.fromkeys(others)})
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
