"""The checks of every exercise, one module of them for each module that students write."""

import importlib
import pkgutil

from course_lib.checking import Check


def modules() -> list[str]:
    """Return the names of the modules that students write."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def checks_of(module: str) -> list[Check]:
    """Return the checks of one module, in the order in which its exercises build on each other."""
    loaded = importlib.import_module(f"{__name__}.{module}")
    return [value for value in vars(loaded).values() if isinstance(value, Check)]
