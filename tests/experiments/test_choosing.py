"""Some rows of an experiment: these and what goes before them, where they always lay."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from pipeline import config
from pipeline.config import InputError
from pipeline.experiments.choosing import only
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read

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
