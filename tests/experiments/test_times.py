"""The estimated time of ``--explain``, against a plain calculation from what finished runs took."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline import runs
from pipeline.experiments import times
from pipeline.processes import cores
from tests.recorded import reseal, write_run
from tests.tiny import QUICK, invoke, write_corpus


def took(folder: Path, seconds: float, *, epochs: int, pack: int = 1, threads: int | None = None) -> None:
    """Write into a run's files how long its pack took, and how it was trained."""
    result = json.loads((folder / "result.json").read_text()) | {"seconds": seconds, "epochs": epochs}
    about = json.loads((folder / "config.json").read_text())
    about["pack"] = {"runs": pack, "layout": "loop", "device": "cpu", "threads": threads}
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "result.json").write_text(json.dumps(result | {"runs_in_pack": pack}))
    reseal(folder)


def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(cores, "usable", lambda: 4)


def minutes(text: str) -> int:
    found = re.search(r"Time: about (\d+) minutes?, as finished runs in", text)
    assert found, text
    return int(found[1])


def test_known_seconds_give_the_minutes_of_a_plain_calculation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack's seconds are shared among its runs, and on a CPU among the processes that were at work at once."""
    four_cores(monkeypatch)
    root = tmp_path / "runs"
    took(write_run(tmp_path, 8), 600.0, epochs=10, pack=2, threads=1)  # 30 s an epoch of a run, four processes: 7.5 s
    assert minutes(times.time_of({"cnn2": 400}, root, "tiny")) == 400 * 7.5 / 60
    took(write_run(tmp_path, 8, fold=2), 600.0, epochs=10, pack=2, threads=4)  # alone on all threads: 30 s
    took(write_run(tmp_path, 8, fold=3), 60.0, epochs=20, pack=1, threads=2)  # two beside each other: 1.5 s
    assert minutes(times.time_of({"cnn2": 400}, root, "tiny")) == 400 * 7.5 / 60  # the median of the three
    took(write_run(tmp_path, 8, corpus="other"), 9000.0, epochs=10, threads=4)
    text = times.time_of({"cnn2": 400}, root, "tiny")
    assert minutes(text) == 50 and text.endswith("took, of this corpus.")
    text = times.time_of({"cnn2": 400}, root, "a third")  # of all four, whose median is that of 7.5 and 30 s
    assert minutes(text) == 400 * (7.5 + 30) / 2 / 60 and text.endswith("of whatever corpus and machine.")
    assert times.time_of({"cnn2": 1, "resnet18": 1}, root, "tiny").startswith(
        "Time: not known; no finished run of resnet18 "
    )
    assert times.time_of({}, root, "tiny") == "Time: none; all is finished."


def test_runs_that_are_fewer_than_processes_take_as_long_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four processes: no run is shared among them, and levels wait for each other."""
    four_cores(monkeypatch)
    root = tmp_path / "runs"
    took(write_run(tmp_path, 8), 600.0, epochs=10, pack=2, threads=1)  # 30 s an epoch of a run

    def of(*levels: int) -> int:
        network = SimpleNamespace(model="cnn2", epochs=40)
        runs_of = [[SimpleNamespace(network=network)] * count for count in levels]
        return minutes(times.time_of({"cnn2": 40 * sum(levels)}, root, "tiny", runs_of))

    each = 40 * 30 / 60
    assert [of(count) for count in (1, 3, 4, 5, 8, 9)] == [each, each, each, 2 * each, 2 * each, 3 * each]
    assert of(1, 8) == each + 2 * each
    took(write_run(tmp_path, 8), 600.0, epochs=10, pack=2, threads=2)  # both at once: 60 s each, in two processes
    assert of(1) == 40 * 60 / 60 and of(8) == 8 * 40 * 15 / 60
    monkeypatch.setattr(
        cores, "usable", lambda: 1
    )  # a container's: what torch calls two threads was one, one process at a time
    assert of(1) == 40 * 30 / 60 and of(8) == 8 * 40 * 30 / 60


def test_many_runs_of_one_network_hide_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By path the teachers come last, as many as there may be."""
    monkeypatch.setattr(times, "MEASURED", 2)
    for fold, model in enumerate(["tiny", "cnn2", "cnn2", "cnn2"], 1):
        folder = write_run(tmp_path, 8, fold=fold)
        about = json.loads((folder / "config.json").read_text()) | {"model": model}
        (folder / "config.json").write_text(json.dumps(about))
        took(folder, 60.0, epochs=1)
    assert minutes(times.time_of({"tiny": 3, "cnn2": 4}, tmp_path / "runs", "tiny")) == 7


@pytest.mark.slow
def test_of_runs_that_were_trained_the_estimate_is_their_own_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "toy")
    corpus = ("--dataset", "urbansound8k", "--data", "toy", *QUICK, "--set", "teacher.model=cnn2")
    for words in (
        ("features", *corpus, "--jobs", "1", "--backend", "sequential"),
        ("teacher", *corpus, "--folds", "1,2", "--pack", "1", "--jobs", "1"),
    ):
        done = invoke(*words)
        assert done.exit_code == 0, done.stderr
    rates = []
    for record in runs.find(Path("runs")):
        measured = sum(line["seconds"] for line in runs.read_metrics(record.folder))
        assert 0 < measured < record.result.seconds + 0.01  # and what comes before the first epoch
        rates.append(record.result.seconds / 3)
    (tmp_path / "long.toml").write_text('[[step]]\nname = "long"\nmix = "ce"\nepochs = 90000\n')
    text = invoke("experiment", "long.toml", *corpus, "--folds", "1,2,3", "--explain").stdout
    assert len(rates) == 2 and minutes(text) == pytest.approx(3 * 90000 * sum(rates) / 2 / 60, abs=0.51)
