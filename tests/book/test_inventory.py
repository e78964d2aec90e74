"""book/inventory.yaml: everything that the sources contain has its place in the book."""

from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build/html"
INVENTORY = yaml.safe_load((ROOT / "book/inventory.yaml").read_text(encoding="utf-8"))


pytestmark = pytest.mark.usefixtures("book")


def test_every_page_of_the_inventory_is_in_the_book_in_the_order_of_the_sources() -> None:
    pages = [page for page in parse_toc_yaml(ROOT / "_toc.yml") if page in INVENTORY]
    assert pages == list(INVENTORY)


@pytest.mark.parametrize("page", INVENTORY)
def test_every_item_has_its_place_on_its_page_in_the_order_of_the_source(page: str) -> None:
    html = (SITE / f"{page}.html").read_text(encoding="utf-8")
    article = BeautifulSoup(html, "html.parser").select_one("article")
    assert article
    anchors = [element["id"] for element in article.find_all(id=True)]
    expected = INVENTORY[page]
    assert [anchor for anchor in anchors if anchor in expected] == list(expected)


def test_every_item_says_what_it_is() -> None:
    items = [item for page in INVENTORY.values() for item in page.values()]
    assert all(isinstance(item, str) and item for item in items)
