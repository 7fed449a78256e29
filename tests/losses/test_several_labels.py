"""Clips with several labels: binary cross-entropy against a plain loop, and which terms take them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.config import InputError, TrainSettings
from pipeline.label_sets import multi_hot
from pipeline.losses import LossMix, load, names
from pipeline.losses.several import require_several, suited, takes_several
from pipeline.models import Outputs

SETS = ((0,), (0, 2), (1, 2), (0, 1, 2))

#: Written by hand: what reads neither labels nor outputs of classes.
SUITED = {
    *("affinity", "angle", "area", "attention", "boundary", "ce", "congruence", "darkrank", "distance", "edges"),
    *("factor", "flow", "hint", "overhaul", "pooled", "projector", "residual", "review", "selectivity"),
    *("similarity", "variational"),
}


def by_loop(
    logits: np.ndarray, labels: list[int], smoothing: float, weights: list[float], counts: list[float]
) -> float:
    """The formula of the loss's file, clip by clip and class by class."""
    total, share = 0.0, 0.0
    for row, label, count in zip(logits.tolist(), labels, counts):
        if label < 0:
            continue
        cost = 0.0
        for place, z in enumerate(row):
            target = (1 - smoothing) * (1.0 if place in SETS[label] else 0.0) + smoothing / 2
            probability = 1 / (1 + math.exp(-z))
            cost -= weights[place] * target * math.log(probability) + (1 - target) * math.log(1 - probability)
        total, share = total + count * cost / len(row), share + count
    return total / share if share else 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.5, 0.25, 4.0]])
def test_binary_cross_entropy_is_the_loop(smoothing: float, weights: list[float] | None) -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 2, (2, 5, 3)), [[0, 1, 2, 3, -1], [3, -1, -1, 0, 1]]
    rows = random.uniform(0.1, 1, (2, 5))
    given = torch.from_numpy(logits).requires_grad_()
    positive = None if weights is None else torch.tensor([weights, weights])
    targets = torch.from_numpy(multi_hot(SETS, 3))
    for counts in (None, rows):
        told = load("ce")(
            Outputs({"logits": given}),
            None,
            torch.tensor(labels),
            label_smoothing=smoothing,
            class_weights=positive,
            rows=None if counts is None else torch.from_numpy(counts),
            targets=targets,
        )
        expected = [
            by_loop(logits[r], labels[r], smoothing, weights or [1.0] * 3, [1.0] * 5 if counts is None else counts[r])
            for r in range(2)
        ]
        assert told.tolist() == pytest.approx(expected, rel=1e-9)
    told.sum().backward()
    assert given.grad is not None and not given.grad[0, 4].any() and given.grad[0, 0].all()


def test_large_outputs_keep_finite_gradients_and_no_label_is_nothing() -> None:
    logits = torch.tensor([[[1e4, -1e4, 0.0]]], requires_grad=True)
    targets = torch.from_numpy(multi_hot(SETS, 3))
    cost = load("ce")(Outputs({"logits": logits}), None, torch.tensor([[2]]), targets=targets)
    (gradient,) = torch.autograd.grad(cost.sum(), logits)
    assert torch.isfinite(cost).all() and gradient.abs().max() <= 1
    none = load("ce")(Outputs({"logits": logits}), None, torch.tensor([[-1]]), targets=targets)
    assert none.item() == 0


def test_terms_that_take_several_labels_are_these_alone() -> None:
    assert set(suited()) == SUITED
    options = {"margin": "margin@centres=teacher", "hinton": "hinton@T=learned", "pooled": "pooled@maps=logits"}
    for text in options.values():
        try:
            terms = LossMix.parse(f"{text},ce").terms
        except InputError:
            continue
        for term in terms:
            if term.name in ("margin", "hinton"):
                assert not takes_several(term)


@pytest.mark.parametrize("name", sorted(set(names()) - SUITED))
def test_a_term_of_one_label_is_refused_in_a_line(name: str) -> None:
    mix = LossMix.parse(f"{name}:1,ce:1")
    with pytest.raises(InputError, match=rf"{name}.* needs one label a clip, .*clips of bells have several") as caught:
        require_several(mix, TrainSettings(), where="bells")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "0,1"},
        {"label_noise": 0.1},
        {"label_noise_fixed": 0.1},
        {"sampler": "classes:4"},
        {"sampler": "unlabelled:3"},
        {"unlabelled": 0.5},
        {"unlabelled_threshold": 0.9},
        {"unlabelled_per_class": 2},
    ],
)
def test_settings_of_one_label_are_refused_in_a_line(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=rf"student.{next(iter(change))} = .*several labels") as caught:
        require_several(LossMix.parse("ce"), TrainSettings(**change), "student")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    require_several(LossMix.parse("angle,area,ce"), TrainSettings(mixup=0.3, class_weights="balanced"))


@pytest.mark.parametrize(("kind", "taken"), [("one", False), ("several", True), (None, True), ("many", None)])
def test_a_file_says_by_itself_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, taken: bool | None
) -> None:
    from pipeline.losses import several

    ordinary = several.constant
    monkeypatch.setattr(
        several, "constant", lambda name, word, usual: kind if word == "LABELS" else ordinary(name, word, usual)
    )
    (term,) = (term for term in LossMix.parse("angle:1,ce:1").terms if term.name == "angle")
    if taken is None:
        with pytest.raises(InputError, match="loss angle: LABELS = 'many'; expected one of one, several"):
            takes_several(term)
    else:
        assert takes_several(term) is taken
