"""Tables of clips as programs and people write them: any usual delimiter, quotation marks, line ends, a mark of the byte order.

Names of columns are compared without capitals and spaces around them; a row knows the line that it begins in.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus.tables import Row
from pipeline.plurals import many

#: What may stand between values, the likeliest first.
DELIMITERS = ",;\t|"


class TableRow(Row):
    """A row, and the lines that it stands in: the first, and the one behind the last, from 0."""

    start: int
    end: int
    remedy = "mend the row"


@dataclass(frozen=True)
class TableFile:
    """The text of a table, and how it is read."""

    path: Path
    lines: tuple[str, ...]
    """With their ends."""
    delimiter: str
    header: tuple[str, ...]
    places: Mapping[str, int]
    """What a column is for, of those that are there → its place in the header."""

    def rows(self, problems: list[str]) -> Iterator[TableRow]:
        """The rows with their columns by purpose, "" where a row ends before; a row that is none is a line in ``problems``."""
        filled = (row for row in ranges(self.path, self.lines, self.delimiter) if any(map(str.strip, row[0])))
        next(filled, None)  # the header
        for cells, start, end in filled:
            cells = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
            row = TableRow(
                (purpose, cells[place] if place < len(cells) else "") for purpose, place in self.places.items()
            )
            row.where, row.start, row.end = f"{self.path}, line {start + 1}", start, end
            if any(cells[len(self.header) :]):
                problems.append(
                    f"{row.where}: {many(len(cells), 'value')}; expected {len(self.header)}: {', '.join(self.header)}; put a value "
                    f"that holds {self.delimiter!r} in quotation marks"
                )
                continue
            yield row


def opened(path: Path, columns: Mapping[str, str], needed: tuple[str, ...]) -> TableFile:
    """A table. ``columns``: what a column is for → its name; those ``needed`` must be there.

    ``InputError``, one line, for what is no table of text in UTF-8, and for a column that is missing or there twice.
    """
    lines = lines_of(path)
    headers = {delimiter: header_of(path, lines, delimiter) for delimiter in DELIMITERS}
    names = {purpose: folded(name) for purpose, name in columns.items()}

    def columns_there(delimiter: str) -> int:
        return sum(names[purpose] in map(folded, headers[delimiter]) for purpose in needed)

    delimiter = max(DELIMITERS, key=lambda one: (columns_there(one), len(headers[one])))
    header = headers[delimiter]
    written = [folded(name) for name in header]
    for purpose in needed:
        if names[purpose] not in written:
            raise InputError(
                f"{path}: no column {columns[purpose]}; found {', '.join(header) or 'nothing'} in the first line; say which "
                f"it is: --columns {purpose}=NAME"
            )
    if twice := [columns[purpose] for purpose, name in names.items() if written.count(name) > 1]:
        raise InputError(f"{path}: the column {twice[0]} is there twice; expected once: rename one")
    places = {purpose: written.index(name) for purpose, name in names.items() if name in written}
    return TableFile(path, lines, delimiter, header, places)


def has(path: Path, name: str) -> bool:
    """Whether a table has a column of this name, whatever separates its values."""
    lines = lines_of(path)
    return any(folded(name) in map(folded, header_of(path, lines, delimiter)) for delimiter in DELIMITERS)


def folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


def lines_of(path: Path) -> tuple[str, ...]:
    """The lines of a text with their ends. ``InputError`` names the line of the first byte that is not UTF-8."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: no regular file; expected a table of clips")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a table of clips that can be read") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is no text in UTF-8; expected UTF-8: save it as "
            f"'CSV UTF-8', or say iconv -f latin1 -t utf-8 (with the encoding that it has)"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}, line {line}: a zero byte; expected a table of text in UTF-8: save it as 'CSV UTF-8'")
    lines = list(io.StringIO(text, newline=""))  # str.splitlines would break a name at U+2028 too
    if lines and re.fullmatch(r'"?sep=.?"?', lines[0].strip(), re.IGNORECASE):
        lines[0] = "\n"  # a spreadsheet's note of its delimiter
    return tuple(lines)


def header_of(path: Path, lines: tuple[str, ...], delimiter: str) -> tuple[str, ...]:
    cells = next((cells for cells, _, _ in ranges(path, lines, delimiter) if any(map(str.strip, cells))), [])
    return tuple(cell.strip() for cell in cells)


def ranges(path: Path, lines: tuple[str, ...], delimiter: str) -> Iterator[tuple[list[str], int, int]]:
    """(values, first line, line behind the last), from 0, of each row: a value in quotation marks may span lines."""
    reader, start = csv.reader(lines, delimiter=delimiter, skipinitialspace=True), 0
    try:
        for cells in reader:
            if reader.line_num > start + 1 and "".join(lines[start : reader.line_num]).count('"') % 2:
                raise csv.Error("a quotation mark is not closed")
            yield cells, start, reader.line_num
            start = reader.line_num
    except csv.Error as error:
        raise InputError(f"{path}, line {start + 1}: {error}; expected rows of a table; mend the row") from None
