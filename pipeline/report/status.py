"""Which corpus a command means, and where things stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import config, goals, places
from pipeline.config import InputError, Settings
from pipeline.corpus import Corpus, is_there
from pipeline.corpus.corpus_toml import ASKED
from pipeline.corpus.opening import (
    absent,
    chosen,
    fetching,
    looked_at,
    opened,
)
from pipeline.plurals import many, plural
from pipeline.report.told import Told

if TYPE_CHECKING:
    from pipeline.runs import Record


def corpus_with_runs(dataset: str, data: Path | None) -> tuple[str, Corpus | None, str]:
    """Whose runs a command is about that reads runs alone: the corpus' name, itself where its folder is there, a note.

    Never makes a corpus. Without ``dataset`` and ``data`` the one that has runs is meant, whichever it is. Raises
    ``InputError``, with the corpora that have finished runs, where none or several may be meant.
    """
    there = with_finished_runs(places.runs())
    name, root = chosen(dataset, data)
    asked = dataset != "auto" or data is not None
    corpus, note, meant = None, "", root.name
    if is_there(name, root):
        corpus, note = looked_at(dataset, data)
        meant = corpus.name
    elif asked and name != "synthetic":
        raise absent(name, root)
    if meant in there:
        return meant, corpus, note
    if not asked and len(there) == 1:
        return there[0], None, f"runs of {there[0]}: no other corpus has any in {places.runs()}/"
    if asked or not there:
        others = f"; there are runs of {', '.join(there)}" if there else ""
        of = f" of {meant}" if asked else ""
        raise InputError(
            f"no finished run{of} in {places.runs() / (meant if asked else '')}{others}; expected some: make teacher, "
            "then make distill"
        )
    raise InputError(
        f"there are runs of {', '.join(there)}; say which is meant: --dataset, and --data where it lies "
        "elsewhere than in data/ (make: DATASET= DATA=)"
    )


def reported(corpus: str, records: Iterable[Record]) -> bool:
    """Whether the table was written after the last of the teachers and students finished, and is of as many: clocks go backwards."""
    table = places.reports() / corpus / "table.md"
    records = [record for record in records if record.is_teacher or record.is_distilled]
    times = [(record.folder / "result.json").stat().st_mtime for record in records]
    if not table.is_file() or table.stat().st_mtime < max(times, default=0):
        return False
    count = re.search(r"Made by (\d+) finished runs", table.read_text(encoding="utf-8", errors="replace"))
    return count is None or int(count[1]) >= sum(record.is_teacher_or_student for record in records)


def with_finished_runs(root: Path) -> list[str]:
    """The corpora that have a finished run below ``root``."""
    from pipeline.report.listing import corpora
    from pipeline.runs.folder import run_folders

    return [name for name in corpora(root) if any("result.json" in files for _, files in run_folders(root, name))]


def by_kind(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Finished runs by what they are: a mix, teacher, or born-again."""
    grouped: dict[str, list[Record]] = {}
    for record in records:
        kind = record.recorded_mix if record.is_distilled else "born-again" if record.is_generation else record.role
        grouped.setdefault(kind, []).append(record)
    return grouped


def counted_text(kind: str, records: Sequence[Record]) -> str:
    """ "soft:1 × 6 (1 no better than chance, 1 stopped: not counted)": as the report counts them."""
    from pipeline.report.aggregation import at_chance, counted, stopped

    counts_by_kind = [
        (sum(map(at_chance, counted(records))), "no better than chance"),
        (sum(map(stopped, records)), "stopped: not counted"),
    ]
    words = ", ".join(f"{n} {text}" for n, text in counts_by_kind if n)
    return f"{kind} × {len(records)}" + (f" ({words})" if words else "")


def status(dataset: str, data: Path | None, settings: Settings) -> Told:
    """A few lines: the corpus meant, its caches and runs, and the command that comes next."""
    from pipeline import runs
    from pipeline.cache import fold_path

    name, root = chosen(dataset, data)
    columns = ",".join(f"{purpose}={column}" for purpose, column in ASKED.get().columns.items())
    windows = "--windows" if ASKED.get().windows else ""
    given = {"DATASET": dataset if dataset != "auto" else "", "DATA": data, "FIELDS": columns, "ARGS": windows}
    again = "".join(f" {variable}={value}" for variable, value in given.items() if value)
    if not is_there(name, root):
        absent_one = name != "synthetic"
        following = f"{fetching(name)}DATA=FOLDER" if absent_one else f"make demo, or make features{again}"
        where = f"none in {root}" if absent_one else f"none yet; the next step makes the synthetic one in {root}"
        return told([f"corpus    {where}"], following, corpus=None)
    corpus = opened(name, root)
    spec = config.for_corpus(settings, corpus.seconds).features
    paths = [fold_path(places.cache(), corpus.name, spec, part) for part in corpus.parts]
    cached = [path for path in paths if path.is_file()]
    records = runs.find(places.runs(), corpus.name, spare=True)
    counts = by_kind(records)
    without = f"{many(len(corpus.unlabelled), 'clip')} without a label, " if corpus.unlabelled else ""
    lines = [
        f"corpus    {corpus.name}{' (SYNTHETIC)' if corpus.synthetic else ''}: {many(len(corpus.clips), 'clip')}, "
        f"{many(len(corpus.classes), 'class')}, {plural(len(corpus.folds), 'fold')} {' '.join(map(str, corpus.folds))}, {without}in {root}",
        f"features  {len(cached)} of {len(paths)} {'files' if without else 'folds'} in {paths[0].parent}",
        "runs      " + (", ".join(counted_text(kind, counts[kind]) for kind in sorted(counts)) or "none finished yet"),
    ]
    about = {
        "corpus": corpus.name,
        "dataset": name,
        "data": str(root),
        "synthetic": corpus.synthetic,
        "clips": len(corpus.clips),
        "classes": len(corpus.classes),
        "folds": list(corpus.folds),
        "features": {"folder": str(paths[0].parent), "files": len(cached), "expected": len(paths)},
        "runs": {kind: len(counts[kind]) for kind in sorted(counts)},
    }
    return told(
        lines,
        next_step(corpus.name, records, set(counts), len(cached) < len(paths), again, bool(corpus.label_sets)),
        **about,
    )


def next_step(
    corpus: str, records: Sequence[Record], kinds: set[str], lacking: bool, again: str, several: bool = False
) -> str:
    """The command that comes next. ``lacking``: whether features are missing."""
    if lacking:
        return f"make features{again}"
    if "teacher" not in kinds:
        return f"make teacher{again}"
    if not kinds - {"teacher", "born-again"}:
        return f"make distill LOSSES={'angle,ce' if several else 'angle,area'}{again}"
    if not reported(corpus, records):
        return f"make report{again}"
    page = places.reports() / corpus / "index.html"
    at = f"{page} has all runs" if page.is_file() else f"{page.parent / 'table.md'} has all runs"
    return f"{at}; make export{again}, or make distill with other LOSSES"


def told(lines: Sequence[str], following: str, **about: object) -> Told:
    """The lines, the next command behind them, and the same as data."""
    following = goals.here(following)
    return Told("\n".join([*lines, f"next      {following}"]), {**about, "next": following})
