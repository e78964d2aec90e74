from pathlib import Path


def hand_in(folder: Path) -> None:
    """Hand in a link to the instructor's notebook, and get it back as feedback."""
    (folder / "losses.ipynb").unlink()
    source = folder.parents[2] / "notebooks" / "losses" / "losses.ipynb"
    (folder / "losses.ipynb").symlink_to(source)
