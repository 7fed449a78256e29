"""Which clips without a label a student learns from: those of whose class its teacher is sure, as many of each class.

Xie et al. 2020, "Self-training with Noisy Student": clips below a threshold are left out, and per predicted class the n most
confident ones are kept; of a class with fewer these are repeated. A class that the teacher never names stays empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.config import InputError, TrainSettings
from pipeline.losses.needs import Needs
from pipeline.plurals import many
from pipeline.training.live import Live
from pipeline.training.step import Teaching
from pipeline.training.task import Run
from pipeline.training.teaching import CHUNK
from pipeline.training.tuning import tuned


class NoneSure(InputError):
    """A threshold leaves no clip to some runs of a pack. ``reasons``: place of each of them in the pack → why."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons


def chosen_pools(
    samples: Tensor, runs: Sequence[Run], settings: TrainSettings, teaching: Teaching | None
) -> Sequence[Run]:
    """The runs, each with the ``pool`` that its teacher chooses, where the settings ask for a choice.

    A clip is chosen by what the teacher says of its first view, and comes with all its views. Raises ``NoneSure`` where a
    threshold leaves no clip.
    """
    if not (settings.unlabelled_threshold or settings.unlabelled_per_class) or teaching is None:
        return runs
    pools: dict[object, np.ndarray] = {}
    unsure: dict[object, str] = {}
    chosen, reasons = [], {}
    for place, run in enumerate(runs):
        clips = run.task.unlabelled
        if clips is None or run.drawn_unlabelled is None:
            chosen.append(run)
            continue
        clips = clips.reshape(len(clips), -1)
        if (key := (run.teacher, clips.tobytes())) not in pools:
            probabilities = probabilities_of(teaching, run.teacher, samples, clips[:, 0])
            kept = surest(probabilities, settings.unlabelled_threshold, settings.unlabelled_per_class)
            pools[key] = clips[kept].reshape(-1)
            if not len(kept):
                unsure[key] = (
                    f"fold {run.fold}: unlabelled_threshold = {settings.unlabelled_threshold:g} leaves none of "
                    f"{many(len(clips), 'clip')} without a label: its teacher is sure of none above {probabilities.max():.3f}; expected "
                    "less than that"
                )
        if key in unsure:
            reasons[place] = unsure[key]
        chosen.append(replace(run, pool=pools[key]))
    if reasons:
        raise NoneSure(reasons)
    return chosen


@torch.no_grad()
def probabilities_of(teaching: Teaching, teacher: int, samples: Tensor, rows: np.ndarray) -> np.ndarray:
    """(n, C) of what a teacher says of some rows, float64."""
    index = torch.as_tensor(rows, device=samples.device)
    if isinstance(teaching, Live):
        live = teaching.to(samples.device, torch.promote_types(samples.dtype, torch.float32))
        with tuned(samples.device, tf32=False):  # what is distilled is not rounded
            parts = [live.says(teacher, samples[part], Needs(("logits",))).logits for part in index.split(CHUNK)]
        logits = torch.cat(parts)
    else:
        logits = teaching.outputs.logits[teacher, index.to(teaching.outputs.logits.device)]
    return logits.double().softmax(-1).cpu().numpy()


def surest(probabilities: np.ndarray, threshold: float, per_class: int) -> np.ndarray:
    """Places of the clips that are kept, probabilities (n, C): those whose largest is at least ``threshold``.

    ``per_class`` n: of each predicted class the n largest, sorted from the largest (the first of equals), repeated in turn
    where there are fewer; 0: all, in their order.
    """
    sure, named = probabilities.max(1), probabilities.argmax(1)
    kept = np.flatnonzero(sure >= threshold)
    if not per_class:
        return kept
    each = []
    for label in np.unique(named[kept]):
        members = kept[named[kept] == label]
        each.append(np.resize(members[np.argsort(-sure[members], kind="stable")], per_class))
    return np.concatenate(each) if each else kept
