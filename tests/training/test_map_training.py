"""Students that learn from stage maps: from stored and from running teachers, in packs as alone, in both layouts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import losses, models, training
from pipeline.config import InputError
from pipeline.losses import paraphrasing
from pipeline.losses.adapting import needs_with, require_smaller, shapes
from pipeline.losses.stages import resampled
from pipeline.training import Live, Stored, inference
from pipeline.training.fit import packed
from pipeline.training.packing import unit_statistics
from pipeline.training.step import step
from tests.trainings import (
    CLASSES,
    QUICK,
    ROWS,
    SHAPE,
    assert_alone_and_resumed_are_equal,
    assert_equal,
    made_up,
    run_of,
)

MIXES = (
    "hint:0.1,attention",
    "overhaul:1,pooled@grid=2x4",
    "boundary:2,selectivity:5@stages=last",
    pytest.param("factor:1,flow:1,review:0.1,variational:0.1", marks=pytest.mark.slow),
    "hint:0.1@layer=hidden,overhaul:1",
)
LAYOUTS = ("loop", "vmap")


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor, Live, Stored]:
    """Two teachers with random weights, and what they say of every row."""
    samples, labels, _ = made_up()
    samples = (samples - samples.mean()) / samples.std()
    teachers = [models.network("resnet10", SHAPE, CLASSES, seed=seed).eval() for seed in range(2)]
    with torch.no_grad():
        outputs = [teacher(samples) for teacher in teachers]
    stored = Stored({name: torch.stack([one[name] for one in outputs]) for name in outputs[0]})
    return samples, labels, Live([[teacher] for teacher in teachers]), stored


def fit(data: Any, mixes: list[str], taught: Any, **options: Any) -> list[Any]:
    samples, labels, *_ = data
    runs = [run_of(mix, fold=i, seed=i, teacher=i % 2, count=42 - 8 * (i == 1)) for i, mix in enumerate(mixes)]
    return training.fit(samples, labels, runs, QUICK, classes=CLASSES, teaching=taught, **options)


@pytest.mark.parametrize("mix", MIXES)
def test_a_run_of_a_pack_is_the_run_alone(data: Any, mix: str) -> None:
    samples, labels, _live, stored = data
    runs = [run_of(mix, fold=i, seed=i, teacher=i % 2, count=26 - 8 * (i == 1)) for i in range(3)]
    together = training.fit(samples, labels, runs, QUICK, classes=CLASSES, teaching=stored, layout="loop")
    for run, mine in zip(runs, together):
        assert mine.failure is None and mine.history[-1]["terms"].keys() == {term.key for term in run.mix.terms}
        (alone,) = training.fit(samples, labels, [run], QUICK, classes=CLASSES, teaching=stored, layout="loop")
        assert_equal(mine, alone)


@pytest.mark.parametrize("mix", MIXES)
def test_the_layout_does_not_matter(data: Any, mix: str) -> None:
    """In float64: in float32 rounding grows step by step."""
    samples, labels, _, stored = data
    double = Stored({name: values.double() for name, values in stored.outputs.items()})
    runs = [run_of(mix, fold=i, seed=i, count=26, teacher=i % 2) for i in range(2)]
    each = [
        training.fit(samples.double(), labels, runs, QUICK, classes=CLASSES, teaching=double, layout=layout)
        for layout in LAYOUTS
    ]
    for mine, other in zip(*each):
        for name, value in mine.state.items():
            torch.testing.assert_close(other.state[name], value, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("mix", MIXES[:4])
def test_teachers_that_run_say_what_was_stored(data: Any, mix: str) -> None:
    samples, labels, live, stored = data
    runs = [run_of(mix, fold=i, count=26, teacher=i) for i in range(2)]
    each = [
        training.fit(samples, labels, runs, QUICK, classes=CLASSES, teaching=taught, layout="loop")
        for taught in (live, stored)
    ]
    for mine, other in zip(*each):
        assert mine.failure is None is other.failure and mine.terms.keys() == other.terms.keys()
        for key, told in mine.terms.items():
            assert other.terms[key] == pytest.approx(told, abs=2e-3)
        for name, value in mine.state.items():
            torch.testing.assert_close(other.state[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("mix", "weights"),
    [
        ("hint", ["hint layers.0.weight", "hint layers.1.weight", "hint layers.2.weight"]),
        ("hint@layer=hidden", ["hint@layer=hidden linear.weight"]),
        (
            "boundary@stages=first",
            [f"boundary@stages=first layers.0.{part}" for part in ("0.weight", "1.weight", "1.bias")],
        ),
        (
            "overhaul@stages=last",
            [f"overhaul@stages=last layers.0.{part}" for part in ("0.weight", "1.weight", "1.bias")],
        ),
    ],
)
def test_every_weight_of_an_adapter_moves(data: Any, mix: str, weights: list[str]) -> None:
    samples, labels, _, stored = data
    pack = packed(samples, labels, [run_of(mix)], QUICK, CLASSES, stored, "loop", [unit_statistics(samples)])
    before = {name: value.clone() for name, value in pack.learner.adapters_state().items() if "running" not in name}
    step(pack, False)
    after = pack.learner.adapters_state()
    moved = {name for name, value in before.items() if bool((after[name] != value).any())}
    assert moved == set(before) and set(weights) >= moved


@pytest.mark.parametrize("layout", LAYOUTS)
def test_agreement_and_dead_channels_are_told_at_the_end(data: Any, layout: str) -> None:
    """Of the last weights, adapters in evaluation mode, over a run's own training rows, whoever is held out."""
    samples, labels, _, stored = data
    teacher = {name: values.clone() for name, values in stored.outputs.items()}
    teacher["map4"][0, :, 3] = -1.0
    teacher["map4"][0, :, 5:7] = 1.0
    teacher["map4"][0, 40:, 3] = 2.0  # rows that nobody trains on
    runs = [run_of(mix, fold=i) for i, mix in enumerate(("boundary@stages=last", "boundary@stages=last,soft"))]
    one_epoch = dataclasses.replace(QUICK, epochs=1)
    taught = Stored(teacher)
    trained = training.fit(samples, labels, runs, one_epoch, classes=CLASSES, teaching=taught, layout=layout)
    for run, one in zip(runs, trained):
        student = models.network("cnn2", SHAPE, CLASSES).eval()
        student.load_state_dict({("" if n in ("mean", "std") else "body.") + n: v[0] for n, v in one.state.items()})
        theirs = {name: tuple(values.shape[2:]) for name, values in teacher.items()}
        adapter = losses.module("boundary").adapter(shapes(student), theirs, stages="last").eval()
        kept = {name.split(" ")[1]: value[0] for name, value in one.adapters.items()}
        assert (
            kept.keys() == adapter.state_dict().keys() and not adapter.load_state_dict(kept, strict=False).missing_keys
        )
        rows = torch.as_tensor(run.task.train)
        with torch.no_grad():
            ((stage, guess),) = adapter(student(samples[rows])).items()
        target = resampled(teacher[stage][0, rows], tuple(guess.shape[-2:]))
        told = one.terms["boundary@stages=last"]
        equal = sum(bool(a > 0) == bool(b > 0) for a, b in zip(guess.flatten().tolist(), target.flatten().tolist()))
        assert told["agreement"] == pytest.approx(equal / guess.numel(), abs=1e-4)
        off = sum(all(value <= 0 for value in channel.flatten().tolist()) for channel in target.unbind(1))
        on = sum(all(value > 0 for value in channel.flatten().tolist()) for channel in target.unbind(1))
        channels = target.shape[1]
        assert (told["always off"], told["always on"]) == (off / channels, on / channels)
        assert stage != "map4" or (off >= 1 and on >= 2)


