"""``@views=2``: a term is of each clip as it is and of the same clip augmented, and its teacher hears both."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import models
from pipeline.config import InputError
from pipeline.losses import LossMix, load
from pipeline.training import Live, spectrogram
from pipeline.training.fit import packed
from pipeline.training.packing import unit_statistics
from pipeline.training.step import step
from tests.hooks import LAYOUTS, assert_alike
from tests.trainings import CLASSES, QUICK, SHAPE, assert_equal, every_checkpoint, fit, made_up, run_of

MIX = "ce:0.1@views=2,levels:0.9@views=2,hinton:0.5"
SETTINGS = dataclasses.replace(QUICK, augment="shift,mask")
CHANGED = partial(spectrogram.changed, kinds=("shift", "mask"), levels=torch.zeros(SHAPE[0], SHAPE[1], 1))


@pytest.fixture(scope="module")
def data() -> Any:
    samples, labels, _ = made_up()
    return samples, labels, Live([[models.network("cnn2", SHAPE, CLASSES, seed=seed)] for seed in (1, 2)])


def test_a_term_of_two_views_is_the_sum_of_both_and_others_are_of_the_first(data: Any) -> None:
    """Computed one view after the other on the networks themselves, with the draws of the epoch's table."""
    samples, labels, live = data
    runs, unit = [run_of(MIX), run_of(MIX, fold=2, teacher=1)], [unit_statistics(samples)] * 2
    pack = packed(samples, labels, runs, SETTINGS, CLASSES, live, "loop", unit, CHANGED)
    students = [pack.learner.stacked.single(run).eval() for run in range(2)]
    rows, draws = pack.tables.rows[0], pack.tables.draws[0]  # type: ignore[index]
    expected = []
    for run, student in enumerate(students):
        x, known, value = samples[rows[run]], labels[rows[run]], {}
        means = None if pack.means is None else pack.means[run].expand(len(x), -1, -1, -1)
        with torch.no_grad():
            for view, heard in enumerate((x, CHANGED(x, draws[run], means))):
                sides = student(heard), live.teachers[run][0](heard)
                for name in ("ce", "levels", "hinton") if view == 0 else ("ce", "levels"):
                    value[name] = value.get(name, 0) + float(load(name)(*sides, known))
        expected.append([value["ce"], value["hinton"], value["levels"]])
        assert not torch.equal(heard, x)
    step(pack, False)
    assert pack.terms == ("ce@views=2", "hinton", "levels@views=2")
    torch.testing.assert_close(pack.sums[1:4].T, torch.tensor(expected).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", [pytest.param("loop"), pytest.param("vmap", marks=pytest.mark.slow)])
def test_a_run_of_a_pack_is_the_run_alone_and_goes_on(layout: str, data: Any, tmp_path: Path) -> None:
    assert layout in LAYOUTS
    data = data if layout == "loop" else (data[0].double(), *data[1:])
    runs = [run_of(MIX), run_of(f"{MIX},area@views=2", fold=2, seed=1, count=30, teacher=1)]
    more: dict[str, Any] = {"layout": layout, "augment": CHANGED}
    kept, together = every_checkpoint(path := tmp_path / "pack.pt", data, runs, SETTINGS, **more)
    for run, one in zip(runs, together):
        assert_alike(one, fit(data, [run], SETTINGS, augment=CHANGED)[0], layout)
    path.write_bytes(kept[3])
    for one, other in zip(together, fit(data, runs, SETTINGS, checkpoint=path, say=lambda line: None, **more)):
        assert_equal(one, other)


def test_a_term_that_remembers_writes_the_first_view_alone(data: Any) -> None:
    narrow = (*data[:2], Live([[models.network("cnn2+16", SHAPE, CLASSES)]]))
    (both,) = fit(narrow, [run_of("ce,contrast:0.1@K=5@views=2")], SETTINGS, augment=CHANGED)
    assert both.failure is None and both.history[-1]["terms"]["contrast@K=5@views=2"]["raw"] > 0


@pytest.mark.parametrize(
    ("mix", "changes", "words"),
    [
        (
            MIX,
            {"augment": "shift", "teacher_hears": "views"},
            "teacher_hears = 'views': .* of which nothing is stored; expected 'inputs'",
        ),
        (
            MIX,
            {"augment": "none"},
            "augment = 'none': ce@views=2 of mix .* for example --set student.augment=shift,blank",
        ),
        (
            "soft,attention",
            {"augment": "shift", "teacher_hears": "views"},
            "teacher_hears = 'views': attention of mix .* compares maps, .* lie elsewhere",
        ),
        (
            "soft@views=2",
            {"mixup": 0.3, "augment": "shift"},
            "mixup = 0.3: soft@views=2 .* is of two clips; expected 0",
        ),
    ],
)
def test_what_has_no_second_view_is_refused(mix: str, changes: dict[str, Any], words: str, data: Any) -> None:
    with pytest.raises(InputError, match=words):
        fit(data, [run_of(mix)], dataclasses.replace(QUICK, **changes))
    with pytest.raises(
        InputError, match="option views of ce is '3'; expected a whole number of at least 1 and at most 2"
    ):
        LossMix.parse("ce@views=3")


def test_stored_answers_and_packs_of_both_kinds_are_refused(data: Any) -> None:
    with pytest.raises(InputError, match="says nothing of a second view of a clip; expected teachers that run"):
        fit(made_up(), [run_of("levels@views=2,soft:0")], SETTINGS, augment=CHANGED)
    with pytest.raises(InputError, match="of two views of each clip and of one in a pack"):
        fit(data, [run_of("ce"), run_of("ce@views=2", fold=2)], SETTINGS, augment=CHANGED)
    assert LossMix.parse("levels:0.9@views=2,ce:0.1@views=2").slug == "ce0.1@views_2+levels0.9@views_2"
