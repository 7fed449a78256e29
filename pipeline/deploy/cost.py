"""What a clip costs: parameters, bytes, multiply-adds, CPU time; teacher against student, features against network.

Conventions. Latency is of the network alone, from features to logits, one call per repetition after a warm-up; the
feature time is that of ``features.extract`` on one thread (both: ``pipeline.deploy.latency``). The real-time factor is
(features + network) / clip length: below 1 keeps up with a microphone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import runs
from pipeline.config import FeatureSpec, InputError
from pipeline.deploy import export, latency
from pipeline.deploy.choosing import run_folder
from pipeline.deploy.cost_rows import Row, rows_of
from pipeline.deploy.kin import name_of, runs_beside, teacher_of
from pipeline.feature_settings import ALL
from pipeline.models.saved import sound_features
from pipeline.plurals import many
from pipeline.report.table import FULL, Column, Document, Section, Table, counted, number, of
from pipeline.report.wording import trusted_teachers
from pipeline.runs import Record
from pipeline.runs.weights import read_weights


@dataclass(frozen=True)
class Cost:
    """The table, and under which conditions it was measured."""

    rows: tuple[Row, ...]
    feature_median_ms: float
    """Per clip, on one thread."""
    feature_p90_ms: float
    clip_seconds: float
    batch: int
    threads: int
    repeats: int
    processor: str
    corpus: str
    synthetic: bool
    features: str = ALL
    """Which are computed: ``FeatureSpec.use``."""
    left_out: tuple[str, ...] = ()
    """What has no row, and the command that gives it one."""
    trusted: tuple[str, ...] = ()
    """A line where its teacher does not say what it was trained on."""
    several: bool = False
    """Whether clips have several labels: accuracies are mean average precisions then."""


def measured(
    run: Path | None,
    runs_root: Path,
    exports_root: Path,
    corpus: str,
    *,
    batch: int = 1,
    threads: int = 1,
    repeats: int = 200,
) -> Cost:
    """The cost of a student or born-again run (``run``, or the best mix's) and of its teacher, measured here and now.

    Raises ``InputError`` without a finished run, and for a teacher's run in place of a student's.
    """
    if run is None:
        records = runs.find(runs_root, corpus)
        student = export.best_student(records, corpus)
    else:
        folder = run_folder(run)
        student = runs.read(folder)
        records = runs_beside(student)
    if student.is_teacher:
        raise InputError(f"{student.folder} is a teacher's run; expected a student's: its teacher is found by itself")
    teacher = teacher_of(student, records)
    spec = sound_features(read_weights(student.folder), student.folder)
    exports, left_out = exports_of(student, teacher, exports_root)
    feature_ms, feature_p90 = latency.feature_times(spec, max(5, repeats // 10))
    rows: list[Row] = []
    for record in (teacher, student) if teacher else (student,):
        exported = exports.get(record.folder)
        own_ms, other = own_features(record, spec, feature_ms, repeats)
        left_out += other
        rows += rows_of(record, records, exported, own_ms, spec.seconds, batch, threads, repeats)
    return Cost(
        rows=tuple(rows),
        feature_median_ms=feature_ms,
        feature_p90_ms=feature_p90,
        clip_seconds=spec.seconds,
        batch=batch,
        threads=threads,
        repeats=repeats,
        processor=latency.processor(),
        corpus=student.corpus,
        synthetic=bool(student.synthetic),
        features=str(spec.use),
        left_out=tuple(left_out),
        trusted=tuple(trusted_teachers([student])),
        several=student.several_labels,
    )


def own_features(record: Record, spec: FeatureSpec, feature_ms: float, repeats: int) -> tuple[float, list[str]]:
    """ms of a clip's features as a run hears them, and a line where these are not ``spec``, which take ``feature_ms``."""
    heard = sound_features(read_weights(record.folder), record.folder)
    if heard == spec:
        return feature_ms, []
    own_ms = latency.feature_times(heard, max(5, repeats // 10))[0]
    return own_ms, [f"The teacher hears other features: {named(str(heard.use))} of a clip take {own_ms:.2f} ms."]


def exports_of(student: Record, teacher: Record | None, exports_root: Path) -> tuple[dict[Path, Any], list[str]]:
    """Run folder → its export as ``export.existing`` has it; and lines on what is left out of the table, and why."""
    exports, left_out = {}, []
    for record in (teacher, student) if teacher else (student,):
        if exported := export.existing(exports_root, record):
            exports[record.folder] = exported
    if exports:
        try:
            export.require_extra()
        except InputError as error:
            left_out.append(f"Left out: ONNX and int8. {error}")
            exports = {}
    if student.folder not in exports and not left_out:
        left_out.append(
            f"Left out: {name_of(student)} in ONNX and int8, for this run is not in {exports_root}/: "
            f"make export RUN={student.folder}"
        )
    if teacher is None:
        which = "it has none that is a run" if student.is_step else "none of this run's settings lies"
        left_out.append(f"Left out: a teacher, for {which} among the runs beside it.")
    elif len(student.teachers) > 1 and not student.is_generation:
        left_out.append(
            f"Left out: {many(len(student.teachers) - 1, 'teacher')} more that taught it together with this one."
        )
    return exports, left_out


def verdict(cost: Cost) -> str:
    """What a device pays for, in one line."""
    student = cost.rows[-1].name.rpartition(", ")[0]  # its rows stand last
    rows = [row for row in cost.rows if row.name.rpartition(", ")[0] == student and row.feature_share is not None]
    row = min(rows, key=lambda row: row.median_ms)
    form = f"in its fastest form ({row.name})" if len(rows) > 1 else f"measured in one form alone ({row.name})"
    network_ms = row.median_ms / cost.batch
    payer = "The features are" if (row.feature_share or 0) > 0.5 else "The network is"
    return (
        f"{payer} what a device pays for: of a clip's {cost.feature_median_ms + network_ms:.2f} ms the features take "
        f"{cost.feature_median_ms:.2f} ms ({100 * (row.feature_share or 0):.1f} %) and the network, {form}, "
        f"{network_ms:.2f} ms."
    )


def conditions(cost: Cost) -> dict[str, Any]:
    """What all rows were measured under."""
    return {k: v for k, v in dataclasses.asdict(cost).items() if k not in ("rows", "left_out", "trusted", "several")}


def key_of(field: str, cost: Cost) -> str:
    """What a field of a row is called in files."""
    return "map" if cost.several and field == "accuracy" else field


def data_columns(cost: Cost) -> list[Column]:
    """Those of ``cost.csv``: every field of a row, and what all rows share."""
    numbers = [Column(key_of(each.name, cost), of(each.name), digits=FULL) for each in dataclasses.fields(Row)]
    return numbers + [Column(key, constant(value), digits=FULL) for key, value in conditions(cost).items()]


def constant(value: object) -> Callable[[Row], object]:
    return lambda _row: value


def digits(count: int) -> Callable[[float | None], str]:
    return lambda value: number(value, f".{count}f")


def columns(cost: Cost) -> list[Column]:
    """Those for people."""
    return [
        Column("", of("name"), "Network"),
        Column("", of("parameters"), "Parameters", format=counted),
        Column("", of("published"), "Published", format=counted),
        Column("", of("bytes"), "Bytes", format=counted),
        Column("", of("multiply_adds"), "Multiply-adds\na clip", format=counted),
        Column("", of("median_ms"), "Median", "ms", digits(3)),
        Column("", of("p90_ms"), "p90", "ms", digits(3)),
        Column("", of("feature_ms"), "Features\nms a clip", format=digits(2)),
        Column("", of("real_time_factor"), "Real-time\nfactor", format=digits(5)),
        Column("", of("accuracy"), "mAP" if cost.several else "Accuracy", "%", digits(2)),
        Column("", of("measured_on"), f"{'mAP' if cost.several else 'Accuracy'} of", prose=True),
    ]


def named(features: str) -> str:
    return "librosa's five" if features == ALL else f"librosa's {features.replace(',', ', ')}"


def document(cost: Cost) -> Document:
    stamp = "SYNTHETIC " if cost.synthetic else ""
    clips = many(cost.batch, "clip")
    threads = many(cost.threads, "thread")
    caption = f"Latency of a batch of {clips}, {threads}, {cost.repeats} calls, on {cost.processor}."
    notes = [
        verdict(cost),
        *cost.left_out,
        *cost.trusted,
        f"Features: {named(cost.features)} of a {cost.clip_seconds:g} s clip on one thread, median (p90 {cost.feature_p90_ms:.2f} "
        "ms), from samples in memory. Real-time factor: (features + network) / clip length.",
        "Multiply-adds: convolutions and linear layers. Published: Cho et al. 2023, for (5, 20, 173) and ten classes.",
        "model.pt holds the weights twice (last and best epoch) and all settings; an ONNX file holds one network.",
    ]
    if any(row.name.endswith("int8") for row in cost.rows):
        notes.append(
            "int8 saves bytes everywhere. Time it can save where it has integer maps, and only on processors with products of 8-bit "
            "integers (VNNI, NEON); not where weights alone are integers, as proof.json says by int8_in_float: all maps."
        )
    if any(row.feature_ms is None for row in cost.rows):
        notes.append("One file: from sound to class without Python; its times are of the features too.")
    if cost.synthetic:
        notes.append("SYNTHETIC: made-up sounds of the built-in corpus; the accuracies say nothing about real ones.")
    return Document(
        f"{stamp}Cost of a clip: {cost.corpus}",
        (Section("Teacher against student", (Table.build(caption, columns(cost), cost.rows),)),),
        tuple(notes),
    )


def report(cost: Cost, reports_root: Path) -> str:
    """Write ``reports_root/<corpus>/cost.md``, ``.csv`` and ``.json``; the result is the text to print."""
    folder, paper = reports_root / cost.corpus, document(cost)
    rows = [{key_of(key, cost): value for key, value in dataclasses.asdict(row).items()} for row in cost.rows]
    runs.write_atomic(
        folder / "cost.json",
        runs.json_bytes({**conditions(cost), "verdict": verdict(cost), "left_out": cost.left_out, "rows": rows}),
    )
    return paper.save(folder, "cost", Table.build("", data_columns(cost), cost.rows), latex=False)
