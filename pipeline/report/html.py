"""A table as HTML."""

from __future__ import annotations

from html import escape

from pipeline.report.table import Table


def table_html(table: Table) -> str:
    """A table that scrolls inside itself where the page is narrower; its first column stays.

    Notes are running text: on a phone they stand below the table, where they are seen and make no tall rows.
    """
    table = table.without_empty()
    noted = table.shown[-1].prose and table.shown[-1].name == "Notes"

    def mark(at: int) -> str:
        return ' class="l w"' if table.shown[at].prose else ' class="l"' if table.left(at) else ""

    heads = "".join(f'<th scope="col"{mark(at)}>{escape(c.header)}</th>' for at, c in enumerate(table.shown))
    rows = "".join(
        f"<tr><td{mark(0)}>{breakable(row[0])}</td>"
        + "".join(f"<td{mark(at)}>{escape(cell)}</td>" for at, cell in enumerate(row[1:], 1))
        + "</tr>\n"
        for row in table.cells
    )
    below = "".join(
        f"<li><b>{breakable(row[0])}</b>: {escape(row[-1])}</li>" for row in table.cells if noted and row[-1]
    )
    return (
        f'<p class="caption muted">{escape(table.caption)}</p><div class="scroll{" noted" if noted else ""}" tabindex="0">'
        f'<table aria-label="{escape(table.caption, quote=True)}">'
        f"<thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>"
        + (f'<ul class="below muted">{below}</ul>' if below else "")
    )


def breakable(cell: str) -> str:
    """The HTML of a row's name; a mix may go on in another line after a comma, and nowhere else."""
    return escape(cell).replace(",", ",<wbr>")
