"""Runs as one file: the same table on another machine, and nothing of a file that is not what it says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs
from pipeline.config import InputError
from pipeline.files import json_bytes, signed
from pipeline.runs import archive
from tests.recorded import write_run
from tests.tiny import audio_rkd

RUNS = Path("runs")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two mixes of two folds, of which one run goes back to another, and their archive."""
    where = tmp_path_factory.mktemp("archived")
    folders = [
        write_run(where, 6 + fold, mix=mix, fold=fold) for mix in ("soft:1", "angle:50,soft:1") for fold in (1, 2)
    ]
    teacher, student = folders[0].relative_to(where), folders[2]
    config = json.loads((student / "config.json").read_text()) | {"teacher": str(teacher), "lineage": [str(teacher)]}
    (student / "config.json").write_text(json.dumps(config))
    with contextlib.chdir(where):
        records = archive.chosen([RUNS / "tiny"], RUNS)
        archive.write(Path("table.zip"), records, RUNS)
    return where


def test_the_same_table_comes_out_elsewhere(place: Path, tmp_path: Path) -> None:
    here = audio_rkd(place, "report", "--dataset", "folder", "--data", str(place), "--no-page")
    here = here if here.returncode == 0 else audio_rkd(place, "report", "--no-page")
    assert here.returncode == 0, here.stderr
    shutil.copy(place / "table.zip", tmp_path / "other.zip")
    there = audio_rkd(tmp_path, "report", "other.zip", "--no-page")
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    for name in ("table.md", "table.csv", "table.tex"):
        assert (tmp_path / "reports" / "other" / "tiny" / name).read_text() == (
            place / "reports" / "tiny" / name
        ).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.zip", "reports"]


