"""Verification: sound sets pass, and each fault put into one is named, whatever else is wrong."""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config import InputError
from pipeline.corpus import leaks, open_corpus
from pipeline.corpus import verification as module
from pipeline.corpus.verification import PUBLISHED, Published, verify
from tests.corpora import SR, esc, write_clip, write_rows


def urban_row(fold: int, number: int, take: int, **changes: object) -> dict[str, object]:
    label = list(PUBLISHED["urbansound8k"].classes)[number]
    row = {
        "slice_file_name": f"{fold}-{number}-0-{take}.wav",
        "fsID": fold,
        "start": 1.0,
        "end": 1.5,
        "salience": 1,
    }
    return row | {"fold": fold, "classID": number, "class": label} | changes


@pytest.fixture
def urban(tmp_path: Path) -> Path:
    """A sound part of UrbanSound8K: folds 1 and 2, classes 0 and 1, two half seconds of each."""
    rows = [urban_row(fold, number, take) for fold in (1, 2) for number in (0, 1) for take in (0, 1)]
    write_rows(tmp_path / "metadata/UrbanSound8K.csv", rows)
    for row in rows:
        write_clip(tmp_path / f"audio/fold{row['fold']}/{row['slice_file_name']}", 0.5)
    return tmp_path


def change_rows(root: Path, *changes: tuple[int, dict[str, object]]) -> None:
    path = root / "metadata/UrbanSound8K.csv"
    with path.open(newline="") as file:
        rows: list[dict[str, object]] = [dict(row) for row in csv.DictReader(file)]
    for index, change in changes:
        rows[index] |= change
    write_rows(path, rows)


def test_published_numbers_add_up() -> None:
    urban = PUBLISHED["urbansound8k"]
    assert sum(urban.folds.values()) == sum(urban.classes.values()) == 8732
    assert [urban.folds[k] for k in (1, 4, 10)] == [873, 990, 837] and len(urban.classes) == 10
    for name, clips, classes in (("esc50", 2000, 50), ("esc10", 400, 10)):
        published = PUBLISHED[name]
        assert sum(published.folds.values()) == sum(published.classes.values()) == clips
        assert len(published.classes) == classes and len(published.folds) == 5
    assert set(PUBLISHED["esc10"].classes) < set(PUBLISHED["esc50"].classes)


def test_a_sound_part(urban: Path) -> None:
    verification = verify(urban, "urbansound8k")
    assert verification.problems == () and verification.partial and verification.clips == 8
    assert verification.folds == {1: 4, 2: 4} and verification.classes == {"air_conditioner": 4, "car_horn": 4}
    assert verification.seconds == pytest.approx(4.0) and verification.missing_folds == tuple(range(3, 11))
    text = "\n".join(verification.lines())
    assert "8 of the 8,732 published clips, without folds 3 4 5 6 7 8 9 10" in text and text.endswith("\n0 problems")


