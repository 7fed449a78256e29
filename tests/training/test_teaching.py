"""What terms may need of a teacher: reductions of its maps, constants, members; stored before, or live in the step."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import models, training
from pipeline.config import InputError
from pipeline.losses import LossMix, library
from pipeline.losses.needs import Arrays, needs_of
from pipeline.models import Network, Outputs
from pipeline.training import Live, Stored, Trained, inference
from pipeline.training.fit import packed
from pipeline.training.lessons import lesson_of
from pipeline.training.live import Lesson
from pipeline.training.members import as_one
from pipeline.training.packing import unit_statistics
from pipeline.training.step import step
from tests.hooks import LAYOUTS, TEACHERS, TOLERANCE, assert_alike
from tests.trainings import CLASSES, QUICK, ROWS, SHAPE, every_checkpoint, fit, made_up, run_of
from tests.written import written


@pytest.fixture(scope="module", autouse=True)
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with written(tmp_path_factory.mktemp("own"), TEACHERS):
        yield


@pytest.fixture(scope="module")
def data() -> Any:
    samples, labels, _ = made_up()
    return samples, labels, None


def networks(count: int, samples: Tensor, name: str = "resnet10") -> list[Network]:
    """Teachers with statistics of batch norm that are not those of their first weights."""
    each = [models.network(name, SHAPE, CLASSES, seed=7 + g, fold=g) for g in range(count)]
    for network in each:
        network.mean += 10
        network.std += 2
        with torch.no_grad():
            network.train()(samples[:40])
        network.eval()
    return each


def stored(teachers: list[Network], samples: Tensor, rows: np.ndarray | None = None) -> Stored:
    names = ("embedding", "logits", *(f"map{i}" for i in range(1, 5)))
    every = np.arange(ROWS) if rows is None else rows
    each = [training.outputs(network, samples, every, names) for network in teachers]
    return Stored({name: torch.stack([one[name] for one in each]) for name in names})


def both(data: Any, count: int = 2) -> tuple[Any, Any]:
    """The same teachers stored and live."""
    samples, labels, _ = data
    teachers = networks(count, samples.float())
    return (samples, labels, stored(teachers, samples.float())), (samples, labels, Live([[one] for one in teachers]))


def close(one: Trained, other: Trained) -> None:
    for part in ("state", "adapters"):
        assert getattr(one, part).keys() == getattr(other, part).keys()
        for name, value in getattr(one, part).items():
            torch.testing.assert_close(
                getattr(other, part)[name], value, **TOLERANCE, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_only_what_terms_keep_of_maps_is_stored(data: Any) -> None:
    """Two terms reduce the same map differently; options that the reduction does not take share it."""
    samples, labels, taught = both(data)[0]
    mixes = ("attending,signed", "attending@sharpness=2", "attending@power=3,soft")
    runs = [run_of(mix, fold=i) for i, mix in enumerate(mixes)]
    lesson, constants = lesson_of(taught, runs, models.network("cnn2", SHAPE, CLASSES), samples, labels)
    assert isinstance(lesson, Stored) and not constants
    stages = [f"map{i}" for i in range(1, 5)]
    kept_of = [f"reduced attending{power} {s}" for power in ("", "@power=3") for s in stages]
    assert set(lesson.outputs) == {"logits", "reduced signed map2", *kept_of}
    for teacher in range(2):
        for stage in stages:
            for row in (0, 17, ROWS - 1):
                whole = taught.outputs[stage][teacher, row]
                for key, power in (("attending", 2), ("attending@power=3", 3)):
                    kept = lesson.outputs[f"reduced {key} {stage}"][teacher, row]
                    expected = sum(channel.clamp(min=0) ** power for channel in whole) / len(whole)
                    torch.testing.assert_close(kept, expected)
    assert lesson.outputs["reduced signed map2"].dtype == torch.bool
    assert lesson.shapes()["map2"] == tuple(taught.outputs["map2"].shape[2:])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mix", ["soft", "staged", "attending:3,signed,soft", "centred", "angle,attending@power=3"])
def test_live_is_stored_within_float32(data: Any, mix: str, layout: str) -> None:
    runs = [run_of(mix, fold=i, seed=i, count=26, teacher=i) for i in range(2)]
    before, running = both(data)
    if layout == "loop" and mix == "soft":
        assert all(a.failure is None for a in fit(running, runs))
    for one, other in zip(fit(before, runs, layout=layout), fit(running, runs, layout=layout)):
        assert one.failure is None and other.failure is None
        close(one, other)


@pytest.mark.parametrize("kind", ["stored", "live"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_in_a_pack_is_the_run_alone(data: Any, layout: str, kind: str) -> None:
    """Unlike folds, seeds, lengths, teachers and mixes, and one run that fails in the middle."""
    samples, labels, _ = data
    before, running = both((samples if layout == "loop" else samples.double(), labels, None))
    data = before if kind == "stored" else running
    mixes = ("staged,attending", "staged,signed:2", "staged,soft", "staged,attending,centred")
    runs = [run_of(mix, fold=i // 2, seed=i, count=26 - 8 * (i == 1), teacher=i % 2) for i, mix in enumerate(mixes)]
    together = fit(data, runs, layout=layout)
    for run, mine in zip(runs, together):
        (alone,) = fit(data, [run])
        assert_alike(mine, alone, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_runs_of_the_same_batches_share_a_forward_pass(data: Any, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the run whose input was taken fails and stops."""
    samples, labels, _ = data
    if layout == "vmap":
        samples = samples.double()
    live = Live([[one] for one in networks(2, samples.float())])
    asked: list[int] = []
    kept = Live.kept

    def watched(self: Live, teacher: int, x: Tensor, needs: Any) -> Outputs:
        asked.append(len(x))
        return kept(self, teacher, x, needs)

    monkeypatch.setattr(Live, "kept", watched)
    wild = "ce:1e30,soft,attending"
    runs = [run_of(wild), run_of("soft,attending"), run_of("attending@power=3"), run_of("soft,attending", teacher=1)]
    together = fit((samples, labels, live), runs, dataclasses.replace(QUICK, epochs=3), layout=layout)
    assert together[0].failure is not None and len(together[0].history) < 3
    assert asked == [8] * (5 * 3 * 2)  # five steps, three epochs, two teachers
    for run, mine in zip(runs[1:], together[1:]):
        (alone,) = fit((samples, labels, live), [run], dataclasses.replace(QUICK, epochs=3))
        assert_alike(mine, alone, layout)


