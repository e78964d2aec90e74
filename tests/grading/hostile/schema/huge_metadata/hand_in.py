import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Nothing to see but nine megabytes of metadata, and numbers beyond all bounds."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    notebook["metadata"]["padding"] = {str(number): "x" * 40 for number in range(100_000)}
    notebook["cells"][0]["metadata"]["padding"] = "x" * 2_000_000
    text = json.dumps(notebook)
    path.write_text(text.replace('"metadata": {', '"metadata": {"n": 1e999, "m": -Infinity, ', 1))
