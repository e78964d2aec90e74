from pathlib import Path

SHOUT = 'print("PWN" + "ED: started")\nimport sys; sys.pwned = True\n'
NAMES = (
    "sitecustomize.py",
    "usercustomize.py",
    "conftest.py",
    "__main__.py",
    "pwned.pth",
    ".pythonrc.py",
    ".env",
    "pytest.ini",
    "pyproject.toml",
    "course_lib/sitecustomize.py",
    "lib/python3.11/site-packages/pwned.pth",
)


def hand_in(folder: Path) -> None:
    """Files that Python and pytest read before anything else, if they find them."""
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"import sys; exec({SHOUT!r})" if ".pth" in name else SHOUT)
