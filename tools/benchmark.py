"""What the benchmarks share: fair timing, the machine, the results, and a bar that shows progress.

A benchmark is a script `bench_SUBJECT.py` and writes book/appendix/bench_SUBJECT.json. Everything
that it compares runs in one process, in turns: a machine that gets slower meanwhile does so for
all, and what is told of it are ratios from the same round.
"""

import argparse
import gc
import importlib.util
import json
import os
import platform
import random
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

HOME = Path(__file__).resolve().parents[1]
APPENDIX = HOME / "book" / "appendix"
LIBRARIES = HOME / "_build" / "bench_env"
"""The environment with the libraries that ours is compared with."""
QUIET = 1.0
"""The load average that a machine may have before a benchmark."""

# What is measured is this repository, installed or not, and its reference solutions.
sys.path.insert(0, str(HOME))
os.environ.setdefault("COURSE_LIB_OVERLAY", str(HOME / "solutions"))

Times = dict[str, list[float]]
"""For every candidate the seconds of a call, by round."""
Item = TypeVar("Item")


# --- timing ---------------------------------------------------------------------------------------


def no_wait() -> None:
    """Synchronise with a CPU, which is done when a call returns."""


def paired(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    seconds: float = 0.2,
    device: str | torch.device = "cpu",
    title: str = "rounds",
) -> Times:
    """Time candidates in turns.

    Each round times every candidate once, in an order of its own, so that none always follows the
    same other one.

    Args:
        candidates: what to call, by name.
        rounds: how often each is timed.
        seconds: about how long a timing lasts, by as many calls as that takes; 0 for one call.
            They are counted before the first round, which also warms up.
        device: where they compute; a timing lasts until it is done.
        title: what the bar says.

    Returns:
        The seconds of a call, for every candidate and round.
    """
    synchronize = torch.cuda.synchronize if torch.device(device).type == "cuda" else no_wait
    gc.freeze()  # garbage is looked for in what the candidates make, not in all that was imported
    calls = {
        name: calls_within(seconds, candidate, synchronize)
        for name, candidate in progress(candidates.items(), f"{title}: warming up")
    }
    orders = [random.Random(n).sample([*candidates], len(candidates)) for n in range(rounds)]
    times: Times = {name: [] for name in candidates}
    for name in progress([name for order in orders for name in order], title):
        times[name].append(seconds_of_a_call(candidates[name], calls[name], synchronize))
    gc.unfreeze()
    return times


def calls_within(
    seconds: float, call: Callable[[], object], synchronize: Callable[[], object]
) -> int:
    """Return how many calls last so long, at least one."""
    seconds_of_a_call(call, 1, synchronize)  # the first one may compile, or fill a cache
    if seconds == 0:
        return 1
    calls = 1
    while (each := seconds_of_a_call(call, calls, synchronize)) * calls < seconds / 2:
        calls *= 2
    return max(1, round(seconds / each))


def seconds_of_a_call(
    call: Callable[[], object], calls: int, synchronize: Callable[[], object]
) -> float:
    """Return the mean time of some calls.

    Garbage is collected meanwhile, other than in ``timeit``: who leaves cycles behind pays for
    them, as in a program. Only what the candidate before has left is gone first.
    """
    gc.collect()
    synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    synchronize()
    return (time.perf_counter() - start) / calls


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "lowest": min(values), "highest": max(values)}


def ratios(times: Mapping[str, Sequence[float]], to: str) -> dict[str, dict[str, float]]:
    """Return the spread of every candidate's time over that of the one named, round by round."""
    return {
        name: spread([each / base for each, base in zip(row, times[to])])
        for name, row in times.items()
    }


# --- where and how it was measured ----------------------------------------------------------------


def machine(device: str | torch.device = "cpu") -> dict[str, Any]:
    """Return what the figures depend on; to be asked before the work, because of the load."""
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        "system": platform.platform(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.device(device).type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        about |= {"gpu": gpu.name, "gpu_memory_gb": gpu.total_memory / 1e9, "driver": driver()}
    return about


def processor() -> str:
    info = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)", info.read_text() if info.exists() else "", re.M)
    return models[0] if models else platform.processor()


def driver() -> str:
    """Return the version of NVIDIA's driver."""
    ask = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError):  # a container may lack the program
        return "unknown"


