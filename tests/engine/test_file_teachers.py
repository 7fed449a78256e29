"""Students of teacher files: the same as of the runs that wrote them, refused before training, noticed where files change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import runs
from pipeline.config import InputError, Settings, TrainSettings
from pipeline.engine import missing, packs
from pipeline.engine.file_teachers import in_folders, write_from_runs
from pipeline.engine.missing import Level
from pipeline.engine.rerun import rerun
from pipeline.engine.source import Source
from pipeline.losses import LossMix
from pipeline.models import saved
from pipeline.runs.planned import PlannedRun, from_note
from pipeline.teacher_files import fitting
from pipeline.teacher_files.reading import read
from pipeline.teacher_files.schema import digest_of
from pipeline.teacher_files.writing import write
from tests.chains import SETTINGS, write_source

HOW = {"device": "cpu", "pack": 8, "layout": "loop", "jobs": 1, "checkpoint_minutes": 5}

#: Of vectors, of maps, of what is kept of maps; weighted so that a teacher's outputs matter.
MIXES = ("soft,angle,area", "hint@layer=maps,soft", "attention:100,hinton@T=2")


def teacher(fold: int, seed: int = 0) -> PlannedRun:
    return PlannedRun("", "", "teacher", "tiny", SETTINGS, fold, seed, LossMix.parse("ce"))


def student(fold: int, mix: str, files: tuple[Path, ...], settings: Settings = SETTINGS, **other: object) -> PlannedRun:
    contents = tuple((path, digest_of(path)) for path in files)
    fields = {"firsts": files, "contents": contents, **other}
    return PlannedRun("student", "student", "step", "tiny", settings, fold, 0, LossMix.parse(mix), files, **fields)  # type: ignore[arg-type]


def train(source: Source, *planned: PlannedRun) -> None:
    missing.train([Level("student", planned)], source, **HOW)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """Features of three folds, their teachers of two seeds, and what these say in files."""
    root = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for kept in (packs.loaded, packs.taught):
            kept.cache_clear()
        corpus = write_source(root)
        corpus = dataclasses.replace(corpus, files=tuple(path.relative_to(root) for path in corpus.files))
        train(corpus, *(teacher(fold, seed) for fold in (1, 2) for seed in (0, 1)))
        write_from_runs([teacher(fold).folder for fold in (1, 2)], Path("both.h5"), maps=True)
        write_from_runs([teacher(1).folder], Path("one.npz"), maps=True)
        write_from_runs([teacher(1, 1).folder], Path("other.npz"))
        yield corpus
    for kept in (packs.loaded, packs.taught):
        kept.cache_clear()


def same_weights(one: Path, other: Path) -> bool:
    first, second = (saved.read_payload(folder)["state"] for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("mix", MIXES)
def test_a_student_of_the_file_is_that_of_the_run_bit_for_bit(source: Source, mix: str) -> None:
    of_runs = [
        PlannedRun("", "", "student", "tiny", SETTINGS, fold, 0, LossMix.parse(mix), (teacher(fold).folder,))
        for fold in (1, 2)
    ]
    of_files = [student(fold, mix, (Path("both.h5"),)) for fold in (1, 2)]
    alone = student(1, mix, (Path("one.npz"),))
    train(source, *of_runs)
    train(source, *of_files, alone)
    for one, other in zip(of_runs, of_files):
        assert same_weights(one.folder, other.folder) and one.folder != other.folder
        assert np.array_equal(*(runs.read_predictions(run.folder).logits for run in (one, other)))
        assert runs.read(one.folder).result.agreement == runs.read(other.folder).result.agreement is not None
    assert same_weights(of_runs[0].folder, alone.folder)
    record = runs.read(of_files[0].folder)
    assert record.teachers == (Path("both.h5"),) and not record.trusted and record.lineage == ()
    assert record.teacher_weights == {Path("both.h5"): digest_of(Path("both.h5"))}
    assert from_note(of_files[1].noted(), of_files) == of_files[1]


def test_what_a_file_says_of_the_held_out_fold_changes_no_bit(source: Source) -> None:
    """The leak test: other outputs there, or none, and the student is the same."""
    arrays = {f"maps/{n}" if n.startswith("map") else n: v[0] for n, v in read(Path("one.npz")).outputs.items()}
    file = read(Path("one.npz"))
    rest = {"clip": np.array(file.clips), "view": np.array(file.views), "classes": np.array(file.classes)}
    held_out = np.array(file.clip_folds) == 1
    for name, filler in (("zeros", 0.0), ("none", np.nan)):
        for values in arrays.values():
            values[held_out] = filler
        write(Path(f"{name}.npz"), {**rest, **arrays, "trained_on": np.array([2, 3])})
    planned = [student(1, "soft,angle", (Path(f"{name}.npz"),)) for name in ("one", "zeros", "none")]
    train(source, *planned)
    assert same_weights(planned[0].folder, planned[1].folder) and same_weights(planned[0].folder, planned[2].folder)
    assert runs.read(planned[2].folder).result.agreement is None


def test_a_changed_file_is_another_teacher_and_old_runs_say_so(source: Source) -> None:
    path = Path("changing.npz")
    path.write_bytes(Path("other.npz").read_bytes())
    before = student(1, "soft", (path,))
    train(source, before)
    assert rerun(before.folder, Path("again/fold1-seed0"), say=lambda line: None).same
    Path("moved.npz").write_bytes(path.read_bytes())
    assert student(1, "soft", (Path("moved.npz"),)).folder == before.folder  # by its content, wherever it lies
    path.write_bytes(Path("one.npz").read_bytes())
    assert runs.outdated(runs.read(before.folder), teachers=True).startswith(
        "goes back to changing.npz as it was before"
    )
    after = student(1, "soft", (path,))
    assert after.folder != before.folder
    with pytest.raises(InputError, match=r"changing\.npz was changed since these runs were planned"):
        train(source, dataclasses.replace(before, seed=7))
    with pytest.raises(InputError, match="cannot be repeated"):
        rerun(before.folder, Path("third/fold1-seed0"), say=lambda line: None)
    path.unlink()
    with pytest.raises(InputError, match=r"no teacher file changing\.npz, from which"):
        rerun(before.folder, Path("third/fold1-seed0"), say=lambda line: None)


def test_a_trusted_teacher_is_on_record_and_passes_it_on(source: Source) -> None:
    file = read(Path("other.npz"))
    logits = file.outputs["logits"][0]
    untold = {"clip": np.array(file.clips), "view": np.array(file.views), "classes": np.array(file.classes)}
    write(Path("untold.npz"), {**untold, "logits": logits})
    trusted = student(1, "soft", (Path("untold.npz"),))
    train(source, trusted)
    assert runs.read(trusted.folder).trusted
    pupil = PlannedRun("", "pupil", "step", "tiny", SETTINGS, 1, 0, LossMix.parse("soft"), (trusted.folder,))
    train(source, pupil)
    assert runs.read(pupil.folder).trusted
    write_from_runs([pupil.folder], Path("laundered.npz"))
    assert read(Path("laundered.npz")).trained_on is None


REFUSED = {
    "angle,soft": ("untold-logits.npz", "has logits, and angle reads the teacher's embedding"),
    "attention": ("other.npz", "attention reads the teacher's maps"),
    "hint@layer=maps": ("other.npz", "reads the teacher's maps"),
}


@pytest.mark.parametrize("mix", REFUSED)
def test_terms_that_need_what_the_file_lacks_are_refused_before_training(source: Source, mix: str) -> None:
    name, message = REFUSED[mix]
    file = read(Path("other.npz"))
    about = {"clip": np.array(file.clips), "view": np.array(file.views), "classes": np.array(file.classes)}
    write(Path("untold-logits.npz"), {**about, "logits": file.outputs["logits"][0], "trained_on": np.array([2, 3])})
    run = student(1, mix, (Path(name),))
    with pytest.raises(InputError, match=message):
        train(source, run)
    assert not run.folder.exists()


def test_a_chain_from_embeddings_alone_is_told_that_soft_is_always_in_it(source: Source) -> None:
    file = read(Path("other.npz"))
    about = {"clip": np.array(file.clips), "view": np.array(file.views), "trained_on": np.array([2, 3])}
    write(Path("space-alone.npz"), {**about, "embedding": file.outputs["embedding"][0]})
    run = student(1, "ce,soft,angle", (Path("space-alone.npz"),))
    for role, end in (
        ("step", "or other terms$"),
        ("generation", "expected a file that has it: no chain is without soft$"),
    ):
        with pytest.raises(InputError, match=end):
            train(source, dataclasses.replace(run, role=role))


def test_of_embeddings_alone_relations_learn(source: Source) -> None:
    file = read(Path("other.npz"))
    about = {"clip": np.array(file.clips), "view": np.array(file.views), "trained_on": np.array([2, 3])}
    write(Path("embedding.npz"), {**about, "embedding": file.outputs["embedding"][0]})
    run, like = (student(1, "ce,angle,area", (Path(name),)) for name in ("embedding.npz", "other.npz"))
    train(source, run, like)
    assert same_weights(run.folder, like.folder) and runs.read(run.folder).result.agreement is None


def test_members_of_an_ensemble_are_files_and_runs_alike(source: Source) -> None:
    """Two files, two runs, and one of each, are the same ensemble."""
    pairs = [
        (Path("one.npz"), Path("other.npz")),
        (teacher(1).folder, teacher(1, 1).folder),
        (Path("one.npz"), teacher(1, 1).folder),
    ]
    mix = "soft,angle,dirichlet:0.1@T=2"
    planned = []
    for number, pair in enumerate(pairs):
        contents = tuple((path, digest_of(path)) for path in pair if path.suffix == ".npz")
        at = Path(f"pairs/{number}/fold1-seed0")
        planned.append(dataclasses.replace(student(1, mix, ()), teachers=pair, contents=contents, at=at))
    train(source, *planned)
    assert same_weights(planned[0].folder, planned[1].folder) and same_weights(planned[0].folder, planned[2].folder)
    twice = dataclasses.replace(
        planned[0], teachers=(Path("one.npz"), Path("twice.npz")), at=Path("pairs/3/fold1-seed0")
    )
    Path("twice.npz").write_bytes(Path("one.npz").read_bytes())
    twice = dataclasses.replace(twice, contents=tuple((path, digest_of(path)) for path in twice.teachers))
    with pytest.raises(InputError, match="two of them are the same run"):
        train(source, twice)


def test_the_mean_of_logits_is_another_teacher_than_the_mean_of_probabilities(source: Source) -> None:
    files = (Path("one.npz"), Path("other.npz"))
    settings = dataclasses.replace(SETTINGS, student=dataclasses.replace(SETTINGS.student, teacher_average="logits"))
    each = [student(1, "soft", files, chosen) for chosen in (SETTINGS, settings)]
    train(source, *each)
    assert each[0].folder != each[1].folder and not same_weights(each[0].folder, each[1].folder)
    file = read(files[0])
    mean = (file.outputs["logits"] + read(files[1]).outputs["logits"]) / 2
    about = {"clip": np.array(file.clips), "view": np.array(file.views), "classes": np.array(file.classes)}
    write(Path("mean.npz"), {**about, "logits": mean[0], "trained_on": np.array([2, 3])})
    by_hand = student(1, "soft", (Path("mean.npz"),))
    train(source, by_hand)
    first, second = (saved.read_payload(run.folder)["state"] for run in (each[1], by_hand))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-5)


def test_a_teacher_of_other_features_teaches_by_clip_and_view(source: Source) -> None:
    spec = dataclasses.replace(SETTINGS.features, use="melspectrogram,chroma_stft")
    settings, other = dataclasses.replace(SETTINGS, features=spec), write_source(Path(), spec)
    with pytest.raises(
        InputError,
        match=r"one\.npz is of other features of fold .*: write it again, .* audio-rkd teacher-file --other-features$",
    ):
        train(other, student(1, "soft", (Path("one.npz"),), settings))
    write_from_runs([teacher(1).folder], Path("free.npz"), other_features=True)
    run = student(1, "soft,angle", (Path("free.npz"),), settings)
    train(other, run)
    assert runs.read(run.folder).shape == spec.shape
    for name, values in fitting.outputs(read(Path("free.npz")), 1, other.clips).items():
        np.testing.assert_array_equal(values, fitting.outputs(read(Path("one.npz")), 1, source.clips)[name])
    augmented = dataclasses.replace(settings, student=dataclasses.replace(settings.student, augment="shift"))
    with pytest.raises(InputError, match="augment = 'shift': inputs change in every step") as caught:
        train(other, student(1, "soft", (Path("free.npz"),), augmented))
    assert "\n" not in str(caught.value)
    mixed = dataclasses.replace(settings, student=dataclasses.replace(settings.student, mixup=0.4))
    with pytest.raises(
        InputError, match=r"mixup = 0.4: free.npz holds .* expected 0, terms on logits, or a run as teacher"
    ) as caught:
        train(other, student(1, "angle,soft", (Path("free.npz"),), mixed))
    assert "\n" not in str(caught.value)
    train(other, student(1, "soft", (Path("free.npz"),), mixed))


def test_runs_that_make_no_file_are_refused_in_one_line(source: Source, tmp_path: Path) -> None:
    assert in_folders([teacher(1).folder.parent]) == [teacher(k, s).folder for k in (1, 2) for s in (0, 1)]
    for folders, target, message in (
        ([teacher(1).folder, teacher(1, 1).folder], "t.npz", "are both of fold 1; expected one run per held-out fold"),
        ([Path("absent")], "t.npz", "absent: no finished run there"),
        ([teacher(1).folder], "t.txt", "t.txt: expected a file's name that ends with .npz or .h5 or .hdf5"),
    ):
        with pytest.raises(InputError, match=message):
            write_from_runs(folders, tmp_path / target)
        assert not list(tmp_path.iterdir())


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(
    source: Source, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of an ensemble of two files, stopped behind a checkpoint in its second epoch."""
    settings = dataclasses.replace(SETTINGS, student=dataclasses.replace(SETTINGS.student, epochs=3))
    run = student(1, "soft,angle", (Path("one.npz"), Path("other.npz")), settings)
    keep = packs.EpochLog.keep

    def stop_in_the_second(log: packs.EpochLog, index: int, record: dict) -> None:
        keep(log, index, record)
        if record["epoch"] == 2:
            raise RuntimeError("stopped")

    how = {**HOW, "checkpoint_minutes": 0}
    monkeypatch.setattr(packs.EpochLog, "keep", stop_in_the_second)
    with pytest.raises(RuntimeError, match="stopped"):
        missing.train([Level("student", (run,))], source, **how)
    assert not runs.finished(run.folder) and list((run.home / ".checkpoints").glob("pack-*.pt"))
    monkeypatch.setattr(packs.EpochLog, "keep", keep)
    capfd.readouterr()
    missing.train([Level("student", (run,))], source, **how)
    assert "going on from" in capfd.readouterr().err
    straight = dataclasses.replace(run, at=Path("straight/fold1-seed0"))
    train(source, straight)
    assert same_weights(run.folder, straight.folder)


