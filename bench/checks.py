"""What it costs to compare features with their digests as training reads them, and what a whole ``check`` does.

    python -m bench.checks [--clips 4000] [--rounds 5]

A made-up fold is written and read with and without the comparison, by turns: the least of the rounds, wall and processor seconds per
GB. Beside it what digests cost by themselves. Then ``check`` of ten folds and a hundred runs, and reading the same bytes alone. OpenSSL
looks at the processor: with OPENSSL_ia32cap=:~0x20000000 it does SHA-256 as on one without instructions for it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from pipeline import cache, runs
from pipeline.cache import checking
from pipeline.config import FeatureSpec
from pipeline.report import check

FOLDS, RUNS = 10, 100

DIGESTS: dict[str, Callable[[memoryview], object]] = {
    "SHA-256": lambda data: hashlib.sha256(data).digest(),
    "BLAKE2b": lambda data: hashlib.blake2b(data, digest_size=32).digest(),
    "CRC-32": zlib.crc32,
}


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def least(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Of each work the least wall and the least processor seconds of ``rounds``, by turns: others' load meets all alike."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            costs[name].append(cost(work))
    return {name: (min(wall for wall, _ in each), min(cpu for _, cpu in each)) for name, each in costs.items()}


def made_up_fold(path: Path, fold: int, clips: int) -> Path:
    """Random features of ``clips`` clips."""
    spec, random = FeatureSpec(), np.random.default_rng(fold)
    names = tuple(f"{fold}-{i}.wav" for i in range(clips))
    header = cache.Header(
        corpus="made-up",
        dataset="folder",
        synthetic=True,
        fold=fold,
        classes=("a", "b"),
        spec=spec,
        clips=names,
        labels=tuple(i % 2 for i in range(clips)),
        sources=names,
        files=tuple(cache.File(name, 0, 0) for name in names),
        units=("",) * 5,
        calls=("",) * 5,
    )
    values = random.standard_normal((min(clips, 64), *header.shape[1:]), dtype=np.float32)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, clips, len(values)):
            yield values[: clips - start] + np.float32(start)

    cache.write_fold(path, header, blocks())
    return path


def made_up_run(folder: Path, seed: int) -> None:
    """A finished, sealed run of a small student's size."""
    weights = io.BytesIO()
    np.savez(weights, state=np.random.default_rng(seed).standard_normal(116_538).astype(np.float32))
    about = {
        "identity": f"made-up {folder.name}",
        "schema": runs.SCHEMA,
        "role": "student",
        "model": "cnn2",
        "seed": seed,
    }
    about |= {"corpus": "made-up", "dataset": "folder", "synthetic": True, "fold": 1, "mix": "soft:1"}
    about |= {
        "settings": {"features": {}, "teacher": {}, "student": {}},
        "preset": "default",
        "data": {},
        "skipped": {},
    }
    result = {
        "accuracy": 0.5,
        "best_accuracy": 0.5,
        "best_epoch": 1,
        "epochs": 30,
        "test_clips": 800,
        "parameters": 116_538,
    }
    clips = np.array([f"{i}.wav" for i in range(800)])
    runs.restart_metrics(folder, ({"epoch": i, "loss": 1 / i} for i in range(1, 31)), str(about["identity"]))
    runs.write_finished(
        folder,
        config={**about, "all_folds": [1]},
        environment={"python": "", "packages": {}},
        model_bytes=weights.getvalue(),
        predictions=runs.Predictions(clips, np.zeros(800, np.int64), np.zeros((800, 10), np.float32), clips),
        result={**result, "status": "trained"},
    )


def read_all(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            path.read_bytes()


def load(path: Path, *, checked: bool) -> None:
    checking.checked.clear()
    with mock.patch.object(checking, "require", checking.require if checked else lambda *_, **__: None):
        cache.load([path])


def reading(place: Path, clips: int, rounds: int) -> None:
    path = made_up_fold(place / "fold1.h5", 1, clips)
    size = path.stat().st_size / 1e9
    clip = memoryview(np.random.default_rng(0).bytes(138_400))
    works: dict[str, Callable[[], object]] = {
        "load without the comparison": lambda: load(path, checked=False),
        "load with it": lambda: load(path, checked=True),
    }
    for name, digest in DIGESTS.items():
        works[f"{name} alone, one thread"] = lambda digest=digest: [digest(clip) for _ in range(clips // 4)]
    print(f"a fold of {clips} clips, {size:.2f} GB, {checking.HASHERS} threads compute digests")
    for name, (wall, processor) in least(works, rounds).items():
        of = size if name.startswith("load") else clips // 4 * len(clip) / 1e9
        print(f"{name:<32} {wall / of:6.2f} s/GB wall {processor / of:6.2f} s/GB processor")
    path.unlink()


def whole_check(place: Path, clips: int, rounds: int) -> None:
    for fold in range(1, FOLDS + 1):
        made_up_fold(place / "cache" / f"fold{fold}.h5", fold, clips)
    for seed in range(RUNS):
        made_up_run(place / "runs" / f"fold1-seed{seed}", seed)
    works = {"reading": lambda: read_all(place), "check": lambda: check.check([place / "cache", place / "runs"])}
    costs = least(works, rounds)
    out = check.check([place / "cache", place / "runs"])
    print(f"{out.counts}, {out.bytes / 1e9:.2f} GB, {len(out.findings)} findings")
    for name, (wall, processor) in costs.items():
        print(f"{name:<32} {wall:6.2f} s wall {processor:6.2f} s processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=4000, help="of the fold that is read")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        reading(Path(name), options.clips, options.rounds)
        whole_check(Path(name), max(1, options.clips // FOLDS), min(options.rounds, 3))


if __name__ == "__main__":
    main()
