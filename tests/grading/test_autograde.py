import json
import shutil
import stat
from pathlib import Path

import nbformat
import pytest
from nbgrader.preprocessors import SaveAutoGrades
from toy_course import (
    JUDGED,
    MAX_SCORE,
    MODULES,
    SOLUTION,
    STUB,
    Class,
    add_students,
    answer_double,
    cell,
    edit,
    hand_in,
    run,
)

from grading import sandbox
from grading.autograde import JOURNAL, grade_alone
from grading.course import Course
from grading.report import summary


@pytest.mark.parametrize(
    ("student", "score"),
    [
        ("empty", 0),
        ("reference", MAX_SCORE),
        ("partial", 1.5),
        ("syntax", 0),
        ("endless", 4),
        ("stubborn", 2),
        ("killed", 2),
        ("noisy", MAX_SCORE),
        ("no_notebook", 0),
        ("no_module", 0),
        ("not_json", 0),
        ("linked", 0),
        ("shadow", 0),
        ("deleted", 5),
        ("doubled", 5),
        ("skipping", 0),
        ("corrupt", 5),
    ],
)
def test_score(graded: Class, student: str, score: float) -> None:
    scores = {line[0]: line[1] for line in summary(graded.root)[1:]}
    assert scores[student] == f"{score} / {MAX_SCORE}"


@pytest.mark.parametrize(
    ("student", "sentence"),
    [
        ("endless", "A cell of `adder.ipynb` ran longer than its time limit and was stopped."),
        ("killed", "`adder.ipynb` ended with exit code 1; what had not finished by then scores 0."),
        ("stubborn", "`adder.ipynb` was still running at its time limit and was stopped;"),
        ("no_notebook", "`adder.ipynb` is missing, so it scores 0."),
        ("not_json", "`adder.ipynb` is not a Jupyter notebook, so it scores 0."),
        ("no_module", "`toy/adder.py` is missing, so the unchanged stub was graded."),
        ("linked", "`toy/adder.py` is not an ordinary file, so the unchanged stub was graded."),
        ("shadow", "Not part of the assignment, so not used: `toy.py`."),
        ("noisy", "`timestamp.txt` is not a date and time, so it was not used."),
        ("stranger", "not in the gradebook: add the student with `nbgrader db student import"),
    ],
)
def test_sentence(graded: Class, student: str, sentence: str) -> None:
    said = graded.graded.out.partition(f"{student}, adder: ")[2].partition(", adder: ")[0]
    assert sentence in said


def test_what_may_be_somebody_elses_is_for_the_instructor_to_look_at(alone: Path) -> None:
    module = alone / "submitted" / "reference" / "adder" / "toy" / "adder.py"
    (alone / "copy.py").hardlink_to(module)
    result = run("autograde", "--root", alone)
    assert result.code == 1
    assert result.out.startswith(
        "reference, adder: not graded\n    It was not graded. `adder.py` has other names elsewhere"
    )
    assert ["reference", "6 / 6"] in summary(alone)


def test_the_run_says_that_some_were_not_graded_in_full(graded: Class) -> None:
    assert graded.graded.code == 1
    assert f"5 of {len(list((graded.root / 'submitted').iterdir()))} could not" in graded.graded.err


def test_a_stranger_is_not_added_to_the_gradebook(graded: Class) -> None:
    assert "stranger" not in [line[0] for line in summary(graded.root)]
    assert not (graded.root / "autograded" / "stranger").exists()


def test_no_file_of_a_student_is_changed(graded: Class) -> None:
    submitted = graded.root / "submitted"
    assert (submitted / "linked" / "adder" / "toy" / "adder.py").is_symlink()
    assert (submitted / "shadow" / "adder" / "toy.py").exists()
    assert (submitted / "shadow" / "adder" / "adder.ipynb").read_text() == (
        graded.root / "release" / "adder" / "adder.ipynb"
    ).read_text()


