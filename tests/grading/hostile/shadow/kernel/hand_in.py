import json
from pathlib import Path


def hand_in(folder: Path) -> None:
    """The notebook says which program runs it."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    notebook["metadata"] = {
        "kernelspec": {"name": "bash", "display_name": "Bash", "language": "bash"},
        "language_info": {"name": "bash", "file_extension": ".sh"},
        "jupytext": {"executable": "/bin/sh"},
    }
    path.write_text(json.dumps(notebook))
