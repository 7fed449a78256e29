"""``status`` and ``doctor`` count runs as the report does: out are those that stopped, and no others."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from pipeline import runs
from pipeline.report.diagnosis.places import trained
from pipeline.report.status import counted_text, reported
from tests.recorded import write_run


def test_runs_at_chance_count_and_stopped_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, status in enumerate(("trained", "did not train", "did not train", "failed")):
        write_run(tmp_path, 5, seed=seed, status=status)
    write_run(tmp_path, None, seed=9)
    records = runs.find(tmp_path / "runs", "tiny")
    words = " × 4 (2 no better than chance, 1 stopped: not counted)"
    assert counted_text("soft:1", records) == f"soft:1{words}"
    assert counted_text("soft:1", [r for r in records if r.result.trained]) == "soft:1 × 1"
    monkeypatch.chdir(tmp_path)
    (finding,) = trained(Path("runs"))
    assert finding.text == f"runs/tiny: finished{words}; 1 unfinished (the same command goes on)"


def test_a_table_of_fewer_runs_is_not_of_all_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        write_run(tmp_path, 5, seed=seed, status="trained")
    records = runs.find(tmp_path / "runs", "tiny")
    table = tmp_path / "reports" / "tiny" / "table.md"
    assert not reported("tiny", records)
    table.parent.mkdir(parents=True)
    for count, whole in ((3, True), (2, False), (4, True)):  # written last, by the clock, all of them
        table.write_text(f"- Made by {count} finished runs; finished …")
        assert reported("tiny", records) is whole
    # A student of several teachers is in the table too.
    several = dataclasses.replace(records[0], role="step", experiment="student")
    os.utime(several.folder / "result.json", (0, table.stat().st_mtime + 60))
    assert not reported("tiny", [several])
    assert reported("tiny", [dataclasses.replace(several, experiment="calibration")])
