"""Ten sound recipes, one for each class of UrbanSound8K, and what they are made of.

A recipe is a function of a random generator: LENGTH seconds at SR, of any loudness. What it draws (pitch, rhythm,
colour) is what a recording of the class has to itself; the ranges of different classes overlap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Rate at which sounds are made, and seconds of a recording.
SR = 22050
LENGTH = 5.0

SIZE = round(LENGTH * SR)
TIME = np.arange(SIZE, dtype=np.float32) / np.float32(SR)
FREQUENCIES = np.fft.rfftfreq(SIZE, 1 / SR)

Rng = np.random.Generator


def tilt(slope: float) -> np.ndarray:
    """Gain of each frequency: ``slope`` dB per octave above 50 Hz."""
    return (np.maximum(FREQUENCIES / 50, 1) ** (slope / 6.02)).astype(np.float32)


def coloured(sound: np.ndarray, slope: float) -> np.ndarray:
    """A recording with its spectrum tilted by ``slope`` dB per octave."""
    return np.fft.irfft(np.fft.rfft(sound) * tilt(slope), SIZE)


def rush(rng: Rng, slope: float) -> np.ndarray:
    """Gaussian noise with a spectrum tilted by ``slope`` dB per octave; standard deviation 1."""
    pairs = rng.standard_normal((len(FREQUENCIES), 2), dtype=np.float32)
    return scaled(np.fft.irfft(pairs.view(np.complex64)[:, 0] * tilt(slope), SIZE))


def scaled(sound: np.ndarray) -> np.ndarray:
    """``sound`` with a root mean square of 1 (silence stays)."""
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9)


def partials(phase: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Σ strengths[k − 1] sin(k phase), by sin((k + 1) x) = 2 cos x sin k x − sin((k − 1) x)."""
    twice, before, now = 2 * np.cos(phase), np.zeros_like(phase), np.sin(phase)
    total = strengths[0] * now
    for strength in strengths[1:]:
        before, now = now, twice * now - before
        total += strength * now
    return total


