"""A gradebook on a PostgreSQL server, which nbgrader's own `db_url` names; the tests start it."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_course import Rows, copy_of, hand_in, rows, set_due_date, write_course
from toy_course import run

# Debian keeps the server's programs off PATH.
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
ELSEWHERE = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
PROGRAMS = [*ELSEWHERE, *DEBIAN][-1:]

STUDENTS = "ada", "ben", "cleo", "dan"


class Server:
    """A PostgreSQL server with nothing in it, reached through a socket in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # It refuses to run as root.
        self.user = {"user": folder.owner(), "group": folder.group()} if not os.getuid() else {}
        self.call("initdb", "--auth=trust", "--username=grader", "--no-sync", "-D", "data")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        self.call("pg_ctl", "-D", "data", "-o", options, "-l", "log", "--wait", "start")

    def call(self, program: str, *arguments: str) -> None:
        command = [PROGRAMS[0] / program, *arguments]
        # Not to a pipe, which the server would inherit and keep open.
        with (self.folder / "said").open("w+") as said:
            done = subprocess.run(command, cwd=self.folder, stdout=said, stderr=said, **self.user)
            said.seek(0)
            assert done.returncode == 0, said.read()

    def database(self, name: str) -> str:
        """Make an empty database; return its address."""
        self.call("createdb", "--host", str(self.folder), "--username=grader", name)
        return f"postgresql+psycopg://grader@/{name}?host={self.folder}"

    def stop(self) -> None:
        self.call("pg_ctl", "-D", "data", "--mode=immediate", "stop")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if not PROGRAMS:
        pytest.skip("PostgreSQL's server is not installed.")
    # Short, because the path of a socket must be; and open to another user, as pytest's is not.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not os.getuid():
            known = {user.pw_name for user in pwd.getpwall()}
            shutil.chown(folder, "postgres" if "postgres" in known else "nobody")
        server = Server(folder)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plain") / "course"
    root.mkdir()
    write_course(root)
    return root


def release_and_hand_in(plain: Path, root: Path, address: str = "") -> Path:
    """Make a class whose gradebook is at an address, or the usual one."""
    shutil.copytree(plain, root)
    if address:
        with (root / "nbgrader_config.py").open("a") as config:
            config.write(f"c.CourseDirectory.db_url = {address!r}\n")
    assert run("release", "first", "--root", root).code == 0
    set_due_date(root)
    for student in STUDENTS:
        hand_in(root, student)
    return root


@pytest.fixture(scope="module")
def usual(plain: Path) -> Path:
    """The same class, graded into nbgrader's usual SQLite file."""
    root = release_and_hand_in(plain, plain.with_name("usual"))
    assert run("autograde", "first", "--root", root).code == 0
    return root


@pytest.fixture(scope="module")
def expected(usual: Path) -> Rows:
    return rows(usual)


def test_all_commands_do_the_same_as_with_sqlite(
    server: Server, plain: Path, usual: Path, expected: Rows, tmp_path: Path
) -> None:
    root = release_and_hand_in(plain, tmp_path / "course", server.database("one_class"))
    assert run("autograde", "first", "--workers", "4", "--root", root).code == 0
    assert not (root / "gradebook.db").exists()
    assert rows(root) == expected
    again = run("autograde", "first", "--workers", "4", "--root", root)
    assert again.out.count("(unchanged)") == len(STUDENTS)
    assert run("autograde", "first", "--force", "--root", root).code == 0
    assert rows(root) == expected
    written = f"feedback: {len(STUDENTS)} written, 0 unchanged\n"
    for folder in (root, usual):
        assert run("feedback", "--root", folder).out == written
        assert run("export", "--root", folder).code == 0
    assert (root / "grades.csv").read_text() == (usual / "grades.csv").read_text()


def test_two_instructors_grade_into_one_database_at_once(
    server: Server, plain: Path, expected: Rows, tmp_path: Path
) -> None:
    """Each has a folder with three of the four students, and grades them all, twice."""
    whole = release_and_hand_in(plain, tmp_path / "whole", server.database("two_folders"))
    folders = [
        copy_of(whole, tmp_path / "left", *STUDENTS[:3]),
        copy_of(whole, tmp_path / "right", *STUDENTS[1:]),
    ]
    for _ in range(2):
        command = [sys.executable, "-m", "grading", "autograde", "first", "--force", "--workers=2"]
        runs = [subprocess.Popen([*command, "--root", folder]) for folder in folders]
        assert [each.wait() for each in runs] == [0, 0]
        assert rows(whole) == expected
