"""``features.use``: some of the five features, from settings to files, pictures and the one-file export."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pipeline import cache, config
from pipeline.config import FEATURES, FeatureSpec, InputError
from pipeline.deploy.one_file import unsuited
from pipeline.features import check, describe, extract, fast, graph, plain
from pipeline.report.inspection import fold_text, inspect_fold
from tests import shipped
from tests.sounds import sounds

SPEC = FeatureSpec(seconds=0.5)
#: Chromagrams of frames that the fast path computes twice for CENS alone may differ by rounding.
ATOL = 1e-5


def subset(*names: str, **changes: object) -> FeatureSpec:
    return dataclasses.replace(SPEC, use=",".join(names), **changes)  # type: ignore[arg-type]


def planes(names: tuple[str, ...]) -> list[int]:
    return [FEATURES.index(name) for name in names]


@pytest.mark.parametrize("name", ["noisy square", "hard cut"])
def test_every_subset_is_those_channels_of_all(name: str) -> None:
    y = sounds(SPEC)[name]
    whole = extract(y, SPEC)
    for count in range(1, 6):
        for names in itertools.combinations(FEATURES, count):
            values = extract(y, subset(*names))
            assert values.shape == subset(*names).shape == (count, 20, SPEC.frames)
            np.testing.assert_allclose(values, whole[planes(names)], rtol=0, atol=ATOL, err_msg=str(names))


def test_plain_subsets_are_those_channels_bit_for_bit() -> None:
    y = sounds(SPEC)["noisy square"]
    for floor in (0.0, 1e-5):
        whole = extract(y, dataclasses.replace(SPEC, floor=floor), plain=True)
        for names in (*((name,) for name in FEATURES), ("mfcc", "chroma_cens"), FEATURES[1:]):
            values = extract(y, subset(*names, floor=floor), plain=True)
            np.testing.assert_array_equal(values, whole[planes(names)])


def test_64_mel_bands_alone_are_librosas() -> None:
    import librosa

    spec = subset("melspectrogram", bins=64, hop_length=256, n_fft=1024, sr=16000)
    y = sounds(spec)["noisy square"]
    mel = librosa.feature.melspectrogram(y=y, sr=16000, n_mels=64, n_fft=1024, hop_length=256)
    expected = librosa.power_to_db(mel)
    assert spec.shape == (1, 64, 1 + 8000 // 256)
    np.testing.assert_array_equal(extract(y, spec, plain=True)[0], expected)
    np.testing.assert_allclose(extract(y, spec)[0], expected, atol=1e-4)


def test_what_is_not_in_use_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    import librosa

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    y = sounds(SPEC)["noise"]
    for name in ("octave_signals", "octave_sum", "constant_q"):
        monkeypatch.setattr(fast.transforms, name, forbidden)
    monkeypatch.setattr(fast.tuning, "estimate", forbidden)
    for name in set(FEATURES) - {"mfcc", "melspectrogram"}:
        monkeypatch.setattr(librosa.feature, name, forbidden)
    for way in (False, True):
        extract(y, subset("mfcc", "melspectrogram"), plain=way)
    with pytest.raises(AssertionError, match="computed"):
        extract(y, subset("chroma_cqt"))


def test_rules_of_a_feature_hold_only_where_it_is_in_use() -> None:
    assert subset("melspectrogram", bins=64).bins_per_octave % 64
    subset("chroma_cens", bins=64, chroma_bins=20)
    check(subset("melspectrogram", sr=8000))  # the constant-Q transform needs more
    check(subset("melspectrogram", bins=200))
    for wrong, words in (
        ({"use": "chroma_cqt", "bins": 64}, "features.bins_per_octave = 40: expected a multiple of 64, for example 64"),
        ({"use": "chroma_cens", "bins": 64, "chroma_bins": 12}, "expected a multiple of 12"),
    ):
        with pytest.raises(InputError, match=words):
            FeatureSpec(**wrong)  # type: ignore[arg-type]
    for spec, words in (
        (subset("mfcc", bins=129), "features.bins = 129: expected at most 128"),
        (subset("chroma_cqt", sr=8000), "features.sr = 8000: expected at least"),
    ):
        with pytest.raises(InputError, match=words):
            check(spec)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mel", "features.use = 'mel': 'mel' is none; expected 'all' or some of mfcc, melspectrogram,"),
        ('["mfcc", "mfcc"]', "features.use = ['mfcc', 'mfcc']: 'mfcc' is there twice; expected"),
        ("[]", "features.use = []: expected 'all' or some of"),
        ("[3]", "features.use = [3]: 3 is none; expected"),
        ("''", "features.use = '': '' is none; expected"),
        ("all,mfcc", "features.use = 'all,mfcc': 'all' is none; expected"),
        ("3", "use = 3: expected str | list[str]"),
    ],
)
def test_a_wrong_choice_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        config.read("default", [f"features.use={text}"])
    assert "\n" not in str(caught.value)


def test_a_choice_is_kept_in_one_way_and_all_is_as_before() -> None:
    ways = ("chroma_cens, mfcc", '["mfcc", "chroma_cens"]', "mfcc,chroma_cens")
    specs = {config.read("default", [f"features.use={way}"]).features for way in ways}
    assert {spec.use for spec in specs} == {"mfcc,chroma_cens"} and len(specs) == 1
    every = config.read("default", [f"features.use={json.dumps(FEATURES[::-1])}"]).features
    assert every == FeatureSpec() and config.digest(every) == config.digest(FeatureSpec()) == "b37b3e20"
    digests = {
        config.digest(subset(*names)) for count in range(1, 6) for names in itertools.combinations(FEATURES, count)
    }
    assert len(digests) == 31


def test_the_file_of_a_fold_names_its_features(tmp_path: Path) -> None:
    spec = subset("melspectrogram", "chroma_cens", bins=12, bins_per_octave=36)
    path, _ = shipped.write_corpus(tmp_path, spec)
    with h5py.File(path) as file:
        assert file["feature"].asstr()[()].tolist() == ["melspectrogram", "chroma_cens"]
        assert file["features"].shape[2:] == spec.shape
    fold = cache.read_fold(path)
    assert fold.header.spec == spec and len(fold.header.units) == 2 and list(describe(spec)) == list(spec.names)
    about = inspect_fold(path)
    assert list(about["values"]) == ["melspectrogram", "chroma_cens"] and list(about["row_of_c"]) == ["chroma_cens"]
    text = " ".join(fold_text(about).split())  # lines are wrapped
    assert "use melspectrogram,chroma_cens" in text and "mfcc " not in text
    pytest.importorskip("matplotlib")
    from pipeline.report.plots.clip import clip_picture

    picture = clip_picture(path, fold.header.clips[0], tmp_path / "clip.svg")
    assert "chroma_cens" in picture.read_text() and "chroma_cqt" not in picture.read_text()


def test_the_graph_computes_the_features_in_use() -> None:
    spec = subset("melspectrogram", bins=64)  # its tuning is estimated, and nothing of it needs one
    module = graph.Features(spec)
    y = sounds(spec)["noisy square"]
    values = module(torch.from_numpy(y)[None]).numpy()[0]
    assert values.shape == spec.shape and module.chromagrams is None
    np.testing.assert_allclose(values, extract(y, spec), atol=0.05)
    assert not unsuited(spec) and not unsuited(subset("mfcc", "melspectrogram"))
    assert "features.tuning = 'estimate'" in unsuited(subset("melspectrogram", "chroma_stft"))


def test_calls_are_those_in_use() -> None:
    assert list(plain.calls(SPEC)) == list(FEATURES)
    assert list(plain.calls(subset("chroma_cens", "mfcc"))) == ["mfcc", "chroma_cens"]
