for _ in range(30):
    print("pwned" * 2_000_000, end="")
