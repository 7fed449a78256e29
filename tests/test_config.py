"""Settings that are refused in one line, and the clip length, which is the corpus'."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import FeatureSpec, InputError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bins": "20"}, "features.bins = '20': expected a whole number"),
        ({"sr": 22050.5}, "features.sr = 22050.5: expected a whole number"),
        ({"n_fft": None}, "features.n_fft = None: expected a whole number"),
        ({"hop_length": True}, "features.hop_length = True: expected a whole number"),
        ({"noise_seed": 0.5}, "features.noise_seed = 0.5: expected a whole number"),
        ({"seconds": "4"}, "features.seconds = '4': expected a number"),
        ({"bins": 0}, "features.bins = 0: expected a positive whole number"),
        ({"chroma_bins": 21}, "features.chroma_bins = 21: expected 0 to bins = 20"),
        ({"bins": 9}, "expected a multiple of 9, say 36"),
        (
            {"chroma_bins": 12},
            "features.bins_per_octave = 40: expected a multiple of 60 (of bins = 20 and chroma_bins = 12), say 60",
        ),
    ],
)
def test_a_wrong_feature_setting_is_one_line(values: dict, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        FeatureSpec(**values)
    assert "\n" not in str(caught.value)


def test_what_the_message_suggests_is_accepted() -> None:
    assert FeatureSpec(chroma_bins=12, bins_per_octave=60).cens_bins == 12
    assert FeatureSpec(bins=9, bins_per_octave=36).bins == 9


def test_an_override_of_the_clip_length_may_only_agree_with_the_corpus(tmp_path: Path) -> None:
    for override in ("features.seconds=2", "features. seconds = 2.0"):
        asked = config.read("default", [override])
        assert config.for_corpus(asked, 2.0).features.seconds == 2.0
        with pytest.raises(
            InputError, match=r"features.seconds=2: the clip length is the corpus', 5 s"
        ) as caught:
            config.for_corpus(asked, 5.0)
        assert "corpus.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_presets_serve_corpora_of_any_clip_length(tmp_path: Path) -> None:
    stated = tmp_path / "mine.toml"
    stated.write_text("[features]\nseconds = 5.0\n")
    for preset in ("default", "paper", "demo", str(stated)):
        settings = config.for_corpus(config.read(preset, ["features.noise_std=0.01"]), 5.0)
        assert settings.features == dataclasses.replace(FeatureSpec(), seconds=5.0, noise_std=0.01)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("teacher.epochs=0", "[teacher]: epochs = 0: expected at least 1"),
        ("student.momentum=1.5", "[student]: momentum = 1.5: expected a number below 1, say 0.9"),
        ("student.gamma=.2", "[student]: gamma = '.2': expected float, a number such as 0.2"),
        ("features.bins=0", "[features]: features.bins = 0: expected a positive whole number"),
    ],
)
def test_an_override_that_is_refused_is_named_with_its_table(override: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        config.read("default", (override,))
    assert override in str(caught.value)
