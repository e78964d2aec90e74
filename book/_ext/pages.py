"""What every page has: how long its code ran, and lists that a screen reader understands."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


@cache
def processor() -> str:
    """The name of this machine's processor; Linux keeps it in a file, others tell Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()


def say_how_long_it_ran(app: Sphinx, doctree: nodes.document) -> None:
    data = NbMetadataCollector.get_exec_data(app.env, app.env.docname)
    title = next(iter(doctree.findall(nodes.title)), None)
    if not data or not data["runtime"] or title is None:
        return
    text = (
        f"This page ran in {data['runtime']:.0f} s on one CPU thread ({processor()}), "
        f"with torch {version('torch')}."
    )
    title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", text, classes=["ran"]))


def visit_citation(translator: HTML5Translator, node: nodes.citation) -> None:
    HTML5Translator.visit_citation(translator, node)
    # The role that docutils gives is deprecated, and a list must have list items.
    translator.body[-1] = translator.body[-1].replace("doc-biblioentry", "listitem")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(
        nodes.citation, override=True, html=(visit_citation, HTML5Translator.depart_citation)
    )
    app.connect("doctree-read", say_how_long_it_ran)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
