"""Files that a user writes: networks and losses of a temporary folder are found, tested, and trained in both layouts."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import losses, models
from pipeline.config import InputError
from pipeline.losses import LossMix, library
from pipeline.training import checkpoint
from pipeline.training.fit import packed
from pipeline.training.packing import unit_statistics
from pipeline.training.step import step
from pipeline.training.teaching import Stored
from tests.losses.checks import CHECKS
from tests.trainings import CLASSES, QUICK, SHAPE, assert_equal, every_checkpoint, fit, made_up, run_of

FILES = {
    "losses/gap.py": """
def gap(student, teacher, labels):
    return (student.logits - teacher.logits.detach()).square().mean((-2, -1))
""",
    "losses/fitted.py": """
from torch import nn

READS = ("map2", "logits")
TEACHER = ("embedding",)

class Fit(nn.Module):
    def __init__(self, maps, width):
        super().__init__()
        self.conv = nn.Conv2d(maps, 4, 1)
        self.linear = nn.Linear(4, width)

    def forward(self, outputs):
        return self.linear(self.conv(outputs.map2).mean((-2, -1)))

def adapter(student, teacher):
    return Fit(student["map2"][0], teacher["embedding"][0])

def fitted(student, teacher, labels):
    apart = (student.adapted - teacher.embedding.detach()).square().mean((-2, -1))
    return apart + student.map2.square().mean((-4, -3, -2, -1)) / 10 + student.logits.square().mean((-2, -1)) / 10
""",
    "models/pooled.py": """
from torch import nn
from pipeline.models import Outputs

