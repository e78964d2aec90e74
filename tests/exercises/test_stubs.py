"""The stubs: made from the solutions, with all of the contract and none of the answer."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib import stubs
from course_lib.checks import modules
from course_lib.stubs import stub

ROOT = Path(__file__).parents[2]
REGION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)

every_module = pytest.mark.parametrize("module", modules())


def solution_of(module: str) -> str:
    return (ROOT / "solutions" / f"{module}.py").read_text()


def written_lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if len(line.strip()) > 12}


def contract(source: str) -> dict[str, tuple]:
    """Return every class and function with its docstring, arguments, decorators and bases."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            head = node.args if isinstance(node, ast.FunctionDef) else ast.Tuple(node.bases)
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            found[f"{node.name} {len(found)}"] = (
                ast.get_docstring(node),
                ast.unparse(head),
                decorators,
            )
    return found


@every_module
def test_the_committed_stub_is_the_generated_one(module: str) -> None:
    committed = (ROOT / "course_lib" / f"{module}.py").read_text()
    assert committed == stub(solution_of(module)), "run python -m course_lib.stubs"


@every_module
def test_a_module_has_a_solution_a_stub_and_checks(module: str) -> None:
    for folder in ("solutions", "course_lib", "course_lib/checks"):
        assert (ROOT / folder / f"{module}.py").is_file()


def test_every_solution_belongs_to_a_module() -> None:
    assert sorted(path.stem for path in (ROOT / "solutions").glob("*.py")) == modules()


@every_module
def test_no_line_of_a_solution_is_in_the_stub(module: str) -> None:
    source = solution_of(module)
    regions = "\n".join(REGION.findall(source))
    hidden = written_lines(regions) - written_lines(REGION.sub("", source))
    assert hidden
    committed = (ROOT / "course_lib" / f"{module}.py").read_text()
    assert not hidden & (written_lines(committed) | written_lines(stub(source)))
    assert "SOLUTION" not in stub(source)


@every_module
def test_docstrings_and_signatures_survive(module: str) -> None:
    source = solution_of(module)
    given = REGION.sub("pass", source)  # functions inside a solution are part of it
    assert contract(stub(source)) == contract(given)


@every_module
def test_every_region_becomes_a_sentence_with_the_name_of_its_function(module: str) -> None:
    source = solution_of(module)
    names = re.findall(r'raise NotImplementedError\("your turn: (.*)"\)', stub(source))
    assert len(names) == len(REGION.findall(source))
    namespace: dict = {}
    exec(source, namespace)
    for name in names:
        assert callable(eval(name, namespace))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def f():\n    ### BEGIN SOLUTION\n    return 1\n", id="no end"),
        pytest.param("def f():\n    return 1\n    ### END SOLUTION\n", id="no beginning"),
        pytest.param(
            "def f():\n    ### BEGIN SOLUTION\n    ### BEGIN SOLUTION\n    ### END SOLUTION\n",
            id="two beginnings",
        ),
        pytest.param("### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n", id="outside a function"),
    ],
)
def test_a_marker_that_stands_wrong_is_an_error(source: str) -> None:
    with pytest.raises(RuntimeError):
        stub(source)


def test_methods_and_inner_functions_are_named_with_their_classes() -> None:
    source = """\
class A:
    class B:
        def f(self):
            ### BEGIN SOLUTION
            return 1
            ### END SOLUTION

    def g(self):
        def inner():
            return 2

        ### BEGIN SOLUTION
        return inner()
        ### END SOLUTION
"""
    assert re.findall('your turn: (.*)"', stub(source)) == ["A.B.f", "A.g"]


@pytest.fixture
def scratch_copy(tmp_path: Path) -> Path:
    for folder in ("course_lib", "solutions"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_the_command_writes_the_stubs_and_tells_the_stale_ones(
    scratch_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(stubs, "PACKAGE", scratch_copy / "course_lib")
    monkeypatch.setattr(stubs, "SOLUTIONS", scratch_copy / "solutions")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stubs", *arguments])
        return stubs.main(), capsys.readouterr().out

    first, *others = [scratch_copy / "course_lib" / f"{module}.py" for module in modules()]
    assert run() == (0, "")
    before = first.read_text()
    assert before == stub(solution_of(modules()[0]))
    first.write_text(f"{before}# edited\n")
    assert run("--check") == (
        1,
        f"{first.name}: not the stub of its solution; run python -m course_lib.stubs\n",
    )
    assert first.read_text() == f"{before}# edited\n"
    others[0].unlink()
    assert run("--check")[0] == 1
    assert run() == (0, "")
    assert first.read_text() == before
    assert run("--check") == (0, "")


def test_a_stale_stub_gives_the_command_exit_code_1(scratch_copy: Path) -> None:
    (scratch_copy / "course_lib" / f"{modules()[0]}.py").write_text("# edited\n")
    process = subprocess.run(
        [sys.executable, "-m", "course_lib.stubs", "--check"],
        cwd=scratch_copy,
        env={**os.environ, "PYTHONPATH": str(scratch_copy)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert process.stdout.startswith(f"{modules()[0]}.py")
    assert process.stderr == ""
