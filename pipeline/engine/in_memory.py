"""One training in memory, on a fold's arrays: what a pack does for run folders (``packs``), without any folder.

The same settings, fold, seed and teacher give the same weights as the commands, bit for bit on a CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import class_subsets, config, models, samplers, training
from pipeline.config import FeatureSpec, InputError, TrainSettings
from pipeline.engine import subsets, tasks
from pipeline.engine.arrays import Fold, OfArrays, array_of
from pipeline.engine.augmented import augmentation
from pipeline.engine.model import Model
from pipeline.engine.outputs import samples
from pipeline.engine.records import payload_of
from pipeline.images import samples as images
from pipeline.losses import LossMix
from pipeline.losses.adapting import needs_with
from pipeline.losses.mixable import taught_live
from pipeline.losses.needs import MEMBERS, Needs
from pipeline.losses.several import require_several
from pipeline.models import Outputs
from pipeline.models.saved import network_of
from pipeline.plurals import many
from pipeline.runs import Record, Result
from pipeline.runs.record import UNFINISHED
from pipeline.training import Live, Run, Stored, Task, inference
from pipeline.training.dropout import before_output, output_layers
from pipeline.training.members import as_one, side_by_side

#: Who teaches: models, or what any program says of the training rows, by name.
Teacher = Sequence[Model] | Mapping[str, np.ndarray]


def fit(
    fold: Fold,
    mix: LossMix | str,
    settings: TrainSettings,
    *,
    teacher: Teacher = (),
    seed: int = 0,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Model:
    """The network of ``settings``, trained on all folds but ``fold`` under ``mix``; see ``audio_rkd.fit``."""
    mix = LossMix.parse(mix) if isinstance(mix, str) else mix
    require(fold, mix, settings, seed, device)
    role = "student" if len(teacher) else "teacher"
    mix.require(settings)
    if fold.several_labels:
        require_several(mix, settings, where=fold.data.corpus)
    count = subsets.count(settings, fold.classes)
    samplers.check_classes(settings.sampler, settings.batch, count, "settings")
    task = tasks.task(fold.data, fold.number, seed, settings)
    require_batch(fold, task, settings)
    values, labels = samples(fold.data, torch.device(device), settings.data)
    run = Run(fold.number, seed, mix, task)
    own = class_subsets.names(settings.classes, fold.classes, seed)
    taught = teaching(fold, run, settings, teacher, values, labels, own) if mix.needs_teacher else None
    if isinstance(fold.data.spec, OfArrays) and settings.augment != "none":
        raise InputError(
            f"augment = {settings.augment!r} is of LibROSA's features, and these arrays are your own; expected 'none'"
        )
    (trained,) = training.fit(
        values,
        labels,
        [run],
        settings,
        classes=count,
        teaching=taught,
        device=values.device,
        on_epoch=None if on_epoch is None else lambda _, record: on_epoch(record),
        say=lambda line: None,
        augment=augmentation(settings, fold.data, values.device),
        per=images.standardised_per(fold.data),
    )
    if trained.failure:
        raise InputError(f"{settings.model} of {mix}: {trained.failure}")
    payload = payload_of(record_of(fold, mix, settings, role, seed, own), fold.data, trained)
    digests = {int(part): digest for part, digest in fold.data.digests.items()}
    return Model(payload, network_of(payload), trained.history, trained.logits, digests)


def require(fold: Fold, mix: LossMix, settings: TrainSettings, seed: int, device: str) -> None:
    """``InputError`` for arguments of other kinds: a caller is no command line, which looks at them before."""
    kinds = (
        (fold, Fold, "fold", "fold(…) or fold_of(…)"),
        (mix, LossMix, "mix", "text such as 'soft,angle', or mix(…)"),
    )
    settings_kind = (settings, TrainSettings, "settings", "settings(…).teacher or settings(…).student")
    for value, kind, name, expected in (*kinds, settings_kind):
        if not isinstance(value, kind):
            raise InputError(f"{name} = {value!r:.80}: expected {expected}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 10**18:
        raise InputError(f"seed = {seed!r}: expected a whole number from 0 on, of at most 18 digits")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"device = {device!r}: expected 'cpu', or 'cuda' on a machine that has one (audio-rkd doctor)")


def record_of(
    fold: Fold, mix: LossMix, settings: TrainSettings, role: str, seed: int, classes: tuple[str, ...]
) -> Record:
    """What ``model.pt`` says of where it is from."""
    data = fold.data
    return Record(
        folder=Path(),
        role=role,
        corpus=data.corpus,
        dataset=fold.dataset,
        synthetic=data.synthetic,
        model=settings.model,
        preset="",
        fold=fold.number,
        seed=seed,
        recorded_mix=str(mix),
        recorded_settings={},
        result=Result(UNFINISHED),
        classes=classes,
        shape=fold.shape,
        several_labels=fold.several_labels,
    )


def require_batch(fold: Fold, task: Task, settings: TrainSettings) -> None:
    """``InputError`` where a batch takes more than there is to train on."""
    there = len(task.train) // task.views
    if not samplers.labelled_of(settings.sampler, settings.batch) and task.unlabelled is not None:
        there += task.unlabelled.size // task.views_unlabelled
    needed = samplers.labelled_of(settings.sampler, settings.batch) or settings.batch
    if there < needed:
        raise InputError(
            f"batch = {settings.batch}: fold {fold.number} trains on {many(there, 'sample')}, no whole batch; expected a smaller one"
        )


def teaching(
    fold: Fold,
    run: Run,
    settings: TrainSettings,
    teacher: Teacher,
    values: Tensor,
    labels: Tensor,
    classes: tuple[str, ...],
) -> Stored | Live:
    """What teaches a run, as ``packs.teaching_of`` has it of run folders: stored arrays, or networks that run in every step."""
    needs = needs_with([run.mix], lambda: models.network(settings.model, fold.shape, len(classes)))
    hidden = {"hidden"} if before_output(settings) else set()
    needs = dataclasses.replace(needs, outputs=tuple(sorted({*needs.outputs, *hidden})))
    if not teacher:
        raise InputError(
            f"mix {run.mix} learns from a teacher, and none is given; expected teacher=…, or a mix such as ce"
        )
    if isinstance(teacher, Mapping):
        if in_every_step(run.mix, settings, needs) or hidden:
            raise InputError(
                "augment, mixup and teacher_dropout change what a teacher hears, and arrays know nothing of it; expected a model, or for "
                "augment teacher_hears = 'views'"
            )
        return of_fold(fold, run, run.mix, teacher, values.device)
    for model in teacher:
        require_teacher(fold, run.mix, model, classes)
    needs.of_teacher(len(teacher), ", ".join(map(str, teacher)))
    networks = [network_of(dict(model.payload), settings.teacher_epoch) for model in teacher]
    live = Live([networks], settings.teacher_average)
    live.require(needs)
    live = live.to(values.device)
    if in_every_step(run.mix, settings, needs):
        return live
    asked = tasks.answered(fold.data, fold.number)
    with training.tuned(values.device, tf32=False):  # what is distilled is not rounded
        if needs.large or needs.heads:
            stored = inference.stored(live, values, [asked], labels, needs, [run.task])
        else:
            names = tuple(sorted({"embedding", "logits", *needs.names} - {MEMBERS}))
            each = [training.outputs(network, values, asked, names) for network in live.teachers[0]]
            together: Outputs = as_one(each, needs.members, settings.teacher_average)
            stored = Stored(side_by_side(iter([together]), 1))
    if hidden:
        stored.layers = output_layers(live.teachers, stored.outputs.hidden)
    return stored


def in_every_step(mix: LossMix, settings: TrainSettings, needs: Needs) -> bool:
    """Whether inputs or labels change in a way that no array knows, as ``room`` has it."""
    dropped = bool(settings.teacher_dropout) and settings.teacher_dropout_at == "stages"
    relabelled = bool(needs.large and needs.constants and settings.label_noise_fixed)
    return settings.taught_on_augmented or (bool(settings.mixup) and taught_live(mix)) or dropped or relabelled


def require_teacher(fold: Fold, mix: LossMix, model: Model, classes: tuple[str, ...]) -> None:
    """``InputError`` for a teacher that may have seen the held-out clips, or says nothing of these inputs or classes."""
    if model.fold != fold.number:
        raise InputError(
            f"the teacher ({model}) is of fold {model.fold}, wanted for fold {fold.number}: it was trained on the clips that are held "
            f"out there; expected one of fold {fold.number}"
        )
    require_same_data(fold, model, "teacher")
    if model.classes != classes and (mix.teacher_reads is None or set(mix.teacher_reads) & set(subsets.OF_CLASSES)):
        raise InputError(
            f"the teacher ({model}) has other classes ({subsets.shown(model.classes)}; here {subsets.shown(classes)}), and {mix} reads "
            "what it says of them; expected the same, or terms that read embeddings or maps, such as angle:50,soft:0"
        )


def require_same_data(fold: Fold, model: Model, name: str) -> None:
    """``InputError`` where a model is of another corpus, other inputs, or clips that were changed since."""
    theirs, ours = model.payload["corpus"], fold.data.corpus
    if theirs != ours:
        raise InputError(f"the {name} ({model}) is of corpus {theirs}, the fold of {ours}; expected one of {ours}")
    if tuple(model.payload["shape"]) != fold.shape or not same_features(model.payload["features"], fold.data.spec):
        raise InputError(
            f"the {name} ({model}) was trained on other features, of shape {tuple(model.payload['shape'])}, than the fold's "
            f"{fold.shape}; expected the same settings of features"
        )
    kinds = ("one label", "several labels")
    if (several := bool(model.payload.get("several_labels"))) != fold.several_labels:
        raise InputError(
            f"the {name} ({model}) learned clips of {kinds[several]} each, and the fold's have {kinds[fold.several_labels]}; "
            "expected one that learned such clips"
        )
    now = {int(part): digest for part, digest in fold.data.digests.items()}
    if model.data is not None and dict(model.data) != now:
        raise InputError(
            f"the {name} ({model}) was trained on other clips than these folds have now, so it may have seen those that are held out; "
            "expected one that was trained on these"
        )


def same_features(theirs: Mapping[str, Any], ours: Any) -> bool:
    """Whether what a model keeps of its features' settings is that of a fold; one of an earlier version keeps fewer of them."""
    if not isinstance(ours, FeatureSpec):
        return dict(theirs) == dataclasses.asdict(ours)
    known = {each.name for each in dataclasses.fields(FeatureSpec)}
    return theirs.keys() <= known and config.build(FeatureSpec, theirs, "features") == ours


