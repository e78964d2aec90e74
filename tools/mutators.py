"""Wrong versions of a source file, one small change each: mutmut's operators and those of torch.

mutmut knows Python's typical slips. The operators below add what people who write tensor code get
wrong: a term, an argument, a step or a method left out, another axis, arguments swapped, a
condition that always or never holds, a change in place.
"""

import ast
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"

IN_PLACE = {
    "abs",
    "add",
    "addcmul",
    "clamp",
    "div",
    "exp",
    "lerp",
    "log",
    "mul",
    "neg",
    "sqrt",
    "sub",
}
"""Methods that have a sister that changes its tensor: ``add`` and ``add_``."""


MODULE = m.Name("torch") | m.Name("F") | m.Name("nn") | m.Name("math")

COMMUTATIVE = m.Attribute(MODULE, m.Name("maximum") | m.Name("minimum") | m.Name("allclose"))
STRICT = m.Arg(keyword=m.Name("strict"))
NOT_GRADED = m.Annotation() | m.Raise() | m.FormattedString() | STRICT
"""What cannot be seen from outside, or only in the words of an error."""


class Mutant(NamedTuple):
    """A changed source: the function that changed, its lines before and after, the whole."""

    function: str
    change: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of the solution regions of a source, none twice."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    collector = Collector(solution_lines(source))
    wrapper.visit(collector)
    seen = {ast.dump(ast.parse(source))}
    names: Counter[tuple[str, str]] = Counter()
    for function, node, mutated in collector.found:
        changed = wrapper.module.deep_replace(node, mutated).code
        try:
            tree = ast.dump(ast.parse(changed))
        except SyntaxError:
            continue
        if tree in seen:
            continue
        seen.add(tree)
        text = change(source, changed)
        names[function, text] += 1
        again = f" ({names[function, text]})" if names[function, text] > 1 else ""
        yield Mutant(function, text + again, changed)


def solution_lines(source: str) -> set[int]:
    """Return the numbers of the lines between the markers."""
    inside, lines = False, set()
    for number, line in enumerate(source.splitlines(), start=1):
        if line.strip() in (BEGIN, END):
            inside = line.strip() == BEGIN
        elif inside:
            lines.add(number)
    return lines


def change(before: str, after: str) -> str:
    """Return the lines that differ, in one line of text: ``old -> new``."""
    old, new = before.splitlines(), after.splitlines()
    same_start = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new)))
    # An added line is told together with the one before it.
    same_start -= len(new) > len(old)
    old, new = old[same_start:], new[same_start:]
    ends = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(reversed(old), reversed(new)))
    same_end = sum(1 for _ in ends)
    return " -> ".join(
        " ".join(line.strip() for line in lines[: len(lines) - same_end]) for lines in (old, new)
    )


