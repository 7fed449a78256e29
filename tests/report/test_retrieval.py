"""Recall@K against a plain loop; the command on a tiny corpus' real runs."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import cache, runs
from pipeline.corpus import Clip, Corpus
from pipeline.engine.records import model_of, read_model
from pipeline.figures import recall as retrieval
from pipeline.report import retrieval as stage
from pipeline.report import status as places
from tests import shipped
from tests.tiny import invoke


def loop_recall(x: np.ndarray, labels: list[int], sources: list[str], k: int, metric: str) -> float:
    """By the definition, without ties."""
    answers = []
    for i in range(len(x)):
        far = []
        for j in range(len(x)):
            if i == j or sources[i] == sources[j]:
                continue
            if metric == "euclidean":
                value = math.sqrt(sum((a - b) ** 2 for a, b in zip(x[i], x[j])))
            else:
                dot = sum(a * b for a, b in zip(x[i], x[j]))
                value = 1 - dot / math.hypot(*x[i]) / math.hypot(*x[j])
            far.append((value, labels[j]))
        if any(label == labels[i] for _, label in far):
            answers.append(any(label == labels[i] for _, label in sorted(far)[:k]))
    return sum(answers) / len(answers)


@pytest.mark.parametrize("metric", retrieval.METRICS)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_recall_is_the_loops(metric: str, offset: float) -> None:
    rng = np.random.default_rng(1)
    labels, sources = rng.integers(0, 4, 40), rng.integers(0, 15, 40).astype(str)
    x = rng.standard_normal((40, 5)) + 0.4 * labels[:, None] + offset
    by_k = retrieval.recall(x, labels, sources, metric=metric)
    for k in retrieval.KS:
        assert by_k[k] == pytest.approx(loop_recall(x, labels.tolist(), sources.tolist(), k, metric)), k
    assert by_k[1] < by_k[2] < by_k[8]


def test_cosine_ranks_as_euclidean_of_normalised_rows() -> None:
    rng = np.random.default_rng(2)
    x, labels, sources = rng.standard_normal((30, 4)), rng.integers(0, 3, 30), np.arange(30).astype(str)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert retrieval.recall(x, labels, sources, metric="cosine") == retrieval.recall(unit, labels, sources)
    assert retrieval.recall(x, labels, sources, metric="cosine") != retrieval.recall(x, labels, sources)


def test_clips_of_the_same_recording_are_no_answer() -> None:
    x = np.array([[0.0], [0.1], [5.0], [5.1], [0.3], [9.0]])
    labels = np.array([0, 0, 1, 1, 1, 0])
    each = np.arange(6).astype(str)
    assert retrieval.recall(x, labels, each, ks=(1,))[1] == pytest.approx(4 / 6)
    # Cut from one recording, the two nearest pairs no longer help each other.
    together = np.array(["a", "a", "b", "b", "c", "d"])
    assert retrieval.recall(x, labels, together, ks=(1,))[1] == 0


def test_a_query_that_nothing_could_answer_is_left_out() -> None:
    labels, sources = np.array([0, 0, 1, 1, 2]), np.array(["a", "b", "c", "c", "d"])
    assert retrieval.answerable(labels, sources).tolist() == [True, True, False, False, False]
    assert retrieval.recall(np.array([[0.0], [1], [3], [4], [5]]), labels, sources, ks=(1,)) == {1: 1.0}
    alone = retrieval.recall(np.zeros((2, 1)), np.array([0, 1]), np.array(["a", "b"]))
    assert all(math.isnan(value) for value in alone.values())
    assert all(math.isnan(v) for v in retrieval.recall(np.full((2, 1), np.nan), np.zeros(2), ["a", "b"]).values())


def test_ties_count_as_the_mean_over_all_orders() -> None:
    """Every order of the tied clips, one by one."""
    far, wanted = np.array([1.0, 2, 2, 2, 2, 3]), np.array([0, 1, 0, 0, 1, 1], dtype=bool)
    for k in range(1, 7):
        orders = [(0, *middle, 5) for middle in itertools.permutations((1, 2, 3, 4))]
        mean = np.mean([wanted[list(order[:k])].any() for order in orders])
        assert retrieval.hits(far, wanted, (k,)) == [pytest.approx(mean)]


def test_a_collapsed_space_scores_as_chance_in_any_order_of_clips() -> None:
    labels = np.repeat(np.arange(4), 10)  # sorted by class, as a folder corpus lists them
    by_k = retrieval.recall(np.full((40, 3), 7.0), labels, np.arange(40).astype(str))
    assert by_k[1] == pytest.approx(9 / 39)
    assert by_k[2] == pytest.approx(1 - (30 / 39) * (29 / 38))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of a tiny corpus: a teacher, the baseline and a mix in each."""
    where = tmp_path_factory.mktemp("retrieval")
    paths = shipped.write_corpus(where)
    for fold in (1, 2):
        shipped.write_run(where, paths, "teacher", fold)
        shipped.write_run(where, paths, "student", fold, mix="soft:1")
        shipped.write_run(where, paths, "student", fold, seed=fold, mix="soft:1")
        shipped.write_run(where, paths, "student", fold, mix="angle:40,area:20,soft:1")
    return where


@pytest.fixture
def opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command's corpus is the tiny one, and the working folder its place."""
    clip = Clip("101.wav", place / "data" / "fold1" / "101.wav", 1, 0, "101", None)
    corpus = Corpus(shipped.CORPUS, "folder", place / "data", shipped.CLASSES, (1, 2), (1, 2), 0.5, (clip,), False)
    monkeypatch.setattr(places, "opened", lambda dataset, data: corpus)
    monkeypatch.chdir(place)
    return place


