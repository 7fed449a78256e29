"""Of ``bench.scale training``: steps from memory and from the files in turns, and the anonymous memory of each alone."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.scale import ROOT, anonymous, watched, write_features
from pipeline import cache, training
from pipeline.config import FeatureSpec, TrainSettings
from pipeline.engine import packs, tasks
from pipeline.losses import LossMix
from pipeline.training import Run, Stored
from pipeline.training.fit import packed
from pipeline.training.from_files import read_ahead
from pipeline.training.inference import held_out_logits, held_out_rows
from pipeline.training.step import Pack, step, threads

#: Networks and their mixes: the settings are the published ones.
MIXES = {"resnet18": "ce", "cnn2": "angle,area"}
KINDS = ("memory", "files")


def packed_run(paths: list[Path], network: str, kind: str) -> tuple[Pack, Run, dict[str, float]]:
    """A run of a network on all folds but the first, and how long its parts took to come to the first step."""
    settings, took = TrainSettings(model=network, lr=1e-3), {}

    def timed(name: str, take: Callable[[], Any]) -> Any:
        begun = time.process_time()
        value = take()
        took[name] = time.process_time() - begun
        return value

    data = timed("opening", lambda: cache.load(paths, kind))
    samples, labels = packs.samples(data, torch.device("cpu"))
    run = Run(1, 0, LossMix.parse(MIXES[network]), tasks.task(data, 1, 0, settings))
    statistics = timed("normalisation", lambda: training.standardisation(samples, [run]))
    taught = None
    if run.mix.needs_teacher:  # as large as a teacher's: what it says costs its forward pass, by either way
        random = torch.Generator().manual_seed(0)
        widths = {"embedding": 256, "logits": len(data.classes)}
        taught = Stored({name: torch.randn(1, len(samples), width, generator=random) for name, width in widths.items()})
    pack = packed(samples, labels, [run], settings, len(data.classes), taught, "loop", statistics)
    return pack, run, took


def taken(pack: Pack, count: int) -> float:
    """Seconds of so many steps, those that come next, round and round through the epoch."""
    begun = time.process_time()
    for _ in range(count):
        read_ahead(pack.samples, pack.tables.rows, int(pack.counter))
        step(pack, False)
        pack.counter.remainder_(len(pack.tables.rows))
    return time.process_time() - begun


def alone(folder: str, network: str, kind: str, steps: int, epoch: bool) -> None:
    """In a process of its own: one of the two ways, and what it takes, as JSON."""
    torch.set_num_threads(1)
    paths = sorted(Path(folder).rglob("fold*.h5"), key=lambda path: int(path.stem[4:]))
    with watched({"bytes": anonymous}, 0.01) as most, threads("loop", 1):
        pack, run, took = packed_run(paths, network, kind)
        count = len(pack.tables.rows) if epoch else steps
        took["a step"] = taken(pack, count) / count
        begun = time.process_time()
        rows: Tensor = held_out_rows([run], torch.device("cpu"))[:, : None if epoch else 64 * 8]
        held_out_logits(pack, rows, [0])
        took["a test clip"] = (time.process_time() - begun) / rows.shape[1]
    print(json.dumps({**most, "steps": count, **took}))


def in_turns(paths: list[Path], network: str, steps: int, rounds: int) -> list[float]:
    """Of each round how many steps from the files there are to one from memory; the same weights at the end, or it is an error."""
    torch.set_num_threads(1)
    with threads("loop", 1):
        packs_of = {kind: packed_run(paths, network, kind)[0] for kind in KINDS}
        for pack in packs_of.values():
            taken(pack, 5)
        shares = []
        for turn in range(rounds):
            seconds = {kind: taken(packs_of[kind], steps) for kind in (KINDS if turn % 2 else KINDS[::-1])}
            shares.append(seconds["memory"] / seconds["files"])
    if not torch.equal(*(pack.weights for pack in packs_of.values())):
        raise SystemExit(f"{network}: other weights from the files than from memory")
    return shares


def measure(options: argparse.Namespace, clips: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="scale-", dir=options.folder))
    try:
        begun = time.process_time()
        paths = write_features(folder, "made-up", FeatureSpec(), clips)
        size = sum(path.stat().st_size for path in paths) / 1e9
        print(f"{clips:,} clips: {size:.2f} GB, written in {time.process_time() - begun:.0f} s", flush=True)
        for network in [options.network] if options.network else MIXES:
            for kind in KINDS[::-1]:
                code = "import sys; from bench import scale_training as s; s.alone(*sys.argv[1:4], int(sys.argv[4]), sys.argv[5] == 'True')"
                call = [
                    sys.executable,
                    "-c",
                    code,
                    str(folder),
                    network,
                    kind,
                    str(options.steps),
                    str(options.epoch),
                ]
                done = subprocess.run(call, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
                about = json.loads(done.stdout.splitlines()[-1])
                most, count = about.pop("bytes") / 1e9, about.pop("steps")
                parts = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in about.items())
                print(
                    f"{network} from {kind}: {most:.2f} GB of anonymous memory at most; {count} steps; {parts}",
                    flush=True,
                )
            shares = in_turns(paths, network, options.steps, options.rounds)
            each = ", ".join(f"{share:.3f}" for share in shares)
            print(
                f"{network}: steps from the files to one from memory, in turns: {np.median(shares):.3f} (median of {each}); same weights",
                flush=True,
            )
    finally:
        shutil.rmtree(folder)
