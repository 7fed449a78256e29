"""``refusal.json`` of a run: below which probability its answer is "none of these", and what that does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import Damaged
from pipeline.files import as_signed, json_bytes, signed, write_atomic
from pipeline.runs import folder as files
from pipeline.runs import lost
from pipeline.runs.record import STUDENT

NAME = "refusal.json"


@dataclass(frozen=True)
class Refusal:
    """A threshold on the largest probability of a clip."""

    threshold: float
    """An answer is refused where its largest probability is below this."""
    share: float
    """Of held-out clips of known classes, so many at most are refused,"""
    clips: int
    """of these, as held-out runs of the same settings say."""
    refused_elsewhere: float | None
    """Share of a fold's clips that the threshold of the other folds refuses, mean over the folds; None of a single fold."""
    weights: str
    """Digest of the weights of the run that it is for."""
    detects: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What is none of the classes → "refused", its share, and "clips"."""
    windows: float | None = None
    """Where clips are windows of files: the share of the known classes' windows that it refuses, each by itself."""

    @property
    def kind(self) -> str:
        """What ``clips`` counts, in words."""
        return "clips" if self.windows is None else "files"

    @property
    def what_it_costs(self) -> str:
        """What it refuses of known classes, in sentences."""
        text = (
            f"So are at most {self.share:.0%} of the {self.clips:,} answers to held-out {self.kind} of known classes."
        )
        if self.windows is not None:
            text += f" A file's probabilities are the mean over its windows; of windows by themselves it refuses {100 * self.windows:.1f} %."
        if self.refused_elsewhere is not None:
            text += f" Set by the other folds it refuses {100 * self.refused_elsewhere:.1f} % of a fold's {self.kind}."
        return text


def write(folder: Path, refusal: Refusal) -> None:
    values = {key: value for key, value in asdict(refusal).items() if not (key == "windows" and value is None)}
    write_atomic(folder / NAME, json_bytes(signed({"schema": files.SCHEMA, **values})))


def lost_in(folder: Path) -> str:
    """The line on the threshold that a student of all folds lacks, which ``make final`` gives it; "" where it is there, none is due, or
    one may be about to be written."""
    if (folder / NAME).is_file() or not files.finished(folder) or files.read_result(folder)["status"] != "all folds":
        return ""
    config = files.read_config(folder)
    if config["role"] != STUDENT or config.get("several_labels"):  # of several labels there is none
        return ""
    if any(map(lost.is_training, folder.parents[:4])):
        return ""
    return (
        f"{folder / NAME}: no such file, and this is a student of all folds (it was lost, or make final was stopped): no answer is "
        f"'none of these'; make final writes it again"
    )


def read(folder: Path) -> Refusal | None:
    """Of a finished run; None where it has none. ``InputError`` where it is damaged, or of other weights than the run's."""
    path = folder / NAME
    if not path.is_file() or not files.finished(folder):
        return None
    try:
        values: Mapping[str, Any] = as_signed(json.loads(path.read_text(encoding="utf-8")))
        refusal = Refusal(**{key: value for key, value in values.items() if key not in ("schema", "content")})
        if not 0 <= float(refusal.threshold) <= 1:
            raise ValueError(f"threshold {refusal.threshold}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path}: damaged ({error}); remove it, and say make final again") from None
    if refusal.weights != str(files.read_result(folder).get("weights") or ""):
        raise Damaged(f"{path}: of other weights than the run's; remove it, and say make final again")
    return refusal
