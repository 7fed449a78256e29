"""The scale of the mel-spectrogram: in dB as it is stored, as amplitude or as power; without the held-out folds.

The stored dB are turned back when they are loaded, so the same cached features serve all three. Silence below the floor of 80 dB
under a clip's peak stays that floor. For every held-out fold k the other folds alone are used: each of them in turn is the
validation fold, the rest train, on labels (``ce``). Printed: the mean validation accuracy for each k (never measured on k), the mean
over all, and how many runs did not train.

    python -m bench.mel --dataset urbansound8k --data ../shared/urbansound8k-mini --seeds 3
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import cache, config, training
from pipeline.config import FEATURES, TrainSettings
from pipeline.corpus import open_corpus
from pipeline.engine import packs
from pipeline.figures import evaluation
from pipeline.losses import LossMix

#: What divides dB to give the exponent of ten; None leaves them.
SCALES = {"dB": None, "amplitude": 20.0, "power": 10.0}


def row(chosen: argparse.Namespace, scale: str) -> str:
    """One scale's line: trains all its runs, in one thread."""
    torch.set_num_threads(1)
    data, settings = loaded(chosen)
    if divisor := SCALES[scale]:
        features, mel = np.array(data.features), FEATURES.index("melspectrogram")
        features[:, :, mel] = 10 ** (features[:, :, mel] / divisor)
        data = dataclasses.replace(data, features=features)
    return line(f"mel-spectrogram as {scale}", data, settings, chosen.seeds)


def inner_runs(data: cache.Data, seeds: int) -> list[tuple[int, training.Run]]:
    """(held-out fold, run): trained and validated on the other folds only."""
    views = data.features.shape[1]
    clips = np.arange(len(data.labels))
    folds = sorted(set(data.folds.tolist()))
    inner = []
    for held, validation, seed in itertools.product(folds, folds, range(seeds)):
        if held == validation:
            continue
        train = clips[(data.folds != held) & (data.folds != validation)]
        rows = (train[:, None] * views + np.arange(views)).reshape(-1)
        test = clips[data.folds == validation] * views
        inner.append((held, training.Run(validation, seed, LossMix.parse("ce"), training.Task(rows, test))))
    return inner


def line(name: str, data: cache.Data, settings: TrainSettings, seeds: int) -> str:
    """Mean validation accuracy without each fold and over all, and how many runs did not train."""
    values, labels = packs.samples(data, torch.device("cpu"))
    held, runs = zip(*inner_runs(data, seeds))
    done = training.fit(values, labels, runs, settings, classes=len(data.classes))
    accuracies = [one.history[-1]["accuracy"] if not one.failure else 0.0 for one in done]
    dead = sum(
        bool(one.failure) or not evaluation.trained(one.logits, data.labels[run.task.test // data.features.shape[1]])
        for one, run in zip(done, runs)
    )
    means = [np.mean([a for a, k in zip(accuracies, held) if k == fold]) for fold in sorted(set(held))]
    return " ".join(
        [
            name.ljust(44),
            *(f"{100 * m:6.1f}%" for m in means),
            f"{100 * np.mean(accuracies):6.1f}%",
            f"{dead} of {len(runs)}",
        ]
    )


def loaded(chosen: argparse.Namespace) -> tuple[cache.Data, TrainSettings]:
    corpus = open_corpus(chosen.dataset, chosen.data)
    settings = config.for_corpus(config.read("default", chosen.set), corpus.seconds)
    data = cache.load([cache.fold_path(Path("cache"), corpus.name, settings.features, k) for k in corpus.folds])
    return data, dataclasses.replace(
        getattr(settings, "teacher" if chosen.network == "teacher" else "student"), epochs=chosen.epochs
    )


def arguments(about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--dataset", default="urbansound8k")
    parser.add_argument("--data", type=Path, default=Path("data/UrbanSound8K"))
    parser.add_argument("--network", choices=("student", "teacher"), default="student")
    parser.add_argument("--set", action="append", default=[], help="say features.noise_std=0.005")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    return parser


def table(chosen: argparse.Namespace, rows: Callable[[argparse.Namespace, Any], str], items: Iterable[Any]) -> None:
    """Print a line for each of ``what``, each trained in a process of its own."""
    data, base = loaded(chosen)
    held = [fold for fold, _ in inner_runs(data, chosen.seeds)]
    print(f"{base.model}, {data.corpus}, {chosen.epochs} epochs, batch {base.batch}, {len(held)} runs a setting")
    print(
        "setting".ljust(44),
        *(f"not {k}".rjust(7) for k in sorted(set(held))),
        "   mean  did not train",
        flush=True,
    )
    with ProcessPoolExecutor(chosen.jobs, get_context("spawn")) as pool:
        for text in pool.map(rows, itertools.repeat(chosen), items):
            print(text, flush=True)


def main() -> None:
    table(arguments(__doc__ or "").parse_args(), row, SCALES)


if __name__ == "__main__":
    main()
