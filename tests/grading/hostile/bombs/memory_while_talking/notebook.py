# Who measures only while nothing comes never measures this one.
import threading
import time


def talk():
    while True:
        print(".", flush=True)
        time.sleep(0.05)


threading.Thread(target=talk, daemon=True).start()
taken = []
try:
    while len(taken) < 256:
        taken.append(bytearray(b"x" * (16 << 20)))
        print(len(taken), flush=True)
        time.sleep(0.01)
except MemoryError:
    pass
if len(taken) > 192:
    print("PWN" + "ED: took", len(taken) * 16, "MB")
