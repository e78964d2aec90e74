"""What nbgrader's users know stays true: scores, regrading, feedback, and formgrader's button.

Stock nbgrader, with its own preprocessors and kernels, grades copies of the same classes beside us.
"""

import functools
import html
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from nbgrader.api import Grade
from plain_course import (
    ANSWERS,
    DIFFERENT,
    IN_TIME,
    NOTEBOOKS,
    SHOWN,
    code_cells,
    copy_of,
    edit,
    fill_in,
    hand_in,
    rows,
    set_due_date,
    write_course,
)
from playwright.sync_api import Browser, sync_playwright
from toy_course import REPOSITORY, add_students, run

from grading.course import Course

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
}

WARNINGS_COST_NOTHING = """
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"[\\s\\S]"
"""


def score(root: Path, student: str, name: str) -> Any:
    return rows(root, student)[student, "functions", name]["auto_score"]


# --- the plain course -----------------------------------------------------------------------------


class Stock:
    """A class that stock nbgrader grades, beside the other tests."""

    def __init__(self, folder: Path, assignment: str, **variables: str) -> None:
        self.folder = folder
        with folder.with_name(f"{folder.name}.log").open("w") as log:
            self.process = subprocess.Popen(
                ["nbgrader", "autograde", assignment, "--force"],
                cwd=folder,
                env=ENVIRONMENT | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @functools.cached_property
    def root(self) -> Path:
        """The class when it is graded."""
        self.process.wait()
        return self.folder


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain course, handed in by everybody and not yet graded."""
    root = tmp_path_factory.mktemp("plain") / "course"
    root.mkdir()
    write_course(root)
    assert run("release", "--root", root).code == 0
    set_due_date(root)
    for student in ANSWERS:
        hand_in(root, student)
    for student in ("ada", "ben", "cleo"):
        hand_in(root, student, "second")
    hand_in(root, "ada", "shown")
    return root


@pytest.fixture(scope="module", autouse=True)
def stock(released: Path) -> Iterator[dict[str, Stock]]:
    """The plain course, being graded by stock nbgrader from the first test on."""
    found = {}
    for assignment in NOTEBOOKS:
        copy = shutil.copytree(released, released.with_name(f"stock_{assignment}"))
        found[assignment] = Stock(copy, assignment)
    yield found
    for each in found.values():
        each.process.kill()


@pytest.fixture(scope="module")
def graded(released: Path) -> Path:
    """The plain course, graded by us."""
    root = released.with_name("ours")
    shutil.copytree(released, root)
    result = run("autograde", "--root", root)
    assert result.err.startswith("1 of 18 could not be graded in full"), "finn forgot a notebook"
    return root


@pytest.fixture
def few(graded: Path, tmp_path: Path) -> Path:
    """A graded class of three that a test may change."""
    return copy_of(graded, tmp_path / "course", "ada", "cleo", "dan", assignment="first")


# --- our own course -------------------------------------------------------------------------------

EXAMPLES = REPOSITORY / "tests" / "end_to_end" / "sample_class"
ALTERNATIVES = REPOSITORY / "tests" / "exercises" / "alternatives"
PERCEPTRONS = {
    "reference": REPOSITORY / "solutions" / "perceptron.py",
    "empty": None,
    **{name: EXAMPLES / name / "perceptron.py" for name in ("dan", "eva", "finn", "gita")},
    **{name: ALTERNATIVES / f"perceptron_{name}.py" for name in ("numpy", "in_place")},
}
STOCK_CONFIG = f"c = get_config(){WARNINGS_COST_NOTHING}"


@pytest.fixture(scope="module", autouse=True)
def perceptrons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Stock]]]:
    """Our own course's first assignment: to be graded by us, and in two halves by nbgrader."""
    # Below our own course, because its folder is what the configuration speaks of.
    root = REPOSITORY / "_build" / "faithful_class"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    assert run("release", "perceptron", "--root", root).code == 0
    add_students(root, *PERCEPTRONS)
    for student, module in PERCEPTRONS.items():
        folder = root / "submitted" / student / "perceptron"
        shutil.copytree(root / "release" / "perceptron", folder)
        if module:
            shutil.copy(module, folder / "course_lib" / "perceptron.py")
    variables = {
        "COURSE_LIB_OVERLAY": os.pathsep.join(["course_lib", str(REPOSITORY / "solutions")]),
        "COURSE_LIB_SEED": str(Course(root).seed),
    }
    found = []
    for number in range(2):
        half = [*PERCEPTRONS][number::2]
        copy = copy_of(root, tmp_path_factory.mktemp("stock") / "course", *half)
        (copy / "nbgrader_config.py").write_text(STOCK_CONFIG)
        shutil.copytree(REPOSITORY / "notebooks" / "perceptron", copy / "source" / "perceptron")
        found.append(Stock(copy, "perceptron", **variables))
    yield root, found
    for each in found:
        each.process.kill()


# --- repeats --------------------------------------------------------------------------------------


REPEATS = int(os.environ.get("FAITHFUL_REPEATS", "10"))


@pytest.mark.slow
def test_repeats_with_any_number_of_workers_change_nothing(graded: Path, tmp_path: Path) -> None:
    root = copy_of(graded, tmp_path / "course", "cleo", "hugo", assignment="first")
    before = rows(root)
    files = {path: path.read_bytes() for path in (root / "autograded").rglob("*.ipynb")}
    assert len(files) == 4
    for workers, _ in zip(itertools.cycle("124"), range(REPEATS)):
        assert run("autograde", "--force", "--workers", workers, "--root", root).code == 0
        assert rows(root) == before
        assert {path: path.read_bytes() for path in files} == files


# --- the same scores ------------------------------------------------------------------------------


def test_the_gradebook_says_the_same_as_after_stock_nbgrader(
    graded: Path, stock: dict[str, Stock]
) -> None:
    alike = [student for student in ANSWERS if student not in ("lou", "mia", "zoe")]
    ours = rows(graded, *alike)
    assert len(ours) == 20 * len(alike)
    assert ours == rows(stock["first"].root, *alike)
    for assignment in ("second", "shown"):
        ours = rows(graded, assignment=assignment)
        assert ours == rows(stock[assignment].root, assignment=assignment)


def test_the_scores_are_what_they_should_be(graded: Path) -> None:
    """Two graders could be wrong alike."""
    all_rows = rows(graded)
    totals = {
        student: tuple(all_rows[student, name][0] for name in ("functions", "rain"))
        for student in ANSWERS
    }
    assert totals == {
        "ada": (7, 4),
        "ben": (0, 0),
        "cleo": (4, 4),
        "dan": (7, 4),
        "eva": (2, 0),
        "finn": (7, 0),
        "gita": (5, 3),
        "hugo": (1, 4),
        "ida": (5, 1),
        "jon": (7, 1),
        "kim": (7, 4),
        "lou": (7, 4),
        "mia": (5, 4),
        "zoe": (7, 4),
    }
    assert all_rows["dan", "functions"][1] == 2
    assert all_rows["eva", "rain"][1] == 0, "a penalty takes no more than there is"
    doubles = rows(graded, assignment="second")
    scores = [doubles[student, "double"][0] for student in ("ada", "ben", "cleo")]
    assert scores == [2, 0, 0]


def test_a_deleted_test_is_put_back(graded: Path, stock: dict[str, Stock]) -> None:
    """Stock nbgrader lets it wait for a person for ever, unless its configuration says else."""
    assert score(stock["first"].root, "lou", "test_square") is None
    assert score(graded, "lou", "test_square") == 2


def test_a_file_of_a_students_own_is_not_used(graded: Path, stock: dict[str, Stock]) -> None:
    """Stock nbgrader leaves it there, whatever it is called; the configuration can name it."""
    assert score(stock["first"].root, "mia", "test_square") == 2
    assert score(graded, "mia", "test_square") == 0
    [note, *_] = nbformat.read(
        graded / "autograded" / "mia" / "first" / "functions.ipynb", as_version=4
    ).cells
    assert "Not part of the assignment, so not used: `helpers.py`." in note.source


def test_a_copied_cell_stops_nobody(graded: Path, stock: dict[str, Stock]) -> None:
    """Stock nbgrader says that the metadata is old, and grades nobody who comes after."""
    assert score(stock["first"].root, "zoe", "test_mean") is None
    assert stock["first"].process.returncode == 1
    assert score(graded, "zoe", "test_mean") == 4


def test_a_warning_costs_points_unless_the_configuration_says_else(
    released: Path, graded: Path, tmp_path: Path
) -> None:
    """As in nbgrader; our own course's configuration says else."""
    assert score(graded, "hugo", "test_square") == 0
    root = copy_of(released, tmp_path / "course", "hugo")
    with (root / "nbgrader_config.py").open("a") as config:
        config.write(WARNINGS_COST_NOTHING)
    assert run("release", "first", "--root", root).code == 0
    assert run("autograde", "first", "--root", root).code == 0
    assert score(root, "hugo", "test_square") == 2


def test_our_own_course_has_the_same_scores(perceptrons: tuple[Path, list[Stock]]) -> None:
    root, halves = perceptrons
    command = [sys.executable, "-m", "grading", "autograde", "perceptron", "--root", root]
    subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY, env=ENVIRONMENT)
    ours = rows(root, assignment="perceptron")
    assert ours == {
        key: row for half in halves for key, row in rows(half.root, assignment="perceptron").items()
    }
    totals = {student: ours[student, "perceptron"][0] for student in PERCEPTRONS}
    right = dict.fromkeys(("reference", "numpy", "in_place"), 10)
    assert totals == right | {"empty": 0, "dan": 3, "eva": 2, "finn": 8, "gita": 0}


