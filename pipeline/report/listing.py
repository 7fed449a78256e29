"""``runs``: which runs there are, a dictionary or a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import runs
from pipeline.config import InputError
from pipeline.losses import LossMix
from pipeline.report import tables
from pipeline.report.aggregation import STAMP
from pipeline.report.wording import listed, number
from pipeline.runs import TEACHER, Record
from pipeline.runs.record import UNFINISHED

STATUSES = (*runs.folder.STATUSES, UNFINISHED)


def listing(root: Path, corpus: str | None = None, *, mix: str | None = None, folds: Sequence[int] = (),
            seeds: Sequence[int] = (), status: str | None = None) -> list[dict[str, Any]]:  # fmt: skip
    """The runs below ``root`` that fit all filters, finished or not, one dictionary each.

    ``mix``: text as ``LossMix.parse`` reads it, or "teacher". Raises ``InputError`` for one it cannot read, for a
    corpus without runs, and for a damaged run.
    """
    require(root, corpus)
    wanted = None if mix is None else TEACHER if mix == TEACHER else str(LossMix.parse(mix))
    found = [described(record) for record in runs.find(root, corpus)]
    for folder in runs.unfinished(root, corpus):
        if (folder / "config.json").is_file():
            found.append(described(runs.read(folder)))
    return [
        run for run in found
        if wanted in (None, run["mix"] if run["role"] != TEACHER else TEACHER) and status in (None, run["status"])
        and (not folds or run["fold"] in folds) and (not seeds or run["seed"] in seeds)
    ]  # fmt: skip


def require(root: Path, corpus: str | None) -> None:
    """``InputError`` for a corpus that has no runs."""
    if corpus and not (root / corpus).is_dir():
        raise InputError(
            f"no runs of {corpus!r} in {root}; expected one of: {listed(corpora(root)) or 'none yet'}"
        )


def corpora(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*") if path.is_dir() and not path.name.startswith("."))


def described(record: Record) -> dict[str, Any]:
    """A run as ``--json`` prints it."""
    result = record.result
    return {
        "folder": str(record.folder),
        **{name: getattr(record, name) for name in ("corpus", "synthetic", "role", "model")},
        "mix": record.mix_text,
        "preset": record.preset,
        "settings": record.digest,
        **{name: getattr(record, name) for name in ("fold", "seed", "generation")},
        **{name: getattr(result, name) for name in ("status", "accuracy", "epochs", "seconds")},
        "finished": result.finished or None,
        "failure": result.failure or None,
    }


def listing_text(found: Sequence[Mapping[str, Any]]) -> str:
    """A line per run, and how many there are."""
    header = ("role", "mix", "fold", "seed", "status", "accuracy\n%", "epochs", "finished", "folder")
    rows = []
    for run in found:
        stamp = f"{STAMP} " if run["synthetic"] else ""
        percent = number(None if run["accuracy"] is None else 100 * run["accuracy"])
        rows.append((run["role"], stamp + run["mix"], str(run["fold"]), str(run["seed"]), run["status"], percent,
                     str(run["epochs"]), run["finished"] or tables.NONE, run["folder"]))  # fmt: skip
    count = f"{len(found)} run{'' if len(found) == 1 else 's'}"
    return "\n".join(
        [*(tables.padded(tables.Grid("", header, tuple(rows), wide=True)) if rows else []), count]
    )
