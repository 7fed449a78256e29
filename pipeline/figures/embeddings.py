"""A run's embeddings of its held-out clips, computed again from ``model.pt`` and the cached features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pipeline import (
    cache,
    config,
    runs,
    training,
)
from pipeline.config import FeatureSpec, InputError
from pipeline.files import CACHE
from pipeline.models.saved import network_of, read_payload

#: Between the logits computed here and those kept in the run: another device or torch may round differently.
TOLERANCE = 1e-2


def held_out(folder: Path, cache_root: Path = CACHE) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Of a run folder: embeddings (clips, D) float32, labels (clips,) int64 and names of the held-out fold's clean clips.

    The embedding is what the relational losses see of that network (``models``), with the last epoch's weights. Raises
    ``InputError`` where the run or the features are missing or damaged, where the features are not those that the run
    was tested on, or where the network no longer says what the run kept.
    """
    payload = read_payload(folder)
    record = runs.read(folder)
    spec = config.build(FeatureSpec, payload["features"], f"{folder / 'model.pt'} [features]")
    path = cache.fold_path(cache_root, record.corpus, spec, record.fold)
    fold = cache.read_fold(path)
    if reason := runs.outdated(record, data={record.fold: fold.header.digest}, folds=(record.fold,)):
        raise InputError(f"{folder} {reason}, as {path} has it; compute the old ones again, or remove the run")
    clean = torch.from_numpy(np.ascontiguousarray(fold.features[:, 0]))
    outputs = training.outputs(network_of(payload), clean, np.arange(len(clean)))
    kept = runs.read_predictions(folder).logits
    if not np.allclose(outputs.logits.numpy(), kept, rtol=TOLERANCE, atol=TOLERANCE):
        worst = float(np.abs(outputs.logits.numpy() - kept).max())
        raise InputError(
            f"{folder}: its model.pt says otherwise than its predictions.npz (logits differ by {worst:.2g}); "
            "remove the run's folder and train it again"
        )
    return outputs.embedding.numpy(), np.array(fold.header.labels, dtype=np.int64), fold.header.clips
