# Who deletes this afterwards needs a deep stack, and rights that were taken away.
import os

here = os.open(".", os.O_RDONLY)
try:
    for _ in range(3000):
        os.mkdir("pwned")
        os.chdir("pwned")
except OSError as error:
    print(error)
for name in (b"\xff\xfe", b"new\nline", b"-rf", b"*", b"pwned" * 50):
    try:
        os.mkdir(name)
        os.chmod(name, 0)
    except OSError as error:
        print(error)
os.fchdir(here)
os.chmod("pwned", 0)
