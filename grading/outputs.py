"""The outputs of a notebook's cells, as they come out of the sandbox. None can be trusted."""

import json
from copy import deepcopy
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output

from grading.shell import TIME_LIMIT
from grading.zygote import LONGEST_LINE

KERNEL_LOST = "KernelLost"
"""The name of the error of a cell that could not be finished."""
LONGEST_TEXT = 100_000
"""Characters of a text that a cell shows."""
SHOWN = {
    "text/plain": LONGEST_TEXT,
    "text/html": 10 * LONGEST_TEXT,
    "text/markdown": 10_000,
    "text/latex": LONGEST_TEXT,
    "image/png": LONGEST_LINE,
    "image/jpeg": LONGEST_LINE,
    "image/gif": LONGEST_LINE,
    "image/svg+xml": LONGEST_LINE,
}
"""The kinds of output that are kept, those that a page shows and does not run, and the most
characters of each."""
LOST_OUTPUT = new_output(
    "error", ename="OutputLost", traceback=["What this cell sent cannot be read as an output."]
)
MOST_MARKDOWN = 100_000
"""Characters of Markdown that a notebook shows, because it is slow to turn into a page."""
MOST_OUTPUTS = 1000
"""So many outputs of a cell are kept."""


class Events:
    """What comes out of a notebook's run, put into its cells. None of it can be trusted."""

    def __init__(self, notebook: NotebookNode, places: list[int]) -> None:
        self.cells = {place: notebook.cells[place] for place in places}
        self.left = places
        self.current: NotebookNode | None = None
        self.named: dict[str, NotebookNode] = {}
        self.clear_first = False
        self.count = 0
        self.markdown = MOST_MARKDOWN
        self.done = self.late = False

    def take(self, line: bytes) -> bool:
        """Take one event; return whether another cell has begun."""
        try:
            event = json.loads(line)
            output = _harmless(event.get("output"))
        except Exception:  # it may have been the error of a test, so it must not get lost
            event, output = {}, deepcopy(LOST_OUTPUT)
        if event.get("done"):
            # Not when it comes too early, or what was passed over would count as passed.
            self.done = not self.left
        elif self.left and event.get("cell") == self.left[0]:
            self._begin(self.left.pop(0))
            return True
        elif self.current is not None and event.get("clear"):
            self.clear_first = event["clear"] == "later"
            if not self.clear_first:
                self.current.outputs = []
        elif self.current is not None and output is not None:
            self._take_output(self.current, output, event.get("name"), event.get("update"))
        return False

    def _begin(self, place: int) -> None:
        self.current = self.cells[place]
        self.clear_first = False
        self.count += 1
        self.current.execution_count = self.count

    def _take_output(
        self, cell: NotebookNode, output: NotebookNode, name: Any, update: Any
    ) -> None:
        """Add an output to a cell, or put it in the place of an earlier one of the same name."""
        self.markdown -= len(output.get("data", {}).get("text/markdown", ""))
        if self.markdown < 0 and "data" in output:
            output.data.pop("text/markdown", None)
        if isinstance(name, str) and output.output_type == "display_data":
            # Of several with one name only the last: nobody shall keep us busy with them.
            before = self.named.get(name, output)
            before.data, before.metadata = output.data, output.metadata
            if not update:
                self.named[name] = output
        if not update:
            if self.clear_first:
                cell.outputs, self.clear_first = [], False
            self._add(cell.outputs, output)

    def _add(self, outputs: list[NotebookNode], output: NotebookNode) -> None:
        last = outputs[-1] if outputs else NotebookNode()
        if output.output_type == "stream" and last.get("name") == output.name:
            last.text = (last.text + output.text)[:LONGEST_TEXT]
            return
        if len(outputs) >= MOST_OUTPUTS:
            if output.output_type not in ("error", "execute_result"):
                return
            outputs.pop()  # nbgrader scores by these
        if output.output_type == "execute_result":
            output.execution_count = self.count
        self.late |= output.output_type == "error" and output.ename == TIME_LIMIT
        outputs.append(output)

    def lose(self, reason: str) -> None:
        """Let every cell that is not finished fail."""
        text = f"{reason}: this cell could not be finished."
        lost = [self.cells[place] for place in self.left]
        for cell in [*([] if self.current is None else [self.current]), *lost]:
            error = new_output("error", ename=KERNEL_LOST, evalue=text, traceback=[text])
            printed = [output for output in cell.outputs if output.output_type == "stream"]
            cell.outputs = [*printed, error]


def _harmless(output: Any) -> NotebookNode | None:
    """Return an output with nothing in it but texts of a bearable length, and pictures.

    Raises:
        Exception: it is not an output of a notebook.
    """
    if output is None:
        return None
    if "data" in output:
        output["data"] = {
            kind: text[:LONGEST_TEXT] if kind == "text/plain" else text
            for kind, text in output["data"].items()
            if isinstance(text, str) and (len(text) <= SHOWN.get(kind, -1) or kind == "text/plain")
        }
        output["metadata"] = {
            kind: {name: size[name] for name in ("width", "height") if type(size.get(name)) is int}
            for kind, size in output["metadata"].items()
            if kind in SHOWN and isinstance(size, dict)
        }
    elif output["output_type"] == "stream":
        if not isinstance(output["text"], str):
            raise TypeError("nbformat would also take a list")
        output["text"] = output["text"][:LONGEST_TEXT]
    elif output["output_type"] == "error":
        for name in ("ename", "evalue"):
            output[name] = output[name][:LONGEST_TEXT]
        output["traceback"] = [line[:LONGEST_TEXT] for line in output["traceback"][:100]]
    node = nbformat.from_dict(output)
    nbformat.validate(node, ref="output", version=4)
    return node
