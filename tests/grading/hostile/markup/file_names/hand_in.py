from pathlib import Path

NAMES = (
    "=cmd|' calc'!A0",
    "+1+1.csv",
    "@SUM(1+1).txt",
    "-2+3.py",
    "<script>document.title='pwned'<",
    '"><img src=x onerror=pwned()>.ipynb',
    "[link](javascript:pwned()).md",
    "`code` **bold**.md",
    "[bold red]rich[",
    "\x1b]0;pwned\x07\x1b[2J.txt",
    "new\nline, losses: 17 ",
    "right\u202egpj.exe",
)


def hand_in(folder: Path) -> None:
    """Names of files go into reports, too."""
    for name in NAMES:
        (folder / name).write_text("")
    with open(bytes(folder) + b"/\xff\xfe.txt", "w") as file:
        file.write("")
