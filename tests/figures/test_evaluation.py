"""Figures of a run against scikit-learn and plain loops."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from pipeline.figures import evaluation


@pytest.fixture(scope="module")
def run():
    """240 clips of ten uneven classes (class 9 has none), logits that are right about half the time."""
    rng = np.random.default_rng(0)
    labels = rng.choice(9, 240, p=np.arange(1, 10) / 45)
    logits = rng.normal(size=(240, 10)).astype(np.float32)
    logits[np.arange(240), labels] += 1.5
    return logits, labels


def test_against_scikit_learn(run):
    logits, labels = run
    guessed = logits.argmax(axis=1)
    assert evaluation.accuracy(logits, labels) == pytest.approx(metrics.accuracy_score(labels, guessed))
    np.testing.assert_array_equal(
        evaluation.confusion(logits, labels), metrics.confusion_matrix(labels, guessed, labels=range(10))
    )
    expected = metrics.f1_score(labels, guessed, labels=np.unique(labels), average="macro")
    assert evaluation.macro_f1(logits, labels) == pytest.approx(expected)
    expected = metrics.balanced_accuracy_score(labels, guessed)
    assert evaluation.balanced_accuracy(logits, labels) == pytest.approx(expected)
    probabilities = np.exp(evaluation.log_softmax(logits))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    expected = metrics.log_loss(labels, probabilities, labels=range(10))
    assert evaluation.negative_log_likelihood(logits, labels) == pytest.approx(expected)


def test_calibration_error_by_loops(run):
    logits, labels = run
    total = 0.0
    for b in range(15):
        inside = []
        for z, label in zip(logits.astype(float), labels, strict=True):
            p = np.exp(z) / np.exp(z).sum()
            if b / 15 < p.max() <= (b + 1) / 15:
                inside.append((p.max(), p.argmax() == label))
        if inside:
            confidence, hit = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(hit - confidence)
    assert evaluation.expected_calibration_error(logits, labels) == pytest.approx(total)


def test_calibration_error_at_the_ends():
    sure = np.array([[1000.0, 0.0], [1000.0, 0.0]])
    assert evaluation.expected_calibration_error(sure, np.array([0, 0])) == 0
    assert evaluation.expected_calibration_error(sure, np.array([1, 1])) == 1


def test_agreement(run):
    logits, _ = run
    assert evaluation.agreement(logits, 3 * logits + 1) == 1
    other = logits.copy()
    other[:60] = -other[:60]
    assert evaluation.agreement(logits, other) == 0.75
    with pytest.raises(ValueError, match="equal shapes"):
        evaluation.agreement(logits, logits[1:])


@pytest.mark.parametrize(("clips", "needed"), [(20, 7), (240, 36), (870, 109)])
def test_threshold_of_trained(clips, needed):
    """The counts in the docstring: so many hits pass, one fewer does not; ten even classes."""

    def run(hits):
        labels = np.arange(clips) % 10
        # The rest is wrong everywhere.
        return np.eye(10)[np.where(np.arange(clips) < hits, labels, (labels + 1) % 10)], labels

    assert evaluation.trained(*run(needed))
    assert not evaluation.trained(*run(needed - 1))


def test_above_chance_is_scipys_binomial_test(run):
    logits, labels = run
    hits = int((logits.argmax(axis=1) == labels).sum())
    share = np.bincount(labels).max() / len(labels)
    assert share > 0.1
    expected = stats.binomtest(hits, len(labels), share, alternative="greater").pvalue
    assert evaluation.above_chance(logits, labels) == pytest.approx(expected)


def test_one_class_for_all_clips_never_counts_as_trained():
    labels = np.array([0] * 900 + [1] * 100)
    logits = np.tile([1.0, 0.0], (1000, 1))
    assert evaluation.accuracy(logits, labels) == 0.9
    assert evaluation.summary(logits, labels).status == "did not train"


def test_logits_that_are_not_finite_did_not_train():
    labels = np.arange(100) % 10
    logits = np.eye(10)[labels]
    assert evaluation.trained(logits, labels)
    logits[3, 3] = np.inf
    assert not evaluation.trained(logits, labels)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_run_has_figures_without_warnings(bad):
    labels, logits = np.arange(20) % 10, np.zeros((20, 10), dtype=np.float32)
    logits[4] = bad
    summary = evaluation.summary(logits, labels, logits)
    assert summary.status == "did not train" and 0 <= summary.accuracy <= 1
    assert np.isnan(summary.ece) and np.isnan(summary.nll)


def test_summary_names_the_teachers_agreement(run):
    logits, labels = run
    assert evaluation.summary(logits, labels).agreement is None
    summary = evaluation.summary(logits, labels, -logits)
    assert summary.agreement == 0 and summary.status == "trained"
    assert summary.accuracy == evaluation.accuracy(logits, labels)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected"):
        evaluation.accuracy(np.zeros((3, 2)), np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="expected"):
        evaluation.accuracy(np.zeros((3, 2)), np.array([0, 1]))
