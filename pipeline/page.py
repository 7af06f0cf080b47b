"""What the pages that this program writes share: one look, also on a narrow window, and the few elements they are made of."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#22303c;max-width:1120px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:.1em;overflow-wrap:anywhere} h2{font-size:1.1em;margin-top:2em} p.note{color:#61707d;margin-top:.2em}
table{border-collapse:collapse;margin:.6em 0} td,th{padding:.25em .9em;text-align:right;border-bottom:1px solid #e6eaee}
td:first-child,th:first-child{text-align:left;padding-left:0} th{font-weight:600;color:#61707d}
.big{display:flex;gap:1em 2.5em;margin:1em 0;flex-wrap:wrap} .big b{display:block;font-size:1.9em;font-weight:650}
p.partial{background:#fff1d6;border-left:4px solid #e8a33d;padding:.5em .9em;font-weight:600}
p.right{background:#e7f4ea;border-left:4px solid #4b9b5c;padding:.5em .9em}
table.facts td,table.said td,table.said th{text-align:left;vertical-align:top;overflow-wrap:anywhere}
table.facts td:first-child{color:#61707d;white-space:nowrap;overflow-wrap:normal} table.said td:first-child{white-space:nowrap}
.wide{overflow-x:auto} .tables{display:flex;align-items:flex-start;gap:0 3em;flex-wrap:wrap}
.panels{display:flex;flex-wrap:wrap;gap:.5em;margin-bottom:1.2em} .panels img{flex:1 1 260px;max-width:min(100%,420px);min-width:0}
img{max-width:100%} code{background:#f2f4f6;padding:0 .3em;overflow-wrap:anywhere} summary{cursor:pointer;color:#2b6cb0;margin:.6em 0}
@media (max-width:600px){body{margin:1em auto} td,th{padding:.25em .5em} .big b{font-size:1.5em}
table.facts td{display:block;border:0;padding:0} table.facts td+td{padding:0 0 .5em 1em;border-bottom:1px solid #e6eaee}}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page that needs no other file. parts: pieces of HTML, one after the other."""
    head = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    return f"{head}<title>{escape(title)}</title><style>{STYLE}</style>" + "\n".join(parts)


def big_numbers(numbers: Iterable[tuple[str, str, str]]) -> str:
    """What the page is about, at a glance: (name, value, what it is relative to)."""
    cells = "".join(f"<div>{escape(name)}<b>{escape(value)}</b>{escape(note)}</div>" for name, value, note in numbers)
    return f"<div class=big>{cells}</div>"


def facts_table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns: what is said, and the text."""
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table class=facts>{cells}</table>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """kind: "said" for texts, which are set left; numbers are set right."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row) + "</tr>" for row in rows)
    opened = f"<table class={kind}>" if kind else "<table>"
    return f"<div class=wide>{opened}" + (f"<tr>{top}</tr>" if head else "") + f"{body}</table></div>"


def folded(title: str, content: str) -> str:
    """What only some readers want: a line that opens."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def image(data: bytes, says: str, kind: str = "png") -> str:
    """A picture inside of the page. data: a file of that kind. says: what it shows, for those who cannot see it."""
    return f'<img alt="{escape(says)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
