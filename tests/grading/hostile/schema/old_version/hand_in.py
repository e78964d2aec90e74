import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """A notebook of the year 2013, and marks of nbgrader's first days."""
    notebook = json.loads((folder / "losses.ipynb").read_text())
    cells = []
    for cell in notebook["cells"]:
        marks = cell["metadata"].get("nbgrader")
        if marks:
            marks |= {"schema_version": 1}
        kept = {"cell_type": cell["cell_type"], "metadata": cell["metadata"]}
        if cell["cell_type"] == "code":
            kept |= {
                "input": cell["source"],
                "language": "python",
                "outputs": [],
                "collapsed": False,
            }
        else:
            kept |= {"source": cell["source"]}
        cells.append(kept)
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "losses"}}
    (folder / "losses.ipynb").write_text(json.dumps(old | {"worksheets": [{"cells": cells}]}))
