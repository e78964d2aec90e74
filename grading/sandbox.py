"""The sandbox: what a process that runs a student's code can see, write, reach and use up.

Everything is set up after the fork, so that a warm process stays warm: no program is started. Two
levels, of which the better one that the machine allows is taken:

- `full`: a file system of its own with nothing in it but Python and the course, and namespaces of
  its own for processes, network, IPC and host name; then all of what follows.
- `landlock`: Landlock for files, seccomp for system calls, resource limits, no capabilities.
"""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

why_no_seccomp = ""
try:
    import pyseccomp as seccomp  # here, because it takes a while to find libseccomp
except (ImportError, OSError, RuntimeError) as error:
    why_no_seccomp = str(error)

FULL, LANDLOCK, NONE = "full", "landlock", "none"
LEVELS = (FULL, LANDLOCK)

SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
FOLDER = "/sandbox"
"""Where a submission lies in the file system of a full sandbox."""

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_READ_ONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
CAPABILITY_VERSION = 0x20080522

SYSCALLS = {"pivot_root": {"x86_64": 155, "aarch64": 41}, "capset": {"x86_64": 126, "aarch64": 91}}
F_SETOWN, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP = 8, 15, 0x8901, 0x8902
"""What lets the kernel send a signal for us, to anybody."""
MOUNT_SETATTR, LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 442, 444, 445, 446

NEVER = (
    "add_key",
    "bpf",
    "chroot",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "memfd_create",
    "memfd_secret",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "request_key",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setscheduler",
    "setns",
    "setpriority",
    "shmget",
    "swapoff",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
)
"""System calls that no student needs: attacks on the kernel or on others begin with them, or they
hold memory that no limit counts."""

NEVER_WITHOUT_NAMESPACES = (
    "fanotify_init",
    "inotify_add_watch",
    "ioprio_set",
    "migrate_pages",
    "move_pages",
    "mq_open",
    "mq_unlink",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "openat2",
    "pidfd_open",
    "pidfd_send_signal",
    "process_madvise",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "sched_setparam",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "shmat",
    "shmctl",
    "socket",
    "tkill",
    "truncate",
)
"""What reaches others of the same user where no namespace of its own keeps them apart."""

FCHMODAT2, SETXATTRAT, REMOVEXATTRAT = 452, 463, 466
"""Numbers, because few machines know these names yet."""

PRETENDED_WITHOUT_NAMESPACES = (
    "chmod",
    "chown",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fremovexattr",
    "fsetxattr",
    "futimesat",
    "lchown",
    "lremovexattr",
    "lsetxattr",
    "removexattr",
    "setxattr",
    "utime",
    "utimensat",
    "utimes",
    FCHMODAT2,
    REMOVEXATTRAT,
    SETXATTRAT,
)
"""Landlock lets them reach every file. They do nothing and say so to nobody, as on a file system
without modes: else `shutil.copy` would fail."""

libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(Exception):
    """This machine does not let us set up the sandbox; the text says what failed."""


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Args:
        memory: bytes that it may allocate, over what Python and its libraries have already.
        disk: bytes that it may write.
        files: number of files that it may make.
        processes: number of processes and threads.
        seconds: of CPU time; a backstop, because time is limited from outside as well.
    """

    memory: int = 2 << 30
    disk: int = 256 << 20
    files: int = 10_000
    processes: int = 64
    seconds: int = 600


@dataclass(frozen=True)
class Sandbox:
    """A sandbox to be entered: its level, what is readable in it, and the limits."""

    level: str
    readable: tuple[str, ...] = ()
    limits: Limits = Limits()

    def folder(self, outside: str) -> str:
        """Return where a run's own folder lies as its code sees it."""
        return FOLDER if self.level == FULL else outside

    def paths(self) -> list[str]:
        """Return all that is readable: the system's libraries, Python, what was asked for."""
        wanted = [*SYSTEM, sys.base_prefix, sys.prefix, *self.readable]
        there = [os.path.abspath(path) for path in wanted if os.path.exists(path)]
        # An environment can be a link, and then what it leads to is needed as well.
        found = sorted({*there, *map(os.path.realpath, there)})
        return [
            path
            for path in found
            if not any(path != other and path.startswith(f"{other}/") for other in found)
        ]


