"""One class, released and graded once for all tests that only look at what came."""

import shutil
from pathlib import Path

import pytest
from toy_course import (
    MODULES,
    Class,
    add_students,
    answer_double,
    corrupt_metadata,
    delete_released_cells,
    double_every_cell,
    edit,
    hand_in,
    run,
    skip_tests,
    write_course,
)

FAKE_TOY = """
class checks:
    class check_add: grade = staticmethod(lambda: 2.0)
    class check_subtract: grade = staticmethod(lambda: 3.0)
"""


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("released")
    write_course(root)
    result = run("release", "--root", root)
    assert result == (0, "adder: released\n", "")
    return root


@pytest.fixture
def course(released: Path, tmp_path: Path) -> Path:
    """A released course that a test may change."""
    shutil.copytree(released, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="session")
def graded(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Class:
    root = tmp_path_factory.mktemp("graded") / "course"
    shutil.copytree(released, root)
    add_students(root, *(MODULES.keys() - {"stranger"}))
    folders = {student: hand_in(root, student, text) for student, text in MODULES.items()}
    for student in ("reference", "noisy", "endless", "stubborn", "killed"):
        edit(folders[student], answer_double)
    edit(folders["deleted"], delete_released_cells)
    edit(folders["doubled"], double_every_cell)
    edit(folders["skipping"], skip_tests)
    edit(folders["corrupt"], corrupt_metadata)
    (folders["reference"] / "timestamp.txt").write_text("2026-01-01 12:00:00 UTC\n")
    (folders["noisy"] / "timestamp.txt").write_text("yesterday")
    (folders["no_notebook"] / "adder.ipynb").rename(folders["no_notebook"] / "Untitled.ipynb")
    (folders["no_module"] / "toy" / "adder.py").rename(folders["no_module"] / "adder.py")
    (folders["not_json"] / "adder.ipynb").write_text("{'cells': []}")
    (folders["linked"] / "toy" / "adder.py").unlink()
    (folders["linked"] / "toy" / "adder.py").symlink_to(root / "answers" / "adder.py")
    (folders["shadow"] / "toy.py").write_text(FAKE_TOY)
    return Class(root, run("autograde", "--root", root))


@pytest.fixture
def alone(graded: Class, tmp_path: Path) -> Path:
    """A copy of the graded class with only one student's work in it, the reference."""
    root = tmp_path / "course"
    steps = ("submitted", "autograded")
    shutil.copytree(graded.root, root, ignore=shutil.ignore_patterns(*steps))
    for step in steps:
        shutil.copytree(graded.root / step / "reference", root / step / "reference")
    return root
