"""Claims: what the sources of this book say, and the cells that decide whether it holds.

`book/claims/<chapter>/<section>.yaml` lists the claims that a page decides. A code cell with the
tag `claim-<id>` decides one; the directive `checked` shows verdicts beside the text, and
`claims-table` shows all claims.
Whatever does not fit together is a warning, and the book is built with warnings as errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import yaml
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.domains import Domain
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

VERDICTS = {
    "true": "holds as the source states it",
    "imprecise": "right in substance, wrong in a detail",
    "outdated": "was right once",
    "context-dependent": "right in some settings, wrong in others",
    "false": "wrong",
    "unverifiable": "nothing to test it against",
}
TAG = "claim-"

logger = logging.getLogger(__name__)


def warn(message: str, location: Any = None) -> None:
    logger.warning(message, type="claims", location=location)


@dataclass(frozen=True)
class Claim:
    id: str
    source: str
    kind: str
    claim: str
    verdict: str
    correction: str
    section: str  # the page that decides it
    references: tuple[str, ...] = ()

    @property
    def chapter(self) -> str:
        return PurePosixPath(self.section).parent.name


FIELDS = {field.name for field in fields(Claim)} - {"section"}
OPTIONAL = {"references"}


def read_claim(entry: dict[str, Any], section: str) -> Claim:
    """Turn one mapping of a YAML file into a claim, or raise ValueError."""
    name = entry.get("id", "without an id")
    if missing := FIELDS - OPTIONAL - entry.keys():
        raise ValueError(f"claim {name} lacks {', '.join(sorted(missing))}")
    if unknown := entry.keys() - FIELDS:
        raise ValueError(f"claim {name} has unknown keys: {', '.join(sorted(unknown))}")
    # YAML reads an unquoted true or false as a boolean.
    verdict = str(entry["verdict"]).lower()
    if verdict not in VERDICTS:
        raise ValueError(f"claim {name} has the unknown verdict {verdict!r}")
    references = tuple(entry.get("references", ()))
    return Claim(**{**entry, "verdict": verdict, "references": references, "section": section})


def read_file(path: Path) -> list[dict[str, Any]]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except yaml.YAMLError as error:
        warn(f"{path.name} cannot be read as YAML: {error}", f"{path}:1")
        return []
    if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        warn(f"{path.name} is not a list of claims", f"{path}:1")
        return []
    return entries


def read_claims(source: Path, folder: str, order: Iterable[str]) -> dict[str, Claim]:
    """All claims by id, in the order of the pages; what cannot be read becomes a warning."""
    parent = PurePosixPath(folder).parent
    files = {
        str(parent / path.relative_to(source / folder).with_suffix("").as_posix()): path
        for path in sorted((source / folder).rglob("*.yaml"))
    }
    claims: dict[str, Claim] = {}
    for section in sorted(files, key=[*order, *files].index):
        path = files[section]
        for entry in read_file(path):
            try:
                claim = read_claim(entry, section)
                if claim.id in claims:
                    raise ValueError(f"claim {claim.id} is listed twice")
            except ValueError as error:
                warn(str(error), f"{path}:1")
            else:
                claims[claim.id] = claim
    return claims


class ClaimsDomain(Domain):
    """Where claims are decided, by page; Sphinx keeps this between builds."""

    name = "claims"
    label = "Claims"
    data_version = 1
    initial_data: ClassVar[dict[str, Any]] = {
        "cells": {},  # page -> the claims that its cells decide
        "boxes": {},  # page -> the claims that have a Checked box there
        "tables": set(),  # pages with a table of all claims
        "claims": {},  # the claims as the pages were read with them
        "shown": None,  # what the tables were written with
    }

    @cached_property
    def claims(self) -> dict[str, Claim]:
        config = self.env.config
        table_of_contents = getattr(config, "external_site_map", ())
        return read_claims(Path(self.env.srcdir), config.claims_path, table_of_contents)

    def note(self, kind: str, docname: str, claim_id: str) -> None:
        self.data[kind].setdefault(docname, set()).add(claim_id)

    def has(self, kind: str, docname: str, claim_id: str) -> bool:
        return claim_id in self.data[kind].get(docname, ())

    def clear_doc(self, docname: str) -> None:
        self.data["cells"].pop(docname, None)
        self.data["boxes"].pop(docname, None)
        self.data["tables"].discard(docname)

    def merge_domaindata(self, docnames: list[str], otherdata: dict[str, Any]) -> None:
        for kind in ("cells", "boxes"):
            self.data[kind].update(
                {doc: ids for doc, ids in otherdata[kind].items() if doc in docnames}
            )
        self.data["tables"] |= otherdata["tables"] & set(docnames)

    def target(self, claim: Claim) -> tuple[str, str] | None:
        """The anchor of the deciding cell, or else of the box that cites the literature."""
        if self.has("cells", claim.section, claim.id):
            return "this cell", f"claim-{claim.id}"
        if claim.references and self.has("boxes", claim.section, claim.id):
            return "the literature", f"checked-{claim.id}"
        return None

    def resolve_xref(
        self,
        env: BuildEnvironment,
        fromdocname: str,
        builder: Builder,
        typ: str,
        target: str,
        node: pending_xref,
        contnode: nodes.Element,
    ) -> nodes.Element:
        claim = self.claims[target]
        if (found := self.target(claim)) is None:
            # Not left unresolved: check_consistency reports it, and says what to do.
            return contnode
        label, anchor = found
        text = label if fromdocname == claim.section else env.titles[claim.section].astext()
        return make_refnode(builder, fromdocname, claim.section, anchor, nodes.Text(text))

    def check_consistency(self) -> None:
        for claim in self.claims.values():
            if claim.section not in self.env.found_docs:
                warn(
                    f"claim {claim.id}: its section {claim.section} is not in the table of contents"
                )
                continue
            if self.target(claim) is None:
                warn(
                    f"claim {claim.id} is not decided: tag a code cell with {TAG}{claim.id}, "
                    "or give it references and a Checked box",
                    claim.section,
                )
            if claim.verdict != "true" and not self.has("boxes", claim.section, claim.id):
                warn(f"claim {claim.id} is {claim.verdict} and has no Checked box", claim.section)


def claims_domain(env: BuildEnvironment) -> ClaimsDomain:
    domain = env.get_domain(ClaimsDomain.name)
    assert isinstance(domain, ClaimsDomain)
    return domain


class ClaimsDirective(SphinxDirective):
    @property
    def domain(self) -> ClaimsDomain:
        return claims_domain(self.env)

    def inline(self, text: str) -> list[nodes.Node]:
        children, messages = self.state.inline_text(text, self.lineno)
        return children + messages

    def paragraph(self, name: str, *children: nodes.Node) -> nodes.paragraph:
        return nodes.paragraph("", "", *children, classes=[f"checked-{name}"])

    def link(self, claim: Claim) -> pending_xref:
        return pending_xref(
            "",
            nodes.inline("", claim.section),
            refdomain=ClaimsDomain.name,
            reftype="claim",
            reftarget=claim.id,
            refdoc=self.env.docname,
        )


class Checked(ClaimsDirective):
    """A box with what the source says, what the page found, and what is right.

    It takes the id of a claim, or of several that one explanation settles.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        names = self.arguments[0].split()
        for unknown in (name for name in names if name not in self.domain.claims):
            warn(f"no claim has the id {unknown!r}", self.get_location())
        claims = [self.domain.claims[name] for name in names if name in self.domain.claims]
        if not claims:
            return []
        for claim in claims:
            if self.domain.has("boxes", self.env.docname, claim.id):
                warn(f"claim {claim.id} has a second Checked box", self.get_location())
            self.domain.note("boxes", self.env.docname, claim.id)
        return [self.box(claims)]

    def box(self, claims: list[Claim]) -> nodes.admonition:
        verdicts = list(dict.fromkeys(claim.verdict for claim in claims))
        box = nodes.admonition(classes=["checked", f"verdict-{verdicts[0]}"])
        self.set_source_info(box)
        title = nodes.title("", "Checked:")
        for verdict in verdicts:
            title += [nodes.Text(" "), badge(verdict)]
        box += title
        if len(claims) == 1:
            box += self.statement(*claims)
            self.state.nested_parse(self.content, self.content_offset, box)
            box += self.correction(*claims)
            box += self.basis(claims, nodes.Text("Decided by "), self.link(*claims))
        else:
            box += nodes.bullet_list("", *map(self.item, claims))
            self.state.nested_parse(self.content, self.content_offset, box)
            if any(claim.references for claim in claims):
                box += self.basis(claims, nodes.Text("Literature:"))
        return box

    def item(self, claim: Claim) -> nodes.list_item:
        paragraphs = [self.statement(claim), *self.correction(claim)]
        paragraphs[-1] += [nodes.Text(" ("), self.link(claim), nodes.Text(")")]
        return nodes.list_item("", *paragraphs)

    def statement(self, claim: Claim) -> nodes.paragraph:
        label = nodes.inline("", f"The source ({claim.source}): ", classes=["checked-label"])
        statement = self.paragraph("claim", label, *self.inline(claim.claim))
        statement["ids"].append(f"checked-{claim.id}")
        return statement

    def correction(self, claim: Claim) -> list[nodes.Node]:
        if not claim.correction:
            return []
        label = nodes.inline("", "What is right: ", classes=["checked-label"])
        return [self.paragraph("correction", label, *self.inline(claim.correction))]

    def basis(self, claims: list[Claim], *words: nodes.Node) -> nodes.paragraph:
        basis = self.paragraph("basis", *words)
        references = dict.fromkeys(key for claim in claims for key in claim.references)
        if references:
            basis += self.inline(" {cite:p}`" + ",".join(references) + "`")
        basis += nodes.Text(".")
        return basis


