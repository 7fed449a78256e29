"""What is trained, taught and looked at from features that stay in their files is bit for bit what memory gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import cache, config, runs
from pipeline.cache.schema import Header
from pipeline.config import FeatureSpec, InputError, TrainSettings
from pipeline.engine import outputs
from pipeline.engine.records import read_model
from pipeline.training import packing
from pipeline.training.from_files import FromFiles
from pipeline.training.normalisation import normalisation
from tests import tiny

CORPUS = ("--dataset", "urbansound8k", "--data", "clips")

#: The mixes need what teachers say, stored; maps, reduced and stored; and teachers that run in every step.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("teacher", "--folds", "1"),
    ("distill", "--losses", "attention,angle,soft", "--folds", "1", "--set", "student.data=bfloat16"),
    ("distill", "--losses", "pearson", "--folds", "1", "--set", "student.mixup=0.2", "--set", "student.views=random"),
    ("retrieval",),
)


@pytest.fixture
def fold_files(tmp_path: Path) -> list[Path]:
    spec = FeatureSpec(seconds=0.25, bins=8, bins_per_octave=24)
    paths = []
    for fold, count in ((1, 5), (2, 7)):
        clips = tuple(f"{fold}-{i}" for i in range(count))
        about = (clips, tuple(i % 2 for i in range(count)), clips, tuple(cache.File(clip, 1, 1) for clip in clips))
        header = Header("toy", "folder", False, fold, ("a", "b"), spec, *about)
        paths.append(tmp_path / f"fold{fold}.h5")
        numbers = np.random.default_rng(fold).standard_normal(header.shape).astype(np.float32)
        cache.write_fold(paths[-1], header, [numbers])
    return paths


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_rows_and_statistics_are_those_of_the_tensor(fold_files: list[Path], kind: str) -> None:
    whole, there = (
        outputs.samples(cache.load(fold_files, where), torch.device("cpu"), kind) for where in ("memory", "files")
    )
    rows = torch.tensor([3, 0, 23, 22, 3])
    assert isinstance(there[0], FromFiles) and torch.equal(there[1], whole[1])
    assert (there[0].shape, there[0].dtype, len(there[0])) == (whole[0].shape, whole[0].dtype, 24)
    assert there[0].to("cpu") is there[0]
    for some in (there[0].index_select(0, rows), there[0][rows], there[0][rows.numpy()]):
        assert type(some) is torch.Tensor and torch.equal(some, whole[0][rows])
    means, others = normalisation(there[0], np.arange(20), chunk=6), normalisation(whole[0], np.arange(20), chunk=6)
    assert all(map(torch.equal, means, others))
    assert packing.budget(there[0], 2).free > 0
    for wrong in (there[0].abs, lambda: there[0][2:3], there[0].sum):
        with pytest.raises(TypeError, match="expected rows of them"):
            wrong()


def test_where_features_are_is_in_no_digest_and_tells_no_settings_apart() -> None:
    other = TrainSettings(features_in="files")
    assert config.digest(other) == config.digest(TrainSettings()) and other == TrainSettings()
    assert config.identifying(dataclasses.asdict(other), TrainSettings) == config.identifying(TrainSettings())
    assert config.read("default", ["features_in=files"]).teacher.features_in == "files"
    with pytest.raises(InputError, match="features_in = 'disk': expected one of auto, memory, files"):
        TrainSettings(features_in="disk")


@pytest.mark.slow
def test_runs_teachers_and_what_looks_at_them_give_the_same_bits(tmp_path: Path) -> None:
    places = {where: tmp_path / where for where in ("memory", "files")}
    printed = {}
    for where, place in places.items():
        place.mkdir()
        tiny.write_corpus(place / "clips")
        for command in (("features",), *COMMANDS):
            more = (
                (*tiny.QUICK, "--set", f"features_in={where}")
                if command[0] in ("features", "teacher", "distill")
                else ()
            )
            done = tiny.audio_rkd(place, *command, *CORPUS, *more)
            assert done.returncode == 0, done.stderr
            if command[0] == "retrieval":
                printed[where] = done.stdout
    folders = [path.parent.relative_to(tmp_path / "memory") for path in places["memory"].glob("runs/**/result.json")]
    assert len(folders) == 3
    for folder in folders:
        one, other = (read_model(place / folder) for place in places.values())
        assert one["state"].keys() == other["state"].keys()
        assert all(torch.equal(value, other["state"][name]) for name, value in one["state"].items())
        left, right = (runs.read_predictions(place / folder).logits for place in places.values())
        assert np.array_equal(left, right)
    assert printed["memory"] == printed["files"]
