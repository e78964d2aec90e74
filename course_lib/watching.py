"""Watch what runs while an exercise is checked, so that nobody passes by calling the answer.

The watch sees every call that Python makes, by whatever name or route the function was reached,
and notices what was replaced in the libraries that the judgement relies on.
"""

import ast
import builtins
import contextlib
import copy
import functools
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from course_lib import student

ROUTES = (
    "course_lib.checking.Check",
    "course_lib.checking.same",
    "inspect",
    "sys._getframe",
    "sys.setprofile",
    "sys.settrace",
    "torch._ops",
    "torch.jit",
)
"""What a student's file must not call itself: the judge, frames, and torch by the back door."""

ELSEWHERE = (
    "_posixsubprocess.fork_exec",
    "_thread.start_joinable_thread",
    "_thread.start_new_thread",
    "posix.fork",
    "posix.forkpty",
    "posix.posix_spawn",
    "posix.system",
)
"""What starts a thread or process, where nothing would be watched; whoever calls it."""

C_NAMES = {name.rpartition(".")[2] for name in ROUTES + ELSEWHERE}

WAYS_ROUND = (
    "_ctypes",
    "course_lib.border",
    "course_lib.checking",
    "course_lib.checks",
    "course_lib.watching",
    "ctypes",
    "gc.get_objects",
    "gc.get_referents",
    "gc.get_referrers",
    "sys._current_frames",
    "sys._getframe",
    "sys.setprofile",
    "sys.settrace",
)
"""What a student's file must not name: memory, frames, and the judge."""

INSIDES = {
    *("__closure__", "__code__", "__globals__", "__subclasses__", "cell_contents"),
    *("ag_frame", "cr_frame", "f_back", "f_builtins", "f_globals", "f_locals"),
    *("gi_frame", "tb_frame"),
}
"""Attributes that lead from an object into the code that made or called it."""

ALLOWED = "torch.autograd.grad_mode"
"""``no_grad`` and its like are no answer to anything, wherever they are defined."""

ANSWER = "which this exercise asks you to write"

GUARDED: tuple[Any, ...] = (builtins, copy, json, np, torch, torch.nn.functional, torch.Tensor)
"""Where nothing may be replaced; builtins first, because putting back the others needs them."""


class Space:
    """The functions of a module or class as they are now, to be put back later."""

    def __init__(self, space: Any) -> None:
        self.space = space
        self.before = {name: value for name, value in vars(space).items() if callable(value)}
        is_class = isinstance(space, type)
        self.inherited = set(dir(space.__base__)) - set(vars(space)) if is_class else set()
        # A module's own dictionary, because setattr itself may have been replaced.
        self.set = functools.partial(setattr, space) if is_class else vars(space).__setitem__

    def put_back(self) -> list[str]:
        """Return the dotted names of the functions that were replaced, and undo it."""
        now = {**self.space.__dict__}
        changed = [name for name, old in self.before.items() if now.get(name) is not old]
        for name in changed:
            self.set(name, self.before[name])
        hidden = [name for name in now if name in self.inherited]
        for name in hidden:
            delattr(self.space, name)
        return [f"{self.space.__name__}.{name}" for name in changed + hidden]


