"""A corpus of made-up features, and born-again chains trained on it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from pipeline import (
    cache,
    runs,
)
from pipeline.config import (
    FeatureSpec,
    Settings,
    TrainSettings,
)
from pipeline.experiments import generations
from pipeline.experiments.generations import Source, chain_mix

SPEC = FeatureSpec(seconds=0.2, bins=12, bins_per_octave=36)


HOW = {"device": "cpu", "pack": 8, "layout": "loop", "jobs": 1}


NETWORK = TrainSettings(model="cnn2", epochs=2, batch=4, lr=0.02)


SETTINGS = Settings(features=SPEC, teacher=NETWORK, student=NETWORK)


CLIPS = 9  # a fold


def write_source(
    root: Path,
    spec: FeatureSpec = SPEC,
    *,
    clips_of: tuple[int, ...] = (1, 2, 3),
    classes: str = "abc",
    label_sets: tuple[tuple[int, ...], ...] = (),
) -> Source:
    """Features of three folds in ``root/cache``: noise, with a mean by label. ``clips_of``: whose clips a fold has; ``label_sets``: the
    classes of the three labels, where clips have several."""
    files = []
    for fold, first_clip in enumerate(clips_of, 1):
        labels = tuple(i % 3 for i in range(CLIPS))
        names = tuple(f"{first_clip}-{i}.wav" for i in range(CLIPS))
        header = cache.Header(
            "tiny",
            "folder",
            True,
            fold,
            tuple(classes),
            spec,
            names,
            labels,
            names,
            tuple(cache.File(name, 1, 0) for name in names),
            units=("1",) * 5,
            calls=("",) * 5,
            label_sets=label_sets,
        )
        values = np.random.default_rng(first_clip).standard_normal(header.shape) + 0.6 * np.reshape(
            labels, (-1, 1, 1, 1, 1)
        )
        files.append(cache.fold_path(root / "cache", "tiny", spec, fold))
        cache.write_fold(files[-1], header, [values.astype(np.float32)])
    data_set = runs.DataSet("tiny", "folder", synthetic=True, all_folds=(1, 2, 3))
    digests = {str(h.fold): h.digest for h in map(cache.read_header, files)}
    return Source(tuple(files), data_set, digests, tuple(classes), label_sets)


def go(
    root: Path,
    source: Source | None = None,
    *,
    settings: Settings = SETTINGS,
    losses: tuple[str, ...] = ("none",),
    **options: object,
) -> Path:
    """A chain in ``root``; the folder of the group, relative to it."""
    os.chdir(root)
    how: dict = {"generations": 2, "folds": (1,), "seeds": (0,), **HOW, **options}
    return generations.train(source or write_source(root), settings, [chain_mix(text) for text in losses], **how)


LONG = dataclasses.replace(SETTINGS, teacher=(network := dataclasses.replace(NETWORK, epochs=12)), student=network)
