"""Changes of features anew in each step: against plain loops, exact in packs and when going on, live teachers on the very input."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import InputError, TrainSettings
from pipeline.engine.packs import augmentation
from pipeline.training import spectrogram
from tests.shipped import SPEC
from tests.trainings import QUICK, SHAPE, assert_equal, data, every_checkpoint, fit, run_of

__all__ = ["data"]  # a fixture

AUGMENTED = dataclasses.replace(QUICK, augment="gain,mask,shift")
EVERY = partial(
    spectrogram.changed,
    kinds=AUGMENTED.augment.split(","),
    levels=spectrogram.gain_levels(("mfcc", "melspectrogram"), SHAPE[1]),
)


def by_loops(x: np.ndarray, draws: np.ndarray, means: np.ndarray | None = None) -> np.ndarray:
    """Gain, shift and masks of one clip (C, H, W) of an MFCC and a mel-spectrogram; with ``means`` (C, H, 1) blanks."""
    channels, height, width = x.shape
    gain = 6 * (2 * draws[5] - 1)
    louder = x.copy()
    louder[0, 0] += gain * math.sqrt(128)
    louder[1] += gain
    by = math.floor(draws[0] * width)
    shifted = np.stack([louder[:, :, (column - by) % width] for column in range(width)], axis=2)
    whole = shifted.copy()
    frames, rows = math.floor(draws[1] * (width // 5 + 1)), math.floor(draws[3] * (height // 8 + 1))
    first, lowest = math.floor(draws[2] * (width - frames + 1)), math.floor(draws[4] * (height - rows + 1))
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                if first <= column < first + frames or lowest <= row < lowest + rows:
                    hidden = shifted[channel, row].mean() if means is None else means[channel, row, 0]
                    whole[channel, row, column] = hidden
    return whole


def test_changes_are_those_of_plain_loops() -> None:
    random = torch.Generator().manual_seed(0)
    x, draws = torch.randn(40, *SHAPE, generator=random) + 5, torch.rand(40, 6, generator=random)
    draws[0], draws[1] = 0, 1 - 2**-24  # the ends of what is drawn
    values = EVERY(x, draws)
    expected = np.stack([by_loops(clip, row) for clip, row in zip(x.double().numpy(), draws.double().numpy())])
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-4)
    assert (values != x).any((1, 2, 3)).all()


def test_blanks_take_the_means_of_each_clip_s_own_run() -> None:
    random = torch.Generator().manual_seed(0)
    x, draws, means = (
        torch.randn(40, *SHAPE, generator=random) + 5,
        torch.rand(40, 6, generator=random),
        torch.randn(40, *SHAPE[:2], 1, generator=random),
    )
    blank = partial(spectrogram.changed, kinds=("shift", "blank", "gain"), levels=EVERY.keywords["levels"])
    clips = zip(x.double().numpy(), draws.double().numpy(), means.double().numpy())
    np.testing.assert_allclose(
        blank(x, draws, means), np.stack([by_loops(*clip) for clip in clips]), rtol=1e-5, atol=1e-4
    )
    with pytest.raises(ValueError, match="means"):
        blank(x, draws)


def test_blanks_are_zero_once_standardised_in_a_pack_of_two_folds(data: Any) -> None:
    hidden: list[torch.Tensor] = []

    def augment(x: torch.Tensor, draws: torch.Tensor, means: torch.Tensor | None) -> torch.Tensor:
        assert means is not None
        hidden.append(means)
        return means.expand_as(x)

    runs = [run_of("ce"), run_of("ce", fold=2, seed=1, count=25)]
    results = fit(data, runs, AUGMENTED, layout="vmap", augment=augment)
    for r, result in enumerate(results):
        assert torch.equal(hidden[0][r::2], result.state["mean"].expand_as(hidden[0][r::2]))
    assert not torch.equal(results[0].state["mean"], results[1].state["mean"])


def test_a_kind_that_is_not_named_changes_nothing() -> None:
    x, draws = torch.randn(9, *SHAPE), torch.rand(9, 6)
    levels = spectrogram.gain_levels(("mfcc", "melspectrogram"), SHAPE[1])
    assert torch.equal(spectrogram.changed(x, draws, kinds=(), levels=levels), x)
    shifted = spectrogram.changed(x, draws, kinds=("shift",), levels=levels)
    assert torch.equal(shifted.sort(dim=3).values, x.sort(dim=3).values)
    chroma = spectrogram.gain_levels(("chroma_stft", "chroma_cqt"), SHAPE[1])
    assert torch.equal(spectrogram.changed(x, draws, kinds=("gain",), levels=chroma), x)


@pytest.mark.parametrize("layout", ["loop", "vmap"])
def test_packs_and_checkpoints_see_the_same_changes(data: Any, tmp_path: Path, layout: str) -> None:
    runs = [run_of("ce"), run_of("ce", fold=2, seed=1, count=25)]
    expected = fit(data, runs, AUGMENTED, layout=layout, augment=EVERY)
    plain = fit(data, runs, QUICK, layout=layout)
    assert not torch.equal(expected[0].state["linear2.weight"], plain[0].state["linear2.weight"])
    for run, one in zip(runs, expected):
        (alone,) = fit(data, [run], AUGMENTED, layout=layout, augment=EVERY)
        for key, value in alone.state.items():
            torch.testing.assert_close(one.state[key], value, rtol=1e-4, atol=1e-6)
        if layout == "loop":
            assert_equal(one, alone)
    path = tmp_path / "pack.pt"
    kept, _ = every_checkpoint(path, data, runs, AUGMENTED, layout=layout, augment=EVERY)
    for content in (kept[2], kept[6]):
        path.write_bytes(content)
        again = fit(data, runs, AUGMENTED, checkpoint=path, augment=EVERY, say=lambda line: None)
        for one, other in zip(expected, again):
            assert_equal(one, other)


def test_the_settings_are_kept_in_one_order_and_wrong_ones_are_one_line() -> None:
    assert AUGMENTED.augment == "shift,mask,gain" and AUGMENTED.augment_draws == 6
    assert TrainSettings(augment="crop-flip").augment_draws == TrainSettings().augment_draws == 3
    for text in ("shift,shift", "shift,none", "crop-flip,mask", "", "warp"):
        with pytest.raises(
            InputError, match="expected one of none, crop-flip, or some of shift, mask, blank, ga"
        ) as caught:
            TrainSettings(augment=text)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="'blank,mask': mask and blank hide the same cells"):
        TrainSettings(augment="blank,mask")


def test_sounds_are_not_cropped_nor_images_shifted_in_time() -> None:
    class Sounds:
        spec, corpus = SPEC, "tiny"

    with pytest.raises(
        InputError, match="augment = 'crop-flip' is for images, tiny has sounds; expected 'none', or some of"
    ):
        augmentation(TrainSettings(augment="crop-flip"), Sounds, torch.device("cpu"))  # type: ignore[arg-type]
    augment = augmentation(TrainSettings(augment="shift"), Sounds, torch.device("cpu"))  # type: ignore[arg-type]
    assert augment is not None and augment(torch.zeros(2, *SPEC.shape), torch.rand(2, 6)).shape == (2, *SPEC.shape)
