import json
from copy import deepcopy

import nbformat
import pytest
from nbformat import NotebookNode
from toy_course import cell, source_notebook

from grading.repair import Unrepairable, repaired


@pytest.fixture
def source() -> NotebookNode:
    return source_notebook()


@pytest.fixture
def released(source: NotebookNode) -> NotebookNode:
    notebook = deepcopy(source)
    for each in notebook.cells:
        each.source = each.source.partition("\n### BEGIN")[0]
    return notebook


def repair(text: str, released: NotebookNode, source: NotebookNode) -> NotebookNode:
    original = deepcopy(released)
    for each in original.cells:
        if each.metadata.get("nbgrader", {}).get("locked"):
            each.source = cell(source, each.metadata.nbgrader.grade_id).source
    return repaired(text, nbformat.writes(original))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"cells": 1, "nbformat": 4}',
        "[" * 9000,
        '{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": 7}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "x"}]}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", '
        '"metadata": {}, "outputs": [], "execution_count": null, "source": "\\ud800"}]}',
    ],
)
def test_what_is_no_notebook(text: str, released: NotebookNode, source: NotebookNode) -> None:
    with pytest.raises(Unrepairable):
        repair(text, released, source)


def handed_in(*cells: NotebookNode) -> str:
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells))


def test_what_would_take_too_long(released: NotebookNode, source: NotebookNode) -> None:
    many = handed_in(*(nbformat.v4.new_code_cell("1") for _ in range(1001)))
    with pytest.raises(Unrepairable, match="has more than 1000 cells"):
        repair(many, released, source)
    with pytest.raises(Unrepairable, match="has a code cell of more than 100000 characters"):
        repair(handed_in(nbformat.v4.new_code_cell("1" * 100_001)), released, source)
    nested = nbformat.v4.new_code_cell("1", metadata={"a": [[]] * 100_000})
    with pytest.raises(Unrepairable, match="has too many parts"):
        repair(handed_in(nested), released, source)


@pytest.mark.parametrize("kind", ["markdown", "code"])
def test_a_long_text_is_cut(kind: str, released: NotebookNode, source: NotebookNode) -> None:
    essay = nbformat.v4.new_markdown_cell("", metadata=cell(source, "double").metadata)
    essay.metadata.nbgrader = {"grade_id": "essay", "locked": False, "solution": True}
    released.cells.append(deepcopy(essay))
    claimed = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}[kind]
    theirs = claimed("*[" * 50_000, metadata=essay.metadata)
    notebook = repair(handed_in(theirs), released, source)
    text = cell(notebook, "essay").source
    assert text.startswith("*[" * 5_000 + "\n")
    assert len(text) < 10_100
    assert "after 10000 characters is left out" in text


def test_metadata_of_students_cells_are_forgotten(
    released: NotebookNode, source: NotebookNode
) -> None:
    tagged = nbformat.v4.new_code_cell("1", metadata={"tags": ["skip-execution"]})
    notebook = repair(handed_in(tagged), released, source)
    assert notebook.cells[0].metadata == {}


def test_locked_cells_are_the_instructors(released: NotebookNode, source: NotebookNode) -> None:
    handed_in = deepcopy(released)
    test = cell(handed_in, "check_add")
    test.source, test.cell_type, test.metadata["tags"] = "pass", "raw", ["skip-execution"]
    del test["outputs"], test["execution_count"]
    test.metadata.nbgrader["points"] = 1000
    notebook = repair(json.dumps(handed_in), released, source)
    for name in ("heading", "check_add", "check_subtract"):
        there, theirs = cell(notebook, name), cell(source, name)
        assert (there.source, there.cell_type) == (theirs.source, theirs.cell_type)
        assert there.metadata == theirs.metadata


def test_an_answer_is_the_students(released: NotebookNode, source: NotebookNode) -> None:
    handed_in = deepcopy(released)
    cell(handed_in, "double").source = "def double(a): return a + a"
    cell(handed_in, "double").metadata.nbgrader["locked"] = True
    notebook = repair(json.dumps(handed_in), released, source)
    assert cell(notebook, "double").source == "def double(a): return a + a"


def test_a_cell_that_is_there_twice_counts_once(
    released: NotebookNode, source: NotebookNode
) -> None:
    handed_in = deepcopy(released)
    handed_in.cells += deepcopy(handed_in.cells)
    cell(handed_in, "double").source = "first"
    notebook = repair(json.dumps(handed_in), released, source)
    names = [
        each.metadata.nbgrader.grade_id for each in notebook.cells if "nbgrader" in each.metadata
    ]
    assert sorted(names) == sorted({*names})
    assert cell(notebook, "double").source != "first"


def test_deleted_cells_with_points_come_back(released: NotebookNode, source: NotebookNode) -> None:
    handed_in = deepcopy(released)
    handed_in.cells = []
    notebook = repair(json.dumps(handed_in), released, source)
    names = [each.metadata.nbgrader.grade_id for each in notebook.cells]
    assert names == ["check_add", "check_subtract", "check_double"]


def test_outputs_are_forgotten(released: NotebookNode, source: NotebookNode) -> None:
    handed_in = deepcopy(released)
    for each in handed_in.cells:
        if each.cell_type == "code":
            each.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": "9"})]
    notebook = repair(json.dumps(handed_in), released, source)
    assert not any(each.get("outputs") for each in notebook.cells)
