"""The fast path against librosa's own functions, on real and made-up sounds and other settings.

Tolerance: 1e-5 of the value, and beyond that, by the feature's unit: 5e-4 dB (MFCC; its first coefficients reach
some -1000), 1e-4 dB (mel-spectrogram), 1e-5 (chromagrams, whose largest value is 1).

On x86 it holds for every frame. Elsewhere compilers may contract a multiplication and an addition, and the constant-Q
chromagram of a frame of rounding dust (after a hard cut to zeros librosa scales it to full scale) is not
comparable, not even librosa's own in float32 and float64: frames at the -80 dB floor are then left out.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import platform
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pipeline import bounds, features
from pipeline.audio.reading import read_clip
from pipeline.config import EVERY_FEATURE, FEATURES, FeatureSpec, InputError
from pipeline.features import LARGEST, UNITS, banks, describe, extract, fast, transforms
from pipeline.features.fast import TINY
from tests.sounds import beyond_the_bands, sounds

SPEC = FeatureSpec()
ATOL = np.array([5e-4, 1e-4, 1e-5, 1e-5, 1e-5])[:, None, None]
EXACT = platform.machine() in ("x86_64", "AMD64")


def assert_equal_to_plain(y: np.ndarray, spec: FeatureSpec) -> None:
    plain, fast = extract(y, spec, plain=True), extract(y, spec)
    assert fast.shape == plain.shape == (5, spec.bins, 1 + len(y) // spec.hop_length)
    assert fast.dtype == plain.dtype == np.float32
    assert np.isfinite(fast).all() and np.isfinite(plain).all()
    beyond = np.abs(fast - plain) - 1e-5 * np.abs(plain) - ATOL
    if not EXACT:
        levels = plain[1].max(axis=0)
        dust = levels <= levels.max() - 80
        beyond[3, :, dust] = 0
        beyond[4, :, np.convolve(dust, np.ones(41), mode="same") > 0] = 0
    worst = beyond.max(axis=(1, 2))
    assert (worst <= 0).all(), dict(zip(FEATURES, worst + ATOL.ravel()))


@pytest.mark.parametrize("name", list(beyond_the_bands(FeatureSpec(seconds=0.1))))
def test_fast_equals_plain_where_the_bands_hold_next_to_nothing(name: str) -> None:
    """What the filters let through is rounding dust then, and it is scaled to 1: only librosa's own arithmetic gives it."""
    assert_equal_to_plain(beyond_the_bands(SPEC)[name], SPEC)


def test_ordinary_sounds_are_not_computed_twice() -> None:
    """What the second arithmetic is for must stay rare, or the fast path is none."""
    from pipeline.features import banks, fast, transforms

    plan = banks.constant_q(SPEC.sr, SPEC.hop_length, SPEC.bins_per_octave, 0.0)
    for name in ("tone", "detuned chord", "noise", "clipped square", "very quiet"):
        signals = transforms.octave_signals(sounds(SPEC)[name], plan)
        loudness = transforms.octave_sum(signals, plan, SPEC.frames).sum(axis=1)
        assert (loudness > 2 * fast.WEAK * transforms.octave_peaks(signals, plan, SPEC.frames)).all(), name


def test_the_level_of_a_frame_is_the_largest_sample_in_its_windows() -> None:
    from pipeline.features import banks, transforms

    plan = banks.constant_q(SPEC.sr, SPEC.hop_length, SPEC.bins_per_octave, 0.0)
    signals = transforms.octave_signals(sounds(SPEC)["hard cut"], plan)
    level = transforms.octave_peaks(signals, plan, SPEC.frames)
    for t in (0, 40, 52, 60, 170, 172):
        least = most = 0.0
        for y, octave in zip(signals, plan.octaves):
            middle, half, hop = t * octave.hop, octave.n_fft // 2, octave.hop
            least += np.abs(y[max(middle - half, 0) : middle + half]).max(initial=0)
            most += np.abs(y[max(middle - half - hop, 0) : middle + half + hop]).max(initial=0)
        assert least * (1 - 1e-6) <= level[t] <= most * (1 + 1e-6)


@pytest.mark.parametrize("name", list(sounds(FeatureSpec(seconds=0.1))))
def test_fast_equals_plain_on_made_up_sounds(name: str) -> None:
    assert_equal_to_plain(sounds(SPEC)[name], SPEC)


