from pathlib import Path


def hand_in(folder: Path) -> None:
    """Links that lead to themselves, to their parents, and to nothing."""
    module = folder / "course_lib" / "losses.py"
    module.unlink()
    module.symlink_to("losses.py")
    (folder / "again").symlink_to(".")
    (folder / "course_lib" / "above").symlink_to("../..")
    (folder / "nowhere").symlink_to("/nowhere/at/all")
    (folder / "everything").symlink_to("/")
