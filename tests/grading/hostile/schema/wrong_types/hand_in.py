import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Everything is there, and nothing is of the type that it should be."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    for cell, source in zip(notebook["cells"], [7, None, {"a": 1}, [1, 2], ["a", None], True] * 9):
        cell["source"] = source
    path.write_text(json.dumps(notebook))
