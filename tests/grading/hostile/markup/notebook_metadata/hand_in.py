import json
from pathlib import Path

SCRIPT = "</title><script>document.title='pwned'</script>"


def hand_in(folder: Path) -> None:
    """The title, the widgets, the identifiers and the classes of a page come from metadata."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    notebook["metadata"] |= {"title": SCRIPT, "authors": [{"name": SCRIPT}]}
    notebook["metadata"]["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {
            "state": {"</script><script>pwned()": {"model_name": SCRIPT}}
        }
    }
    notebook["metadata"]["language_info"] = {"name": SCRIPT, "pygments_lexer": SCRIPT}
    for cell in notebook["cells"]:
        cell["metadata"] |= {"tags": [f'x" onclick="pwned()" {SCRIPT}'], "slideshow": SCRIPT}
    path.write_text(json.dumps(notebook))