def test_fast_equals_plain_on_real_clips(mini: Path) -> None:
    from pipeline.audio.reading import read_clip

    files = sorted(mini.rglob("*.wav"))
    for index, path in enumerate(files[:: len(files) // 24][:24]):
        y = read_clip(path, sr=SPEC.sr, samples=SPEC.samples)
        noise = np.random.default_rng(index).normal(0, SPEC.noise_std, len(y))
        assert_equal_to_plain(y if index % 2 else (y + noise).astype(np.float32), SPEC)


@pytest.mark.parametrize(
    "changes",
    [
        {"sr": 44100, "seconds": 1.0},  # the constant-Q transform down-samples early
        {"sr": 16000, "hop_length": 200, "seconds": 2.0},  # the hop becomes odd within the octaves
        {"hop_length": 255, "seconds": 0.5},  # it is odd from the start
        {"n_fft": 1024, "hop_length": 256, "seconds": 1.0},
        {"n_fft": 4096, "seconds": 1.0},
        {"bins": 12, "bins_per_octave": 36, "seconds": 1.0},
        {"bins": 36, "bins_per_octave": 36, "chroma_bins": 12, "seconds": 1.0},
        {"bins": 20, "bins_per_octave": 60, "chroma_bins": 12, "seconds": 1.5},
        {"bins": 40, "bins_per_octave": 40, "seconds": 0.5},
        {"tuning": -0.13, "seconds": 1.0},
        {"tuning": 0.0, "seconds": 0.1},
        {"seconds": 0.1},
        {"seconds": 0.01},
        {"seconds": 6.0},
        {"seconds": 1.23457},
        {"floor": 1e-5, "seconds": 1.0},
        {"floor": 1e-5, "tuning": 0.0, "seconds": 1.0, "bins_per_octave": 60, "chroma_bins": 12},
        {"floor": 1e-2, "sr": 44100, "seconds": 0.5},
    ],
    ids=str,
)
def test_fast_equals_plain_with_other_settings(changes: dict) -> None:
    spec = dataclasses.replace(SPEC, **changes)
    by_kind = sounds(spec)
    for name in ("detuned chord", "noise", "hard cut"):
        assert_equal_to_plain(by_kind[name], spec)
    by_kind = beyond_the_bands(spec)
    for name in ("tone of 0.998", "insects"):
        assert_equal_to_plain(by_kind[name], spec)
    assert extract(sounds(spec)["noise"], spec).shape == spec.shape


def test_plain_is_librosa_with_these_arguments() -> None:
    import librosa

    y, sr = sounds(SPEC)["noisy square"], 22050
    mel = librosa.feature.melspectrogram(y=y, sr=sr, n_mels=20, n_fft=2048, hop_length=512)
    expected = [
        librosa.feature.mfcc(y=y, sr=sr, n_mfcc=20, n_fft=2048, hop_length=512),
        librosa.power_to_db(mel),
        librosa.feature.chroma_stft(y=y, sr=sr, n_chroma=20, n_fft=2048, hop_length=512),
        librosa.feature.chroma_cqt(y=y, sr=sr, n_chroma=20, bins_per_octave=40, hop_length=512),
        librosa.feature.chroma_cens(y=y, sr=sr, n_chroma=20, bins_per_octave=40, hop_length=512),
    ]
    np.testing.assert_array_equal(extract(y, SPEC, plain=True), np.stack(expected))


def loudness(y: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Of each frame over that of the loudest one, by librosa's own transform."""
    import librosa

    tuning = None if spec.tuning == "estimate" else spec.tuning
    magnitude = np.abs(librosa.cqt(y, sr=spec.sr, n_bins=280, bins_per_octave=40, tuning=tuning)).sum(axis=0)
    return magnitude / max(magnitude.max(), 1e-30)


def energies(y: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Of each frame's windowed samples, over that of the loudest one."""
    window, half = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.n_fft) / spec.n_fft), spec.n_fft // 2
    wide = np.pad(y.astype(np.float64), half)
    energy = [
        np.sum((window * wide[start : start + spec.n_fft]) ** 2) for start in range(0, len(y) + 1, spec.hop_length)
    ]
    return np.array(energy) / max(*energy, 1e-300)


@pytest.mark.slow
def test_frames_below_the_floor_are_silent_and_no_other_feature_changes() -> None:
    floored, counts = dataclasses.replace(SPEC, floor=1e-5), {}
    for name in ("hard cut", "short", "impulse", "constant", "quiet after loud", "noise", "silence", "dust after loud"):
        y = sounds(SPEC)["quiet after loud" if name == "dust after loud" else name]
        if name == "dust after loud":
            y = np.where(np.abs(y) < 1e-3, np.float32(1e-4) * y, y)  # as a resampling leaves it in digital silence
        for plain in (True, False):
            before, after = extract(y, SPEC, plain=plain), extract(y, floored, plain=plain)
            np.testing.assert_array_equal(before[:2], after[:2])
            faint = energies(y, SPEC) < 1e-10
            np.testing.assert_array_equal(after[2], np.where(faint, 0, before[2]), err_msg=name)
            counts[f"{name}, chroma_stft"] = (faint & before[2].any(axis=0)).sum()
            silent = loudness(y, SPEC) < 1e-5
            np.testing.assert_array_equal(after[3], np.where(silent, 0, before[3]), err_msg=name)
            # CENS smooths over 41 frames: those that are farther from any silent one are as before.
            reached = np.convolve(silent, np.ones(41), mode="same") > 0
            np.testing.assert_array_equal(after[4][:, ~reached], before[4][:, ~reached])
            buried = np.convolve(~silent, np.ones(41), mode="same") == 0
            assert not after[4][:, buried].any()
            counts[name] = silent.sum()
    assert counts["noise"] == 0 and counts["hard cut"] > 50  # there is something to it
    assert counts["noise, chroma_stft"] == 0 and counts["dust after loud, chroma_stft"] > 50


@pytest.mark.parametrize("name", [*sounds(FeatureSpec(seconds=0.1)), *beyond_the_bands(FeatureSpec(seconds=0.1))])
def test_fast_equals_plain_with_a_floor(name: str) -> None:
    """The same frames are silent in both, also where the floor lies in the midst of rounding."""
    spec = dataclasses.replace(SPEC, seconds=2.0, tuning=0.0)
    y = (sounds(spec) | beyond_the_bands(spec))[name]
    for floor in (1e-5, 3e-7):
        assert_equal_to_plain(y, dataclasses.replace(spec, floor=floor))


def test_tunings_are_librosas(mini: Path) -> None:
    import librosa

    from pipeline.audio.reading import read_clip

    for path in sorted(mini.rglob("*.wav"))[5::90]:
        y = read_clip(path, sr=SPEC.sr, samples=SPEC.samples)
        spectrum = fast.spectrum_of(y, sr=SPEC.sr, n_fft=2048, hop_length=512)
        power = np.abs(librosa.stft(y)) ** 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = (
                librosa.estimate_tuning(S=power, sr=SPEC.sr, bins_per_octave=20),
                librosa.estimate_tuning(y=y, sr=SPEC.sr, bins_per_octave=40),
            )
        assert (fast.stft_tuning(spectrum, SPEC), fast.cqt_tuning(y, spectrum, SPEC)) == expected


def test_clips_are_computed_each_on_its_own() -> None:
    by_kind = sounds(SPEC)
    batch = np.stack([by_kind["noise"], 1e-3 * by_kind["detuned chord"], by_kind["chirp"]])
    for plain in (False, True):
        alone = np.stack([extract(y, SPEC, plain=plain) for y in batch])
        np.testing.assert_array_equal(extract(batch, SPEC, plain=plain), alone)


def test_a_lifted_bank_gives_the_plain_products_bits(mini: Path) -> None:
    """The chromagrams' bell curves end in subnormal numbers, by which processors multiply a hundred times as long."""
    clips = [*sounds(SPEC).values(), read_clip(min(mini.rglob("*.wav")), sr=SPEC.sr, samples=SPEC.samples)]
    plainly = []
    for tuning in (-0.5, 0.0):
        filters = (SPEC.sr, SPEC.n_fft, SPEC.bins, tuning)
        bank, lifted = banks.chroma(*filters), banks.lifted_chroma(*filters)
        assert 0 < bank[bank > 0].min() < TINY <= lifted[lifted > 0].min()
        for y, level in itertools.product(clips, (1.0, 1e-20)):
            power = np.square(
                transforms.magnitudes((level * y[: SPEC.sr]).astype(np.float32), n_fft=2048, hop_length=512)
            )
            np.testing.assert_array_equal(fast.pitch_classes(power, filters), power @ bank)
            plainly.append(not np.array_equal(power @ lifted / banks.LIFT, power @ bank))
    assert 0 < sum(plainly) < len(plainly) / 2, "some, such as a constant's, are of dust alone"


def test_the_loudest_sound_fits_a_lifted_bank() -> None:
    spec = dataclasses.replace(SPEC, seconds=0.2, use="chroma_stft", tuning=0.0)
    values = extract(np.full(spec.samples, LARGEST, np.float32), spec)
    assert np.isfinite(values).all() and values.max() == 1
    # Parseval: all of a frame's power is at most that of n_fft samples times n_fft, and no weight is above 1.
    longest = bounds.MOST["n_fft"][0]
    assert float(banks.LIFT) * (longest * LARGEST) ** 2 < np.finfo(np.float32).max
    assert banks.chroma(SPEC.sr, SPEC.n_fft, SPEC.bins, 0.0).max() <= 1


def test_cens_of_fewer_rows_is_padded_with_zeros() -> None:
    spec = dataclasses.replace(SPEC, bins_per_octave=60, chroma_bins=12)
    for plain in (False, True):
        cens = extract(sounds(spec)["chirp"], spec, plain=plain)[4]
        assert not cens[12:].any()
        np.testing.assert_allclose(np.linalg.norm(cens, axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("use", ["melspectrogram", "mfcc,chroma_cqt", "chroma_stft", "mfcc,melspectrogram,chroma_stft"])
@pytest.mark.parametrize("tuning", ["estimate", 0.1])
def test_a_feature_has_the_same_bits_whatever_is_beside_it(use: str, tuning: float | str) -> None:
    """The power comes of the magnitude where a tuning needs that, and else by itself."""
    whole = dataclasses.replace(SPEC, seconds=1.0, tuning=tuning)
    y = np.concatenate([sounds(SPEC)["noisy square"][: whole.samples // 2], np.zeros(whole.samples // 2, np.float32)])
    few, every = dataclasses.replace(whole, use=use), dict(zip(whole.names, extract(y, whole)))
    for name, values in zip(few.names, extract(y, few)):
        np.testing.assert_array_equal(values, every[name])


def test_products_have_one_thread_and_the_caller_as_many_as_before(monkeypatch: pytest.MonkeyPatch) -> None:

    y, seen = sounds(SPEC)["noisy square"][: SPEC.sr], []
    number = lambda: [library.num_threads for library in features.blas().lib_controllers]
    monkeypatch.setattr(fast, "stacked", lambda clip, spec: seen.append(number()) or 1 / 0)
    with threadpool_limits(2):
        before = number()
        with pytest.raises(ZeroDivisionError):
            extract(y, SPEC)
        assert number() == before
    assert set(before) == {2} and set(seen[0]) == {1}


def test_values_do_not_depend_on_threads() -> None:
    import torch

    y, before = sounds(SPEC)["noisy square"], torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                results.append(extract(y, SPEC))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])


def test_import_is_cheap_and_torch_is_not_needed(tmp_path: Path) -> None:
    y = sounds(SPEC)["hard cut"]
    np.save(tmp_path / "y.npy", y)
    code = (
        "import sys, numpy as np; import pipeline.features as f;"
        "hide = type('Hide', (), {'find_spec': lambda self, name, *_: exec('raise ImportError') if name == 'torch' else None});"
        "sys.meta_path.insert(0, hide());"
        "assert not {'librosa', 'numba', 'scipy'} & set(sys.modules);"
        "from pipeline.config import FeatureSpec;"
        "np.save(sys.argv[2], f.extract(np.load(sys.argv[1]), FeatureSpec()))"
    )
    paths = [str(tmp_path / name) for name in ("y.npy", "features.npy")]
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, cwd=root)
    other, ours = np.load(paths[1]), extract(y, SPEC)
    assert (np.abs(other - ours) <= 1e-5 * np.abs(ours) + ATOL).all()


def test_bad_input_is_one_clear_line() -> None:
    y = np.zeros(SPEC.samples, np.float32)
    y[7] = np.nan
    cases: list[tuple[np.ndarray, FeatureSpec, str]] = [
        (y, SPEC, "up to nan: expected finite numbers"),
        (np.full(900, -1e19, np.float32), SPEC, "up to 1e\\+19: expected finite .* up to 1e\\+07"),
        (np.zeros(9, np.int16), SPEC, "floating-point"),
        (np.zeros((2, 0), np.float32), SPEC, "n > 0"),
        (np.zeros(900, np.float32), dataclasses.replace(SPEC, n_fft=1023), "n_fft = 1023"),
        (np.zeros(900, np.float32), dataclasses.replace(SPEC, sr=8000), "sr = 8000: expected at least"),
        (
            np.zeros(900, np.float32),
            dataclasses.replace(SPEC, bins=130, bins_per_octave=130),
            "at most 128",
        ),
    ]
    for samples, spec, words in cases:
        with pytest.raises(InputError, match=words) as error:
            extract(samples, spec)
        assert "\n" not in str(error.value)


def test_describe_says_the_calls() -> None:
    text = json.loads(json.dumps(describe(SPEC)))
    assert list(text) == list(FEATURES) and list(UNITS) == list(EVERY_FEATURE)
    assert "n_chroma=20" in text["chroma_cens"]["call"] and "sr=22050" in text["mfcc"]["call"]
    assert text["melspectrogram"]["call"].startswith("librosa.power_to_db(")
    floored = describe(dataclasses.replace(SPEC, floor=1e-5))
    for name in FEATURES:
        call = floored[name]["call"]
        assert ("below 1e-05 of the clip's largest" in call) == (name in ("chroma_cqt", "chroma_cens")), call
        assert ("less than 1e-05² of the energy" in call) == (name == "chroma_stft"), call


#: (mean, standard deviation, one value) of each feature of ``golden_sound``; written down with librosa 0.11.0.
GOLDEN_VERSION = 1
GOLDEN = {
    "mfcc": (-15.259, 77.069, -18.281),
    "melspectrogram": (-19.823, 26.839, 18.606),
    "chroma_stft": (0.11397, 0.25682, 0.0039132),
    "chroma_cqt": (0.17761, 0.26958, 1.0),
    "chroma_cens": (0.15304, 0.16303, 0.77307),
}


def golden_sound() -> np.ndarray:
    t = np.arange(SPEC.samples) / SPEC.sr
    y = 0.4 * np.sin(2 * np.pi * (100 * t + 300 * t**2)) + 0.2 * np.sign(np.sin(2 * np.pi * 331 * t)) * (t % 1 < 0.5)
    return y.astype(np.float32)


def test_golden_numbers() -> None:
    """Where this fails, the same settings give other numbers: raise ``FeatureSpec.version``, then write these anew."""
    assert SPEC.version == GOLDEN_VERSION
    for name, values in zip(FEATURES, extract(golden_sound(), SPEC)):
        golden = values.mean(), values.std(), values[7, 100]
        np.testing.assert_allclose(golden, GOLDEN[name], rtol=2e-4, err_msg=name)


def test_the_bench_gives_every_way_the_same_clips_and_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import features as bench

    ran: list[str] = []
    monkeypatch.setattr(bench, "obvious", lambda y, spec: ran.append("obvious"))
    monkeypatch.setattr(bench, "floor", lambda spec, kind: lambda y: ran.append(np.dtype(kind).name))
    monkeypatch.setattr(bench, "extract", lambda clip, spec, plain=False: ran.append("plain" if plain else "fast"))
    monkeypatch.setattr(bench, "timed", lambda action: (ran.append("timed"), action()) and 1.0)
    cost = bench.times([np.zeros((1, 9), np.float32)] * 2, SPEC, rounds=3)
    timed = [way for before, way in pairwise(ran) if before == "timed"]
    assert sorted(timed) == sorted(6 * ["obvious", "plain", "fast", "float64", "float32"])
    assert list(cost) == ["obvious", "plain", "fast", "floor", "floor32"]
