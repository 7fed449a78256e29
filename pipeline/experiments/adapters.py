"""Whether the adapters of a step's mix are small enough for its network, before anything is trained: a row that has none such is left out alone."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import class_subsets, models
from pipeline.config import Settings
from pipeline.experiments.own_features import settings_of
from pipeline.experiments.planning import network_of
from pipeline.experiments.steps import Experiment, Step


def require_small(
    step: Step, experiment: Experiment, settings: Settings, classes: Sequence[str], shape: tuple[int, ...]
) -> None:
    """``InputError`` for an adapter with more weights than the student. ``shape``: of a clip where the step has no features of its own.

    Of several teachers at once, and of files, whoever trains looks.
    """
    if not step.mix.adapted or len(step.teachers) != 1 or step.files or step.base:
        return
    if models.reuses(network_of(step, settings).model):
        return
    from pipeline import losses  # torch: most steps have no adapter
    from pipeline.losses.adapting import shapes

    def network(of: Step) -> models.Network:
        how = network_of(of, settings)
        own = settings_of(of, settings).features.shape if of.features else shape
        count = len(class_subsets.names(how.classes, classes, seed=0))
        return models.network(how.model, own, count, dropout=how.dropout)

    teacher = experiment.steps[step.at_first(step.teachers[0])]
    losses.adapters([step.mix], [(0, 0)], [network(step)], shapes(network(teacher)))
