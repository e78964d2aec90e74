"""The corpus of hostile submissions, graded in one class with honest students among them.

Nobody gets points for wrong code, everybody gets a reason, and nobody else notices anything. What
a submission tries, and what must become of it, is in its folder below `hostile/`.
"""

import contextlib
import csv
import hashlib
import json
import shutil
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hostile.hostile_class import (
    CORPUS,
    FLAG,
    REPOSITORY,
    SECRETS,
    VARIANTS,
    HostileClass,
    Run,
    Variant,
    read_variant,
    witnesses,
)
from nbconvert.exporters import HTMLExporter
from nbgrader.server_extensions.formgrader import handlers
from playwright.sync_api import Browser, sync_playwright
from traitlets.config import Config

from grading import sandbox
from grading.course import Course

pytestmark = pytest.mark.xdist_group("hostile")

WORKERS = 4
MINUTES = 15
"""The time for grading the class; less than half of it is usual."""
LARGEST = 5_000_000
"""Bytes that a page of feedback may have, whatever a student prints."""

LEVEL = sandbox.best_level() if sys.platform == "linux" else sandbox.NONE
ALL = {name: read_variant(name) for name in VARIANTS}
OPEN_TO_ALL = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock", "/", str(Path.home()))
PORT = 48731
SOCKET = Path("/tmp/pwned.sock")
ACTING = ("base", "embed", "form", "frame", "iframe", "link", "meta", "object", "script", "style")
every_variant = pytest.mark.parametrize("name", VARIANTS)
every_graded = pytest.mark.parametrize("name", [n for n in VARIANTS if ALL[n].score is not None])
every_ungraded = pytest.mark.parametrize("name", [n for n in VARIANTS if ALL[n].score is None])
every_witness = pytest.mark.parametrize("student", witnesses())
Digests = dict[str, str]


