from IPython.display import HTML, Latex, Markdown, display

for text in (
    "<a href='javascript:document.title=1//pwned'>grades</a>",
    "<a href=' jAvAsCrIpT&colon;document.title=1//pwned'>grades</a>",
    "<a href='java\tscript:document.title=1//pwned'>grades</a>",
    "<form action='javascript:document.title=1//pwned'><button>ok</button></form>",
    "<button form=f formaction='vbscript:pwned'>ok</button>",
    "<iframe src='javascript:document.title=1//pwned'></iframe>",
    "<iframe srcdoc=\"<script>parent.document.title='pwned'</script>\"></iframe>",
    "<object data='data:text/html,<script>document.title=1//pwned</script>'></object>",
    "<embed src='//pwned.example/x.swf'>",
    "<base href='//pwned.example/'>",
    "<meta http-equiv=refresh content='0;url=//pwned.example'>",
):
    display(HTML(text))
display(
    Markdown(
        "[grades](javascript:document.title=1//pwned) <script>document.title=1//pwned</script>"
    )
)
display(
    Latex(r"$\href{javascript:document.title=1//pwned}{x} \unicode{<img src=x onerror=pwned()>}$")
)
