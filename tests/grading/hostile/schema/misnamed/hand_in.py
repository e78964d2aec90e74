from pathlib import Path


def hand_in(folder: Path) -> None:
    """Right work under wrong names is not found."""
    (folder / "losses.ipynb").rename(folder / "Losses (1).ipynb")
    (folder / "course_lib" / "losses.py").rename(folder / "losses.py")
