"""Clips that a table of folds lists and that are no longer there: told, and their rows removed where that is asked for."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus import tables
from pipeline.corpus.naming import class_of
from pipeline.files import active, write_atomic

#: Clips that a line names.
NAMED = 3


def note(table: Path, names: Sequence[str], rows: int) -> str:
    """A line for clips that left the corpus, ``names`` of the ``rows`` of a table."""
    first = ", ".join(map(repr, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return (
        f"{table} lists {len(names):,} of {rows:,} clips that are not there any more ({first}): left out; put them back, or remove "
        f"{'the row' if len(names) == 1 else 'the rows'}: audio-rkd verify --fix"
    )


def require_not_renamed(table: Path, lost: Sequence[str], there: Iterable[str], listed: Container[str]) -> None:
    """``InputError`` where a class has lost clips and others that are not listed: a renamed clip would get another fold, and a
    table with another spelling of all names would be passed over."""
    new = {class_of(name): name for name in there if name not in listed}
    for name in lost:
        if other := new.get(class_of(name)):
            raise InputError(
                f"{table} lists {len(lost):,} of {len(lost) + sum(one in listed for one in there):,} clips that are not there as CLASS/CLIP.wav, the "
                f"first {name!r}, and {other!r} is there and not listed: if it was renamed, put its name into the row, so that it "
                "keeps its fold; else put the file back, or remove the rows: audio-rkd verify --fix"
            )


def lost_rows(root: Path) -> tuple[Path, Callable[[str], bool]]:
    """``folds.csv`` of a folder corpus, and whether a name in it is that of no sound file there."""
    from pipeline.corpus.folder import class_files, pool_files  # folder imports this module

    there = {**class_files(root), **pool_files(root)}
    return root / "folds.csv", lambda cell: normal(cell) not in there and normal(active(cell)) not in there


def told(root: Path, dataset: str) -> list[str]:
    """A line of what a folder corpus' table lists and does not have; none where it lists no such clip, or there is no table."""
    if dataset != "folder" or not (root / "folds.csv").exists():
        return []
    path, is_lost = lost_rows(root)
    names = [row["file"] for row in tables.table(path, "file", unique="file")]
    lost = [name for name in names if is_lost(name)]
    return [note(path, lost, len(names))] if lost else []


def normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def row_ranges(lines: Sequence[str]) -> Iterable[tuple[list[str], int, int]]:
    """(values, first line, line behind the last) of each row of a CSV table: a value in quotation marks may span lines."""
    reader, start = csv.reader(lines), 0
    for cells in reader:
        yield cells, start, reader.line_num
        start = reader.line_num


def remove_rows(table: Path, column: str, is_lost: Callable[[str], bool]) -> list[str]:
    """Remove the rows of a table whose value of ``column`` is lost; all others stay byte for byte. The rows that went, as they stood."""
    lines = lines_of(table)
    ranges = list(row_ranges(lines))
    header = [cell.strip() for cell in ranges[0][0]]
    place = header.index(column)
    gone = [
        (start, end) for cells, start, end in ranges[1:] if any(map(str.strip, cells)) and is_lost(cells[place].strip())
    ]
    return without(table, gone)


def lines_of(table: Path) -> list[str]:
    """With their ends; without the mark of the byte order."""
    text = table.read_bytes().decode("utf-8-sig")
    return list(io.StringIO(text, newline=""))  # str.splitlines would break a name at U+2028 too


def without(table: Path, gone: Sequence[tuple[int, int]]) -> list[str]:
    """Remove the lines ``gone`` (first, the one behind the last) of a table; the rows that went, as they stood."""
    lines, mark = lines_of(table), table.read_bytes()[:3]
    dropped = {number for start, end in gone for number in range(start, end)}
    kept = "".join(line for number, line in enumerate(lines) if number not in dropped)
    if gone:
        try:
            write_atomic(table, (mark if mark == codecs.BOM_UTF8 else b"") + kept.encode("utf-8"))
        except OSError as error:
            raise InputError(
                f"{table} cannot be written ({error.strerror}); expected a table that can be: change its permissions, or remove "
                f"the rows where it can be written"
            ) from None
    return ["".join(lines[start:end]).rstrip("\r\n") for start, end in gone]
