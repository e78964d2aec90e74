# A warm process hands its memory to the next student, if it is ever written to.
import builtins
import contextlib
import os
import sys
from importlib import import_module
from pathlib import Path

import torch

c = import_module("c" + "types")


def this_process():
    """Return what tells this process from others, whose number is perhaps the same."""
    with contextlib.suppress(OSError):
        return f"MARK-{os.getpid()}-{Path('/proc/self/stat').read_text().split()[21]}-"
    return f"MARK-{os.getpid()}-"


mine = this_process()
found = []
if getattr(builtins, "mark_of_losses", mine) != mine:
    found.append("PWN" + "ED: builtins bear an earlier student's mark")
with contextlib.suppress(OSError):
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if rights == "rw-s":
            begin, end = (int(side, 16) for side in span.split("-"))
            if b"MARK-" in c.string_at(begin, end - begin).replace(mine.encode(), b""):
                found.append("PWN" + "ED: shared memory bears an earlier student's mark")
            c.memmove(begin, mine.encode(), len(mine))

builtins.mark_of_losses = mine
torch.Tensor.mark_of_losses = mine
torch.nn.functional.mse_loss = lambda *_, **__: torch.zeros(())
torch.set_default_dtype(torch.float64)
torch.set_num_threads(3)
torch.autograd.set_grad_enabled(False)
os.environ["COURSE_LIB_OVERLAY"] = os.environ["PYTHONPATH"] = "/tmp"
sys.path.insert(0, "/tmp")
sys.setrecursionlimit(200)
print(found)


def mse_loss(input, target, reduction="mean"):
    raise RuntimeError(f"nothing was left {found}")


binary_cross_entropy_with_logits = cross_entropy = mse_loss
