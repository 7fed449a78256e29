"""Rows of one mix whose teachers differ stand apart, in every table that makes rows of runs; those of one teacher stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import runs
from pipeline.deploy import kin
from pipeline.report import alike, experiments, few_shot, other_classes, recalls
from pipeline.report.explaining.listeners import DISTILLED, TEACHER, Listener
from pipeline.runs import Record
from pipeline.runs.experiments import NotedRow
from pipeline.samplers import Episode
from tests.recorded import write_run

FOLDS = (1, 2)


@pytest.fixture
def teachers(tmp_path: Path) -> dict[str, list[Path]]:
    """Finished runs of both folds by two settings."""
    by_rate = {"slow": 0.01, "fast": 0.1}
    return {name: [write_run(tmp_path, 5, fold=fold, lr=rate) for fold in FOLDS] for name, rate in by_rate.items()}


def student(root: Path, fold: int, step: str, *taught_by: Path, **about: Any) -> Record:
    """A step's run of always the same settings and mix."""
    record = runs.read(write_run(root, 6, fold=fold, mix="angle:1", seed=1))
    folder = root / "runs" / "tiny" / "experiment-x" / step / f"fold{fold}-seed1"
    runs_alone = tuple(path for path in taught_by if path.suffix != ".npz")
    told = {"role": runs.STEP, "step": "x", "teacher": taught_by, "lineage": runs_alone, "folder": folder, **about}
    return replace(record, **told)


def of_both(root: Path, teachers: dict[str, list[Path]]) -> list[Record]:
    """Students of both kinds of teachers, in both folds."""
    return [
        student(root, fold, f"x-cnn2-default-{name}", folder)
        for name, folders in teachers.items()
        for fold, folder in zip(FOLDS, folders)
    ]


