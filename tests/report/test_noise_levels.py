"""Accuracy at several levels of noise on the inputs, against a plain loop over real runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import cache, runs
from pipeline.engine import missing, packs
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read
from pipeline.models import saved
from pipeline.report import experiments, noise_levels
from pipeline.runs import damage
from pipeline.runs.experiments import note_rows
from tests.chains import HOW, SETTINGS, write_source

TEXT = '[[step]]\nname = "s"\nmix = "ce:2"\neach.input_noise = [0.0, 0.3]\n'


@pytest.mark.slow
def test_rows_of_an_experiment_with_noise_have_their_accuracy_at_each_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for loaded in (packs.loaded, packs.taught):
        loaded.cache_clear()
    source = write_source(tmp_path)
    Path("noisy.toml").write_text(TEXT)
    levels, rows = plan(read("noisy.toml"), SETTINGS, "tiny", folds=(1, 2), seeds=(0,))
    missing.train(levels, source, **HOW, checkpoint_minutes=5)
    note_rows(Path("runs"), "tiny", "noisy", rows)
    text = experiments.report(Path("runs"), Path("reports"), "tiny", "noisy")
    assert noise_levels.TITLE.format("Accuracy")[:40] in text.replace("\n", " ")
    kept = noise_levels.kept(Path("reports/tiny/experiment-noisy-noise.csv"))
    records = runs.find(Path("runs"), "tiny")
    assert kept.keys() == {record.result.weights for record in records} and len(records) == 4
    for record in records:
        path = cache.fold_path(Path("cache"), "tiny", record.settings.features, record.fold)
        data, network = cache.load([path]), saved.network_of(saved.read_payload(record.folder))
        noise = torch.randn(data.features[:, 0].shape, generator=torch.Generator().manual_seed(record.fold)).numpy()
        for level, accuracy in zip(noise_levels.LEVELS, kept[record.result.weights]):
            x = data.features[:, 0] + np.float32(level) * (noise * network.std.numpy())
            with torch.no_grad():
                right = [
                    int(network(torch.from_numpy(x[i : i + 1])).logits.argmax()) == y for i, y in enumerate(data.labels)
                ]
            assert accuracy == pytest.approx(np.mean(right))
        assert kept[record.result.weights][0] == pytest.approx(record.result.accuracy)
    monkeypatch.setattr(noise_levels, "at_levels", lambda record: pytest.fail("measured again"))
    assert experiments.report(Path("runs"), Path("reports"), "tiny", "noisy") == text


def test_what_was_kept_wrongly_is_measured_again_and_no_noise_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "noise.csv"
    measured = {"aa": (0.5, 0.25, 0.125, 0.1, 1 / 3)}
    path.write_text(noise_levels.as_csv(measured))
    assert noise_levels.kept(path) == measured
    path.write_text(path.read_text() + "bb,0.5\ncc,a,b,c,d,e\ndd,1,1,1,1,2\n")
    assert noise_levels.kept(path) == measured
    path.write_text(noise_levels.as_csv(measured).replace("0.25", "0.75"))
    assert noise_levels.kept(path) == {}, "a figure that nobody measured is taken"
    path.write_text("weights,0,0.05,0.1,0.2,0.5\naa,0.5,0.25,0.125,0.1,0.3\n")  # of an earlier version
    assert noise_levels.kept(path) == {"aa": (0.5, 0.25, 0.125, 0.1, 0.3)}
    path.write_bytes(b"\xff\x00")
    assert noise_levels.kept(path) == {} == noise_levels.kept(tmp_path / "absent.csv")
    assert noise_levels.section({"row": []}, path) == ()


def test_damaged_features_cost_the_table_of_noise_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (path, *_) = write_source(tmp_path).files
    path.write_bytes(path.read_bytes()[:2000])
    record: Any = SimpleNamespace(
        is_of_images=False,
        corpus="tiny",
        settings=SETTINGS,
        fold=1,
        result=SimpleNamespace(weights="aa", score=0.5),
    )
    monkeypatch.setattr(noise_levels, "trained_with", lambda record: 0.3)
    assert noise_levels.section({"row": [record]}, tmp_path / "noise.csv") == ()
    (line,) = damage.told()
    assert "fold1.h5: damaged" in line and "make features" in line
