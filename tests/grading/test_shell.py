"""What the cells of a notebook show when they run in the sandbox, in a shell without a kernel."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from toy_course import CONFIG, write_course

from grading import sandbox
from grading.course import Course
from grading.engine import Pool
from grading.jobs import Assignment, Job
from grading.outputs import KERNEL_LOST, LONGEST_TEXT, MOST_OUTPUTS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the engine's processes are Linux's"
)

LIMITS = """
c.Execute.timeout = 3
c.Engine.preload = ["matplotlib.pyplot"]
"""
PIXEL = (
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
Output = dict[str, Any]


class Shown(NamedTuple):
    """The outputs of every cell, and what the report says."""

    cells: list[list[Output]]
    notes: list[str]
    complete: bool


Show = Callable[..., Shown]


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    """A function that runs cells as those of a student, with files beside the notebook."""
    root = tmp_path_factory.mktemp("course")
    write_course(root)
    (root / "nbgrader_config.py").write_text(CONFIG + LIMITS)
    with Pool(Course(root), 1, sandbox.best_level()) as pool:

        def show(*cells: str, **files: str) -> Shown:
            empty, name = nbformat.writes(new_notebook()), "cells.ipynb"
            beside = {f"{file}.txt": text.encode() for file, text in files.items()}
            assignment = Assignment("cells", {name: empty}, beside, "", {}, "", {})
            handed_in = nbformat.writes(new_notebook(cells=[*map(new_code_cell, cells)]))
            ((_, result),) = pool.grade([Job("ada", assignment, {name: handed_in}, 0)])
            notebook = nbformat.reads(result.notebooks[name], as_version=4)
            nbformat.validate(notebook)
            outputs = [[_plain(output) for output in cell.outputs] for cell in notebook.cells]
            return Shown(outputs, result.notes, result.complete)

        yield show


def _plain(output: Any) -> Output:
    return json.loads(json.dumps(output))


def printed(text: str, name: str = "stdout") -> Output:
    return {"output_type": "stream", "name": name, "text": text}


def result(count: int, text: str, **more: str) -> Output:
    data = {"text/plain": text} | more
    return {"output_type": "execute_result", "execution_count": count, "data": data, "metadata": {}}


def displayed(text: str, **more: str) -> Output:
    data = {"text/plain": text} | more
    return {"output_type": "display_data", "data": data, "metadata": {}}


def error_of(outputs: list[Output]) -> tuple[str, str]:
    """Return the name and the words of the error that a cell ended with."""
    assert outputs, "it shows nothing"
    return outputs[-1].get("ename", ""), outputs[-1].get("evalue", "")


# --- what is shown --------------------------------------------------------------------------------


def test_streams(show: Show) -> None:
    cell = "import sys\nprint('one')\nprint('two')\nprint('three', file=sys.stderr)"
    assert show(cell).cells == [[printed("one\ntwo\n"), printed("three\n", "stderr")]]


def test_much_that_is_printed_is_one_output(show: Show) -> None:
    shown = show("for number in range(20_000):\n    print(number)")
    (output,) = shown.cells[0]
    assert output["text"] == "".join(f"{number}\n" for number in range(20_000))[:LONGEST_TEXT]


def test_results(show: Show) -> None:
    shown = show("1 + 1", "_ + 1", "1 + 1;", "x = 3", "None", "x, Out[1]")
    assert shown.cells == [[result(1, "2")], [result(2, "3")], [], [], [], [result(6, "(3, 2)")]]


def test_what_is_displayed_stands_where_it_was(show: Show) -> None:
    shown = show("print('one')\ndisplay('two')\nprint('three')\n'four'")
    assert shown.cells == [
        [printed("one\n"), displayed("'two'"), printed("three\n"), result(1, "'four'")]
    ]


def test_rich_displays(show: Show) -> None:
    page = "class Page:\n    _repr_html_ = lambda self: '<b>'\n    __repr__ = lambda self: 'page'\n"
    picture = f"from IPython.display import Image\nimport base64\nImage(base64.b64decode({PIXEL}))"
    shown = show(f"{page}Page()", picture)
    assert shown.cells[0] == [result(1, "page", **{"text/html": "<b>"})]
    (output,) = shown.cells[1]
    assert output["data"]["image/png"].encode() == PIXEL


PICTURE = f"""
import base64, numpy
class Picture:
    def _repr_png_(self):
        return base64.b64decode({PIXEL}), {{"width": numpy.int64(7)}}
