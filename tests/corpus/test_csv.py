"""A corpus of one table: which rows are clips, which are named and refused, which folds they get."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from pipeline.config import InputError
from pipeline.corpus import open_corpus
from pipeline.corpus.corpus_toml import ASKED, Asked
from tests.corpora import line, touch
from tests.extracting import write_clip
from tests.tiny import invoke

NAMES = [f"sounds/{kind}{recording}_{piece}.wav" for kind in ("bark", "moo") for recording in "xyz" for piece in "12"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of twelve files, and a table of them."""
    for name in NAMES:
        touch(tmp_path / name)
    rows = [f"{name},{name[7:-7]},{1 + (name[-7] == 'x')},{name[7:-6]}" for name in NAMES]
    (tmp_path / "clips.csv").write_text("path,label,fold,recording\n" + "\n".join(rows) + "\n")
    return tmp_path


def rewritten(place: Path, text: str, encoding: str = "utf-8") -> Path:
    (place / "clips.csv").write_bytes(text.encode(encoding))
    return place / "clips.csv"


def seen(table: Path) -> dict[str, tuple[str, int, str]]:
    corpus = open_corpus("csv", table)
    return {clip.name: (corpus.classes[clip.label], clip.fold, clip.source) for clip in corpus.clips}


def test_a_table_is_a_corpus_and_nothing_is_written(place: Path) -> None:
    corpus = open_corpus("csv", place / "clips.csv")
    assert (corpus.name, corpus.dataset, corpus.classes, corpus.folds) == ("clips", "csv", ("bark", "moo"), (1, 2))
    assert seen(place / "clips.csv") == {name: (name[7:-7], 1 + (name[-7] == "x"), name[7:-6]) for name in NAMES}
    assert {clip.path for clip in corpus.clips} == {place / name for name in NAMES}
    assert sorted(path.name for path in place.iterdir()) == ["clips.csv", "sounds"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(("mark", "end"), [("", "\n"), ("\ufeff", "\r\n"), ("", "\r"), ("sep=;\n", "\n")])
def test_tables_as_programs_write_them(place: Path, delimiter: str, mark: str, end: str) -> None:
    before = seen(place / "clips.csv")
    lines = (place / "clips.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    rows[0] = [" Path ", "LABEL", "Fold", '"recording"']
    rows[1][1], rows[2][1], rows[3][0] = '"bark"', " bark ", f'"{rows[3][0]}"'
    text = end.join(delimiter.join(row) + end * (number % 3 == 0) for number, row in enumerate(rows))
    if mark.startswith("sep"):
        mark = mark.replace(";", delimiter)
    assert seen(rewritten(place, mark + text)) == before


def test_columns_by_other_names_in_any_order(place: Path) -> None:
    before = seen(place / "clips.csv")
    rows = [line.split(",") for line in (place / "clips.csv").read_text().splitlines()[1:]]
    text = "take,file name,note,Class,k\n" + "".join(f'{r[3]},{r[0]},"one\ntwo, three",{r[1]},{r[2]}\n' for r in rows)
    table = rewritten(place, text)
    with pytest.raises(
        InputError, match=r"no column path; found take, file name, note, Class, k in .*--columns path=NAME"
    ):
        open_corpus("csv", table)
    token = ASKED.set(Asked({"path": "File Name", "label": "class", "fold": "k", "recording": "take"}))
    try:
        assert seen(table) == before
    finally:
        ASKED.reset(token)
    (place / "corpus.toml").write_text(
        'seconds = 2\n[columns]\npath = "file name"\nlabel = "Class"\nfold = "k"\nrecording = "take"\n'
    )
    assert seen(table) == before and open_corpus("csv", table).seconds == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("sounds/none.wav,bark,1,r", r"line 4: path = 'sounds/none.wav': expected a file, and .*none.wav is not there"),
        ("sounds,bark,1,r", r"line 4: path = 'sounds': expected a file, and .* is no regular file"),
        (",bark,1,r", "line 4: path = '': expected a file"),
        ("sounds/new.wav,,1,r", "line 4: label = '': expected a class, or 'unlabelled'"),
        ("sounds/new.wav,bark,one,r", "line 4: fold = 'one': expected a whole number from 1"),
        ("sounds/new.wav,bark,1.5,r", "line 4: fold = '1.5': expected a whole number"),
        ("sounds/new.wav,bark,0,r", "line 4: fold = '0': expected a whole number"),
        ("sounds/new.wav,bark,-1,r", "line 4: fold = '-1': expected a whole number"),
        (
            "sounds/barkx_1.wav,moo,1,r",
            "line 4: path = .*: expected each clip once, and .*line 2 has it already, as 'bark'",
        ),
        ("./sounds/../sounds/barkx_1.wav,bark,2,r", "line 4: path = .*: expected each clip once"),
        ("sounds/new.wav,bark,1,r,more", "line 4: 5 values; expected 4: path, label, fold, recording"),
        ('"sounds/\nnew.wav",bark,1,r', "line 4: path = .*: expected text in one line"),
        ("sounds/new.wav,unlabeled,,r", "line 4: label = 'unlabeled': .*'unlabelled'"),
        ("sounds/new.wav,unlabelled,1,r", "line 4: fold = '1': expected none"),
        ('"sounds/new.wav,bark,1,r', "line 4: a quotation mark is not closed"),
        (f"{'x' * 5000}.wav,bark,1,r", "line 4: path = .* is not there"),
    ],
)
def test_a_bad_row_is_named_by_its_line(place: Path, row: str, message: str) -> None:
    touch(place / "sounds" / "new.wav")
    lines = (place / "clips.csv").read_text().splitlines()
    table = rewritten(place, "\n".join([*lines[:2], "", row, *lines[2:]]))
    with pytest.raises(InputError, match=message) as caught:
        open_corpus("csv", table)
    line(caught)


