"""Repair: a submitted notebook, with nbgrader's cells as the instructor wrote them."""

import warnings
from copy import deepcopy

import nbformat
from nbformat import NotebookNode
from nbformat.validator import normalize

MOST_BRACKETS = 100_000
"""Every list and dictionary of a notebook takes thousands of bytes before it is written again."""
MOST_CELLS = 1000
LONGEST_NOTEBOOK = 1_000_000
LONGEST_CELL = {"code": 100_000, "markdown": 10_000, "raw": 10_000}
"""Characters. Students stay far below; far above, what makes pages of notebooks gets stuck."""


class Unrepairable(Exception):
    """Nothing can be made of a text; the message goes on after the notebook's name."""


def repaired(text: str, original: str) -> NotebookNode:
    """Return a notebook in which only what students may change is theirs.

    Of a cell that is there twice the last one counts, as in nbgrader. Graded cells that are gone
    come back at the end.

    Args:
        text: the notebook as it was handed in.
        original: as students got it, but with the hidden tests in the cells that are locked.
    """
    ours = nbformat.reads(original, as_version=4)
    missing = _cells_of_nbgrader(ours)
    try:
        with warnings.catch_warnings(action="ignore"):  # whatever is wrong with it is repaired
            if text.count("{") + text.count("[") > MOST_BRACKETS:
                raise Unrepairable("has too many parts")
            notebook = nbformat.reads(text, as_version=4)
            _check_size(notebook)
            cells = [_restored(cell, missing) for cell in reversed(notebook.cells)][::-1]
            graded = [cell for cell in missing.values() if _is_marked(cell)]
            notebook.cells = cells + graded
            notebook.metadata = ours.metadata
            _identify(notebook)
            _, notebook = normalize(notebook)
            nbformat.validate(notebook)
            # A notebook that cannot be written would stop those who come after.
            nbformat.writes(notebook).encode()
    except Unrepairable:
        raise
    except Exception as error:
        raise Unrepairable("is not a Jupyter notebook") from error
    return notebook


def _identify(notebook: NotebookNode) -> None:
    """Give every cell an identifier, always the same: nbformat draws random ones."""
    notebook.nbformat_minor = max(notebook.nbformat_minor, nbformat.current_nbformat_minor)
    # nbformat makes one cell of two when it reads the oldest notebooks.
    notebook.cells = [deepcopy(cell) for cell in notebook.cells]
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"


def _check_size(notebook: NotebookNode) -> None:
    if len(notebook.cells) > MOST_CELLS:
        raise Unrepairable(f"has more than {MOST_CELLS} cells")
    if sum(len(cell.source) for cell in notebook.cells) > LONGEST_NOTEBOOK:
        raise Unrepairable(f"has more than {LONGEST_NOTEBOOK} characters")


def _cells_of_nbgrader(notebook: NotebookNode) -> dict[str, NotebookNode]:
    return {
        cell.metadata.nbgrader.grade_id: cell
        for cell in notebook.cells
        if "nbgrader" in cell.metadata
    }


def _restored(cell: NotebookNode, missing: dict[str, NotebookNode]) -> NotebookNode:
    """Return a student's cell, or the released one with the student's text where it may differ."""
    claim = cell.metadata.pop("nbgrader", None)
    name = claim.get("grade_id") if isinstance(claim, dict) else None
    if isinstance(name, str) and name in missing:
        # All of it: a tag can make Jupyter skip a test, and a test that is text always passes.
        original = missing.pop(name)
        if original.metadata.nbgrader.get("locked"):
            return original
        original.source = cell.source
        cell = original
    else:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    _limit_length(cell)  # now, because the cell may have come as one of another kind
    return cell


def _limit_length(cell: NotebookNode) -> None:
    limit = LONGEST_CELL[cell.cell_type]
    if len(cell.source) <= limit:
        return
    if cell.cell_type == "code":
        raise Unrepairable(f"has a code cell of more than {limit} characters")
    cell.source = f"{cell.source[:limit]}\n\n(What comes after {limit} characters is left out.)"


def _is_marked(cell: NotebookNode) -> bool:
    return bool(cell.metadata.nbgrader.get("grade") or cell.metadata.nbgrader.get("task"))
