"""The instructor's side of an nbgrader course: release, autograde, feedback, export, doctor.

Knows nbgrader and nothing of what a course teaches; `nbgrader_config.py` says the rest.
"""

import sys

if "nbformat" not in sys.modules:
    # Its jsonschema makes a grammar of IRIs with this package, if it is there, and takes a
    # second of every start for it. No notebook's schema has an IRI.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    import nbformat  # noqa: F401

    del sys.modules["rfc3987_syntax"]
