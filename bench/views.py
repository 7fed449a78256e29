"""Stage one with changed copies: CPU time per view beside that of the two views alone.

    python -m bench.views [--data ../shared/urbansound8k-mini] [--clips 24] [--views 6] [--set features.use=melspectrogram]

Read, changed, computed and written as a part, in one process; both in turns, warm, the least of ``--turns``. Without the data:
synthetic clips.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from pathlib import Path

from bench.extraction import MINI, part, write_clips
from pipeline import config
from pipeline.config import FeatureSpec
from pipeline.corpus import open_corpus
from pipeline.extraction.state import plan
from pipeline.extraction.workers import Task, compute
from pipeline.features import steps


def seconds(tasks: list[Task]) -> float:
    """CPU time of this process and its threads for some tasks."""
    start = time.process_time()
    for task in tasks:
        compute(task)
    return time.process_time() - start


def tasks_of(data: Path, clips: int, spec: FeatureSpec, work: Path) -> list[Task]:
    """One task for each fold of ``clips`` clips from all over a corpus."""
    corpus = part(open_corpus("urbansound8k", data), clips)
    tasks = []
    for fold in corpus.folds:
        jobs = plan(corpus, spec, work / f"{spec.views}", fold, plain=False, deep=False, compress=False).jobs
        folder = work / f"{spec.views}-{fold}"
        folder.mkdir()
        tasks.append(Task(fold, tuple(jobs), folder, spec, False, os.getpid()))
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=MINI)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="say features.use=melspectrogram")
    options = parser.parse_args()
    spec = dataclasses.replace(config.read("default", options.set).features, views=0)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if not options.data.is_dir():
            options.data = work / "synthetic-clips"
            write_clips(options.data, folds=2, clips=options.clips // 2)
        ways = {
            views: tasks_of(options.data, options.clips, dataclasses.replace(spec, views=views), work)
            for views in (0, options.views)
        }
        steps.load()  # which a worker does after some tasks
        least = dict.fromkeys(ways, float("inf"))
        for turn in range(options.turns + 1):  # the first one warms
            for views, tasks in ways.items():
                least[views] = min(least[views], seconds(tasks)) if turn else least[views]
        count = sum(len(task.jobs) for task in ways[0])
        each = {views: 1000 * least[views] / count / (2 + views) for views in ways}
        for views, milliseconds in each.items():
            print(f"{2 + views} views: {milliseconds:.2f} ms of CPU time per view, {count} clips")
        print(f"ratio {each[options.views] / each[0]:.3f}")


if __name__ == "__main__":
    main()
