"""The student's command line, as a student runs it, in a folder with an own ``course_lib``.

Each command runs as a real process at least once; what differs only in the file or the
arguments runs in this one, because a process takes seconds to import torch.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import pytest

import course_lib
from course_lib import __main__ as commands
from course_lib import checking, isolation
from course_lib.checking import Result
from course_lib.checks import checks_of, modules
from course_lib.stubs import stub

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "solutions" / "perceptron.py").read_text()
STUB = stub(REFERENCE)
PREDICT, FIT = checks_of("perceptron")

FEW_ROWS_ONLY = """
class Perceptron(Perceptron):
    def predict(self, x):
        return super().predict(x) * (len(x) < 5)
"""
NO_LAST_ZERO = """
class Perceptron(Perceptron):
    def fit(self, x, y, max_epochs=100):
        return [count for count in super().fit(x, y, max_epochs) if count]
"""
PRINTS = """
print("noise at import")
class Perceptron(Perceptron):
    def predict(self, x):
        print("noise")
        return super().predict(x)
"""
CRASHES_AND_LOOPS = """
import os, time
class Perceptron(Perceptron):
    def predict(self, x):
        os.kill(os.getpid(), 11)

    def fit(self, x, y, max_epochs=100):
        while True:
            time.sleep(0.01)
"""
EXITS = """
import os
class Adam(Adam):
    def step(self):
        os._exit(7)
