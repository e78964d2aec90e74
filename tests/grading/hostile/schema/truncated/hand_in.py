from pathlib import Path


def hand_in(folder: Path) -> None:
    """The upload broke off."""
    path = folder / "losses.ipynb"
    path.write_bytes(path.read_bytes()[:5000])
