"""The run folder on disk: paths, what counts as finished, damage, and nothing half written."""

import dataclasses
import errno
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from pipeline import config, files, runs
from pipeline.config import InputError, Settings, TrainSettings
from tests.recorded import reseal

ROOT = Path(__file__).resolve().parents[2]


def record(role="student", fold=1, seed=0, **changes):
    """The arguments of ``write_finished`` for a made-up run."""
    settings = Settings()
    described = {
        "schema": 1,
        "role": role,
        "model": getattr(settings, role).model,
        "corpus": "tiny",
        "dataset": "urbansound8k",
        "synthetic": False,
        "fold": fold,
        "seed": seed,
        "mix": "ce:1" if role == "teacher" else "soft:1",
        "slug": None if role == "teacher" else "soft-1",
        "settings": {name: dataclasses.asdict(getattr(settings, name)) for name in ("features", "teacher", "student")},
        "preset": "default",
        "teacher": None,
        "data": {"1": "aa", "2": "bb"},
        "skipped": {"1": 0, "2": 0},
        "all_folds": [1, 2],
        "classes": ["dog", "cat"],
        "shape": [5, 20, 173],
        "pack": {},
    }
    result = {
        "accuracy": 0.5,
        "best_accuracy": 0.75,
        "best_epoch": 3,
        "epochs": 4,
        "test_clips": 4,
        "parameters": 116538,
        "seconds": 1.5,
        "status": "trained",
        "failure": None,
        "macro_f1": 0.4,
        "ece": 0.1,
        "agreement": None,
    }
    clips = np.array(["a.wav", "b.wav", "ü.wav", "d.wav"])
    predictions = runs.Predictions(clips, np.array([0, 1, 0, 1]), np.arange(8.0).reshape(4, 2), np.array(list("wxyz")))
    return {
        "config": described,
        "environment": {"python": "3", "packages": {}},
        "model_bytes": b"weights",
        "predictions": predictions,
        "result": {**result, **changes},
    }


