"""What models in memory say of sounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.config import InputError
from pipeline.deploy.prediction import Checkpoint, Prediction, predict, predict_file, together
from pipeline.engine.model import Model
from pipeline.models.saved import require_classes, sound_features


def predicted(models: Sequence[Model], sound: Path | str | np.ndarray) -> Prediction:
    """What models in memory say of a file, or of samples (n,) at their rate; see ``audio_rkd.predict``."""
    if not models:
        raise InputError("no model; expected one, or several that vote")
    members = together([of_model(model) for model in models])
    if isinstance(sound, str | Path):
        return predict_file(members, Path(sound))
    samples = np.asarray(sound)
    if samples.ndim != 1 or not len(samples) or samples.dtype.kind != "f":
        raise InputError(
            f"samples {samples.shape} of {samples.dtype}: expected floating-point (n,) in units of full scale at {members[0].spec.sr} Hz"
        )
    return predict(members, [samples.astype(np.float32)])


def of_model(model: Model) -> Checkpoint:
    """A model in memory as what predictions are made with."""
    path = Path(str(model))
    payload = require_classes(dict(model.payload), path)
    return Checkpoint(
        path=path,
        network=model.network,
        spec=sound_features(payload, path),
        classes=model.classes,
        corpus=payload["corpus"],
        synthetic=bool(payload["synthetic"]),
        name=str(model),
        several=bool(payload.get("several_labels")),
    )
