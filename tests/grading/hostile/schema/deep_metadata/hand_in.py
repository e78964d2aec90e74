import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """A notebook that can just be read, but perhaps not copied, compared or written."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    for depth in (900, 450, 300):
        inner: dict = {}
        for _ in range(depth):
            inner = {"a": inner}
        notebook["cells"].append(
            {
                "cell_type": "markdown",
                "id": f"deep-{depth}",
                "metadata": {"deep": inner},
                "source": "x",
            }
        )
    path.write_text(json.dumps(notebook))