def test_round_trip(tmp_path):
    folder = tmp_path / "tiny" / "x" / "fold1-seed0"
    given = record()
    assert not runs.finished(folder)
    runs.write_finished(folder, **given)
    assert runs.finished(folder)
    assert runs.read_config(folder) == given["config"]
    result = runs.read_result(folder)
    assert result.pop("finished").endswith("+00:00")
    assert result == given["result"]
    assert (folder / "model.pt").read_bytes() == b"weights"
    back = runs.read_predictions(folder)
    assert back.clips.tolist() == ["a.wav", "b.wav", "ü.wav", "d.wav"] and back.sources.tolist() == list("wxyz")
    assert back.labels.dtype == np.int64 and back.logits.dtype == np.float32
    np.testing.assert_array_equal(back.logits, given["predictions"].logits)
    names = ["config.json", "environment.json", "model.pt", "predictions.npz", "result.json"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_the_model_may_be_written_by_a_function(tmp_path):
    given = record() | {"model_bytes": lambda file: file.write(b"by callback")}
    runs.write_finished(tmp_path / "fold1-seed0", **given)
    assert (tmp_path / "fold1-seed0" / "model.pt").read_bytes() == b"by callback"


def test_same_numbers_same_bytes(tmp_path):
    for name in ("a", "b"):
        runs.write_finished(tmp_path / name, **record(finished="2026-01-01T00:00:00+00:00"))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_a_failed_write_leaves_an_unfinished_run(tmp_path):
    """Also where an older run was finished there: its result does not vouch for the new files."""
    folder = tmp_path / "fold1-seed0"
    runs.write_finished(folder, **record())

    def fails(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        runs.write_finished(folder, **(record() | {"model_bytes": fails}))
    assert not runs.finished(folder)
    assert (folder / "model.pt").read_bytes() == b"weights"  # the old one, whole
    assert not list(folder.glob(".*"))
    assert runs.find(tmp_path) == [] and runs.unfinished(tmp_path) == [folder]


def test_killed_while_writing_looks_unfinished(tmp_path):
    """A real process, killed by SIGKILL in the middle of model.pt."""
    code = f"""
        import sys; sys.path.insert(0, {str(ROOT)!r})
        import os, signal
        from pathlib import Path
        from pipeline import runs
        from tests.runs.test_runs import record
        def die(file):
            file.write(b"half"); file.flush(); os.kill(os.getpid(), signal.SIGKILL)
        runs.write_finished(Path({str(tmp_path / "fold1-seed0")!r}), **(record() | {{"model_bytes": die}}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    folder = tmp_path / "fold1-seed0"
    assert (folder / "config.json").exists() and not (folder / "model.pt").exists()
    assert not runs.finished(folder) and runs.unfinished(tmp_path) == [folder]


def test_a_record_that_readers_could_not_use_is_not_written(tmp_path):
    given = record()
    del given["config"]["data"]
    with pytest.raises(ValueError, match="lacks data"):
        runs.write_finished(tmp_path / "fold1-seed0", **given)
    with pytest.raises(ValueError, match="status 'fine'"):
        runs.write_finished(tmp_path / "fold1-seed0", **record(status="fine"))
    assert not (tmp_path / "fold1-seed0").exists()


def test_not_a_number_becomes_null(tmp_path):
    given = record(status="failed", accuracy=float("nan"), best_accuracy=np.float32("inf"), ece=np.float32(0.5))
    runs.write_finished(tmp_path / "fold1-seed0", **given)
    text = (tmp_path / "fold1-seed0" / "result.json").read_text()
    values = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (values["accuracy"], values["best_accuracy"], values["ece"]) == (None, None, 0.5)
    assert runs.read_result(tmp_path / "fold1-seed0")["accuracy"] is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("result.json", "{", "not JSON"),
        ("result.json", "[]", "expected an object"),
        ("result.json", "{}", "no accuracy"),
        ("result.json", None, "accuracy = 55"),
        ("config.json", "", "not JSON"),
        ("config.json", '{"schema": 2}', "schema 2"),
        ("config.json", '{"schema": 1}', "no role"),
        ("predictions.npz", "PK\x03\x04", "damaged"),
        ("environment.json", "{}", "no python"),
    ],
)
def test_damage_is_one_line_with_the_file_and_the_remedy(tmp_path, name, content, words):
    folder = tmp_path / "fold1-seed0"
    runs.write_finished(folder, **record())
    if content is None:
        content = json.dumps(runs.read_result(folder) | {"accuracy": 55})
    (folder / name).write_text(content)
    reader = {
        "result.json": runs.read_result,
        "config.json": runs.read_config,
        "predictions.npz": runs.read_predictions,
        "environment.json": runs.read_environment,
    }[name]
    with pytest.raises(InputError) as caught:
        reader(folder)
    message = str(caught.value)
    assert words in message and str(folder / name) in message and "\n" not in message
    assert f"remove the folder {folder} and run again" in message


@pytest.mark.parametrize("kind", [os.mkfifo, Path.mkdir])
def test_only_regular_files_are_opened(tmp_path, kind):
    """A named pipe would be waited for."""
    folder = tmp_path / "fold1-seed0"
    runs.write_finished(folder, **record())
    readers = {
        "config.json": runs.read_config,
        "environment.json": runs.read_environment,
        "result.json": runs.read_result,
        "predictions.npz": runs.read_predictions,
    }
    for name in (*readers, "metrics.jsonl"):
        (folder / name).unlink(missing_ok=True)
        kind(folder / name)
    for name, reader in readers.items():
        with pytest.raises(InputError, match=f"{name}: damaged \\(no regular file\\)"):
            reader(folder)
        assert files.sha256(folder / name) == ""
    assert runs.read_metrics(folder) == []


@pytest.mark.parametrize("name", ["fold1-seed0", "Downloads"])
def test_no_remedy_removes_a_folder_that_holds_anything_but_a_run(tmp_path, name):
    folder = tmp_path / name
    runs.write_finished(folder, **record())
    (folder / "result.json").write_text("{")
    if name == "fold1-seed0":
        (folder / "thesis.tex").write_text("years of work")
    for reader in (runs.read_result, lambda folder: runs.folder.read_json(folder / "none.json", ())):
        with pytest.raises(InputError) as caught:
            reader(folder)
        assert "remove the folder" not in str(caught.value) and "expected a run's folder as training left it" in str(
            caught.value
        )


def test_metrics_line_by_line_and_restarted(tmp_path):
    folder = tmp_path / "fold1-seed0"
    assert runs.read_metrics(folder) == []
    for epoch in range(3):
        runs.append_metrics(folder, {"epoch": epoch, "loss": np.float32(0.5), "terms": {"soft": math.nan}})
    assert runs.read_metrics(folder)[2] == {"epoch": 2, "loss": 0.5, "terms": {"soft": None}}
    # Killed in the middle of the next line.
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"epoch": 3, "lo')
    assert [line["epoch"] for line in runs.read_metrics(folder)] == [0, 1, 2]
    # The checkpoint was after epoch 1: the lines after it go.
    runs.restart_metrics(folder, runs.read_metrics(folder)[:2])
    runs.append_metrics(folder, {"epoch": 2})
    assert [line["epoch"] for line in runs.read_metrics(folder)] == [0, 1, 2]
    (folder / "metrics.jsonl").write_text('{"epoch": 0}\nnonsense\n{"epoch": 2}\n')
    with pytest.raises(InputError, match="line 2 is not JSON"):
        runs.read_metrics(folder)


def test_cell_path():
    settings = Settings(preset="mine")
    teacher = runs.cell_path(Path("runs"), "esc10", "teacher", settings, None, 3, 1)
    digest = config.digest(settings.features, settings.teacher)
    assert teacher.as_posix() == f"runs/esc10/teacher-resnet18-mine-{digest}/fold3-seed1"
    student = runs.cell_path(Path("runs"), "esc10", "student", settings, "angle-40", 3, 1)
    digest = config.digest(settings.features, settings.teacher, settings.student)
    assert student.as_posix() == f"runs/esc10/student-cnn2-mine-{digest}/angle-40/fold3-seed1"


def test_the_path_changes_with_what_the_numbers_depend_on():
    def both(settings):
        return [
            runs.cell_path(Path("r"), "c", role, settings, slug, 1, 0).parts[2]
            for role, slug in (("teacher", None), ("student", "soft"))
        ]

    plain = Settings()
    slower = TrainSettings(model="cnn2", lr=0.01)
    other_student = dataclasses.replace(plain, student=slower)
    assert both(plain)[0] == both(other_student)[0] and both(plain)[1] != both(other_student)[1]
    other_teacher = dataclasses.replace(plain, teacher=dataclasses.replace(plain.teacher, epochs=3))
    assert both(plain)[0] != both(other_teacher)[0] and both(plain)[1] != both(other_teacher)[1]
    other_features = config.for_corpus(plain, 5.0)
    assert both(plain)[0] != both(other_features)[0] and both(plain)[1] != both(other_features)[1]


@pytest.mark.parametrize(("role", "slug"), [("teacher", "soft"), ("student", None), ("pupil", "soft")])
def test_a_mix_belongs_to_students(role, slug):
    with pytest.raises(InputError):
        runs.cell_path(Path("runs"), "c", role, Settings(), slug, 1, 0)


def test_records_carry_the_digest_of_their_path(tmp_path):
    for role, slug in (("teacher", None), ("student", "soft-1")):
        path = runs.cell_path(tmp_path, "tiny", role, Settings(), slug, 1, 0)
        runs.write_finished(path, **record(role))
    for run in runs.find(tmp_path, "tiny"):
        assert run.folder.relative_to(tmp_path).parts[1].endswith(run.digest)


def rewritten(folder, name, change):
    """The file with some keys changed; None takes a key out."""
    kept = json.loads((folder / name).read_text()) | change
    kept = {key: value for key, value in kept.items() if value is not None}
    (folder / name).write_text(json.dumps(kept))


def test_a_record_holds_what_the_files_say(tmp_path):
    given = record(nll=1.25, weights="ab", runs_in_pack=3)
    given["config"] |= {
        "mix": "area:20,angle:40",
        "teacher": ["runs/t1", "runs/t2"],
        "lineage": ["runs/t0", "runs/t1", "runs/t2"],
        "teacher_weights": {"runs/t1": "aa"},
        "experiment": "table3",
        "step": "student",
        "generation": 2,
        "data": {str(fold): f"digest{fold}" for fold in range(1, 12)},
        "skipped": {"1": 2},
        "pack": {"runs": 3, "layout": "loop", "device": "cpu", "threads": 2, "repeats": "runs/old"},
    }
    runs.write_finished(tmp_path, **given)
    run = runs.read(tmp_path)
    assert (run.role, run.is_student, run.is_teacher, run.is_generation) == ("student", True, False, False)
    assert (run.corpus, run.dataset, run.synthetic, run.model) == ("tiny", "urbansound8k", False, "cnn2")
    assert run.cell == (1, 0) and run.name == "fold1-seed0" and run.preset == "default"
    assert run.recorded_mix == "area:20,angle:40" and run.mix_text == "angle:40,area:20,soft:1" == run.row_mix
    assert run.mix.slug == "angle40+area20+soft1" and run.slug == "soft-1"
    assert run.settings == Settings() and run.trained_by == Settings().student
    assert run.digest == runs.settings_digest("student", given["config"]["settings"])
    assert run.teacher == run.teachers == (Path("runs/t1"), Path("runs/t2"))
    assert run.lineage == (Path("runs/t0"), Path("runs/t1"), Path("runs/t2"))
    assert run.teacher_weights == {Path("runs/t1"): "aa"} and run.generation == 2
    assert (run.experiment, run.step) == ("table3", "student")
    assert run.data[10] == "digest10" and run.skipped == {1: 2} and run.all_folds == (1, 2)
    assert run.data_digest == config.digest(given["config"]["data"])  # of text keys, which sort otherwise
    assert run.classes == ("dog", "cat") and run.shape == (5, 20, 173)
    assert run.pack == runs.record.Pack(3, "loop", "cpu", 2, Path("runs/old"))
    result = run.result
    assert (result.accuracy, result.percent, result.best_accuracy, result.best_epoch) == (0.5, 50, 0.75, 3)
    assert (result.epochs, result.test_clips, result.parameters) == (4, 4, 116538)
    assert (result.macro_f1, result.ece, result.nll, result.agreement) == (0.4, 0.1, 1.25, None)
    assert (result.seconds, result.runs_in_pack, result.weights, result.failure) == (1.5, 3, "ab", "")
    assert result.trained and result.counts and not (result.failed or result.at_chance or result.stopped)


def test_records_of_earlier_versions_are_read(tmp_path):
    """Without the keys that came later; a setting that there was not yet has today's default, and no part in the digest."""
    given = record()
    settings = {name: dict(values) for name, values in given["config"]["settings"].items()}
    del settings["student"]["milestones"], settings["student"]["augment"]
    runs.write_finished(tmp_path, **given)
    late = ("slug", "teacher", "generation", "lineage", "teacher_weights", "classes", "shape", "pack")
    rewritten(tmp_path, "config.json", {**dict.fromkeys(late), "settings": settings, "mix": "gone:3,soft:1"})
    rewritten(tmp_path, "result.json", dict.fromkeys(("seconds", "failure", "macro_f1", "ece", "finished")))
    run = runs.read(tmp_path)
    assert run.settings.student == TrainSettings(model="cnn2")
    assert (
        run.digest
        == runs.settings_digest("student", settings)
        != runs.settings_digest("student", given["config"]["settings"])
    )
    assert run.mix is None and run.mix_text == run.row_mix == "gone:3,soft:1"
    assert run.teacher is None and run.teachers == run.lineage == run.classes == run.shape == ()
    assert run.pack == runs.record.Pack() and run.slug == "" and (run.experiment, run.step) == (None, None)
    assert run.result.seconds is None and run.result.finished == "" and not run.result.overflowed
    # Once, outputs that overflowed were kept as no better than chance.
    (tmp_path / "result.json").write_text(json.dumps({**record(status="did not train")["result"], "nll": None}))
    assert runs.read(tmp_path).result.stopped and not runs.read(tmp_path).result.counts


@pytest.mark.parametrize("score", ["accuracy", "map"])
def test_a_trained_run_on_windows_has_no_best_epoch_of_files(tmp_path, score):
    """Epochs are tested by windows, so none is the best of files; without windows a trained run lacks nothing."""
    scores = {"accuracy": None, "best_accuracy": None, score: 0.5}
    runs.write_finished(tmp_path / "windows", **record(**scores, test_windows=9))
    result = runs.read(tmp_path / "windows").result
    assert (result.trained, result.score, result.best_score, result.test_windows) == (True, 0.5, None, 9)
    runs.write_finished(tmp_path / "whole", **record(**scores))
    with pytest.raises(InputError, match=f"damaged .best_{score} = None"):
        runs.read(tmp_path / "whole")


def test_a_run_that_has_begun_has_no_result_yet(tmp_path):
    runs.write_finished(tmp_path, **record())
    (tmp_path / "result.json").unlink()
    runs.append_metrics(tmp_path, {"epoch": 1})
    result = runs.read(tmp_path).result
    assert (result.status, result.epochs, result.accuracy, result.counts) == ("unfinished", 1, None, False)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"fold": "one"}),
        ("config.json", {"data": {"first": "aa"}}),
        ("config.json", {"settings": {"teacher": {}}}),
        ("config.json", {"settings": []}),
        ("config.json", {"all_folds": 3}),
        ("config.json", {"pack": [1]}),
        ("config.json", {"skipped": {"1": "x"}}),
        ("result.json", {"epochs": "many"}),
        ("result.json", {"parameters": {}}),
    ],
)
def test_values_of_another_kind_are_damage(tmp_path, name, change):
    folder = tmp_path / "fold1-seed0"
    runs.write_finished(folder, **record())
    rewritten(folder, name, change)
    with pytest.raises(InputError) as caught:
        runs.find(tmp_path)
    assert str(caught.value).startswith(f"{folder / name}: damaged (") and "\n" not in str(caught.value)


