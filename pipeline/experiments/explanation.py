"""An experiment in words, before anything is trained: its steps, what each learns from, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import class_subsets, config, models, runs
from pipeline.config import Settings, TrainSettings
from pipeline.corpus import Corpus
from pipeline.corpus.clips import require_folds
from pipeline.corpus.published import PUBLISHED
from pipeline.engine import teachers
from pipeline.engine.missing import together
from pipeline.engine.source import wanted_folds
from pipeline.experiments.own_features import settings_of
from pipeline.experiments.planning import network_of, planner_of
from pipeline.experiments.steps import PREVIOUS, Experiment, Step
from pipeline.experiments.times import planned_epochs, time_of
from pipeline.feature_settings import ALL
from pipeline.images.cifar import SHAPE as IMAGE
from pipeline.listed import modules
from pipeline.losses.unlabelled import asked
from pipeline.plurals import many
from pipeline.runs.planned import PlannedRun

#: Where there is neither a corpus at hand nor a published one of its name: ten folds and ten classes, as UrbanSound8K has.
CLASSES, FOLDS = 10, 10
IMAGES, IMAGE_CLASSES = "cifar100", 100

#: Of a step with ``balance``.
WEIGHED = "the term's is measured when its teacher is there: both gradients at the first weights get the same norm"

#: Settings of a step that ``about`` has lines or words of their own for.
SAID = ("epochs", "batch", "lr", "model", "freeze", "keep", "teacher_epoch", "views", "teacher_seed")


def explained(
    experiment: Experiment,
    settings: Settings,
    corpus: Corpus | None = None,
    *,
    folds: Sequence[int] | None,
    seeds: Sequence[int],
    dataset: str = "",
    root: Path,
) -> str:
    """What ``--explain`` prints. ``corpus``: where it is at hand; else ``dataset`` tells its folds. ``root``: finished runs.

    Raises ``InputError`` as ``wanted_folds``, and where the settings ask for another clip length than the corpus'.
    """
    settings = of_clips(settings, corpus, dataset)
    held_out, source, classes = task_of(corpus, dataset, folds)
    shape = IMAGE if dataset == IMAGES else settings.features.shape
    name = corpus.name if corpus else "CORPUS"
    there = corpus.folds if corpus else PUBLISHED[dataset].folds if dataset in PUBLISHED else held_out
    planner = planner_of(experiment, settings, name, folds=held_out, seeds=seeds, trust=True, all_folds=tuple(there))
    depth = len({level for level, _ in planner.planned.values()})
    levels, rows = planner.levels(), planner.results(held_out, seeds)
    planned = [run for level in levels for run in level.runs]
    title = f": {experiment.title}" if experiment.title else ""
    lines = [f"experiment {experiment.name}{title}", *drawn(experiment), *features_line(settings, shape), ""]
    require_trainable(planned)
    for step in experiment.steps.values():
        lines += of_step(step, settings, classes, dataset == IMAGES, len(planner.of_step(step.name)))
    left = [run for run in planned if not runs.finished(run.folder)]
    epochs = sum(run.network.epochs for run in planned)
    fan = f"{many(len(held_out), 'fold')}{source}, {many(len(seeds), 'seed')}"
    sizes = f"{many(len(planned), 'run')}, {many(epochs, 'epoch')}, in {many(depth, 'level')}"
    done = len(planned) - len(left)
    verb = "is" if done == 1 else "are"
    finished = f"{done:,} of them {verb} finished and {verb}" if done else "What is finished is"
    lines.append(f"In all {sizes}: {fan}. {finished} not trained again.")
    if crossed := [run for run in planned if run.without is not None]:
        lines.append(f"Of these {many(len(crossed), 'teacher')}, one per pair of folds, for what is cross-fitted.")
    stages = [[run for level in stage for run in level.runs] for stage in together(levels)]
    waits = [[run for run in stage if not runs.finished(run.folder)] for stage in stages]
    lines.append(time_of(planned_epochs(left), root, corpus.name if corpus else "", waits))
    lines.append(f"{'Row' if len(rows) == 1 else 'Rows'} of the report: {', '.join(rows)}.")
    lines += [f"Note: {line}." for line in experiment.notes]
    lines += [f"Not trained: {row}: {why}." for row, why in experiment.untrained.items()]
    return "\n".join(lines)


def of_clips(settings: Settings, corpus: Corpus | None, dataset: str) -> Settings:
    """``settings`` with the clip length of the corpus, or of the one that is published as ``dataset``."""
    if seconds := corpus.seconds if corpus else PUBLISHED[dataset].seconds if dataset in PUBLISHED else None:
        return config.for_corpus(settings, seconds)
    return settings


def of_step(step: Step, settings: Settings, classes: Sequence[str], of_images: bool, count: int) -> list[str]:
    """A step in lines. ``InputError`` where its network has no module that it freezes."""
    from pipeline.models.freezing import require_modules  # torch: what only counts runs does without

    how, own = network_of(step, settings), settings_of(step, settings)
    shape = IMAGE if of_images else own.features.shape
    network = models.network(how.model, shape, len(class_subsets.names(how.classes, classes, seed=0)))
    require_modules(modules(how.freeze), network.body, how.model)
    return about(step, how, models.parameters(network), count, features_line(own, shape))


def about(step: Step, network: TrainSettings, weights: int, count: int, features: list[str]) -> list[str]:
    """A step in lines. ``weights``: of its network; ``count``: its runs; ``features``: said where they are its own."""
    return [
        f"{step.name}: {network.model}, {weights:,} weights"
        + (f", {many(step.rounds, 'round')}" if step.rounds else ""),
        f"    mix      {step.mix}",
        f"    learns   {lessons(step)}",
        *(f"    {line.replace(':', '', 1)}" for line in features if step.features),
        *([f"    weight   {WEIGHED}"] if step.balance else []),
        *(
            [
                f"    trained  only if a weight is more than {step.apart:g} times that one, or less than 1/{step.apart:g} of it"
            ]
            if step.apart
            else []
        ),
        *without_labels(step, network),
        *changed(step),
        *([f"    frozen   {network.freeze}"] if network.freeze else []),
        *([f"    keeps    the weights of epochs {network.keep}"] if network.keep else []),
        f"    trained  {many(count, 'run')} of {many(network.epochs, 'epoch')}, batch {network.batch}, learning rate {network.lr:g}"
        + (", one view of each clip in an epoch" if network.views == "random" else "")
        if count or not step.balance
        else "    trained  not here: its weight alone is asked for, by which others are trained",
    ]


def changed(step: Step) -> list[str]:
    """A line of the step's own settings that no other line says: they may be all that tells it from another."""
    own = [f"{name} = {value}" for name, value in step.settings if name not in SAID]
    return [f"    with     {'; '.join(own)}"] if own else []


