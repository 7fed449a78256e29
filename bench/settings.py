"""Which settings train: learning rate, warm-up and clipping, chosen without the held-out fold.

For every held-out fold k, the other folds alone are used: each of them in turn is the validation fold, the rest
train, on labels (``ce``). Printed: the mean validation accuracy for each k (never measured on k), the mean over
all, and how many runs did not train. A setting is a good choice if it is the best, or close, for every k.

    python -m bench.settings --dataset urbansound8k --data ../shared/urbansound8k-mini [--network teacher]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from pathlib import Path

import numpy as np
import torch

from pipeline import cache, config, evaluation, training
from pipeline.config import TrainSettings
from pipeline.corpus import open_corpus
from pipeline.losses import LossMix
from pipeline.stages import packs

GRIDS = {
    "student": [
        {"lr": 0.1}, {"lr": 0.1, "warmup_epochs": 2.0, "clip_norm": 1.0}, {"lr": 0.03}, {"lr": 0.01},
        {"lr": 0.003}, {"lr": 0.002}, {"lr": 0.001},
    ],
    "teacher": [{"lr": 0.1}, {"lr": 0.05}, {"lr": 0.02}, {"lr": 0.005}],
}  # fmt: skip


def inner_runs(data: cache.Data, seeds: int) -> list[tuple[int, training.Run]]:
    """(held-out fold, run): trained and validated on the other folds only."""
    views = data.features.shape[1]
    clips = np.arange(len(data.labels))
    folds = sorted(set(data.folds.tolist()))
    found = []
    for held, validation, seed in itertools.product(folds, folds, range(seeds)):
        if held == validation:
            continue
        train = clips[(data.folds != held) & (data.folds != validation)]
        rows = (train[:, None] * views + np.arange(views)).reshape(-1)
        test = clips[data.folds == validation] * views
        found.append((held, training.Run(validation, seed, LossMix.parse("ce"), rows, test)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="urbansound8k")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=sorted(GRIDS), default="student")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args()
    corpus = open_corpus(chosen.dataset, chosen.data)
    settings = config.for_corpus(config.read("default"), corpus.seconds)
    data = cache.load(
        [cache.fold_path(Path("cache"), corpus.name, settings.features, k) for k in corpus.folds]
    )
    values, labels = packs.samples(data, torch.device("cpu"))
    base: TrainSettings = dataclasses.replace(getattr(settings, chosen.network), epochs=chosen.epochs)
    held, runs = zip(*inner_runs(data, chosen.seeds))
    folds = sorted(set(held))
    print(
        f"{base.model}, {corpus.name}, {chosen.epochs} epochs, batch {base.batch}, {len(runs)} runs a setting"
    )
    print("setting".ljust(44), *(f"not {k}".rjust(7) for k in folds), "   mean  did not train")
    for change in GRIDS[chosen.network]:
        started = time.monotonic()
        done = training.fit(
            values, labels, runs, dataclasses.replace(base, **change), classes=len(data.classes)
        )  # type: ignore[arg-type]
        found = [one.history[-1]["accuracy"] if not one.failure else 0.0 for one in done]
        dead = sum(
            bool(one.failure)
            or not evaluation.trained(one.logits, data.labels[run.test // data.features.shape[1]])
            for one, run in zip(done, runs)
        )
        means = [np.mean([a for a, k in zip(found, held) if k == fold]) for fold in folds]
        name = ", ".join(f"{k} {v:g}" for k, v in change.items())
        print(name.ljust(44), *(f"{100 * m:6.1f}%" for m in means), f"{100 * np.mean(found):6.1f}%  {dead} of {len(runs)}",
              f"  {time.monotonic() - started:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
