"""Runs, sounds and embeddings that a page is made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import soundfile

from pipeline import losses, runs
from pipeline.config import Settings
from tests.tiny import CLASSES

EPOCHS = 12


CLIPS = 60


def fold_clips(fold):
    labels = np.arange(CLIPS) % len(CLASSES)
    return [f"{fold}{i:03d}-{label}-0-0.wav" for i, label in enumerate(labels)], labels


def logits_of(labels, rng, skill):
    logits = rng.normal(size=(len(labels), len(CLASSES)))
    logits[np.arange(len(labels)), labels] += skill
    # Two classes that are taken for each other.
    logits[labels == 4, 7] += 1.5
    return logits.astype(np.float32)


def history(terms, final, rng):
    for epoch in range(1, EPOCHS + 1):
        decay = 2 * np.exp(-epoch / 5) + 0.3 + 0.05 * rng.random()
        raw = {term.key: decay * (0.01 if term.weight > 1 else 1) for term in terms}
        both = {t.key: {"raw": raw[t.key], "weighted": t.weight * raw[t.key]} for t in terms}
        accuracy = final * (1 - np.exp(-epoch / 3)) + 0.02 * rng.normal()
        yield {
            "epoch": epoch,
            "lr": 0.1,
            "loss": sum(v["weighted"] for v in both.values()),
            "terms": both,
            "train_accuracy": min(1, accuracy + 0.15),
            "accuracy": float(accuracy),
            "test_loss": decay,
            "seconds": 1.5,
        }


def write_run(root, mix, fold, seed, *, corpus="mini", synthetic=False, settings=None, skill=1.5, folds=3, result=None):
    settings = settings or Settings()
    role = "teacher" if mix is None else "student"
    parsed = losses.LossMix.parse(mix or "ce")
    rng = np.random.default_rng([fold, seed, len(str(mix))])
    clips, labels = fold_clips(fold)
    logits = logits_of(labels, rng, skill)
    accuracy = float((logits.argmax(1) == labels).mean())
    folder = runs.cell_path(root, corpus, role, settings, parsed.slug if mix else None, fold, seed)
    runs.restart_metrics(folder, history(parsed.terms, accuracy, rng))
    runs.write_finished(
        folder,
        config={
            "schema": 1,
            "role": role,
            "model": getattr(settings, role).model,
            "corpus": corpus,
            "dataset": "synthetic" if synthetic else "urbansound8k",
            "synthetic": synthetic,
            "fold": fold,
            "seed": seed,
            "mix": str(parsed),
            "slug": parsed.slug,
            "preset": settings.preset,
            "teacher": None,
            "settings": {n: dataclasses.asdict(getattr(settings, n)) for n in ("features", "teacher", "student")},
            "data": {str(k + 1): f"digest{k}" for k in range(folds)},
            "skipped": {},
            "all_folds": list(range(1, 11)),
            "classes": list(CLASSES),
            "shape": [5, 20, 173],
            "pack": {"runs": 6, "layout": "loop", "device": "cpu", "threads": 2},
        },
        environment={
            "python": "3.11.7",
            "platform": "Linux 6 x86_64",
            "cpus": 2,
            "changed": True,
            "packages": {"numpy": "2.4.6", "torch": "2.13.0"},
            "commit": "0123456789abcdef",
        },
        model_bytes=b"",
        predictions=runs.Predictions(np.array(clips), labels, logits, np.array(clips)),
        result={
            "accuracy": accuracy,
            "best_accuracy": accuracy,
            "best_epoch": 9,
            "epochs": EPOCHS,
            "test_clips": CLIPS,
            "parameters": 178466 if role == "teacher" else 116538,
            "status": "trained",
            "macro_f1": accuracy,
            "ece": 0.1,
            "agreement": None if role == "teacher" else 0.7,
            "seconds": 60.0,
            "runs_in_pack": 6,
            "failure": None,
            "finished": f"2026-01-0{fold}T00:00:00+00:00",
        }
        | (result or {}),
    )
    return folder


def write_sounds(folder, folds=(1, 2, 3)):
    """A short WAV for each clip."""
    paths = {}
    for fold in folds:
        for clip in fold_clips(fold)[0]:
            path = folder / f"fold {fold}" / clip
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(800, dtype=np.float32), 8000, subtype="PCM_16")
            paths[clip] = path
    return paths


def made_up_embeddings(folder):
    config = runs.read_config(folder)
    clips, labels = fold_clips(config["fold"])
    rng = np.random.default_rng(config["fold"])
    return (rng.normal(size=(CLIPS, 16)) + 6 * np.eye(16)[labels]).astype(np.float32), labels, clips
