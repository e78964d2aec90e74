"""What code in the sandbox can read, change, reach, start, use up and leave behind.

The small functions here run in the real thing: a zygote forks a process, which enters the sandbox.
Every level is tested that the machine gives, and, when the tests run as root, once more as an
ordinary user. Where it makes sense the same function runs outside first, to show that it works.
"""

import contextlib
import ctypes
import errno
import fcntl
import functools
import json
import mmap
import multiprocessing
import os
import platform
import resource
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from toy_course import (
    CHECKS,
    CONFIG,
    JUDGED,
    REPOSITORY,
    SOLUTION,
    add_students,
    hand_in,
    run,
    write_course,
)

from grading import sandbox
from grading.autograde import JOURNAL
from grading.sandbox import FULL, LANDLOCK, NONE, Limits, Sandbox, SandboxError
from grading.shell import Send, Task
from grading.zygote import Stopped, Zygote

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

LIMITS = Limits(memory=256 << 20, disk=16 << 20, files=200, processes=20, seconds=60)
ORDINARY = 54321
"""The number of a user that owns nothing."""
PR_SET_NAME, PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS = 15, 21, 39


@dataclass(frozen=True)
class Call:
    """Calls a function in the sandbox, and sends what it returns or raises."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def run(self, send: Send) -> None:
        process = os.getpid()
        try:
            answer = {"value": self.function(*self.arguments)}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        if os.getpid() != process:
            os._exit(0)  # what the function has forked
        send(json.dumps(answer).encode())


class Outcome(NamedTuple):
    """What a function returned, or what it raised, or how its process ended before."""

    value: Any = None
    error: str = ""
    end: str = ""


class Inside:
    """Calls functions in the sandbox, each in a process of its own."""

    def __init__(self, box: Sandbox) -> None:
        self.level = box.level
        self.zygote = Zygote(box)

    def __call__(self, function: Callable, *arguments: Any, seconds: float = 30) -> Outcome:
        work = Call(function, arguments)
        try:
            with self.zygote.run(lambda folder: Task({}, (), "work", {}, work)) as run:
                run.limit_time(seconds)
                text = b"".join(iter(lambda: run.receive(1_000_000), b""))
                return Outcome(**json.loads(text)) if text else Outcome(end=run.ending())
        except Stopped as stopped:
            return Outcome(end=str(stopped))

    def processes(self) -> list[psutil.Process]:
        """Return what is left; keepers may take a moment."""
        left = psutil.Process(self.zygote.process).children(recursive=True)
        return psutil.wait_procs(left, timeout=10)[1]


@contextlib.contextmanager
def in_a_sandbox(box: Sandbox) -> Iterator[Inside]:
    inside = Inside(box)
    try:
        yield inside
    finally:
        inside.zygote.socket.close()
        os.waitpid(inside.zygote.process, 0)


@functools.cache
def failure(level: str) -> str | None:
    return sandbox.failure(level)


def need(level: str) -> None:
    if reason := failure(level):
        pytest.skip(f"this machine does not give level {level}: {reason}")


@pytest.fixture(scope="module", params=sandbox.LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return request.param


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with something that the sandbox lets be read, and something that it does not."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("package", "secret"):
        (folder / name).mkdir()
        (folder / name / "file.txt").write_text(name)
        (folder / name / "file.txt").chmod(0o644)
    return folder


@pytest.fixture(scope="module")
def inside(level: str, place: Path) -> Iterator[Inside]:
    with in_a_sandbox(Sandbox(level, (str(place / "package"),), LIMITS)) as inside:
        yield inside


# --- reading --------------------------------------------------------------------------------------


def read(path: str) -> str:
    return Path(path).read_bytes().decode(errors="replace")


def read_through_a_link(path: str) -> str:
    os.symlink(path, "link")
    return read("link")


def read_through_a_hard_link(path: str) -> str:
    os.link(path, "hard")
    return read("hard")


def read_below_the_root_of_a_process(path: str) -> str:
    for process in (1, "self", "thread-self"):
        with contextlib.suppress(OSError):
            return read(f"/proc/{process}/root{path}")
    raise FileNotFoundError(path)


def import_what_nobody_has_yet() -> str:
    assert "wave" not in sys.modules
    import wave

    return wave.__name__


def test_python_and_what_is_allowed_can_be_read(inside: Inside, place: Path) -> None:
    assert inside(import_what_nobody_has_yet) == Outcome("wave")
    assert inside(read, str(place / "package" / "file.txt")) == Outcome("package")


@pytest.mark.parametrize(
    "function",
    [read, read_through_a_link, read_through_a_hard_link, read_below_the_root_of_a_process],
)
def test_nothing_else_can_be_read(inside: Inside, place: Path, function: Callable) -> None:
    assert inside(function, str(place / "secret" / "file.txt")).error


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/proc/{outside}/environ",
        "/proc/{outside}/cmdline",
        "/proc/{outside}/root/etc/passwd",
        "/dev/mem",
        "/dev/kmsg",
        "/sys/kernel/notes",
        f"{REPOSITORY}/nbgrader_config.py",
        __file__,
    ],
)
def test_the_machine_and_the_course_cannot_be_read(inside: Inside, path: str) -> None:
    assert inside(read, path.format(outside=os.getpid())).error


def names_in(folders: list[str]) -> list[str]:
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):
            found += os.listdir(folder)
    return found


def test_nothing_else_can_be_listed(inside: Inside, place: Path) -> None:
    folders = ["/", "/root", "/home", "/var", str(REPOSITORY), str(place), str(place / "secret")]
    # A full sandbox may show the folders above what it lets be read, with nothing else in them.
    assert {*inside(names_in, folders).value} <= {"package", Path(sys.prefix).name}


def open_files() -> dict[int, int]:
    found = {}
    for number in range(1024):
        with contextlib.suppress(OSError):
            found[number] = os.fstat(number).st_mode >> 12
    return found


def test_no_file_is_open_but_the_channel(inside: Inside) -> None:
    character_device, channel = 2, 12
    found = inside(open_files).value
    assert [found.pop(stream) for stream in "012"] == 3 * [character_device]
    assert [*found.values()] == [channel]


def test_links_lead_to_what_may_be_read(level: str, tmp_path: Path) -> None:
    """As those of an environment, or of a folder with data on another disk."""
    for name in ("data", "above"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "file.txt").write_text("data")
    (tmp_path / "above" / "link").symlink_to(tmp_path / "data")
    with in_a_sandbox(Sandbox(level, (str(tmp_path / "above" / "link"),), LIMITS)) as inside:
        assert inside(read, str(tmp_path / "above" / "link" / "file.txt")) == Outcome("data")
        assert inside(read, str(tmp_path / "data" / "file.txt")) == Outcome("data")


# --- changing -------------------------------------------------------------------------------------


def overwrite(path: str) -> None:
    Path(path).write_text("forged")


def append(path: str) -> None:
    with open(path, "a") as file:
        file.write("forged")


def overwrite_what_was_opened_for_reading(path: str) -> None:
    Path(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}").write_text("forged")


def overwrite_through_a_link(path: str) -> None:
    os.symlink(path, "link")
    Path("link").write_text("forged")


def overwrite_through_a_hard_link(path: str) -> None:
    os.link(path, "hard")
    Path("hard").write_text("forged")


def overwrite_in_memory(path: str) -> None:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED) as memory:
        memory[:1] = b"F"


def truncate(path: str) -> None:
    os.truncate(path, 0)


def truncate_while_opening(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def delete(path: str) -> None:
    os.unlink(path)


def take_away(path: str) -> None:
    os.rename(path, "mine")


def replace(path: str) -> None:
    Path("mine").write_text("forged")
    os.replace("mine", path)


def lock_out(path: str) -> None:
    os.chmod(path, 0)


def lock_out_of_the_folder(path: str) -> None:
    os.chmod(os.path.dirname(path), 0)


def lock_out_by_descriptor(path: str) -> None:
    os.fchmod(os.open(path, os.O_RDONLY), 0)


def forge_the_time(path: str) -> None:
    os.utime(path, (1, 1))


def forge_an_attribute(path: str) -> None:
    os.setxattr(path, b"user.forged", b"1")


def give_away(path: str) -> None:
    os.chown(path, ORDINARY, ORDINARY)


def put_a_file_beside(path: str) -> None:
    Path(path).with_name("forged").touch()


def put_a_folder_beside(path: str) -> None:
    Path(path).with_name("forged").mkdir()


def put_a_link_beside(path: str) -> None:
    Path(path).with_name("forged").symlink_to("/etc/passwd")


def put_a_pipe_beside(path: str) -> None:
    os.mkfifo(Path(path).with_name("forged"))


CHANGES = (
    overwrite,
    append,
    overwrite_what_was_opened_for_reading,
    overwrite_through_a_link,
    overwrite_through_a_hard_link,
    overwrite_in_memory,
    truncate,
    truncate_while_opening,
    delete,
    take_away,
    replace,
    lock_out,
    lock_out_of_the_folder,
    lock_out_by_descriptor,
    forge_the_time,
    forge_an_attribute,
    give_away,
    put_a_file_beside,
    put_a_folder_beside,
    put_a_link_beside,
    put_a_pipe_beside,
)


def photograph(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return all that can be known of what is in a folder."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        facts = path.lstat()
        found[str(path)] = (
            *(facts.st_mode, facts.st_uid, facts.st_gid, facts.st_nlink, facts.st_mtime_ns),
            [(name, os.getxattr(path, name)) for name in os.listxattr(path)],
            path.read_bytes() if path.is_file() else None,
        )
    return found


@pytest.mark.parametrize("name", ["package", "secret"])
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_outside_can_be_changed(
    inside: Inside, place: Path, change: Callable, name: str
) -> None:
    before = photograph(place)
    inside(change, str(place / name / "file.txt"))
    assert photograph(place) == before


@pytest.mark.parametrize("change", [lock_out_by_descriptor, truncate_while_opening, append])
def test_python_cannot_be_changed(inside: Inside, change: Callable) -> None:
    before = os.stat(os.__file__)
    inside(change, os.__file__)
    after = os.stat(os.__file__)
    for fact in ("st_mode", "st_size", "st_mtime_ns"):
        assert getattr(after, fact) == getattr(before, fact)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_nor_with_an_older_landlock(
    place: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """The kernel enforces what we ask it for, so that it is as good as an older one."""
    need(LANDLOCK)
    monkeypatch.setattr(sandbox, "landlock_version", lambda: version)
    before = photograph(place)
    with in_a_sandbox(Sandbox(LANDLOCK, (str(place / "package"),), LIMITS)) as inside:
        for change in CHANGES:
            for name in ("package", "secret"):
                inside(change, str(place / name / "file.txt"))
                assert photograph(place) == before, change.__name__


def work_with_files() -> list[str]:
    """Do what a student's code may do in its own folder."""
    Path("folder/inner").mkdir(parents=True)
    Path("folder/file.txt").write_text("mine")
    shutil.copy("folder/file.txt", "folder/copy.txt")
    os.rename("folder/copy.txt", "folder/inner/renamed.txt")
    Path("folder/file.txt").unlink()
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("temporary")
    return [str(path) for path in sorted(Path("folder").rglob("*"))]


