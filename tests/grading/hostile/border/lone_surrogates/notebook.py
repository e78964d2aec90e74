from IPython.display import display

print("half a character: \ud800")
display({"text/plain": "\udfff", "text/html": "<b>\ud83d</b>"}, raw=True)
raise RuntimeError("\ud800")