def test_the_same_runs_give_the_same_bytes_and_are_there_as_they_were(place: Path, tmp_path: Path) -> None:
    done = audio_rkd(place, "archive", "runs/tiny", "-o", str(tmp_path / "again.zip"))
    assert done.returncode == 0 and "4 runs" in done.stdout, done.stderr
    assert (tmp_path / "again.zip").read_bytes() == (place / "table.zip").read_bytes()
    assert archive.unpack(tmp_path / "again.zip", tmp_path / "out") == ("tiny",)
    files = sorted(path.relative_to(place) for path in (place / "runs").rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    for path in files:
        assert (place / path).read_bytes() == (tmp_path / "out" / path).read_bytes()


def test_a_run_comes_with_those_that_it_goes_back_to(place: Path) -> None:
    with contextlib.chdir(place):
        (student,) = RUNS.glob("tiny/*/angle50*/fold1-seed0")
        records = archive.chosen([student], RUNS)
        assert {record.folder for record in records} == {student, *runs.read(student).lineage}
        archive.write(Path("small.zip"), records, RUNS, weights=False)
        with zipfile.ZipFile("small.zip") as packed:
            assert not [name for name in packed.namelist() if name.endswith(".pt")] and len(packed.namelist()) > 6
        Path("small.zip").unlink()


def test_a_run_comes_with_the_one_beside_which_it_learned(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.chdir(place):
        (student,) = RUNS.glob("tiny/*/angle50*/fold1-seed0")
        (other,) = RUNS.glob("tiny/*/angle50*/fold2-seed0")
        peers = {student: other, other: student}
        monkeypatch.setattr(archive, "read", lambda folder: replace(runs.read(folder), peer=peers.get(folder)))
        assert {student, other} <= {record.folder for record in archive.chosen([student], RUNS)}


def test_what_cannot_be_archived_is_one_line(place: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    cases = {
        "runs/none": ("no such folder", "out.zip"),
        str(tmp_path): ("is not in runs", "out.zip"),
        "runs/tiny": ("is no archive of runs", str(tmp_path / "notes.txt")),
    }
    for run, (words, target) in cases.items():
        done = audio_rkd(place, "archive", run, "-o", target)
        errors = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
        assert done.returncode == 1 and len(errors) == 1 and words in errors[0], done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine" and not (place / "out.zip").exists()
    damaged = shutil.copytree(place, tmp_path / "damaged")
    with contextlib.chdir(damaged):
        (run,) = RUNS.glob("tiny/*/soft1/fold2-seed0")
        (run / "predictions.npz").write_bytes(b"no")
    done = audio_rkd(damaged, "archive", "-o", "out.zip", "runs/tiny")
    assert done.returncode == 1 and "predictions.npz" in done.stderr and not (damaged / "out.zip").exists()


GOOD = "runs/tiny/group/fold1-seed0/result.json"


def packed(path: Path, files: dict[str, bytes], about: Any = None, changes: Any = ()) -> Path:
    """An archive by hand: its table of contents says what is there, but for ``changes`` of it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if content == b"-> elsewhere":
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            target.writestr(info, content)
        each = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        }
        stated = signed({"schema": 1, "files": each} | dict(changes))
        target.writestr(archive.CONTENTS, json_bytes(stated) if about is None else about)
    return path


HOSTILE: dict[str, dict[str, Any]] = {
    "above": {"files": {"../../result.json": b"x"}},
    "above within": {"files": {"runs/tiny/../../../result.json": b"x"}},
    "absolute": {"files": {"/tmp/a/b/result.json": b"x"}},
    "drive": {"files": {"runs/C:/b/result.json": b"x"}},
    "backslash": {"files": {"runs\\..\\..\\result.json": b"x"}},
    "hidden": {"files": {"runs/tiny/.ssh/result.json": b"x"}},
    "another file": {"files": {"runs/tiny/group/fold1-seed0/run.sh": b"x"}},
    "elsewhere": {"files": {"cache/tiny/group/result.json": b"x"}},
    "link": {"files": {GOOD: b"-> elsewhere"}},
    "bomb": {"files": {GOOD: bytes(20_000_000)}},
    "twice": {"files": {GOOD: b"x", GOOD.replace("tiny", "TINY"): b"x"}},
    "not named": {"files": {GOOD: b"x"}, "changes": {"files": {}}},
    "another digest": {"files": {GOOD: b"x"}, "changes": {"files": {GOOD: {"sha256": 64 * "0", "bytes": 1}}}},
    "another size": {"files": {GOOD: b"x"}, "changes": {"files": {GOOD: {"sha256": 64 * "0", "bytes": 2}}}},
    "no table": {"files": {GOOD: b"x"}, "about": b"[]"},
    "deep table": {"files": {GOOD: b"x"}, "about": b"[" * 100_000},
    "unsigned table": {"files": {GOOD: b"x"}, "about": json.dumps({"schema": 1, "files": {}}).encode()},
    "empty": {"files": {}},
    "newer": {"files": {GOOD: b"x"}, "changes": {"schema": 2}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_would_write_or_be_anything_else_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    case = HOSTILE[kind]
    path = packed(tmp_path / "a.zip", case["files"], case.get("about"), case.get("changes", ()))
    (tmp_path / "deep" / "out").mkdir(parents=True)
    with pytest.raises(InputError, match="no whole archive of runs") as caught:
        archive.unpack(path, tmp_path / "deep" / "out")
    assert "\n" not in str(caught.value)
    outside = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.parts[:2] == ("deep", "out") for path in outside - {Path("a.zip")})
    assert sum(path.stat().st_size for path in (tmp_path / "deep").rglob("*") if path.is_file()) < 1000


def test_a_cut_or_flipped_archive_is_one_line_at_any_place(place: Path, tmp_path: Path) -> None:
    whole = (place / "table.zip").read_bytes()
    for step in range(12):
        at = step * len(whole) // 12
        for name, content in (("cut", whole[:at]), ("flipped", whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])):
            (tmp_path / f"{name}.zip").write_bytes(content)
            try:
                archive.unpack(tmp_path / f"{name}.zip", tmp_path / f"{name}{step}")
            except InputError as error:
                assert "\n" not in str(error)
            else:  # a bit that no reader looks at, such as a date
                assert name == "flipped"
                for path in (tmp_path / f"{name}{step}").rglob("*.*"):
                    assert path.read_bytes() == (place / path.relative_to(tmp_path / f"{name}{step}")).read_bytes()
    for file in ("cut.zip", "gone.zip"):
        done = audio_rkd(tmp_path, "report", file)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and not (tmp_path / "reports").exists(), (
            done.stderr
        )
