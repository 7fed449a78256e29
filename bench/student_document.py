"""Where the tables of ``bench.students`` stand: each part's between its own two marks of a Markdown file."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import InputError

MARK = "<!-- bench.students "


def marks(part: str) -> tuple[str, str]:
    return f"{MARK}{part}: begin -->", f"{MARK}{part}: end -->"


def placed(table: str, file: Path, part: str) -> str:
    """``file`` with the table in place of what stands between the part's two marks.

    A file with marks of other parts alone gets it at its end; one that is not there, or empty, becomes the table with its marks.
    ``InputError`` for text without any mark, a beginning without an end, marks that are there twice or hold those of another part, and
    what is no text.
    """
    begins, ends = marks(part)
    block = f"{begins}\n{table}{ends}\n"
    old = content_of(file)
    before, begin, rest = old.partition(begins)
    if not begin:
        if old.strip() and MARK not in old:
            raise InputError(f"{file}: has text and no {begins}; expected that mark and {ends} where the table belongs")
        return f"{old.rstrip()}\n\n{block}" if old.strip() else f"# Students\n\n{block}"
    inside, end, after = rest.partition(ends)
    if not end:
        raise InputError(f"{file}: {begins} and no {ends} behind it; expected both where the table belongs")
    if MARK in inside or begins in after or ends in before + after:
        raise InputError(
            f"{file}: between or beside {begins} and {ends} are marks that would be lost, or the same again; expected each pair once"
        )
    return before + block + after.removeprefix("\n")


def content_of(file: Path) -> str:
    """ "" of a file that is not there."""
    try:
        return file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{file}: {reason}; expected a Markdown file that the tables are written into") from None
