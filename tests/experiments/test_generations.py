"""Born-again chains on made-up features: who taught whom, killed and taken up again, ensembles, and the report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline import (
    cache,
    config,
    report,
    runs,
    training,
)
from pipeline.config import (
    InputError,
    Settings,
)
from pipeline.corpus import Corpus
from pipeline.engine import packs
from pipeline.engine.records import model_of, read_model
from pipeline.experiments import generations
from pipeline.experiments import stages as stage
from pipeline.experiments.generations import Source, chain_mix
from pipeline.figures import statistics
from pipeline.losses import LossMix
from pipeline.report import chains
from pipeline.report import generations as tables
from pipeline.report.table import NONE
from pipeline.runs.planned import PlannedRun
from tests.chains import HOW, LONG, NETWORK, SETTINGS, SPEC, go, write_source

ROOT = Path(__file__).resolve().parents[2]


def pack_of(source: Source, settings: Settings, teachers: tuple[Path, ...]) -> packs.PlannedPack:
    """A pack of one student of fold 1, planned by whoever."""
    run = PlannedRun("", "", "generation", "tiny", settings, 1, 0, LossMix.parse("soft"), teachers, 1)
    return packs.PlannedPack((run,), source.files, {}, device="cpu", layout="loop", checkpoint=Path())


@pytest.fixture(autouse=True)
def _back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # and back at the end, for go() goes elsewhere
    for kept in (packs.loaded, packs.taught):
        kept.cache_clear()  # their keys are relative paths


@pytest.mark.parametrize(
    ("text", "mix"),
    [
        ("none", "ce:1,soft:1"),
        ("angle", "angle:20,ce:1,soft:1"),
        ("angle,area:40", "angle:20,area:40,ce:1,soft:1"),
        ("soft:2,distance", "ce:1,distance:20,soft:2"),
        ("ce:0.5", "ce:0.5,soft:1"),
        ("angle20+ce1+soft1", "angle:20,ce:1,soft:1"),
    ],
)
def test_a_chain_has_labels_and_the_teachers_outputs(text: str, mix: str) -> None:
    assert str(chain_mix(text)) == mix


def test_each_student_teaches_the_next(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path)
    group = go(tmp_path, source, losses=("none", "angle"), folds=(1, 2), generations=2)
    first = runs.cell_path(Path("runs"), "tiny", "teacher", SETTINGS, None, 2, 0)
    assert runs.finished(first) and runs.read_config(first)["lineage"] == []
    one, two = (group / "angle20+ce1+soft1" / f"gen{g}" / "fold2-seed0" for g in (1, 2))
    described = runs.read_config(two)
    assert described["teacher"] == str(one) and described["generation"] == 2 and described["role"] == "generation"
    assert described["lineage"] == [str(first), str(one)]
    assert runs.read_config(one)["lineage"] == [str(first)]

    # The same training by hand: another seed than the teacher's, and what the teacher in model.pt says.
    data = cache.load(source.files)
    values, labels = packs.samples(data, torch.device("cpu"))
    rows = packs.rows(data, 2)
    outputs = training.outputs(model_of(read_model(one)), values, rows[0])
    run = training.Run(2, 2 * 1_000_003, LossMix.parse("angle,ce,soft"), training.Task(*rows))
    taught = training.Stored({name: values[None] for name, values in outputs.items()})
    by_hand = training.fit(values, labels, [run], NETWORK, classes=3, teaching=taught, layout="loop")[0]
    np.testing.assert_array_equal(runs.read_predictions(two).logits, by_hand.logits)

    capfd.readouterr()
    before = {path: path.stat().st_mtime_ns for path in group.rglob("*.pt")}
    assert go(tmp_path, source, losses=("none", "angle"), folds=(1, 2), generations=2) == group
    assert capfd.readouterr().err.count("nothing to do") == 3
    assert before == {path: path.stat().st_mtime_ns for path in group.rglob("*.pt")}


KILLED = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from types import SimpleNamespace
from tests.chains import LONG, go
go(Path.cwd(), settings=LONG, losses=("none", "area"), checkpoint_minutes=0)
"""


