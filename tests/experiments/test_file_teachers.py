"""Teacher files named in recipes, chains and cross-fitting: who teaches whom, where runs lie, and what is refused before training."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import cache, config, places, runs, training
from pipeline.config import InputError
from pipeline.engine import missing, packs, teachers
from pipeline.engine.missing import Level
from pipeline.engine.records import model_of, read_model
from pipeline.engine.rerun import rerun
from pipeline.engine.source import Source
from pipeline.experiments import cross_fitting, file_teachers, generations
from pipeline.experiments.explanation import explained
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read, variant
from pipeline.models import saved
from pipeline.teacher_files.writing import write
from tests.chains import HOW, SETTINGS, write_source

GO = {**HOW, "checkpoint_minutes": 5}


def clear() -> None:
    for kept in (packs.loaded, packs.taught):
        kept.cache_clear()


def source_in(root: Path, **other: object) -> Source:
    source = write_source(root, **other)  # type: ignore[arg-type]
    return dataclasses.replace(source, files=tuple(path.relative_to(root) for path in source.files))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """Features of three folds, and a made-up teacher for each held-out fold."""
    root = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        clear()
        there = source_in(root)
        clips = np.array(there.clips.names)
        about = {"clip": clips, "view": np.array(["clean", "noisy"]), "classes": np.array(["a", "b", "c"])}
        for fold in (1, 2, 3):
            logits = np.random.default_rng(fold).standard_normal((len(clips), 2, 3)).astype(np.float32)
            seen = np.array([other for other in (1, 2, 3) if other != fold])
            write(Path(f"set/of{fold}.npz"), {**about, "logits": logits, "trained_on": seen})
        write(Path("untold.h5"), {**about, "logits": logits})
        yield there
    clear()


def recipe(text: str, name: str = "mine.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def levels_of(path: Path, folds: tuple[int, ...] = (1, 2), trust: bool = False) -> list[Level]:
    return plan(read(str(path)), SETTINGS, "tiny", folds=folds, seeds=(0,), trust=trust)[0]


def test_each_fold_learns_from_the_file_that_has_not_seen_it(source: Source) -> None:
    path = recipe('[[step]]\nname = "s"\nmix = "soft"\nteacher = "set/*.npz"\n')
    (level,) = levels_of(path)
    assert [run.teachers for run in level.runs] == [(Path("set/of1.npz"),), (Path("set/of2.npz"),)]
    assert {run.role for run in level.runs} == {"step"} and len({run.alike for run in level.runs}) == 1
    missing.train([level], source, **GO)
    for run in level.runs:
        again = rerun(run.folder, Path(f"again/{run.folder.name}"), say=lambda line: None)
        assert again.same and runs.read(again.folder).identity == run.identity  # of three files that were named
    named = recipe('[[step]]\nname = "s"\nmix = "soft"\nteacher = ["set/of2.npz", "set/of1.npz", "set/of3.npz"]\n')
    other = [run.folder for run in levels_of(named)[0].runs]
    assert other != [run.folder for run in level.runs]  # of the order they are named in, as ensembles are
    beside = recipe('[[step]]\nname = "s"\nmix = "soft"\nteacher = "of1.npz"\n', "set/near.toml")
    assert levels_of(beside, (1,))[0].runs[0].teachers == (Path("set/of1.npz"),)


def test_a_file_and_a_step_teach_together(source: Source) -> None:
    path = recipe(
        '[[step]]\nname = "first"\nmix = "ce"\n[[step]]\nname = "s"\nmix = "soft"\nteacher = ["first", "set/of1.npz"]\n'
    )
    levels = levels_of(path, (1,))
    assert [len(level.runs) for level in levels] == [1, 1]
    (student,) = levels[1].runs
    assert student.teachers == (levels[0].runs[0].folder, Path("set/of1.npz"))
    missing.train(levels, source, **GO)
    assert runs.read(student.folder).lineage == (levels[0].runs[0].folder,)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ('"absent.npz"', "no such file, beside it or here"),
        ('"set/none*.npz"', "no such file, beside it or here"),
        ('"set/of2.npz"', "fold 1 is held out, and was trained on by its teacher"),
        ('"untold.h5"', "does not say which folds its teacher was trained on"),
        ('["set/of1.npz", "set/of*.npz"]', "is named twice"),
    ],
)
def test_files_that_cannot_teach_are_refused_when_it_is_planned(source: Source, teacher: str, message: str) -> None:
    path = recipe(f'[[step]]\nname = "s"\nmix = "soft"\nteacher = {teacher}\n')
    with pytest.raises(InputError, match=message):
        levels_of(path)


def test_an_epoch_that_a_file_does_not_have_is_refused_wherever_it_is_said(source: Source) -> None:
    """Of the student's table too, where it would be dropped without a word; beside the fold's own teacher it counts."""
    best = dataclasses.replace(SETTINGS, student=dataclasses.replace(SETTINGS.student, teacher_epoch="best"))
    how = {"folds": (1,), "seeds": (0,)}
    assert plan(variant("student", "student", mix="soft"), best, "tiny", **how)[0]
    of_a_file = variant("student", "student", mix="soft", teacher=["set/of1.npz"])
    with pytest.raises(InputError, match="teacher_epoch = best: a file has no epochs"):
        plan(of_a_file, best, "tiny", **how)


def test_a_chain_begins_with_files(source: Source) -> None:
    files = file_teachers.named([Path("set")])
    how = {"generations": 2, "folds": (1, 2), "seeds": (0,), **GO}
    group = generations.train(source, SETTINGS, [generations.chain_mix("none")], teachers=files, **how)
    records = [record for record in runs.find(Path("runs"), "tiny") if record.folder.is_relative_to(group)]
    first = {record.fold: record.teachers for record in records if record.generation == 1}
    assert first == {1: (Path("set/of1.npz"),), 2: (Path("set/of2.npz"),)}
    second = [record for record in records if record.generation == 2]
    assert all(record.teachers[0].parent.name == "gen1" for record in second) and len(second) == 2
    from pipeline.report import generations as tables

    text = tables.report(Path("runs"), Path("reports"), "tiny")
    assert "of1.npz: a file, which has no accuracy of its own" in text


def test_what_a_user_names_is_found_or_said(source: Source, tmp_path: Path) -> None:
    assert file_teachers.named([Path("set")]) == file_teachers.named([Path("set/*.npz")])
    (tmp_path / "runs" / "fold1-seed0").mkdir(parents=True)
    assert file_teachers.named([tmp_path / "runs"]) == (tmp_path / "runs",)
    for place, message in (
        (tmp_path, "a folder without any"),
        (Path("absent"), "not there"),
        (Path("mine.toml"), "no teacher file"),
        (tmp_path / "runs", r"a folder of runs; expected teacher files: audio-rkd teacher-file"),
    ):
        Path("mine.toml").touch()
        with pytest.raises(InputError, match=message):
            file_teachers.files_alone([place])


def students(mix: str, folds: tuple[int, ...] = (1, 2), **settings: object) -> list[Level]:
    """The levels of cross-fitted students."""
    changed = dataclasses.replace(SETTINGS, student=dataclasses.replace(SETTINGS.student, **settings))
    experiment = variant("student", "student", mix=mix)
    planned = [run for level in plan(experiment, changed, "tiny", folds=folds, seeds=(0,))[0] for run in level.runs]
    return cross_fitting.levels(
        [run for run in planned if run.is_teacher], [run for run in planned if run.is_student], (1, 2, 3)
    )


def test_cross_fitted_outputs_come_from_teachers_that_saw_neither_fold(source: Source) -> None:
    pairs, crossed = students("hinton@wrong=swap,soft")
    assert [(run.fold, run.without) for run in pairs.runs] == [(1, 2), (1, 3), (2, 3)]  # the pair serves both
    assert len({run.alike for run in crossed.runs}) == 1
    missing.train([pairs, crossed], source, **GO)
    data = cache.load(source.files)
    values, labels = packs.samples(data, torch.device("cpu"))
    whole = torch.full((1, len(values), 3), torch.nan)
    for j, pair in ((1, pairs.runs[0]), (3, pairs.runs[2])):  # of the student of fold 2
        network = model_of(read_model(pair.folder))
        rows = np.array([2 * clip + view for clip in range(27) if data.folds[clip] == j for view in (0, 1)])
        whole[0, rows] = training.outputs(network, values, rows, ("logits",)).logits[rows]
    run = crossed.runs[1]
    by_hand = training.Run(2, 0, run.mix, training.Task(*packs.rows(data, 2)))
    taught = training.Stored({"logits": whole})
    result = training.fit(values, labels, [by_hand], run.network, classes=3, teaching=taught, layout="loop")[0]
    assert np.array_equal(result.logits, runs.read_predictions(run.folder).logits)
    record = runs.read(run.folder)
    assert record.crossed and record.result.agreement is None and len(record.teachers) == 2
    assert runs.read(pairs.runs[2].folder).without == 3
    for again in (run, pairs.runs[2]):
        repeated = rerun(again.folder, Path(f"again/{again.step}-{again.fold}/fold1-seed0"), say=lambda line: None)
        assert repeated.same and runs.read(repeated.folder).identity == again.identity


def test_a_step_that_is_cross_fitted_is_the_student_of_the_command_line(source: Source) -> None:
    pairs, crossed = students("hinton@wrong=swap,soft")
    text = '[[step]]\nname = "apart"\nmix = "hinton@wrong=swap,soft"\nteacher = "teacher"\ncross_fitted = true\n'
    experiment = read(str(recipe(text + '[[step]]\nname = "behind"\nmix = "soft"\nteacher = "apart"\n')))
    how = {"folds": (1, 2), "seeds": (0,), "all_folds": (1, 2, 3)}
    first, second, third = plan(experiment, SETTINGS, "tiny", **how)[0]
    assert first.name == "teachers of pairs of folds"
    assert {run.folder for run in first.runs} == {run.folder for run in pairs.runs}  # and no teacher of a whole fold
    assert [run.teachers for run in second.runs] == [run.teachers for run in crossed.runs]
    assert all(run.crossed and run.is_step and run.firsts == crossed.runs[0].firsts for run in second.runs)
    assert [run.teachers for run in third.runs] == [(run.folder,) for run in second.runs]
    missing.train([pairs, crossed, second], source, **GO)
    for one, other in zip(crossed.runs, second.runs):
        assert runs.read(one.folder).result.weights == runs.read(other.folder).result.weights
    told = explained(experiment, SETTINGS, folds=(1,), seeds=(0,), dataset="esc50", root=places.runs())
    assert "Of these 4 teachers, one per pair of folds" in told and "cross-fitted: of each clip by one" in told


@pytest.mark.parametrize(
    "fields",
    [
        'mix = "soft"\nteacher = ["teacher", "other"]',
        'mix = "soft"\nteacher = "behind"',
        'mix = "soft"\nteacher = "set/of1.npz"',
        'mix = "ce"\nteacher = "teacher"',
        'mix = "soft,ce"\nteacher = "previous"\nrounds = 2',
    ],
)
def test_what_has_no_teachers_of_pairs_is_refused(source: Source, fields: str) -> None:
    others = '[[step]]\nname = "other"\nmix = "ce"\n[[step]]\nname = "behind"\nmix = "soft"\nteacher = "other"\n'
    with pytest.raises(InputError, match="cross_fitted asks for a teacher per pair of folds"):
        levels_of(recipe(others + f'[[step]]\nname = "apart"\n{fields}\ncross_fitted = true\n'))
    with pytest.raises(InputError, match="cross_fitted = 1: expected true or false"):
        recipe('[[step]]\nname = "apart"\nmix = "soft"\nteacher = "teacher"\ncross_fitted = 1\n')
        read("mine.toml")
    few = recipe('[[step]]\nname = "apart"\nmix = "soft"\nteacher = "teacher"\ncross_fitted = true\n')
    with pytest.raises(InputError, match="step apart: cross_fitted with 2 folds: a teacher without two of them"):
        levels_of(few)


def test_cross_fitted_students_and_their_teachers_never_see_the_held_out_fold(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leak test: another fold 1, and the students of fold 1 have the same bits, and the teachers of its pairs."""
    weights = []
    for clips_of in ((1, 2, 3), (9, 2, 3)):
        root = tmp_path / str(clips_of[0])
        root.mkdir()
        monkeypatch.chdir(root)
        clear()
        there = source_in(root, clips_of=clips_of)
        levels = students("soft", folds=(1,))
        assert [(run.fold, run.without) for run in levels[0].runs] == [(1, 2), (1, 3)]
        missing.train(levels, there, **GO)
        weights.append([saved.read_payload(run.folder)["state"] for level in levels for run in level.runs])
    clear()
    for one, other in zip(*weights):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_cannot_be_cross_fitted_is_refused_before_training(source: Source) -> None:
    for mix in ("soft,angle", "hint@layer=hidden,soft"):
        pairs, crossed = students(mix)
        with pytest.raises(
            InputError, match="cross-fitted outputs are of 2 networks, which have logits alone in common"
        ):
            missing.train([pairs, crossed], source, **GO)
        assert not crossed.runs[0].folder.exists()
    for name, value in (("augment", "shift"), ("teacher_dropout", 0.2)):  # in the step all networks would be asked
        levels = students("soft", **{name: value})
        with pytest.raises(InputError, match=f"{name} = .*computed once, of each clip"):
            missing.train(levels, source, **GO)
        assert not levels[1].runs[0].folder.exists()
    with pytest.raises(InputError, match="teacher_epoch = best"):
        students("soft", teacher_epoch="best")
    with pytest.raises(InputError, match=r"--cross-fitted with unlabelled = 0\.5: .* learns labels that are hidden"):
        students("soft", unlabelled=0.5)
    step = recipe(
        '[[step]]\nname = "apart"\nmix = "soft"\nteacher = "teacher"\ncross_fitted = true\nunlabelled = 0.5\n'
    )
    with pytest.raises(InputError, match=r"step apart: cross_fitted with unlabelled = 0\.5"):
        plan(read(str(step)), SETTINGS, "tiny", folds=(1, 2), seeds=(0,), all_folds=(1, 2, 3))
    with pytest.raises(InputError, match="with 2 folds: a teacher without two of them"):
        cross_fitting.levels([], [], (1, 2))


