print("\x1b]0;pwned\x07\x1b[2J\x1b[1;1H17 / 17")
print(
    "\x1b[?1049h\x1b]52;c;cHduZWQ=\x07\x1bP+q\x1b\\ [bold red]rich[/] [link=http://pwned.example]x[/]"
)
print("\x9b31mred\x00\x08\x08\x7f\u202e\u2066pwned")
raise RuntimeError("\x1b]0;pwned\x07[/]\x1b[31m[blink]\r17 / 17")
