# Whatever a function says is quoted in the feedback.
TEXT = "</pre><script>document.title='pwned'</script><img src=x onerror=pwned()> \x1b[31m & <b>"


class Odd(Exception):
    pass


Odd.__name__ = Odd.__qualname__ = "<script>pwned</script>"


def mse_loss(input, target, reduction="mean"):
    raise ValueError(TEXT)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean", pos_weight=None):
    raise Odd(TEXT)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    return [TEXT, {"**bold** [link](javascript:pwned())": "`x`"}]
