"""Precision, recall and F1 by class; tables without empty columns; LaTeX that another document takes in."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import report, runs
from pipeline.report import classes
from pipeline.report.table import Column, Table, number, of, padded
from tests.recorded import write_run


def counted(records: list[runs.Record], label: int) -> tuple[float, float, float]:
    """Precision, recall and F1 in percent, clip by clip."""
    right = given = there = 0
    for record in records:
        told = runs.read_predictions(record.folder)
        for answer, own in zip(np.argmax(told.logits, axis=1), told.labels):
            given += answer == label
            there += own == label
            right += answer == own == label
    precision, recall = 100 * right / given, 100 * right / there
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_precision_recall_and_f1_by_class(tmp_path: Path) -> None:
    for fold, hits in ((1, 7), (2, 9)):
        write_run(tmp_path, hits, fold=fold)
    printed = report.report(tmp_path / "runs", tmp_path / "reports", "tiny")
    records = runs.find(tmp_path / "runs")
    rows = list(csv.DictReader((tmp_path / "reports" / "tiny" / "classes.csv").open()))
    assert [(row["row"], row["class"], row["clips"]) for row in rows] == [("soft:1", "a", "10"), ("soft:1", "b", "10")]
    for label, row in enumerate(rows):
        figures = [float(row[f"{name}_percent"]) for name in ("precision", "recall", "f1")]
        assert figures == pytest.approx(counted(records, label))
    assert "| soft:1 | a |" in (tmp_path / "reports" / "tiny" / "classes.md").read_text() and printed.data["rows"]


def test_a_class_that_nobody_was_given_has_no_precision(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 5)
    record = runs.read(folder)
    told = runs.read_predictions(folder)
    silent = told._replace(logits=np.tile([1.0, 0.0], (len(told.labels), 1)))
    rows = _with(silent, record)
    assert rows[1].precision is None and rows[1].recall == 0 and rows[0].recall == 100


@pytest.mark.parametrize("several", [False, True])
def test_runs_of_other_classes_are_rows_of_their_own(tmp_path: Path, several: bool) -> None:
    """A corpus that gained a class, or classes drawn for each seed: no figure is of clips of two classes, and none is lost."""
    record = runs.read(write_run(tmp_path, 5))
    names = (("a", "b"), ("a", "b", "c"), ("c", "b"))
    records = [replace(record, folder=Path(" ".join(one)), classes=one, several_labels=several) for one in names]

    def told(folder: Path) -> runs.Predictions:
        logits = np.eye(len(folder.name.split()))
        labels = logits.astype(np.int64) if several else np.arange(len(logits))
        return runs.Predictions(np.array([f"clip{i}" for i in range(len(logits))]), labels, logits, np.array([]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "read_predictions", told)
        rows = classes.several_rows_of(records) if several else classes.rows_of(records)
    assert [(row.label, row.clips) for row in rows] == [(label, 1) for one in names for label in one]
    assert all((row.average_precision if several else row.f1) == 100 for row in rows)


def _with(told: runs.Predictions, record: runs.Record) -> list[classes.OfClass]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "read_predictions", lambda _: told)
        return classes.rows_of([record])


def test_empty_columns_are_left_out_for_people_alone() -> None:
    columns = (
        Column("name", of("name"), "Name"),
        Column("mean", of("mean"), "Mean", format=number),
        Column("sd", of("sd"), "SD", format=number),
        Column("", of("notes"), "Notes", format=str, prose=True),
    )

    class Item:
        name, mean, sd, notes = "a", 1.0, None, ""

    table = Table.build("", columns, [Item()])
    assert padded(table.without_empty())[0].split() == ["Name", "Mean"]
    assert table.csv() == "name,mean,sd\na,1.0,\n"
    none = Table.build("", columns, [])
    assert len(none.without_empty().shown) == 4


def test_table_tex_is_for_input(tmp_path: Path) -> None:
    for fold in (1, 2, 3):
        write_run(tmp_path, 5 + fold, fold=fold, corpus="a_b & 5%")
        write_run(tmp_path, 6 + fold, fold=fold, corpus="a_b & 5%", mix="angle:50,soft:1")
    report.report(tmp_path / "runs", tmp_path / "reports", "a_b & 5%")
    text = (tmp_path / "reports" / "a_b & 5%" / "table.tex").read_text()
    assert not re.search(r"\\(documentclass|begin\{document\}|usepackage|section)", text) and text.isascii()
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    begins = [line for line in lines if line.startswith(r"\begin{tabular}")]
    assert begins and len(begins) == lines.count(r"\end{tabular}")
    width = 0
    for line in lines:
        if line.startswith(r"\begin{tabular}"):
            width = len(re.sub(r"p\{\w+\}", "p", line.removeprefix(r"\begin{tabular}")[1:-1]))
        elif line.endswith(r" \\"):
            assert len(re.findall(r"(?<!\\)&", line)) == width - 1, line
        else:
            assert line in (r"\hline", r"\end{tabular}"), line
