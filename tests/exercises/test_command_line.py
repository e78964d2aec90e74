"""The student's command line, as a student runs it: real processes in a folder of their own."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from course_lib import isolation
from course_lib.checking import Result
from course_lib.checks import checks_of, modules
from course_lib.stubs import stub

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "solutions" / "perceptron.py").read_text()
STUB = stub(REFERENCE)
PREDICT, FIT = checks_of("perceptron")

Run = Callable[..., subprocess.CompletedProcess]

PREDICT_LINE = "return (x @ self.weight + self.bias > 0).long()"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The student's perceptron.py, in the folder course_lib beside which the commands run."""
    (tmp_path / "course_lib").mkdir()
    return tmp_path / "course_lib" / "perceptron.py"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str, code: int, **variables: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **variables}
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
        assert "Traceback" not in process.stderr
        return process

    return run


def with_fit(body: str) -> str:
    """Return the reference perceptron with another body of ``fit``."""
    head, tail = REFERENCE.split("        mistakes_per_epoch = []\n")
    return f"{head}        {body}\n        mistakes_per_epoch = []\n{tail}"


# --- check ----------------------------------------------------------------------------------------


def test_right_code_in_the_folder_beside_gives_exit_code_0(run: Run, mine: Path) -> None:
    mine.write_text(REFERENCE)
    said = run("check", "perceptron", code=0).stdout
    assert "predict (Perceptron): 3 of 3 points" in said
    assert said.endswith("\n10 of 10 points\n")


def test_wrong_code_gives_exit_code_1_and_json_that_holds_every_result(
    run: Run, mine: Path
) -> None:
    mine.write_text(REFERENCE.replace("> 0).long()", ">= 0).long()"))
    process = run("check", "perceptron", "--json", code=1)
    results = json.loads(process.stdout)
    assert process.stderr == ""
    for result, check in zip(results, (PREDICT, FIT), strict=True):
        assert list(result) == [field.name for field in fields(Result)]
        assert (result["module"], result["exercise"]) == ("perceptron", check.exercise)
        assert result["max_points"] == check.max_points
        assert 0 < result["points"] < check.max_points
        assert result["passed"] is False
        assert result["mistake"] == "boundary_is_class_1"
        assert result["message"].startswith(f"{check.exercise} (Perceptron): ")


def test_a_seed_chooses_the_inputs(run: Run, mine: Path) -> None:
    mine.write_text(REFERENCE.replace(PREDICT_LINE, f"{PREDICT_LINE} * (len(x) < 5)"))

    def message(seed: int) -> str:
        said = run("check", "perceptron", "--json", "--seed", str(seed), code=1)
        return json.loads(said.stdout)[0]["message"]

    assert message(5) != message(6)
    assert message(5) == message(5)


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_what_the_code_prints_does_not_get_into_the_result(
    run: Run, mine: Path, json_flag: list[str]
) -> None:
    noisy = REFERENCE.replace(PREDICT_LINE, f'print("noise"); {PREDICT_LINE}')
    mine.write_text(f'print("noise at import")\n{noisy}')
    said = run("check", "perceptron", *json_flag, code=0).stdout
    assert "noise" not in said
    if json_flag:
        assert [result["passed"] for result in json.loads(said)] == [True, True]


def test_a_segmentation_fault_and_an_exit_are_told_and_the_rest_is_checked(
    run: Run, mine: Path
) -> None:
    (mine.parent / "optimizers.py").write_text("")
    crash = REFERENCE.replace(PREDICT_LINE, "import ctypes; ctypes.string_at(0)")
    mine.write_text(
        crash.replace("        mistakes_per_epoch = []", "        import os; os._exit(7)")
    )
    results = json.loads(run("check", "perceptron", "optimizers", "--json", code=1).stdout)
    told = {result["exercise"]: result["message"] for result in results}
    assert told["predict"].endswith("The process ended while it ran (signal 11).")
    assert told["fit"].endswith("The process ended while it ran (exit code 7).")
    assert "optimizers.py has no SGD" in told["sgd"]


def test_an_endless_loop_in_one_exercise_leaves_the_others_checked(run: Run, mine: Path) -> None:
    mine.write_text(with_fit("import time\n        while True:\n            time.sleep(0.01)"))
    said = run("check", "perceptron", code=1).stdout
    assert "predict (Perceptron): 3 of 3 points" in said
    assert "still running after 10 seconds" in said
    assert said.endswith("\n3 of 10 points\n")


