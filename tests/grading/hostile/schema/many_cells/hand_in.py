import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Twenty thousand cells, every other one code."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    for number in range(10_000):
        common = {"metadata": {}, "source": f"{number}"}
        notebook["cells"] += [
            {"cell_type": "markdown", "id": f"text-{number}", **common},
            {
                "cell_type": "code",
                "id": f"code-{number}",
                "outputs": [],
                "execution_count": None,
                **common,
            },
        ]
    path.write_text(json.dumps(notebook))
