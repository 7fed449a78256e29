"""What is trained together: folders of which none learns from another, the longest packs first."""

from __future__ import annotations

import dataclasses
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import InputError, Settings
from pipeline.engine import missing, schedule
from pipeline.engine.missing import Level
from pipeline.engine.packs import PlannedPack
from pipeline.engine.source import Source
from pipeline.engine.whole import Whole
from pipeline.locks import locked
from pipeline.losses import LossMix
from pipeline.runs.planned import PlannedRun


def run(place: str, fold: int = 1, teachers: tuple[Path, ...] = (), bins: int = 20) -> PlannedRun:
    settings = Settings()
    settings = dataclasses.replace(settings, features=dataclasses.replace(settings.features, bins=bins))
    mix = LossMix.parse("angle,ce" if teachers else "ce")
    return PlannedRun("x", "x", "step", "toy", settings, fold, 0, mix, teachers, at=Path(place) / f"s/fold{fold}-seed0")


def stages(*levels: list[PlannedRun]) -> list[list[str]]:
    named = [Level(str(number), tuple(level)) for number, level in enumerate(levels)]
    sources: Any = [object() for _ in named]
    return [[level.name for level in stage] for stage, _ in missing.stages(named, sources)]


def test_levels_are_together_up_to_the_first_that_learns_from_one_of_them() -> None:
    a, b = run("a"), run("b")
    taught, later = run("c", teachers=(a.folder,)), run("d", teachers=(b.folder,))
    assert stages([a], [b]) == [["0", "1"]]
    assert stages([a], [b], [taught], [later]) == [["0", "1"], ["2", "3"]]
    assert stages([a], [taught], [b]) == [["0"], ["1", "2"]]  # b waits for nobody
    assert stages([a], [dataclasses.replace(taught, start=a.folder, teachers=())]) == [["0"], ["1"]]
    assert stages([a], [run("a", fold=2)]) == [["0"], ["1"]]  # one folder, one lock
    assert stages([a], [run("b", bins=40)]) == [["0"], ["1"]]  # other features
    assert stages() == []
    assert missing.stages(levels := [Level("a", (a,)), Level("b", (b,))], sources := [object(), object()]) == [  # type: ignore[arg-type]
        (levels, sources[0])
    ]
    many = [[run(f"{number}")] for number in range(missing.TOGETHER + 1)]  # each lock is an open file
    assert [len(stage) for stage in stages(*many)] == [missing.TOGETHER, 1]


def test_each_folder_has_its_own_checkpoints_and_what_was_begun_comes_first_each_the_longest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planned = [run(place, fold) for place in ("a", "b") for fold in (1, 2, 3)]
    asked: list[tuple[set[Path], Path]] = []

    def packed(some: list[PlannedRun], make: Any, checkpoints: Path, *_: object) -> list[PlannedPack]:
        asked.append(({one.home for one in some}, checkpoints))
        return [make(runs=tuple(part), layout="loop", checkpoint=checkpoints) for part in (some[:1], some[1:])]

    costs = {one.folder: 5.0 if one.home == Path("b") else 1.0 for one in planned}
    whole = Whole(6, tuple((folder, 20, cost) for folder, cost in costs.items()))
    monkeypatch.setattr(schedule, "packed", packed)
    make = partial(PlannedPack, files=(), data_set=None, device="cpu", command=whole)
    packs = schedule.packed_in_homes(planned, make, None, None, 2, print)
    assert asked == [({Path(name)}, Path(name) / ".checkpoints") for name in ("a", "b")]
    assert [whole.cost_of(pack.runs) for pack in packs] == [200, 100, 40, 20]
    without = schedule.packed_in_homes(planned, partial(make, command=None), None, None, 2, print)
    assert [len(pack.runs) for pack in without] == [1, 2, 1, 2]  # as they come
    Path("a").mkdir()
    Path("a/.checkpoints").touch()
    packs = schedule.packed_in_homes(planned, make, None, None, 2, print)
    assert [whole.cost_of(pack.runs) for pack in packs] == [40, 20, 200, 100]
    Path("b").mkdir()
    Path("b/.checkpoints").touch()
    for folder, epochs in ((planned[4].folder, 19), (planned[5].folder, 18)):  # of 5 an epoch, one and two are left
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("{}\n" * epochs)
    packs = schedule.packed_in_homes(planned, make, None, None, 2, print)
    assert [whole.cost_of(pack.runs, begun=True) for pack in packs] == [100, 40, 20, 15]
    assert [pack.runs[0].home.name for pack in packs] == ["b", "a", "a", "b"]
    for checkpoints in (
        Path("a/.checkpoints"),
        Path("b/.checkpoints"),
    ):  # lost: what is on record of epochs is trained again
        checkpoints.unlink()
    packs = schedule.packed_in_homes(planned, make, None, None, 2, print)
    assert [whole.cost_of(pack.runs) for pack in packs] == [200, 100, 40, 20]


def test_folders_that_wait_for_nobody_are_trained_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both are locked meanwhile; what is finished in one of them is left alone, and a line tells of all."""
    monkeypatch.chdir(tmp_path)
    planned = [run(f"{tmp_path}/{place}", fold) for place in ("a", "b", "c") for fold in (1, 2)]
    levels = [Level(name, tuple(one for one in planned if one.home.name == name)) for name in ("a", "b", "c")]
    calls: list[list[str]] = []

    def train_all(some: list[PlannedRun], source: object, **how: Any) -> list[str]:
        assert all((home / ".training.lock").is_file() for home in {one.home for one in some})
        calls.append([f"{one.home.name}{one.fold}" for one in some])
        return ["a line"]

    done = {planned[1].folder, *(one.folder for one in levels[2].runs)}
    monkeypatch.setattr(missing, "missing_runs", lambda some, source: [one for one in some if one.folder not in done])
    monkeypatch.setattr(schedule, "train_all", train_all)
    source = Source((), None, {}, ("x",), ())  # type: ignore[arg-type]
    assert missing.train_homes(levels, source) == (3, ["a line"]) and calls == [["a1", "b1", "b2"]]
    told = capfd.readouterr().err
    assert "a: 1 of 2 runs finished" in told and "c: 2 of 2 runs finished" in told and "nothing to do" in told
    assert f"a, b: 3 runs in 0 s, in 2 folders of {tmp_path}" in told
    assert not list(tmp_path.rglob("*.lock"))


def test_where_somebody_is_at_one_of_the_folders_nothing_of_the_others_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [Level(name, (run(f"{tmp_path}/{name}"),)) for name in ("a", "b")]
    touched: list[str] = []
    monkeypatch.setattr(missing, "missing_runs", lambda some, source: [*some])
    monkeypatch.setattr(missing.stopped, "given_up", lambda some: touched.append(some[0].home.name) or iter(()))
    source = Source((), None, {}, ("x",), ())  # type: ignore[arg-type]
    with locked(tmp_path / "b" / "training", "b"), pytest.raises(InputError) as refused:
        missing.train_homes(levels, source)
    lock = re.escape(str(tmp_path / "b" / ".training.lock"))
    assert re.fullmatch(
        rf".*/b is being written by process {os.getpid()} on \S+ since [-\d]+ [:\d]+( \(.+\))?; wait for it, or stop it, "
        rf"then the same command again \({lock}\)",
        str(refused.value),
    )
    assert not touched and not list(tmp_path.rglob("*.lock"))
