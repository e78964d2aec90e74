"""The instructor's side of an nbgrader course: release, autograde, feedback, export.

Knows nbgrader and nothing of what a course teaches; `nbgrader_config.py` says the rest.
"""
