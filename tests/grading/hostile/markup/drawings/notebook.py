from IPython.display import HTML, SVG, Image, display

DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" onload="document.title='pwned'">
<script>document.title='pwned'</script>
<a href="javascript:document.title='pwned'"><text y="20">click</text></a>
<foreignObject><body xmlns="http://www.w3.org/1999/xhtml" onload="document.title='pwned'"/>
</foreignObject>
<animate onbegin="document.title='pwned'" attributeName="x" dur="1s"/>
<use href="data:image/svg+xml,pwned#x"/><circle r="9"/></svg>"""

display(SVG(DRAWING))
display(HTML(DRAWING))
display(Image(data=DRAWING.encode(), format="png"))
display({"image/svg+xml": DRAWING, "text/plain": "a drawing"}, raw=True)