class Watch:
    """A context manager that finds the first forbidden call, and what was replaced.

    Args:
        path: the student's file.
        forbidden: dotted names of modules, classes, functions and methods.
        oracle: the check's own answer, which is forbidden too.

    Attributes:
        reason: a sentence without its full stop that says what was wrong, or ``None``.
    """

    def __init__(self, path: Path, forbidden: tuple[str, ...], oracle: Any) -> None:
        self.path = path
        self.file = str(path)
        self.reason: str | None = None
        self.modules: dict[str, str] = {}
        self.codes: dict[CodeType, str] = {}
        self.functions: dict[Any, str] = {}
        for name in forbidden:
            self._forbid(name, resolve(name))
        self.oracle = codes_of(oracle)
        self._harmless: dict[int, CodeType] = {}
        self.prefixes = tuple(f"{module}." for module in self.modules)

    def _forbid(self, name: str, thing: Any) -> None:
        if isinstance(thing, ModuleType):
            self.modules[thing.__name__] = name
        elif codes := codes_of(thing):
            self.codes |= dict.fromkeys(codes, name)
        else:
            self.functions[thing] = name

    def __enter__(self) -> "Watch":
        self._spaces = [Space(space) for space in GUARDED]
        # It costs every call of torch's functions, so only where one of them is forbidden.
        self._mode = TorchCalls(self._torch_call) if self.functions else contextlib.nullcontext()
        self._mode.__enter__()
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self._mode.__exit__(None, None, None)
        for space in self._spaces:
            for name in space.put_back():
                self._refuse(None, f"replaces {name}: leave it as it is")

    def _torch_call(self, function: Any) -> None:
        if not self.reason and (answer := self.functions.get(function)):
            self._refuse(sys._getframe(), f"calls {answer}, {ANSWER}")

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        # Most events must pass in a microsecond: there are a hundred thousand in a check.
        if event == "call":
            if id(frame.f_code) not in self._harmless:
                self._python_call(frame)
        elif event == "c_call" and argument.__name__ in C_NAMES:
            self._c_call(frame, f"{argument.__module__}.{argument.__name__}")

    def _python_call(self, frame: FrameType) -> None:
        code = frame.f_code
        name = f"{frame.f_globals.get('__name__')}.{code.co_qualname}"
        if answer := self.codes.get(code) or self._module_of(name):
            self._refuse(frame, f"calls {answer}, {ANSWER}")
        elif code in self.oracle:
            if self._line_of(frame):
                self._refuse(frame, f"calls the check's own answer, {ANSWER}")
        elif within(name, ROUTES):
            if frame.f_back and frame.f_back.f_code.co_filename == self.file:
                self._refuse(frame, f"calls {name}, which is not part of any answer")
        else:
            # Kept, so that no other code can have its number.
            self._harmless[id(code)] = code

    def _c_call(self, frame: FrameType, name: str) -> None:
        by_student = frame.f_code.co_filename == self.file
        if name in ELSEWHERE or (by_student and within(name, ROUTES)):
            self._refuse(frame, f"calls {name}, which is not part of any answer")

    def _module_of(self, name: str) -> str | None:
        if not name.startswith(self.prefixes) or within(name, (ALLOWED,)):
            return None
        shown = (shown for module, shown in self.modules.items() if within(name, (module,)))
        return next(shown, None)

    def _refuse(self, frame: FrameType | None, what: str) -> None:
        if self.reason:
            return
        line = self._line_of(frame)
        place = f", line {line}," if line else ""
        self.reason = f"{student.shown_path(self.path)}{place} {what}"

    def _line_of(self, frame: FrameType | None) -> int | None:
        """Return the innermost line of the student's file that is being run."""
        while frame and frame.f_code.co_filename != self.file:
            frame = frame.f_back
        return frame.f_lineno if frame else None


def resolve(name: str) -> Any:
    """Return the module, class or function that a dotted name stands for."""
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(resolve(module), attribute)


def codes_of(thing: Any) -> set[CodeType]:
    """Return the code of a Python function, or of every method that a class defines."""
    if inspect.isfunction(thing):
        return {inspect.unwrap(thing).__code__}
    if inspect.isbuiltin(thing) or inspect.ismethoddescriptor(thing):
        return set()
    methods = vars(thing if isinstance(thing, type) else type(thing)).values()
    return {inspect.unwrap(method).__code__ for method in filter(inspect.isfunction, methods)}


def within(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


class TorchCalls(TorchFunctionMode):
    """Reports every function and method of torch that runs; it sees also what C code calls."""

    def __init__(self, report: Callable[[Any], None]) -> None:
        super().__init__()
        self.report = report

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        self.report(func)
        return func(*args, **(kwargs or {}))


@functools.lru_cache(maxsize=1)
def search(source: str, module: str) -> str | None:
    """Return a sentence without its full stop about the first way round the watch in a source.

    The watch runs beside the code that it watches; this reads the text, where nothing runs.
    """
    try:
        tree = ast.parse(source.encode())  # bytes: a comment may name another encoding
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # it cannot be imported either, which is told elsewhere
    aliases = {
        alias.asname or alias.name: f"{getattr(node, 'module', None) or ''}.{alias.name}".strip(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    found = [
        (getattr(node, "lineno", 0), name)
        for node in ast.walk(tree)
        for name in _names_in(node, aliases)
    ]
    for line, name in sorted(found):
        if within(name, WAYS_ROUND) or name.rpartition(".")[2] in INSIDES:
            place = f"course_lib/{module}.py, line {line},"
            return f"{place} uses {name}, which is not part of any answer"
    return None


def _names_in(node: Any, aliases: dict[str, str]) -> list[str]:
    """Return the dotted names that a node of the syntax tree stands for."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Attribute):
        inner = [*_names_in(node.value, aliases), ""][0]
        return [f"{inner}.{node.attr}"]
    return [aliases.get(node.id, node.id)] if isinstance(node, ast.Name) else []