def harmonics(pitch: np.ndarray | float, count: int, fall: float) -> np.ndarray:
    """``count`` partials of a pitch (Hz, may move), the k-th k**-fall as strong; none above SR / 2."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(pitch, TIME.shape), dtype=np.float64) / SR
    count = min(count, max(1, int(SR / 2 / np.max(pitch))))
    return partials(phase, np.arange(1, count + 1) ** -fall)


def hits(times: np.ndarray, kernel: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """``kernel`` begun at each time (s), as strong as given."""
    total = np.zeros(SIZE + len(kernel))
    for place, strength in zip(np.round(times * SR).astype(int), strengths):
        if 0 <= place < SIZE:
            total[place : place + len(kernel)] += strength * kernel
    return total[:SIZE]


def beats(rng: Rng, rate: float, jitter: float) -> np.ndarray:
    """Times (s) of about ``rate`` events per second, each off by ``jitter`` of their distance."""
    steps = np.maximum(rng.normal(1, jitter, round(LENGTH * rate) + 2), 0.2) / rate
    return np.cumsum(steps) - rng.uniform(0, 1) / rate


def gate(rng: Rng, on: tuple[float, float], off: tuple[float, float]) -> np.ndarray:
    """0 and 1 in turn, for random seconds each, with edges of 10 ms."""
    points, levels, at = [-1.0], [0.0], -rng.uniform(0, 0.5)
    while at < LENGTH:
        stop = at + rng.uniform(*on)
        points += [at, at + 0.01, stop, stop + 0.01]
        levels += [0.0, 1.0, 1.0, 0.0]
        at = stop + rng.uniform(*off)
    return np.interp(TIME, points, levels).astype(np.float32)


def ringing(rng: Rng, frequency: float, decay: float, noise: float) -> np.ndarray:
    """A struck thing: a tone and noise that die away with time constant ``decay`` (s)."""
    t = np.arange(round(min(6 * decay, 2.0) * SR)) / SR
    return np.exp(-t / decay) * (np.sin(2 * np.pi * frequency * t) + noise * rng.standard_normal(len(t)))


def air_conditioner(rng: Rng) -> np.ndarray:
    """Hum of a motor and the rush of air."""
    hum = harmonics(rng.uniform(50, 180), int(rng.integers(3, 10)), rng.uniform(0.6, 1.5))
    air = rush(rng, rng.uniform(-5, -1))
    slow = 1 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.3, 3) * TIME)
    return slow * (rng.uniform(0.1, 1) * scaled(hum) + air)


def car_horn(rng: Rng) -> np.ndarray:
    """Two tones at once, in honks."""
    pitch = rng.uniform(280, 560)
    both = sum(
        harmonics(pitch * step, int(rng.integers(4, 12)), rng.uniform(0.2, 1.2))
        for step in (1, rng.uniform(1.18, 1.34))
    )
    return np.asarray(both) * gate(rng, (0.15, 1.5), (0.1, 0.8))


def children_playing(rng: Rng) -> np.ndarray:
    """Babble: several high voices, syllable by syllable."""
    total = np.zeros(SIZE)
    for _ in range(int(rng.integers(2, 6))):
        wander = rush(rng, -12).clip(-3, 3)
        strengths = rng.uniform(0.1, 1, 8) * np.arange(1, 9) ** -rng.uniform(0.2, 1)
        pitch = rng.uniform(250, 520) * 2 ** (rng.uniform(0.1, 0.3) * wander)
        voice = partials(2 * np.pi * np.cumsum(pitch) / SR, strengths)
        total += rng.uniform(0.3, 1) * voice * gate(rng, (0.08, 0.5), (0.05, 0.6))
    return total


def dog_bark(rng: Rng) -> np.ndarray:
    """Barks: short, falling, hoarse."""
    length, pitch = rng.uniform(0.08, 0.3), rng.uniform(300, 900)
    t = np.arange(round(length * SR)) / SR
    phase = 2 * np.pi * np.cumsum(pitch * np.exp(-rng.uniform(0.5, 4) * t)) / SR
    voice = partials(phase, np.arange(1, 7) ** -rng.uniform(0.3, 1))
    bark = np.sin(np.pi * t / length) ** 0.5 * (voice + rng.uniform(0.3, 2) * rng.standard_normal(len(t)))
    times = beats(rng, rng.uniform(0.8, 4), 0.35)
    return hits(times, bark, rng.uniform(0.3, 1, len(times)))


def drilling(rng: Rng) -> np.ndarray:
    """A drill: a buzz whose loudness beats, and rough noise."""
    speed = rng.uniform(60, 250) * (1 + 0.03 * np.sin(2 * np.pi * rng.uniform(0.1, 1) * TIME))
    buzz = harmonics(speed, 24, rng.uniform(0.1, 0.8))
    rough = rush(rng, rng.uniform(-2, 2))
    beat = 1 + rng.uniform(0.3, 1) * np.sin(2 * np.pi * rng.uniform(8, 40) * TIME)
    return beat * (scaled(buzz) + rng.uniform(0.3, 2) * rough) * gate(rng, (1, 4), (0.05, 0.5))


def engine_idling(rng: Rng) -> np.ndarray:
    """Pulses of an engine, low and even."""
    times = beats(rng, rng.uniform(10, 35), rng.uniform(0.01, 0.08))
    pulse = ringing(rng, rng.uniform(50, 220), rng.uniform(0.01, 0.04), rng.uniform(0.1, 0.8))
    body = hits(times, pulse, rng.uniform(0.6, 1, len(times)))
    return scaled(body) + rng.uniform(0.2, 1) * rush(rng, rng.uniform(-5, -2))


def gun_shot(rng: Rng) -> np.ndarray:
    """Shots: noise that begins at once and dies away."""
    times = beats(rng, rng.uniform(0.4, 2), 0.5)
    shot = ringing(rng, rng.uniform(60, 300), rng.uniform(0.04, 0.4), rng.uniform(0.8, 4))
    return hits(times, shot, rng.uniform(0.4, 1, len(times)))


def jackhammer(rng: Rng) -> np.ndarray:
    """A train of hammer blows, hard and even."""
    times = beats(rng, rng.uniform(9, 28), rng.uniform(0.01, 0.06))
    blow = ringing(rng, rng.uniform(150, 2500), rng.uniform(0.006, 0.03), rng.uniform(0.5, 3))
    return hits(times, blow, rng.uniform(0.5, 1, len(times))) * gate(rng, (1, 4), (0.05, 0.5))


def siren(rng: Rng) -> np.ndarray:
    """A tone that sweeps up and down."""
    low = rng.uniform(350, 800)
    swing = np.sin(2 * np.pi * rng.uniform(0.15, 4) * TIME + rng.uniform(0, 2 * np.pi))
    pitch = low * rng.uniform(1.4, 2.8) ** ((swing * rng.uniform(1, 3)).clip(-1, 1) * 0.5 + 0.5)
    return harmonics(pitch, int(rng.integers(1, 7)), rng.uniform(0.6, 2))


def street_music(rng: Rng) -> np.ndarray:
    """A sequence of chords on one scale."""
    scale = rng.uniform(130, 330) * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17]) / 12)
    beat, fall, total = rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.8), np.zeros(SIZE)
    strengths, t = 1 / np.arange(1, rng.integers(2, 7)), np.arange(round(1.2 * SR)) / SR
    roots = rng.integers(0, 7, int(LENGTH / beat) + 1)
    for root in np.unique(roots):
        chord = np.sum([partials(2 * np.pi * scale[root + step] * t, strengths) for step in (0, 2, 4)], axis=0)
        times = beat * np.flatnonzero(roots == root)
        total += hits(times, np.exp(-t / fall) * chord, np.ones(len(times)))
    return total


#: By label.
RECIPES: tuple[Callable[[Rng], np.ndarray], ...] = (
    air_conditioner,
    car_horn,
    children_playing,
    dog_bark,
    drilling,
    engine_idling,
    gun_shot,
    jackhammer,
    siren,
    street_music,
)
