"""tools/notebooks.py, and nbval on notebooks that are stored the way it stores them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]

FIGURE = """\
import matplotlib.pyplot as plt
_ = plt.plot([1, 2])"""
GLUED_FIGURE = """\
from myst_nb import glue
glue("line", plt.gcf(), display=False)
glue("answer", 42, display=False)"""
STREAMS = """\
import sys, time
for part in ("one", "two", "three"):
    print(part, flush=True)
    time.sleep(0.05)"""
ENVIRONMENT = """\
import os
from pathlib import Path
print(Path.cwd().name, Path(os.environ["COURSE_LIB_OVERLAY"]).name)
print(os.environ["OMP_NUM_THREADS"])"""


def notebooks(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools/notebooks.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def write(path: Path, *sources: str) -> Path:
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
    return path


def outputs(path: Path) -> list[list[NotebookNode]]:
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook with a figure, a glued figure and text, stored by `execute`."""
    folder = tmp_path_factory.mktemp("chapter")
    sources = FIGURE, GLUED_FIGURE, STREAMS, ENVIRONMENT, "object()", "1 + 1", ""
    path = write(folder / "page.ipynb", *sources)
    done = notebooks("execute", path)
    assert (done.returncode, done.stderr) == (0, "")
    return path


def test_pictures_are_left_out_and_text_stays(executed: Path) -> None:
    stored = executed.read_text(encoding="utf-8")
    assert "image/" not in stored
    figure, glued, *_ = outputs(executed)
    assert figure[0].data["text/plain"].startswith("<Figure size")
    assert {"application/papermill.record/text/plain": "42"} in [out.data for out in glued]


def test_parts_of_a_stream_are_joined(executed: Path) -> None:
    assert outputs(executed)[2] == [new_output("stream", name="stdout", text="one\ntwo\nthree\n")]


def test_a_notebook_runs_in_its_folder_with_the_reference_solutions(executed: Path) -> None:
    assert outputs(executed)[3][0].text.split() == [executed.parent.name, "solutions", "1"]


def test_cells_are_numbered_because_nbval_compares_no_others(executed: Path) -> None:
    cells = nbformat.read(executed, as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, 5, 6, None]
    assert cells[5].outputs[0].execution_count == 6


def test_metadata_says_nothing_of_this_run(executed: Path) -> None:
    notebook = nbformat.read(executed, as_version=4)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    assert all(cell.metadata == {} for cell in notebook.cells)


def test_a_second_execution_leaves_no_difference(tmp_path: Path) -> None:
    path = write(tmp_path / "page.ipynb", FIGURE, STREAMS, "1 + 1")
    notebooks("execute", path)
    first = path.read_bytes()
    done = notebooks("execute", path)
    assert (done.returncode, path.read_bytes()) == (0, first)


def test_what_the_author_put_into_the_metadata_stays(tmp_path: Path) -> None:
    path = tmp_path / "page.ipynb"
    kept = {"tags": ["claim-one"], "mystnb": {"image": {"alt": "A line."}}}
    cell = new_code_cell("1 + 1", metadata={**kept, "collapsed": True, "scrolled": True})
    nbformat.write(new_notebook(cells=[cell], metadata={"title": "A page"}), path)
    notebooks("execute", path)
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[0].metadata == kept
    assert stored.cells[0].id == cell.id
    assert stored.metadata.title == "A page"


def test_an_expected_exception_is_stored_without_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "page.ipynb"
    cell = new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
    nbformat.write(new_notebook(cells=[cell]), path)
    done = notebooks("execute", path)
    (error,) = outputs(path)[0]
    assert (done.returncode, error.ename, error.traceback) == (0, "ZeroDivisionError", [])


def test_a_notebook_that_fails_is_named_and_stays_as_it_was(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.ipynb", tmp_path / "bad.ipynb"
    write(good, "1 + 1")
    write(bad, "x = 1", "x += y")
    before = bad.read_bytes()
    done = notebooks("execute", bad, good)
    assert done.returncode == 1
    assert done.stderr == f"{bad}, cell 2: NameError: name 'y' is not defined\n    x += y\n"
    assert bad.read_bytes() == before
    assert notebooks("check", good).returncode == 0


def test_check_accepts_what_execute_stored(executed: Path) -> None:
    done = notebooks("check", executed)
    assert (done.returncode, done.stderr) == (0, "")


def test_check_names_each_notebook_that_is_not_normalised(executed: Path, tmp_path: Path) -> None:
    never_run = write(tmp_path / "never_run.ipynb", "1 + 1")
    with_picture = tmp_path / "with_picture.ipynb"
    notebook = nbformat.read(executed, as_version=4)
    notebook.cells[0].outputs[0].data["image/png"] = "iVBORw0KGgo="
    nbformat.write(notebook, with_picture)
    done = notebooks("check", executed, never_run, with_picture)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{path}: not normalised; run `python tools/notebooks.py execute {path}`."
        for path in (never_run, with_picture)
    ]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("print('x' * 60_000)", "stores 60 kB of output; print at most 50 kB."),
        (f"print({str(ROOT)!r})", "print a path relative to the course."),
    ],
)
def test_output_that_does_not_belong_in_a_repository(
    tmp_path: Path, source: str, sentence: str
) -> None:
    done = notebooks("execute", write(tmp_path / "page.ipynb", source))
    assert done.returncode == 1
    assert sentence in done.stderr


def test_a_notebook_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "page.ipynb"
    path.write_text("not JSON", encoding="utf-8")
    missing = tmp_path / "missing.ipynb"
    for action in ("check", "execute"):
        done = notebooks(action, path, missing)
        assert done.returncode == 1
        assert done.stderr == f"{path}: not a notebook.\n{missing}: No such file or directory.\n"


def nbval(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run nbval as CI does, with the course's own conftest.py and list of what may differ."""
    for name in ("conftest.py", "nbval_sanitize.cfg"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pytest", "--nbval", ".", "-n", "2", "--dist", "loadscope"]
    # Whatever backend the shell prefers, figures are drawn into the notebook.
    environment = os.environ | {"MPLBACKEND": "agg"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_nbval_accepts_a_stored_notebook(executed: Path) -> None:
    done = nbval(executed.parent)
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


@pytest.mark.parametrize(
    ("old", "new"), [('"three\\n"', '"four\\n"'), ('"42"', '"43"'), ("<Figure size", "<Table size")]
)
def test_nbval_rejects_a_stored_text_that_is_not_what_comes(
    executed: Path, tmp_path: Path, old: str, new: str
) -> None:
    stored = executed.read_text(encoding="utf-8")
    assert old in stored
    (tmp_path / "page.ipynb").write_text(stored.replace(old, new, 1), encoding="utf-8")
    done = nbval(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "Cell outputs differ" in done.stdout
