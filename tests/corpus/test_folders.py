"""Corpora of one's own, CLASS/CLIP.wav: folds by recording, stored once, and never reshuffled."""

from __future__ import annotations

import csv
import dataclasses
import os
import random
import tracemalloc
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from pipeline import corpus as corpora
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import (
    files,
    leaks,
    open_corpus,
)
from pipeline.corpus.folder import assigned_folds
from pipeline.corpus.naming import recordings
from pipeline.deploy.sounds import sound_files
from tests.corpora import line, touch, write_table
from tests.documents import example

DATASETS = ("synthetic", "urbansound8k", "esc50", "esc10", "folder", "csv")


def clips_of(root: Path, names: list[str]) -> Path:
    for name in names:
        touch(root / name)
    return root


def pieces() -> list[str]:
    """Three classes; recordings of one to five pieces, twelve a class, named in three ways."""
    return [
        name.format(c=kind, r=r, p=p)
        for kind, name in (
            ("bee", "{c}/r{r}-{p}.wav"),
            ("cow", "{c}/moo{r}_{p:02}.flac"),
            ("dog", "{c}/{c}{r}_chunk{p}.WAV"),
        )
        for r in range(12)
        for p in range(1 + r % 5)
    ]


def test_folds_csv_holds_no_formula_and_reads_what_a_spreadsheet_made_of_it(tmp_path) -> None:
    names = [f"{kind}/{k}.wav" for kind in ("=cmd|x", "-rf", "a&b%c_d", "'quoted") for k in ("a", "b")]
    root = clips_of(tmp_path / "odd", names)
    folds = {clip.name: (clip.fold, clip.source) for clip in open_corpus("folder", root).clips}
    assert folds.keys() == set(names)
    with (root / "folds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell[0] in "=-+@"] and "'=cmd|x/a.wav" in cells and "'quoted/a.wav" in cells
    # As it was stored before, and by a spreadsheet that takes the apostrophe for its own.
    for text in (
        (root / "folds.csv").read_text(),
        (root / "folds.csv").read_text().replace("'=", "=").replace("'-", "-"),
    ):
        (root / "folds.csv").write_text(text)
        assert {clip.name: (clip.fold, clip.source) for clip in open_corpus("folder", root).clips} == folds
        assert (root / "folds.csv").read_text() == text
    write_table(root / "folds.csv", ["file", "fold"], [["-rf/a.wav", "1"], ["'-rf/a.wav", "2"]])
    with pytest.raises(InputError, match=r"line 3: file = \"'-rf/a.wav\": expected each clip once"):
        open_corpus("folder", root)


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
        assert clip.path == root / clip.name and clip.label == "bcd".index(clip.name[0]) and clip.seconds is None
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
    write_table(
        root / "folds.csv",
        ["fold", "file", "source", "who"],
        [[3, "a/1.wav", "x", "me"], [7, "a/2.wav", "", "me"], [3, "b/1.wav", "x", ""], [7, "b/2.wav", "y", ""]],
    )
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
    by_name = recordings(names)
    assert [by_name[name] for name in names] == expected


#: Names that cutters give to piece k (from 0) of recording r; j = k + 1, m = k + 2.
CUTTERS = (
    "{r}_{k}",
    "{r}-{j:02}",
    "{r} ({j})",
    "{r}({j})",
    "{r}[{j}]",
    "{r}#{k}",
    "{r}__{k:03}",
    "{r}_{k}.0_{j}.0",
    "{r}_{k}.000000-{j}.000000",
    "{r}_{k},0-{j},0",
    "{r} [{k}.5-{j}.5]",
    "{r}_{k}.5_1.0",
    "{r}_{k}000-{j}000",
    "{r}_{k}000_{j}000",
    "{r}_{k}000-{j}000ms",
    "{r}_{k}000ms-{j}000ms",
    "{r}_{k}s-{j}s",
    "{r}_{k}-{j}sec",
    "{r}_{k}_{j}",
    "{r}_{k}_{m}",
    "{r}_{k:06}_{j:06}",
    "{r}_{k} to {j}",
    "{r}_{k}to{j}",
    "{r}_from{k}to{j}",
    "{r}_start{k}_end{j}",
    "{r}_start_{k}.0_end_{j}.0",
    "{r}_{k}s",
    "{r}_{k}.5s",
    "{r}_{k}500ms",
    "{r}_0m{k}s",
    "{r}@{k}.50",
    "{r}_00-00-0{k}",
    "{r}_00.00.0{k}-00.00.0{j}",
    "{r}_00h00m0{k}s-00h00m0{j}s",
    "{r}_000m_0{k}s__000m_0{j}s",
    "{r}_chunk{k}",
    "{r}-chunk-{k:03}",
    "{r}_part_{k}",
    "{r}Part{k}",
    "{r}_seg{k:04}",
    "{r}.segment{k}",
    "{r}_slice {k}",
    "{r} part {j} of 7",
    "{r}_{j}of7",
    "{r}_{j:02}_of_07",
    "{r} ({j} of 7)",
    "{r}-Take{j}",
    "{r}Take{j}",
    "{r}_take_{j}",
    "{r}_clip{k}",
    "{r}_frame{k}",
    "{r} - Copy ({j})",
    "{r}_aug{k}",
    "{r}_ch{j}",
    "part{k}_{r}",
    "chunk {k:02} - {r}",
    "{r}{k:03}",
    "{r}{k:02}",
    "{r}/{k:03}",
    "{r}/chunk{k}",
    "{r}_{k}.0_{j}.0_{c}",
    "{r}_{k}_{c}",
    "-_{r}X9_{k}0_{j}0",
    "-_{r}X9_{k}0.000_{j}0.000",
    "-_{r}X9_{k:06}",
    "{r}_20210105_123000_{k}",
    "{r}_2021-01-05_{k}s-{j}s",
)


@pytest.mark.parametrize("form", CUTTERS)
def test_the_pieces_that_a_cutter_leaves_are_one_recording_in_one_fold(form: str) -> None:
    names = {
        f"{c}/{form.format(r=r, c=c, k=k, j=k + 1, m=k + 2)}.wav": f"{c}/{r}"
        for c in ("dog", "cat")
        for r in ("garden", "street", "park")
        for k in range(6)
    }
    by_name = recordings(names)
    folds = assigned_folds({name: name.partition("/")[0] for name in names}, by_name, {})
    for recording in set(names.values()):
        pieces = [name for name in names if names[name] == recording]
        assert len({by_name[name] for name in pieces}) == 1 == len({folds[name] for name in pieces}), (
            form,
            by_name,
        )
    of_class = [{by_name[name] for name in names if name.startswith(c)} for c in ("dog", "cat")]
    assert [len(one) for one in of_class] == [3, 3]  # and no recording was taken for another
    assert len(set(folds.values())) >= 3


#: Names of clips that were recorded one by one, and no two of which are one recording.
APART = (
    ["{c}_{k:03}"],
    ["{c}{k}"],
    ["{k}"],
    ["{k:05}"],
    ["({k})"],
    ["IMG{k:04}"],
    ["2021010{k}_120000"],
    ["2021-01-0{k}"],
    ["rec 2021-01-05 0{k}.30.00"],
    ["rec_1{k}-30-00"],
    ["0{k}-01-2021"],
    ["21010{k}_123000"],
    ["rec_160945560{k}"],
    ["2021010{k}120000"],
    ["park{k}", "street{k}"],
    ["a{k}x", "b{k}x"],
    ["{k}__anna__bark", "{k}__berta__bark"],
    ["r{k}_{j}_1"],
    ["{k}-42-A-7"],
)


@pytest.mark.parametrize("forms", APART)
def test_clips_of_their_own_stay_apart(forms: list[str]) -> None:
    names = [f"{c}/{form.format(c=c, k=k, j=9 - k)}.wav" for c in ("dog", "cat") for form in forms for k in range(1, 8)]
    if forms == ["{k}-42-A-7"]:  # ESC-50's own: one recording, in any class
        assert set(recordings(names).values()) == {"42"}
    else:
        assert len(set(recordings(names).values())) == len(names)


def test_takes_of_numbered_recordings_are_no_ranges_of_time() -> None:
    names = [f"a/r_{r}_{take}.wav" for r in (1, 2, 3) for take in (1, 2, 3, 10)]
    assert {recordings(names)[name] for name in names} == {"a/r_1", "a/r_2", "a/r_3"}
    names = [f"a/r_{r}_{take:02}.wav" for r in (1, 2) for take in (3, 4)]
    assert {recordings(names)[name] for name in names} == {"a/r_1", "a/r_2"}


def test_sure_pieces_of_a_class_only_recording_are_not_spread() -> None:
    names = [*(f"a/chunk{k}.wav" for k in range(5)), *(f"b/long_{k}.0_{k + 1}.0.wav" for k in range(5))]
    assert set(recordings(names).values()) == {"a", "b/long"}


def test_one_recording_in_two_classes() -> None:
    """As an export by labels leaves it; not where both have the same piece, or where it were next to everything."""
    rest = [f"{c}/other-{n}-x.wav" for c in "ab" for n in range(6)]
    cut = ["a/garden_0.0_1.0.wav", "b/garden_3.5_4.5.wav", "a/walk_1.wav", "b/walk_2.wav"]
    by_name = recordings([*cut, *rest])
    assert [by_name[name] for name in cut] == ["garden", "garden", "walk", "walk"]
    assert recordings([*cut, "b/walk_1.wav", *rest])["a/walk_1.wav"] == "a/walk"
    few = recordings(["a/rec_1.wav", "a/rec_2.wav", "b/rec_3.wav", "b/rec_4.wav", "a/x.wav", "b/y.wav"])
    assert few["a/rec_1.wav"] == "a/rec" and few["b/rec_3.wav"] == "b/rec"


def test_copies_and_sides() -> None:
    names = [
        "a/x_03.wav",
        "a/x_03 (1).wav",
        "a/x_04.wav",
        "a/y_L.wav",
        "a/y_R.wav",
        "a/z_L.wav",
        "a/site_1 (1).wav",
        "a/site_2 (1).wav",
    ]
    assert [recordings(names)[name] for name in names] == [
        "a/x",
        "a/x",
        "a/x",
        "a/y",
        "a/y",
        "a/z_L",
        "a/site_1",
        "a/site_2",
    ]


def noise_files(root: Path, names: list[str]) -> Path:
    import numpy as np
    import soundfile

    for n, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.random.default_rng(n).normal(0, 0.1, 400), 8000)
    return root


