"""Experiments on clips with several labels: each step must take them, which is looked at before the first one is trained."""

from __future__ import annotations

from pipeline.config import InputError, Settings
from pipeline.experiments.planning import network_of
from pipeline.experiments.steps import Experiment
from pipeline.losses.several import require_several


def require_steps(experiment: Experiment, settings: Settings, where: str) -> None:
    """``InputError`` for the first step whose mix or settings need one label a clip. ``where``: the corpus, for the line."""
    for step in experiment.steps.values():
        try:
            require_several(step.mix, network_of(step, settings), where=where)
        except InputError as error:
            raise InputError(f"experiment {experiment.name}: step {step.name}: {error}") from None