def test_the_price_is_said_before_it_starts(source: Source, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("runs/tiny/experiment-cross-fitted", ignore_errors=True)
    pairs, _ = students("soft")
    cross_fitting.say_price(pairs, "tiny")
    assert "cross-fitted: 3 teachers, one per pair of folds. Time: " in capfd.readouterr().err


def test_a_file_teaches_beside_the_round_before(source: Source) -> None:
    first = '[[step]]\nname = "first"\nmix = "ce"\nnetwork = "cnn2"\n[[step]]\nname = "again"\nnetwork = "cnn2"\n'
    path = recipe(first + 'mix = "ce,soft"\nteacher = ["previous", "set/*.npz"]\nrounds = 2\n')
    before, *rounds = (level.runs[0] for level in levels_of(path, folds=(1,)))
    for run in rounds:
        assert run.teachers == (before.folder, Path("set/of1.npz")) and run.is_step
        before = run


LEARNER = '[[step]]\nname = "learner"\nteacher = "many"\n'
MANY = '[[step]]\nname = "many"\nnetwork = "teacher"\nmix = "ce"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MANY + "seeds = [5, 6]\n" + LEARNER + 'mix = "hint,soft"\n', "hint.* an ensemble of 2 teachers does not have"),
        (
            MANY.replace('"teacher"', '"tiny"') + "batch = 3\n" + LEARNER + 'mix = "soft"\nteacher_dropout = 0.2\n',
            "teacher_dropout: tiny has no module Place",
        ),
        (
            '[[step]]\nname = "all"\nmix = "ce:2"\n[[step]]\nname = "few"\nmix = "ce"\nstart = "all"\nunlabelled = 0.5\n',
            r"all-cnn2.* learned labels that are hidden here \(unlabelled = 0, seed 0; here 0.5",
        ),
        (
            '[[step]]\nname = "s"\nmix = "angle,soft:0,ce"\nteacher = "vectors.npz"\nunlabelled = 0.5\nunlabelled_per_class = 2\n',
            "vectors.npz has no logits, by which",
        ),
    ],
)
def test_what_does_not_meet_is_refused_before_its_teachers_are_trained(source: Source, text: str, words: str) -> None:
    about = {
        "clip": np.array(source.clips.names),
        "view": np.array(["clean", "noisy"]),
        "trained_on": np.array([], int),
    }
    write(Path("vectors.npz"), {**about, "embedding": np.ones((27, 2, 4), np.float32)})
    levels = levels_of(recipe(text, "meet.toml"), folds=(1,))
    with pytest.raises(InputError, match=words):
        missing.train(levels, source, **GO)
    assert not any(run.folder.exists() for level in levels for run in level.runs)


