from pathlib import Path

CHECKS = """
print("PWN" + "ED: my own checks")
class Check:
    max_points = 7.0
    report = grade = lambda self: 7.0
check_mse_loss = check_binary_cross_entropy = check_cross_entropy = Check()
"""
NAMES = ("__init__.py", "checking.py", "watching.py", "student.py", "checks/__init__.py")


def hand_in(folder: Path) -> None:
    """The folder of the students' modules is in front of the course's own package."""
    (folder / "course_lib" / "checks").mkdir()
    (folder / "course_lib" / "checks" / "losses.py").write_text(CHECKS)
    for name in NAMES:
        (folder / "course_lib" / name).write_text("print('PWN' + 'ED: the package is mine')\n")
