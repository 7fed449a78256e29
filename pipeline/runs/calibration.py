"""``calibration.json`` of a run: the temperature that its logits are divided by for probabilities, and what it was fitted on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import Damaged
from pipeline.files import as_signed, json_bytes, signed, write_atomic
from pipeline.runs import folder as files

NAME = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """A run's temperature. None of the clips that it was fitted on is of the fold that the run holds out."""

    temperature: float
    clips: int
    """It was fitted on so many,"""
    folds: tuple[int, ...]
    """of these folds,"""
    runs: tuple[str, ...]
    """by what these runs, which saw neither their fold nor the held-out one, say of them."""
    weights: str
    """Digest of the weights of the run that it is for."""
    nll_before: float
    """On those clips, in nats,"""
    nll_after: float
    ece_before: float
    """and the expected calibration error there, in [0, 1]."""
    ece_after: float


def write(folder: Path, calibration: Calibration) -> None:
    write_atomic(folder / NAME, json_bytes(signed({"schema": files.SCHEMA, **asdict(calibration)})))


def read(folder: Path) -> Calibration | None:
    """Of a finished run; None where it has none. ``InputError`` where it is damaged, or of other weights than the run's."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        values: Mapping[str, Any] = as_signed(json.loads(path.read_text(encoding="utf-8")))
        kept = {key: value for key, value in values.items() if key not in ("schema", "content")}
        calibration = Calibration(**{**kept, "folds": tuple(kept["folds"]), "runs": tuple(kept["runs"])})
        if not 0 < float(calibration.temperature) < math.inf:
            raise ValueError(f"temperature {calibration.temperature}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path}: damaged ({error}); remove it, and calibrate the run again") from None
    if calibration.weights != str(files.read_result(folder).get("weights") or ""):
        raise Damaged(f"{path}: of other weights than the run's; remove it, and calibrate the run again")
    return calibration
