"""The map terms as plain loops over clips, channels and cells, written from their equations; numbers in float64.

Each takes maps of one run, student (B, K_s, H, W) and teacher (B, K_t, H', W'), and the weights of an adapter.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray


def window(cell: int, cells: int, length: int) -> range:
    return range(cell * length // cells, math.ceil((cell + 1) * length / cells))


def averaged(maps: Array, to: tuple[int, int]) -> Array:
    """(..., H, W) → (..., h, w), each axis by itself."""
    *lead, height, width = maps.shape
    narrow = np.empty((*lead, height, to[1]))
    for w in range(to[1]):
        inputs = window(w, to[1], width)
        narrow[..., w] = sum(maps[..., i] for i in inputs) / len(inputs)
    low = np.empty((*lead, *to))
    for h in range(to[0]):
        inputs = window(h, to[0], height)
        low[..., h, :] = sum(narrow[..., i, :] for i in inputs) / len(inputs)
    return low


def common(student: Array, teacher: Array) -> tuple[int, int]:
    return min(student.shape[-2], teacher.shape[-2]), min(student.shape[-1], teacher.shape[-1])


def cells(maps: Array) -> itertools.product:
    return itertools.product(range(maps.shape[-2]), range(maps.shape[-1]))


def rectified(maps: Array) -> Array:
    return np.where(maps > 0, maps, 0.0)


def convolved(maps: Array, weight: Array) -> Array:
    """1 × 1, without bias: (B, K_s, H, W) and (K_t, K_s) → (B, K_t, H, W)."""
    convolution = np.zeros((len(maps), len(weight), *maps.shape[-2:]))
    for clip, output, channel in itertools.product(range(len(maps)), range(len(weight)), range(weight.shape[1])):
        convolution[clip, output] += weight[output, channel] * maps[clip, channel]
    return convolution


def normalised(maps: Array) -> Array:
    """Batch norm with weight 1 and bias 0, in training."""
    normal = np.empty_like(maps)
    for channel in range(maps.shape[1]):
        values = maps[:, channel].ravel().tolist()
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        normal[:, channel] = (maps[:, channel] - mean) / math.sqrt(variance + 1e-5)
    return normal


def hint(s: Array, t: Array, weight: Array) -> float:
    to = common(s, t)
    guess, target = convolved(averaged(rectified(s), to), weight), averaged(rectified(t), to)
    return sum((float(a) - float(b)) ** 2 for a, b in zip(guess.flat, target.flat)) / target.size


def boundary(s: Array, t: Array, weight: Array | None, margin: float = 1.0) -> float:
    to = common(s, t)
    guess, target = averaged(s, to), averaged(t, to)
    if weight is not None:
        guess = normalised(convolved(guess, weight))
    total = 0.0
    for ours, theirs in zip(guess.flat, target.flat):
        total += max(margin - ours, 0) ** 2 if theirs > 0 else max(margin + ours, 0) ** 2
    return total / target.size


def overhaul(s: Array, t: Array, weight: Array | None, margins: Sequence[float]) -> float:
    to = common(s, t)
    guess, target = averaged(s, to), averaged(t, to)
    if weight is not None:
        guess = normalised(convolved(guess, weight))
    total = 0.0
    for clip, channel in itertools.product(range(len(target)), range(target.shape[1])):
        for h, w in cells(target):
            tau = max(target[clip, channel, h, w], margins[channel])
            ours = guess[clip, channel, h, w]
            total += (ours - tau) ** 2 if ours > tau or tau > 0 else 0
    return total / target.size


def margins(maps: Array) -> list[float]:
    means = []
    for channel in range(maps.shape[1]):
        negative = [value for value in maps[:, channel].ravel().tolist() if value < 0]
        means.append(sum(negative) / len(negative) if negative else 0.0)
    return means


def energies(maps: Array) -> Array:
    """a: (B, K, H, W) → (B, H, W)."""
    squares = np.zeros((len(maps), *maps.shape[-2:]))
    for channel in range(maps.shape[1]):
        squares += rectified(maps[:, channel]) ** 2
    return squares / maps.shape[1]


def divided(rows: Array) -> Array:
    """Each row over its length, or over φ where it is shorter: (N, D) → (N, D)."""
    lengths = [math.sqrt(sum(value * value for value in row)) for row in rows.tolist()]
    floor = max(1e-3 * sum(lengths) / len(lengths), 1e-6)
    return np.array([row / max(length, floor) for row, length in zip(rows, lengths)])


def attention(s: Array, t: Array, form: str = "code") -> float:
    to = common(s, t)
    ours, theirs = (divided(averaged(energies(maps), to).reshape(len(maps), -1)) for maps in (s, t))
    squares = [[(a - b) ** 2 for a, b in zip(*clips)] for clips in zip(ours.tolist(), theirs.tolist())]
    if form == "paper":
        return sum(math.sqrt(sum(clip)) for clip in squares) / len(squares)
    return sum(map(sum, squares)) / ours.size


def selectivity(s: Array, t: Array) -> float:
    to = common(s, t)
    total = 0.0
    for clip in range(len(s)):
        x, y = (divided(averaged(rectified(maps[clip]), to).reshape(len(maps[clip]), -1)) for maps in (s, t))
        total += kernel(y, y) + kernel(x, x) - 2 * kernel(x, y)
    return total / len(s)


def kernel(x: Array, y: Array) -> float:
    total = 0.0
    for one in x:
        for other in y:
            total += sum(a * b for a, b in zip(one.tolist(), other.tolist())) ** 2
    return total / (len(x) * len(y))


def pooled(s: Array, t: Array, similarity: str = "ce", grid: tuple[int, int] = (4, 8)) -> float:
    total = 0.0
    for clip in range(len(s)):
        ours, theirs = (
            averaged(sum(rectified(channel) for channel in maps[clip]) / len(maps[clip]), grid).ravel().tolist()
            for maps in (s, t)
        )
        if similarity == "ce":
            total -= sum(p * math.log(q) for p, q in zip(softmax(theirs), softmax(ours)))
        else:
            power: Callable[[float], float] = abs if similarity == "l1" else lambda value: value * value
            total += sum(power(a - b) for a, b in zip(ours, theirs)) / len(ours)
    return total / len(s)


def softmax(values: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]