def test_a_setting_that_is_unknown_now_is_named_when_it_is_asked_for(tmp_path):
    given = record()
    given["config"]["settings"]["student"]["colour"] = 3
    runs.write_finished(tmp_path, **given)
    run = runs.read(tmp_path)  # reports need no settings
    with pytest.raises(InputError, match=r"config.json \[student\]: unknown key 'colour'"):
        _ = run.settings


def test_whether_a_run_is_of_what_is_at_hand(tmp_path):
    runs.write_finished(tmp_path, **record())
    run, now = runs.read(tmp_path), {1: "aa", 2: "bb"}
    features = Settings().features
    assert runs.outdated(run) == runs.outdated(run, data=now, classes=("dog", "cat"), features=features) == ""
    assert runs.outdated(run, data=now, features=dataclasses.replace(features, bins=40)) == (
        "was trained with other features (features.bins = 20, here 40)"
    )
    assert (
        runs.outdated(run, data=now, classes=("dog", "cow")) == "was trained with other classes (dog cat; here dog cow)"
    )
    changed = "(clips were added, removed, moved or changed since)"
    assert runs.outdated(run, data={1: "aa", 3: "cc"}) == f"was trained on other features of fold 2, 3 {changed}"
    assert runs.outdated(run, data={1: "aa"}, folds=(1,)) == ""
    assert runs.outdated(run, data={1: "xx"}, folds=(1,)) == f"was trained on other features of fold 1 {changed}"
    images = dataclasses.replace(run, dataset="cifar100")
    assert runs.outdated(images, data={1: "xx"}).startswith("was trained on other images (part 1, 2; ")


