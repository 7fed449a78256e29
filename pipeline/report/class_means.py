"""A run's network on its own classes and its teacher's: nearest class means, their harmonic mean, and whether λ tells these classes apart.

Centres are of the clips that the run trained on, and for the teacher's other classes of theirs in the same folds; they are tried on the run's
own held-out fold. λ of ``local`` falls as the teacher's own doubt grows, so its AUC is that of the doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import cache, runs
from pipeline.config import InputError
from pipeline.errors import Damaged
from pipeline.figures import other_classes as figures
from pipeline.report.features_of import features_of
from pipeline.runs import Record
from pipeline.teacher_files import is_teacher_file

#: What is measured of a run, shares in [0, 1].
MEASURED = ("ncm", "old", "new", "harmonic", "auc_training", "auc_held_out")


def measured(record: Record, taught: Sequence[str]) -> dict[str, float]:
    """``MEASURED`` of a run, whose teacher knows the classes ``taught``. ``Damaged`` where its files cannot be read."""
    data = data_of(record)
    own, old = (
        [data.classes.index(name) for name in names]
        for names in (record.classes or data.classes, taught or data.classes)
    )
    train, known = training_rows(record, data, [*own, *(label for label in old if label not in own)])
    test = np.flatnonzero((data.folds == record.fold) & np.isin(data.labels, [*own, *old]))
    values = outputs_of(
        record.folder, data, np.concatenate([train, test * data.features.shape[1]]), "embedding", "last"
    )
    learned, asked, labels = values[: len(train)], values[len(train) :], data.labels[test]
    if not np.isfinite(values).all():
        return dict.fromkeys(MEASURED, np.nan)
    centres = figures.centres(learned, known, len(data.classes))
    alone = centres.copy()
    alone[[label for label in range(len(centres)) if label not in own]] = np.nan
    among_both = figures.nearest(asked, centres)
    accuracies = {
        "ncm": figures.accuracy_of(figures.nearest(asked, alone), labels, own),
        "old": figures.accuracy_of(among_both, labels, old),
        "new": figures.accuracy_of(among_both, labels, own),
    }
    harmonic = figures.harmonic_mean(accuracies["old"], accuracies["new"])
    return {**accuracies, "harmonic": harmonic, **separation(record, data, own, old)}


def data_of(record: Record) -> cache.Data:
    """What a run was trained and tested on. ``Damaged`` where its features are gone or changed."""
    try:
        return features_of(record)
    except InputError as error:
        raise Damaged(str(error)) from None


def training_rows(record: Record, data: cache.Data, classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of some classes that a run like this one would train on, and their labels in the corpus, as it learns them: (rows,) each."""
    from pipeline.engine import tasks

    whole = len(classes) == len(data.classes)
    settings = replace(record.trained_by, classes="" if whole else ",".join(map(str, classes)))
    task = tasks.task(data, record.fold, record.seed, settings, record.without)
    places = task.known(data.labels.repeat(data.features.shape[1]))[task.train]
    return task.train, places if whole else np.asarray(classes)[places]


def outputs_of(folder: Path, data: cache.Data, rows: np.ndarray, name: str, epoch: str) -> np.ndarray:
    """What a run's network says of some rows: (rows, D)."""
    import torch

    from pipeline import training
    from pipeline.engine import packs
    from pipeline.engine.records import model_of, read_model

    values, _ = packs.samples(data, torch.device("cpu"))
    told = training.outputs(model_of(read_model(folder), epoch), values, rows, (name,))
    return told[name][torch.from_numpy(rows)].numpy()


def separation(record: Record, data: cache.Data, own: Sequence[int], old: Sequence[int]) -> dict[str, float]:
    """AUC of λ for clips of classes that the teacher knows against others of the student's own: those that it trains on, and held-out
    ones. NaN where the term ``local`` with λ is not learned, where all or none of the classes are known, and of several teachers."""
    names = ("auc_training", "auc_held_out")
    if not weighs(record) or len(record.teachers) != 1 or is_teacher_file(record.teachers[0]):
        return dict.fromkeys(names, np.nan)
    test = np.flatnonzero((data.folds == record.fold) & np.isin(data.labels, own))
    train, known = training_rows(record, data, own)
    epoch = record.trained_by.teacher_epoch
    both = (train, known), (test * data.features.shape[1], data.labels[test])
    teacher = runs.read(record.teachers[0])
    return {name: auc_of_weights(teacher, epoch, *one, old) for name, one in zip(names, both)}


def auc_of_weights(teacher: Record, epoch: str, rows: np.ndarray, labels: np.ndarray, known: Sequence[int]) -> float:
    import torch

    from pipeline.figures.uncertainty import auroc  # scipy: reports of other runs do without
    from pipeline.losses.local import doubt

    doubts = doubt(torch.from_numpy(outputs_of(teacher.folder, data_of(teacher), rows, "logits", epoch)))
    return auroc(-doubts.numpy(), np.isin(labels, known))


def weighs(record: Record) -> bool:
    """Whether a term of the mix weighs clips by λ."""
    terms = record.mix.terms if record.mix else ()
    return any(term.name == "local" and term.arguments.get("adaptive", "batch") != "off" for term in terms)
