"""Grading with Dask: on a cluster of this machine, and on two with addresses of their own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from toy_course import JUDGED, SOLUTION, STUB, add_students, hand_in, run, write_course

from grading.autograde import JOURNAL
from grading.course import Course, GradingError

pytest.importorskip("distributed", reason="Dask is not installed: extra `scale`")
from distributed import LocalCluster

from grading import cluster
from grading.cluster import Cluster

DASK = str(Path(sys.executable).with_name("dask"))
SLEEPY = "import time\n" + SOLUTION.replace("return a - b", "time.sleep(0.3); return a - b")
MODULES = {
    "broken": "def add(a, b:",
    "ended": SOLUTION.replace("return a - b", "import os; os._exit(1)"),
    "half": SOLUTION.replace("a - b", "abs(a - b)"),
    "right": SOLUTION,
    "stub": STUB,
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class that was graded on this machine alone."""
    root = tmp_path_factory.mktemp("class")
    write_course(root)
    with (root / "nbgrader_config.py").open("a") as config:
        config.write(JUDGED)
    assert run("release", "--root", root).code == 0
    add_students(root, *MODULES)
    for student, text in MODULES.items():
        hand_in(root, student, text)
    assert run("autograde", "--root", root, "--workers", "2").err == ""
    return root


@pytest.fixture
def toy(graded: Path, tmp_path: Path) -> Path:
    """A copy of that class."""
    shutil.copytree(graded, tmp_path / "class")
    return tmp_path / "class"


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as local:
        yield local


def autograde(root: Path, address: str) -> str:
    """Grade all; return what was said of failures."""
    return run("autograde", "--force", "--root", root, "--cluster", address).err


def grades(root: Path) -> dict[tuple[str, str], float]:
    with Course(root).gradebook() as gradebook:
        return {
            (entry.student.id, grade.name): grade.score
            for entry in gradebook.assignment_submissions("adder")
            for notebook in entry.notebooks
            for grade in notebook.grades
        }


def autograded(root: Path) -> dict[str, bytes]:
    folder = root / "autograded"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


def test_a_cluster_gives_the_same_grades_as_one_machine(
    graded: Path, toy: Path, local: LocalCluster
) -> None:
    with Course(toy).gradebook() as gradebook:
        for student in MODULES:
            gradebook.remove_submission("adder", student)
    shutil.rmtree(toy / "autograded")
    assert autograde(toy, local.scheduler_address) == ""
    assert grades(toy) == grades(graded)
    assert autograded(toy) == autograded(graded)
    assert len(set(grades(toy).values())) > 2
    assert not graders()


def new_class(root: Path, modules: dict[str, str]) -> None:
    shutil.rmtree(root / "submitted")
    (root / JOURNAL).unlink()
    add_students(root, *modules)
    for student, text in modules.items():
        hand_in(root, student, text)


def journal(root: Path) -> list[dict[str, Any]]:
    path = root / JOURNAL
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def graders() -> list[psutil.Process]:
    """Return the processes that hold the machines' pools."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may end meanwhile
            if f"import {cluster.__name__} " in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "grader"])
def test_a_process_that_is_killed_in_mid_class_loses_and_doubles_nothing(
    toy: Path, local: LocalCluster, victim: str
) -> None:
    students = {f"student{number}": SLEEPY for number in range(8)}
    new_class(toy, students)

    def kill() -> None:
        wait_until(lambda: len(journal(toy)) > 1)
        process = graders()[0]
        process = process if victim == "grader" else process.parent()
        gone.extend([process, *process.children(recursive=True)])
        process.send_signal(signal.SIGKILL)

    gone: list[psutil.Process] = []
    killer = threading.Thread(target=kill)
    killer.start()
    assert autograde(toy, local.scheduler_address) == ""
    killer.join()
    assert len(gone) > 2
    assert not psutil.wait_procs(gone, timeout=10)[1]
    assert {grades(toy)[student, "check_subtract"] for student in students} == {3}
    assert len(journal(toy)) == len(students)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_for(text: str, output: Path) -> None:
    wait_until(lambda: text in output.read_text())


def test_another_version_is_refused(toy: Path, local: LocalCluster) -> None:
    wanted = Cluster(Course(toy), local.scheduler_address)
    checks = toy / "toy" / "checks" / "adder.py"
    checks.write_text(checks.read_text() + "# newer\n")
    with pytest.raises(GradingError, match="It has another version of the course"), wanted:
        pytest.fail("it may grade")
    assert not graders()


def test_another_package_is_named(
    toy: Path, local: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = cluster.versions(Course(toy))
    monkeypatch.setattr(cluster, "versions", lambda course: versions | {"nbgrader": "0.1"})
    assert "It has another version of nbgrader: " in autograde(toy, local.scheduler_address)


def test_the_course_must_be_there(toy: Path, local: LocalCluster) -> None:
    wanted = Cluster(Course(toy), local.scheduler_address)
    toy.rename(toy.with_name("moved"))
    with pytest.raises(GradingError, match=f"The course must be in {toy} there too."), wanted:
        pytest.fail("it may grade")


NO_SANDBOX = """
import os, sys
import pyseccomp
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for name in ("unshare", "landlock_create_ruleset"):
    rules.add_rule(pyseccomp.ERRNO(1), name)
