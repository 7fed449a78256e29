"""Clips of every kind that features are computed of."""

from __future__ import annotations

import functools

import numpy as np
import scipy.signal

from pipeline.config import FeatureSpec


def sounds(spec: FeatureSpec) -> dict[str, np.ndarray]:
    """Ordinary and odd ones, by name; copies, which a test may change."""
    return {name: y.copy() for name, y in made_sounds(spec).items()}


def beyond_the_bands(spec: FeatureSpec) -> dict[str, np.ndarray]:
    """Sounds with next to nothing in the seven constant-Q octaves (33 Hz to 4.2 kHz), and numbers next to 0; copies too."""
    return {name: y.copy() for name, y in made_beyond_the_bands(spec).items()}


@functools.lru_cache(maxsize=8)
def made_sounds(spec: FeatureSpec) -> dict[str, np.ndarray]:
    n, sr = spec.samples, spec.sr
    t = np.arange(n) / sr
    rng = np.random.default_rng(3)
    tone = 0.3 * np.sin(2 * np.pi * 440 * t)
    noise = rng.normal(0, 0.1, n)
    click = np.zeros(n)
    click[n // 3] = 1.0
    square = np.clip(5 * np.sin(2 * np.pi * 230 * t), -1, 1)
    cut = (tone + 0.1 * noise) * (t < 0.3 * spec.seconds)
    signals = {
        "tone": tone,
        "detuned chord": sum(np.sin(2 * np.pi * f * t) for f in (226.0, 284.7, 338.6)) / 4,
        "noise": noise,
        "chirp": 0.5 * np.sin(2 * np.pi * (50 * t + 1200 * t**2 / spec.seconds)),
        "impulse": click,
        "silence": np.zeros(n),
        "short": np.where(t < 0.05, noise + tone, 0),
        "clipped square": square,
        "noisy square": square + rng.normal(0, 0.005, n),
        "constant": np.full(n, 0.25),
        "very quiet": 1e-6 * (tone + noise),
        "all but nothing": 1e-15 * (tone + noise),
        "full scale": rng.choice([-1.0, 1.0], n),
        "hard cut": cut,
        "quiet after loud": np.where(t < 0.5 * spec.seconds, square, 1e-4 * noise),
    }
    return {name: y.astype(np.float32) for name, y in signals.items()}


@functools.lru_cache(maxsize=8)
def made_beyond_the_bands(spec: FeatureSpec) -> dict[str, np.ndarray]:
    n, sr = spec.samples, spec.sr
    t = np.arange(n) / sr
    rng = np.random.default_rng(4)
    tone = lambda f, a=0.5: a * np.sin(2 * np.pi * f * t)
    high = scipy.signal.sosfilt(scipy.signal.butter(20, 0.75, "high", output="sos"), rng.normal(0, 0.3, n))
    loud = t < 0.25 * spec.seconds
    signals = {f"tone of {share:g}": tone(share * sr / 2) for share in (0.55, 0.73, 0.82, 0.9, 0.989, 0.998)}
    signals |= {
        "chirp": 0.5 * np.sin(2 * np.pi * sr / 2 * (0.73 * t + 0.13 * t**2 / spec.seconds)),
        "noise": high,
        "insects": tone(0.86 * sr / 2) * np.clip(np.sin(2 * np.pi * 2 * t), 0, 1) ** 2 + 0.01 * high,
        "high on an offset": 0.3 + tone(0.95 * sr / 2, 0.3),
        "infrasound": tone(2.0),
        "high, then next to nothing": np.where(loud, tone(0.95 * sr / 2), rng.normal(0, 1e-5, n)),
        "tone, then denormal": np.where(loud, tone(440.0), rng.normal(0, 1e-40, n)),
        "tone and a high one 100 dB above": tone(440.0, 5e-6) + tone(0.93 * sr / 2),
    }
    signals |= {f"samples of {scale:g}": rng.normal(0, scale, n) for scale in (1e-20, 1e-30, 1e-38, 1e-40, 1e-43)}
    return {name: y.astype(np.float32) for name, y in signals.items()}
