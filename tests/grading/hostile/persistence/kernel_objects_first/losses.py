# Two students look for what the other one left, and leave something themselves. This is the first.
import contextlib
import socket
from importlib import import_module

MINE, THEIRS = 5_722_741, 5_722_742
CREATE, KEYCTL, ADD_KEY, SEARCH = 0o1666, 250, 248, 10
SIZES = {"shmget": (4096,), "semget": (1,), "msgget": ()}

libc = import_module("c" + "types").CDLL(None, use_errno=True)


def look_and_leave():
    found = []
    for name, size in SIZES.items():
        call = getattr(libc, name)
        if call(THEIRS, *size, 0o666) >= 0:
            found.append(f"PWN{'ED'}: {name} found what the other made")
        call(MINE, *size, CREATE)
    for keyring in (-3, -4, -5):
        if libc.syscall(KEYCTL, SEARCH, keyring, b"user", b"%d" % THEIRS, 0) >= 0:
            found.append(f"PWN{'ED'}: a key of the other's in keyring {keyring}")
        libc.syscall(ADD_KEY, b"user", b"%d" % MINE, b"note", 4, keyring)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.connect(f"\0pwned_{THEIRS}")
        found.append(f"PWN{'ED'}: the other's socket")
    with contextlib.suppress(OSError):
        holder = globals()["holder"] = socket.socket(socket.AF_UNIX)
        holder.bind(f"\0pwned_{MINE}")
        holder.listen()
    return " ".join(found)


found = look_and_leave()
print(found)


def mse_loss(input, target, reduction="mean"):
    raise RuntimeError(f"nothing was left {found}")


binary_cross_entropy_with_logits = cross_entropy = mse_loss
