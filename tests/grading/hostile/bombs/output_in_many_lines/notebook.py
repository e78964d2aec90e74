for number in range(3_000_000):
    print(number)
