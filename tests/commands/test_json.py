"""--json: standard output is JSON alone, of the shape that schemas.json promises; messages go to standard error."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands, goals
from pipeline.report import told
from tests.recorded import write_run
from tests.tiny import audio_rkd, write_corpus

#: Commands that print no result but what they wrote or trained.
WORKING = {
    "archive",
    "demo",
    "ban",
    "calibrate",
    "data",
    "export",
    "features",
    "table3",
    "table4",
    "teacher",
    "teacher-file",
    "web",
}

TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def problems(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """Where ``value`` is not of a JSON Schema of these words: type, properties, required, items."""
    assert schema.keys() <= {"type", "properties", "required", "items"}, schema.keys()
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(isinstance(value, TYPES[kind]) and (kind == "boolean" or value is not True) for kind in kinds):
        return [f"{at}: {value!r} is not {kinds}"]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        lacking = [f"{at}.{key}: missing" for key in schema.get("required", ()) if key not in value]
        inner = [
            line for key in known.keys() & value.keys() for line in problems(value[key], known[key], f"{at}.{key}")
        ]
        return lacking + inner
    if isinstance(value, list) and "items" in schema:
        return [line for i, item in enumerate(value) for line in problems(item, schema["items"], f"{at}[{i}]")]
    return []


def answer(where: Path, *call: str) -> Any:
    done = audio_rkd(where, *call, "--json")
    assert done.stdout, done.stderr
    value = json.loads(done.stdout)
    assert problems(value, told.schemas()[call[0]]) == []
    return value


def test_the_check_of_a_schema_finds_what_is_wrong() -> None:
    schema = told.schemas()["doctor"]
    good = {"ok": True, "findings": [{"subject": "a", "ok": True, "text": "", "remedy": ""}], "next": ""}
    assert problems(good, schema) == []
    assert problems({**good, "ok": "yes"}, schema) and problems({"ok": True, "findings": []}, schema)
    assert problems({**good, "findings": [{"subject": 3}]}, schema)


def test_every_command_that_looks_has_it() -> None:
    have = {n for n in commands.names() if any("--json" in p.opts for p in commands.load(n).params)}
    assert set(told.schemas()) == have, "a command and the schemas differ"
    assert set(commands.names()) - have <= WORKING


def test_commands_without_runs(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    write_corpus(tmp_path / "toy", folds=(1, 2), clips=2)
    corpus = ("--dataset", "urbansound8k", "--data", "toy")
    assert answer(tmp_path, "status", *corpus)["clips"] == 4
    assert answer(tmp_path, "status")["next"].startswith("make demo")
    verified = answer(tmp_path, "verify", *corpus)
    assert verified["ok"] and verified["folds"] == {"1": 2, "2": 2}
    assert answer(tmp_path, "runs") == [] and answer(tmp_path, "follow", "--once") == {"runs": [], "finished": 0}
    assert answer(tmp_path, "check")["ok"]
    (mix,) = answer(tmp_path, "distill", "--explain", "--losses", "angle")["mixes"]
    assert mix["mix"] == "angle:50,soft:1" and [term["name"] for term in mix["terms"]] == ["angle", "soft"]
    assert "table3" in {one["name"] for one in answer(tmp_path, "experiment")["experiments"]}
    assert answer(tmp_path, "experiment", "table3", "--explain", *corpus)["experiment"] == "table3"
    assert answer(tmp_path, "search")["spaces"]
    assert {"table", "key", "value"} <= answer(tmp_path, "settings")[0].keys()
    assert answer(tmp_path, "settings", "--diff", "default", "small")["differences"]
    for call in (("distill", "--json"), ("experiment", "table3", "--json"), ("search", "strong", "--json")):
        done = audio_rkd(tmp_path, *call)
        assert done.returncode == 2 and "--json is of what --explain prints" in done.stderr and not done.stdout


def test_commands_on_runs(tmp_path: Path) -> None:
    for fold in (1, 2, 3):
        write_run(tmp_path, 5 + fold, fold=fold)
        write_run(tmp_path, 6 + fold, fold=fold, mix="angle:50,soft:1")
    table = answer(tmp_path, "report", "--no-page")
    assert [row["mix"] for row in table["rows"]] == ["soft:1", "angle:50,soft:1"] and table["page"] is None
    assert [row["mean_percent"] for row in table["rows"]] == pytest.approx([70, 80])
    assert len(answer(tmp_path, "runs")) == 6
    compared = answer(tmp_path, "compare", "soft", "angle")
    assert compared["comparison"]["difference"] == pytest.approx(10) and len(compared["a"]["runs"]) == 3
    assert [row["fold"] for row in answer(tmp_path, "ensemble", "runs/tiny")["rows"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("make features", "audio-rkd features"),
        ("make features (audio-rkd features) with", "audio-rkd features with"),
        ("'make teacher' (or 'python cli.py teacher') with", "audio-rkd teacher with"),
        ("make data DATASET=esc50, or DATA=FOLDER", "audio-rkd data --dataset esc50, or --data FOLDER"),
        ("name it (--data FOLDER, make: DATA=FOLDER)", "name it (--data FOLDER)"),
        ("--dataset there (make: DATASET= DATA=)", "--dataset there"),
        ("make distill LOSSES=angle,area DATASET=esc50", "audio-rkd distill --losses angle,area --dataset esc50"),
        ('make features SET="a.b=1 c.d=2" again', "audio-rkd features --set a.b=1 --set c.d=2 again"),
        ("say make final again", "say audio-rkd final again"),
        ("make teacher, then make distill", "audio-rkd teacher, then audio-rkd distill"),
        ("make export RUN=runs/a/fold1-seed0", "audio-rkd export runs/a/fold1-seed0"),
        (
            "make distill, or make distill with other LOSSES",
            "audio-rkd distill, or audio-rkd distill with other --losses",
        ),
        ("make the export again", "make the export again"),
        ("make room, or make it readable", "make room, or make it readable"),
        ("make setup (or: pip install -e .)", "pip install audio-rkd"),
        ("make features DATA=a.csv FIELDS=path=file", "audio-rkd features --data a.csv --columns path=file"),
        ("make archive RUN=runs/a TO=a.zip", "audio-rkd archive runs/a -o a.zip"),
    ],
)
def test_messages_outside_a_clone(text: str, expected: str) -> None:
    assert goals.without_make(text) == expected
    assert goals.here(text) == text, "this is a clone"


def test_whoever_types_the_command_is_told_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for program, expected in (
        ("/anywhere/bin/audio-rkd", "audio-rkd features --data my"),
        ("cli.py", "make features DATA=my"),
    ):
        monkeypatch.setattr(sys, "argv", [program, "status"])
        assert goals.here("make features DATA=my") == expected


def test_no_message_names_make_outside_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goals, "in_clone", lambda: False)
    for call in (
        ("status",),
        ("report",),
        ("inspect",),
        ("distill", "--dataset", "esc50"),
        ("features", "--data", "nowhere"),
        ("table4",),
        ("export",),
        ("retrieval",),
    ):
        done = audio_rkd(tmp_path, *call)
        assert "make " not in done.stdout + done.stderr and "audio-rkd " in done.stdout + done.stderr, call
