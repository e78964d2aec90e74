"""The built book in a browser: nothing is asked of other sites, nothing is broken, all is legible.

The browser is Chromium or Chrome; the environment variable COURSE_BROWSER may name one.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page, sync_playwright
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build/html"
CHAPTERS = sorted(f"{name}.html" for name in parse_toc_yaml(ROOT / "_toc.yml"))
PAGES = [*CHAPTERS, "index.html", "search.html", "genindex.html"]
CLAIMS = "book/appendix/claims.html"
WIDTHS = 375, 768, 1400
# What a picture is called when nobody has said what it shows.
NO_DESCRIPTION = re.compile(r"|[\w./-]+\.(png|svg|jpe?g|gif)|(_images/)?[0-9a-f]{16,}.*")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """A request is no news."""


@pytest.fixture(scope="module", autouse=True)
def book() -> None:
    """The pages as they are now: building an unchanged book takes seconds."""
    command = [sys.executable, ROOT / "tools/book.py"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def origin(book: None) -> Iterator[str]:
    handler = partial(QuietHandler, directory=SITE)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        names = "chromium", "chromium-browser", "google-chrome"
        program = os.environ.get("COURSE_BROWSER") or next(
            filter(None, map(shutil.which, names)), None
        )
        if program is None and not Path(playwright.chromium.executable_path).exists():
            pytest.fail(
                "No browser found: install Debian's chromium, run `playwright install chromium`, "
                "or name one in COURSE_BROWSER."
            )
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


class Visit:
    """A page in a browser, and everything that the browser had to say about it."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on(
            "console", lambda message: self.note(f"{message.type}: {message.text}", message.type)
        )
        page.on("pageerror", lambda error: self.note(f"exception: {error}"))
        page.on("requestfailed", lambda request: self.note(f"failed: {request.url}"))
        page.on("request", lambda request: self.foreign(request.url, origin))
        page.on(
            "response",
            lambda answer: (
                self.note(f"{answer.status}: {answer.url}") if answer.status >= 400 else None
            ),
        )

    def note(self, problem: str, kind: str = "error") -> None:
        if kind in ("error", "warning"):
            self.problems.append(problem)

    def foreign(self, url: str, origin: str) -> None:
        if not url.startswith((origin, "data:", "blob:")):
            self.note(f"leaves the site: {url}")


def open_page(browser: Browser, origin: str, path: str) -> Visit:
    visit = Visit(browser.new_page(), origin)
    visit.page.goto(origin + path, wait_until="networkidle")
    return visit


@pytest.fixture(scope="module")
def visits(browser: Browser, origin: str) -> Iterator[dict[str, Visit]]:
    """Each page, loaded once for all tests that only look at it."""
    visits = {path: open_page(browser, origin, path) for path in PAGES}
    yield visits
    for visit in visits.values():
        visit.page.close()


@pytest.fixture(params=PAGES)
def visit(request: pytest.FixtureRequest, visits: dict[str, Visit]) -> Visit:
    return visits[request.param]


def test_a_page_asks_nothing_of_other_sites_and_logs_no_error(visit: Visit) -> None:
    assert visit.problems == []


def test_a_page_opened_as_a_file_asks_nothing_of_other_sites(browser: Browser) -> None:
    for path in CHAPTERS:
        visit = open_page(browser, f"{SITE.as_uri()}/", path)
        assert visit.problems == [], path
        visit.page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_is_not_wider_than_the_window(visit: Visit, theme: str) -> None:
    visit.page.emulate_media(color_scheme=theme)
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 900})
        inside = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert inside[0] <= inside[1], f"{theme}, {width} pixels"


def test_a_page_follows_the_systems_theme(visit: Visit) -> None:
    for theme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=theme)
        visit.page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")


# In sRGB, as the Web Content Accessibility Guidelines define it.
CONTRAST = """selector => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const background = element => {
    for (; element; element = element.parentElement) {
      const [r, g, b, alpha = 1] = parse(getComputedStyle(element).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(selector)]
    .filter(element => element.getClientRects().length)
    .map(element => {
      const pair = [parse(getComputedStyle(element).color), background(element)].map(luminance);
      return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), element.textContent.trim()];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_background(visit: Visit, theme: str) -> None:
    visit.page.emulate_media(color_scheme=theme)
    visit.page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
    text = (
        "article :is(p, li, td, th, a, code, summary, figcaption, pre span, .verdict, h1, h2, h3)"
    )
    assert visit.page.evaluate(CONTRAST, text) == []


def test_every_picture_says_what_it_shows(visit: Visit) -> None:
    pictures = "[...document.querySelectorAll('article img')].map(image => [image.src, image.alt])"
    found = visit.page.evaluate(pictures)
    assert [source for source, alt in found if NO_DESCRIPTION.fullmatch(alt.strip())] == []
    assert visit.page.locator("img:not([alt])").count() == 0


def test_every_picture_is_there(visit: Visit) -> None:
    broken = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
    assert visit.page.evaluate(broken) == []


def test_every_formula_is_set(visit: Visit) -> None:
    formulas = visit.page.locator("article .math")
    assert visit.page.locator("article .math mjx-container").count() >= formulas.count()
    # MathJax sets a command that it does not know in red.
    assert visit.page.locator("mjx-merror, mjx-container [style*='red']").all_inner_texts() == []


def test_every_link_within_the_book_leads_somewhere(visit: Visit, origin: str) -> None:
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
def test_search_finds_the_perceptron(browser: Browser, origin: str, as_file: bool) -> None:
    site = f"{SITE.as_uri()}/" if as_file else origin
    visit = open_page(browser, site, "search.html?q=perceptron")
    result = visit.page.locator("#search-results a[href*='essentials/perceptron.html']").first
    result.wait_for()
    # From a file the browser refuses to fetch the lines that surround what was found.
    assert as_file or visit.problems == []
    result.click()
    assert "perceptron" in visit.page.locator("article h1").inner_text()
    visit.page.close()


def shown(page: Page) -> int:
    return page.locator("table.claims-table tbody tr:visible").count()


def test_the_claims_are_filtered_by_keyboard(browser: Browser, origin: str) -> None:
    page = open_page(browser, origin, CLAIMS).page
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


def test_a_claim_leads_to_the_cell_that_decides_it(browser: Browser, origin: str) -> None:
    page = open_page(browser, origin, CLAIMS).page
    page.locator("table.claims-table a[href*='#claim-']").first.click()
    anchor = urlparse(page.url).fragment
    assert page.locator(f"[id='{anchor}']").is_visible()
    page.close()
