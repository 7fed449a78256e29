"""Stage one end to end: decode, noise, features, HDF5, fsync. The obvious way, the plain path, the fast path.

    python -m bench.extraction [--data ../shared/urbansound8k-mini] [--clips 96] [--jobs 1 2]

The obvious way: five ``librosa.feature`` calls a view on what ``librosa.load`` gives, joblib over clips, everything
into one HDF5 file. All ways do the same clips in one run, workers started and warm before the clock (the fast way's
with the compiled steps that they load after some tasks: a second each, once); each
figure is also given as a ratio to the obvious way with as many processes. Without the data: synthetic clips.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import soundfile
from joblib import Parallel, delayed

from pipeline.audio import reading as audio
from pipeline.config import FeatureSpec
from pipeline.corpus import Corpus, open_corpus
from pipeline.corpus.urbansound8k import URBANSOUND8K as CLASSES
from pipeline.extraction.stage import extract_corpus
from pipeline.extraction.workers import COMPILED_FROM, TASK_CLIPS

MINI = Path(__file__).resolve().parents[2] / "shared" / "urbansound8k-mini"
SPEC = FeatureSpec()


def write_clips(root: Path, folds: int, clips: int, sr: int = 22050) -> None:
    """UrbanSound8K's layout with clips of 0.5 to 4 s: a gliding tone in noise."""
    rng = np.random.default_rng(0)
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, folds + 1):
        (root / "audio" / f"fold{fold}").mkdir(parents=True)
        for i in range(clips):
            name, seconds = f"{1000 * fold + i}-{i % 10}-0-0.wav", rng.uniform(0.5, 4)
            t = np.arange(round(sr * seconds)) / sr
            y = 0.3 * np.sin(2 * np.pi * (rng.uniform(100, 2000) + rng.uniform(0, 300) * t) * t)
            y += 0.05 * rng.standard_normal(len(t))
            soundfile.write(root / "audio" / f"fold{fold}" / name, y.astype(np.float32), sr, "PCM_16")
            rows.append(f"{name},{1000 * fold + i},0,{len(t) / sr:.6f},1,{fold},{i % 10},{CLASSES[i % 10]}")
    (root / "metadata").mkdir()
    (root / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows) + "\n")


def obvious_clip(path: Path, name: str) -> np.ndarray:
    """(view, feature, bin, frame) of a clip as one would write it down first."""
    import librosa

    warnings.simplefilter("ignore")  # Of an "empty frequency set", for a silent clip.
    y, sr = librosa.load(path, sr=SPEC.sr)
    clean = librosa.util.fix_length(y, size=SPEC.samples)
    noisy = clean + audio.noise(name, SPEC.samples, std=SPEC.noise_std, seed=SPEC.noise_seed)
    bins, octave, hop = SPEC.bins, SPEC.bins_per_octave, SPEC.hop_length
    return np.stack(
        [
            np.stack(
                [
                    librosa.feature.mfcc(y=y, sr=sr, n_mfcc=bins, hop_length=hop),
                    librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=sr, n_mels=bins, hop_length=hop)),
                    librosa.feature.chroma_stft(y=y, sr=sr, n_chroma=bins, hop_length=hop),
                    librosa.feature.chroma_cqt(y=y, sr=sr, n_chroma=bins, bins_per_octave=octave, hop_length=hop),
                    librosa.feature.chroma_cens(y=y, sr=sr, n_chroma=bins, bins_per_octave=octave, hop_length=hop),
                ]
            )
            for y in (clean, noisy)
        ]
    ).astype(np.float32)


def obvious(corpus: Corpus, target: Path, jobs: int) -> None:
    arrays = Parallel(n_jobs=jobs)(delayed(obvious_clip)(clip.path, clip.name) for clip in corpus.clips)
    with h5py.File(target, "w") as file:
        file["features"] = np.stack(arrays)
        file["label"] = [clip.label for clip in corpus.clips]
    with target.open("rb") as written:
        os.fsync(written.fileno())


def ours(corpus: Corpus, target: Path, jobs: int, plain: bool) -> None:
    extract_corpus(corpus, SPEC, target, jobs=jobs, plain=plain, backend="sequential" if jobs == 1 else "loky")


def part(corpus: Corpus, count: int) -> Corpus:
    """``count`` clips from all over the corpus."""
    step = max(1, len(corpus.clips) // count)
    clips = corpus.clips[::step][:count]
    return dataclasses.replace(corpus, clips=clips, folds=tuple(sorted({clip.fold for clip in clips})))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=MINI)
    parser.add_argument("--clips", type=int, default=96, help="of the slow ways")
    parser.add_argument("--fast-clips", type=int, default=720, help="of the fast way, which needs more to be timed")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if not options.data.is_dir():
            options.data = work / "synthetic-clips"
            write_clips(options.data, folds=2, clips=max(options.clips, options.fast_clips) // 2)
        corpus = open_corpus("urbansound8k", options.data)
        slow, fast, few = (part(corpus, n) for n in (options.clips, options.fast_clips, 32))
        # So many that every worker has had its ``COMPILED_FROM`` tasks.
        many = part(corpus, 2 * COMPILED_FROM * TASK_CLIPS * max(options.jobs))
        ways = {
            "obvious": (slow, lambda c, target, jobs: obvious(c, target, jobs)),
            "plain": (slow, lambda c, target, jobs: ours(c, target, jobs, plain=True)),
            "fast": (fast, lambda c, target, jobs: ours(c, target, jobs, plain=False)),
        }
        print(f"{corpus.name}: {len(slow.clips)} clips (fast: {len(fast.clips)}), two views each, end to end")
        print(f"{'way':<8} {'processes':>9} {'ms per clip':>10} {'UrbanSound8K':>13} {'× obvious':>10}")
        for jobs in options.jobs:
            base = 0.0
            for way, (clips, extract) in ways.items():
                extract(many if way == "fast" else few, work / "warm", jobs)
                start = time.perf_counter()
                extract(clips, work / "timed", jobs)
                took = (time.perf_counter() - start) / len(clips.clips)
                base = base or took
                whole = took * URBANSOUND8K_CLIPS
                print(
                    f"{way:<8} {jobs:>9} {took * 1e3:>10.2f} {whole / 60:>9.1f} min {base / took:>10.1f}",
                    flush=True,
                )
                for left in (work / "warm", work / "timed"):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


URBANSOUND8K_CLIPS = 8732

if __name__ == "__main__":
    main()
