from pathlib import Path


def hand_in(folder: Path) -> None:
    """Whoever reads this as a time, as a formula or as HTML, is to be sorry."""
    formula = '=HYPERLINK("http://pwned.example","grades")'
    text = f"{formula}\n<script>document.title='pwned'</script>\n" + "9" * 200_000
    (folder / "timestamp.txt").write_text(text)
