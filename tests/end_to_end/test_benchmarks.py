"""The benchmarks run and say where, when and how; their timing tells what it should."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import bench_loop
import benchmark
from benchmark import HOME

SUBJECTS = ("loop", "optimizers", "autograd", "kernels", "gpu")
SCRIPTS = [
    script for name in SUBJECTS if (HOME / "tools" / (script := f"bench_{name}.py")).exists()
]
"""Those that measure the course's code."""


def numbers_in(results: Any) -> Iterator[float]:
    if isinstance(results, dict):
        results = list(results.values())
    if isinstance(results, list):
        for item in results:
            yield from numbers_in(item)
    elif isinstance(results, int | float) and not isinstance(results, bool):
        yield results


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs_and_says_where_when_and_how(script, tmp_path):
    to = tmp_path / "results.json"
    alone = ["--device", "cpu"] if script == "bench_gpu.py" else ["--only", "ours"]
    typed = [f"tools/{script}", "--try", *alone, "--to", str(to)]
    run = subprocess.run([sys.executable, *typed], cwd=HOME, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    text = to.read_text()
    assert str(tmp_path) not in text
    assert str(HOME) not in text
    results = json.loads(text)
    assert results["command"] == f"python {' '.join(typed[:-1])} results.json"
    machine = results.pop("machine")
    assert machine["torch"] == torch.__version__
    assert machine["cores"] >= machine["threads"] >= 1
    age = datetime.now(UTC) - datetime.fromisoformat(machine["date"])
    assert timedelta(0) <= age < timedelta(minutes=10)
    figures = [*numbers_in(results)]
    assert len(figures) > 10
    assert all(math.isfinite(figure) for figure in figures)


def test_the_loop_with_every_safety_feature_has_the_losses_of_the_loop_by_hand():
    for comparison in bench_loop.COMPARISONS.values():
        if comparison.candidates is bench_loop.SAFE:
            task = bench_loop.smallest(comparison).task
            found = bench_loop.difference(replace(task, steps=12))
            assert found == {"steps": 12, "bit_for_bit": True, "largest_difference": 0.0}


def test_candidates_are_timed_in_turns_and_their_ratio_is_found():
    order = []

    def wait(seconds):
        order.append(seconds)
        time.sleep(seconds)

    candidates = {"one": lambda: wait(0.01), "two": lambda: wait(0.02)}
    times = benchmark.paired(candidates, rounds=5, seconds=0)
    assert [len(row) for row in times.values()] == [5, 5]
    rounds = [tuple(order[-10:][start : start + 2]) for start in range(0, 10, 2)]
    assert set(rounds) == {(0.01, 0.02), (0.02, 0.01)}
    assert 1.5 < benchmark.ratios(times, "one")["two"]["median"] < 2.5


def test_a_timing_has_as_many_calls_as_fill_its_time():
    calls = benchmark.calls_within(0.05, lambda: time.sleep(0.001), benchmark.no_wait)
    assert 10 < calls <= 50


def test_ratios_are_taken_round_by_round():
    times = {"slow": [2.0, 9.0, 4.0], "base": [1.0, 3.0, 4.0]}
    found = benchmark.ratios(times, "base")
    assert found["slow"] == {"median": 2.0, "lowest": 1.0, "highest": 3.0}
    assert found["base"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}


def test_the_command_has_no_folder_of_this_machine(monkeypatch):
    typed = ["/home/me/course/tools/bench_loop.py", "--to", "/home/me/a b.json", "--to=/x/y.json"]
    monkeypatch.setattr(sys, "argv", typed)
    assert benchmark.command() == "python tools/bench_loop.py --to 'a b.json' --to=y.json"


def test_a_busy_machine_is_told_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("os.getloadavg", lambda: (7.25, 0.0, 0.0))
    benchmark.require_quiet()
    told = capsys.readouterr().err
    assert "7.2" in told
    assert told.count("\n") == 1
    assert benchmark.machine()["load_before"] == 7.25
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 0.0, 0.0))
    benchmark.require_quiet()
    assert capsys.readouterr().err == ""
