"""H of networks' last and kept epochs over some clips; each state of the weights is kept in the cache as soon as it is measured."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import files, runs
from pipeline.config import InputError
from pipeline.figures.explained import concepts
from pipeline.figures.explained.discarded import Discarded, Search, discarded, tensors_up_to
from pipeline.listed import LAST
from pipeline.models import saved
from pipeline.plurals import many
from pipeline.processes import loky
from pipeline.processes.cores import usable
from pipeline.progress import progress, say
from pipeline.report.explaining.clips import Clips
from pipeline.runs import Record
from pipeline.runs.weights import read_weights
from pipeline.training.movement import FIRST, MOVED
from pipeline.training.step import threads

#: In the cache of a corpus: a file for each state of weights, clips and search.
KEPT = "explained"

#: Raised whenever the same weights and clips give other numbers. 2: σ is sought by Newton's step, not by Adam.
VERSION = 2

#: Of the passes of noisy copies through a network that are still to come: a further process is started for so many, some 20 s of the smallest.
PASSES_A_PROCESS = 20_000


@dataclass(frozen=True, eq=False)
class State:
    """The weights of a run at one epoch, and where that is kept which they let go of some clips."""

    run: Path
    epoch: int
    name: str
    """Of the epoch, in ``model.pt``."""
    clips: Clips
    layer: str
    search: Search
    path: Path
    key: str


def epochs_of(payload: dict[str, Any], record: Record) -> dict[int, str]:
    """Epoch → its name in ``model.pt``, kept ones and the last, in order."""
    kept = {int(epoch): epoch for epoch in payload.get("kept", {})}
    return dict(sorted({**kept, record.result.epochs: LAST}.items()))


def states_of(
    record: Record, clips: Clips, layer: str, search: Search, cache_root: Path
) -> tuple[list[State], np.ndarray | None]:
    """What is to be measured of a run, epoch by epoch; and how far the weights had moved at each of these epochs (None: not recorded).

    ``InputError`` for weights that are damaged or not the run's, and an output that the network has not.
    """
    payload = read_weights(record.folder)
    states = []
    for epoch, name in epochs_of(payload, record).items():
        weights = saved.weights_digest({"state": saved.state_of(payload, name), "best_state": {}})
        key = key_of(weights, record.model, clips, layer, search)
        path = cache_root / record.corpus / KEPT / f"{key[:16]}.npz"
        states.append(State(record.folder, epoch, name, clips, layer, search, path, key))
    names = tensors_up_to(saved.network_of(payload), layer)
    return states, moved(record, [state.epoch for state in states], names)


def measured(states: Sequence[State], jobs: int = 0) -> dict[str, Discarded]:
    """Key → what a state of weights lets go: as it was kept, else measured now, in processes where that is long (``jobs``; 0: up to
    one a core). The numbers do not depend on how many: each has one thread."""
    let_go = {state.key: there for state in states if (there := kept(state.path, state.key))}
    missing = list({state.key: state for state in states if state.key not in let_go}.values())
    if not missing:
        return let_go
    count = processes(missing, jobs)
    say(
        f"explain: {many(len(missing), 'state')} of weights to measure"
        + (f" ({len(let_go)} are kept)" if let_go else "")
        + f", {many(len(missing[0].clips.names), 'clip')} each, in {many(count, 'process')}"
    )
    total = sum(len(state.clips.names) for state in missing)
    with progress("explain", total, "clip", sys.stderr) as tell, outcomes(missing, count) as done:
        for key, found in done:
            let_go[key] = found
            tell(len(found.error))
    return let_go


def processes(missing: Sequence[State], jobs: int) -> int:
    passes = sum(len(state.clips.names) * state.search.steps * state.search.copies for state in missing)
    count = jobs or 1 + passes // PASSES_A_PROCESS
    if count > 1 and not jobs:
        count = min(count, usable())
    return min(count, len(missing))


@contextmanager
def outcomes(missing: Sequence[State], count: int) -> Iterator[Iterator[tuple[str, Discarded]]]:
    """``fresh`` of each, as they are done."""
    if count == 1:
        yield map(fresh, missing)
        return
    from joblib import delayed

    try:
        with loky.results((delayed(fresh)(state) for state in missing), count, "generator_unordered") as done:
            yield done
    except Exception as error:
        if type(error).__name__ != "TerminatedWorkerError":
            raise
        raise InputError(
            "a process that measured was killed (by the system for want of memory, or by hand); what was finished is kept, and the same "
            "command goes on; --jobs 1 takes less memory"
        ) from None


def fresh(state: State) -> tuple[str, Discarded]:
    """Measured now, by one thread, and kept."""
    clips = state.clips
    with threads("loop", 1):
        network = saved.network_of(read_weights(state.run), state.name)
        values = torch.from_numpy(clips.values)
        let_go = discarded(network, values, clips.names, clips.plane, clips.counting, state.layer, state.search)
    parts: dict[str, Any] = {"entropies": let_go.entropies, "error": let_go.error}
    files.write_atomic(state.path, lambda file: np.savez(file, key=np.array(state.key), **parts))
    return state.key, let_go


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
