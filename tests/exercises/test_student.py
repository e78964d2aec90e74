"""The student's file: every way in which it can be unusable."""

import os
from pathlib import Path

import pytest

from course_lib import checking, student
from course_lib.checking import Check

RIGHT = "def double(x):\n    return 2 * x\n"
DOUBLE = Check(
    module="doubling",
    exercise="double",
    target="double",
    parts={"all": 1},
    inputs=lambda rng: [{"part": "all", "title": "21", "x": 21}],
    probe=lambda double, case: {"double(x)": double(case["x"])},
    oracle=lambda x: 2 * x,
)


@pytest.fixture
def file(students_folder: Path) -> Path:
    return students_folder / "doubling.py"


def refusal(file: Path, content: str | bytes) -> str:
    """Return what the check says to a file that it cannot use, and assert that it cannot."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    result = DOUBLE()
    assert (result.points, result.passed, result.mistake) == (0, False, None)
    headline, *lines = result.message.splitlines()
    assert headline == "double (double): 0 of 1 points"
    assert len(lines) == 1, "one sentence"
    assert lines[0].endswith(".")
    return lines[0]


# --- files that cannot be used --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(f"{RIGHT}def f(:\n", ["line 3", "def f(:"], id="syntax"),
        pytest.param(f"{RIGHT}   x = 1\n", ["line 3", "indent"], id="indentation"),
        pytest.param(f"{RIGHT}\x00", ["null bytes"], id="null byte"),
        pytest.param("", ["has no double"], id="empty"),
        pytest.param("def triple(x):\n    return 3 * x\n", ["has no double"], id="no target"),
        pytest.param(
            f"import no_such_module\n{RIGHT}", ["line 1", "'no_such_module'"], id="unknown module"
        ),
        pytest.param(
            f"from course_lib.doubling import double\n{RIGHT}",
            ["line 1", "circular import"],
            id="itself",
        ),
        pytest.param(f"{RIGHT}double(1 / 0)\n", ["line 3", "ZeroDivisionError"], id="exception"),
        pytest.param(
            f"import math\n{RIGHT}math.no_such_name\n",
            ["line 4", "no_such_name"],
            id="missing attribute",
        ),
        pytest.param(f"{RIGHT}raise SystemExit(1)\n", ["line 3", "SystemExit"], id="exit"),
        pytest.param(f"{RIGHT}# caf\xe9\n".encode("latin-1"), ["UTF-8"], id="not utf-8"),
        pytest.param(f"{RIGHT}x = 1 # 中\n".encode("utf-16"), ["UTF-8"], id="utf-16"),
    ],
)
def test_an_unusable_file_is_told_with_its_name_and_the_reason(
    file: Path, content: str | bytes, told: list[str]
) -> None:
    message = refusal(file, content)
    for words in ["doubling.py", *told]:
        assert words in message
    assert "None" not in message


def test_a_missing_file_is_told(file: Path) -> None:
    assert DOUBLE().message == (
        "double (double): 0 of 1 points\nthere is no course_lib/doubling.py to check."
    )


def test_an_endless_loop_at_import_is_stopped_and_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "IMPORT_SECONDS", 0.3)
    message = refusal(file, f"{RIGHT}while True:\n    pass\n")
    assert "import of course_lib/doubling.py" in message
    assert "still running after" in message


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(RIGHT.replace("\n", "\r\n").encode(), id="windows line ends"),
        pytest.param(b"\xef\xbb\xbf" + RIGHT.encode(), id="byte order mark"),
        pytest.param(f'"""Größe, 大小."""\n{RIGHT}'.encode(), id="other letters"),
        pytest.param(RIGHT.rstrip().encode(), id="no line end"),
    ],
)
def test_a_file_as_any_editor_saves_it_is_checked(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert DOUBLE().passed, DOUBLE().message


# --- the file as it is now ------------------------------------------------------------------------


def test_an_edited_file_is_picked_up_at_the_next_call(file: Path) -> None:
    for factor, points in [(3, 0), (2, 1), (4, 0)]:
        file.write_text(RIGHT.replace("2", str(factor)))
        assert DOUBLE().points == points


def test_an_edit_in_the_same_second_and_of_the_same_length_is_picked_up(file: Path) -> None:
    """Python's own bytecode files know the time only to the second."""
    for factor, points in [(3, 0), (2, 1)]:
        file.write_text(RIGHT.replace("2", str(factor)))
        os.utime(file, (1_800_000_000, 1_800_000_000))
        assert DOUBLE().points == points


def test_a_broken_file_does_not_hide_behind_its_last_good_version(file: Path) -> None:
    file.write_text(RIGHT)
    assert DOUBLE().passed
    refusal(file, "def double(x:\n")
    file.unlink()
    assert "there is no" in DOUBLE().message


def test_the_first_folder_of_the_path_wins(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(RIGHT)
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.setattr(student.course_lib, "__path__", [str(first), str(file.parent)])
    assert DOUBLE().passed
    (first / "doubling.py").write_text(RIGHT.replace("2", "3"))
    assert not DOUBLE().passed
