"""A final student of clips with several labels: what is found at a probability of at least ``PRESENT``, class by class, and where nothing is.

Each class is there or not by itself, so no threshold on the largest probability is set: what reaches ``PRESENT`` nowhere is "none of these".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import features, runs
from pipeline.config import FeatureSpec
from pipeline.deploy.answers import PRESENT, found
from pipeline.deploy.final.unknown import Detected, clean, logits_of, of_files, sounds, windows_of
from pipeline.models import Network
from pipeline.runs import Record


@dataclass(frozen=True)
class Present:
    """What held-out runs of the same settings find, and of what else the student finds nothing. Shares are in [0, 1]."""

    none: float
    """Share of their held-out clips, each of which has a class, in which none is found."""
    clips: int
    classes: Mapping[str, Mapping[str, float | None]]
    """Class → "clips" that have it, over all runs; "found", the share of these in which it is; "right", the share of the clips in which
    it is found that have it; None of none."""
    nothing: Detected
    """Kind of sound → share in which no class is found, "refused", and "clips"."""
    kind: str = "clips"
    """What "clips" counts: "files" where clips are windows of files."""

    def told(self) -> dict[str, Any]:
        """For files."""
        held_out = {"none_of_these": self.none, "clips": self.clips, "classes": self.classes}
        return {"threshold": PRESENT, "held_out": held_out, "nothing": self.nothing}


def of(records: Sequence[Record], classes: Sequence[str], network: Network, spec: FeatureSpec) -> Present:
    """``records``: the held-out runs; ``network``: the student of all folds, asked about noise and made-up sounds."""
    each = [runs.read_predictions(record.folder) for record in records]
    has = np.asarray(np.concatenate([one.labels for one in each]), bool)
    there = np.asarray(found(np.concatenate([one.logits for one in each])))
    silent = {}
    for kind, (clips, names) in sounds(spec, windows := windows_of(records)).items():
        logits = logits_of(network, features.extract(clips, clean(spec)))
        heard = np.asarray(found(of_files(logits, names if windows > 1 else (), several=True))).any(axis=1)
        silent[kind] = {"refused": float(1 - heard.mean()), "clips": float(heard.size)}
    by_class = {name: of_class(has[:, place], there[:, place]) for place, name in enumerate(classes)}
    return Present(float(1 - there.any(1).mean()), len(there), by_class, silent, "files" if windows > 1 else "clips")


def of_class(has: np.ndarray, there: np.ndarray) -> dict[str, float | None]:
    """Of (clips,) booleans: which have the class, and in which it is found."""
    both = int((has & there).sum())
    return {
        "clips": int(has.sum()),
        "found": both / int(has.sum()) if has.any() else None,
        "right": both / int(there.sum()) if there.any() else None,
    }
