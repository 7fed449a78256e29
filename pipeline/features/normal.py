"""Noise as numpy draws it, compiled by numba; where that gives the same, ``steps`` takes it."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

try:  # numba's copies of numpy's tables: the widths of 256 layers below the bell, what of each is surely below it, its height there
    from numba.np.random._constants import fi_float, ki_float, wi_float, ziggurat_nor_inv_r_f, ziggurat_nor_r_f
except ImportError:  # of another version: then numpy draws (``steps``)
    ki_float, (wi_float, fi_float) = np.zeros(256, np.uint32), np.zeros((2, 256), np.float32)
    ziggurat_nor_inv_r_f = ziggurat_nor_r_f = np.float32(1)

END, OVER_END = np.float32(ziggurat_nor_r_f), np.float32(ziggurat_nor_inv_r_f)
#: What numpy makes a number from 0 to 1 of 24 bits by.
UNIT = np.float32(2.0**-24)
SIGNS = np.array([1, -1], np.float32)


@njit(cache=True)
def standard_normal(state: np.ndarray, count: int) -> np.ndarray:
    """(count,) float32 of ``Generator(SFC64).standard_normal``, whose state is (4,) uint64: numpy's ziggurat, without a call for each
    number (Marsaglia and Tsang, 2000). Fewer where they take more bits than ever seen.
    """
    a, b, c, counter = state[0], state[1], state[2], state[3]
    words = np.empty(count * 55 // 100 + 500, np.uint64)  # one number takes 1.024 halves of a word
    for i in range(len(words)):
        word = a + b + counter
        words[i] = word
        counter += np.uint64(1)
        a = b ^ (b >> np.uint64(11))
        b = c + (c << np.uint64(3))
        c = ((c << np.uint64(24)) | (c >> np.uint64(40))) + word
    bits, out = words.view(np.uint32), np.empty(count, np.float32)
    at, done, most = 0, 0, len(bits) - 100
    while done < count and at < most:
        half = bits[at]
        layer, size = half & np.uint32(0xFF), half >> np.uint32(9)
        x = np.float32(size) * wi_float[layer] * SIGNS[(half >> np.uint32(8)) & np.uint32(1)]
        out[done] = x
        at += 1
        if size < ki_float[layer]:  # 99 of 100
            done += 1
        elif layer:
            share = np.float32(bits[at] >> np.uint32(8)) * UNIT
            height = (fi_float[layer - 1] - fi_float[layer]) * share + fi_float[layer]
            done += height < math.exp(-0.5 * np.float64(x) * np.float64(x))
            at += 1
        else:  # the two ends
            beyond = False
            while not beyond and at < most:
                far = -OVER_END * np.float32(math.log1p(-np.float32(bits[at] >> np.uint32(8)) * UNIT))
                deep = -np.float32(math.log1p(-np.float32(bits[at + 1] >> np.uint32(8)) * UNIT))
                beyond = bool(np.float32(deep + deep) > np.float32(far * far))
                at += 2
            out[done] = -(END + far) if (size >> np.uint32(8)) & np.uint32(1) else END + far
            done += beyond
    return out[:done]
