"""Short digests of settings, which are part of every cache's and run's path.

A setting that is added later counts only where it differs from its default: what was made before there was one was made with
the default, and still serves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Of each kind of settings, the fields that are always part of a digest: those of the first version that others used. It is
#: never added to. Of a kind that is not named here every field is.
FIRST_FIELDS = {
    "FeatureSpec": (
        *("seconds", "sr", "n_fft", "hop_length", "bins", "bins_per_octave", "chroma_bins", "tuning"),
        *("noise_std", "noise_seed", "version"),
    ),
    "TrainSettings": (
        *("model", "epochs", "batch", "lr", "momentum", "nesterov", "weight_decay", "schedule", "step_epochs", "gamma"),
        *("milestones", "warmup_epochs", "clip_norm", "label_smoothing", "class_weights", "precision", "tf32", "data"),
        *("augment", "teacher_epoch", "teacher_seed"),
    ),
}

#: Fields that no number depends on: where and how something is computed. They are part of no digest.
NEVER = {"TrainSettings": ("features_in",)}


def digest(*parts: Any) -> str:
    """Eight hexadecimal digits that change when any setting in ``parts`` (dataclasses, JSON values) changes."""
    plain = [identifying(part) if dataclasses.is_dataclass(part) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def identifying(settings: Any, kind: Any = None) -> dict[str, Any]:
    """The settings that tell these from others: all but later fields at their default, and those of ``NEVER``.

    ``settings``: a dataclass, or the dictionary of one of the class ``kind``, as records have it.
    """
    values = dict(settings) if isinstance(settings, Mapping) else dataclasses.asdict(settings)
    later, never = later_defaults(kind or type(settings)), NEVER.get((kind or type(settings)).__name__, ())
    telling = {
        name: value
        for name, value in values.items()
        if name not in never and (name not in later or value != later[name])
    }
    # Averages were of a constant decay before: they kept a share of the first values, and such runs serve no more.
    return telling | ({"averages": "warmed up"} if telling.get("average") else {})


def completed(recorded: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Recorded settings of the class ``kind``, with the default of each later field that there was not yet."""
    return {**recorded, **{name: value for name, value in later_defaults(kind).items() if name not in recorded}}


def later_defaults(kind: Any) -> dict[str, Any]:
    """The fields of a kind of settings that came after ``FIRST_FIELDS``, with their defaults."""
    first = FIRST_FIELDS.get(kind.__name__)
    fields = dataclasses.fields(kind) if first is not None else ()
    return {field.name: field.default for field in fields if field.name not in (first or ())}
