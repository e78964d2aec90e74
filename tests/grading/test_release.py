from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from toy_course import STUB, cell, edit, run

Change = Callable[[Path], object]


def change_source(course: Path, change: Callable[[nbformat.NotebookNode], object]) -> None:
    edit(course / "assignments" / "adder", change)


def test_a_release_holds_the_notebook_and_the_stub(released: Path) -> None:
    release = released / "release" / "adder"
    files = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert files == {"adder.ipynb", "toy/adder.py"}
    assert (release / "toy/adder.py").read_text() == STUB


def test_a_release_leaks_nothing(released: Path) -> None:
    source = (released / "assignments" / "adder" / "adder.ipynb").read_text()
    notebook = (released / "release" / "adder" / "adder.ipynb").read_text()
    for secret in ("BEGIN", "grade()", "double(21)", "2 * a"):
        assert secret in source
        assert secret not in notebook


def leave_solution_in_stub(course: Path) -> None:
    (course / "toy" / "adder.py").write_text("def add(a, b):\n    total = a + b\n")


def leave_marker_in_stub(course: Path) -> None:
    (course / "toy" / "adder.py").write_text("### END SOLUTION")


def mistype_a_marker(course: Path) -> None:
    def mistype(notebook: nbformat.NotebookNode) -> None:
        cell(notebook, "check_add").source = "### Begin hidden test\ncheck_add.grade()"

    change_source(course, mistype)


def keep_outputs(course: Path) -> None:
    config = course / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.ClearOutput.enabled = False\n")
    change_source(course, lambda notebook: notebook.cells[0].update(execution_count=1))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (leave_solution_in_stub, 'the line "total = a + b" of a solution'),
        (leave_marker_in_stub, 'a marker like "END SOLUTION" remains in adder.py'),
        (mistype_a_marker, 'a marker like "BEGIN HIDDEN TESTS" remains in adder.ipynb'),
        (keep_outputs, "a stored output remains in adder.ipynb"),
    ],
)
def test_a_release_that_leaks_is_refused_and_removed(
    course: Path, change: Change, reason: str
) -> None:
    assert (course / "release" / "adder").exists()
    change(course)
    result = run("release", "--root", course)
    assert result.code == 1
    assert reason in result.err
    assert not (course / "release" / "adder").exists()


def test_a_notebook_that_nbgrader_refuses_leaves_the_earlier_release(course: Path) -> None:
    released = (course / "release" / "adder" / "adder.ipynb").read_text()
    change_source(course, lambda notebook: notebook.cells.append(cell(notebook, "double")))
    result = run("release", "adder", "--root", course)
    assert result.code == 1
    assert "adder is not released. " in result.err
    assert (course / "release" / "adder" / "adder.ipynb").read_text() == released


def test_a_stub_must_be_there(course: Path) -> None:
    (course / "toy" / "adder.py").unlink()
    result = run("release", "--root", course)
    assert result.code == 1
    assert result.err == (
        f"adder is not released. The stub of {course}/answers/adder.py is missing in toy/.\n"
    )


def test_only_what_changed_is_released_again(course: Path) -> None:
    assert run("release", "--root", course).out == "adder: unchanged\n"
    (course / "toy" / "adder.py").write_text(STUB + "\n\nSIZE = 1\n")
    assert run("release", "--root", course).out == "adder: released\n"
    (course / "release" / "adder" / "adder.ipynb").unlink()
    assert run("release", "--root", course).out == "adder: released\n"


def test_a_class_may_have_a_folder_of_its_own(course: Path) -> None:
    (course / "gradebook.db").unlink()
    root = course / "classes" / "2026"
    root.mkdir(parents=True)
    assert run("release", "--root", root).code == 0
    assert (root / "release" / "adder" / "toy" / "adder.py").is_file()
    assert (root / "gradebook.db").is_file()
    assert not (course / "gradebook.db").exists()