def test_looking_for_copies_keeps_little_of_files_of_one_size(tmp_path) -> None:
    """A data set of equal clips: 4 kB of each were kept at once, 0.4 GB of 100,000."""
    paths = {}
    for i in range(2000):
        path = tmp_path / f"{i}.raw"
        path.write_bytes(i.to_bytes(4) * 1100)
        paths[path] = path.name
    tracemalloc.start()
    try:
        assert leaks.same_bytes(paths) == []
        assert tracemalloc.get_traced_memory()[1] < 2000 * 1000
    finally:
        tracemalloc.stop()


def test_files_of_the_same_bytes_are_in_one_fold(tmp_path, capsys) -> None:
    root = noise_files(
        tmp_path, [*(f"{c}/{n}-x.wav" for c in "ab" for n in range(6)), *(f"a/cut_{n}.wav" for n in range(3))]
    )
    for name in ("a/copied.wav", "a/later_1.wav"):
        (root / name).write_bytes((root / "a/cut_1.wav").read_bytes())
    touch(root / "a" / "later_2.wav")
    touch(root / "b" / "nothing.wav")  # empty files are no copies of each other
    folds = where(root)
    assert len({folds[f"a/{name}.wav"] for name in ("cut_0", "cut_1", "cut_2", "copied", "later_1", "later_2")}) == 1
    assert folds["b/nothing.wav"][1] == "b/nothing"
    (root / "b" / "again.wav").write_bytes((root / "b/3-x.wav").read_bytes())  # later, of a clip that has its fold
    assert where(root)["b/again.wav"] == folds["b/3-x.wav"] and where(root).items() >= folds.items()
    capsys.readouterr()
    lines = leaks.told(open_corpus("folder", root))
    assert "farm" not in lines[0] and "2 clips are there more than once" in lines[0] and "in one fold each" in lines[0]
    (root / "b" / "wrong.wav").write_bytes((root / "a/cut_0.wav").read_bytes())
    assert where(root)["b/wrong.wav"][0] == folds["a/cut_0.wav"][0]
    with pytest.raises(
        InputError, match=r"a/cut_0\.wav and b/wrong\.wav: the same bytes under the labels a and b"
    ) as caught:
        leaks.told(open_corpus("folder", root))
    line(caught)


