"""Which rows a run trains on, with labels and without, and which it is tested on.

Nothing of the held-out fold is trained on: neither its clips, nor other clips of its recordings that lie among those without a
label. Row = clip × views + view.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from pipeline import cache, class_subsets, samplers
from pipeline.config import InputError, TrainSettings
from pipeline.plurals import many
from pipeline.runs.planned import PlannedRun
from pipeline.training import Task
from pipeline.training.sampling import wrong_labels
from pipeline.training.task import places_in


def rows(
    data: cache.Data, fold: int, without: int | None = None, classes: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows of a held-out fold, of clips with a label; of ``classes`` alone where they are given.

    Training: all views of every clip of the other folds, but for those of ``without``. Test: the clean view of the fold's clips. The other
    views of the held-out fold are in neither, so nothing ever reads them.
    """
    clips = np.arange(len(data.labels))
    others = clips[(data.folds != fold) & (data.folds != (fold if without is None else without)) & (data.labels >= 0)]
    test = clips[data.folds == fold]
    if classes is not None:
        others, test = (some[np.isin(data.labels[some], classes)] for some in (others, test))
    return views_of(data, others).reshape(-1), test * data.features.shape[1]


def views_of(data: cache.Data, clips: np.ndarray) -> np.ndarray:
    """(clips, views) rows."""
    views = data.features.shape[1]
    return clips[:, None] * views + np.arange(views)


def unlabelled_clips(data: cache.Data, fold: int) -> np.ndarray:
    """The clips without a label, but for those of a recording that has clips in the held-out fold."""
    return apart(data, np.flatnonzero(data.labels < 0), fold)


def apart(data: cache.Data, clips: np.ndarray, fold: int) -> np.ndarray:
    """Those of ``clips``, without a label, that are of no recording of the held-out fold.

    A recording that holds a copy of a clip of another one, byte for byte, is the same.
    """
    held_out = np.flatnonzero(data.folds == fold)
    copied = {data.hashes[clip] for clip in held_out if data.hashes and data.hashes[clip]}
    sources = {data.sources[clip] for clip in held_out}
    sources |= {data.sources[clip] for clip in clips if data.hashes and data.hashes[clip] in copied}
    return clips[np.array([data.sources[clip] not in sources for clip in clips], bool)]


def answered(data: cache.Data, fold: int) -> np.ndarray:
    """The rows of which a teacher of a fold is asked: all that its students may train on."""
    return np.concatenate([rows(data, fold)[0], views_of(data, unlabelled_clips(data, fold)).reshape(-1)])


def tasks(planned: Sequence[PlannedRun], data: cache.Data) -> list[Task]:
    """The task of each run; runs that see the same labels of the same fold share it."""
    tasks_by_key: dict[object, Task] = {}
    each = []
    for run in planned:
        network = run.network
        seed = run.seed if network.labels_by_seed else 0
        kinds = (network.unlabelled, network.label_noise_fixed, network.views, network.classes)
        key = (run.fold, run.without, seed, *kinds, samplers.episode_of(network.sampler) is not None)
        if key not in tasks_by_key:
            tasks_by_key[key] = task(data, run.fold, seed, network, run.without)
        each.append(tasks_by_key[key])
    return each


