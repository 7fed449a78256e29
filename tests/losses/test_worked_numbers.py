"""Worked values of METHODS and METHODS2 that stand in no other test, each by its number; all in plain sight of ``losses.load``."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline import losses
from pipeline.losses import LossMix, Outputs, mixed_loss
from pipeline.losses.local import weights
from pipeline.losses.probabilities import standardised
from pipeline.training.sampling import wrong_labels
from tests.losses.worked import near


def test_decoupled_of_a_sure_student_in_float32() -> None:
    """METHODS2, 4.1: logits 120, 0, 0; the published logarithm is infinite there, whatever the teacher. Ours of a teacher 1, 0, 0."""
    z = SimpleNamespace(logits=torch.tensor([[120.0, 0, 0]]))
    taught = SimpleNamespace(logits=torch.tensor([[1.0, 0, 0]]))
    told = losses.load("decoupled")(z, taught, torch.tensor([0]), T=1.0)
    assert told.dtype == torch.float32 and float(told) == pytest.approx(49.8906, abs=5e-5)


def test_two_classes_are_standardised_to_the_same_numbers() -> None:
    """METHODS2, 4.3."""
    z = torch.tensor([[3.0, -1.0], [0.2, 0.5]], dtype=torch.float64)
    assert standardised(z).tolist() == [
        pytest.approx([0.7071, -0.7071], abs=5e-5),
        pytest.approx([-0.7071, 0.7071], abs=5e-5),
    ]


def test_the_assistant_s_link() -> None:
    """METHODS, 6.3: half labels, half T² KL at T = 4."""
    z_s, z_t = (torch.tensor([[row]], dtype=torch.float64) for row in ([1.0, 0, -1], [3.0, 1, 0]))
    total, _ = mixed_loss([LossMix.parse("ce:0.5,hinton:0.5@T=4")])(
        Outputs(logits=z_s), Outputs(logits=z_t), torch.tensor([[0]])
    )
    assert float(total) == near(0.2658556496)


def test_the_queries_of_an_episode() -> None:
    """METHODS, 7.1: (1, 1), (3, 1) of class 0, and (3, 3) of class 1, the second in the middle."""
    support = [[0.0, 0], [2, 0], [4, 2], [4, 4]]
    told = []
    for query, label in (([1.0, 1], 0), ([3.0, 1], 0), ([3.0, 3], 1)):
        rows = torch.tensor([*support, query], dtype=torch.float64)
        labels = torch.tensor([0, 0, 1, 1, label])
        told.append(float(losses.load("proto")(Outputs(embedding=rows), None, labels, 2)))
    assert told == [near(0.0000061442), near(0.6931471806), near(0.0000061442)]


def test_the_least_weight_of_a_doubtful_teacher() -> None:
    """METHODS, 7.3: λ of a batch from the least to the largest doubt, 1 to 0.5379."""
    doubts = torch.tensor([[0.1, 0.5, 0.9]], dtype=torch.float64)
    told = weights(doubts, torch.tensor([0.1], dtype=torch.float64), torch.tensor([0.9], dtype=torch.float64))[
        0
    ].tolist()
    assert told[0] == near(1.0) and told[2] == pytest.approx(0.5379, abs=5e-5) and told[2] < told[1] < told[0]


def test_the_confusion_of_changed_labels() -> None:
    """METHODS, 5.3: p 0.2, C 4: 0.8 on the diagonal, 0.0666666667 off it, of an even grid of draws."""
    grid = (np.arange(300) + 0.5) / 300
    u, v = (np.array(each) for each in zip(*itertools.product(grid, grid)))
    labels = wrong_labels(np.full(len(u), 1), u, v, 0.2, 4)
    assert np.bincount(labels, minlength=4) / len(labels) == pytest.approx(
        [0.0666666667, 0.8, 0.0666666667, 0.0666666667], abs=1e-9
    )


def test_the_multiplier_of_the_small_virtual_teacher() -> None:
    """METHODS, 4.5: MobileNetV2's alpha 0.95 over 100 classes, times its multiplier 1: ``virtual:0.0095``."""
    mix = LossMix.parse("ce:0.05,virtual:0.0095")
    assert [term.weight for term in mix.terms] == [0.05, pytest.approx(0.95 * 1 / 100)]