def start(sandbox: Sandbox, outside: str) -> int:
    """Fork a process into a sandbox.

    Returns 0 in the new process. The caller becomes its keeper: it must call `keep` with the
    process number that it gets, and do nothing else.

    Args:
        outside: an empty folder, where the run may write when the sandbox has no file system.
    """
    os.setsid()
    die_with_parent(signal.SIGTERM)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    uid, gid = _identity()
    paths = sandbox.paths()
    if sandbox.level == FULL:
        _unshare()
    # Without these two, a SIGTERM in between would end the keeper and leave the other alone.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    process = os.fork()
    if process:
        return process
    os.setsid()  # its process group must not be the keeper's
    die_with_parent(signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    if sandbox.level == FULL:
        _build_view(outside, paths, sandbox.limits, uid, gid)
    os.chdir(sandbox.folder(outside))
    os.nice(5)  # those who wait for it are quick, whatever it does
    if sandbox.level != NONE:
        _drop_rights(sandbox, uid, gid, paths)
    return 0


def keep(process: int, status: int) -> None:
    """Wait for a sandboxed process, end what it left behind, and write how it ended.

    Nothing is written when we were told to end it: then it is not the process's own doing.
    """
    told = False

    def stop(*_: object) -> None:
        nonlocal told
        told = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    _, ended = os.waitpid(process, 0)
    with contextlib.suppress(psutil.Error, FileNotFoundError, ChildProcessError):
        # In a full sandbox the kernel did this already; orphans become our children.
        while left := psutil.Process().children(recursive=True):
            for child in left:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    if not told:
        os.write(status, str(os.waitstatus_to_exitcode(ended)).encode())


def best_level() -> str:
    """Return the best level that this machine gives; `none` when there is no sandbox at all."""
    if sys.platform != "linux":
        return NONE
    return next((level for level in LEVELS if not failure(level)), NONE)


def failure(level: str) -> str | None:
    """Try a level in a process of its own; return what failed, or None."""
    with tempfile.TemporaryDirectory() as outside:
        return _attempt(level, outside)


def _attempt(level: str, outside: str) -> str | None:
    receiver, sender = os.pipe()
    if not (keeper := os.fork()):
        text = "the process ended"
        try:
            if process := start(Sandbox(level), outside):
                os.close(sender)
                keep(process, os.open(os.devnull, os.O_WRONLY))
                os._exit(0)
            text = ""
        except (OSError, SandboxError) as error:
            text = str(error)
        finally:
            with contextlib.suppress(OSError):
                os.write(sender, text.encode() or b"ok")
            os._exit(0)
    os.close(sender)
    with open(receiver) as stream:
        text = stream.read()
    os.waitpid(keeper, 0)
    return None if text == "ok" else text or "the process was killed"


# --- namespaces and the file system ---------------------------------------------------------------


def _identity() -> tuple[int, int]:
    """Return the user and group that a student's code runs as: root becomes a user of its own."""
    uid, gid = os.geteuid(), os.getegid()
    # A number of its own, because the limit on processes counts a user's.
    return (uid, gid) if uid else (2_000_000_000 + os.getpid(),) * 2


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        _call("unshare", libc.unshare(NAMESPACES))
        return
    _call("unshare", libc.unshare(NAMESPACES | CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _build_view(base: str, paths: list[str], limits: Limits, uid: int, gid: int) -> None:
    """Make a file system with `paths`, read-only, and empty folders to write in; enter it."""
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    options = f"size={limits.disk},nr_inodes={limits.files},mode=0755,uid={uid},gid={gid}"
    _mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for path in paths:
        if os.path.islink(path):
            os.makedirs(os.path.dirname(base + path), exist_ok=True)
            os.symlink(os.readlink(path), base + path)
        else:
            _bind(path, base + path, MOUNT_ATTR_READ_ONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    for path in DEVICES:
        _bind(path, base + path, MOUNT_ATTR_NOSUID)
    for name in ("/dev/shm", "/proc", "/tmp", FOLDER):
        os.makedirs(base + name, exist_ok=True)
        os.chown(base + name, uid, gid)
    # Before the old one is out of sight: without a proc to be seen the kernel allows no other.
    _mount("proc", f"{base}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.chdir(base)
    _call("pivot_root", _syscall("pivot_root", b".", b"."))
    _call("umount2", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def _bind(path: str, target: str, attributes: int) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    _mount(path, target, None, MS_BIND | MS_REC)
    values = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    arguments = (AT_FDCWD, target.encode(), AT_RECURSIVE, values, ctypes.sizeof(values))
    _call(f"mount_setattr {path}", libc.syscall(MOUNT_SETATTR, *arguments))


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    kind_ = kind.encode() if kind else None
    result = libc.mount(
        source.encode(), target.encode(), kind_, ctypes.c_ulong(flags), options.encode() or None
    )
    _call(f"mount {target}", result)


# --- rights and limits ----------------------------------------------------------------------------


def _drop_rights(sandbox: Sandbox, uid: int, gid: int, paths: list[str]) -> None:
    _set_limits(sandbox.limits, 0 if sandbox.level == FULL else _processes_of(uid))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if sandbox.level == FULL and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        die_with_parent(signal.SIGKILL)  # a change of user takes it away
    writable = ["."]
    if sandbox.level == FULL:
        paths = [*paths, "/proc"]
        writable += ["/tmp", "/dev/shm"]
    _restrict_files(paths, [*writable, *DEVICES], required=sandbox.level == LANDLOCK)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    _call("capset", _syscall("capset", header, (ctypes.c_uint32 * 6)()))
    _restrict_calls(sandbox.level)


def _processes_of(uid: int) -> int:
    """Return how many processes and threads a user has, because the kernel counts them all."""
    number = 0
    for process in psutil.pids():
        with contextlib.suppress(OSError):  # it has ended by now
            if os.stat(f"/proc/{process}").st_uid == uid:
                number += len(os.listdir(f"/proc/{process}/task"))
    return number


def _set_limits(limits: Limits, others: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    for kind, value in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_FSIZE, limits.disk),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_NPROC, limits.processes + others),
    ):
        resource.setrlimit(kind, (value, value))


def landlock_version() -> int:
    """Return the version of Landlock that the kernel has; 0 when it has none."""
    return max(0, libc.syscall(LANDLOCK_CREATE, None, 0, 1))


def _restrict_files(readable: list[str], writable: list[str], *, required: bool) -> None:
    """Deny every file that is not listed, TCP, and what Landlock's later versions can deny."""
    version = landlock_version()
    if not version:
        if required:
            raise SandboxError("the kernel has no Landlock, or it is switched off")
        return
    everything = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    for_files = everything & (1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15)
    read = 1 << 0 | 1 << 2 | 1 << 3
    fields = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}.get(version, 3)
    attributes = (ctypes.c_uint64 * fields)(*[everything, 3, 3][:fields])
    rules = libc.syscall(LANDLOCK_CREATE, attributes, ctypes.sizeof(attributes), 0)
    _call("landlock_create_ruleset", rules)
    for path, access in [(p, read) for p in readable] + [(p, everything) for p in writable]:
        if not os.path.exists(path):
            continue
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        access &= everything if os.path.isdir(path) else for_files
        rule = access.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
        _call(f"landlock_add_rule {path}", libc.syscall(LANDLOCK_ADD, rules, 1, rule, 0))
        os.close(descriptor)
    _call("landlock_restrict_self", libc.syscall(LANDLOCK_RESTRICT, rules, 0))
    os.close(rules)


def _restrict_calls(level: str) -> None:
    """Deny system calls, with an error rather than death, so that Python can say which."""
    if why_no_seccomp:
        raise SandboxError(f"libseccomp is missing ({why_no_seccomp})")
    denied = seccomp.ERRNO(errno.EPERM)
    rules = seccomp.SyscallFilter(seccomp.ALLOW)

    def deny(names: Iterable[str | int], *conditions: object, action: object = denied) -> None:
        for name in names:
            with contextlib.suppress(OSError):  # unknown to this machine's libseccomp
                rules.add_rule(action, name, *conditions)

    def masked(position: int, mask: int, value: int) -> object:
        return seccomp.Arg(position, seccomp.MASKED_EQ, mask, value)

    deny(NEVER)
    deny(["clone"], masked(0, CLONE_NEWUSER, CLONE_NEWUSER))
    # Its flags lie in memory, where no filter can look; libc takes clone instead.
    deny(["clone3"], action=seccomp.ERRNO(errno.ENOSYS))
    if level == LANDLOCK:
        deny(NEVER_WITHOUT_NAMESPACES)
        deny(PRETENDED_WITHOUT_NAMESPACES, action=seccomp.ERRNO(0))
        deny(["kill", "tgkill"], seccomp.Arg(0, seccomp.NE, os.getpid()))
        deny(["prlimit64"], seccomp.Arg(0, seccomp.NE, 0))
        for command in (F_SETOWN, F_SETOWN_EX):
            deny(["fcntl"], masked(1, 0xFFFFFFFF, command))
        for request in (FIOSETOWN, SIOCSPGRP):
            deny(["ioctl"], masked(1, 0xFFFFFFFF, request))
        for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
            # It could send to every socket that has a path; a pair of streams cannot.
            deny(["socketpair"], masked(1, 0xF, kind))
        # Landlock before its third version lets a file be emptied that may only be read.
        emptied = os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC | os.O_RDONLY
        deny(["open"], masked(1, *emptied))
        deny(["openat"], masked(2, *emptied))
    rules.load()


# --- calls ----------------------------------------------------------------------------------------


def die_with_parent(with_signal: signal.Signals) -> None:
    _prctl(PR_SET_PDEATHSIG, with_signal)


def give_up_shared_memory() -> None:
    """Unmap what others would see change: the locks of a worker's queues lie in such memory."""
    if sys.platform != "linux":
        return
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if rights.startswith("rw") and rights.endswith("s"):
            begin, end = (int(side, 16) for side in span.split("-"))
            _call("munmap", libc.munmap(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin)))


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    _call("prctl", libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _syscall(name: str, *arguments: object) -> int:
    number = SYSCALLS[name].get(platform.machine())
    if number is None:
        raise SandboxError(f"the sandbox does not know {platform.machine()} processors")
    return int(libc.syscall(number, *arguments))


def _call(what: str, result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise SandboxError(f"{what}: {os.strerror(code)}")