class claims_filter(nodes.General, nodes.Element):
    """The controls above the table: markup of HTML pages only."""


def visit_claims_filter(translator: Any, node: claims_filter) -> None:
    titles = translator.builder.env.titles
    chapters = {
        folder: titles[index].astext() if index in titles else folder
        for folder, index in node["chapters"].items()
    }
    verdicts = {verdict: verdict for verdict in node["verdicts"]}
    translator.body.append(
        '<form class="claims-filter" hidden>'
        + select("chapter", "Chapter", chapters)
        + select("verdict", "Verdict", verdicts)
        + "<output></output></form>"
    )
    raise nodes.SkipNode


def select(name: str, label: str, options: dict[str, str]) -> str:
    choices = "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>'
        for value, text in {"": "all", **options}.items()
    )
    return f'<label>{label} <select name="{name}">{choices}</select></label>'


def skip_node(translator: Any, node: nodes.Node) -> None:
    raise nodes.SkipNode


class ClaimsTable(ClaimsDirective):
    """The number of claims with each verdict, then every claim with a link to what decides it."""

    def run(self) -> list[nodes.Node]:
        self.domain.data["tables"].add(self.env.docname)
        claims = self.domain.claims.values()
        counts = Counter(claim.verdict for claim in claims)
        controls = claims_filter(
            chapters={
                claim.chapter: str(PurePosixPath(claim.section).with_name("index"))
                for claim in claims
            },
            verdicts=[verdict for verdict in VERDICTS if counts[verdict]],
        )
        return [self.summary(counts), controls, self.table(claims)]

    def summary(self, counts: Counter[str]) -> nodes.table:
        rows = [
            row([badge(verdict)], [nodes.Text(meaning)], [nodes.Text(str(counts[verdict]))])
            for verdict, meaning in VERDICTS.items()
        ]
        total = [nodes.strong("", "all")], [], [nodes.strong("", str(counts.total()))]
        return table("claims-summary", ("Verdict", "Meaning", "Claims"), [*rows, row(*total)])

    def table(self, claims: Iterable[Claim]) -> nodes.table:
        rows = [
            row(
                [nodes.literal("", claim.id), nodes.Text(" "), *self.inline(claim.source)],
                self.inline(claim.claim),
                [badge(claim.verdict)],
                self.inline(claim.correction),
                [self.link(claim)],
                classes=[f"chapter-{claim.chapter}", f"verdict-{claim.verdict}"],
            )
            for claim in claims
        ]
        return table(
            "claims-table",
            ("Id and source", "Claim", "Verdict", "What is right", "Decided in"),
            rows,
        )


