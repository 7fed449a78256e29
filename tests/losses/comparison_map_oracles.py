"""The map terms of the comparison libraries as plain loops over clips, channels and cells, written from their equations.

Each takes maps of one run, student (B, K, H, W) and teacher (B, K', H', W'), in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from tests.losses.map_oracles import averaged, cells, common, convolved, divided, normalised, rectified

Array = np.ndarray


def transition(a: Array, b: Array) -> Array:
    """G of each clip: (B, m, n)."""
    to = common(a, b)
    a, b = averaged(a, to), averaged(b, to)
    sums = np.zeros((len(a), a.shape[1], b.shape[1]))
    for clip, i, j in np.ndindex(*sums.shape):
        for h, w in cells(a):
            sums[clip, i, j] += a[clip, i, h, w] * b[clip, j, h, w]
    return sums / (to[0] * to[1])


def flow(student: Sequence[Array], teacher: Sequence[Array]) -> float:
    """Of stages after their ReLU, the student's with the teacher's channels."""
    total = 0.0
    for number in range(len(student) - 1):
        ours, theirs = (transition(*side[number : number + 2]) for side in (student, teacher))
        total += sum((x - y) ** 2 for x, y in zip(ours.flat, theirs.flat)) / ours.size
    return total


def variational(s: Array, t: Array, weights: Sequence[Array], alpha: Sequence[float]) -> float:
    """Of maps before their ReLU, brought to their common size."""
    to = common(s, t)
    guess, target = averaged(rectified(s), to), averaged(rectified(t), to)
    for number, weight in enumerate(weights):
        guess = convolved(guess, weight)
        guess = rectified(guess) if number < 2 else guess
    total = 0.0
    for clip, channel in product(range(len(target)), range(target.shape[1])):
        variance = math.log1p(math.exp(alpha[channel])) + 1e-5
        for h, w in cells(target):
            square = (target[clip, channel, h, w] - guess[clip, channel, h, w]) ** 2
            total += (square / variance + math.log(variance)) / 2
    return total / target.size


def convolved3(maps: Array, weight: Array, bias: Array) -> Array:
    """3 × 3 with zeros around: (B, K, H, W) and (K', K, 3, 3) → (B, K', H, W)."""
    clips, _, height, width = maps.shape
    convolution = np.zeros((clips, len(weight), height, width))
    for clip, output, h, w in np.ndindex(*convolution.shape):
        convolution[clip, output, h, w] = bias[output]
        for i, j in product(range(3), range(3)):
            y, x = h + i - 1, w + j - 1
            if 0 <= y < height and 0 <= x < width:
                convolution[clip, output, h, w] += float(weight[output, :, i, j] @ maps[clip, :, y, x])
    return convolution


def encoded(maps: Array, weights: Mapping[str, Array]) -> Array:
    for layer in ("0", "2", "4"):
        maps = convolved3(maps, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        maps = np.where(maps > 0, maps, 0.1 * maps)
    return maps


def factor(ours: Array, theirs: Array) -> float:
    """Of the factors of both sides."""
    s, t = (divided(side.reshape(len(side), -1)) for side in (ours, theirs))
    return sum(abs(a - b) for a, b in zip(s.flat, t.flat)) / s.size


def taken(maps: Array, to: tuple[int, int]) -> Array:
    """Nearest cells."""
    height, width = maps.shape[-2:]
    cut = np.empty((*maps.shape[:-2], *to))
    for h, w in product(range(to[0]), range(to[1])):
        cut[..., h, w] = maps[..., h * height // to[0], w * width // to[1]]
    return cut


def fused(u: Array, v: Array, weight: Array, bias: Array) -> Array:
    """Two maps (B, M, H, W), attention weights (2, 2M)."""
    sums = convolved(np.concatenate([u, v], 1), weight) + bias[:, None, None]
    a = 1 / (1 + np.exp(-sums))
    return u * a[:, :1] + v * a[:, 1:]


def fusion(maps: Sequence[Array], sizes: Sequence[tuple[int, int]], weights: Mapping[str, Array]) -> list[Array]:
    """Of stages after their ReLU, from the deepest to the first: what is compared with the teacher's, in their own order."""
    told: list[Array] = []
    deeper = None
    for number in reversed(range(len(maps))):
        u = normalised(convolved(maps[number], weights[f"inward.{number}.0.weight"][..., 0, 0]))
        residual = u
        if deeper is not None:
            weight, bias = (weights[f"attention.{number}.{part}"] for part in ("weight", "bias"))
            residual = fused(u, taken(deeper, u.shape[-2:]), weight[..., 0, 0], bias)
        deeper = taken(residual, sizes[number])
        weight = weights[f"outward.{number}.0.weight"]
        told.insert(0, normalised(convolved3(deeper, weight, np.zeros(len(weight)))))
    return told


def review(out: Array, t: Array, across: int = 1) -> float:
    """Of one pair."""
    height, width = t.shape[-2:]
    value, total, weight = sum(float(x) ** 2 for x in (out - t).flat) / t.size, 1.0, 1.0
    for level in (4, 2, 1):
        if level < height and across * level < width:
            weight /= 2
            total += weight
            apart = averaged(out, (level, across * level)) - averaged(t, (level, across * level))
            value += weight * sum(float(x) ** 2 for x in apart.flat) / apart.size
    return value / total
