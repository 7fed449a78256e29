"""Corpora: what a folder holds, and one clear line for everything that is wrong in it. Nothing is decoded."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pipeline.config import InputError
from pipeline.corpus import MARKER, URBANSOUND8K, open_corpus
from tests.corpora import line, touch, write_table

US8K_COLUMNS = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
ESC_COLUMNS = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]


def us8k_rows(folds=range(1, 4)) -> list[list[object]]:
    return [
        [
            f"{fold}0{label}-{label}-0-{take}.wav",
            f"{fold}0{label}",
            1.5,
            1.5 + label + take / 4 + 0.25,
            1,
            fold,
            label,
            name,
        ]
        for fold in folds
        for label, name in enumerate(URBANSOUND8K)
        for take in range(2)
    ]


def us8k(root: Path, rows: list[list[object]], *, top: bool = False, columns: list[str] = US8K_COLUMNS) -> Path:
    write_table(root / ("" if top else "metadata") / "UrbanSound8K.csv", columns, rows)
    for row in rows:
        touch(root / ("" if top else "audio") / f"fold{row[5]}" / str(row[0]))
    return root


def esc(root: Path, rows: list[list[object]] | None = None) -> Path:
    names = {3: "cow", 7: "rooster", 20: "crying_baby", 49: "hand_saw"}
    rows = rows or [
        [
            f"{fold}-{1000 + fold * 10 + take}-A-{target}.wav",
            fold,
            target,
            name,
            target in (7, 20),
            1000 + fold * 10 + take,
            "A",
        ]
        for fold in range(1, 6)
        for target, name in names.items()
        for take in range(2)
    ]
    write_table(root / "meta" / "esc50.csv", ESC_COLUMNS, rows)
    for row in rows:
        touch(root / "audio" / str(row[0]))
    return root


@pytest.mark.parametrize("top", [False, True])
def test_urbansound8k_in_both_layouts(tmp_path, top: bool) -> None:
    root = us8k(tmp_path / "UrbanSound8K", us8k_rows(range(1, 11)), top=top)
    corpus = open_corpus("urbansound8k", root)
    assert (corpus.name, corpus.dataset, corpus.root) == ("urbansound8k", "urbansound8k", root)
    assert corpus.classes == URBANSOUND8K and corpus.seconds == 4.0 and not corpus.synthetic
    assert corpus.folds == corpus.all_folds == tuple(range(1, 11))
    assert len(corpus.clips) == 200
    clips = corpus.fold_clips(7)
    assert [c.name for c in clips] == sorted(c.name for c in clips) and len(clips) == 20
    clip = next(c for c in clips if c.name == "704-4-0-1.wav")
    assert (clip.fold, clip.label, clip.source, clip.seconds) == (7, 4, "704", 4.5)
    assert clip.path == root / ("" if top else "audio") / "fold7" / "704-4-0-1.wav" and clip.path.is_file()


def test_the_real_mini_set(mini) -> None:
    corpus = open_corpus("urbansound8k", mini)
    assert corpus.name == "urbansound8k-mini" and corpus.folds == (1, 2, 3) and corpus.all_folds == tuple(range(1, 11))
    assert len(corpus.clips) == 720 == len(list(mini.glob("audio/fold*/*.wav")))
    for clip in corpus.clips:
        source, label, *_ = clip.name.split("-")  # the published naming: fsID-classID-occurrence-slice
        assert (clip.source, clip.label) == (
            source,
            int(label),
        ) and clip.path.parent.name == f"fold{clip.fold}"


def test_a_fold_that_is_absent_is_left_out_and_so_are_rows_that_were_removed(tmp_path) -> None:
    root = us8k(tmp_path, us8k_rows())
    for path in (root / "audio" / "fold2").iterdir():
        path.unlink()
    (root / "audio" / "fold2").rmdir()
    corpus = open_corpus("urbansound8k", root)
    assert corpus.folds == (1, 3) and len(corpus.clips) == 40 and len(corpus.all_folds) == 10
    write_table(root / "metadata" / "UrbanSound8K.csv", US8K_COLUMNS, us8k_rows()[:5])
    assert len(open_corpus("urbansound8k", root).clips) == 5


def test_a_listed_file_that_is_not_there(tmp_path) -> None:
    root = us8k(tmp_path, us8k_rows())
    for name in ("203-3-0-0.wav", "204-4-0-1.wav"):
        (root / "audio" / "fold2" / name).unlink()
    with pytest.raises(
        InputError, match=r"lists 2 of 60 clips that are not there, the first .*203-3-0-0\.wav: fetch"
    ) as caught:
        open_corpus("urbansound8k", root)
    line(caught)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("fold", "11", r"fold = '11': expected a whole number from 1 to 10"),
        ("fold", "one", r"fold = 'one': expected a whole number from 1 to 10"),
        ("classID", "10", r"classID = '10': expected a whole number from 0 to 9"),
        ("classID", "-1", r"classID = '-1': expected a whole number from 0 to 9"),
        ("classID", "1.0", r"classID = '1.0': expected a whole number"),
        ("class", "siren", r"class = 'siren': expected 'car_horn' for classID 1"),
        ("start", "x", r"start = 'x': expected a number"),
        ("end", "nan", r"end = 'nan': expected a number"),
        ("end", "1.5", r"end = '1.5': expected more than start = 1.5"),
        ("fsID", "", r"no fsID; expected 8 values"),
        ("slice_file_name", "../x.wav", r"slice_file_name = '../x.wav': expected a file's name"),
        (
            "slice_file_name",
            "100-0-0-0.wav",
            r"slice_file_name = '100-0-0-0.wav' a second time; expected each clip once.*line 2",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tmp_path, column: str, value: str, message: str) -> None:
    rows = us8k_rows()
    root = us8k(tmp_path, rows)
    rows[2] = [value if c == column else v for c, v in zip(US8K_COLUMNS, rows[2])]
    write_table(root / "metadata" / "UrbanSound8K.csv", US8K_COLUMNS, rows)
    with pytest.raises(InputError, match=message) as caught:
        open_corpus("urbansound8k", root)
    assert "UrbanSound8K.csv, line 4: " in line(caught)


@pytest.mark.parametrize("column", ["slice_file_name", "fsID", "start", "end", "fold", "classID", "class"])
def test_a_missing_column_is_named(tmp_path, column: str) -> None:
    root = us8k(tmp_path, us8k_rows())
    columns = ["renamed" if c == column else c for c in US8K_COLUMNS]
    write_table(root / "metadata" / "UrbanSound8K.csv", columns, us8k_rows())
    with pytest.raises(InputError, match=rf"no column {column}; expected .*, found .*renamed") as caught:
        open_corpus("urbansound8k", root)
    line(caught)


def test_only_files_are_clips(tmp_path) -> None:
    root = us8k(tmp_path, us8k_rows())
    pipe = root / "audio" / "fold2" / "203-3-0-0.wav"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"lists 1 of 60 clips that are not there, the first .*203-3-0-0\.wav"):
        open_corpus("urbansound8k", root)


def test_other_things_that_are_wrong_with_a_folder(tmp_path) -> None:
    with pytest.raises(
        InputError,
        match=r"unknown data set 'us8k'; expected one of csv, esc10, esc50, folder, synthetic, urbansound8k",
    ):
        open_corpus("us8k", tmp_path)
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        open_corpus("urbansound8k", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no metadata/UrbanSound8K\.csv \(nor UrbanSound8K\.csv\)"):
        open_corpus("urbansound8k", tmp_path)
    write_table(tmp_path / "UrbanSound8K.csv", US8K_COLUMNS, us8k_rows())
    with pytest.raises(InputError, match="no folder audio/fold1"):
        open_corpus("urbansound8k", tmp_path)
    (tmp_path / "fold9").mkdir()
    with pytest.raises(InputError, match="lists no clip that is in"):
        open_corpus("urbansound8k", tmp_path)
    (tmp_path / "UrbanSound8K.csv").write_bytes(b"")
    with pytest.raises(InputError, match=r"no column .*found nothing"):
        open_corpus("urbansound8k", tmp_path)
    (tmp_path / "UrbanSound8K.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="not a table"):
        open_corpus("urbansound8k", tmp_path)


def test_spreadsheets_byte_order_mark_blank_lines_and_column_order(tmp_path) -> None:
    root = us8k(tmp_path, us8k_rows())
    before = open_corpus("urbansound8k", root)
    path = root / "metadata" / "UrbanSound8K.csv"
    order = [7, 6, 5, 4, 3, 2, 1, 0]
    write_table(path, [US8K_COLUMNS[i] for i in order], [[row[i] for i in order] for row in us8k_rows()])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n,,,\r\n")
    assert open_corpus("urbansound8k", root) == before


@pytest.mark.parametrize(
    ("folder", "name"),
    [("UrbanSound8K", "urbansound8k"), ("My clips (2)", "my-clips-2"), ("ESC-50-master", "esc-50-master")],
)
def test_the_name_is_a_slug_of_the_folder(tmp_path, monkeypatch, folder: str, name: str) -> None:
    root = us8k(tmp_path / folder, us8k_rows())
    assert open_corpus("urbansound8k", root).name == name
    monkeypatch.chdir(root)
    assert open_corpus("urbansound8k", Path()).name == name


def test_synthetic_is_stamped_however_it_is_opened(tmp_path) -> None:
    root = us8k(tmp_path / "synthetic", us8k_rows())
    with pytest.raises(InputError, match="no file SYNTHETIC"):  # real clips must not pass for made-up ones either
        open_corpus("synthetic", root)
    touch(root / MARKER)
    corpus = open_corpus("synthetic", root)
    assert corpus.synthetic and (corpus.name, corpus.dataset) == ("synthetic", "synthetic")
    assert open_corpus("urbansound8k", root).synthetic


def test_esc50_and_esc10(tmp_path) -> None:
    root = esc(tmp_path / "ESC-50")
    corpus = open_corpus("esc50", root)
    assert (corpus.name, corpus.seconds, corpus.folds, corpus.all_folds) == (
        "esc-50",
        5.0,
        (1, 2, 3, 4, 5),
        (1, 2, 3, 4, 5),
    )
    assert corpus.classes == ("cow", "rooster", "crying_baby", "hand_saw") and len(corpus.clips) == 40
    part = open_corpus("esc10", root)
    assert (part.name, part.dataset, part.seconds) == ("esc10", "esc10", 5.0)
    assert part.classes == ("rooster", "crying_baby")  # targets 7 and 20 become 0 and 1
    assert {(c.name.rpartition("-")[2], c.label) for c in part.clips} == {("7.wav", 0), ("20.wav", 1)}
    assert {c.name for c in part.clips} < {c.name for c in corpus.clips} and len(part.clips) == 20
    clip = part.fold_clips(3)[0]
    assert (clip.source, clip.seconds, clip.path) == ("1030", 5.0, root / "audio" / clip.name)


def test_esc_errors_and_parts(tmp_path) -> None:
    root = esc(tmp_path)
    path = root / "meta" / "esc50.csv"
    good = path.read_text()
    for old, new, message in (
        (",1,3,cow,False", ",6,3,cow,False", "fold = '6': expected a whole number from 1 to 5"),
        (",1,3,cow,False", ",1,50,cow,False", "target = '50': expected a whole number from 0 to 49"),
        (",1,7,rooster,True", ",1,7,hen,True", "category = 'rooster': expected 'hen' for target 7"),
        (",1,3,cow,False", ",1,3,cow,maybe", "esc10 = 'maybe': expected True or False"),
    ):
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(InputError, match=message) as caught:
            open_corpus("esc50", root)
        line(caught)
    path.write_text(good)
    for clip in (root / "audio").glob("2-*"):
        clip.unlink()
    assert open_corpus("esc50", root).folds == (1, 3, 4, 5)
    next((root / "audio").glob("3-*-7.wav")).unlink()
    for dataset in ("esc50", "esc10"):
        with pytest.raises(InputError, match=r"lists 1 of \d+ clips that are not there"):
            open_corpus(dataset, root)


def test_names_are_unique_and_fit_into_one_line(mini) -> None:
    names = [clip.name for clip in open_corpus("urbansound8k", mini).clips]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[\w.-]+", name) for name in names)
