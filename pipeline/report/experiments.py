"""The rows of experiments: each under the experiment's name, beside the baseline of the stages where there is one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from pipeline import losses, runs
from pipeline.config import InputError
from pipeline.figures import statistics
from pipeline.report import few_shot, kept, noise_levels, other_classes, recalls
from pipeline.report.aggregation import BASELINE, OF_SEVERAL, STAMP, Row, bare_row, compared, key_of
from pipeline.report.alike import digest_of, kind_of
from pipeline.report.columns import CSV, comparison_table
from pipeline.report.document import by_data, experiment_tables
from pipeline.report.table import Column, Document, Section, Table, number, of
from pipeline.report.wording import footnotes, provenance
from pipeline.runs import Record
from pipeline.runs.experiments import NotedRow, noted_rows, noted_times, noted_untrained

#: The mix of labels alone.
LABELS = str(losses.LossMix.parse("ce"))

#: What an experiment calls its row of labels alone.
LABELS_ROW = "labels"

#: (a run of a row, all runs, the folders of the experiment's own row of that kind) → those that the row is compared to.
Other = Callable[[Record, Sequence[Record], Collection[Path]], list[Record]]

COLUMNS = (Column("experiment", of("label")), *CSV)


def rows(
    records: Sequence[Record], noted: Sequence[NotedRow], other_of: Other | None = None, called: str = ""
) -> list[Row]:
    """The rows of what is noted, of those with finished runs. p (Holm) is adjusted for all of them that are of one table.

    ``other_of``: which runs a row is compared to; default ``baseline_of``. ``called``: the name of the experiment's own row of that
    kind, where it has one; default that of ``baseline_of``.
    """
    other_of = other_of or baseline_of
    by_table: dict[tuple[str, str], list[Row]] = {}
    for (name, _), entries in grouped(noted).items():
        members = [record for record in records for entry in entries if is_of(record, entry)]
        if not members:
            continue
        baseline_row = LABELS_ROW if members[0].several_labels else BASELINE
        own = own_folders(noted, experiment_of(name), called or baseline_row)
        nested = entries[0].fold is not None
        key = key_of(members[0])
        if nested:
            key = replace(
                key, preset=f"{name.partition(' ')[0]}, one per held-out fold", digest=", ".join(digests(members))
            )
        row = replace(bare_row(key, members, is_baseline=False), label=name, nested=nested)
        baseline = other_of(members[0], records, own)
        if nested:  # each fold's own
            baseline = [
                other for record in members for other in other_of(record, records, own) if other.cell == record.cell
            ]
        if baseline:
            other = key_of(baseline[0]).digest
            same = settings_apart(members[0], baseline[0]) == 0 or (
                is_labels_alone(baseline[0]) and trained_alike(members[0], baseline[0])
            )
            row = replace(compared(row, members, baseline), baseline_settings="" if same else other)
        by_table.setdefault((key.preset, key.data), []).append(row)
    adjusted_rows: list[Row] = []
    for table in by_table.values():
        tests = [row.comparison for row in table]
        adjusted = statistics.holm([test.p if test else None for test in tests])
        tried = sum(test is not None for test in tests)
        adjusted_rows += [replace(row, p_holm=p, compared_mixes=tried) for row, p in zip(table, adjusted)]
    return adjusted_rows


def experiment_of(row_name: str) -> str:
    return row_name.partition("/")[0]


def own_folders(noted: Sequence[NotedRow], experiment: str, called: str) -> set[Path]:
    """The folders of an experiment's row of that name: one for each call with other settings."""
    return {entry.folder for entry in noted if entry.name == f"{experiment}/{called}"}


def grouped(noted: Sequence[NotedRow]) -> dict[tuple[str, Path | None], list[NotedRow]]:
    """The entries of each row: those of one name that are for a fold each, any other alone."""
    groups: dict[tuple[str, Path | None], list[NotedRow]] = {}
    for entry in noted:
        groups.setdefault((entry.name, entry.folder if entry.fold is None else None), []).append(entry)
    return groups


def runs_by_name(records: Sequence[Record], noted: Sequence[NotedRow]) -> dict[str, list[Record]]:
    """The runs of each row; of rows of one name, which calls with other settings leave, with the digest of these behind it, and of
    calls with other teachers with that of their folder too."""
    groups = grouped(noted)
    names = [name for name, _ in groups]
    found: dict[str, list[Record]] = {}
    for (name, _), entries in groups.items():
        members = [record for record in records for entry in entries if is_of(record, entry)]
        told = f"{name} ({members[0].digest})" if members and names.count(name) > 1 else name
        if members and (others := found.get(told)) and kind_of(others[0]) != kind_of(members[0]):  # other teachers
            told = f"{name} ({members[0].digest}, {digest_of(members[0])})"
        found[told] = [*found.get(told, []), *members]
    return found


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


