"""What the tests of the exercises share."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

import course_lib
from course_lib.checking import Check, Result

settings.register_profile(
    "exercises",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("exercises")


@pytest.fixture(autouse=True)
def same_random_numbers_in_whatever_order() -> None:
    torch.manual_seed(0)


@pytest.fixture
def students_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in front of the package: what a test writes there is the student's file."""
    folder = tmp_path / "course_lib"
    folder.mkdir()
    monkeypatch.setattr(course_lib, "__path__", [str(folder), *course_lib.__path__])
    yield folder
    for file in folder.glob("*.py"):
        sys.modules.pop(f"course_lib.{file.stem}", None)


@pytest.fixture
def assert_tells_the_difference() -> Callable[[Result], None]:
    """Assert that a message shows two different values, or how the code stopped."""

    def assert_tells(result: Result) -> None:
        differences = re.findall(r"expected  (.*)\n    got       (.*)", result.message)
        stops = re.findall(r"stopped   (.*)", result.message)
        assert differences or stops, result.message
        assert all(expected != got for expected, got in differences), result.message
        assert not any(stop.startswith("AssertionError") for stop in stops), result.message

    return assert_tells


@pytest.fixture
def assert_rejected(assert_tells_the_difference: Callable) -> Callable[[Check, Any], None]:
    """Assert that an implementation loses points with every seed, and that the reason is told."""

    def assert_all_rejected(check: Check, implementation: Any) -> None:
        for seed in range(10):
            result = check(implementation, seed=seed)
            assert result.points < result.max_points, f"full points with seed {seed}"
            assert_tells_the_difference(result)

    return assert_all_rejected