def test_silence_is_no_copy(tmp_path) -> None:
    import numpy as np
    import soundfile

    root = noise_files(tmp_path, [f"{c}/{r}_{k}.wav" for c in "ab" for r in ("sea", "sky", "hill") for k in range(4)])
    for name in ("a/sea_4.wav", "a/sky_4.wav", "b/hill_4.wav"):
        soundfile.write(root / name, np.zeros(400), 8000)
    assert {source for _, source in where(root).values()} == {f"{c}/{r}" for c in "ab" for r in ("sea", "sky", "hill")}
    assert not leaks.copies(open_corpus("folder", root))


def test_stored_folds_hold_and_recordings_in_several_are_told(tmp_path, capsys) -> None:
    """Folds that an earlier rule for names assigned: every piece its own recording, spread over the folds."""
    names = [f"{c}/{r}_{k}.0_{k + 1}.0.wav" for c in "ab" for r in ("sea", "sky") for k in range(3)]
    root = clips_of(tmp_path / "Farm", names)
    write_table(root / "folds.csv", ["file", "fold", "source"], [[n, 1 + i % 3, n] for i, n in enumerate(names)])
    text = (root / "folds.csv").read_text()
    corpus = open_corpus("folder", root)
    assert {c.name: (c.fold, c.source) for c in corpus.clips} == {n: (1 + i % 3, n) for i, n in enumerate(names)}
    told = leaks.warning(corpus)
    assert "farm: 4 recordings are in several folds" in told and "a/sea in 1 and 2 and 3" in told and "\n" not in told
    assert "Remove" in told and (root / "folds.csv").read_text() == text
    write_table(root / "folds.csv", ["file", "fold", "source"], [[n, 1 + i % 3, f"r{i}"] for i, n in enumerate(names)])
    assert leaks.warning(open_corpus("folder", root)) == ""  # as whoever wrote the names wants it
    write_table(
        root / "folds.csv",
        ["file", "fold", "source"],
        [[n, 1 + i % 3, f"r{i // 2}"] for i, n in enumerate(names)],
    )
    assert "6 recordings are in several folds" in leaks.warning(open_corpus("folder", root))
    assert capsys.readouterr().err == ""


