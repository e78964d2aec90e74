import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Text of which a page is made slowly, in cells that are just short enough."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    for number in range(12):
        text = r"\begin{a}" * 1100 if number % 2 else "*[" * 4950
        cell = {"cell_type": "markdown", "id": f"slow-{number}", "metadata": {}, "source": text}
        notebook["cells"].append(cell)
    path.write_text(json.dumps(notebook))
