from IPython import get_ipython
from IPython.display import HTML, Javascript, display

display(HTML("<b>A table</b><script>document.title = 'pwned'</script>"))
display(HTML("<ScRiPt src='//pwned.example/x.js'></sCrIpT >"))
display(HTML("<scr<script>ipt>document.title = 'pwned'</scr</script>ipt>"))
display(HTML("<noscript><p title=\"</noscript><script>document.title='pwned'</script>\">"))
display(Javascript("document.title = 'pwned'"))
get_ipython().run_cell_magic("javascript", "", "document.title = 'pwned'")
get_ipython().run_cell_magic("html", "", "<script>document.title = 'pwned'</script>")
