"""``prune``: what is used stays, whoever uses it; what is removed goes as a whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import cache, locks
from pipeline.config import InputError, Settings
from pipeline.report import disk, pruning
from pipeline.runs import experiments
from tests.recorded import write_run
from tests.tiny import audio_rkd


def changed(folder: Path, **values: Any) -> Path:
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def step(where: Path, name: str, fold: int, **values: Any) -> Path:
    """A run of an experiment's step, relative to ``where``."""
    run = write_run(where, 7, fold=fold, seed=9)
    target = where / "runs" / "tiny" / "experiment-chain" / name / f"fold{fold}-seed0"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(run, target)
    changed(target, role="step", experiment="chain", step=name, seed=0, **values)
    return target.relative_to(where)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of a table and of none, unfinished ones, features of theirs and of nobody, checkpoints, a repetition."""
    monkeypatch.chdir(tmp_path)
    student = write_run(tmp_path, 8)
    first = step(tmp_path, "first", 1)
    second = step(tmp_path, "second", 1, teacher=str(first), lineage=[str(first)])
    step(tmp_path, "forgotten", 1)
    step(tmp_path, "forgotten-too", 1, lineage=["runs/tiny/experiment-chain/forgotten/fold1-seed0"])
    experiments.note_rows(Path("runs"), "tiny", "chain", {"chain": [second.parent]})
    write_run(tmp_path, None, fold=2)
    going, lost = write_run(tmp_path, None, fold=3), write_run(tmp_path, None, mix="ce:1")
    checkpoints = student.parents[1] / ".checkpoints"
    checkpoints.mkdir()
    for name, folders in (("pack-a", [going]), ("pack-b", [student])):
        cells = [{"folder": str(folder.relative_to(tmp_path))} for folder in folders]
        (checkpoints / f"{name}.json").write_text(json.dumps({"cells": cells, "layout": "loop", "measured": {}}))
        (checkpoints / f"{name}.pt").write_bytes(b"checkpoint")
    (checkpoints / "pack-c.pt").write_bytes(b"of nobody knows what")
    shutil.copytree(student, student.parent / ".again" / student.name)
    for spec in (
        Settings().features,
        Settings(features=type(Settings().features)(bins=30, bins_per_octave=30)).features,
    ):
        path = cache.fold_path(Path("cache"), "tiny", spec, 1)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"features")
    assert lost.is_dir()
    return tmp_path


def found(kind: str | None = None) -> dict[str, tuple[bool, str]]:
    items = disk.survey(Path("cache"), Path("runs"))
    return {str(one.path): (one.removable, one.use) for one in items if kind in (None, one.kind)}


def removable(kind: str) -> set[str]:
    return {"/".join(Path(path).parts[2:]) for path, (free, _) in found(kind).items() if free}


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def test_what_a_table_uses_or_goes_on_stays_and_the_rest_is_told(place: Path) -> None:
    runs = removable(disk.RUNS)
    group = next(Path("runs/tiny").glob("student-*")).name
    assert runs == {
        "experiment-chain/forgotten/fold1-seed0",
        "experiment-chain/forgotten-too/fold1-seed0",
        f"{group}/soft1/fold2-seed0",
        f"{group}/ce1/fold1-seed0",
    }
    uses = {use for _, use in found(disk.RUNS).values()}
    assert "unfinished: goes on from its checkpoint" in uses and len(uses) == 4
    assert [Path(path).name for path in removable(disk.CHECKPOINTS)] == ["pack-b.pt"]
    assert len(removable(disk.FEATURES)) == 1 and removable(disk.FEATURES) != set(found(disk.FEATURES))
    assert len(removable(disk.REPETITIONS)) == 1
    assert {kind for kind in disk.KINDS if removable(kind)} == {"features", "runs", "checkpoints", "repetitions"}


def test_looking_changes_nothing_and_removal_takes_that_alone(place: Path) -> None:
    before = files()
    for arguments in ((), ("--dry-run",), ("--remove", "all", "--dry-run"), ("--json",)):
        done = audio_rkd(place, "prune", *arguments)
        assert done.returncode == 0 and files() == before, done.stderr
    told = json.loads(done.stdout)
    free = {one["path"] for one in told["items"] if one["removable"]}
    assert told["removable_bytes"] == sum(one["bytes"] for one in told["items"] if one["removable"]) > 0
    done = audio_rkd(place, "prune", "--remove", "runs", "--remove", "features")
    assert done.returncode == 0, done.stderr
    gone = {path for path in free if "/.checkpoints/" not in path and "/.again/" not in path}
    kept = {name: content for name, content in before.items() if not any(name.startswith(f"{path}/") for path in gone)}
    assert files() == kept and len(kept) < len(before)
    assert not list(Path().rglob(".*.old")) and not Path("runs/tiny/experiment-chain/forgotten").exists()
    assert audio_rkd(place, "prune", "--remove", "all").returncode == 0
    assert found() and not any(free for free, _ in found().values())
    assert next(Path("runs").rglob("pack-a.pt")).is_file() and next(Path("runs").rglob("pack-c.pt")).is_file()


@contextlib.contextmanager
def somebody_holds(path: Path, name: str = "process 1 on another-machine") -> Iterator[None]:
    """A lock as another process has it."""
    lock = locks.lock_of(path)
    with lock.open("w") as file:
        file.write(f"{name} since then")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    lock.unlink()


def test_what_is_locked_is_in_use_and_so_are_the_features_of_who_trains(place: Path) -> None:
    chain = Path("runs/tiny/experiment-chain")
    with somebody_holds(chain / "training"):
        assert "experiment-chain/forgotten/fold1-seed0" not in removable(disk.RUNS)
        assert removable(disk.FEATURES) == set()
        assert any("in use by process 1 on another-machine" in use for _, use in found().values())
        before = files()
        done = audio_rkd(place, "prune", "--remove", "features")
        assert done.returncode == 0 and files() == before
    items = pruning.chosen(disk.survey(Path("cache"), Path("runs")), [disk.RUNS])
    with somebody_holds(chain / "training"):  # since it was looked at
        lines: list[str] = []
        removed = pruning.remove(items, lambda: disk.survey(Path("cache"), Path("runs")), lines.append)
    assert len(removed) == len(items) - 2 and (chain / "forgotten" / "fold1-seed0").is_dir()
    assert len(lines) == 2 and all("another-machine" in line for line in lines)


def test_a_process_of_a_machine_whose_name_begins_alike_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "signature", lambda: "process 1 on gpu1")
    for name, others in (
        ("gpu10", ["process 1 on gpu10 since then"]),
        ("gpu1.local", ["process 1 on gpu1.local since then"]),
        ("gpu1", []),
    ):
        with somebody_holds(tmp_path / "training", f"process 1 on {name}"):
            assert [holder for _, holder in disk.held_locks([tmp_path])] == others


def test_a_run_that_is_finished_or_used_since_it_was_looked_at_stays(place: Path) -> None:
    items = pruning.chosen(disk.survey(Path("cache"), Path("runs")), [disk.RUNS])
    forgotten = Path("runs/tiny/experiment-chain/forgotten-too")
    experiments.note_rows(Path("runs"), "tiny", "chain", {"later": [forgotten]})
    lines: list[str] = []
    pruning.remove(items, lambda: disk.survey(Path("cache"), Path("runs")), lines.append)
    assert forgotten.is_dir() and Path("runs/tiny/experiment-chain/forgotten").is_dir()
    assert len(lines) == 2 and all("used by now" in line for line in lines)


def test_killed_in_between_no_run_is_half_there_and_the_rest_is_a_leftover(place: Path) -> None:
    def killed(path: Path) -> None:
        (path / "result.json").unlink(missing_ok=True)
        raise KeyboardInterrupt

    items = pruning.chosen(disk.survey(Path("cache"), Path("runs")), [disk.RUNS])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pruning.shutil, "rmtree", killed)
        pruning.remove(items, lambda: disk.survey(Path("cache"), Path("runs")), print)
    assert not items[0].path.exists()
    (half,) = Path("runs").rglob(".*.old")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    half.rename(half.with_name(half.name.replace(f".{os.getpid()}.", f".{ended.pid}.")))
    assert len(removable(disk.LEFTOVERS)) == 1 and str(items[0].path) not in found(disk.RUNS)
    assert audio_rkd(place, "prune", "--remove", "leftovers").returncode == 0
    assert not list(Path("runs").rglob(".*.old"))


def test_what_cannot_be_read_keeps_the_features_and_a_link_is_left(place: Path, tmp_path: Path) -> None:
    forgotten = Path("runs/tiny/experiment-chain/forgotten-too/fold1-seed0")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(forgotten, elsewhere)
    forgotten.symlink_to(elsewhere)
    (student,) = Path("runs/tiny").glob("student-*/soft1/fold1-seed0")
    (student / "config.json").write_text("{")
    assert removable(disk.FEATURES) == set() and str(student) not in found(disk.RUNS)
    audio_rkd(place, "prune", "--remove", "all")
    assert forgotten.is_symlink() and (elsewhere / "result.json").is_file() and student.is_dir()


FORGOTTEN = "experiment-chain/forgotten-too/fold1-seed0"
CHAIN = Path("runs/tiny/experiment-chain")


def test_runs_without_their_experiments_note_or_beside_stopped_ones_stay(place: Path) -> None:
    assert FORGOTTEN in removable(disk.RUNS)
    checkpoint = CHAIN / ".checkpoints" / "pack.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"of an experiment that was killed")
    going = {"cells": [{"folder": str(CHAIN / "second" / "fold2-seed0")}], "layout": "loop", "measured": {}}
    checkpoint.with_suffix(".json").write_text(json.dumps(going))
    assert FORGOTTEN not in removable(disk.RUNS)
    shutil.rmtree(checkpoint.parent)
    (CHAIN / experiments.NOTE).unlink()  # written at the end: a killed experiment has none
    assert not any("experiment-chain" in name for name in removable(disk.RUNS))


def test_what_runs_go_back_to_by_any_path_and_what_lost_its_result_stays(place: Path) -> None:
    target = (place / "runs" / "tiny" / FORGOTTEN).resolve()
    changed(CHAIN / "second" / "fold1-seed0", teacher=str(target), lineage=[str(target)])
    assert FORGOTTEN not in removable(disk.RUNS)
    (target / "result.json").unlink()
    assert FORGOTTEN not in removable(disk.RUNS)
    changed(CHAIN / "second" / "fold1-seed0", teacher=None, lineage=[])
    assert FORGOTTEN not in removable(disk.RUNS)  # its weights are there
    (target / "model.pt").unlink()
    assert FORGOTTEN in removable(disk.RUNS)


def test_a_folder_that_is_more_than_a_run_stays(place: Path) -> None:
    forgotten = Path("runs/tiny") / FORGOTTEN
    (forgotten / "notes.txt").write_text("a user's own")
    assert FORGOTTEN not in removable(disk.RUNS)
    (forgotten / "notes.txt").unlink()
    for name in ("config.json", "result.json"):  # a copy above runs, whose folder is all of them
        shutil.copy(forgotten / name, CHAIN / name)
    shutil.copytree(forgotten, CHAIN / "forgotten-too" / "kept-for-later")
    gone = removable(disk.RUNS)
    assert "experiment-chain" not in gone and not any("kept-for-later" in name for name in gone) and FORGOTTEN in gone


def test_final_students_need_their_features_too(place: Path) -> None:
    assert len(removable(disk.FEATURES)) == 1
    finals = Path("finals/tiny/teacher-x")
    finals.mkdir(parents=True)
    with somebody_holds(finals / "training"):
        assert removable(disk.FEATURES) == set()
    shutil.copytree(next(Path("runs/tiny").glob("student-*/soft1/fold1-seed0")), finals / "fold0-seed0")
    settings = json.loads((finals / "fold0-seed0" / "config.json").read_text())["settings"]
    settings["features"] |= {"bins": 30, "bins_per_octave": 30}
    changed(finals / "fold0-seed0", settings=settings)
    assert removable(disk.FEATURES) == set()


def test_folders_in_the_cache_that_are_not_of_features_stay(place: Path) -> None:
    before = removable(disk.FEATURES)
    for folder, name in (("teachers", "mine.h5"), ("mine", "sounds.h5")):
        (Path("cache/tiny") / folder).mkdir()
        (Path("cache/tiny") / folder / name).write_bytes(b"a user's own")
    assert removable(disk.FEATURES) == before


def test_a_corpus_is_one_folder_of_runs(place: Path) -> None:
    for corpus in ("..", ".", "../runs", "tiny/experiment-chain"):
        with pytest.raises(InputError, match="expected a corpus"):
            disk.survey(Path("cache"), Path("runs"), (), corpus)


def test_unfinished_features_go_on(place: Path) -> None:
    (unused,) = removable(disk.FEATURES)
    (Path("cache/tiny") / unused / "fold2.h5.parts").mkdir()
    assert removable(disk.FEATURES) == set()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(("--corpus", "none"), 1, "nothing of 'none'"), (("--remove", "everything"), 2, "Invalid value for '--remove'")],
)
def test_wrong_input_is_one_line(place: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = audio_rkd(place, "prune", *arguments)
    assert done.returncode == code and words in done.stderr.splitlines()[-1]


def test_the_command_knows_the_kinds_that_there_are() -> None:
    from pipeline.commands import prune

    assert prune.KINDS == disk.KINDS
