"""Nobody passes by calling the answer, patching the judge, reading it, or equalling everything."""

from pathlib import Path

import pytest
import torch

from course_lib.checking import Case, Check, Outputs, Result
from course_lib.checks.perceptron import check_predict


def cases(rng: torch.Generator) -> list[Case]:
    return [
        {"part": "all", "title": f"{n} rows", "x": torch.randn(n, 4, generator=rng)} for n in (1, 3)
    ]


def probe(layer_norm: object, case: Case) -> Outputs:
    return {"the result": layer_norm(case["x"], (4,))}  # type: ignore[operator]


CHECK = Check(
    module="normalizing",
    exercise="layer_norm",
    target="layer_norm",
    parts={"all": 1},
    inputs=cases,
    probe=probe,
    oracle=torch.nn.functional.layer_norm,
    forbidden=(
        "torch.nn.functional.layer_norm",
        "torch.layer_norm",
        "torch.native_layer_norm",
        "torch.nn.LayerNorm",
        "torch.Tensor.std",
    ),
)

RIGHT = """
import torch

def layer_norm(x, shape):
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)
"""


@pytest.fixture
def verdict(students_folder: Path):
    def check(source: str, **options: int) -> Result:
        (students_folder / "normalizing.py").write_text(source)
        return CHECK(**options)

    return check


def test_a_right_solution_passes(verdict) -> None:
    assert verdict(RIGHT).passed


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("from torch.nn.functional import layer_norm", id="imported"),
        pytest.param("import torch\nlayer_norm = torch.nn.functional.layer_norm", id="assigned"),
        pytest.param(
            "import torch.nn.functional as F\ndef layer_norm(*a):\n    return F.layer_norm(*a)",
            id="called",
        ),
        pytest.param(
            "import torch\ndef layer_norm(x, s):\n    return torch.layer_norm(x, s)", id="builtin"
        ),
        pytest.param(
            "import torch\nlayer_norm = getattr(torch, 'layer' + '_norm')", id="name put together"
        ),
        pytest.param(
            "import importlib\nF = importlib.import_module('torch.nn.functional')\n"
            "def layer_norm(*a):\n    return vars(F)['layer_' + 'norm'](*a)",
            id="importlib",
        ),
        pytest.param("layer_norm = eval('__import__(\"torch\").layer_norm')", id="eval"),
        pytest.param(
            "from torch import nn\ndef layer_norm(x, s):\n    return nn.LayerNorm(s)(x)",
            id="module",
        ),
        pytest.param(
            "from torch import nn\nclass Mine(nn.LayerNorm):\n    pass\n"
            "def layer_norm(x, s):\n    return Mine(s)(x)",
            id="subclass",
        ),
        pytest.param(
            "import functools, torch\nlayer_norm = functools.partial(torch.layer_norm)",
            id="partial",
        ),
        pytest.param(
            "import torch\ndef layer_norm(x, s):\n"
            "    return list(map(torch.native_layer_norm, [x], [s], [None], [None], [1e-5]))[0][0]",
            id="native",
        ),
        pytest.param(
            "import torch\ndef layer_norm(x, s):\n"
            "    return torch.ops.aten.layer_norm(x, s, None, None, 1e-5, False)",
            id="torch.ops",
        ),
        pytest.param(
            "import torch\nclass M(torch.nn.Module):\n"
            "    def forward(self, x):\n        return torch.layer_norm(x, (4,))\n"
            "layer_norm = lambda x, s: torch.jit.trace(M(), x)(x)",
            id="traced",
        ),
        pytest.param(
            f"{RIGHT}\nmine = layer_norm\ndef layer_norm(x, s):\n"
            "    return mine(x, s) + 0 * x.std()",
            id="tensor method",
        ),
    ],
)
def test_calling_the_answer_is_refused_by_whatever_route(verdict, source: str) -> None:
    result = verdict(source)
    assert result.points == 0
    assert "calls torch." in result.message
    assert "normalizing.py" in result.message


def test_the_line_of_the_call_is_told(verdict) -> None:
    source = "import torch\n\ndef layer_norm(x, shape):\n    return torch.layer_norm(x, shape)\n"
    told = "line 4, calls torch.layer_norm, which this exercise asks you to write."
    assert told in verdict(source).message


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("from torch.nn import LayerNorm", id="imported and not used"),
        pytest.param("class Helper:\n    def layer_norm(self):\n        pass", id="own method"),
        pytest.param("numbers = [1.0]\nnumbers.sort()", id="builtin method"),
        pytest.param("with torch.no_grad():\n    torch.zeros(2)", id="no_grad"),
        pytest.param("import statistics\nstatistics.stdev([1.0, 2.0])", id="another std"),
    ],
)
def test_an_innocent_file_passes(verdict, source: str) -> None:
    assert verdict(f"{RIGHT}\n{source}\n").passed


