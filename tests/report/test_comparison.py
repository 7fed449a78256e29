"""``runs``, ``compare`` and ``rerun``: run folders written here with known figures, and a really trained one."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pipeline import config, runs
from pipeline.engine import packs
from pipeline.images import samples as images
from pipeline.report import comparison
from tests.archives import write_stand_in
from tests.recorded import reseal, write_run
from tests.tiny import QUICK, audio_rkd, invoke, write_corpus


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two mixes over three folds; of one an unfinished run and one that did not train as well."""
    for fold, (base, mixed) in enumerate(((5, 7), (6, 7), (4, 9)), 1):
        write_run(tmp_path, base, fold=fold)
        write_run(tmp_path, mixed, fold=fold, mix="angle:40,area:20,soft:1")
    write_run(tmp_path, 5, fold=1, seed=1, status="did not train")
    write_run(tmp_path, None, fold=2, seed=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_of_images_the_trainings_are_the_units(place: Path) -> None:
    """There is one test set: paired t over seeds, without the correction for folds that share their training sets."""
    hits = ((5, 7), (6, 7), (4, 9), (5, 8), (6, 9), (3, 7))
    for seed, pair in enumerate(hits):
        for mix, accuracy in zip(("soft:1", "angle:40,area:20,soft:1"), pair):
            folder = write_run(place, accuracy, fold=0, seed=seed, mix=mix, corpus="cifar100-all")
            config = json.loads((folder / "config.json").read_text()) | {
                "dataset": "cifar100",
                "all_folds": [0],
            }
            (folder / "config.json").write_text(json.dumps(config))
    done = invoke("compare", "soft", "angle:40,area:20", "--corpus", "cifar100-all")
    test = stats.ttest_rel([10 * b for _, b in hits], [10 * a for a, _ in hits])
    low, high = (10 * x for x in stats.ttest_rel(*zip(*((b, a) for a, b in hits))).confidence_interval(0.95))
    assert f"[{low:+.2f}, {high:+.2f}] over trainings to come; 6 trainings" in done.stdout, done.output
    assert f"p {test.pvalue:.4f}"[:6] in done.stdout and "over trainings" in done.stdout


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ((), 8),
        (("--mix", "area,angle"), 3),
        (("--fold", "1"), 3),
        (("--fold", "1,2", "--seed", "0"), 4),
        (("--status", "unfinished"), 1),
        (("--status", "did not train"), 1),
        (("--corpus", "tiny", "--seed", "1"), 2),
        (("--mix", "teacher"), 0),
    ],
)
def test_runs_keeps_what_fits_all_filters(place: Path, filters: tuple[str, ...], count: int) -> None:
    done = invoke("runs", *filters, "--json")
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert len(values) == count
    assert all((place / run["folder"]).is_dir() for run in values)
    assert invoke("runs", *filters).stdout.splitlines()[-1] == f"{count} run{'' if count == 1 else 's'}"


def test_compare_counts_runs_at_chance_and_names_those_that_stopped(place: Path) -> None:
    for seed, (hits, status) in enumerate(((3, "did not train"), (0, "failed")), 1):
        folder = write_run(place, hits, fold=1, seed=seed, mix="angle:40,area:20,soft:1", status=status)
        if status == "failed":
            result = json.loads((folder / "result.json").read_text()) | {"accuracy": None}
            (folder / "result.json").write_text(json.dumps(result))
            write_run(place, 6, fold=1, seed=seed)
    printed = invoke("compare", "soft", "angle,area").stdout
    # Fold 1: seeds 0 and 1 of both, +20 and −20; with seed 2, 50 (chance of two classes) less 60.
    assert f"B less A: +{(0 + 10 + 50) / 3:.2f} points" in printed and "3 folds, 4 pairs" in printed
    assert "1 no better than chance (counted); 1 stopped (not counted)" in printed
    assert f"With the runs that stopped at chance: B less A +{(-10 / 3 + 10 + 50) / 3:.2f} points" in printed


