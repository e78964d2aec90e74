"""How a check runs code that it cannot trust, judges what came, and says it."""

import contextlib
import json
import re
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from course_lib import checking
from course_lib.checking import Case, Check, Mistake, Outputs, Result, same


def inputs(rng: torch.Generator) -> list[Case]:
    def case(part: str, n: int) -> Case:
        x = torch.randn(n, generator=rng)
        return {"part": part, "title": f"{n} numbers", "x": x}

    return [case("small", 1), case("small", 2), case("large", 30)]


def probe(double: Callable, case: Case) -> Outputs:
    return {"double(x)": double(case["x"]), "x, which must not change": case["x"]}


DOUBLE = Check(
    module="doubling",
    exercise="double",
    target="double",
    parts={"small": 1, "large": 2},
    inputs=inputs,
    probe=probe,
    oracle=lambda x: 2 * x,
    mistakes=(
        Mistake("squares", "Double, do not square.", lambda x: x**2),
        Mistake("small_only", "Double all.", lambda x: x * (1 + (torch.arange(len(x)) < 2))),
    ),
    hints=("Two.", "Times two."),
)


@pytest.fixture(autouse=True)
def students_file(students_folder: Path) -> Path:
    file = students_folder / "doubling.py"
    file.write_text("def double(x):\n    return 2 * x\n")
    return file


def result_of(value: Any, expected: Any = None) -> Result:
    """Return the result of code that returns ``value`` where ``expected`` is right."""
    expected = torch.zeros(3) if expected is None else expected
    check = Check(
        module="doubling",
        exercise="constant",
        target="constant",
        parts={"all": 1},
        inputs=lambda rng: [{"part": "all", "title": "nothing"}],
        probe=lambda constant, case: {"constant()": constant()},
        oracle=lambda: expected,
    )
    return check(lambda: value)


# --- judging --------------------------------------------------------------------------------------


def test_right_code_gets_all_points() -> None:
    result = DOUBLE(lambda x: x + x)
    assert result.passed
    assert result.points == result.max_points == 3
    assert (
        repr(result)
        == result.message
        == ("double (double): 3 of 3 points\n  [ok] small (1)\n  [ok] large (2)")
    )


def test_a_part_is_lost_by_itself_and_its_mistake_is_named() -> None:
    result = DOUBLE(lambda x: x * (1 + (torch.arange(len(x)) < 2)))
    assert (result.points, result.passed, result.mistake) == (1, False, "small_only")
    assert "[ok] small (1)" in result.message
    assert "[wrong] large (2)\n    Double all.\n    input     30 numbers" in result.message


def test_the_smallest_wrong_input_is_shown(assert_tells_the_difference: Callable) -> None:
    result = DOUBLE(lambda x: 3 * x)
    assert result.mistake is None
    assert "input     1 numbers\n    compared  double(x)\n" in result.message
    assert_tells_the_difference(result)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(torch.zeros(3, dtype=torch.float64), None, id="another dtype"),
        pytest.param(torch.zeros(3, 1), None, id="another shape"),
        pytest.param(torch.zeros(4), None, id="another length"),
        pytest.param([0.0, 0.0, 0.0], None, id="a list for a tensor"),
        pytest.param(torch.zeros(2), [0.0, 0.0], id="a tensor for a list"),
        pytest.param(None, None, id="nothing"),
        pytest.param(torch.full((3,), torch.nan), None, id="not a number"),
        pytest.param(torch.eye(20)[19], torch.zeros(20), id="a late number"),
        pytest.param(torch.tensor([1.0 + 1e-3]), torch.ones(1), id="a small difference"),
        pytest.param(
            torch.tensor([1.0 + 1e-6], dtype=torch.float64),
            torch.ones(1, dtype=torch.float64),
            id="a very small difference",
        ),
        pytest.param(True, 1, id="a boolean for a number"),
        pytest.param("1", 1, id="a text for a number"),
        pytest.param([1, 2], [1, 3], id="another list"),
        pytest.param([1], [1, 1], id="a shorter list"),
        pytest.param({"a": 1}, {"a": 2}, id="another dictionary"),
        pytest.param({"b": 1}, {"a": 1}, id="another key"),
        pytest.param({"a": 1, "b": 2}, {"a": 1}, id="a key too many"),
        pytest.param({"a": [torch.ones(1)]}, {"a": [torch.zeros(1)]}, id="a nested tensor"),
        pytest.param(torch.zeros(3).to_sparse(), None, id="a sparse tensor"),
        pytest.param(torch.zeros(3, device="meta"), None, id="a tensor without numbers"),
    ],
)
def test_what_differs_is_rejected_and_the_difference_is_told(
    value: Any, expected: Any, assert_tells_the_difference: Callable
) -> None:
    result = result_of(value, expected)
    assert result.points == 0
    assert_tells_the_difference(result)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(torch.nn.Parameter(torch.zeros(3)), None, id="a parameter"),
        pytest.param(torch.zeros(3, requires_grad=True) * 1, None, id="a tensor with a graph"),
        pytest.param((1, 2), [1, 2], id="a tuple for a list"),
        pytest.param({"a": (torch.ones(1), 2)}, {"a": [torch.ones(1), 2]}, id="nested"),
        pytest.param(torch.tensor(torch.nan), torch.tensor(torch.nan), id="not a number"),
        pytest.param(torch.tensor([1.0 + 1e-6]), torch.ones(1), id="rounding"),
        pytest.param(torch.zeros(3).expand(2, 3), torch.zeros(2, 3), id="an expanded tensor"),
    ],
)
def test_what_is_as_good_is_accepted(value: Any, expected: Any) -> None:
    assert result_of(value, expected).passed


