"""What comes from students, and out of the sandbox, is taken for what it is, whatever it is.

hypothesis draws it: arbitrary bytes, and things that are nearly right. `BORDER_ROUNDS=50 pytest`
draws fifty times as much, each time something else.
"""

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from toy_course import SOLUTION, hand_in, source_notebook

from grading.course import Course, GradingError
from grading.intake import Submission, take_in
from grading.outputs import KERNEL_LOST, MOST_OUTPUTS, Events
from grading.repair import Unrepairable, repaired
from grading.sandbox import Limits, SandboxError
from grading.shell import Cells, Task
from grading.zygote import LONGEST_LINE, Run, Stopped

ROUNDS = int(os.environ.get("BORDER_ROUNDS", "1"))


def examples(number: int) -> Callable:
    return settings(
        max_examples=number * ROUNDS,
        derandomize=ROUNDS == 1,
        database=None,
        deadline=None,
        phases=[phase for phase in Phase if phase is not Phase.explain],
        suppress_health_check=[*HealthCheck],
    )


words = st.text(max_size=5) | st.sampled_from(
    ["stdout", "stderr", "error", "text/plain", "{}", "#"]
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)


def nearly(right: st.SearchStrategy) -> st.SearchStrategy:
    """Mostly what is right, sometimes anything."""
    return st.one_of(right, right, right, values)


def like(required: dict[str, Any], **optional: Any) -> st.SearchStrategy:
    """Objects with the right keys and nearly right values, and perhaps one key too many."""
    fields = {key: nearly(value) for key, value in required.items()}
    others = {key: nearly(value) for key, value in optional.items()}
    return st.fixed_dictionaries(fields, optional=others | {"unknown": values})


# --- the outputs of cells -------------------------------------------------------------------------

kinds = st.sampled_from(["text/plain", "text/html", "image/png", "image/svg+xml", "application/x"])
texts = st.text(max_size=10) | st.text("ab\n", max_size=10).map(lambda text: text * 1000)
several = texts | st.lists(texts, max_size=3)
bundle = like({}, data=st.dictionaries(kinds, several, max_size=3)) | st.dictionaries(
    kinds, several
)
metadata = st.dictionaries(kinds, st.dictionaries(st.sampled_from(["width", "height"]), values))
outputs = st.one_of(
    like({"output_type": st.just("stream"), "name": st.just("stdout"), "text": several}),
    like({"output_type": st.just("display_data"), "data": bundle, "metadata": metadata}),
    like(
        {
            "output_type": st.just("execute_result"),
            "data": bundle,
            "metadata": metadata,
            "execution_count": st.integers(0, 9),
        }
    ),
    like(
        {
            "output_type": st.just("error"),
            "ename": texts | st.just("CellTimeoutError"),
            "evalue": texts,
            "traceback": st.lists(texts, max_size=3),
        }
    ),
)
places = st.integers(-2, 7) | st.booleans() | st.sampled_from([1.0, float("nan"), "1", [1]])
events = st.one_of(
    like({"cell": places}),
    like({"output": outputs}, name=words, update=st.booleans()),
    like({"output": outputs}, name=words, update=st.booleans()),
    like({"clear": st.sampled_from(["now", "later"])}),
    like({"done": st.booleans()}),
    values,
)
lines = st.one_of(st.binary(max_size=30), events.map(lambda event: json.dumps(event).encode()))

JUDGED = 3


def notebook_of_a_student() -> NotebookNode:
    notebook = new_notebook(cells=[new_markdown_cell("#"), *(new_code_cell("1") for _ in range(5))])
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
    return notebook


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


@examples(250)
@given(st.lists(lines, max_size=25), st.booleans())
def test_events(sent: list[bytes], lost: bool) -> None:
    notebook = notebook_of_a_student()
    taken = Events(notebook, [1, 2, 4, 5])
    begun = [taken.take(line) for line in sent]
    if lost:
        taken.lose("The notebook was stopped")
    nbformat.validate(notebook)
    text = nbformat.writes(notebook).encode(errors="replace").decode()
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert without_outputs(notebook) == notebook_of_a_student()
    assert notebook.cells[JUDGED] == notebook_of_a_student().cells[JUDGED]
    assert sum(begun) <= 4
    ended_with = [cell.outputs[-1] for cell in notebook.cells[1:] if cell.outputs]
    if lost and not taken.done:
        assert ended_with[-1].ename == KERNEL_LOST


