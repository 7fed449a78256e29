"""Episodes: recordings never on both sides, classes with too few left out, one order for everybody; the loss against a plain loop."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline import losses, training
from pipeline.config import InputError, TrainSettings
from pipeline.figures import few_shot
from pipeline.losses import LossMix, Outputs
from pipeline.samplers import EPISODES, Episode
from pipeline.training import Run, Task, episodes, inference
from pipeline.training.sampling import Sampling
from tests.trainings import QUICK, SHAPE, assert_alone_and_resumed_are_equal, assert_equal

EPISODE = Episode(2, 2, 3)


def clips(random: np.random.Generator, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels and recordings of clips, recordings of unlike sizes; the last class has one recording alone."""
    sizes = [[int(random.integers(1, 4)) for _ in range(6)] for _ in range(classes - 1)] + [[12]]
    pairs = [
        (label, 100 * label + i) for label, of in enumerate(sizes) for i, size in enumerate(of) for _ in range(size)
    ]
    order = random.permutation(len(pairs))
    return np.array([pairs[i][0] for i in order]), np.array([pairs[i][1] for i in order])


def test_no_recording_stands_on_both_sides_and_no_clip_twice() -> None:
    labels, recordings = clips(np.random.default_rng(0))
    drawn = episodes.drawn(labels, recordings, EPISODE, 200, seed=5)
    assert drawn.shape == (200, 2, 5)
    for episode in drawn:
        assert len(set(episode.ravel().tolist())) == episode.size
        of_classes = [set(labels[row].tolist()) for row in episode]
        assert all(len(each) == 1 for each in of_classes) and len(set.union(*of_classes)) == 2
        for row in episode:
            assert not set(recordings[row[:2]].tolist()) & set(recordings[row[2:]].tolist())
    assert set(labels[drawn].ravel().tolist()) == {0, 1, 2}  # the class of one recording is in none
    assert episodes.fitting_classes(labels, recordings, EPISODE) == [0, 1, 2]
    assert np.array_equal(drawn, episodes.drawn(labels, recordings, EPISODE, 200, seed=5))
    assert not np.array_equal(drawn, episodes.drawn(labels, recordings, EPISODE, 200, seed=6))
    assert len({tuple(row) for row in drawn.reshape(200, -1).tolist()}) == 200


@pytest.mark.parametrize(
    ("counts", "shot", "query", "fits"),
    [([5], 1, 1, False), ([1, 4], 1, 4, True), ([4, 1], 2, 1, True), ([3, 3], 4, 1, False), ([2, 2, 5], 4, 5, True)],
)
def test_what_can_be_divided_is_found_whatever_the_order(counts: list[int], shot: int, query: int, fits: bool) -> None:
    assert episodes.possible(counts, shot, query) == fits
    recordings = np.repeat(np.arange(len(counts)), counts)
    labels, other = np.zeros(len(recordings), int), np.arange(40)
    both = np.concatenate([labels, np.ones(40, int)]), np.concatenate([recordings, 100 + other])
    episode = Episode(2, shot, query)
    if not fits:
        with pytest.raises(ValueError, match="1 classes for episodes of 2"):
            episodes.drawn(*both, episode, 3, seed=0)
        return
    for one in episodes.drawn(*both, episode, 30, seed=0).reshape(60, -1):
        assert not set(both[1][one[:shot]].tolist()) & set(both[1][one[shot:]].tolist())


def test_a_recording_of_two_classes_is_on_neither_side() -> None:
    """Else it is shown as one class and asked for as the other."""
    labels, recordings = np.repeat([0, 1, 2], 8), np.tile(np.repeat(np.arange(4), 2), 3) + np.repeat([0, 10, 20], 8)
    recordings[[0, 8]] = 99
    drawn = episodes.drawn(labels, recordings, Episode(2, 1, 2), 60, seed=0)
    for episode in drawn:
        assert not set(recordings[episode[:, :1]].ravel().tolist()) & set(recordings[episode[:, 1:]].ravel().tolist())
    assert not np.isin(drawn, [0, 8]).any() and set(labels[drawn].ravel().tolist()) == {0, 1, 2}
    same = np.tile(np.repeat(np.arange(4), 2), 3)
    assert episodes.fitting_classes(labels, same, Episode(2, 1, 2)) == []


def test_shown_clips_are_of_as_many_recordings_as_there_can_be() -> None:
    recordings = np.repeat(np.arange(6), 4)
    labels = np.zeros(24, int)
    (one,) = episodes.drawn(
        np.tile(labels, 2) + np.repeat([0, 1], 24),
        np.tile(recordings, 2) + np.repeat([0, 9], 24),
        Episode(2, 3, 8),
        1,
        0,
    )
    assert all(len({*np.tile(recordings, 2)[row[:3]].tolist()}) == 3 for row in one)


