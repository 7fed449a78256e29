"""Multiplications are those that torch's own counter has."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline import models
from pipeline.models.counting import multiplications


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_they_are_half_of_torchs_flops(name: str) -> None:
    """Slow, as its import of torch's compiler is; the student's are worked out by hand in the tests of progress."""
    network = models.network(name, (3, 32, 32), 7).eval()
    clips = torch.zeros(2, 3, 32, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(clips)
    assert multiplications(network, clips) == counter.get_total_flops() // 2 > 0
