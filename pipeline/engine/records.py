"""The run folders of a pack: what is written when a run begins and ends, and the network read back from one."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline import cache, config, models, places, plugins, runs
from pipeline.config import FeatureSpec, InputError
from pipeline.engine import subsets
from pipeline.engine.source import clips_of
from pipeline.engine.teachers import unsaid
from pipeline.figures import ensembles, evaluation
from pipeline.files import Stamp, stamp
from pipeline.listed import LAST
from pipeline.models import saved
from pipeline.models.saved import weights_digest
from pipeline.runs import Pack, Predictions, Record, Result, by_clip
from pipeline.runs.planned import PlannedRun
from pipeline.runs.record import UNFINISHED
from pipeline.runs.weights import read_weights
from pipeline.teacher_files import is_teacher_file
from pipeline.teacher_files.fitting import Clips, held_out_logits
from pipeline.teacher_files.reading import read as read_file
from pipeline.teacher_files.schema import digest_of
from pipeline.train_settings import NO_FOLD
from pipeline.training import Start, Trained
from pipeline.training.inference import CHUNK

if TYPE_CHECKING:
    from pipeline.engine.packs import PlannedPack


def run_record(pack: PlannedPack, run: PlannedRun, data: cache.Data) -> Record:
    """What is on record of a run that begins."""
    of = pack.data_set
    of_files = list(filter(is_teacher_file, run.parents))
    return Record(
        folder=run.folder,
        role=run.role,
        corpus=of.corpus,
        dataset=of.dataset,
        synthetic=of.synthetic,
        model=run.network.model,
        preset=run.settings.preset,
        fold=run.fold,
        seed=run.seed,
        recorded_mix=str(run.mix),
        recorded_settings={name: dataclasses.asdict(getattr(run.settings, name)) for name in config.KINDS},
        result=Result(UNFINISHED),
        all_folds=of.all_folds,
        data={int(fold): digest for fold, digest in data.digests.items()},
        skipped={int(fold): count for fold, count in data.skipped.items()},
        classes=subsets.names(run, data.classes),
        shape=tuple(data.features.shape[2:]),
        slug=run.mix.slug,
        teacher=run.teachers or None,
        start=run.start,
        base=run.base,
        generation=run.generation,
        lineage=lineage(run.parents),
        teacher_weights={parent: digest_of_teacher(parent) for parent in run.parents},
        trusted=unsaid(run.parents),
        without=run.without,
        crossed=run.crossed,
        firsts=run.firsts,
        contents={} if [path for path, _ in run.contents] == of_files else dict(run.contents),
        experiment=run.experiment,
        step=run.step,
        pack=Pack(
            len(pack.runs), pack.layout, pack.device, torch.get_num_threads(), pack.repeats, pack.measured, pack.live
        ),
        identity=run.identity,
        plugins=plugins.digests(files_of(run, of.dataset)),
        chosen=run.settings.chosen,
        peer=next((one.folder for one in run.cohort if one.step == run.peer), None),
        several_labels=bool(data.label_sets),
    )


def files_of(run: PlannedRun, dataset: str) -> list[tuple[str, str]]:
    """(kind, name) of the files that may be a user's own: its losses, networks and data set, and the experiment."""
    return [
        *(("losses", term.name) for term in run.mix.terms),
        *(("models", network.model.partition("+")[0]) for network in (run.network, run.settings.teacher)),
        ("corpus", dataset),
        ("experiments", run.experiment),
    ]


def lineage(parents: Sequence[Path]) -> tuple[Path, ...]:
    """The run folders that a run behind ``parents`` goes back to, from the first ancestor to the parents themselves."""
    folders = [parent for parent in parents if not is_teacher_file(parent)]
    return tuple(dict.fromkeys(run for folder in folders for run in (*runs.read(folder).lineage, folder)))


def digest_of_teacher(teacher: Path) -> str:
    """Of a run's weights, of a file's content."""
    if is_teacher_file(teacher):
        return digest_of(teacher)
    return weights_of(teacher, stamp(teacher / "model.pt"))


@functools.lru_cache(maxsize=128)
def weights_of(folder: Path, _state: Stamp) -> str:
    """``weights_digest`` of a run; ``_state``: the ``stamp`` of its ``model.pt``."""
    return weights_digest(read_model(folder))


