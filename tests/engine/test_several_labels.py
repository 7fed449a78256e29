"""Classes that a fold leaves without a clip to learn from, or to test: a line each, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from pipeline import cache
from pipeline.config import FeatureSpec
from pipeline.engine.several import absent
from pipeline.engine.source import Source
from pipeline.runs import DataSet

SETS = ((0,), (0, 1), (2,))


def source_of(root: Path, labels: dict[int, tuple[int, ...]], sets: tuple[tuple[int, ...], ...] = SETS) -> Source:
    spec, paths = FeatureSpec(bins=8, bins_per_octave=24, seconds=0.25), []
    for fold, each in labels.items():
        names = tuple(f"{fold}{place}" for place in range(len(each)))
        files = tuple(cache.File(name, 1, 1) for name in names)
        about = ("toy", "csv", False, fold, ("bell", "dog", "rain"), spec, names, each, names, files)
        header = cache.Header(*about, units=("1",) * 5, calls=("",) * 5, label_sets=sets)
        paths.append(cache.fold_path(root, "toy", spec, fold))
        cache.write_fold(paths[-1], header, [np.zeros(header.shape, np.float32)])
    return Source(tuple(paths), DataSet("toy", "csv", False, (1, 2, 3)), {}, ("bell", "dog", "rain"), sets)


def test_a_class_without_clips_is_a_line(tmp_path: Path) -> None:
    source = source_of(tmp_path, {1: (0, 1), 2: (1, 2), 3: (0,)})
    planned = [SimpleNamespace(fold=fold, without=None) for fold in (1, 1, 2, 3)]
    assert absent(planned, source) == [  # type: ignore[arg-type]
        "note: fold 1: no held-out clip has rain; it is in no mean",
        "note: fold 2: no training clip has rain; it learns that no clip has it",
        "note: fold 3: no held-out clip has dog, rain; it is in no mean",
    ]
    left_out = [SimpleNamespace(fold=1, without=2)]
    assert "no training clip has dog, rain" in absent(left_out, source)[0]  # type: ignore[arg-type]
    one_label = source_of(tmp_path / "one", {1: (0, 1), 2: (1, 1)}, ())
    assert absent(planned, one_label) == []  # type: ignore[arg-type]
