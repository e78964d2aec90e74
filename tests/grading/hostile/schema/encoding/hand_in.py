from pathlib import Path


def hand_in(folder: Path) -> None:
    """Neither file is a text in UTF-8."""
    notebook, module = folder / "losses.ipynb", folder / "course_lib" / "losses.py"
    notebook.write_text(notebook.read_text(), encoding="utf-16")
    module.write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9\xff'\n")
