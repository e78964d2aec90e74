# Files that somebody's next shell, notebook or grading would read.
import contextlib
import os
import pwd
from pathlib import Path

homes = {Path.home(), Path(pwd.getpwuid(0).pw_dir)}
with contextlib.suppress(KeyError):
    homes.add(Path(pwd.getpwuid(os.getuid()).pw_dir))
NAMES = (
    ".pwned",
    ".ipython/profile_default/startup/00-pwned.py",
    ".jupyter/custom/pwned.js",
    ".local/share/jupyter/kernels/pwned/kernel.json",
    ".local/lib/python3.11/site-packages/pwned.pth",
    ".config/matplotlib/pwned",
    ".config/systemd/user/pwned.service",
)
for home in homes:
    for name in NAMES:
        try:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text("# pwned\n")
            print("wrote", home / name)
        except OSError as error:
            print(error)
