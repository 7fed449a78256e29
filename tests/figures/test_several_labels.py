"""The mean average precision against tables written by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pipeline.deploy.prediction import Prediction
from pipeline.figures import calibration, evaluation
from pipeline.label_sets import average_precisions, mean_average_precision, mean_log_odds, prevalence, sigmoid
from pipeline.runs import Predictions, by_clip

#: Clips from the highest score down: class 0 is in the first, third and last of five; class 1 in the second; class 2 in none.
TARGETS = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
SCORES = np.array([[5.0, 1, 0], [4, 9, 0], [3, 0, 0], [2, 0, 0], [1, 0, 0]])


def test_average_precision_is_the_mean_of_precisions_at_each_hit() -> None:
    each = average_precisions(TARGETS, SCORES)
    assert each[:2].tolist() == pytest.approx([(1 / 1 + 2 / 3 + 3 / 5) / 3, 1.0]) and np.isnan(each[2])
    assert mean_average_precision(TARGETS, SCORES) == pytest.approx(((1 + 2 / 3 + 3 / 5) / 3 + 1) / 2)
    assert mean_average_precision(TARGETS, 1 / (1 + np.exp(-SCORES))) == mean_average_precision(TARGETS, SCORES)


def test_equal_scores_come_to_chance() -> None:
    same = np.zeros_like(SCORES)
    assert (
        mean_average_precision(TARGETS, same)
        == pytest.approx(prevalence(TARGETS))
        == pytest.approx((3 / 5 + 1 / 5) / 2)
    )
    told = evaluation.summary(same, TARGETS)
    assert (told.status, told.accuracy, told.test_clips) == ("did not train", None, 5)


def test_a_summary_has_the_figures_of_several_labels_alone() -> None:
    told = evaluation.summary(SCORES, TARGETS)
    assert told.status == "trained" and told.score == told.map == mean_average_precision(TARGETS, SCORES)
    assert (told.accuracy, told.balanced_accuracy, told.macro_f1, told.ece, told.agreement) == (None,) * 5
    probability = 1 / (1 + np.exp(-SCORES))
    expected = -np.mean(TARGETS * np.log(probability) + (1 - TARGETS) * np.log(1 - probability))
    assert told.nll == pytest.approx(expected)
    assert np.isnan(mean_average_precision(TARGETS, np.full_like(SCORES, np.nan)))


def test_windows_of_a_file_are_the_mean_of_their_sigmoids() -> None:
    names = np.array(["a.wav@00000.000s", "a.wav@00004.000s", "b.wav"])
    logits = np.array([[3.0, -800], [-1, 800], [0.5, 1]], np.float32)
    labels = np.array([[1, 0], [1, 0], [0, 1]])
    whole = by_clip(Predictions(names, labels, logits, names))
    probability = 1 / (1 + np.exp(-whole.logits.astype(float)))
    assert probability[0].tolist() == pytest.approx([(1 / (1 + np.exp(-3)) + 1 / (1 + np.exp(1))) / 2, 0.5], rel=1e-5)
    assert whole.logits[1].tolist() == [0.5, 1] and whole.labels.tolist() == [[1, 0], [0, 1]]


def test_runs_that_vote_are_the_mean_of_their_sigmoids() -> None:
    members = np.array([[[3.0, -800, 0.5]], [[-1.0, 800, 2.5]]])
    odds = mean_log_odds(members)
    expected = [
        (1 / (1 + np.exp(-3)) + 1 / (1 + np.exp(1))) / 2,
        0.5,
        (1 / (1 + np.exp(-0.5)) + 1 / (1 + np.exp(-2.5))) / 2,
    ]
    assert (1 / (1 + np.exp(-odds)))[0].tolist() == pytest.approx(expected)
    assert np.array_equal(mean_log_odds(members[:1]), members[0])


@pytest.mark.filterwarnings("error")
def test_sigmoids_neither_overflow_nor_warn() -> None:
    """Nor of the outputs of a run that stopped, whose figures are NaN."""
    assert sigmoid(np.array([-1e30, -800, 0, 800, np.inf], np.float32)).tolist() == [0, 0, 0.5, 1, 1]
    stopped = np.array([[np.nan, 0.0]], np.float32)
    assert np.isnan(evaluation.expected_calibration_error(stopped, np.array([[1, 0]])))
    heard = Prediction(1.0, ((0, 1),), stopped[None], (0.05,), several=True)
    assert np.isnan(heard.probabilities[0, 0]) and heard.probabilities[0, 1] == 0.5


def test_calibration_is_of_each_class_by_itself() -> None:
    """Every pair of clip and class is one answer: bins by a plain loop."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (40, 3))
    targets = (random.random((40, 3)) < 1 / (1 + np.exp(-logits / 2))).astype(int)
    pairs = [(1 / (1 + np.exp(-z)), t) for z, t in zip(logits.reshape(-1), targets.reshape(-1))]
    error = 0.0
    for low in np.arange(15) / 15:
        inside = [(p, t) for p, t in pairs if low < p <= low + 1 / 15]
        if inside:
            error += len(inside) / len(pairs) * abs(np.mean([t for _, t in inside]) - np.mean([p for p, _ in inside]))
    assert evaluation.expected_calibration_error(logits, targets) == pytest.approx(error)
    fitted = calibration.temperature(logits, targets)
    losses = {
        t: evaluation.negative_log_likelihood(logits / t, targets) for t in (fitted / 1.02, fitted, fitted * 1.02)
    }
    assert min(losses, key=losses.__getitem__) == fitted and 1.3 < fitted < 3
    expected = -np.mean([t * np.log(p) + (1 - t) * np.log(1 - p) for p, t in pairs])
    assert evaluation.negative_log_likelihood(logits, targets) == pytest.approx(expected)


def test_an_epoch_without_a_score_is_never_the_best() -> None:
    history = [{"epoch": epoch, "map": score} for epoch, score in enumerate([np.nan, 0.5, 0.75, 0.75, np.nan], 1)]
    assert evaluation.best_epoch(history, "map")["epoch"] == 3
    assert evaluation.best_epoch(history[:1], "map") == {"map": None, "epoch": None}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_run_that_stopped_has_no_figures_and_no_warning(value: float) -> None:
    names = np.array([f"{clip}.wav@0000{second}.000s" for clip in "ab" for second in (0, 4)])
    logits, targets = np.full((4, 2), value, np.float32), np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = by_clip(Predictions(names, targets, logits, names))
        for told in (evaluation.summary(logits, targets), evaluation.summary(whole.logits, whole.labels)):
            assert np.isnan(told.map) and told.chance == 0.5 and told.status == "did not train"