@pytest.mark.parametrize("forged", [{"done": True}, {"cell": 4}, {"cell": 5}])
def test_no_cell_can_be_passed_over(forged: dict[str, Any]) -> None:
    """A test that has no output counts as passed."""
    notebook = notebook_of_a_student()
    taken = Events(notebook, [1, 2, 4, 5])
    for event in ({"cell": 1}, forged, {"cell": 2}, {"cell": 4}):
        taken.take(json.dumps(event).encode())
    assert not taken.done
    taken.lose("The notebook ended with exit code 0")
    lost = [place for place in (1, 2, 4, 5) if notebook.cells[place].outputs]
    assert lost == [4, 5]


def test_outputs_without_end() -> None:
    notebook = notebook_of_a_student()
    taken = Events(notebook, [1])
    taken.take(b'{"cell": 1}')
    start = time.monotonic()
    for _ in range(20_000):
        taken.take(b"")
    assert len(notebook.cells[1].outputs) == MOST_OUTPUTS
    assert time.monotonic() - start < 10


# --- the channel ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keeper() -> Iterator[int]:
    """A process that does no harm, whose children are watched."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


@contextlib.contextmanager
def sending(keeper: int, chunks: Iterator[bytes], *, pause: float = 0) -> Iterator[Run]:
    """A run whose process sends these."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs, contextlib.suppress(OSError):
            for chunk in chunks:
                theirs.sendall(chunk)
                time.sleep(pause)

    thread = threading.Thread(target=send)
    thread.start()
    run = Run(keeper, ours, -1, Limits())
    run.limit_time(30)
    try:
        yield run
    finally:
        ours.close()
        thread.join()


def cut(content: bytes, places: list[int]) -> Iterator[bytes]:
    ends = sorted({place % (len(content) + 1) for place in places} | {0, len(content)})
    return (content[first:last] for first, last in itertools.pairwise(ends))


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
cuts = st.lists(st.integers(0, 1 << 20), max_size=6)
blobs = st.lists(st.binary(max_size=20) | st.binary(max_size=3).map(lambda x: 9000 * x), max_size=5)


@needs_linux
@examples(150)
@given(blobs, st.binary(max_size=9), cuts)
def test_lines(keeper: int, sent: list[bytes], rest: bytes, cuts: list[int]) -> None:
    content = b"".join(line + b"\n" for line in sent) + rest
    with sending(keeper, cut(content, cuts)) as run:
        assert [*run.lines(1 << 20)] == content.split(b"\n")[:-1]


@needs_linux
@examples(150)
@given(blobs, st.binary(max_size=20), cuts)
def test_answers(keeper: int, sent: list[bytes], rest: bytes, cuts: list[int]) -> None:
    content = b"".join(len(answer).to_bytes(8, "big") + answer for answer in sent)
    with sending(keeper, cut(content + rest, cuts)) as run:
        received = [*run.answers(1 << 20)]
    assert received[: len(sent)] == sent
    assert sum(map(len, received)) <= len(content + rest)


def for_ever(chunk: bytes) -> Iterator[bytes]:
    while True:
        yield chunk


