def mse_loss(input, target, reduction="mean"):
    raise RuntimeError("half a character: \ud800")


binary_cross_entropy_with_logits = cross_entropy = mse_loss
