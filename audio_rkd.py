"""The Python API that is promised: ``import audio_rkd as rkd``.

Plain functions over what the command line does: the same settings, fold, seed and teacher give the same numbers as the commands,
on the same CPU with the same versions the same bits. What is not here may change with any version.

In the order of use: ``settings``, ``corpus``, ``features`` of a sound or ``compute_features`` of all, ``fold``, ``fit``, ``evaluate``,
``predict``, ``save`` and ``load`` (docs/api.md has each in ten lines); ``network``, ``mix`` and ``loss`` for a loop of one's own.

A wrong value is ``InputError``: one line with the value, what was expected and the remedy; an argument of another type than stated may be
Python's own ``TypeError``. Folders (``cache``, ``data``) are those of the working folder, as for the commands. Samples are float32 in units of full scale (−1 to 1),
accuracies shares in [0, 1], times seconds. Nothing but what is asked for is imported, so that ``import audio_rkd`` is quick.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import __version__ as __version__
from pipeline.errors import InputError as InputError
from pipeline.plurals import many

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from pipeline.config import FeatureSpec, Settings, TrainSettings
    from pipeline.corpus import Corpus
    from pipeline.deploy.prediction import Prediction
    from pipeline.engine.arrays import Fold
    from pipeline.engine.model import Model
    from pipeline.losses import LossMix
    from pipeline.models import Network, Outputs
    from pipeline.runs import Result

    Place = str | Path
    Taught = Model | Place | Sequence[Model | Place] | Mapping[str, np.ndarray]

#: Types, by the module that they come from when they are asked for.
LATER = {
    "pipeline.config": ("FeatureSpec", "Settings", "TrainSettings"),
    "pipeline.corpus": ("Corpus",),
    "pipeline.deploy.prediction": ("Prediction",),
    "pipeline.engine.arrays": ("Fold",),
    "pipeline.engine.model": ("Model",),
    "pipeline.losses": ("LossMix",),
    "pipeline.models": ("Network", "Outputs"),
    "pipeline.runs": ("Result",),
}
TYPES = {name: module for module, names in LATER.items() for name in names}

__all__ = (
    *"settings corpus features compute_features fold fold_of network networks mix losses loss fit evaluate predict save load".split(),
    *("InputError", *TYPES),
)


def __getattr__(name: str) -> Any:
    if name not in TYPES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; there are {', '.join(__all__)}")
    return getattr(importlib.import_module(TYPES[name]), name)


def settings(preset: Place = "default", *changes: str) -> Settings:
    """How everything is done: the tables ``features``, ``teacher`` and ``student`` of a preset's name or TOML file.

    ``changes``: ``"student.lr=0.002"``, as ``--set`` takes them (TABLE.KEY=VALUE; ``audio-rkd settings`` prints all keys with
    their meaning). They are frozen: ``dataclasses.replace`` makes others.

    ``InputError`` for a preset, table, key or value that is not known.
    """
    from pipeline import config

    return config.read(str(preset), changes)


def corpus(dataset: str = "auto", data: Place | None = None) -> Corpus:
    """Which clips there are, with labels, folds and recordings; nothing is decoded.

    ``dataset``: as ``--dataset`` ("urbansound8k", "esc50", "folder", "synthetic", …); ``data``: its folder, by default that of the
    data set in ``data/``. The built-in made-up corpus is written first where it is not there. What is to be known of it (made-up,
    recordings in several folds) is a line on standard error.

    ``InputError`` for a folder, table, row or file that is missing or wrong.
    """
    from pipeline.corpus import opening

    opened, note = opening.open_or_make(dataset, None if data is None else Path(data))
    if note:
        print(note, file=sys.stderr, flush=True)
    return opened


def features(sound: Place | np.ndarray, spec: FeatureSpec | None = None) -> np.ndarray:
    """LibROSA's features of one clip: (feature, bin, frame) float32, as stage one keeps its clean view.

    ``sound``: a file of any format and rate, mixed to one channel, resampled to ``spec.sr``, cut or filled up to ``spec.seconds``;
    or samples (n,) or (clips, n), floating-point in units of full scale at ``spec.sr``, which are taken as they are: the result is
    then (feature, bin, 1 + n // hop_length), with clips in front. ``spec``: ``settings(…).features``, by default that of the
    paper's geometry: five features of 20 bins, of 4 s 173 frames. Units: dB (mfcc, melspectrogram), 0 to 1 (chromagrams), 1 (pcen, from 0).

    ``InputError`` for a file that is missing, damaged or no sound, for samples that are not finite, and settings that do not fit.
    """
    from pipeline import audio, config
    from pipeline import features as stage

    spec = spec or config.FeatureSpec()
    if isinstance(sound, str | Path):
        sound = audio.read_clip(Path(sound), sr=spec.sr, samples=spec.samples, short=spec.short)
    return stage.extract(sound, spec)


def compute_features(corpus: Corpus, settings: Settings, *, folds: Sequence[int] | None = None, jobs: int = 1) -> Path:
    """Stage one, as ``audio-rkd features``: what is missing of all clips' features is computed, one HDF5 file per fold in ``cache/``.

    ``jobs``: processes, −1 for one per core. Returns the folder. Progress goes to standard error.

    ``InputError`` naming the clips that could not be read; the others are kept.
    """
    from pipeline import config, places
    from pipeline.extraction import stage

    spec = config.for_corpus(settings, corpus.seconds).features
    reports = stage.extract_corpus(corpus, spec, places.cache(), folds=folds, jobs=jobs, progress=sys.stderr)
    if failed := [failure for report in reports for failure in report.failed]:
        first = failed[0]
        raise InputError(
            f"{len(failed):,} of {many(sum(report.clips for report in reports), 'clip')} failed, {first.clip} the first of them: {first.reason}; "
            "the others are kept. Repair or replace them and call it again, or leave them out: audio-rkd features --on-error skip"
        )
    return reports[0].path.parent


def fold(corpus: Corpus, settings: Settings, number: int) -> Fold:
    """What is trained on and tested where fold ``number`` is held out, from the features in ``cache/``.

    Its arrays: ``train`` (rows, feature, bin, frame) float32, all views (clean, noisy, …) of the other folds' clips behind each
    other, with ``train_labels`` (rows,) int64 and ``train_clips``; ``test`` (clips, feature, bin, frame), the clean view of the
    held-out fold's, with ``test_labels`` and ``test_clips``; ``classes``, names in the order of the labels. Raw: networks
    standardise by themselves, fitted on the training rows. Of several labels a clip (``several_labels``) labels are (rows, classes), 0 or 1.

    ``InputError`` where the fold or its features are not there, and for files that are not what was written.
    """
    from pipeline import config
    from pipeline.engine import outputs, source
    from pipeline.engine.arrays import Fold

    source.wanted_folds(corpus, [number])
    files = source.feature_files(corpus, config.for_corpus(settings, corpus.seconds))
    data, _, _ = outputs.loaded(files, "cpu", "float32", outputs.stamps(files))
    return Fold(number, data, corpus.dataset)


def fold_of(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    classes: Sequence[str] = (),
    number: int = 1,
    name: str = "arrays",
) -> Fold:
    """Arrays of any program as a ``Fold``: inputs (rows, channel, bin, frame) of any numbers, labels (rows,) from 0 on, or (rows, classes) 0 and 1.

    ``classes``: names in the order of the labels, by default their numbers. ``number`` stands for the held-out fold, ``name`` for the
    corpus; first weights are of (seed, ``number``). Recordings that ``train`` and ``test`` share make figures too good, unseen here.

    ``InputError`` for shapes that do not fit together and values that are not finite.
    """
    from pipeline.engine import arrays

    return arrays.of_arrays(train, train_labels, test, test_labels, classes=classes, number=number, name=name)


def network(name: str, shape: Sequence[int], classes: int, *, seed: int = 0, fold: int = 0) -> Network:
    """A network (one of ``networks()``) with the first weights of (seed, fold): a ``torch.nn.Module``.

    ``shape``: (feature, bin, frame). It takes raw inputs (B, feature, bin, frame) and gives ``Outputs`` by name: ``logits``
    (B, classes), ``embedding`` (B, D), which relational losses read, ``hidden``, ``map1``, … Its buffers ``mean`` and ``std``
    (feature, bin, 1) standardise the input; ``fit`` sets them.

    ``InputError`` for an unknown name, an input that is too small, and no class.
    """
    from pipeline import models

    return models.network(name, shape, classes, seed=seed, fold=fold)


def networks() -> tuple[str, ...]:
    """The names of all networks."""
    return importlib.import_module("pipeline.models").names()  # type: ignore[no-any-return]


def mix(text: str) -> LossMix:
    """Losses with weights, as ``--losses`` takes them: "angle,area", "hinton:1@T=4,ce:0.5"; ``soft:1`` is added unless soft or ce is named.

    Without weights a row of the paper's Table 3 gets the paper's. Equal mixes are equal values; ``str`` gives the whole text back.

    ``InputError`` for a term, option or number that is not known.
    """
    from pipeline.losses import LossMix

    return LossMix.parse(text)


def losses() -> tuple[str, ...]:
    """The names of all terms of mixes; ``audio-rkd distill --explain`` has their formulas."""
    return importlib.import_module("pipeline.losses").names()  # type: ignore[no-any-return]


def loss(name: str, student: Outputs, teacher: Outputs | None, labels: Tensor, **options: Any) -> Tensor:
    """One term of a mix on one batch, for a training loop of one's own: a scalar, or one value per run.

    ``student`` and ``teacher``: what networks say of the batch, with ``embedding`` (…, B, D) and ``logits`` (…, B, classes);
    ``labels`` (…, B) int64, or (…, B, classes) of 0 and 1 (``ce``: the binary cross-entropy); leading axes are runs, and are kept.
    Nothing flows into the teacher. ``options``: of the term, such as ``T=4.0``.

    ``InputError`` for an unknown name, labels of another shape or kind, a teacher of other rows, and none where the term reads one.
    """
    from pipeline.losses import direct

    return direct.one_batch(name, student, teacher, labels, **options)


def fit(
    fold: Fold,
    mix: LossMix | str,
    settings: TrainSettings,
    *,
    teacher: Taught | None = None,
    seed: int = 0,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Model:
    """Train a network on all folds but ``fold``, in memory; nothing is written, and the last epoch is the result.

    ``settings``: ``settings(…).teacher`` or ``.student``. ``teacher``: a ``Model`` of the same fold, a run's folder or ``model.pt``;
    several are an ensemble; or what any program says of ``fold.train``, name → array (rows, …) in its order: ``logits``
    (rows, classes), ``embedding`` (rows, D). A mix that reads no teacher ("ce") needs none. ``on_epoch`` is given each epoch's record, as in
    ``metrics.jsonl``: epoch (from 1), lr, loss, terms, train_accuracy, accuracy (held-out clips; of several labels ``map`` for both), test_loss, seconds.

    Its ``weights`` are the digest in ``result.json`` of ``audio-rkd teacher`` and ``distill`` with the same settings, fold, seed
    and teacher. ``InputError``, before anything is trained, for a teacher that has seen the held-out clips or says nothing of these inputs, and
    for settings that do not go together; and where the loss stops being finite.
    """
    from pipeline.engine import in_memory, model

    taught: Any = teacher if isinstance(teacher, Mapping) else model.several(teacher)
    return in_memory.fit(fold, mix, settings, teacher=taught, seed=seed, device=device, on_epoch=on_epoch)


def evaluate(model: Model | Place, fold: Fold, *, teacher: Model | Place | None = None) -> Result:
    """Figures of a model on the clean clips of its held-out fold, in [0, 1]: ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``ece``; ``nll`` in nats.

    Of windows of long files the figures are of the files, and ``window_accuracy`` of the windows. ``teacher``: also ``agreement``, the
    share of clips that both name alike. ``status``: "trained", or "did not train" where it is no better than chance (binomial test).
    Of several labels a clip: ``map`` (nan where no held-out clip has a class), ``chance`` (no more "did not train") and ``nll`` (binary); the others are None.

    ``InputError`` for a model that was trained on the fold's clips, and one of another corpus, other features or clips.
    """
    from pipeline.engine.evaluating import evaluated
    from pipeline.engine.model import given

    return evaluated(given(model), fold, None if teacher is None else given(teacher))


def predict(model: Model | Place | Sequence[Model | Place], sound: Place | np.ndarray) -> Prediction:
    """What a model, or several that vote, says of a sound of any length, window by window, as ``audio-rkd predict``.

    ``sound``: a file of any format and rate, or samples (n,) floating-point in units of full scale at the rate of the model's features.
    The ``Prediction`` has ``probabilities`` (windows, classes), ``times``, start and end of each window in seconds, and ``logits``
    (models, windows, classes).

    ``InputError`` for what is no sound, and models of other classes or features that are to vote together.
    """
    from pipeline.deploy.in_memory import predicted
    from pipeline.engine.model import several

    return predicted(several(model), sound)


def save(model: Model, path: Place) -> Path:
    """Write a model as a ``.pt`` file that ``load``, ``audio-rkd predict`` and ``export`` take; in full or not at all."""
    from pipeline.engine import model as models

    return models.save(models.given(model), Path(path))


def load(path: Place) -> Model:
    """The model in a run's folder or a ``.pt`` file, with the weights of its last epoch.

    ``InputError`` where there is none, and where it is not what was written.
    """
    from pipeline.engine import model as models

    return models.load(Path(path))
