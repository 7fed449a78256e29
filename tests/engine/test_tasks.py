"""Which clips lose their label, which labels are wrong, and that nothing of the held-out fold is among those without one."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict

import numpy as np
import pytest

from pipeline import cache, config
from pipeline.config import InputError, TrainSettings
from pipeline.corpus import UNLABELLED
from pipeline.engine import tasks

CLASSES, FOLDS = 4, (1, 2, 3)


def corpus(pool: int = 0) -> cache.Data:
    """180 clips of three folds in recordings of one to five clips, each of one class; ``pool`` clips without a label."""
    random = np.random.default_rng(0)
    labels, folds, sources = [], [], []
    for recording in range(60):
        fold, size = recording % 3 + 1, int(random.integers(1, 6))
        labels += [recording % CLASSES] * size
        folds += [fold] * size
        sources += [f"r{recording}"] * size
    names = [f"{i}.wav" for i in range(len(labels))]
    hashes = [f"h{name}" for name in names]
    last = sources[-1]
    for clip in range(pool):
        # The first two are of labelled recordings by name, the third a copy of a clip, the fourth of the third's recording.
        names.append(f"unlabelled/{clip}.wav")
        sources.append({0: sources[0], 1: last, 2: "p2", 3: "p2"}.get(clip, f"p{clip}"))
        hashes.append(hashes[folds.index(2)] if clip == 2 else f"p{clip}")
    labels, folds = labels + [UNLABELLED] * pool, folds + [UNLABELLED] * pool
    spec = config.FeatureSpec(seconds=0.2, bins=4, bins_per_octave=12)
    return cache.Data(
        np.zeros((len(labels), 2, 1, 1, 1), np.float32),
        np.array(labels, np.int64),
        np.array(folds, np.int64),
        tuple(names),
        tuple(sources),
        tuple("abcd"),
        "made-up",
        True,
        spec,
        {},
        {fold: str(fold) for fold in FOLDS},
        tuple(hashes),
    )


def clips_of(rows: np.ndarray) -> list[int]:
    return sorted({int(row) // 2 for row in rows.reshape(-1)})


def settings(**fields: float) -> TrainSettings:
    return TrainSettings(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("fold", FOLDS)
def test_whole_recordings_of_every_class_lose_their_label(share: float, fold: int) -> None:
    data = corpus()
    task = tasks.task(data, fold, 0, settings(unlabelled=share))
    assert task.unlabelled is not None and task.unlabelled.shape[1] == 2
    known, without = clips_of(task.train), clips_of(task.unlabelled)
    assert sorted(known + without) == np.flatnonzero(data.folds != fold).tolist()  # of the other folds, each clip once
    assert not {data.sources[clip] for clip in known} & {data.sources[clip] for clip in without}
    for label in range(CLASSES):
        of_class = np.flatnonzero((data.labels == label) & (data.folds != fold))
        hidden = len(set(of_class) & set(without))
        assert hidden < len(of_class) and abs(hidden - share * len(of_class)) <= 5  # within a recording
    assert (task.unlabelled % 2).tolist() == [[0, 1]] * len(task.unlabelled)


def test_the_same_labels_are_hidden_in_every_run_of_a_seed_and_in_every_fold() -> None:
    data = corpus()
    each = {fold: set(clips_of(tasks.task(data, fold, 0, settings(unlabelled=0.5)).unlabelled)) for fold in FOLDS}
    for fold, other in ((1, 2), (2, 3)):
        shared = set(np.flatnonzero((data.folds != fold) & (data.folds != other)))
        first, second = each[fold] & shared, each[other] & shared
        assert len(first ^ second) <= 0.35 * len(shared)  # but for what the share of each fold asks for
    again = tasks.task(data, 1, 0, settings(unlabelled=0.5, epochs=3, model="cnn2", lr=0.5))
    assert set(clips_of(again.unlabelled)) == each[1]
    assert set(clips_of(tasks.task(data, 1, 1, settings(unlabelled=0.5)).unlabelled)) != each[1]


def test_what_is_hidden_does_not_depend_on_the_held_out_fold() -> None:
    data = corpus()
    out = data.folds == 2
    labels = np.where(out, (data.labels + 1) % CLASSES, data.labels)
    sources = tuple(f"x{i}" if gone else source for i, (source, gone) in enumerate(zip(data.sources, out)))
    changed = dataclasses.replace(data, labels=labels, sources=sources)
    one, other = (tasks.task(each, 2, 0, settings(unlabelled=0.8)) for each in (data, changed))
    assert np.array_equal(one.train, other.train) and np.array_equal(one.unlabelled, other.unlabelled)


@pytest.mark.parametrize("fold", FOLDS)
def test_the_pool_holds_nothing_of_the_held_out_recordings(fold: int) -> None:
    """Neither by its recording, nor where one of a recording is a copy of a held-out clip."""
    data = corpus(pool=30)
    first = len(data.labels) - 30
    for share in (0.0, 0.8):
        task = tasks.task(data, fold, 0, settings(unlabelled=share))
        held_out = {data.sources[i] for i in range(first) if data.folds[i] == fold}
        pool = [clip for clip in clips_of(task.unlabelled) if clip >= first]
        expected = [clip for clip in range(first, first + 30) if data.sources[clip] not in held_out]
        if fold == 2:
            expected = [clip for clip in expected if data.sources[clip] != "p2"]
        assert pool == expected and len(pool) < 30
        assert not {data.sources[clip] for clip in clips_of(task.rows)} & held_out
        assert not {data.hashes[clip] for clip in clips_of(task.rows)} & {data.hashes[clip] for clip in task.test // 2}
        assert clips_of(task.test) == np.flatnonzero(data.folds == fold).tolist()
        assert not set(clips_of(task.train)) & set(range(first, first + 30))
        answered = set(tasks.answered(data, fold).tolist())
        assert set(task.rows.tolist()) <= answered and not answered & set(task.test.tolist())


def test_fixed_wrong_labels_are_of_clip_and_seed_alone() -> None:
    data = corpus()
    how = settings(label_noise_fixed=0.3)
    by_clip: dict[int, set[int]] = defaultdict(set)
    for fold in FOLDS:
        task = tasks.task(data, fold, 7, how)
        assert task.labels is not None and task.unlabelled is None
        for row, label in zip(task.train.tolist(), task.labels.tolist()):
            by_clip[row // 2].add(label)
    assert all(len(labels) == 1 for labels in by_clip.values())  # both views, in every fold
    wrong = {
        clip for clip, (label,) in ((clip, tuple(of)) for clip, of in by_clip.items()) if label != data.labels[clip]
    }
    assert 0.2 < len(wrong) / len(by_clip) < 0.4
    counts = Counter((next(iter(by_clip[clip])) - data.labels[clip]) % CLASSES for clip in wrong)
    assert set(counts) == {1, 2, 3}
    other = tasks.task(data, 1, 8, how)
    assert not np.array_equal(other.labels, tasks.task(data, 1, 7, how).labels)
    text = f"wrong/7/{data.clips[0]}".encode()
    assert tasks.uniform("wrong", 7, data.clips[0]) == (int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 11) / 2**53


def test_shares_that_hide_nothing_and_a_single_class_are_one_line() -> None:
    data = corpus()
    few = dataclasses.replace(data, sources=tuple(f"r{label}" for label in data.labels))
    with pytest.raises(InputError, match=r"unlabelled = 0\.5 hides no recording of") as caught:
        tasks.task(few, 1, 0, settings(unlabelled=0.5))
    assert "\n" not in str(caught.value)
    single = dataclasses.replace(data, classes=("a",), labels=np.zeros_like(data.labels))
    with pytest.raises(InputError, match="1 class; expected two"):
        tasks.task(single, 1, 0, settings(label_noise_fixed=0.5))