def require_trainable(planned: Sequence[PlannedRun]) -> None:
    """``InputError`` where a term reads an ensemble's members, or more than logits of teachers of pairs, and the run has none."""
    for run in planned:
        teachers.require_members(run)
    teachers.require_logits_alone(planned)


def without_labels(step: Step, network: TrainSettings) -> list[str]:
    """A line where a step asks for clips without a label: which they are, or what there must be."""
    if not (words := asked(step.mix, network)):
        return []
    words = words.replace(f"mix {step.mix}: ", "")
    if network.unlabelled:
        return [f"    needs    clips without a label ({words}): unlabelled = {network.unlabelled:g} hides that share's"]
    return [
        f"    needs    clips without a label ({words}): a folder 'unlabelled' beside the classes (--dataset folder), or --set "
        "unlabelled=0.8"
    ]


def drawn(experiment: Experiment) -> list[str]:
    """What learns from what, as a tree: below each step those that it teaches, that start from it, or whose base it is."""
    below: dict[str, list[tuple[str, Step]]] = {name: [] for name in experiment.steps}
    for step in experiment.steps.values():
        for parent, word in drawn_parents(step).items():
            below[parent].append((word, step))
    lines: list[str] = []
    shown: set[str] = set()

    def branch(name: str, indent: str) -> None:
        for place, (word, step) in enumerate(below[name], 1):
            end = place == len(below[name])
            again = " (see above)" if step.name in shown and below[step.name] else ""
            lines.append(f"{indent}{'└─' if end else '├─'} {word} {step.name}{repeated(step)}{again}")
            if step.name not in shown:
                shown.add(step.name)
                branch(step.name, indent + ("   " if end else "│  "))

    for step in experiment.steps.values():
        if step.name not in shown and not drawn_parents(step):
            shown.add(step.peer)  # both are one line
            lines.append(f"  {step.name}{repeated(step)}")
            shown.add(step.name)
            branch(step.name, "  ")
    return lines