def badge(verdict: str) -> nodes.inline:
    return nodes.inline("", verdict, classes=["verdict", f"verdict-{verdict}"])


def row(*cells: list[nodes.Node], classes: Iterable[str] = ()) -> nodes.row:
    entries = [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells]
    return nodes.row("", *entries, classes=list(classes))


def table(name: str, head: Iterable[str], rows: list[nodes.row]) -> nodes.table:
    header = row(*([nodes.Text(title)] for title in head))
    columns = [nodes.colspec(colwidth=1) for _ in header]
    group = nodes.tgroup("", *columns, nodes.thead("", header), nodes.tbody("", *rows))
    group["cols"] = len(columns)
    return nodes.table("", group, classes=[name])


def note_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Give the first cell that decides a claim the claim's anchor."""
    domain, docname = claims_domain(app.env), app.env.docname
    for cell in doctree.findall(
        lambda node: getattr(node, "attributes", {}).get("nb_element") == "cell_code"
    ):
        for tag in cell["cell_metadata"].get("tags", ()):
            if not tag.startswith(TAG):
                continue
            claim_id = tag.removeprefix(TAG)
            if claim_id not in domain.claims:
                warn(f"a cell has the tag {tag}, and no claim has that id", cell)
            elif not domain.has("cells", docname, claim_id):
                domain.note("cells", docname, claim_id)
                cell["ids"].append(f"claim-{claim_id}")


def outdated_pages(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> set[str]:
    """The pages that show a claim whose data changed since they were read."""
    domain = claims_domain(env)
    before, now = domain.data["claims"], domain.claims
    domain.data["claims"] = now
    if before == now:
        return set()
    stale = {name for name in before | now if before.get(name) != now.get(name)}
    return domain.data["tables"] | {
        page
        for kind in ("cells", "boxes")
        for page, ids in domain.data[kind].items()
        if ids & stale
    }


def rewritten_tables(app: Sphinx, env: BuildEnvironment) -> set[str]:
    """The pages whose table has a link or a title that changed on another page."""
    domain = claims_domain(env)
    shown = (
        {claim.id: domain.target(claim) for claim in domain.claims.values()},
        {page: title.astext() for page, title in env.titles.items()},
    )
    if domain.data["shown"] == shown:
        return set()
    domain.data["shown"] = shown
    return domain.data["tables"]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("claims_path", "book/claims", "env", str)
    app.add_domain(ClaimsDomain)
    app.add_directive("checked", Checked)
    app.add_directive("claims-table", ClaimsTable)
    skip = (skip_node, None)
    app.add_node(claims_filter, html=(visit_claims_filter, None), latex=skip, text=skip)
    app.add_js_file("claims.js", defer="defer")
    app.connect("doctree-read", note_cells)
    app.connect("env-get-outdated", outdated_pages)
    app.connect("env-updated", rewritten_tables)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
