"""Clips without a label: how batches hold them, which are learned from, and that nothing else of them is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import losses, samplers
from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix
from pipeline.losses.unlabelled import learns_unlabelled
from pipeline.models import Outputs
from pipeline.training import Run, Sampling, Stored, Task
from pipeline.training.normalisation import normalisation
from pipeline.training.pools import surest
from pipeline.training.sampling import epoch_tables, steps_of
from tests.trainings import CLASSES, QUICK, ROWS, assert_equal, data, every_checkpoint, fit

__all__ = ["data"]

MIX = "ce:1,soft:3@rows=unlabelled"
CPU = torch.device("cpu")
TEST = np.arange(48, ROWS)


def run(mix: str = MIX, fold: int = 1, seed: int = 0, teacher: int = 0, labelled: int = 12) -> Run:
    """Rows come in pairs, the views of a clip; of 24 clips some have a label."""
    clips = np.random.default_rng(fold).permutation(24)
    pairs = np.sort(clips)[:, None] * 2 + np.arange(2)
    has = np.isin(np.arange(24), clips[:labelled])
    task = Task(pairs[has].reshape(-1), TEST, unlabelled=pairs[~has])
    return Run(fold, seed, LossMix.parse(mix), task, teacher)


def with_(**settings: Any) -> TrainSettings:
    return dataclasses.replace(QUICK, **settings)


@pytest.mark.parametrize(("batch", "r"), [(8, 3), (8, 1), (8, 7), (12, 2)])
def test_every_batch_holds_its_share_and_each_labelled_row_comes_once(batch: int, r: int) -> None:
    one, labels = run(), torch.arange(ROWS) % CLASSES
    each = batch // (1 + r)
    batches = Sampling(f"unlabelled:{r}").batches(one, labels, batch, 2)
    assert batches.shape == (24 // each, batch) == (steps_of(one, batch, f"unlabelled:{r}"), batch)
    assert sorted(batches[:, :each].flatten().tolist()) == one.task.train.tolist()
    assert one.task.unlabelled is not None
    pool = set(one.task.unlabelled.flatten().tolist())
    for rows in batches[:, each:]:
        assert set(rows.tolist()) <= pool and len(set(rows.tolist())) == min(batch - each, len(pool))
    others = Sampling(f"unlabelled:{r}").batches(one, labels, batch, 3)
    assert not np.array_equal(batches, others)
    over_epochs = [Sampling(f"unlabelled:{r}").batches(one, labels, batch, epoch)[:, each:] for epoch in range(30)]
    counts = np.bincount(np.concatenate(over_epochs).flatten(), minlength=ROWS)[sorted(pool)]
    assert counts.min() > 0.4 * counts.mean()


def test_the_shuffle_mixes_all_rows_where_a_term_learns_from_them_and_leaves_them_out_where_none_does() -> None:
    labels = torch.arange(ROWS) % CLASSES
    both, alone = run("ce,soft"), run("ce")
    drawn = Sampling().batches(both, labels, 8, 0)
    assert sorted(drawn.flatten().tolist()) == sorted(both.task.rows.tolist()) and len(drawn) == 6
    assert sorted(Sampling().batches(alone, labels, 8, 0).flatten().tolist()) == alone.task.train.tolist()
    assert np.array_equal(drawn, Sampling().batches(run("soft"), labels, 8, 0))


@pytest.mark.parametrize(
    ("mix", "learns"),
    [
        ("ce", False),
        ("virtual,ce", False),
        ("ce,soft@rows=labelled", False),
        ("soft", True),
        ("ce,angle", True),
        ("ce,soft@rows=unlabelled", True),
        ("ce,tolerance@rows=unlabelled", True),
    ],
)
def test_which_mixes_learn_from_clips_without_a_label(mix: str, learns: bool) -> None:
    assert learns_unlabelled(LossMix.parse(mix)) is learns


def test_terms_see_no_label_of_the_rows_without_one_and_metrics_count_the_others() -> None:
    one, labels = run("ce,soft"), torch.arange(ROWS) % CLASSES
    tables = epoch_tables([one], labels, QUICK, 0, [False], CPU)
    assert tables.labels is not None
    known = set(one.task.train.tolist())
    for rows, read in zip(tables.rows[:, 0].flatten().tolist(), tables.labels[:, 0].flatten().tolist()):
        assert read == (rows % CLASSES if rows in known else -1)
    assert tables.labelled == (24,)


def test_labels_of_the_pool_change_nothing_and_its_samples_do(data: Any) -> None:
    """Leak: a run that may not read them is the same, bit for bit, whatever the hidden labels are, and with NaN elsewhere."""
    samples, labels, taught = data
    one, how = run(), with_(sampler="unlabelled:3")
    assert one.task.unlabelled is not None
    pool = torch.as_tensor(one.task.unlabelled.reshape(-1))
    (whole,) = fit(data, [one], how)
    others = labels.clone()
    others[pool] = (others[pool] + 1) % CLASSES
    assert_equal(whole, fit((samples, others, taught), [one], how)[0])
    others[pool] = -1
    assert_equal(whole, fit((samples, others, taught), [one], how)[0])
    foreign = np.setdiff1d(np.arange(ROWS), np.concatenate([one.task.rows, one.task.test]))
    broken = samples.clone()
    broken[torch.as_tensor(foreign)] = torch.nan
    assert_equal(whole, fit((broken, labels, taught), [one], how)[0])
    changed = samples.clone()
    changed[pool] += 1
    assert not np.array_equal(whole.logits, fit((changed, labels, taught), [one], how)[0].logits)


def test_normalisation_is_over_both(data: Any) -> None:
    for mix, sampler in ((MIX, "unlabelled:3"), ("ce", "shuffle")):
        one = run(mix)
        (result,) = fit(data, [one], with_(sampler=sampler, epochs=1))
        mean, std = normalisation(data[0], one.task.rows)
        assert torch.equal(result.state["mean"][0], mean) and torch.equal(result.state["std"][0], std)
        assert not torch.allclose(mean, normalisation(data[0], one.task.train)[0])


def test_the_loss_of_a_step_is_the_mean_over_each_kind(data: Any) -> None:
    """METHODS 5.4, by its numbers: p = 0.6, 0.3, 0.1 and z = (1, 0.5, 0)."""
    student = Outputs(logits=torch.tensor([[1.0, 0.5, 0.0]]))
    teacher = Outputs(logits=torch.tensor([[0.6, 0.3, 0.1]]).log())
    soft = losses.load("soft")
    assert soft(student, teacher, None).item() == pytest.approx(0.9302696706, abs=1e-6)
    assert soft(student, teacher, None, hard=True).item() == pytest.approx(0.6802696706, abs=1e-6)
    assert 0.4 + 3 * soft(student, teacher, None).item() == pytest.approx(3.1908090119, abs=1e-6)
    tempered = torch.softmax(teacher.logits / 0.5, -1)
    assert tempered[0].tolist() == pytest.approx([0.7826086957, 0.1956521739, 0.0217391304], abs=1e-6)
    half = -(tempered * torch.log_softmax(student.logits, -1)).sum().item()
    assert soft(student, teacher, None, T=0.5).item() == pytest.approx(half, abs=1e-6)
    mix = losses.mixed_loss([LossMix.parse(MIX)])
    z = torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(0))
    t = torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[0, 2, -1, -1, -1, -1, -1, -1]])
    total, _ = mix(Outputs(logits=z), Outputs(logits=t), labels)
    log_p, q = z[0].log_softmax(-1), t[0].softmax(-1)
    expected = -(log_p[0, 0] + log_p[1, 2]) / 2 - 3 * sum((q[i] * log_p[i]).sum() for i in range(2, 8)) / 6
    assert total.item() == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(InputError, match="hard = true changes nothing"):
        LossMix.parse("soft@hard=true@T=2")


def test_the_surest_clips_of_each_class_are_kept_and_fewer_repeated() -> None:
    """METHODS 5.4, by its numbers: n = 3, threshold 0.5."""
    largest = [(0, 0.7), (0, 0.9), (1, 0.6), (0, 0.4), (0, 0.8), (2, 0.45)]
    probabilities = np.zeros((6, 3))
    for row, (label, p) in enumerate(largest):
        probabilities[row] = (1 - p) / 2
        probabilities[row, label] = p
    assert surest(probabilities, 0.5, 3).tolist() == [1, 4, 0, 2, 2, 2]
    assert surest(probabilities, 0.5, 0).tolist() == [0, 1, 2, 4]
    assert surest(probabilities, 0.0, 2).tolist() == [1, 4, 2, 2, 5, 5]
    assert surest(np.full((4, 3), 1 / 3), 0.0, 3).tolist() == [0, 1, 2]  # of equals the first
    assert surest(probabilities, 0.95, 3).tolist() == []


def confident(data: Any) -> tuple[Any, Any, Stored]:
    """Two teachers, of which each is sure of some clips: logits 4 for one class where the row's clip is even."""
    logits = data[2].outputs.logits.clone() * 0.01
    clips = torch.arange(ROWS) // 2
    logits[0, clips % 2 == 0, 1] += 4
    logits[1, clips % 3 == 0, 2] += 4
    return data[0], data[1], Stored({"embedding": data[2].outputs.embedding, "logits": logits})


