"""What a thousand times the clips cost: listing, planning and starting, and training from features that stay in their files.

    python -m bench.scale [--clips 1000,10000,100000] [--folder PLACE]
    python -m bench.scale training --clips 60000 [--steps 200 | --epoch] [--rounds 5] [--network cnn2|resnet18] [--folder PLACE]
    python -m bench.scale cluster [--clips 2000] [--hollow] [--folder PLACE]

Growth: made-up corpora in UrbanSound8K's layout, ten folds, of files that are nothing but names, each number of clips in a process of
its own; seconds of CPU and bytes of anonymous memory (RssAnon) that each part adds, per clip. Expected: both do not grow with the number of
clips (nothing is quadratic), and what is kept is below 2 kB per clip. The features behind them are one feature of two bins and three frames: they cost
nothing, all that is said of the clips is there.

Training: made-up features of the published size (138 kB per clip; 60,000 clips are 8.3 GB in PLACE, removed at the end), fold 1 held out, a
run of each network. Steps from memory and from the files take turns in one process, so that both meet the same machine; the most
anonymous memory is that of processes which have one of the two alone. ``--epoch``: whole epochs in place of some steps.

Cluster: half-second clips of noise, through two dask workers of this machine: what they cost the process that hands them over, and its
scheduler. ``--hollow`` leaves the work out, so that 100,000 clips take a minute. Expected: a few tasks at a time, whatever the number.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cache
from pipeline.config import FeatureSpec, Settings
from pipeline.corpus.urbansound8k import URBANSOUND8K as CLASSES

ROOT = Path(__file__).resolve().parents[1]
FOLDS = 10

#: Of the growth: little of everything but clips; 48 bytes of features for each.
SMALL = FeatureSpec(seconds=0.05, bins=2, bins_per_octave=12, use="mfcc")


def anonymous() -> int:
    """Bytes of this process' memory that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@contextmanager
