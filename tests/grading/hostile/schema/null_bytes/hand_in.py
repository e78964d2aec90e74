from pathlib import Path


def hand_in(folder: Path) -> None:
    """Zeros in a text end it for some, and are an error for others."""
    module = folder / "course_lib" / "losses.py"
    text = b"\xef\xbb\xbf" + module.read_bytes()[:500]
    module.write_bytes(text + b"\0\0\x1a\x0c\r\xe2\x80\xae")