def data() -> tuple[torch.Tensor, torch.Tensor, None]:
    """48 rows: 24 clips of three classes, two views each, two clips of each recording; then twelve to test on."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(60) // 2) % 3
    return torch.randn(60, *SHAPE, generator=generator) + 2 * labels[:, None, None, None], labels, None


def run_of(seed: int = 0) -> Run:
    recordings = np.array([3 * (clip // 6) + clip % 3 for clip in range(24)])
    return Run(1, seed, LossMix.parse("proto:1,soft:0"), Task(np.arange(48), np.arange(48, 60), recordings=recordings))


def test_batches_are_episodes_of_one_view_of_a_clip() -> None:
    _, labels, _ = data()
    run = run_of()
    assert run.task.recordings is not None
    batches = Sampling("episode:2,1,3").batches(run, labels, 8, epoch=0)
    assert batches.shape == (EPISODES, 8)
    for batch in batches:
        assert len({row // 2 for row in batch}) == 8
        for one in batch.reshape(2, 4):
            assert len(set(labels[one].tolist())) == 1
            shown, asked = ({int(run.task.recordings[row // 2]) for row in part} for part in (one[:1], one[1:]))
            assert not shown & asked
    assert {row % 2 for row in batches.ravel()} == {0, 1}
    assert not np.array_equal(batches, Sampling("episode:2,1,3").batches(run, labels, 8, epoch=1))


@pytest.mark.slow
def test_training_on_episodes_goes_on_after_a_kill(tmp_path: Path) -> None:
    settings = TrainSettings(model="cnn2+5", epochs=1, batch=8, sampler="episode:2,1,3", lr=0.01)
    path = tmp_path / "pack.pt"
    assert_alone_and_resumed_are_equal(path, data(), [run_of(), run_of(seed=1)], settings, (30,))


@pytest.mark.parametrize(
    ("sampler", "batch", "message"),
    [
        ("episode:5,1,5", 8, "takes 30; expected batch = 30"),
        ("episode:5,1", 10, "expected 'episode:way,shot,query'"),
        ("episode:1,1,3", 4, "expected 'episode:way,shot,query'"),
        ("episode:2,0,3", 6, "expected 'episode:way,shot,query'"),
        ("episodes:2,1,3", 8, "expected 'shuffle'"),
    ],
)
def test_samplers_that_are_none_are_refused(sampler: str, batch: int, message: str) -> None:
    with pytest.raises(InputError) as error:
        TrainSettings(sampler=sampler, batch=batch)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_too_few_recordings_are_said() -> None:
    _, labels, _ = data()
    task = Task(np.arange(48), np.arange(48, 60), recordings=np.array([clip % 3 for clip in range(24)]))
    with pytest.raises(InputError, match="fold 1: 0 classes have recordings for 1 clip that is"):
        Sampling("episode:2,1,3").batches(Run(1, 0, LossMix.parse("proto:1,soft:0"), task), labels, 8, 0)
    unknown = Run(1, 0, LossMix.parse("proto:1,soft:0"), Task(np.arange(48), np.arange(48, 60)))
    with pytest.raises(InputError, match="whose recordings are not known"):
        training.fit(*data()[:2], [unknown], TrainSettings(model="cnn2", batch=8, sampler="episode:2,1,3"), classes=3)


def loop(embeddings: np.ndarray, labels: list[int], shot: int) -> float:
    """Snell et al. 2017, in words."""
    shown = {label: [e for e, one in zip(embeddings, labels) if one == label][:shot] for label in labels if label >= 0}
    centres = {label: np.mean(of, 0) for label, of in shown.items()}
    counts: dict[int, int] = {}
    costs = []
    for e, label in zip(embeddings, labels):
        counts[label] = counts.get(label, 0) + 1
        if label < 0 or counts[label] <= shot:
            continue
        scores = {k: -float(((e - c) ** 2).sum()) for k, c in centres.items()}
        costs.append(math.log(sum(math.exp(s - scores[label]) for s in scores.values())))
    return float(np.mean(costs)) if costs else 0.0


def test_the_loss_is_the_loop_s_and_the_worked_values() -> None:
    proto = losses.load("proto")
    random = np.random.default_rng(1)
    for labels, shot in (([0, 0, 1, 1, 0, 1, 2, 2], 1), ([0, 1, 0, 1, 0, 1, -1, 0], 2), ([0, 0, 0], 1), ([0, 1, 2], 1)):
        values = 0.5 * random.standard_normal((3, len(labels), 4)) + 1e3
        told = proto(Outputs(embedding=torch.from_numpy(values)), None, torch.tensor(labels).expand(3, -1), shot)
        assert told.tolist() == pytest.approx([loop(one, labels, shot) for one in values], rel=1e-6, abs=1e-9)
    rows = torch.tensor([(0, 0), (2, 0), (1, 1), (3, 1), (4, 2), (4, 4), (3, 3)], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    assert proto(Outputs(embedding=rows), None, labels, 2).item() == pytest.approx(0.2310531563, abs=1e-10)
    assert few_shot.accuracies(rows.numpy(), np.array([[[0, 1, 2], [4, 5, 6]]]), 2).tolist() == [1.0]


def test_the_shot_comes_from_the_sampler() -> None:
    settings = TrainSettings(model="cnn2", epochs=1, batch=8, sampler="episode:2,3,1", lr=0.01)
    (trained,) = training.fit(*data()[:2], [run_of()], settings, classes=3)
    assert trained.history and trained.failure is None
    one = losses.mixed_loss([LossMix.parse("proto:1,soft:0")], ce_options={"shot": 3})
    rows, labels = torch.randn(1, 8, 5), torch.tensor([[0] * 4 + [1] * 4])
    outputs = Outputs(embedding=rows, logits=torch.zeros(1, 8, 2))
    total, _ = one(outputs, outputs, labels)
    assert total[0].item() == pytest.approx(loop(rows[0].numpy().astype(float), labels[0].tolist(), 3), rel=1e-5)


def test_accuracies_of_episodes_are_the_loop_s() -> None:
    labels, recordings = clips(np.random.default_rng(2))
    values = np.random.default_rng(3).standard_normal((len(labels), 6)).astype(np.float32)
    drawn = episodes.drawn(labels, recordings, EPISODE, 50, seed=1)
    expected = []
    for episode in drawn:
        centres = [values[row[:2]].astype(float).mean(0) for row in episode]
        right = [
            min(range(2), key=lambda k: ((values[clip] - centres[k]) ** 2).sum()) == own
            for own, row in enumerate(episode)
            for clip in row[2:]
        ]
        expected.append(sum(right) / len(right))
    shares = few_shot.accuracies(values, drawn, 2)
    assert shares.tolist() == pytest.approx(expected)
    assert few_shot.half_width(shares) == pytest.approx(1.96 * np.std(expected, ddof=1) / math.sqrt(50))


def test_a_network_with_a_space_has_no_logits() -> None:
    samples, labels, _ = data()
    with pytest.raises(
        InputError, match="has an embedding in place of the classes, and ce of mix ce:1 reads its logits"
    ):
        LossMix.parse("ce").require(TrainSettings(model="cnn2+16", batch=8))
    (trained,) = training.fit(
        samples, labels, [run_of()], TrainSettings(model="cnn2+5", epochs=1, sampler="episode:2,1,3"), classes=3
    )
    assert trained.logits.shape == (12, 3) and not trained.logits.any()
    assert trained.state["linear2.weight"].shape == (1, 5, 32)
    assert QUICK.model == "cnn2"
    for wrong in ("cnn2+", "cnn2+0", "cnn2+x", "cnn2+1000000", "cnn3+4"):
        with pytest.raises(InputError):
            training.fit(samples, labels, [run_of()], TrainSettings(model=wrong, epochs=1), classes=3)


def test_a_space_is_asked_about_held_out_clips_once_and_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records, best epoch and every bit of the logits, their signs too, as where it is asked behind every epoch."""
    samples, labels, _ = data()
    settings = TrainSettings(model="cnn2+5", epochs=3, batch=8)
    asked: list[int] = []
    held_out = inference.held_out_logits
    monkeypatch.setattr(inference, "held_out_logits", lambda *given: asked.append(1) or held_out(*given))
    once = training.fit(samples, labels, [run_of()], settings, classes=3)
    assert len(asked) == 1
    monkeypatch.setattr("pipeline.training.loop.models", SimpleNamespace(width_of=lambda name: 0))
    always = training.fit(samples, labels, [run_of()], settings, classes=3)
    assert len(asked) == 1 + 3
    for mine, theirs in zip(once, always):
        assert_equal(mine, theirs)
        assert mine.logits.tobytes() == theirs.logits.tobytes() and mine.best_epoch == theirs.best_epoch == 1