def write_start(record: Record) -> None:
    """The record of a run that has begun: who follows it knows what it is."""
    runs.write_atomic(record.folder / "config.json", runs.json_bytes(runs.config_of(record)))
    runs.write_atomic(record.folder / "environment.json", runs.json_bytes(runs.environment()))


def write_run(run: PlannedRun, record: Record, data: cache.Data, trained: Trained) -> None:
    """All files of a finished run; a run that failed is written too, with its reason in place of an accuracy.

    ``record`` is its ``run_record`` from before the training: a teacher may be another one by now.
    """
    test, labels = subsets.held_out(run, data)
    # A run that failed in its first epoch was never tested.
    logits = trained.logits if len(trained.logits) else np.full((len(test), len(record.classes)), np.nan, np.float32)
    payload = payload_of(record, data, trained)
    result = dataclasses.replace(
        result_of(run, record, trained, data, logits, labels),
        runs_in_pack=record.pack.runs,
        weights=weights_digest(payload),
    )
    model = io.BytesIO()  # torch hides what the system says to its writing
    torch.save(payload, model)
    runs.restart_metrics(run.folder, trained.history, record.identity)
    runs.write_finished(
        run.folder,
        config=runs.config_of(record),
        environment=runs.environment(),
        model_bytes=lambda file: file.write(model.getbuffer()),
        predictions=runs.Predictions(
            np.array([data.clips[i] for i in test]), labels, logits, np.array([data.sources[i] for i in test])
        ),
        result=runs.result_of(result),
    )


def answer_of(
    teachers: Sequence[Path],
    fold: int,
    clips: Clips,
    average: str = "probabilities",
    told: Callable[[Path], np.ndarray] | None = None,
) -> np.ndarray | None:
    """What the teachers, as one, say of the held-out clips (clips, classes); None of none, or where a file says nothing of them.

    ``average``: the setting ``teacher_average``, what their one answer is the mean of. ``told``: what a run says, if not
    what it predicted after its last epoch.
    """
    runs_alone = [teacher for teacher in teachers if not is_teacher_file(teacher)]
    files = [held_out_logits(read_file(path), fold, clips) for path in teachers if is_teacher_file(path)]
    if not teachers or any(logits is None for logits in files):
        return None
    if told is None and not files and (average == "probabilities" or len(teachers) == 1):
        return ensembles.ensemble(teachers, rows=True).logits
    each = [
        *(told(folder) if told else runs.read_rows(folder).logits for folder in runs_alone),
        *(logits for logits in files if logits is not None),
    ]
    together = (
        np.stack(each).astype(np.float64).mean(0) if average == "logits" else ensembles.mean_log_probabilities(each)
    )
    return together.astype(np.float32)


@torch.no_grad()
def logits_at(folder: Path, epoch: str, data: cache.Data, test: np.ndarray) -> np.ndarray:
    """What a run says with the weights of an epoch of the clean clips ``test``: (clips, classes) float32."""
    network = model_of(read_model(folder), epoch)
    parts = torch.from_numpy(np.ascontiguousarray(clean(folder, data, test))).split(CHUNK)
    return torch.cat([network(part).logits for part in parts]).float().numpy()


def clean(folder: Path, data: cache.Data, test: np.ndarray) -> np.ndarray:
    """(clips, feature, bin, frame) of the clean clips ``test`` of a fold in the features of a run, which may be others than ``data``."""
    spec = runs.read(folder).settings.features
    if not isinstance(data.spec, FeatureSpec) or spec == data.spec:
        return data.features[test, 0]
    fold = int(data.folds[test[0]])
    rows = np.searchsorted(np.flatnonzero(data.folds == fold), test)
    return cache.read_fold(cache.fold_path(places.cache(), data.corpus, spec, fold)).features[rows, 0]