def test_a_dtype_and_a_shape_are_told_as_such() -> None:
    assert "expected  torch.float32\n    got       torch.float64" in (
        result_of(torch.zeros(3, dtype=torch.float64)).message
    )
    assert "expected  (3,)\n    got       (3, 1)" in result_of(torch.zeros(3, 1)).message


class EqualToAll:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class AgreeableTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return True


class AgreeableInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class AgreeableDict(dict):
    def __eq__(self, other: object) -> bool:
        return True

    def keys(self) -> Any:
        return EqualToAll()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (EqualToAll(), torch.zeros(3)),
        (EqualToAll(), 5),
        ([EqualToAll()], [5]),
        (AgreeableTensor(3), torch.zeros(3)),
        (torch.zeros(3).as_subclass(AgreeableTensor), torch.zeros(3)),
        (AgreeableInt(4), 5),
        (AgreeableDict(), {"a": 5}),
    ],
)
def test_an_object_that_equals_everything_is_rejected(value: Any, expected: Any) -> None:
    result = result_of(value, expected)
    assert result.points == 0
    assert "stopped " in result.message or "got " in result.message


def test_changing_the_input_does_not_change_what_is_expected() -> None:
    def in_place(x: Tensor) -> Tensor:
        return x.mul_(2)

    result = DOUBLE(in_place)
    assert result.points == 0
    assert "compared  x, which must not change" in result.message


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, 1.0), ({"a": [1, torch.ones(2)]}, {"a": [1, torch.ones(2)]}), ([], []), (None, None)],
)
def test_equal_outputs_are_the_same_both_ways(first: Any, second: Any) -> None:
    assert same(first, second)
    assert same(second, first)


# --- code that stops, hangs or misbehaves ---------------------------------------------------------


class WithoutWords(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def stopping(error: BaseException) -> Callable:
    def double(x: Tensor) -> Tensor:
        raise error

    return double


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a reason"),
        AssertionError(),
        RecursionError("too deep"),
        MemoryError(),
        StopIteration(),
        SystemExit(0),
        WithoutWords(),
        NotImplementedError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_is_told_and_never_leaves_the_check(error: BaseException) -> None:
    result = DOUBLE(stopping(error))
    assert result.points == 0
    assert "stopped   " in result.message


def test_an_exception_in_one_case_costs_only_its_part() -> None:
    assert DOUBLE(lambda x: 2 * x if len(x) < 30 else 1 / 0).points == 1


def test_an_exception_is_told_with_the_file_and_the_line(students_file: Path) -> None:
    source = (
        "def double(x):\n    return helper(x)\n\n\ndef helper(x):\n    return x.no_such_method()\n"
    )
    students_file.write_text(source)
    message = DOUBLE().message
    assert "AttributeError: 'Tensor' object has no attribute 'no_such_method'" in message
    assert "doubling.py, line 6: return x.no_such_method())" in message
    assert "Traceback" not in message


def test_code_that_is_not_written_yet_is_told_as_such(students_file: Path) -> None:
    source = 'def double(x):\n    raise NotImplementedError("your turn: double")\n'
    students_file.write_text(source)
    message = DOUBLE().message
    assert message.startswith("double (double): 0 of 3 points\nNot written yet: your turn: double")
    assert message.endswith("doubling.py, line 2).")


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "SECONDS", 0.5)