def test_another_seed_of_a_single_teacher_is_no_finished_run(source: Source) -> None:
    text = MANY.replace('"teacher"', '"cnn2"') + "seeds = [5]\n" + LEARNER + 'mix = "soft"\n'
    levels = levels_of(recipe(text, "seeds.toml"), folds=(1,))
    missing.train(levels, source, **GO)
    others = levels_of(recipe(text.replace("[5]", "[6]"), "seeds.toml"), folds=(1,))
    assert (
        others[-1].runs[0].folder == levels[-1].runs[0].folder and others[-1].runs[0].teachers[0].name == "fold1-seed6"
    )
    with pytest.raises(InputError, match="goes back to fold1-seed5, and by its step as it is now to fold1-seed6"):
        missing.train(others, source, **GO)
    assert not others[0].runs[0].folder.exists()


def test_what_a_file_may_know_of_hidden_labels_is_said(source: Source, capfd: pytest.CaptureFixture[str]) -> None:
    text = '[[step]]\nname = "s"\nmix = "ce,soft"\nteacher = "set/*.npz"\nepochs = 1\n'
    for hides in ("", "unlabelled = 0.5\n"):
        missing.train(levels_of(recipe(text + hides, "hides.toml"), folds=(1,)), source, **GO)
        note = "set/of1.npz does not say which labels its teacher learned; those that unlabelled = 0.5 hides"
        assert (note in capfd.readouterr().err) == bool(hides)


