"""Exercises: the way from a section to what the student writes, and back.

The directive `exercise` ends a section; `exercises-table` lists every module with its exercises,
their points, and the sections that teach it. A module without a section is a warning, and the
book is built with warnings as errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

from claims import row, table
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains import Domain
from sphinx.domains.std import StandardDomain
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from course_lib.checking import Check
from course_lib.checks import checks_of, modules

logger = logging.getLogger(__name__)


def warn(message: str, location: Any = None) -> None:
    logger.warning(message, type="exercises", location=location)


@cache
def checks() -> dict[str, list[Check]]:
    return {module: checks_of(module) for module in modules()}


class ExercisesDomain(Domain):
    """Which pages lead to which module; Sphinx keeps this between builds."""

    name = "exercises"
    label = "Exercises"
    data_version = 1
    initial_data: ClassVar[dict[str, Any]] = {
        "sections": {},  # page -> the modules that it leads to
        "tables": set(),  # pages with the table of all exercises
        "shown": None,  # what the tables were written with
    }

    def clear_doc(self, docname: str) -> None:
        self.data["sections"].pop(docname, None)
        self.data["tables"].discard(docname)

    def merge_domaindata(self, docnames: list[str], otherdata: dict[str, Any]) -> None:
        found = otherdata["sections"].items()
        self.data["sections"].update({doc: names for doc, names in found if doc in docnames})
        self.data["tables"] |= otherdata["tables"] & set(docnames)

    def sections(self, module: str) -> list[str]:
        """The pages that lead to a module, in the order of the book."""
        order = [*getattr(self.env.config, "external_site_map", ()), *sorted(self.env.found_docs)]
        found = self.data["sections"].items()
        return sorted((doc for doc, names in found if module in names), key=order.index)

    def check_consistency(self) -> None:
        if self.data["tables"]:
            for module in checks():
                if not self.sections(module):
                    warn(f"no section has the directive exercise with {module}")


def anchor(module: str) -> str:
    return f"exercise-{module}"


def exercises_domain(env: BuildEnvironment) -> ExercisesDomain:
    domain = env.get_domain(ExercisesDomain.name)
    assert isinstance(domain, ExercisesDomain)
    return domain


class Exercise(SphinxDirective):
    """A box that leads from a section to a module, with the section's own words about it."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        if module not in checks():
            warn(f"no module is called {module!r}", self.get_location())
            return []
        data = exercises_domain(self.env).data["sections"]
        data.setdefault(self.env.docname, set()).add(module)
        link = pending_xref(
            "",
            nodes.inline("", module),
            refdomain="std",
            reftype="ref",
            reftarget=anchor(module),
            refdoc=self.env.docname,
            refexplicit=True,
            refwarn=True,
        )
        box = nodes.admonition(classes=["exercise"])
        self.set_source_info(box)
        box += nodes.title("", "Exercise: ", link)
        self.state.nested_parse(self.content, self.content_offset, box)
        box += nodes.paragraph(
            "",
            "Write ",
            nodes.literal("", f"course_lib/{module}.py"),
            nodes.Text(", then ask "),
            nodes.literal("", f"python -m course_lib check {module}"),
            nodes.Text(f" ({total_points(module):g} points)."),
        )
        return [box]


def total_points(module: str) -> float:
    return sum(check.max_points for check in checks()[module])


class exercises_table(nodes.General, nodes.Element):
    """Where the table goes: it is filled when every page has been read."""


class ExercisesTable(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        page = self.env.docname
        exercises_domain(self.env).data["tables"].add(page)
        standard = self.env.get_domain("std")
        assert isinstance(standard, StandardDomain)
        for module in checks():
            standard.note_hyperlink_target(anchor(module), page, anchor(module), module)
        return [exercises_table()]


def fill_tables(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(exercises_table)):
        place.replace_self(exercises(app, docname))


def exercises(app: Sphinx, docname: str) -> nodes.table:
    rows = [
        row(
            [nodes.literal("", module, ids=[anchor(module)])],
            [nodes.Text(", ".join(check.exercise for check in checks()[module]))],
            [nodes.Text(f"{total_points(module):g}")],
            list(section_links(app, docname, module)),
        )
        for module in checks()
    ]
    return table("exercises-table", ("Module", "Exercises", "Points", "Taught in"), rows)


def section_links(app: Sphinx, docname: str, module: str) -> Iterator[nodes.Node]:
    for number, page in enumerate(exercises_domain(app.env).sections(module)):
        if number:
            yield nodes.Text("; ")
        title = nodes.Text(f"{chapter(app.env, page)}, {app.env.titles[page].astext()}")
        yield make_refnode(app.builder, docname, page, "", title)


def chapter(env: BuildEnvironment, page: str) -> str:
    index = f"{page.rpartition('/')[0]}/index"
    return env.titles[index].astext() if index in env.titles else page


def rewritten_tables(app: Sphinx, env: BuildEnvironment) -> set[str]:
    """The pages whose table has a link or a title that changed on another page."""
    domain = exercises_domain(env)
    shown = {
        module: [(page, chapter(env, page), env.titles[page].astext()) for page in pages]
        for module in checks()
        if (pages := domain.sections(module))
    }
    if domain.data["shown"] == shown:
        return set()
    domain.data["shown"] = shown
    return domain.data["tables"]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_domain(ExercisesDomain)
    app.add_directive("exercise", Exercise)
    app.add_directive("exercises-table", ExercisesTable)
    app.add_node(exercises_table)
    app.connect("doctree-resolved", fill_tables)
    app.connect("env-updated", rewritten_tables)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