class pooled(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.conv = nn.Conv2d(shape[0], 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, classes)

    def forward(self, x):
        maps = self.norm(self.conv(x))
        embedding = maps.relu().mean((-2, -1))
        return Outputs(embedding=embedding, hidden=embedding, logits=self.linear(embedding), map1=maps)
""",
    "models/dropping.py": """
from torch import nn

def dropping(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(shape[0] * shape[1] * shape[2], classes))
""",
}

LAYOUTS = ("loop", "vmap")


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for package in (losses, models):
        folder = tmp_path / package.__name__.rpartition(".")[2]
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    importlib.invalidate_caches()
    yield
    for name in FILES:
        sys.modules.pop("pipeline." + name.removesuffix(".py").replace("/", "."), None)


@pytest.fixture(scope="module")
def data() -> Any:
    return made_up()


def test_they_are_found_and_explained() -> None:
    assert {"gap", "fitted"} <= set(losses.names()) and {"pooled", "dropping"} <= set(models.names())
    assert library.reads("gap", {}) is None and library.teacher_reads("gap") is None
    text = LossMix.parse("gap,fitted").explain()
    assert "student's outputs (it does not say which); teacher's outputs (it does not say which)" in text
    assert "student's map2, logits; teacher's embedding" in text
    weights = 16 * 4 + 4 + 4 * 256 + 256  # cnn2's 16 maps, resnet18's 256 values
    assert f"adapter  {weights:,} weights that are trained with the student and are no part of it" in text
    assert LossMix.parse("fitted,soft:0").names_classes and LossMix.parse("gap,soft:0").names_classes


@pytest.mark.parametrize("name", ["gap", "fitted"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_tests_of_every_term_take_them_as_they_are(check: Callable[[str], None], name: str) -> None:
    check(name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mix", ["ce", "gap", "gap,fitted:2,angle"])
@pytest.mark.parametrize("model", ["pooled", "cnn2", "resnet18"])
def test_they_train_in_both_layouts_as_alone(data: Any, model: str, mix: str, layout: str) -> None:
    settings = dataclasses.replace(QUICK, model=model)
    runs = [run_of(mix, fold=fold, seed=fold, teacher=fold % 2) for fold in (1, 2)]
    if model == "pooled" and "fitted" in mix:  # it has no map2
        with pytest.raises((InputError, KeyError, AttributeError), match="map2"):
            fit(data, runs, settings, layout=layout)
        return
    if layout == "vmap":  # in float64: in float32 rounding grows step by step in a residual network
        samples, labels, taught = data
        data = (
            samples.double(),
            labels,
            Stored({name: value.double() for name, value in taught.outputs.items()}),
        )
    together = fit(data, runs, settings, layout=layout)
    for run, mine in zip(runs, together):
        (alone,) = fit(data, [run], settings)
        assert mine.failure is None and mine.history[-1]["terms"].keys() == {t.key for t in run.mix.terms}
        if layout == "loop":
            assert_equal(mine, alone)
        for key, value in alone.state.items():
            torch.testing.assert_close(mine.state[key], value, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_adapter_learns_and_is_no_part_of_the_student(data: Any, layout: str) -> None:
    samples, labels, taught = data
    runs = [run_of("fitted", fold=fold) for fold in (1, 2)]
    pack = packed(samples, labels, runs, QUICK, CLASSES, taught, layout, [unit_statistics(samples)] * 2)
    adapters = {n: p for n, p in pack.learner.stacked.named_parameters() if n.startswith("adapters.")}
    assert [tuple(p.shape[1:]) for p in adapters.values()] == [(4, 16, 1, 1), (4,), (12, 4), (12,)]
    before = {name: p.detach().clone() for name, p in adapters.items()}
    assert not torch.equal(before["adapters.0.conv.weight"][0], before["adapters.0.conv.weight"][1])
    step(pack, False)
    for name, p in adapters.items():
        assert (p != before[name]).all(), name
    alone = models.network("cnn2", SHAPE, CLASSES)
    names = {"mean", "std", *alone.body.state_dict()}
    assert pack.learner.state().keys() == names
    (one, _) = fit(data, runs, layout=layout)
    assert one.state.keys() == names == one.best_state.keys()
    assert sum(v.numel() for n, v in one.state.items() if n not in ("mean", "std")) == models.parameters(alone)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_adapter_goes_on_from_a_checkpoint(data: Any, tmp_path: Path, layout: str) -> None:
    runs = [run_of("fitted,gap", fold=fold) for fold in (1, 2)]
    expected = fit(data, runs, layout=layout)
    kept, _ = every_checkpoint(path := tmp_path / "pack.pt", data, runs, layout=layout)
    student = models.parameters(models.network("cnn2", SHAPE, CLASSES))
    assert checkpoint.read(path)["tensors"]["weights"].shape == (2, student + 4 * 16 + 4 + 12 * 4 + 12)
    for content in (kept[2], kept[5], kept[-1]):
        path.write_bytes(content)
        for one, other in zip(expected, fit(data, runs, checkpoint=path, layout=layout)):
            assert_equal(one, other)


def test_dropout_is_refused() -> None:
    with pytest.raises(InputError, match=r"dropping: dropout in 1; expected a network without") as caught:
        models.network("dropping", SHAPE, CLASSES)
    assert "\n" not in str(caught.value)


def test_an_own_network_has_its_layers_weights_and_no_other_runs(data: Any) -> None:
    """Without a ``draw`` it draws as its layers do, from (name, seed, fold) alone."""
    torch.manual_seed(5)
    one = models.network("pooled", SHAPE, CLASSES, seed=1, fold=2)
    state = torch.random.get_rng_state()
    torch.manual_seed(6)
    same, other = (models.network("pooled", SHAPE, CLASSES, seed=1, fold=fold) for fold in (2, 3))
    torch.manual_seed(5)
    assert torch.equal(torch.random.get_rng_state(), state)
    weights: list[Tensor] = [network.body.conv.weight for network in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_runs_with_different_adapters_do_not_share_a_pack(data: Any) -> None:
    with pytest.raises(InputError, match="different adapters in one pack; expected"):
        fit(data, [run_of("fitted"), run_of("gap", fold=2)])
