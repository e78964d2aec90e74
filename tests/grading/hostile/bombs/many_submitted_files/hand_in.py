from pathlib import Path


def hand_in(folder: Path) -> None:
    """Thousands of files, in folders within folders."""
    inner = folder
    for depth in range(40):
        inner = inner / "pwned"
        inner.mkdir()
        for number in range(100):
            (inner / f"{depth}_{number}.ipynb").touch()
