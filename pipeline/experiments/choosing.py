"""Some of an experiment's rows, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from pipeline.config import InputError
from pipeline.experiments.changing import ancestors
from pipeline.experiments.steps import Experiment
from pipeline.plurals import many

#: Rows that a message names.
SHOWN = 3


def only(experiment: Experiment, patterns: Sequence[str]) -> Experiment:
    """The experiment with those rows alone that fit one of ``patterns``, and what goes before them; its ``notes`` count the others.

    A row fits by its name in the report, with the experiment's before it or without; ``*`` stands for any letters, ``?`` for one. No
    pattern: all rows. Raises ``InputError``, one line, for a pattern that none fits.
    """
    if not patterns:
        return experiment
    names = {step.name: f"{experiment.name}/{step.name}" for step in experiment.last}
    fitting = {pattern: [step for step, row in names.items() if fits(pattern, step, row)] for pattern in patterns}
    if unknown := [pattern for pattern, found in fitting.items() if not found]:
        shown, more = list(names.values())[:SHOWN], len(names) - SHOWN
        rows = ", ".join(shown) + (f" and {more} more, which --explain names" if more > 0 else "")
        raise InputError(f"--only {unknown[0]}: no row of {experiment.name} fits; expected some of {rows}")
    chosen = [step for step in experiment.last if any(step.name in found for found in fitting.values())]
    kept = ancestors(chosen, experiment)
    left_out = len(names) - len(chosen)
    if not left_out:
        return experiment
    note = f"{many(left_out, 'row')} of {len(names)} {'is' if left_out == 1 else 'are'} left out (--only)"
    steps = {name: step for name, step in experiment.steps.items() if name in kept}
    return replace(experiment, steps=steps, notes=(*experiment.notes, note), part=True)


def fits(pattern: str, step: str, row: str) -> bool:
    return fnmatchcase(step, pattern) or fnmatchcase(row, pattern)
