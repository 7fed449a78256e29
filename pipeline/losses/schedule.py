"""What changes from epoch to epoch: ramps of weights and options, a term's warm-up, and the epochs in which it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ramp:
    """A number that goes linearly from ``first``, in the first epoch, to ``last``, in the last one."""

    first: float
    last: float


def value_at(value: float | Ramp, epoch: int, epochs: int) -> float:
    """a + (b − a) · e / (E − 1) of a ramp in epoch e (from 0) of E, a where E = 1; a number is the same in every epoch."""
    if not isinstance(value, Ramp):
        return float(value)
    if epochs == 1 or epoch == 0:
        return value.first
    if epoch == epochs - 1:
        return value.last  # without the rounding of the sum
    return value.first + (value.last - value.first) * epoch / (epochs - 1)


def weight_at(weight: float | Ramp, options: Mapping[str, Any], epoch: int, epochs: int) -> float:
    """The weight of a term in epoch e (from 0) of E: 0 before its ``from`` and from its ``until`` on, · min((e + 1) / ``warm``, 1).

    Ramp and warm-up go over all epochs, whatever part of them the term counts in; a warm-up that is longer than the training stays
    below the whole weight.
    """
    begun = epoch >= options.get("from", 0)
    over = epoch >= options.get("until", epochs)
    warmth = min((epoch + 1) / options.get("warm", 1), 1.0)
    return value_at(weight, epoch, epochs) * warmth if begun and not over else 0.0


def counted_epochs(options: Mapping[str, Any]) -> str:
    """The epochs in which a term counts, for people; "" where that is all of them."""
    start, end, warm = options.get("from", 0), options.get("until"), options.get("warm", 1)
    if warm > 1:
        rise = f"its weight grows from 1/{warm} of it in the first to all of it in epoch {warm}"
        rest = counted_epochs({key: value for key, value in options.items() if key != "warm"})
        return f"{rest}; {rise}" if rest else rise
    if end is not None:
        span = f"{start + 1} to {end}" if start + 1 < end else f"{end}"
        return f"{span} only; its weight is 0 in the others"
    return f"from {start + 1} on; its weight is 0 before" if start else ""
