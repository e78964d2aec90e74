"""The class that the benchmarks grade: who hands in what for one assignment.

Right solutions in several styles, solutions with a mistake, unfinished, empty and broken ones, in
notebooks with the students' own answers and cells. None of them runs for ever.
"""

import re
import shutil
from collections.abc import Iterable
from itertools import count, cycle, islice
from pathlib import Path
from typing import NamedTuple

import nbformat
from mutators import mutants
from nbformat.v4 import new_code_cell

from course_lib.stubs import SOLUTIONS, stub

ASSIGNMENT = "optimizers"
NOTEBOOK, MODULE = f"{ASSIGNMENT}.ipynb", Path("course_lib", f"{ASSIGNMENT}.py")
TESTS = Path(__file__).resolve().parents[1] / "tests"

MIXTURE = (
    *("right", "mistaken", "right", "mistaken", "mistaken", "unfinished"),
    *("right", "mistaken", "empty", "mistaken", "right", "broken"),
)
"""Who sits side by side; the class repeats it, so that any twelve in a row are alike."""

MISTAKES = 25
"""So many solutions with a mistake, before the first comes again."""

UNFINISHED = ({0, 1, 2}, {0, 1, 2, 3}, {0, 3}, {0, 1, 2, 4, 5}, {3, 4, 5, 6})
"""Which solutions are written, of the reference's: zero_grad, state_dict, load_state_dict and the
steps of SGD, of both Adams, of Adam and of AdamW."""

ACCIDENTS = (
    ("class SGD(Optimizer):", "class SGD(Optimizer)"),
    ("from collections import", "from helpers import"),
    ("class AdamW(Adam):", "class AdamW(torch.optim.AdamW):"),
    ("class Optimizer:", 'checkpoint = torch.load("run_3.pt")\n\n\nclass Optimizer:'),
    ("class Adam(Optimizer):", "class Adam(Optimiser):"),
)
"""Why a whole file is lost: syntax, imports, a file left at home, a misspelt name; or a class of
it, because it is torch's own."""

ANSWERS = (
    "In AdamW the decay is no longer divided by sqrt(v), so the same number is far weaker. Tune "
    "weight_decay again, starting at 0.1.",
    "I think AdamW has a bug. I would go back to Adam.",
    "The two decays are not the same thing: AdamW multiplies by 1 - lr * weight_decay, which is "
    "0.99999 here. A larger weight_decay is needed.",
    "*Write your answer here.*",
    "Because weight_decay is decoupled. Try a smaller learning rate.",
)

OWN_CELLS = (
    "",
    """\
from course_lib.optimizers import SGD

w = torch.ones(3, requires_grad=True)
(w**2).sum().backward()
SGD([w], lr=0.1).step()
print(w)  # 0.8?
""",
    """\
from course_lib.optimizers import Adam

x = torch.linspace(-1, 1, 64)[:, None]
model = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = Adam(model.parameters(), lr=0.02)
losses = []
for _ in range(100):
    optimizer.zero_grad()
    loss = ((model(x) - torch.sin(3 * x)) ** 2).mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
plt.semilogy(losses)
plt.title("does it learn?")
plt.show()
""",
)
"""What students leave in the notebook below the third exercise."""


class Student(NamedTuple):
    """Who hands in what: the text of the module, the answer in words, a cell of their own."""

    name: str
    kind: str
    module: str
    answer: str
    own_cell: str


def make_class(size: int) -> list[Student]:
    """Return the first students of the class; the same every time."""
    modules = {kind: cycle(texts) for kind, texts in modules_by_kind().items()}
    rows = islice(zip(count(1), cycle(MIXTURE), cycle(ANSWERS), cycle(OWN_CELLS)), size)
    return [
        # No two files are equal, so that no tool can grade one for the other.
        Student(f"student{number:02}", kind, f"{next(modules[kind])}\n# {number}\n", answer, cell)
        for number, kind, answer, cell in rows
    ]


def modules_by_kind() -> dict[str, list[str]]:
    """Return what students of each kind write."""
    reference = (SOLUTIONS / MODULE.name).read_text()
    others = sorted((TESTS / "exercises/alternatives").glob(f"{ASSIGNMENT}_*.py"))
    others.append(TESTS / "end_to_end/sample_class/chloe" / MODULE.name)
    mistaken = [mutant.source for mutant in mutants(reference)]
    mistaken = mistaken[:: len(mistaken) // MISTAKES][:MISTAKES]
    return {
        "right": [without_markers(reference), *(path.read_text() for path in others)],
        "mistaken": [without_markers(text) for text in mistaken],
        "unfinished": [written(reference, solutions) for solutions in UNFINISHED],
        "empty": [stub(reference)],
        "broken": [without_markers(replaced(reference, *accident)) for accident in ACCIDENTS],
    }


def without_markers(text: str) -> str:
    return re.sub(r" *### (BEGIN|END) SOLUTION\n", "", text)


def written(reference: str, solutions: Iterable[int]) -> str:
    """Return the reference as a student hands it in who has written some of its solutions."""
    region = re.compile(r" *### BEGIN SOLUTION\n(.*?) *### END SOLUTION\n", re.DOTALL)
    number = count()
    return stub(
        region.sub(lambda found: found[1] if next(number) in solutions else found[0], reference)
    )


def replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"The reference of {ASSIGNMENT} has changed: mend the accident {old!r}.")
    return text.replace(old, new)


def hand_in(student: Student, release: Path, folder: Path) -> None:
    """Write what a student makes of the released assignment."""
    shutil.copytree(release, folder)
    (folder / MODULE).write_text(student.module)
    notebook = nbformat.read(folder / NOTEBOOK, as_version=4)
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
    notebook.cells[names.index("question")].source = student.answer
    if student.own_cell:
        notebook.cells.insert(names.index("check_adam") + 1, new_code_cell(student.own_cell))
    nbformat.write(notebook, folder / NOTEBOOK)
