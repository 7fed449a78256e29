"""SimKD: students that answer by their teacher's output layer, which each takes from its own teacher and never changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import models
from pipeline.config import InputError
from pipeline.losses import LossMix, load
from pipeline.models import Outputs, saved
from pipeline.training import Live, Stored, inference
from pipeline.training.fit import packed
from pipeline.training.packing import unit_statistics
from pipeline.training.step import both_sides
from tests.hooks import LAYOUTS, assert_alike
from tests.trainings import CLASSES, QUICK, ROWS, SHAPE, assert_equal, every_checkpoint, fit, made_up, run_of

MIX = "reuse@form=simkd,soft:0"
NETWORKS = ("cnn2-reuse", "cnn2-reuse-hidden")


def settings(name: str = "cnn2-reuse", **changes: Any) -> Any:
    return dataclasses.replace(QUICK, model=name, **changes)


def teachers(name: str = "resnet18", classes: int = CLASSES) -> Live:
    return Live([[models.network(name, SHAPE, classes, seed=seed)] for seed in (1, 2)])


@pytest.fixture(scope="module")
def data() -> Any:
    samples, labels, _ = made_up()
    return samples, labels, teachers()


def layer(live: Live, teacher: int) -> Any:
    return live.teachers[teacher][0].body.get_submodule("linear")


def test_the_sizes_are_the_specified_ones() -> None:
    """METHODS2, 3.3, of which 2,570 are the teacher's."""
    for name, count in (("cnn2-reuse", 20_698), ("cnn2-reuse-hidden", 127_226)):
        assert models.parameters(models.network(name, (5, 20, 173), 10)) == count
        assert models.reuses(name) == "linear"
    assert models.reuses("cnn2") == models.reuses("resnet18") == ""


@pytest.mark.parametrize("name", NETWORKS)
def test_features_of_the_teacher_are_answered_as_by_the_teacher(name: str, data: Any) -> None:
    """p = t: bit for bit."""
    samples, live = data[0], data[2]
    teacher, student = live.teachers[0][0], models.network(name, SHAPE, CLASSES).eval()
    student.body.linear.load_state_dict(teacher.body.linear.state_dict())  # type: ignore[union-attr,operator]
    with torch.no_grad():
        said = teacher(samples)
        target = said.map4.relu() if name == "cnn2-reuse" else said.embedding
        student.body.projector = torch.nn.Module()  # type: ignore[assignment]
        student.body.projector.forward = lambda _: target  # type: ignore[union-attr,assignment,method-assign]
        answers = student(samples)
    assert torch.equal(answers.projected, target) and torch.equal(answers.logits, said.logits)
    given = Outputs(projected=target, **{n: said[n] for n in ("embedding", "map1", "map4")})
    assert load("reuse")(given, given, None, form="simkd") == 0


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        pytest.param(name, layout, marks=() if (name, layout) == ("cnn2-reuse", "loop") else pytest.mark.slow)
        for name in NETWORKS
        for layout in LAYOUTS
    ],
)
def test_each_run_of_a_pack_has_the_layer_of_its_own_teacher_to_the_end(name: str, layout: str, data: Any) -> None:
    """Under decay, momentum and averages; and a run of a pack is the run alone."""
    more = {"average": 0.9, "optimizer": "adamw"} if layout == "loop" else {"weight_decay": 0.01}
    how = settings(name, **more)
    runs = [run_of(MIX), run_of(f"{MIX},ce", fold=2, seed=3, count=30, teacher=1)]
    if layout != "loop":  # in float32 rounding grows step by step
        data = (data[0].double(), *data[1:])
    together = fit(data, runs, how, layout=layout)
    for run, one in zip(runs, together):
        theirs = layer(data[2], run.teacher)
        assert one.failure is None and one.history[-1]["loss"] < one.history[0]["loss"]
        for state in (one.state, one.best_state):
            assert torch.equal(state["linear.weight"][0], theirs.weight.to(data[0].dtype))
            assert torch.equal(state["linear.bias"][0], theirs.bias.to(data[0].dtype))
        assert_alike(one, fit(data, [run], how)[0], layout)


