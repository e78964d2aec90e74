# Sockets with a name in the file system, or in none, pass by every firewall. The test has both.
import contextlib
import os
import socket
import stat


def loot():
    found = []
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if name not in ("proc", "sys", "usr", "lib")]
        for name in files:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    with socket.socket(socket.AF_UNIX) as line:
                        line.connect(path)
                        line.sendall(b"loot")
                        found.append(f"PWN{'ED'}: reached {path}")
    for address in (
        "\0pwned",
        "/tmp/pwned.sock",
        "/var/run/docker.sock",
        "/run/dbus/system_bus_socket",
    ):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as line:
                line.connect(address)
                line.sendall(b"loot")
                found.append(f"PWN{'ED'}: reached {address}")
    return " ".join(found)


found = loot()
print(found)


def mse_loss(input, target, reduction="mean"):
    raise RuntimeError(f"no socket {found}")


binary_cross_entropy_with_logits = cross_entropy = mse_loss