def after(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


@needs_linux
@pytest.mark.parametrize("ways", ["lines", "answers"])
@pytest.mark.parametrize(
    ("chunks", "pause", "words"),
    [
        (for_ever(100 * (b"x" * 70 + b"\n")), 0, "sent more than 3 MB of output"),
        (for_ever(b"\n" * 4096), 0, "sent more than 3 MB of output"),
        (for_ever(b"\xff" * 4096), 0, "sent more than 3 MB of output"),
        (for_ever(b"\n"), 0.05, "was still running at its time limit"),
        (for_ever(b"\0"), 0.05, "was still running at its time limit"),
        (for_ever(b""), 0.05, "was still running at its time limit"),
    ],
)
def test_who_does_not_end_is_stopped(
    keeper: int, ways: str, chunks: Iterator[bytes], pause: float, words: str
) -> None:
    start = time.monotonic()
    with sending(keeper, chunks, pause=pause) as run:
        run.limit_time(10 if "MB" in words else 0.5)
        with pytest.raises(Stopped, match=words):
            for _ in getattr(run, ways)(3_000_000):
                pass
    assert time.monotonic() - start < 8


@needs_linux
def test_a_line_without_end_is_stopped(keeper: int) -> None:
    with sending(keeper, for_ever(b"x" * 65536)) as run, pytest.raises(Stopped, match="one output"):
        next(run.lines(4 * LONGEST_LINE))


@needs_linux
@pytest.mark.parametrize("size", [(1 << 64) - 1, 1 << 40, 1_000_001])
def test_an_answer_longer_than_what_comes_is_left_out(keeper: int, size: int) -> None:
    answers = (7).to_bytes(8, "big") + b"7 bytes" + size.to_bytes(8, "big")
    with sending(keeper, iter([answers, b"x" * 1_000_000])) as run:
        assert [*run.answers(2_000_000)] == [b"7 bytes"]


@needs_linux
def test_who_hangs_up_on_us_has_sent_nothing_more(keeper: int) -> None:
    ours, theirs = socket.socketpair()
    run = Run(keeper, ours, -1, Limits())
    ours.send(b"a task that nobody reads")
    theirs.send(b"a line\n")
    theirs.close()  # with something unread: the connection is reset
    run.limit_time(5)
    assert [*run.lines(100)] in ([b"a line"], [])
    ours.close()


@needs_linux
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_who_hangs_up_before_it_begins_has_failed(keeper: int, size: int) -> None:
    ours, theirs = socket.socketpair()
    status, sender = os.pipe()
    os.write(sender, b"-9")
    task = Task({"file.txt": bytes(size)}, (), "work", {}, Cells({}, 1.0))
    killer = threading.Timer(0.2, theirs.close)  # with the task unread: the connection is reset
    killer.start()
    with pytest.raises(SandboxError, match="its process was ended by SIGKILL"):
        Run(keeper, ours, status, Limits()).begin(task)
    killer.join()
    for descriptor in (status, sender):
        os.close(descriptor)
    ours.close()


# --- notebooks as they were handed in -------------------------------------------------------------


def original_notebook() -> NotebookNode:
    notebook = source_notebook()
    for place, cell in enumerate(notebook.cells):
        cell.id = f"original-{place}"
    return notebook


ORIGINAL = nbformat.writes(original_notebook())
LOCKED = {
    cell.metadata.nbgrader.grade_id: cell
    for cell in original_notebook().cells
    if cell.metadata.get("nbgrader", {}).get("locked")
}
MARKED = {name for name, cell in LOCKED.items() if cell.metadata.nbgrader.grade}


@st.composite
def mutated(draw: st.DrawFn, content: Any) -> Any:
    """A JSON value with a few changes anywhere in it."""
    content = deepcopy(content)
    for _ in range(draw(st.integers(0, 4))):
        inner = content
        while isinstance(inner, dict | list) and inner:
            key = draw(st.sampled_from(_keys(inner)))
            if draw(st.integers(0, 3)) == 0 or not isinstance(inner[key], dict | list):
                _change(draw, inner, key)
                break
            inner = inner[key]
    return content


def _keys(inner: Any) -> list[Any]:
    return [*inner] if isinstance(inner, dict) else [*range(len(inner))]


def _change(draw: st.DrawFn, inner: Any, key: Any) -> None:
    way = draw(st.sampled_from(["delete", "replace", "copy", "double", "add"]))
    if way == "delete":
        del inner[key]
    elif way == "replace":
        inner[key] = draw(values)
    elif way == "copy":
        inner[key] = deepcopy(inner[draw(st.sampled_from(_keys(inner)))])
    elif way == "double" and isinstance(inner, list):
        inner.insert(draw(st.integers(0, len(inner))), deepcopy(inner[key]))
    elif isinstance(inner, dict):
        inner[draw(words)] = draw(values)


def assert_is_repaired(text: str) -> None:
    try:
        notebook = repaired(text, ORIGINAL)
    except Unrepairable:
        return
    nbformat.validate(notebook)
    written = nbformat.writes(notebook)
    written.encode()
    assert written == nbformat.writes(repaired(text, ORIGINAL)), "another notebook each time"
    found = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    names = [cell.metadata.nbgrader.grade_id for cell in found]
    assert len(names) == len({*names})
    assert {*names} >= MARKED
    for name, cell in zip(names, found):
        if name in LOCKED:
            there = {**cell, "id": None}
            assert there == {**LOCKED[name], "id": None}
    assert notebook.metadata == original_notebook().metadata


@examples(200)
@given(mutated(original_notebook()))
def test_repairing_notebooks(content: Any) -> None:
    assert_is_repaired(json.dumps(content))


@examples(100)
@given(st.text() | values.map(json.dumps))
def test_repairing_anything(text: str) -> None:
    assert_is_repaired(text)


@pytest.mark.parametrize("version", [2, 3])
def test_repairing_notebooks_of_an_older_version(version: int) -> None:
    assert_is_repaired(json.dumps(nbformat.convert(original_notebook(), version)))


@pytest.mark.parametrize("minor", [0, 4, 5])
def test_notebooks_of_an_older_format_are_whole(minor: int) -> None:
    notebook = original_notebook()
    notebook.nbformat_minor = minor
    if minor < 5:  # the first that has them
        for cell in notebook.cells:
            del cell["id"]
    text = nbformat.writes(notebook)
    assert [cell.source for cell in repaired(text, text).cells] == [
        cell.source for cell in notebook.cells
    ]


# --- folders as they were handed in ---------------------------------------------------------------

names = st.sampled_from(
    ["adder.ipynb", "toy", "toy/adder.py", "timestamp.txt", "toy/adder.py/x", "a/b/c", "torch.py"]
) | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)
contents = st.one_of(
    st.binary(max_size=20),
    st.just(SOLUTION.encode()),
    st.just(b"2026-01-01 12:00:00 UTC"),
    st.just(b"\xef\xbb\xbf" + SOLUTION.encode()),
    st.just(b"# coding: utf-7\n"),
    st.just(b"x" * 20_000),
)
actions = st.one_of(
    st.tuples(st.just("write"), names, contents),
    st.tuples(st.just("link"), names, st.sampled_from(["secret", ".", "/etc/passwd", "/dev/zero"])),
    st.tuples(st.just("hard link"), names, names),
    st.tuples(st.just("pipe"), names, st.none()),
    st.tuples(st.just("folder"), names, st.none()),
    st.tuples(st.just("delete"), names, st.none()),
    st.tuples(st.just("move"), names, names),
)


