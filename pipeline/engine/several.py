"""What is looked at before a training on clips with several labels: terms and settings, classes that a fold leaves without a clip."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import cache
from pipeline.config import TrainSettings
from pipeline.engine.source import Source
from pipeline.images.archive import Archive
from pipeline.losses import LossMix
from pipeline.losses.several import require_several
from pipeline.runs.planned import PlannedRun


def check(mix: LossMix, network: TrainSettings, source: Source) -> None:
    """``InputError`` where clips have several labels, and a term of a mix or a setting of a network does not take them."""
    if source.label_sets:
        require_several(mix, network, where=source.name)


def absent(planned: Sequence[PlannedRun], source: Source) -> list[str]:
    """A line for each held-out fold without whose clips a class has none to learn from, and for each that has none of a class to test."""
    if not source.label_sets or isinstance(source.files, Archive):
        return []
    classes_of = {header.fold: classes(header) for header in map(cache.read_header, source.files)}
    lines = []
    for fold, without in dict.fromkeys((run.fold, run.without) for run in planned):
        others = set().union(*(there for other, there in classes_of.items() if other not in (fold, without)))
        tested = classes_of.get(fold, set())
        parts = (
            (others, "no training clip has", "it learns that no clip has it"),
            (tested, "no held-out clip has", "it is in no mean"),
        )
        for there, words, so in parts:
            if (
                lacking := [source.classes[place] for place in range(len(source.classes)) if place not in there]
            ) and fold:
                lines.append(f"note: fold {fold}: {words} {', '.join(lacking)}; {so}")
    return lines


def classes(header: cache.Header) -> set[int]:
    """The numbers of the classes that a fold's clips have."""
    return {number for label in header.labels if label >= 0 for number in header.label_sets[label]}
