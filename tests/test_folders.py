"""Corpora of one's own, CLASS/CLIP.wav: folds by recording, stored once, and never reshuffled."""

from __future__ import annotations

import csv
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
        "a/2.wav": "2",
        "b/1.wav": "x",
        "b/2.wav": "y",
    }
    clips_of(root, ["b/3.wav"])
    assert {c.name: c.fold for c in open_corpus("folder", root).clips}["b/3.wav"] in (3, 7)
    assert (root / "folds.csv").read_text().splitlines()[-1] in (
        "3,b/3.wav,3,",
        "7,b/3.wav,3,",
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
        (["a/100-3-0-0.wav", "a/100-3-0-1.wav", "a/200-1.wav"], ["100", "100", "200"]),
        (
            ["a/park_01.wav", "a/park_02.wav", "a/sea_chunk3.wav", "a/sea.7.wav"],
            ["park", "park", "sea", "sea"],
        ),
        (["a/park1.wav", "a/park2.wav", "a/-x.wav"], ["park1", "park2", "-x"]),
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
    for path in (root / "recordings").glob("*.wav"):
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
    root = clips_of(tmp_path / "FSDD", [f"recordings/{d}_{who}_{i}.wav" for d in (0, 7) for who in ("theo", "george") for i in (0, 1)])  # fmt: skip
    assert set(corpora.names()) == {*DATASETS, "fsdd"} and corpora.places("fsdd") == ("fsdd",)
    corpus = open_corpus("fsdd", root)
    assert (corpus.name, corpus.folds, corpus.seconds, len(corpus.clips)) == ("fsdd", (1, 5), 1.0, 8)
    assert corpus.clips[0] == corpora.Clip("0_george_0.wav", root / "recordings" / "0_george_0.wav", 1, 0, "0_george_0", None)  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="lists no clip that is in") as caught:
        open_corpus("fsdd", tmp_path / "empty")
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
