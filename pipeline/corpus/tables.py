"""Tables of clips in CSV, read with errors that name file, line, column and value."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.config import InputError
from pipeline.plurals import many


class Row(dict[str, str]):
    """A line of a CSV table, whose errors say where it stands."""

    where: str
    remedy = "mend the row, or fetch the table again"

    def error(self, column: str, expected: str) -> InputError:
        return InputError(f"{self.where}: {column} = {self[column]!r}: expected {expected}; {self.remedy}")

    def number(self, column: str) -> float:
        try:
            value = float(self[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(column, "a number")
        return value

    def whole(self, column: str, least: int, most: int | None = None) -> int:
        text = self[column]
        if not (
            text.isascii()
            and text.isdigit()
            and len(text) < 19
            and least <= int(text)
            and (most is None or int(text) <= most)
        ):
            raise self.error(column, f"a whole number from {least}{'' if most is None else f' to {most}'}")
        return int(text)

    def file_name(self, column: str) -> str:
        if Path(self[column]).name != self[column]:
            raise self.error(column, "a file's name, without folders")
        return self[column]


def table(path: Path, *columns: str, unique: str) -> Iterator[Row]:
    """Rows of a CSV file, values stripped; every one has ``columns``, not empty, and its own value of ``unique``.

    All of it is looked at before the first row is given. It is read a second time for that, so that no more than a row is in memory.
    """
    seen: dict[str, int] = {}
    for line, row in rows_of(path, columns):
        if row[unique] in seen:
            raise InputError(
                f"{row.where}: {unique} = {row[unique]!r} a second time; expected each clip once, "
                f"and it is in line {seen[row[unique]]} already: remove one of the rows"
            )
        seen[row[unique]] = line
    return (row for _, row in rows_of(path, columns))


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """The rows and their lines, without a look at those above."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: no regular file; expected a table of the clips: move it away")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            missing = [column for column in columns if column not in header]
            if missing:
                raise InputError(
                    f"{path}: no column {', '.join(missing)}; expected {', '.join(columns)} "
                    f"in the first line, found {', '.join(header) or 'nothing'}"
                )
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                row = Row(zip(header, (cell.strip() for cell in cells)))
                row.where = f"{path}, line {reader.line_num}"
                empty = [column for column in columns if not row.get(column)]
                if empty or len(cells) > len(header):
                    raise InputError(
                        f"{row.where}: {f'no {empty[0]}' if empty else many(len(cells), 'value')}; expected "
                        f"{len(header)} values: {', '.join(header)}"
                    )
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of comma-separated values in UTF-8 ({error}); fetch it again") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a table of the clips that can be read") from None


def first_file(root: Path, *names: str) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise InputError(
        f"no {names[0]} (nor {', '.join(names[1:])}) in {root}; expected the data set's table of "
        "clips there: unpack it again, or name the folder that holds it"
    )


def first_folder(*folders: Path) -> Path | None:
    return next((folder for folder in folders if folder.is_dir()), None)
