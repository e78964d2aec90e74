import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
from toy_course import REPOSITORY, run, write_course


@pytest.mark.parametrize("command", ["release", "autograde", "feedback", "export"])
def test_an_unknown_assignment(course: Path, command: str) -> None:
    result = run(command, "ader", "--root", course)
    assert result.code == 2
    assert result.err == "There is no assignment ader. Did you mean adder? Known: adder.\n"


def test_a_folder_that_is_no_course(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        result = run("release", "--root", folder)
        assert result.code == 2
        assert "is no course: there is no nbgrader_config.py in it. Give --root.\n" in result.err


def test_a_configuration_that_cannot_be_read(course: Path) -> None:
    (course / "nbgrader_config.py").write_text("c.NbGrader = ")
    result = run("release", "--root", course)
    assert result.code == 2
    assert "nbgrader_config.py cannot be read: invalid syntax" in result.err


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as stop:
        run("gradeall")
    assert stop.value.code == 2


def test_nothing_to_do(course: Path) -> None:
    result = run("autograde", "--root", course)
    assert result.code == 1
    assert result.err.startswith(f"There is no submission in {course}/submitted: ")
    result = run("feedback", "--root", course)
    assert result.code == 1
    assert result.err.startswith("Nothing is autograded yet: ")


def test_two_runs_at_once(course: Path) -> None:
    with open(course / ".grading" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run("release", "--root", course)
    assert (result.code, result.err) == (1, f"Another run works in {course}: let it end.\n")


def test_a_gradebook_that_is_none(course: Path) -> None:
    (course / "gradebook.db").write_text("not a database, and long enough to be looked at")
    result = run("release", "--root", course)
    assert result.code == 1
    assert result.err.startswith("Cannot go on: ")
    assert "file is not a database" in result.err


def test_as_a_program_outside_an_activated_environment(tmp_path: Path) -> None:
    """nbgrader finds alembic, which makes a new gradebook, only on PATH."""
    write_course(tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "grading", "release", "--root", tmp_path],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "adder: released\n", "")
