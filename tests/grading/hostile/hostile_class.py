"""The class that the corpus of hostile submissions is graded in.

Try some of them, and see what they get:

    python tests/grading/hostile/hostile_class.py bombs/memory network/out
"""

import argparse
import ctypes
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import matplotlib.font_manager
import nbformat
import psutil
import yaml
from nbformat.v4 import new_code_cell

from grading.course import Course

CORPUS = Path(__file__).parent
REPOSITORY = CORPUS.parents[2]
VARIANTS = sorted(str(path.parent.relative_to(CORPUS)) for path in CORPUS.glob("*/*/expected.yaml"))

FLAG = "PWNED"
"""What a submission says when it gets through. It puts the word together, so that the word stands
in no source."""

SECONDS = 8
"""The time limit of a cell in this class."""

CONFIG = f"""
load_subconfig("nbgrader_config.py", path={str(REPOSITORY)!r})
c.Execute.timeout = {SECONDS}
c.Engine.notebook_timeout = 25
"""

SHORT = {"SECONDS = 4.0": "SECONDS = 1.5", "IMPORT_SECONDS = 12.0": "IMPORT_SECONDS = 4.0"}
"""The checks' time limits, which endless loops use up, become shorter in this class."""

SEED = "2718281829"
SECRETS = {
    "seed": SEED,
    "token": "canary-70cec0de-in-the-environment",
    "solution": "canary-50107100-in-the-solutions",
    "hidden test": "canary-41dde400-in-a-hidden-test",
    "gradebook": "canary-9ade800c-in-the-gradebook",
    "other student": "canary-07he5500-in-a-submission",
    "home": "canary-40ae0000-in-a-home-folder",
    "notes": "canary-407e5000-in-the-course",
}
"""What no hostile submission may get hold of, and where it lies."""

HALF_RIGHT = """
def mse_loss(input, target, reduction="mean"):
    losses = (input - target) ** 2
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    return mse_loss(input, target, reduction)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    raise NotImplementedError("no time left")
"""

OBSERVER = """
import os, socket, sys, torch
print(sorted(os.environ.items()), sorted(os.listdir(".")), sorted(os.listdir("/tmp")))
print(sys.path, sys.flags, sys.getrecursionlimit(), len(sys.modules), socket.gethostname())
print(torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), torch.rand(1))
print(os.getpriority(os.PRIO_PROCESS, 0), len(os.sched_getaffinity(0)), os.umask(0o22))
"""
"""A cell that shows what an earlier run could have changed."""


@dataclass(frozen=True)
class Witness:
    """An honest student, whom nothing that others do may touch."""

    module: str | None
    score: float
    cells: str = ""


def witnesses() -> dict[str, Witness]:
    """Return the honest students. Their names are before, among and after the others'."""
    solution = (REPOSITORY / "solutions" / "losses.py").read_text()
    other = (REPOSITORY / "tests/exercises/alternatives/losses_flat.py").read_text()
    return {
        "a-reference": Witness(f"{solution}\n# {SECRETS['other student']}\n", 15),
        "d-half": Witness(HALF_RIGHT, 3),
        "l-stub": Witness(None, 0),
        "o-observer": Witness(solution, 15, OBSERVER),
        "z-alternative": Witness(other, 15),
    }


@dataclass(frozen=True)
class Variant:
    """One hostile submission: a folder of the corpus, and what must become of it."""

    name: str
    what: str
    score: float | None
    feedback: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    level: str = "landlock"
    known: str = ""

    @property
    def student(self) -> str:
        return self.name.replace("/", "-")

    def hand_in(self, folder: Path) -> None:
        here = CORPUS / self.name
        if (here / "losses.py").exists():
            shutil.copy(here / "losses.py", folder / "course_lib" / "losses.py")
        if (here / "notebook.py").exists():
            put_in_front(folder / "losses.ipynb", (here / "notebook.py").read_text())
        if (here / "hand_in.py").exists():
            runpy.run_path(str(here / "hand_in.py"))["hand_in"](folder)


def read_variant(name: str) -> Variant:
    facts: dict[str, Any] = yaml.safe_load((CORPUS / name / "expected.yaml").read_text())
    lists = {key: tuple(facts.pop(key, ())) for key in ("feedback", "report")}
    return Variant(name, **facts, **lists)


def put_in_front(path: Path, code: str) -> None:
    """Put cells, which are separated by `# %%`, before the first cell of a notebook."""
    notebook = nbformat.read(path, as_version=4)
    texts = re.split(r"^# %%\n", code, flags=re.MULTILINE)
    notebook.cells[:0] = [new_code_cell(text.strip()) for text in texts]
    nbformat.write(notebook, path)


@dataclass
class Run:
    """A command that has ended: what it returned and printed, and the processes that it left."""

    code: int
    out: str
    err: str
    left: list[str] = field(default_factory=list)

    def about(self, student: str) -> str:
        """Return what the command said of a student."""
        said = re.search(rf"^{student}, losses: .*\n(?:    .*\n)*", self.out, re.MULTILINE)
        return said.group() if said else ""


