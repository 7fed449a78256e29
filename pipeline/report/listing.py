"""``runs``: which runs there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline import runs
from pipeline.config import InputError
from pipeline.corpus.clips import UNLABELLED, require_folds
from pipeline.losses import LossMix
from pipeline.plurals import many
from pipeline.report.aggregation import STAMP
from pipeline.report.table import Column, Table, number, of, padded
from pipeline.report.wording import listed as named
from pipeline.runs import TEACHER, Record
from pipeline.runs.damage import spared
from pipeline.runs.record import UNFINISHED

STATUSES = (*runs.folder.STATUSES, UNFINISHED)


def listing(
    root: Path,
    corpus: str | None = None,
    *,
    mix: str | None = None,
    folds: Sequence[int] = (),
    seeds: Sequence[int] = (),
    status: str | None = None,
) -> Table:
    """The runs below ``root`` that fit all filters, finished or not: ``records`` for machines, ``listing_text`` for people.

    ``mix``: text as ``LossMix.parse`` reads it, or "teacher". Raises ``InputError`` for one it cannot read, for a
    corpus without runs. A damaged run is left out, and told at the command's end.
    """
    require(root, corpus)
    wanted = None if mix is None else TEACHER if mix == TEACHER else str(LossMix.parse(mix))
    records = runs.find(root, corpus, spare=True)
    begun = [folder for folder in runs.unfinished(root, corpus) if (folder / "config.json").is_file()]
    records += filter(None, (spared(partial(runs.read, folder)) for folder in begun))
    if folds and records:
        named_folds = {fold for record in records for fold in (record.fold, *record.all_folds, *record.data)}
        require_folds(folds, named_folds - {UNLABELLED}, f"the runs of {corpus or named(corpora(root))}")
    kept = [
        record
        for record in records
        if wanted in (None, TEACHER if record.is_teacher else record.mix_text)
        and status in (None, record.result.status)
        and (not folds or record.fold in folds)
        and (not seeds or record.seed in seeds)
    ]
    return Table.build("", columns(kept), kept)


def require(root: Path, corpus: str | None) -> None:
    """``InputError`` for a corpus that has no runs."""
    if corpus and not (root / corpus).is_dir():
        raise InputError(f"no runs of {corpus!r} in {root}; expected one of: {named(corpora(root)) or 'none yet'}")


def corpora(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*") if path.is_dir() and not path.name.startswith("."))


def stamped(record: Record) -> str:
    mix = f"{STAMP} {record.mix_text}" if record.synthetic else record.mix_text
    return f"{mix} (teacher trusted: it does not say what it was trained on)" if record.trusted else mix


#: Those with a key in the order of ``--json``; people read the others.
COLUMNS = (
    Column("", of("role"), "role"),
    Column("", stamped, "mix"),
    Column("", of("fold"), "fold"),
    Column("", of("seed"), "seed"),
    Column("", of("result.status"), "status"),
    Column("", of("result.percent"), "accuracy", "%", number),
    Column("", of("result.epochs"), "epochs"),
    Column("", lambda record: record.result.finished or None, "finished"),
    Column("folder", lambda record: str(record.folder), "folder", prose=True),
    *(Column(name, of(name)) for name in ("corpus", "synthetic", "role", "model")),
    Column("mix", of("mix_text")),
    Column("preset", of("preset")),
    Column("settings", of("digest")),
    *(Column(name, of(name)) for name in ("fold", "seed", "generation", "trusted")),
    *(Column(name, of(f"result.{name}")) for name in ("status", "accuracy", "epochs", "seconds")),
    Column("finished", lambda record: record.result.finished or None),
    Column("failure", lambda record: record.result.failure or None),
)


def columns(records: Sequence[Record]) -> tuple[Column, ...]:
    """``COLUMNS``; where runs are of clips with several labels also their mean average precision."""
    if not any(record.several_labels for record in records):
        return COLUMNS
    at = [column.name for column in COLUMNS].index("accuracy")
    own = Column("", lambda record: None if record.several_labels else record.result.percent, "accuracy", "%", number)
    score = Column("", lambda record: record.result.percent if record.several_labels else None, "mAP", "%", number)
    return (*COLUMNS[:at], own, score, *COLUMNS[at + 1 :], Column("map", of("result.map")))


def listing_text(listed: Table, width: int | None = None) -> str:
    """A line per run, and how many there are. ``width``: of a terminal, in which each line stays one: folders are cut in front."""
    count = len(listed.rows)
    lines = padded(listed) if count else []
    start = next((line.index("folder") for line in lines if "folder" in line), 0)
    return "\n".join([*(fitted(line, start, width) for line in lines), many(count, "run")])


def fitted(line: str, start: int, width: int | None) -> str:
    """A line of no more characters than ``width``: what stands behind ``start`` loses its beginning, or all of it goes."""
    if width is None or len(line) <= width:
        return line
    room = width - start - 1
    return f"{line[:start]}…{line[-room:]}" if room > 0 else f"{line[: max(0, width - 1)]}…"
