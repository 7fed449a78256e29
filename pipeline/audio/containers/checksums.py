"""Cyclic checksums that go by the highest bit first, from 0, as FLAC's and OGG's do (zlib's do not)."""

from __future__ import annotations


def remainders(polynomial: int, bits: int) -> list[int]:
    """Of all bytes, divided by ``polynomial`` of ``bits`` bits (without its highest)."""
    values = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
        values.append(value)
    return values


def checksum(data: bytes, table: list[int], bits: int) -> int:
    """Of ``data``, by the ``remainders`` of ``bits`` bits; 0 where the data end with their own checksum."""
    value, most, shift = 0, (1 << bits) - 1, bits - 8
    for byte in data:
        value = (value << 8 & most) ^ table[value >> shift ^ byte]
    return value
