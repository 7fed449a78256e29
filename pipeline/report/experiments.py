"""The rows of experiments: each under the experiment's name, beside the baseline of the stages where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from pipeline import losses, runs
from pipeline.config import InputError
from pipeline.figures import statistics
from pipeline.report import few_shot, kept, noise_levels, other_classes, recalls
from pipeline.report.aggregation import BASELINE, OF_SEVERAL, STAMP, Key, Row, bare_row, compared, key_of
from pipeline.report.columns import CSV, comparison_table
from pipeline.report.document import tables
from pipeline.report.table import Column, Document, Section, Table, number, of
from pipeline.report.wording import footnotes, provenance
from pipeline.runs import Record
from pipeline.runs.experiments import NotedRow, noted_rows, noted_times, noted_untrained

#: The mix of labels alone.
LABELS = str(losses.LossMix.parse("ce"))

#: (a run of a row, all runs) → those that the row is compared to.
Other = Callable[[Record, Sequence[Record]], list[Record]]

COLUMNS = (Column("experiment", of("label")), *CSV)


def rows(records: Sequence[Record], noted: Sequence[NotedRow], other_of: Other | None = None) -> list[Row]:
    """The rows of what is noted, of those with finished runs. p (Holm) is adjusted for all of them that are of one table.

    ``other_of``: (a run of the row, all runs) → the runs that the row is compared to; default ``baseline_of``.
    """
    other_of = other_of or baseline_of
    by_key: dict[Key, list[Row]] = {}
    for (name, _), entries in grouped(noted).items():
        members = [record for record in records for entry in entries if is_of(record, entry)]
        if not members:
            continue
        nested = entries[0].fold is not None
        key = key_of(members[0])
        if nested:
            key = replace(
                key, preset=f"{name.partition(' ')[0]}, one per held-out fold", digest=", ".join(digests(members))
            )
        row = replace(bare_row(key, members, is_baseline=False), label=name, nested=nested)
        baseline = other_of(members[0], records)
        if nested:  # each fold's own
            baseline = [other for record in members for other in other_of(record, records) if other.cell == record.cell]
        if baseline:
            other = key_of(baseline[0]).digest
            same = other == key.digest or (is_labels_alone(baseline[0]) and trained_alike(members[0], baseline[0]))
            row = replace(compared(row, members, baseline), baseline_settings="" if same else other)
        by_key.setdefault(key, []).append(row)
    adjusted_rows: list[Row] = []
    for table in by_key.values():
        tests = [row.comparison for row in table]
        adjusted = statistics.holm([test.p if test else None for test in tests])
        tried = sum(test is not None for test in tests)
        adjusted_rows += [replace(row, p_holm=p, compared_mixes=tried) for row, p in zip(table, adjusted)]
    return adjusted_rows


def grouped(noted: Sequence[NotedRow]) -> dict[tuple[str, Path | None], list[NotedRow]]:
    """The entries of each row: those of one name that are for a fold each, any other alone."""
    groups: dict[tuple[str, Path | None], list[NotedRow]] = {}
    for entry in noted:
        groups.setdefault((entry.name, entry.folder if entry.fold is None else None), []).append(entry)
    return groups


def is_of(record: Record, entry: NotedRow) -> bool:
    return record.folder.parent == entry.folder and entry.fold in (None, record.fold)


def digests(records: Sequence[Record]) -> list[str]:
    """Of the settings of each, once, in the order of their folds."""
    return list(dict.fromkeys(record.digest for record in sorted(records, key=lambda record: record.cell)))


def besides(root: Path, corpus: str, experiment: str) -> tuple[Section, ...]:
    """What was measured of the steps, and the rows that are not trained."""
    noted = noted_times(root, corpus, experiment)
    times = [
        (name, 1000 * noted[folder][0], noted[folder][0] / noted[folder][1])
        for name, folder, _ in noted_rows(root, corpus, experiment)
        if folder in noted
    ]
    left_out = list(noted_untrained(root, corpus, experiment).items())
    measured = []
    if times:
        title = f"Time of a step of one run on one thread, beside one of {BASELINE} in turns (median of 20)."
        columns = (
            Column("row", itemgetter(0), "Row"),
            Column("ms_per_step", itemgetter(1), "ms", format=number),
            Column("ratio", itemgetter(2), f"× {BASELINE}", format=number),
        )
        measured.append(Table.build(title, columns, times))
    if left_out:
        reasons = (Column("row", itemgetter(0), "Row"), Column("why", itemgetter(1), "Why", prose=True))
        measured.append(Table.build("Rows that this experiment does not train.", reasons, left_out))
    return (Section("beside these rows", tuple(measured)),) if measured else ()


def baseline_of(record: Record, records: Sequence[Record]) -> list[Record]:
    """The students of soft targets alone, of clips with several labels those of labels alone, with the same network, features and
    data, of one table; none of several tables."""
    mix = str(losses.LossMix.parse(OF_SEVERAL if record.several_labels else BASELINE))
    if record.is_student and record.row_mix == mix:
        return []
    alike = [
        other
        for other in records
        if other.is_student
        and other.row_mix == mix
        and (other.preset, other.model, other.data_digest) == (record.preset, record.model, record.data_digest)
        and other.recorded_settings["features"] == record.recorded_settings["features"]
        and of_same_classes(other, record)
    ]
    same_settings = [other for other in alike if record.is_student and other.digest == record.digest]
    return same_settings or (alike if len({other.digest for other in alike}) == 1 else [])


def labels_of(record: Record, records: Sequence[Record]) -> list[Record]:
    """The runs of the same network on labels alone, with the same features and data, of one folder: trained as the run itself was,
    else those of the only settings that there are."""
    if is_labels_alone(record):
        return []
    by_folder: dict[Path, list[Record]] = {}
    for other in records:
        if (
            is_labels_alone(other)
            and (other.preset, other.model, other.data_digest) == (record.preset, record.model, record.data_digest)
            and other.recorded_settings["features"] == record.recorded_settings["features"]
            and of_same_classes(other, record)
        ):
            by_folder.setdefault(other.folder.parent, []).append(other)
    same_settings = [alike for alike in by_folder.values() if trained_alike(record, alike[0])]
    return (
        max(same_settings, key=len) if same_settings else next(iter(by_folder.values())) if len(by_folder) == 1 else []
    )


def of_same_classes(one: Record, other: Record) -> bool:
    """Whether two runs tell the same classes apart: accuracies of others say nothing beside each other."""
    return one.trained_by.classes == other.trained_by.classes


def is_labels_alone(record: Record) -> bool:
    return record.mix_text == LABELS and not (record.start or record.base)


def trained_alike(record: Record, other: Record) -> bool:
    """Whether the networks of two runs were trained with the same settings."""
    one, two = (run.recorded_settings["teacher" if run.is_teacher else "student"] for run in (record, other))
    return dict(one) == dict(two)


def beside_labels(records: Sequence[Record], noted: Sequence[NotedRow]) -> tuple[Section, ...]:
    """The rows once more, compared to their network on labels alone, where there are several that have that."""
    against = [row for row in rows(records, noted, labels_of) if row.comparison]
    if len(against) < 2:
        return ()
    keys = dict.fromkeys(row.key for row in against)
    compared_rows = [comparison_table([row for row in against if row.key == key], "labels alone") for key in keys]
    return (Section("beside the same network on labels alone", tuple(compared_rows)),) if compared_rows else ()


def report(root: Path, reports: Path, corpus: str, experiment: str) -> str:
    """Write ``reports/<corpus>/experiment-<name>.md``, ``.tex`` and ``.csv``, and what was measured as JSON and CSV; the result is the text to print.

    Raises ``InputError`` where none of its runs is finished.
    """
    noted, records = noted_rows(root, corpus, experiment), runs.find(root, corpus)
    shown = rows(records, noted)
    if not shown:
        raise InputError(f"no finished run of experiment {experiment} in {root / corpus}; expected some: run it first")
    stamp = f"{STAMP}: " if any(row.synthetic for row in shown) else ""
    folders = {row.folder for row in noted}
    members = [record for record in records if record.folder.parent in folders]
    by_name = {
        name: [record for record in records for entry in entries if is_of(record, entry)]
        for (name, _), entries in grouped(noted).items()
    }
    noisy = noise_levels.section(by_name, reports / corpus / f"experiment-{experiment}-noise.csv")
    every = [record for row in by_name.values() for record in row]
    measured = (*few_shot.section(every), *recalls.section(by_name), *other_classes.section(every))
    kept.keep(reports / corpus, experiment, measured, every)
    paper = Document(
        f"{stamp}{corpus}: experiment {experiment}",
        (
            *tables(shown, "experiments: "),
            *measured,
            *beside_labels(records, noted),
            *noisy,
            *besides(root, corpus, experiment),
        ),
        (*footnotes(shown), *provenance(members)),
    )
    return paper.save(reports / corpus, f"experiment-{experiment}", Table.build("", COLUMNS, shown))
