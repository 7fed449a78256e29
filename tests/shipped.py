"""A tiny corpus with its caches and finished runs, made from real WAVs and really (if briefly) trained networks."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from pipeline import (
    cache,
    config,
    features,
    models,
    runs,
)
from pipeline.audio import reading as audio
from pipeline.config import FeatureSpec, Settings
from pipeline.figures import evaluation
from pipeline.losses import LossMix
from pipeline.training.normalisation import normalisation

CORPUS = "tiny"
CLASSES = ("low", "high", "hiss")
SPEC = FeatureSpec(seconds=0.5, noise_std=0.002)
CLIPS = 9  # a fold


def sound(label: int, index: int, samples: int = SPEC.samples) -> np.ndarray:
    """A tone below 400 Hz, one above 2 kHz, or noise."""
    random = np.random.default_rng([label, index])
    times = np.arange(samples) / SPEC.sr
    hertz = (random.uniform(150, 400), random.uniform(2000, 4000), 0)[label]
    wave = 0.4 * np.sin(2 * np.pi * hertz * times) if hertz else 0.2 * random.standard_normal(samples)
    return (wave + 0.003 * random.standard_normal(samples)).astype(np.float32)


def write_folder(root: Path) -> None:
    """A corpus ``folder``: six sounds of half a second in a folder of each class."""
    for label, name in enumerate(CLASSES):
        for number in range(6):
            path = root / name / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound(label, number), SPEC.sr)
    (root / "corpus.toml").write_text(f"seconds = {SPEC.seconds}\n")


def write_corpus(root: Path, spec: FeatureSpec = SPEC) -> list[Path]:
    """WAVs in ``data/``, and the features of two folds in ``cache/``; the folds' files."""
    paths = []
    for fold in (1, 2):
        names, labels, blocks, files = [], [], [], []
        for index in range(CLIPS):
            label, name = index % 3, f"{fold}{index:02d}.wav"
            # Lengths below, at and a little above the clip length.
            samples = (spec.samples // 2, spec.samples, spec.samples + 300)[index // 3]
            path = root / "data" / f"fold{fold}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound(label, 100 * fold + index, samples), spec.sr)
            clean = audio.read_clip(path, sr=spec.sr, samples=spec.samples)
            noisy = clean + audio.noise(name, spec.samples, std=spec.noise_std, seed=spec.noise_seed)
            blocks.append(features.extract(np.stack([clean, noisy]), spec)[None])
            names.append(name)
            labels.append(label)
            files.append(cache.File(name, path.stat().st_size, 0))
        described = features.describe(spec)
        header = cache.Header(
            CORPUS,
            "folder",
            False,
            fold,
            CLASSES,
            spec,
            tuple(names),
            tuple(labels),
            tuple(names),
            tuple(files),
            units=tuple(d["unit"] for d in described.values()),
            calls=tuple(d["call"] for d in described.values()),
        )
        paths.append(cache.fold_path(root / "cache", CORPUS, spec, fold))
        cache.write_fold(paths[-1], header, blocks)
    return paths


#: Networks that ``trained`` has trained, by what they were trained on and how: several test files want the very same.
TRAINED: dict[tuple[Any, ...], models.Stacked] = {}


def trained(data: cache.Data, model: str, fold: int, seed: int) -> models.Stacked:
    """A network that has learned the other fold well enough to be sure of most clips; whoever asks for it again gets the same one."""
    key = (*sorted(data.digests.items()), data.spec, data.classes, model, fold, seed)
    if key not in TRAINED:
        TRAINED[key] = newly_trained(data, model, fold, seed)
    return TRAINED[key]


def newly_trained(data: cache.Data, model: str, fold: int, seed: int) -> models.Stacked:
    network = models.Stacked([models.network(model, data.spec.shape, len(data.classes), seed=seed, fold=fold)])
    train = np.flatnonzero(data.folds != fold)
    values = torch.from_numpy(data.features[train]).flatten(0, 1)
    labels = torch.from_numpy(data.labels[train]).repeat_interleave(2)
    network.mean[0], network.std[0] = normalisation(values, np.arange(len(values)))
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(values).logits[0], labels).backward()
        optimizer.step()
    return network.eval()


def write_run(
    root: Path,
    paths: list[Path],
    role: str = "student",
    fold: int = 1,
    seed: int = 0,
    mix: str = "ce:1",
    *,
    accuracy: float | None = None,
    synthetic: bool = False,
    model: str = "",
) -> Path:
    """A finished run below ``root/runs``; ``accuracy`` puts another figure into its result than the true one; ``model``: another
    network than the role's own."""
    data = cache.load(paths)
    settings = dataclasses.replace(Settings(), features=data.spec)
    if model:
        settings = dataclasses.replace(settings, **{role: dataclasses.replace(getattr(settings, role), model=model)})
    model = getattr(settings, role).model
    network = trained(data, model, fold, seed)
    test = np.flatnonzero(data.folds == fold)
    with torch.inference_mode():
        logits = network(torch.from_numpy(data.features[test, 0])).logits[0].numpy()
    slug = None if role == "teacher" else LossMix.parse(mix).slug
    folder = runs.cell_path(root / "runs", CORPUS, role, settings, slug, fold, seed)
    state = network.state_dict()
    about = {
        "role": role,
        "model": model,
        "fold": fold,
        "seed": seed,
        "mix": mix,
        "shape": list(data.spec.shape),
        "classes": list(data.classes),
        **{"corpus": CORPUS, "dataset": "folder", "synthetic": synthetic},
    }
    kept = {"format": 1, **about, "features": dataclasses.asdict(data.spec), "state": state, "best_state": state}
    true = evaluation.accuracy(logits, data.labels[test])
    names = np.array([data.clips[i] for i in test])
    runs.write_finished(
        folder,
        config=config_of(data, settings, about, slug),
        environment={"python": "3", "packages": {}},
        model_bytes=lambda file: torch.save(kept, file),
        predictions=runs.Predictions(names, data.labels[test], logits, names),
        result={
            "accuracy": true if accuracy is None else accuracy,
            "best_accuracy": true,
            "best_epoch": 1,
            "epochs": 1,
            "test_clips": len(test),
            "parameters": models.parameters(network),
            "status": "trained",
            "failure": None,
        },
    )
    return folder


def config_of(data: cache.Data, settings: Settings, about: dict[str, Any], slug: str | None) -> dict[str, Any]:
    """The ``config.json`` of a run, as training writes it."""
    return {
        "schema": runs.SCHEMA,
        **about,
        "slug": slug,
        "settings": {n: dataclasses.asdict(getattr(settings, n)) for n in ("features", "teacher", "student")},
        "preset": settings.preset,
        "teacher": None,
        "data": {str(k): v for k, v in data.digests.items()},
        "skipped": {str(k): v for k, v in data.skipped.items()},
        "all_folds": [1, 2],
        "pack": {},
    }


def other_spec(**changes) -> FeatureSpec:
    return config.build(FeatureSpec, dataclasses.asdict(SPEC) | changes, "test")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder, and two runs that hold out fold 1: a student and a teacher."""
    root = tmp_path_factory.mktemp("world")
    paths = write_corpus(root)
    return types.SimpleNamespace(
        root=root,
        paths=paths,
        student=write_run(root, paths),
        teacher=write_run(root, paths, "teacher"),
    )