def result_of(
    run: PlannedRun, record: Record, trained: Trained, data: cache.Data, logits: np.ndarray, labels: np.ndarray
) -> Result:
    """The figures of the last epoch's outputs (clips, classes) on the held-out clips."""
    history = trained.history
    score = "map" if record.several_labels else "accuracy"
    best = evaluation.best_epoch(history, score)
    untested = run.fold == NO_FOLD and not len(labels)
    if untested:
        best, figures = {score: None, "epoch": None}, Result("all folds")
    else:
        clips = clips_of(data, record.data_set, subsets.chosen(run, data.classes))
        figures = held_out_result(run, clips, data, logits, labels)
    network = models.network(record.model, record.shape, len(record.classes))
    not_finite = "" if np.isfinite(logits).all() else "the outputs are not finite; try a lower learning rate"
    reached = best[score] if figures.test_windows is None else None  # epochs are tested by windows
    result = dataclasses.replace(
        figures,
        best_accuracy=None if record.several_labels else reached,
        best_map=reached if record.several_labels else None,
        best_epoch=best["epoch"],
        epochs=len(history),
        parameters=models.parameters(network),
        terms=trained.terms,
        seconds=round(trained.seconds, 2),
        failure=trained.failure or not_finite,
    )
    if result.failure:
        return dataclasses.replace(result, status="failed", accuracy=None, map=None)
    return result if untested or run.mix.names_classes else dataclasses.replace(result, status="outputs untrained")


def held_out_result(run: PlannedRun, clips: Clips, data: cache.Data, logits: np.ndarray, labels: np.ndarray) -> Result:
    """What the held-out clips say of a run, beside its teacher's answers."""
    # Of the held-out clips no cross-fitted one speaks; of several labels nobody names one class, in which they could agree.
    taught_by = () if run.crossed or data.label_sets else subsets.alike(run, data)
    epoch, (test, _) = run.network.teacher_epoch, subsets.held_out(run, data)
    told = None if epoch == LAST else partial(logits_at, epoch=epoch, data=data, test=test)
    teacher = answer_of(taught_by, run.fold, clips, run.network.teacher_average, told)
    return figures_of(np.array([data.clips[row] for row in test]), labels, logits, teacher)


def figures_of(names: np.ndarray, labels: np.ndarray, logits: np.ndarray, teacher: np.ndarray | None) -> Result:
    """``evaluation.summary`` of held-out clips; where they are windows of long files, of these, with the windows' accuracy beside it."""
    whole = by_clip(Predictions(names, labels, logits, names))
    if whole.clips is names:
        return evaluation.summary(logits, labels, teacher)
    of_files = None if teacher is None else by_clip(Predictions(names, labels, teacher, names)).logits
    figures = evaluation.summary(whole.logits, whole.labels, of_files)
    by_window = None if labels.ndim == 2 else evaluation.accuracy(logits, labels)
    return dataclasses.replace(figures, window_accuracy=by_window, test_windows=len(labels))


def payload_of(record: Record, data: cache.Data, trained: Trained) -> dict[str, Any]:
    """What ``model.pt`` holds."""
    return {
        "format": saved.FORMAT,
        "identity": record.identity,
        "role": record.role,
        "model": record.model,
        "fold": record.fold,
        "seed": record.seed,
        "mix": record.recorded_mix,
        "shape": list(record.shape),
        "classes": list(record.classes),
        "features": dataclasses.asdict(data.spec),
        "corpus": record.corpus,
        "dataset": record.dataset,
        "synthetic": record.synthetic,
        "state": trained.state,
        "best_state": trained.best_state,
        **({"adapters": trained.adapters} if trained.adapters else {}),
        **({"several_labels": True} if record.several_labels else {}),
        **({"kept": {str(epoch): state for epoch, state in trained.kept.items()}} if trained.kept else {}),
    }


def read_model(folder: Path) -> dict[str, Any]:
    """``model.pt`` of a finished run: weights, feature settings, class names; loaded without running any code."""
    if not runs.finished(folder):
        raise InputError(
            f"{folder}: no finished run there (no result.json); expected a run folder such as "
            "runs/CORPUS/teacher-…/fold1-seed0"
        )
    return read_weights(folder)


def start_of(folder: Path) -> Start:
    """The weights of a finished run, for one that starts from it."""
    payload = read_model(folder)
    return Start(payload["state"], payload.get("adapters", {}))


def model_of(payload: dict[str, Any], epoch: str = "last") -> models.Network:
    """The network of a ``model.pt``, in evaluation mode, with the weights of the last, the best or a kept epoch."""
    return saved.network_of(payload, epoch)
