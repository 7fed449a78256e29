"""Corpora in the form of ESC-50, of ESC-10 and of folders through every command, each with its folds, length and classes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

import cli
from pipeline import runs
from pipeline.corpus import (
    Clip,
    Corpus,
    open_corpus,
    published,
)
from tests.corpora import write_table

#: One epoch, and features of few bins: every command takes about a second.
SMALL = ("--set", "features.bins=8", "--set", "features.bins_per_octave=24")
QUICK = (
    *SMALL,
    "--set",
    "teacher.epochs=1",
    "--set",
    "student.epochs=1",
    "--set",
    "teacher.batch=4",
    "--set",
    "student.batch=4",
)
ALONE = "angle:40,soft:0"


def write_sound(path: Path, label: int, seconds: float, rate: int) -> None:
    """A tone of the class' own pitch in noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(list(path.name.encode())).standard_normal(len(times))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 200 * 1.05**label * times) + 0.05 * noise, rate)


def write_esc50(root: Path) -> None:
    """All 50 classes, two 5-s clips of each at 44.1 kHz, in neighbouring folds."""
    rows = []
    ten = set(published.ESC10.classes)
    for target, category in enumerate(published.ESC50.classes):
        for take, fold in zip("AB", (target % 5 + 1, (target + 1) % 5 + 1)):
            name = f"{fold}-{1000 + target}-{take}-{target}.wav"
            write_sound(root / "audio" / name, target, 5.0, 44100)
            rows.append([name, fold, target, category, category in ten, f"{1000 + target}{take}", take])
    write_table(
        root / "meta" / "esc50.csv", ["filename", "fold", "target", "category", "esc10", "src_file", "take"], rows
    )


def write_folder(root: Path, folds: tuple[int, ...] = ()) -> None:
    """Three classes of six recordings, two pieces each; with ``folds``, a ``folds.csv`` that deals the recordings out."""
    rows = []
    for label, kind in enumerate(("bark", "meow", "moo")):
        for recording in range(6):
            for piece in (1, 2):
                name = f"{kind}/r{recording}_{piece:02}.wav"
                write_sound(root / name, 12 * label, 0.6, 16000)
                if folds:
                    rows.append([name, folds[recording % len(folds)], f"{kind}-r{recording}"])
    (root / "corpus.toml").write_text("seconds = 0.75\n")
    if folds:
        write_table(root / "folds.csv", ["file", "fold", "source"], rows)


def write_list(path: Path, sounds: Path) -> None:
    """The same clips in a table, which calls them by paths beside its folder."""
    write_folder(sounds)
    names = [
        f"{kind}/r{recording}_{piece:02}.wav"
        for kind in ("bark", "meow", "moo")
        for recording in range(6)
        for piece in (1, 2)
    ]
    rows = [[f"../sounds/{name}", Path(name).parent.name, (2, 5)[int(name[-8]) % 2], name[:-7]] for name in names]
    write_table(path, ["file", "class", "fold", "recording"], rows)
    (path.parent / "corpus.toml").write_text('seconds = 0.75\ncolumns = {path = "file", label = "class"}\n')


@dataclass(frozen=True)
class Kind:
    """A corpus, and what is to be seen of it."""

    dataset: str
    folder: str
    name: str
    clips: int
    classes: int
    folds: tuple[int, ...]
    frames: int
    trained: tuple[int, ...]
    """Folds that are held out in the test."""
    sound: str
    """A clip."""
    notes: str
    """What ``verify`` says besides."""


