# Services of this machine trust those who are on it. The test listens on this port.
import contextlib
import socket

PORT = 48731


def loot():
    found = []
    for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0"):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host, PORT), timeout=0.5) as line,
        ):
            line.sendall(b"loot")
            found.append(f"PWN{'ED'}: reached {host}")
    for port in (22, 111, 631, 2375, 5432, 6379, 8000, 8081, 8888):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            found.append(f"PWN{'ED'}: reached port {port}")
    return " ".join(found)


found = loot()
print(found)


def mse_loss(input, target, reduction="mean"):
    raise RuntimeError(f"no service {found}")


binary_cross_entropy_with_logits = cross_entropy = mse_loss
