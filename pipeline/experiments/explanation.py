"""An experiment in words, before anything is trained: its steps, what each learns from, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import config, models, runs
from pipeline.config import Settings
from pipeline.corpus import Corpus
from pipeline.corpus.published import PUBLISHED
from pipeline.engine.source import wanted_folds
from pipeline.experiments.planning import network_of, plan
from pipeline.experiments.steps import PREVIOUS, Experiment, Step
from pipeline.runs import Record
from pipeline.runs.planned import PlannedRun

#: Where there is neither a corpus at hand nor a published one of its name: ten folds and ten classes, as UrbanSound8K has.
CLASSES, FOLDS = 10, 10
IMAGES, IMAGE, IMAGE_CLASSES = "cifar100", (3, 32, 32), 100

#: Of a step with ``balance``.
WEIGHED = "the term's is measured when its teacher is there: both gradients at the first weights get the same norm"

#: Files of finished runs that the time of an epoch is taken from.
MEASURED = 50


def explained(
    experiment: Experiment,
    settings: Settings,
    corpus: Corpus | None = None,
    *,
    folds: Sequence[int] | None,
    seeds: Sequence[int],
    dataset: str = "",
    root: Path = Path("runs"),
) -> str:
    """What ``--explain`` prints. ``corpus``: where it is at hand; else ``dataset`` tells its folds. ``root``: finished runs.

    Raises ``InputError`` as ``wanted_folds``, and where the settings ask for another clip length than the corpus'.
    """
    if seconds := corpus.seconds if corpus else PUBLISHED[dataset].seconds if dataset in PUBLISHED else None:
        settings = config.for_corpus(settings, seconds)
    held_out, source, classes = task_of(corpus, dataset, folds)
    shape = IMAGE if dataset == IMAGES else settings.features.shape
    levels, rows = plan(experiment, settings, "CORPUS", folds=held_out, seeds=seeds)
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
    fan = f"{number(len(held_out), 'fold')}{source}, {number(len(seeds), 'seed')}"
    sizes = f"{number(len(planned), 'run')}, {epochs:,} epochs, in {number(len(levels), 'level')}"
    lines.append(f"In all {sizes}: {fan}. What is finished is not trained again.")
    lines.append(time_of(planned_epochs(planned), root))
    lines.append(f"{'Row' if len(rows) == 1 else 'Rows'} of the report: {', '.join(rows)}.")
    lines += [f"Not trained: {row}: {why}." for row, why in experiment.untrained.items()]
    return "\n".join(lines)


def task_of(corpus: Corpus | None, dataset: str, folds: Sequence[int] | None) -> tuple[tuple[int, ...], str, int]:
    """The folds to hold out, in brackets whose they are where nobody asked for some, and the number of classes."""
    if dataset == IMAGES:
        return (0,), "", IMAGE_CLASSES
    if corpus is not None:
        return wanted_folds(corpus, folds), "" if folds else f" (those in {corpus.root})", len(corpus.classes)
    published = PUBLISHED.get(dataset)
    there = tuple(published.folds) if published else tuple(range(1, FOLDS + 1))
    classes = len(published.classes) if published else CLASSES
    return (tuple(folds), "", classes) if folds else (there, " (the data set's)", classes)


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
    return f"Time: about {number(max(1, round(minutes)), 'minute')}, as finished runs in {root} took, of whatever corpus and machine."


def rate_of(record: Record) -> float | None:
    """Seconds of an epoch of one run: its pack's, shared among its runs."""
    result = record.result
    if not result.seconds or not result.runs_in_pack or not result.epochs:
        return None
    return result.seconds / result.runs_in_pack / result.epochs