class HostileClass:
    """A class in folders of its own: the course, the instructor's home, the temporary files."""

    def __init__(self, place: Path) -> None:
        self.root, self.home, self.temporary = (
            place / name for name in ("hostile_class", "home", "temporary")
        )
        for folder in (self.root, self.home, self.temporary):
            folder.mkdir(parents=True)
        self._write_course()
        self._write_home()
        self.run("release", "losses")

    def _write_course(self) -> None:
        for name in ("course_lib", "solutions", "notebooks/losses"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, self.root / name, ignore=ignored)
        (self.root / "nbgrader_config.py").write_text(CONFIG)
        (self.root / "notes.txt").write_text(SECRETS["notes"])
        (self.root / "grading_seed").write_text(f"{SEED}\n")
        self._replace("course_lib/checking.py", SHORT)
        begin = "### BEGIN SOLUTION\n"
        self._replace("solutions/losses.py", {begin: f"{begin}    # {SECRETS['solution']}\n"})
        begin = "### BEGIN HIDDEN TESTS\\n"
        canary = {begin: f'{begin}",\n"# {SECRETS["hidden test"]}\\n'}
        self._replace("notebooks/losses/losses.ipynb", canary)

    def _replace(self, name: str, texts: dict[str, str]) -> None:
        path = self.root / name
        text = path.read_text()
        for old, new in texts.items():
            assert old in text, f"{old!r} is not in {name} any more"
            text = text.replace(old, new)
        path.write_text(text)

    def _write_home(self) -> None:
        for name in (".netrc", ".ssh/id_ed25519", ".config/token"):
            (self.home / name).parent.mkdir(exist_ok=True)
            (self.home / name).write_text(SECRETS["home"])
        # Who makes the list of fonts has other modules loaded than who finds it.
        shutil.copytree(matplotlib.get_cachedir(), self.home / ".cache" / "matplotlib")

    def hand_in(self, variants: list[Variant]) -> None:
        """Let the witnesses and these others hand in."""
        honest = witnesses()
        course = Course(self.root)
        with course.gradebook() as gradebook:
            for student in [*honest, *(variant.student for variant in variants)]:
                gradebook.add_student(student)
            gradebook.update_or_create_student("a-reference", first_name=SECRETS["gradebook"])
        for student, witness in honest.items():
            folder = self._folder(course, student)
            if witness.module:
                (folder / "course_lib" / "losses.py").write_text(witness.module)
            if witness.cells:
                put_in_front(folder / "losses.ipynb", witness.cells)
        for variant in variants:
            variant.hand_in(self._folder(course, variant.student))

    def _folder(self, course: Course, student: str) -> Path:
        folder = course.folder("submitted", "losses", student)
        shutil.copytree(course.folder("release", "losses"), folder)
        return folder

    def run(self, command: str, *arguments: str) -> Run:
        """Run a command of `python -m grading`; what it leaves running becomes ours, and ends."""
        variables = {
            **os.environ,
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "JUPYTERHUB_API_TOKEN": SECRETS["token"],
        }
        variables.pop("COURSE_LIB_OVERLAY", None)
        adopt_orphans()
        before = set(psutil.Process().children(recursive=True))
        done = subprocess.run(
            [sys.executable, "-m", "grading", command, *arguments, "--root", self.root],
            cwd=REPOSITORY,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=600,
        )
        return Run(done.returncode, done.stdout, done.stderr, end_orphans(before))

    def page(self, student: str) -> Path:
        return self.root / "feedback" / student / "losses" / "losses.html"

    def shown(self, student: str) -> str:
        """Return the text of a student's feedback; nothing when there is none."""
        page = self.page(student)
        return unescape(re.sub(r"<[^>]*>", "", page.read_text())) if page.exists() else ""

    def says(self, student: str, sentence: str) -> bool:
        """Tell whether a sentence, with or without its marks for code, stands in the feedback."""
        return sentence.replace("`", "") in self.shown(student)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def end_orphans(before: set[psutil.Process]) -> list[str]:
    """End the processes that were not there before, and return what they were."""
    found = set(psutil.Process().children(recursive=True)) - before
    _, left = psutil.wait_procs(found, timeout=3)
    names = []
    for process in left:
        names.append(f"{process.pid}: {' '.join(process.cmdline())}")
        process.kill()
    psutil.wait_procs(left, timeout=3)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("variants", nargs="+", metavar="FAMILY/VARIANT", choices=VARIANTS)
    variants = [read_variant(name) for name in parser.parse_args().variants]
    place = Path(tempfile.mkdtemp(prefix="hostile-"))
    graded = HostileClass(place)
    graded.hand_in(variants)
    run = graded.run("autograde")
    graded.run("feedback")
    for variant in variants:
        print(f"\n{variant.name}: {variant.what}\n{run.about(variant.student)}")
        for sentence in variant.feedback:
            found = graded.says(variant.student, sentence)
            print("in the feedback:" if found else "NOT in the feedback:", sentence)
    print(f"\n{run.err}{''.join(f'left running: {name}' for name in run.left)}All of it: {place}")


if __name__ == "__main__":
    main()
