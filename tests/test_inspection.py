"""What ``make inspect`` shows is what is in the file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import cache, inspection
from pipeline.cache import Failure, File, Header
from pipeline.config import FEATURES, FeatureSpec, InputError

SPEC = FeatureSpec(seconds=0.5, bins=12, bins_per_octave=36)
CLIPS = tuple(f"clip{i:02d}.wav" for i in range(70))


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A fold of 70 clips with known oddities: feature 2 is 1/4 zeros, feature 3 has NaN and infinity in it."""
    files = tuple(File(f"audio/{name}", 10, 20, "", 0.5) for name in CLIPS)
    skipped = (Failure("bad.wav", File("audio/bad.wav", 3, 5), "cut off", "0.5 s", "0.2 s"),)
    header = Header("toy", "urbansound8k", True, 3, ("dog", "drill", "siren"), SPEC, CLIPS,
                    tuple(0 if i < 50 else 2 for i in range(70)), tuple(f"r{i // 2}" for i in range(70)), files, skipped,
                    {"librosa": "0.11.0"}, False, False, ("dB (x)", "dB re 1, y", "1 (z)", "1", "1"),
                    tuple(f"librosa.feature.{name}(y=y)" for name in FEATURES))  # fmt: skip
    x = np.random.default_rng(0).normal(3.0, 2.0, header.shape).astype(np.float32)
    x[:, :, 2, :3] = 0
    x[69, 1, 3, 0, :2] = np.nan, -np.inf
    path = tmp_path / "fold3.h5"
    cache.write_fold(path, header, [x])
    return path, x


def test_figures_are_those_of_the_arrays(written: tuple[Path, np.ndarray]) -> None:
    path, x = written
    info = inspection.inspect_fold(path)
    for i, name in enumerate(FEATURES):
        value = info["values"][name]
        good = x[:, :, i][np.isfinite(x[:, :, i])].astype(np.float64)
        for key, expected in (
            ("min", good.min()),
            ("mean", good.mean()),
            ("max", good.max()),
            ("sd", good.std()),
        ):
            assert value[key] == pytest.approx(expected, rel=1e-6), (name, key)
        assert value["zeros"] == pytest.approx((x[:, :, i] == 0).mean())
        assert value["nonfinite"] == (2 if i == 3 else 0)
        assert value["call"] == f"librosa.feature.{name}(y=y)"
    assert info["values"]["chroma_stft"]["zeros"] == pytest.approx(0.25)
    assert info["classes"] == {"dog": 50, "drill": 0, "siren": 20}
    assert (info["clips"], info["recordings"], info["fold"], info["synthetic"]) == (70, 35, 3, True)
    assert info["tree"]["features"]["shape"] == [70, 2, 5, 12, 22]
    assert info["tree"]["features"]["axes"] == ["clip", "view", "feature", "bin", "frame"]
    assert info["scales"]["frame"]["unit"] == "s"
    assert info["scales"]["frame"]["last"] == pytest.approx(21 * 512 / 22050)
    assert info["scales"]["clip"]["last"] == "clip69.wav"
    assert info["spec"] == dataclasses.asdict(SPEC)
    assert info["skipped"] == [
        {
            "clip": "bad.wav",
            "path": "audio/bad.wav",
            "reason": "cut off",
            "expected": "0.5 s",
            "found": "0.2 s",
        }
    ]
    assert json.loads(json.dumps(info, allow_nan=False)) == info


def test_the_text_is_one_screen_with_what_matters(written: tuple[Path, np.ndarray]) -> None:
    text = inspection.fold_text(inspection.inspect_fold(written[0], verify=True))
    assert len(text.splitlines()) <= 40
    for words in ("SYNTHETIC", "70 clips of 35 recordings", "dog 50", "siren 20", "noise_std 0.001", "librosa 0.11.0",
                  "25.00%", "dB (x)", "audio/bad.wav: cut off (expected 0.5 s, found 0.2 s)", "as written",
                  "(clip 70, view 2, feature 5, bin 12, frame 22)"):  # fmt: skip
        assert words in text, words


def test_verify_finds_one_changed_value(written: tuple[Path, np.ndarray]) -> None:
    path, _ = written
    with h5py.File(path, "r+") as file:
        file["features"][35, 1, 4, 3, 2] += np.float32(1e-3)
    inspection.inspect_fold(path)
    with pytest.raises(InputError, match="not what was written"):
        inspection.inspect_fold(path, verify=True)


def test_verify_finds_a_damaged_chunk(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    fold = cache.read_fold(written[0])
    path = tmp_path / "zipped.h5"
    cache.write_fold(path, dataclasses.replace(fold.header, compressed=True), [fold.features])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|not what was written"):
        inspection.inspect_fold(path, verify=True)


def test_an_empty_fold_and_a_feature_without_a_finite_value(
    tmp_path: Path, written: tuple[Path, np.ndarray]
) -> None:
    fold = cache.read_fold(written[0])
    empty = dataclasses.replace(fold.header, clips=(), labels=(), sources=(), files=())
    cache.write_fold(tmp_path / "empty.h5", empty, [])
    info = inspection.inspect_fold(tmp_path / "empty.h5", verify=True)
    assert info["values"]["mfcc"]["mean"] is None and info["scales"]["clip"]["n"] == 0
    assert "0 clips" in inspection.fold_text(info)


def test_the_picture_shows_both_views_of_the_clip(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path, x = written
    header = cache.read_header(path)
    with cache.opened(path) as file:
        figure = inspection.clip_figure(header, 5, file["features"][5], file["frame"][()])
    panels = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert len(panels) == 10
    for i, axes in enumerate(panels):
        image = axes.images[0]
        np.testing.assert_array_equal(image.get_array(), x[5, i % 2, i // 2])
        assert image.get_clim() == panels[i - i % 2].images[0].get_clim(), "both views on one scale"
        assert FEATURES[i // 2] in axes.get_title()
    assert panels[8].get_xlabel() == "time / s" and panels[0].get_ylabel() == "coefficient"
    assert "clean" in panels[0].get_title() and "noisy" in panels[1].get_title()
    target = inspection.clip_picture(path, "clip05.wav", tmp_path / "new" / "clip.png")
    assert target.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_unknown_clip_is_named_with_the_nearest(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no clip 'clip5.wav'; nearest: clip\d5.wav|nearest: clip5"):
        inspection.clip_picture(written[0], "clip5.wav", tmp_path / "x.png")
    with pytest.raises(InputError, match="it was skipped"):
        inspection.clip_picture(written[0], "bad.wav", tmp_path / "x.png")