def watched(figures: Mapping[str, Callable[[], int]], seconds: float) -> Iterator[dict[str, int]]:
    """The most that each figure is meanwhile, looked at every so many seconds, at the beginning too."""
    most, over = {name: figure() for name, figure in figures.items()}, threading.Event()

    def look() -> None:
        while not over.wait(seconds):
            for name, figure in figures.items():
                most[name] = max(most[name], figure())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def fold_sizes(clips: int) -> list[int]:
    return [clips // FOLDS + (fold < clips % FOLDS) for fold in range(FOLDS)]


def write_features(folder: Path, corpus: str, spec: FeatureSpec, clips: int) -> list[Path]:
    """Features of noise, each fold's file as stage one writes it; each clip's numbers are its own."""
    noise = np.random.default_rng(0).standard_normal((64, len(spec.view_names), *spec.shape)).astype(np.float32)
    paths = []
    for fold, count in enumerate(fold_sizes(clips), 1):
        names = tuple(name_of(fold, i) for i in range(count))
        files = tuple(cache.File(f"audio/fold{fold}/{name}", 44 + i, i, "0" * 64, 4.0) for i, name in enumerate(names))
        labels, sources = (
            tuple(i % len(CLASSES) for i in range(count)),
            tuple(f"{fold}{i // 4:07}" for i in range(count)),
        )
        about = (corpus, "urbansound8k", True, fold, CLASSES, spec, names, labels, sources, files)
        blocks: Iterator[np.ndarray] = (
            noise[: min(64, count - start)] + np.float32(start % 997) / 997 for start in range(0, count, 64)
        )
        paths.append(cache.fold_path(folder, corpus, spec, fold))
        cache.write_fold(paths[-1], cache.Header(*about), blocks)
    return paths


def name_of(fold: int, i: int) -> str:
    return f"{fold}{i // 4:07}-{i % len(CLASSES)}-0-{i}.wav"


def write_corpus(root: Path, clips: int, seconds: float = 4.0) -> None:
    """Files that are nothing but names, of one inode for each 60,000, and their table."""
    rows: list[list[Any]] = []
    for fold, count in enumerate(fold_sizes(clips), 1):
        (root / "audio" / f"fold{fold}").mkdir(parents=True)
        first = root / f"silence{fold}"
        first.write_bytes(b"RIFF")
        for i in range(count):
            os.link(first, root / "audio" / f"fold{fold}" / name_of(fold, i))
            rows.append(
                [
                    name_of(fold, i),
                    f"{fold}{i // 4:07}",
                    0,
                    seconds,
                    1,
                    fold,
                    i % len(CLASSES),
                    CLASSES[i % len(CLASSES)],
                ]
            )
    (root / "metadata").mkdir()
    with (root / "metadata" / "UrbanSound8K.csv").open("w", newline="") as file:
        head = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
        csv.writer(file).writerows([head, *rows])


def grown(folder: Path, clips: int) -> dict[str, tuple[float, float]]:
    """Part → seconds, and bytes of anonymous memory that it leaves behind, both per clip. In ``folder`` lie corpus and features."""
    from pipeline.corpus.opening import open_or_make
    from pipeline.engine import missing, packs, source
    from pipeline.experiments import files, planning, reading
    from pipeline.extraction import state
    from pipeline.training import sampling

    os.chdir(folder)
    parts: dict[str, tuple[float, float]] = {}
    kept: list[Any] = []

    def timed(name: str, take: Callable[[], Any]) -> Any:
        before, begun = anonymous(), time.process_time()
        kept.append(take())
        parts[name] = (time.process_time() - begun) / clips, (anonymous() - before) / clips
        return kept[-1]

    settings = Settings(features=SMALL)
    corpus, _ = timed("listing", lambda: open_or_make("urbansound8k", Path("clips")))
    how: dict[str, Any] = {"plain": False, "deep": False, "compress": False}
    timed("planning features", lambda: [state.plan(corpus, SMALL, Path("none"), k, **how) for k in corpus.folds])
    made_up = timed("headers", lambda: source.of_corpus(corpus, settings))
    table3 = reading.parsed(files.located("table3"), files.contents(files.located("table3")))
    levels, _ = timed(
        "planning table3", lambda: planning.plan(table3, settings, corpus.name, folds=corpus.folds, seeds=(0,))
    )
    runs = [run for level in levels for run in level.runs][:FOLDS]
    timed("what is missing", lambda: missing.missing_runs(runs, made_up))
    plan = packs.PlannedPack(tuple(runs), made_up.files, made_up.data_set, "cpu", "loop", Path("pack.pt"))
    data, _, labels = timed("loading", lambda: packs.load(plan))
    trainings = timed("ten runs", lambda: packs.trainings(runs, data))
    order = (trainings[:1], labels, plan.network, 0, [False], labels.device)
    timed("an epoch's batches", lambda: sampling.epoch_tables(*order))
    return parts


def growth(counts: list[int], place: Path | None) -> None:
    print(f"{'per clip, of':24}", *(f"{count:>22,} clips" for count in counts))
    each = []
    for count in counts:
        folder = Path(tempfile.mkdtemp(prefix="scale-", dir=place))
        try:
            write_corpus(folder / "clips", count)
            write_features(folder / "cache", "clips", SMALL, count)
            code = f"import json, pathlib; from bench import scale; print(json.dumps(scale.grown(pathlib.Path({str(folder)!r}), {count})))"
            done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            each.append(json.loads(done.stdout.splitlines()[-1]))
        finally:
            shutil.rmtree(folder)
    for part in each[0]:
        print(f"{part:24}", *(f"{1e6 * one[part][0]:12.1f} µs {one[part][1]:8.0f} bytes" for one in each))
    sums = [[sum(values[at] for values in one.values()) for at in (0, 1)] for one in each]
    print(f"{'all':24}", *(f"{1e6 * seconds:12.1f} µs {size:8.0f} bytes" for seconds, size in sums))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("growth", "training", "cluster"), default="growth")
    parser.add_argument("--clips", default="", help="numbers of clips (training: one)")
    parser.add_argument("--folder", type=Path, help="where made-up files lie meanwhile")
    parser.add_argument("--network", choices=("cnn2", "resnet18"), help="training: one of the two alone")
    parser.add_argument("--steps", type=int, default=50, help="training: of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epoch", action="store_true", help="training: a whole epoch from the files, and from memory")
    parser.add_argument(
        "--hollow", action="store_true", help="cluster: tasks without their work, of sounds that are not there"
    )
    options = parser.parse_args()
    if options.what == "growth":
        growth([int(count) for count in (options.clips or "1000,10000,100000").split(",")], options.folder)
        return
    if options.what == "cluster":
        from bench import scale_cluster

        scale_cluster.measure(int(options.clips or 2000), options.hollow, options.folder)
        return
    from bench import scale_training

    scale_training.measure(options, int(options.clips or 60_000))


if __name__ == "__main__":
    main()