def test_find_by_corpus_in_order_without_hidden_folders(tmp_path):
    for fold in (10, 2, 1):
        runs.write_finished(tmp_path / "tiny" / "g" / f"fold{fold}-seed0", **record(fold=fold))
    runs.write_finished(tmp_path / "other" / "g" / "fold1-seed0", **record())
    runs.write_finished(tmp_path / "tiny" / ".packs" / "fold1-seed0", **record())
    (tmp_path / "tiny" / "g" / "fold3-seed0").mkdir()
    runs.append_metrics(tmp_path / "tiny" / "g" / "fold4-seed0", {"epoch": 1})
    assert [run.fold for run in runs.find(tmp_path, "tiny")] == [1, 2, 10]
    assert [path.name for path in runs.unfinished(tmp_path, "tiny")] == ["fold3-seed0", "fold4-seed0"]
    assert len(runs.find(tmp_path)) == 4
    assert runs.find(tmp_path, "nothing") == []


def test_environment_names_versions_but_not_the_machine():
    code = "import json, sys; from pipeline import runs; print(json.dumps(runs.environment())); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    text, torch_imported = done.stdout.splitlines()
    values = json.loads(text)
    assert values["packages"]["numpy"] == np.__version__ and values["python"].startswith("3.")
    assert torch_imported == "False"
    assert str(ROOT) not in text and str(Path.home()) not in values.values() and os.uname().nodename not in text


