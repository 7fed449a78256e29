"""Searches on made-up features: the held-out fold is never read, losers are stopped, what was killed goes on with the same trials."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import config, runs, training
from pipeline.config import InputError, TrainSettings
from pipeline.engine import outputs, packs
from pipeline.engine.source import Source
from pipeline.losses import LossMix
from pipeline.report import check, experiments
from pipeline.search import choice, explanation, nested, planning, record, searching, space
from pipeline.search.planning import Search
from tests.chains import SPEC, write_source
from tests.poison import poisoned
from tests.tiny import ROOT

HOW = {"device": "cpu", "jobs": 1, "checkpoint_minutes": 5.0}

SPACE = """
losses = "ce:{labels},hinton:1@T=2"
trials = 4
halving = 2
least_epochs = 1
[student]
lr = {low = 1e-3, high = 1e-1, log = true}
[mix]
labels = [0.5, 1.0]
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.chdir(tmp_path)
    outputs.loaded.cache_clear()
    outputs.taught.cache_clear()
    return write_source(tmp_path)


def search_of(source: Source, text: str = SPACE, name: str = "quick", **changes: Any) -> Search:
    Path(f"{name}.toml").write_text(text)
    network = TrainSettings(model="cnn2", epochs=4, batch=4, lr=0.02)
    of = config.Settings(preset="tiny", features=SPEC, teacher=dataclasses.replace(network, epochs=1), student=network)
    return Search(space.read(f"{name}.toml"), of, source, (1, 2, 3), (0,), **changes)