rules.load()
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program under a kernel that allows no sandbox, as that of some containers."""


@contextlib.contextmanager
def started(*command: str, **options: Any) -> Iterator[Path]:
    """Run a program, and stop it at the end; yields the file with what it says."""
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
        try:
            yield Path(output.name)
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.slow
def test_a_machine_without_a_sandbox(toy: Path, tmp_path: Path) -> None:
    with LocalCluster(n_workers=0, dashboard_address=":0") as local:
        address = local.scheduler_address
        options = ("--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path))
        with started(sys.executable, "-c", NO_SANDBOX, DASK, "worker", address, *options):
            said = autograde(toy, address)
            assert "cannot grade. This machine has no sandbox for students' code" in said
            unsafe = ("--unsafe", "--student", "half", "--force")
            result = run("autograde", *unsafe, "--root", toy, "--cluster", address)
    assert "half, adder: 3.5 / 6" in result.out
    assert journal(toy)[-1]["level"] == "none"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("tcp://127.0.0.1:1", "No Dask scheduler answers at tcp://127.0.0.1:1: start one with "),
        ("nonsense://1", "No Dask scheduler answers at nonsense://1: start one with "),
        ("tls://127.0.0.1:1", "tls://127.0.0.1:1 is encrypted: name the certificates in Dask's "),
    ],
)
def test_no_way_to_a_scheduler(
    toy: Path, monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    assert autograde(toy, address).startswith(sentence)


def test_a_cluster_without_workers(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with LocalCluster(n_workers=0, dashboard_address=":0") as local:
        address = local.scheduler_address
        assert autograde(toy, address) == (
            f"The cluster at {address} has no workers: start one on each machine with "
            f"`dask worker {address}`.\n"
        )


def test_without_dask(toy: Path) -> None:
    program = (
        "import sys; sys.modules['distributed'] = None; from grading.__main__ import main; "
        "sys.exit(main(['autograde', '--force', '--cluster', 'tcp://127.0.0.1:1']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=toy, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith("A cluster needs Dask: install the course with its extra")


HOSTS = {"alpha": "192.0.2.1", "beta": "192.0.2.2"}
SCHEDULER = "tls://192.0.2.1:8786"
NAMED = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')
"""Starts a program on a machine of this name."""
KNOCK = "import socket\n" + SOLUTION.replace(
    "return a - b", 'socket.create_connection(("192.0.2.1", 8786), 1); return a - b'
)


@pytest.fixture
def spaces() -> Iterator[dict[str, str]]:
    """The network namespaces of two machines, with a cable between them."""
    if os.geteuid() or not shutil.which("ip") or not shutil.which("openssl"):
        pytest.skip("network namespaces with TLS need root, and the programs ip and openssl")
    spaces = {host: f"{host}-{os.getpid()}" for host in HOSTS}
    alpha, beta = spaces.values()
    try:
        for space in spaces.values():
            ip("netns", "add", space)
        cable = ("name", "cable", "netns")
        ip("link", "add", *cable, alpha, "type", "veth", "peer", *cable, beta)
        for host, space in spaces.items():
            ip("-n", space, "address", "add", f"{HOSTS[host]}/24", "dev", "cable")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "cable", "up")
        yield spaces
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr}")
    finally:
        for space in spaces.values():
            subprocess.run(["ip", "netns", "delete", space], check=False)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def encryption(folder: Path) -> dict[str, str]:
    """Return how Dask is told to encrypt, and to give up on a silent machine after 12 seconds."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=class"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run([*command, *files], check=True, capture_output=True)
    comm = "DASK_DISTRIBUTED__COMM__"
    parts = {"CERT": str(certificate), "KEY": str(key)}
    roles = ("SCHEDULER", "WORKER", "CLIENT")
    return {
        f"{comm}REQUIRE_ENCRYPTION": "True",
        f"{comm}TIMEOUTS__TCP": "12s",
        f"{comm}TLS__CA_FILE": str(certificate),
        **{f"{comm}TLS__{role}__{kind}": parts[kind] for role in roles for kind in parts},
    }


@pytest.mark.slow
def test_two_machines_and_a_cable_that_is_pulled_out(
    toy: Path, tmp_path: Path, spaces: dict[str, str]
) -> None:
    students = {f"student{number:02}": SLEEPY for number in range(8)} | {"knock": KNOCK}
    new_class(toy, students)
    with contextlib.ExitStack() as stack:

        def start(host: str, *command: str) -> Path:
            there = ("ip", "netns", "exec", spaces[host], *NAMED, host)
            return stack.enter_context(started(*there, *command, env=variables))

        variables = os.environ | encryption(tmp_path)
        start("alpha", DASK, "scheduler", "--protocol", "tls", "--host", HOSTS["alpha"])
        for host, address in HOSTS.items():
            options = ("--nthreads", "1", "--local-directory", str(tmp_path / host))
            command = (DASK, "worker", SCHEDULER, "--protocol", "tls", "--host", address)
            wait_for("Registered to", start(host, *command, *options))
        grading = (sys.executable, "-m", "grading", "autograde", "--root", str(toy))
        said = start("alpha", *grading, "--cluster", SCHEDULER)
        wait_until(lambda: {entry["machine"] for entry in journal(toy)} == {*HOSTS})
        assert len(journal(toy)) < len(students) - 1
        ip("-n", spaces["beta"], "link", "set", "cable", "down")
        wait_for("mean", said)
        ip("-n", spaces["beta"], "link", "set", "cable", "up")
    assert len(journal(toy)) == len(students)
    points = {student: grades(toy)[student, "check_subtract"] for student in students}
    assert points == dict.fromkeys(students, 3) | {"knock": 0}
