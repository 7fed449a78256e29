"""An experiment with changes of its steps from the command line, and without steps that the data at hand cannot run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline import class_subsets, config, samplers
from pipeline.config import InputError, Settings, TrainSettings
from pipeline.experiments import adapters
from pipeline.experiments.planning import network_of
from pipeline.experiments.reading import SETTINGS, mix_of, setting_of
from pipeline.experiments.steps import Experiment, Step, require_known, require_parents
from pipeline.losses.library import suggestion

#: Begins ``--set step.STEP.KEY=VALUE``, beside the preset's tables.
OF_STEP = "step."


def split(overrides: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Overrides of the preset's tables, and those of steps."""
    of_steps = tuple(one for one in overrides if one.strip().startswith(OF_STEP))
    return tuple(one for one in overrides if one not in of_steps), of_steps


def changed(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """The experiment with ``step.STEP.KEY=VALUE`` for each of ``overrides``: a step's mix, or a training setting of its own.

    STEP is a step's name, or what its file calls several, the steps of one ``each``, but for what these differ in. What is changed is looked at together, since some
    settings go with others (``sampler``, ``batch``). Raises ``InputError``, one line.
    """
    steps, places = dict(experiment.steps), dict[str, list[str]]()
    for override in overrides:
        where = f"--set {override}"
        target, equals, text = override.partition("=")
        name, dot, key = target.strip().removeprefix(OF_STEP).rpartition(".")
        if not (equals and dot and name and key):
            raise InputError(f"{where}: expected step.STEP.KEY=VALUE, for example step.student.batch=16")
        require_known([key], ("mix", *SETTINGS), where)
        alike = [step for step in steps.values() if name in (step.name, called(step))]
        if not alike:
            names = list(dict.fromkeys(called(step) for step in steps.values()))
            raise InputError(f"{where}: no step {name!r}{suggestion(name, names)}; expected one of {', '.join(names)}")
        pair = {step.peer for step in alike} == {step.name for step in alike}
        own = {dict(experiment.steps[step.name].settings).get(key) for step in alike}
        if len(alike) > 1 and not pair and (key == "mix" or len(own) > 1):
            raise InputError(
                f"{where}: {name} is {len(alike)} steps, and would be one {key if key == 'mix' else 'training'} twice; expected one of "
                f"{', '.join(step.name for step in alike)}"
            )
        steps |= {step.name: with_field(step, key, config.value_of(text), where) for step in alike}
        for step in alike:
            places.setdefault(step.name, []).append(where)
    for name, wheres in places.items():
        require_possible(steps[name], " ".join(wheres))
    for step in steps.values() if overrides else ():
        require_parents(step, steps, f"experiment {experiment.name}")
    asked = {(step, where.partition("=")[0].rpartition(".")[2].strip()) for step in places for where in places[step]}
    return replace(experiment, steps=steps, asked=frozenset(asked))


def called(step: Step) -> str:
    """As its file calls it: of an included one with the experiment before it."""
    inside, slash, _ = step.name.rpartition("/")
    return f"{inside}{slash}{step.label}"


def with_field(step: Step, key: str, value: object, where: str) -> Step:
    """The step with another mix or setting."""
    if key == "mix":
        return replace(step, mix=mix_of(value, where))
    settings = dict(step.settings) | {key: setting_of(key, value, where)}
    return replace(step, settings=tuple(sorted(settings.items())))


def require_possible(step: Step, where: str) -> None:
    """``InputError`` for settings of a step that no training can have; ``where``: what made them so."""
    settings = dict(step.settings)
    config.build(TrainSettings, settings if "epochs" in settings else settings | {"keep": ""}, where)


def fitted(experiment: Experiment, settings: Settings, classes: Sequence[str] | int) -> Experiment:
    """The experiment with batches that data of these (or of so many) classes can fill: where a step's file states a batch of whole
    classes, ``classes:m``, and there are fewer, the batch is m clips of each. Its ``notes`` say so."""
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else classes
    steps, changes = dict(experiment.steps), dict[tuple[int, int, int, int], list[str]]()
    for step in experiment.steps.values():
        own = dict(step.settings)
        if not {"batch", "sampler"} <= own.keys() or (step.name, "batch") in experiment.asked:
            continue
        each, batch = samplers.clips_of_class(str(own["sampler"])), int(own["batch"])
        try:
            count = len(class_subsets.names(network_of(step, settings).classes, names, seed=0))
        except InputError:
            continue  # said where it is trained
        if each and batch // each > count:
            steps[step.name] = with_field(step, "batch", each * count, f"step {step.name}")
            changes.setdefault((each * count, batch, each, count), []).append(called(step))
    notes = [
        f"batch = {less} in place of {batch} in {', '.join(dict.fromkeys(of))}: {each} clips of each class of a batch, and there are {count} "
        f"classes (--set step.{of[0]}.batch=… sets another)"
        for (less, batch, each, count), of in changes.items()
    ]
    return replace(experiment, steps=steps, notes=(*experiment.notes, *notes))


def runnable(
    experiment: Experiment, settings: Settings, classes: Sequence[str] | int, shape: tuple[int, ...] | None = None
) -> Experiment:
    """The experiment without the rows that these networks, or data of these (or of so many) classes, cannot give: they are among its
    ``untrained`` then. ``shape``: of a clip; without it the networks are not looked at.

    Where no row is left, what is wrong is left to whoever trains: it is said there.
    """
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else classes
    unfit: dict[str, str] = {}
    for step in experiment.steps.values():
        network = network_of(step, settings)
        try:
            count = len(class_subsets.names(network.classes, names, seed=0))
            step.mix.require_classes(count)
            samplers.check_classes(network.sampler, network.batch, count, f"step {step.name}")
            if shape is not None:
                adapters.require_small(step, experiment, settings, names, shape)
        except InputError as error:
            unfit[step.name] = str(error)
    if not unfit:
        return experiment
    rows, measured = experiment.last, [experiment.steps[name] for name in experiment.weighed]
    reasons = {step.name: reason for step in (*rows, *measured) if (reason := why(step, experiment, unfit))}
    if all(step.name in reasons for step in rows):
        return experiment
    kept = ancestors([step for step in (*rows, *measured) if step.name not in reasons], experiment)
    left_out = {f"{experiment.name}/{step.name}": reasons[step.name] for step in rows if step.name in reasons}
    steps = {name: step for name, step in experiment.steps.items() if name in kept}
    untrained = {**experiment.untrained, **left_out}
    return replace(experiment, steps=steps, untrained=untrained, weighed=experiment.weighed & kept)


def why(step: Step, experiment: Experiment, unfit: dict[str, str]) -> str:
    """Why a step cannot be trained: by itself, or for one that goes before it; "" where it can."""
    names = sorted(ancestors([step], experiment) & unfit.keys(), key=lambda name: name != step.name)
    return "" if not names else unfit[names[0]] if names[0] == step.name else f"{names[0]}: {unfit[names[0]]}"


def ancestors(steps: Sequence[Step], experiment: Experiment) -> set[str]:
    """The names of steps, of all that go before them, and of those that learn with one of these."""
    names: set[str] = set()
    waiting = list(steps)
    while waiting:
        step = waiting.pop()
        if step.name not in names:
            names.add(step.name)
            waiting += [experiment.steps[other] for other in (*step.parents, step.peer) if other]
    return names
