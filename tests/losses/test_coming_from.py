"""docs/coming-from.md: every mix of ours in it can be trained, and its weights are theirs times the factor that it states."""

from __future__ import annotations

import re

import pytest

from pipeline.commands.distill import distill
from pipeline.config import Settings
from pipeline.losses import LossMix
from tests.tiny import ROOT

TEXT = (ROOT / "docs" / "coming-from.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith(("| theirs", "| ---"))
]


def weights(theirs: str) -> dict[str, float]:
    """Of the first row of that name."""
    (mix,) = (row[2] for row in ROWS if row[0] == f"`{theirs}`")
    return {term.name: float(term.weight) for term in LossMix.parse(mix.strip("`")).terms}


def test_every_row_names_a_mix_or_a_setting() -> None:
    assert len(ROWS) > 30 and all(len(row) == 5 for row in ROWS)
    for theirs, _, ours, factor, _ in ROWS:
        if ours.startswith("`--set "):
            setting = ours.strip("`").split()[1].partition("=")[0]
            assert hasattr(Settings().student, setting.removeprefix("student.")), setting
        elif ours.startswith("`--"):
            assert ours.strip("`").split()[0] in {option for one in distill.params for option in one.opts}, ours
        elif ours != "–":
            LossMix.parse(ours.strip("`"))
            assert factor, theirs


def test_weights_are_theirs_times_the_factor() -> None:
    batch = 64
    distance, angle = (batch - 1) / batch, (batch - 1) * (batch - 2) / batch**2
    for theirs, by_distance, by_angle in (("rkd", 25, 50), ("RKD", 25, 50), ("RKDLoss", 1, 2)):
        ours = weights(theirs)
        assert ours["distance"] == pytest.approx(by_distance * distance, rel=5e-4)
        assert ours["angle"] == pytest.approx(by_angle * angle, rel=5e-4)
    assert weights("pkt")["affinity"] == weights("PKT")["affinity"] == 30000 / batch
    pairs = 16 * 10 * 86, 32 * 5 * 43  # cnn2 from resnet18 at (5, 20, 173)
    assert pairs[0] / 2 == pairs[1] and f"{pairs[0]:,} and {pairs[1]:,}" in TEXT
    assert weights("OFD")["overhaul"] == pytest.approx(pairs[1] / 1000)
    assert weights("abound")["boundary"] == pytest.approx(3 * pairs[1] / 1000)


def test_their_weights_are_ours_where_the_factor_is_1() -> None:
    for _, options, ours, factor, _ in ROWS:
        given = re.search(r"(?:-b|FEAT_WEIGHT|REVIEWKD_WEIGHT) (\d+)", options)
        if given and factor.split(" ")[0] == "1":
            first = next(term for term in LossMix.parse(ours.strip("`")).terms if term.name != "ce")
            assert given[1] == "0" or float(first.weight) == float(given[1]), ours
