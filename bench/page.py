"""The page of a full table again: ``python -m bench.page [ROWS]``.

Runs are made up in a folder of their own: ``ROWS`` mixes (36: about 150 pictures) on ten folds, and their teacher. ``audio-rkd report`` is started
once, which draws all pictures, and then three times, when nothing changed: CPU time (user and system, in seconds) of the fastest of these, and its
wall time. ``--embeddings``: the features are at hand, and of each row the embeddings are kept, as a first report leaves them: a t-SNE a row more.
``--profile`` prints where the time of one more goes.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.losses import names

ROOT = Path(__file__).resolve().parents[1]
FOLDS, AGAIN = range(1, 11), 3

COMMAND = ("report", "--dataset", "folder", "--data", "mini")


def mixes(count: int) -> list[str]:
    """Rows of a table: terms alone and in pairs beside soft."""
    single = [
        name for name in ("angle", "distance", "area", "hinton", "similarity", "attention", "hint") if name in names()
    ]
    pairs = [f"{one},{other}" for place, one in enumerate(single) for other in single[place + 1 :]]
    weights = [f"{one}:{weight}" for weight in (5, 10, 30) for one in single]
    return ["soft", *single, *pairs, *weights][:count]


def keep_embeddings(folder: Path) -> None:
    """Made-up features of the fold that is shown, and the embeddings of its runs, as a first report leaves them."""
    from pipeline import cache, runs
    from pipeline.config import Settings
    from pipeline.figures import embeddings
    from tests.pages import CLASSES, fold_clips, made_up_embeddings

    fold, spec = FOLDS[0], Settings().features
    names, labels = fold_clips(fold)
    files = tuple(cache.File(name, 1, 0) for name in names)
    of_clips = tuple(names), tuple(map(int, labels)), tuple(names), files
    header = cache.Header(
        "mini", "folder", False, fold, tuple(CLASSES), spec, *of_clips, units=("1",) * 5, calls=("",) * 5
    )
    cache.write_fold(
        cache.fold_path(folder / "cache", "mini", spec, fold), header, [np.zeros(header.shape, np.float32)]
    )
    embeddings.held_out = lambda run, root: made_up_embeddings(run)
    for record in runs.find(folder / "runs"):
        if record.fold == fold:
            embeddings.remembered(record.folder, folder / "cache")


def report(folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of the command."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *COMMAND],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    after = os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    return (
        after.children_user + after.children_system - before.children_user - before.children_system,
        time.perf_counter() - start,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=36)
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    from tests.pages import write_run, write_sounds

    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        write_sounds(folder / "mini")
        for fold in FOLDS:
            write_run(folder / "runs", None, fold, 0, folds=10, skill=2.2)
            for mix in mixes(asked.rows):
                write_run(folder / "runs", mix, fold, 0, folds=10)
        if asked.embeddings:
            keep_embeddings(folder)
        first = report(folder)
        pictures = len([*folder.rglob("reports/**/*.svg")])
        again = min(report(folder) for _ in range(AGAIN))
        print(
            f"{asked.rows} rows, {pictures} pictures: drawn {first[0]:.2f} s CPU, {first[1]:.2f} s; again {again[0]:.2f} s CPU, {again[1]:.2f} s"
        )
        if asked.profile:
            profiled(folder)


def profiled(folder: Path) -> None:
    import cli

    os.chdir(folder)
    with cProfile.Profile() as profile, contextlib.suppress(SystemExit):
        cli.main([*COMMAND], prog_name="audio-rkd")
    pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