def test_compare_is_the_corrected_paired_test_over_common_cells(place: Path) -> None:
    done = invoke("compare", "soft", "angle,area")
    assert done.exit_code == 0, done.output
    d = np.array([20.0, 10.0, 50.0])
    half = stats.t.ppf(0.975, 2) * math.sqrt((1 / 3 + 1 / 2) * d.var(ddof=1))
    low, high = (f"{value:+.2f}".replace("-", "−") for value in (d.mean() - half, d.mean() + half))
    assert f"B less A: +26.67 points, 95 % interval [{low}, {high}] over folds to come; 3 folds, 3 pairs" in done.stdout
    assert "1 no better than chance (counted)" in done.stdout
    assert "no claim: n = 3 folds" in done.stdout and not re.search(r"\bp [0-9<]", done.stdout)
    assert "over recordings like these, on these folds" in done.stdout
    assert "mix                          soft:1  →  angle:40,area:20,soft:1" in done.stdout
    assert "settings.student.lr" not in done.stdout
    assert "B less A: −26.67" in invoke("compare", "angle,area", "soft").stdout


def test_compare_of_folders_says_which_settings_differ(place: Path) -> None:
    for fold in (1, 2):
        other = write_run(place, 8, fold=fold, lr=0.02).parent
    groups = [p.parent for p in (place / "runs").rglob("soft1/fold3-seed0")]
    done = invoke("compare", str(groups[0]), str(other))
    assert done.exit_code == 0, done.output
    assert "settings.student.lr          0.01  →  0.02" in done.stdout
    assert "2 pairs" in done.stdout


def test_two_single_runs_are_paired_clip_by_clip(place: Path) -> None:
    a = write_run(place, 7, mix="hinton,soft")
    b = write_run(place, 6, mix="distance,soft", first_wrong=False)
    done = invoke("compare", str(a), str(b))
    assert done.exit_code == 0, done.output
    # A is wrong on clips 0 1 2, B on 6 7 8 9: three gained, four lost.
    p = 2 * sum(math.comb(7, i) for i in range(4)) / 2**7
    assert "Right in B alone 3, in A alone 4" in done.stdout
    assert f"McNemar's exact p {min(1, p):.3f}" in done.stdout
    assert "B less A: −10.00 points" in done.stdout and "by 5 recordings" in done.stdout


def test_an_interval_by_recordings_of_one_clip_each_is_the_ordinary_one() -> None:
    d = np.random.default_rng(0).integers(-1, 2, 40).astype(float)
    mean, low, high = comparison.by_recording(d, np.arange(40).astype(str))
    plain = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((d.mean(), plain.low, plain.high))


def test_copies_of_a_clip_in_one_recording_add_nothing() -> None:
    d, names = np.array([1.0, 0, -1, 1, 0, 1]), np.arange(6).astype(str)
    once = comparison.by_recording(d, names)
    assert comparison.by_recording(np.repeat(d, 5), np.repeat(names, 5)) == pytest.approx(once)
    assert comparison.by_recording(d, np.full(6, "one"))[1:] == (None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "soft", "angel"), "did you mean 'angle'?"),
        (("compare", "soft", "runs/none"), "runs/none: no such folder"),
        (("compare", "soft", "hinton"), "no finished run of hinton:1,soft:1"),
        (("compare", "soft", "runs/tiny"), "holds several kinds of runs"),
        (("compare", "soft", "text"), "unknown loss 'text'"),
        (("compare", "", "soft"), "'' names nothing"),
        (("compare", "soft", "soft", "--corpus", "esc50"), "no runs of 'esc50'"),
        (("compare", "soft", "runs/other"), "of one corpus"),
        (("compare", "soft", "angle,area"), "say which: --dataset"),
        (("runs", "--mix", "angel"), "did you mean 'angle'?"),
        (("runs", "--corpus", "esc50"), "no runs of 'esc50' in runs; expected one of: other, tiny"),
        (("rerun", "nowhere"), "no finished run there"),
        (("rerun", "{run}"), "no features of fold 1, 2, 3"),
        (("rerun", "{run}", "--to", "{run}"), "is the run itself"),
        (("rerun", "{run}", "--to", "runs/tiny/again"), "tables would count it twice"),
        (("rerun", "{run}", "--to", "text"), "is there and is no run"),
    ],
)
def test_wrong_input_is_one_line(place: Path, arguments: tuple[str, ...], message: str) -> None:
    write_run(place, 5, corpus="other")
    (place / "text").write_text("a text file")
    run = next((place / "runs" / "tiny").rglob("fold1-seed0"))
    named = [word.format(run=run.relative_to(place)) for word in arguments]
    if (
        "runs/" not in " ".join(named)
        and named[0] == "compare"
        and "say which" not in message
        and "--corpus" not in named
    ):
        named += ["--corpus", "tiny"]
    if "runs/none" in named or "runs/tiny" in named or "runs/other" in named:
        named += ["--corpus", "tiny"]
    done = invoke(*named)
    assert done.exit_code == 1, done.output
    assert message in done.stderr and done.stderr.count("error:") == 1


