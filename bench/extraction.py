"""Stage one end to end: decode, noise, features, HDF5, fsync. The obvious way, the plain path, the fast path.

    python -m bench.extraction [--data ../shared/urbansound8k-mini] [--clips 48] [--jobs 1 2] [--rounds 5] [--ways obvious fast]

The obvious way: five ``librosa.feature`` calls a view on what ``librosa.load`` gives, joblib over clips, everything into one HDF5 file.
The ways take turns, in every second round the other way round, so that they meet the same machine; a ratio is of one round, to the
obvious way with as many processes. Each way and number of processes has a process of its own, which starts the others and keeps them
(for five minutes without work): they are warm before the clock, the fast way's with the compiled steps that they load after some clips,
and what one way does to its processes is no matter of the other. Told are medians and, of the ratios, the least and the most.
Without the data: synthetic clips.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import soundfile
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from pipeline.audio import reading as audio
from pipeline.config import FeatureSpec
from pipeline.corpus import Corpus, open_corpus
from pipeline.corpus.urbansound8k import URBANSOUND8K as CLASSES
from pipeline.extraction.stage import extract_corpus
from pipeline.extraction.workers import COMPILED_AFTER

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


WAYS: dict[str, Callable[[Corpus, Path, int], None]] = {
    "obvious": obvious,
    "plain": partial(ours, plain=True),
    "fast": partial(ours, plain=False),
}


def seconds(way: str, corpus: Corpus, jobs: int, beside: Path) -> float:
    """Of a whole extraction into a new folder ``beside`` others. Runs in the way's own process."""
    with tempfile.TemporaryDirectory(dir=beside) as folder:
        start = time.perf_counter()
        WAYS[way](corpus, Path(folder) / "features", jobs)
        return time.perf_counter() - start


def stop() -> None:
    """End the processes that the way's own one started."""
    get_reusable_executor().shutdown(kill_workers=True)


def compare(corpus: Corpus, clips: dict[str, int], numbers: list[int], rounds: int, work: Path) -> None:
    """Time each way on so many clips, with each number of processes, in turns, and tell."""
    corpora = {way: part(corpus, count) for way, count in clips.items()}
    took: dict[tuple[str, int], list[float]] = {(way, jobs): [] for jobs in numbers for way in corpora}
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        own = {key: stack.enter_context(ProcessPoolExecutor(1, context)) for key in took}
        for (way, jobs), process in own.items():
            enough = 2 * COMPILED_AFTER if way == "fast" else 8  # every process takes the compiled steps
            process.submit(seconds, way, part(corpus, enough * jobs), jobs, work).result()
        for turn in range(rounds):
            for way, jobs in list(own)[:: -1 if turn % 2 else 1]:
                spent = own[way, jobs].submit(seconds, way, corpora[way], jobs, work).result()
                took[way, jobs].append(spent / len(corpora[way].clips))
        for process in own.values():
            process.submit(stop).result()
    print(f"{'way':<8} {'processes':>9} {'ms per clip':>11} {'UrbanSound8K':>13} {'× obvious':>10}  least to most")
    for (way, jobs), each in took.items():
        ratios = [theirs / mine for theirs, mine in zip(took["obvious", jobs], each)]
        print(
            f"{way:<8} {jobs:>9} {median(each) * 1e3:>11.2f} {median(each) * URBANSOUND8K_CLIPS / 60:>9.1f} min "
            f"{median(ratios):>10.1f}  {min(ratios):.1f} to {max(ratios):.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=MINI)
    parser.add_argument("--clips", type=int, default=48, help="of the slow ways")
    parser.add_argument("--fast-clips", type=int, default=720, help="of the fast way, which needs more to be timed")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if not options.data.is_dir():
            options.data = work / "synthetic-clips"
            write_clips(options.data, folds=2, clips=max(options.clips, options.fast_clips) // 2)
        corpus = open_corpus("urbansound8k", options.data)
        clips = {way: options.fast_clips if way == "fast" else options.clips for way in WAYS}
        clips = {
            way: min(count, len(corpus.clips)) for way, count in clips.items() if way in {"obvious", *options.ways}
        }
        print(f"{corpus.name}: clips {clips}, two views each, end to end, {options.rounds} rounds", flush=True)
        compare(corpus, clips, options.jobs, options.rounds, work)


URBANSOUND8K_CLIPS = 8732

if __name__ == "__main__":
    from bench import extraction  # by its name, under which processes of processes find it too

    extraction.main()