# --- the same outputs -----------------------------------------------------------------------------

VOLATILE = {
    r"\x1b\[[0-9;]*m": "",  # colours
    r"\r\n": "\n",  # of a kernel's terminal
    r"\b(0x)?[0-9a-f]{12}\b": "ADDRESS",
    r"/tmp/ipykernel_\d+/\d+\.py": "CELL",
    r"<ipython-input-\d+-\w+>": "CELL",
}
SAME = len(code_cells(SHOWN))
ALL = SAME + len(code_cells(DIFFERENT))


def outputs(cell: NotebookNode) -> list[str]:
    """Return a cell's outputs as text, without what differs from run to run."""
    texts: list[str] = []
    for stream, group in itertools.groupby(cell.outputs, lambda output: output.get("name", "")):
        if stream:  # it comes in any number of pieces
            texts.append(f"{stream}: {''.join(output.text for output in group)}")
        else:
            texts += [repr(sorted(output.items())).replace("\\x1b", "\x1b") for output in group]
    text = "\n".join(texts)
    for pattern, instead in VOLATILE.items():
        text = re.sub(pattern, instead, text)
    return text.split("\n")


def failed(cell: NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


@pytest.fixture
def pairs(graded: Path, stock: dict[str, Stock]) -> list[tuple[NotebookNode, NotebookNode]]:
    """The executed cells of the notebook that shows things: ours, and those of a kernel."""
    path = Path("autograded", "ada", "shown", "shown.ipynb")
    roots = graded, stock["shown"].root
    return [*zip(*(nbformat.read(root / path, as_version=4).cells for root in roots), strict=True)]


@pytest.mark.parametrize("number", range(SAME))
def test_a_cell_shows_the_same(pairs: list[tuple[NotebookNode, NotebookNode]], number: int) -> None:
    ours, theirs = pairs[number]
    assert outputs(ours) == outputs(theirs)
    assert ours.execution_count == theirs.execution_count


@pytest.mark.parametrize("number", range(SAME, ALL))
def test_a_cell_that_shows_something_else_ends_alike(
    pairs: list[tuple[NotebookNode, NotebookNode]], number: int
) -> None:
    ours, theirs = pairs[number]
    assert failed(ours) == failed(theirs)
    assert outputs(ours) != outputs(theirs), "if it shows the same by now, let it join the others"


# --- regrading ------------------------------------------------------------------------------------


def mark_by_hand(root: Path) -> None:
    with Course(root).gradebook() as gradebook:

        def grade(student: str, name: str) -> Grade:
            return gradebook.find_grade(name, "functions", "first", student)

        grade("ada", "table").manual_score = 2.5
        grade("ada", "table").needs_manual_grade = False
        grade("ada", "test_mean").manual_score = 3
        grade("ada", "test_square").extra_credit = 1.25
        grade("cleo", "why").manual_score = 0.5
        comment = gradebook.find_comment("why", "functions", "first", "ada")
        comment.manual_comment = "Which signs?"
        gradebook.db.commit()


def hand_in_again(root: Path) -> None:
    """One changes an answer that has its marks, another turns out to have been in time."""
    edit(
        root / "submitted" / "cleo" / "first" / "functions.ipynb",
        lambda notebook: fill_in(notebook, {"why": "Minus times minus.", "mean": "mean = max"}),
    )
    (root / "submitted" / "dan" / "first" / "timestamp.txt").write_text(IN_TIME)


def test_regrading_leaves_a_persons_marks_as_nbgrader_does(
    few: Path, stock: dict[str, Stock], tmp_path: Path
) -> None:
    three = "ada", "cleo", "dan"
    theirs = copy_of(stock["first"].root, tmp_path / "stock", *three, assignment="first")
    for root in (few, theirs):
        mark_by_hand(root)
        hand_in_again(root)
    again = Stock(theirs, "first")
    assert run("autograde", "--force", "--root", few).code == 0
    ours = rows(few, *three)
    assert ours == rows(again.root, *three)
    table = ours["ada", "functions", "table"]
    assert (table["manual_score"], table["needs_manual_grade"]) == (2.5, True)
    assert ours["ada", "functions", "test_mean"]["score"] == 3
    assert ours["ada", "functions", "test_square"]["score"] == 3.25
    assert ours["ada", "functions", "why", "comment"] == (None, "Which signs?")
    assert ours["cleo", "functions", "why"]["score"] == 0.5
    assert ours["cleo", "functions", "test_mean"]["score"] == 1
    assert ours["dan", "functions"] == (7, None)


def test_only_what_changed_is_graded_again(few: Path) -> None:
    mark_by_hand(few)
    hand_in_again(few)
    before = rows(few, "ada")
    said = run("autograde", "--root", few).out
    assert "ada, first: 13.75 / 22.5 (unchanged)\n" in said
    assert said.count("(unchanged)") == 1
    assert rows(few, "ada") == before


def test_one_student_is_graded_again(few: Path) -> None:
    hand_in_again(few)
    before = rows(few)
    said = run("autograde", "--force", "--student", "dan", "--root", few).out
    assert "dan, first: 11 / 22.5\n" in said
    changed = {key for key, row in rows(few).items() if row != before[key]}
    assert changed == {("dan",), ("dan", "functions"), ("dan", "rain")}


# --- feedback -------------------------------------------------------------------------------------


def page(root: Path, student: str) -> str:
    """The text of a feedback page, with single spaces."""
    text = (root / "feedback" / student / "first" / "functions.html").read_text()
    text = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


def test_feedback_has_marks_comments_and_messages(few: Path) -> None:
    mark_by_hand(few)
    assert run("feedback", "--root", few).out == "feedback: 3 written, 0 unchanged\n"
    text = page(few, "ada")
    assert "Score: 2.5 / 3.0" in text
    assert "Score: 3.25 / 2.0" in text
    assert "Which signs?" in text
    text = page(few, "cleo")
    assert "mean: 1 of 4 are right" in text
    assert "Score: 1.0 / 4.0" in text


def test_a_persons_change_rewrites_feedback(few: Path) -> None:
    run("feedback", "--root", few)
    mark_by_hand(few)
    assert run("feedback", "--root", few).out == "feedback: 2 written, 1 unchanged\n"
    assert "Which signs?" in page(few, "ada")
    with Course(few).gradebook() as gradebook:
        comment = gradebook.find_comment("why", "functions", "first", "ada")
        comment.manual_comment = "All right now."
        gradebook.db.commit()
    assert run("feedback", "--root", few).out == "feedback: 1 written, 2 unchanged\n"
    assert "All right now." in page(few, "ada")


# --- formgrader -----------------------------------------------------------------------------------

IN_PLACE_OF_EXECUTE = """
from nbgrader.converters import Autograde

c.Autograde.autograde_preprocessors = [
    "grading.preprocessors.Executed",
    *Autograde().autograde_preprocessors[1:],
]
"""
CURIOUS = "from pathlib import Path\nprint(Path({!r}).read_bytes()[:15])"


@pytest.fixture(scope="module")
def formgrader(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Formgrader"]:
    students = "ada", "cleo", "dan", "kim"
    root = copy_of(released, tmp_path_factory.mktemp("lab") / "course", *students)
    with (root / "nbgrader_config.py").open("a") as config:
        config.write(IN_PLACE_OF_EXECUTE)
    assert run("release", "first", "--root", root).code == 0
    look = new_code_cell(CURIOUS.format(str(root / "gradebook.db")))
    edit(
        root / "submitted" / "ada" / "first" / "rain.ipynb",
        lambda notebook: notebook.cells.append(look),
    )
    server = Formgrader(root, tmp_path_factory.mktemp("home"))
    yield server
    server.process.terminate()
    server.process.wait()


class Formgrader:
    """JupyterLab with nbgrader's extension, as an instructor starts it in the course's folder."""

    def __init__(self, root: Path, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.root, self.token = root, secrets.token_hex()
        self.address = f"http://127.0.0.1:{port}"
        folders = {f"JUPYTER_{name}_DIR": str(home) for name in ("CONFIG", "DATA", "RUNTIME")}
        with (home / "log").open("w") as log:
            self.process = subprocess.Popen(
                ["jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"],
                cwd=root,
                env=ENVIRONMENT | folders | {"HOME": str(home), "JUPYTER_TOKEN": self.token},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            try:
                assert self.ask("GET", "status") == {"status": True}
                return
            except urllib.error.URLError:
                assert self.process.poll() is None, "JupyterLab has ended"
                time.sleep(0.1)
        pytest.fail("JupyterLab does not answer.")

    def ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(
            f"{self.address}/formgrader/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        names = "chromium", "chromium-browser", "google-chrome"
        program = os.environ.get("COURSE_BROWSER") or next(
            filter(None, map(shutil.which, names)), None
        )
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


def test_formgraders_button_grades_in_the_sandbox(
    formgrader: Formgrader, browser: Browser, graded: Path
) -> None:
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{formgrader.address}/lab?token={formgrader.token}", wait_until="commit")
    page.goto(f"{formgrader.address}/formgrader/manage_submissions/first")
    row = page.get_by_role("row", name="ada")
    row.locator(".autograde a").click()
    page.locator("#success-modal").get_by_text("Successfully autograded 'first'").wait_for()
    assert row.locator(".score").text_content() == "11 / 22.5"
    assert rows(formgrader.root, "ada") == rows(graded, "ada")
    path = formgrader.root / "autograded" / "ada" / "first" / "rain.ipynb"
    [error] = nbformat.read(path, as_version=4).cells[-1].outputs
    assert error.ename in ("FileNotFoundError", "PermissionError"), "it can read the gradebook"


def test_formgraders_interface_grades_as_the_command_does(
    formgrader: Formgrader, graded: Path
) -> None:
    for student in ("cleo", "kim"):
        answer = formgrader.ask("POST", f"submission/first/{student}/autograde")
        assert answer["success"], answer
        assert formgrader.ask("GET", f"submission/first/{student}")["autograded"]
    assert rows(formgrader.root, "cleo", "kim") == rows(graded, "cleo", "kim")


def test_formgrader_gives_no_points_for_what_cannot_be_graded(formgrader: Formgrader) -> None:
    edit(
        formgrader.root / "submitted" / "dan" / "first" / "functions.ipynb",
        lambda notebook: notebook.cells.append(new_code_cell("#" * 200_000)),
    )
    answer = formgrader.ask("POST", "submission/first/dan/autograde")
    assert not answer["success"]
    assert "has a code cell of more than" in answer["log"]
    assert score(formgrader.root, "dan", "test_mean") is None
