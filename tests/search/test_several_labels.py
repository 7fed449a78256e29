"""A search on clips with several labels maximises the mean average precision, and its record says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import InputError
from pipeline.engine import missing, outputs
from pipeline.engine.source import Source
from pipeline.experiments import planning
from pipeline.experiments.reading import variant
from pipeline.losses import LossMix
from pipeline.runs import DataSet, calibration
from pipeline.runs.planned import PlannedRun
from pipeline.search import calibrating, proposing, record, searching, space
from pipeline.search.planning import Search, require_several_taken
from pipeline.search.record import Measured
from pipeline.search.training import Trial, score_of
from tests.chains import SETTINGS as TINY
from tests.chains import write_source
from tests.poison import poisoned

SETTINGS = config.read("default", ())

HOW = {"device": "cpu", "jobs": 1, "checkpoint_minutes": 5.0}


def run() -> PlannedRun:
    return PlannedRun("search", "student", "student", "clips", SETTINGS, 2, 0, LossMix.parse("ce"), ())


def test_a_trial_is_its_mean_average_precision() -> None:
    scores = [score_of(run(), {"map": value}) for value in (0.25, 0.75)]
    assert [score.value for score in scores] == [0.25, 0.75]
    lost = score_of(run(), {"map": float("nan")})
    assert lost.value == 0.0 and "not finite" in lost.failure
    assert score_of(run(), {"accuracy": 0.5, "loss": 1.0}).value == 0.5
    trial = Trial(SETTINGS, LossMix.parse("ce"), (), 8, True, several=True)
    one = searching.measured_of(0, 1, trial, {"student.lr": 0.1}, {2: 0.25, 3: 0.75}, scores, False)
    assert (one.map, one.accuracy, one.score) == (0.5, None, 0.5)
    assert searching.best_of([Measured(1, 1, 8, True, {}, "ce:1", map=0.4), one]) is one


def test_the_record_says_which_figure_it_is(tmp_path: Path) -> None:
    path = tmp_path / record.TRIALS
    several, single = Measured(0, 0, 2, True, {}, "ce:1", map=0.5), Measured(0, 0, 2, True, {}, "ce:1", 0.5)
    for one, there, absent in ((several, "map", "accuracy"), (single, "accuracy", "map")):
        path.write_bytes(record.written([one]))
        line = json.loads(path.read_text())
        assert line[there] == 0.5 and absent not in line
        assert record.read(path) == [one]


def test_a_refused_trial_has_no_figure_of_the_search_s_own_name(tmp_path: Path) -> None:
    path, refused = tmp_path / record.TRIALS, Measured(0, 0, 0, False, {}, "", refused="they do not go together")
    measured = [refused, Measured(1, 0, 2, True, {}, "ce:1", map=0.5)]
    record.begin(tmp_path, {record.OBJECTIVE: "mean average precision"})
    for _ in range(2):  # the second writing is of what the first one says
        record.keep(tmp_path, measured)
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert [line["map"] for line in lines] == [None, 0.5] and not any("accuracy" in line for line in lines)
        assert record.read(path) == measured
    path.write_bytes(
        record.written([refused], record.digest_of(tmp_path / record.SEARCH))
    )  # as earlier versions wrote it
    assert json.loads(path.read_bytes())["accuracy"] is None and record.read(path) == [refused]
    path.unlink()
    (tmp_path / record.SEARCH).unlink()
    record.begin(tmp_path, {})
    record.keep(tmp_path, [refused])
    assert json.loads(path.read_bytes())["accuracy"] is None and "map" not in json.loads(path.read_bytes())


def test_the_record_of_a_search_names_its_objective() -> None:
    source = Source((), DataSet("clips", "csv", False, (1, 2, 3)), {}, ("a", "b"), ((0,), (0, 1)))
    wanted = Search(space.read("rates", ["ce"]), SETTINGS, source, (1, 2, 3), (0,))
    assert searching.about(wanted, 1)["objective"] == "mean average precision"
    one_label = Search(wanted.space, SETTINGS, Source((), source.data_set, {}, ("a", "b")), (1, 2, 3), (0,))
    assert "objective" not in searching.about(one_label, 1) and one_label.measure == "accuracy"


def test_a_space_whose_mix_needs_one_label_is_refused() -> None:
    with pytest.raises(InputError, match=r"hinton.* needs one label a clip, and the clips of clips have several"):
        require_several_taken(space.read("strong"), SETTINGS, "clips")
    require_several_taken(space.read("strong", ["ce", "angle:20,ce:1"]), SETTINGS, "clips")


def test_what_is_proposed_goes_by_it() -> None:
    """The same proposals as of accuracies of these values, behind the first trials, which are drawn at random."""
    pytest.importorskip("optuna")
    wanted = space.read("strong", ["ce"])
    tried = proposing.proposals(wanted, 0, [], range(12))
    values = [0.1 + 0.05 * place for place in range(12)]
    by_map, by_accuracy = (
        [Measured(n, 0, 2, True, of, "ce:1", **{name: value}) for n, (of, value) in enumerate(zip(tried, values))]  # type: ignore[arg-type]
        for name in ("map", "accuracy")
    )
    after = proposing.proposals(wanted, 0, by_map, range(12, 14))
    assert after == proposing.proposals(wanted, 0, by_accuracy, range(12, 14))
    assert after != proposing.proposals(wanted, 0, by_accuracy[::-1], range(12, 14))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.chdir(tmp_path)
    outputs.loaded.cache_clear()
    outputs.taught.cache_clear()
    return write_source(tmp_path, label_sets=((0,), (1,), (0, 2)))


@pytest.mark.slow
def test_neither_a_search_nor_a_temperature_reads_the_held_out_fold(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("two.toml").write_text(
        'losses = ["ce:1", "angle:1,ce:1"]\ntrials = 2\nsampler = "grid"\nhalving = 2\nleast_epochs = 1\n'
    )
    search = Search(space.read("two.toml"), TINY, source, (1, 2, 3), (0,))
    levels, _ = planning.plan(variant("student", "student", mix="angle:1,ce:1"), TINY, "tiny", folds=(1,), seeds=(0,))
    missing.train(levels, source, device="cpu", jobs=1)
    student = levels[-1].runs[-1].folder

    def gone_through() -> tuple[bytes, bytes]:
        """The search's trials and the run's temperature, each of them anew."""
        searching.searched(search, 1, HOW)
        calibrating.calibrated(student, HOW)
        kept = (search.place(1) / record.TRIALS).read_bytes(), (student / calibration.NAME).read_bytes()
        for path in [search.folder, *Path("runs/tiny").glob("experiment-c*")]:
            shutil.rmtree(path)
        return kept

    clean = gone_through()
    assert json.loads(clean[0].splitlines()[-1])["map"] > 0
    with monkeypatch.context() as patch:
        poisoned(patch, 1)
        assert gone_through() == clean
        # What is above could pass if nothing were read at all.
        poisoned(patch, 2)
        searching.searched(search, 1, HOW)
        assert (search.place(1) / record.TRIALS).read_bytes() != clean[0]
    outputs.loaded.cache_clear()
