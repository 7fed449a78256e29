"""A run's embeddings of its held-out clips, computed again from ``model.pt`` and the cached features."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from pipeline import cache, files, places, runs
from pipeline.config import InputError
from pipeline.runs.own_clips import of_fold

#: The embeddings of one run: (clips, D) float32, labels (clips,) int64, names of the clips.
Embeddings = tuple[np.ndarray, np.ndarray, tuple[str, ...]]

#: What is read of a run.
READ = ("config.json", "model.pt", "predictions.npz")

#: In the cache of a corpus: the embeddings that were computed before, one file for each state of run and features.
KEPT = "embeddings"

#: Between the logits computed here and those kept in the run: another device or torch may round differently.
TOLERANCE = 1e-2


def remembered(folder: Path, cache_root: Path | None = None) -> Embeddings:
    """``held_out``, without torch where run and features are as they were when it was computed before, or the features are gone."""
    cache_root = cache_root or places.cache()
    record = runs.read(folder)
    if record.is_of_images:
        return held_out(folder, cache_root)
    header = cache.read_header(cache.fold_path(cache_root, record.corpus, record.settings.features, record.fold))
    try:
        state = (*(files.sha256(folder / name) for name in READ), header.digest)
    except OSError:
        return held_out(folder, cache_root)  # says what is wrong
    key = hashlib.sha256(repr(state).encode()).hexdigest()
    path = cache_root / record.corpus / KEPT / f"{key[:16]}.npz"
    if (kept := read_kept(path, key)) is not None:
        return kept
    values, labels, clips = held_out(folder, cache_root)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, lambda file: np.savez(file, values=values, labels=labels, clips=np.array(clips), key=key))
    return values, labels, clips


def read_kept(path: Path, key: str) -> Embeddings | None:
    """The embeddings that were kept; None where there are none, or they are damaged or of another run: all is computed anew."""
    try:
        if files.damaged_part(path):
            return None
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            return kept["values"], kept["labels"], tuple(kept["clips"].tolist())
    except Exception:  # a flipped bit may raise anything
        return None


def held_out(folder: Path, cache_root: Path | None = None) -> Embeddings:
    """Of a run folder: embeddings (clips, D) float32, labels (clips,) int64 and names of the held-out fold's clean clips.

    The embedding is what the relational losses see of that network (``models``), with the last epoch's weights. Raises
    ``InputError`` where the run or the features are missing or damaged, where the features are not those that the run
    was tested on, or where the network no longer says what the run kept.
    """
    import torch  # slow to import, all three: ``remembered`` does without

    from pipeline import training
    from pipeline.models.saved import network_of, sound_features
    from pipeline.runs.weights import read_weights

    payload = read_weights(folder)
    cache_root = cache_root or places.cache()
    record = runs.read(folder)
    spec = sound_features(payload, folder / "model.pt")
    path = cache.fold_path(cache_root, record.corpus, spec, record.fold)
    fold = cache.read_fold(path, record.trained_by.features_in)
    if reason := runs.outdated(record, data={record.fold: fold.header.digest}, folds=(record.fold,)):
        raise InputError(f"{folder} {reason}, as {path} has it; compute the old ones again, or remove the run")
    rows, labels = of_fold(record, fold.header)
    clean = torch.from_numpy(np.ascontiguousarray(fold.features[rows, 0]))
    outputs = training.outputs(network_of(payload), clean, np.arange(len(clean)))
    kept = runs.read_rows(folder).logits
    if not np.allclose(outputs.logits.numpy(), kept, rtol=TOLERANCE, atol=TOLERANCE):
        worst = float(np.abs(outputs.logits.numpy() - kept).max())
        raise InputError(
            f"{folder}: its model.pt says otherwise than its predictions.npz (logits differ by {worst:.2g}); "
            "remove the run's folder and train it again"
        )
    return outputs.embedding.numpy(), labels, tuple(fold.header.clips[row] for row in rows)
