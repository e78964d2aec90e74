from pathlib import Path


def hand_in(folder: Path) -> None:
    """A list in a list in a list, a million times."""
    (folder / "losses.ipynb").write_text("[" * 1_000_000 + "]" * 1_000_000)