def test_what_code_writes_past_jupyter_stays_off_the_screen(
    alone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hand_in(
        alone, "reference", SOLUTION.replace("return a - b", "import os; os.write(1, b'noise')")
    )
    run("autograde", "--root", alone)
    assert capfd.readouterr() == ("", "")


def test_the_seed_is_secret_and_stays(graded: Class) -> None:
    path = graded.root / "grading_seed"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Course(graded.root).seed == Course(graded.root).seed == int(path.read_text())
    assert Course(graded.root).seed.bit_length() > 32


def test_a_second_run_grades_nothing(alone: Path) -> None:
    result = run("autograde", "--root", alone)
    assert result.code == 0, result
    assert "reference, adder: 6 / 6 (unchanged)" in result.out


def test_force_grades_again(alone: Path) -> None:
    assert "reference, adder: 6 / 6\n" in run("autograde", "--force", "--root", alone).out


def test_a_changed_submission_is_graded_again(alone: Path) -> None:
    hand_in(alone, "reference", STUB)
    assert "reference, adder: 0 / 6\n" in run("autograde", "--root", alone).out


def test_an_interrupted_grading_is_done_again(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (alone / "autograded" / "reference" / "adder" / "adder.ipynb").read_text()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Course, "convert", interrupt)
        result = run("autograde", "--force", "--root", alone)
    assert result.code == 130
    assert (alone / "autograded" / "reference" / "adder" / "adder.ipynb").read_text() == before
    assert "reference, adder: 6 / 6\n" in run("autograde", "--root", alone).out


def test_a_failure_of_nbgrader_is_an_outcome(alone: Path) -> None:
    """A test that gives more points than there are makes nbgrader raise."""
    checks = alone / "toy" / "checks" / "adder.py"
    checks.write_text(checks.read_text().replace("return result.points", "return 100.0"))
    result = run("autograde", "--root", alone)
    assert result.code == 1
    assert "reference, adder: 0 / 6" in result.out
    assert "ValueError: partial credit cannot be greater than maximum points" in result.out


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("none")])
def test_a_failure_of_the_machine_costs_no_points(
    alone: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(SaveAutoGrades, "preprocess", fail)
        result = run("autograde", "--force", "--root", alone)
    assert result.code == 1
    said = f"{type(error).__name__}: {error}"
    assert f"reference, adder: not graded\n    It was not graded. {said}\n" in result.out
    assert ["reference", "6 / 6"] in summary(alone)
    assert "reference, adder: 6 / 6\n" in run("autograde", "--root", alone).out


def test_marks_given_by_hand_outlive_a_zero(alone: Path) -> None:
    with Course(alone).gradebook() as gradebook:
        gradebook.find_grade("check_double", "adder", "adder", "reference").manual_score = 0.5
        gradebook.find_grade("check_add", "adder", "adder", "reference").extra_credit = 0.25
        gradebook.db.commit()
    (alone / "submitted" / "reference" / "adder" / "adder.ipynb").write_text("{")
    result = run("autograde", "--root", alone)
    assert "reference, adder: 0.75 / 6\n" in result.out
    assert "Marks that were given by hand before still count." in result.out
    with Course(alone).gradebook() as gradebook:
        (notebook,) = gradebook.find_submission("adder", "reference").notebooks
        asked = {grade.name for grade in notebook.grades if grade.needs_manual_grade}
    assert asked == {"check_add", "check_double"}


def test_a_module_beside_the_source_does_not_replace_the_students(alone: Path) -> None:
    module = alone / "assignments" / "adder" / "toy" / "adder.py"
    module.parent.mkdir()
    module.write_text("raise RuntimeError")
    run("release", "--root", alone)
    assert "reference, adder: 6 / 6\n" in run("autograde", "--root", alone).out


def test_a_course_without_modules(alone: Path) -> None:
    config = alone / "nbgrader_config.py"
    config.write_text(config.read_text() + "del c.CourseCode\n")
    checks = alone / "toy" / "checks" / "adder.py"
    checks.write_text(checks.read_text().replace('os.environ["TOY_SEED"]', "0"))
    run("release", "--root", alone)
    assert [path.name for path in (alone / "release" / "adder").iterdir()] == ["adder.ipynb"]
    result = run("autograde", "--root", alone)
    assert "reference, adder: 1 / 6\n    Not part of the assignment" in result.out


def test_a_student_can_be_chosen(alone: Path) -> None:
    shutil.copytree(alone / "submitted" / "reference", alone / "submitted" / "partial")
    result = run("autograde", "--student", "reference", "--root", alone)
    assert "reference, adder:" in result.out
    assert "partial, adder:" not in result.out
    result = run("autograde", "--student", "referense", "--root", alone)
    assert (result.code, result.err) == (1, "There is nothing of referense: is the name right?\n")


def test_another_due_date_is_another_grade(alone: Path) -> None:
    config = alone / "nbgrader_config.py"
    config.write_text(config.read_text() + 'c.LateSubmissionPlugin.penalty_method = "zero"\n')
    run("release", "--root", alone)
    for due, score in (("2025-01-01", 0), ("2027-01-01", MAX_SCORE)):
        with Course(alone).gradebook() as gradebook:
            gradebook.update_or_create_assignment("adder", duedate=f"{due} 12:00:00 UTC")
        result = run("autograde", "--root", alone)
        assert f"reference, adder: {score} / 6\n" in result.out


def test_submissions_may_lie_elsewhere(alone: Path) -> None:
    (alone / "submitted").rename(alone.parent / "handed_in")
    config = alone / "nbgrader_config.py"
    config.write_text(config.read_text() + 'c.CourseDirectory.submitted_directory="../handed_in"\n')
    run("release", "--root", alone)
    result = run("autograde", "--root", alone)
    assert (result.code, result.err) == (0, "")
    assert "reference, adder: 6 / 6\n" in result.out
    line = json.loads((alone / JOURNAL).read_text().splitlines()[-1])
    assert line["submission"] == "../handed_in/reference/adder"


def test_what_was_graded_without_a_sandbox_is_graded_again_in_one(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "best_level", lambda: sandbox.NONE)
        result = run("autograde", "--force", "--unsafe", "--root", alone)
        assert "reference, adder: 6 / 6\n" in result.out
        result = run("autograde", "--unsafe", "--root", alone)
        assert "reference, adder: 6 / 6 (unchanged)\n" in result.out
        result = run("autograde", "--root", alone)
        assert (result.code, result.out) == (1, "")
        assert "This machine has no sandbox for students' code" in result.err
    assert "reference, adder: 6 / 6\n" in run("autograde", "--root", alone).out
    assert "reference, adder: 6 / 6 (unchanged)\n" in run("autograde", "--root", alone).out


@pytest.mark.parametrize(("student", "remembered"), [("reference", True), ("killed", False)])
def test_what_nbgrader_asks_for_is_remembered_when_it_is_whole(
    graded: Class, student: str, remembered: bool
) -> None:
    course = Course(graded.root)
    first, second = (grade_alone(course, student, "adder").notebooks for _ in range(2))
    assert first
    assert (first is second) == remembered


def test_an_assignment_must_be_released_as_it_is(alone: Path) -> None:
    notebook = alone / "assignments" / "adder" / "adder.ipynb"
    notebook.write_text(notebook.read_text().replace("double(1) == 2", "double(2) == 4"))
    result = run("autograde", "--root", alone)
    assert result.code == 1
    assert "run `python -m grading release adder` first" in result.err
    assert run("release", "--root", alone).code == 0
    assert "reference, adder: 6 / 6\n" in run("autograde", "--root", alone).out


# --- what the command can be asked ----------------------------------------------------------------


def test_a_preview_grades_nothing(alone: Path) -> None:
    hand_in(alone, "partial", STUB)
    before = (alone / "gradebook.db").read_bytes()
    result = run("autograde", "--dry-run", "--root", alone)
    assert result.code == 0
    assert result.out == ("reference, adder: 6 / 6 (unchanged)\npartial, adder: would be graded\n")
    assert (alone / "gradebook.db").read_bytes() == before
    assert not (alone / "autograded" / "partial").exists()


def test_only_what_failed_is_graded_again(alone: Path) -> None:
    hand_in(alone, "partial", SOLUTION)
    (alone / "submitted" / "partial" / "adder" / "adder.ipynb").write_text("{")
    assert "partial, adder: 0 / 6\n" in run("autograde", "--root", alone).out
    hand_in(alone, "partial", SOLUTION)
    result = run("autograde", "--only-failed", "--root", alone)
    assert "partial, adder: 5 / 6\n" in result.out
    assert "reference, adder:" not in result.out
    result = run("autograde", "--only-failed", "--root", alone)
    assert result == (0, "Everything could be graded in full the last time.\n", "")


def test_the_points_of_every_exercise_are_shown(alone: Path) -> None:
    result = run("autograde", "--root", alone)
    for text in ("check_add (2)", "check_subtract (3)", "check_double (1)", "mean"):
        assert text in result.out


def test_it_is_said_that_tests_can_be_tampered_with(graded: Class, alone: Path) -> None:
    for result in (graded.graded, run("autograde", "--root", alone)):
        assert "3 tests of adder ran beside the students' code" in result.out


def test_the_journal_has_a_line_for_every_submission(graded: Class) -> None:
    lines = [json.loads(line) for line in (graded.root / JOURNAL).read_text().splitlines()]
    entries = {line["student"]: line for line in lines}
    assert entries.keys() == MODULES.keys() - {"stranger"}
    reference = entries["reference"]
    assert (reference["score"], reference["max_score"]) == (MAX_SCORE, MAX_SCORE)
    assert reference["complete"]
    assert {"repair", "notebook", "gradebook"} <= reference["seconds"].keys()
    assert all(seconds >= 0 for seconds in reference["seconds"].values())
    assert not entries["not_json"]["complete"]


def test_the_doctor_names_the_level(alone: Path) -> None:
    result = run("doctor", "--root", alone)
    assert result.code == 0
    assert f"Sandbox level: {sandbox.best_level()} (" in result.out


# --- checks that judge from outside ---------------------------------------------------------------

TELLS = (
    SOLUTION
    + """
import contextlib
import os
found = dict(os.environ)
with contextlib.suppress(OSError):
    found["initial"] = open("/proc/self/environ").read()
print(found)
"""
)


@pytest.fixture(scope="module")
def judged(released: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The notebooks of students whose module is judged from outside."""
    root = tmp_path_factory.mktemp("judged") / "course"
    shutil.copytree(released, root)
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text() + JUDGED)
    run("release", "--root", root)
    modules = {
        "right": SOLUTION,
        "dying": SOLUTION.replace("total = a + b", "import os; os._exit(0)"),
        "telling": TELLS,
        "forging": SOLUTION.replace("return a - b", 'print("3.0"); return 0'),
    }
    add_students(root, *modules)
    for student, text in modules.items():
        edit(hand_in(root, student, text), answer_double)
    result = run("autograde", "--root", root)
    assert result.code == 0, result
    return {name: root / "autograded" / name / "adder" / "adder.ipynb" for name in modules}


@pytest.mark.parametrize(
    ("student", "points"),
    [("right", [2, 3]), ("dying", [0, 3]), ("telling", [2, 3]), ("forging", [2, 0])],
)
def test_every_check_is_judged_by_itself(
    judged: dict[str, Path], student: str, points: list[float]
) -> None:
    notebook = nbformat.read(judged[student], as_version=4)
    results = [
        output.data["text/plain"]
        for name in ("check_add", "check_subtract")
        for output in cell(notebook, name).outputs
        if output.output_type == "execute_result"
    ]
    assert [float(result) for result in results] == points


def test_a_check_says_how_the_process_ended(judged: dict[str, Path]) -> None:
    assert "add: The code ended with exit code 0" in judged["dying"].read_text()


def test_the_seed_does_not_reach_the_students_code(judged: dict[str, Path]) -> None:
    root = judged["telling"].parents[3]
    seed = str(Course(root).seed)
    for path in root.glob("autograded/*/adder/*"):
        text = path.read_text() if path.is_file() else ""
        assert seed not in text
        assert "TOY_SEED" not in text