def test_adapters_lie_in_one_order_whatever_the_weights(data: Any) -> None:
    """A mix sorts terms of one name by their weights; adapters side by side are those of the same term."""
    mixes = ["hint:1@stages=first,hint:2@stages=last,soft", "hint:2@stages=first,hint:1@stages=last,soft"]
    samples, labels, _, stored = data
    together, alone = (
        [
            packed(samples, labels, runs, QUICK, CLASSES, stored, "loop", [unit_statistics(samples)] * len(runs))
            for runs in parts
        ]
        for parts in ([list(map(run_of, mixes))], [[run_of(mix)] for mix in mixes])
    )
    for r, pack in enumerate(alone):
        for name, value in pack.learner.adapters_state().items():
            assert torch.equal(together[0].learner.adapters_state()[name][r], value[0]), name


def test_an_adapter_larger_than_the_student_is_refused(data: Any) -> None:
    _samples, _labels, _, stored = data
    wide = {**stored.outputs, "embedding": torch.zeros(2, ROWS, 5000)}
    with pytest.raises(
        InputError, match=r"hint@layer=embedding: its adapter would have .* weights, and the student cnn2"
    ):
        fit(data, ["hint@layer=embedding"], Stored(wide))


@pytest.mark.parametrize("name", ["factor", "hint"])
def test_a_large_adapter_is_refused_with_an_option_that_the_term_has(name: str) -> None:
    student, modules = models.network("cnn2", SHAPE, CLASSES), {f"{name}@stages=last": torch.nn.Linear(2000, 2000)}
    expected = {"hint": "@layer=hidden$", "factor": "factor@stages=first, or choose a term without an adapter"}[name]
    with pytest.raises(InputError, match=rf"{name}@stages=last: its adapter would have .*{expected}"):
        require_smaller(modules, student)