def test_code_that_swallows_every_exception_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a shorter limit than the real one, which is half a minute."""
    monkeypatch.setattr(isolation, "SECONDS", 1.0)
    monkeypatch.setattr(isolation, "send_result", ignore_everything)
    result = isolation.run_apart(PREDICT, seed=0)
    assert result.points == 0
    assert result.message.endswith("It was still running after 3 seconds and was stopped.")


def ignore_everything(*_: object) -> None:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(1)


def test_an_unknown_name_gives_exit_code_2_and_the_closest_one(run: Run, mine: Path) -> None:
    process = run("check", "percepton", code=2)
    assert process.stdout == ""
    assert process.stderr.startswith("There is no module percepton. Did you mean perceptron? Known")
    process = run("hint", "adamv", code=2)
    assert re.match("There is no exercise adamv. Did you mean adamw?[?] Known: ", process.stderr)
    assert "Did you mean" not in run("reset", "zzz", code=2).stderr
    assert "usage:" in run("chekc", code=2).stderr


def test_the_overlay_decides_which_file_is_checked(run: Run, mine: Path, tmp_path: Path) -> None:
    mine.write_text(STUB)
    run("check", "perceptron", code=0, COURSE_LIB_OVERLAY=str(ROOT / "solutions"))
    other = tmp_path / "other"
    other.mkdir()
    folders = os.pathsep.join([str(other), "course_lib", str(ROOT / "solutions")])
    said = run("check", "perceptron", code=1, COURSE_LIB_OVERLAY=folders).stdout
    assert f"Not written yet: your turn: Perceptron.predict ({mine.relative_to(tmp_path)}" in said


# --- hint, progress -------------------------------------------------------------------------------


def test_hints_unlock_one_at_a_time_and_stay_unlocked(run: Run, tmp_path: Path) -> None:
    for shown in (1, 2, 3, 3):
        said = run("hint", "predict", code=0).stdout
        numbered = [f"{i}. {hint}" for i, hint in enumerate(PREDICT.hints[:shown], start=1)]
        assert said.splitlines() == [*numbered, "", f"Hints left for predict: {3 - shown}."]
    assert FIT.hints[1] not in run("hint", "fit", code=0).stdout


def test_damaged_notes_of_the_hints_do_not_stop_the_hints(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".hints.json").write_text("")
    assert PREDICT.hints[0] in run("hint", "predict", code=0).stdout


def test_progress_shows_every_exercise_with_its_points(run: Run, mine: Path) -> None:
    mine.write_text(REFERENCE.replace("if mistakes == 0", "if False"))
    said = run("progress", code=0).stdout
    for module in modules():
        for check in checks_of(module):
            assert re.search(
                rf"{module} +│ {check.exercise} +│ [\d.]+ of {check.max_points:g}", said
            )
    assert re.search(r"predict +│ 3 of 3 +│ done", said)
    assert re.search(r"fit +│ 5 of 7 +│ started", said)
    assert re.search(r"sgd +│ 0 of 5 +│ +│", said)


# --- reset ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "work", [b"# my work\n", b"# caf\xe9\n", b"def f(:\n"], ids=["text", "not utf-8", "broken"]
)
def test_reset_keeps_a_backup_and_restores_the_stub(run: Run, mine: Path, work: bytes) -> None:
    mine.write_bytes(work)
    said = run("reset", "perceptron", code=0).stdout
    assert mine.read_text() == STUB
    (backup,) = mine.parent.glob("perceptron.py.*.bak")
    assert backup.read_bytes() == work
    assert backup.name in said


def test_reset_leaves_a_stub_alone_and_never_overwrites_a_backup(run: Run, mine: Path) -> None:
    mine.write_text(STUB)
    assert "is the stub already" in run("reset", "perceptron", code=0).stdout
    assert list(mine.parent.glob("*.bak")) == []
    for work in ("first", "second"):
        mine.write_text(work)
        run("reset", "perceptron", code=0)
    assert sorted(path.read_text() for path in mine.parent.glob("*.bak")) == ["first", "second"]


@pytest.mark.parametrize("link", [False, True], ids=["by its own path", "through a link"])
def test_reset_refuses_to_touch_the_reference(run: Run, tmp_path: Path, link: bool) -> None:
    copy = tmp_path / "copy"
    for folder in ("course_lib", "solutions"):
        shutil.copytree(ROOT / folder, copy / folder)
    overlay = copy / "solutions"
    if link:
        overlay = tmp_path / "link"
        overlay.symlink_to(copy / "solutions")
    variables = {"PYTHONPATH": str(copy), "COURSE_LIB_OVERLAY": str(overlay)}
    said = run("reset", "perceptron", code=2, **variables).stderr
    assert "is the reference solution: unset COURSE_LIB_OVERLAY first" in said
    assert (copy / "solutions" / "perceptron.py").read_text() == REFERENCE
    assert list((copy / "solutions").glob("*.bak")) == []
