"""A small corpus in UrbanSound8K's layout, and stage one on it: for the tests of the extraction."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from pipeline import cache
from pipeline.config import FeatureSpec
from pipeline.corpus import open_corpus
from pipeline.extraction.stage import FoldReport, extract_corpus
from tests.tiny import CLASSES, Done, audio_rkd

CLI = Path(__file__).resolve().parents[1] / "cli.py"
SPEC = FeatureSpec(seconds=0.5, sr=16000, hop_length=256, bins=12, bins_per_octave=12)


def write_clip(path: Path, seed: int, seconds: float = 0.25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    t = np.arange(round(16000 * seconds)) / 16000
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 2000) * t)
    soundfile.write(path, (tone + 0.05 * rng.standard_normal(len(t))).astype(np.float32), 16000, "PCM_16")


def write_corpus(root: Path, folds: int = 2, clips: int = 5) -> Path:
    """UrbanSound8K's layout with short clips; names do not come in the order of the table."""
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, folds + 1):
        for i in reversed(range(clips)):
            name = f"{100 * fold + i // 2}-{i % 10}-0-{i}.wav"
            write_clip(root / "audio" / f"fold{fold}" / name, 1000 * fold + i)
            rows.append(f"{name},{100 * fold + i // 2},0.0,0.25,1,{fold},{i % 10},{CLASSES[i % 10]}")
    (root / "metadata").mkdir()
    (root / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    return root


def edit_table(root: Path, change: Callable[[str], str]) -> None:
    table = root / "metadata" / "UrbanSound8K.csv"
    table.write_text(change(table.read_text()))


def extract(root: Path, where: Path | None = None, spec: FeatureSpec = SPEC, **options: object) -> list[FoldReport]:
    corpus = open_corpus("urbansound8k", root)
    options = {"backend": "sequential", **options}
    return extract_corpus(corpus, spec, where or root.parent / "cache", **options)  # type: ignore[arg-type]


def counts(reports: list[FoldReport]) -> list[tuple[int, int, int]]:
    return [(r.computed, r.reused, len(r.failed)) for r in reports]


def arrays(where: Path) -> dict[str, np.ndarray]:
    """Clip → features, of all folds below a folder."""
    folds = [cache.read_fold(path) for path in sorted(where.rglob("fold*.h5"))]
    return {clip: x for fold in folds for clip, x in zip(fold.header.clips, fold.features, strict=True)}


def same(one: Path, other: Path) -> None:
    ours, theirs = arrays(one), arrays(other)
    assert ours.keys() == theirs.keys() and ours
    for clip in ours:
        np.testing.assert_array_equal(ours[clip], theirs[clip], err_msg=clip)


def only_folds(where: Path) -> bool:
    """Nothing is left but the folds' files, and the notes of their checks: no lock, no part, no half-written file."""
    names = {path.name for path in where.rglob("*") if path.is_file()} - {"checks.json", "times.json"}
    return all(name.startswith("fold") and name.endswith(".h5") for name in names)


def command(folder: Path, *options: str) -> Done:
    return audio_rkd(folder, *arguments(*options)[2:])


def arguments(*options: str) -> list[str]:
    return [sys.executable, str(CLI), "features", "--dataset", "urbansound8k", "--data", "toy", *options]


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments(*options),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_parts(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and len(list((folder / "cache").rglob("*.npz"))) < count:
        time.sleep(0.002)


def wait_for_end(group: int) -> None:
    """Until no process of a group is left; a worker that outlives its parent for long is an error."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("processes are left")
