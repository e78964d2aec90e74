"""What crosses the border between a student's process and the judge, right, nearly right and not.

`BORDER_ROUNDS=50 pytest` draws fifty times as much as usual, each time something else.
"""

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from course_lib import border
from course_lib.border import Garbled, decode, encode
from course_lib.checking import TOLERANCES, Check, Exam
from course_lib.checks import checks_of, modules

ROOT = Path(__file__).parents[2]
CHECKS = {check.exercise: check for module in modules() for check in checks_of(module)}
FIRST = {checks_of(module)[0].exercise: checks_of(module)[0] for module in modules()}
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


# --- what the two sides agree on ------------------------------------------------------------------

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64),
]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    numbers = (100 * torch.randn(shape, generator=rng)).to(draw(st.sampled_from(DTYPES)))
    form = draw(st.sampled_from(["plain", "transposed", "expanded", "parameter"]))
    if form == "transposed":
        return numbers.movedim(-1, 0) if numbers.dim() else numbers
    if form == "expanded":
        return numbers.expand(2, *shape)
    return torch.nn.Parameter(numbers) if numbers.is_floating_point() else numbers


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
contents = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        plain | tensors(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=10,
    ),
    max_size=4,
)


def assert_equal(first: Any, second: Any) -> None:
    """Assert that two contents are the same, to the bit."""
    if isinstance(first, Tensor):
        assert isinstance(second, Tensor)
        assert (first.dtype, first.shape) == (second.dtype, second.shape)
        assert bits(first) == bits(second)
    elif isinstance(first, dict):
        assert isinstance(second, dict)
        assert [*first] == [*second]
        assert_equal([*first.values()], [*second.values()])
    elif isinstance(first, list):
        assert isinstance(second, list)
        assert len(first) == len(second)
        for one, other in zip(first, second):
            assert_equal(one, other)
    else:
        assert (type(first), repr(first)) == (type(second), repr(second))


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@examples(300)
@given(contents)
def test_what_is_sent_arrives(content: dict[str, Any]) -> None:
    assert_equal(content, decode(encode(content)))


@cache
def right_outputs(exercise: str) -> list[dict[str, Any]]:
    check = CHECKS[exercise]
    return [check.attempt(check.oracle, case) for case in exam_of(exercise).cases]


@cache
def exam_of(exercise: str) -> Exam:
    return CHECKS[exercise].exam(seed=1, rounds=1)


@pytest.mark.parametrize("exercise", CHECKS)
def test_what_checks_send_arrives(exercise: str) -> None:
    outputs = right_outputs(exercise)
    assert_equal(outputs, decode(encode({"outputs": outputs}))["outputs"])
    assert marked(exercise, encode({"outputs": outputs})).passed


def test_tensors_that_share_their_numbers_arrive() -> None:
    numbers = torch.arange(6.0)
    content = {"whole": numbers, "half": numbers[:3], "again": numbers, "every": numbers[::2]}
    assert_equal(content, decode(encode(content)))


# --- what they do not -----------------------------------------------------------------------------


def read(data: bytes) -> None:
    try:
        content = decode(data)
    except Garbled:
        return
    assert isinstance(content, dict)
    assert_is_plain(content)


def assert_is_plain(value: Any) -> None:
    if type(value) is dict:
        assert all(type(key) is str for key in value)
        value = [*value.values()]
    if type(value) is list:
        for item in value:
            assert_is_plain(item)
    elif type(value) is Tensor:
        assert value.layout == torch.strided
        assert value.device.type == "cpu"
        bits(value)
    else:
        assert value is None or type(value) in (bool, int, float, str)
        assert not isinstance(value, str) or len(value) <= border.LONGEST


@st.composite
def changed(draw: st.DrawFn, data: bytes) -> bytes:
    """These bytes with a few changes."""
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        data = data[:place] + draw(st.binary(max_size=8)) + data[place + length :]
    return data


heads = st.recursive(
    plain | st.fixed_dictionaries({"tensor": st.sampled_from(["0", "1"]) | plain}),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.fixed_dictionaries({"dict": st.dictionaries(st.text(max_size=3), inner) | inner}),
        st.fixed_dictionaries({"tensor": inner}),
        st.dictionaries(st.sampled_from(["dict", "tensor", "x"]), inner, max_size=2),
    ),
    max_leaves=8,
)
TWO = {"0": torch.ones(3), "1": torch.zeros(2, 2, dtype=torch.int64)}


def framed(head: bytes, body: bytes) -> bytes:
    return len(head).to_bytes(8, "big") + head + body


