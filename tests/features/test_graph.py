"""The features as a torch module against librosa's own functions: real, made-up and odd clips, subsets, other settings.

Tolerances, by feature: MFCC 5e-3, mel 1e-3 dB, chroma_stft 1e-5, chroma_cqt 1e-4 in frames that sound (not all mel bands at
the floor of -80 dB) and 1e-2 anywhere, CENS 1e-5.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from pipeline.config import FEATURES, FeatureSpec, InputError, digest
from pipeline.features import check, extract
from pipeline.features.graph import Features, engine
from pipeline.features.graph.resampling import Decimator, Resampler, response
from pipeline.features.graph.spectrum import Power, factors, places
from tests.sounds import beyond_the_bands, sounds

SPEC = FeatureSpec(tuning=0.0, floor=1e-5)
LIMITS = dict(zip(FEATURES, (5e-3, 1e-3, 1e-5, 1e-2, 1e-5)))
SOUNDING = 1e-4  # of chroma_cqt
MODULE = Features(SPEC)


@torch.inference_mode()
def computed(module: torch.nn.Module, y: np.ndarray) -> np.ndarray:
    return module(torch.from_numpy(y[None]))[0].numpy()


def differences(graph: np.ndarray, plain: np.ndarray, names: tuple[str, ...] = FEATURES) -> dict[str, float]:
    """The worst difference of each feature, of chroma_cqt where it sounds too; ``plain`` has all features."""
    worst = {}
    for values, name in zip(graph, names, strict=True):
        difference = np.abs(values - plain[FEATURES.index(name)])
        worst[name] = difference.max()
        if name == "chroma_cqt":
            sounding = plain[1].max(axis=0) > plain[1].max() - 80
            worst["sounding"] = difference[:, sounding].max(initial=0)
    return worst


def assert_equal_to_plain(y: np.ndarray, spec: FeatureSpec = SPEC, names: tuple[str, ...] = FEATURES) -> None:
    module = MODULE if spec == SPEC and names == FEATURES else Features(spec, names)
    graph, plain = computed(module, y), extract(y, spec, plain=True)
    assert graph.dtype == np.float32 and graph.shape == (len(names), *spec.shape[1:])
    worst = differences(graph, plain, names)
    assert all(value <= (LIMITS | {"sounding": SOUNDING})[name] for name, value in worst.items()), worst
    if "chroma_cqt" in names:
        silent, expected = ~graph[names.index("chroma_cqt")].any(axis=0), ~plain[3].any(axis=0)
        np.testing.assert_array_equal(silent, expected)
    if "chroma_stft" in names:
        chroma = graph[names.index("chroma_stft")]
        np.testing.assert_array_equal(chroma.any(axis=0), plain[2].any(axis=0))


#: In these a frame 80 to 100 dB below the clip's loudest is nothing but what rounding leaves of an earlier sound or of
#: frequencies outside of the seven octaves: chroma_cqt scales it to 1, and no other arithmetic gives librosa's values.
#: Feature → what the difference may be then; the bands of the spectrum are right to float32 at 80 dB below a frame's peak. How much it is
#: depends on the processor: of the constant sound 0.006 (and 0.015 in CENS) by AVX-512 kernels with AMX, 0.029 by AVX2 (and 2e-7).
CONSTANT = {"sounding": 5e-2, "chroma_cqt": 5e-2, "chroma_cens": 2e-2}
DUST = {"constant": CONSTANT, "hard cut": {"chroma_cens": 2e-2}}


@pytest.mark.parametrize("name", sounds(FeatureSpec(seconds=0.1)))
def test_made_up_and_odd_clips(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for feature, limit in DUST.get(name, {}).items():
        monkeypatch.setitem(LIMITS, feature, limit)
        monkeypatch.setattr("tests.features.test_graph.SOUNDING", limit if feature == "sounding" else SOUNDING)
    assert_equal_to_plain(sounds(SPEC)[name])


@pytest.mark.parametrize("name", [n for n in beyond_the_bands(FeatureSpec(seconds=0.1)) if not n.startswith("samples")])
def test_beyond_the_bands_the_spectrum_is_librosas_and_the_rest_a_chromagram(name: str) -> None:
    y = beyond_the_bands(SPEC)[name]
    graph, plain = computed(MODULE, y), extract(y, SPEC, plain=True)
    worst = differences(graph, plain)
    assert worst["mfcc"] < 5e-3 and worst["melspectrogram"] < 1e-2 and worst["chroma_stft"] < 1e-5, worst
    peaks, norms = graph[3].max(axis=0), np.linalg.norm(graph[4], axis=0)
    assert set(np.unique(peaks)) <= {0, 1} and (graph[3:] >= 0).all()
    np.testing.assert_allclose(norms[norms > 0], 1, rtol=1e-5)


@pytest.mark.parametrize("count", [12, pytest.param(120, marks=pytest.mark.slow)])
def test_real_clips(mini: Path, count: int) -> None:
    from pipeline.audio.reading import read_clip

    files = sorted(mini.rglob("*.wav"))
    chosen = np.random.default_rng(count).permutation(len(files))[:count]
    flipped = 0
    for index in chosen:
        y = read_clip(files[index], sr=SPEC.sr, samples=SPEC.samples)
        graph, plain = computed(MODULE, y), extract(y, SPEC, plain=True)
        worst = differences(graph, plain)
        flipped += worst.pop("chroma_cens") > LIMITS["chroma_cens"]
        assert all(value <= (LIMITS | {"sounding": SOUNDING})[name] for name, value in worst.items()), (
            files[index].name,
            worst,
        )
        np.testing.assert_array_equal(graph[2:4].any(axis=1), plain[2:4].any(axis=1))
    assert flipped <= count / 100


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ("mfcc",)),
        ({}, ("chroma_cens", "melspectrogram")),
        ({"tuning": "estimate"}, ("melspectrogram", "mfcc")),
        ({"seconds": 0.05}, FEATURES),
        ({"floor": 0.0}, FEATURES),
        ({"tuning": -0.13}, FEATURES),
        ({"bins": 12, "bins_per_octave": 36}, ("chroma_stft", "chroma_cqt", "chroma_cens")),
        ({"bins": 20, "bins_per_octave": 60, "chroma_bins": 12}, FEATURES),
        ({"bins": 40, "bins_per_octave": 40, "n_fft": 1024, "hop_length": 256}, FEATURES),
        ({"bins": 1, "bins_per_octave": 12}, ("melspectrogram", "mfcc")),
        ({"bins": 15, "bins_per_octave": 45}, ("chroma_stft",)),
        pytest.param({"bins": 128, "bins_per_octave": 128}, ("mfcc", "chroma_cqt"), marks=pytest.mark.slow),
        ({"bins": 64, "bins_per_octave": 64, "seconds": 0.2}, ("mfcc", "chroma_cqt")),
        ({"sr": 44100, "seconds": 0.5}, FEATURES),  # the constant-Q transform down-samples early
        ({"sr": 16000, "hop_length": 200}, FEATURES),  # the hop becomes odd within the octaves
        ({"hop_length": 320, "n_fft": 3000}, ("mfcc", "melspectrogram", "chroma_stft")),
        # It is odd from the start, and there is no spectrum to frame.
        pytest.param({"hop_length": 255, "seconds": 0.1}, ("chroma_cqt",), marks=pytest.mark.slow),
        ({"seconds": 1.23457}, FEATURES),
    ],
    ids=str,
)
def test_subsets_and_other_settings(changes: dict, names: tuple[str, ...]) -> None:
    spec = dataclasses.replace(SPEC, **({"seconds": 1.0} | changes))
    by_kind = sounds(spec)
    for name in ("detuned chord", "noise", "noisy square"):
        assert_equal_to_plain(by_kind[name], spec, names)


def test_every_clip_of_a_batch_is_computed_on_its_own() -> None:
    by_kind = sounds(SPEC)
    batch = np.stack([by_kind["noise"], 1e-3 * by_kind["detuned chord"], by_kind["silence"], by_kind["short"]])
    with torch.inference_mode():
        together = MODULE(torch.from_numpy(batch)).numpy()
    for values, y in zip(together, batch):
        alone = computed(MODULE, y)
        # Kernels sum in another order in a batch: MFCC of 1,086 dB differed by 1.4e-3 with AVX2, chroma_cqt by 3.4e-6.
        for one, other, limit in zip(values, alone, (5e-3, 1e-3, 1e-5, 1e-5, 1e-5)):
            np.testing.assert_allclose(one, other, rtol=0, atol=limit)


@pytest.mark.parametrize("n_fft", [2048, 1024, 4096, 30, 2 * 127, 2])
def test_the_two_products_are_the_fourier_transform(n_fft: int) -> None:
    """And every bin has exactly one place."""
    one, two = factors(n_fft)
    order = places(n_fft)
    assert one * two == n_fft and sorted(order[order >= 0]) == list(range(n_fft // 2 + 1))
    hop = max(1, n_fft // 4)
    spec = dataclasses.replace(SPEC, n_fft=n_fft, hop_length=hop, seconds=9.3 * n_fft / SPEC.sr)
    y = np.random.default_rng(n_fft).standard_normal(spec.samples).astype(np.float32)
    with torch.inference_mode():
        power = Power(spec)(torch.from_numpy(y[None]))[0].numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    wide = np.pad(y.astype(np.float64), n_fft)
    for t in range(spec.frames):
        start = t * hop + n_fft - n_fft // 2
        expected = np.abs(np.fft.rfft(window * wide[start : start + n_fft])) ** 2
        np.testing.assert_allclose(power[t, order >= 0], expected[order[order >= 0]], atol=1e-6 * expected.max())


def test_half_precision_tables_stay_near() -> None:
    """At a third of the bytes; the transform itself stays in float32."""
    half = Features(SPEC, half=True)
    size = {m: sum(b.numel() * b.element_size() for b in m.buffers()) for m in (half, MODULE)}
    assert size[half] < 0.65 * size[MODULE]
    for name in ("noise", "noisy square", "detuned chord"):
        worst = differences(computed(half, sounds(SPEC)[name]), extract(sounds(SPEC)[name], SPEC, plain=True))
        assert worst["mfcc"] < 0.1 and worst["melspectrogram"] < 1e-2 and worst["chroma_stft"] < 2e-3, worst
        assert worst["sounding"] < 1e-2 and worst["chroma_stft"] > 0


@pytest.mark.parametrize(("factor", "length"), [(2, 88200), (2, 1379), (2, 7), (4, 5001), (2, 1)])
def test_decimation_is_soxrs(factor: int, length: int) -> None:
    y = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    expected = soxr.resample(y, factor, 1, quality="HQ") * np.sqrt(factor)
    expected = np.pad(expected, (0, 1))[: -(-length // factor)]
    decimated = computed(Decimator(factor, length), y)
    assert decimated.shape == expected.shape
    np.testing.assert_allclose(decimated, expected, atol=1e-5)


@pytest.mark.parametrize("rate", [44100, 48000, 96000, 11025, 32000, 22050])
@pytest.mark.parametrize("seconds", [0.0005, 0.3, 0.61, 1.7])
def test_resampling_is_soxrs(rate: int, seconds: float) -> None:
    """Also where the sound begins and ends, and what lies behind the clip's length is not heard."""
    target, length = 22050, 22050
    n = int(rate * seconds)
    y = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    expected = soxr.resample(y, rate, target, quality="HQ") if rate != target else y
    expected = np.pad(expected, (0, length))[:length]
    resampled = computed(Resampler(rate, target, length), y)
    assert resampled.shape == (length,)
    difference = np.abs(resampled - expected)
    difference[min(length - 1, int(n * target / rate))] = 0  # soxr rounds a half either way
    assert difference.max() < 1e-5


