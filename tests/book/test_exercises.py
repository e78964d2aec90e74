"""From every section there is a way to its exercise, and from every exercise back."""

from pathlib import Path
from urllib.parse import urldefrag

import pytest
from bs4 import BeautifulSoup

from course_lib.checks import checks_of, modules

SITE = Path(__file__).resolve().parents[2] / "_build/html"
TABLE = SITE / "book/appendix/exercises.html"

pytestmark = pytest.mark.usefixtures("book")


def read(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("module", modules())
def test_a_module_leads_to_its_sections_and_they_lead_back(module: str) -> None:
    row = read(TABLE).find(id=f"exercise-{module}").find_parent("tr")
    named = {word.strip(",") for word in row.get_text(" ").split()}
    assert {check.exercise for check in checks_of(module)} <= named
    sections = [TABLE.parent / urldefrag(link["href"])[0] for link in row.find_all("a")]
    assert sections
    for section in sections:
        links = [link["href"] for link in read(section).select(".exercise .admonition-title a")]
        assert f"../appendix/exercises.html#exercise-{module}" in links, section
