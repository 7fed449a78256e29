"""The temperature of a run in its export: in the metadata of every ONNX file, in ``labels.json`` and in the proof.

Logits stay what they are: whoever wants probabilities divides them by the temperature first. The one-file forms do so themselves.
A run that was not calibrated is exported as if there were no temperatures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import runs
from pipeline.deploy.answers import PRESENT
from pipeline.deploy.graph import ACTIVATION, SIGMOID, TEMPERATURE
from pipeline.deploy.prediction import Checkpoint, checkpoint
from pipeline.figures import evaluation
from pipeline.runs import Record, calibration
from pipeline.runs.calibration import Calibration

#: In ``proof.json``.
ENTRY = "calibration"


def fitted(source: Path, file: Path) -> Calibration | None:
    """What was fitted for the weights in ``file`` of the run ``source``: for its last ones alone."""
    return calibration.read(source) if file == source / "model.pt" else None


def member(file: Path, of_run: Calibration | None) -> Checkpoint:
    return dataclasses.replace(checkpoint(file), temperature=of_run.temperature if of_run else 1.0)


def as_exported(plain: Checkpoint, proven: Mapping[str, Any]) -> Checkpoint:
    """With the temperature that an export has, whatever the run's is by now."""
    return dataclasses.replace(plain, temperature=proven.get(ENTRY, {}).get(TEMPERATURE, 1.0))


def marked(models: Mapping[str, bytes], of_run: Calibration | None, several: bool = False) -> dict[str, bytes]:
    """ONNX files by name, with the temperature in their metadata; of clips with ``several`` labels what makes probabilities."""
    about = {TEMPERATURE: repr(of_run.temperature)} if of_run else {}
    about |= {ACTIVATION: SIGMOID, "threshold": repr(PRESENT)} if several else {}
    if not about:
        return dict(models)
    import onnx  # an extra

    marked_models = {}
    for name, content in models.items():
        model = onnx.ModelProto.FromString(content)
        for key, value in about.items():
            model.metadata_props.add(key=key, value=value)
        marked_models[name] = model.SerializeToString()
    return marked_models


def labels(classes: Sequence[str], record: Record, of_run: Calibration | None) -> bytes:
    """``labels.json``."""
    about: dict[str, Any] = {"classes": classes, "corpus": record.corpus, "synthetic": record.synthetic}
    if record.several_labels:
        about |= {ACTIVATION: SIGMOID, "threshold": PRESENT}
    return runs.json_bytes(about | ({TEMPERATURE: of_run.temperature} if of_run else {}))


def proof(of_run: Calibration | None, logits: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """The entry of ``proof.json``: what was fitted on which folds, and calibration error on the held-out clips (clips, classes)."""
    if of_run is None:
        return {}
    before, after = (
        evaluation.expected_calibration_error(logits / divisor, right) for divisor in (1.0, of_run.temperature)
    )
    about = {TEMPERATURE: of_run.temperature, "fitted_on_folds": list(of_run.folds), "fitted_on_clips": of_run.clips}
    return {ENTRY: {**about, "held_out_error_before": before, "held_out_error_after": after}}


def lines(proven: Mapping[str, Any]) -> list[str]:
    """The same for a terminal."""
    if ENTRY not in proven:
        return []
    entry = proven[ENTRY]
    before, after = (f"{100 * entry[f'held_out_error_{when}']:.1f} %" for when in ("before", "after"))
    folds = ", ".join(map(str, entry["fitted_on_folds"]))
    return [
        f"calibrated  temperature {entry[TEMPERATURE]:.3f}, fitted on folds {folds}; calibration error {before} before, {after} after"
    ]
