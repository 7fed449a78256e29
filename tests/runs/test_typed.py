"""Outside of runs/ nobody knows how a run is written down: records are typed, and a role is asked of them."""

import ast
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline import runs
from pipeline.config import KINDS, Settings
from pipeline.runs.record import UNFINISHED, Pack, Record, Result
from tests.tiny import ROOT

#: What gives a record as a dictionary.
UNTYPED = {"read_config", "read_result"}

OUTSIDE = sorted(
    path
    for path in [ROOT / "cli.py", *(ROOT / "pipeline").rglob("*.py"), *(ROOT / "bench").glob("*.py")]
    if ROOT / "pipeline" / "runs" not in path.parents
)


def name_of(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def faults(path: Path) -> list[str]:
    lines = []
    for node in ast.walk(ast.parse(path.read_text())):
        if name_of(node) in UNTYPED:
            lines.append(f"{path.name}:{node.lineno}: {name_of(node)} gives a dictionary; expected runs.read")
        if isinstance(node, ast.Compare) and "role" in map(name_of, (node.left, *node.comparators)):
            lines.append(f"{path.name}:{node.lineno}: a role is compared; expected is_teacher and the like")
    return lines


def test_records_are_typed_outside_of_runs() -> None:
    assert len(OUTSIDE) > 150
    assert [line for path in OUTSIDE for line in faults(path)] == []


@pytest.mark.parametrize("teachers", [(), ("runs/t/fold1-seed0",), ("runs/t/fold1-seed0", "runs/t/fold1-seed1")])
@pytest.mark.parametrize("experiment", [("", ""), ("mine", "last")])
def test_a_record_comes_back_as_it_was_written(
    tmp_path: Path, teachers: tuple[str, ...], experiment: tuple[str, str]
) -> None:
    paths = tuple(map(Path, teachers))
    record = Record(
        folder=tmp_path,
        role="step" if experiment[0] else "student",
        corpus="tiny",
        dataset="folder",
        synthetic=True,
        model="cnn2",
        preset="demo",
        fold=1,
        seed=3,
        recorded_mix="soft:1",
        recorded_settings={name: asdict(getattr(Settings(), name)) for name in KINDS},
        result=Result(UNFINISHED),
        all_folds=(1, 2, 3),
        data={1: "a", 2: "b"},
        skipped={1: 0, 2: 4},
        classes=("bark", "siren"),
        shape=(5, 20, 173),
        slug="soft1",
        teacher=paths if len(paths) > 1 else paths[0] if paths else None,
        lineage=paths,
        teacher_weights=dict.fromkeys(paths, "c"),
        experiment=experiment[0] or None,
        step=experiment[1] or None,
        pack=Pack(4, "loop", "cpu", 2, Path("runs/x/fold1-seed3"), {"run_steps_per_second": 3.5}),
    )
    runs.write_atomic(tmp_path / "config.json", runs.json_bytes(runs.config_of(record)))
    assert runs.read(tmp_path) == record
    result = Result("trained", 0.5, 0.75, 3, 4, 100, 116538, 0.5, 0.25, 1.5, 0.75, 12.5, 4, "", "2026-01-01", "ab")
    runs.write_atomic(tmp_path / "result.json", runs.json_bytes(runs.result_of(result)))
    assert runs.read(tmp_path).result == result


def test_a_run_that_stopped_names_the_figure_that_it_lacks() -> None:
    stopped = Result("failed", chance=0.4, nll=0.5, failure="not finite")
    kept = runs.result_of(stopped)
    assert kept["map"] is None and runs.reading.result_of(kept) == stopped
    assert "map" not in runs.result_of(Result("failed", failure="not finite"))
