"""One table, written once: typed columns and rows of values; text, Markdown, CSV and JSON here, LaTeX in ``latex``, HTML in ``html``.

A column says what it takes from an item, what people read above it, and how a value becomes text. One without a name is
for machines only (CSV, JSON), one without a key for people only; what is printed is a choice of the columns, in any order.
The first column and prose are set flush left, the others flush right.
"""

from __future__ import annotations

import csv
import io
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import inert, write_atomic

if TYPE_CHECKING:
    from pipeline.report.told import Told

NONE = "–"
"""Stands where there is no value."""

#: Digits that no binary fraction shows its end in, and all that a float64 has.
SHORT, FULL = 10, 17


def number(value: float | None, form: str = ".2f") -> str:
    return NONE if value is None else format(value, form).replace("-", "−")


def signed(value: float | None) -> str:
    return number(value, "+.2f")


def counted(value: int | None) -> str:
    """ "178,466"."""
    return NONE if value is None else f"{value:,}"


def p_value(value: float | None) -> str:
    return NONE if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def interval(ends: tuple[float | None, float | None] | None) -> str:
    """ "[−0.50, +3.00]"."""
    low, high = ends or (None, None)
    return NONE if low is None or high is None else f"[{signed(low)}, {signed(high)}]"


def joined(parts: Iterable[str]) -> str:
    return "; ".join(filter(None, parts))


def text_of(value: object) -> str:
    return NONE if value is None else str(value)


@dataclass(frozen=True)
class Column:
    """What stands below one header."""

    key: str
    """In CSV and JSON; "" for people only."""
    value: Callable[[Any], object]
    """Of an item."""
    name: str = ""
    """For people; a line break is kept where there is room. "" for machines only."""
    unit: str = ""
    """Stands below the name."""
    format: Callable[[Any], str] = text_of
    """A value as people read it."""
    digits: int = SHORT
    """Of a fraction in CSV."""
    prose: bool = False
    """Running text: wrapped where there is little room."""

    @property
    def shown(self) -> bool:
        return bool(self.name) or not self.key

    @property
    def header(self) -> str:
        return f"{self.name}\n{self.unit}" if self.unit else self.name

    def plain(self, value: object) -> object:
        """As CSV has it: fractions to so many digits."""
        return float(f"{value:.{self.digits}g}") if isinstance(value, float) else value


def of(path: str) -> Callable[[Any], Any]:
    """What is found along a path of attributes, for example "spread.mean"; None from where one of them is None."""

    def value(item: Any) -> Any:
        for name in path.split("."):
            item = None if item is None else getattr(item, name)
        return item

    return value


