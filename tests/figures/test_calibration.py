"""Temperature scaling against a plain search for the lowest loss."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import InputError
from pipeline.figures import calibration, evaluation


def made_up(scale: float, clips: int = 400, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels that are drawn from softmax(z), and logits scale · z: their temperature is about ``scale``."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(clips, classes)) * 1.5
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    return (scale * true).astype(np.float32), labels


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_is_where_the_loss_is_lowest(scale: float) -> None:
    logits, labels = made_up(scale)
    fitted = calibration.temperature(logits, labels)
    grid = np.geomspace(0.05, 20, 4001)  # a plain loop over temperatures
    z = logits.astype(np.float64)
    losses = [np.mean(np.log(np.exp(z / t).sum(1)) - z[np.arange(len(z)), labels] / t) for t in grid]
    assert fitted == pytest.approx(grid[int(np.argmin(losses))], rel=2e-3) and fitted == pytest.approx(scale, rel=0.15)
    assert evaluation.accuracy(logits / fitted, labels) == evaluation.accuracy(logits, labels)
    after = evaluation.expected_calibration_error(logits / fitted, labels)
    if scale != 1:
        assert after < evaluation.expected_calibration_error(logits, labels) / 2


def test_beyond_all_temperatures_it_is_the_last_one() -> None:
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert calibration.temperature(sure, np.array([0, 1, 2, 0])) == pytest.approx(calibration.LEAST, rel=1e-6)
    assert calibration.temperature(sure, np.array([1, 2, 0, 2])) == pytest.approx(calibration.MOST, rel=1e-6)


@pytest.mark.parametrize("logits", [np.zeros((0, 3)), np.array([[0.0, np.nan, 1]]), np.array([[0.0, np.inf, 1]])])
def test_what_cannot_be_calibrated_is_refused(logits: np.ndarray) -> None:
    with pytest.raises(InputError, match="finite"):
        calibration.temperature(logits, np.zeros(len(logits), int))