def test_its_own_folder_is_its_own(inside: Inside) -> None:
    assert inside(work_with_files) == Outcome(["folder/inner", "folder/inner/renamed.txt"])


# --- reaching others ------------------------------------------------------------------------------


def to_tcp(address: Any) -> None:
    socket.create_connection(address, timeout=2).close()


def to_udp(address: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"!", tuple(address))


def to_unix_stream(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(address)


def to_unix_datagram(address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"!", address)


def to_unix_from_a_pair(address: str) -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        first.sendto(b"!", address)


def to_unix_from_a_raw_pair(address: str) -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)
    with first, second:
        first.sendto(b"!", address)


@contextlib.contextmanager
def listening(family: int, kind: int, address: Any) -> Iterator[socket.socket]:
    with socket.socket(family, kind) as listener:
        listener.bind(address)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        listener.settimeout(0.2)
        yield listener


def has_heard(listener: socket.socket) -> bool:
    with contextlib.suppress(TimeoutError):
        if listener.type == socket.SOCK_STREAM:
            listener.accept()[0].close()
        else:
            listener.recv(10)
        return True
    return False


@pytest.mark.parametrize(
    ("call", "family", "kind", "name"),
    [
        (to_tcp, socket.AF_INET, socket.SOCK_STREAM, ""),
        (to_udp, socket.AF_INET, socket.SOCK_DGRAM, ""),
        (to_unix_stream, socket.AF_UNIX, socket.SOCK_STREAM, "path"),
        (to_unix_stream, socket.AF_UNIX, socket.SOCK_STREAM, "abstract"),
        (to_unix_datagram, socket.AF_UNIX, socket.SOCK_DGRAM, "path"),
        (to_unix_datagram, socket.AF_UNIX, socket.SOCK_DGRAM, "abstract"),
        (to_unix_from_a_pair, socket.AF_UNIX, socket.SOCK_DGRAM, "path"),
        (to_unix_from_a_pair, socket.AF_UNIX, socket.SOCK_DGRAM, "abstract"),
        (to_unix_from_a_raw_pair, socket.AF_UNIX, socket.SOCK_DGRAM, "path"),
    ],
)
def test_no_network_and_nobodys_socket(
    inside: Inside, call: Callable, family: int, kind: int, name: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = {"path": f"{folder}/socket", "abstract": f"\0{folder}"}
        with listening(family, kind, names.get(name, ("127.0.0.1", 0))) as listener:
            address = names.get(name, listener.getsockname())
            call(address)
            assert has_heard(listener), "not even outside"
            assert inside(call, address).error
            assert not has_heard(listener)


def write_into_memory(spans: list[tuple[int, int]]) -> str:
    for begin, end in spans:
        ctypes.memset(begin, 0xFF, end - begin)
    return "nobody minds"


def test_no_memory_that_others_see(level: str) -> None:
    """The locks of a worker's queues are in such memory."""
    lock = multiprocessing.get_context("spawn").Semaphore(3)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    shared = [line[0].split("-") for line in maps if line[1] == "rw-s"]
    assert shared
    with in_a_sandbox(Sandbox(level, (), LIMITS)) as inside:
        spans = [(int(begin, 16), int(end, 16)) for begin, end in shared]
        assert inside(write_into_memory, spans) == Outcome(end="was ended by SIGSEGV")
    assert lock.get_value() == 3


def shared_memory(identifier: int) -> str:
    sandbox.libc.shmat.restype = ctypes.c_void_p
    address = sandbox.libc.shmat(identifier, None, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "shmat")
    text = ctypes.string_at(address).decode()
    sandbox.libc.shmdt(ctypes.c_void_p(address))
    return text


def remove_shared_memory(identifier: int) -> None:
    if sandbox.libc.shmctl(identifier, 0, None):
        raise OSError(ctypes.get_errno(), "shmctl")


def test_no_shared_memory_of_others(inside: Inside) -> None:
    libc = sandbox.libc
    identifier = libc.shmget(0, 4096, 0o1600)
    libc.shmat.restype = ctypes.c_void_p
    ctypes.memmove(libc.shmat(identifier, None, 0), b"secret", 7)
    assert shared_memory(identifier) == "secret", "not even outside"
    assert inside(shared_memory, identifier).error
    assert inside(remove_shared_memory, identifier).error
    remove_shared_memory(identifier)


def harm(process: int, numbers: dict[str, int]) -> list[str]:
    """Return the ways by which something could be done to a process; without one, the parent."""
    # In a full sandbox the parent has no number: then another that is not there.
    process = process or os.getppid() or 1 << 22
    place = ctypes.create_string_buffer(64)

    def system_call(name: str, *arguments: Any) -> None:
        if sandbox.libc.syscall(numbers[name], *arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    ways: dict[str, Callable[[], object]] = {
        "kill": lambda: os.kill(process, signal.SIGTERM),
        "kill a group": lambda: os.kill(-process, signal.SIGTERM),
        "tkill": lambda: system_call("tkill", process, signal.SIGTERM),
        "tgkill": lambda: system_call("tgkill", process, process, signal.SIGTERM),
        "queue": lambda: system_call("rt_sigqueueinfo", process, signal.SIGTERM, place),
        "pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(process), signal.SIGTERM),
        "trace": lambda: system_call("ptrace", 16, process, None, None),
        "read": lambda: system_call("process_vm_readv", process, place, 1, place, 1, 0),
        "limit": lambda: resource.prlimit(process, resource.RLIMIT_NOFILE, (30, 30)),
        "slow down": lambda: os.setpriority(os.PRIO_PROCESS, process, 19),
        "pin": lambda: os.sched_setaffinity(process, [0]),
        "schedule": lambda: os.sched_setscheduler(process, os.SCHED_IDLE, os.sched_param(0)),
        "slow its disk": lambda: system_call("ioprio_set", 1, process, 3 << 13),
    }
    done = []
    for name, way in ways.items():
        with contextlib.suppress(OSError):
            way()
            done.append(name)
    return done


def have_a_signal_sent(process: int, ways: list[str]) -> None:
    """Have the kernel send one to a process, when there is something to read."""
    ours, theirs = socket.socketpair()
    if "fcntl" in ways:
        fcntl.fcntl(ours, fcntl.F_SETOWN, process)
    if "owner" in ways:
        fcntl.fcntl(ours, 15, struct.pack("ii", 1, process))
    for number in (0x8901, 0x8902):
        if hex(number) in ways:
            fcntl.ioctl(ours, number, struct.pack("i", process))
    fcntl.fcntl(ours, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(ours, fcntl.F_SETFL, fcntl.fcntl(ours, fcntl.F_GETFL) | os.O_ASYNC)
    theirs.send(b"x")
    time.sleep(0.2)


@pytest.mark.parametrize("way", ["fcntl", "owner", "0x8901", "0x8902"])
def test_no_signal_by_way_of_the_kernel(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Only from its sixth version on Landlock keeps signals in."""
    need(LANDLOCK)
    monkeypatch.setattr(sandbox, "landlock_version", lambda: 5)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with in_a_sandbox(Sandbox(LANDLOCK, (), LIMITS)) as inside:
            assert "PermissionError" in inside(have_a_signal_sent, other.pid, [way]).error
        other.communicate(b"\n")
    assert other.returncode == 0


def numbers_of(names: tuple[str, ...]) -> dict[str, int]:
    """Return the numbers of system calls; of those that this machine has."""
    import pyseccomp

    found = {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in names}
    return {name: number for name, number in found.items() if number >= 0}


def test_no_process_of_others(inside: Inside) -> None:
    names = ("tkill", "tgkill", "rt_sigqueueinfo", "ptrace", "process_vm_readv", "ioprio_set")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for victim in (0, inside.zygote.process, other.pid):
            assert inside(harm, victim, numbers_of(names)) == Outcome([])
        other.communicate(b"\n")
    assert other.returncode == 0
    assert psutil.pid_exists(inside.zygote.process)


# --- system calls ---------------------------------------------------------------------------------


def allowed_calls(numbers: dict[str, int]) -> list[str]:
    """Return which system calls are not refused at once. Their arguments make no sense."""
    return [
        name
        for name, number in numbers.items()
        if sandbox.libc.syscall(number, -1, -1, -1, -1, -1, -1) >= 0
        or ctypes.get_errno() != errno.EPERM
    ]


def test_dangerous_system_calls_are_refused(inside: Inside) -> None:
    numbers = numbers_of(sandbox.NEVER)
    assert len(numbers) > 30
    assert inside(allowed_calls, numbers) == Outcome([])


def make_a_namespace(numbers: dict[str, int]) -> list[str]:
    """Return by which calls a namespace of users could be made."""
    flags = sandbox.CLONE_NEWUSER
    results = {
        "unshare": sandbox.libc.unshare(flags),
        "clone": sandbox.libc.syscall(numbers["clone"], flags | signal.SIGCHLD, 0, 0, 0, 0),
        "clone3": sandbox.libc.syscall(numbers["clone3"], (ctypes.c_uint64 * 8)(flags), 64),
    }
    return [name for name, result in results.items() if result != -1]


def test_no_namespace_can_be_made(inside: Inside) -> None:
    assert inside(make_a_namespace, numbers_of(("clone", "clone3"))) == Outcome([])


def rights() -> dict[str, Any]:
    header = (ctypes.c_uint32 * 2)(sandbox.CAPABILITY_VERSION, 0)
    capabilities = (ctypes.c_uint32 * 6)()
    sandbox.libc.capget(header, capabilities)
    return {
        "capabilities": [*capabilities],
        "no new privileges": sandbox.libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
        "seccomp": sandbox.libc.prctl(PR_GET_SECCOMP, 0, 0, 0, 0),
        "root": 0 in os.getresuid(),
    }


def test_it_has_no_rights_and_gets_none(inside: Inside) -> None:
    is_root = inside.level == LANDLOCK and os.geteuid() == 0
    expected = {"capabilities": 6 * [0], "no new privileges": 1, "seccomp": 2, "root": is_root}
    assert inside(rights) == Outcome(expected)


def call_as_a_32_bit_program() -> int:
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()


def call_as_an_x32_program() -> int:
    x32, getpid = 0x40000000, 39
    return sandbox.libc.syscall(x32 + getpid)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="others have one set of numbers")
@pytest.mark.parametrize("function", [call_as_a_32_bit_program, call_as_an_x32_program])
def test_there_is_no_second_set_of_system_calls(inside: Inside, function: Callable) -> None:
    assert inside(function) == Outcome(end="was ended by SIGSYS")


# --- using up -------------------------------------------------------------------------------------


def take_memory(size: int) -> int:
    return len(bytearray(size))


def test_memory_has_a_limit(inside: Inside) -> None:
    assert inside(take_memory, LIMITS.memory // 2) == Outcome(LIMITS.memory // 2)
    assert inside(take_memory, 2 * LIMITS.memory) == Outcome(error="MemoryError: ")


def take_memory_together(processes: int, size: int) -> str:
    for _ in range(processes):
        if not os.fork():
            content = bytearray(size)
            content[::4096] = bytes(len(content[::4096]))
            time.sleep(30)
            os._exit(0)
    time.sleep(30)
    return "nobody minds"


def take_memory_with_nothing_more_to_say(processes: int, size: int) -> str:
    os.closerange(3, 1024)
    return take_memory_together(processes, size)


def take_memory_in_programs(processes: int, size: int) -> str:
    """These share nothing with the process that grades, which may be larger than they are."""
    code = f"import time; x = bytearray({size}); x[::4096] = bytes(len(x[::4096])); time.sleep(30)"
    programs = [subprocess.Popen([sys.executable, "-S", "-c", code]) for _ in range(processes)]
    return f"nobody minds {[program.wait() for program in programs]}"


@pytest.mark.parametrize(
    "function",
    [take_memory_together, take_memory_with_nothing_more_to_say, take_memory_in_programs],
)
def test_all_processes_together_have_a_limit(inside: Inside, function: Callable) -> None:
    start = time.monotonic()
    end = inside(function, 4, LIMITS.memory // 2).end
    assert end == "used more than 256 MB of memory"
    assert time.monotonic() - start < 20


def fork_at_most(number: int) -> str:
    """Fork again and again, in every process, but in all not more than so often."""
    count = ctypes.c_long.from_buffer(mmap.mmap(-1, 8))
    try:
        while count.value < number:
            count.value += 1
            os.fork()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    time.sleep(30)
    return "nobody minds"


def test_processes_have_a_limit(inside: Inside) -> None:
    refused, stopped = Outcome("EAGAIN"), f"started more than {LIMITS.processes} processes"
    assert inside(fork_at_most, 200) in (refused, Outcome(end=stopped))


def start_threads(number: int) -> str:
    stop = threading.Event()
    try:
        for _ in range(number):
            threading.Thread(target=stop.wait).start()
    finally:
        stop.set()
    return "nobody minds"


def test_threads_count_too(inside: Inside) -> None:
    if inside.level == LANDLOCK and os.geteuid() == 0:
        pytest.skip("the kernel counts the threads of every user but root")
    assert "can't start new thread" in inside(start_threads, 60).error


def write_a_file(size: int) -> int:
    return Path("large").write_bytes(bytes(size))


def test_a_file_has_a_limit(inside: Inside) -> None:
    assert inside(write_a_file, LIMITS.disk // 2) == Outcome(LIMITS.disk // 2)
    assert "OSError" in inside(write_a_file, LIMITS.disk + 1).error


def write_files(folder: str, number: int, size: int) -> str:
    try:
        for place in range(number):
            Path(folder, f"file{place}").write_bytes(bytes(size))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "nobody minds"


@pytest.mark.parametrize("folder", [".", "/tmp", "/dev/shm"])
def test_all_files_together_have_a_limit(inside: Inside, folder: str) -> None:
    if inside.level != FULL:
        pytest.skip("only a file system of its own has a size")
    assert inside(write_files, folder, 20, 1 << 20) == Outcome("ENOSPC")
    assert inside(write_files, folder, LIMITS.files, 0) == Outcome("ENOSPC")


def open_many_files() -> int:
    files = []
    with contextlib.suppress(OSError):
        for _ in range(3000):
            files.append(os.open("/dev/null", os.O_RDONLY))
    return len(files)


def test_open_files_have_a_limit(inside: Inside) -> None:
    assert inside(open_many_files).value < 1024


def work_for_ever() -> None:
    while True:
        pass


def test_a_run_is_stopped_at_its_time_limit(inside: Inside) -> None:
    assert inside(work_for_ever, seconds=0.5).end == "was still running at its time limit"


def test_the_time_of_the_processor_has_a_limit(level: str) -> None:
    with in_a_sandbox(Sandbox(level, (), Limits(seconds=1))) as inside:
        assert inside(work_for_ever).end == "was ended by SIGKILL"


# --- ending, and what is left behind --------------------------------------------------------------


def touch_the_zeroth_byte() -> None:
    ctypes.string_at(0)


@pytest.mark.parametrize(
    ("function", "arguments", "end"),
    [
        (os._exit, [3], "ended with exit code 3"),
        (touch_the_zeroth_byte, [], "was ended by SIGSEGV"),
    ],
)
def test_how_it_ended_is_told(
    inside: Inside, function: Callable, arguments: list[int], end: str
) -> None:
    assert inside(function, *arguments) == Outcome(end=end)


def call_oneself(name: str) -> None:
    sandbox.libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def leave_a_daemon(name: str) -> None:
    call_oneself(name)
    if not os.fork():
        os.setsid()
        if not os.fork():
            time.sleep(1000)
        os._exit(0)
    os.wait()


def leave_children(name: str) -> None:
    call_oneself(name)
    for _ in range(3):
        if not os.fork():
            time.sleep(1000)


def leave_children_and_crash(name: str) -> None:
    leave_children(name)
    os.abort()


def leave_one_who_will_not_hear(name: str) -> None:
    for number in {*signal.Signals} - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    leave_a_daemon(name)


def leave_one_who_is_stopped(name: str) -> None:
    call_oneself(name)
    if not os.fork():
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.2)


def leave_a_program(name: str) -> None:
    call_oneself(name)
    subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)


def leave_a_thread(name: str) -> None:
    call_oneself(name)
    threading.Thread(target=time.sleep, args=(1000,)).start()


def never_end(name: str) -> None:
    leave_children(name)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(1)


@pytest.mark.parametrize(
    "function",
    [
        leave_a_daemon,
        leave_children,
        leave_children_and_crash,
        leave_one_who_will_not_hear,
        leave_one_who_is_stopped,
        leave_a_program,
        leave_a_thread,
        never_end,
    ],
)
def test_no_process_is_left(inside: Inside, function: Callable) -> None:
    name = secrets.token_hex(7)  # the kernel keeps 15 characters
    inside(function, name, seconds=2)
    names = [process.info["name"] for process in psutil.process_iter(["name"])]
    assert name not in names
    assert inside.processes() == []


def test_many_processes_are_ended_too(level: str) -> None:
    with in_a_sandbox(Sandbox(level, (), Limits(processes=600))) as inside:
        inside(fork_at_most, 400, seconds=2)
        assert inside.processes() == []


def leave_files_that_resist() -> None:
    Path("folder/inner").mkdir(parents=True)
    Path("folder/inner/file").touch()
    os.symlink("/", "folder/link")
    os.chmod("folder/inner", 0)
    os.chmod("folder", 0)


def test_no_file_is_left(inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert inside(leave_files_that_resist) == Outcome()
    assert [*tmp_path.iterdir()] == []


def leave_a_message(message: str) -> None:
    json.message = message  # type: ignore[attr-defined]
    os.environ["MESSAGE"] = message
    for folder in (".", "..", "/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):
            Path(folder, "message").write_text(message)


def find_a_message() -> list[str]:
    found = [getattr(json, "message", None), os.environ.get("MESSAGE")]
    for folder in (".", "..", "/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):
            found.append(Path(folder, "message").read_text())
    return [message for message in found if message]


def test_the_next_run_knows_nothing_of_the_last(inside: Inside) -> None:
    inside(leave_a_message, "the answer is ...")
    assert inside(find_a_message) == Outcome([])


# --- what honest code needs -----------------------------------------------------------------------


def start_a_program() -> str:
    return subprocess.run(["/bin/echo", "hello"], capture_output=True, text=True).stdout


def compute_in_threads() -> list[int]:
    with ThreadPoolExecutor(4) as executor:
        return [*executor.map(abs, range(-3, 3))]


def test_programs_and_threads_can_be_started(inside: Inside) -> None:
    assert inside(start_a_program) == Outcome("hello\n")
    assert inside(compute_in_threads) == Outcome([3, 2, 1, 0, 1, 2])


def test_also_when_the_same_user_has_many_processes(level: str) -> None:
    limits = Limits(processes=10)
    sleeping = [subprocess.Popen(["/bin/sleep", "100"]) for _ in range(20)]
    try:
        with in_a_sandbox(Sandbox(level, (), limits)) as inside:
            assert inside(start_a_program) == Outcome("hello\n")
    finally:
        for process in sleeping:
            process.kill()
            process.wait()


# --- what is not the students' doing --------------------------------------------------------------


def test_a_sandbox_that_cannot_be_set_up(inside: Inside) -> None:
    """No student may be blamed for it, so it must be told from what their code does."""
    task = Task({"large.txt": bytes(LIMITS.disk + 1)}, (), "work", {}, Call(names_in, ([],)))
    with pytest.raises(SandboxError, match="OSError"), inside.zygote.run(lambda folder: task):
        pass
    assert inside(names_in, []) == Outcome([])


def test_one_that_the_kernel_refuses(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise SandboxError("the kernel does not want to")

    monkeypatch.setattr(sandbox, "_restrict_files", refuse)
    with (
        in_a_sandbox(Sandbox(level, (), LIMITS)) as inside,
        pytest.raises(SandboxError, match="the kernel does not want to"),
    ):
        inside(names_in, [])


# --- the zygote -----------------------------------------------------------------------------------

TWO_THREADS = """
import os, threading, time
from grading.sandbox import Sandbox, SandboxError
from grading.zygote import Zygote

def start_a_thread():
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()

os.register_at_fork(after_in_child=start_a_thread)
process = os.getpid()
try:
    Zygote(Sandbox("none"))
except SandboxError as error:
    print(error)
if os.getpid() != process:
    os.kill(process, 9)  # what was forked must not come here
"""


def test_a_zygote_has_one_thread() -> None:
    """A library may start one after every fork."""
    command = [sys.executable, "-c", TWO_THREADS]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    refused = "the zygote failed: it must have one thread, and has 2\n"
    assert (done.stdout, done.stderr, done.returncode) == (refused, "", 0)


HANGS = """
import os, signal
from grading import zygote
from grading.sandbox import Sandbox

def hang(*_):
    os.kill(os.getpid(), signal.SIGSTOP)

zygote._fork_on_demand, zygote.PATIENCE = hang, 0.5
try:
    zygote.Zygote(Sandbox("none"))
except zygote.ZygoteLost:
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_zygote_that_hangs_before_it_can_end_with_its_worker() -> None:
    """It has the descriptors by which others see that the worker lives."""
    command = [sys.executable, "-c", HANGS]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == (f"{-signal.SIGKILL}\n", "", 0)


# --- the level ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with one submission."""
    root = tmp_path_factory.mktemp("judged")
    write_course(root)
    (root / "nbgrader_config.py").write_text(CONFIG + JUDGED)
    assert run("release", "--root", root).code == 0
    add_students(root, "ada")
    hand_in(root, "ada", SOLUTION)
    return root


def command(
    root: Path, *arguments: str, denied: tuple[str, ...] = (), deadly: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours on a kernel that denies system calls, or kills who makes them."""

    def deny() -> None:
        import pyseccomp

        action = pyseccomp.KILL_PROCESS if deadly else pyseccomp.ERRNO(errno.EPERM)
        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        for name in denied:
            rules.add_rule(action, name)
        rules.load()

    return subprocess.run(
        [sys.executable, "-m", "grading", *arguments, "--root", root],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=deny,
    )


def journal(root: Path) -> list[dict[str, Any]]:
    path = root / JOURNAL
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


NO_NAMESPACES = ("unshare",)
NO_SANDBOX = ("unshare", "landlock_create_ruleset")


def test_the_doctor_tells_the_level(judged: Path) -> None:
    done = command(judged, "doctor")
    assert f"Sandbox level: {sandbox.best_level()} (" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_without_namespaces_the_doctor_says_why(judged: Path) -> None:
    need(LANDLOCK)
    done = command(judged, "doctor", denied=NO_NAMESPACES)
    assert "Sandbox level: landlock (" in done.stdout
    assert "Level full fails: unshare: Operation not permitted." in done.stdout


def test_also_where_the_kernel_kills_who_makes_one(judged: Path) -> None:
    need(LANDLOCK)
    done = command(judged, "autograde", "--force", denied=NO_NAMESPACES, deadly=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert journal(judged)[-1]["level"] == LANDLOCK


def test_without_a_sandbox_nothing_is_graded(judged: Path) -> None:
    before = journal(judged)
    done = command(judged, "doctor", denied=NO_SANDBOX)
    assert "Sandbox level: none (" in done.stdout
    done = command(judged, "autograde", "--force", denied=NO_SANDBOX)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "This machine has no sandbox for students' code: `python -m grading doctor` says what is "
        "missing. To grade code that you trust all the same, give --unsafe.\n"
    )
    assert journal(judged) == before


def test_unless_the_instructor_trusts_the_code(judged: Path) -> None:
    done = command(judged, "autograde", "--force", "--unsafe", denied=NO_SANDBOX)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ada, adder: 5 / 6" in done.stdout
    assert journal(judged)[-1]["level"] == NONE


# --- secrets --------------------------------------------------------------------------------------

WAITING = "waits-to-be-seen"[:15]
WAIT = f"""import ctypes, time

def add(a, b):
    ctypes.CDLL(None).prctl({PR_SET_NAME}, {WAITING.encode()}, 0, 0, 0)
    time.sleep(60)
"""


def memory_of(process: psutil.Process) -> Iterator[bytes]:
    """Yield everything that can be read of a process's memory."""
    with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            span, mode, *_ = line.split()
            first, last = (int(number, 16) for number in span.split("-"))
            if mode.startswith("r"):
                with contextlib.suppress(OSError, OverflowError):  # the kernel's own pages
                    memory.seek(first)
                    yield memory.read(last - first)


def holds(process: psutil.Process, patterns: list[bytes]) -> bool:
    return any(pattern in part for part in memory_of(process) for pattern in patterns)


def forms(seed: int) -> list[bytes]:
    """Return how a number can lie in memory: as text, in binary, in Python's digits."""
    digits = [seed >> shift & (1 << 30) - 1 for shift in range(0, seed.bit_length(), 30)]
    binary = seed.to_bytes((seed.bit_length() + 7) // 8, "little")
    return [str(seed).encode(), binary, binary[::-1], array("I", digits).tobytes()]


def named(name: str, command: psutil.Process) -> psutil.Process:
    """Wait until a command has a process of that name."""
    for _ in range(600):
        for process in command.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name() == name:
                    return process
        time.sleep(0.1)
    raise AssertionError("no student's code is run")


def test_no_secret_is_where_a_students_code_runs(tmp_path: Path) -> None:
    write_course(tmp_path)
    (tmp_path / "nbgrader_config.py").write_text(CONFIG + JUDGED)
    checks = tmp_path / "toy" / "checks" / "adder.py"
    checks.write_text(CHECKS.replace("seconds = 4.0", "seconds = 60.0"))
    assert run("release", "--root", tmp_path).code == 0
    add_students(tmp_path, "ada")
    hand_in(tmp_path, "ada", WAIT)
    seed, token = secrets.randbits(240), secrets.token_hex(20)
    (tmp_path / "grading_seed").write_text(f"{seed}\n")
    started = subprocess.Popen(
        [sys.executable, "-m", "grading", "autograde", "--unsafe", "--root", tmp_path],
        cwd=REPOSITORY,
        env=os.environ | {"JUPYTERHUB_API_TOKEN": token},
        stdout=subprocess.DEVNULL,
    )
    try:
        sandboxed = named(WAITING, psutil.Process(started.pid))
        keeper, zygote, worker = sandboxed.parents()[:3]
        assert holds(psutil.Process(started.pid), [token.encode()]), "the search is no good"
        assert holds(worker, forms(seed)), "the search is no good"
        for process in (sandboxed, keeper, zygote):
            assert not holds(process, [token.encode(), *forms(seed)])
        assert not holds(worker, [token.encode()])
    except PermissionError as error:
        pytest.skip(f"the kernel does not let us look into a process: {error}")
    finally:
        started.kill()
        started.wait()


# --- an ordinary user -----------------------------------------------------------------------------

OPEN_CLOSED_FOLDERS = """
set -e
user=$1 closed=$2; shift 2
view=$(mktemp -d)
mount --make-rprivate /
for path in $closed; do mkdir -p "$view$path"; mount --bind "$path" "$view$path"; done
for path in $closed; do
    top=/$(echo "$path" | cut -d / -f 2)
    case " $done " in
        *" $top "*) ;;
        *) mount -t tmpfs -o mode=755 none "$top"; done="$done $top";;
    esac
    mkdir -p "$path"; mount --bind "$view$path" "$path"
done
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""
"""Lets a user see folders that lie below closed ones, in a view of the files that nobody shares."""


def is_closed(path: str) -> bool:
    return any(not folder.stat().st_mode & 1 for folder in Path(path).parents)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="these tests run as an ordinary user already")
def test_every_level_as_an_ordinary_user() -> None:
    needed = {sys.base_prefix, sys.prefix, str(REPOSITORY)}
    closed = " ".join(sorted(path for path in needed if is_closed(path)))
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, ORDINARY, ORDINARY)
        options = ["-q", "-p", "no:cacheprovider", "--basetemp", f"{home}/tests"]
        tests = [sys.executable, "-m", "pytest", *options, __file__, "-k", "full or landlock"]
        script = ["sh", "-c", OPEN_CLOSED_FOLDERS, "sh", str(ORDINARY), closed]
        done = subprocess.run(
            ["unshare", "--mount", *script, *tests],
            cwd=REPOSITORY,
            env=os.environ | {"HOME": home, "TMPDIR": home, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    print(done.stdout, done.stderr)
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"root may not mount anything here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0
