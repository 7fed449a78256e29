"""Settings that were chosen by what they reach on some folds: on these their figures are called optimistic."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pipeline import config, report, runs
from pipeline.config import InputError
from pipeline.report.html import table_html
from pipeline.report.wording import footnotes, remarks
from pipeline.runs.experiments import NotedRow, note, note_rows, noted_rows
from tests import recorded


def chosen_by(folder: Path, corpus: str, folds: list[int]) -> Path:
    """Put into a run's record that its settings were chosen by these folds."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chosen": {"corpus": corpus, "folds": folds}}))
    return folder


@pytest.mark.parametrize(
    ("corpus", "folds", "words"),
    [
        ("tiny", [1, 2, 3], "preset chosen on these folds: optimistic"),
        ("folder", [2, 3], "preset chosen on some of these folds: optimistic"),
        ("tiny", [4], ""),
        ("other", [1, 2, 3], ""),
    ],
)
def test_only_where_a_fold_chose_them_itself(tmp_path: Path, corpus: str, folds: list[int], words: str) -> None:
    for fold in (1, 2, 3):
        chosen_by(recorded.write_run(tmp_path, 5 + fold, fold=fold), corpus, folds)
    (row,) = report.rows(runs.find(tmp_path / "runs"))
    assert row.optimistic == (len({1, 2, 3} & set(folds)) if words else 0)
    assert [text for text in remarks(row) if "optimistic" in text] == ([words] if words else [])
    assert any(text.startswith("Optimistic: the settings") for text in footnotes([row])) == bool(words)


def test_a_row_is_noted_under_its_last_name_alone(tmp_path: Path) -> None:
    """The only row that was left of several was noted as the experiment itself; another folder's name is its own."""
    root = tmp_path / "runs"
    first, second = root / "tiny" / "student-1" / "ce1", root / "tiny" / "student-2" / "ce1"
    note_rows(root, "tiny", "mine", {"mine": [first]})
    note_rows(root, "tiny", "mine", {"mine/after": [second], "mine/plain": [first]})
    both = [NotedRow("mine/after", second), NotedRow("mine/plain", first)]
    assert noted_rows(root, "tiny") == both
    note_rows(root, "tiny", "mine", {"mine": [root / "tiny" / "student-3" / "ce1"]})
    note_rows(root, "tiny", "mine", {"mine/plain": [first]})
    assert [row.name for row in noted_rows(root, "tiny")] == ["mine/after", "mine/plain", "mine"]


def test_a_nested_row_has_each_folds_own_runs_alone(tmp_path: Path) -> None:
    """Folds 1 and 2 with settings of their own, each also trained on the other one: that run is not the nested one."""
    entries = []
    for fold, lr in ((1, 0.01), (2, 0.02)):
        for held_out in (1, 2):
            hits = 8 if held_out == fold else 1
            folder = chosen_by(recorded.write_run(tmp_path, hits, fold=held_out, lr=lr), "tiny", [3 - fold])
        entries.append(NotedRow("mine nested", folder.parent, fold))
    note(tmp_path / "runs", "tiny", "mine", entries)
    assert noted_rows(tmp_path / "runs", "tiny") == entries
    (row,) = report.experiments.rows(runs.find(tmp_path / "runs"), entries)
    assert row.nested and row.spread is not None and row.spread.mean == 80 and row.runs == 2 and not row.optimistic
    assert "nested: each fold's settings chosen without it" in remarks(row)
    for entry in entries:
        chosen_by(entry.folder / f"fold{entry.fold}-seed0", "tiny", [1, 2])
    (row,) = report.experiments.rows(runs.find(tmp_path / "runs"), entries)
    assert {
        "nested: each fold's settings chosen without it, but from a preset that was not",
        "preset chosen on these folds: optimistic",
    } <= set(remarks(row))


def test_a_preset_says_by_which_folds_it_was_chosen(tmp_path: Path) -> None:
    plain, path = "[student]\nlr = 0.01\n", tmp_path / "mine.toml"
    path.write_text(plain)
    before = config.read(str(path))
    path.write_text('chosen = {corpus = "mine", folds = [1, 3]}\n' + plain)
    settings = config.read(str(path))
    assert settings.chosen == ("mine", (1, 3)) and before.chosen is None
    assert settings == before and config.digest(settings.student) == config.digest(before.student)
    (tmp_path / "over.toml").write_text('extends = "mine.toml"\n[student]\nlr = 0.02\n')
    assert config.read(str(tmp_path / "over.toml")).chosen == ("mine", (1, 3))
    for corpus, folds, expected in (
        ("mine", [2, 1], (1, 2, 3)),
        ("other", [2], (2,)),
    ):  # what chose the lower one chose both
        over = f'extends = "mine.toml"\nchosen = {{corpus = "{corpus}", folds = {folds}}}\n'
        (tmp_path / "over.toml").write_text(over)
        assert config.read(str(tmp_path / "over.toml")).chosen == (corpus, expected)
    assert config.read("tiny").chosen == config.read("small").chosen == ("urbansound8k", (1, 2, 3))
    for wrong in (
        "'folds 1'",
        "{corpus = 'mine'}",
        "{corpus = 'mine', folds = ['1']}",
        "{corpus = 1, folds = [1]}",
        "[1]",
    ):
        path.write_text(f"chosen = {wrong}\n" + plain)
        with pytest.raises(InputError, match=r"mine.toml: chosen = .*: expected for example \{corpus"):
            config.read(str(path))


def test_the_balanced_accuracy_is_a_column_where_it_was_kept(tmp_path: Path) -> None:
    """Mean over the folds, beside the accuracy, in the printed table, in CSV and on the page."""
    shares = {1: 0.25, 2: 0.5}
    for fold, share in shares.items():
        path = recorded.write_run(tmp_path, 8, fold=fold) / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "balanced_accuracy": share}))
    text = report.report(tmp_path / "runs", tmp_path / "reports", "tiny")
    header = next(line for line in text.splitlines() if "Balanced" in line)
    line = next(line for line in text.splitlines() if "(baseline)" in line and "80.00" in line)
    assert header.index("Balanced") < header.index("Best epoch") and "37.50" in line
    assert "Balanced: the mean of the classes' recalls" in text.replace("\n", " ")
    (row,) = csv.DictReader((tmp_path / "reports" / "tiny" / "table.csv").read_text().splitlines())
    assert float(row["balanced_percent"]) == 37.5
    sections = report.contents(tmp_path / "runs", "tiny").document.sections  # what the page shows
    assert "Balanced" in "".join(table_html(table) for section in sections for table in section.tables)
