"""How loud each bin is, mixed with another clip's of the batch: a plain loop, its tables, packs and stops, and what teachers hear."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import config
from pipeline.config import InputError, TrainSettings
from pipeline.engine.augmented import augmentation
from pipeline.losses import LossMix
from pipeline.training import Live
from pipeline.training.mixing_tables import restyled
from pipeline.training.sampling import epoch_tables, order
from tests.trainings import CLASSES, QUICK, SHAPE, assert_alone_and_resumed_are_equal, data, fit, run_of

__all__ = ["data"]

STYLED = dataclasses.replace(QUICK, mixstyle=0.4)
CPU = torch.device("cpu")


def test_each_bin_has_the_mixed_mean_and_deviation_over_time() -> None:
    """A plain loop, in float64; clips whose share is 1 keep their bits, a silent bin stays finite, and one frame is no division by 0."""
    rng = np.random.default_rng(1)
    x = rng.normal(5, 3, (4, 1, 2, 3, 7))
    x[2, 0, 1, 1] = 2.5  # silent
    partners, shares = [2, 0, 3, 1], [0.8, 1.0, 0.25, 0.5]
    given = torch.tensor(x, dtype=torch.float32)
    found = restyled(given, torch.tensor(partners)[:, None], torch.tensor(shares)[:, None])
    for i in range(4):
        j, m = partners[i], shares[i]
        for channel in range(2):
            for row in range(3):
                own, other = x[i, 0, channel, row], x[j, 0, channel, row]
                mean, sd = own.mean(), np.sqrt(own.var() + 1e-6)
                mean_other, sd_other = other.mean(), np.sqrt(other.var() + 1e-6)
                expected = (own - mean) / sd * (m * sd + (1 - m) * sd_other) + m * mean + (1 - m) * mean_other
                np.testing.assert_allclose(found[i, 0, channel, row].numpy(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found[1], given[1]) and not torch.allclose(found[0], given[0])
    short = restyled(given[..., :1], torch.tensor(partners)[:, None], torch.tensor(shares)[:, None])
    assert torch.isfinite(short).all()
    half = restyled(given.bfloat16(), torch.tensor(partners)[:, None], torch.tensor(shares)[:, None])
    assert half.dtype == torch.bfloat16 and torch.equal(half[1], given[1].bfloat16())


def test_whole_batches_are_mixed_by_chance_and_packs_change_nothing(data: Any) -> None:
    runs = [run_of("ce"), run_of("ce", seed=1), run_of("ce", fold=2, count=25)]
    seen = []
    for epoch in range(60):
        tables = epoch_tables(runs, data[1], STYLED, epoch, [False] * 3, CPU)
        assert tables.partners is None and tables.style_partners is not None and tables.style_shares is not None
        assert torch.equal(tables.style_partners[:, :2].sort(-1).values, torch.arange(8).expand(5, 2, 8))
        mixed = (tables.style_shares < 1).sum(-1)  # of a batch all, but for shares that round to 1, or none
        assert ((mixed == 0) | (mixed > 4)).all()
        seen += (mixed[:, :2] > 0).flatten().tolist()
        assert (tables.style_shares[3:, 2] == 1).all()  # beyond the last run's own steps
    assert np.mean(seen) == pytest.approx(0.4, abs=0.06)  # 600 batches: three deviations
    alone = epoch_tables(runs[1:2], data[1], STYLED, 59, [False], CPU)
    assert torch.equal(alone.style_shares[:, 0], tables.style_shares[:, 1])  # type: ignore[index]
    both = epoch_tables(runs, data[1], dataclasses.replace(STYLED, mixup=0.4), 59, [False] * 3, CPU)
    assert both.partners is not None and not torch.equal(both.partners, both.style_partners)  # type: ignore[arg-type]
    assert epoch_tables(runs, data[1], QUICK, 0, [False] * 3, CPU).style_shares is None


def test_packs_resume_and_other_runs_beside_change_no_bit(data: Any, tmp_path: Path) -> None:
    runs = [run_of("ce"), run_of("hinton,angle,ce", seed=1, teacher=1)]
    settings = dataclasses.replace(STYLED, epochs=2, mixstyle=0.7)
    kept = assert_alone_and_resumed_are_equal(tmp_path / "pack.pt", data, runs, settings, (2, 6))
    (tmp_path / "pack.pt").write_bytes(kept[2])
    lines: list[str] = []
    changed = dataclasses.replace(settings, mixstyle_alpha=0.5)
    fit(data, runs, changed, checkpoint=tmp_path / "pack.pt", say=lines.append)
    assert "It is not used" in lines[0]


def test_teachers_that_run_hear_what_the_student_hears_and_mixtures_are_of_it(data: Any) -> None:
    samples, labels, _ = data
    from pipeline import models

    heard: list[torch.Tensor] = []
    live, one = Live([[models.network("cnn2", SHAPE, CLASSES, seed=5)]]), run_of("angle,hinton,ce:0.5")
    kept = live.kept
    settings = dataclasses.replace(STYLED, epochs=1, mixstyle=1.0, mixup=0.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Live, "kept", lambda self, teacher, x, *more: (heard.append(x.clone()), kept(teacher, x, *more))[1]
        )
        fit((samples, labels, live), [one], settings)
    tables = epoch_tables([one], labels, settings, 0, [False], CPU)
    assert tables.style_partners is not None and tables.style_shares is not None
    assert tables.partners is not None and tables.shares is not None
    batch = samples[torch.from_numpy(order(one, 0))[:8]]
    styled = restyled(batch[:, None], tables.style_partners[0].t(), tables.style_shares[0].t())[:, 0]
    m = tables.shares[0, 0][:, None, None, None]
    torch.testing.assert_close(heard[-5], m * styled + (1 - m) * styled[tables.partners[0, 0]])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["student.mixstyle=1.5"], "mixstyle = 1.5: expected at most 1"),
        (["student.mixstyle=-0.1"], "mixstyle = -0.1: expected a number of at least 0"),
        (["student.mixstyle=0.4", "student.mixstyle_alpha=0"], "mixstyle_alpha = 0"),
        (["student.mixstyle=often"], "mixstyle"),
    ],
)
def test_wrong_values_are_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        config.read("default", overrides)
    assert "expected" in str(error.value) and "\n" not in str(error.value)


def test_what_has_nothing_to_mix_is_refused_and_defaults_change_no_digest() -> None:
    with pytest.raises(InputError, match=r"student.mixstyle = 0.4: a batch of 1 has nothing to mix"):
        LossMix.parse("ce").require(TrainSettings(mixstyle=0.4, batch=1), "student")
    assert config.digest(TrainSettings()) == config.digest(TrainSettings(mixstyle=0.0, mixstyle_alpha=0.3))
    assert config.digest(TrainSettings()) != config.digest(TrainSettings(mixstyle=0.4))


def test_images_have_no_frequencies() -> None:
    from types import SimpleNamespace

    from pipeline.images.samples import Pixels

    images: Any = SimpleNamespace(spec=Pixels.__new__(Pixels), corpus="cifar100")
    with pytest.raises(InputError, match="mixes how loud frequencies are, and cifar100 has images"):
        augmentation(TrainSettings(mixstyle=0.4), images, CPU)
