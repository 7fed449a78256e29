"""The rows of ``cost``: one network in one form, measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import models
from pipeline.deploy import export, latency
from pipeline.deploy.kin import mean_score, name_of
from pipeline.models.saved import network_of
from pipeline.report.paper import PARAMETERS
from pipeline.runs import Record
from pipeline.runs.weights import read_weights

#: In a proof, and in an export: from sound to class at the features' own rate, in float32 (``one_file``).
ONE_FILE, ONE_FILE_NAME = "one_file", "student-sound.onnx"


@dataclass(frozen=True)
class Row:
    """One network in one form."""

    name: str
    parameters: int
    published: int | None
    file: str
    bytes: int
    multiply_adds: int
    """Per clip."""
    median_ms: float
    """Of a call of the network, for a whole batch; of one file from sound to class the features are in it."""
    p90_ms: float
    accuracy: float | None
    """In percent; None where no run trained. Of clips with several labels the mean average precision (``Cost.several``)."""
    measured_on: str
    """What ``accuracy`` is the mean of."""
    real_time_factor: float
    feature_share: float | None
    """Of the time a clip takes, in [0, 1]; None where the features are in the file."""
    feature_ms: float | None
    """Of Python's features of a clip; None where they are in the file."""


def rows_of(
    record: Record,
    records: Sequence[Record],
    exported: tuple[Path, dict[str, Any]] | None,
    feature_ms: float,
    seconds: float,
    batch: int,
    threads: int,
    repeats: int,
) -> list[Row]:
    """A run's network in torch, and in ONNX float and int8 of its export."""
    payload = read_weights(record.folder)
    network = network_of(payload)
    accuracy, measured_on = mean_score(record, records)
    measure = "map" if record.several_labels else "accuracy"
    file = record.folder / "model.pt"
    # Form, file, accuracy, what that is of, times of a call.
    forms = [("torch", file, accuracy, measured_on, latency.torch_times(network, batch, threads, repeats))]
    if exported:
        folder, proof = exported
        for form, name, key in (("ONNX", export.FLOAT, "float"), ("ONNX int8", export.INT8, "int8")):
            percent, fold = 100 * proof[f"{measure}_{key}"], f"fold {record.fold} alone"
            times = latency.onnx_times(folder / name, network.shape, batch, threads, repeats)
            forms.append((form, folder / name, percent, fold, times))
    counted, macs = models.parameters(network), latency.multiply_adds(network)
    rows = []
    for form, path, percent, where, (median, p90) in forms:
        clip_ms = feature_ms + median / batch
        row = Row(
            name=f"{name_of(record)}, {form}",
            parameters=counted,
            published=PARAMETERS.get(record.model),
            file=path.name,
            bytes=path.stat().st_size,
            multiply_adds=macs,
            median_ms=median,
            p90_ms=p90,
            accuracy=percent,
            measured_on=where,
            real_time_factor=clip_ms / 1000 / seconds,
            feature_share=feature_ms / clip_ms,
            feature_ms=feature_ms,
        )
        rows.append(row)
    if exported and (whole := one_file_row(record, exported, rows[0], seconds, batch, threads, repeats)):
        rows.append(whole)
    return rows


def one_file_row(
    record: Record,
    exported: tuple[Path, dict[str, Any]],
    like: Row,
    seconds: float,
    batch: int,
    threads: int,
    repeats: int,
) -> Row | None:
    """From sound to class in one file, where the export has it; parameters and multiply-adds are the network's, as ``like`` has them."""
    folder, proof = exported
    files = proof.get(ONE_FILE, {}).get("files", {})
    if ONE_FILE_NAME not in files or not (folder / ONE_FILE_NAME).is_file():
        return None
    entry = files[ONE_FILE_NAME]
    counts = proof[ONE_FILE]["clips"]
    same = sum(share * counts[length] for length, share in entry["equal_classes"].items()) / sum(counts.values())
    path = folder / ONE_FILE_NAME
    median, p90 = latency.sound_times(path, round(seconds * entry["rate"]), batch, threads, repeats)
    return dataclasses.replace(
        like,
        name=f"{name_of(record)}, one file",
        file=path.name,
        bytes=path.stat().st_size,
        median_ms=median,
        p90_ms=p90,
        accuracy=None,
        measured_on=f"fold {record.fold}: same {entry.get('compared', 'class')} as predict on {100 * same:.1f} % of {sum(counts.values()):,} clips",
        real_time_factor=median / batch / 1000 / seconds,
        feature_share=None,
        feature_ms=None,
    )
