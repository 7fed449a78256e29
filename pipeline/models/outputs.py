"""What a network says about a batch, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

#: The outputs that every network has.
VECTORS = ("embedding", "hidden", "logits")

#: In place of names of outputs: every stage map of the network.
MAPS = "maps"

T = TypeVar("T")


class Outputs(dict[str, Tensor]):
    """Name → tensor, also as attributes: ``outputs.logits`` is ``outputs["logits"]``.

    ``logits`` (..., B, classes); ``embedding`` (..., B, D), what the relational losses see; ``hidden`` (..., B, D2), the
    layer before the output; ``map1``, ``map2``, … (..., B, K, H, W), the value before the last ReLU of each stage;
    ``maps``: all of these by name, in their order. Leading axes are runs.
    """

    @property
    def maps(self) -> dict[str, Tensor]:
        return stage_maps(self)

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no output {name!r}; there are {', '.join(self)}") from None


def stage_maps(outputs: Mapping[str, T]) -> dict[str, T]:
    """``map1``, ``map2``, … of what a network says, in the order of their numbers; empty where it has none."""
    numbers = {name: int(name[3:]) for name in outputs if re.fullmatch(r"map\d+", name)}
    return {name: outputs[name] for name in sorted(numbers, key=numbers.__getitem__)}


def chosen(names: Sequence[str], there: Iterable[str]) -> tuple[str, ...]:
    """Those of the outputs ``there`` that ``names`` name; ``maps`` names every stage map."""
    wanted = {name: name for name in there}
    stages = stage_maps(wanted) if MAPS in names else {}
    return tuple(name for name in wanted if name in names or name in stages)


def lacking(names: Sequence[str], there: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that none of the outputs ``there`` is; ``maps`` where there is no stage map."""
    known = {name: name for name in there}
    return tuple(name for name in names if name not in known and not (name == MAPS and stage_maps(known)))
