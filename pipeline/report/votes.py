"""Finished runs → their ensembles, one per fold, from the predictions that they kept; nothing is computed anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.figures import ensembles, evaluation, uncertainty
from pipeline.report.aggregation import STAMP
from pipeline.report.table import Column, Table, number, of, padded
from pipeline.report.told import of_table
from pipeline.report.wording import trusted_teachers
from pipeline.runs import Record
from pipeline.runs.held_out import require_held_out


@dataclass(frozen=True)
class Vote:
    """The ensemble of some runs of one fold; figures in percent."""

    fold: int
    members: int
    clips: int
    score: float
    """Accuracy; of clips with several labels the mean average precision, and none of the figures that are of one label."""
    macro_f1: float | None
    ece: float | None
    mean_of_members: float
    best_member: float
    """The highest score of a member: the held-out fold chose it."""
    auroc: float | None
    """How well knowledge uncertainty tells wrong answers from right ones, in percent; 50 is chance."""


def records(paths: Iterable[Path]) -> list[Record]:
    """The finished runs in ``paths``, each a run folder or a folder of runs, once each.

    Raises ``InputError`` for a path without one, for a run that failed or is of all folds, and for runs of several corpora.
    """
    by_folder: dict[Path, Record] = {}
    for path in paths:
        here = runs.find(path) if path.is_dir() else []
        if not here:
            raise InputError(
                f"{path}: no finished run there; expected a run folder, or a folder of runs such as "
                "runs/CORPUS/student-…/angle40+area20+soft1; 'audio-rkd runs' lists them"
            )
        by_folder |= {record.folder.resolve(): record for record in here}
    for record in by_folder.values():
        require_held_out(record)
        first = next(iter(by_folder.values()))
        if record.result.failed:
            raise InputError(
                f"{record.folder} failed ({record.result.failure or 'no reason kept'}) and predicts "
                "nothing; expected runs that finished their training: leave it out"
            )
        if record.corpus != first.corpus:
            raise InputError(
                f"{record.folder} is of {record.corpus}, {first.folder} of {first.corpus}; expected runs of one corpus"
            )
    return list(by_folder.values())


def votes(members_of_all: Sequence[Record]) -> list[Vote]:
    """One ensemble for each fold: the mean of its runs' class probabilities (``ensembles.ensemble``).

    Raises ``InputError`` for runs on clips of one label beside runs on clips with several.
    """
    if len({record.several_labels for record in members_of_all}) > 1:
        one, other = (next(r.folder for r in members_of_all if r.several_labels is kind) for kind in (False, True))
        raise InputError(
            f"{one} is of clips of one label, {other} of clips with several; runs that vote together need the same"
        )
    by_fold: dict[int, list[Record]] = {}
    for record in members_of_all:
        by_fold.setdefault(record.fold, []).append(record)
    out = []
    for fold, members in sorted(by_fold.items()):
        together = ensembles.ensemble([record.folder for record in members])
        result = evaluation.summary(together.logits, together.labels)
        each = [record.result.percent for record in members if record.result.percent is not None]
        several = together.labels.ndim == 2
        wrong = None if several else evaluation.predicted(together.logits) != together.labels
        out.append(
            Vote(
                fold,
                len(members),
                len(together.labels),
                100 * (result.score or 0.0),
                None if several else 100 * (result.macro_f1 or 0.0),
                None if several else 100 * (result.ece or 0.0),
                float(np.mean(each)),
                max(each),
                None if wrong is None else auroc_of_knowledge(members, wrong),
            )
        )
    return out


def auroc_of_knowledge(members: Sequence[Record], wrong: np.ndarray) -> float | None:
    """In percent, of members that may disagree, or of one run that learned how much such members do (``dirichlet``).

    None of any other single run, and where all answers are right or all wrong.
    """
    logits = np.stack([runs.read_predictions(record.folder).logits for record in members])
    if len(members) > 1:
        unsure = uncertainty.of_members(logits)
    elif (mix := members[0].mix) and any(term.name == "dirichlet" for term in mix.terms):
        unsure = uncertainty.of_dirichlet(logits[0])
    else:
        return None
    area = uncertainty.auroc(unsure.knowledge, wrong)
    return None if np.isnan(area) else 100 * area


COUNTS = (
    Column("fold", of("fold"), "fold"),
    Column("runs", of("members"), "runs"),
    Column("clips", of("clips"), "clips"),
)

#: In percent.
OF_RUNS = (
    Column("mean_of_runs_percent", of("mean_of_members"), "mean of\nits runs %", format=number),
    Column(
        "best_run_percent_optimistic",
        of("best_member"),
        "best run %\n(optimistic)",
        format=number,
        prose=True,
    ),
)
COLUMNS = (
    *COUNTS,
    Column("accuracy_percent", of("score"), "ensemble", "%", number),
    Column("macro_f1_percent", of("macro_f1"), "macro-F1", "%", number),
    Column("ece_percent", of("ece"), "ECE", "%", number),
    *OF_RUNS,
    Column("auroc_of_knowledge_percent", of("auroc"), "AUROC of\nknowledge %", format=number),
)

SEVERAL = (*COUNTS, Column("map_percent", of("score"), "ensemble", "%", number), *OF_RUNS)


def text(records: Sequence[Record]) -> str:
    """A line per fold and, over several, their mean."""
    several = records[0].several_labels
    by_fold = Table.build("", SEVERAL if several else COLUMNS, votes(records))
    rows = by_fold.rows
    if len(rows) > 1:
        rows += (("mean", "", "", *map(mean, zip(*(row[len(COUNTS) :] for row in rows)))),)
    stamp = f"{STAMP} " if any(record.synthetic for record in records) else ""
    of_what = "mean average precision of the " if several else ""
    title = f"{stamp}{records[0].corpus}: {of_what}mean of class probabilities, held-out clips, last epoch"
    notes = trusted_teachers(records)
    return of_table("\n".join([title, "", *padded(replace(by_fold, rows=rows)), *notes]), title, by_fold, notes)


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that there are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
