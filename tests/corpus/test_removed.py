"""A clip that was removed leaves the corpus with a note, and its row on request; a renamed one keeps its fold or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config import InputError
from pipeline.corpus import open_corpus
from pipeline.corpus.removed import remove_rows
from tests.corpora import line
from tests.tiny import invoke

NAMES = [f"{label}/{take}.wav" for label in ("cat", "dog") for take in ("sea", "sky", "rain", "wind")]


def write_wav(path: Path, number: int) -> None:
    """Half a second of noise of its own."""
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.random.default_rng(number).normal(0, 0.1, 4000), 8000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate([*NAMES, "unlabelled/x.wav"]):
        write_wav(tmp_path / name, number)
    (tmp_path / "corpus.toml").write_text("seconds = 0.5\n")
    open_corpus("folder", tmp_path)
    return tmp_path


def test_the_others_keep_their_folds_and_one_line_says_who_left(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = {clip.name: clip.fold for clip in open_corpus("folder", root).clips}
    table = (root / "folds.csv").read_bytes()
    (root / "dog" / "sky.wav").unlink()
    capsys.readouterr()
    left = {clip.name: clip.fold for clip in open_corpus("folder", root).clips}
    assert left == {name: fold for name, fold in folds.items() if name != "dog/sky.wav"}
    note = capsys.readouterr().err
    assert note.count("\n") == 1 and "lists 1 of 8 clips that are not there any more ('dog/sky.wav')" in note
    assert (root / "folds.csv").read_bytes() == table  # it comes back into its fold
    write_wav(root / "dog" / "sky.wav", 3)
    assert {clip.name: clip.fold for clip in open_corpus("folder", root).clips} == folds


def test_verify_says_it_and_removes_the_rows_on_request(root: Path) -> None:
    path, asked = root / "folds.csv", ("verify", "--dataset", "folder", "--data", str(root))
    (root / "cat" / "sea.wav").unlink()
    (root / "dog" / "rain.wav").unlink()
    before = path.read_text().splitlines()
    done = invoke(*asked)
    assert done.exit_code == 0 and "note     " in done.stdout and "2 of 8 clips that are not there" in done.stdout
    assert path.read_text().splitlines() == before
    done = invoke(*asked, "--fix")
    gone = [row for row in before if row.startswith(("cat/sea.wav", "dog/rain.wav"))]
    assert [row.split()[-1] for row in done.stdout.splitlines() if row.startswith("-  ")] == gone and len(gone) == 2
    assert "2 rows removed" in done.stdout and "not there" not in done.stdout and done.exit_code == 0
    assert path.read_text().splitlines() == [row for row in before if row not in gone]
    assert "0 rows removed" in invoke(*asked, "--fix").stdout


def test_a_renamed_clip_is_refused_until_its_row_is_mended_or_removed(root: Path) -> None:
    (root / "dog" / "sky.wav").rename(root / "dog" / "storm.wav")
    with pytest.raises(InputError, match=r"lists 1 of 8 clips .*'dog/sky.wav', and 'dog/storm.wav' is there") as caught:
        open_corpus("folder", root)
    line(caught)
    assert invoke("verify", "--dataset", "folder", "--data", str(root), "--fix").exit_code == 0
    assert "dog/storm.wav" in {clip.name for clip in open_corpus("folder", root).clips}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_all_other_rows_stay_byte_for_byte(tmp_path: Path, end: str) -> None:
    rows = [
        "fold, file ,note",
        "1,a/1.wav,kept",
        '2,"b/2.wav","two',
        'lines, one row"',
        "",
        "3,'=b/3.wav,x",
        "1,b/4.wav,",
    ]
    table = tmp_path / "folds.csv"
    table.write_bytes(b"\xef\xbb\xbf" + end.join(rows).encode())
    gone = remove_rows(table, "file", {"b/2.wav", "'=b/3.wav"}.__contains__)
    assert gone == [end.join(rows[2:4]), rows[5]]
    assert table.read_bytes() == b"\xef\xbb\xbf" + end.join([*rows[:2], rows[4], rows[6]]).encode()


def test_other_corpora_have_nothing_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("verify", "--fix", "--dataset", "esc50")
    assert done.exit_code == 2 and "expected --dataset folder, not esc50" in done.stderr


def test_a_name_with_a_line_separator_keeps_its_row(tmp_path: Path) -> None:
    table = tmp_path / "folds.csv"
    table.write_bytes("file,fold\ncat/a\u2028b.wav,1\ncat/gone.wav,2\rdog/c\x85d.wav,3\n".encode())
    assert remove_rows(table, "file", lambda name: name == "cat/gone.wav") == ["cat/gone.wav,2"]
    assert table.read_bytes() == "file,fold\ncat/a\u2028b.wav,1\ndog/c\x85d.wav,3\n".encode()


@pytest.mark.parametrize(
    "text", [b"name,fold\ncat/sea.wav,1\n", b"fold,file\n1\n", b"", b"file,fold\ncat/\xe9.wav,1\n"]
)
def test_a_table_that_is_none_is_told_and_stays(root: Path, text: bytes) -> None:
    (root / "folds.csv").write_bytes(text)
    done = invoke("verify", "--dataset", "folder", "--data", str(root), "--fix")
    assert done.exit_code == 1 and "folds.csv" in done.stderr and "fault of ours" not in done.stderr
    assert (root / "folds.csv").read_bytes() == text
