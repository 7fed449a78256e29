"""How long the five features of a view take on one core, and how far the fast path is from librosa.

    python -m bench.features [--clips N] [--data PATH] [--rounds R]

Four ways in one run, taking turns clip by clip, so that each figure is a ratio under the same load:

- obvious: the five ``librosa.feature`` calls one by one, as one would write them;
- plain: ``extract(..., plain=True)``, the oracle (the same calls, checked and stacked);
- fast: ``extract(...)``;
- floor: the bare transforms that no order of work avoids: one real FFT of the short-time frames (float64, as
  librosa's), seven of the constant-Q frames (float32), six resamplings by half, and the products with the
  filter banks on their bands. No framing, windows, magnitudes, logarithms, tuning, or normalisation. A
  second floor takes float32 for the short-time frames as well; values are then right to 1e-7 of a
  frame's peak only, and the tuning hops.

Times are CPU time of the process (all its threads): of each way the same clips as often as the others, the least of
its rounds a clip, averaged over clips.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.config import FEATURES, FeatureSpec
from pipeline.features import UNITS, extract, warm_up

MINI = Path(__file__).resolve().parents[2] / "shared" / "urbansound8k-mini"


def clips_of(folder: Path | None, count: int, spec: FeatureSpec) -> tuple[str, list[np.ndarray]]:
    """A name and clips (2, n) float32, clean and noisy: spread over a folder of sound files; or synthetic."""
    if folder is None:
        return "synthetic", [views(y, spec) for y in synthetic(count, spec)]
    from pipeline.audio.reading import read_clip

    files = sorted(folder.rglob("*.wav"))
    chosen = files[:: max(1, len(files) // count)][:count]
    clips = [read_clip(path, sr=spec.sr, samples=spec.samples) for path in chosen]
    return folder.name, [views(y, spec) for y in clips]


def views(y: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """A clip and a noisy copy, as stage one passes them to ``extract``: (2, n) float32."""
    noise = np.random.default_rng(len(y)).normal(0.0, spec.noise_std, len(y))
    return np.stack([y, (y + noise).astype(np.float32)])


def synthetic(count: int, spec: FeatureSpec) -> list[np.ndarray]:
    """Decaying harmonic tones in noise, half of them shorter than the clip."""
    rng = np.random.default_rng(0)
    t = np.arange(spec.samples) / spec.sr
    out = []
    for index in range(count):
        pitch, decay = 110 * 2 ** rng.uniform(0, 4), rng.uniform(0, 2)
        tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 6)) * np.exp(-decay * t)
        y = 0.2 * tone + rng.normal(0, 0.003, len(t))
        if index % 2:
            y[rng.integers(spec.sr // 20, spec.samples) :] = 0
        out.append(y.astype(np.float32))
    return out


def obvious(y: np.ndarray, spec: FeatureSpec) -> None:
    """What one would write first."""
    from librosa import feature, power_to_db

    feature.mfcc(y=y, sr=spec.sr, n_mfcc=spec.bins, n_fft=spec.n_fft, hop_length=spec.hop_length)
    power_to_db(feature.melspectrogram(y=y, sr=spec.sr, n_mels=spec.bins, n_fft=spec.n_fft, hop_length=spec.hop_length))
    feature.chroma_stft(y=y, sr=spec.sr, n_chroma=spec.bins, n_fft=spec.n_fft, hop_length=spec.hop_length)
    for name, rows in (("chroma_cqt", spec.bins), ("chroma_cens", spec.cens_bins)):
        getattr(feature, name)(
            y=y,
            sr=spec.sr,
            n_chroma=rows,
            bins_per_octave=spec.bins_per_octave,
            hop_length=spec.hop_length,
        )


def floor(spec: FeatureSpec, kind: type) -> Callable[[np.ndarray], None]:
    """The bare transforms of a view, on arrays that lie ready; ``kind``: type of the short-time frames."""
    import soxr
    import torch

    from pipeline.features import banks, fourier

    rng = np.random.default_rng(0)
    plan = banks.constant_q(spec.sr, spec.hop_length, spec.bins_per_octave, 0.0)

    def ready(shape: tuple[int, ...], dtype: type) -> np.ndarray:
        array = fourier.aligned(shape, dtype)
        array[...] = rng.normal(size=shape)
        return array

    frames = ready((spec.frames, spec.n_fft), kind)
    octaves = [(octave, ready((spec.frames, octave.n_fft), np.float32)) for octave in plan.octaves]
    power = np.square(ready((spec.frames, 1 + spec.n_fft // 2), np.float32))
    mels = banks.mel(spec.sr, spec.n_fft, 128) + banks.mel(spec.sr, spec.n_fft, spec.bins)
    chroma = banks.lifted_chroma(spec.sr, spec.n_fft, spec.bins, 0.0)

    def once(y: np.ndarray) -> None:
        torch.fft.rfft(torch.from_numpy(frames))
        for block in mels:
            power[:, block.rows] @ block.weights
        power @ chroma
        for octave, part in octaves:
            if octave.halve:
                y = soxr.resample(y, 2, 1, quality="soxr_hq")
            spectrum = torch.fft.rfft(torch.from_numpy(part)).numpy().view(np.float32)
            for block in octave.bank:
                spectrum[:, block.rows] @ block.weights

    return once


def timed(action: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def times(clips: list[np.ndarray], spec: FeatureSpec, rounds: int) -> dict[str, float]:
    """Way → mean CPU milliseconds per view; every way runs ``rounds`` times per clip, and its least counts."""
    bare, bare32 = floor(spec, np.float64), floor(spec, np.float32)
    ways: dict[str, Callable[[np.ndarray], object]] = {
        "obvious": lambda clip: [obvious(y, spec) for y in clip],
        "plain": lambda clip: extract(clip, spec, plain=True),
        "fast": lambda clip: extract(clip, spec),
        "floor": lambda clip: [bare(y) for y in clip],
        "floor32": lambda clip: [bare32(y) for y in clip],
    }
    for clip in clips:  # banks of every tuning are built, allocators and caches are warm
        extract(clip, spec)
    for action in ways.values():
        action(clips[0])
    least = {name: np.full(len(clips), np.inf) for name in ways}
    for _ in range(rounds):
        for index, y in enumerate(clips):
            for name, action in ways.items():
                least[name][index] = min(least[name][index], timed(lambda: action(y)))  # noqa: B023
    return {name: 1e3 * float(values.mean()) / len(clips[0]) for name, values in least.items()}


def differences(clips: list[np.ndarray], spec: FeatureSpec) -> np.ndarray:
    """(5, 2): worst absolute difference of fast and plain, and worst beyond 1e-5 of the value, a feature."""
    worst = np.zeros((len(FEATURES), 2))
    for y in clips:
        plain, fast = extract(y, spec, plain=True), extract(y, spec)
        gap = np.abs(fast - plain)
        worst[:, 0] = np.maximum(worst[:, 0], gap.max(axis=(0, 2, 3)))
        worst[:, 1] = np.maximum(worst[:, 1], (gap - 1e-5 * np.abs(plain)).max(axis=(0, 2, 3)))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="number of clips; each is two views")
    parser.add_argument("--data", type=Path, default=MINI if MINI.is_dir() else None, help="folder of .wav files")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way does each clip")
    arguments = parser.parse_args()
    if arguments.clips < 1 or arguments.rounds < 1:
        parser.error("--clips and --rounds: expected at least 1")
    warnings.filterwarnings("ignore", message="Trying to estimate tuning")  # of silence, by the obvious way
    spec = FeatureSpec()
    warm_up(spec)  # first, so that all libraries are there to be limited
    with threadpool_limits(1):
        name, clips = clips_of(arguments.data, arguments.clips, spec)
        cost = times(clips, spec, arguments.rounds)
        worst = differences(clips, spec)
    print(
        f"{2 * len(clips)} views of {name}, {spec.seconds:g} s at {spec.sr} Hz, one core; CPU ms per view, least of {arguments.rounds}"
    )
    print(f"{'way':10} {'ms':>8} {'obvious/way':>12} {'way/floor':>10} {'way/floor32':>12}")
    for way, ms in cost.items():
        ratios = cost["obvious"] / ms, ms / cost["floor"], ms / cost["floor32"]
        print(f"{way:10} {ms:8.2f} {ratios[0]:12.1f} {ratios[1]:10.2f} {ratios[2]:12.2f}")
    print(f"\n{'fast − plain':16} {'worst':>10} {'beyond 1e-5':>12}  unit")
    for feature, (absolute, beyond) in zip(FEATURES, worst):
        print(f"{feature:16} {absolute:10.1e} {max(beyond, 0):12.1e}  {UNITS[feature]}")


if __name__ == "__main__":
    main()