def endless(x: Tensor) -> Tensor:
    while True:
        time.sleep(0.001)


def swallowing(x: Tensor) -> Tensor:
    while True:
        with contextlib.suppress(Exception):
            endless(x)


def swallowing_everything_once(x: Tensor) -> Tensor:
    try:
        endless(x)
    except BaseException:
        endless(x)
    return x


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("hang", [endless, swallowing, swallowing_everything_once])
def test_an_endless_loop_is_stopped_and_told(hang: Callable) -> None:
    start = time.monotonic()
    result = DOUBLE(lambda x: 2 * x if len(x) < 30 else hang(x))
    assert time.monotonic() - start < 5
    assert result.points == 1
    assert re.search(r"stopped   it was still running after [\d.]+ seconds", result.message)


@pytest.mark.usefixtures("short_limit")
def test_an_endless_loop_in_one_case_leaves_the_other_parts_their_points(
    short_limit: float,
) -> None:
    result = DOUBLE(lambda x: endless(x) if len(x) == 1 else 2 * x)
    assert result.points == 2
    assert "[wrong] small (1)" in result.message


@pytest.mark.usefixtures("short_limit")
def test_the_time_limit_puts_the_alarm_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    DOUBLE(endless)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_check_leaves_the_random_numbers_and_the_warnings_alone() -> None:
    def warns(x: Tensor) -> Tensor:
        warnings.warn("look", stacklevel=1)
        return 2 * x

    state = torch.get_rng_state()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert DOUBLE(warns).passed
    assert not seen
    assert torch.equal(torch.get_rng_state(), state)


# --- the graded run -------------------------------------------------------------------------------

NOISY = """
import os, sys, warnings
print("printed at import")
warnings.warn("warned at import")

def double(x):
    print("printed")
    print("complained", file=sys.stderr)
    warnings.warn("warned")
    return 2 * x
"""


@pytest.mark.filterwarnings("ignore:warned")
def test_grading_prints_the_message_alone_and_returns_the_points(
    students_file: Path, capfd: pytest.CaptureFixture
) -> None:
    students_file.write_text(NOISY)
    points = DOUBLE.grade()
    assert (type(points), points) == (float, 3.0)
    captured = capfd.readouterr()
    assert captured.out == "double (double): 3 of 3 points\n  [ok] small (1)\n  [ok] large (2)\n"
    assert captured.err == ""


def test_grading_gives_partial_credit_and_none_for_a_broken_file(
    students_file: Path, capfd: pytest.CaptureFixture
) -> None:
    students_file.write_text("def double(x):\n    return 2 * x if len(x) < 30 else x\n")
    assert DOUBLE.grade() == 1.0
    students_file.write_text("def double(x:\n")
    assert DOUBLE.grade() == 0.0
    assert "doubling.py, line 1" in capfd.readouterr().out


def test_the_graded_seed_comes_from_the_environment_and_else_is_fresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[float]] = []

    def spy(rng: torch.Generator) -> list[Case]:
        cases = inputs(rng)
        seen.append([case["x"][0].item() for case in cases])
        return cases

    spied = Check(**{**vars(DOUBLE), "inputs": spy})

    def drawn_by(run: Callable) -> list[list[float]]:
        seen.clear()
        run()
        return list(seen)

    monkeypatch.setenv("COURSE_LIB_SEED", "11")
    with_seed = drawn_by(spied.grade)
    assert drawn_by(spied.grade) == with_seed
    assert len(with_seed) > 1
    assert with_seed[0] == drawn_by(lambda: spied(seed=11))[0]
    assert with_seed[0] != drawn_by(spied)[0]
    monkeypatch.delenv("COURSE_LIB_SEED")
    assert drawn_by(spied.grade) != drawn_by(spied.grade)


def test_a_report_prints_for_the_student_and_leaves_a_graded_run_to_grade(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("COURSE_LIB_SEED", raising=False)
    assert DOUBLE.report() == 3.0
    assert capfd.readouterr().out.startswith("double (double): 3 of 3 points")
    monkeypatch.setenv("COURSE_LIB_SEED", "11")
    assert DOUBLE.report() == 0.0
    assert capfd.readouterr().out == ""


def test_a_result_is_plain_data() -> None:
    result = DOUBLE(lambda x: x**2)
    assert Result(**json.loads(json.dumps(asdict(result)))) == result
