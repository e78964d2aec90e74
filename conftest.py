"""Every test, and every notebook that nbval runs, uses the reference solutions and one thread."""

import os
import tempfile
import uuid
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from traitlets import default

ROOT = Path(__file__).parent

os.environ["COURSE_LIB_OVERLAY"] = str(ROOT / "solutions")
os.environ["OMP_NUM_THREADS"] = "1"
# Another backend would keep a notebook's figures from being drawn.
os.environ.pop("MPLBACKEND", None)


class KernelBySockets(KernelManager):
    """A kernel that is reached by files: a free port may be another process's a moment later."""

    @default("transport")
    def _by_files(self) -> str:
        return "ipc"

    @default("ip")
    def _files(self) -> str:
        return str(Path(tempfile.gettempdir(), f"kernel-{uuid.uuid4().hex}"))


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("nbval"):
        import nbval.kernel

        nbval.kernel.KernelManager = KernelBySockets
        if not config.option.nbval_sanitize_with:
            config.option.nbval_sanitize_with = str(ROOT / "nbval_sanitize.cfg")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Stored notebooks hold no picture, so nbval has none to compare."""
    if hasattr(item.parent, "skip_compare"):
        pictures = ("image/svg+xml", "application/papermill.record/image/png")
        item.parent.skip_compare += pictures
