"""The files that docs/extending.md shows are found and work, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pipeline import commands, losses, models
from pipeline.experiments import reading
from pipeline.losses import LossMix, Outputs
from tests.documents import example
from tests.tiny import ROOT, invoke


def test_the_experiment(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "temperatures.toml").write_text(block)
    experiment = reading.read(str(tmp_path / "temperatures.toml"))
    taught = [(str(step.mix), step.teachers) for step in experiment.steps.values() if step.name != "teacher"]
    assert taught == [
        ("hinton:1,soft:1", ("teacher",)),
        ("hinton:1@T=4,soft:1", ("teacher",)),
        ("hinton:1@T=8,soft:1", ("teacher",)),
        ("ce:1,soft:1", ("warm",)),
    ]
    assert dict(experiment.steps["second"].settings) == {"epochs": 10}


def test_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cosine.py").write_text(example("cosine"))
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    assert str(LossMix.parse("cosine:5,area")) == "area:20,cosine:5,soft:1"
    assert "cosine" in LossMix.parse("cosine").explain()
    student, teacher = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).numpy()
    expected = [
        np.mean([1 - s @ t / np.sqrt(s @ s * (t @ t)) for s, t in zip(student[run], teacher[run])]) for run in range(3)
    ]
    value = losses.load("cosine")(Outputs(logits=torch.tensor(student)), Outputs(logits=torch.tensor(teacher)), None)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conv1.py").write_text(example("conv1"))
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    assert "conv1" in models.names()
    network, x = models.build("conv1", (5, 8, 16), 7, runs=3).double(), torch.rand(4, 3, 5, 8, 16).double()
    outputs = network(x)
    assert outputs.logits.shape == (3, 4, 7) and outputs.map1.shape == (3, 4, 16, 8, 16)
    for run in range(3):
        torch.testing.assert_close(outputs.logits[run], network.single(run)(x[:, run]).logits)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "largest.py").write_text(example("largest"))
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path / "code")])
    for name, size in (("a/one", 100), ("b/two", 3000), ("b/three", 200)):
        (tmp_path / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(size).normal(0, 0.1, size)
        soundfile.write(tmp_path / "sounds" / f"{name}.wav", samples, 8000)
    assert "largest  The clips with the largest files" in invoke("--help").stdout
    shown = invoke("largest", str(tmp_path / "sounds"), "--count", "2").stdout.splitlines()
    assert [line.split()[-1] for line in shown] == ["b/two.wav", "b/three.wav"]
