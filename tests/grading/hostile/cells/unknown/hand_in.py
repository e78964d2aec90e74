import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Tests that nobody wrote, with metadata of every wrong type."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    marks = [{"grade_id": f"bonus_{n}", "grade": True, "points": 100} for n in range(50)]
    odd = [None, [], "grade", 7, {"grade_id": []}, {"grade_id": {"a": 1}}, {"grade_id": None}]
    for number, mark in enumerate([*marks, *odd]):
        notebook["cells"].append(
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"bonus-{number}",
                "metadata": {"nbgrader": mark, "tags": ["remove-cell"]},
                "outputs": [],
                "source": "100.0",
            }
        )
    path.write_text(json.dumps(notebook))
