"""Markup: what students wrote as HTML or Markdown, without anything in it that acts.

Feedback and formgrader show it in the browsers of instructors, and of other students.
"""

import re
from typing import Any

import nh3
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert.exporters import HTMLExporter
from traitlets.config import Config

FILTERS = {
    "clean_html": "grading.markup.clean",
    "markdown2html": "grading.markup.markdown",
}
"""`nbgrader_config.py` has these names too, so that reading it imports nothing."""
SAFE = Config({"HTMLExporter": {"sanitize_html": True, "filters": FILTERS}})
"""What makes nbconvert's pages safe; nbconvert's own filters would take tables away, or pass
answers in Markdown as they are."""

ATTRIBUTES = nh3.ALLOWED_ATTRIBUTES | {"*": {"class", "title"}}
HIGHLIGHTING = re.compile(r"highlight|hl-\w+|language-\w+|dataframe|ansi-[\w-]+|[a-z]{1,3}\d?")
"""Classes that colour code and tables; others could pass for a part of the page."""
PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,[\w+/=\s]*")

_markdown2html = HTMLExporter().markdown2html


def clean(html: str | bytes) -> str:
    """Return HTML without scripts, styles, forms, frames, and pictures from elsewhere."""
    text = html.decode(errors="replace") if isinstance(html, bytes) else str(html)
    return nh3.clean(
        text,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto", "data"},
    )


@pass_context
def markdown(context: Context, source: str) -> str:
    """Return Markdown as HTML of which the same holds."""
    return clean(_markdown2html(context, source))


def _attribute(tag: str, name: str, value: str) -> Any:
    if name == "class":
        return value if all(map(HIGHLIGHTING.fullmatch, value.split())) else None
    if name == "src":
        return value if PICTURE.fullmatch(value) else None
    # As in browsers: what cannot be seen counts for nothing.
    address = re.sub(r"[\x00-\x20]", "", value).lower()
    return None if address.startswith("data:") else value
