"""Some of an experiment's rows, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from pipeline.config import InputError
from pipeline.experiments.balancing import parts
from pipeline.experiments.changing import ancestors
from pipeline.experiments.steps import Experiment, Step
from pipeline.losses.mix import BASES
from pipeline.plurals import many

#: Rows that a message names.
SHOWN = 3


def only(experiment: Experiment, patterns: Sequence[str]) -> Experiment:
    """The experiment with those rows alone that fit one of ``patterns``, and what goes before them; its ``notes`` count the others.

    Of two that learn from each other both are there; of steps with ``balance`` whose weights decide what is trained (``apart``) these
    weights. A row fits by its name in the report, with the experiment's before it or without; ``*`` stands for any letters, ``?`` for one. No
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
    left_out = len(names.keys() - kept)
    if not left_out:
        return experiment
    note = f"{many(left_out, 'row')} of {len(names)} {'is' if left_out == 1 else 'are'} left out (--only)"
    weighed = [step for step in experiment.last if step.name not in kept and decides(step, chosen)]
    kept |= ancestors(weighed, experiment)
    steps = {name: step for name, step in experiment.steps.items() if name in kept}
    notes, measured = (*experiment.notes, note), frozenset(step.name for step in weighed)
    return replace(experiment, steps=steps, notes=notes, part=True, weighed=measured)


def decides(step: Step, chosen: Sequence[Step]) -> bool:
    """Whether the measured weight of a step says which of the ``chosen`` are trained (``apart``)."""
    if not step.balance:
        return False
    terms = [term for other in chosen if other.apart for term in other.mix.terms if term.name not in BASES]
    return any(parts(step.mix)[1].key in (term.key, term.name) for term in terms)


def fits(pattern: str, step: str, row: str) -> bool:
    return fnmatchcase(step, pattern) or fnmatchcase(row, pattern)
