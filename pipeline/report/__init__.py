"""Run folders → the table: a row per mix, as printed text, Markdown, CSV and LaTeX.

Conventions. Accuracies are in percent and their differences in percentage points. A row averages all finished
runs, also those no better than chance, which are named beside it; only runs that stopped, because something was not
finite, are out, and the figures with them at chance stand beside it. A table of teachers and students holds runs of one
preset, one digest of the settings and one state of the features; one of an experiment's rows those of one preset and one state of
the features, with their settings beside each where they are of several.

Begin with ``aggregation`` (runs → rows: every mix that was trained is one), then ``columns`` and ``document``. Published figures
of the paper: ``paper``. The page: ``page``; pictures: ``plots``; other commands: ``comparison``, ``listing``, ``status``,
``following``, ``tensorboard``, ``retrieval``, ``diagnosis``. Imports: engine, figures, runs and what lies below.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline import losses, runs
from pipeline.config import InputError
from pipeline.report import classes, experiments
from pipeline.report.aggregation import Key, Row, baseline_of, rows
from pipeline.report.columns import data_columns
from pipeline.report.document import document
from pipeline.report.table import Document, Table
from pipeline.report.told import Told
from pipeline.runs import Record, lost
from pipeline.runs.experiments import lost_note, noted_rows

__all__ = ["Contents", "Key", "Row", "contents", "report", "rows"]


class Contents(NamedTuple):
    """What a report of a corpus is made of."""

    records: list[Record]
    """The finished runs of teachers and students."""
    rows: list[Row]
    document: Document


def contents(runs_root: Path, corpus: str, *, mixes: Iterable[str] | None = None) -> Contents:
    """The finished runs of ``runs_root/<corpus>``, their rows, and the rows in words.

    ``mixes`` (texts that ``LossMix.parse`` reads) keeps those students, the baseline and the teachers; None keeps
    all. p (Holm) is adjusted for all mixes in either case. Raises ``InputError`` without a finished run, for a damaged file, and for two runs of one cell.
    """
    # Generations of born-again chains have a table of their own: pipeline.report.generations.
    everything = runs.find(runs_root, corpus)
    records = [r for r in everything if r.is_teacher_or_student]
    noted = noted_rows(runs_root, corpus) if mixes is None else []
    if mixes is None:
        lost.tell(map(lost_note, everything))
    tried = experiments.rows(everything, noted)
    behind = {row.folder for row in noted}
    born = sum(record.is_generation and record.folder.parent not in behind for record in everything)
    hidden: list[Record] = []
    missing: list[str] = []
    if mixes is not None:
        kept = {str(losses.LossMix.parse(mix)) for mix in (baseline_of(records), *mixes)}
        hidden = [r for r in records if r.row_mix not in {"", *kept}]
        records = [r for r in records if r.row_mix in {"", *kept}]
        missing = sorted(kept - {r.row_mix for r in records})
    if not records and not tried:
        raise InputError(f"no finished run in {runs_root / corpus}; train first: make teacher, then make distill")
    shown = rows(records, hidden)
    unfinished = [path for path in runs.unfinished(runs_root, corpus) if not chained(path)]
    of_experiments = [r for r in everything if r.folder.parent in behind and not r.is_teacher_or_student]
    makers = [*records, *of_experiments]
    return Contents(records, shown, document(shown, makers, unfinished, missing, born, tried))


def chained(folder: Path) -> bool:
    """Whether a run's folder is in a born-again chain: ``ban-…/<mix>/gen{g}/fold{k}-seed{s}``."""
    return folder.parent.name.startswith("gen") and folder.parents[2].name.startswith("ban-")


def report(
    runs_root: Path,
    reports_root: Path,
    corpus: str,
    *,
    mixes: Iterable[str] | None = None,
    whole: Contents | None = None,
) -> Told:
    """Write ``reports_root/<corpus>/table.md``, ``.csv`` and ``.tex``, ``classes.md`` and ``.csv``; the result is the text to print.

    ``mixes`` and errors as in ``contents``, whose result may be given as ``whole``.
    """
    records, shown, paper = whole or contents(runs_root, corpus, mixes=mixes)
    classes.write(records, reports_root / corpus, f"{corpus}: by class")
    return paper.save(reports_root / corpus, "table", Table.build("", data_columns(shown), shown))