def task(data: cache.Data, fold: int, seed: int, network: TrainSettings, without: int | None = None) -> Task:
    """What a run of a fold and seed trains on, by its settings ``classes``, ``unlabelled`` and ``label_noise_fixed``.

    ``without``: another fold that is left out. Raises ``InputError`` where a share hides nothing, or there are no other classes or views.
    """
    if network.views == "random" and data.features.shape[1] == 1:
        raise InputError(f"views = 'random': the clips of {data.corpus} have one view each; expected 'all'")
    classes = class_subsets.chosen(network.classes, data.classes, seed)
    train, test = rows(data, fold, without, classes)
    clips = train[:: data.features.shape[1]] // data.features.shape[1]
    pool = unlabelled_clips(data, fold)
    if network.unlabelled:
        out = hidden(data, clips, network.unlabelled, seed)
        if not out.any():
            raise InputError(
                f"fold {fold}: unlabelled = {network.unlabelled:g} hides no recording of {many(len(clips), 'clip')}, for each class keeps "
                "one at least; expected more of it, or a corpus of more recordings"
            )
        pool = np.concatenate([pool, apart(data, clips[out], fold)])
        clips = clips[~out]
    if without is not None:
        pool = apart(data, pool, without)
    labels = None
    if network.label_noise_fixed:
        labels = fixed_labels(data, clips, network.label_noise_fixed, seed, classes).repeat(data.features.shape[1])
    return Task(
        views_of(data, clips).reshape(-1),
        test,
        classes,
        unlabelled=views_of(data, pool) if len(pool) else None,
        labels=labels,
        views=data.features.shape[1] if network.views == "random" else 1,
        recordings=numbered(data, clips) if samplers.episode_of(network.sampler) else None,
        targets=data.targets if data.label_sets else None,
    )


def numbered(data: cache.Data, clips: np.ndarray) -> np.ndarray:
    """(clips,) int64: the same number for clips of one recording. One that holds a copy of a clip of another, byte for byte, is the same."""
    parent = {source: source for source in {data.sources[clip] for clip in clips}}

    def root(source: str) -> str:
        while parent[source] != source:
            source = parent[source]
        return source

    by_hash: dict[str, str] = {}
    for clip in clips if data.hashes else ():
        if data.hashes[clip]:
            parent[root(data.sources[clip])] = root(by_hash.setdefault(data.hashes[clip], data.sources[clip]))
    places = {source: place for place, source in enumerate(sorted(parent))}
    return np.array([places[root(data.sources[clip])] for clip in clips], np.int64)


def hidden(data: cache.Data, clips: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which of the training ``clips`` lose their label: whole recordings, of each class about this ``share`` of its clips.

    By (seed, recording) alone, so that what one fold hides another hides too, as near as its share allows. Of each class one
    recording at least keeps its labels. A recording counts as of the class that most of its clips have.
    """
    of_recording: dict[str, list[int]] = defaultdict(list)
    for place, clip in enumerate(clips):
        of_recording[data.sources[clip]].append(place)
    of_class: dict[int, list[str]] = defaultdict(list)
    for source, places in of_recording.items():
        counts = Counter(data.labels[clips[places]].tolist())
        of_class[min(counts, key=lambda label: (-counts[label], label))].append(source)
    out = np.zeros(len(clips), bool)
    for sources in of_class.values():
        ranked = sorted(sources, key=lambda source: (uniform("hidden", seed, source), source))
        sizes = np.cumsum([0, *(len(of_recording[source]) for source in ranked)])
        count = int(np.abs(sizes[: len(ranked)] - share * sizes[-1]).argmin())
        for source in ranked[:count]:
            out[of_recording[source]] = True
    return out


def fixed_labels(
    data: cache.Data, clips: np.ndarray, share: float, seed: int, classes: Sequence[int] | None = None
) -> np.ndarray:
    """Labels of ``clips`` of which about a ``share`` are another class, by (seed, clip) alone; places in ``classes`` where given."""
    if len(data.classes) < 2:
        raise InputError(f"label_noise_fixed = {share:g}: {len(data.classes)} class; expected two at least, or 0")

    def draws(purpose: str) -> np.ndarray:
        return np.array([uniform(purpose, seed, data.clips[clip]) for clip in clips])

    labels = places_in(data.labels[clips], classes)
    return wrong_labels(labels, draws("wrong"), draws("class"), share, len(classes or data.classes))


def uniform(purpose: str, seed: int, name: str) -> float:
    """A number in [0, 1) of (purpose, seed, name) alone."""
    digest = hashlib.sha256(f"{purpose}/{seed}/{name}".encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8]) >> 11) * 2.0**-53
