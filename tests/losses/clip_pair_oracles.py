"""The terms on pairs of clips as plain loops, written from their equations; embeddings of one run (B, D), numbers in float64."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def unit(row: Array) -> Array:
    length = math.sqrt(sum(value * value for value in row.tolist()))
    return row / length if length else row


def dot(x: Array, y: Array) -> float:
    return sum(a * b for a, b in zip(x.tolist(), y.tolist()))


def similarity(student: Array, teacher: Array) -> float:
    grams = [[unit(np.array([dot(x, y) for y in side])) for x in side] for side in (student, teacher)]
    return sum((a - b) ** 2 for ours, theirs in zip(*grams) for a, b in zip(ours, theirs)) / len(student) ** 2


def congruence(student: Array, teacher: Array, kernel: str = "gaussian", gamma: float = 0.4, P: int = 2) -> float:
    def likeness(x: Array, y: Array) -> float:
        x, y = unit(x), unit(y)
        if kernel == "bilinear":
            return dot(x, y)
        if kernel == "exact":
            return math.exp(-gamma * dot(x - y, x - y))
        series = sum((2 * gamma) ** p / math.factorial(p) * dot(x, y) ** p for p in range(P + 1))
        return math.exp(-2 * gamma) * series

    clips = range(len(student))
    squares = [(likeness(student[i], student[j]) - likeness(teacher[i], teacher[j])) ** 2 for i in clips for j in clips]
    return sum(squares) / len(squares)


def affinity(student: Array, teacher: Array, diagonal: bool = True) -> float:
    total = 0.0
    for i in range(len(student)):
        q, p = (
            [(dot(unit(side[i]), unit(x)) + 1) / 2 if diagonal or i != j else 0.0 for j, x in enumerate(side)]
            for side in (student, teacher)
        )
        for a, b in zip(p, q):
            a, b = a / max(sum(p), 1e-3), b / max(sum(q), 1e-3)
            total += a * math.log((a + 1e-7) / (b + 1e-7))
    return total / len(student)


def edges(student: Array, teacher: Array) -> float:
    squares = [[[dot(x - y, x - y) for y in side] for x in side] for side in (student, teacher)]
    ours, theirs = ([[value / max(max(map(max, side)), 1e-12) for value in row] for row in side] for side in squares)
    return sum((a - b) ** 2 for x, y in zip(ours, theirs) for a, b in zip(x, y)) / len(student) ** 2
