"""Crop and flip against NumPy's own padding, slicing and mirroring."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.training.augmentation import crop_and_flip

ALMOST_ONE = 1 - 2**-24


def plain(image: np.ndarray, draws: list[float], fill: np.ndarray, padding: int) -> np.ndarray:
    """One image (C, H, W), step by step."""
    channels, height, width = image.shape
    large = np.stack([np.pad(image[c], padding, constant_values=fill[c]) for c in range(channels)])
    top, left = (int(np.floor(np.float32(draw) * np.float32(2 * padding + 1))) for draw in draws[:2])
    cut = large[:, top : top + height, left : left + width]
    return cut[:, :, ::-1] if draws[2] < 0.5 else cut


@pytest.mark.parametrize("padding", [4, 2])
@pytest.mark.parametrize("filled", [False, True])
def test_crop_and_flip_as_numpy_has_it(padding: int, filled: bool) -> None:
    x = torch.randn(40, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    draws = torch.rand(40, 3, generator=torch.Generator().manual_seed(2))
    draws[0], draws[1] = 0.0, ALMOST_ONE
    fill = torch.tensor([0.25, -1.0, 3.0]).view(3, 1, 1) if filled else None
    cropped = crop_and_flip(x, draws, fill=fill, padding=padding)
    edge = np.zeros(3) if fill is None else fill.numpy().reshape(3)
    for image, drawn, image_cropped in zip(x.numpy(), draws.tolist(), cropped.numpy(), strict=True):
        np.testing.assert_array_equal(image_cropped, plain(image, drawn, edge, padding))


def test_every_window_comes_up_and_half_are_mirrored() -> None:
    """The place of one bright pixel says which window it was."""
    count = 4000
    x = torch.zeros(count, 1, 32, 32)
    x[:, :, 15, 20] = 1
    cropped = crop_and_flip(x, torch.rand(count, 3, generator=torch.Generator().manual_seed(3)))
    _, _, rows, columns = cropped.nonzero(as_tuple=True)
    assert len(rows) == count and set(rows.tolist()) == set(range(11, 20))
    assert set(columns.tolist()) == {*range(16, 25), *range(7, 16)}
    mirrored = (columns < 16).double().mean().item()
    assert abs(mirrored - 0.5) < 4 * 0.5 / count**0.5


def test_the_middle_window_is_the_image_in_its_own_type() -> None:
    x = torch.randn(2, 3, 8, 8).bfloat16()
    cropped = crop_and_flip(x, torch.full((2, 3), 0.5), fill=torch.ones(3, 1, 1))
    assert cropped.dtype == torch.bfloat16 and torch.equal(cropped, x)