@examples(300)
@given(st.one_of(st.binary(max_size=50), contents.map(encode).flatmap(changed)))
def test_any_bytes(data: bytes) -> None:
    read(data)


@examples(300)
@given(heads, st.just(save(TWO)) | changed(save(TWO)))
def test_any_head(head: Any, body: bytes) -> None:
    read(framed(json.dumps(head).encode(), body))


numbers = st.integers(-1, 20) | st.sampled_from([1 << 31, 1 << 62, (1 << 64) - 1, 1 << 64])
descriptions = st.dictionaries(
    st.sampled_from(["0", "1", "__metadata__"]),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(
                ["F64", "F32", "BF16", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "C64", "BOOL", "U64"]
            ),
            "shape": st.lists(numbers, max_size=4),
            "data_offsets": st.lists(numbers, min_size=2, max_size=2),
        },
        optional={"more": plain},
    )
    | plain,
)


@examples(300)
@given(descriptions, st.binary(max_size=20), st.none() | numbers.filter(lambda n: 0 <= n < 1 << 64))
def test_any_tensors(described: Any, content: bytes, length: int | None) -> None:
    text = json.dumps(described).encode()
    body = (len(text) if length is None else length).to_bytes(8, "little") + text + content
    read(framed(b'{"dict": {"x": {"tensor": "0"}}}', body))