class Collector(cst.CSTVisitor):
    """Collects (function, node, mutated node) for every node that starts on one of the lines."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, lines: set[int]) -> None:
        super().__init__()
        self.lines = lines
        self.names: list[str] = []
        self.found: list[tuple[str, cst.CSTNode, Any]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self.names.append(node.name.value)
        if m.matches(node, NOT_GRADED):
            return False
        if self.names and self.get_metadata(PositionProvider, node).start.line in self.lines:
            for kind, operator in OPERATORS:
                if isinstance(node, kind):
                    self.found += [
                        (".".join(self.names), node, new)
                        for new in operator(node)
                        if not (isinstance(node, cst.Call) and only_strict_differs(node, new))
                    ]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self.names.pop()


def only_strict_differs(before: cst.Call, after: cst.CSTNode) -> bool:
    """Return whether a call lost just its ``strict=True``, which only guards."""
    kept = [arg for arg in before.args if not m.matches(arg, STRICT)]
    return (
        len(kept) < len(before.args)
        and isinstance(after, cst.Call)
        and len(kept) <= len(after.args)
        and all(one.value.deep_equals(other.value) for one, other in zip(kept, after.args))
    )


def dropped_operand(node: cst.BinaryOperation | cst.BooleanOperation) -> Iterable[cst.CSTNode]:
    """``a + b`` becomes ``a`` and ``b``: a term or a factor was forgotten."""
    yield _bracketed(node.left)
    yield _bracketed(node.right)


def swapped_operands(node: cst.BinaryOperation) -> Iterable[cst.CSTNode]:
    """``a - b`` becomes ``b - a`` where the order matters."""
    if isinstance(
        node.operator, cst.Subtract | cst.Divide | cst.Power | cst.MatrixMultiply | cst.FloorDivide
    ):
        yield node.with_changes(left=_bracketed(node.right), right=_bracketed(node.left))


def smaller_number(node: cst.BaseNumber) -> Iterable[cst.CSTNode]:
    """An integer becomes the one below it, another number its double; mutmut adds 1."""
    if isinstance(node, cst.Integer):
        yield cst.parse_expression(f"({node.evaluated_value - 1})")
    elif isinstance(node, cst.Float):
        yield node.with_changes(value=repr(node.evaluated_value * 2))


def dropped_minus(node: cst.UnaryOperation) -> Iterable[cst.CSTNode]:
    """``-x`` becomes ``x``; ``dim=-1`` becomes ``dim=0``."""
    if isinstance(node.operator, cst.Minus):
        yield node.expression
        if m.matches(node.expression, m.Integer("1")):
            yield cst.Integer("0")


def swapped_arguments(node: cst.Call) -> Iterable[cst.CSTNode]:
    """``f(a, b)`` becomes ``f(b, a)``, for neighbours without a keyword."""
    if m.matches(node.func, COMMUTATIVE):
        return
    for i, (left, right) in enumerate(itertools.pairwise(node.args)):
        if left.keyword is None and right.keyword is None and not left.star and not right.star:
            values = [left.with_changes(value=right.value), right.with_changes(value=left.value)]
            yield node.with_changes(args=[*node.args[:i], *values, *node.args[i + 2 :]])


def dropped_keyword(node: cst.Call) -> Iterable[cst.CSTNode]:
    """``f(x, dim=1)`` becomes ``f(x)``, also where it is the only argument."""
    if len(node.args) == 1 and node.args[0].keyword is not None:
        yield node.with_changes(args=[])


def dropped_call(node: cst.Call) -> Iterable[cst.CSTNode]:
    """``x.detach()`` becomes ``x``, and so does ``torch.exp(x)``."""
    if isinstance(node.func, cst.Attribute) and not m.matches(node.func.value, MODULE):
        yield _bracketed(node.func.value)
    elif node.args and not node.args[0].star:
        yield _bracketed(node.args[0].value)


def in_place(node: cst.Call) -> Iterable[cst.CSTNode]:
    """``x.add(y)`` becomes ``x.add_(y)``, and the other way round."""
    if isinstance(node.func, cst.Attribute):
        name = node.func.attr.value
        if name in IN_PLACE and not m.matches(node.func.value, MODULE):
            yield node.with_deep_changes(node.func.attr, value=f"{name}_")
        elif name.endswith("_") and not name.startswith("_"):
            yield node.with_deep_changes(node.func.attr, value=name.rstrip("_"))


def other_name(node: cst.Name) -> Iterable[cst.CSTNode]:
    """One of a pair of functions becomes the other."""
    for pair in (
        ("sum", "mean"),
        ("max", "min"),
        ("amax", "amin"),
        ("maximum", "minimum"),
        ("zeros", "ones"),
        ("zeros_like", "ones_like"),
        ("all", "any"),
        ("sin", "cos"),
        ("exp", "expm1"),
        ("log", "log1p"),
        ("square", "abs"),
        ("sqrt", "square"),
        ("floor", "ceil"),
    ):
        for one, other in (pair, pair[::-1]):
            if node.value == one:
                yield node.with_changes(value=other)


def forced_condition(node: cst.If | cst.While) -> Iterable[cst.CSTNode]:
    """``if x:`` becomes ``if True:`` and ``if False:``."""
    yield node.with_changes(test=cst.Name("False"))
    if isinstance(node, cst.If):
        yield node.with_changes(test=cst.Name("True"))


def dropped_statement(node: cst.SimpleStatementLine) -> Iterable[cst.CSTNode]:
    """A line becomes ``pass``."""
    if not m.matches(node, m.SimpleStatementLine(body=[m.Expr(m.SimpleString())])):
        yield node.with_changes(body=[cst.Pass()])


def swapped_results(node: cst.Return) -> Iterable[cst.CSTNode]:
    """``return a, b`` becomes ``return b, a``."""
    if isinstance(node.value, cst.Tuple) and len(node.value.elements) == 2:
        first, second = node.value.elements
        swapped = [
            first.with_changes(value=second.value),
            second.with_changes(value=first.value),
        ]
        yield node.with_changes(value=node.value.with_changes(elements=swapped))


def dropped_context(node: cst.With) -> Iterable[cst.CSTNode]:
    """``with torch.no_grad():`` becomes ``if True:``."""
    if all(item.asname is None for item in node.items):
        yield cst.If(test=cst.Name("True"), body=node.body, leading_lines=node.leading_lines)


def opposite_comparison(node: cst.Comparison) -> Iterable[cst.CSTNode]:
    """A comparison turns round: ``<`` becomes ``>=``."""
    opposite: dict[type, Callable[[], cst.BaseCompOp]] = {
        cst.LessThan: cst.GreaterThanEqual,
        cst.GreaterThan: cst.LessThanEqual,
        cst.LessThanEqual: cst.GreaterThan,
        cst.GreaterThanEqual: cst.LessThan,
    }
    for i, target in enumerate(node.comparisons):
        if new := opposite.get(type(target.operator)):
            changed = target.with_changes(operator=new())
            yield node.with_changes(
                comparisons=[*node.comparisons[:i], changed, *node.comparisons[i + 1 :]]
            )


def one_turn(node: cst.For) -> Iterable[cst.CSTNode]:
    """The loop ends after its first turn, or has none."""
    if isinstance(node.body, cst.IndentedBlock):
        stop = cst.SimpleStatementLine([cst.Break()])
        yield node.with_changes(body=node.body.with_changes(body=[*node.body.body, stop]))
        yield node.with_changes(body=node.body.with_changes(body=[stop]))


def updated_in_place(node: cst.Assign) -> Iterable[cst.CSTNode]:
    """``x = x + y`` becomes ``x += y``, which changes the tensor that ``x`` was."""
    operators: dict[type, Callable[[], cst.BaseAugOp]] = {
        cst.Add: cst.AddAssign,
        cst.Subtract: cst.SubtractAssign,
        cst.Multiply: cst.MultiplyAssign,
        cst.Divide: cst.DivideAssign,
    }
    value, target = node.value, node.targets[0].target
    if not isinstance(value, cst.BinaryOperation) or not value.left.deep_equals(target):
        return
    if new := operators.get(type(value.operator)):
        yield cst.AugAssign(target, new(), value.right)


def updated_out_of_place(node: cst.AugAssign) -> Iterable[cst.CSTNode]:
    """``x += y`` becomes ``x = x + y``, which leaves the old ``x`` as it was; not for counters."""
    operators: dict[type, Callable[[], cst.BaseBinaryOp]] = {
        cst.AddAssign: cst.Add,
        cst.SubtractAssign: cst.Subtract,
        cst.MultiplyAssign: cst.Multiply,
        cst.DivideAssign: cst.Divide,
    }
    counter = isinstance(node.value, cst.Integer)
    if not counter and (new := operators.get(type(node.operator))):
        value = cst.BinaryOperation(node.target, new(), _bracketed(node.value))
        yield cst.Assign([cst.AssignTarget(node.target)], value)


def dropped_index(node: cst.Subscript) -> Iterable[cst.CSTNode]:
    """``x[1:]`` becomes ``x``."""
    yield node.value


def dropped_element(node: cst.Tuple | cst.List) -> Iterable[cst.CSTNode]:
    """``(0, 2, 3)`` becomes ``(0, 2)``."""
    if len(node.elements) > 1:
        yield node.with_changes(elements=node.elements[:-1])


def _bracketed(node: Any) -> Any:
    return node.with_changes(
        lpar=[cst.LeftParen(), *node.lpar], rpar=[*node.rpar, cst.RightParen()]
    )


OPERATORS: list[tuple[Any, Callable[[Any], Iterable[cst.CSTNode]]]] = [
    # Sentences and keys: their wording is not graded, a wrong key only crashes.
    *(pair for pair in mutation_operators if pair[0] is not cst.BaseString),
    (cst.BinaryOperation, dropped_operand),
    (cst.BooleanOperation, dropped_operand),
    (cst.BinaryOperation, swapped_operands),
    (cst.BaseNumber, smaller_number),
    (cst.UnaryOperation, dropped_minus),
    (cst.Call, swapped_arguments),
    (cst.Call, dropped_keyword),
    (cst.Call, dropped_call),
    (cst.Call, in_place),
    (cst.Name, other_name),
    (cst.If, forced_condition),
    (cst.While, forced_condition),
    (cst.SimpleStatementLine, dropped_statement),
    (cst.Return, swapped_results),
    (cst.With, dropped_context),
    (cst.Comparison, opposite_comparison),
    (cst.For, one_turn),
    (cst.Assign, updated_in_place),
    (cst.AugAssign, updated_out_of_place),
    (cst.Subscript, dropped_index),
    (cst.Tuple, dropped_element),
    (cst.List, dropped_element),
]
