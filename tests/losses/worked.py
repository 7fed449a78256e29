"""The inputs of the worked values of METHODS2, and what its oracles share: plain numpy, float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

Array = np.ndarray[Any, Any]


def sines(clips: int, numbers: int, first: int = 0) -> Array:
    """s(n, j) = sin((n + 1)(j + 1)), n and j from 0; ``first``: the n of the first row."""
    n, j = np.mgrid[first : first + clips, 0:numbers]
    return np.sin((n + 1) * (j + 1))


def cosines(clips: int, numbers: int, first: int = 0) -> Array:
    """t(n, j) = cos((n + 1)(j + 2))."""
    n, j = np.mgrid[first : first + clips, 0:numbers]
    return np.cos((n + 1) * (j + 2))


def outputs(**values: Any) -> SimpleNamespace:
    """What a loss sees of one side."""
    return SimpleNamespace(**{name: torch.as_tensor(np.asarray(value, np.float64)) for name, value in values.items()})


def near(value: float) -> Any:
    """A worked value: ten decimals."""
    return pytest.approx(value, abs=6e-10)


def unit(x: Array) -> Array:
    length = np.sqrt((x**2).sum())
    return x / length if length else x


def softmax(z: Array, T: float = 1.0) -> Array:
    e = np.exp((z - z.max()) / T)
    return np.asarray(e / e.sum())


def divergence(p: Array, q: Array) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q) if a > 0))


#: Logits 2s and 3t, 3 × 4, with the labels 0, 1, 2.
Z_S, Z_T, LABELS = 2 * sines(3, 4), 3 * cosines(3, 4), [0, 1, 2]


def embeddings(clips: int = 4) -> tuple[Array, Array]:
    """E: of student and teacher, 4 × 3 and 4 × 5, or their first rows."""
    return sines(clips, 3), cosines(clips, 5)


def two_clips() -> tuple[Array, Array]:
    """H: of student and teacher."""
    return np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 2.0]])


def maps() -> tuple[dict[str, Array], dict[str, Array]]:
    """M: two stages of each network after their ReLU, (2, 2, 2, 3) and (2, 3, 1, 2): a row's numbers in C order."""
    sides = [np.maximum(numbers(2, 18), 0) for numbers in (sines, cosines)]
    student, teacher = ({"map1": x[:, :12].reshape(2, 2, 2, 3), "map2": x[:, 12:].reshape(2, 3, 1, 2)} for x in sides)
    return student, teacher
