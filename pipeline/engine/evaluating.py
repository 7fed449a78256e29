"""What a model of the Python API says of the clips that it has not seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline import training
from pipeline.config import InputError
from pipeline.engine import subsets
from pipeline.engine.arrays import Fold
from pipeline.engine.in_memory import require_same_data
from pipeline.engine.model import Model
from pipeline.engine.records import figures_of
from pipeline.runs import Result
from pipeline.train_settings import NO_FOLD
from pipeline.training.task import places_in


def evaluated(model: Model, fold: Fold, teacher: Model | None = None) -> Result:
    """Figures of a model on the clean clips of its held-out fold; see ``audio_rkd.evaluate``."""
    if not isinstance(fold, Fold):
        raise InputError(f"fold = {fold!r:.80}: expected fold(…) or fold_of(…)")
    for one, name in ((model, "model"), (teacher, "teacher")):
        if one is not None and one.fold != fold.number:
            # A corpus of one's own may have a fold 0, which its models hold out as any other.
            folds = {NO_FOLD} - {int(part) for part in fold.data.digests}
            seen = "all folds" if one.fold in folds else f"all but fold {one.fold}"
            raise InputError(
                f"the {name} ({one}) was trained on {seen}, so on the clips of fold {fold.number}; expected the fold that it has not seen"
            )
        if one is not None:
            require_same_data(fold, one, name)
    if unknown := [name for name in model.classes if name not in fold.classes]:
        raise InputError(
            f"the model ({model}) has a class {unknown[0]!r} that the fold has not: {subsets.shown(fold.classes)}"
        )
    if teacher is not None and teacher.classes != model.classes:
        raise InputError(
            f"model and teacher have other classes ({subsets.shown(model.classes)}; {subsets.shown(teacher.classes)})"
        )
    own = [fold.classes.index(name) for name in model.classes]
    labels, inputs, names = fold.test_labels, torch.from_numpy(fold.test), np.array(fold.test_clips)
    if fold.several_labels:  # nobody names one class, in which two could agree
        return figures_of(names, labels[:, own], logits_of(model, inputs), None)
    labels = places_in(labels, own)
    inputs, names = inputs[labels >= 0], names[labels >= 0]
    answers = [logits_of(one, inputs) for one in (model, teacher) if one is not None]
    return figures_of(names, labels[labels >= 0], answers[0], answers[1] if teacher is not None else None)


def logits_of(model: Model, inputs: Tensor) -> np.ndarray:
    """(rows, classes) float32 of inputs (rows, C, H, W)."""
    with training.tuned(inputs.device, tf32=False):
        return training.outputs(model.network, inputs, np.arange(len(inputs)), ("logits",)).logits.numpy()
