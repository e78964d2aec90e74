import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Identifiers that are equal, missing, too long, and no identifiers."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    bad = ["same", "same", "x" * 1000, "<script>pwned</script>", "", 7, None]
    for cell, name in zip(notebook["cells"], bad * 10, strict=False):
        cell["id"] = name
        if name is None:
            del cell["id"]
    path.write_text(json.dumps(notebook))
