"""``teacher = "peer"``: two steps of one table, their runs in one pack, killed and gone on, repeated, reported, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import config, runs
from pipeline.config import InputError
from pipeline.engine.rerun import rerun
from pipeline.experiments import changing, explanation, planning, reading
from pipeline.runs.planned import PlannedRun, from_note
from tests import recipes
from tests.tiny import ROOT

STEP = '[[step]]\nname = "both"\nmix = "ce:1,hinton:1@T=1"\nteacher = "peer"\n'


def planned(folder: Path, text: str, *overrides: str, seeds: tuple[int, ...] = (0, 3)) -> list[PlannedRun]:
    (path := folder / "own.toml").write_text(text)
    experiment = changing.changed(reading.read(str(path)), [one for one in overrides if one.startswith("step.")])
    settings = config.read("default", [one for one in overrides if not one.startswith("step.")])
    levels, _ = planning.plan(experiment, settings, "tiny", folds=(1, 2), seeds=seeds)
    return [run for level in levels for run in level.runs]


def test_one_table_is_two_steps_of_one_level(tmp_path: Path) -> None:
    (path := tmp_path / "own.toml").write_text(STEP)
    levels, rows = planning.plan(reading.read(str(path)), config.read("default"), "tiny", folds=(1, 2), seeds=(0, 3))
    assert [len(level.runs) for level in levels] == [8] and list(rows) == ["own/both-1", "own/both-2"]
    by_place = {run.folder: run for run in levels[0].runs}
    assert len(by_place) == 8
    for run in levels[0].runs:
        first, second = run.cohort
        assert run in (first, second) and first != second and by_place[second.folder] == second
        assert (first.fold, first.drawn, first.step, second.step) == (second.fold, second.drawn, "both-1", "both-2")
        assert (first.member, second.member) == (0, 1) and run.parents == ()
        assert from_note(json.loads(json.dumps(run.noted())), levels[0].runs) == run
    assert planned(tmp_path, STEP.replace("hinton:1", "hinton:2"))[0].folder not in by_place
    alone = planned(tmp_path, STEP.replace('"peer"', '"teacher"'))  # no peer: other folders
    assert not {run.folder for run in alone} & by_place.keys() and all(run.cohort == (run,) for run in alone)
    both = planned(tmp_path, STEP, "step.both.mix=ce:1,soft:1", "step.both.epochs=3")
    assert {(str(run.mix), run.network.epochs) for run in both} == {("ce:1,soft:1", 3)}
    each = planned(tmp_path, STEP.replace('mix = "ce:1,hinton:1@T=1"', 'each.mix = ["ce:1,soft:1", "ce:1,hinton:1"]'))
    assert len({run.alike for run in each}) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (STEP.replace('"peer"', '["peer", "teacher"]'), "a peer learns itself; expected it alone"),
        (STEP.replace("ce:1,hinton:1@T=1", "ce"), "reads no teacher, so peers learn nothing from each other"),
        (STEP.replace("hinton:1@T=1", "contrast"), "contrast of mix .* keeps what a teacher said"),
        (STEP.replace("hinton:1@T=1", "direction"), "direction of mix .* is measured of a teacher once"),
        (STEP.replace("hinton:1@T=1", "dirichlet"), "reads the teacher's members"),
        (STEP + "rounds = 2\n", "rounds = 2 with teacher = 'peer': no round goes before"),
        ('[[step]]\nname = "first"\nmix = "ce:2"\n' + STEP + 'start = "first"\n', "start = 'first' .*the same weights"),
        (STEP + "cross_fitted = true\n", "cross_fitted = True with teacher = 'peer'"),
        (STEP + "balance = true\n", "balance = True with teacher = 'peer'"),
        (STEP + 'teacher_epoch = "best"\n', "teacher_epoch = best: it has no teacher"),
        (STEP + "teacher_dropout = 0.2\n", "teacher_dropout = 0.2: it has a peer, and no teacher before it"),
        (STEP + "mixup = 0.3\n", ""),
        (STEP.replace("@T=1", "@weigh=wsld") + "mixup = 0.3\n", "asks how sure the teacher is of one label"),
        (
            STEP.replace('"both"', '"peer"')
            .replace('= "peer"\nmix', '= "peer"\nmix', 1)
            .replace('teacher = "peer"', ""),
            "two steps are called 'peer'",
        ),
        (STEP + STEP.replace("both", "after").replace('"peer"', '"both"'), "no step 'both' to teach it: it is 2 steps"),
        (STEP + STEP.replace('"both"', '"after"').replace('"peer"', '["both-1", "both-2"]'), ""),
    ],
)
def test_what_goes_with_no_peer_is_refused_before_any_training(tmp_path: Path, text: str, message: str) -> None:
    if not message:
        assert planned(tmp_path, text)
        return
    with pytest.raises(InputError, match=message) as error:
        planned(tmp_path, text)
    assert "\n" not in str(error.value) and "expected" in str(error.value)


def test_students_that_were_made_unlike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differs from both-2, with which it learns in one pack"):
        planned(tmp_path, STEP, "step.both-1.epochs=3")


def test_what_it_explains() -> None:
    text = explanation.explained(
        reading.read("mutual"),
        config.read("default"),
        None,
        folds=(1, 2),
        seeds=(0,),
        dataset="urbansound8k",
        root=Path("runs"),
    )
    assert "\n  student-1 ⇄ student-2\n  alone\n" in text
    assert text.count("which learns from it in the same steps") == 2
    assert "In all 6 runs, 120 epochs, in 1 level:" in text
    assert "Rows of the report: mutual/student-1, mutual/student-2, mutual/alone." in text


#: Ends with kill -9 behind the third checkpoint, within the first epoch.
KILLED = """
import os, signal, sys
from pipeline.training import checkpoint
from tests import recipes
write, count = checkpoint.write, [0]
def third(*written):
    write(*written)
    count[0] += 1
    if count[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.write = third
recipes.go(__import__("pathlib").Path(sys.argv[1]), ["mutual"], minutes=0.0)
"""


@pytest.mark.slow
def test_killed_both_come_out_the_same_and_one_that_is_lost_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of a process of its own; then one of the pair is lost, and comes back as it was; then it is repeated."""
    monkeypatch.chdir(tmp_path)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    recipes.go(whole, ["mutual"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(stopped)], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(stopped.rglob("pack-*.pt")) and not list(stopped.rglob("result.json"))
    recipes.go(stopped, ["mutual"])
    expected = recipes.digests(whole)
    assert recipes.digests(stopped) == expected and len(expected) == 3
    monkeypatch.chdir(whole)
    first, second = (
        next(path) for path in (Path().rglob("student-1*/fold1-seed0"), Path().rglob("student-2*/fold1-seed0"))
    )
    assert runs.read(first).peer == second and runs.read(second).peer == first
    before = (second / "result.json").read_bytes()
    shutil.rmtree(first)
    recipes.go(whole, ["mutual"])
    assert recipes.digests(whole) == expected and (second / "result.json").read_bytes() == before
    repeated = rerun(first, None, say=lambda line: None)
    assert repeated.same and (second / "result.json").read_bytes() == before
    shutil.rmtree(second)
    with pytest.raises(InputError, match=r"no finished run in .*student-2.*, which learned from"):
        rerun(first, None, say=lambda line: None)
