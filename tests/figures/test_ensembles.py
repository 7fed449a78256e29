"""Ensembles: the mean of probabilities in plain loops, what may vote together, and several teachers as one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import relations, runs
from pipeline.config import InputError
from pipeline.figures import ensembles, evaluation, uncertainty
from pipeline.models import Outputs
from pipeline.report import votes
from pipeline.training.members import as_one, side_by_side
from tests import shipped


def probabilities(row: list[float]) -> list[float]:
    top = max(row)
    parts = [math.exp(value - top) for value in row]
    return [part / sum(parts) for part in parts]


def write(
    folder: Path,
    logits: np.ndarray,
    *,
    fold: int = 1,
    labels: tuple[int, ...] = (0, 1, 2, 0),
    first: str = "a",
) -> Path:
    """A finished run with nothing in it but its predictions."""
    names = np.array([first, "b", "c", "d"])
    settings: dict[str, dict] = {"features": {}, "teacher": {}, "student": {}}
    config = dict.fromkeys(runs.folder.CONFIG_KEYS, "") | {
        "schema": runs.SCHEMA,
        "fold": fold,
        "seed": 0,
        "settings": settings,
        "data": {},
        "skipped": {},
        "all_folds": [1],
    }
    result = dict.fromkeys(runs.folder.RESULT_KEYS, 0) | {"status": "trained"}
    runs.write_finished(
        folder,
        config=config,
        environment={},
        model_bytes=b"",
        result=result,
        predictions=runs.Predictions(names, np.array(labels), logits, names),
    )
    return folder


def test_the_mean_of_probabilities_as_a_plain_loop_has_it(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (3, 4, 3)).astype(np.float32)
    folders = [write(tmp_path / str(m), one) for m, one in enumerate(logits)]
    ensemble = ensembles.ensemble(folders)
    for clip in range(4):
        members = [probabilities(logits[m, clip].tolist()) for m in range(3)]
        mean = [sum(member[c] for member in members) / 3 for c in range(3)]
        np.testing.assert_allclose(probabilities(ensemble.logits[clip].tolist()), mean, rtol=1e-5)
    assert ensemble.clips.tolist() == ["a", "b", "c", "d"]
    alone = ensembles.ensemble(folders[:1])
    assert evaluation.accuracy(alone.logits, alone.labels) == evaluation.accuracy(logits[0], alone.labels)


def test_the_vote_of_the_probabilities_is_not_that_of_the_logits(tmp_path: Path) -> None:
    """One very sure member outvotes two by its logits, not by its probabilities."""
    sure, others = [0.0, 50.0, 0.0], [3.0, 0.0, 0.0]
    logits = [np.array([row] * 4, np.float32) for row in (sure, others, others)]
    ensemble = ensembles.ensemble([write(tmp_path / str(m), one) for m, one in enumerate(logits)])
    assert evaluation.predicted(ensemble.logits).tolist() == [0] * 4
    assert evaluation.predicted(np.mean(logits, axis=0)).tolist() == [1] * 4


def test_certainty_beyond_float64_stays_finite() -> None:
    logarithms = ensembles.mean_log_probabilities([np.array([[0.0, 5000.0]]), np.array([[0.0, 4000.0]])])
    np.testing.assert_allclose(logarithms, [[-4000 - math.log(2), 0]], rtol=1e-12)


@pytest.mark.parametrize(
    ("other", "message"),
    [({"fold": 2}, "of fold 2"), ({"first": "z"}, "other clips"), ({"labels": (0, 1, 2, 1)}, "other clips, labels")],
)
def test_runs_that_cannot_vote_together_are_refused(tmp_path: Path, other: dict, message: str) -> None:
    logits = np.zeros((4, 3), np.float32)
    folders = [write(tmp_path / "one", logits), write(tmp_path / "two", logits, **other)]
    with pytest.raises(InputError, match=message):
        ensembles.ensemble(folders)
    with pytest.raises(InputError, match="no runs"):
        ensembles.ensemble([])


def test_several_teachers_are_one() -> None:
    """Probabilities averaged; embeddings side by side, each of length 1; rows that nobody was asked for stay NaN."""
    generator = torch.Generator().manual_seed(0)
    members = [
        Outputs(
            embedding=torch.randn(5, width, generator=generator) * width,
            logits=torch.randn(5, 3, generator=generator),
        )
        for width in (4, 2)
    ]
    for member in members:
        member.embedding[4], member.logits[4] = torch.nan, torch.nan
    together = as_one(members)
    embedding, logits = together.embedding, together.logits
    assert embedding.shape == (5, 6) and logits.dtype == torch.float32
    for row in range(4):
        joined = []
        for member in members:
            values = member.embedding[row].tolist()
            length = math.sqrt(sum(value**2 for value in values))
            joined += [value / length for value in values]
        np.testing.assert_allclose(embedding[row], joined, rtol=1e-5)
        each = [probabilities(member.logits[row].tolist()) for member in members]
        mean = [sum(one[c] for one in each) / 2 for c in range(3)]
        np.testing.assert_allclose(logits[row].exp(), mean, rtol=1e-5)
    assert embedding[4].isnan().all() and logits[4].isnan().all()
    assert as_one(members[:1]) is members[0]


def test_padding_changes_no_relation() -> None:
    narrow, wide = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    teachers = [Outputs(embedding=values, logits=torch.zeros(6, 2)) for values in (narrow, wide)]
    together = side_by_side(teachers, 2)
    assert together["embedding"].shape == (2, 6, 5) and torch.equal(together["embedding"][1], wide)
    assert together["logits"].shape == (2, 6, 2)
    for relation in (relations.distances, relations.angles, relations.areas):
        torch.testing.assert_close(relation(together["embedding"][0]), relation(narrow))


def test_the_command_lets_the_runs_of_each_fold_vote(tmp_path: Path) -> None:
    """Two runs of fold 1, one of fold 2, named by their folder and once more by themselves."""
    sounds = shipped.write_corpus(tmp_path)
    folders = [
        shipped.write_run(tmp_path, sounds, fold=fold, seed=seed, mix="ce:1") for fold, seed in ((1, 0), (1, 1), (2, 0))
    ]
    by_fold = votes.votes(votes.records([folders[0].parent, folders[0]]))
    assert [(vote.fold, vote.members) for vote in by_fold] == [(1, 2), (2, 1)]
    kept = [runs.read_predictions(folder) for folder in folders]
    mean = np.mean([[probabilities(row) for row in one.logits.tolist()] for one in kept[:2]], axis=0)
    assert by_fold[0].score == pytest.approx(100 * np.mean(mean.argmax(1) == kept[0].labels))
    recorded = [100 * runs.read_result(folder)["accuracy"] for folder in folders]
    assert by_fold[0].mean_of_members == pytest.approx(np.mean(recorded[:2]))
    assert by_fold[0].best_member == max(recorded[:2]) and by_fold[1].clips == len(kept[2].labels)
    unsure = uncertainty.of_members(np.stack([one.logits for one in kept[:2]])).knowledge
    area = uncertainty.auroc(unsure, mean.argmax(1) != kept[0].labels)
    assert by_fold[0].auroc == (None if np.isnan(area) else pytest.approx(100 * area)) and by_fold[1].auroc is None
    printed = votes.text(votes.records(folders))
    assert printed.splitlines()[-1].split()[0] == "mean" and "SYNTHETIC" not in printed


def test_one_run_says_what_it_does_not_know_where_it_learned_to(tmp_path: Path) -> None:
    sounds = shipped.write_corpus(tmp_path)
    folder = shipped.write_run(tmp_path, sounds, mix="dirichlet:1,soft:0")
    with np.load(folder / "predictions.npz") as file:
        arrays = dict(file) | {"logits": np.random.default_rng(0).normal(size=file["logits"].shape).astype(np.float32)}
    np.savez(folder / "predictions.npz", **arrays)
    (one,) = votes.votes(votes.records([folder]))
    kept = runs.read_predictions(folder)
    wrong = kept.logits.argmax(1) != kept.labels
    assert wrong.any() and not wrong.all()
    unsure = uncertainty.of_dirichlet(kept.logits).knowledge
    pairs = [(a > b) + (a == b) / 2 for a in unsure[wrong] for b in unsure[~wrong]]
    assert one.auroc == pytest.approx(100 * np.mean(pairs))
    assert "AUROC of" in votes.text(votes.records([folder]))


def test_a_failed_run_does_not_vote(tmp_path: Path) -> None:
    folder = shipped.write_run(tmp_path, shipped.write_corpus(tmp_path))
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "status": "failed", "failure": "ce is not finite"}))
    with pytest.raises(InputError, match=r"ce is not finite.* predicts nothing"):
        votes.records([folder])
