"""What a search writes down beside its trials: by which folds its presets were chosen, and of which data it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import TrainSettings
from pipeline.corpus.clips import UNLABELLED
from pipeline.engine.source import Source
from pipeline.presets import Chosen
from pipeline.search import choice, record, searching, space
from pipeline.search.planning import Search
from tests.chains import SPEC, write_source

SPACE = 'losses = "ce:{labels},hinton:1@T=2"\n[student]\nlr = [0.01, 0.1]\n[mix]\nlabels = [0.5, 1.0]\n'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.chdir(tmp_path)
    return write_source(tmp_path)


def search_of(source: Source) -> Search:
    Path("quick.toml").write_text(SPACE)
    network = TrainSettings(model="cnn2", epochs=4, batch=4)
    settings = config.Settings(preset="tiny", features=SPEC, teacher=network, student=network)
    return Search(space.read("quick.toml"), settings, source, (1, 2, 3), (0,))


def test_what_begins_from_a_preset_that_was_chosen_by_the_held_out_fold_is_optimistic(source: Source) -> None:
    """The folds by which the search's own preset was chosen are among those of what comes out; of other data they say nothing."""
    search = search_of(source)
    best = [record.Measured(0, 0, 4, True, {"student.lr": 0.01, "mix.labels": 0.5}, "", 0.5, {"2": 0.5})]

    def told(corpus: str, held_out: int, *folds: int) -> tuple[tuple[str, tuple[int, ...]] | None, bool]:
        settings = dataclasses.replace(search.settings, chosen=Chosen(corpus, folds))
        changed = dataclasses.replace(search, settings=settings)
        text = choice.write_preset(changed, held_out, best).read_text() + choice.lines(changed, held_out, best)[0]
        return choice.chosen(changed, held_out, best)[0].chosen, text.count("optimistic") == 2

    of = source.data_set
    assert told(of.dataset, 1, 1, 2) == ((of.dataset, (1, 2, 3)), True)
    assert told(of.corpus, 1, 2, 3, 4) == ((of.corpus, (2, 3, 4)), False)
    assert told("another", 1, 1, 2, 3) == (("tiny", (2, 3)), False)


def test_a_search_goes_on_with_the_same_clips_without_a_label_alone(source: Source) -> None:
    digests = {**source.digests, str(UNLABELLED): "aa"}
    search = search_of(dataclasses.replace(source, digests=digests))
    assert searching.about(search, 2)["data"] == {part: digest for part, digest in digests.items() if part != "2"}
