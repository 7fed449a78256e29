"""What an export is proven on: the held-out clips of a run, and how well its forms tell them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import cache, runs
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus.clips import UNLABELLED
from pipeline.deploy import answers
from pipeline.figures import evaluation
from pipeline.label_sets import mean_average_precision, multi_hot
from pipeline.runs import Record
from pipeline.runs.own_clips import of_fold


@dataclass(frozen=True)
class HeldOut:
    """What a run may be tested on and calibrated with."""

    features: np.ndarray
    """(clip, feature, bin, frame): the held-out fold's clean clips."""
    labels: np.ndarray
    """(clip,) int64; (clip, class), 1 for each class of a clip, where clips have several labels."""
    clips: tuple[str, ...]
    calibration: np.ndarray
    """(n, feature, bin, frame): clips of the training folds, both views."""


def held_out(run: Record, spec: FeatureSpec, cache_root: Path, count: int) -> HeldOut:
    """The held-out clips of a run, and ``count`` samples of its training folds, evenly spread; of its classes alone.

    Raises ``InputError`` where the caches are missing, or hold other features than the run was trained on.
    """
    folds = sorted(run.data)
    paths = {fold: cache.fold_path(cache_root, run.corpus, spec, fold) for fold in folds}
    now = cache.read_digests(paths)
    if reason := runs.outdated(run, data=now):
        folder = paths[run.fold].parent
        raise InputError(f"{run.folder} {reason}, as {folder} has it; expected the same features: train the run again")
    test = cache.read_fold(paths[run.fold], run.trained_by.features_in)
    training = [fold for fold in folds if fold not in (run.fold, UNLABELLED)]
    parts = []
    for place, fold in enumerate(training):
        whole = cache.read_fold(paths[fold], run.trained_by.features_in)
        rows = cache.rows_of_clips(whole.features, of_fold(run, whole.header)[0])
        share = count // len(training) + (place < count % len(training))
        spread = rows[np.linspace(0, len(rows) - 1, min(share, len(rows))).round().astype(int)]
        parts.append(cache.rows_of(whole.features, spread))
    places, labels = of_fold(run, test.header)
    clips = tuple(test.header.clips[place] for place in places)
    if sets := test.header.label_sets:
        labels = multi_hot(sets, len(test.header.classes))[labels].astype(np.int64)
    return HeldOut(test.features[places, 0], labels, clips, np.concatenate(parts))


def of_files(logits: np.ndarray, data: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of clips; of files, as in every report, where clips are windows of them."""
    names = np.array(data.clips)
    whole = runs.by_clip(runs.Predictions(names, data.labels, logits, names))
    return whole.logits, whole.labels


def scores(expected: np.ndarray, floats: np.ndarray, integers: np.ndarray, data: HeldOut) -> dict[str, float]:
    """How well torch, ONNX in float32 and in int8 tell the held-out clips, by their logits (clips, classes), and on how many the latter
    two agree: in the class, or of clips with several labels in all classes that they find."""
    sides = {name: of_files(one, data) for name, one in (("torch", expected), ("float", floats), ("int8", integers))}
    if data.labels.ndim == 2:
        each = {f"map_{name}": mean_average_precision(labels, logits) for name, (logits, labels) in sides.items()}
        return {**each, "agreement_int8": float(answers.same_sets(integers, floats).mean())}
    each = {f"accuracy_{name}": evaluation.accuracy(logits, labels) for name, (logits, labels) in sides.items()}
    return {**each, "agreement_int8": evaluation.agreement(integers, floats)}
