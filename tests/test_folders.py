"""Corpora of one's own, CLASS/CLIP.wav: folds by recording, stored once, and never reshuffled."""

from __future__ import annotations

import csv
import dataclasses
import os
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import cli
from pipeline import corpus as corpora
from pipeline.config import InputError
from pipeline.corpus import DATASETS, open_corpus
from pipeline.corpus.folder import assigned_folds, recordings
from tests.test_corpus import line, touch, write_table


def clips_of(root: Path, names: list[str]) -> Path:
    for name in names:
        touch(root / name)
    return root


def pieces() -> list[str]:
    """Three classes; recordings of one to five pieces, twelve a class, named in three ways."""
    return [
        name.format(c=kind, r=r, p=p)
        for kind, name in (("bee", "{c}/r{r}-{p}.wav"), ("cow", "{c}/moo{r}_{p:02}.flac"), ("dog", "{c}/{c}{r}_chunk{p}.WAV"))
        for r in range(12) for p in range(1 + r % 5)
    ]  # fmt: skip


def test_a_folder_gets_folds_by_recording_that_are_stored_and_balanced(tmp_path) -> None:
    root = clips_of(tmp_path / "Farm", [*pieces(), "bee/.hidden.wav", "bee/notes.txt", ".git/x.wav"])
    corpus = open_corpus("folder", root)
    assert (corpus.name, corpus.classes, corpus.folds, corpus.all_folds) == (
        "farm",
        ("bee", "cow", "dog"),
        (1, 2, 3, 4, 5),
        (1, 2, 3, 4, 5),
    )
    assert {c.name for c in corpus.clips} == set(pieces()) and corpus.seconds == 4.0
    folds = defaultdict(set)
    for clip in corpus.clips:
        assert (
            clip.path == root / clip.name and clip.label == "bcd".index(clip.name[0]) and clip.seconds is None
        )
        folds[clip.source].add(clip.fold)
    assert len(folds) == 36 and all(len(where) == 1 for where in folds.values())  # whole recordings
    counts = Counter((clip.fold, clip.label) for clip in corpus.clips)
    for label in range(3):
        of_class = [counts[fold, label] for fold in range(1, 6)]
        assert sum(of_class) == 33 and max(of_class) - min(of_class) <= 1, of_class
    stored = (root / "folds.csv").read_text()
    with (root / "folds.csv").open() as file:
        assert {(row["file"], int(row["fold"])) for row in csv.DictReader(file)} == {
            (c.name, c.fold) for c in corpus.clips
        }
    assert open_corpus("folder", root) == corpus and (root / "folds.csv").read_text() == stored
    assert not list(root.glob(".*tmp"))


def test_folds_do_not_depend_on_the_order_of_files() -> None:
    names = pieces()
    kinds = {name: name.partition("/")[0] for name in names}
    expected = assigned_folds(kinds, recordings(names), {})
    for seed in range(5):
        random.Random(seed).shuffle(names)
        assert assigned_folds({n: kinds[n] for n in names}, recordings(names), {}) == expected


def test_new_files_join_without_moving_a_clip(tmp_path) -> None:
    root = clips_of(tmp_path, pieces())
    before = open_corpus("folder", root)
    text = (root / "folds.csv").read_text()
    clips_of(root, ["bee/r4-9.wav", "bee/aaa-0.wav", "ant/one.wav", "ant/two.wav", "ant/six.wav"])
    after = open_corpus("folder", root)
    old = {c.name: c.fold for c in before.clips}
    new = {c.name: c.fold for c in after.clips}
    assert len(new) == len(old) + 5 and {name: new[name] for name in old} == old
    assert (root / "folds.csv").read_text().startswith(text)
    assert new["bee/r4-9.wav"] == new["bee/r4-0.wav"]  # a piece more of a recording stays with it
    assert len({new[f"ant/{name}.wav"] for name in ("one", "two", "six")}) == 3  # a new class is spread
    assert after.classes == ("ant", "bee", "cow", "dog")