def test_the_loss_is_that_of_the_features_alone(data: Any) -> None:
    """A plain loop over the clips of a batch, on stored outputs as on a teacher that runs in the step."""
    samples, labels, live = data
    runs, unit = [run_of(MIX), run_of(MIX, fold=2, teacher=1)], [unit_statistics(samples)] * 2
    needs = packed_needs(data)
    stored = inference.stored(live, samples, [run.task.train for run in runs], labels, needs)
    assert {
        n for n in stored.outputs if n.startswith("map")
    } == set()  # of the maps the last alone is kept, after its ReLU
    values = []
    for teaching in (live, stored):
        pack = packed(samples, labels, runs, settings(), CLASSES, teaching, "loop", unit)
        rows = torch.stack([torch.as_tensor(run.task.train[:4]) for run in runs])
        inputs = lambda part, rows=rows: samples[rows[part]].transpose(0, 1)
        outputs, taught = both_sides(pack, rows, inputs, inputs)
        total, _ = pack.loss(outputs, taught, labels[rows])
        values.append(total.detach())
        for number in range(2):
            with torch.no_grad():
                target = live.teachers[number][0](samples[rows[number]]).map4.clamp_min(0)
            apart: list[Tensor] = [(p - t).square().mean() for p, t in zip(outputs.projected[number], target)]
            assert float(total[number]) == pytest.approx(float(sum(apart)) / 4, rel=1e-5)
    torch.testing.assert_close(*values)


def packed_needs(data: Any) -> Any:
    from pipeline.losses.adapting import needs_with

    return needs_with([LossMix.parse(MIX)], lambda: models.network("cnn2-reuse", SHAPE, CLASSES))


def test_it_goes_on_from_any_checkpoint(data: Any, tmp_path: Path) -> None:
    runs = [run_of(MIX), run_of(MIX, fold=2, teacher=1)]
    kept, expected = every_checkpoint(path := tmp_path / "pack.pt", data, runs, settings())
    for content in (kept[3], kept[-1]):
        path.write_bytes(content)
        for one, other in zip(expected, fit(data, runs, settings(), checkpoint=path, say=lambda line: None)):
            assert_equal(one, other)


def test_a_student_alone_can_teach_and_be_read_back(data: Any) -> None:
    """Its output layer goes with it, as any network's; and as a teacher it has one."""
    (one,) = fit(data, [run_of(MIX)], settings())
    network = models.network("cnn2-reuse", SHAPE, CLASSES)
    saved.load_state(network, one.state)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(data[0][-12:]).logits, torch.from_numpy(one.logits))
    samples, labels, _ = data
    (second,) = fit((samples, labels, Live([[network]])), [run_of("reuse,ce")], QUICK)  # SRRL from it
    assert second.failure is None


@pytest.mark.parametrize(
    ("mix", "model", "teaching", "words"),
    [
        (
            "soft",
            "cnn2-reuse",
            None,
            "cnn2_reuse answers by its teacher's output layer, which no term of mix soft:1 gives it; .*form=simkd",
        ),
        ("reuse", "cnn2-reuse", None, "no term of mix reuse:1,soft:1 gives it"),
        (MIX, "cnn2", None, "reads projected of the student, and cnn2 has .* for example cnn2_reuse$"),
        (
            MIX,
            "cnn2-reuse",
            "large",
            r"projects to \(64, 1, 2\), .*whose map4 is \(256, 1, 2\); expected a teacher such as resnet18",
        ),
        (MIX, "cnn2-reuse-hidden", "cnn2", r"projects to \(256,\)|reads 32 numbers, and its embedding has 128"),
        ("reuse", "cnn2", "cnn2", "reads 32 numbers, and its embedding has 128"),
        (
            MIX,
            "cnn2-reuse",
            4,
            r"of weight \(3, 256\), and its teacher's is \(4, 256\); expected a teacher of the same classes",
        ),
        (
            MIX,
            "cnn2-reuse-hidden",
            "stored",
            "the teacher's 'maps' is not stored|reads maps of the teacher, and none is stored",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(mix: str, model: str, teaching: Any, words: str, data: Any) -> None:
    samples, labels, live = data
    if teaching == "stored":
        live = Stored({n: torch.zeros(1, ROWS, *shape) for n, shape in (("embedding", (256,)), ("logits", (3,)))})
    elif teaching is not None:
        live = teachers(classes=teaching) if isinstance(teaching, int) else teachers(teaching)
    with pytest.raises(InputError, match=words) as caught:
        fit((samples, labels, live), [run_of(mix)], settings(model))
    assert "\n" not in str(caught.value)
