"""Make the students' stubs from the reference solutions: ``python -m course_lib.stubs``.

A region between nbgrader's solution markers becomes ``raise NotImplementedError("your turn:
AdamW.step")``; everything around it, docstrings above all, is what the student starts from.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from nbformat.v4 import new_code_cell
from nbgrader.preprocessors import ClearSolutions

PACKAGE = Path(__file__).parent
SOLUTIONS = PACKAGE.parent / "solutions"
NAME = "NAME-OF-THE-FUNCTION"


def stub(solution: str) -> str:
    """Return the stub of a module, given the source of its reference solution.

    Raises:
        RuntimeError: a solution marker without its partner, or outside a function.
    """
    clear = ClearSolutions(
        code_stub={"python": f'raise NotImplementedError("your turn: {NAME}")'},
        enforce_metadata=False,
    )
    begin, end = clear.begin_solution_delimeter, clear.end_solution_delimeter
    if solution.count(begin) != solution.count(end):
        raise RuntimeError("every solution needs a beginning and an end")
    names = _functions_to_write(solution, begin)
    cell = new_code_cell(solution)
    clear.preprocess_cell(cell, {"language": "python"}, 0)
    return re.sub(NAME, lambda _: next(names), cell.source)


def _functions_to_write(source: str, marker: str) -> Iterator[str]:
    """Yield the qualified name of the function around each marker."""
    functions = list(_functions(ast.parse(source)))
    for number, line in enumerate(source.splitlines(), start=1):
        if marker in line:
            around = [name for name, first, last in functions if first <= number <= last]
            if not around:
                raise RuntimeError(f"line {number}: a solution must stand inside a function")
            yield around[-1]


def _functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Yield the qualified name, first and last line of every function, outer ones first."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = prefix + child.name
            if isinstance(child, ast.FunctionDef):
                yield name, child.lineno, child.end_lineno or child.lineno
            yield from _functions(child, f"{name}.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m course_lib.stubs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell which stubs differ")
    check = parser.parse_args().check
    stale = []
    for solution in sorted(SOLUTIONS.glob("*.py")):
        path = PACKAGE / solution.name
        text = stub(solution.read_text())
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(text)
    if check and stale:
        print(f"{', '.join(stale)}: not the stub of its solution; run python -m course_lib.stubs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
