"""Keep stored notebooks small, stable and textual.

`execute PATHS...` runs notebooks in place and stores their text outputs; `check PATHS...` names
the notebooks that are not stored that way. Pictures are left out: the book draws them anew.
A page of the book begins with a hidden cell, written here, that makes it run wherever it is opened.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.reader import NotJSONError

ROOT = Path(__file__).resolve().parents[1]
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
# Written by editors and by execution, different every time.
TRANSIENT = {"collapsed", "ExecuteTime", "execution", "scrolled", "trusted"}
NOT_TEXT = re.compile(
    r"(application/papermill\.record/)?(image|audio|video)/|.*jupyter\.widget-view"
)
OUTPUT_LIMIT_KB = 50
SETUP_ID = "runs-anywhere"
SETUP = """\
# Makes this page run wherever it is opened. It uses the reference solutions; to run it on your own
# files, set COURSE_LIB_OVERLAY to the folder that has them.
import os
import sys
from pathlib import Path

if "google.colab" in sys.modules:
    !git clone -q --depth 1 {repository} /content/course
    %pip install -q --no-deps /content/course
    %pip install -q myst-nb
    os.environ["COURSE_LIB_OVERLAY"] = "/content/course/solutions"
_ = os.environ.setdefault("COURSE_LIB_OVERLAY", str(Path("../../solutions").resolve()))"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("execute", "check"))
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    arguments = parser.parse_args()
    action = execute if arguments.action == "execute" else check
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = pool.map(partial(attempt, action), arguments.paths)
    found = [problem for problem in problems if problem]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


def attempt(action: Callable[[Path], str | None], path: Path) -> str | None:
    try:
        return action(path)
    except NotJSONError:
        return f"{path}: not a notebook."
    except OSError as error:
        return f"{path}: {error.strerror}."


def execute(path: Path) -> str | None:
    """Run a notebook and store it; a notebook that fails stays as it is."""
    notebook = with_setup(path, nbformat.read(path, as_version=4))
    if problem := run(path, notebook):
        return problem
    path.write_text(serialise(normalise(notebook)), encoding="utf-8")
    return check(path)


def check(path: Path) -> str | None:
    """What is wrong with a stored notebook, in one sentence."""
    stored = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(stored, as_version=4)
    outputs = sum(len(str(cell.get("outputs", ""))) for cell in notebook.cells)
    if str(ROOT) in stored:
        return (
            f"{path}: names {ROOT}, a folder of this machine; print a path relative to the course."
        )
    if outputs > OUTPUT_LIMIT_KB * 1000:
        return f"{path}: stores {outputs // 1000} kB of output; print at most {OUTPUT_LIMIT_KB} kB."
    if stored != serialise(normalise(with_setup(path, notebook))):
        return f"{path}: not normalised; run `python tools/notebooks.py execute {path}`."
    return None


def with_setup(path: Path, notebook: NotebookNode) -> NotebookNode:
    """Put the setup cell, as it is today, behind the title of a page of the book."""
    if not path.resolve().is_relative_to(ROOT / "book"):
        return notebook
    repository = read_config()["sphinx"]["config"]["html_theme_options"]["repository_url"]
    setup = nbformat.v4.new_code_cell(
        SETUP.format(repository=repository), id=SETUP_ID, metadata={"tags": ["remove-cell"]}
    )
    others = [cell for cell in notebook.cells if cell.get("id") != SETUP_ID]
    notebook.cells = [*others[:1], setup, *others[1:]]
    return notebook


@cache
def read_config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def run(
    path: Path, notebook: NotebookNode, on_cell_executed: Callable[..., None] | None = None
) -> str | None:
    """Execute a notebook in its own folder with the reference solutions; say what failed."""
    os.environ |= {"COURSE_LIB_OVERLAY": str(ROOT / "solutions"), "OMP_NUM_THREADS": "1"}
    started: list[int] = []
    client = NotebookClient(
        notebook,
        resources={"metadata": {"path": str(path.parent)}},
        timeout=read_config()["execute"]["timeout"],
        # Recorded times would make a different notebook of every run.
        record_timing=False,
        coalesce_streams=True,
        # The kernel warns on the terminal that its socket on this machine is not encrypted.
        extra_arguments=["--log-level=ERROR"],
        on_cell_execute=lambda cell, cell_index: started.append(cell_index),
        on_cell_executed=on_cell_executed,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        reason = str(error).splitlines()[0]
    else:
        return None
    last_lines = notebook.cells[started[-1]].source.splitlines()[-5:]
    return "\n    ".join([f"{path}, cell {started[-1] + 1}: {reason}", *last_lines])


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The form in which a notebook is stored: a second execution gives the same bytes."""
    notebook = nbformat.v4.upgrade(notebook)
    notebook.metadata = {
        **{key: value for key, value in notebook.metadata.items() if key not in TRANSIENT},
        "kernelspec": KERNELSPEC,
    }
    notebook.metadata.pop("language_info", None)
    notebook.metadata.pop("widgets", None)
    count = 0
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in TRANSIENT}
        if cell.cell_type == "code":
            # nbval compares the outputs of numbered cells only.
            count += bool(cell.source.strip())
            cell.execution_count = count if cell.source.strip() else None
            cell.outputs = [kept for output in cell.outputs if (kept := text_only(output, count))]
    return notebook


def text_only(output: NotebookNode, count: int) -> NotebookNode | None:
    """An output without its pictures, and without what names this machine or this run."""
    if output.output_type == "error":
        output.traceback = []
    if output.output_type == "execute_result":
        output.execution_count = count
    if "data" in output:
        for mime in [mime for mime in output.data if NOT_TEXT.match(mime)]:
            del output.data[mime]
            output.metadata.pop(mime, None)
        if not output.data:
            return None
    return output


def serialise(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    sys.exit(main())