class Table(str):
    """What ``report`` gives, for its lines alone."""

    def __init__(self, _text: str) -> None:
        self.data: dict[str, object] = {}


def test_every_command_says_that_a_recording_is_in_several_folds(tmp_path, monkeypatch) -> None:
    from pipeline.corpus import opening
    from pipeline.report import status as data

    root = clips_of(tmp_path / "Farm", ["a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav"])
    write_table(
        root / "folds.csv",
        ["file", "fold", "source"],
        [["a/1.wav", 1, "x"], ["a/2.wav", 2, "x"], ["b/1.wav", 1, "y"], ["b/2.wav", 2, "z"]],
    )
    monkeypatch.chdir(tmp_path)
    _, note = opening.open_or_make("folder", root)
    assert note.count("\n") == 0 and "1 recording is in several folds" in note and "x in 1 and 2" in note
    for command in ("teacher", "distill"):  # there are no features yet
        done = CliRunner().invoke(cli.main, [command, "--dataset", "folder", "--data", str(root)])
        assert done.exit_code == 1 and "1 recording is in several folds" in done.output, done.output
    monkeypatch.setattr(data, "with_finished_runs", lambda _root: ["farm"])
    monkeypatch.setattr("pipeline.report.report", lambda *_, **__: Table("the table"))
    done = CliRunner().invoke(cli.main, ["report", "--no-page", "--dataset", "folder", "--data", str(root)])
    assert done.exit_code == 0 and "1 recording is in several folds" in done.output and "the table" in done.output


