"""``bench.pins``: a changed bit, a lost file and another name are seen; what only the clock decides is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import digests, pins
from tests.tiny import write_corpus


def write(work: Path, weight: float = 1.0, name: str = "conv.weight", seconds: float = 3.5) -> Path:
    folder = work / "runs" / "fold1-seed0"
    folder.mkdir(parents=True)
    weights = torch.full((2, 3), weight)
    torch.save({"format": 1, "state": {name: weights}}, folder / "model.pt")
    np.savez(folder / "predictions.npz", logits=np.arange(6, dtype=np.float32), clips=np.array(["a", "b"]))
    seal = {"content": f"of all, {seconds}", "files": {"model.pt": "same", "environment.json": f"{seconds}"}}
    (folder / "result.json").write_text(json.dumps({"accuracy": 0.5, "seconds": seconds, **seal}))
    (folder / "checks.json").write_text(json.dumps({"state": seconds}))
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "loss": weight, "seconds": seconds}) + "\n")
    (folder / "environment.json").write_text(json.dumps({"cpus": seconds}))
    (work / "said").mkdir()
    (work / "said" / "report.txt").write_text(
        f"mean 50.0\nfinished 2026-01-01T10:00:0{int(seconds)}+00:00 in {seconds} s, commit abcdef0123\n"
        f'\\item 2026{{-}}01{{-}}01T10:00:0{int(seconds)}+00:00, "seconds": {seconds},'
    )
    return work


def test_the_clock_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two", seconds=7.25)
    assert digests.changes(digests.pins_of(one), two, one) == 0
    printed = capsys.readouterr().out
    assert printed.count("same") == 5 and "environment" not in printed


def test_a_changed_weight_is_named_with_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two", weight=1.25)
    assert digests.changes(digests.pins_of(one), two, one) == 2
    changed = [line for line in capsys.readouterr().out.splitlines() if "CHANGED" in line]
    assert "metrics.jsonl: epoch 1" in changed[0] and "1.25" in changed[0]
    assert "model.pt: state/conv.weight" in changed[1] and "largest difference 0.25" in changed[1]


def test_another_name_and_a_lost_file_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two", name="map1.weight")
    (two / "said" / "report.txt").unlink()
    assert digests.changes(digests.pins_of(one), two, one) == 2
    printed = capsys.readouterr().out
    assert "state/conv.weight is called state/map1.weight now" in printed
    assert "report.txt: is not made any more" in printed


def test_digests_go_by_type_shape_and_bytes() -> None:
    x = np.arange(6, dtype=np.float32)
    others = (x.reshape(2, 3), x.astype(np.float64), x[::-1], np.nextafter(x, np.float32(9)))
    given = digests.digests({str(i): value for i, value in enumerate((x, *others))})
    assert len(set(given.values())) == 5
    assert digests.digests({"a": x}) == digests.digests({"a": np.arange(12, dtype=np.float32)[::2] / 2})


def test_a_corpus_is_trimmed_in_table_and_files(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "toy")
    pins.trim(root, folds=2, every=4)
    names = [line.split(",")[0] for line in (root / "metadata" / "UrbanSound8K.csv").read_text().split()[1:]]
    assert names == ["1000-0-0-0.wav", "1004-0-0-0.wav", "2002-0-0-0.wav"]
    assert sorted(path.name for path in root.rglob("*.wav")) == names
