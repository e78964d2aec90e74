"""Numbers in the text of the book: each is computed on its page, or quoted from somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PAGES = sorted(
    page.removeprefix("book/")
    for page in parse_toc_yaml(ROOT / "_toc.yml")
    if not page.startswith("book/appendix/")
)
# Figures of the literature, with where they come from: page -> {figure: origin}.
QUOTED = yaml.safe_load((BOOK / "quoted.yaml").read_text(encoding="utf-8"))

# What is not prose: code, directives with their options, roles, links, anchors, citations.
NOT_PROSE = re.compile(
    r"```.*?```"  # fenced code
    r"|\{[\w:-]+\}`[^`]*`"  # roles
    r"|`[^`]*`"  # code
    r"|\[[^\]]*\]\([^)]*\)"  # links
    r"|[Ss]ections? [\d.]+(?: and [\d.]+)?"
    r"|<https?://[^>]*>"
    r"|^\([\w-]+\)=$"  # anchors
    r"|^:{3,}\{(?!choice)[^}]*\}[^\n]*$"  # names and arguments of directives
    r"|^#+ [\d.]+ ",  # numbers of sections
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.]*\d)(\s?%)?")
YEAR = range(1900, 2031)


@pytest.mark.parametrize("page", PAGES)
def test_a_number_in_the_text_is_computed_or_quoted(page: str) -> None:
    known = numbers(evidence(page)) | {plain(str(figure)) for figure in QUOTED.get(page, {})}
    found = {number: line for number, line in figures(prose(page)) if number not in known}
    assert found == {}


def prose(page: str) -> str:
    text = "\n\n".join(cell.source for cell in cells(page) if cell.cell_type == "markdown")
    return NOT_PROSE.sub(" ", text)


def cells(page: str) -> list[NotebookNode]:
    path = BOOK / f"{page}.ipynb"
    if path.exists():
        return nbformat.read(path, as_version=4).cells
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    return [nbformat.v4.new_markdown_cell(text)]


def evidence(page: str) -> str:
    """What stands in the page's code, in its stored outputs, and in the claims it decides."""
    claims = BOOK / f"claims/{page}.yaml"
    parts = [claims.read_text(encoding="utf-8")] if claims.exists() else []
    for cell in cells(page):
        if cell.cell_type == "code":
            parts += [cell.source, *map(text_of, cell.outputs)]
    return "\n".join(parts)


def text_of(output: NotebookNode) -> str:
    return output.get("text") or str(output.get("data", {}).get("text/plain", ""))


def figures(text: str) -> Iterator[tuple[str, str]]:
    """The decimals, the percentages and the large integers, each with its line."""
    for line in text.splitlines():
        for match in NUMBER.finditer(line):
            number = plain(match[1])
            large = float(number) >= 1000 and int(float(number)) not in YEAR
            if "." in number or match[2] or large:
                yield number, line


def numbers(text: str) -> set[str]:
    return {plain(match[0]) for match in re.finditer(r"\d[\d,_]*(?:\.\d+)?(?:e[+-]?\d+)?", text)}


def plain(number: str) -> str:
    return number.replace(",", "").replace("_", "")


def test_the_list_of_quoted_figures_has_no_dead_entries() -> None:
    dead = [
        (page, figure)
        for page, quoted in QUOTED.items()
        for figure in quoted
        if plain(str(figure)) not in {number for number, _ in figures(prose(page))}
    ]
    assert dead == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a share of 0.25 in 12 layers", ["0.25"]),
        ("12,000 examples since 1986", ["12000"]),
        ("43 % of 200, or 9% of 300", ["43", "9"]),
        ("`0.25`, {glue:text}`rate:.2f` and [1.2](page.html) or section 3.1.", []),
        ("$\\eta = 0.001$ for $10^4$ steps", ["0.001"]),
        ("## 3.1 Dropout\n(s1-f1.2)=\n:::{checked} s0-0.5\nIn 0.5 of them\n:::", ["0.5"]),
        ("1.5, then 2048; float32 and 784-128", ["1.5", "2048"]),
    ],
)
def test_what_counts_as_a_number_of_the_text(text: str, expected: list[str]) -> None:
    assert [number for number, _ in figures(NOT_PROSE.sub(" ", text))] == expected
