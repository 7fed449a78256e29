"""What a threshold refuses of what is none of the classes: noise, made-up sounds, and clips of a class that a student never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import soxr
import torch

from pipeline import cache, features, runs
from pipeline.config import FeatureSpec, Settings
from pipeline.corpus import Corpus, made_up
from pipeline.corpus.made_up.recipes import RECIPES, SR, rush
from pipeline.deploy.final import training
from pipeline.engine.source import Source
from pipeline.figures import refusing, uncertainty
from pipeline.losses import LossMix
from pipeline.models import Network
from pipeline.models.saved import network_of
from pipeline.runs import Record
from pipeline.runs.weights import read_weights

#: Clips of each kind of noise, and made-up recordings of each recipe.
NOISES, TAKES = 20, 2

#: Kind of noise → its slope in dB per octave.
SLOPES = {"white noise": 0.0, "pink noise": -3.0, "brown noise": -6.0}

#: Classes that a student is trained without, in turn.
CLASSES = 3

Detected = dict[str, dict[str, float]]


@torch.no_grad()
def logits_of(network: Network, values: np.ndarray, chunk: int = 32) -> np.ndarray:
    """(clips, classes) float32 of features (clips, features, bins, frames)."""
    parts = torch.from_numpy(np.ascontiguousarray(values)).split(chunk)
    return torch.cat([network(part).logits for part in parts]).numpy()


def scores_of(network: Network, values: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """(clips,) largest probabilities of features (clips, features, bins, frames); of files where ``names`` are windows of them."""
    logits = logits_of(network, values)
    if names:
        told = np.array(names)
        logits = runs.by_clip(runs.Predictions(told, np.zeros(len(told), np.int64), logits, told)).logits
    return refusing.surest(logits)


def sounds(spec: FeatureSpec) -> dict[str, np.ndarray]:
    """Kind → (clips, samples) float32 at the features' rate: noise of three colours at several levels, and made-up sounds."""
    each: dict[str, list[np.ndarray]] = {}
    for place, (kind, slope) in enumerate(SLOPES.items()):
        for number in range(NOISES):
            rng = np.random.default_rng([2, place, number])
            level = 10 ** (-rng.uniform(6, 46) / 20)
            each.setdefault(kind, []).append(fitted(level / 4 * rush(rng, slope), spec))
    for label in range(len(RECIPES)):
        for take in range(TAKES):
            sound, _ = made_up.recording(label, np.random.default_rng([3, label, take]))
            each.setdefault("made-up sounds", []).append(fitted(0.5 * sound, spec))
    return {kind: np.stack(clips) for kind, clips in each.items()}


def clean(spec: FeatureSpec) -> FeatureSpec:
    """The settings of clean clips."""
    return replace(spec, noise_std=0.0)


def fitted(sound: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """(samples,) float32 of a sound at the recipes' rate: resampled, cut or repeated, within full scale."""
    return np.resize(soxr.resample(sound, SR, spec.sr), spec.samples).clip(-1, 1).astype(np.float32)


def of_sounds(network: Network, spec: FeatureSpec, limit: float) -> Detected:
    """What a network with a threshold refuses of noise and made-up sounds."""
    detected: Detected = {}
    for kind, clips in sounds(spec).items():
        scores = scores_of(network, features.extract(clips, clean(spec)))
        detected[kind] = {"refused": refusing.refused(scores, limit), "clips": len(scores)}
    return detected


def left_out_classes(corpus: Corpus) -> list[int]:
    """The classes that are left out in turn: evenly over the list; none where fewer than two others would be left."""
    there = sorted({clip.label for clip in corpus.clips})
    if len(there) < 3:
        return []
    places = np.linspace(0, len(there) - 1, min(CLASSES, len(there))).round().astype(int)
    return [there[place] for place in places]


def without_classes(
    corpus: Corpus, settings: Settings, mix: LossMix, source: Source, seed: int, how: Mapping[str, Any]
) -> Detected:
    """For each left-out class: teacher and student of the other classes, trained on all folds but one; what its threshold, by the known
    clips of that fold, refuses of the class' clips there, and how well its probabilities tell the two (AUROC)."""
    detected: Detected = {}
    for label in left_out_classes(corpus):
        fold = next(clip.fold for clip in corpus.clips if clip.label == label)
        kept = ",".join(str(other) for other in range(len(corpus.classes)) if other != label)
        fewer = replace(
            settings,
            teacher=replace(settings.teacher, classes=kept),
            student=replace(settings.student, classes=kept),
        )
        folder = training.trained(training.levels_of(corpus, fewer, mix, fold, seed), source, how)
        known = refusing.surest(runs.read_predictions(folder).logits)
        record = runs.read(folder)
        unseen = scores_of(network_of(read_weights(folder)), *clips_of(record, source, label))
        limit = refusing.threshold(known)
        both, is_unseen = np.concatenate([known, unseen]), np.arange(len(known) + len(unseen)) >= len(known)
        detected[f"{corpus.classes[label]}, never heard"] = {
            "refused": refusing.refused(unseen, limit),
            "clips": len(unseen),
            "auroc": uncertainty.auroc(-both, is_unseen),
            "fold": fold,
        }
    return detected


def clips_of(record: Record, source: Source, label: int) -> tuple[np.ndarray, list[str]]:
    """(clips, features, bins, frames), the clean clips of a class in a run's held-out fold; and their names."""
    assert isinstance(source.files, tuple)  # of sounds
    (path,) = [path for path in source.files if cache.read_header(path).fold == record.fold]
    fold = cache.read_fold(path)
    rows = np.flatnonzero(np.array(fold.header.labels) == label)
    return fold.features[rows, 0], [fold.header.clips[row] for row in rows]


def scores_by_fold(records: Sequence[Record]) -> dict[int, np.ndarray]:
    """Fold → largest probabilities of its held-out clips, of all runs that hold it out."""
    by_fold: dict[int, list[np.ndarray]] = {}
    for record in records:
        by_fold.setdefault(record.fold, []).append(refusing.surest(runs.read_predictions(record.folder).logits))
    return {fold: np.concatenate(each) for fold, each in sorted(by_fold.items())}