def test_stated_folds_and_recordings_hold(tmp_path) -> None:
    root = clips_of(tmp_path, ["a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav"])
    write_table(root / "folds.csv", ["fold", "file", "source", "who"],
                [[3, "a/1.wav", "x", "me"], [7, "a/2.wav", "", "me"], [3, "b/1.wav", "x", ""], [7, "b/2.wav", "y", ""]])  # fmt: skip
    corpus = open_corpus("folder", root)
    assert corpus.folds == corpus.all_folds == (3, 7)
    assert {c.name: c.source for c in corpus.clips} == {
        "a/1.wav": "x",
        "a/2.wav": "a/2",
        "b/1.wav": "x",
        "b/2.wav": "y",
    }
    clips_of(root, ["b/3.wav"])
    assert {c.name: c.fold for c in open_corpus("folder", root).clips}["b/3.wav"] in (3, 7)
    assert (root / "folds.csv").read_text().splitlines()[-1] in (
        "3,b/3.wav,b/3,",
        "7,b/3.wav,b/3,",
    )  # in its own columns


def test_stated_folds_that_are_wrong(tmp_path) -> None:
    root = clips_of(tmp_path, ["a/1.wav", "b/1.wav"])
    cases: list[tuple[list[list[object]], str]] = [
        ([["a/1.wav", 1], ["b/1.wav", "x"]], "line 3: fold = 'x': expected a whole number from 1"),
        ([["a/1.wav", 0], ["b/1.wav", 1]], "line 2: fold = '0': expected a whole number from 1"),
        ([["a/1.wav", 1], ["a/1.wav", 2]], "file = 'a/1.wav' a second time"),
        (
            [["a/1.wav", 1], ["b/2.wav", 2]],
            "lists 1 of 2 clips that are not there as CLASS/CLIP.wav, the first 'b/2.wav'",
        ),
    ]
    for rows, message in cases:
        write_table(root / "folds.csv", ["file", "fold"], rows)
        text = (root / "folds.csv").read_text()
        with pytest.raises(InputError, match=message) as caught:
            open_corpus("folder", root)
        line(caught)
        assert (root / "folds.csv").read_text() == text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/100-3-0-0.wav", "b/100-5-1-1.wav", "a/200-1.wav"], ["100", "100", "a/200"]),
        (
            ["a/park_01.wav", "a/park_02.wav", "a/sea_chunk3.wav", "a/sea.7.wav"],
            ["a/park", "a/park", "a/sea", "a/sea"],
        ),
        (["a/park1.wav", "a/park2.wav", "a/-x.wav", "a/-7.wav"], ["a/park1", "a/park2", "a/-x", "a/-7"]),
        # Published names say the recording, whatever the class.
        (["a/1-100-A-0.wav", "b/1-100-B-7.wav", "a/1-200-A-0.wav", "b/x.wav"], ["100", "100", "200", "b/x"]),
        # Equal names in two classes are not of one recording.
        (
            ["a/000.wav", "b/000.wav", "a/s_1.wav", "b/s_1.wav", "b/s_2.wav"],
            ["a/000", "b/000", "a/s", "b/s", "b/s"],
        ),
        # Only one number is a piece's, and none of a date's or a time's.
        (
            [
                "a/2020-01-05.wav",
                "a/2020-01-06.wav",
                "a/2020-01-06_2.wav",
                "a/20210105_123000.wav",
                "a/site_2_07.wav",
                "a/2021-03-04 12-30-00.wav",
                "a/street-a-2.wav",
            ],
            [
                "a/2020-01-05",
                "a/2020-01-06",
                "a/2020-01-06",
                "a/20210105_123000",
                "a/site_2",
                "a/2021-03-04 12-30-00",
                "a/street-a",
            ],
        ),
        # Numbered clips, not pieces of one recording: a class of one recording could not be both trained and tested.
        (
            ["a/dog_001.wav", "a/dog_002.wav", "a/dog_003.wav"],
            ["a/dog_001.wav", "a/dog_002.wav", "a/dog_003.wav"],
        ),
        (["a/dog-1.wav", "a/dog-2.wav"], ["a/dog-1.wav", "a/dog-2.wav"]),
    ],
)
def test_recordings_by_name(names: list[str], expected: list[str]) -> None:
    found = recordings(names)
    assert [found[name] for name in names] == expected


def where(root: Path) -> dict[str, tuple[int, str]]:
    return {clip.name: (clip.fold, clip.source) for clip in open_corpus("folder", root).clips}


