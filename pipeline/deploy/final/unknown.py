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
from pipeline.corpus.windows import name_of
from pipeline.deploy.final import training
from pipeline.engine.source import Source
from pipeline.figures import refusing, uncertainty
from pipeline.losses import LossMix
from pipeline.losses.unlabelled import learns_unlabelled
from pipeline.models import Network
from pipeline.models.saved import network_of
from pipeline.progress import say
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
    return refusing.surest(of_files(logits_of(network, values), names))


def of_files(logits: np.ndarray, names: Sequence[str], several: bool = False) -> np.ndarray:
    """(files, classes) of logits (clips, classes), where ``names`` are windows of files; ``several``: of clips with several labels."""
    if not len(names):
        return logits
    told = np.array(names)
    labels = np.zeros((len(told), logits.shape[1]) if several else len(told), np.int64)
    return runs.by_clip(runs.Predictions(told, labels, logits, told)).logits


def sounds(spec: FeatureSpec, windows: int = 1) -> dict[str, tuple[np.ndarray, list[str]]]:
    """Kind → (clips, samples) float32 at the features' rate, noise of three colours at several levels, and made-up sounds; and their
    names. ``windows``: so many clips behind each other are one sound, as windows are of a file; more than it lasts repeat it."""
    each: dict[str, list[np.ndarray]] = {}
    for place, (kind, slope) in enumerate(SLOPES.items()):
        for number in range(NOISES):
            rng = np.random.default_rng([2, place, number])
            level = 10 ** (-rng.uniform(6, 46) / 20)
            each.setdefault(kind, []).append(fitted(level / 4 * rush(rng, slope), spec, windows))
    for label in range(len(RECIPES)):
        for take in range(TAKES):
            sound, _ = made_up.recording(label, np.random.default_rng([3, label, take]))
            each.setdefault("made-up sounds", []).append(fitted(0.5 * sound, spec, windows))
    return {
        kind: (
            np.stack(clips).reshape(-1, spec.samples),
            [name_of(f"{number}.wav", window) for number in range(len(clips)) for window in range(windows)],
        )
        for kind, clips in each.items()
    }


def windows_of(records: Sequence[Record]) -> int:
    """How many windows a held-out file of these runs has in the mean; 1 where clips are files."""
    rows = sum(len(runs.read_rows(record.folder).clips) for record in records)
    return max(1, round(rows / max(1, sum(len(runs.read_predictions(record.folder).clips) for record in records))))


def clean(spec: FeatureSpec) -> FeatureSpec:
    """The settings of clean clips."""
    return replace(spec, noise_std=0.0)


def fitted(sound: np.ndarray, spec: FeatureSpec, windows: int = 1) -> np.ndarray:
    """(windows · samples,) float32 of a sound at the recipes' rate: resampled, cut or repeated, within full scale."""
    return np.resize(soxr.resample(sound, SR, spec.sr), windows * spec.samples).clip(-1, 1).astype(np.float32)


def of_sounds(network: Network, spec: FeatureSpec, limit: float, windows: int = 1) -> Detected:
    """What a network with a threshold refuses of noise and made-up sounds, each as many ``windows`` long as a file."""
    detected: Detected = {}
    for kind, (clips, names) in sounds(spec, windows).items():
        scores = scores_of(network, features.extract(clips, clean(spec)), names if windows > 1 else ())
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
    clips of that fold, refuses of the class' clips, none of which it has heard, and how well its probabilities tell the two (AUROC)."""
    detected: Detected = {}
    for label in left_out_classes(corpus):
        fold = next(clip.fold for clip in corpus.clips if clip.label == label)
        clips, names = clips_of(fold, source, label, learns_unlabelled(mix))
        if not names:  # a student would have nothing to answer
            name = corpus.classes[label]
            say(f"note: {name} is not tried as a class never heard: other clips of all its recordings are heard")
            continue
        kept = ",".join(str(other) for other in range(len(corpus.classes)) if other != label)
        fewer = replace(
            settings,
            teacher=replace(settings.teacher, classes=kept),
            student=replace(settings.student, classes=kept),
        )
        folder = training.trained(training.levels_of(corpus, fewer, mix, fold, seed), source, how)
        known = refusing.surest(runs.read_predictions(folder).logits)
        unseen = scores_of(network_of(read_weights(folder)), clips, names)
        limit = refusing.threshold(known)
        both, is_unseen = np.concatenate([known, unseen]), np.arange(len(known) + len(unseen)) >= len(known)
        detected[f"{corpus.classes[label]}, never heard"] = {
            "refused": refusing.refused(unseen, limit),
            "clips": len(unseen),
            "auroc": uncertainty.auroc(-both, is_unseen),
            "fold": fold,
        }
    return detected


def clips_of(held: int, source: Source, label: int, pool: bool = False) -> tuple[np.ndarray, list[str]]:
    """(clips, features, bins, frames), the clean clips of a class that a run was trained without, of all folds; and their names.

    ``held``: the fold that it holds out. Recordings of which it has heard other clips are left out: of another class or, where it
    learns from the ``pool`` of them, without a label.
    """
    assert isinstance(source.files, tuple)  # of sounds
    headers = [cache.read_header(path) for path in source.files]
    held_out = {recording for header in headers if header.fold == held for recording in header.sources}
    heard = {
        recording
        for header in headers
        for recording, own in zip(header.sources, header.labels)
        if header.fold != held and own != label and (own >= 0 or (pool and recording not in held_out))
    }
    values, names = [np.empty((0, *headers[0].shape[2:]), np.float32)], list[str]()
    for path, header in zip(source.files, headers):
        rows = [
            row
            for row, (own, recording) in enumerate(zip(header.labels, header.sources))
            if own == label and recording not in heard
        ]
        if rows:
            values.append(cache.read_fold(path).features[np.array(rows), 0])
            names += [header.clips[row] for row in rows]
    return np.concatenate(values), names


def scores_by_fold(records: Sequence[Record]) -> dict[int, np.ndarray]:
    """Fold → largest probabilities of its held-out clips, of all runs that hold it out."""
    by_fold: dict[int, list[np.ndarray]] = {}
    for record in records:
        by_fold.setdefault(record.fold, []).append(refusing.surest(runs.read_predictions(record.folder).logits))
    return {fold: np.concatenate(each) for fold, each in sorted(by_fold.items())}


def windows_refused(records: Sequence[Record], limit: float) -> float | None:
    """Share of the held-out windows, each by itself, that a threshold refuses; None where clips are no windows of files."""
    if windows_of(records) < 2:
        return None
    rows = [refusing.surest(runs.read_rows(record.folder).logits) for record in records]
    return refusing.refused(np.concatenate(rows), limit)
