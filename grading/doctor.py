"""Doctor: what this machine gives to those who grade on it, and what would make it better."""

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from grading import sandbox
from grading.course import Course
from grading.engine import Engine, default_workers

SWITCHES = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor keeps ordinary users from namespaces: as root, "
        "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
    "/proc/sys/kernel/unprivileged_userns_clone": (
        "0",
        "the kernel keeps ordinary users from namespaces: as root, "
        "`sysctl kernel.unprivileged_userns_clone=1`",
    ),
    "/proc/sys/user/max_user_namespaces": (
        "0",
        "the kernel allows no user namespace: as root, `sysctl user.max_user_namespaces=10000`",
    ),
}
"""Files of the kernel, the value that stands in the way, and what to do about it."""


class Finding(NamedTuple):
    """One line of the report: whether it is as good as it can be, and what there is to say."""

    good: bool
    text: str


def examine(course: Course) -> Iterator[Finding]:
    """Yield what there is to say, the sandbox first."""
    yield from _sandbox()
    yield from _strength(course)


def _sandbox() -> Iterator[Finding]:
    level = sandbox.best_level()
    meaning = {
        sandbox.FULL: "a file system, processes and a network of its own for every run",
        sandbox.LANDLOCK: "no file but its own, no socket, no signal to others; "
        "the space on the disk is not limited",
        sandbox.NONE: "students' code would run unprotected: autograde refuses it",
    }[level]
    yield Finding(level == sandbox.FULL, f"Sandbox level: {level} ({meaning}).")
    if sys.platform != "linux":
        yield Finding(False, "The sandbox needs Linux: grade in a Linux machine or container.")
        return
    if level != sandbox.FULL:
        yield Finding(False, f"Level full fails: {sandbox.failure(sandbox.FULL)}.")
        yield from _advice()
    if level == sandbox.NONE:
        yield Finding(False, f"Level landlock fails: {sandbox.failure(sandbox.LANDLOCK)}.")
    if version := sandbox.landlock_version():
        yield Finding(True, f"Landlock: version {version}.")
    else:
        yield Finding(False, "Landlock is missing: it needs Linux 5.13, and `landlock` in `lsm=`.")


def _advice() -> Iterator[Finding]:
    for path, (value, advice) in SWITCHES.items():
        if os.path.exists(path) and Path(path).read_text().strip() == value:
            yield Finding(False, f"What would help: {advice}.")
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        yield Finding(
            False,
            "What would help: this is a container; start it so that it may make namespaces, "
            "with Docker usually `--cap-add SYS_ADMIN --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined`.",
        )
    if reason := sandbox.why_no_seccomp:
        yield Finding(False, f"What would help: install libseccomp (`libseccomp2`). {reason}")


def _strength(course: Course) -> Iterator[Finding]:
    cores, memory = default_workers(), psutil.virtual_memory().available >> 20
    each = Engine(config=course.config).memory
    yield Finding(
        memory > 2 * cores * each,
        f"{cores} workers, one for each core, and {memory} MB of free memory: each worker runs a "
        f"notebook and its checks, and each of the two may use {each} MB (c.Engine.memory).",
    )
    yield Finding(True, f"Python {platform.python_version()} on {platform.platform()}.")