def test_a_later_piece_goes_where_its_recording_is(tmp_path) -> None:
    """Also where the first piece was the class' only clip, and so seemed to be a recording by itself."""
    root = clips_of(tmp_path, ["a/street_01.wav", *(f"b/r{i}_1.wav" for i in range(9))])
    fold, source = where(root)["a/street_01.wav"]
    clips_of(root, ["a/street_02.wav", "a/street_03.wav", "a/park_01.wav", "b/r5_2.wav"])
    after = where(root)
    assert after["a/street_02.wav"] == after["a/street_03.wav"] == (fold, source)
    assert after["b/r5_2.wav"] == after["b/r5_1.wav"] and after["a/park_01.wav"][0] != fold
    assert where(root) == after


def test_a_later_piece_of_a_recording_named_by_hand_or_by_an_earlier_version(tmp_path) -> None:
    root = clips_of(tmp_path, ["a/street-x-1.wav", "a/hill.wav", "b/one.wav", "b/two.wav"])
    write_table(root / "folds.csv", ["file", "fold", "source"],
                [["a/street-x-1.wav", 3, "street"], ["a/hill.wav", 1, "the hill"], ["b/one.wav", 1, "one"], ["b/two.wav", 2, "two"]])  # fmt: skip
    clips_of(root, ["a/street-y-1.wav", "a/street_7.wav", "a/hill_2.wav"])
    found = where(root)
    assert found["a/street-y-1.wav"] == found["a/street_7.wav"] == (3, "street")
    assert found["a/hill_2.wav"] == (1, "the hill")


def test_more_of_numbered_clips_are_spread(tmp_path) -> None:
    root = clips_of(tmp_path, [f"{kind}/{kind}_{i:03}.wav" for kind in "ab" for i in range(10)])
    before = where(root)
    clips_of(root, [f"a/a_{i:03}.wav" for i in range(10, 15)])
    after = where(root)
    assert {name: after[name] for name in before} == before
    assert len({after[f"a/a_{i:03}.wav"][0] for i in range(10, 15)}) == 5


def test_the_assignment_is_told_once(tmp_path, capsys) -> None:
    root = clips_of(tmp_path, ["a/x_1.wav", "a/x_2.wav", "a/y_1.wav", "b/x_1.wav"])
    open_corpus("folder", root)
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert (
        "now 4 clips of 3 recordings" in said.err
        and "Edit it if clips of one recording are in several" in said.err
    )
    open_corpus("folder", root)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name",
    [
        " lead/x.wav",
        "trail /x.wav",
        "a/x\ny.wav",
        os.fsdecode(b"a/caf\xe9.wav"),
        os.fsdecode(b"caf\xe9/x.wav"),
    ],
)
def test_names_that_a_table_cannot_hold_are_refused_before_anything_is_written(tmp_path, name: str) -> None:
    root = clips_of(tmp_path, ["a/1.wav", "b/1.wav", name])
    for _ in range(2):
        with pytest.raises(InputError, match="expected another: rename it") as caught:
            open_corpus("folder", root)
        assert line(caught).encode() and not (root / "folds.csv").exists()


def test_clip_length_of_a_folder(tmp_path) -> None:
    root = clips_of(tmp_path, ["a/1.wav", "b/1.wav"])
    for text, seconds in (("seconds = 2.5", 2.5), ("seconds = 3", 3.0), ("", 4.0)):
        (root / "corpus.toml").write_text(text)
        assert open_corpus("folder", root).seconds == seconds
    for text, message in (("seconds = 0", "seconds = 0: expected a number above 0"), ("seconds = true", "expected a number"),
                          ("second = 4", "unknown key 'second'"), ("seconds", "not a TOML file")):  # fmt: skip
        (root / "corpus.toml").write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            open_corpus("folder", root)
        line(caught)


