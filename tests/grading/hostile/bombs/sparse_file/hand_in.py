import os
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Files of a terabyte that take no place on the disk."""
    for name in ("course_lib/losses.py", "timestamp.txt", "data.bin"):
        with open(folder / name, "ab") as file:
            os.truncate(file.fileno(), 1 << 40)
