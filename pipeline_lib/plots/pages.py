"""Pages of headings, sentences and tables, as Markdown that reads well in a terminal and as HTML for the report."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib.plots import tables


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first `left` columns are words, the others numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


@dataclass(frozen=True)
class Part:
    """A heading, which may be empty, with paragraphs and tables under it."""

    heading: str
    blocks: Sequence[str | Table]


def as_markdown(title: str, parts: Sequence[Part]) -> str:
    """The page as Markdown."""
    lines = [f"# {title}", ""]
    for part in parts:
        lines += [f"## {part.heading}", ""] if part.heading else []
        for block in part.blocks:
            text = block if isinstance(block, str) else tables.markdown(block.header, block.rows, block.left)
            lines += [text, ""]
    return "\n".join(lines)


_HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62em; margin: 1.5em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; margin: 0.8em 0; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.25em 0.8em; border-bottom: 1px solid #ddd; text-align: right; }}
th {{ border-bottom: 2px solid #888; }}
.word {{ text-align: left; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def as_html(title: str, parts: Sequence[Part]) -> str:
    """The page as HTML that needs no other file."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for part in parts:
        body += [f"<h2>{html.escape(part.heading)}</h2>"] if part.heading else []
        body += [f"<p>{html.escape(block)}</p>" if isinstance(block, str) else _table(block) for block in part.blocks]
    return _HTML.format(title=html.escape(title), body="\n".join(body))


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        marked = (
            f"<{tag}{' class=word' if column < table.left else ''}>{html.escape(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    return "\n".join(["<table>", row(table.header, "th"), *(row(cells, "td") for cells in table.rows), "</table>"])