def test_features_says_on_what_the_folds_rest_and_what_is_left_out(tmp_path, monkeypatch) -> None:
    root = noise_files(tmp_path / "Farm", [f"{c}/{r}_{k}.wav" for c in "ab" for r in ("sea", "sky") for k in range(3)])
    (root / "corpus.toml").write_text("seconds = 0.5\n")
    for name in (
        "a/film.ape",
        "loose.wav",
        "_aside/x.wav",
        "__MACOSX/a/._sea_0.wav",
        "a/.x.wav",
        "a/notes.txt",
    ):
        touch(root / name)
    monkeypatch.chdir(tmp_path)
    arguments = [
        "features",
        "--dataset",
        "folder",
        "--data",
        str(root),
        "--backend",
        "sequential",
        "--set",
        "features.bins=8",
        "--set",
        "features.bins_per_octave=24",
    ]
    printed = CliRunner().invoke(cli.main, arguments).output
    assert "2 files that look like sounds are left out, such as a/film.ape: make verify names them" in printed
    assert (
        "folds rest on names alone, 12 clips of 4 recordings. Taken for one recording each: a/sea_0.wav, …, a/sea_2.wav"
        in printed
    )
    assert printed.count(" clips); ") == 2 and "SKIPPED" not in printed and "12 clips in" in printed
    small = CliRunner().invoke(cli.main, [*arguments, "--set", "features.hop_length=4000"])
    assert (
        small.exit_code == 1 and "features.hop_length = 4000: a clip of 0.5 s at 22050 Hz has 3 frames" in small.output
    )
    assert "expected 3675 at most" in small.output
    assert FeatureSpec(seconds=0.5, hop_length=3675).frames == 4 > FeatureSpec(seconds=0.5, hop_length=3676).frames


def test_one_walk_for_corpus_and_predict(tmp_path) -> None:
    sounds = ["x.wav", "y.OPUS", "z.au", "v.caf", "w.w64", "_u.aifc", "sub/t.wav", "sub/sub/-s.mp3"]
    for kind in "ab":
        clips_of(tmp_path / kind, [*sounds, "u.ape", "._x.wav", ".hid/x.wav", "__MACOSX/._x.wav", "notes.txt"])
        clips_of(tmp_path / kind, ["@eaDir/x.wav", "lost+found/x.wav"])
    for system in ("$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle"):
        clips_of(tmp_path / system, ["x.wav"])
    os.mkfifo(tmp_path / "a" / "pipe.wav")
    (tmp_path / "a" / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "a" / "sub" / "up").symlink_to("..")
    (tmp_path / "b" / "gone.wav").symlink_to("nowhere.wav")
    (tmp_path / "b" / "here.wav").symlink_to("x.wav")
    away = clips_of(tmp_path.with_name("away"), ["linked.wav"])
    (tmp_path / "b" / "link").symlink_to(away)
    expected = {f"{kind}/{name}" for kind in "ab" for name in sounds} | {"b/here.wav", "b/link/linked.wav"}
    assert {clip.name for clip in open_corpus("folder", tmp_path).clips} == expected
    assert {str(path.relative_to(tmp_path)) for path in sound_files(tmp_path)} == expected
    absent = files.left_out(tmp_path, set(files.sounds(tmp_path)))
    assert [str(path.relative_to(tmp_path)) for path in absent] == [
        "a/loop.wav",
        "a/pipe.wav",
        "a/u.ape",
        "b/gone.wav",
        "b/u.ape",
    ]


