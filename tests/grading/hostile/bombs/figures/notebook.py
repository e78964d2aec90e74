import matplotlib.pyplot as plt

for _ in range(40):
    plt.figure(figsize=(4, 4))
    plt.plot([1, 2])
plt.figure(figsize=(600, 600), dpi=100)
plt.plot([1, 2])
plt.show()