"""

Run = Callable[..., subprocess.CompletedProcess]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mine(students_folder: Path) -> Path:
    """The student's perceptron.py."""
    return students_folder / "perceptron.py"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command as a process, in the folder that holds the student's ``course_lib``."""

    def run(*arguments: str, code: int, **variables: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        if "COURSE_LIB_OVERLAY" not in variables:
            del environment["COURSE_LIB_OVERLAY"]
        process = subprocess.run(
            [sys.executable, "-m", "course_lib", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert process.returncode == code, process.stdout + process.stderr
        return process

    return run


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Command:
    """Run a command in this process; return the exit code and what it wrote."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = commands.main(arguments)
        return code, *capsys.readouterr()

    return command


# --- check ----------------------------------------------------------------------------------------


def test_right_code_in_the_folder_beside_gives_exit_code_0(run: Run, mine: Path) -> None:
    mine.write_text(REFERENCE)
    process = run("check", "perceptron", code=0)
    assert "predict (Perceptron): 3 of 3 points" in process.stdout
    assert process.stdout.endswith("\n10 of 10 points\n")
    assert process.stderr == ""


def test_wrong_code_gives_exit_code_1_and_json_with_the_results_for_the_seed(
    run: Run, mine: Path
) -> None:
    mine.write_text(REFERENCE + FEW_ROWS_ONLY + NO_LAST_ZERO)
    printed = run("check", "perceptron", "--json", "--seed", "5", code=1).stdout
    results = json.loads(printed)
    assert results == [asdict(PREDICT(seed=5)), asdict(FIT(seed=5))]
    assert results[0] != asdict(PREDICT(seed=6))
    assert [result["mistake"] for result in results] == [None, "leaves_out_the_last_zero"]
    assert [result["passed"] for result in results] == [False, False]
    assert (
        list(results[0])
        == [field.name for field in fields(Result)]
        == ["module", "exercise", "points", "max_points", "passed", "message", "mistake"]
    )


def test_what_the_code_prints_does_not_get_into_the_json(run: Run, mine: Path) -> None:
    mine.write_text(REFERENCE + PRINTS)
    results = json.loads(run("check", "perceptron", "--json", code=0).stdout)
    assert [result["passed"] for result in results] == [True, True]


def test_a_crash_an_exit_and_an_endless_loop_are_told_and_the_rest_is_checked(
    run: Run, mine: Path
) -> None:
    mine.write_text(REFERENCE + CRASHES_AND_LOOPS)
    optimizers = (ROOT / "solutions" / "optimizers.py").read_text()
    (mine.parent / "optimizers.py").write_text(optimizers + EXITS)

    results = json.loads(run("check", "--json", code=1).stdout)
    told = {result["exercise"]: result["message"] for result in results}
    assert told["predict"].endswith("The process ended while it ran (signal 11).")
    assert told["adam"].endswith("The process ended while it ran (exit code 7).")
    assert "it was still running after" in told["fit"]
    passed = {result["exercise"] for result in results if result["passed"]}
    assert passed == {"optimizer", "sgd", "adamw"}, "of the two modules that are written"


def test_code_that_swallows_every_exception_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a shorter limit than the real one, which is half a minute."""
    monkeypatch.setattr(checking, "SECONDS", 0.5)
    monkeypatch.setattr(checking, "IMPORT_SECONDS", 0.5)
    monkeypatch.setattr(isolation, "send_result", ignore_everything)
    result = isolation.run_apart(PREDICT, seed=0)
    assert result.points == 0
    assert result.message.endswith("It was still running after 2 seconds and was stopped.")


def ignore_everything(*_: object) -> None:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(1)


def test_an_unknown_module_gives_exit_code_2_as_a_process(run: Run) -> None:
    process = run("check", "percepton", code=2)
    assert process.stdout == ""
    assert process.stderr == (
        f"There is no module percepton. Did you mean perceptron? Known: {', '.join(modules())}.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("hint", "adamv"), r"There is no exercise adamv\. Did you mean adamw?\? Known: .*\.\n"),
        (("reset", "optimizer"), r"There is no module optimizer\. Did you mean optimizers\? .*\n"),
        (("check", "perceptron", "zzz"), r"There is no module zzz\. Known: .*\.\n"),
    ],
)
def test_an_unknown_name_gives_exit_code_2_and_the_closest_one(
    command: Command, arguments: tuple[str, ...], told: str
) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert re.fullmatch(told, err)


def test_the_overlay_takes_the_place_of_the_folder_beside(
    run: Run, mine: Path, tmp_path: Path
) -> None:
    mine.write_text(STUB)
    (tmp_path / "empty").mkdir()
    overlay = os.pathsep.join(["empty", str(ROOT / "solutions"), "course_lib"])
    run("check", "perceptron", code=0, COURSE_LIB_OVERLAY=overlay)


# --- hint and progress ----------------------------------------------------------------------------


def test_hints_unlock_one_at_a_time_and_stay_unlocked(run: Run, command: Command) -> None:
    def expected(shown: int) -> str:
        hints = [f"{i}. {hint}\n" for i, hint in enumerate(PREDICT.hints[:shown], start=1)]
        return f"{''.join(hints)}\nHints left for predict: {len(PREDICT.hints) - shown}.\n"

    for shown in (1, 2):
        assert run("hint", "predict", code=0).stdout == expected(shown)
    for shown in (3, 3):
        assert command("hint", "predict") == (0, expected(shown), "")
    assert FIT.hints[1] not in command("hint", "fit")[1]


def test_damaged_notes_of_the_hints_do_not_stop_the_hints(command: Command, tmp_path: Path) -> None:
    (tmp_path / ".hints.json").write_text("")
    assert PREDICT.hints[0] in command("hint", "predict")[1]


def test_progress_shows_every_exercise_with_its_points(run: Run, mine: Path) -> None:
    mine.write_text(REFERENCE + NO_LAST_ZERO)
    table = run("progress", code=0, COLUMNS="100").stdout
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines()]
    shown = {row[1]: row for row in rows if len(row) == 4}
    for module in modules():
        for check in checks_of(module):
            assert shown[check.exercise][0] == module
            assert shown[check.exercise][2].endswith(f" of {check.max_points:g}")
    assert shown["predict"][2:] == ["3 of 3", "done"]
    assert shown["fit"][2:] == ["5 of 7", "started"]
    assert shown["sgd"][2:] == ["0 of 5", ""]
    assert shown[""][0] == "all"


# --- reset ----------------------------------------------------------------------------------------


def assert_is_reset(mine: Path, work: bytes, said: str) -> None:
    assert mine.read_text() == STUB
    (backup,) = mine.parent.glob("perceptron.py.*.bak")
    assert backup.read_bytes() == work
    assert backup.name in said


def test_reset_keeps_a_backup_and_restores_the_stub(run: Run, mine: Path) -> None:
    mine.write_text(REFERENCE)
    assert_is_reset(mine, REFERENCE.encode(), run("reset", "perceptron", code=0).stdout)


@pytest.mark.parametrize(
    "work", [b"", b"def f(:\n", b"# caf\xe9\n"], ids=["empty", "broken", "not utf-8"]
)
def test_a_damaged_file_can_be_reset(command: Command, mine: Path, work: bytes) -> None:
    mine.write_bytes(work)
    code, said, _ = command("reset", "perceptron")
    assert code == 0
    assert_is_reset(mine, work, said)


def test_reset_leaves_a_stub_alone_and_never_overwrites_a_backup(
    command: Command, mine: Path
) -> None:
    mine.write_text(STUB)
    assert "is the stub already" in command("reset", "perceptron")[1]
    assert list(mine.parent.glob("*.bak")) == []
    for work in ("first", "second"):
        mine.write_text(work)
        assert command("reset", "perceptron")[0] == 0
    assert sorted(path.read_text() for path in mine.parent.glob("*.bak")) == ["first", "second"]


@pytest.mark.parametrize("linked", [False, True], ids=["by its own path", "through a link"])
def test_reset_refuses_to_touch_the_reference(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    solutions, link = tmp_path / "solutions", tmp_path / "link"
    shutil.copytree(ROOT / "solutions", solutions)
    link.symlink_to(solutions)
    monkeypatch.setattr(commands, "__file__", str(tmp_path / "course_lib" / "__main__.py"))
    monkeypatch.setattr(course_lib, "__path__", [str(link if linked else solutions)])
    code, _, said = command("reset", "perceptron")
    assert code == 2
    assert "is the reference solution: unset COURSE_LIB_OVERLAY first" in said
    assert (solutions / "perceptron.py").read_text() == REFERENCE
    assert list(solutions.glob("*.bak")) == []