Picture()
"""
DATE = """
import datetime
display({"text/plain": "x", "application/json": datetime.date(2024, 2, 29)}, raw=True)
"""


def test_what_is_no_json_is_written_as_a_kernel_does(show: Show) -> None:
    shown = show(PICTURE, DATE)
    (output,) = shown.cells[0]
    assert output["data"]["image/png"].encode() == PIXEL
    assert output["metadata"] == {"image/png": {"width": 7}}
    assert shown.cells[1] == [displayed("x")]


def test_figures_are_shown_after_their_cell_and_once(show: Show) -> None:
    shown = show("import matplotlib.pyplot as plt\nplt.plot([1, 2]);", "plt.title('');", "1")
    for outputs in shown.cells[:2]:
        (output,) = outputs
        assert output["output_type"] == "display_data"
        assert base64.b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")
    assert shown.cells[2] == [result(3, "1")]


def test_clearing(show: Show) -> None:
    first = "from IPython.display import clear_output\nprint('one')\nclear_output()\nprint('two')"
    later = "print('one')\nclear_output(wait=True)\n"
    shown = show(first, f"{later}print('two')", later)
    assert shown.cells == [[printed("two\n")], [printed("two\n")], [printed("one\n")]]


def test_updating_a_display(show: Show) -> None:
    shown = show("handle = display('one', display_id=True)", "handle.update('two')")
    assert shown.cells == [[displayed("'two'")], []]


def test_warnings_and_logs(show: Show) -> None:
    shown = show(
        "import warnings\nwarnings.warn('careful')", "import logging\nlogging.error('bad')"
    )
    for outputs, word in zip(shown.cells, ["careful", "bad"]):
        (output,) = outputs
        assert output["name"] == "stderr"
        assert word in output["text"]


def test_threads_do_not_disturb_each_other(show: Show) -> None:
    """What one sends fills the channel, so that the other begins in the middle of it."""
    cell = """
import threading
def show():
    for _ in range(20):
        display({"text/plain": "x" * 90_000}, raw=True)
threads = [threading.Thread(target=show) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    shown = show(cell, "5")
    assert shown.cells == [80 * [displayed("x" * 90_000)], [result(2, "5")]]


def test_threads_print_too(show: Show) -> None:
    cell = "import threading\nthread = threading.Thread(target=print, args=('one',))\n"
    assert show(f"{cell}thread.start()\nthread.join()").cells == [[printed("one\n")]]


def test_files_beside_the_notebook(show: Show) -> None:
    assert show("open('data.txt').read(), __name__", data="a,b").cells == [
        [result(1, "('a,b', '__main__')")]
    ]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "name", "words"),
    [
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("raise ValueError('two\\nlines')", "ValueError", "two\nlines"),
        ("assert 1 == 2, 'unequal'", "AssertionError", "unequal"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("import sys\nsys.exit('enough')", "SystemExit", "enough"),
        ("raise SystemExit", "SystemExit", ""),
        ("raise BaseException('base')", "BaseException", "base"),
        ("raise ExceptionGroup('all', [ValueError()])", "ExceptionGroup", "all (1 sub-exception)"),
        ("input()", "EOFError", "EOF when reading a line"),
        ("%nonsense", "UsageError", "Line magic function `%nonsense` not found."),
        ("class Odd:\n    __repr__ = lambda self: 1 / 0\nOdd()", "ZeroDivisionError", ""),
        ("def f(: pass", "SyntaxError", ""),
        ("return 5", "SyntaxError", ""),
        ("  x = 1\n y = 2", "IndentationError", ""),
        ("x = '\0'", "SyntaxError", ""),
    ],
)
def test_errors(show: Show, cell: str, name: str, words: str) -> None:
    shown = show(cell, "print('goes on')")
    errors = [output for output in shown.cells[0] if output["output_type"] == "error"]
    assert errors[0]["ename"] == name
    assert words in errors[0]["evalue"]
    assert shown.cells[1] == [printed("goes on\n")]


def test_an_exception_without_words(show: Show) -> None:
    cell = "class Silent(Exception):\n    __str__ = lambda self: 1 / 0\nraise Silent"
    shown = show(cell, "print('goes on')")
    assert shown.cells[0][0]["output_type"] == "error"
    assert shown.cells[0][0]["ename"] == "Silent"
    assert shown.cells[1] == [printed("goes on\n")]


def test_what_was_printed_before_an_error_stays(show: Show) -> None:
    outputs = show("print('one')\n1 / 0").cells[0]
    assert outputs[0] == printed("one\n")
    assert error_of(outputs) == ("ZeroDivisionError", "division by zero")


def test_leaving_is_no_error(show: Show) -> None:
    assert show("exit()", "quit()", "print('goes on')").cells == [[], [], [printed("goes on\n")]]


def test_a_stream_that_is_taken_away_is_back_in_the_next_cell(show: Show) -> None:
    shown = show("import sys\nsys.stdout = sys.stderr = None", "print('one')", "1 / 0")
    assert shown.cells[:2] == [[], [printed("one\n")]]
    assert error_of(shown.cells[2])[0] == "ZeroDivisionError"


# --- what Jupyter adds to Python ------------------------------------------------------------------


