"""The innermost steps, in numpy and compiled: the same bits, and the compiled ones only where they are worth it."""

from __future__ import annotations

import inspect
import platform
from pathlib import Path

import numba
import numpy as np
import pytest

from pipeline import features
from pipeline.cache import File
from pipeline.config import FeatureSpec
from pipeline.extraction import workers
from pipeline.features import definition, loops, steps, transforms, tuning, vectors
from tests.sounds import sounds

FUNCTIONS = sorted(name for name, value in vars(loops).items() if hasattr(value, "signatures"))
SPEC = FeatureSpec()
pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="compilers may contract products and sums here"
)


def noise(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """Of every size, also so small that squares are 0, with zeros, and equal neighbours."""
    rng = np.random.default_rng(sum(shape))
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-44, 3, shape)
    values[rng.random(shape) < 0.2] = 0
    return np.round(values, 1 if rng.random() < 0.5 else 60).astype(dtype)


def power(frames: int = 40, bins: int = 513) -> np.ndarray:
    return np.square(np.random.default_rng(bins).standard_normal((frames, bins)).round(1)).astype(np.float32)


def calls(name: str) -> list[tuple]:
    """Arguments for a step: odd sizes, hops that do not divide, sounds shorter than a window, none at all."""
    lengths, hops, windows = (1, 7, 1000, 4096), (3, 64, 500), (16, 256)
    sizes = [(n, hop, size) for n in lengths for hop in hops for size in windows]
    rows = [(y := noise(n), hop, np.empty((1 + len(y) // hop, size), np.float32)) for n, hop, size in sizes]
    spectra = [(power(40, bins), np.full(40, level, np.float32)) for bins in (65, 513) for level in (0, 0.5, 9)]
    candidates = [vectors.candidates(values, floors, 3, values.shape[1] - 4) for values, floors in spectra]
    peaks_of = [vectors.peaks(values, floors, place) for (values, floors), place in zip(spectra, candidates)]
    return {
        "gather_chosen": [(y, hop, np.arange(len(out))[::2], out[::2].copy()) for y, hop, out in rows],
        "windowed": [
            (vectors.padded(y, hop, *out.T.shape).copy(), hop, np.hanning(out.shape[1]), np.empty(out.shape))
            for y, hop, out in rows
        ],
        "sounding": [(y,) for y in (np.zeros(5, np.float32), np.ones(1, np.float32), *(noise(n) for n in lengths))],
        "divided": [(noise(n), np.sqrt(0.5)) for n in lengths],
        "add_magnitudes": [
            (np.abs(noise(9, filters)), noise(blocks, 9, 16)) for filters, blocks in ((40, 5), (12, 2), (7, 1))
        ],
        "add_peaks": [(np.ones(len(out), np.float32), y, hop, out.shape[1]) for y, hop, out in rows],
        "candidates": [(values, floors, 3, values.shape[1] - 4) for values, floors in spectra],
        "peaks": [(values, floors, place) for (values, floors), place in zip(spectra, candidates)],
        "frequencies": [(*peaks, least, 22050.0, 1024) for peaks in peaks_of for least in (0.0, 0.7, 99.0)],
        "mode": [(np.float32(40) * noise(n), tuning.EDGES) for n in lengths]
        + [(np.array([0.5, 0.49, 1.5, -0.5, 7.0, 7.01, 7.01, 7.005], np.float32), tuning.EDGES)],
    }[name]


def test_both_ways_have_the_same_steps() -> None:
    for name in FUNCTIONS:
        compiled = inspect.signature(getattr(loops, name).py_func)
        assert inspect.signature(getattr(vectors, name)) == compiled, name
    assert len(FUNCTIONS) == 10


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_steps_give_the_same_bits(name: str) -> None:
    """What they return, and what they write into their arguments."""
    for arguments in calls(name):
        results = []
        for module in (vectors, loops):
            copies = [value.copy() if isinstance(value, np.ndarray) else value for value in arguments]
            returned = getattr(module, name)(*copies)
            parts = returned if isinstance(returned, tuple) else (returned,)
            results.append([np.asarray(part).tobytes() for part in (*parts, *copies)])
        assert results[0] == results[1], [np.shape(value) for value in arguments]


@pytest.mark.parametrize("changes", [{}, {"hop_length": 255, "n_fft": 1000}, {"sr": 16000, "hop_length": 200}])
def test_features_are_the_same_bits_either_way(changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FeatureSpec(seconds=1.0, **changes)
    clips = np.stack([y.astype(np.float32) for y in sounds(spec).values()][:: 3 if changes else 1])
    both = []
    for module in (vectors, loops):
        monkeypatch.setattr(steps, "chosen", [module])
        both.append(features.extract(clips, spec))
    np.testing.assert_array_equal(*both)


def test_a_worker_with_many_clips_loads_the_compiled_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(steps, "chosen", [vectors])
    monkeypatch.setattr(workers, "clips_begun", [0])
    monkeypatch.setattr(workers, "COMPILED_AFTER", 6)
    monkeypatch.setattr(workers, "warm", lambda plain: None)
    missing = workers.Job("a", str(tmp_path / "a.wav"), File("a.wav", 0, 0, "", 1.0), "key")
    kinds = []
    for plain, clips in ((False, 4), (False, 1), (True, 1), (True, 1), (False, 1)):
        done = workers.compute(workers.Task(1, (missing,) * clips, tmp_path, SPEC, plain, 0))
        assert len(done.failures) == clips
        kinds.append(steps.now())
    assert kinds == [vectors] * 4 + [loops], "small tasks count for as little as they are"


def test_where_numba_compiles_nothing_numpy_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """NUMBA_DISABLE_JIT: the loops would be Python's, slow, and a count in uint8 would run over."""
    monkeypatch.setattr(steps, "chosen", [vectors])
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    steps.load()
    assert steps.now() is vectors
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    steps.load()
    assert steps.now() is loops


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (1024, 300), (512, 64), (1024, 3000), (401, 160), (1, 7)])
@pytest.mark.parametrize("samples", [1, 511, 22050, 50001])
def test_frames_that_are_transformed_some_at_a_time_are_all_of_them(
    monkeypatch: pytest.MonkeyPatch, n_fft: int, hop: int, samples: int
) -> None:
    monkeypatch.setattr(transforms, "FRAMES", 7)
    y = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    frames = vectors.framed(y, hop, n_fft, 1 + samples // hop) * definition.hann(n_fft)["window"]
    whole = np.abs(np.fft.rfft(frames).astype(np.complex64))
    np.testing.assert_array_equal(transforms.magnitudes(y, n_fft=n_fft, hop_length=hop), whole)
    power = transforms.magnitudes(y, n_fft=n_fft, hop_length=hop, squared=True)
    np.testing.assert_array_equal(power, whole * whole)