def of_fold(fold: Fold, run: Run, mix: LossMix, teacher: Mapping[str, np.ndarray], device: torch.device) -> Stored:
    """What any program says of the training rows, name → (rows, ...) in the order of ``Fold.train``; NaN on all other rows.

    ``InputError`` for other lengths, names, and values that are not finite.
    """
    index, rows = torch.as_tensor(fold.rows[0]), len(fold.rows[0])
    if run.drawn_unlabelled is not None and not set(run.drawn_unlabelled.tolist()) <= set(fold.rows[0].tolist()):
        raise InputError(
            f"mix {mix} learns from clips without a label, of which arrays say nothing; expected a model as teacher"
        )
    whole = {}
    for name, array in teacher.items():
        values = array_of(array, f"teacher[{name!r}]")
        if values.ndim < 2 or len(values) != rows or values.dtype.kind not in "fiu":
            raise InputError(
                f"teacher[{name!r}]: an array {values.shape} of {values.dtype}; expected numbers ({rows}, …), one row for each of train"
            )
        if not np.isfinite(values := values.astype(np.float32)).all():
            raise InputError(f"teacher[{name!r}]: values that are not finite in float32; expected finite numbers")
        whole[name] = torch.full((1, len(fold.data.labels) * fold.views, *values.shape[1:]), torch.nan)
        whole[name][0].index_copy_(0, index, torch.from_numpy(values))
    if "logits" in whole and whole["logits"].shape[2:] != (len(fold.classes),):
        raise InputError(f"teacher['logits'] {np.shape(teacher['logits'])}: expected ({rows}, {len(fold.classes)})")
    return Stored(whole).to(device)
