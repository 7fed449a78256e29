"""``pcen``: librosa's, by the fast path and by the graph, and a loop over frames written from the paper."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnxruntime
import pytest
import torch

from pipeline import config
from pipeline.config import FEATURES, FeatureSpec
from pipeline.deploy.one_file import unsuited
from pipeline.deploy.one_file.graph import SAMPLES, front
from pipeline.feature_settings import ALL
from pipeline.features import describe, extract, graph
from pipeline.features.graph.spectrum import EnergyNormalised
from pipeline.features.pcen import share
from pipeline.training.spectrogram import gain_levels
from tests.sounds import sounds

SPEC = FeatureSpec(seconds=0.5, use="pcen", bins=64)


def looped(y: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Wang et al. 2017, equations 1 and 2, frame by frame; the average begins at the first frame."""
    import librosa

    power = 2.0**31 * librosa.feature.melspectrogram(
        y=y, sr=spec.sr, n_fft=spec.n_fft, hop_length=spec.hop_length, n_mels=spec.bins
    ).astype(np.float64)
    frames = 0.4 * spec.sr / spec.hop_length
    b = (math.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    out, average = np.empty_like(power), power[:, 0]
    for t in range(power.shape[1]):
        average = (1 - b) * average + b * power[:, t]
        out[:, t] = (power[:, t] / (1e-6 + average) ** 0.98 + 2) ** 0.5 - 2**0.5
    return out


@pytest.mark.parametrize("changes", [{}, {"bins": 20, "hop_length": 256, "n_fft": 1024, "sr": 16000}])
def test_three_ways_are_the_papers_loop(changes: dict[str, int]) -> None:
    spec = dataclasses.replace(SPEC, **changes)  # type: ignore[arg-type]
    module, half = graph.Features(spec), graph.Features(spec, half=True)
    for name, y in sounds(spec).items():
        expected = looped(y, spec)
        assert spec.shape == (1, *expected.shape)
        np.testing.assert_allclose(extract(y, spec, plain=True)[0], expected, rtol=0, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(extract(y, spec)[0], expected, rtol=0, atol=2e-5, err_msg=name)
        if "chirp" not in name:  # of which bands 80 dB below it hold rounding
            for network, most in ((module, 3e-4), (half, 5e-4)):
                values = network(torch.from_numpy(y)[None]).numpy()[0, 0]
                np.testing.assert_allclose(values, expected, rtol=0, atol=most, err_msg=name)


def test_librosas_own_call_is_what_files_say() -> None:
    import librosa

    y = sounds(SPEC)["noisy square"]
    said = describe(SPEC)["pcen"]["call"]
    call, _, rest = said.partition(" of S = ")
    power, b = rest.split(", b = ")
    values = {"librosa": librosa, "y": y, "b": float(b)}
    values["S"] = eval(power, {}, values)
    np.testing.assert_allclose(extract(y, SPEC, plain=True)[0], eval(call, {}, values), rtol=0, atol=1e-5)


def test_a_louder_recording_is_the_same_and_silence_is_zero() -> None:
    """What it is for: the level of a recording falls out, but for a fiftieth power of it."""
    y = sounds(SPEC)["noisy square"]
    quiet, loud = extract(y, SPEC), extract(8 * y, SPEC)
    assert np.abs(loud - quiet).max() < 0.15 and quiet.max() > 0.9  # 18 dB louder
    assert not extract(np.zeros_like(y), SPEC).any()
    steady = extract(np.full_like(y, 0.5), dataclasses.replace(SPEC, seconds=0.5))
    assert np.isfinite(steady).all() and 0.05 < share(SPEC) < 0.06


def test_it_stands_behind_the_five_and_all_are_the_five() -> None:
    spec = config.read("default", ["features.use=pcen,melspectrogram"]).features
    assert spec.names == ("melspectrogram", "pcen") and spec.shape[0] == 2
    y = sounds(SPEC)["noise"]
    both = dataclasses.replace(SPEC, use="melspectrogram,pcen")
    np.testing.assert_array_equal(extract(y, both)[1], extract(y, SPEC)[0])
    np.testing.assert_array_equal(extract(y, both)[0], extract(y, dataclasses.replace(both, use="melspectrogram"))[0])
    module = graph.Features(both)
    assert module.spectral is not None and module.spectral.widths == {"melspectrogram": 64}  # one bank for the two
    np.testing.assert_allclose(module(torch.from_numpy(y)[None]).numpy()[0, 1], extract(y, both)[1], rtol=0, atol=1e-4)
    six = config.read("default", [f"features.use={','.join(FEATURES)},pcen"]).features
    assert six.names == (*FEATURES, "pcen") and six.use != ALL
    assert FeatureSpec().names == FEATURES and config.digest(FeatureSpec()) == "b37b3e20"
    assert not unsuited(both)
    assert gain_levels(both.names, 64)[:, 0, 0].tolist() == [1.0, 0.0]


def test_a_clip_of_minutes_takes_no_square_of_its_frames_in_the_graph() -> None:
    """In blocks, which hand their average on: the loop's numbers, and in ONNX the module's."""
    spec = dataclasses.replace(SPEC, seconds=10.0, bins=8, hop_length=64, n_fft=256)
    module = graph.Features(spec)
    assert spec.frames == 3446
    assert sum(buffer.numel() for buffer in module.buffers()) < spec.frames**2 / 20
    rng = np.random.default_rng(0)
    y = (rng.normal(0, 0.1, spec.samples) * np.repeat([1e-3, 1.0, 0.0, 0.1, 1e-3], spec.samples // 5)).astype(
        np.float32
    )
    values = module(torch.from_numpy(y)[None]).numpy()
    np.testing.assert_allclose(values[0, 0], looped(y, spec), rtol=0, atol=3e-4)
    session = onnxruntime.InferenceSession(front(spec, spec.sr, half=False).SerializeToString())
    np.testing.assert_allclose(session.run(None, {SAMPLES: y[None]})[0], values, rtol=0, atol=3e-4)
    longest = EnergyNormalised(dataclasses.replace(SPEC, seconds=600.0, bins=1))
    assert sum(buffer.numel() for buffer in longest.buffers()) < 100_000
    power = torch.from_numpy(rng.random((2, longest.frames, 1)).astype(np.float32) ** 8)
    b, last = share(SPEC), power[:, 0].double()
    averages = longest.averages(power)
    for t in range(longest.frames):
        last = (1 - b) * last + b * power[:, t]
        if t % 997 == 0 or t == longest.frames - 1:
            np.testing.assert_allclose(averages[:, t].numpy(), last.numpy(), rtol=2e-5)