def put(folder: Path, *, weights: str | None = None, **about: object) -> Path:
    """A finished run whose record says these things besides."""
    given = record()
    given["config"] |= about
    given["result"] |= {"weights": weights} if weights else {}
    runs.write_finished(folder, **given)
    return folder


def test_a_teacher_that_was_trained_again_with_other_weights_is_named(tmp_path):
    first = put(tmp_path / "first", weights="aa")
    one = put(tmp_path / "one", weights="11", teacher_weights={str(first): "aa"}, lineage=[str(first)])
    two = put(tmp_path / "two", teacher_weights={str(one): "11"}, lineage=[str(first), str(one)])
    old = put(tmp_path / "old", teacher=str(first))

    def retrained() -> list[list[Path]]:
        return [runs.retrained_teachers(runs.read(folder)) for folder in (one, two, old)]

    assert retrained() == [[], [], []]
    put(first, weights="aa")  # trained again, to the same bits
    assert retrained() == [[], [], []]
    put(first, weights="bb")
    assert retrained() == [[first], [first], []]
    expected = f"goes back to {first} as it was before it was trained again, with other weights"
    assert runs.outdated(runs.read(one), teachers=True) == expected and runs.outdated(runs.read(one)) == ""
    put(one, weights="22", teacher_weights={str(first): "bb"}, lineage=[str(first)])
    assert retrained() == [[], [one], []]
    put(first)  # by a version that kept no digests: nothing is known
    (one / "result.json").unlink()
    assert retrained() == [[], [], []]


