"""Metric learning in small: students of a narrow space, generations, and Recall@K on held-out folds and on classes nobody saw."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import cache, losses, runs
from pipeline.engine import packs
from pipeline.engine.missing import train
from pipeline.engine.records import model_of, read_model
from pipeline.errors import Damaged
from pipeline.experiments import files, planning, reading
from pipeline.losses import Outputs
from pipeline.report import experiments, few_shot, recalls
from pipeline.runs.experiments import note_rows
from tests import recipes
from tests.tiny import invoke


def small() -> Any:
    tables = files.contents(files.located("metric-learning"))
    for table in tables["step"]:
        table |= {"epochs": 1, "batch": 8, "sampler": "classes:4"}
        if "rounds" in table:
            table["rounds"] = 3
        if "each" in table:
            table["each"] = {"network": ["student+6"], "mix": [table["each"]["mix"][place] for place in (1, 3)]}
    return reading.parsed(Path("metric-learning.toml"), tables)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("metric-learning")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        levels, rows = planning.plan(small(), recipes.SETTINGS, "tiny", folds=(1,), seeds=(0,))
        train(levels, recipes.source(root), **recipes.HOW)
        note_rows(Path("runs"), "tiny", "metric-learning", rows)
    return root


@pytest.mark.slow
def test_the_report_has_recalls_of_folds_and_of_unseen_classes(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    text = experiments.report(Path("runs"), Path("reports"), "tiny", "metric-learning")
    assert "held-out fold's clean clips" in text and "classes that no run of the chain saw" in text
    lines = [line for line in text.splitlines() if "euclidean" in line]
    folds, classes = ([line for line in lines if ("half" in line) == half] for half in (False, True))
    assert sum("triplets (teacher)" in line for line in folds) == 1 and sum("generation" in line for line in folds) == 3
    assert len(folds) == 6 and len(classes) == 6  # half: teacher and two students, once by folds and once by classes
    record = next(r for r in runs.find(Path("runs")) if r.step and "half" in r.step and r.teachers)
    data = cache.load(sorted(Path("cache").rglob("fold*.h5")))
    clips, labels, recordings = few_shot.pool_of(data, few_shot.unseen(record, data.classes))
    assert not {data.classes[label] for label in labels} & set(record.classes)
    values = packs.samples(data, torch.device("cpu"))[0][clips * 2]
    embeddings = model_of(read_model(record.folder))(values).embedding.detach().numpy().astype(float)
    assert embeddings.shape == (len(clips), 6)
    right = []
    for query in range(len(clips)):
        others = [i for i in range(len(clips)) if recordings[i] != recordings[query]]
        nearest = min(others, key=lambda i: float(((embeddings[i] - embeddings[query]) ** 2).sum()))
        right.append(labels[nearest] == labels[query])
    kinds = {(kind, metric): values[0] for kind, metric, values in recalls.measured(record)}
    assert kinds["classes", "euclidean"] == pytest.approx(np.mean(right))
    refused = invoke("predict", str(record.folder), "nothing.wav")
    assert refused.exit_code == 1 and "has an embedding in place of the classes and names none" in refused.stderr


@pytest.mark.parametrize("of_classes", [True, False])
def test_why_there_are_no_recalls_of_folds_is_said(of_classes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    result = SimpleNamespace(outputs_untrained=True, failed=False)
    record: Any = SimpleNamespace(
        several_labels=False,
        result=result,
        trained_by=SimpleNamespace(sampler="classes:4"),
        settings=SimpleNamespace(features=None),
        data_digest="",
        mix_text=recalls.TRIPLETS,
        cell=(1, 0),
        teachers=(),
        folder=Path("run"),
        is_of_images=False,
    )
    monkeypatch.setattr(recalls, "of_windows", lambda records: [])
    told = [("classes", "cosine", [0.5, 0.5, 0.75, 1.0])] if of_classes else []
    monkeypatch.setattr(recalls, "measured", lambda record: told)
    (section,) = recalls.section({"half": [record]})
    (table,) = section.tables
    assert table.caption.startswith(recalls.UNANSWERED) and len(table.rows) == of_classes
    assert ("no run of the chain saw" in table.caption) == of_classes

    def gone(record: object) -> None:
        raise Damaged("features are gone")

    monkeypatch.setattr(recalls, "measured", gone)
    assert recalls.section({"half": [record]}) == ()


def test_recall_at_one_is_compared_to_the_same_network_by_triplets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paired by fold; the interval is the corrected t-test's, by hand. Another network has nobody to be compared to."""
    shares = {
        recalls.TRIPLETS: (0.5, 0.25, 0.75),
        "distance:1,angle:2,soft:0": (0.625, 0.5, 0.75),
        "wide": (0.5, 0.5, 0.5),
    }
    every: dict[str, Any] = {
        mix: [
            SimpleNamespace(
                several_labels=False,
                result=SimpleNamespace(outputs_untrained=True, failed=False),
                trained_by=SimpleNamespace(sampler="classes:4", model="cnn2+64" if mix == "wide" else "cnn2+16"),
                settings=SimpleNamespace(features=None),
                data_digest="",
                data=dict.fromkeys("123", ""),
                mix_text=mix,
                cell=(fold, 0),
                share=share,
                teachers=(),
                folder=Path(mix, str(fold)),
                is_of_images=False,
            )
            for fold, share in enumerate(of_folds, 1)
        ]
        for mix, of_folds in shares.items()
    }
    monkeypatch.setattr(recalls, "of_windows", lambda records: [])
    monkeypatch.setattr(recalls, "measured", lambda record: [("folds", "cosine", [record.share, 1.0, 1.0, 1.0])])
    (section,) = recalls.section(every)
    (table,) = section.tables
    assert recalls.COMPARED in table.caption
    rows = {row["row"]: row for row in table.records()}
    alone, taught, wide = (rows[name] for name in shares)
    for row in (alone, wide):
        assert row["recall_1_less_triplets"] is None and row["ci95_low"] is None
    apart = [12.5, 25.0, 0.0]
    variance = sum((one - 12.5) ** 2 for one in apart) / 2
    half = (
        4.302652729911275 * (variance * (1 / 3 + 1 / 2)) ** 0.5
    )  # t of 2 degrees of freedom; a fold is tested, two train
    assert taught["recall_1_less_triplets"] == pytest.approx(12.5) and taught["folds_compared"] == 3
    assert (taught["ci95_low"], taught["ci95_high"]) == pytest.approx((12.5 - half, 12.5 + half))
    assert f"[−{half - 12.5:.2f}, +{12.5 + half:.2f}]" in table.cells[1]
    assert recalls.COMPARED not in recalls.section({"wide": every["wide"]})[0].tables[0].caption


@pytest.mark.parametrize("name", ["distance", "angle"])
def test_unit_is_of_rows_of_unit_length(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(6, width, generator=generator, dtype=torch.float64) for width in (4, 9))
    labels = torch.zeros(6, dtype=torch.int64)
    loss = losses.load(name)
    plain = loss(Outputs(embedding=ours), Outputs(embedding=theirs), labels)
    unit = loss(Outputs(embedding=ours), Outputs(embedding=theirs), labels, unit=True)
    rows = [value / value.norm(dim=1, keepdim=True) for value in (ours, theirs)]
    assert unit.item() == pytest.approx(loss(*(Outputs(embedding=value) for value in rows), labels).item(), rel=1e-12)
    assert unit.item() != pytest.approx(plain.item(), rel=1e-3)
