"""What a loss file may ask for: stage maps, adapters of several parts, draws; in both layouts as alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import models
from pipeline.config import InputError
from pipeline.losses import LossMix, library
from pipeline.models import Outputs
from pipeline.models.outputs import chosen, lacking
from pipeline.training import Stored
from pipeline.training.fit import packed
from pipeline.training.packing import unit_statistics
from pipeline.training.randomness import generator
from pipeline.training.sampling import steps_of
from pipeline.training.step import step
from tests.hooks import LAYOUTS, STUDENTS, assert_alike
from tests.trainings import CLASSES, QUICK, ROWS, assert_equal, every_checkpoint, fit, made_up, run_of
from tests.written import written


@pytest.fixture(scope="module", autouse=True)
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with written(tmp_path_factory.mktemp("own"), STUDENTS):
        yield


@pytest.fixture(scope="module")
def data() -> Any:
    samples, labels, taught = made_up()
    random = torch.Generator().manual_seed(9)
    maps = {f"map{i}": torch.randn(2, ROWS, 2 * i, 3, 5, generator=random) for i in (2, 1)}
    return samples, labels, Stored({**maps, **taught.outputs})


def doubled(data: Any) -> Any:
    """In float64: in float32 rounding grows step by step."""
    samples, labels, taught = data
    return samples.double(), labels, Stored({name: value.double() for name, value in taught.outputs.items()})


def test_maps_are_in_the_order_of_their_stages() -> None:
    names = ("map10", "logits", "map2", "mapped", "map1", "embedding")
    outputs = Outputs({name: torch.zeros(1) + i for i, name in enumerate(names)})
    assert list(outputs.maps) == ["map1", "map2", "map10"] and outputs.maps["map2"] is outputs["map2"]
    assert Outputs(logits=torch.zeros(1)).maps == {}
    assert chosen(("maps", "embedding"), names) == ("map10", "map2", "map1", "embedding")
    assert chosen(("map2",), names) == ("map2",)
    assert lacking(("maps", "map3", "hidden"), names) == ("map3", "hidden")
    assert lacking(("maps",), ("logits", "mapped")) == ("maps",)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_adapters_and_draws_in_a_pack_as_alone(data: Any, layout: str) -> None:
    """Runs of unlike lengths: batch norm in an adapter stands still beyond a run's own end."""
    data = data if layout == "loop" else doubled(data)
    mixes = ("staged:2,drawing", "staged,pairing,soft", "ce,staged,drawing@p=2,drawing")
    runs = [run_of(mix, fold=i, seed=i, count=42 - 16 * (i == 1), teacher=i % 2) for i, mix in enumerate(mixes)]
    together = fit(data, runs, layout=layout)
    for run, mine in zip(runs, together):
        (alone,) = fit(data, [run])
        assert any("running_mean" in name for name in mine.adapters)
        assert_alike(mine, alone, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_weight_of_an_adapter_has_moved_after_one_step(data: Any, layout: str) -> None:
    samples, labels, taught = data
    runs = [run_of("staged", fold=fold) for fold in (1, 2)]
    pack = packed(samples, labels, runs, QUICK, CLASSES, taught, layout, [unit_statistics(samples)] * 2)
    before = {name: value.clone() for name, value in pack.learner.adapters_state().items()}
    assert [name for name in before if name.endswith("weight")] == [
        f"staged parts.{stage}.{layer}.weight" for stage in ("map1", "map2") for layer in (0, 1)
    ]
    step(pack, False)
    for name, value in pack.learner.adapters_state().items():
        assert (value != before[name]).all(), name


def test_the_first_weights_of_a_student_do_not_depend_on_adapters(data: Any) -> None:
    samples, labels, taught = data
    unit = [unit_statistics(samples)]
    states = [
        packed(samples, labels, [run_of(mix)], QUICK, CLASSES, taught, "loop", unit).learner.state()
        for mix in ("soft", "staged")
    ]
    assert states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_adapters_are_kept_apart(data: Any) -> None:
    one, other = fit(data, [run_of("staged"), run_of("staged", fold=2)])
    student = models.network("cnn2", data[0].shape[1:], CLASSES)
    assert one.state.keys() == {"mean", "std", *student.body.state_dict()} == one.best_state.keys()
    assert one.adapters["staged parts.map1.0.weight"].shape == (1, 2, 32, 1, 1)
    assert not torch.equal(one.adapters["staged parts.map1.0.weight"], other.adapters["staged parts.map1.0.weight"])
    assert fit(data, [run_of("soft")])[0].adapters == {}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_they_go_on_from_a_checkpoint(data: Any, tmp_path: Any, layout: str) -> None:
    runs = [run_of("staged,drawing,pairing", fold=fold) for fold in (1, 2)]
    expected = fit(data, runs, layout=layout)
    kept, _ = every_checkpoint(path := tmp_path / "pack.pt", data, runs, layout=layout)
    for content in (kept[2], kept[6], kept[-1]):
        path.write_bytes(content)
        for one, other in zip(expected, fit(data, runs, checkpoint=path, layout=layout)):
            assert_equal(one, other)
            assert all(torch.equal(one.adapters[name], other.adapters[name]) for name in one.adapters)


def test_what_no_term_reads_is_not_kept(data: Any) -> None:
    samples, labels, taught = data
    unit = [unit_statistics(samples)]
    pack = packed(samples, labels, [run_of("soft")], QUICK, CLASSES, taught, "loop", unit)
    assert pack.teaching is not None and list(pack.teaching.outputs) == ["logits"] and not pack.draws
    rows = pack.tables.rows[0]
    inputs = lambda runs: samples[rows[runs][0]][:, None]
    assert list(pack.learner.forward(inputs, None)) == ["logits"]


def test_draws_are_of_term_seed_fold_and_epoch_alone(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = library.module("drawing")

    seen: list[Tensor] = []
    function = module.drawing

    def watched(student: Any, teacher: Any, labels: Any, *, p: float = 1.0) -> Any:
        seen.append(student.draws.clone())
        return function(student, teacher, labels, p=p)

    monkeypatch.setattr(module, "drawing", watched)
    run = run_of("drawing@p=2", fold=2, seed=5)
    fit(data, [run_of("ce,pairing"), run])
    steps = steps_of(run, QUICK.batch)
    assert len(seen) == steps * QUICK.epochs
    for epoch in range(QUICK.epochs):
        random = generator("draws drawing@p=2", run, epoch)
        expected = torch.rand((steps, QUICK.batch, 3), generator=random)
        assert torch.equal(torch.cat(seen[epoch * steps : (epoch + 1) * steps]), expected)
    assert torch.stack(seen).min() >= 0 and torch.stack(seen).max() < 1


@pytest.mark.parametrize(
    ("mix", "model", "message"),
    [
        ("staged", "mapless", r"staged reads maps of the student, and mapless has embedding, hidden, logits; expected"),
        ("halfway", "cnn2", r"loss halfway: DRAWS = 0.5; expected a whole number"),
    ],
)
def test_what_cannot_be_had_is_one_line_before_training(data: Any, mix: str, model: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        fit(data, [run_of(mix)], dataclasses.replace(QUICK, model=model))
    assert "\n" not in str(caught.value)


def test_a_teacher_without_maps_is_one_line_before_training(data: Any) -> None:
    samples, labels, taught = data
    with pytest.raises(InputError, match=r"the teacher's 'maps' is not stored; expected some of embedding, logits"):
        fit((samples, labels, Stored({k: taught.outputs[k] for k in ("embedding", "logits")})), [run_of("staged")])


def test_a_mix_knows_that_it_reads_maps() -> None:
    mix = LossMix.parse("staged,soft:0")
    assert mix.reads == ("maps",) and mix.teacher_reads == ("maps",) and not mix.names_classes
    assert library.draws("pairing", 8) == 8 and library.draws("drawing", 8) == 3 and library.draws("soft", 8) == 0