def baseline_of(record: Record, records: Sequence[Record], own: Collection[Path] = ()) -> list[Record]:
    """The students of soft targets alone, of clips with several labels those of labels alone, with the same network, features and
    data: those in the folders ``own`` where some are there, whoever taught them, else those of stage three of one table; none of
    several tables.

    Such a student itself, of a row that is called otherwise, is compared to those in ``own`` alone.
    """
    mix = str(losses.LossMix.parse(OF_SEVERAL if record.several_labels else BASELINE))
    alike = [other for other in records if is_alone(other, mix) and comparable(record, other)]
    if is_alone(record, mix) and record.folder.parent in own:
        return []
    ours = nearest(record, [other for other in alike if other.folder.parent in own], records)
    if record.is_student and record.row_mix == mix:
        return ours
    staged = [other for other in alike if other.is_student]
    same_settings = [other for other in staged if record.is_student and other.digest == record.digest]
    return ours or same_settings or (staged if len({other.digest for other in staged}) == 1 else [])


def labels_of(record: Record, records: Sequence[Record], own: Collection[Path] = ()) -> list[Record]:
    """The runs of the same network on labels alone, with the same features and data, of one folder: trained as the run itself was,
    else those in one of the folders ``own``, else those of the only settings that there are."""
    if is_labels_alone(record):
        return []
    by_folder: dict[Path, list[Record]] = {}
    for other in records:
        if is_labels_alone(other) and comparable(record, other):
            by_folder.setdefault(other.folder.parent, []).append(other)
    same_settings = [alike for alike in by_folder.values() if trained_alike(record, alike[0])]
    if same_settings:
        return max(same_settings, key=lambda alike: (alike[0].folder.parent in own, len(alike)))
    ours = nearest(record, [other for folder in own for other in by_folder.get(folder, [])], records)
    return ours or (next(iter(by_folder.values())) if len(by_folder) == 1 else [])


def comparable(one: Record, other: Record) -> bool:
    """Whether two runs are of the same network, features, data and classes."""
    return (
        (other.preset, other.model, other.data_digest) == (one.preset, one.model, one.data_digest)
        and other.recorded_settings["features"] == one.recorded_settings["features"]
        and of_same_classes(other, one)
    )


def nearest(record: Record, others: Sequence[Record], records: Sequence[Record]) -> list[Record]:
    """Those of one folder: of several, which calls with other settings leave, that with the fewest settings other than the record's, of
    these that with the most folds and seeds which the runs beside the record have; none where two are equally near."""
    cells = {beside.cell for beside in records if beside.folder.parent == record.folder.parent}
    folders: dict[Path, list[Record]] = {}
    for other in others:
        folders.setdefault(other.folder.parent, []).append(other)
    apart = {
        folder: (settings_apart(record, there[0]), -len(cells & {one.cell for one in there}))
        for folder, there in folders.items()
    }
    least = [folder for folder, far in apart.items() if far == min(apart.values())]
    return folders[least[0]] if len(least) == 1 else []


def settings_apart(one: Record, other: Record) -> int:
    """How many settings of two networks' training are not the same, and of their teacher's where both name one."""
    pairs = [(training(one), training(other))]
    if not (one.is_teacher or other.is_teacher):
        pairs.append((dict(one.recorded_settings["teacher"]), dict(other.recorded_settings["teacher"])))
    return sum(ours.get(name) != theirs.get(name) for ours, theirs in pairs for name in ours.keys() | theirs.keys())


def training(record: Record) -> dict[str, object]:
    """The settings that a run's network was trained with."""
    return dict(record.recorded_settings["teacher" if record.is_teacher else "student"])


def of_same_classes(one: Record, other: Record) -> bool:
    """Whether two runs tell the same classes apart: accuracies of others say nothing beside each other."""
    return one.trained_by.classes == other.trained_by.classes


def is_labels_alone(record: Record) -> bool:
    return is_alone(record, LABELS)


def is_alone(record: Record, mix: str) -> bool:
    """Whether a run learned by ``mix`` and nothing else: it starts from no other run, and makes up for what no other missed (``base``)."""
    return record.mix_text == mix and not (record.start or record.base)


def trained_alike(record: Record, other: Record) -> bool:
    """Whether the networks of two runs were trained with the same settings."""
    return training(record) == training(other)


def beside_labels(records: Sequence[Record], noted: Sequence[NotedRow]) -> tuple[Section, ...]:
    """The rows once more, compared to their network on labels alone, where there are several that have that."""
    against = [row for row in rows(records, noted, labels_of, LABELS_ROW) if row.comparison]
    if len(against) < 2:
        return ()
    compared_rows = tuple(comparison_table(table, "labels alone") for table in by_data(against))
    return (Section("beside the same network on labels alone", compared_rows),)


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
    by_name = runs_by_name(records, noted)
    noisy = noise_levels.section(by_name, reports / corpus / f"experiment-{experiment}-noise.csv")
    every = [record for row in by_name.values() for record in row]
    measured = (*few_shot.section(every), *recalls.section(by_name), *other_classes.section(every))
    kept.keep(reports / corpus, experiment, measured, every)
    paper = Document(
        f"{stamp}{corpus}: experiment {experiment}",
        (
            *experiment_tables(shown),
            *measured,
            *beside_labels(records, noted),
            *noisy,
            *besides(root, corpus, experiment),
        ),
        (*footnotes(shown), *provenance(members)),
    )
    return paper.save(reports / corpus, f"experiment-{experiment}", Table.build("", COLUMNS, shown))
