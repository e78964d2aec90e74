"""Pieces to play with: book/_static/interactive/<name>.js draws what `interactive` names.

The directive's content says what to try. It is hidden until the script has drawn the piece, so a
reader without JavaScript, or of another format, sees the picture above it and nothing is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

SCRIPTS = Path(__file__).parents[1] / "_static/interactive"

logger = logging.getLogger(__name__)


class interactive(nodes.General, nodes.Element):
    """A piece and the words that introduce it."""


class Interactive(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if not (SCRIPTS / f"{name}.js").exists():
            logger.warning(
                "no piece is called %r", name, type="interactive", location=self.get_location()
            )
            return []
        piece = interactive(name=name)
        self.set_source_info(piece)
        self.state.nested_parse(self.content, self.content_offset, piece)
        return [piece]


def visit_html(translator: Any, node: interactive) -> None:
    translator.body.append(f'<div class="interactive" id="try-{node["name"]}" hidden>')


def depart_html(translator: Any, node: interactive) -> None:
    translator.body.append("</div>")


def skip(translator: Any, node: interactive) -> None:
    raise nodes.SkipNode


def add_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Load the scripts of a page's pieces on that page alone."""
    names = [piece["name"] for piece in doctree.findall(interactive)] if doctree else []
    if names:
        app.add_js_file("d3/d3.min.js", loading_method="defer")
        for name in ("piece", *names):
            app.add_js_file(f"interactive/{name}.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(interactive, html=(visit_html, depart_html), latex=(skip, None), text=(skip, None))
    app.add_directive("interactive", Interactive)
    app.connect("html-page-context", add_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
