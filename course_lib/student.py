"""The student's file: load it as it is now, say where it failed, see what it must not use."""

import ast
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import course_lib


class Unusable(Exception):
    """The file cannot be checked at all; the message says why and what to do."""


def load(module: str, target: str, forbidden: tuple[str, ...] = ()) -> Any:
    """Import ``course_lib.<module>`` afresh and return its ``target``.

    Raises:
        Unusable: the file is missing, cannot be imported, lacks ``target``, or uses one of the
            ``forbidden`` dotted names.
    """
    path = path_of(module)
    shown = _shown(path)
    try:
        used = first_use(path.read_text(encoding="utf-8-sig"), forbidden)
        loaded = _import(module, path)
    except SyntaxError as error:
        place = f"{shown}, line {error.lineno}" if error.lineno else shown
        raise Unusable(f"{place}: {error.msg}: {(error.text or '').strip()}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{shown} is not UTF-8 text: save it as UTF-8") from None
    except (Exception, SystemExit) as error:
        raise Unusable(f"{shown} cannot be imported: {describe(error, path)}") from None
    if used:
        name, line = used
        raise Unusable(f"{shown}, line {line} uses {name}, which this exercise asks you to write")
    if not hasattr(loaded, target):
        raise Unusable(f"{shown} has no {target}: was it renamed?")
    return getattr(loaded, target)


def path_of(module: str) -> Path:
    """Return where ``course_lib.<module>`` would be imported from.

    Raises:
        Unusable: there is no such file.
    """
    for folder in course_lib.__path__:
        path = Path(folder) / f"{module}.py"
        if path.is_file():
            return path
    raise Unusable(f"there is no course_lib/{module}.py to check")


def describe(error: BaseException, path: Path) -> str:
    """Return an exception in one line, with the innermost line of the student's file in it."""
    try:
        words = str(error).partition("\n")[0]
    except Exception:
        words = ""
    text = f"{type(error).__name__}: {words}" if words else type(error).__name__
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    if not frames:
        return text
    place = f"{_shown(path)}, line {frames[-1].lineno}"
    if isinstance(error, NotImplementedError):
        return f"{words} ({place})"
    return f"{text} ({place}: {frames[-1].line})"


def first_use(source: str, forbidden: tuple[str, ...]) -> tuple[str, int] | None:
    """Return the first forbidden name that the source uses, and its line."""
    tree = ast.parse(source)
    imports = list(_imports(tree))
    uses = [(name, line) for _, (line, name) in imports]
    imported = dict(imports)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := _dotted(node, imported)):
            uses.append((name, node.lineno))
    for name, line in sorted(uses, key=lambda use: use[1]):
        for banned in forbidden:
            if name == banned or name.startswith(f"{banned}."):
                return name, line
    return None


def _imports(tree: ast.AST) -> Iterator[tuple[str, tuple[int, str]]]:
    """Yield every imported name with its line and the dotted name that it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or name, (node.lineno, name)
                yield alias.name, (node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, (node.lineno, f"{node.module}.{alias.name}")


def _dotted(node: ast.expr, imported: dict[str, tuple[int, str]]) -> str | None:
    """Return ``a.b.c`` for an attribute chain, its first name resolved through the imports."""
    if isinstance(node, ast.Name):
        return imported[node.id][1] if node.id in imported else node.id
    if isinstance(node, ast.Attribute) and (head := _dotted(node.value, imported)):
        return f"{head}.{node.attr}"
    return None


def _import(module: str, path: Path) -> ModuleType:
    name = f"{course_lib.__name__}.{module}"
    sys.modules.pop(name, None)
    # Bytecode is matched by second and size, so an edit could go unseen.
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
