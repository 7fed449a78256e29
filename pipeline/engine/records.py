"""The run folders of a pack: what is written when a run begins and ends, and the network read back from one."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline import cache, models, runs
from pipeline.config import InputError
from pipeline.figures import ensembles, evaluation
from pipeline.files import Stamp, stamp
from pipeline.models import saved
from pipeline.models.saved import weights_digest
from pipeline.runs.planned import PlannedRun, recorded
from pipeline.training import Trained

if TYPE_CHECKING:
    from pipeline.engine.packs import PlannedPack


def run_config(pack: PlannedPack, run: PlannedRun, data: cache.Data) -> dict[str, Any]:
    """What ``config.json`` of a run says."""
    settings = {name: dataclasses.asdict(getattr(run.settings, name)) for name in ("features", "teacher", "student")}
    step = {"experiment": run.experiment, "step": run.step} if run.is_step else {}
    return {
        "schema": runs.SCHEMA,
        "role": run.role,
        "model": run.network.model,
        **pack.about,
        "fold": run.fold,
        "seed": run.seed,
        "mix": str(run.mix),
        "slug": run.mix.slug,
        "settings": settings,
        "preset": run.settings.preset,
        "teacher": recorded(run.teachers),
        **step,
        "generation": run.generation,
        "lineage": lineage(run.teachers),
        "teacher_weights": {str(folder): weights_of(folder, stamp(folder / "model.pt")) for folder in run.teachers},
        "data": {str(fold): digest for fold, digest in data.digests.items()},
        "skipped": {str(fold): count for fold, count in data.skipped.items()},
        "classes": list(data.classes),
        "shape": list(data.features.shape[2:]),
        "pack": {
            "runs": len(pack.runs),
            "layout": pack.layout,
            "device": pack.device,
            "threads": torch.get_num_threads(),
            **pack.measured,
        },
    }


def lineage(teachers: Sequence[Path]) -> list[str]:
    """The run folders that a student of ``teachers`` goes back to, from the first ancestor to the teachers themselves."""
    found: list[str] = []
    for folder in teachers:
        found += [*map(str, runs.read(folder).lineage), str(folder)]
    return list(dict.fromkeys(found))


@functools.lru_cache(maxsize=128)
def weights_of(folder: Path, _state: Stamp) -> str:
    """``weights_digest`` of a run; ``_state``: the ``stamp`` of its ``model.pt``."""
    return weights_digest(read_model(folder))


def write_start(folder: Path, about: dict[str, Any]) -> None:
    """The record of a run that has begun: who follows it knows what it is. ``about``: its ``run_config``."""
    runs.write_atomic(folder / "config.json", runs.json_bytes(about))
    runs.write_atomic(folder / "environment.json", runs.json_bytes(runs.environment()))


def write_run(pack: PlannedPack, run: PlannedRun, about: dict[str, Any], data: cache.Data, trained: Trained) -> None:
    """All files of a finished run; a run that failed is written too, with its reason in place of an accuracy.

    ``about`` is its ``run_config`` from before the training: a teacher may be another one by now.
    """
    test = np.flatnonzero(data.folds == run.fold)
    labels = data.labels[test]
    # A run that failed in its first epoch was never tested.
    logits = trained.logits if len(trained.logits) else np.full((len(test), len(data.classes)), np.nan, np.float32)
    payload = payload_of(run, about, data, trained)
    result = {**result_of(run, data, trained, logits, labels), "runs_in_pack": len(pack.runs)}
    result["weights"] = weights_digest(payload)
    model = io.BytesIO()  # torch hides what the system says to its writing
    torch.save(payload, model)
    runs.restart_metrics(run.folder, trained.history)
    runs.write_finished(
        run.folder,
        config=about,
        environment=runs.environment(),
        model_bytes=lambda file: file.write(model.getbuffer()),
        predictions=runs.Predictions(
            np.array([data.clips[i] for i in test]), labels, logits, np.array([data.sources[i] for i in test])
        ),
        result=result,
    )


def result_of(
    run: PlannedRun, data: cache.Data, trained: Trained, logits: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """What ``result.json`` says: the figures of the last epoch's outputs (clips, classes) on the held-out clips."""
    history = trained.history
    best = max(history, key=lambda record: record["accuracy"], default={"accuracy": None, "epoch": None})
    teacher = ensembles.ensemble(run.teachers).logits if run.teachers else None
    network = models.build(run.network.model, tuple(data.features.shape[2:]), len(data.classes))
    not_finite = None if np.isfinite(logits).all() else "the outputs are not finite; try a lower learning rate"
    result = {
        **evaluation.summary(logits, labels, teacher),
        "best_accuracy": best["accuracy"],
        "best_epoch": best["epoch"],
        "epochs": len(history),
        "test_clips": len(labels),
        "parameters": models.parameters(network),
        "seconds": round(trained.seconds, 2),
        "failure": trained.failure or not_finite,
    }
    if result["failure"]:
        result |= {"status": "failed", "accuracy": None}
    elif not run.mix.names_classes:
        result["status"] = "outputs untrained"
    return result


def payload_of(run: PlannedRun, about: dict[str, Any], data: cache.Data, trained: Trained) -> dict[str, Any]:
    """What ``model.pt`` holds."""
    corpus = {key: about[key] for key in ("corpus", "dataset", "synthetic")}
    return {
        "format": 1,
        "role": run.role,
        "model": run.network.model,
        "fold": run.fold,
        "seed": run.seed,
        "mix": str(run.mix),
        "shape": list(data.features.shape[2:]),
        "classes": list(data.classes),
        "features": dataclasses.asdict(data.spec),
        **corpus,
        "state": trained.state,
        "best_state": trained.best_state,
        **({"adapters": trained.adapters} if trained.adapters else {}),
    }


def read_model(folder: Path) -> dict[str, Any]:
    """``model.pt`` of a finished run: weights, feature settings, class names; loaded without running any code."""
    if not runs.finished(folder):
        raise InputError(
            f"{folder}: no finished run there (no result.json); expected a run folder such as "
            "runs/CORPUS/teacher-…/fold1-seed0"
        )
    return saved.read_payload(folder)


def model_of(payload: dict[str, Any], epoch: str = "last") -> models.Network:
    """The network of a ``model.pt``, in evaluation mode, with the last or the best epoch's weights."""
    return saved.network_of(payload, epoch)
