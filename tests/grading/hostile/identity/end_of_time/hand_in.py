from pathlib import Path


def hand_in(folder: Path) -> None:
    """The last moment that a calendar has, in a zone where it is even later."""
    (folder / "timestamp.txt").write_text("9999-12-31 23:59:59 -2359\n")
