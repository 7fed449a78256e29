"""Students with what a search chose: *nested*, each held-out fold with the settings of its own, and the *preset* of all folds.

The nested figure is the honest one. The preset's is optimistic: the folds that it is tested on chose it. They are two rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import places
from pipeline.engine import missing
from pipeline.engine.missing import Level
from pipeline.experiments import planning, stages
from pipeline.experiments.reading import read
from pipeline.runs.experiments import NotedRow, note
from pipeline.runs.planned import PlannedRun
from pipeline.search import choice
from pipeline.search.planning import Search
from pipeline.search.record import Measured


def experiment_of(search: Search) -> str:
    """The name that its rows are noted under."""
    return f"search-{search.name}"


def train(
    search: Search,
    measured: Mapping[int | None, list[Measured]],
    folds: Sequence[int],
    seeds: Sequence[int],
    how: Mapping[str, Any],
) -> None:
    """Teachers and students (or teachers alone) for each held-out fold of ``measured`` with its settings, and for ``folds`` with
    those of all folds where they were searched (None); their rows are noted."""
    planned: list[tuple[str, int | None, list[list[PlannedRun]]]] = []
    for held_out, trials in measured.items():
        row = f"{search.space.name} nested" if held_out is not None else f"{search.space.name} preset"
        planned.append(
            (row, held_out, levels(search, held_out, trials, folds if held_out is None else [held_out], seeds))
        )
    rows = [
        NotedRow(row, folder, held_out)
        for row, held_out, each in planned
        for folder in dict.fromkeys(run.alike for run in each[-1])
    ]
    depth = max(len(each) for _, _, each in planned)
    whole: list[Level] = []
    for place in range(depth):
        runs = [run for _, _, each in planned if place < len(each) for run in each[place]]
        whole += missing.in_homes("students" if place else "teachers", runs)
    try:
        missing.train(whole, search.source, **how)
    finally:
        if missing.any_finished(whole):  # what is refused leaves nothing
            note(places.runs(), search.source.name, experiment_of(search), rows)


def levels(
    search: Search, held_out: int | None, trials: list[Measured], folds: Sequence[int], seeds: Sequence[int]
) -> list[list[PlannedRun]]:
    """Teachers, then students, or teachers alone."""
    settings, mix = choice.chosen(search, held_out, trials)
    if search.space.network == "teacher":
        experiment = read("teacher")
    else:
        experiment = stages.students_of([mix], search.space.taught_by)
    planned, _ = planning.plan(experiment, settings, search.source.name, folds=folds, seeds=seeds)
    runs = [run for level in planned for run in level.runs]
    teachers = [run for run in runs if run.is_teacher]
    students = [run for run in runs if not run.is_teacher]
    return [teachers, students] if students else [teachers]
