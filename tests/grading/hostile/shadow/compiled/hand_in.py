import importlib.util
import sys
from pathlib import Path

CODE = """
print("PWN" + "ED: compiled")
check_mse_loss = check_binary_cross_entropy = check_cross_entropy = 7.0
"""


def hand_in(folder: Path) -> None:
    """Compiled files without a source, with a hash that nobody is to check."""
    cache = folder / "course_lib" / "__pycache__"
    cache.mkdir(exist_ok=True)
    flags = (1).to_bytes(4, "little")
    code = __import__("marshal").dumps(compile(CODE, "losses.py", "exec"))
    compiled = importlib.util.MAGIC_NUMBER + flags + bytes(8) + code
    for name in ("losses", "checking", "torch"):
        (cache / f"{name}.{sys.implementation.cache_tag}.pyc").write_bytes(compiled)
        (folder / f"{name}.pyc").write_bytes(compiled)
    (folder / "course_lib" / "checking.abi3.so").write_bytes(b"\x7fELF" + bytes(1000))