def test_folders_without_two_classes_or_without_sounds(tmp_path) -> None:
    with pytest.raises(InputError, match="has 0 folders with sound files"):
        open_corpus("folder", tmp_path)
    clips_of(tmp_path, ["a/1.wav"])
    with pytest.raises(InputError, match=r"has 1 folders with sound files .*; expected at least two"):
        open_corpus("folder", tmp_path)
    clips_of(tmp_path, ["b/readme.txt"])
    with pytest.raises(InputError, match=r"b holds no sound file; expected \.wav"):
        open_corpus("folder", tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_folds_that_cannot_be_stored_are_an_error_with_a_way_out(tmp_path, monkeypatch) -> None:
    root = clips_of(tmp_path, ["a/1.wav", "b/1.wav"])

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(
            InputError,
            match=r"folds of 2 clips cannot be stored in .*folds\.csv \(Permission denied\).*cp -rs",
        ) as caught:
            open_corpus("folder", root)
    line(caught)
    assert sorted(p.name for p in root.iterdir()) == ["a", "b"]  # nothing half-made


#: As the README shows it.
OWN = '''"""Free Spoken Digit Dataset: recordings/7_jackson_32.wav; a speaker is a fold."""
from pathlib import Path
from pipeline.corpus import Clip, Corpus, checked

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")

def fsdd(root: Path) -> Corpus:
    clips = []
    for path in (root / "recordings").glob("[0-9]_*_*.wav"):
        digit, speaker, _ = path.stem.split("_")
        clips.append(Clip(path.name, path, 1 + SPEAKERS.index(speaker), int(digit), source=path.stem, seconds=None))
    return checked(root, "fsdd", tuple("0123456789"), (1, 2, 3, 4, 5, 6), 1.0, clips)
'''


def test_a_data_set_is_one_file(tmp_path, monkeypatch) -> None:
    assert set(DATASETS) == {"synthetic", "urbansound8k", "esc50", "esc10", "folder"}
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "fsdd.py").write_text(OWN)
    (tmp_path / "code" / "notes.py").write_text('"""No data set."""\n')
    monkeypatch.setattr(corpora, "__path__", [*corpora.__path__, str(tmp_path / "code")])
    touch(tmp_path / "FSDD" / "recordings" / "notes.wav")
    root = clips_of(tmp_path / "FSDD", [f"recordings/{d}_{who}_{i}.wav" for d in (0, 7) for who in ("theo", "george") for i in (0, 1)])  # fmt: skip
    assert set(corpora.names()) == {*DATASETS, "fsdd"} and corpora.places("fsdd") == ("fsdd",)
    corpus = open_corpus("fsdd", root)
    assert (corpus.name, corpus.folds, corpus.seconds, len(corpus.clips)) == ("fsdd", (1, 5), 1.0, 8)
    assert corpus.clips[0] == corpora.Clip("0_george_0.wav", root / "recordings" / "0_george_0.wav", 1, 0, "0_george_0", None)  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="lists no clip that is in") as caught:
        open_corpus("fsdd", tmp_path / "empty")
    line(caught)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"name": "b"}, "clip 'b': the name of 2 clips; expected a name of its own"),
     ({"label": 2}, "clip 'a': label 2; expected 0 to 1"), ({"label": -1}, "label -1"),
     ({"fold": 0}, "fold 0; expected one of 1 2"), ({"seconds": 0.0}, "0.0 seconds long"),
     ({"seconds": float("nan")}, "nan seconds"), ({"seconds": float("inf")}, "inf seconds")],
)  # fmt: skip
def test_what_every_corpus_promises_is_looked_at(tmp_path, change: dict, message: str) -> None:
    touch(tmp_path / "x.wav")
    a, b = (corpora.Clip(name, tmp_path / "x.wav", 1, 0, "r", None) for name in "ab")
    assert len(corpora.checked(tmp_path, "own", ("low", "high"), (1, 2), 1.0, [a, b]).clips) == 2
    with pytest.raises(InputError, match=message) as caught:
        corpora.checked(tmp_path, "own", ("low", "high"), (1, 2), 1.0, [dataclasses.replace(a, **change), b])
    line(caught)


def test_every_command_has_every_data_set() -> None:
    """Nothing is registered anywhere: the choices of ``--dataset`` are the files of the folder."""
    choices = {
        name: set(option.type.choices)
        for name, command in cli.main.commands.items() for option in command.params
        if option.name == "dataset" and name != "data"
    }  # fmt: skip
    assert {"features", "verify", "predict", "export", "cost", "ban", "retrieval", "doctor"} - {
        "predict"
    } <= set(choices)
    assert all(set(DATASETS) | {"auto"} <= found for found in choices.values()), choices
