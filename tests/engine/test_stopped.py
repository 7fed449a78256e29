"""A stopped training whose checkpoint, or the note beside it, is gone begins anew, says so in one line, and comes to the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import runs
from pipeline.engine import missing, outputs, stopped
from pipeline.engine.missing import Level
from pipeline.engine.rerun import rerun
from pipeline.engine.source import Source
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read
from pipeline.teacher_files.writing import write
from pipeline.training import checkpoint
from tests.chains import HOW, SETTINGS, write_source

FOLDS = '[[step]]\nname = "one"\nmix = "ce"\n'
OF_A_FILE = '[[step]]\nname = "one"\nmix = "soft"\nteacher = "told.npz"\n'
PEERS = '[[step]]\nname = "both"\nmix = "ce:1,hinton:1"\nteacher = "peer"\n'

LOST = {
    "checkpoint": "pt: no such file, and its note is there (it was lost, or training was stopped before it was first written)",
    "note": "json: no such file, and pack-",
    "both": ".checkpoints: no checkpoint of runs that have begun, one epoch far (it was lost",
}


def forget() -> None:
    outputs.loaded.cache_clear()
    outputs.taught.cache_clear()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.chdir(tmp_path)
    forget()
    yield write_source(tmp_path)
    forget()


def level_of(text: str, source: Source) -> Level:
    rng = np.random.default_rng(0)
    clips = np.array(source.clips.names)
    logits = rng.standard_normal((len(clips), 2, 3)).astype(np.float32)
    seen = np.array([3])
    about = {"clip": clips, "view": np.array(["clean", "noisy"]), "classes": np.array(["a", "b", "c"])}
    write(Path("told.npz"), {**about, "logits": logits, "trained_on": seen})
    Path("mine.toml").write_text(text)
    (level,) = plan(read("mine.toml"), SETTINGS, "tiny", folds=(1, 2), seeds=(0,))[0]
    return level


def train(level: Level, source: Source, capsys: pytest.CaptureFixture[str], **how: Any) -> list[str]:
    """What it says beside how far it is."""
    capsys.readouterr()
    missing.train([level], source, **{**HOW, "checkpoint_minutes": 5, **how})
    return capsys.readouterr().err.splitlines()


def stop_in_second_epoch(level: Level, source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    kept = checkpoint.write

    def write_and_stop(path: Path, payload: dict[str, Any], digest: str) -> None:
        kept(path, payload, digest)
        if all((run.folder / "metrics.jsonl").is_file() for run in level.runs):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "write", write_and_stop)
        train(level, source, capsys, checkpoint_minutes=0)


def told(lines: list[str]) -> list[str]:
    return [line for line in lines if "no such file" in line or "no checkpoint" in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "every"),
    [(FOLDS, ("checkpoint", "note", "both")), (OF_A_FILE, ("both",)), (PEERS, ("checkpoint",))],
    ids=("two folds", "of a file", "peers"),
)
def test_what_goes_on_is_gone(
    source: Source, text: str, every: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    level = level_of(text, source)
    assert told(train(level, source, capsys)) == []  # nothing was there
    assert told(train(level, source, capsys)) == []  # it has ended
    whole = {run.folder: runs.read(run.folder).result.weights for run in level.runs}
    folder = level.runs[0].home / ".checkpoints"
    for gone in every:
        Path("runs").rename(f"before {gone}")
        stop_in_second_epoch(level, source, capsys)
        (pack,), (note,) = folder.glob("pack-*.pt"), folder.glob("pack-*.json")
        for path in {"checkpoint": [pack], "note": [note], "both": [pack, note]}[gone]:
            path.unlink()
        lines = train(level, source, capsys)
        (line,) = told(lines)
        assert LOST[gone] in line and "anew" in line and str(folder) in line
        assert any(one.startswith("going on from") for one in lines) == (gone == "note")
        assert {run.folder: runs.read(run.folder).result.weights for run in level.runs} == whole
        assert told(train(level, source, capsys)) == [] and not list(folder.glob("pack-*"))


@pytest.mark.slow
def test_a_lost_result_a_pack_that_waits_and_a_repetition(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    level = level_of(FOLDS, source)
    stop_in_second_epoch(level, source, capsys)
    first, second = level.runs
    lines = [line for line in train(Level("one", (first,)), source, capsys) if "not asked for now" in line]
    assert len(lines) == 1 and f"{first.folder} begins anew" in lines[0]
    assert any(line.startswith("going on from") for line in train(level, source, capsys))
    (second.folder / "result.json").unlink()
    (line,) = told(train(level, source, capsys))
    assert line.startswith(f"{second.folder}/result.json: no such file, and model.pt is there")
    heard: list[str] = []
    target = Path("again/fold1-seed0")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stopped, "is_begun", lambda folder: False)
        patch.setattr(runs, "append_metrics", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        rerun(first.folder, target, say=heard.append)
    assert told(heard) == []
    for path in Path("again/.checkpoints").glob("*.pt"):
        path.unlink()
    assert rerun(first.folder, target, say=heard.append).same
    (line,) = told(heard)
    assert line.startswith("again/.checkpoints: no checkpoint") and "again/fold1-seed0 begins anew" in line
