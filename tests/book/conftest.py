"""The built book, a server that shows it, and a browser that looks at it.

The browser is Chromium or Chrome; the environment variable COURSE_BROWSER may name one.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build/html"
CHAPTERS = sorted(f"{name}.html" for name in parse_toc_yaml(ROOT / "_toc.yml"))
PAGES = [*CHAPTERS, "index.html", "search.html", "genindex.html"]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """A request is no news."""


@pytest.fixture(scope="module")
def book() -> None:
    """The pages as they are now: building an unchanged book takes seconds."""
    command = [sys.executable, ROOT / "tools/book.py"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def chapters() -> list[str]:
    """The pages that the table of contents names."""
    return CHAPTERS


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


@pytest.fixture(scope="module")
def open_page(browser: Browser, origin: str) -> Callable[..., Visit]:
    """Open a page of the book as it is served, or from another site."""

    def open_page(path: str, site: str = origin) -> Visit:
        visit = Visit(browser.new_page(), site)
        visit.page.goto(site + path, wait_until="networkidle")
        return visit

    return open_page


@pytest.fixture(scope="module", params=PAGES)
def visit(request: pytest.FixtureRequest, open_page: Callable[..., Visit]) -> Iterator[Visit]:
    """Each page in turn, loaded once for all tests that only look at it."""
    visit = open_page(request.param)
    yield visit
    visit.page.close()
