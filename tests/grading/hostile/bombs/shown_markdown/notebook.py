from IPython.display import Markdown, display

for _ in range(900):
    display(Markdown(r"\begin{a}" * 1100))
