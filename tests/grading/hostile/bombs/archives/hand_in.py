import io
import tarfile
import zipfile
from pathlib import Path


def hand_in(folder: Path) -> None:
    """Archives that grow, that write outside, and that hold themselves; nobody unpacks them."""
    with zipfile.ZipFile(folder / "losses.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("course_lib/losses.py", bytes(100 << 20))
        archive.writestr("../../pwned.py", "pwned")
        archive.writestr("/tmp/pwned_by_an_archive", "pwned")
    with tarfile.open(folder / "losses.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
        archive.addfile(link)
        file = tarfile.TarInfo("out/pwned_by_an_archive")
        file.size = 5
        archive.addfile(file, io.BytesIO(b"pwned"))
    (folder / "losses.ipynb.zip").write_bytes((folder / "losses.zip").read_bytes())