def of_classes(which: str, network: TrainSettings = SETTINGS.student) -> Settings:
    """The settings of teacher and student, of some of the classes."""
    return dataclasses.replace(
        SETTINGS,
        teacher=dataclasses.replace(SETTINGS.teacher, classes=which),
        student=dataclasses.replace(network, classes=which, epochs=1),
    )


@pytest.fixture(scope="module")
def some(source: Source) -> PlannedRun:
    """A teacher of a and c, and what it says in ``some.npz``."""
    run = dataclasses.replace(teacher(1), settings=of_classes("2,0"))
    train(source, run)
    write_from_runs([run.folder], Path("some.npz"))
    return run


@pytest.mark.parametrize(
    ("classes", "mix"),
    [
        ("2,0", "soft,angle"),
        ("0,1", "ce,local@adaptive=set"),
        pytest.param("0,1", "distance,ce", marks=pytest.mark.slow),
        pytest.param("", "angle,soft:0", marks=pytest.mark.slow),
    ],
)
def test_a_file_of_some_classes_teaches_as_its_run_does_bit_for_bit(
    source: Source, some: PlannedRun, classes: str, mix: str
) -> None:
    """Students of the same classes by its outputs; of others, which it speaks of as well, by its space."""
    settings = of_classes(classes)
    of_run = PlannedRun("", "", "student", "tiny", settings, 1, 0, LossMix.parse(mix), (some.folder,))
    of_file = student(1, mix, (Path("some.npz"),), settings)
    train(source, of_run)
    train(source, of_file)
    assert same_weights(of_run.folder, of_file.folder) and of_run.folder != of_file.folder
    agreements = [runs.read(run.folder).result.agreement for run in (of_run, of_file)]
    assert agreements[0] == agreements[1] and (agreements[0] is not None) is (classes == "2,0")


