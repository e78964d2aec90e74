import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Text that is short enough, and takes half a minute a cell to be made a page of."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    for number in range(60):
        text = (r"\begin{a}" if number % 2 else "*[") * 10_000
        cell = {"cell_type": "markdown", "id": f"slow-{number}", "metadata": {}, "source": text}
        notebook["cells"].append(cell)
    path.write_text(json.dumps(notebook))
