import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """One cell with nine megabytes of code, another with one line of text as long."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    code = "\n".join(f"x{number} = {number}" for number in range(200_000))
    notebook["cells"][1]["source"] = code
    text = {"cell_type": "markdown", "id": "long", "metadata": {}, "source": "*_" * 2_000_000}
    notebook["cells"].append(text)
    path.write_text(json.dumps(notebook))