def drawn_parents(step: Step) -> dict[str, str]:
    """``Step.parents``, but for a teacher that the step's mix does not read: nothing is learned from it."""
    return (step if step.mix.needs_teacher else replace(step, teachers=())).parents


def repeated(step: Step) -> str:
    """Of a step with rounds, how they follow each other; of one with seeds of its own, how many there are."""
    words = {(True, False): "teaches", (False, True): "starts", (True, True): "teaches and starts"}
    follows = words.get((PREVIOUS in step.teachers, step.start == PREVIOUS))
    rounds = f" × {step.rounds}, each {follows} the next" if step.rounds > 1 and follows else ""
    return (f" ⇄ {step.peer}" if step.peer else rounds) + (
        f" (seeds {', '.join(map(str, step.seeds))})" if step.seeds else ""
    )


def features_line(settings: Settings, shape: tuple[int, ...]) -> list[str]:
    """Which features and views of a clip the networks take, where these are not all five, clean and noisy; of images none."""
    spec = settings.features
    if shape == IMAGE or (spec.use == ALL and not spec.views):
        return []
    views = f"; {len(spec.view_names)} views of every clip: clean, noisy, {spec.views} changed" if spec.views else ""
    return [f"features: {', '.join(spec.names)}, {spec.bins} rows × {spec.frames} frames{views}"]


def task_of(
    corpus: Corpus | None, dataset: str, folds: Sequence[int] | None
) -> tuple[tuple[int, ...], str, Sequence[str]]:
    """The folds to hold out, in brackets whose they are where nobody asked for some, and the classes."""
    if dataset == IMAGES:
        return (0,), "", numbered(IMAGE_CLASSES)
    if corpus is not None:
        return wanted_folds(corpus, folds), "" if folds else f" (those in {corpus.root})", corpus.classes
    published = PUBLISHED.get(dataset)
    there = tuple(published.folds) if published else tuple(range(1, FOLDS + 1))
    classes = tuple(published.classes) if published else numbered(CLASSES)
    if folds and (published or dataset in ("auto", "synthetic")):  # of one's own, the folds are not known yet
        require_folds(folds, there, f"the data set {dataset}")
    return (tuple(folds), "", classes) if folds else (there, " (the data set's)", classes)


def numbered(classes: int) -> tuple[str, ...]:
    """Names in place of those that nobody has at hand."""
    return tuple(map(str, range(classes)))


def lessons(step: Step) -> str:
    """What a step learns from."""
    starts = "" if step.start is None else f"; starts with the weights of {in_rounds(step, step.start)}"
    based = f"; what {step.base} misses" if step.base else ""
    if step.peer:
        return f"from {step.peer}, which learns from it in the same steps; labels and batches are the same, first weights are not"
    if not step.teachers and step.files and step.mix.needs_teacher:
        return f"from {listed(step)}{starts}"
    if not step.teachers:
        return ("from the labels alone" if not step.mix.needs_teacher else "from nobody") + starts
    names = " and ".join([*(in_rounds(step, name) for name in step.teachers), *([listed(step)] if step.files else [])])
    if not step.mix.needs_teacher:
        return f"from no teacher: its mix reads none ({names} is named){starts}"
    apart = ", cross-fitted: of each clip by one that was trained without its fold" if step.cross_fitted else ""
    together = ", which teach together" if len(step.teachers) + bool(step.files) > 1 else ""
    epoch = dict(step.settings).get("teacher_epoch", "last")
    return f"from {names}{apart}{together}" + ("" if epoch == "last" else f" as of epoch {epoch}") + based + starts


def listed(step: Step) -> str:
    """The files that teach a step, each fold by those whose teacher has not seen it."""
    return ", ".join(map(str, step.files[:3])) + (f" and {len(step.files) - 3} more" if len(step.files) > 3 else "")


def in_rounds(step: Step, name: str) -> str:
    """The name of a step, or what ``PREVIOUS`` is in its rounds."""
    return f"its round before (the first: {step.before})" if name == PREVIOUS else name
