"""Stages of two networks: which of the student's is compared with which of the teacher's, and at which size.

Sizes of maps are (height, width) in cells: frequency bins and frames of a sound. The two are never taken for equal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.models.outputs import stage_maps
from pipeline.models.residual import average_windows

#: What ``--explain`` says of terms on maps.
OFTEN_LOSE = (
    "in a public benchmark (Tian et al. 2020) terms on maps often do worse than plain distillation, between networks of "
    "different families nearly always"
)

#: Which pairs a term compares: every one, the student's first alone, or its last alone.
Stages = Literal["all", "first", "last"]
Size = tuple[int, int]
#: Name of an output → its shape without the batch: (D,) or (K, H, W).
Shapes = Mapping[str, tuple[int, ...]]


def pairs(student: Mapping[str, Any], teacher: Mapping[str, Any], stages: str = "all") -> tuple[tuple[str, str], ...]:
    """(student's stage, teacher's stage) in the order of the student's; ``student``, ``teacher``: name → map (..., H, W).

    A stage is paired with the teacher's whose log(H · W) is nearest, the later one of two that are equally near. Of the
    student's stages with the same partner the nearest keeps it, the later one of those equally near. Raises ``InputError``
    where a network has no map.
    """
    ours, theirs = ({name: size(value) for name, value in stage_maps(maps).items()} for maps in (student, teacher))
    for whose, maps in (("student", ours), ("teacher", theirs)):
        if not maps:
            raise InputError(
                f"the {whose} has no map of a stage to compare; expected a network with outputs map1, map2, …: "
                "choose terms that read its embedding or logits"
            )
    return _pairs(tuple(ours.items()), tuple(theirs.items()), stages)


@functools.cache
def _pairs(
    student: tuple[tuple[str, Size], ...], teacher: tuple[tuple[str, Size], ...], stages: str
) -> tuple[tuple[str, str], ...]:
    kept: dict[str, tuple[Fraction, str]] = {}
    for name, cells in student:
        apart, partner = min(  # the first of equals: the later stage
            ((ratio(cells, theirs), name) for name, theirs in reversed(teacher)), key=lambda one: one[0]
        )
        if partner not in kept or apart <= kept[partner][0]:
            kept[partner] = (apart, name)
    partners = {name: partner for partner, (_, name) in kept.items()}
    every = tuple((name, partners[name]) for name, _ in student if name in partners)
    return {"all": every, "first": every[:1], "last": every[-1:]}[stages]


def ratio(one: Size, other: Size) -> Fraction:
    """exp |log(H·W) − log(H'·W')|, exactly: sizes that are equally near must compare as equal."""
    few, many = sorted((one[0] * one[1], other[0] * other[1]))
    return Fraction(many, few)


def size(value: Any) -> Size:
    """(H, W) of a map (..., H, W), or of its shape."""
    height, width = tuple(getattr(value, "shape", value))[-2:]
    return height, width


def common(one: Any, other: Any) -> Size:
    """The size at which two maps (..., H, W) are compared: the smaller height and the smaller width."""
    (height, width), (high, wide) = size(one), size(other)
    return min(height, high), min(width, wide)


def resampled(maps: Tensor, to: Size) -> Tensor:
    """Adaptive averaging of each axis by itself: (..., H, W) → (..., h, w); an axis of the right length is left alone.

    Cell i of m averages the inputs from ⌊i·n/m⌋ up to, not including, ⌈(i+1)·n/m⌉, as torch's adaptive pooling does, by a
    constant matrix an axis: for any leading axes, under ``vmap``, and with the same bits each time on a GPU.
    """
    return by_axes(maps, to, windows)


def nearest(maps: Tensor, to: Size) -> Tensor:
    """The nearest cell of each axis: row i of m is row ⌊i·n/m⌋ of n. (..., H, W) → (..., h, w); as ``resampled``, by matrices."""
    return by_axes(maps, to, choices)


def by_axes(maps: Tensor, to: Size, weights: Callable[[int, int, torch.dtype, torch.device], Tensor]) -> Tensor:
    """Each axis that is of another length than in ``to`` times its constant matrix, (cells, length)."""
    height, width = size(maps)
    with torch.autocast(maps.device.type, enabled=False):  # as precise as the maps are
        if width != to[1]:
            maps = maps @ weights(width, to[1], maps.dtype, maps.device).mT
        if height != to[0]:
            maps = weights(height, to[0], maps.dtype, maps.device) @ maps
    return maps


@functools.cache
def windows(length: int, cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(cells, length) weights of adaptive averaging; kept, since every step asks for the same few."""
    inside = average_windows(length, cells) > 0  # the weights are divided anew: float32 lacks digits for float64
    return (inside.double() / inside.sum(-1, keepdim=True)).to(device, dtype)


@functools.cache
def choices(length: int, cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(cells, length): a 1 where a cell is taken from."""
    taken = torch.arange(cells)[:, None] * length // cells
    return (torch.arange(length) == taken).to(device, dtype)


def partners(student: Mapping[str, Any], teacher: Mapping[str, Any], stages: str = "all") -> dict[str, Size]:
    """Of the outputs of both sides or their shapes: the teacher's stages that are compared → the size at which they are."""
    ours, theirs = stage_maps(student), stage_maps(teacher)
    return {partner: common(ours[name], theirs[partner]) for name, partner in pairs(ours, theirs, stages)}


def at_common_size(maps: Tensor, stage: str, student: Shapes, teacher: Shapes, stages: str) -> Tensor | None:
    """A map of the teacher's stage, in float32 at least, at the size at which it is compared; None where it is not."""
    to = partners(student, teacher, stages).get(stage)
    return None if to is None else resampled(full(maps), to)


def full(maps: Tensor) -> Tensor:
    """In float32, or in float64 where it is: half precision has too few digits for squares and means."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def mean(values: Tensor) -> Tensor:
    """Over everything of one run: (..., B, K, H, W) → (...,)."""
    return values.mean((-4, -3, -2, -1))