@dataclass(frozen=True)
class Table:
    """A caption, columns, and rows of as many values."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[object, ...], ...]

    @classmethod
    def build(cls, caption: str, columns: Iterable[Column], items: Iterable[Any]) -> Table:
        """What each column takes from the items."""
        columns = tuple(columns)
        return cls(caption, columns, tuple(tuple(column.value(item) for column in columns) for item in items))

    @classmethod
    def of_texts(
        cls, caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, prose: bool = False
    ) -> Table:
        """What is text already. ``prose``: the last column is running text."""
        last = len(header) - 1
        columns = [
            Column("", operator.itemgetter(at), name, format=str, prose=prose and at == last)
            for at, name in enumerate(header)
        ]
        return cls.build(caption, columns, rows)

    def without_empty(self) -> Table:
        """Without the columns for people in which nothing stands, but for the first. Those of CSV and JSON stay."""
        texts = [[column.format(row[at]) for row in self.rows] for at, column in enumerate(self.columns)]
        kept = [
            at
            for at, column in enumerate(self.columns)
            if at == 0 or not column.shown or not self.rows or any(text not in ("", NONE) for text in texts[at])
        ]
        rows = tuple(tuple(row[at] for at in kept) for row in self.rows)
        return Table(self.caption, tuple(self.columns[at] for at in kept), rows)

    @cached_property
    def shown(self) -> tuple[Column, ...]:
        """The columns for people."""
        return tuple(column for column in self.columns if column.shown)

    @cached_property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """The values of the shown columns as text."""
        return tuple(
            tuple(column.format(value) for column, value in zip(self.columns, row, strict=True) if column.shown)
            for row in self.rows
        )

    def left(self, at: int) -> bool:
        """Whether a shown column is set flush left."""
        return at == 0 or self.shown[at].prose

    def records(self) -> list[dict[str, object]]:
        """Key → value, a dictionary per row."""
        return [{c.key: value for c, value in zip(self.columns, row, strict=True) if c.key} for row in self.rows]

    def csv(self) -> str:
        keyed = [(at, column) for at, column in enumerate(self.columns) if column.key]
        rows = [[column.plain(row[at]) for at, column in keyed] for row in self.rows]
        return comma_separated([column.key for _, column in keyed], rows)


@dataclass(frozen=True)
class Section:
    title: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Document:
    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]

    def save(self, folder: Path, stem: str, data: Table, *, latex: bool = True) -> Told:
        """Write ``stem``.md, .csv (of ``data``) and .tex in ``folder``; the result is the text to print."""
        from pipeline.report.latex import tables as tex
        from pipeline.report.told import of_table

        write_atomic(folder / f"{stem}.md", markdown(self).encode())
        if latex:
            write_atomic(folder / f"{stem}.tex", tex(self).encode())
        write_atomic(folder / f"{stem}.csv", data.csv().encode())
        return of_table(text(self), self.title, data, self.notes)


def printable(value: str) -> str:
    """``value`` with line breaks and other control characters as blanks: names of files may hold them."""
    return "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in value)


def text(document: Document) -> str:
    """For a terminal: columns padded with blanks, rules of dashes."""
    lines = [document.title, "=" * len(document.title), ""]
    for section in document.sections:
        lines += [section.title, ""]
        for one in section.tables:
            lines += [one.caption, *padded(one.without_empty()), ""]
    return "\n".join([*lines, *(f"- {line}" for line in document.notes)]) + "\n"


def padded(one: Table) -> list[str]:
    names = [column.header.split("\n") for column in one.shown]
    height = max(len(parts) for parts in names)
    names = [[""] * (height - len(parts)) + parts for parts in names]
    heads = [tuple(parts[line] for parts in names) for line in range(height)]
    rows = [tuple(map(printable, row)) for row in one.cells]
    widths = [max(map(len, column)) for column in zip(*heads, *rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if one.left(at) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in [*widths[:-1], min(widths[-1], 40)])
    return [*(line(head) for head in heads), rule, *(line(row) for row in rows)]


def markdown(document: Document) -> str:
    lines = [f"# {markdown_cell(document.title)}", ""]
    for section in document.sections:
        lines += [f"## {markdown_cell(section.title)}", ""]
        for one in section.tables:
            lines += [markdown_cell(one.caption), "", *markdown_table(one), ""]
    return "\n".join([*lines, *(f"- {markdown_cell(line)}" for line in document.notes)]) + "\n"


def markdown_table(one: Table) -> list[str]:
    rule = [":---" if one.left(at) else "---:" for at in range(len(one.shown))]
    rows = [[column.header.replace("\n", " ") for column in one.shown], rule, *one.cells]
    return ["| " + " | ".join(markdown_cell(cell) for cell in row) + " |" for row in rows]


def markdown_cell(cell: str) -> str:
    """``cell`` without what Markdown would take for its own: bars, stars, underscores, backquotes, brackets, entities."""
    return re.sub(r"([\\|*_`<\[\]&~$])", r"\\\1", printable(cell))


def comma_separated(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """RFC 4180 but for the line ends, which are ``\\n``; None is an empty cell; texts as by ``inert``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([inert(cell) for cell in header])
    writer.writerows([["" if cell is None else inert(cell) for cell in row] for row in rows])
    return out.getvalue()
