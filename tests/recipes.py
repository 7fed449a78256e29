"""Every recipe of the project in small: the same steps with few epochs, on made-up features of six classes."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cache, experiments, runs
from pipeline.config import FeatureSpec, Settings, TrainSettings
from pipeline.engine.missing import train
from pipeline.engine.source import Source
from pipeline.experiments import files, planning, reading

#: What needs other data than sounds of a corpus, or trains what another file does: the stages, tables, and all of them at once.
NOT_SMALL = (
    *("student", "teacher", "table3", "table4", "terms", "survey", "fewshot", "fewshot-3way", "metric-learning"),
    *("fewshot-esc50", "refilled-esc50", "terms-strong"),
)

SPEC = FeatureSpec(seconds=0.2, bins=12, bins_per_octave=36)

SETTINGS = Settings(
    features=SPEC,
    teacher=TrainSettings(model="resnet18", epochs=2, batch=8, lr=0.02),
    student=TrainSettings(model="cnn2", epochs=2, batch=8, lr=0.01),
)

HOW = {"device": "cpu", "pack": 8, "layout": "loop", "jobs": 1}


def names() -> list[str]:
    """The recipes that come with the project."""
    folder = Path(experiments.__file__).parent
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem not in NOT_SMALL)


def small(tables: dict[str, Any]) -> dict[str, Any]:
    """The tables of a recipe with two epochs at most, of which the first is kept where epochs are, and batches of eight."""
    for table in tables["step"]:
        for key, value in (("epochs", 2), ("keep", [1]), ("batch", 8)):
            if key in table:
                table[key] = value
        if table.get("sampler", "").startswith("classes"):
            table["sampler"] = "classes:4"
        if "each" in table:
            table["each"] = {
                key: [1] if key == "teacher_epoch" else list(values)[:2] for key, values in table["each"].items()
            }
        if "mix" in table:
            table["mix"] = re.sub(r"@until=\d+", "@until=1", table["mix"])
        if "seeds" in table:
            table["seeds"] = table["seeds"][:2]
        if "rounds" in table:
            table["rounds"] = min(table["rounds"], 2)
    return tables


def planned(name: str, settings: Settings = SETTINGS) -> tuple[list[planning.Level], dict[str, list[Path]]]:
    """The levels of a small recipe for fold 1 and seed 0, and its rows."""
    path = files.located(name)
    experiment = reading.parsed(path, small(files.contents(path)))
    if name == "noisy-student":  # most of the labels are hidden, those of whole recordings
        hidden = {
            table: dataclasses.replace(getattr(settings, table), unlabelled=0.6) for table in ("teacher", "student")
        }
        settings = dataclasses.replace(settings, **hidden)
    return planning.plan(experiment, settings, "tiny", folds=(1,), seeds=(0,))


def source(root: Path, clips: int = 12, classes: tuple[str, ...] = tuple("abcdef")) -> Source:
    """Features of two folds in ``root/cache``: noise, with a mean by class, of six classes."""
    written = []
    for fold in (1, 2):
        labels = tuple(i % len(classes) for i in range(clips))
        clip_names = tuple(f"{fold}-{i}.wav" for i in range(clips))
        sizes = tuple(cache.File(name, 1, 0) for name in clip_names)
        about = ("tiny", "folder", True, fold, classes, SPEC, clip_names, labels, clip_names, sizes)
        header = cache.Header(*about, units=("1",) * 5, calls=("",) * 5)
        values = np.random.default_rng(fold).standard_normal(header.shape) + 0.6 * np.reshape(labels, (-1, 1, 1, 1, 1))
        written.append(cache.fold_path(root / "cache", "tiny", SPEC, fold))
        cache.write_fold(written[-1], header, [values.astype(np.float32)])
    digests = {str(header.fold): header.digest for header in map(cache.read_header, written)}
    return Source(tuple(written), runs.DataSet("tiny", "folder", True, (1, 2)), digests, classes)


def go(root: Path, recipes: Iterable[str], minutes: float = 5.0) -> None:
    """Train the recipes in ``root``, whatever is missing of them."""
    os.chdir(root)
    data = source(root)
    for name in recipes:
        train(planned(name)[0], data, checkpoint_minutes=minutes, **HOW)


def digests(root: Path) -> dict[str, tuple[str, str, str]]:
    """Run → digests of its weights, its predictions and its epochs, in a folder where recipes were trained."""
    parts_by_run = {}
    for record in runs.find(root / "runs"):
        predictions = runs.read_predictions(record.folder)
        epochs = [{k: v for k, v in line.items() if k != "seconds"} for line in runs.read_metrics(record.folder)]
        parts = (record.result.weights, predictions.logits.tobytes().hex(), str(epochs))
        parts_by_run[str(record.folder.relative_to(root))] = parts
    return parts_by_run


if __name__ == "__main__":  # a process of its own, to be killed
    import sys

    go(Path(sys.argv[1]), sys.argv[2:], minutes=0.0)
