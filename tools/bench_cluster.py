"""Measure how fast a class is graded on a cluster, against one machine with as many workers.

The class of grading_class.py is graded in turns, each time from nothing and by fresh processes:

- on one machine: `python -m grading autograde --workers 4`;
- on a Dask cluster of one machine, whose worker has four threads;
- on one of two machines, network namespaces with addresses of their own (this needs root), whose
  workers have two threads each.

All run on the same four cores: what is measured is the price of the cluster, not its gain. Before
the clock starts, each cluster grades one submission; the command's processor time for it, taken
from that for the class, leaves what each further one costs the collector. The results go into
book/appendix/grading_cluster.json; to try it out: --students 8 --rounds 1 --to FILE.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmark import machine, spread, store
from grading_class import ASSIGNMENT, hand_in, make_class
from grading_results import CLUSTER, estimate, worked

from grading.autograde import JOURNAL
from grading.course import Course

HOME = Path(__file__).resolve().parents[1]
WORK = HOME / "_build" / "bench_cluster"
CLASS, ROOT = WORK / "class", WORK / "graded"
DASK = str(Path(sys.executable).with_name("dask"))
GRADE = (sys.executable, "-m", "grading", "autograde", "--root", str(ROOT))
LOCAL = "127.0.0.1"
SPACES = {"192.0.2.1": f"alpha-{os.getpid()}", "192.0.2.2": f"beta-{os.getpid()}"}
"""The network namespaces of two machines, by their addresses."""
WORKERS = 4

ONE_MACHINE = "one machine, 4 workers"
CLUSTERS = {
    "a cluster of one machine, 4 threads": [LOCAL],
    "a cluster of two machines, 2 threads each": [*SPACES],
}
"""The addresses of the machines."""


def write_class(students: int) -> None:
    run(sys.executable, "-m", "grading", "release", ASSIGNMENT, "--root", str(CLASS))
    course = Course(CLASS)
    with course.gradebook() as gradebook:
        for student in make_class(students):
            gradebook.add_student(student.name)
            folder = course.folder("submitted", ASSIGNMENT, student.name)
            hand_in(student, course.folder("release", ASSIGNMENT), folder)


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def graded(*command: str) -> dict[str, float]:
    """Grade the class from nothing; return what it took, and the mean of a submission's stages."""
    copy_class()
    began = time.time()
    cpu = seconds_of_cpu(*command)
    seconds = time.time() - began
    entries = [json.loads(line) for line in (ROOT / JOURNAL).read_text().splitlines()]
    ended = [datetime.fromisoformat(entry["time"]).timestamp() - began for entry in entries]
    stages = [entry["seconds"] for entry in entries]
    return {
        "seconds": seconds,
        "first_grade": min(ended),
        "start": min(end - worked(each) for end, each in zip(ended, stages)),
        "worker": fmean(worked(each) - each["gradebook"] for each in stages),
        "gradebook": fmean(each["gradebook"] for each in stages),
        "cpu": cpu,
    }


def graded_on_cluster(*command: str) -> dict[str, float]:
    """Do so where the command is the collector alone, and tell what one submission costs it."""
    copy_class(only=1)
    cpu = seconds_of_cpu(*command)
    result = graded(*command)
    students = len([*(CLASS / "submitted").iterdir()])
    return result | {"collector": (result["cpu"] - cpu) / (students - 1)}


def copy_class(only: int | None = None) -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    shutil.copytree(CLASS, ROOT)
    for student in sorted((ROOT / "submitted").iterdir())[only:] if only else ():
        shutil.rmtree(student)


def seconds_of_cpu(*command: str) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"This failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def cluster(addresses: list[str]) -> Iterator[list[str]]:
    """Start a cluster; yields the command that grades on it, from its first machine."""
    scheduler = f"tcp://{addresses[0]}:8790"
    with contextlib.ExitStack() as stack:
        command = (DASK, "scheduler", "--host", addresses[0], "--port", "8790", "--no-dashboard")
        stack.enter_context(started(addresses[0], *command))
        for address in addresses:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            options = ("--nthreads", str(WORKERS // len(addresses)), "--local-directory", folder)
            work = (DASK, "worker", scheduler, "--host", address, "--no-dashboard")
            output = stack.enter_context(started(address, *work, *options))
            while "Registered to" not in output.read_text():
                time.sleep(0.1)
        yield [*there(addresses[0]), *GRADE, "--cluster", scheduler]


def there(address: str) -> list[str]:
    return ["ip", "netns", "exec", SPACES[address]] if address in SPACES else []


@contextlib.contextmanager
def started(address: str, *command: str) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen([*there(address), *command], stdout=output, stderr=output)
        try:
            yield Path(output.name)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def cable() -> Iterator[None]:
    """Make the two machines, and a cable between them."""
    first, second = SPACES.values()
    end = ("name", "cable", "netns")
    try:
        for space in SPACES.values():
            run("ip", "netns", "add", space)
        run("ip", "link", "add", *end, first, "type", "veth", "peer", *end, second)
        for address, space in SPACES.items():
            run("ip", "-n", space, "address", "add", f"{address}/24", "dev", "cable")
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "link", "set", "cable", "up")
        yield
    finally:
        for space in SPACES.values():
            subprocess.run(["ip", "netns", "delete", space], check=False)


def measure(rounds: int) -> dict[str, list[dict[str, float]]]:
    runs: dict[str, list[dict[str, float]]] = {ONE_MACHINE: [], **{name: [] for name in CLUSTERS}}
    for _ in range(rounds):
        runs[ONE_MACHINE].append(graded(*GRADE, "--workers", str(WORKERS)))
        for name, addresses in CLUSTERS.items():
            with cluster(addresses) as command:
                runs[name].append(graded_on_cluster(*command))
    return runs


def summary(runs: dict[str, list[dict[str, float]]], students: int) -> dict[str, Any]:
    """Return medians, and how each way compares with one machine in the same round."""
    table: dict[str, dict[str, Any]] = {}
    for name, row in runs.items():
        pairs = zip(runs[ONE_MACHINE], row)
        ratios = [one["seconds"] / each["seconds"] for one, each in pairs]
        table[name] = {key: median(each[key] for each in row) for key in row[0]}
        table[name]["throughput_ratio"] = spread(ratios)
        if "collector" in row[0]:
            table[name]["seconds_by_formula"] = estimate(students, WORKERS, table[name])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=CLUSTER)
    arguments = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    CLASS.mkdir(parents=True)
    about = machine()
    write_class(arguments.students)
    with cable():
        runs = measure(arguments.rounds)
    results = {
        "command": shlex.join(["python", "tools/bench_cluster.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about | {"load_after": os.getloadavg()[0]},
        "versions": {name: version(name) for name in ("distributed", "nbgrader", "torch")},
        "class": {"assignment": ASSIGNMENT, "students": arguments.students},
        "rounds": arguments.rounds,
        "summary": summary(runs, arguments.students),
        "runs": runs,
    }
    store(results, arguments.to)


if __name__ == "__main__":
    main()