@pytest.mark.slow
def test_a_killed_chain_goes_on_in_its_generation(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    group = go(whole, settings=LONG, losses=("none", "area"))
    command = [sys.executable, "-c", KILLED, str(ROOT)]
    log = killed / group / "area20+ce1+soft1" / "gen2" / "fold1-seed0" / "metrics.jsonl"
    process = subprocess.Popen(command, cwd=killed, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (log.is_file() and len(log.read_bytes().splitlines()) >= 3):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, stderr = process.communicate()
    assert process.returncode == -signal.SIGKILL, stderr
    assert not runs.finished(log.parent)
    done = killed / group / "area20+ce1+soft1" / "gen1" / "fold1-seed0" / "result.json"
    stamp = done.stat().st_mtime_ns

    again = subprocess.run(command, cwd=killed, stderr=subprocess.PIPE, text=True, check=True)
    assert "generation 1 of 2: 2 of 2 runs finished" in again.stderr and "going on from" in again.stderr
    assert done.stat().st_mtime_ns == stamp
    for path in sorted((whole / "runs").rglob("predictions.npz")):
        other = killed / path.relative_to(whole)
        np.testing.assert_array_equal(
            runs.read_predictions(other.parent).logits, runs.read_predictions(path.parent).logits
        )
        ours, theirs = (torch.load(folder / "model.pt")["state"] for folder in (path.parent, other.parent))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        kept = [
            [{k: v for k, v in line.items() if k != "seconds"} for line in runs.read_metrics(folder)]
            for folder in (path.parent, other.parent)
        ]
        assert kept[0] == kept[1] and len(kept[0]) == 12


def accuracy_by_loop(folders: list[Path]) -> float:
    """Percent of clips whose class has the largest sum of probabilities."""
    members = [runs.read_predictions(folder) for folder in folders]
    hits = 0
    for clip, label in enumerate(members[0].labels):
        total = np.zeros(3)
        for member in members:
            parts = np.exp(member.logits[clip].astype(np.float64))
            total += parts / parts.sum()
        hits += int(total.argmax() == label)
    return 100 * hits / len(members[0].labels)


@pytest.mark.slow
def test_the_report_has_every_generation_and_the_ensemble(tmp_path: Path) -> None:
    group = go(tmp_path, losses=("none", "angle"), folds=(1, 2, 3), generations=2)
    text = tables.report(Path("runs"), Path("reports"), "tiny")
    table = (tmp_path / "reports" / "tiny" / "ban.csv").read_text().splitlines()
    header = table[0].split(",")
    rows = [
        dict(zip(header, line.split(","), strict=False))
        for line in [
            line.replace('"angle:20,ce:1,soft:1"', "angle").replace('"ce:1,soft:1"', "base") for line in table[1:]
        ]
    ]
    cells = {(row["mix"], row["stage"]): row for row in rows}
    assert set(cells) == {
        (mix, stage)
        for mix in ("base", "angle")
        for stage in ("first teacher", "generation 1", "generation 2", "ensemble of 2")
    }
    slugs = {"base": "ce1+soft1", "angle": "angle20+ce1+soft1"}
    accuracies = {
        mix: {
            (fold, 0): accuracy_by_loop([group / slug / f"gen{g}" / f"fold{fold}-seed0" for g in (1, 2)])
            for fold in (1, 2, 3)
        }
        for mix, slug in slugs.items()
    }
    for mix in slugs:
        assert float(cells[mix, "ensemble of 2"]["mean_percent"]) == pytest.approx(
            np.mean(list(accuracies[mix].values()))
        )
        last = [
            100 * runs.read_result(group / slugs[mix] / "gen2" / f"fold{fold}-seed0")["accuracy"] for fold in (1, 2, 3)
        ]
        assert float(cells[mix, "generation 2"]["mean_percent"]) == pytest.approx(np.mean(last))
    first = [runs.cell_path(Path("runs"), "tiny", "teacher", SETTINGS, None, fold, 0) for fold in (1, 2, 3)]
    teachers = {(fold, 0): 100 * runs.read_result(path)["accuracy"] for fold, path in enumerate(first, 1)}
    expected = statistics.comparison(accuracies["angle"], accuracies["base"], 1 / 2)
    to_first = statistics.comparison(accuracies["angle"], teachers, 1 / 2)
    line = cells["angle", "ensemble of 2"]
    assert expected and to_first
    assert float(line["difference_to_baseline"]) == pytest.approx(expected.difference)
    assert float(line["difference_to_first_teacher"]) == pytest.approx(to_first.difference)
    assert line["baseline_p"] == ("" if expected.p is None else f"{expected.p:.10g}")
    assert cells["base", "ensemble of 2"]["difference_to_baseline"] == ""
    assert text.startswith("SYNTHETIC") and all(row["synthetic"] == "SYNTHETIC" for row in rows)
    assert "SYNTHETIC" in (tmp_path / "reports" / "tiny" / "ban.md").read_text()

    # The table of teachers and students has the first teachers, and nothing of the chains, finished or not.
    (group / "ce1+soft1" / "gen2" / "fold1-seed0" / "result.json").unlink()
    other = report.report(Path("runs"), Path("reports"), "tiny")
    assert "cnn2 (teacher)" in other and "angle" not in other and "Unfinished" not in other
    # A chain with a gap has no ensemble there.
    (gap,) = tables.groups(Path("runs"), "tiny")
    assert sorted(gap.chains["ce:1,soft:1"].ensemble) == [(2, 0), (3, 0)]


@pytest.mark.slow
def test_a_first_teacher_that_was_removed_is_missing_and_stops_no_report(tmp_path: Path) -> None:
    go(tmp_path, losses=("none", "angle"), folds=(1, 2))
    first = [runs.cell_path(Path("runs"), "tiny", "teacher", SETTINGS, None, fold, 0) for fold in (1, 2)]
    shutil.rmtree(first[0])
    text = tables.report(Path("runs"), Path("reports"), "tiny")
    assert f"missing: {first[0]} was removed" in " ".join(text.split())
    (groups,) = tables.groups(Path("runs"), "tiny")
    assert set(groups.chains["ce:1,soft:1"].stages[0]) == {(2, 0)} and len(groups.chains["ce:1,soft:1"].ensemble) == 2
    shutil.rmtree(first[1])
    tables.report(Path("runs"), Path("reports"), "tiny")
    (row,) = [
        line
        for line in chains.lines(*tables.groups(Path("runs"), "tiny"))
        if (line.mix, line.stage) == ("ce:1,soft:1", "first teacher")
    ]
    assert row.spread is None and row.notes.count("missing: ") == 2


@pytest.mark.parametrize(
    ("model", "size", "synthetic", "first", "ensemble"),
    [
        ("resnet56", 3, False, "59.72", "65.36"),
        ("resnet56", 2, False, "59.72", ""),
        ("cnn2", 3, False, "", ""),
        ("resnet56", 3, True, "", ""),
    ],
)
def test_published_figures_stand_beside_what_they_are_of(
    model: str, size: int, synthetic: bool, first: str, ensemble: str
) -> None:
    mix, at = "angle:20,ce:1,soft:1", {(0, 0): 61.0}
    chain = chains.Chain(mix, {0: at, 1: at}, at, {1: ["fold0-seed0 did not train"]})
    settings = Settings(preset="cifar-paper", student=NETWORK)
    record = SimpleNamespace(
        is_of_images=True,
        model=model,
        synthetic=synthetic,
        preset="cifar-paper",
        all_folds=(0,),
        data={},
        settings=settings,
    )
    table = tables.paper_table(chains.Group(Path("g"), {mix: chain}, size, [record]))
    rows = {row[0]: row for row in table.cells}
    assert rows["ResNet-56" if model == "resnet56" else model][4] == (first or NONE)
    angle_row = rows["+ angle"]
    assert angle_row[4] == (ensemble or NONE) and angle_row[5] == ("−4.36" if ensemble else NONE)
    assert angle_row[-1] == "generation 1: fold0-seed0 did not train"
    assert rows["+ area"][1:5] == (NONE, NONE, "0", NONE if not ensemble else "64.28")


@pytest.mark.slow
def test_an_ensemble_teaches(tmp_path: Path) -> None:
    source = write_source(tmp_path)
    group = go(tmp_path, source)
    members = tuple(group / "ce1+soft1" / f"gen{g}" for g in (1, 2))
    taught = go(tmp_path, source, generations=1, losses=("angle",), teachers=members)
    assert taught != group
    second = taught / "angle20+ce1+soft1" / "gen1" / "fold1-seed0"
    described, folders = runs.read_config(second), [str(member / "fold1-seed0") for member in members]
    first = str(runs.cell_path(Path("runs"), "tiny", "teacher", SETTINGS, None, 1, 0))
    assert described["teacher"] == folders and described["lineage"] == [first, *folders]
    names = ("embedding", "logits")
    teaching = packs.teaching_of(pack_of(source, SETTINGS, tuple(map(Path, folders))))
    each = [packs.taught(Path(folder), source.files, "cpu", "float32", "last", names) for folder in folders]
    rows = packs.rows(cache.load(source.files), 1)[0]
    mean = (each[0].logits.softmax(-1) + each[1].logits.softmax(-1)) / 2
    assert teaching is not None
    logits, embedding = (teaching.outputs[name] for name in ("logits", "embedding"))
    assert embedding.shape[-1] == 2 * each[0].embedding.shape[-1]
    torch.testing.assert_close(logits[0, rows].exp(), mean[rows])
    torch.testing.assert_close(embedding[0, rows].norm(dim=-1), torch.full((len(rows),), 2**0.5))
    groups = tables.groups(Path("runs"), "tiny")
    (other,) = [one for one in groups if one.folder == taught]
    expected = accuracy_by_loop([Path(folder) for folder in folders])
    assert other.chains["angle:20,ce:1,soft:1"].stages[0] == {(1, 0): pytest.approx(expected)}
    with pytest.raises(InputError, match="no finished run of fold 2"):
        go(tmp_path, source, folds=(2,), teachers=members)


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a chain of one generation was trained; to be copied."""
    where = tmp_path_factory.mktemp("chained")
    with contextlib.chdir(where):
        go(where, generations=1)
    return where


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clips_of": (2, 1, 3)}, r"other features of fold 1, 2 \(clips were added, removed, moved or changed since\)"),
        ({"spec": dataclasses.replace(SPEC, noise_std=0.5)}, r"features \(features.noise_std = 0.001, here 0.5\)"),
        ({"classes": "abd"}, "other classes"),
    ],
)
@pytest.mark.parametrize("members", [1, 2])
def test_a_teacher_of_other_data_is_refused_before_anything_is_trained(
    chained: Path, tmp_path: Path, changed: dict, message: str, members: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may have been trained on the clips that are held out now; in an ensemble one such member is enough."""
    shutil.copytree(chained, tmp_path, dirs_exist_ok=True)
    first = runs.cell_path(Path("runs"), "tiny", "teacher", SETTINGS, None, 1, 0).parent
    folders = (first,)
    other = write_source(tmp_path, **changed)
    settings = dataclasses.replace(SETTINGS, features=changed.get("spec", SPEC))
    if members == 2:  # the one before it was trained on the data at hand
        network = dataclasses.replace(NETWORK, epochs=1)
        good = dataclasses.replace(settings, teacher=network, student=network)
        go(tmp_path, other, settings=good, generations=1)
        folders = (runs.cell_path(Path("runs"), "tiny", "teacher", good, None, 1, 0).parent, first)
    before = set(Path("runs").rglob("*"))
    capfd.readouterr()
    with pytest.raises(InputError, match=message) as caught:
        go(tmp_path, other, settings=settings, teachers=folders, losses=("angle",))
    assert str(first / "fold1-seed0") in str(caught.value) and "train it again" in str(caught.value)
    assert set(Path("runs").rglob("*")) == before and "to train" not in capfd.readouterr().err
    # Nor does a pack take it, whoever planned that.
    teacher = tuple(folder / "fold1-seed0" for folder in folders)
    with pytest.raises(InputError, match=message):
        packs.teaching_of(pack_of(other, settings, teacher))


def test_a_student_of_a_teacher_of_another_assignment_is_refused(tmp_path: Path) -> None:
    """The folds' clips changed places since the teacher was trained: it knows what the student is to be tested on."""
    os.chdir(tmp_path)
    corpus = Corpus("tiny", "folder", tmp_path, ("a", "b", "c"), (1, 2, 3), (1, 2, 3), SPEC.seconds, (), True)
    write_source(tmp_path)
    stage.train_teachers(corpus, SETTINGS, folds=(1,), seeds=(0,), **HOW)
    write_source(tmp_path, clips_of=(2, 1, 3))
    with pytest.raises(InputError, match=r"teacher-.*fold1-seed0 was trained on other features of fold 1, 2"):
        stage.train_students(corpus, SETTINGS, [LossMix.parse("soft")], folds=(1,), seeds=(0,), **HOW)
    assert not list(Path("runs").rglob("student-*"))


def test_a_chain_ends_with_a_run_that_failed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wild = dataclasses.replace(NETWORK, lr=1000, epochs=1)
    with pytest.raises(InputError, match="1 of 1 run stopped"):
        go(tmp_path, settings=dataclasses.replace(SETTINGS, teacher=wild, student=wild))
    go(tmp_path, settings=dataclasses.replace(SETTINGS, teacher=wild, student=wild))
    told = capfd.readouterr().err
    assert "left out" in told and "fold1-seed0 failed" in told
    assert not list(Path("runs").rglob("gen1"))


def test_what_a_chain_depends_on_is_in_its_path() -> None:

    def group(settings: Settings, *firsts: Path) -> Path:
        run = PlannedRun("", "", "generation", "tiny", settings, 1, 0, LossMix.parse("ce,soft"), (), 1, firsts)
        return run.home

    path = group(SETTINGS)
    assert path.name == f"ban-cnn2-default-{config.digest(SPEC, NETWORK, NETWORK)}"
    other = generations.chain_settings(
        dataclasses.replace(SETTINGS, student=dataclasses.replace(NETWORK, lr=0.5)), "student"
    )
    assert other.teacher == other.student and other.student.lr == 0.5
    assert len({path, group(other), group(SETTINGS, Path("runs/x"))}) == 3


def test_the_command_on_a_corpus_of_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options to folders and a table, with the corpus' folds and clip length."""
    from click.testing import CliRunner

    from pipeline.commands.ban import ban
    from pipeline.corpus import opening

    source = write_source(tmp_path)
    corpus = Corpus("tiny", "folder", tmp_path, ("a", "b", "c"), (1, 2, 3), (1, 2, 3), SPEC.seconds, (), True)
    monkeypatch.setattr(opening, "open_or_make", lambda dataset, data: (corpus, "SYNTHETIC corpus"))
    assert source.files[0].is_file()
    options = [
        "--set",
        "features.bins=12",
        "--set",
        "features.bins_per_octave=36",
        "--set",
        "student.epochs=1",
        "--model",
        "student",
        "--folds",
        "1 2",
        "--generations",
        "2",
        "--losses",
        "angle",
        "--pack",
        "2",
        "--layout",
        "loop",
        "--jobs",
        "1",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(ban, options, catch_exceptions=False)
    assert done.exit_code == 0 and "ensemble of 2" in done.output and "partial (2 of 3 folds)" in done.output
    (group,) = Path("runs/tiny").glob("ban-cnn2-default-*")
    finished = sorted(str(path.parent.relative_to(group)) for path in group.rglob("result.json"))
    assert finished == [f"angle20+ce1+soft1/gen{g}/fold{k}-seed0" for g in (1, 2) for k in (1, 2)]
    described = json.loads((group / finished[0] / "config.json").read_text())
    assert described["settings"]["student"]["batch"] == 8 and described["settings"]["student"]["epochs"] == 1