def test_names_with_accents_are_the_same_composed_and_decomposed(tmp_path) -> None:
    names = [f"café/é{n}-x.wav" for n in range(3)]
    root = clips_of(tmp_path, [*(unicodedata.normalize("NFD", name) for name in names), "b/1.wav"])
    write_table(root / "folds.csv", ["file", "fold"], [[name, 1 + n] for n, name in enumerate(names)])
    corpus = open_corpus("folder", root)
    assert {c.name: c.fold for c in corpus.clips}.items() >= {name: 1 + n for n, name in enumerate(names)}.items()
    assert corpus.classes == ("b", "café") and all(clip.path.is_file() for clip in corpus.clips)
    clips_of(root, names[:1])
    with pytest.raises(InputError, match="is there twice, with accents composed and decomposed") as caught:
        open_corpus("folder", root)
    line(caught)


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
    write_table(
        root / "folds.csv",
        ["file", "fold", "source"],
        [
            ["a/street-x-1.wav", 3, "street"],
            ["a/hill.wav", 1, "the hill"],
            ["b/one.wav", 1, "one"],
            ["b/two.wav", 2, "two"],
        ],
    )
    clips_of(root, ["a/street-y-1.wav", "a/street_7.wav", "a/hill_2.wav"])
    folds = where(root)
    assert folds["a/street-y-1.wav"] == folds["a/street_7.wav"] == (3, "street")
    assert folds["a/hill_2.wav"] == (1, "the hill")


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
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert (
        "now 4 clips of 3 recordings" in printed.err
        and "Edit it if clips of one recording are in several" in printed.err
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
    for text, message in (
        ("seconds = 0", "seconds = 0: expected a number above 0"),
        ("seconds = true", "expected a number"),
        ("second = 4", "unknown key 'second'"),
        ("seconds", "not a TOML file"),
    ):
        (root / "corpus.toml").write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            open_corpus("folder", root)
        line(caught)


def test_folders_without_two_classes_or_without_sounds(tmp_path) -> None:
    with pytest.raises(InputError, match="has 0 folders with sound files"):
        open_corpus("folder", tmp_path)
    clips_of(tmp_path, ["a/1.wav"])
    with pytest.raises(InputError, match=r"has 1 folder with sound files .*; expected at least two"):
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


def test_a_data_set_is_one_file(tmp_path, monkeypatch) -> None:
    assert set(corpora.names()) == set(DATASETS)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "fsdd.py").write_text(example("fsdd"))
    (tmp_path / "code" / "notes.py").write_text('"""No data set."""\n')
    monkeypatch.setattr(corpora, "__path__", [*corpora.__path__, str(tmp_path / "code")])
    touch(tmp_path / "FSDD" / "recordings" / "notes.wav")
    root = clips_of(
        tmp_path / "FSDD",
        [f"recordings/{d}_{who}_{i}.wav" for d in (0, 7) for who in ("theo", "george") for i in (0, 1)],
    )
    assert set(corpora.names()) == {*DATASETS, "fsdd"} and corpora.places("fsdd") == ("fsdd",)
    corpus = open_corpus("fsdd", root)
    assert (corpus.name, corpus.folds, corpus.seconds, len(corpus.clips)) == ("fsdd", (1, 5), 1.0, 8)
    assert corpus.clips[0] == corpora.Clip(
        "0_george_0.wav", root / "recordings" / "0_george_0.wav", 1, 0, "0_george_0", None
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="lists no clip that is in") as caught:
        open_corpus("fsdd", tmp_path / "empty")
    line(caught)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "b"}, "clip 'b': the name of 2 clips; expected a name of its own"),
        ({"label": 2}, "clip 'a': label 2; expected 0 to 1"),
        ({"label": -1}, "label -1"),
        ({"fold": 0}, "fold 0; expected one of 1 2"),
        ({"seconds": 0.0}, "0.0 seconds long"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"seconds": float("inf")}, "inf seconds"),
    ],
)
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
        for name, command in cli.main.commands.items()
        for option in command.params
        if option.name == "dataset" and name != "data"
    }
    assert {"features", "verify", "predict", "export", "cost", "ban", "retrieval", "doctor"} - {"predict"} <= set(
        choices
    )
    assert all(set(DATASETS) | {"auto"} <= sets for sets in choices.values()), choices
