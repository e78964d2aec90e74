import fcntl
import logging
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from toy_course import REPOSITORY, run, write_course

from grading.__main__ import main
from grading.course import LOG, Course, environment


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


def test_a_package_without_a_variable_for_what_stands_in_front_of_it(course: Path) -> None:
    config = course / "nbgrader_config.py"
    config.write_text(config.read_text() + "del c.CourseCode.overlay_variable\n")
    result = run("autograde", "--root", course)
    assert result.code == 2
    assert result.err == "c.CourseCode.package needs c.CourseCode.overlay_variable.\n"


def test_a_folder_in_which_nbgrader_finds_nothing(tmp_path: Path) -> None:
    root = tmp_path / "NN [2026]"
    write_course(root)
    result = run("release", "--root", root)
    assert result.code == 2
    assert result.err == f"nbgrader finds nothing in {root}: take [, ? and * out of the name.\n"


@pytest.mark.parametrize(
    "arguments",
    [["gradeall"], ["autograde", "--workers", "0"], ["autograde", "--workers", "many"]],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert arguments == ["gradeall"] or f"{arguments[-1]} is not a number from 1 on" in said


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


def test_what_a_killed_run_left_is_removed_and_nothing_else(course: Path, tmp_path: Path) -> None:
    left, other = Path(tempfile.mkdtemp(prefix="grading-")), tmp_path / "other"
    other.mkdir()
    for folder in (left, other):
        (course / ".grading" / "lock").write_text(str(folder))
        assert run("release", "--root", course).code == 0
    assert not left.exists()
    assert other.exists()


def test_a_run_leaves_the_log_as_it_was(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for logger in (LOG, logging.getLogger()):
        monkeypatch.setattr(logger, "propagate", True)
        monkeypatch.setattr(logger, "level", logging.ERROR)
    run("release", "--root", course)
    for logger in (LOG, logging.getLogger()):
        assert (logger.level, logger.propagate) == (logging.ERROR, True)


def test_other_threads_keep_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "before")
    monkeypatch.delenv("NEW", raising=False)
    with environment({"OURS": "meanwhile", "NEW": "meanwhile"}):
        assert os.environ["OURS"] == os.environ["NEW"] == "meanwhile"
        monkeypatch.setenv("THEIRS", "kept")
    assert (os.environ["OURS"], os.environ["THEIRS"]) == ("before", "kept")
    assert "NEW" not in os.environ
    with environment({"ONLY": "this"}, only=True):
        assert {**os.environ} == {"ONLY": "this"}
    assert (os.environ["OURS"], os.environ["THEIRS"]) == ("before", "kept")


def test_a_seed_that_could_not_be_drawn_is_drawn_the_next_time(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_bits: int) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(secrets, "randbits", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _ = Course(course).seed
    assert Course(course).seed == Course(course).seed
    assert [path.name for path in course.glob("grading_seed*")] == ["grading_seed"]


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
