"""Build the book: execute its notebooks in parallel, then let Jupyter Book write the pages.

Run as `python tools/book.py`. The pages are in _build/html, Sphinx's own output in _build/book.log.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sphinx_external_toc.parsing import parse_toc_yaml

from notebooks import ROOT, run

BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
DOCTREES = BUILD / ".doctrees"
HTML = BUILD / "html"
LOG = BUILD / "book.log"
# What the outputs of a page depend on besides its own code, and what its text does too: the cache
# and Sphinx look at the page alone.
OUTPUT_INPUTS = (
    "course_lib",
    "solutions",
    "requirements.txt",
    "book/appendix/bench_autograd.json",
    "book/appendix/bench_gpu.json",
    "book/appendix/bench_kernels.json",
    "book/appendix/bench_loop.json",
    "book/appendix/bench_optimizers.json",
    "book/appendix/graders.json",
    "book/appendix/grading_cluster.json",
    "book/appendix/grading_speed.json",
    "grading/engine.py",
    "nbgrader_config.py",
    "tools/bench_results.py",
    "tools/benchmark.py",
    "tools/grading_results.py",
)
PAGE_INPUTS = (
    *OUTPUT_INPUTS,
    "book/_ext",
    "book/_static",
    "book/_templates",
    "book/references.bib",
)
PROBLEMS_SHOWN = 10

console = Console(highlight=False, markup=False, soft_wrap=True)


def main() -> int:
    BUILD.mkdir(exist_ok=True)
    drop_stale()
    problems = execute(notebook_pages()) or build()
    if not problems:
        console.print("The book is in _build/html/index.html.")
        return 0
    for problem in problems[:PROBLEMS_SHOWN]:
        console.print(problem.replace(f"{ROOT}{os.sep}", ""))
    if len(problems) > PROBLEMS_SHOWN:
        console.print(f"... and {len(problems) - PROBLEMS_SHOWN} more in _build/book.log")
    console.print("The book was not built.", style="bold red")
    return 1


def drop_stale() -> None:
    """Forget the outputs, and the pages as Sphinx read them, when what made them has changed."""
    for made, inputs in ((CACHE, OUTPUT_INPUTS), (DOCTREES, PAGE_INPUTS)):
        record, digest = BUILD / f"{made.name.lstrip('.')}.digest", digest_of(inputs)
        if not record.exists() or record.read_text() != digest:
            shutil.rmtree(made, ignore_errors=True)
            record.write_text(digest)


def digest_of(inputs: Iterable[str]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(files_in(inputs)):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def files_in(inputs: Iterable[str]) -> Iterator[Path]:
    for name in inputs:
        path = ROOT / name
        if path.is_file():
            yield path
        yield from (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def notebook_pages() -> list[Path]:
    """The notebooks of the table of contents."""
    pages = (ROOT / f"{page}.ipynb" for page in parse_toc_yaml(ROOT / "_toc.yml"))
    return [page for page in pages if page.exists()]


def execute(paths: list[Path]) -> list[str]:
    """Fill the cache that the build reads from; return what went wrong."""
    cache = get_cache(CACHE)
    notebooks = {path: nbformat.read(path, as_version=4) for path in paths}
    pending = [path for path in paths if not is_cached(cache, notebooks[path])]
    if not pending:
        return []
    seconds: dict[Path, float] = {}
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        Progress(*columns, console=console) as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):

        def run_with_progress(path: Path) -> str | None:
            cells = sum(cell.cell_type == "code" for cell in notebooks[path].cells)
            task = progress.add_task(str(path.relative_to(ROOT)), total=cells)
            started = perf_counter()
            problem = run(path, notebooks[path], lambda **_: progress.advance(task))
            seconds[path] = perf_counter() - started
            return problem

        problems = dict(zip(pending, pool.map(run_with_progress, pending), strict=True))
    for path in pending:
        if problems[path] is None:
            ran = {"execution_seconds": seconds[path]}
            bundle = CacheBundleIn(notebooks[path], str(path), data=ran)
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return [problem for problem in problems.values() if problem]


def is_cached(cache: JupyterCacheAbstract, notebook: nbformat.NotebookNode) -> bool:
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        return False
    return True


def build() -> list[str]:
    """Run Jupyter Book; return its warnings and errors."""
    if not (HTML / "index.html").exists():
        # Half a site, left by a build that was killed: Sphinx stumbles over it.
        shutil.rmtree(HTML, ignore_errors=True)
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(ROOT), "-W", "-n", "--keep-going"]
    with LOG.open("w", encoding="utf-8") as log, console.status("jupyter-book build"):
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return []
    # Sphinx warns about a page only when it reads it: the next run has to read them all again.
    shutil.rmtree(DOCTREES, ignore_errors=True)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", LOG.read_text(encoding="utf-8")).splitlines()
    return [line for line in lines if re.search(r"\b(WARNING|ERROR|CRITICAL):", line)] or lines[-5:]


if __name__ == "__main__":
    sys.exit(main())
