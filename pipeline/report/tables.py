"""Tables of text as printed text, Markdown, LaTeX and CSV.

Everything here is text already; a header may hold a line break, which the printed text and LaTeX keep.
The first column and the last are set flush left (names and notes), the others flush right.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.files import inert

NONE = "–"
"""Stands where there is no value."""


@dataclass(frozen=True)
class Grid:
    """One table: a caption, column names, rows of as many cells."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    wide: bool = False
    """The last column is running text: it is wrapped in LaTeX."""


@dataclass(frozen=True)
class Section:
    title: str
    grids: tuple[Grid, ...]


@dataclass(frozen=True)
class Document:
    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]


def left(column: int, columns: int, grid: Grid) -> bool:
    return column == 0 or (grid.wide and column == columns - 1)


def printable(value: str) -> str:
    """``value`` with line breaks and other control characters as blanks: names of files may hold them."""
    return "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in value)


# ---------------------------------------------------------------------------------------- printed text


def text(document: Document) -> str:
    """For a terminal: columns padded with blanks, rules of dashes."""
    lines = [document.title, "=" * len(document.title), ""]
    for section in document.sections:
        lines += [section.title, ""]
        for grid in section.grids:
            lines += [grid.caption, *padded(grid), ""]
    return "\n".join([*lines, *(f"- {note}" for note in document.notes)]) + "\n"


def padded(grid: Grid) -> list[str]:
    columns = len(grid.header)
    names = [name.split("\n") for name in grid.header]
    height = max(len(parts) for parts in names)
    names = [[""] * (height - len(parts)) + parts for parts in names]
    heads = [tuple(parts[line] for parts in names) for line in range(height)]
    rows = [tuple(map(printable, row)) for row in grid.rows]
    widths = [max(len(row[c]) for row in [*heads, *rows]) for c in range(columns)]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if left(c, columns, grid) else cell.rjust(width)
            for c, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * min(width, 40) for width in widths)
    return [*(line(head) for head in heads), rule, *(line(row) for row in rows)]


# -------------------------------------------------------------------------------------------- Markdown


def markdown(document: Document) -> str:
    lines = [f"# {markdown_cell(document.title)}", ""]
    for section in document.sections:
        lines += [f"## {markdown_cell(section.title)}", ""]
        for grid in section.grids:
            lines += [markdown_cell(grid.caption), "", *markdown_grid(grid), ""]
    return "\n".join([*lines, *(f"- {markdown_cell(note)}" for note in document.notes)]) + "\n"


def markdown_grid(grid: Grid) -> list[str]:
    columns = len(grid.header)
    rule = [":---" if left(c, columns, grid) else "---:" for c in range(columns)]
    rows = [[name.replace("\n", " ") for name in grid.header], rule, *grid.rows]
    return ["| " + " | ".join(markdown_cell(cell) for cell in row) + " |" for row in rows]


def markdown_cell(cell: str) -> str:
    """``cell`` without what Markdown would take for its own: bars, stars, underscores, backquotes, brackets, entities."""
    return re.sub(r"([\\|*_`<\[\]&~$])", r"\\\1", printable(cell))


# ----------------------------------------------------------------------------------------------- LaTeX

#: What LaTeX reads as its own, or what plain pdflatex has no glyph for; everything else must be ASCII.
#: (The dollar by its number: "\\$" is of a font, TS1, that minimal installations lack.)
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"{\char36}", "#": r"\#",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$",
    '"': "''", "–": "--", "—": "---", "−": "$-$", "-": "{-}", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$",
    "≥": r"$\geq$", "≤": r"$\leq$", "√": r"$\surd$", "σ": r"$\sigma$", "Δ": r"$\Delta$", "²": "$^2$",
    "→": r"$\rightarrow$", "’": "'", "`": "{`}", "'": "{'}", "ß": r"{\ss}", "ø": r"{\o}", "Ø": r"{\O}", "æ": r"{\ae}",
    "Æ": r"{\AE}", "å": r"{\aa}", "Å": r"{\AA}", "ł": r"{\l}", "Ł": r"{\L}",
}  # fmt: skip

#: Combining accents of Unicode's decomposed letters, and LaTeX's commands for them.
ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u0308": '"',
    "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def latex_text(value: str) -> str:
    """``value`` for LaTeX's text mode, in ASCII; a letter that plain pdflatex cannot set becomes "?"."""
    return "".join(map(latex_letter, unicodedata.normalize("NFC", printable(value))))


def latex_letter(char: str) -> str:
    if char in LATEX or char.isascii():
        return LATEX.get(char, char)
    letters = unicodedata.normalize("NFD", char)
    base, accent = letters[0], ACCENTS.get(letters[1:])
    if accent is None or not base.isascii():
        return "?"
    # An accent stands on an i without its dot.
    under = r"{\i}" if base == "i" else base
    return rf"\{accent}{{{under}}}"


def latex(document: Document) -> str:
    """A complete document that needs no package beyond those of a minimal TeX installation (geometry)."""
    lines = [
        r"\documentclass[10pt]{article}",
        r"\usepackage[a4paper,landscape,margin=12mm]{geometry}",
        r"\setlength{\parindent}{0pt}",
        r"\setlength{\tabcolsep}{4pt}",
        r"\begin{document}",
        rf"\section*{{{latex_text(document.title)}}}",
    ]
    for section in document.sections:
        lines += [rf"\subsection*{{{latex_text(section.title)}}}", ""]
        for grid in section.grids:
            lines += [*latex_grid(grid), ""]
    if document.notes:
        # LaTeX's own bullet is of a font (TS1) that minimal installations lack.
        lines += [r"\footnotesize", r"\renewcommand{\labelitemi}{$\bullet$}", r"\begin{itemize}"]
        lines += [rf"\item {latex_text(note)}" for note in document.notes]
        lines += [r"\end{itemize}"]
    return "\n".join([*lines, r"\end{document}"]) + "\n"


def latex_grid(grid: Grid) -> list[str]:
    columns = len(grid.header)
    spec = ["l" if left(c, columns, grid) else "r" for c in range(columns)]
    if grid.wide:
        spec[-1] = r"p{55mm}"
    heads = [
        rf"\shortstack[{kind[0].replace('p', 'l')}]{{{latex_header(name)}}}"
        for name, kind in zip(grid.header, spec)
    ]
    return [
        rf"{{\small {latex_text(grid.caption)}}}\par\smallskip",
        r"{\footnotesize",
        rf"\begin{{tabular}}{{{''.join(spec)}}}",
        r"\hline",
        " & ".join(heads) + r" \\",
        r"\hline",
        # The empty group keeps a cell that begins with "[" from being read as the option of the "\\" before it.
        *("{}" + " & ".join(latex_text(cell) for cell in row) + r" \\" for row in grid.rows),
        r"\hline",
        r"\end{tabular}",
        r"\par}\bigskip",
    ]


def latex_header(name: str) -> str:
    return r"\\".join(latex_text(part) for part in name.split("\n"))


# ------------------------------------------------------------------------------------------------- CSV


def comma_separated(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """RFC 4180 but for the line ends, which are ``\\n``; None is an empty cell; texts as by ``inert``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if cell is None else inert(cell) for cell in row] for row in rows])
    return out.getvalue()
