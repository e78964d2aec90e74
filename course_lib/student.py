"""The student's file: load it as it is now, and say where it failed."""

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import course_lib


class Unusable(Exception):
    """The file cannot be checked at all; the message says why and what to do."""


def load(module: str, target: str) -> Any:
    """Import ``course_lib.<module>`` afresh and return its ``target``.

    Raises:
        Unusable: the file is missing, cannot be imported, or lacks ``target``.
    """
    path = path_of(module)
    shown = shown_path(path)
    try:
        path.read_text(encoding="utf-8-sig")
        loaded = _import(module, path)
    except SyntaxError as error:
        place = f"{shown}, line {error.lineno}" if error.lineno else shown
        raise Unusable(f"{place}: {error.msg}: {(error.text or '').strip()}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{shown} is not UTF-8 text: save it as UTF-8") from None
    except (Exception, SystemExit) as error:
        raise Unusable(f"{shown} cannot be imported: {describe(error, path)}") from None
    if not hasattr(loaded, target):
        raise Unusable(f"{shown} has no {target}: was it renamed?")
    implementation = getattr(loaded, target)
    for origin in getattr(implementation, "__mro__", (implementation,)):
        if str(origin.__module__).startswith(f"{course_lib.__name__}.checks."):
            raise Unusable(f"{shown} takes {target} from the course's checks: write your own")
    return implementation


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
    place = f"{shown_path(path)}, line {frames[-1].lineno}"
    if isinstance(error, NotImplementedError):
        return f"{words} ({place})"
    return f"{text} ({place}: {frames[-1].line})"


def _import(module: str, path: Path) -> ModuleType:
    name = f"{course_lib.__name__}.{module}"
    sys.modules.pop(name, None)
    # Bytecode is matched by second and size, so an edit could go unseen.
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def shown_path(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
