"""tools/book.py on a book of two pages, with the course's own configuration and extensions."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
REUSED = "_config.yml", "book/_ext", "book/_extra", "book/_static", "book/_templates", "tools"
TOC = "format: jb-book\nroot: book/intro\nchapters:\n  - file: book/page\n"
INTRO = "# A book\n\nSee [the page](page.ipynb).\n"
CODE = """\
from course_lib import answer
print(f"the answer is {answer.ANSWER}")"""


class Book:
    def __init__(self, root: Path) -> None:
        self.root = root
        for name in REUSED:
            source, target = ROOT / name, root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            # The static files are many, and nothing changes them.
            if source.is_dir() and name != "book/_static":
                shutil.copytree(source, target)
            else:
                target.symlink_to(source)
        self.write("_toc.yml", TOC)
        self.write("book/intro.md", INTRO)
        self.write("book/references.bib", "")
        self.write("course_lib/__init__.py", "")
        self.write("course_lib/answer.py", "ANSWER = 42\n")
        self.page(CODE)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def page(self, *sources: str) -> None:
        path = "import sys; sys.path.insert(0, '..')"
        cells = [new_markdown_cell("# A page"), *map(new_code_cell, (path, *sources))]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(
            new_notebook(cells=cells, metadata={"kernelspec": kernel}),
            self.root / "book/page.ipynb",
        )

    def build(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, self.root / "tools/book.py"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def html(self) -> str:
        return (self.root / "_build/html/book/page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Book:
    book = Book(tmp_path_factory.mktemp("book"))
    done = book.build()
    assert done.returncode == 0, done.stdout
    assert "The book is in _build/html/index.html." in done.stdout
    return book


@pytest.fixture
def book(built: Book) -> Book:
    """The built book with its pages as they were."""
    built.write("book/intro.md", INTRO)
    built.write("course_lib/answer.py", "ANSWER = 42\n")
    built.page(CODE)
    return built


def test_an_unchanged_book_is_not_executed_again(book: Book) -> None:
    assert book.build().returncode == 0
    done = book.build()
    assert done.returncode == 0
    assert done.stdout == "The book is in _build/html/index.html.\n", "no progress bar"
    log = (book.root / "_build/book.log").read_text(encoding="utf-8")
    assert "0 added, 0 changed, 0 removed" in log


def test_a_change_in_the_library_executes_the_notebooks_again(book: Book) -> None:
    assert book.build().returncode == 0
    assert "the answer is 42" in book.html()
    book.write("course_lib/answer.py", "ANSWER = 43\n")
    done = book.build()
    assert done.returncode == 0, done.stdout
    assert "book/page.ipynb" in done.stdout
    assert "the answer is 43" in book.html()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1\nx += y", "NameError: name 'y' is not defined\n    x = 1\n    x += y\n"),
        ("import os\nos._exit(1)", "Kernel died\n    import os\n    os._exit(1)\n"),
    ],
)
def test_an_exception_in_a_cell(book: Book, source: str, reason: str) -> None:
    book.page("1 + 1", source)
    done = book.build()
    assert done.returncode == 1
    assert f"book/page.ipynb, cell 4: {reason}" in done.stdout
    assert done.stdout.endswith("The book was not built.\n")
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("[](nowhere.md)", "book/intro.md:5: WARNING: "),
        ("{ref}`nowhere`", "undefined label: 'nowhere'"),
        ("{cite}`nobody`", 'could not find bibtex key "nobody"'),
        ("![](nothing.png)", "image file not readable: book/nothing.png"),
        ("{glue:text}`nothing`", "No key 'nothing' found"),
        ("```{nonsense}\n```", "Unknown directive type: 'nonsense'"),
        ("```{checked} nothing\n```", "no claim has the id 'nothing'"),
    ],
)
def test_a_warning_of_sphinx(book: Book, text: str, warning: str) -> None:
    book.write("book/intro.md", f"{INTRO}\n{text}\n")
    done = book.build()
    assert done.returncode == 1
    assert warning in done.stdout
    assert str(book.root) not in done.stdout, "a path from the course's folder is enough"


def test_a_page_that_failed_fails_again_although_nothing_changed(book: Book) -> None:
    book.write("book/intro.md", f"{INTRO}\n[](nowhere.md)\n")
    first, second = book.build(), book.build()
    assert (first.returncode, second.returncode) == (1, 1)
    assert first.stdout == second.stdout


def test_output_on_stderr_is_an_error(book: Book) -> None:
    book.page("import warnings\nwarnings.warn('beware')")
    done = book.build()
    assert done.returncode == 1
    assert "stderr was found in the cell outputs" in done.stdout


def test_other_files_are_no_pages(book: Book) -> None:
    for folder in (".venv/lib", "submitted/someone", "notebooks"):
        book.write(f"{folder}/page.md", "## No title\n\n[](nowhere.md)\n")
    assert book.build().returncode == 0
    pages = (book.root / "_build/html").rglob("page.html")
    assert [str(page.relative_to(book.root)) for page in pages] == ["_build/html/book/page.html"]
