"""Counts in sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.plurals import many, plural
from pipeline.report.check import Checked, text

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (0, ("run",), "0 runs"),
        (1, ("run",), "1 run"),
        (8732, ("clip",), "8,732 clips"),
        (1, ("class",), "1 class"),
        (2, ("class",), "2 classes"),
        (2, ("mix",), "2 mixes"),
        (2, ("epoch",), "2 epochs"),
        (1, ("clip that is", "clips that are"), "1 clip that is"),
        (3, ("clip that is", "clips that are"), "3 clips that are"),
    ],
)
def test_one_is_one(count, words, said) -> None:
    assert many(count, *words) == said and said == f"{count:,} {plural(count, *words)}"


def test_check_counts_one_of_each_kind() -> None:
    out = Checked()
    for kind in ("searches", "notes of experiments", "unfinished runs"):
        out.add(kind)
    assert text(out, 0.0).startswith("1 search, 1 note of an experiment, 1 unfinished run, 0 MB")
    out.add("searches")
    assert text(out, 0.0).startswith("2 searches, ")


def test_no_message_counts_by_itself() -> None:
    """ "1 clips": a length in front of a plural, in an f-string. Behind "of" it is right for all but one; these are of two at least."""
    nouns = "run|clip|fold|epoch|file|row|recording|step|problem|teacher|setting|worker|pack"
    counted = re.compile(rf"(?<!of )\{{len\([^{{}}]*\)\}} (?:[a-z-]+ )?(?:{nouns})s\b")
    found = {
        f"{path.relative_to(ROOT).as_posix()}: {match[0]}"
        for path in [ROOT / "audio_rkd.py", *(ROOT / "pipeline").rglob("*.py")]
        for match in counted.finditer(path.read_text(encoding="utf-8"))
    }
    assert found == {
        "pipeline/corpus/fetch/unpack.py: {len(tops)} files",
        "pipeline/deploy/final/card.py: {len(corpus.folds)} folds",
        "pipeline/deploy/sounds.py: {len(names)} files",
        "pipeline/engine/arrays.py: {len(values)} rows",
        "pipeline/engine/teachers.py: {len(run.teachers)} teachers",
        "pipeline/experiments/changing.py: {len(alike)} steps",
        "pipeline/experiments/steps.py: {len(several)} steps",
        "pipeline/extraction/failures.py: {len(rows)} failed clips",
        "pipeline/losses/contrast.py: {len(labels)} training rows",
        "pipeline/training/halves.py: {len(items)} runs",
    }