@dataclass(frozen=True)
class Graded:
    """The class after it was graded, what was seen before, and what was reached meanwhile."""

    graded: HostileClass
    run: Run
    seconds: float
    alone: Digests
    submitted: tuple[Digests, Digests]
    course: tuple[Digests, Digests]
    around: tuple[set[str], set[str]]
    reached: list[str]

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        with open(self.graded.root / "grades.csv") as file:
            return {row["student_id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graded]:
    if LEVEL == sandbox.NONE:
        pytest.skip("this machine has no sandbox: nobody should run these submissions here")
    before = left_in_open_folders()
    graded = HostileClass(tmp_path_factory.mktemp("hostile"))
    untouched = graded.root.with_name("untouched")
    shutil.copytree(graded.root, untouched)
    graded.hand_in([])
    grade(graded)
    alone = results_of_witnesses(graded)
    # In the same place again, because paths are part of what tracebacks and digests show.
    shutil.rmtree(graded.root)
    untouched.rename(graded.root)
    graded.hand_in([variant for variant in ALL.values() if can_be_shown(variant)])
    submitted, course = digests(graded.root / "submitted"), course_files(graded)
    begin = time.monotonic()
    with doors() as reached:
        run = grade(graded)
    yield Graded(
        graded,
        run,
        time.monotonic() - begin,
        alone,
        (submitted, digests(graded.root / "submitted")),
        (course, course_files(graded)),
        (before, left_in_open_folders()),
        reached,
    )
    make_removable(graded.root)


def can_be_shown(variant: Variant) -> bool:
    return variant.level != sandbox.FULL or LEVEL == sandbox.FULL


def grade(graded: HostileClass) -> Run:
    run = graded.run("autograde", "--workers", str(WORKERS))
    for command in ("feedback", "export"):
        done = graded.run(command)
        assert (done.code, done.left) == (0, []), done.err
    return run


def results_of_witnesses(graded: HostileClass) -> Digests:
    found = {}
    for student in witnesses():
        for step in ("autograded", "feedback"):
            place = f"{step}/{student}"
            found |= {f"{place}/{k}": v for k, v in digests(graded.root / place).items()}
    with open(graded.root / "grades.csv") as file:
        for row in csv.DictReader(file):
            if row["student_id"] in witnesses():
                found[f"row {row['student_id']}"] = str(row)
    return found


def course_files(graded: HostileClass) -> Digests:
    names = ("course_lib", "solutions", "notebooks", "release", "notes.txt", "grading_seed")
    found = digests(graded.home)
    for name in names:
        found |= {f"{name}/{path}": digest for path, digest in digests(graded.root / name).items()}
    return found


def digests(folder: Path) -> Digests:
    """Return what can be seen of every file: kind, rights, size, time, link, content."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        facts = path.lstat()
        text = f"{facts.st_mode:o} {facts.st_uid} {facts.st_nlink}"
        if path.is_symlink():
            text += f" -> {path.readlink()}"
        elif stat.S_ISREG(facts.st_mode):
            text += f" {facts.st_size} {facts.st_mtime_ns if 'submitted' in path.parts else ''}"
            if facts.st_size < 20_000_000:
                text += hashlib.sha256(path.read_bytes()).hexdigest()
        if "__pycache__" not in path.parts and not stat.S_ISDIR(facts.st_mode):
            found[str(path.relative_to(folder))] = text
    return found


def left_in_open_folders() -> set[str]:
    """Return what hostile code has left where everybody may write, or beside Python's modules."""
    folders = {*OPEN_TO_ALL, *filter(None, sys.path), str(REPOSITORY / "course_lib")}
    return {
        str(path)
        for folder in folders
        for pattern in ("*pwned*", ".pwned*", ".config/*pwned*", ".ipython/**/*pwned*")
        for path in Path(folder).glob(pattern)
        if path != SOCKET
    }


@contextlib.contextmanager
def doors() -> Iterator[list[str]]:
    """Listen where a sandbox should let nobody come from; the list is filled at the end."""
    reached: list[str] = []
    addresses = {
        "TCP": (socket.AF_INET, ("127.0.0.1", PORT)),
        "an abstract Unix socket": (socket.AF_UNIX, "\0pwned"),
        "a Unix socket": (socket.AF_UNIX, str(SOCKET)),
    }
    SOCKET.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        lines = {}
        for name, (family, address) in addresses.items():
            lines[name] = stack.enter_context(socket.socket(family))
            lines[name].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            lines[name].bind(address)
            lines[name].listen()
            lines[name].setblocking(False)
        SOCKET.chmod(0o777)
        yield reached
        for name, line in lines.items():
            with contextlib.suppress(BlockingIOError):
                line.accept()
                reached.append(name)
    SOCKET.unlink()


def make_removable(folder: Path) -> None:
    """Give pytest the rights to remove what was handed in."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)


def shown_by(graded: HostileClass, student: str) -> str:
    """Return all that came out of a student's code: outputs, notes, and the page of feedback."""
    path = graded.root / "autograded" / student / "losses" / "losses.ipynb"
    cells = json.loads(path.read_text())["cells"]
    outputs = [json.dumps(cell.get("outputs"), ensure_ascii=False) for cell in cells]
    return "\n".join([*outputs, graded.page(student).read_text(), graded.shown(student)])


# --- what hostile students get --------------------------------------------------------------------


@pytest.fixture
def variant(name: str) -> Variant:
    if not can_be_shown(ALL[name]):
        pytest.skip(f"only the sandbox level {ALL[name].level} contains it; this is {LEVEL}")
    return ALL[name]


@every_variant
def test_points_are_given_for_right_code_only(result: Graded, variant: Variant) -> None:
    row = result.rows[variant.student]
    assert (float(row["score"]), float(row["max_score"])) == (variant.score or 0, 17)


@every_ungraded
def test_what_is_not_graded_leaves_nothing(result: Graded, variant: Variant) -> None:
    for step in ("autograded", "feedback"):
        assert not (result.graded.root / step / variant.student).exists()


@every_graded
def test_the_feedback_says_why(result: Graded, variant: Variant) -> None:
    shown = result.graded.shown(variant.student)
    assert any(text in shown for text in ("0 of 3 points", "3 of 3 points", "so it scores 0"))
    for sentence in variant.feedback:
        assert result.graded.says(variant.student, sentence), shown[:3000]


@every_variant
def test_the_command_reports_it(result: Graded, variant: Variant) -> None:
    said = result.run.about(variant.student)
    score = "not graded" if variant.score is None else f"{variant.score:g} / 17"
    assert said.startswith(f"{variant.student}, losses: {score}\n")
    for sentence in variant.report:
        assert sentence in said


@every_graded
def test_nothing_secret_comes_out(result: Graded, variant: Variant) -> None:
    shown = shown_by(result.graded, variant.student)
    assert FLAG not in shown, shown[shown.index(FLAG) :][:300]
    for where, secret in SECRETS.items():
        assert secret not in shown, where


@every_variant
def test_what_comes_out_is_small(result: Graded, variant: Variant) -> None:
    for step in ("autograded", "feedback"):
        for path in (result.graded.root / step / variant.student).rglob("*"):
            assert path.lstat().st_size < LARGEST, path


# --- what honest students notice ------------------------------------------------------------------


@every_witness
def test_witnesses_get_what_they_earn(result: Graded, student: str) -> None:
    assert float(result.rows[student]["score"]) == witnesses()[student].score


@every_witness
def test_witnesses_get_the_same_to_the_byte_as_without_the_others(
    result: Graded, student: str
) -> None:
    now = results_of_witnesses(result.graded)
    own = [name for name in result.alone if student in name]
    assert len(own) > 3
    assert {name: now.get(name) for name in own} == {name: result.alone[name] for name in own}


def test_no_submission_is_changed(result: Graded) -> None:
    before, after = result.submitted
    assert len(before) > 3 * len(witnesses())
    assert after == before


def test_neither_the_course_nor_the_instructors_home_is_changed(result: Graded) -> None:
    before, after = result.course
    assert {path for path in after if after[path] != before.get(path)} == set()
    assert before.keys() <= after.keys()


# --- what is left ---------------------------------------------------------------------------------


def test_no_process_is_left(result: Graded) -> None:
    assert result.run.left == []


def test_no_file_is_left(result: Graded) -> None:
    before, after = result.around
    assert after - before == set()
    own = ("autograded", "feedback", "submitted")
    for place in (result.graded.root, result.graded.home, result.graded.temporary):
        names = {str(path.relative_to(place)) for path in place.rglob("*pwned*")}
        assert [name for name in names if not name.startswith(own)] == []


def test_nobody_was_reached_over_a_network(result: Graded) -> None:
    assert result.reached == []


@pytest.mark.parametrize("port", [48732, 48733])
def test_nobody_listens(result: Graded, port: int) -> None:
    for host in ("127.0.0.1", "::1"):
        with pytest.raises(ConnectionRefusedError), socket.create_connection((host, port), 1):
            pass


def test_the_command_says_that_not_all_could_be_graded_in_full(result: Graded) -> None:
    assert result.run.code == 1
    students = len(list((result.graded.root / "submitted").iterdir()))
    assert f"of {students} could not be graded in full" in result.run.err
    assert "Traceback" not in result.run.out + result.run.err, result.run.err


def test_the_report_is_clean(result: Graded) -> None:
    text = result.run.out + result.run.err
    assert FLAG not in text
    assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert not [secret for secret in SECRETS.values() if secret in text]


def test_it_takes_minutes(result: Graded) -> None:
    assert result.seconds < 60 * MINUTES


def test_grading_again_changes_nothing(result: Graded) -> None:
    again = result.graded.run("autograde", "--workers", str(WORKERS), "--student", "a-reference")
    assert "a-reference, losses: 15 / 17 (unchanged)" in again.out


# --- what a browser makes of it -------------------------------------------------------------------

every_page = pytest.mark.parametrize("view", ["feedback", "formgrader"])
every_markup = pytest.mark.parametrize("name", [n for n in VARIANTS if n.startswith("markup/")])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


def page_of(graded: HostileClass, view: str, student: str) -> str:
    """Return a student's feedback, or what an instructor sees in formgrader."""
    if view == "feedback":
        return graded.page(student).read_text()
    config = Config(Course(graded.root).config)
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    path = graded.root / "autograded" / student / "losses" / "losses.ipynb"
    names = ("assignment_id", "notebook_id", "submission_id", "base_url", "notebook_path")
    people = ("student", "last_name", "first_name")
    resources = dict.fromkeys((*names, *people), "") | {"index": 0, "total": 1}
    return str(HTMLExporter(config=config).from_filename(str(path), resources=resources)[0])


def acting(page: str) -> set[str]:
    """Return what runs, loads something, leads to code or leaves the page."""
    found = set()
    for element in BeautifulSoup(page, "html.parser").find_all(True):
        tag = str(element)
        if element.name in ACTING:
            found.add(tag)
        for name, value in element.attrs.items():
            text = "".join(str(value).split()).lower()
            loads = name != "href" and "//" in text
            if name.startswith("on") or loads or text.startswith(("javascript:", "vbscript:")):
                found.add(tag[:300])
    return found


@every_page
@every_markup
def test_a_page_holds_nothing_that_acts(result: Graded, variant: Variant, view: str) -> None:
    honest = acting(page_of(result.graded, view, "l-stub"))
    assert honest
    assert acting(page_of(result.graded, view, variant.student)) - honest == set()


@every_page
@every_markup
def test_a_browser_runs_and_loads_nothing(
    result: Graded, variant: Variant, view: str, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text(page_of(result.graded, view, variant.student))
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
    page.goto((tmp_path / "page.html").as_uri())
    assert "pwned" not in page.title()
    assert not [url for url in asked if "pwned" in url]
    page.close()


# --- archives, which only nbgrader's collector unpacks --------------------------------------------


@pytest.fixture
def collecting(tmp_path: Path) -> HostileClass:
    graded = HostileClass(tmp_path)
    (graded.root / "downloaded" / "losses" / "archive").mkdir(parents=True)
    return graded


def zip_up(graded: HostileClass, student: str, files: dict[str, bytes]) -> None:
    path = graded.root / "downloaded" / "losses" / "archive" / f"{student}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def collect(graded: HostileClass) -> subprocess.CompletedProcess[str]:
    pattern = r".*extracted/(?P<student_id>[^/]+)/(?P<file_id>.*)"
    options = [f"--FileNameCollectorPlugin.named_regexp={pattern}"]
    options += ["--FileNameCollectorPlugin.valid_ext=['.ipynb', '.py']"]
    command = [sys.executable, "-m", "nbgrader", "zip_collect", "losses", *options]
    return subprocess.run(command, cwd=graded.root, capture_output=True, text=True)


def test_what_an_archive_bomb_leaves_is_not_graded(collecting: HostileClass) -> None:
    notebook = (collecting.root / "release" / "losses" / "losses.ipynb").read_bytes()
    zip_up(
        collecting,
        "bomb",
        {"losses.ipynb": notebook, "course_lib/losses.py": bytes(200 << 20)},
    )
    with Course(collecting.root).gradebook() as gradebook:
        gradebook.add_student("bomb")
    done = collect(collecting)
    assert done.returncode == 0, done.stderr
    run = collecting.run("autograde")
    assert "bomb, losses: 0 / 17" in run.out
    assert "`course_lib/losses.py` is larger than 10000 kB" in run.out


def test_an_archive_cannot_lead_outside(collecting: HostileClass) -> None:
    away = "../" * 8 + str(collecting.root).lstrip("/")
    zip_up(collecting, "outside", {f"{away}/solutions/losses.py": b"pwned", "/tmp/pwned": b""})
    before = course_files(collecting)
    collect(collecting)
    assert course_files(collecting) == before
    assert not Path("/tmp/pwned").exists()


# --- the corpus itself ----------------------------------------------------------------------------


def test_the_corpus_describes_itself() -> None:
    """Every folder says what it tries, and holds something to hand in."""
    for name, variant in ALL.items():
        files = {path.name for path in (CORPUS / name).iterdir()} - {"__pycache__"}
        assert variant.what.endswith("."), name
        assert files - {"expected.yaml"}, name
        assert files <= {"expected.yaml", "losses.py", "notebook.py", "hand_in.py"}, name
