"""``features`` of a step: a teacher of other features teaches by clip and view as its teacher file does, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import runs
from pipeline.config import InputError
from pipeline.deploy.choosing import chosen
from pipeline.experiments.reading import read
from pipeline.runs.experiments import noted_rows
from tests import tiny

HERE = ("--dataset", "urbansound8k", "--data", "clips", *tiny.QUICK)
MEL = (
    *("--set", "features.use=melspectrogram", "--set", "features.bins=16"),
    *("--set", "teacher.epochs=3", "--set", "teacher.batch=4"),
)

TEACHER = """
[[step]]
name = "mel"
network = "teacher"
mix = "ce"
features = {use = "melspectrogram", bins = 16}
"""

LEARNER = """
[[step]]
name = "learner"
mix = "ce:0.5,hinton:0.5@T=2"
teacher = "mel"
"""


def experiment(where: Path, name: str, text: str, *more: str) -> tiny.Done:
    (where / f"{name}.toml").write_text(text)
    return tiny.audio_rkd(where, "experiment", f"{name}.toml", *HERE, *more)


def features(where: Path, *more: str) -> None:
    done = tiny.audio_rkd(where, "features", *HERE, *more)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    tiny.write_corpus(folder / "clips", clips=4)
    features(folder)
    return folder


def test_features_that_are_not_there_are_asked_for_before_anything_is_trained(where: Path) -> None:
    done = experiment(where, "own", TEACHER + LEARNER, "--folds", "1", "--jobs", "1")
    assert done.returncode == 1 and done.stderr.count("error:") == 1, done.stderr
    wanted = 'make features SET="features.bins=16 features.bins_per_octave=24 features.use=melspectrogram"'
    assert wanted in done.stderr and not (where / "runs").exists()


@pytest.mark.slow
def test_a_teacher_of_other_features_teaches_as_its_file_does(where: Path) -> None:
    features(where, "--set", "features.use=melspectrogram", "--set", "features.bins=16")
    done = experiment(where, "own", TEACHER + LEARNER, "--folds", "1", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    records = runs.find(where / "runs", "clips")
    (teacher,), (student,) = ([one for one in records if one.is_teacher is kind] for kind in (True, False))
    assert teacher.shape == (1, 16, 173) and student.shape == (5, 8, 173) and student.step == "learner"
    assert student.teachers == (teacher.folder.relative_to(where),) and student.result.agreement is not None
    # The very run that the stage trains with these features.
    stage = tiny.audio_rkd(
        where, "teacher", *HERE, "--set", "features.use=melspectrogram", "--set", "features.bins=16", "--folds", "1"
    )
    assert stage.returncode == 0 and "nothing to do" in stage.stderr, stage.stderr
    file = tiny.audio_rkd(where, "teacher-file", str(student.teachers[0]), "-o", "mel.npz", "--other-features")
    assert file.returncode == 0, file.stderr
    by_file = LEARNER.replace('teacher = "mel"', 'teacher = "mel.npz"')
    done = experiment(where, "byfile", by_file, "--folds", "1", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    (other,) = [record for record in runs.find(where / "runs", "clips") if record.experiment == "byfile"]
    assert other.result.weights == student.result.weights
    # What is stored of it teaches shifted inputs too: its file and the run alike.
    shifted = "augment = 'shift'\nteacher_hears = 'views'\n"
    for name, text in (("shifted", TEACHER + LEARNER + shifted), ("shiftedfile", by_file + shifted)):
        done = experiment(where, name, text, "--folds", "1", "--jobs", "1")
        assert done.returncode == 0, done.stderr
    records = runs.find(where / "runs", "clips")
    by_run, by_its_file = ([one for one in records if one.experiment == name] for name in ("shifted", "shiftedfile"))
    assert by_run[-1].result.weights == by_its_file[-1].result.weights != student.result.weights
    # Stage three trains it too.
    mel = ("--teacher-set", "features.use=melspectrogram", "--teacher-set", "features.bins=16")
    stage = ("distill", *HERE, "--folds", "1", "--jobs", "1", "--losses", "ce:0.5,hinton:0.5@T=2")
    done = tiny.audio_rkd(where, *stage, "--losses", "ce", *mel)
    assert done.returncode == 0, done.stderr
    # Who learns from nobody is the plain student, whoever teaches the other.
    assert [
        one.role for one in runs.find(where / "runs", "clips") if one.mix_text == "ce:1" and not one.is_teacher
    ] == ["student"]
    (staged,) = [record for record in runs.find(where / "runs", "clips") if record.experiment == "student"]
    assert staged.result.weights == student.result.weights and staged.teachers == student.teachers
    row = "ce:0.5,hinton:0.5@T=2 from teacher on bins=16, use=melspectrogram"
    assert [entry.name for entry in noted_rows(where / "runs", "clips", "student")] == [row]
    assert chosen(None, where / "runs", "clips", staged.preset)[0] == staged.folder
    absent = tiny.audio_rkd(where, *stage, *mel[:3], "features.bins=24")
    assert absent.returncode == 1, absent.stderr
    assert "'python cli.py teacher --set features.bins=24 --set features.use=melspectrogram'" in absent.stderr
    several = tiny.audio_rkd(where, *stage, *mel, "--teacher-seeds", "0,7")
    assert "'python cli.py teacher --seeds 0,7 --set features.bins=16 --set features.use=" in several.stderr
    # Its seed by name is the same row; one of another seed is refused, also for other seeds of students, and is none.
    named = tiny.audio_rkd(where, *stage, *mel, "--teacher-seeds", "0")
    assert named.returncode == 0 and "nothing to do" in named.stderr, named.stderr
    other = tiny.audio_rkd(where, "teacher", *HERE, *MEL, "--folds", "1", "--jobs", "1", "--seeds", "7")
    assert other.returncode == 0, other.stderr
    mixed = tiny.audio_rkd(where, *stage, *mel, "--teacher-seeds", "7", "--seeds", "1")
    assert mixed.returncode == 1 and "and not by one of seed7; results of different teachers are no row" in mixed.stderr
    assert [entry.name for entry in noted_rows(where / "runs", "clips", "student")] == [row]
    alike = tiny.audio_rkd(where, "compare", "ce:0.5,hinton:0.5@T=2", "ce:0.5,hinton:0.5@T=2")
    folder = str(staged.folder.parent.relative_to(where))
    assert alike.returncode == 1 and alike.stderr.rstrip().endswith(f"expected a folder of runs: {folder}"), (
        alike.stderr
    )
    assert "ce:0.5,hinton:0.5@T=2 × 1" in tiny.audio_rkd(where, "status", *HERE).stdout
    again = tiny.audio_rkd(where, "rerun", str(student.folder.relative_to(where)))
    assert again.returncode == 0, again.stderr + again.stdout
    # Agreement with an epoch that is not the last is asked of its network, on its own features.
    kept = LEARNER.replace("learner", "early") + "teacher_epoch = 2\n"
    done = experiment(where, "early", TEACHER + "keep = [2]\n" + kept, "--folds", "1", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    (early,) = [record for record in runs.find(where / "runs", "clips") if record.experiment == "early"]
    assert early.result.agreement is not None
    nothing = experiment(where, "own", TEACHER + LEARNER, "--folds", "1", "--jobs", "1")
    assert nothing.returncode == 0 and nothing.stderr.count("nothing to do") == 2, nothing.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            LEARNER + "augment = 'shift'\n",
            "augment = 'shift', so its teacher runs in every step, and step mel has other features, which are not there then; expected a "
            "teacher of the same features, or teacher_hears = 'views'\n",
        ),
        (
            LEARNER + "augment = 'shift'\nteacher_dropout = 0.1\n",  # one of two reasons: no remedy
            "expected a teacher of the same features\n",
        ),
        (
            LEARNER + "teacher_dropout = 0.1\nteacher_dropout_at = 'output'\n",
            "teacher_dropout = 0.1 before the output layer of step mel, which has other features",
        ),
        (
            LEARNER.replace("hinton:0.5@T=2", "attention:0.5"),
            "reads the teacher's maps, so its teacher runs in every step",
        ),
        (LEARNER + "teacher_dropout = 0.1\n", "teacher_dropout = 0.1, so its teacher runs in every step"),
        (
            LEARNER.replace('teacher = "mel"', 'teacher = "teacher"\nstart = "mel"\nnetwork = "teacher"'),
            "start = 'mel' has other features; expected a step of the same ones",
        ),
        (
            LEARNER + "features = {noise_std = 0.01}\n",
            "features.noise_std = 0.01, and 0.001 of its teacher mel: a view would be another sound for each",
        ),
        (LEARNER + "features = {bins = 0}\n", "features.bins = 0: expected a positive whole number"),
        (LEARNER + "features = {bin = 8}\n", "features.bin: expected one of sr, n_fft"),
        (LEARNER + "features = {seconds = 8}\n", "features.seconds: expected one of sr, n_fft"),
        (LEARNER + "features = 'mfcc'\n", "features = 'mfcc': expected a table, for example features = {use"),
    ],
)
def test_what_cannot_be_is_one_line(where: Path, text: str, words: str) -> None:
    done = experiment(where, "wrong", TEACHER + text, "--explain")
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_explain_counts_each_step_with_its_own_features(where: Path) -> None:
    done = experiment(where, "shown", TEACHER + LEARNER, "--explain", "--set", "teacher.model=small")
    assert done.returncode == 0, done.stderr
    assert "features melspectrogram, 16 rows × 173 frames" in done.stdout
    assert "mel: small, 98,682 weights" in done.stdout and "learner: cnn2, 50,490 weights" in done.stdout


def test_names_in_a_list_and_as_text_are_the_same(tmp_path: Path) -> None:
    kept = []
    for number, use in enumerate(("'mfcc,chroma_stft'", "['mfcc', 'chroma_stft']")):
        file = tmp_path / f"{number}.toml"
        file.write_text(f'[[step]]\nname = "a"\nmix = "ce"\nfeatures = {{use = {use}}}\n')
        kept.append(read(str(file)).steps["a"].features)
    assert kept[0] == kept[1]
    with pytest.raises(InputError, match=r"features\.used: expected one of"):
        (tmp_path / "2.toml").write_text('[[step]]\nname = "a"\nmix = "ce"\nfeatures = {used = "mfcc"}\n')
        read(str(tmp_path / "2.toml"))
    assert json.dumps(kept)