def test_a_generation_of_teachers_that_a_user_named_is_repeated_under_its_own_identity(source: Source) -> None:
    settings = generations.chain_settings(SETTINGS, "student")
    mix = [generations.chain_mix("none")]
    home = generations.train(
        source,
        settings,
        mix,
        generations=1,
        folds=(1,),
        seeds=(0,),
        teachers=[Path("set/of1.npz"), Path("set/of2.npz")],
        **GO,
    )
    (folder,) = home.glob("*/gen1/fold1-seed0")
    again = rerun(folder, Path("again/of-files/fold1-seed0"), say=lambda line: None)
    assert again.same and runs.read(again.folder).identity == runs.read(folder).identity != ""


def test_a_teacher_that_learned_other_wrong_labels_is_said(source: Source) -> None:
    text = '[[step]]\nname = "other"\nmix = "ce:2"\nseeds = [3]\n' + LEARNER.replace("many", "other") + 'mix = "soft"\n'

    def notes(*overrides: str) -> list[str]:
        settings = config.read("default", overrides)
        levels = plan(read(str(recipe(text, "noted.toml"))), settings, "tiny", folds=(1,), seeds=(0,))[0]
        planned = {run.folder: run for level in levels for run in level.runs}
        return [note for run in levels[-1].runs for note in teachers.other_labels(run, planned)]

    (note,) = notes("label_noise_fixed=0.2")
    assert "learned other labels (label_noise_fixed = 0.2, seed 3; here 0.2, seed 0)" in note
    (note,) = notes("student.label_noise_fixed=0.2")
    assert "seed 3; here 0.2, seed 0" in note
    assert notes() == []
    text = text.replace("[3]", "[0]")
    assert notes("label_noise_fixed=0.2") == []


def test_an_experiment_says_when_it_needs_clips_without_a_label() -> None:
    told = explained(read("noisy-student"), SETTINGS, folds=(1,), seeds=(0,), root=places.runs())
    assert told.count("needs    clips without a label (rows=unlabelled): a folder 'unlabelled' beside the classes") == 1
    hidden = explained(
        read("noisy-student"), config.read("default", ["unlabelled=0.8"]), folds=(1,), seeds=(0,), root=places.runs()
    )
    assert "clips without a label (rows=unlabelled): unlabelled = 0.8 hides" in hidden
    assert "needs" not in explained(read("fitnets"), SETTINGS, folds=(1,), seeds=(0,), root=places.runs())