def test_a_threshold_leaves_those_of_which_the_teacher_is_sure(data: Any) -> None:
    """As if the others were not there, but for normalisation: those without a class are poisoned in what the teacher says."""
    given, how = confident(data), with_(sampler="unlabelled:3", unlabelled_threshold=0.9)
    runs = [run(teacher=0), run(fold=2, teacher=1, labelled=9), run(seed=1, teacher=1)]
    together = fit(given, runs, how)
    for one, result in zip(runs, together):
        assert_equal(result, fit(given, [one], how)[0])
        assert one.task.unlabelled is not None
        sure = given[2].outputs.logits[one.teacher].softmax(-1).amax(-1) >= 0.9
        kept = np.array([pair for pair in one.task.unlabelled if sure[pair[0]]])
        chosen = dataclasses.replace(one, pool=kept.reshape(-1))
        without = dataclasses.replace(how, unlabelled_threshold=0.0)
        assert_equal(result, fit(given, [chosen], without)[0])
    with pytest.raises(InputError, match=r"fold 1: unlabelled_threshold = 0\.99 leaves none of 12 clips"):
        fit(given, runs[:1], dataclasses.replace(how, unlabelled_threshold=0.99))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"unlabelled_per_class": 4}, marks=pytest.mark.slow),
        {"input_noise": 0.1, "label_noise": 0.1, "unlabelled_per_class": 4},
    ],
)
def test_packs_alone_and_a_stop_give_the_same(data: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    how = with_(sampler="unlabelled:3", **settings)
    runs = [run(), run(fold=2, teacher=1, labelled=9), run("ce,hinton", seed=1)]
    kept, together = every_checkpoint(path := tmp_path / "pack.pt", data, runs, how)
    path.write_bytes(kept[len(kept) // 2])
    for one, again, result in zip(runs, fit(data, runs, how, checkpoint=path), together):
        assert_equal(again, result)
        assert_equal(fit(data, [one], how)[0], result)


def test_a_task_with_its_own_labels_learns_these_and_is_counted_by_the_true_ones(data: Any) -> None:
    samples, labels, _ = data
    rows, how = np.arange(0, 48), with_(epochs=8, lr=0.005)
    wrong = (labels.numpy()[rows] + 1) % CLASSES
    easy = samples + 30 * labels[:, None, None, None]
    one = Run(1, 0, LossMix.parse("ce"), Task(rows, TEST, labels=wrong))
    (result,) = fit((easy, labels, None), [one], how)
    assert result.history[-1]["train_accuracy"] < 0.1 and result.history[-1]["accuracy"] < 0.1
    assert result.history[-1]["loss"] < 0.5  # it learned them


@pytest.mark.parametrize(
    ("sampler", "batch", "words"),
    [
        ("unlabelled", 8, "expected 'shuffle'"),
        ("unlabelled:0", 8, "expected 'shuffle'"),
        ("unlabelled:x", 8, "expected 'shuffle'"),
        ("unlabelled:2", 8, "expected 'unlabelled:1', or a batch that 3 divides, for example 9"),
        ("unlabelled:4", 7, "expected 'unlabelled:6', or a batch that 5 divides, for example 5"),
        ("unlabelled:3", 1, "expected a batch that 4 divides, for example 4"),
    ],
)
def test_samplers_that_are_none_are_one_line(sampler: str, batch: int, words: str) -> None:
    with pytest.raises(InputError) as caught:
        with_(sampler=sampler, batch=batch)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert samplers.labelled_of("unlabelled:3", 8) == 2 and samplers.labelled_of("shuffle", 8) == 0


def test_too_few_with_a_label_for_a_batch_is_one_line(data: Any) -> None:
    with pytest.raises(InputError, match="2 training samples; expected at least one batch of 4 with a label"):
        fit(data, [run(labelled=1)], with_(sampler="unlabelled:1"))
    with pytest.raises(InputError, match="no unlabelled rows"):
        Task(TEST, TEST, unlabelled=np.empty(0, np.int64))