def test_the_measured_response_is_a_low_pass_of_gain_one() -> None:
    taps, first = response(2, 1)
    assert (taps.shape, first) == ((1, 383), -191)
    np.testing.assert_allclose(taps, taps[:, ::-1], atol=1e-7)
    for down, up in ((2, 1), (320, 147), (1, 2)):
        np.testing.assert_allclose(response(down, up)[0].sum(axis=1), 1, atol=1e-5)
    spectrum = np.abs(np.fft.rfft(taps[0], 8192))
    assert spectrum[2300:].max() < 1e-5 and abs(spectrum[:1800] - 1).max() < 1e-4


def test_what_cannot_be_a_graph_is_one_clear_line() -> None:
    cases = [
        (lambda: Features(FeatureSpec()), "features.tuning = 'estimate': expected a number"),
        (lambda: Features(SPEC, ("mfcc", "mfccs")), "feature 'mfccs': expected some of mfcc, melspectrogram"),
        (lambda: Features(SPEC, ("mfcc", "mfcc")), "none twice"),
        (lambda: Features(SPEC, ()), "features none: expected at least one"),
        (
            lambda: Features(dataclasses.replace(SPEC, hop_length=255)),
            "features.hop_length = 255: expected one that .* example 256$",
        ),
        (lambda: Features(dataclasses.replace(SPEC, n_fft=1023)), "features.n_fft = 1023: expected an even number"),
        (lambda: Resampler(44101, 22050, 88200), "44101 Hz: a table of .* MB would resample it to 22050 Hz"),
    ]
    for action, words in cases:
        with pytest.raises(InputError, match=words) as caught:
            action()
        assert "\n" not in str(caught.value)
    Features(dataclasses.replace(SPEC, hop_length=256, seconds=0.5))  # what the line of 255 suggests