def test_few_shot_rows_are_of_one_kind_of_teachers(
    tmp_path: Path, teachers: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = Episode(2, 1, 3), Episode(2, 5, 3)
    records = of_both(tmp_path, teachers)
    shares = {record.folder: np.array([0.25, 0.75]) + number / 10 for number, record in enumerate(records)}
    monkeypatch.setattr(few_shot, "all_classes", lambda record: ("a", "b", "c", "d"))
    monkeypatch.setattr(few_shot, "measured", lambda record, *about: dict.fromkeys(episodes, shares[record.folder]))
    rows, notes = few_shot.rows_of(records, way=2)
    assert [(row.runs, round(row.mean)) for row in rows] == 2 * [(2, 75), (2, 55)]  # of both folds, by folder
    assert len({row.name for row in rows}) == 2 and len(notes) == 2
    for row, name in zip(rows, ("fast", "slow")):
        (line,) = [note for note in notes if note.startswith(row.name)]
        assert f"x-cnn2-default-{name}, taught by {teachers[name][0].parent}." in line
    alone, notes = few_shot.rows_of([record for record in records if record.teachers[0] in teachers["slow"]], way=2)
    assert [row.name for row in alone] == 2 * ["angle:1,soft:1, cnn2"] and not notes


def test_what_else_tells_teachers_apart(tmp_path: Path, teachers: dict[str, list[Path]]) -> None:
    one, other = Path("one.npz"), Path("other.npz")
    slow, fast = teachers["slow"][0], teachers["fast"][0]
    again = slow.with_name("fold1-seed5")
    twice = {"lineage": (slow,), "start": slow}
    of_epoch = student(tmp_path, 1, "x", slow)
    epoch = {
        **of_epoch.recorded_settings,
        "student": {**of_epoch.recorded_settings["student"], "teacher_epoch": "best"},
    }
    unlike = [
        student(tmp_path, 1, "x"),
        student(tmp_path, 1, "x", slow),
        student(tmp_path, 1, "x", fast),
        student(tmp_path, 1, "x", slow, fast),
        student(tmp_path, 1, "x", slow, again),
        student(tmp_path, 1, "x", slow, slow.with_name("fold1-seed6")),
        student(tmp_path, 1, "x", slow, **twice),
        student(tmp_path, 1, "x", one, teacher_weights={one: "1"}),
        student(tmp_path, 1, "x", one, teacher_weights={one: "2"}),
        student(tmp_path, 1, "x", slow, crossed=True),
        replace(of_epoch, recorded_settings=epoch),
    ]
    assert len({alike.kind_of(record) for record in unlike}) == len(unlike)
    files = {one: "1", other: "2"}  # a file for each held-out fold, both of them named
    each = [student(tmp_path, f, "x", p, teacher_weights={p: files[p]}, contents=files) for f, p in zip(FOLDS, files)]
    whole = student(tmp_path, 1, "x", one, other, teacher_weights=files)
    crossed = [student(tmp_path, fold, "x", *teachers["slow"], crossed=True) for fold in FOLDS]
    for same in (each, crossed, of_both(tmp_path, teachers)[:2]):
        assert len({alike.kind_of(record) for record in same}) == 1
    assert alike.kind_of(whole) == alike.kind_of(each[0])


def test_draws_of_the_classes_are_one_row_and_other_shares_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Students and teachers of one division alike, three divisions for each seed."""
    texts = {"first": "0%:50%@1", "second": "0%:50%@2", "more": "0%:60%@1"}
    plain = student(tmp_path, 1, "x")

    def of(name: str, **about: Any) -> Record:
        own = {**plain.recorded_settings["student"], "classes": texts[name]}
        return replace(plain, recorded_settings={**plain.recorded_settings, "student": own}, **about)

    monkeypatch.setattr(alike.runs, "finished", lambda folder: True)
    monkeypatch.setattr(alike.runs, "read", lambda folder: of(folder.name))
    kinds = {name: alike.kind_of(of("first", teacher=Path(name), lineage=(Path(name),))) for name in texts}
    assert kinds["first"] == kinds["second"] != kinds["more"]
    assert alike.kind_of(of("second", teacher=Path("second"), lineage=(Path("second"),))) == kinds["first"]
    assert alike.kind_of(of("more", teacher=Path("first"), lineage=(Path("first"),))) != kinds["first"]


def test_the_rows_of_other_classes_are_of_one_kind_of_teachers(
    tmp_path: Path, teachers: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_classes, "measured", lambda *about: dict.fromkeys(("ncm", "old"), 0.5))
    rows, lines = other_classes.rows_of(of_both(tmp_path, teachers))
    assert [row.runs for row in rows] == [2, 2] and len({row.method for row in rows}) == 2
    assert [f"taught by {teachers[name][0].parent}." in line for name, line in zip(("slow", "fast"), lines)] == [
        True
    ] * 2
    rows, lines = other_classes.rows_of(of_both(tmp_path, teachers)[:2])
    assert [(row.method, row.runs) for row in rows] == [("angle:1,soft:1", 2)] and not lines


def test_recalls_of_teachers_are_of_one_kind(
    tmp_path: Path, teachers: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalls, "measured", lambda record: [("folds", "cosine", [0.5, 0.5, 0.5, 0.5])])
    records = of_both(tmp_path, teachers)
    space = [replace(one, result=replace(one.result, status="outputs untrained")) for one in records]
    (section,) = recalls.section({"slow": space[:2], "fast": space[2:]})
    ours = {str(row[0]): row[-1] for row in section.tables[0].rows}
    assert len(ours) == 4 and set(ours.values()) == {2}
    assert sum(name.startswith("soft:1 (teacher) (") for name in ours) == 2


def test_explain_and_cost_have_no_runs_of_other_teachers(tmp_path: Path, teachers: dict[str, list[Path]]) -> None:
    records = of_both(tmp_path, teachers)

    def apart(kind: str, some: Sequence[Record]) -> list[str]:
        return [Listener(kind, record).row for record in some]

    for kind in (DISTILLED, TEACHER):
        rows = apart(kind, records)
        assert rows[0] == rows[1] != rows[2] == rows[3]
    every = [*records, *(runs.read(folder) for folders in teachers.values() for folder in folders)]
    for record, own in zip(records, [*teachers["slow"], *teachers["fast"]]):
        fellows = [one.folder for one in records if one.folder.parent == record.folder.parent]
        assert [one.folder for one in kin.siblings(record, every)] == fellows
        found = kin.teacher_of(record, every)
        assert found and found.folder == own
    assert kin.teacher_of(student(tmp_path, 1, "y", Path("one.npz")), every) is None
    taught = replace(student(tmp_path, 1, "z", records[0].folder), step="z")
    found = kin.teacher_of(taught, every)
    assert found == records[0] and kin.name_of(found) == "step x cnn2" != kin.name_of(taught)  # whose time is whose


def test_rows_of_one_name_and_of_other_teachers_are_two(tmp_path: Path, teachers: dict[str, list[Path]]) -> None:
    records = of_both(tmp_path, teachers)
    noted = [NotedRow("x", record.folder.parent) for record in (records[0], records[2])]
    by_name = experiments.runs_by_name(records, noted)
    digest = records[0].digest
    assert by_name == {f"x ({digest})": records[:2], f"x ({digest}, fast)": records[2:]}
    of_one = [replace(record, teacher=records[0].teacher, lineage=records[0].lineage) for record in records]
    assert experiments.runs_by_name(of_one, noted) == {f"x ({digest})": of_one}
