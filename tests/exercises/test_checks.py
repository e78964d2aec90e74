"""Every check that ``course_lib.checks`` finds, without knowing any exercise.

A new exercise is tested here without new code; its right solutions in other styles stand in
``alternatives/<module>_<style>.py``.
"""

import importlib.util
import re
import shutil
import time
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import course_lib
from course_lib import student
from course_lib.checking import Case, Check, Mistake, Outputs, same
from course_lib.checks import checks_of, modules

ROOT = Path(__file__).parents[2]
CHECKS = [check for module in modules() for check in checks_of(module)]
ALTERNATIVES = sorted((Path(__file__).parent / "alternatives").glob("*.py"))
SEEDS = range(20)
"""Right solutions are graded with 200 in tools/mutation.py, whenever something has changed."""
CORE = {
    *("fit", "neuron_gradients", "mlp_gradients", "backward_pass", "arithmetic", "gradcheck"),
    *("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "adamw"),
    *("batch_norm", "layer_norm", "rms_norm", "group_norm", "dropout", "clip_norm"),
    *("loss_scaler", "train_step", "training_loop"),
}
"""The exercises that everything else builds on; each must know eight mistakes or more."""


class Remembering(Check):
    """A check that draws its inputs once a seed, and runs an implementation on each once only."""

    def __init__(self, check: Check) -> None:
        draw = cache(lambda seed: check.inputs(torch.Generator().manual_seed(seed)))
        super().__init__(**{**vars(check), "inputs": lambda rng: draw(rng.initial_seed())})
        object.__setattr__(self, "remembered", {})

    def attempt(self, implementation: Any, case: Case, *limits: float) -> Outputs:
        key = implementation, id(case)
        if key not in self.remembered:
            self.remembered[key] = super().attempt(implementation, case, *limits)
        return self.remembered[key]


REMEMBERING = {check.exercise: Remembering(check) for check in CHECKS}

every_module = pytest.mark.parametrize("module", modules())
every_check = pytest.mark.parametrize(
    "check", [pytest.param(check, id=check.exercise) for check in CHECKS]
)
every_mistake = pytest.mark.parametrize(
    ("check", "mistake"),
    [
        pytest.param(check, mistake, id=f"{check.exercise}-{mistake.name}")
        for check in CHECKS
        for mistake in check.mistakes
    ],
)
every_alternative = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in ALTERNATIVES]
)


def module_of(path: Path) -> str:
    return next(module for module in modules() if path.stem.startswith(f"{module}_"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- right and wrong ------------------------------------------------------------------------------


@every_check
def test_the_reference_gets_full_points_for_every_seed(check: Check) -> None:
    reference = student.load(check.module, check.target)
    for seed in SEEDS:
        result = REMEMBERING[check.exercise](reference, seed=seed)
        assert result.passed, f"seed {seed}: {result.message}"


@every_check
def test_the_stub_gets_no_points_and_is_told_to_be_unwritten(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course_lib, "__path__", [str(ROOT / "course_lib")])
    result = check()
    assert result.points == 0
    assert "not written yet" in result.message.lower()
    assert re.search(rf"your turn: {check.target}\b", result.message)
    assert f"{check.module}.py, line " in result.message


@every_mistake
def test_a_mistake_loses_points_and_is_called_by_its_name(
    check: Check, mistake: Mistake, assert_tells_the_difference
) -> None:
    for seed in range(10):
        result = REMEMBERING[check.exercise](mistake.implementation, seed=seed)
        assert not result.passed
        assert result.mistake == mistake.name, f"seed {seed}: {result.message}"
        assert mistake.message in result.message
        assert_tells_the_difference(result)


@every_alternative
def test_a_right_solution_in_another_style_gets_full_points(
    path: Path, students_folder: Path
) -> None:
    module = module_of(path)
    shutil.copy(path, students_folder / f"{module}.py")
    alternative = load(path)
    for check in checks_of(module):
        assert check().passed, check().message
        for seed in SEEDS:
            implementation = getattr(alternative, check.target)
            result = REMEMBERING[check.exercise](implementation, seed=seed)
            assert result.passed, f"seed {seed}: {result.message}"
            assert result.mistake is None


# --- the catalogue --------------------------------------------------------------------------------


@every_check
def test_a_check_has_enough_hints_and_mistakes_and_every_part_is_tested(check: Check) -> None:
    assert len(check.hints) >= 2
    assert len(check.mistakes) >= (8 if check.exercise in CORE else 4)
    assert all(points > 0 for points in check.parts.values())
    assert {case["part"] for case in inputs_of(check, 0)} == set(check.parts)


@every_check
def test_a_sentence_belongs_to_one_mistake_and_a_name_to_one_sentence(check: Check) -> None:
    """Variants share a name, and their sentences differ in a number at most."""
    sentences = [mistake.message for mistake in check.mistakes]
    assert len(set(sentences)) == len(sentences)
    pattern = {mistake.name: re.sub(r"[\d.]+", "#", mistake.message) for mistake in check.mistakes}
    for mistake in check.mistakes:
        assert re.sub(r"[\d.]+", "#", mistake.message) == pattern[mistake.name]


@every_check
def test_every_sentence_ends_with_a_full_stop(check: Check) -> None:
    assert all(mistake.message.endswith(".") for mistake in check.mistakes)
    assert all(hint.endswith((".", "?")) for hint in check.hints)


def test_every_core_exercise_exists() -> None:
    assert {check.exercise for check in CHECKS} >= CORE


@every_module
def test_a_module_has_three_right_solutions_beside_the_reference(module: str) -> None:
    assert sum(module_of(path) == module for path in ALTERNATIVES) >= 3


def test_every_exercise_of_the_course_has_a_name_of_its_own() -> None:
    twice = [name for name, n in Counter(check.exercise for check in CHECKS).items() if n > 1]
    assert not twice


# --- the inputs -----------------------------------------------------------------------------------


def inputs_of(check: Check, seed: int) -> list[dict]:
    return check.inputs(torch.Generator().manual_seed(seed))


@every_check
def test_a_seed_gives_the_same_result_and_another_seed_other_inputs(check: Check) -> None:
    wrong = check.mistakes[0].implementation
    assert check(wrong, seed=7) == check(wrong, seed=7)
    assert all(map(same, inputs_of(check, 7), inputs_of(check, 7)))
    assert not all(map(same, inputs_of(check, 7), inputs_of(check, 8)))


@every_module
def test_the_checks_of_a_module_take_less_than_five_seconds(module: str) -> None:
    start = time.process_time()
    for check in checks_of(module):
        check()
    assert time.process_time() - start < 5