def test_as_stage_ones_engine_it_gives_the_same_features_many_at_a_time() -> None:
    """In batches as one by one, of any length, in the order of the features in use; TF32 is off meanwhile only."""
    spec = dataclasses.replace(SPEC, seconds=1.0, use="mfcc,chroma_stft,chroma_cqt")
    by_kind = sounds(spec)
    clips = np.stack([by_kind["noise"], by_kind["detuned chord"], by_kind["silence"], by_kind["noisy square"]])
    torched = dataclasses.replace(spec, engine="torch")
    values, expected = extract(clips, torched), extract(clips, spec, plain=True)
    assert values.dtype == np.float32 and values.shape == expected.shape == (4, 3, 20, 44)
    for features, right in zip(values, expected):
        for feature, name in enumerate(spec.names):
            np.testing.assert_allclose(features[feature], right[feature], atol=LIMITS[name], err_msg=name)
    np.testing.assert_array_equal(extract(clips[1], torched, plain=True), expected[1])
    shorter = clips[1, : spec.samples // 2]
    np.testing.assert_allclose(extract(shorter, torched), extract(shorter, spec), atol=LIMITS["mfcc"])
    before = torch.backends.cudnn.allow_tf32
    with engine.without_tf32():
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tuning": "estimate"}, r"not features.tuning = 'estimate' and features.floor = 1e-05: --preset device"),
        ({"floor": 0.0}, r"not features.tuning = 0.0 and features.floor = 0: --preset device"),
        ({"engine": "cuda"}, r"features.engine = 'cuda': expected 'librosa' or 'torch'"),
    ],
)
def test_settings_that_the_engine_does_not_cover_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(SPEC, **({"engine": "torch"} | changes))
    assert dataclasses.replace(SPEC, engine="torch", tuning="estimate", floor=0.0, use="mfcc,melspectrogram").names
    with pytest.raises(InputError, match=r"features.hop_length = 255: expected one that shares a factor"):
        check(dataclasses.replace(SPEC, engine="torch", hop_length=255))


def test_the_engine_changes_the_digest_only_where_it_is_another() -> None:
    assert digest(SPEC) == digest(dataclasses.replace(SPEC, engine="librosa"))
    assert digest(SPEC) != digest(dataclasses.replace(SPEC, engine="torch"))
