"""Some rows of an experiment: these and what goes before them, where they always lay."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import cli
from pipeline import config
from pipeline.config import InputError
from pipeline.experiments import balancing, changing
from pipeline.experiments.choosing import only
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read
from pipeline.runs.experiments import note_rows, noted_untrained

SETTINGS = config.read()


def planned(patterns: tuple[str, ...]) -> tuple[dict[str, list[Path]], dict[Path, str]]:
    """Rows, and folder → step of all runs."""
    levels, rows = plan(only(read("metric-learning"), patterns), SETTINGS, "own", folds=(1,), seeds=(0,))
    return rows, {run.folder: run.step for level in levels for run in level.runs}


def test_chosen_rows_lie_where_they_do_in_the_whole() -> None:
    whole, everywhere = planned(())
    some, folders = planned(("*+16-*", "metric-learning/generation"))
    wanted = {row for row in whole if "+16-" in row} | {"metric-learning/generation"}
    assert some == {row: whole[row] for row in wanted} and len(some) == 13
    assert folders.items() < everywhere.items()
    others = {
        step for step in folders.values() if "+16-" not in step
    }  # the teachers of both halves, and all rounds of the chain
    assert others == {"triplets", "triplets on half", "generation-1", "generation-2", "generation-3"}


def test_a_row_alone_keeps_the_name_that_it_has_beside_others() -> None:
    (row,) = planned(("half-*+64-*darkrank*",))[0]
    assert row == "metric-learning/half-networkstudent+64-darkrank1+soft0+triplet1"


def test_how_many_are_left_out_is_said() -> None:
    experiment = read("metric-learning")
    assert only(experiment, ()) is experiment and only(experiment, ("*",)) is experiment
    assert only(experiment, ("generation",)).notes == ("36 rows of 37 are left out (--only)",)
    assert only(experiment, ("student-*", "half-*")).notes == ("1 row of 37 is left out (--only)",)


def test_what_no_row_fits_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^--only triplets: no row of metric-learning fits; expected some of metric-"):
        only(read("metric-learning"), ("generation", "triplets"))  # it teaches, and is no row
    done = CliRunner().invoke(cli.main, ["experiment", "metric", "--explain", "--only", "half"])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --only half: ") and "more" not in line  # it names both
    told = CliRunner().invoke(cli.main, ["experiment", "metric", "--explain", "--only", "*darkrank*"]).stdout
    assert "Note: 1 row of 2 is left out (--only)." in told and "angle2" not in told.partition("In all")[2]


def test_of_two_that_learn_from_each_other_both_are_there() -> None:
    """They lie in one pack; one of them has no plan of its own."""
    experiment = only(read("mutual"), ("student-2",))
    levels, rows = plan(experiment, SETTINGS, "own", folds=(1,), seeds=(0,))
    assert [*rows] == ["mutual/student-1", "mutual/student-2"] and [len(level.runs) for level in levels] == [2]
    assert experiment.notes == ("1 row of 3 is left out (--only)",)
    assert only(read("mutual"), ("student-1", "alone")).last == read("mutual").last


def test_a_row_that_goes_by_a_measured_weight_brings_the_measuring_and_no_row_more() -> None:
    """Else each published weight would be trained, also those that the whole table leaves out."""
    experiment = only(read("terms-strong"), ("published-angle*", "published single-attention*"))
    assert experiment.weighed == {"balanced-angle1+soft1", "named maps-attention1+soft1"}
    assert [step.label for step in experiment.last] == ["published", "published single"]
    fit = changing.runnable(experiment, SETTINGS, 10)
    assert fit.weighed == experiment.weighed and fit.steps == experiment.steps
    told = (
        CliRunner().invoke(cli.main, ["experiment", "terms-strong", "--explain", "--only", "published-angle*"]).stdout
    )
    assert "trained  not here: its weight alone is asked for" in told
    assert told.partition("of the report: ")[2].splitlines()[0] == "terms-strong/published-angle50+soft1."
    assert not only(read("terms-strong"), ("labels", "balanced-*")).weighed


def test_rows_that_were_not_trained_stay_noted_where_they_are_left_out(tmp_path: Path) -> None:
    note = partial(note_rows, tmp_path, "own", "table")
    note({"table/a": [tmp_path / "a"]}, {"table/b": "too few", "table/c": "near"})
    note({"table/c": [tmp_path / "c"]}, {"table/d": "far"}, part=True)
    assert noted_untrained(tmp_path, "own", "table") == {"table/b": "too few", "table/d": "far"}
    note({}, {"table/b": "too few"})
    assert noted_untrained(tmp_path, "own", "table") == {"table/b": "too few"}


@pytest.mark.parametrize(("weight", "rows"), [(5.0, ["published-angle50+soft1"]), (40.0, [])])
def test_a_weight_that_is_asked_for_alone_decides_and_is_gone(
    weight: float, rows: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the teachers of what is not trained: they are no rows in its place."""
    experiment = only(read("terms-strong"), ("published-angle*",))
    monkeypatch.setattr(balancing, "train", lambda levels, source: None)
    monkeypatch.setattr(balancing, "time_steps", lambda *_: None)
    monkeypatch.setattr(balancing, "weight_of", lambda step, run, source, root: weight)
    source: Any = SimpleNamespace(name="own", digests={1: ""})
    weighted = balancing.balanced(experiment, SETTINGS, source, tmp_path)
    assert [step.name for step in weighted.last] == rows and not weighted.weighed
    assert [*weighted.untrained] == [*experiment.untrained, *([] if rows else ["published-angle50+soft1"])]
    assert [*plan(weighted, SETTINGS, "own", folds=(1,), seeds=(0,))[1]] == [f"terms-strong/{row}" for row in rows]