@pytest.mark.parametrize(
    ("patch", "name"),
    [
        ("torch.allclose = lambda *a, **k: True", "torch.allclose"),
        ("torch.Tensor.__eq__ = lambda *a: True", "Tensor.__eq__"),
        ("torch.Tensor.clone = lambda self: self", "Tensor.clone"),
        ("torch.nn.functional.layer_norm = lambda x, *a: x", "torch.nn.functional.layer_norm"),
        ("import builtins\nbuiltins.isinstance = lambda *a: True", "builtins.isinstance"),
        ("import json\njson.loads = lambda text: None", "json.loads"),
        ("import copy\ncopy.deepcopy = lambda x: x", "copy.deepcopy"),
    ],
)
@pytest.mark.parametrize("where", ["import", "call"])
def test_a_patched_library_is_put_back_and_told(verdict, patch: str, name: str, where: str) -> None:
    body = "def layer_norm(x, shape):\n    return x\n"
    if where == "call":
        inner = patch.replace("\n", "\n    ")
        body = f"def layer_norm(x, shape):\n    {inner}\n    return x\n"
        patch = ""
    result = verdict(f"import torch\n{patch}\n{body}")
    assert result.points == 0
    assert f"replaces {name}" in result.message
    assert verdict(RIGHT).passed
    assert not verdict("def layer_norm(x, shape):\n    return x\n").passed


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("sys._getframe(1).f_locals", id="frame"),
        pytest.param("inspect.stack()", id="stack"),
        pytest.param("inspect.currentframe().f_back", id="current frame"),
        pytest.param("sys.setprofile(None)", id="watch switched off"),
        pytest.param("course_lib.checking.same(x, x)", id="the judge"),
    ],
)
def test_looking_at_the_judge_is_refused(verdict, body: str) -> None:
    source = "import inspect, sys\nimport course_lib.checking\n" + RIGHT
    source += f"\nmine = layer_norm\ndef layer_norm(x, s):\n    {body}\n    return mine(x, s)\n"
    result = verdict(source)
    assert result.points == 0
    assert "which is not part of any answer" in result.message


def test_the_oracle_in_the_frames_cannot_be_called(verdict) -> None:
    source = """
def layer_norm(x, shape):
    try:
        raise ValueError
    except ValueError as error:
        frame = error.__traceback__.tb_frame
    while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "oracle"):
        frame = frame.f_back
    return frame.f_locals["self"].oracle(x, shape)
"""
    result = verdict(source)
    assert result.points == 0
    assert "calls torch.nn.functional.layer_norm" in result.message


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "from course_lib.checks.perceptron import Rosenblatt as Perceptron",
            "takes Perceptron from the course's checks",
        ),
        (
            "from course_lib.checks.perceptron import Rosenblatt\n"
            "class Perceptron(Rosenblatt):\n    pass",
            "takes Perceptron from the course's checks",
        ),
        (
            "from course_lib.checks import perceptron\n"
            "def Perceptron(n):\n    return perceptron.check_predict.oracle(n)",
            "line 3, calls the check's own answer",
        ),
    ],
)
def test_the_checks_own_answer_is_refused(students_folder: Path, source: str, told: str) -> None:
    (students_folder / "perceptron.py").write_text(source)
    result = check_predict()
    assert result.points == 0
    assert told in result.message


EQUALS = """
class Equal{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def allclose(self, *a, **k): return True
"""


@pytest.mark.parametrize("base", ["", "(float)", "(str)", "(dict)", "(torch.Tensor)"])
def test_an_object_that_equals_everything_is_worth_nothing(verdict, base: str) -> None:
    new = "Equal()" if "Tensor" not in base else "x.as_subclass(Equal)"
    source = "import torch" + EQUALS.format(base=base)
    assert verdict(f"{source}\ndef layer_norm(x, shape):\n    return {new}\n").points == 0


def test_knowing_the_visible_answers_earns_nothing_in_the_graded_run(verdict) -> None:
    visible = cases(torch.Generator().manual_seed(0))
    known = [
        (case["x"].tolist(), torch.nn.functional.layer_norm(case["x"], (4,)).tolist())
        for case in visible
    ]
    source = f"""
import torch
known = {known!r}
def layer_norm(x, shape):
    for given, answer in known:
        if given == x.tolist():
            return torch.tensor(answer)
    return x
"""
    assert verdict(source).passed
    assert verdict(source, seed=12345, rounds=3).points == 0


def test_the_time_limit_still_holds_under_the_watch(verdict) -> None:
    result = verdict("def layer_norm(x, shape):\n    while True:\n        pass\n")
    assert result.points == 0
    assert "still running" in result.message
