"""Names as disks and terminals have them: decomposed, in bytes that are no text, in letters that a terminal lacks."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import cli
from pipeline.corpus import open_corpus
from pipeline.corpus.verification import verify
from tests.corpora import esc, write_rows
from tests.shipped import world  # noqa: F401 (a fixture)
from tests.tiny import QUICK, audio_rkd, write_corpus

NFC, NFD = "Geräusch é", unicodedata.normalize("NFD", "Geräusch é")


def renamed(root: Path, column: str) -> None:
    """A table names all clips in one piece (NFC), and the disk has them decomposed, as a Mac writes them."""
    (table,) = root.glob("meta*/*.csv")
    with table.open(newline="") as file:
        rows: list[dict[str, object]] = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        old = str(row[column])
        row[column] = f"{NFC} {old}"
        for path in list(root.rglob(old)):
            path.rename(path.with_name(f"{NFD} {old}"))
    write_rows(table, rows)


@pytest.mark.parametrize("dataset", ["urbansound8k", "esc50", "esc10"])
def test_a_table_and_a_disk_that_spell_names_in_two_ways(tmp_path: Path, dataset: str) -> None:
    urban = dataset == "urbansound8k"
    root = write_corpus(tmp_path / "set") if urban else esc(tmp_path / "set")
    before = open_corpus(dataset, root)
    renamed(root, "slice_file_name" if urban else "filename")
    corpus = open_corpus(dataset, root)
    assert [clip.fold for clip in corpus.clips] == [clip.fold for clip in before.clips]
    assert all(clip.path.is_file() and clip.name.startswith(NFC) for clip in corpus.clips)
    verification = verify(root, dataset)
    assert verification.problems == () and verification.clips == len(before.clips)


def test_a_folder_that_is_named_as_it_is_not_spelled(tmp_path: Path) -> None:
    write_corpus(tmp_path / NFD)
    for command in ("status", "verify"):
        done = audio_rkd(tmp_path, command, "--dataset", "urbansound8k", "--data", NFC)
        assert done.returncode == 0 and "18 clips" in done.stdout, done


def test_a_corpus_below_bytes_that_are_no_text(tmp_path: Path) -> None:
    """Its bad clips are listed, the others are computed."""
    root = tmp_path / os.fsdecode(b"caf\xe9")
    write_corpus(tmp_path / "cafe", folds=(1,), clips=3).rename(root)
    (root / "audio" / "fold1" / "1001-1-0-0.wav").write_bytes(b"x")
    options = ("features", "--dataset", "urbansound8k", "--data", str(root), *QUICK)
    done = audio_rkd(tmp_path, *options)
    assert done.returncode == 1 and "1 of 3 clips failed" in done.stderr and "Traceback" not in done.stderr
    (table,) = tmp_path.glob("cache/*/*/failures.csv")
    with table.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["clip"] == "1001-1-0-0.wav" and r"caf\udce9" in row["path"]
    assert audio_rkd(tmp_path, *options, "--on-error", "skip").returncode == 0
    assert audio_rkd(tmp_path, "verify", *options[1:5]).returncode == 1


@pytest.mark.parametrize("charset", ["latin-1", "ascii", "cp1252"])
def test_names_on_terminals_without_their_letters(world, tmp_path: Path, charset: str) -> None:  # noqa: F811
    """A name in JSON is what it was; our own dash becomes a short one."""
    names = ["a–b.wav", "ü.wav", "日本.wav", "plain.wav"]
    for name in names:
        soundfile.write(tmp_path / name, 0.1 * np.sin(np.arange(40000)), 22050)

    with contextlib.chdir(tmp_path):
        arguments = ["predict", str(world.student), *names]
        text, as_json, as_csv = (
            CliRunner(charset=charset).invoke(cli.main, [*arguments, *options])
            for options in ([], ["--json"], ["--csv"])
        )
    assert text.exit_code == as_json.exit_code == as_csv.exit_code == 0
    assert [json.loads(line)["file"] for line in as_json.stdout_bytes.decode(charset).splitlines()] == names
    dash = "–" if charset == "cp1252" else "-"
    assert f"0.00{dash}0.50 s" in text.stdout_bytes.decode(charset)
    name = "a–b.wav" if charset == "cp1252" else r"a\u2013b.wav"
    assert name in text.stdout_bytes.decode(charset) and name in as_csv.stdout_bytes.decode(charset)


def test_names_with_line_breaks_and_other_control_characters(world, tmp_path: Path) -> None:  # noqa: F811
    """Each answer and each error stays one line that steers no terminal; JSON has the name as it is."""
    ends = ["a\nerror: b", "c\x1b[2Jd", "e\rf", "g\u2028h", "i\x85j", "k\tl"]
    short = 0.1 * np.sin(np.arange(4000))
    for name in ends:
        soundfile.write(tmp_path / f"{name}.wav", short, 22050)
        (tmp_path / f"{name}.flac").write_bytes(b"no sound")
    (tmp_path / "m\nn").mkdir()
    with contextlib.chdir(tmp_path):
        files = [f"{name}{end}" for name in ends for end in (".wav", ".flac")]
        arguments = ["predict", str(world.student), "--top", "1", *files, "m\nn"]
        text, as_json, as_csv = (
            CliRunner().invoke(cli.main, [*arguments, *options]) for options in ([], ["--json"], ["--csv"])
        )
        events = CliRunner().invoke(cli.main, [*arguments, "--segments"])
        others = [
            CliRunner().invoke(cli.main, options)
            for options in (
                ["predict", str(world.student), "no\nwhere.wav"],
                ["predict", "no\nrun", "a.wav"],
                ["predict", str(world.student), "m\nn/\nfold1-seed0"],
                ["status", "--dataset", "esc50", "--data", "no\nwhere"],
                ["experiment", "no\x1b[2Jwhere.toml"],
            )
        ]
    assert text.exit_code == as_json.exit_code == as_csv.exit_code == 1
    lines = text.stdout.splitlines()
    spelled = [json.dumps(name)[1:-1] for name in ends]
    assert [line.partition(".wav   ")[0] for line in lines] == spelled
    errors = text.stderr.splitlines()
    assert len(errors) == len(ends) + 1 and all(line.startswith("error: ") for line in errors), errors
    assert [line.removeprefix("error: ").partition(".flac: ")[0] for line in errors[:-1]] == spelled
    assert [json.loads(line)["file"] for line in as_json.stdout.splitlines()] == [f"{name}.wav" for name in ends]
    rows = list(csv.reader(as_csv.stdout.splitlines()))
    assert [row[0] for row in rows[1:]] == [f"{name}.wav" for name in spelled]
    heads = [line for line in events.stdout.splitlines() if not line.startswith("  ")]
    assert [line.partition(".wav  (")[0] for line in heads] == spelled
    for other in others:
        (line,) = other.stderr.splitlines()
        assert other.exit_code == 1 and line.startswith("error: ") and line.isprintable(), other.stderr


def test_a_file_beside_a_corpus_whose_name_has_line_breaks(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "set", folds=(1,), clips=2)
    (root / "audio" / "fold1" / "7\n0 problems.wav").write_bytes(b"")
    done = audio_rkd(tmp_path, "verify", "--dataset", "urbansound8k", "--data", str(root))
    assert done.returncode == 1 and r"7\n0 problems.wav" in done.stdout
    assert not any(line.startswith("0 problems") for line in done.stdout.splitlines())


def test_links_that_lead_to_themselves_cost_only_themselves(tmp_path: Path) -> None:
    """A file and a folder, in a published layout and in one of one's own."""
    root = write_corpus(tmp_path / "set", folds=(1,), clips=3)
    fold = root / "audio" / "fold1"
    (fold / "1001-1-0-0.wav").unlink()
    (fold / "1001-1-0-0.wav").symlink_to("1001-1-0-0.wav")
    (fold / "up").symlink_to(".")
    folder = tmp_path / "own"
    for kind in "ab":
        (folder / kind).mkdir(parents=True)
        for number in range(2):
            soundfile.write(
                folder / kind / f"{kind}x{number}.wav",
                np.random.default_rng((ord(kind), number)).normal(0, 0.1, 9000),
                9000,
            )
    (folder / "a" / "loop.wav").symlink_to("loop.wav")
    (folder / "a" / "up").symlink_to("..")
    for dataset, data, failed in (("urbansound8k", root, 1), ("folder", folder, 0)):
        options = ("--dataset", dataset, "--data", str(data))
        done = audio_rkd(tmp_path, "features", *options, *QUICK, "--folds", "1")
        assert done.returncode == failed and "Traceback" not in done.stderr, done
        assert "fault of ours" not in done.stderr and ("1 of 3 clips failed" in done.stderr) == bool(failed)
        checked = audio_rkd(tmp_path, "verify", *options)
        assert checked.returncode == 1 and "Traceback" not in checked.stderr + checked.stdout, checked
        assert "fault of ours" not in checked.stderr
