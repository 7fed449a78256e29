"""The largest value of each setting, and why no more: what a typing error or a foreign file could ask for."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pipeline.errors import InputError

#: Numbers of one view of a clip, at most: 1 GB in float32.
LARGEST_VIEW = 250_000_000

SEED = (2**63 - 1, "seeds have 63 bits")
AGES = (1_000_000, "so many epochs take years")
TOO_STEEP = (1000, "no network trains with more")

#: The largest value of a setting, and why no more. (What a network or a corpus allows is less, and stands there.)
MOST: dict[str, tuple[float, str]] = {
    "sr": (768_000, "no recorder takes more samples per second"),
    "n_fft": (2**18, "a longer window tells no sound from the next, and takes its length in memory"),
    "hop_length": (2**18, "frames farther apart leave out what is between them"),
    "bins": (1024, "a spectrum has no more to tell"),
    "bins_per_octave": (4096, "a spectrum has no more to tell"),
    "views": (100, "so many copies of a clip say nothing new, and each takes its time and room"),
    "batch": (65_536, "the relations in a batch take the cube of its size in time"),
    "clip_norm": (1e12, "no gradient is larger; 0 is no clipping"),
    "mixup": (1000, "all are mixed half and half"),
    "mixstyle": (1, "it is the chance of a batch"),
    "mixstyle_alpha": (1000, "all are mixed half and half"),
    "input_noise": (100, "nothing of the input is left"),
    "unlabelled_per_class": (10**9, "no corpus has so many clips"),
    "version": (2**31, "it counts changes"),
    **dict.fromkeys(("noise_seed", "teacher_seed"), SEED),
    **dict.fromkeys(("epochs", "step_epochs", "warmup_epochs"), AGES),
    **dict.fromkeys(("lr", "weight_decay", "gamma"), TOO_STEEP),
}


def check_most(settings: Any, prefix: str = "") -> None:
    """``InputError`` for a value above that of ``MOST``, with the reason. ``prefix``: of the name, for the message."""
    for setting in dataclasses.fields(settings):
        value, (most, why) = getattr(settings, setting.name), MOST.get(setting.name, (math.inf, ""))
        if setting.name in MOST and not isinstance(value, str) and abs(value) > most:
            raise InputError(f"{prefix}{setting.name} = {value:g}: expected at most {most:,} ({why})")