def test_what_is_no_table_is_told_with_a_remedy(place: Path) -> None:
    text = (place / "clips.csv").read_text().replace("moo", "müh")
    with pytest.raises(InputError, match=r"clips.csv, line 8: byte 0xfc is no text in UTF-8; .*iconv") as caught:
        open_corpus("csv", rewritten(place, text, "latin-1"))
    line(caught)
    for content in (text.encode("utf-16"), b"", b"\n\n", b"path\n", b"path,label,path\na,b,c\n", b"path,label\n"):
        (place / "clips.csv").write_bytes(content)
        with pytest.raises(InputError, match=r"clips\.csv") as caught:
            open_corpus("csv", place / "clips.csv")
        line(caught)
    os.mkfifo(place / "pipe.csv")
    with pytest.raises(InputError, match="no regular file"):
        open_corpus("csv", place / "pipe.csv")
    with pytest.raises(InputError, match="no table"):
        open_corpus("csv", place)


def test_paths_may_be_anywhere(place: Path) -> None:
    """Absolute, beside the table's folder, through links, written on Windows: each is the file that it leads to."""
    for name in ("a b.wav", "weiß.wav", "back.wav"):
        touch(place / "elsewhere" / name)
    (place / "lists").mkdir()
    (place / "lists" / "link.wav").symlink_to(place / "elsewhere" / "a b.wav")
    rows = [
        "link.wav,one",
        f"{place}/elsewhere/weiß.wav,two",
        "..\\elsewhere\\back.wav,one",
        "../sounds/moox_1.wav,two",
    ]
    (place / "lists" / "list.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    corpus = open_corpus("csv", place / "lists" / "list.csv")
    assert {clip.name for clip in corpus.clips} == {
        "link.wav",
        "../elsewhere/weiß.wav",
        "../elsewhere/back.wav",
        "../sounds/moox_1.wav",
    }
    assert all(clip.path.is_file() for clip in corpus.clips)


def test_folds_are_assigned_once_by_recording_and_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = place / "clips.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    rewritten(place, "path,label\n" + "".join(f"{r[0]},{r[1]}\n" for r in rows))
    first = seen(table)
    assert "12 clips put into folds; now 12 clips of 6 recordings, by their names" in capsys.readouterr().err
    folds = defaultdict(set)
    for name, (_, fold, _) in first.items():
        folds[name[:-6]].add(fold)
    assert all(len(of_recording) == 1 for of_recording in folds.values()) and len({*map(min, folds.values())}) > 1
    assert seen(table) == first and not capsys.readouterr().err
    # A row more changes no fold; one whose recording is named goes where that one is.
    touch(place / "sounds" / "late.wav")
    rewritten(
        place,
        "path,label,recording\nsounds/late.wav,moo,here\n"
        + "".join(f"{r[0]},{r[1]},{'here' * (r[0] == NAMES[0])}\n" for r in reversed(rows)),
    )
    second = seen(table)
    assert {name: fold for name, (_, fold, _) in second.items() if name in first} == {
        name: fold for name, (_, fold, _) in first.items()
    }
    assert second["sounds/late.wav"] == ("moo", first[NAMES[0]][1], "here")


def test_folds_that_the_table_gives_hold_and_others_are_assigned(place: Path) -> None:
    rows = [line.split(",") for line in (place / "clips.csv").read_text().splitlines()[1:]]
    text = "path,label,fold,recording\n" + "".join(
        f"{r[0]},{r[1]},{r[2] if r[0].endswith('1.wav') else ''},{r[3]}\n" for r in rows
    )
    table = rewritten(place, text)
    assert {name: fold for name, (_, fold, _) in seen(table).items()} == {r[0]: int(r[2]) for r in rows}


def test_clips_without_a_label_are_in_no_fold(place: Path) -> None:
    for name in ("pool/barkx_9.wav", "pool/other.wav", "pool/wind.wav"):
        touch(place / name)
    text = (place / "clips.csv").read_text()
    table = rewritten(
        place, text + "pool/barkx_9.wav,unlabelled,,barkx\npool/other.wav,unlabelled,0,\npool/wind.wav,unlabelled,,\n"
    )
    corpus = open_corpus("csv", table)
    assert [(clip.name, clip.fold, clip.label) for clip in corpus.unlabelled] == [
        (f"pool/{name}.wav", -1, -1) for name in ("barkx_9", "other", "wind")
    ]
    assert corpus.unlabelled[0].source == "barkx" and len(corpus.clips) == 12


def test_verify_names_every_bad_row_and_fix_removes_those_without_a_file(place: Path) -> None:
    for number, name in enumerate(NAMES):
        write_clip(place / name, number)
    (place / "corpus.toml").write_text("seconds = 0.5\n")
    table, asked = place / "clips.csv", ("verify", "--dataset", "csv", "--data", str(place / "clips.csv"))
    before = table.read_text()
    bad = 'sounds/gone.wav,bark,1,"two\nlines"\nsounds/barkx_1.wav,moo,1,r\n'
    table.write_text("\ufeff" + before + bad, encoding="utf-8")
    done = invoke(*asked)
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert done.exit_code == 1 and len(problems) == 2 and "line 14: path = 'sounds/gone.wav'" in problems[0]
    assert "line 16" in problems[1] and "12 clips, 2 classes" in done.stdout
    done = invoke(*asked, "--fix")
    assert "-        sounds/gone.wav,bark,1," in done.stdout and "1 row removed" in done.stdout
    assert table.read_text(encoding="utf-8") == "\ufeff" + before + "sounds/barkx_1.wav,moo,1,r\n"
    table.write_text(before)
    done = invoke(*asked)
    assert done.exit_code == 0 and "0 problems" in done.stdout
    table.write_text(before.replace("2,barkx", "1,barkx", 1))
    done = invoke(*asked)
    assert done.exit_code == 1 and "recording barkx: in folds 1 and 2, expected one" in done.stdout


def test_verify_says_why_no_row_is_left(place: Path) -> None:
    """A program that wrote the folds as 1.0, say: the classes are not what is wrong."""
    before = (place / "clips.csv").read_text()
    table = rewritten(place, before.replace(",1,", ",1.0,").replace(",2,", ",2.0,"))
    done = invoke("verify", "--dataset", "csv", "--data", str(table))
    assert done.exit_code == 1 and "0 classes" in done.stderr and "line 2: fold = '2.0'" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "12 rows are refused" in done.stderr


def test_columns_are_for_a_table(place: Path) -> None:
    table = str(place / "clips.csv")
    done = invoke("status", "--data", table, "--columns", "recording = recording,path=PATH")
    assert "clips: 12 clips, 2 classes" in done.stdout and "FIELDS=recording=recording,path=PATH" in done.stdout
    done = invoke("verify", "--dataset", "folder", "--data", str(place), "--columns", "path=file")
    assert done.exit_code == 1 and "expected --dataset csv" in done.stderr
    for columns in ("foo=bar", "path", "path=", "path=a,path=b"):
        done = invoke("verify", "--data", table, "--columns", columns)
        assert done.exit_code == 2 and "--columns" in done.stderr
    done = invoke("verify", "--data", table, "--columns", "fold=part")
    assert done.exit_code == 1 and "no column part" in done.stderr
    for columns, purposes in (
        ("path=x,label=x", "'x' for path and label"),
        ("recording=fold", "'fold' for fold and recording"),
    ):
        done = invoke("verify", "--data", table, "--columns", columns)
        assert done.exit_code == 1 and f"the column {purposes}" in done.stderr and done.stderr.count("\n") == 1
