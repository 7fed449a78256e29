"""A folder ``unlabelled`` beside the classes: which clips it holds, of which recordings they are, and what commands say of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import cache
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import UNLABELLED
from pipeline.corpus.folder import folder
from pipeline.corpus.leaks import told
from pipeline.corpus.verification import verify
from pipeline.extraction.stage import extract_corpus, run
from tests.corpora import line, write_clip

NAMES = (
    "birds/garden_01.wav",
    "birds/garden_02.wav",
    "birds/pond_01.wav",
    "cars/001.wav",
    "cars/002.wav",
    "cars/crossing-take1.wav",
    "unlabelled/garden_03.wav",
    "unlabelled/deep/garden_04.wav",
    "unlabelled/attic.wav",
    "unlabelled/attic (2).wav",
    "unlabelled/003.wav",
)


def write(root: Path, names: tuple[str, ...] = NAMES) -> Path:
    for place, name in enumerate(names):
        write_clip(root / name, 0.1 + place / 100)
    return root


def test_clips_without_a_label_are_in_no_fold_and_no_class(tmp_path: Path) -> None:
    corpus = folder(write(tmp_path / "own"))
    assert corpus.classes == ("birds", "cars") and len(corpus.clips) == 6
    assert [clip.name for clip in corpus.unlabelled] == sorted(name for name in NAMES if name.startswith("unl"))
    assert all(clip.label == clip.fold == UNLABELLED for clip in corpus.unlabelled)
    assert UNLABELLED not in corpus.folds and corpus.parts == (*corpus.folds, UNLABELLED)
    assert corpus.fold_clips(UNLABELLED) == corpus.unlabelled
    assert "unlabelled" not in (tmp_path / "own/folds.csv").read_text()
    sources = {clip.name: clip.source for clip in corpus.unlabelled}
    garden = next(clip.source for clip in corpus.clips if "garden" in clip.name)
    assert sources["unlabelled/garden_03.wav"] == garden
    assert sources["unlabelled/attic.wav"] == sources["unlabelled/attic (2).wav"] == "unlabelled/attic"
    assert "garden" not in sources["unlabelled/003.wav"] and "crossing" not in sources["unlabelled/003.wav"]


def test_folds_are_the_same_without_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "own")
    write(tmp_path / "other", tuple(name for name in NAMES if not name.startswith("unl")))
    one, other = folder(tmp_path / "own"), folder(tmp_path / "other")
    assert [(c.name, c.fold, c.label, c.source) for c in one.clips] == [
        (c.name, c.fold, c.label, c.source) for c in other.clips
    ]


def test_a_recording_may_be_stated_by_hand(tmp_path: Path) -> None:
    root = write(tmp_path / "own")
    folder(root)
    table = root / "folds.csv"
    table.write_text(table.read_text() + "unlabelled/attic.wav,0,birds/pond\n")
    assert {clip.name: clip.source for clip in folder(root).unlabelled}["unlabelled/attic.wav"] == "birds/pond"
    table.write_text(table.read_text().replace("attic.wav,0", "attic.wav,3"))
    with pytest.raises(InputError, match="in the folder unlabelled is in no fold") as caught:
        folder(root)
    assert "0" in line(caught)
    table.write_text(table.read_text().replace("attic.wav,3", "gone.wav,0"))
    with pytest.raises(InputError, match=r"1 of 7 clips that are not there.*unlabelled/gone\.wav"):
        folder(root)


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled", "UNLABELED"])
def test_other_spellings_are_refused(tmp_path: Path, name: str) -> None:
    root = write(tmp_path / "own", (*NAMES[:6], f"{name}/a.wav"))
    with pytest.raises(InputError, match="rename it") as caught:
        folder(root)
    assert name in line(caught)


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    root = write(tmp_path / "own", NAMES[:6])
    (root / "unlabelled").mkdir()
    with pytest.raises(InputError, match="holds no sound file") as caught:
        folder(root)
    line(caught)


def test_verify_counts_them_and_names_what_is_wrong_with_them(tmp_path: Path) -> None:
    root = write(tmp_path / "own")
    folder(root)
    (root / "unlabelled/broken.wav").write_bytes(b"RIFF none")
    report = verify(root, "folder")
    assert report.unlabelled == 5 and report.clips == 6 and sum(report.folds.values()) == 6
    assert any(line.startswith("besides  5 clips without a label") for line in report.lines())
    assert len(report.problems) == 1 and report.problems[0].startswith("unlabelled/broken.wav")
    shutil.copy(root / "birds/pond_01.wav", root / "unlabelled/copy.wav")
    assert len(verify(root, "folder").problems) == 1  # a copy with no label contradicts none
    lines = [text for text in told(folder(root)) if "without a label" in text]
    assert len(lines) == 1 and "7 clips without a label" in lines[0] and "1 is taken for pieces" in lines[0]


def test_their_features_are_a_file_of_its_own(
    tmp_path: Path, computed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = folder(write(tmp_path / "own"))
    spec = FeatureSpec(seconds=0.2, bins=4, bins_per_octave=12)
    how: dict = {"jobs": 1, "backend": "sequential"}
    reports = extract_corpus(corpus, spec, tmp_path / "cache", **how)
    assert len(reports) == len(corpus.folds) + 1 and sorted(computed) == sorted(NAMES)
    paths = [report.path for report in reports]
    assert (
        paths[-1] == cache.fold_path(tmp_path / "cache", "own", spec, UNLABELLED) and paths[-1].name == "unlabelled.h5"
    )
    header = cache.read_header(paths[-1])
    assert header.fold == UNLABELLED and set(header.labels) == {UNLABELLED} and len(header.clips) == 5
    data = cache.load(paths)
    assert (data.folds == UNLABELLED).sum() == (data.labels == UNLABELLED).sum() == 5
    assert len(data.hashes) == len(data.clips) and all(data.hashes)
    computed.clear()
    assert all(report.finished for report in extract_corpus(corpus, spec, tmp_path / "cache", **how)) and not computed
    run(corpus, spec, tmp_path / "cache", **how)
    counted = [line for line in capsys.readouterr().out.splitlines() if "clips in" in line]
    assert len(counted) == 1 and f"in {len(corpus.folds)} folds and a folder without labels: finished" in counted[0]