KINDS = (
    Kind(
        "esc50",
        "data/ESC-50",
        "esc-50",
        100,
        50,
        (1, 2, 3, 4, 5),
        216,
        (2,),
        "audio/1-1000-A-0.wav",
        "partial  100 of the 2,000 published clips",
    ),
    Kind(
        "esc10",
        "data/ESC-50",
        "esc10",
        20,
        10,
        (1, 2, 3, 4, 5),
        216,
        (1, 4),
        "audio/1-1000-A-0.wav",
        "partial  20 of the 400 published clips",
    ),
    Kind("folder", "Farm", "farm", 36, 3, (1, 2, 3, 4, 5), 33, (1, 2), "bark/r0_01.wav", "classes  12 clips each"),
    Kind("folder", "Own folds", "own-folds", 36, 3, (3, 7), 33, (3, 7), "bark/r0_01.wav", "folds    3: 18, 7: 18"),
    Kind(
        "csv",
        "lists/Clips.csv",
        "clips",
        36,
        3,
        (2, 5),
        33,
        (2, 5),
        "../sounds/bark/r0_01.wav",
        "folds    2: 18, 5: 18",
    ),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("corpora")
    write_esc50(where / "data" / "ESC-50")
    write_folder(where / "Farm")
    write_folder(where / "Own folds", (3, 7))
    write_list(where / "lists" / "Clips.csv", where / "sounds")
    return where


def printed(*arguments: object, code: int = 0) -> str:
    """What a command prints, on both streams."""
    done: Result = CliRunner().invoke(cli.main, list(map(str, arguments)))
    assert done.exit_code == code, (arguments, done.output, done.exception)
    return done.output


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_command(place: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    monkeypatch.chdir(place)
    corpus = ["--dataset", kind.dataset]
    if not kind.folder.startswith("data/"):
        corpus += ["--data", kind.folder]
    folds = ["--folds", ",".join(map(str, kind.trained))]
    cells = [f"fold{fold}-seed0" for fold in kind.trained]
    train = [  # nothing is measured then
        *corpus,
        *QUICK,
        *folds,
        "--jobs",
        "1",
        "--pack",
        "8",
        "--layout",
        "loop",
    ]

    opened = extracted(kind, corpus)
    trained(kind, corpus, train, opened, cells)
    born_again(kind, train, cells)
    used(kind, opened, cells)
    looked_at(kind, corpus, cells)


def extracted(kind: Kind, corpus: list[str]) -> Corpus:
    """verify, features and inspect; the corpus."""
    output = printed("verify", *corpus)
    assert f"{kind.clips} clips, {kind.classes} classes" in output and kind.notes in output and "0 problems" in output
    assert "next      make features" in printed("status", *corpus, *SMALL)

    for done in (False, True):
        output = printed("features", *corpus, *SMALL, "--backend", "sequential")
        assert ("finished already, nothing to compute" in output) == done
    door, _, answer = printed("inspect", *corpus, *SMALL, "--json", "--verify").partition("\n")  # the door is on stderr
    assert door.startswith("audio-rkd check cache/")
    about = json.loads(answer)
    opened = open_corpus(kind.dataset, Path(kind.folder))
    first = opened.fold_clips(kind.folds[0])
    assert opened.folds == kind.folds and about["tree"]["features"]["shape"] == [
        len(first),
        2,
        5,
        8,
        kind.frames,
    ]
    assert len(about["classes"]) == kind.classes and about["recordings"] == len({clip.source for clip in first})
    return opened


def trained(kind: Kind, corpus: list[str], train: list[str], opened: Corpus, cells: list[str]) -> None:
    """teacher, distill, report and retrieval."""
    printed("teacher", *train)
    printed("distill", *train, "--losses", "soft", "--losses", ALONE)
    records = runs.find(Path("runs"), kind.name)
    assert len(records) == 3 * len(cells)
    for record in records:
        held_out = opened.fold_clips(record.fold)
        assert record.result.test_clips == len(held_out) and len(record.classes) == kind.classes
        assert record.shape == (5, 8, kind.frames) and record.all_folds == tuple(kind.folds)
        assert sorted(record.data) == list(kind.folds)

    table = printed("report", *corpus, "--no-page")
    assert table.startswith(f"{kind.name}: teacher and students") and "SYNTHETIC" not in table
    row = rows_of(Path("reports") / kind.name / "table.csv")[ALONE]
    assert row["mean_percent"] == "" and row["n"] == "0" and row["at_chance"] == "0" and row["p"] == ""
    assert "no term on the outputs, which name classes by chance" in row["notes"]

    measured = printed("retrieval", *corpus)
    assert "cnn2, untrained" in measured and ALONE in measured
    with (Path("reports") / kind.name / "retrieval.csv").open() as file:
        spaces = [line for line in csv.DictReader(file) if line["mix"] == ALONE]
    answerable = sum(has_pairs(opened.fold_clips(fold)) for fold in kind.trained)
    assert [int(line["n"]) for line in spaces] == ([answerable] * 8 if answerable else [])


def born_again(kind: Kind, train: list[str], cells: list[str]) -> None:
    printed("ban", *train, "--model", "student", "--generations", "2", "--losses", "none", "--losses", "angle")
    stages = rows_of(Path("reports") / kind.name / "ban.csv", "stage")
    assert set(stages) == {"first teacher", "generation 1", "generation 2", "ensemble of 2"}
    assert stages["ensemble of 2"]["n"] == str(len(cells))


def student_of(kind: Kind, cells: list[str]) -> Path:
    return next(iter(sorted(Path("runs", kind.name).glob(f"student-*/angle40+soft0/{cells[0]}"))))


def used(kind: Kind, opened: Corpus, cells: list[str]) -> None:
    """predict, export and cost."""
    place = Path(kind.folder).parent if kind.dataset == "csv" else Path(kind.folder)
    student, sound = student_of(kind, cells), place / kind.sound
    (line,) = printed("predict", student, sound, "--json").splitlines()
    heard = json.loads(line)
    assert {one["class"] for one in heard["top"]} <= set(opened.classes) and len(heard["windows"]) == 1
    assert len(heard["windows"][0]["logits"][0]) == kind.classes
    assert heard["seconds"] == pytest.approx(soundfile.info(sound).duration, abs=1e-3)

    printed("export", student, "--calibration", "8")
    (exported,) = Path("exports", kind.name).glob("cnn2-*/")
    assert json.loads((exported / "labels.json").read_text())["classes"] == list(opened.classes)
    assert json.loads((exported / "features.json").read_text())["input"]["shape"] == [
        "batch",
        5,
        8,
        kind.frames,
    ]
    printed("cost", student, "--repeats", "10")
    costs = json.loads((Path("reports") / kind.name / "cost.json").read_text())
    assert costs["clip_seconds"] == opened.seconds and costs["corpus"] == kind.name


def looked_at(kind: Kind, corpus: list[str], cells: list[str]) -> None:
    """runs, compare, doctor and status."""
    student = student_of(kind, cells)
    listed = json.loads(printed("runs", "--corpus", kind.name, "--status", "outputs untrained", "--json"))
    assert [one["mix"] for one in listed] == [ALONE] * len(cells)
    assert "B less A" in printed("compare", student.parent.parent / "soft1" / cells[0], student)
    pair = printed("compare", "soft", ALONE, "--corpus", kind.name)
    assert f"{len(cells)} without a term on the outputs (not counted)" in pair
    assert ("B less A" if len(cells) == 1 else "so no difference") in pair
    assert f"{kind.name}: {kind.clips} clips" in printed("doctor", *corpus)
    state = printed("status", *corpus, *SMALL)
    chains = len(cells) * 2 * 2
    assert f"born-again × {chains}" in state and f"{ALONE} × {len(cells)}" in state and "next      make report" in state


def has_pairs(clips: Iterable[Clip]) -> bool:
    """Whether some class has clips of two recordings, so that one can be found by the other."""
    recordings: dict[int, set[str]] = {}
    for clip in clips:
        recordings.setdefault(clip.label, set()).add(clip.source)
    return any(len(recording) > 1 for recording in recordings.values())


def rows_of(path: Path, key: str = "mix") -> dict[str, dict[str, str]]:
    with path.open() as file:
        return {row[key]: row for row in csv.DictReader(file)}


def test_a_data_set_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says how to get it, and offers no synthetic one in its place."""
    monkeypatch.chdir(tmp_path)
    for dataset, place in (("esc50", "ESC-50"), ("esc10", "ESC-50"), ("urbansound8k", "UrbanSound8K")):
        text = printed("status", "--dataset", dataset)
        assert f"none in data/{place}\n" in text and f"next      make data DATASET={dataset}, or DATA=FOLDER" in text
        text = printed("features", "--dataset", dataset, code=1)
        assert f"data/{place}" in text and f"expected the data set {dataset} there: make data DATASET={dataset}" in text
    assert "nowhere" in printed("status", "--dataset", "folder", "--data", "nowhere", code=1)
    assert "needs --data FOLDER" in printed("features", "--dataset", "folder", code=1)
    assert "make demo" in printed("status")
    assert not list(tmp_path.iterdir())
