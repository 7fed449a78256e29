"""What is odd about a clip's samples: silence, channels that cancel, a peak far above full scale, sound beyond the clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.audio import reading as audio

#: Least difference between samples that counts as sound: a step of 16 bits.
STEP = 2**-15

#: Peaks above this are no decoder's overshoot (lossy formats go a few dB above full scale) but another scale.
PEAK = 2.0

#: Channels whose mean is below this part of their peak (−40 dB) cancel.
CANCELLED = 0.01

#: Part of the energy behind the clip length from which on it is told.
BEYOND = 0.5


@dataclass(frozen=True)
class Heard:
    """A sound file that was read to its end."""

    frames: int
    rate: int
    channels: int
    peak: float
    """Largest absolute sample; full scale is 1."""
    swing: float
    """Largest difference of two samples of a channel: 0 for silence, at whatever level."""
    mixed_swing: float
    """The same of the channels' mean."""
    beyond: float
    """Part of the mean's energy that lies behind the clip length, 0 to 1."""

    def remarks(self, seconds: float) -> list[str]:
        """What is odd, a line each; ``seconds``: the clip length."""
        if not self.frames:
            return []
        if self.swing < STEP:
            return ["silent"]
        faults = []
        if self.peak > PEAK:
            faults.append(f"peak {self.peak:.4g} times full scale, expected about 1 at most: scale it")
        if self.mixed_swing < CANCELLED * self.swing:
            faults.append(
                f"silent after mixing to mono: its {self.channels} channels cancel; turn one over, or keep one"
            )
        elif self.beyond > BEYOND:
            faults.append(
                f"{100 * self.beyond:.0f} % of its sound lies beyond the clip length of {seconds:g} s and is not "
                "heard: cut it into clips, or trim what is before"
            )
        return faults


def heard(path: Path, seconds: float, *, annotated: bool = False) -> Heard:
    """Read a sound to its end, by the reader of stage one. ``seconds``: the clip length.

    Raises ``ClipError`` for what stage one refuses; of an ``annotated`` WAV its length is not looked at.
    """
    frames, energy, inside = 0, 0.0, 0.0
    low, high, mixed_low, mixed_high = np.inf, -np.inf, np.inf, -np.inf
    swing = peak = 0.0
    with audio.opening(path) as sound:
        rate, channels = sound.rate, sound.channels
        within = round(seconds * rate)
        for block in sound.blocks(1 << 18):
            mixed = audio.mono(block)
            if not len(block):
                continue
            if block.shape[1] != channels:  # of files that were joined
                block = np.repeat(mixed[:, None], channels, axis=1)
            audio.check_values(path, mixed, rate, frames)
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
            mixed_low, mixed_high = min(mixed_low, float(mixed.min())), max(mixed_high, float(mixed.max()))
            powers = np.square(mixed, dtype=np.float64)
            energy += float(powers.sum())
            inside += float(powers[: max(0, within - frames)].sum())
            frames += len(block)
        trusted = annotated and sound.container in ("WAV", "WAVEX")
        audio.check_length(sound, sound.frames / rate if trusted else None)
    if frames:
        swing, peak = float(np.max(high - low)), float(max(np.max(high), -np.min(low)))
    mixed_swing = mixed_high - mixed_low if frames else 0.0
    return Heard(frames, rate, channels, peak, swing, mixed_swing, 1 - inside / energy if energy else 0.0)
