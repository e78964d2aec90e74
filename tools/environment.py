"""Make .venv: exactly the packages of requirements.txt, and the course as an editable package.

Whatever calls it may call it every time: it returns at once when nothing has changed. An
environment without its stamp was interrupted, and is made again from nothing.

Standard library only, and in the syntax of Python 3.6, so that an old Python gets a sentence
and not a syntax error.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
SPARE = ROOT / ".venv.old"
STAMP = VENV / "course.json"
REQUIREMENTS = ROOT / "requirements.txt"
BUILD = ROOT / "_build"
LOG = BUILD / "environment.log"

OLDEST_PYTHON = (3, 11)
DISK_BYTES = 3 * 10**9

ADVICE = [
    (
        ["No space left on device"],
        "The disk is full: make room and run the same command again. On Linux the packages need"
        " about 6 GB; with torch's CPU build it is 2 GB (CONTRIBUTING.md says how to get it).",
    ),
    (
        ["Retrying (", "Timeout", "Connection"],
        "pip needs the network, this once: check the connection and run the same command again.",
    ),
    (
        ["No matching distribution found"],
        "That package has no build for Python {python} on {machine}. The course is tested with"
        " Python 3.11 to 3.13 on Linux and on macOS 14 or newer with Apple silicon; to name another"
        " Python: make PYTHON=python3.12 course",
    ),
]


class Problem(Exception):
    """Why there is no environment and what to do about it, in words for whoever ran the command."""


def main() -> int:
    try:
        if read_stamp() != wanted():
            check_python(sys.version_info[:3])
            with locked():
                bring_up_to_date()
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to finish.", file=sys.stderr)
        return 130
    return 0


def wanted() -> "dict[str, str]":
    """All that an environment depends on. It names its own folder, so a moved one does not work."""
    return {
        "folder": str(ROOT),
        "python": "{}.{}".format(*sys.version_info),
        "requirements": digest(REQUIREMENTS),
        "project": digest(ROOT / "pyproject.toml"),
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_stamp() -> "dict[str, str]":
    """What the environment was made from; empty where there is no finished one."""
    if not (VENV / "bin" / "python").exists():
        return {}
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def write_stamp() -> None:
    STAMP.write_text(json.dumps(wanted(), indent=1) + "\n")


def check_python(version: "tuple[int, ...]") -> None:
    if version[:2] < OLDEST_PYTHON:
        raise Problem(
            "The course needs Python {}.{} or newer, and {} is Python {}."
            " Name a newer one, for example: make PYTHON=python3.12 course".format(
                *OLDEST_PYTHON, sys.executable, ".".join(map(str, version))
            )
        )


def check_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(str(folder)).free
    if free < needed:
        raise Problem(
            f"The packages need about {needed / 1e9:.1f} GB of disk, and only {free / 1e9:.1f} GB"
            f" are free where {folder} is. Make room and run the same command again."
        )


def check_venv_module() -> None:
    # Debian and Ubuntu keep these two in a package of their own.
    if not all(importlib.util.find_spec(module) for module in ["venv", "ensurepip"]):
        raise Problem(
            "This Python cannot make virtual environments: its venv and ensurepip modules are"
            " missing. On Debian and Ubuntu: sudo apt-get install python{}.{}-venv".format(
                *sys.version_info
            )
        )


@contextmanager
def locked() -> "Iterator[None]":
    """Two commands started together would delete each other's half-made environment."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def bring_up_to_date() -> None:
    goal, found = wanted(), read_stamp()
    if found == goal:
        return
    LOG.write_text("")
    if found and dict(found, project="") == dict(goal, project=""):
        install_course()
        write_stamp()
        return
    check_venv_module()
    check_disk(ROOT, DISK_BYTES)
    rebuild(keep=bool(found))


def rebuild(keep: bool) -> None:
    """A new environment, so that nothing that left requirements.txt stays behind.

    The finished one that it replaces is put aside, and comes back if the new one fails.
    """
    if keep:
        remove(SPARE)
        VENV.rename(SPARE)
    remove(VENV)
    try:
        run([base_python(), "-m", "venv", str(VENV)], "Python could not make .venv")
        install_requirements()
        install_course()
    except BaseException:
        if SPARE.exists():
            remove(VENV)
            SPARE.rename(VENV)
        raise
    remove(SPARE)
    write_stamp()


def remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(str(folder))


def base_python() -> str:
    """The Python behind a virtual environment: .venv cannot be made by its own, which goes."""
    if sys.prefix == sys.base_prefix:
        return sys.executable
    return os.path.join(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))


def install_requirements() -> None:
    total = sum("==" in line for line in REQUIREMENTS.read_text().splitlines())
    start = time.monotonic()
    print(f"Installing {total} packages into .venv (needs the network; only this once)")
    run(
        pip_install("--requirement", str(REQUIREMENTS)),
        "pip could not install the packages",
        Progress(total),
    )
    print(f"Installed in {time.monotonic() - start:.0f} s.")


def install_course() -> None:
    run(
        pip_install("--no-deps", "--no-build-isolation", "--editable", str(ROOT)),
        "pip could not install the course itself",
    )


def pip_install(*arguments: str) -> "list[str]":
    python = str(VENV / "bin" / "python")
    return [python, "-u", "-m", "pip", "--disable-pip-version-check", "install", *arguments]


class Progress:
    """One line on a terminal, rewritten: how many packages pip has found, and the latest."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.found = 0

    def __call__(self, line: str) -> None:
        words = line.split()
        if line.startswith(("Collecting ", "Processing ")):
            self.found += 1
            self.show("{}/{} {}".format(self.found, self.total, words[1].rsplit("/", 1)[-1]))
        elif line.startswith("Installing collected packages"):
            self.show("unpacking, about half a minute")

    def show(self, text: str) -> None:
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            print("\r" + text[:width].ljust(width), end="\r", flush=True)


def run(command: "list[str]", failure: str, progress: "Progress | None" = None) -> None:
    """Run `command` into the log; where it fails, say so with its last lines and what to do."""
    output = []
    with LOG.open("a") as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            output.append(line)
            if progress:
                progress(line)
    if progress:
        progress.show("")
    if process.returncode != 0:
        last = "".join("    " + shorten(line, 160) + "\n" for line in output[-5:])
        raise Problem(
            f"{failure}. The last lines:\n{last}{advice(''.join(output))}\nThe whole log is {LOG}."
        )


def advice(output: str) -> str:
    for signs, sentence in ADVICE:
        if any(sign in output for sign in signs):
            return sentence.format(
                python=platform.python_version(),
                machine=platform.system() + " " + platform.machine(),
            )
    return "Mend what it names and run the same command again."


if __name__ == "__main__":
    sys.exit(main())
