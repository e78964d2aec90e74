# Bounded, like all bombs here: without a sandbox 8 GB would be taken, and given back.
def mse_loss(input, target, reduction="mean"):
    taken = []
    try:
        for _ in range(512):
            taken.append(bytearray(b"x" * (16 << 20)))
    except MemoryError:
        pass
    size = sum(map(len, taken))
    if size > 4 << 30:
        raise RuntimeError(f"PWN{'ED'}: took {size >> 20} MB")
    return input


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    return bytearray(1 << 40)


cross_entropy = binary_cross_entropy_with_logits
