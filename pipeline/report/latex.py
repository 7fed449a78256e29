"""Documents as LaTeX, in ASCII, for a minimal TeX installation."""

from __future__ import annotations

import unicodedata

from pipeline.report.table import Document, Table, printable

#: What LaTeX reads as its own, or what plain pdflatex has no glyph for; everything else must be ASCII.
#: (The dollar by its number: "\\$" is of a font, TS1, that minimal installations lack.)
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"{\char36}",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "-": "{-}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "√": r"$\surd$",
    "σ": r"$\sigma$",
    "Δ": r"$\Delta$",
    "²": "$^2$",
    "→": r"$\rightarrow$",
    "’": "'",
    "`": "{`}",
    "'": "{'}",
    "ß": r"{\ss}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "å": r"{\aa}",
    "Å": r"{\AA}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
}

#: Combining accents of Unicode's decomposed letters, and LaTeX's commands for them.
ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


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
        for table in section.tables:
            lines += [*tabular(table), ""]
    if document.notes:
        # LaTeX's own bullet is of a font (TS1) that minimal installations lack.
        lines += [r"\footnotesize", r"\renewcommand{\labelitemi}{$\bullet$}", r"\begin{itemize}"]
        lines += [rf"\item {{}}{latex_text(note)}" for note in document.notes]
        lines += [r"\end{itemize}"]
    return "\n".join([*lines, r"\end{document}"]) + "\n"


def tables(document: Document) -> str:
    """The document's tables alone, for ``\\input`` into another: a ``tabular`` each, titles and notes as comments."""
    lines = [f"% {latex_text(document.title)}"]
    for section in document.sections:
        lines += [f"% {latex_text(section.title)}"]
        for table in section.tables:
            lines += [f"% {latex_text(table.caption)}", *bare(table)]
    return "\n".join([*lines, *(f"% {latex_text(note)}" for note in document.notes)]) + "\n"


def bare(table: Table) -> list[str]:
    """The ``tabular`` of a table and nothing around it."""
    lines = tabular(table)
    first = next(at for at, line in enumerate(lines) if line.startswith(r"\begin{tabular}"))
    return lines[first : lines.index(r"\end{tabular}") + 1]


def tabular(table: Table) -> list[str]:
    table = table.without_empty()
    kinds = [r"p{55mm}" if column.prose else "l" if table.left(at) else "r" for at, column in enumerate(table.shown)]
    heads = [
        rf"\shortstack[{kind[0].replace('p', 'l')}]{{{header(column.header)}}}"
        for column, kind in zip(table.shown, kinds, strict=True)
    ]
    return [
        rf"{{\small {latex_text(table.caption)}}}\par\smallskip",
        r"{\footnotesize",
        rf"\begin{{tabular}}{{{''.join(kinds)}}}",
        r"\hline",
        " & ".join(heads) + r" \\",
        r"\hline",
        # The empty group keeps a cell that begins with "[" from being read as the option of the "\\" before it.
        *("{}" + " & ".join(latex_text(cell) for cell in row) + r" \\" for row in table.cells),
        r"\hline",
        r"\end{tabular}",
        r"\par}\bigskip",
    ]


def header(name: str) -> str:
    return r"\\".join(latex_text(part) for part in name.split("\n"))
