"""Repair: a submitted notebook, with nbgrader's cells as the instructor wrote them."""

import nbformat
from nbformat import NotebookNode
from nbformat.validator import normalize


class NotANotebook(Exception):
    """The text is not a Jupyter notebook, or one that no repair makes usable."""


def repaired(text: str, released: str, source: str) -> NotebookNode:
    """Return a notebook in which only what students may change is theirs.

    Of a cell that is there twice the last one counts, as in nbgrader. Graded cells that are gone
    come back at the end.

    Args:
        text: the notebook as it was handed in.
        released: as students got it; it has nbgrader's metadata.
        source: as the instructor wrote it; it has the hidden tests.

    Raises:
        NotANotebook: nothing can be made of the text.
    """
    original = nbformat.reads(released, as_version=4)
    missing = _cells_of_nbgrader(original)
    sources = _cells_of_nbgrader(nbformat.reads(source, as_version=4))
    for name, cell in missing.items():
        if cell.metadata.nbgrader.get("locked") and name in sources:
            cell.source = sources[name].source
    try:
        notebook = nbformat.reads(text, as_version=4)
        cells = [_restored(cell, missing) for cell in reversed(notebook.cells)][::-1]
        graded = [cell for cell in missing.values() if _is_marked(cell)]
        notebook.cells = cells + graded
        notebook.metadata = original.metadata
        notebook.nbformat_minor = max(notebook.nbformat_minor, original.nbformat_minor)
        _, notebook = normalize(notebook)
        nbformat.validate(notebook)
        # A notebook that cannot be written would stop those who come after.
        nbformat.writes(notebook).encode()
    except Exception as error:
        raise NotANotebook from error
    return notebook


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
        if not original.metadata.nbgrader.get("locked"):
            original.source = cell.source
        return original
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    return cell


def _is_marked(cell: NotebookNode) -> bool:
    return bool(cell.metadata.nbgrader.get("grade") or cell.metadata.nbgrader.get("task"))
