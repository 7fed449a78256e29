"""A table whose cells hold several labels: what a label is then, bad cells, files of features, and commands that refuse it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli import main
from pipeline import cache, commands
from pipeline.cache.schema import content_digest
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import UNLABELLED, Corpus, open_corpus
from pipeline.corpus.verification import verify
from pipeline.label_sets import COMMANDS
from tests.corpora import line, touch
from tests.several import write_corpus
from tests.tiny import audio_rkd

ROWS = "path,label,fold\na.wav,dog;street music,1\nb.wav,dog,1\nc.wav,street music ; dog,2\nd.wav,siren,2\n"


def opened(place: Path, text: str, name: str = "clips.csv") -> Corpus:
    for letter in "abcdef":
        touch(place / f"{letter}.wav")
    (place / name).write_text(text)
    return open_corpus("csv", place / name)


def test_a_label_is_a_set_of_classes_in_any_order(tmp_path: Path) -> None:
    corpus = opened(tmp_path, ROWS)
    assert corpus.classes == ("dog", "siren", "street music")
    assert {clip.name: corpus.label_sets[clip.label] for clip in corpus.clips} == {
        "a.wav": (0, 2),
        "b.wav": (0,),
        "c.wav": (0, 2),
        "d.wav": (1,),
    }
    assert set(corpus.label_names) == {"dog; street music", "dog", "siren"}


@pytest.mark.parametrize(
    "text",
    [
        ROWS.replace("label", "labels", 1),
        ROWS.replace(",", "\t"),
        'path;label;fold\na.wav;"dog;street music";1\nb.wav;dog;1\nc.wav;"street music;dog";2\nd.wav;siren;2\n',
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, text: str) -> None:
    first, other = opened(tmp_path, ROWS), opened(tmp_path, text, "other.csv")
    assert (first.clips, first.label_sets, first.classes) == (other.clips, other.label_sets, other.classes)


def test_a_table_of_one_label_is_as_it_was(tmp_path: Path) -> None:
    corpus = opened(tmp_path, ROWS.replace("dog;street music", "dog").replace("street music ; dog", "siren"))
    assert (corpus.label_sets, corpus.classes, corpus.label_names) == ((), ("dog", "siren"), ("dog", "siren"))
    assert [clip.label for clip in corpus.clips] == [0, 0, 1, 1]
    block, labels, clips = np.ones((1, 2, 5, 3, 4), np.float32), (1,), ("x",)
    assert content_digest([block], labels, clips) == content_digest([block], labels, clips, ())
    assert content_digest([block], labels, clips) != content_digest([block], labels, clips, ((0,), (0, 1)))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("dog;;siren", "a class on each side of each ';'"),
        ("dog;", "a class on each side"),
        (";dog", "a class on each side"),
        (";", "a class on each side"),
        ("dog; ;siren", "a class on each side"),
        ("dog;siren;dog", "each class once, and 'dog' is there 2 times"),
        ("dog; dog ", "each class once"),
        ("dog;unlabelled", "classes, or 'unlabelled' alone"),
        ("dog;unlabeled", "'unlabelled'"),
        ("", "a class, or 'unlabelled'"),
    ],
)
def test_a_bad_cell_is_a_line_of_its_row(tmp_path: Path, cell: str, expected: str) -> None:
    with pytest.raises(InputError, match=r"clips\.csv, line 6: label = ") as caught:
        opened(tmp_path, f"{ROWS}e.wav,{cell},2\n")
    assert expected in line(caught)


def test_a_clip_without_labels_is_in_no_fold(tmp_path: Path) -> None:
    corpus = opened(tmp_path, f"{ROWS}e.wav,unlabelled,\n")
    assert [(clip.name, clip.label) for clip in corpus.unlabelled] == [("e.wav", UNLABELLED)]


def test_verify_counts_each_class_of_a_clip(tmp_path: Path) -> None:
    table = write_corpus(tmp_path / "tones")
    found = verify(table, "csv")
    assert found.classes == {"bass": 8, "flute": 6, "whistle": 6} and not found.problems
    table.write_text(table.read_text().replace("bass;flute,1", "bass;bass,1", 1))
    assert any("each class once" in problem for problem in verify(table, "csv").problems)


def test_files_of_features_say_what_a_label_is(tmp_path: Path) -> None:
    spec = FeatureSpec(bins=8, bins_per_octave=24, seconds=0.25)
    random, paths = np.random.default_rng(0), []
    for fold in (1, 2):
        header = cache.Header(
            *("toy", "csv", False, fold, ("a", "b", "c"), spec, ("x", "y"), (1, 0), ("x", "y")),
            files=(cache.File("x", 1, 1), cache.File("y", 1, 1)),
            units=("1",) * 5,
            calls=("",) * 5,
            label_sets=((0,), (0, 2)),
        )
        path = cache.fold_path(tmp_path, "toy", spec, fold)
        cache.write_fold(path, header, [random.random(header.shape, np.float32)])
        paths.append(path)
        read = cache.read_header(path)
        assert read.label_sets == ((0,), (0, 2)) and not cache.check(path, again=True).damaged
    data = cache.load(paths)
    assert data.targets[data.labels].tolist() == [[1, 0, 1], [1, 0, 0]] * 2
    other = dataclasses.replace(cache.read_header(paths[1]), label_sets=((0,), (1, 2)))
    blocks = [cache.read_fold(paths[1]).features]
    before = cache.read_header(paths[1]).digest
    cache.write_fold(paths[1], other, blocks)
    assert cache.read_header(paths[1]).digest != before
    with pytest.raises(InputError, match="label_sets"):
        cache.load(paths)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("distill", "--losses", "hinton,ce", "--explain"), "hinton of mix ce:1,hinton:1: it needs one label a clip"),
        (("experiment", "self", "--explain"), "experiment self: step student: hinton@T=6 of mix"),
        (("ban", "--losses", "none"), "nothing would be learned from the generation before"),
        (("final", "--unheard"), "--unheard: a class is left out with its clips"),
    ],
)
def test_what_needs_one_label_is_a_line_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    table = write_corpus(tmp_path / "tones")
    done = CliRunner().invoke(main, [*arguments, "--dataset", "csv", "--data", str(table)])
    assert done.exit_code == 1 and words in done.stderr.splitlines()[-1], done.output
    assert not (tmp_path / "runs").exists() and not (tmp_path / "cache").exists()


def test_a_mix_that_takes_them_is_explained_with_its_own_formula(tmp_path: Path) -> None:
    table = write_corpus(tmp_path / "tones")
    text = (
        CliRunner()
        .invoke(main, ["distill", "--explain", "--losses", "ce", "--dataset", "csv", "--data", str(table)])
        .output
    )
    assert "log sigmoid" in text and "softmax" not in text


def opens_a_corpus(command: str) -> bool:
    return "data" in {parameter.name for parameter in commands.load(command).params}


@pytest.mark.parametrize("command", filter(opens_a_corpus, sorted(set(commands.names()) - set(COMMANDS))))
def test_other_commands_refuse_it_in_a_line(tmp_path: Path, command: str) -> None:
    """Those that open a corpus do so at once; others when they meet a run of such clips (tests/test_several_labels.py)."""
    table = write_corpus(tmp_path / "tones")
    done = audio_rkd(tmp_path, command, "--dataset", "csv", "--data", str(table))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "clips with several labels each" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists() and not (tmp_path / "cache").exists()
