"""Run folders → rows: which runs stand in one table and one row, and their figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from typing import Any

from pipeline import losses
from pipeline.config import InputError
from pipeline.corpus.clips import UNLABELLED
from pipeline.figures import statistics
from pipeline.figures.statistics import Cell, Comparison
from pipeline.report import paper, recordings
from pipeline.report.calibration import calibrated
from pipeline.report.row import STAMP as STAMP
from pipeline.report.row import Key as Key
from pipeline.report.row import Row as Row
from pipeline.runs import Record

BASELINE = "soft"

#: The same of clips with several labels, which have no soft targets.
OF_SEVERAL = "ce"


def rows(records: Iterable[Record], hidden: Iterable[Record] = ()) -> list[Row]:
    """One row for each mix of each table; a table's rows as in Table 3, own mixes after.

    Tables with students come first, then teachers alone (a born-again chain's first ones); both by preset.
    ``hidden``: students that have no row, but were tried as well: p (Holm) is adjusted for them too. Raises ``InputError`` where two finished runs claim one cell.
    """
    cells, tried = list(records), list(hidden)
    unique([*cells, *tried])
    return [
        row
        for key, members in by_table(cells).items()
        for row in table_rows(key, members, [r for r in tried if key_of(r) == key])
    ]


def by_table(records: Iterable[Record]) -> dict[Key, list[Record]]:
    """The runs of each table: a teacher stands in that of each group of its students, in one of its own where it has none.

    Tables with students come first, then teachers alone; both by preset, settings and data.
    """
    teachers: dict[Key, list[Record]] = {}
    students: dict[Key, list[Record]] = {}
    for record in records:
        (teachers if record.is_teacher else students).setdefault(key_of(record), []).append(record)
    taught: dict[Key, list[Record]] = {}
    used = set()
    for key, members in sorted(students.items(), key=lambda item: astuple(item[0])):
        of_teacher = replace(key, digest=members[0].teacher_digest)
        if of_teacher not in teachers:  # the same settings under another preset's name
            alike = [
                other for other in sorted(teachers, key=astuple) if replace(other, preset=key.preset) == of_teacher
            ]
            of_teacher = alike[0] if alike else of_teacher
        used.add(of_teacher)
        taught[key] = teachers.get(of_teacher, []) + members
    alone = sorted(teachers.items(), key=lambda item: astuple(item[0]))
    return taught | {key: members for key, members in alone if key not in used}


def key_of(record: Record) -> Key:
    return Key(record.preset, record.digest, record.data_digest)


def unique(records: Iterable[Record]) -> list[Record]:
    """The records; ``InputError`` where two finished runs are of one preset, settings, mix, fold and seed."""
    seen: dict[tuple[Any, ...], Record] = {}
    for record in records:
        mix = record.row_mix
        claimed = (record.corpus, record.role, record.preset, record.digest, mix, record.fold, record.seed)
        if claimed in seen:
            claimant = f"{mix or record.role}, fold {record.fold}, seed {record.seed}"
            raise InputError(
                f"two finished runs of one cell ({claimant}): {seen[claimed].folder} and {record.folder}; "
                "expected one; remove the one that should not count"
            )
        seen[claimed] = record
    return list(seen.values())


def table_rows(key: Key, records: Sequence[Record], hidden: Sequence[Record] = ()) -> list[Row]:
    """The rows of one table, with the comparisons to its baseline and Holm's adjustment over all mixes tried."""
    by_mix = mixes_of(records)
    baseline_mix = str(losses.LossMix.parse(baseline_of(records)))
    baseline = by_mix.get(baseline_mix, [])
    made_rows = []
    for mix, members in by_mix.items():
        row = bare_row(key, members, is_baseline=mix == baseline_mix)
        made_rows.append(compared(row, members, baseline) if row.is_student and not row.baseline else row)
    made_rows.sort(key=lambda row: paper.place(paper.TABLE3, row.mix))
    unseen = [compared_runs(members, baseline) for members in mixes_of(hidden).values()]
    tests = [row.comparison for row in made_rows] + unseen
    adjusted = statistics.holm([test.p if test else None for test in tests])
    tried = sum(test is not None for test in tests)
    return [replace(row, p_holm=p, compared_mixes=tried) for row, p in zip(made_rows, adjusted)]


def baseline_of(records: Iterable[Record]) -> str:
    """The mix that others are compared to."""
    return OF_SEVERAL if any(record.several_labels for record in records) else BASELINE


def mixes_of(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records by the mix of their row; a teacher's is "" ."""
    by_mix: dict[str, list[Record]] = {}
    for record in records:
        by_mix.setdefault(record.row_mix, []).append(record)
    return by_mix


def compared_runs(members: Sequence[Record], baseline: Sequence[Record]) -> Comparison | None:
    """Runs of one mix less the baseline's, over those that count."""
    ours, theirs = (percents(counted(side), "score") for side in (members, baseline))
    return statistics.comparison(ours, theirs, ratio(members[0]))


def compared(row: Row, members: Sequence[Record], baseline: Sequence[Record]) -> Row:
    """The row with its comparison, and what it would be with the runs that stopped at chance."""
    ours, theirs = (percents(counted(side), "score") for side in (members, baseline))
    gone, gone_there = ({cell(r) for r in side if stopped(r)} for side in (members, baseline))
    voters = ({cell(r): [r.folder] for r in counted(side)} for side in (members, baseline))
    return replace(
        row,
        comparison=recordings.beside(compared_runs(members, baseline), *voters),
        with_stopped=statistics.with_stopped(ours, theirs, gone, gone_there, chances([*members, *baseline])),
        baseline_stopped=len(gone_there & {cell(r) for r in members}),
    )


def ratio(record: Record) -> float:
    """n_test / n_train of a run: one fold is tested, the others train; folds taken as equally large."""
    return 1 / max(1, len(record.data.keys() - {UNLABELLED}) - 1)


def chance(record: Record) -> float:
    """Percent that a run which predicts nothing is counted at."""
    if record.result.chance is not None:
        return 100 * record.result.chance
    return 100 / max(1, len(record.classes))


def chances(records: Iterable[Record]) -> dict[Cell, float]:
    """The same of each: that of clips with several labels is its fold's own."""
    return {cell(record): chance(record) for record in records}


def bare_row(key: Key, records: Sequence[Record], *, is_baseline: bool) -> Row:
    """A row without its comparison."""
    first = records[0]
    good = counted(records)
    values = percents(good, "score")
    lost = [r for r in records if stopped(r)]
    everything = {**percents(records, "score"), **{cell(r): chance(r) for r in lost}}

    def mean(name: str) -> float | None:
        percent = percents(good, name)
        return statistics.spread(percent).mean if percent else None

    return Row(
        key=key,
        corpus=first.corpus,
        synthetic=any(record.synthetic for record in records),
        role=first.role,
        model=first.model,
        mix=first.row_mix,
        baseline=is_baseline,
        spread=statistics.spread(values) if values else None,
        best=mean("best_score"),
        all_runs=statistics.spread(everything).mean if everything else None,
        balanced=mean("balanced_accuracy"),
        macro_f1=mean("macro_f1"),
        ece=mean("ece"),
        agreement=mean("agreement"),
        windows=mean("window_accuracy"),
        calibration=calibrated(good),
        parameters=int(records[0].result.parameters),
        runs=len(records),
        at_chance=tuple(sorted(cell(r) for r in good if at_chance(r))),
        outputs_untrained=sum(r.result.outputs_untrained for r in records),
        failures=tuple("fold{}-seed{}: {}".format(*cell(r), r.result.failure or "not finite") for r in lost),
        all_folds=tuple(first.all_folds),
        skipped=sum(first.skipped.values()),
        published=paper.of_run(first),
        best_teacher=first.is_student and bool(first.teachers) and first.settings.student.teacher_epoch == "best",
        trusted=any(record.trusted for record in records),
        several=first.several_labels,
        optimistic=sum(bool(r.chosen and r.chosen.includes(r.fold, r.corpus, r.dataset)) for r in records),
    )


def cell(record: Record) -> Cell:
    return record.fold, record.seed


def counted(records: Iterable[Record]) -> list[Record]:
    """The runs that means and tests are over: all that finished with an accuracy, those at chance too.

    Leaving out what is no better than chance would leave out a mix' worst runs by their result. Out are runs that
    stopped, which have no result, and mixes that train no outputs, of which accuracy says nothing.
    """
    return [r for r in records if r.result.counts]


def stopped(record: Record) -> bool:
    """Whether a run has no result: its loss or its outputs were not finite.

    Runs whose outputs alone overflow were once kept as "did not train", without a finite nll.
    """
    return record.result.stopped


def at_chance(record: Record) -> bool:
    """Whether a run that counts is no better than chance (``evaluation.summary``)."""
    return record.result.at_chance


def percents(records: Iterable[Record], name: str) -> dict[Cell, float]:
    """100 × the result's figure for each cell that has one."""
    return {cell(r): 100 * value for r in records if (value := getattr(r.result, name)) is not None}