def test_a_live_teacher_stays_as_it_is_and_sees_the_very_input(data: Any) -> None:
    samples, labels, _ = data
    live = Live([[one] for one in networks(1, samples)])
    before = {name: value.clone() for name, value in live.teachers[0][0].state_dict().items()}
    inputs: list[Tensor] = []
    live.teachers[0][0].register_forward_pre_hook(
        lambda _, arguments: inputs.append(arguments[0]) if len(arguments[0]) == 8 else None
    )
    augmented: list[Tensor] = []

    def augment(x: Tensor, draws: Tensor, means: Tensor | None) -> Tensor:
        augmented.append(x + draws.sum(1)[:, None, None, None])
        return augmented[-1]

    (one,) = fit((samples, labels, live), [run_of("attending,soft")], augment=augment)
    assert one.failure is None and augmented and len(inputs) * 2 == len(augmented)
    assert all(torch.equal(x, augmented[2 * i]) and torch.equal(x, augmented[2 * i + 1]) for i, x in enumerate(inputs))
    after = live.teachers[0][0].state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in live.teachers[0][0].parameters())


@pytest.mark.parametrize("kind", ["stored", "live"])
def test_constants_are_of_the_training_rows_and_of_each_runs_teacher(data: Any, kind: str) -> None:
    samples, labels, _ = data
    before, running = both(data)
    run, other = run_of("centred", fold=3, count=30), run_of("centred,soft", fold=2, count=33, teacher=1)
    for outputs in before[2].outputs.values():  # nobody but its own students' training rows
        outputs[0, np.setdiff1d(np.arange(ROWS), run.task.train)] = torch.nan
        outputs[1, np.setdiff1d(np.arange(ROWS), other.task.train)] = torch.nan
    taught = before[2] if kind == "stored" else running[2]
    _, constants = lesson_of(taught, [run, other], models.network("cnn2", SHAPE, CLASSES), samples, labels)
    shapes = {name.split()[-1]: value.shape for name, value in constants.items()}
    assert shapes == {"margins": (2, 8), "centres": (2, CLASSES, 256)}
    for r, one in enumerate((run, other)):
        rows = one.task.train
        answers = running[2].teachers[r][0](samples[rows])
        margins = [
            float(np.minimum(channel, 0).sum() / len(rows)) for channel in answers.map1.detach().numpy().swapaxes(0, 1)
        ]
        torch.testing.assert_close(
            constants["constants centred margins"][r], torch.tensor(margins), rtol=1e-4, atol=1e-5
        )
        for label in range(CLASSES):
            mine = answers.embedding.detach()[labels[rows] == label].mean(0)
            torch.testing.assert_close(constants["constants centred centres"][r, label], mine, rtol=1e-4, atol=1e-5)
    assert all(trained.failure is None for trained in fit((samples, labels, taught), [run, other]))