def require_quiet() -> None:
    """Say so when this machine is busy. The results say it too, by ``machine()["load_before"]``."""
    if (load := os.getloadavg()[0]) > QUIET:
        tell(f"This machine is busy (its load is {load:.1f}): the figures will say so.")


def command() -> str:
    """Return what was typed, without the folders of this machine."""
    typed = [re.sub(r"(^|=)/.*/", r"\1", argument) for argument in sys.argv[1:]]
    return shlex.join(["python", f"tools/{Path(sys.argv[0]).name}", *typed])


def store(results: Mapping[str, Any], path: Path) -> None:
    """Write results with as many digits as they deserve."""
    short = json.loads(
        json.dumps(results), parse_float=lambda digits: float(f"{float(digits):.4g}")
    )
    text = json.dumps(short, indent=1)
    # Numbers side by side: a list of sixty is one line.
    text = re.sub(r'\[[^][{}"]*\]', lambda found: " ".join(found[0].split()), text)
    path.write_text(f"{text}\n")


# --- the command ----------------------------------------------------------------------------------


def command_line(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Return the options that all benchmarks have.

    ``--try`` is ``options.trial``: the smallest sizes, to see that everything works.
    ``--only ours`` is ``options.only == "ours"``: torch and the course, nothing is installed.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    results = APPENDIX / f"{Path(sys.argv[0]).stem}.json"
    parser.add_argument("--rounds", type=int, default=rounds, help=f"of timing ({rounds})")
    parser.add_argument(
        "--try", dest="trial", action="store_true", help="smallest sizes, to see that it works"
    )
    parser.add_argument("--only", choices=["ours"], help="leave out other libraries than torch")
    parser.add_argument("--to", type=Path, default=results, metavar="FILE", help="results as JSON")
    return parser


def progress(items: Iterable[Item], title: str) -> Iterator[Item]:
    """Yield the items; on a terminal show how far the loop has come, elsewhere what it does."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        tell(title)
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    # A bar that moves by itself would do so while something is timed.
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        yield from bar.track([*items], description=title)


def tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def in_short(error: Exception) -> str:
    """Return what went wrong in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


# --- other libraries ------------------------------------------------------------------------------


def go_on_with(*requirements: str) -> None:
    """Start this script again in an environment that has other libraries too, made if need be.

    It lies in ``_build/bench_env``, shares our torch and the repository's packages, and keeps the
    versions of requirements.txt. What cannot be installed is told, and is missing there: whoever
    imports it gets an ImportError.

    Args:
        requirements: with exact versions, so that a second call installs nothing.
    """
    if Path(sys.prefix).resolve() == LIBRARIES.resolve():
        return
    if (uv := shutil.which("uv", path=Path(sys.executable).parent)) is None:
        sys.exit("There is no uv to install other libraries: run `make environment` first.")
    make_environment(uv)
    install = (uv, "pip", "install", "--no-config", "--python", str(LIBRARIES), "--quiet")
    limits = ("--constraint", str(HOME / "requirements.txt"), "--override", str(NOT_THEIRS))
    for requirement in progress(requirements, "installing"):
        run = subprocess.run([*install, *limits, requirement], stderr=subprocess.PIPE, text=True)
        if run.returncode != 0:
            tell(f"{requirement} cannot be installed:\n{run.stderr.strip()}")
    python = str(LIBRARIES / "bin" / "python")
    os.execv(python, [python, *sys.argv])


NOT_THEIRS = LIBRARIES / "not_theirs.txt"
"""Tells uv what no library gets, though it asks for it."""


def make_environment(uv: str) -> None:
    requirements, made_for = HOME / "requirements.txt", LIBRARIES / "made_for.txt"
    wanted = f"Python {platform.python_version()}\n{requirements.read_text()}"
    if made_for.exists() and made_for.read_text() == wanted:
        return
    venv = (uv, "venv", "--quiet", "--no-config", "--clear", "--python", sys.executable)
    subprocess.run([*venv, str(LIBRARIES)], check=True)
    theirs = sysconfig.get_path("purelib", vars={"base": str(LIBRARIES)})
    ours = sysconfig.get_path("purelib")
    Path(theirs, "course.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    # Their torchvision would be one for a GPU, which does not fit every torch.
    NOT_THEIRS.write_text("torch; sys_platform == 'none'\ntorchvision; sys_platform == 'none'\n")
    made_for.write_text(wanted)
