# What is done when everything is over is seen by nobody.
import atexit
import os
import sys
import threading
import time
import weakref
from pathlib import Path


def late(*_):
    for folder in ("/tmp", "/var/tmp", "/dev/shm", ".", "..", "../.."):
        try:
            (Path(folder) / "pwned_at_exit").write_text("late")
        except OSError:
            continue


class Leaver:
    def __del__(self):
        late()
        time.sleep(30)


atexit.register(late)
atexit.register(time.sleep, 30)
threading._register_atexit(late)
weakref.finalize(os, late)
leaver = sys.leaver = Leaver()