def test_the_real_mini_set_is_a_sound_part(mini: Path) -> None:
    verification = verify(mini, "urbansound8k")
    assert verification.problems == () and verification.partial and verification.clips == 720
    with (mini / "metadata/UrbanSound8K.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert verification.folds == Counter(int(row["fold"]) for row in rows)
    assert verification.classes == Counter(row["class"] for row in rows)


def test_a_whole_set(urban: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Published(
        annotations=PUBLISHED["urbansound8k"].annotations,
        columns=PUBLISHED["urbansound8k"].columns,
        folds={1: 4, 2: 4},
        classes={"air_conditioner": 4, "car_horn": 4},
        ordered=True,
    )
    monkeypatch.setitem(module.PUBLISHED, "urbansound8k", small)
    verification = verify(urban, "urbansound8k")
    assert not verification.partial and "whole    all 8 published clips" in verification.lines()
    monkeypatch.setitem(
        module.PUBLISHED,
        "urbansound8k",
        Published(small.annotations, small.columns, {1: 3}, {"air_conditioner": 3, "car_horn": 4}, True),
    )
    assert verify(urban, "urbansound8k").problems == (
        "fold 1: 4 clips annotated, expected 3",
        "fold 2: 4 clips annotated, expected no such fold",
        "class air_conditioner: 4 clips annotated, expected 3",
    )


def test_files_that_are_not_as_annotated(urban: Path) -> None:
    audio = urban / "audio"
    (audio / "fold1/1-0-0-0.wav").unlink()
    (audio / "fold1/1-0-0-1.wav").write_bytes(b"not a sound file")
    write_clip(audio / "fold1/1-1-0-0.wav", 0.8)
    write_clip(audio / "fold1/1-1-0-1.wav", 0.45)  # within the tolerance
    write_clip(audio / "fold2/2-0-0-0.wav", 0.0)
    write_clip(audio / "fold2/extra.wav", 0.5)
    (audio / "fold2/notes.txt").touch()
    for hidden in (".DS_Store", "._2-0-0-0.wav"):
        (audio / "fold2" / hidden).touch()
    verification = verify(urban, "urbansound8k")
    assert set(verification.problems) > {
        "audio/fold1/1-1-0-0.wav: 0.800 s long, annotated 0.500 s",
        "audio/fold1/1-0-0-0.wav: missing",
        "audio/fold2/2-0-0-0.wav: no samples in it",
        "audio/fold2/extra.wav: not annotated",
        "audio/fold2/notes.txt: not annotated",
    }
    (unreadable,) = (line for line in verification.problems if "unreadable" in line)
    assert unreadable.startswith("audio/fold1/1-0-0-1.wav: unreadable (") and "\n" not in unreadable
    assert len(verification.problems) == 6 and verification.folds == {1: 2, 2: 4}
    assert verification.lines()[-1] == "6 problems"


def test_a_file_cut_in_the_middle(urban: Path) -> None:
    path = urban / "audio/fold1/1-0-0-0.wav"
    path.write_bytes(path.read_bytes()[:3000])
    assert verify(urban, "urbansound8k").problems == ("audio/fold1/1-0-0-0.wav: 0.185 s long, annotated 0.500 s",)


def test_a_fold_that_was_left_out_is_told_and_no_problem(urban: Path) -> None:
    shutil.rmtree(urban / "audio/fold2")
    verification = verify(urban, "urbansound8k")
    assert (
        verification.problems == ()
        and verification.folds == {1: 4}
        and verification.missing_folds == tuple(range(2, 11))
    )


def test_what_cannot_be_opened_is_never_called_sound(urban: Path) -> None:
    """A fold's folder without files: opening the corpus takes the files as lost."""
    for path in (urban / "audio/fold2").iterdir():
        path.unlink()
    (problem,) = verify(urban, "urbansound8k").problems
    assert "4 of 8 clips that are not there" in problem


def test_folds_at_the_top_of_the_folder(urban: Path) -> None:
    for path in (urban / "audio/fold1", urban / "audio/fold2", urban / "metadata/UrbanSound8K.csv"):
        path.rename(urban / path.name)
    (urban / "fold1" / "extra.wav").touch()
    verification = verify(urban, "urbansound8k")
    assert verification.clips == 8 and verification.problems == ("fold1/extra.wav: not annotated",)


def test_rows_that_are_wrong(urban: Path) -> None:
    change_rows(
        urban,
        (0, {"fold": "one"}),
        (1, {"slice_file_name": "../../../etc/passwd"}),
        (2, {"slice_file_name": "1-1-0-1.wav"}),  # as row 3 has
        (4, {"classID": 3}),
        (5, {"class": "dragon"}),
        (6, {"end": ""}),
        (7, {"slice_file_name": ""}),
    )
    lines = verify(urban, "urbansound8k").problems
    for line, text in [
        (2, "fold = 'one': expected a whole number"),
        (3, "slice_file_name = '../../../etc/passwd': expected a file's name"),
        (5, "1-1-0-1.wav is annotated twice"),
        (6, "class = 'air_conditioner': expected the published name of classID 3"),
        (7, "class = 'dragon': expected the published name of classID 0"),
        (8, "end = '': expected a number"),
        (9, "slice_file_name = '': expected a file's name"),
    ]:
        assert any(f"UrbanSound8K.csv, line {line}: {text}" in problem for problem in lines), (line, lines)
    assert "audio/fold1/1-0-0-1.wav: not annotated" in lines  # its row names another


def test_no_annotations_at_all(urban: Path) -> None:
    with pytest.raises(InputError, match=r"no meta/esc50\.csv"):
        verify(urban, "esc50")
    (urban / "metadata/UrbanSound8K.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column slice_file_name"):
        verify(urban, "urbansound8k")
    with pytest.raises(InputError, match="gtzan"):
        verify(urban, "gtzan")


def test_esc50_and_its_part_esc10(tmp_path: Path) -> None:
    root = esc(tmp_path)
    fifty, ten = verify(root, "esc50"), verify(root, "esc10")
    assert fifty.problems == () == ten.problems  # the clips of the other forty classes are no extra files
    assert fifty.clips == 6 and fifty.classes == {"cat": 2, "dog": 2, "rain": 2} and fifty.published == 2000
    assert ten.clips == 4 and ten.classes == {"dog": 2, "rain": 2} and ten.published == 400
    assert ten.missing_folds == (3, 4, 5)
    write_clip(root / "audio" / "1-77-A-0.wav", 4.0)
    assert verify(root, "esc10").problems == ("audio/1-77-A-0.wav: 4.000 s long, annotated 5.000 s",)


def test_a_folder_corpus_has_no_published_numbers(tmp_path: Path) -> None:
    for label in ("bell", "drum"):
        for take in range(10):
            write_clip(tmp_path / label / f"rec{take}-{label}.wav", 0.5)
    verification = verify(tmp_path, "folder")
    assert verification.problems == () and verification.clips == 20 and verification.classes == {"bell": 10, "drum": 10}
    assert verification.published is None and not verification.partial
    assert not any(line.startswith(("partial", "whole")) for line in verification.lines())


def users_folder(root: Path) -> Path:
    for label in ("bell", "drum"):
        for take in range(6):
            write_clip(root / label / f"{label}{take}.flac", 0.5)
    return root


def test_verifying_a_folder_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(users_folder(tmp_path).rglob("*"))
    verification = verify(tmp_path, "folder")
    assert verification.problems == () and verification.clips == 12 and len(verification.folds) == 5
    assert sorted(tmp_path.rglob("*")) == before and capsys.readouterr() == ("", "")
    assert {c.name: c.fold for c in open_corpus("folder", tmp_path).clips}["bell/bell0.flac"] in verification.folds
    assert verify(tmp_path, "folder").folds == verification.folds


@pytest.mark.parametrize("ending", ["flac", "ogg", "wav", "aiff"])
def test_a_sound_is_read_to_its_end_where_nothing_says_how_long_it_is(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    for name in ("whole", "cut"):
        soundfile.write(users_folder(tmp_path) / "bell" / f"{name}.{ending}", rng.normal(0, 0.1, 40000), SR)
    cut = tmp_path / "bell" / f"cut.{ending}"
    cut.write_bytes(cut.read_bytes()[:-20000])
    if ending == "flac":
        zeroed = tmp_path / "drum" / "zeroed.flac"
        content = (tmp_path / "bell" / "whole.flac").read_bytes()
        zeroed.write_bytes(content[:20000] + bytes(3000) + content[23000:])
    (tmp_path / "folds.csv").unlink(missing_ok=True)
    problems = verify(tmp_path, "folder").problems
    assert problems[0].startswith(f"bell/cut.{ending}: ") and "\n" not in problems[0]
    assert ["drum/zeroed.flac: unreadable" in line for line in problems[1:]] == [True] * (ending == "flac")


def test_what_is_no_clip_of_an_own_corpus_is_named(tmp_path: Path) -> None:
    write_clip(users_folder(tmp_path) / "bell" / "more" / "nested.wav", 0.5)
    write_clip(tmp_path / "bell" / "_x.wav", 0.5)  # as some YouTube videos are called
    write_clip(tmp_path / "loose.wav", 0.5)
    os.mkfifo(tmp_path / "bell" / "pipe.wav")
    (tmp_path / "bell" / "loop.wav").symlink_to("loop.wav")
    for name in (
        "bell/notes.txt",
        "readme.txt",
        ".hidden.wav",
        "_aside/x.wav",
        "bell/.DS_Store",
        "bell/._x.wav",
        "__MACOSX/._x.wav",
        "drum/film.ape",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    verification = verify(tmp_path, "folder")
    assert verification.clips == 14 and verification.problems[:-2] == (
        "bell/loop.wav: no regular file, so no clip of the corpus",
        "bell/notes.txt: no clip of the corpus",
        "bell/pipe.wav: no regular file, so no clip of the corpus",
    )
    assert verification.problems[-2].startswith(
        "drum/film.ape: no clip of the corpus: a format that is not read, expected"
    )
    assert verification.problems[-1] == "loose.wav: no clip of the corpus"


def test_the_same_file_twice(tmp_path: Path, urban: Path) -> None:
    """In several folds, under two labels, or in one fold; silence, of which there is much, and empty files do not count."""
    noise = np.random.default_rng(0).normal(0, 0.1, (3, SR // 2))
    audio = urban / "audio"
    for name in ("fold1/1-0-0-0.wav", "fold1/1-0-0-1.wav"):
        soundfile.write(audio / name, noise[0], SR)
    for name in ("fold1/1-1-0-0.wav", "fold2/2-1-0-0.wav"):
        soundfile.write(audio / name, noise[1], SR)
    for name in ("fold2/2-0-0-0.wav", "fold2/2-1-0-1.wav"):
        soundfile.write(audio / name, noise[2], SR)
    verification = verify(urban, "urbansound8k")
    assert verification.problems == (
        "1-1-0-0.wav and 2-1-0-0.wav: the same bytes in folds 1 and 2, expected one",
        "2-0-0-0.wav and 2-1-0-1.wav: the same bytes under the labels air_conditioner and car_horn, expected one",
    )
    assert verification.notes[-1] == "1-0-0-0.wav and 1-0-0-1.wav: the same bytes"
    assert "note     1-0-0-0.wav and 1-0-0-1.wav: the same bytes" in verification.lines()


@pytest.mark.parametrize("stated", [0, 10**6, (1 << 36) - 1])
def test_silence_whose_header_lies_is_no_copy(tmp_path: Path, stated: int) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(SR), SR)
    data = bytearray(path.read_bytes())
    value = int.from_bytes(data[18:26], "big")
    data[18:26] = (value & ~((1 << 36) - 1) | stated).to_bytes(8, "big")
    for name in ("dog/a.flac", "dog/b.flac", "cat/c.flac", "cat/d.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    path.unlink()
    assert leaks.copies(open_corpus("folder", tmp_path)) == []


def test_what_is_odd_about_clips_is_a_note(tmp_path: Path) -> None:
    root = users_folder(tmp_path)
    noise = np.random.default_rng(0).normal(0, 0.1, SR).clip(-0.3, 0.3)
    for n, path in enumerate(sorted(root.rglob("*.flac"))):
        soundfile.write(path, np.roll(noise, n), SR)
    sounds = {
        "silent": np.zeros(SR),
        "constant": np.full(SR, 0.3),
        "cancels": np.stack([noise, -noise], 1),
        "loud": 1000 * noise,
        "full": noise / 0.3,
        "overshoot": 1.4 * noise / 0.3,
        "late": np.concatenate([0.1 * noise, np.zeros(3 * SR), noise]),
        "early": np.concatenate([noise, np.zeros(3 * SR), 0.1 * noise]),
        "wide": np.stack([noise, 0.5 * noise, np.zeros(SR)], 1),
    }
    for name, sound in sounds.items():
        soundfile.write(root / "bell" / f"{name}.wav", sound, SR, subtype="FLOAT")
    verification = verify(root, "folder")
    assert verification.problems == () and verification.lines()[-1] == "0 problems"
    assert sorted(verification.notes) == [
        "bell/cancels.wav: silent after mixing to mono: its 2 channels cancel; turn one over, or keep one",
        "bell/constant.wav: silent",
        "bell/late.wav: 99 % of its sound lies beyond the clip length of 4 s and is not heard: cut it into clips, or trim "
        "what is before",
        "bell/loud.wav: peak 300 times full scale, expected about 1 at most: scale it",
        "bell/silent.wav: silent",
    ]
    soundfile.write(root / "bell" / "nan.wav", np.where(np.arange(SR) == 70, np.nan, noise), SR, subtype="FLOAT")
    (problem,) = verify(root, "folder").problems
    assert problem.startswith("bell/nan.wav: samples that are no numbers, nan at frame 70, expected")


def test_a_recording_in_two_folds_is_named(tmp_path: Path, urban: Path) -> None:
    change_rows(urban, (0, {"fsID": 7}), (7, {"fsID": 7}))
    assert verify(urban, "urbansound8k").problems == ("recording 7: in folds 1 and 2, expected one",)
    root = users_folder(tmp_path / "own")
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.flac"))
    rows: list[dict[str, object]] = [
        {"file": name, "fold": 1 + i % 3, "source": "tower" if i < 2 else name} for i, name in enumerate(files)
    ]
    write_rows(root / "folds.csv", rows)
    assert verify(root, "folder").problems == ("recording tower: in folds 1 and 2, expected one",)


def test_names_that_are_no_text_are_one_line(urban: Path) -> None:
    (urban / "audio/fold1" / os.fsdecode(b"caf\xe9.wav")).touch()
    verification = verify(urban, "urbansound8k")
    assert verification.lines()[-2] == "problem  audio/fold1/caf\\udce9.wav: not annotated"
    (users_folder(urban / "own") / "bell" / os.fsdecode(b"caf\xe9.wav")).touch()
    with pytest.raises(InputError, match="rename it") as caught:
        verify(urban / "own", "folder")
    assert str(caught.value).encode()


def test_cifar100_is_verified_by_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.images import verification as images
    from tests.archives import write_stand_in

    path = write_stand_in(tmp_path / "cifar-100-python.tar.gz")
    with pytest.raises(InputError, match="MD5"):
        images.verify_cifar100(path)
    read = images.read_cifar100
    monkeypatch.setattr(images, "read_cifar100", lambda path: read(path, checksum=None))
    verification = images.verify_cifar100(path)
    assert verification.clips == 60 and verification.partial and set(verification.classes.values()) == {15}
    assert "60 images, 4 classes" in verification.lines()[0]
