"""The built book in a browser: it asks nothing of other sites, is whole, and can be read."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build/html"
Opener = Callable[..., Any]
CLAIMS = "book/appendix/claims.html"
WIDTHS = 375, 768, 1400
# What a picture is called when nobody has said what it shows.
NO_DESCRIPTION = re.compile(r"|[\w./-]+\.(png|svg|jpe?g|gif)|(_images/)?[0-9a-f]{16,}.*")


def test_a_page_asks_nothing_of_other_sites_and_logs_no_error(visit: Any) -> None:
    assert visit.problems == []


def test_a_page_opened_as_a_file_asks_nothing_of_other_sites(
    open_page: Opener, chapters: list[str]
) -> None:
    for path in chapters:
        visit = open_page(path, f"{SITE.as_uri()}/")
        assert visit.problems == [], path
        visit.page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_is_not_wider_than_the_window(visit: Any, theme: str) -> None:
    visit.page.emulate_media(color_scheme=theme)
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 900})
        inside = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert inside[0] <= inside[1], f"{theme}, {width} pixels"


def test_a_page_follows_the_systems_theme(visit: Any) -> None:
    for theme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=theme)
        visit.page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")


def test_every_picture_says_what_it_shows(visit: Any) -> None:
    pictures = "[...document.querySelectorAll('article img')].map(image => [image.src, image.alt])"
    found = visit.page.evaluate(pictures)
    assert [source for source, alt in found if NO_DESCRIPTION.fullmatch(alt.strip())] == []
    assert visit.page.locator("img:not([alt])").count() == 0


def test_every_picture_is_there(visit: Any) -> None:
    broken = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
    assert visit.page.evaluate(broken) == []


def test_every_formula_is_set(visit: Any) -> None:
    formulas = visit.page.locator("article .math")
    assert visit.page.locator("article .math mjx-container").count() >= formulas.count()
    # MathJax sets a command that it does not know in red.
    assert visit.page.locator("mjx-merror, mjx-container [style*='red']").all_inner_texts() == []


def test_every_link_within_the_book_leads_somewhere(visit: Any, origin: str) -> None:
    hrefs = visit.page.evaluate("[...document.links].map(link => link.href)")
    broken = [
        href for href in hrefs if href.startswith(origin) and not leads_somewhere(href, origin)
    ]
    assert broken == []


def leads_somewhere(href: str, origin: str) -> bool:
    url, anchor = urldefrag(href)
    path = SITE / unquote(url.removeprefix(origin))
    if path.is_dir():
        path /= "index.html"
    return path.exists() and (not anchor or unquote(anchor) in anchors(path))


@cache
def anchors(path: Path) -> set[str]:
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    return {element["id"] for element in page.find_all(id=True)}


@pytest.mark.parametrize("as_file", [False, True], ids=["served", "as a file"])
def test_search_finds_the_perceptron(open_page: Opener, origin: str, as_file: bool) -> None:
    site = f"{SITE.as_uri()}/" if as_file else origin
    visit = open_page("search.html?q=perceptron", site)
    result = visit.page.locator("#search-results a[href*='essentials/perceptron.html']").first
    result.wait_for()
    # From a file the browser refuses to fetch the lines that surround what was found.
    assert as_file or visit.problems == []
    result.click()
    assert "perceptron" in visit.page.locator("article h1").inner_text()
    visit.page.close()


def shown(page: Page) -> int:
    return page.locator("table.claims-table tbody tr:visible").count()


def test_the_claims_are_filtered_by_keyboard(open_page: Opener) -> None:
    page = open_page(CLAIMS).page
    rows = page.locator("table.claims-table tbody tr")
    everything = rows.count()
    assert shown(page) == everything > 0

    page.get_by_role("combobox", name="Chapter").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "verdict"
    page.keyboard.type("imp")
    imprecise = page.locator("tr.verdict-imprecise").count()
    assert shown(page) == imprecise < everything
    assert page.get_by_role("status").inner_text() == f"{imprecise} of {everything} claims"

    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    chapter = page.evaluate("document.activeElement.value")
    both = page.locator(f"tr.verdict-imprecise.chapter-{chapter}").count()
    assert shown(page) == both < imprecise

    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert shown(page) == everything
    page.close()


def test_without_javascript_every_claim_is_shown(browser: Browser, origin: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(origin + CLAIMS)
    assert shown(page) == page.locator("table.claims-table tbody tr").count() > 0
    assert not page.locator("form.claims-filter").is_visible()
    context.close()


def test_a_claim_leads_to_the_cell_that_decides_it(open_page: Opener) -> None:
    page = open_page(CLAIMS).page
    page.locator("table.claims-table a[href*='#claim-']").first.click()
    anchor = urlparse(page.url).fragment
    assert page.locator(f"[id='{anchor}']").is_visible()
    page.close()


def test_what_a_claim_leads_to_is_marked(open_page: Opener) -> None:
    for kind in ("claim", "checked"):
        page = open_page(CLAIMS).page
        page.locator(f"table.claims-table a[href*='#{kind}-']").first.click()
        outline = "element => getComputedStyle(element).outlineStyle"
        assert page.locator(":target").evaluate(outline) == "solid"
        page.close()
