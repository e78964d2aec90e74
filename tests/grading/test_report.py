import csv
import re
from pathlib import Path

import pytest
from toy_course import Class, Run, add_students, run

from grading.course import Course
from grading.markup import clean
from grading.report import summary


@pytest.fixture(scope="module")
def feedback(graded: Class) -> Run:
    return run("feedback", "--root", graded.root)


def page(graded: Class, student: str) -> str:
    """The text of a feedback page, without its tags."""
    html = (graded.root / "feedback" / student / "adder" / "adder.html").read_text()
    return re.sub(r"<[^>]*>", "", html[html.index("<body") :])


def test_feedback_shows_score_and_message(graded: Class, feedback: Run) -> None:
    assert feedback.code == 0
    text = page(graded, "partial")
    assert "adder (Score: 1.5 / 6.0)" in text
    assert "subtract: 1 of 2 right" in text
    assert "NotImplementedError: your turn: add" in text


@pytest.mark.parametrize("student", ["reference", "partial", "syntax", "killed", "doubled"])
def test_feedback_shows_no_hidden_test(graded: Class, feedback: Run, student: str) -> None:
    autograded = graded.root / "autograded" / student / "adder" / "adder.ipynb"
    assert "check_add.grade()" in autograded.read_text()
    text = page(graded, student)
    assert "check_add()" in text
    for secret in ("HIDDEN", "grade()", "double(21)"):
        assert secret not in text


def test_a_traceback_shows_no_hidden_test(graded: Class, feedback: Run) -> None:
    """nbgrader alone shows the lines around the one that failed."""
    autograded = (graded.root / "autograded" / "empty" / "adder" / "adder.ipynb").read_text()
    assert autograded.count("check_add.grade()") == 2
    assert "----&gt; 1 check_add()" in page(graded, "empty")


@pytest.mark.parametrize(
    ("student", "sentence"),
    [
        ("no_notebook", "adder.ipynb is missing, so it scores 0."),
        ("endless", "Time limit: this cell ran too long and was stopped."),
        ("killed", "The notebook ended with exit code 1: this cell could not be finished."),
        ("shadow", "not used: toy.py."),
    ],
)
def test_feedback_says_what_went_wrong(
    graded: Class, feedback: Run, student: str, sentence: str
) -> None:
    assert sentence in page(graded, student)


def test_feedback_is_written_when_something_changed(graded: Class, feedback: Run) -> None:
    count = len(list((graded.root / "autograded").iterdir()))
    assert feedback.out == f"feedback: {count} written, 0 unchanged\n"
    again = run("feedback", "--root", graded.root)
    assert again.out == f"feedback: 0 written, {count} unchanged\n"
    with Course(graded.root).gradebook() as gradebook:
        grade = gradebook.find_grade("check_add", "adder", "adder", "corrupt")
        grade.manual_score = 0.25
        gradebook.db.commit()
    again = run("feedback", "--root", graded.root)
    assert again.out == f"feedback: 1 written, {count - 1} unchanged\n"
    assert "0.25 / 2.0" in page(graded, "corrupt")


@pytest.mark.parametrize("scheme", ["data", " DATA", "da&#9;ta", "&#1;data", "d&#10;ata"])
def test_a_link_to_a_page_within_itself_is_cut(scheme: str) -> None:
    assert "href" not in clean(f'<a href="{scheme}:text/html,pwned">here</a>')


def test_export(graded: Class, tmp_path: Path) -> None:
    target = tmp_path / "grades.csv"
    result = run("export", "--student", "partial", "--to", target, "--root", graded.root)
    assert (result.code, result.out) == (0, f"grades: {target}\n")
    rows = list(csv.DictReader(target.open()))
    assert [(row["student_id"], row["score"], row["max_score"]) for row in rows] == [
        ("partial", "1.5", "6.0")
    ]


def test_export_quotes_what_a_spreadsheet_would_run(course: Path) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", 'Lee, "Bo"']
    for number, name in enumerate(names):
        add_students(course, str(number), last_name=name)
    run("export", "--root", course)
    rows = list(csv.DictReader((course / "grades.csv").open()))
    assert [row["last_name"] for row in rows] == [*(f"'{name}" for name in names[:-1]), names[-1]]
    assert {row["score"] for row in rows} == {"0.0"}


def test_export_of_one_assignment(course: Path) -> None:
    add_students(course, "ada")
    with Course(course).gradebook() as gradebook:
        gradebook.add_assignment("from_last_year")
    for asked, exported in (["adder"], ["adder"]), ([], ["adder", "from_last_year"]):
        run("export", *asked, "--root", course)
        rows = csv.DictReader((course / "grades.csv").open())
        assert [row["assignment"] for row in rows] == exported


def test_export_to_nowhere(graded: Class, tmp_path: Path) -> None:
    result = run("export", "--to", tmp_path / "none" / "grades.csv", "--root", graded.root)
    assert result.code == 1
    assert result.err.endswith("grades.csv: No such file or directory.\n")


def test_summary(graded: Class) -> None:
    add_students(graded.root, "absent")
    lines = summary(graded.root)
    assert lines[0] == ["student", "adder"]
    assert ["absent", ""] in lines
    assert ["partial", "1.5 / 6"] in lines