def test_a_damaged_run_is_named(place: Path) -> None:
    folder = next((place / "runs").rglob("fold1-seed0"))
    (folder / "result.json").write_text("{}")
    done = invoke("runs")
    assert done.exit_code == 1 and str(folder.relative_to(place)) in done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which teachers and one mix of students were really trained, in packs of all folds."""
    where = tmp_path_factory.mktemp("rerun")
    write_corpus(where / "tiny", folds=(1, 2))
    corpus = ("--dataset", "urbansound8k", "--data", "tiny", *QUICK)
    for command in (
        ("features", "--backend", "sequential"),
        ("teacher",),
        ("distill", "--losses", "angle,area"),
    ):
        done = audio_rkd(where, *command, *corpus, *(() if command[0] == "features" else ("--jobs", "1")))
        assert done.returncode == 0, done.stderr
    return where


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_a_run_again_is_the_same_bit_for_bit(trained: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(trained)
    folder = next(Path("runs").glob(f"tiny/{kind}-*/**/fold2-seed0"))
    done = invoke("rerun", str(folder))
    assert done.exit_code == 0, done.output
    assert done.stdout.count("the same bit for bit") == 4
    again = folder.parent / ".again" / "fold2-seed0"
    once, twice = ([{**epoch, "seconds": 0} for epoch in runs.read_metrics(place)] for place in (folder, again))
    assert once == twice
    # No table counts it: it is not among the runs.
    assert len([r for r in runs.find(Path("runs")) if r.role == kind]) == 2


def test_a_run_that_comes_out_otherwise_is_said_to(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    folder = next(Path("runs").glob("tiny/teacher-*/fold1-seed0"))
    record = json.loads((folder / "config.json").read_text())
    record["settings"]["teacher"]["lr"] *= 1.01
    (folder / "config.json").write_text(json.dumps(record))
    assert "not the config.json that result.json names" in invoke("rerun", str(folder), "--to", "elsewhere").stderr
    reseal(folder)
    done = invoke("rerun", str(folder), "--to", "elsewhere")
    assert done.exit_code == 1
    assert "weights: DIFFERENT" in done.stdout and "from epoch 1 on" in done.stdout
    assert runs.finished(Path("elsewhere"))
    # Features that are not the recorded ones are refused before anything is trained.
    record["data"]["1"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(record))
    reseal(folder)
    done = invoke("rerun", str(folder))
    assert done.exit_code == 1 and "other features of fold 1" in done.stderr


def test_a_repetition_replaces_nothing_but_a_repetition_of_the_same_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    first, second = (next(Path("runs").glob(f"tiny/teacher-*/fold{fold}-seed0")) for fold in (1, 2))

    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    foreign = Path("precious")
    shutil.copytree(second, foreign)
    before = content(foreign)
    done = invoke("rerun", str(first), "--to", "precious")
    assert done.exit_code == 1 and "precious is a run of its own, and is left as it is" in done.stderr
    assert invoke("rerun", str(first), "--to", "again").exit_code == 0
    assert invoke("rerun", str(first), "--to", "again").exit_code == 0  # its own earlier repetition gives way
    kept = content(Path("again"))
    done = invoke("rerun", str(second), "--to", "again")
    assert done.exit_code == 1 and f"again repeats {first}" in done.stderr
    assert content(foreign) == before and content(Path("again")) == kept
    # The same folder by default: what lies in .again/ and is no repetition stays as well.
    shutil.copytree(second, second.parent / ".again" / second.name, dirs_exist_ok=True)
    assert "is a run of its own" in invoke("rerun", str(second)).stderr


def test_a_stopped_repetition_goes_on_with_the_same_command(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    folder = next(Path("runs").glob("tiny/teacher-*/fold1-seed0"))
    keep, epochs = packs.EpochLog.keep, []

    def stop_in_the_second(log: packs.EpochLog, index: int, record: dict) -> None:
        epochs.append(record["epoch"])
        keep(log, index, record)
        if len(epochs) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(packs.EpochLog, "keep", stop_in_the_second)
    done = invoke("rerun", str(folder), "--to", "again")
    assert done.exit_code == 130 and Path("again/config.json").is_file() and not runs.finished(Path("again"))
    done = invoke("rerun", str(folder), "--to", "again")
    assert done.exit_code == 0 and done.stdout.count("the same bit for bit") == 4, done.output
    # From its checkpoint: no epoch that was finished is trained a second time.
    assert "going on from .checkpoints/again.pt" in done.stderr and epochs.count(1) == 1


def test_a_damaged_run_is_said_before_it_is_trained_again(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(packs, "train", lambda *_: pytest.fail("trained before the old model was read"))
    folder = next(Path("runs").glob("tiny/teacher-*/fold1-seed0"))
    (folder / "model.pt").write_bytes(b"PK damaged")
    done = invoke("rerun", str(folder))
    assert done.exit_code == 1 and "model.pt: not the weights that result.json names" in done.stderr


def test_the_settings_of_a_record_are_read_back_whole(place: Path) -> None:
    folder = write_run(place, 5, lr=0.03, fold=3, seed=7)
    settings = runs.read(folder).settings
    assert settings.student.lr == 0.03
    assert config.digest(settings.features, settings.teacher, settings.student) in str(folder)


def test_a_run_on_images_again_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kept in (packs.loaded, packs.taught, images.read):
        kept.cache_clear()  # their keys are relative paths
    write_stand_in(tmp_path / "images.tar.gz")
    small = (
        "--set",
        "teacher.model=cnn2",
        "--set",
        "teacher.epochs=1",
        "--set",
        "teacher.batch=8",
        "--pack",
        "1",
        "--layout",
        "loop",
        "--jobs",
        "1",
        "--device",
        "cpu",
    )
    done = invoke(
        "table4",
        "--archive",
        "images.tar.gz",
        "--no-checksum",
        "--split-seed",
        "1",
        "--validation",
        "6",
        "--generations",
        "1",
        "--losses",
        "angle",
        *small,
    )
    assert done.exit_code == 0, done.output
    (folder,) = Path("runs/cifar100-stand-in-split1-without6").rglob("gen1/fold0-seed0")
    done = invoke("rerun", str(folder), "--archive", "images.tar.gz")
    assert done.exit_code == 0 and done.stdout.count("the same bit for bit") == 4, done.output
    write_stand_in(tmp_path / "other.tar.gz", seed=1)
    done = invoke("rerun", str(folder), "--archive", "other.tar.gz")
    assert done.exit_code == 1 and "was trained on other images" in done.stderr
    assert "no cifar-100-python.tar.gz in data" in invoke("rerun", str(folder)).stderr
