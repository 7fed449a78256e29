"""The definition of foreground beside the events that made-up clips were made of."""

from __future__ import annotations

import pytest

from bench import foreground as bench
from pipeline.figures.explained import foreground


@pytest.mark.slow
def test_what_is_called_sound_is_the_event_that_a_clip_was_made_of() -> None:
    """Dog barks, shots and horns, whose truth is known: what is 10 dB above the floor is theirs."""
    drawn = [bench.planes(*bench.parts(number, label, (1, label, 0, 0))) for number, label in ((2, 1), (6, 3), (12, 6))]
    for margin in foreground.MARGINS:
        row = bench.agreement(margin, drawn)
        assert row["clips"] and row["precision"] > 0.9
    event, noise = bench.parts(6, 3, (1, 3, 0, 0))
    assert len(event) == len(noise) and event.std() > 0 and noise.std() > 0
