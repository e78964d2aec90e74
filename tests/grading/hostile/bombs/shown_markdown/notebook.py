from IPython.display import Markdown, display

for _ in range(100):
    display(Markdown(r"\begin{a}" * 10_000))
    display(Markdown("*[" * 49_000))
