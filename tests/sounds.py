"""Clips of every kind that features are computed of."""

from __future__ import annotations

import numpy as np

from pipeline.config import FeatureSpec


def sounds(spec: FeatureSpec) -> dict[str, np.ndarray]:
    n, sr = spec.samples, spec.sr
    t = np.arange(n) / sr
    rng = np.random.default_rng(3)
    tone = 0.3 * np.sin(2 * np.pi * 440 * t)
    noise = rng.normal(0, 0.1, n)
    click = np.zeros(n)
    click[n // 3] = 1.0
    square = np.clip(5 * np.sin(2 * np.pi * 230 * t), -1, 1)
    cut = (tone + 0.1 * noise) * (t < 0.3 * spec.seconds)
    made = {
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
    return {name: y.astype(np.float32) for name, y in made.items()}
