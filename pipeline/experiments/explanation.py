"""An experiment in words, before anything is trained: its steps, what each learns from, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import models, runs
from pipeline.config import Settings
from pipeline.experiments.planning import network_of, plan
from pipeline.experiments.steps import PREVIOUS, Experiment, Step
from pipeline.runs import Record
from pipeline.runs.planned import PlannedRun

#: Where there is no corpus at hand: clips of four seconds in ten folds and ten classes, as UrbanSound8K has them.
CLASSES, FOLDS = 10, 10
IMAGES, IMAGE, IMAGE_CLASSES = "cifar100", (3, 32, 32), 100

#: Of a step with ``balance``.
WEIGHED = "the term's is measured when its teacher is there: both gradients at the first weights get the same norm"

#: Files of finished runs that the time of an epoch is taken from.
MEASURED = 50


def explained(
    experiment: Experiment,
    settings: Settings,
    *,
    folds: Sequence[int] | None,
    seeds: Sequence[int],
    dataset: str = "",
    root: Path = Path("runs"),
) -> str:
    """What ``--explain`` prints. ``folds`` None: as many as UrbanSound8K has; of images one. ``root``: finished runs."""
    images = dataset == IMAGES
    held_out = tuple(folds or ((0,) if images else range(1, FOLDS + 1)))
    levels, rows = plan(experiment, settings, "CORPUS", folds=held_out, seeds=seeds)
    shape, classes = (IMAGE, IMAGE_CLASSES) if images else (settings.features.shape, CLASSES)
    planned = [run for level in levels for run in level.runs]
    title = f": {experiment.title}" if experiment.title else ""
    lines = [f"experiment {experiment.name}{title}"]
    for step in experiment.steps.values():
        network = network_of(step, settings)
        weights = models.parameters(models.network(network.model, shape, classes))
        count = sum((run.experiment, base(run.step, step)) == (step.experiment, local(step)) for run in planned)
        lines += [
            f"{step.name}: {network.model}, {weights:,} weights" + (f", {step.rounds} rounds" if step.rounds else ""),
            f"    mix      {step.mix}",
            f"    learns   {lessons(step)}",
            *([f"    weight   {WEIGHED}"] if step.balance else []),
            f"    trained  {number(count, 'run')} of {network.epochs} epochs, batch {network.batch}, learning rate {network.lr:g}",
        ]
    epochs = sum(run.network.epochs for run in planned)
    fan = f"{counted(held_out, folds, images)}, {number(len(seeds), 'seed')}"
    sizes = f"{number(len(planned), 'run')}, {epochs:,} epochs, in {number(len(levels), 'level')}"
    lines.append(f"In all {sizes}: {fan}. What is finished is not trained again.")
    lines.append(time_of(planned_epochs(planned), root))
    lines.append(f"{'Row' if len(rows) == 1 else 'Rows'} of the report: {', '.join(rows)}.")
    lines += [f"Not trained: {row}: {why}." for row, why in experiment.untrained.items()]
    return "\n".join(lines)


def local(step: Step) -> str:
    """The name of a step in its own file."""
    return step.name.rpartition("/")[2]


def base(name: str, step: Step) -> str:
    """The name of a run's step without its round."""
    return name.rpartition("-")[0] if step.rounds and name != local(step) else name


def lessons(step: Step) -> str:
    """What a step learns from."""
    if step.teacher is None:
        return "from the labels alone" if not step.mix.needs_teacher else "from nobody"
    if not step.mix.needs_teacher:
        return f"from no teacher: its mix reads none ({step.teacher} is named)"
    if step.teacher == PREVIOUS:
        return f"from its round before; the first from {step.before}"
    return f"from {step.teacher}"


def counted(held_out: Sequence[int], folds: Sequence[int] | None, images: bool) -> str:
    if images or folds:
        return number(len(held_out), "fold")
    return f"{len(held_out)} folds (as UrbanSound8K has them; --folds says which)"


def number(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def planned_epochs(planned: Sequence[PlannedRun]) -> dict[str, int]:
    """Network → epochs of all its runs."""
    epochs: dict[str, int] = {}
    for run in planned:
        epochs[run.network.model] = epochs.get(run.network.model, 0) + run.network.epochs
    return epochs


def time_of(epochs: dict[str, int], root: Path) -> str:
    """How long that takes, by what finished runs took; that nothing was measured where there are none."""
    rates: dict[str, float] = {}
    for record in (runs.find(root) if root.is_dir() else [])[:MEASURED]:
        if rate := rate_of(record):
            rates.setdefault(record.model, rate)
    if unknown := sorted(epochs.keys() - rates.keys()):
        return f"Time: not known; no finished run of {', '.join(unknown)} in {root} to go by."
    minutes = sum(rates[model] * count for model, count in epochs.items()) / 60
    return f"Time: about {minutes:,.0f} minutes, as finished runs in {root} took, of whatever corpus and machine."


def rate_of(record: Record) -> float | None:
    """Seconds of an epoch of one run: its pack's, shared among its runs."""
    result = record.result
    if not result.seconds or not result.runs_in_pack or not result.epochs:
        return None
    return result.seconds / result.runs_in_pack / result.epochs
