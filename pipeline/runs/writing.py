"""Writing a run folder: whole files only, and ``result.json`` last."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline import places
from pipeline.files import json_bytes, naming, write_atomic
from pipeline.runs import seal
from pipeline.runs.ancestry import others, recorded
from pipeline.runs.folder import (
    CONFIG_KEYS,
    RESULT_KEYS,
    SCHEMA,
    STATUSES,
    Predictions,
)
from pipeline.runs.machine import utc_now
from pipeline.runs.record import Pack, Record, Result


def write_finished(
    folder: Path,
    *,
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    model_bytes: bytes | Callable[[IO[bytes]], object],
    predictions: Predictions,
    result: Mapping[str, Any],
) -> None:
    """Write all files of a run but metrics.jsonl; ``result.json`` goes first when it is old, and comes last.

    Where ``config`` has the run's identity, ``result.json`` gets it too, and the digests of all other files (``seal``).

    ``model_bytes`` may be a function of an open binary file, for example ``lambda file: torch.save(state, file)``.
    Raises ``ValueError`` for a config or result without the keys that readers rely on: that is a bug here,
    not a user's mistake.
    """
    missing = [key for key in CONFIG_KEYS if key not in config] + [key for key in RESULT_KEYS if key not in result]
    if missing:
        raise ValueError(f"{folder}: a run's record lacks {', '.join(missing)}")
    if result["status"] not in STATUSES:
        raise ValueError(f"{folder}: status {result['status']!r}: expected one of {', '.join(STATUSES)}")
    clips, labels, logits, sources = predictions
    if not len(clips) == len(labels) == len(logits) == len(sources):
        raise ValueError(f"{folder}: predictions of {len(clips)} clips, {len(labels)} labels, {len(logits)} logits")
    (folder / "result.json").unlink(missing_ok=True)
    write_atomic(folder / "config.json", json_bytes(config))
    write_atomic(folder / "environment.json", json_bytes(environment))
    write_atomic(folder / "model.pt", model_bytes)
    arrays = {
        "clips": np.asarray(clips, dtype=np.str_),
        "labels": np.asarray(labels, dtype=np.int64),
        "logits": np.asarray(logits, dtype=np.float32),
        "sources": np.asarray(sources, dtype=np.str_),
    }
    identity = str(config.get(seal.IDENTITY) or "")
    if identity:
        arrays[seal.IDENTITY] = np.array(identity)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(folder / "predictions.npz", buffer.getvalue())
    finished_at = {"finished": utc_now()} if "finished" not in result else {}
    write_atomic(folder / "result.json", json_bytes(seal.sealed({**result, **finished_at}, folder, identity)))


def config_of(record: Record) -> dict[str, Any]:
    """A record as ``config.json`` has it; ``reading.record_of`` is the way back."""
    step = {"experiment": record.experiment, "step": record.step} if record.is_step else {}
    return {
        "schema": SCHEMA,
        **({seal.IDENTITY: record.identity} if record.identity else {}),
        "role": record.role,
        "model": record.model,
        "corpus": record.corpus,
        "dataset": record.dataset,
        "synthetic": record.synthetic,
        "all_folds": list(record.all_folds),
        "fold": record.fold,
        "seed": record.seed,
        "mix": record.recorded_mix,
        "slug": record.slug,
        "settings": record.recorded_settings,
        "preset": record.preset,
        "teacher": recorded(record.teachers),
        **step,
        **others(record.start, record.base),
        "generation": record.generation,
        "lineage": list(map(places.recorded, record.lineage)),
        "teacher_weights": {places.recorded(folder): digest for folder, digest in record.teacher_weights.items()},
        "data": {str(fold): digest for fold, digest in record.data.items()},
        "skipped": {str(fold): count for fold, count in record.skipped.items()},
        "classes": list(record.classes),
        "shape": list(record.shape),
        "pack": pack_of(record.pack),
        **({"trusted": True} if record.trusted else {}),
        **({"without": record.without} if record.without is not None else {}),
        **({"cross_fitted": True} if record.crossed else {}),
        **({"firsts": list(map(places.recorded, record.firsts))} if record.firsts else {}),
        **(
            {"contents": {places.recorded(path): digest for path, digest in record.contents.items()}}
            if record.contents
            else {}
        ),
        **({"plugins": dict(record.plugins)} if record.plugins else {}),
        **({"chosen": record.chosen._asdict()} if record.chosen else {}),
        **({"peer": places.recorded(record.peer)} if record.peer else {}),
        **({"several_labels": True} if record.several_labels else {}),
    }


def pack_of(pack: Pack) -> dict[str, Any]:
    repeats = {"repeats": places.recorded(pack.repeats)} if pack.repeats else {}
    how = {"runs": pack.runs, "layout": pack.layout, "device": pack.device, "threads": pack.threads}
    return {**how, **pack.measured, **repeats, **({"teachers": "live"} if pack.live else {})}


def result_of(result: Result) -> dict[str, Any]:
    """A result as ``result.json`` has it; ``reading.result_of`` is the way back."""
    several = result.chance is not None  # a run that stopped has no figure, and says of which name
    later = [name for name in LATER if not (several and name == "map")]
    names = [
        field.name
        for field in dataclasses.fields(Result)
        if field.name not in ("terms", "finished", "overflowed")
        and (field.name not in later or getattr(result, field.name) is not None)
    ]
    terms = {"terms": {key: dict(figures) for key, figures in result.terms.items()}} if result.terms else {}
    finished = {"finished": result.finished} if result.finished else {}
    return {**{name: getattr(result, name) for name in names}, "failure": result.failure or None, **terms, **finished}


#: Figures of windows alone, and of clips with several labels.
LATER = ("window_accuracy", "test_windows", "map", "best_map", "chance")


def append_metrics(folder: Path, record: Mapping[str, Any], identity: str = "") -> None:
    """Add one epoch's line to ``metrics.jsonl``, with the run's identity where it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.jsonl"
    with naming(path), path.open("ab") as file:
        file.write(line_of(record, identity))


def restart_metrics(folder: Path, records: Iterable[Mapping[str, Any]] = (), identity: str = "") -> None:
    """Replace ``metrics.jsonl`` by ``records``: when a run starts, or goes on from a checkpoint."""
    write_atomic(folder / "metrics.jsonl", b"".join(line_of(record, identity) for record in records))


def line_of(record: Mapping[str, Any], identity: str) -> bytes:
    return json_bytes({**record, **({seal.IDENTITY: identity} if identity else {})}, indent=None)
