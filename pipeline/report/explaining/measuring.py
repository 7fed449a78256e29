"""H of a network's last and kept epochs over some clips; each state of the weights is kept in the cache when it is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import files, runs
from pipeline.figures.explained import concepts
from pipeline.figures.explained.discarded import Discarded, Search, discarded, tensors_up_to
from pipeline.listed import LAST
from pipeline.models import saved
from pipeline.report.explaining.clips import Clips
from pipeline.runs import Record
from pipeline.runs.weights import read_weights
from pipeline.training.movement import FIRST, MOVED

#: In the cache of a corpus: a file for each state of weights, clips and search.
KEPT = "explained"

#: Raised whenever the same weights and clips give other numbers.
VERSION = 1


def epochs_of(payload: dict[str, Any], record: Record) -> dict[int, str]:
    """Epoch → its name in ``model.pt``, kept ones and the last, in order."""
    kept = {int(epoch): epoch for epoch in payload.get("kept", {})}
    return dict(sorted({**kept, record.result.epochs: LAST}.items()))


def entropies(
    record: Record, clips: Clips, layer: str, search: Search, cache_root: Path, tell: Callable[[int], None]
) -> tuple[dict[int, Discarded], np.ndarray | None]:
    """Epoch → what the network lets go of the clips; and how far the weights had moved at each of these epochs (None: not recorded).

    ``InputError`` for weights that are damaged or not the run's, and an output that the network has not.
    """
    payload = read_weights(record.folder)
    epochs = epochs_of(payload, record)
    told = {}
    for epoch, name in epochs.items():
        state = saved.state_of(payload, name)
        weights = saved.weights_digest({"state": state, "best_state": {}})
        network = saved.network_of(payload, name)
        names = tensors_up_to(network, layer)
        key = key_of(weights, record.model, clips, layer, search)
        path = cache_root / record.corpus / KEPT / f"{key[:16]}.npz"
        told[epoch] = kept(path, key) or fresh(path, key, network, clips, layer, search)
        tell(len(clips.names))
    return told, moved(record, list(epochs), names)


def fresh(path: Path, key: str, network: saved.Network, clips: Clips, layer: str, search: Search) -> Discarded:
    values = torch.from_numpy(clips.values)
    let_go = discarded(network, values, clips.names, clips.plane, clips.counting, layer, search)
    parts: dict[str, Any] = {"entropies": let_go.entropies, "error": let_go.error}
    files.write_atomic(path, lambda file: np.savez(file, key=np.array(key), **parts))
    return let_go


def key_of(weights: str, model: str, clips: Clips, layer: str, search: Search) -> str:
    """Of all that the numbers depend on."""
    content = hashlib.sha256(np.ascontiguousarray(clips.values, dtype="<f4").tobytes()).hexdigest()
    state = (VERSION, weights, model, clips.names, content, clips.plane, clips.real, layer, tuple(search))
    return hashlib.sha256(repr(state).encode()).hexdigest()


def kept(path: Path, key: str) -> Discarded | None:
    """What was measured before; None where it was not, or is damaged or of something else: then it is measured anew."""
    try:
        if not path.is_file() or files.damaged_part(path):
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return Discarded(arrays["entropies"], arrays["error"]) if str(arrays["key"]) == key else None
    except Exception:  # a flipped bit may raise anything
        return None


def moved(record: Record, epochs: list[int], names: list[str]) -> np.ndarray | None:
    """Σ ‖w_k − w_{k−1}‖ / ‖w_0‖ over the weights ``names`` up to each of some epochs; None where a run did not record it."""
    lines = {line["epoch"]: line for line in runs.read_metrics(record.folder)}
    whole = [lines.get(epoch, {}) for epoch in range(1, record.result.epochs + 1)]
    if (
        not whole
        or FIRST not in whole[0]
        or not all(MOVED in line and set(names) <= set(line[MOVED]) for line in whole)
    ):
        return None
    far = concepts.travelled([line[MOVED] for line in whole], whole[0][FIRST], names)
    return far[[epoch - 1 for epoch in epochs]]