def test_students_of_a_teacher_that_is_no_longer_there_are_not_mixed_with_others(tmp_path, monkeypatch):
    """Real trainings: the same teacher again is the same; other weights are refused by training, rerun and report."""
    import shutil

    import torch

    from pipeline import report
    from pipeline.engine import records, rerun
    from tests import chains

    monkeypatch.chdir(tmp_path)
    source = chains.write_source(tmp_path)
    group = chains.go(tmp_path, source, generations=2)
    one, two = (group / "ce1+soft1" / f"gen{g}" / "fold1-seed0" for g in (1, 2))
    first = Path(runs.read_config(one)["teacher"])
    digests = [records.weights_digest(records.read_model(folder)) for folder in (first, one, two)]
    assert len(set(digests)) == 3 and [runs.read_result(f)["weights"] for f in (first, one, two)] == digests
    assert runs.read_config(first)["teacher_weights"] == {}
    assert runs.read_config(one)["teacher_weights"] == {str(first): digests[0]}
    assert runs.read_config(two)["teacher_weights"] == {str(one): digests[1]}

    shutil.rmtree(first)
    assert chains.go(tmp_path, source, generations=2) == group  # trained again, to the same weights: nothing else to do
    assert runs.read_result(first)["weights"] == digests[0] and "again" not in "".join(report_notes(group))

    # Trained again elsewhere: one weight differs by one bit.
    payload = torch.load(first / "model.pt", weights_only=True)
    name = next(name for name in payload["state"] if name.endswith("weight"))
    payload["state"][name].view(torch.int32).flatten()[0] += 1
    other = records.weights_digest(payload)
    assert other != digests[0]
    torch.save(payload, first / "model.pt")
    reseal(first)
    assert runs.read_result(first)["weights"] == other
    with pytest.raises(InputError) as caught:
        chains.go(tmp_path, source, generations=2)
    text = str(caught.value)
    assert text.startswith(f"{one} goes back to {first} as it was") and "\n" not in text
    assert text.endswith(f"remove {one.parents[1]} and run again")
    with pytest.raises(InputError, match="cannot be repeated"):
        rerun.rerun(two, None, say=print)
    (note,) = [line for line in report_notes(group) if "again since" in line]
    assert "2 of 2 runs (gen1/fold1-seed0, gen2/fold1-seed0)" in note
    assert report.report(Path("runs"), Path("reports"), "tiny")  # the teacher's own table

    shutil.rmtree(group / "ce1+soft1")
    chains.go(tmp_path, source, generations=1)
    assert runs.read_config(one)["teacher_weights"] == {str(first): other}


def report_notes(group: Path) -> list[str]:
    from pipeline.report.wording import taught_by_others

    return taught_by_others(runs.find(group))


