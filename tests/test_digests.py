"""A setting that is added later changes no digest, path or checkpoint key where it has its default."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pipeline import cache, config, runs
from pipeline.config import FeatureSpec, TrainSettings
from pipeline.digests import FIRST_FIELDS
from pipeline.losses import LossMix
from pipeline.runs.paths import cell_path
from pipeline.training import Run, Task
from pipeline.training.fit import identity

#: Preset → digests of features, of a teacher and of a student, as they were before any later field.
BEFORE = {
    "default": ("b37b3e20", "c930efcb", "78969527"),
    "demo": ("b37b3e20", "910c90d4", "5c0aaae3"),
    "paper": ("b37b3e20", "920adfc5", "1c3b461f"),
    "cifar-paper": ("b37b3e20", "6b3d2e1f", "ea51eb15"),
    "cifar-strong": ("b37b3e20", "6a1c04f6", "78d1ddd4"),
}


@dataclasses.dataclass(frozen=True)
class Grown(TrainSettings):
    """Tomorrow's settings."""

    added: str = "as before"


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> type[Grown]:
    monkeypatch.setitem(FIRST_FIELDS, "Grown", FIRST_FIELDS["TrainSettings"])
    return Grown


@pytest.mark.parametrize("preset", BEFORE)
def test_folders_and_caches_made_before_are_found(preset: str) -> None:
    settings = config.read(preset)
    features, teacher, student = BEFORE[preset]
    assert config.digest(settings.features) == features
    assert cache.fold_path(Path("cache"), "demo", settings.features, 1).parts[2] == f"f20-{features}"
    names = [
        cell_path(Path("runs"), "demo", role, settings, slug, 1, 0).parts[2]
        for role, slug in (("teacher", None), ("student", "soft1"))
    ]
    assert names == [
        f"teacher-{settings.teacher.model}-{preset}-{teacher}",
        f"student-{settings.student.model}-{preset}-{student}",
    ]


def test_a_cache_of_before_the_floor_still_serves(tmp_path: Path) -> None:
    """Its settings as they were written then, at the path of then, opened with the settings of today."""
    spec = FeatureSpec(seconds=0.1)
    path = cache.fold_path(tmp_path, "demo", spec, 1)
    assert path.parts[-2] == "f20-a8643d74"
    header = cache.Header("demo", "synthetic", True, 1, ("a",), spec, ("x",), (0,), ("x",), (cache.File("x", 1, 1),))
    values = np.random.default_rng(0).standard_normal((1, 2, *spec.shape), np.float32)
    cache.write_fold(path, header, [values])
    with h5py.File(path, "r+") as file:
        written = json.loads(file.attrs["spec"])
        file.attrs["spec"] = json.dumps({name: written[name] for name in FIRST_FIELDS["FeatureSpec"]})
    fold = cache.read_fold(path)
    assert fold.header.spec == spec and fold.header.spec.floor == 0
    np.testing.assert_array_equal(fold.features, values)
    assert cache.load([path]).spec == spec
    others = {cache.fold_path(tmp_path, "demo", dataclasses.replace(spec, floor=floor), 1) for floor in (1e-5, 1e-4)}
    assert len(others | {path}) == 3


def test_a_later_field_counts_where_it_differs(grown: type[Grown]) -> None:
    before, now = TrainSettings(lr=0.02), grown(lr=0.02)
    assert config.digest(now) == config.digest(before) and config.digest(now, 1) == config.digest(before, 1)
    assert config.digest(grown(lr=0.02, added="new")) not in (config.digest(now), config.digest(grown(added="new")))


def test_a_first_field_counts_at_its_default_too() -> None:
    for kind in (FeatureSpec, TrainSettings):
        assert set(config.identifying(kind())) == set(FIRST_FIELDS[kind.__name__])
        assert set(FIRST_FIELDS[kind.__name__]) <= {field.name for field in dataclasses.fields(kind)}


def test_records_with_and_without_a_later_field_have_one_digest(grown: type[Grown]) -> None:
    new = dataclasses.asdict(grown())
    old = {name: new[name] for name in FIRST_FIELDS["Grown"]}
    assert new == config.completed(old, grown) and new["added"] == "as before"
    assert config.identifying(new, grown) == config.identifying(old, grown) == config.identifying(grown()) == old
    assert config.identifying({**old, "added": "new"}, grown) == {**old, "added": "new"}
    assert config.completed({**old, "added": "new"}, grown)["added"] == "new"


def test_the_record_of_an_old_run_has_the_digest_of_its_path() -> None:
    tables = {"features": FeatureSpec(), "teacher": TrainSettings(), "student": TrainSettings(model="cnn2")}
    as_today = {name: dataclasses.asdict(value) for name, value in tables.items()}
    as_before = {
        name: {key: value[key] for key in FIRST_FIELDS[type(tables[name]).__name__]} for name, value in as_today.items()
    }
    for role in ("teacher", "student"):
        assert (
            runs.settings_digest(role, tables)
            == runs.settings_digest(role, as_today)
            == runs.settings_digest(role, as_before)
        )


def test_a_checkpoint_of_before_still_fits() -> None:
    """Its key as it was computed before there were later fields, word for word."""
    samples, labels = torch.randn(12, 5, 8, 16), torch.arange(12) % 3
    settings = TrainSettings(model="cnn2", batch=4)
    run = Run(1, 0, LossMix.parse("ce"), Task(np.arange(8), np.arange(8, 12)))
    statistics = [(torch.zeros(5, 8, 1), torch.ones(5, 8, 1))]
    content = hashlib.sha256(
        labels.numpy().tobytes() + statistics[0][0].numpy().tobytes() + statistics[0][1].numpy().tobytes()
    )
    told = [1, 0, "ce:1", *run.task.identity(), 0, "shuffle"]
    about = [
        {key: getattr(settings, key) for key in FIRST_FIELDS["TrainSettings"]},
        [told],
        3,
        [12, 5, 8, 16],
        "torch.float32",
    ]
    plain = [about, content.hexdigest(), torch.__version__, "cpu"]
    key = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
    assert identity(samples, labels, [run], settings, 3, None, statistics) == key