@pytest.mark.parametrize("kind", ["stored", "live"])
def test_it_goes_on_from_a_checkpoint_of_its_own_kind(data: Any, tmp_path: Path, kind: str) -> None:
    before, running = both(data)
    taught, another = (before, running) if kind == "stored" else (running, before)
    runs = [run_of("staged,attending,centred", fold=fold, count=26, teacher=fold % 2) for fold in (1, 2)]
    expected = fit(taught, runs)
    kept, _ = every_checkpoint(path := tmp_path / "pack.pt", taught, runs)
    path.write_bytes(kept[4])
    for one, other in zip(expected, fit(taught, runs, checkpoint=path)):
        assert_alike(other, one, "loop")
    path.write_bytes(kept[4])
    lines: list[str] = []
    fit(another, runs, checkpoint=path, say=lines.append)
    assert "It is not used; training starts from the beginning" in lines[0]


def test_no_gradient_reaches_a_teacher(data: Any) -> None:
    samples, labels, _ = data
    live = Live([[one] for one in networks(1, samples)])
    pack = packed(samples, labels, [run_of("attending")], QUICK, CLASSES, live, "vmap", [unit_statistics(samples)])
    assert isinstance(pack.teaching, Lesson)
    step(pack, False)
    inputs = lambda runs: samples[:8, None]
    outputs = pack.teaching.batch(inputs, None, pack.learner)
    assert set(outputs) == {"logits", *(f"reduced attending map{i}" for i in range(1, 5))}  # soft reads the logits
    assert not any(value.requires_grad for value in outputs.values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_members_of_an_ensemble(data: Any, layout: str) -> None:
    """Of stored and of live members alike; their reductions have an axis of members."""
    samples, labels, _ = data
    teachers = [networks(3, samples), networks(3, samples)[::-1]]
    live = Live(teachers)
    runs = [run_of("membered,flocking,soft", fold=i, count=26, teacher=i) for i in range(2)]
    needs = needs_of([runs[0].mix])
    assert needs.ensemble == ("flocking", "membered") and not needs.single
    each = []
    for members in teachers:
        outputs = [training.outputs(n, samples, np.arange(ROWS), ("embedding", "logits", "map1")) for n in members]
        each.append(as_one(outputs, each=True))
    assert each[0].members.shape == (ROWS, 3, CLASSES) and each[0].map1.shape[:3] == (ROWS, 3, 8)
    assert torch.equal(each[0].members[:, 1], each[1].members[:, 1])
    before = Stored({name: torch.stack([one[name] for one in each]) for name in each[0]})
    for one, other in zip(
        fit((samples, labels, before), runs, layout=layout), fit((samples, labels, live), runs, layout=layout)
    ):
        assert one.failure is None
        close(one, other)


@pytest.mark.parametrize(
    ("mix", "members", "model", "message"),
    [
        (
            "membered",
            1,
            "cnn2",
            r"membered asks for the members of an ensemble, and its teacher is a single run \(cnn2\); expected",
        ),
        ("staged", 2, "cnn2", r"staged reads what an ensemble of 2 teachers does not have; expected a single teacher"),
        (
            "attending",
            1,
            "mapless",
            r"the teacher's 'maps': mapless has embedding, hidden, logits; expected a teacher that has",
        ),
        (
            "staged",
            1,
            "mapless",
            r"the teacher's 'maps': mapless has embedding, hidden, logits; expected a teacher that has",
        ),
    ],
)
def test_what_a_live_teacher_does_not_have_is_one_line(
    data: Any, mix: str, members: int, model: str, message: str
) -> None:
    samples, labels, _ = data
    live = Live([networks(members, samples, model)])
    with pytest.raises(InputError, match=message) as caught:
        fit((samples, labels, live), [run_of(mix)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("membered", r"membered asks for the members of an ensemble"),
        ("attending", r"attending reads maps of the teacher, and none is stored; expected some of embedding, logits"),
    ],
)
def test_what_is_not_stored_is_one_line(mix: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(made_up(), [run_of(mix)])


def test_a_reduction_of_plain_outputs_is_the_losss_own(data: Any) -> None:
    """Whoever calls a loss on outputs with maps gets what a pack computes of the reduced ones."""
    random = torch.Generator().manual_seed(3)
    student = Outputs({f"map{i}": torch.randn(2, 4, 3, 4, 5, generator=random) for i in (1, 2)})
    teacher = Outputs({f"map{i}": torch.randn(2, 4, 6, 4, 5, generator=random) for i in (1, 2)})
    loss = library.load("attending")(student, teacher, None)
    mean_square = lambda map: (map.relu() ** 2).mean(1).mean((1, 2)).clamp(-9, 9)
    mine = [
        sum((mean_square(student[s][r]) - mean_square(teacher[s][r])).square().mean() for s in student)
        for r in range(2)
    ]
    torch.testing.assert_close(loss, torch.stack(mine))


def test_needs_of_mixes() -> None:
    light = needs_of(map(LossMix.parse, ("angle,area", "hinton")))
    assert not light.large and set(light.outputs) == {"embedding", "logits"} and not light.reduced
    assert needs_of([LossMix.parse("ce")]).outputs == ()
    heavy = needs_of([LossMix.parse("attending,centred")], {"map1": (2, 3, 4)})
    assert heavy.large and heavy.outputs == ("embedding", "logits") and heavy.student == (("map1", (2, 3, 4)),)
    assert [term.key for term in heavy.reduced] == ["attending", "centred"]
    assert [term.key for term in heavy.constants] == ["centred"]
    assert needs_of([LossMix.parse("staged,soft:0")]).large and heavy.single == ("attending", "centred")


def test_an_adapter_to_the_embedding_of_a_live_ensemble(data: Any) -> None:
    """The members' embeddings lie side by side: the adapter is as wide as all of them."""
    samples, labels, _ = data
    members = networks(2, samples, "cnn2")
    live = Live([members])
    width = live.teachers[0][0](samples[:1]).embedding.shape[-1]
    assert live.shapes()["embedding"] == (2 * width,)
    each = [training.outputs(network, samples, np.arange(ROWS), ("embedding", "logits")) for network in members]
    before = Stored({name: values[None] for name, values in as_one(each).items()})
    runs = [run_of("hint@layer=hidden,soft")]
    (one,), (other,) = (fit((samples, labels, taught), runs) for taught in (before, live))
    assert one.failure is None and other.failure is None
    close(one, other)


def test_an_output_that_a_teacher_has_not_is_one_line(data: Any) -> None:
    (network,) = networks(1, data[0], "cnn2")
    with pytest.raises(
        InputError, match=r"cnn2 has no output cosines; there are embedding, .*: expected another"
    ) as caught:
        training.outputs(network, data[0], np.arange(9), ("logits", "cosines"))
    assert "\n" not in str(caught.value)


def test_constants_do_not_depend_on_cores_nor_on_rounding(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that several threads share are added in another order; TensorFloat-32 is the students' choice."""
    samples, labels, _ = data
    seen: list[tuple[int, bool]] = []
    live, needs = Live([networks(1, samples)]), needs_of([LossMix.parse("overhaul")], {"map1": (2, 8, 16)})
    rounding: list[bool] = []

    @contextlib.contextmanager
    def tuned(_device: torch.device, tf32: bool) -> Iterator[None]:
        rounding.append(tf32)
        yield
        rounding.pop()

    monkeypatch.setattr("pipeline.training.live.tuned", tuned)
    monkeypatch.setattr(
        needs.__class__,
        "measured",
        lambda *_: seen.append((torch.get_num_threads(), rounding[-1] if rounding else True)) or {},
    )
    cores = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        inference.stored(live, samples, [np.arange(9)], labels, needs)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(cores)
    assert seen == [(1, False)]


def test_an_array_is_computed_once(data: Any) -> None:
    """For a live teacher that is a pass over all training rows."""
    asked = []

    def parts() -> Iterator[Outputs]:
        asked.append(1)
        return iter([Outputs(logits=torch.ones(2, 3)), Outputs(logits=torch.zeros(1, 3))])

    arrays = Arrays(parts)
    assert arrays.logits.shape == (3, 3) and len(asked) == 1
    with pytest.raises(AttributeError, match="no output 'embedding'; there are logits"):
        arrays.embedding  # noqa: B018
