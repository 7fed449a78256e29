"""Changed copies of a clip: each a function of name, seed and number alone, and changed by as much as it says."""

from __future__ import annotations

import dataclasses
import hashlib
import math

import numpy as np
import pytest

from pipeline.audio import changing
from pipeline.audio.reading import noise
from pipeline.config import FeatureSpec, InputError, digest, view_index, view_name, view_names

SR, SAMPLES = 16000, 16000
SPEC = FeatureSpec(seconds=1.0, sr=SR, views=4, noise_std=0.01)
QUIET = dataclasses.replace(SPEC, noise_std=0.0)


def tone(seconds: float, hertz: float = 1000.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(SR * seconds)) / SR).astype(np.float32) / 4


def views(sound: np.ndarray, spec: FeatureSpec = SPEC, name: str = "a.wav", short: str = "pad") -> np.ndarray:
    return changing.views(sound, name, spec, rate=SR, samples=SAMPLES, short=short)


def test_what_a_copy_is_changed_by_follows_from_seed_number_and_name() -> None:
    """The definition, written out once more."""
    key = hashlib.sha256(b"7/changed 3/dog.wav").digest()
    draws = np.random.Generator(np.random.SFC64(int.from_bytes(key[:16]))).random(4)
    how = changing.change("dog.wav", 3, dataclasses.replace(SPEC, noise_seed=7))
    assert how.speed == pytest.approx(0.8 * (1.25 / 0.8) ** draws[0], rel=1e-12)
    assert how.gain == pytest.approx(12 * draws[1] - 6, rel=1e-12)
    assert how.noise == pytest.approx(0.01 * 0.1 * 100 ** draws[2], rel=1e-12)
    assert how.turned == draws[3]


def test_more_copies_leave_the_first_ones_as_they_are() -> None:
    sound = tone(0.7)
    few, many = (views(sound, dataclasses.replace(SPEC, views=count)) for count in (2, 5))
    np.testing.assert_array_equal(few, many[:4])
    none = views(sound, dataclasses.replace(SPEC, views=0))
    hiss = noise("a.wav", SAMPLES, std=0.01, seed=0)
    clean = np.concatenate([sound, np.zeros(SAMPLES - len(sound), np.float32)])
    np.testing.assert_array_equal(none, [clean, clean + hiss])
    np.testing.assert_array_equal(few[:2], none)
    assert len({copy.tobytes() for copy in many}) == 7
    assert any(not np.array_equal(a, b) for a, b in zip(few[2:], views(sound, name="b.wav")[2:]))
    assert few.dtype == np.float32


def test_a_copy_has_the_pitch_length_level_and_noise_that_it_says() -> None:
    for number, copy in enumerate(views(tone(0.5), QUIET)[2:], 1):
        how = changing.change("a.wav", number, QUIET)
        heard = np.flatnonzero(np.abs(copy) > 0.02)
        assert heard[-1] - heard[0] == pytest.approx(0.5 * SR / how.speed, abs=20)
        middle = copy[2000:6000] * np.hanning(4000)
        spectrum = np.abs(np.fft.rfft(middle, 1 << 18))
        assert spectrum.argmax() * SR / (1 << 18) == pytest.approx(1000 * how.speed, abs=2)
        assert copy[2000:6000].std() == pytest.approx(0.25 / math.sqrt(2) * 10 ** (how.gain / 20), rel=0.01)
    for number, copy in enumerate(views(np.zeros(SAMPLES, np.float32))[2:], 1):
        assert copy.std() == pytest.approx(changing.change("a.wav", number, SPEC).noise, rel=0.03)


def test_speeds_gains_and_noises_fill_their_ranges() -> None:
    hows = [changing.change(f"{i}.wav", 1, SPEC) for i in range(400)]
    for values, low, high in (
        ([math.log(how.speed) for how in hows], math.log(0.8), math.log(1.25)),
        ([how.gain for how in hows], -6, 6),
        ([math.log10(how.noise) for how in hows], -3, -1),
    ):
        assert low <= min(values) < low + 0.05 * (high - low) and high >= max(values) > high - 0.05 * (high - low)
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.06 * (high - low))


@pytest.mark.parametrize("length", [0, 1, 2, SAMPLES, SAMPLES + 1000])
@pytest.mark.parametrize("short", ["pad", "loop"])
def test_sounds_of_any_length_have_copies(length: int, short: str) -> None:
    each = views(np.ones(length, np.float32), QUIET, short=short)
    assert each.shape == (6, SAMPLES) and np.isfinite(each).all()
    if length:
        assert np.abs(each).max(1).min() > 0.1
    if length and short == "loop":
        assert np.abs(each[:, -1000:]).max(1).min() > 0.1


def test_what_is_beyond_the_clip_is_in_no_copy() -> None:
    sound = tone(1.2)
    other = sound.copy()
    other[SAMPLES:] = 1.0
    np.testing.assert_array_equal(views(sound), views(other))


def test_the_setting_and_the_names_of_views() -> None:
    assert digest(FeatureSpec()) == digest(FeatureSpec(views=0)) == "b37b3e20" != digest(FeatureSpec(views=1))
    assert FeatureSpec().view_names == ("clean", "noisy")
    assert SPEC.view_names == view_names(6) == ("clean", "noisy", "changed1", "changed2", "changed3", "changed4")
    assert [view_index(view_name(i)) for i in range(30)] == [view_index(str(i)) for i in range(30)] == list(range(30))
    for name in ("", "changed", "changed0", "changed01", "changed-1", "Clean", "noisy1", "01", "-1", "1.0", "²"):
        assert view_index(name) is None, name
    for wrong in (-1, 101, 2.5, True):
        with pytest.raises(InputError, match=r"features\.views = .*expected"):
            FeatureSpec(views=wrong)  # type: ignore[arg-type]