def test_residual_and_members_of_one_teacher_are_refused_before_training(data: Any) -> None:
    for mix, message in (
        ("residual", "the teacher's 'base' is not stored; expected some of "),
        ("pooled@layer=logits", "pooled@layer=logits asks for the members of an ensemble"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            fit(data, [mix], data[3])
        assert "\n" not in str(caught.value)


def test_pooled_learns_from_the_members_of_an_ensemble(data: Any) -> None:
    """Another of two networks at every step; two equal ones teach as one."""
    samples, labels, live, _ = data
    first, second = (members[0] for members in live.teachers)
    runs = [run_of("pooled:1@similarity=l2")]
    results = [
        training.fit(samples, labels, runs, QUICK, classes=CLASSES, teaching=Live([members]), layout="loop")[0]
        for members in ([first], [first, first], [first, second])
    ]
    terms = [result.history[-1]["terms"]["pooled@similarity=l2"]["raw"] for result in results]
    assert all(result.failure is None for result in results)
    assert terms[1] == pytest.approx(terms[0], rel=1e-3) and terms[2] != pytest.approx(terms[0], rel=1e-3)


def test_pooled_learns_from_members_whose_maps_are_unlike(data: Any) -> None:
    """Two unlike networks: whichever is asked at a step, stored and running; of two equal ones beside each other nothing changes."""
    samples, labels, live, _ = data
    wide, narrow = live.teachers[0][0], models.network("cnn2", SHAPE, CLASSES, seed=5).eval()
    run = run_of("pooled:1@similarity=l2,soft", count=48)
    needs = needs_with([run.mix], lambda: models.network("cnn2", SHAPE, CLASSES))
    results = []
    for members in ([wide, narrow], [narrow, wide]):
        running = Live([members])
        stored = inference.stored(running, samples, [run.task.train], labels, needs)
        names = [name for name in stored.outputs if name.startswith("reduced ")]
        assert {name.split()[2] for name in names} == {"0", "1"} and len(names) == 4  # two pairs each
        for taught in (running, stored):
            (one,) = training.fit(samples, labels, [run], QUICK, classes=CLASSES, teaching=taught, layout="loop")
            assert one.failure is None
            results.append(one)
    for name, value in results[0].state.items():
        torch.testing.assert_close(results[1].state[name], value, rtol=1e-3, atol=1e-4)
    key = "pooled@similarity=l2"
    raws = [result.history[-1]["terms"][key]["raw"] for result in results]
    assert raws[0] == pytest.approx(raws[1], rel=1e-3) and raws[0] != pytest.approx(raws[2], rel=1e-3)


def test_constants_that_are_stored_are_of_the_labels_that_are_learned(data: Any) -> None:
    """Of a run with labels of its own the class centres are of these, stored as of a teacher that runs."""
    samples, labels, live, _ = data
    running, run = Live(live.teachers[:1]), run_of("direction,soft", count=48)
    needs = needs_with([run.mix], lambda: models.network("cnn2", SHAPE, CLASSES))
    learned = (labels[run.task.train] + 1) % CLASSES
    task = dataclasses.replace(run.task, labels=learned.numpy())
    stored = inference.stored(running, samples, [task.train], labels, needs, [task])
    expected = running.measured(0, samples, task.train, learned, needs)
    assert expected and expected.keys() == stored.constants.keys()
    for name, value in expected.items():
        torch.testing.assert_close(stored.constants[name][0], value)
        assert not torch.allclose(running.measured(0, samples, task.train, labels[task.train], needs)[name], value)


def test_the_margins_are_those_of_the_runs_own_training_rows(data: Any) -> None:
    """Rows that it does not train on, the held-out ones among them, change nothing."""
    samples, labels, _, stored = data
    run = run_of("overhaul", teacher=1)
    spoilt = {name: values.clone() for name, values in stored.outputs.items()}
    others = sorted(set(range(ROWS)) - set(run.task.train.tolist()))
    for stage in ("map1", "map2", "map3", "map4"):
        spoilt[stage][:, others] = -1e6
    packs = [
        packed(samples, labels, [run], QUICK, CLASSES, taught, "loop", [unit_statistics(samples)])
        for taught in (stored, Stored(spoilt))
    ]
    assert packs[0].constants.keys() == {f"constants overhaul map{i}" for i in (1, 2, 3, 4)}
    for name, margin in packs[0].constants.items():
        kept = stored.outputs[name.split()[-1]][1, torch.as_tensor(run.task.train)]
        expected = [each[each < 0].mean().item() if (each < 0).any() else 0 for each in kept.unbind(1)]
        assert margin[0].tolist() == pytest.approx(expected, rel=1e-5)
        assert torch.equal(packs[1].constants[name], margin)


@pytest.mark.slow
def test_a_pack_goes_on_with_the_same_paraphraser(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trained of the teacher before the first step is trained again, bit for bit."""
    monkeypatch.setattr(paraphrasing, "content", lambda batches: object())  # each is trained, as in another process
    samples, labels, _, stored = data
    runs = [run_of("factor:1,review:1@warm=2", fold=fold) for fold in (1, 2)]
    assert_alone_and_resumed_are_equal(tmp_path / "pack.pt", (samples, labels, stored), runs, QUICK, (3,))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_variances_do_not_decay(data: Any, optimizer: str) -> None:
    """After a step with a decay all weights are others than without, but for those that an adapter names."""
    samples, labels, _, stored = data
    after = []
    for decay in (0.0, 0.5):
        settings = dataclasses.replace(QUICK, optimizer=optimizer, nesterov=optimizer == "sgd", weight_decay=decay)
        runs = [run_of("variational@stages=last", seed=seed) for seed in range(2)]
        pack = packed(samples, labels, runs, settings, CLASSES, stored, "loop", [unit_statistics(samples)] * 2)
        step(pack, False)
        after.append(pack.learner.adapters_state())
    assert {name.rpartition(" ")[2] for name in after[0]} == {"alphas.0", *(f"layers.0.{i}.weight" for i in (0, 2, 4))}
    for name, value in after[0].items():
        assert torch.equal(after[1][name], value) == ("alphas" in name), name