def rows_of(path: Path) -> dict[tuple[str, str, int], dict[str, str]]:
    with path.open() as file:
        return {(row["mix"], row["metric"], int(row["k"])): row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("layer", "dimensions"), [("embedding", 16 * 5 * 5), pytest.param("hidden", 32, marks=pytest.mark.slow)]
)
def test_the_tables_figures_are_those_of_the_runs_embeddings(opened: Path, layer: str, dimensions: int) -> None:
    done = invoke("retrieval", "--layer", layer)
    assert done.exit_code == 0, done.output
    stem = "retrieval" if layer == "embedding" else "retrieval-hidden"
    table = rows_of(opened / "reports" / "tiny" / f"{stem}.csv")
    expected: dict[int, list[float]] = {1: [], 2: []}
    for record in runs.find(opened / "runs", "tiny"):
        if record.is_student and record.mix_text == "soft:1":
            fold = record.fold
            (path,) = (opened / "cache").rglob(f"fold{fold}.h5")
            data = cache.load([path])
            network = model_of(read_model(record.folder))
            with torch.no_grad():
                x = getattr(network(torch.from_numpy(data.features[:, 0])), layer).numpy()
            sources = [str(name) for name in data.sources]
            expected[fold].append(loop_recall(x.astype(float), data.labels.tolist(), sources, 1, "euclidean"))
    row = table["soft:1", "euclidean", 1]
    assert float(row["recall_percent"]) == pytest.approx(100 * np.mean([np.mean(v) for v in expected.values()]))
    assert row["n"] == "4" and row["dimensions"] == str(dimensions)
    chance = float(table[stage.CHANCE, "euclidean", 1]["recall_percent"])
    assert chance == pytest.approx(100 * 2 / 8)
    # The difference is paired by fold and seed, over the two cells that both have.
    angle_area = table["angle:40,area:20,soft:1", "euclidean", 1]
    assert angle_area["pairs"] == "2" and row["pairs"] == ""
    assert (
        angle_area["no_claim"] == "no claim: n = 2 folds"
        and angle_area["p"] == angle_area["p_holm"] == ""
        and angle_area["mixes"] == "1"
    )
    assert (
        float(angle_area["recordings_ci95_low"])
        <= float(angle_area["difference_to_baseline"])
        <= float(angle_area["recordings_ci95_high"])
    )
    names = {name for name, _, _ in table}
    assert {"resnet18 (teacher)", "cnn2, untrained", stage.FEATURES} < names
    text = (opened / "reports" / "tiny" / f"{stem}.md").read_text()
    assert "Recall@K, Euclidean" in text and "18 of 18 clips are queries" in text
    assert "SYNTHETIC" not in text + done.output


def test_only_the_mixes_asked_for_and_the_baseline(opened: Path) -> None:
    done = invoke("retrieval", "--losses", "hinton")
    assert done.exit_code == 0
    assert {name for name, _, _ in rows_of(opened / "reports" / "tiny" / "retrieval.csv")} == {
        "soft:1",
        "resnet18 (teacher)",
        "cnn2, untrained",
        stage.CHANCE,
        stage.FEATURES,
    }


def changed(folder: Path, name: str, **values) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_made_up_sounds_are_stamped_and_only_stopped_runs_left_out(place: Path, tmp_path: Path) -> None:
    paths = sorted((place / "cache").rglob("*.h5"))
    shipped.write_run(tmp_path, paths, "student", 1, mix="soft:1", synthetic=True)
    bad = shipped.write_run(tmp_path, paths, "student", 2, mix="soft:1", synthetic=True)
    changed(bad, "result.json", status="did not train")
    text = stage.report(tmp_path / "runs", place / "cache", tmp_path / "reports", "tiny")
    assert text.startswith("SYNTHETIC")
    assert rows_of(tmp_path / "reports" / "tiny" / "retrieval.csv")["soft:1", "cosine", 8]["n"] == "2"
    changed(bad, "result.json", status="failed", accuracy=None)
    text = stage.report(tmp_path / "runs", place / "cache", tmp_path / "reports", "tiny")
    assert "they stopped (not finite): 1 of 2 runs" in text
    assert rows_of(tmp_path / "reports" / "tiny" / "retrieval.csv")["soft:1", "cosine", 8]["n"] == "1"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("cache", "no features of fold 1"),
        ("digest", "was trained on other features of fold"),
        ("model", "cannot be read"),
        ("runs", "no finished run in"),
        ("mix", "did you mean 'angle'?"),
    ],
)
def test_wrong_input_is_one_line(
    opened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str, message: str
) -> None:
    paths = sorted((opened / "cache").rglob("*.h5"))
    if spoil != "runs":
        folder = shipped.write_run(tmp_path, paths, "student", 1, mix="soft:1")
        if spoil == "digest":
            changed(folder, "config.json", data={"1": "0" * 64, "2": "0" * 64})
        if spoil == "model":
            (folder / "model.pt").write_text("not a checkpoint")
    if spoil != "cache":
        (tmp_path / "cache").symlink_to(opened / "cache")
    monkeypatch.chdir(tmp_path)
    done = invoke("retrieval", *(("--losses", "angel") if spoil == "mix" else ()))
    assert done.exit_code == 1
    assert message in done.stderr and done.stderr.count("error:") == 1


def test_usage(opened: Path) -> None:
    assert invoke("retrieval", "--layer", "logits").exit_code == 2