def test_columns_of_a_file_go_by_name_whatever_their_order(source: Source, some: PlannedRun) -> None:
    """The student has a and c the other way round than its teacher."""
    file = read(Path("some.npz"))
    assert file.classes == ("c", "a")
    rows = {place: source.clips.for_students_of(place) for place in ((2, 0), (0, 2), (0, 1, 2))}
    there, turned = (fitting.outputs(file, 1, rows[order])["logits"] for order in ((2, 0), (0, 2)))
    np.testing.assert_array_equal(there, turned[:, ::-1])
    trained_on = rows[0, 2].training_rows(1)
    assert len(trained_on) == 2 * 2 * 6 < len(rows[0, 1, 2].training_rows(1)) and np.isfinite(there[trained_on]).all()
    held_out = fitting.held_out_logits(file, 1, rows[0, 2])
    np.testing.assert_array_equal(held_out, runs.read_rows(some.folder).logits[:, ::-1])
    run = student(1, "soft", (Path("some.npz"),), of_classes("0,2"))
    train(source, run)
    assert runs.read(run.folder).result.agreement is not None


def test_a_file_is_refused_by_terms_that_need_its_own_classes_alone(source: Source, some: PlannedRun) -> None:
    for classes, name, mix, message in (
        (
            "",
            "some.npz",
            "soft",
            r"soft reads the logits of some\.npz, which are of other classes \(c, a; here a, b, c\)",
        ),
        (
            "0,1",
            "some.npz",
            "angle,hinton",
            r"hinton reads the logits of some\.npz, which are of other classes \(c, a; here a, b\)",
        ),
        (
            "0,1",
            "one.npz",
            "soft",
            r"soft reads the logits of one\.npz, which are of other classes \(a, b, c; here a, b\)",
        ),
    ):
        run = student(1, mix, (Path(name),), of_classes(classes))
        with pytest.raises(InputError, match=message) as caught:
            train(source, run)
        assert "\n" not in str(caught.value) and not run.folder.exists()


def test_a_space_in_place_of_classes_has_no_logits_in_a_file(source: Source) -> None:
    """Its zeros would teach every student that all classes are alike."""
    settings = dataclasses.replace(SETTINGS, teacher=dataclasses.replace(SETTINGS.teacher, model="cnn2+4", epochs=1))
    run = dataclasses.replace(teacher(1), settings=settings, mix=LossMix.parse("triplet,soft:0"))
    train(source, run)
    write_from_runs([run.folder], Path("space.npz"))
    assert "logits" not in read(Path("space.npz")).outputs
    with pytest.raises(InputError, match=r"space\.npz has embedding, .*soft reads the teacher's logits"):
        train(source, student(1, "soft", (Path("space.npz"),)))
