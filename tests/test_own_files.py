"""Files that a user writes, one of each kind, in a temporary folder: found, listed, tested, trained in both layouts, and at work."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from pipeline import losses, models, runs
from pipeline.config import InputError
from pipeline.losses import LossMix, library
from pipeline.training import checkpoint
from pipeline.training.fit import packed
from pipeline.training.packing import unit_statistics
from pipeline.training.step import step
from pipeline.training.teaching import Stored
from tests.losses.checks import CHECKS
from tests.own_files import LEARNING, OTHERS
from tests.tiny import invoke
from tests.trainings import CLASSES, QUICK, SHAPE, assert_equal, every_checkpoint, fit, made_up, run_of
from tests.written import written

LAYOUTS = ("loop", "vmap")


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Iterator[None]:
    with written(tmp_path, LEARNING):
        yield


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
@pytest.mark.parametrize(
    ("model", "mix"),
    [
        *((model, mix) for model in ("pooled", "cnn2") for mix in ("ce", "gap", "gap,fitted:2,angle")),
        *(pytest.param("resnet18", mix, marks=pytest.mark.slow) for mix in ("ce", "gap")),
        ("resnet18", "gap,fitted:2,angle"),  # all of their terms at once
    ],
)
def test_they_train_in_both_layouts_as_alone(data: Any, model: str, mix: str, layout: str) -> None:
    settings = dataclasses.replace(QUICK, model=model)
    runs = [run_of(mix, fold=fold, seed=fold, count=26, teacher=fold % 2) for fold in (1, 2)]
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


def test_each_is_one_file_and_works_through_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tones(tmp_path / "sounds")
    corpus = ("--dataset", "tones", "--data", "sounds", "--set", "teacher.model=pooled")
    small = ("--set", "features.bins=8", "--set", "features.bins_per_octave=24", "--set", "teacher.batch=4")
    short = ("--set", "teacher.epochs=1", "--set", "student.epochs=2", "--set", "student.batch=4")
    how = (*corpus, *small, *short, "--device", "cpu", "--layout", "loop", "--pack", "8", "--jobs", "1")
    with written(tmp_path / "code", OTHERS):
        shown = {
            words: invoke(*words.split()).stdout
            for words in (
                "--help",
                "count-clips --help",
                "features --help",
                "experiment",
                "experiment handed-on --explain",
            )
        }
        assert "count-clips  How many clips a corpus has" in shown["--help"]
        assert "Examples:\n    audio-rkd count-clips --dataset tones" in shown["count-clips --help"]
        assert "tones" in shown["features --help"]
        assert "A small network learns from the teacher" in shown["experiment"]
        assert "gap:1,soft:0" in shown["experiment handed-on --explain"]
        done = invoke("count-clips", "--dataset", "tones", "--data", "sounds")
        assert done.stdout == "12\n", done.output
        assert "12 clips, 2 classes" in invoke("verify", "--dataset", "tones", "--data", "sounds").stdout
        done = invoke("features", "--dataset", "tones", "--data", "sounds", *small[:4], "--backend", "sequential")
        assert done.exit_code == 0, done.output
        done = invoke("experiment", "handed-on", *how)
        assert done.exit_code == 0, done.output
        done = invoke("distill", "--losses", "gap,fitted", *how)
        assert done.exit_code == 0, done.output
        table = invoke("report", *corpus[:4], "--no-page").stdout
        assert "handed-on" in table and "fitted:1,gap:1,soft:1" in table
    finished = runs.find(Path("runs"), "sounds")
    assert {(record.mix_text, record.model) for record in finished} == {
        ("ce:1", "pooled"),  # the teacher
        ("gap:1,soft:0", "pooled"),
        ("fitted:2,soft:1", "cnn2"),
        ("fitted:1,gap:1,soft:1", "cnn2"),
    }
    assert len(finished) == 2 * 4  # each of both folds


def write_tones(folder: Path) -> None:
    """Twelve clips of two folds and two pitches."""
    folder.mkdir()
    times = np.arange(4000) / 8000
    for fold, (kind, pitch), number in itertools.product((1, 2), (("low", 250), ("high", 1500)), range(3)):
        sound = 0.3 * np.sin(2 * np.pi * pitch * (1 + number / 20) * times)
        soundfile.write(folder / f"{fold}_{kind}_{number}.wav", sound, 8000)