BODY = save(TWO)
LONG = border.LARGEST_HEAD - 100


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((1 << 63).to_bytes(8, "big"), id="a length without end"),
        pytest.param(framed(b" " * 20_000_000, BODY), id="a head without end"),
        pytest.param(framed(b"[" * LONG, BODY), id="brackets"),
        pytest.param(framed(b'{"dict":' * (LONG // 9), BODY), id="braces"),
        pytest.param(framed(b"[" * 400 + b"]" * 400, BODY), id="deep lists"),
        pytest.param(framed(b"1" * LONG, BODY), id="a long number"),
        pytest.param(framed(b'"' + b"\\u0001" * (LONG // 6) + b'"', BODY), id="a long text"),
        pytest.param(framed(b"[" + b"[]," * (LONG // 3) + b"[]]", BODY), id="many lists"),
        pytest.param(framed(b"[" + b"{}," * (LONG // 3) + b"{}]", BODY), id="many dictionaries"),
        pytest.param(
            framed(b"[" + b'{"tensor":"0"},' * (LONG // 15) + b"1]", save({"0": torch.ones(5**9)})),
            id="one tensor many times",
        ),
        pytest.param(framed(b"{}", (1 << 40).to_bytes(8, "little")), id="a body without end"),
        pytest.param(
            framed(b"{}", len(BODY).to_bytes(8, "little") + b"{" * 19_000_000), id="a large body"
        ),
    ],
)
def test_bombs(data: bytes) -> None:
    start = time.monotonic()
    read(data)
    assert time.monotonic() - start < 10
    tracemalloc.start()
    read(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 300_000_000


# --- what the judge makes of it -------------------------------------------------------------------


@cache
def source_of(module: str) -> str:
    return (ROOT / "solutions" / f"{module}.py").read_text(encoding="utf-8")


def marked(exercise: str, answer: bytes) -> Any:
    return exam_of(exercise).mark(answer, source_of(CHECKS[exercise].module))


def agree(expected: Any, got: Any) -> bool:
    """Tell whether two outputs agree, by other means than the judge's."""
    if isinstance(expected, Tensor):
        if not isinstance(got, Tensor) or (got.dtype, got.shape) != (
            expected.dtype,
            expected.shape,
        ):
            return False
        relative, absolute = TOLERANCES.get(expected.dtype, (0, 0))
        wide = torch.complex128 if expected.is_complex() else torch.float64
        one, other = (number.detach().to(wide).numpy() for number in (got, expected))
        return bool(np.isclose(one, other, relative, absolute, equal_nan=True).all())
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and {*expected} == {*got}
            and all(agree(value, got[key]) for key, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(got, list) and len(got) == len(expected) and all(map(agree, expected, got))
        )
    if isinstance(got, Tensor):
        return False
    return isinstance(expected, bool) == isinstance(got, bool) and bool(expected == got)


def points_for(exercise: str, outputs: Any) -> float:
    """Return the points that outputs earn, where they have the right form."""
    check, right = CHECKS[exercise], right_outputs(exercise)
    lost = {
        case["part"]
        for case, expected, got in zip(exam_of(exercise).cases, right, outputs)
        if "error" in got or any(not agree(expected[name], got.get(name)) for name in expected)
    }
    return sum(points for part, points in check.parts.items() if part not in lost)


class Leaf(NamedTuple):
    """A place in a tree, and what is there."""

    inner: Any
    key: Any

    @property
    def value(self) -> Any:
        return self.inner[self.key]


def leaves(tree: Any) -> list[Leaf]:
    keys = [*tree] if isinstance(tree, dict) else [*range(len(tree))]
    found = []
    for key in keys:
        inner = tree[key]
        found += leaves(inner) if isinstance(inner, dict | list) else [Leaf(tree, key)]
    return found


def is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(value.numel())
    return isinstance(value, int | float) and not isinstance(value, bool)


exercises = st.sampled_from([*FIRST])


@examples(150)
@given(exercises, st.data())
def test_a_number_that_is_wrong_loses_its_part(exercise: str, data: st.DataObject) -> None:
    outputs = deepcopy(right_outputs(exercise))
    place = data.draw(st.integers(0, len(outputs) - 1))
    numbers = [leaf for leaf in leaves(outputs[place]) if is_number(leaf.value)]
    if not numbers:
        return
    leaf = data.draw(st.sampled_from(numbers))
    factor = data.draw(st.sampled_from([1.0, -1.0, 3.0, 1e3]))
    if isinstance(leaf.value, Tensor):
        tensor = leaf.value.clone(memory_format=torch.contiguous_format)
        element = tensor.view(-1)[data.draw(st.integers(0, tensor.numel() - 1))]
        element.copy_(~element if tensor.dtype == torch.bool else element + factor * _far(element))
        leaf.inner[leaf.key] = tensor
    else:
        leaf.inner[leaf.key] += type(leaf.value)(factor) * 7
    result = marked(exercise, encode({"outputs": outputs}))
    if agree(right_outputs(exercise)[place], outputs[place]):  # an infinity stays what it is
        assert result.passed
    else:
        check = CHECKS[exercise]
        part = exam_of(exercise).cases[place]["part"]
        assert result.points == check.max_points - check.parts[part]
        assert f"[wrong] {part} (" in result.message


def _far(element: Tensor) -> Tensor:
    return 1 + element.abs()


odd = st.one_of(
    plain,
    tensors(),
    st.builds(list),
    st.builds(dict, error=st.just("a reason")),
    st.text("\x1b\n<>`\u202e", min_size=1).map(lambda text: text * 1000),
    st.just(10**4000),
    st.just(torch.full((3,), torch.nan)),
)


@examples(250)
@given(exercises, st.data())
def test_no_more_points_than_the_outputs_earn(exercise: str, data: st.DataObject) -> None:
    outputs = deepcopy(right_outputs(exercise))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(outputs) - 1))
        leaf = data.draw(st.sampled_from(leaves(outputs)))
        match data.draw(st.sampled_from(["leaf", "output", "delete", "add", "swap", "error"])):
            case "leaf":
                leaf.inner[leaf.key] = data.draw(odd)
            case "output":
                outputs[place] = data.draw(contents)
            case "delete":
                del leaf.inner[leaf.key]
            case "add":
                outputs[place][data.draw(st.text(max_size=5))] = data.draw(odd)
            case "swap":
                outputs[place], outputs[0] = outputs[0], outputs[place]
            case "error":
                outputs[place]["error"] = data.draw(odd)
        if not leaves(outputs):
            break
    result = marked(exercise, encode({"outputs": outputs}))
    assert result.points in (0, points_for(exercise, outputs))
    assert len(result.message) < 100_000
    if all(isinstance(output.get("error", ""), str) for output in outputs):
        assert result.points == points_for(exercise, outputs)


@examples(100)
@given(exercises, st.data())
def test_changed_bytes(exercise: str, data: st.DataObject) -> None:
    answer = data.draw(changed(encode({"outputs": right_outputs(exercise)})))
    result = marked(exercise, answer)
    try:
        outputs = decode(answer).get("outputs")
        earned = points_for(exercise, border.checked_outputs(outputs, len(right_outputs(exercise))))
    except Garbled:
        earned = 0
    assert result.points == earned


@examples(100)
@given(exercises, contents | st.fixed_dictionaries({"outputs": st.lists(contents)}))
def test_any_answer(exercise: str, content: dict[str, Any]) -> None:
    result = marked(exercise, encode(content))
    assert result.points == 0
    assert result.message


def test_a_refusal_is_worth_nothing() -> None:
    for exercise, check in FIRST.items():
        forged = {"refused": "5 of 5 points", "outputs": right_outputs(exercise)}
        result = marked(exercise, encode(forged))
        assert (result.points, result.passed) == (0, False)
        assert isinstance(check, Check)
        assert result.message.startswith(check.headline(0))
