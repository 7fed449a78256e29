"""The way in which explain seeks σ, beside 200 steps of Adam, the way of before, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import explaining as bench


@pytest.mark.parametrize("unlike", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_quarter_of_the_steps_comes_as_near_the_answer(unlike: float) -> None:
    """440 blocks of a linear network, the noise drawn as for a network that was trained."""
    network, best = bench.linear(outputs=128, unlike=unlike)
    mask, x = torch.ones(best.shape, dtype=torch.bool), torch.zeros(1, *network.shape)
    assert best.size == 440 and bench.USUAL.steps * 4 == bench.STEPS
    far = {}
    for way in (bench.by_newton, bench.by_adam):
        found = way(network, x, "a.wav", 1, mask)
        far[way] = np.sqrt(np.mean((found - best) ** 2))
        assert np.corrcoef(found.ravel(), best.ravel())[0, 1] > 0.997
    assert far[bench.by_newton] < 1.15 * far[bench.by_adam] and far[bench.by_newton] < 0.05
