import json
import os
import shutil
from contextlib import suppress
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Claim to be somebody else: in the metadata, in the files' owner, in nested folders."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    notebook["metadata"] |= {
        "authors": [{"name": "a-reference"}],
        "nbgrader": {"student": "a-reference", "student_id": "a-reference"},
    }
    path.write_text(json.dumps(notebook))
    for name in ("student_id", "owner.txt", ".nbgrader_student"):
        (folder / name).write_text("a-reference\n")
    nested = folder / "submitted" / "a-reference" / "losses"
    nested.mkdir(parents=True)
    shutil.copy(path, nested)
    with suppress(PermissionError):
        os.chown(path, 54321, 54321)
