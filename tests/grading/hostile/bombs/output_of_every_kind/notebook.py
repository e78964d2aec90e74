import base64

from IPython.display import HTML, Image, clear_output, display

for number in range(3000):
    display(HTML(f"<b>{number}</b>" + "x" * 1000))
    print(number)
    clear_output(wait=True) if number % 7 == 0 else display(number)
display(Image(data=base64.b64decode("iVBORw0KGgo=") + b"x" * 40_000_000, format="png"))
raise RuntimeError("x" * 20_000_000 + "\n" * 100_000)