def test_the_held_out_fold_is_never_read(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    search = search_of(source, SPACE.replace("trials = 4", "trials = 2"))
    measured = searching.searched(search, 1, HOW)
    clean = (search.place(1) / record.TRIALS).read_bytes()
    Path("runs").rename("before")
    with monkeypatch.context() as patch:
        poisoned(patch, 1)
        assert searching.searched(search, 1, HOW) == measured
        assert (search.place(1) / record.TRIALS).read_bytes() == clean
        # The test above could pass if nothing were read at all.
        Path("runs").rename("poisoned")
        poisoned(patch, 2)
        assert searching.searched(search, 1, HOW) != measured
    outputs.loaded.cache_clear()


def test_lost_lines_are_measured_again_and_said(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the last rung, of the first one, of which some are left, and from the middle and the beginning."""
    search = search_of(source)
    measured = searching.searched(search, 3, HOW)
    path = search.place(3) / record.TRIALS
    whole = path.read_bytes()
    assert "lost" not in capsys.readouterr().err and record.lost(path) == 0
    one, five = "a line of it is lost", "5 lines of it are lost"
    for left, words in ((range(6), one), (range(2), five), ((0, 1, 2, 4, 5, 6), one), ((3, 5), five)):
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[line] for line in left))
        asked = check.Checked()
        check.look_into(path.parent, [path.name], asked)
        assert [finding.problem for finding in asked.findings] == [words]
        assert searching.searched(search, 3, HOW) == measured and path.read_bytes() == whole
        said = capsys.readouterr().err.splitlines()
        assert f"{path}: {words}: measured again, to the same trials" in said
    path.write_bytes(record.written(measured))  # as earlier versions wrote it
    assert record.lost(path) == 0 and record.read(path) == measured


def test_losers_are_stopped_and_the_others_get_the_bits_of_a_training_alone(source: Source) -> None:
    search = search_of(source)
    measured = searching.searched(search, 3, HOW)
    assert [(one.rung, one.epochs, one.whole) for one in measured] == [
        *[(0, 1, False)] * 4,
        *[(1, 2, False)] * 2,
        (2, 4, True),
    ]
    first = {one.trial: one.accuracy for one in measured if one.rung == 0}
    best = sorted(first, key=lambda trial: (-first[trial], trial))[:2]
    assert sorted(one.trial for one in measured if one.rung == 1) == sorted(best)
    assert not list((search.place(3) / ".checkpoints").glob("*"))
    assert not list(Path("runs").rglob("student-*/**/result.json"))  # trials are no runs
    (last,) = [one for one in measured if one.whole]
    settings, mix = planning.settings_of(search, last.values)
    teachers, students = planning.trainings(search, settings, mix, 3)
    assert [(run.fold, run.without) for run in (*teachers, *students)] == [(1, 3), (2, 3)] * 2
    for run in students:  # trained at once, up to the last epoch, without any checkpoint
        data, values, labels = outputs.loaded(source.files, "cpu", "float32", outputs.stamps(source.files))
        rows = np.arange(len(values)) // 2
        other = ({1, 2} - {run.fold}).pop()
        task = training.Task(np.flatnonzero(data.folds[rows] == other), np.flatnonzero(data.folds == run.fold) * 2)
        pack = packs.PlannedPack((run,), source.files, source.data_set, "cpu", "loop", Path("none.pt"))
        (alone,) = training.fit(
            values,
            labels,
            [training.Run(run.fold, 0, LossMix.parse(str(mix)), task)],
            settings.student,
            classes=3,
            teaching=packs.teaching_of(pack),
            device=torch.device("cpu"),
        )
        assert alone.history[-1]["accuracy"] == last.folds[str(run.fold)]
        assert len(alone.history) == 4


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_with_the_same_trials(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_of(source)
    searching.searched(search, 1, HOW)
    clean = (search.place(1) / record.TRIALS).read_bytes()
    Path("runs").rename("before")
    keep = record.keep
    with monkeypatch.context() as patch:

        def stop(folder: Path, measured: list[record.Measured]) -> None:
            if measured[-1].rung == 1:
                raise KeyboardInterrupt
            keep(folder, measured)

        patch.setattr(record, "keep", stop)
        with pytest.raises(KeyboardInterrupt):
            searching.searched(search, 1, HOW)
    assert len(record.read(search.place(1) / record.TRIALS)) == 4
    searching.searched(search, 1, HOW)
    assert (search.place(1) / record.TRIALS).read_bytes() == clean
    fitted: list[object] = []
    monkeypatch.setattr(packs, "fitted", lambda *_: fitted.append(1))
    searching.searched(search, 1, HOW)  # nothing is left to do
    assert not fitted


@pytest.mark.slow
def test_trials_whose_checkpoints_are_gone_begin_anew_and_say_so(
    source: Source, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = search_of(source)
    searching.searched(search, 1, HOW)
    assert "begin" not in capsys.readouterr().err
    clean = (search.place(1) / record.TRIALS).read_bytes()
    keep = record.keep
    for rung, words in (
        (0, "no checkpoint of the search that has begun"),
        (1, ".pt: no such file (it was lost); a trial of"),
    ):
        Path("runs").rename(f"before{rung}")

        def stop(folder: Path, measured: list[record.Measured], last: int = rung) -> None:
            if measured[-1].rung == last:
                raise KeyboardInterrupt
            keep(folder, measured)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(record, "keep", stop)
            searching.searched(search, 1, HOW)
        for path in (search.place(1) / ".checkpoints").glob("*.pt"):
            path.unlink()
        capsys.readouterr()
        searching.searched(search, 1, HOW)
        assert words in capsys.readouterr().err and (search.place(1) / record.TRIALS).read_bytes() == clean


def test_a_record_of_other_trials_data_or_versions_is_refused(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def scores(trials: dict[int, searching.Trial], *_: Any, **__: Any) -> dict[int, list[searching.Score]]:
        return {n: [searching.Score(run.folder, 0.1 * (n % 7)) for run in trial.runs] for n, trial in trials.items()}

    monkeypatch.setattr(searching.training, "scores", scores)
    monkeypatch.setattr(searching.Teachers, "train", lambda *_: None)
    monkeypatch.setattr(searching.Teachers, "failed", lambda *_: [])
    search = search_of(source)
    searching.searched(search, 1, HOW)
    path = search.place(1) / record.TRIALS
    first = record.read(path)
    record.keep(search.place(1), [dataclasses.replace(one, values={**one.values, "student.lr": 0.5}) for one in first])
    with pytest.raises(InputError, match="other trials than this space and seed give"):
        searching.searched(search, 1, HOW)
    record.keep(search.place(1), [*first, first[-1]])
    with pytest.raises(InputError, match="is there twice"):
        searching.searched(search, 1, HOW)
    record.keep(search.place(1), first)
    changed = dataclasses.replace(search, source=dataclasses.replace(source, digests={**source.digests, "2": "other"}))
    with pytest.raises(InputError, match=r"search.json: data: not as at its beginning.*remove the folder"):
        searching.searched(changed, 1, HOW)


def test_values_that_do_not_go_together_are_refused_in_their_trial_alone(source: Source) -> None:
    text = "sampler = 'grid'\nhalving = 1\nlosses = 'ce'\n[student]\nbatch = [4, 6]\nsampler = ['shuffle', 'classes:2', 'classes:3']"
    measured = searching.searched(search_of(source, text), 1, HOW)
    refused = [one for one in measured if one.refused]
    assert [(one.values["student.batch"], one.values["student.sampler"]) for one in refused] == [(4, "classes:3")]
    assert all("batch" in one.refused and one.accuracy is None for one in refused)
    assert searching.best_of(measured).accuracy == max(one.accuracy for one in measured if one.accuracy is not None)


def test_what_is_wrong_with_the_data_ends_the_search(source: Source) -> None:
    """It is no trial's fault, and is not kept as if it were."""
    search = search_of(source)
    path = Path(source.files[1])
    content = bytearray(path.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        searching.searched(search, 1, HOW)
    assert not (search.place(1) / record.TRIALS).exists()


TAUGHT_BY = "teacher_seeds = [0, 1]\nteacher_features = {bins = 36}\n"


@pytest.mark.slow
def test_several_teachers_of_other_features_never_read_the_held_out_fold_either(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = dataclasses.replace(SPEC, bins=36)
    write_source(tmp_path, heard)
    search = search_of(source, TAUGHT_BY + SPACE.replace("trials = 4", "trials = 2"))
    assert search.name != search_of(source, SPACE.replace("trials = 4", "trials = 2")).name
    assert "taught by teachers of seeds 0, 1 on bins=36" in explanation.explained(search, [1])
    measured = searching.searched(search, 1, HOW)
    teachers = runs.find(Path("runs"), "tiny")
    assert sorted((one.fold, one.without, one.seed) for one in teachers) == [
        (k, 1, seed) for k in (2, 3) for seed in (0, 1)
    ]
    assert {one.settings.features for one in teachers} == {heard}
    clean = (search.place(1) / record.TRIALS).read_bytes()
    Path("runs").rename("before")
    with monkeypatch.context() as patch:
        poisoned(patch, 1)
        assert searching.searched(search, 1, HOW) == measured
        assert (search.place(1) / record.TRIALS).read_bytes() == clean
        # The poison is in what the teachers hear, too: of a fold that they learn from, it is found.
        Path("runs").rename("poisoned")
        poisoned(patch, 2)
        assert searching.searched(search, 1, HOW) != measured
    Path("runs").rename("found")
    Path("poisoned").rename("runs")
    outputs.loaded.cache_clear()
    outputs.taught.cache_clear()
    preset = choice.write_preset(search, 1, measured)
    assert ", --teacher-seeds 0,1 --teacher-set features.bins=36." in preset.read_text()
    nested.train(search, {1: measured}, (1,), (0,), HOW)
    (student,) = (one for one in runs.find(Path("runs"), "tiny") if one.is_distilled)
    assert [one.parts[-1] for one in student.teachers] == ["fold1-seed0", "fold1-seed1"]
    assert {runs.read(one).settings.features for one in student.teachers} == {heard}
    assert student.settings.features == SPEC and student.settings.preset == "quick-fold1"


@pytest.mark.slow
def test_nested_and_preset_are_two_figures(source: Source, tmp_path: Path) -> None:
    """Each held-out fold gets what was chosen without it; the preset of all folds is marked optimistic."""
    search = search_of(source)
    measured = {fold: searching.searched(search, fold, HOW) for fold in (1, 2, None)}
    for fold, trials in measured.items():
        path = choice.write_preset(search, fold, trials)
        settings, mix = choice.chosen(search, fold, trials)
        best = searching.best_of(trials)
        assert settings.student.lr == best.values["student.lr"] and settings.teacher == search.settings.teacher
        assert settings.features == SPEC and str(mix) == best.mix and settings.preset == path.stem
        assert settings.chosen == ("tiny", tuple(sorted({1, 2, 3} - {fold})))
        assert ("optimistic" in path.read_text()) == (fold is None) and f'LOSSES="{mix}"' in path.read_text()
    nested.train(search, measured, (1, 2, 3), (0, 1), HOW)
    text = experiments.report(Path("runs"), tmp_path / "reports", "tiny", nested.experiment_of(search))
    rows = {
        line.split("  ")[0].removeprefix("SYNTHETIC "): line
        for line in text.splitlines()
        if "quick " in line and "(" in line
    }
    assert "4 (2 × 2)" in rows["quick nested"] and "each fold's settings chosen without it" in rows["quick nested"]
    assert "optimistic" not in rows["quick nested"]
    assert "6 (3 × 2)" in rows["quick preset"] and "preset chosen on these folds: optimistic" in rows["quick preset"]
    of_nested = [
        one
        for one in runs.find(Path("runs"), "tiny")
        if one.is_student and one.preset in ("quick-fold1", "quick-fold2")
    ]
    assert sorted((one.preset, one.fold) for one in of_nested) == [(f"quick-fold{k}", k) for k in (1, 1, 2, 2)]
    expected = np.mean([np.mean([one.result.percent for one in of_nested if one.fold == k]) for k in (1, 2)])
    assert f"{expected:.2f}" in rows["quick nested"]


def test_a_space_of_the_teacher_trains_no_student(source: Source) -> None:
    text = "network = 'teacher'\nsampler = 'grid'\nhalving = 1\n[teacher]\nlr = [0.01, 0.001]"
    search = search_of(source, text)
    measured = searching.searched(search, 2, HOW)
    assert len(measured) == 2 and all(one.mix == "ce:1" for one in measured)
    choice.write_preset(search, 2, measured)
    nested.train(search, {2: measured}, (2,), (0,), HOW)
    assert {one.role for one in runs.find(Path("runs"), "tiny")} == {"teacher"}


def test_explain_counts_what_is_trained(source: Source) -> None:
    """4 trials × 2 inner folds, in rungs of 1, 2 and 4 epochs, of which 4, 2 and 1 trials come so far: 2·(4 + 2 + 2) epochs."""
    text = explanation.explained(search_of(source), [1, 2])
    assert "In all 16 trainings, 32 epochs." in text and "Before them 4 teachers, 4 of them to train." in text
    assert "up to epochs 1, 2, 4" in text and "student.lr" in text and "0.001 to 0.1, in powers" in text
    assert not Path("runs").exists()


def test_a_trial_whose_teacher_does_not_train_counts_as_failed(source: Source) -> None:
    text = "sampler = 'grid'\nhalving = 1\n[teacher]\nlr = [1000.0, 0.01]\nweight_decay = [1000.0]"
    first, second = searching.searched(search_of(source, text), 1, HOW)
    assert first.accuracy == 0 and len(first.failures) == 2 and "failed" in first.failures[0]
    assert second.values["teacher.lr"] == 0.01


def test_too_few_folds_are_refused(source: Source) -> None:
    search = dataclasses.replace(search_of(source), folds=(1, 2))
    with pytest.raises(InputError, match="expected 3 folds at least"):
        planning.require(search, [1])
    planning.require(search, [None])


def test_fewer_inner_folds_may_validate(source: Source) -> None:
    search = search_of(source, SPACE.replace("trials = 4", "trials = 4\nvalidation = 1"))
    assert [search.validating(fold) for fold in (1, 2, 3, None)] == [(2,), (3,), (1,), (1,)]
    assert search.inner(2) == (1, 3)


SCRIPT = """
import pickle
from pathlib import Path
from tests.search.test_searching import HOW, search_of
from pipeline.search import searching
searching.searched(search_of(pickle.loads(Path("source.pickle").read_bytes())), 1, {**HOW, "checkpoint_minutes": 0.0})
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_with_the_same_trials(source: Source) -> None:
    search = search_of(source)
    searching.searched(search, 1, HOW)
    clean = (search.place(1) / record.TRIALS).read_bytes()
    Path("runs").rename("before")
    Path("source.pickle").write_bytes(pickle.dumps(source))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    checkpoints = search.place(1) / ".checkpoints"
    for moment in (0, 1):
        child = subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stderr=subprocess.DEVNULL)
        while child.poll() is None:
            time.sleep(0.02)
            lines = len(record.read(search.place(1) / record.TRIALS))
            if lines >= 4 * moment and any(checkpoints.glob("*.pt")):
                child.send_signal(signal.SIGKILL)
                break
        assert child.wait() == -signal.SIGKILL
    searching.searched(search, 1, HOW)
    assert (search.place(1) / record.TRIALS).read_bytes() == clean
    assert json.loads((search.place(1) / record.SEARCH).read_text())["held out"] == 1