def test_a_teacher_that_was_replaced_teaches_as_it_is_now(tmp_path, monkeypatch):
    """A process that trains more than once does not remember the outputs of the old one."""
    import shutil

    import torch

    from pipeline.engine import packs, records
    from tests import chains

    monkeypatch.chdir(tmp_path)
    source = chains.write_source(tmp_path)
    group = chains.go(tmp_path, source, generations=1)
    one = group / "ce1+soft1" / "gen1" / "fold1-seed0"
    first, before = Path(runs.read_config(one)["teacher"]), runs.read_predictions(one).logits
    payload = records.read_model(first)
    payload["state"]["linear2.bias"] += 1 + torch.arange(3)
    torch.save(payload, first / "model.pt")
    reseal(first)
    shutil.rmtree(group)
    chains.go(tmp_path, source, generations=1)
    assert not np.allclose(runs.read_predictions(one).logits, before)
    for kept in (packs.loaded, packs.taught):
        kept.cache_clear()
    after = runs.read_predictions(one).logits
    shutil.rmtree(group)
    chains.go(tmp_path, source, generations=1)
    np.testing.assert_array_equal(runs.read_predictions(one).logits, after)


def test_which_stopped_packs_are_taken_up(tmp_path, monkeypatch):
    """Those behind a checkpoint whose runs are all wanted or finished, with their own layout; rests are removed."""
    from pipeline.config import Settings
    from pipeline.engine import schedule
    from pipeline.losses import LossMix
    from pipeline.runs.planned import PlannedRun

    monkeypatch.chdir(tmp_path)
    teachers = {"a": [Path("runs/t")], "b": [Path("runs/t"), Path("runs/u")], "d": [Path("runs/t")]}
    planned = {
        name: PlannedRun(
            "x", "y", "student", "tiny", Settings(), 1, seed, LossMix.parse("soft"), tuple(teachers.get(name, ()))
        )
        for seed, name in enumerate("abcdef")
    }
    notes = {"pack-1": "ab", "pack-2": "c", "pack-3": "cf", "pack-4": "de", "pack-5": "e", "pack-6": ""}
    for name, members in notes.items():
        note = {"cells": [planned[one].noted() for one in members], "layout": "grouped", "measured": {"x": 1}}
        (tmp_path / f"{name}.json").write_text(json.dumps(note) if members else "{not json")
        if name != "pack-2":  # killed before its first checkpoint
            (tmp_path / f"{name}.pt").touch()
    planned["e"].folder.mkdir(parents=True)
    (planned["e"].folder / "result.json").touch()
    stopped = schedule.left_over(tmp_path, [planned[name] for name in "abcd"])
    how = {"layout": "grouped", "measured": {"x": 1}, "live": False}
    assert stopped == [
        {"runs": (planned["a"], planned["b"]), "checkpoint": tmp_path / "pack-1.pt", **how},
        {"runs": (planned["d"], planned["e"]), "checkpoint": tmp_path / "pack-4.pt", **how},
    ]
    left = {path.stem for path in tmp_path.glob("pack-*")}
    assert left == {"pack-1", "pack-3", "pack-4", "pack-6"}


def test_a_flipped_byte_in_the_predictions_is_damage_or_changes_nothing(tmp_path):
    folder = tmp_path / "fold1-seed0"
    given = record()
    runs.write_finished(folder, **given)
    path = folder / "predictions.npz"
    content, damaged = path.read_bytes(), 0
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            predictions = runs.read_predictions(folder)
        except InputError as error:
            damaged += 1
            assert str(error).startswith(f"{path}: damaged (") and "\n" not in str(error)
        else:  # a date, or a word that nobody reads
            np.testing.assert_array_equal(predictions.logits, given["predictions"].logits)
            assert predictions.clips.tolist() == given["predictions"].clips.tolist()
    assert damaged > len(content) / 3 / 2


def test_predictions_that_do_not_fit_each_other_are_damage(tmp_path):
    path = tmp_path / "fold1-seed0" / "predictions.npz"
    path.parent.mkdir()
    np.savez(path, clips=np.array(["a"]), labels=np.zeros(2), logits=np.zeros((2, 2)), sources=np.array(["a", "b"]))
    with pytest.raises(InputError, match=r"damaged \(clips \(1,\), labels \(2,\).*expected as many of each"):
        runs.read_predictions(path.parent)


def test_a_failure_of_the_system_names_the_file(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="File too large") as caught:
        runs.write_atomic(tmp_path / "table.md", b"text")
    assert caught.value.filename == str(tmp_path / "table.md")
    assert not list(tmp_path.iterdir())
