import os
import socket
import stat
from pathlib import Path


def hand_in(folder: Path) -> None:
    """A file without end, as a device where the system lets us, and a socket as the notebook."""
    module = folder / "course_lib" / "losses.py"
    module.unlink()
    try:
        os.mknod(module, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        module.symlink_to("/dev/zero")
    here = os.getcwd()
    os.chdir(folder)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as line:
        line.bind("notes.sock")
    os.chdir(here)