def test_top_level_await(show: Show) -> None:
    shown = show("import asyncio\nawait asyncio.sleep(0, 5)", "asyncio.run(asyncio.sleep(0))")
    assert shown.cells[0] == [result(1, "5")]
    # As in a kernel, where a loop is running.
    assert error_of(shown.cells[1])[0] == "RuntimeError"


def test_magics(show: Show) -> None:
    shown = show(
        "%%capture kept\nprint('hidden')",
        "kept.stdout",
        "%%writefile written.txt\ntext",
        "print(open('written.txt').read())",
        "%matplotlib inline",
        "%%time\n5",
    )
    assert shown.cells[:2] == [[], [result(2, "'hidden\\n'")]]
    assert shown.cells[2:5] == [[printed("Writing written.txt\n")], [printed("text\n\n")], []]
    assert shown.cells[5][-1] == result(6, "5")


def test_commands(show: Show) -> None:
    shown = show("!echo one; echo two >&2", "x = !echo three\nx", "!exit 3", "_exit_code", "!cat")
    assert shown.cells == [
        [printed("one\ntwo\n")],
        [result(2, "['three']")],
        [],
        [result(4, "3")],
        [],
    ]


# --- cells that do not end ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "while True: pass",
        "import time\ntime.sleep(100)",
        "import time\ntry:\n    time.sleep(100)\nfinally:\n    print('last words')",
        "import asyncio\nawait asyncio.sleep(100)",
        "!sleep 100",
    ],
)
def test_a_cell_that_runs_too_long(show: Show, cell: str) -> None:
    shown = show(cell, "print('goes on')")
    assert error_of(shown.cells[0]) == (
        "CellTimeoutError",
        "this cell ran too long and was stopped",
    )
    assert shown.cells[1] == [printed("goes on\n")]
    assert shown.complete
    assert shown.notes == [
        "A cell of `cells.ipynb` ran longer than its time limit and was stopped."
    ]


def test_a_cell_that_prints_for_ever(show: Show) -> None:
    """Its time is over in the middle of an output, and the next one must arrive all the same."""
    shown = show("while True: print('x' * 10_000)", "print('goes on')")
    assert error_of(shown.cells[0])[0] in ("CellTimeoutError", KERNEL_LOST)
    if shown.complete:
        assert [output["output_type"] for output in shown.cells[0]] == ["stream", "error"]
        assert shown.cells[1] == [printed("goes on\n")]


STUBBORN = """
import time
while True:
    try:
        time.sleep(1)
    except BaseException:
        pass
"""
DEAF = "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass"


def test_what_was_printed_before_a_hang_is_shown(show: Show) -> None:
    outputs = show(f"print('before')\n{STUBBORN}").cells[0]
    assert outputs[0] == printed("before\n")
    assert error_of(outputs)[0] == KERNEL_LOST


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (STUBBORN, "was still running at its time limit and was stopped"),
        (DEAF, "was still running at its time limit and was stopped"),
        ("import os\nos._exit(3)", "ended with exit code 3"),
        ("import os\nos.kill(os.getpid(), 11)\nos._exit(4)", "ended with exit code 4"),
        ("import ctypes\nctypes.string_at(0)", "was ended by SIGSEGV"),
        ("import os\nos.closerange(3, 99)", "ended with exit code 1"),
    ],
)
def test_cells_after_the_end_fail_with_the_reason(show: Show, cell: str, reason: str) -> None:
    shown = show("print('before')", cell, "print('after')")
    assert shown.cells[0] == [printed("before\n")]
    text = f"The notebook {reason}: this cell could not be finished."
    assert [error_of(outputs) for outputs in shown.cells[1:]] == 2 * [(KERNEL_LOST, text)]
    assert not shown.complete
    assert shown.notes == [f"`cells.ipynb` {reason}; what had not finished by then scores 0."]


# --- too much -------------------------------------------------------------------------------------


def test_too_many_outputs(show: Show) -> None:
    shown = show(f"for number in range({MOST_OUTPUTS + 100}):\n    display(number)\n1 / 0", "5")
    assert len(shown.cells[0]) == MOST_OUTPUTS
    assert error_of(shown.cells[0])[0] == "ZeroDivisionError"
    assert shown.cells[1] == [result(2, "5")]


def test_an_enormous_output(show: Show) -> None:
    shown = show("display({'text/plain': 'x' * 30_000_000}, raw=True)", "5")
    reason = "sent more than 8 MB in one output and was stopped"
    assert shown.notes == [f"`cells.ipynb` {reason}; what had not finished by then scores 0."]
    assert [error_of(outputs)[0] for outputs in shown.cells] == 2 * [KERNEL_LOST]


def test_half_a_character(show: Show) -> None:
    assert show("print(chr(0xd800))").cells == [[printed("?\n")]]