def act(folder: Path, action: str, name: str, what: Any) -> None:
    path = folder / name
    with contextlib.suppress(OSError):
        if action == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_symlink():
                path.write_bytes(what)
        elif action == "link":
            target = folder.parents[2] / what if what == "secret" else what
            path.unlink(missing_ok=True)
            path.symlink_to(target)
        elif action == "hard link":
            path.hardlink_to(folder / what)
        elif action == "pipe":
            os.mkfifo(path)
        elif action == "folder":
            path.mkdir(parents=True)
        elif action == "delete":
            path.unlink()
        elif action == "move":
            path.rename(folder / what)


SECRET = "the text of a secret"


@examples(60)
@given(st.lists(actions, max_size=8))
def test_taking_folders_in(released: Path, steps: list[tuple[str, str, Any]]) -> None:
    (released / "secret").write_text(SECRET)
    folder = hand_in(released, "ada", SOLUTION)
    try:
        for step in steps:
            act(folder, *step)
        course = Course(released)
        course.directory.max_file_size = 10
        before = _names_in(folder)
        taken = take_in(course, Submission("ada", "adder", folder))
        assert _names_in(folder) == before
    except GradingError as error:
        if "has other names elsewhere" not in str(error):
            raise
        return
    finally:
        shutil.rmtree(folder)
    assert {*taken.files} <= {"adder.ipynb", "toy/adder.py", "timestamp.txt"}
    assert "toy/adder.py" in taken.files
    assert taken.complete == ("adder.ipynb" in taken.files)
    for text in taken.files.values():
        text.encode()
        assert SECRET not in text
        assert "root:" not in text
    for note in taken.notes:
        assert note.isascii()
        assert note.isprintable()
        assert len(note) < 2000


def _names_in(folder: Path) -> list[str]:
    return sorted(
        os.path.join(path, name)
        for path, folders, files in os.walk(folder)
        for name in (*folders, *files)
    )
