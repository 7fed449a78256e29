"""``features`` of a step: other ones than the preset's. Its students learn what is stored of a teacher by clip and view."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline import config
from pipeline.config import FeatureSpec, InputError, Settings, TrainSettings
from pipeline.experiments.steps import Step
from pipeline.losses.mixable import taught_live
from pipeline.runs.planned import PlannedRun

#: The clip length is the corpus', and no setting.
NOT_OWN = "seconds"

#: What makes the views of a clip: a teacher's answer to one is learned as that to the student's view of the same name.
OF_VIEWS = ("noise_std", "noise_seed", "views", "backgrounds", "rooms")


def table_of(given: Any, where: str, word: str = "features") -> tuple[tuple[str, Any], ...]:
    """The table ``features`` of a step (``word``: its name) as it is kept; its values are looked at beside the preset's (``settings_of``)."""
    known = [field.name for field in dataclasses.fields(FeatureSpec) if field.name != NOT_OWN]
    if not isinstance(given, dict):
        raise InputError(
            f"{where}: {word} = {given!r}: expected a table, for example {word} = {{use = 'melspectrogram', bins = 64}}"
        )
    if unknown := [key for key in given if key not in known]:
        raise InputError(f"{where}: {word}.{unknown[0]}: expected one of {', '.join(known)}")
    return tuple(sorted((key, ",".join(value) if is_names(value) else value) for key, value in given.items()))


def is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def settings_of(step: Step, settings: Settings) -> Settings:
    """``settings`` with the step's own features. ``InputError`` for values that they cannot have."""
    if not step.features:
        return settings
    values = dataclasses.asdict(settings.features) | dict(step.features)
    spec = config.build(FeatureSpec, values, f"experiment {step.experiment}: step {step.name} [features]")
    return dataclasses.replace(settings, features=spec)


def differ(settings: Settings, taught_by: Iterable[PlannedRun]) -> bool:
    """Whether one of the runs that teach has other features."""
    return any(run.settings.features != settings.features for run in taught_by)


def check(step: Step, steps: Mapping[str, Step], network: TrainSettings, settings: Settings) -> None:
    """``InputError`` where weights would be taken over from a step of other features, and where a teacher of others would run in every
    step, or mean another sound by a view. ``steps``: all of the experiment."""
    where = f"experiment {step.experiment}: step {step.name}"
    own = settings_of(step, settings).features
    names = [*(("teacher", name) for name in step.teachers), ("start", step.start), ("base", step.base)]
    before = [(word, steps[step.at_first(name)]) for word, name in names if name]
    unlike = [(word, other) for word, other in before if settings_of(other, settings).features != own]
    for word, other in unlike:
        if word != "teacher":
            raise InputError(
                f"{where}: {word} = {other.name!r} has other features; expected a step of the same ones: its weights read them"
            )
    if step.balance and (step.features or unlike):
        raise InputError(
            f"{where}: balance, and features of its own; expected a weight, or the preset's features for both"
        )
    for _, other in unlike:
        spec = settings_of(other, settings).features
        for key in OF_VIEWS:
            if (value := getattr(spec, key, None)) != (mine := getattr(own, key, None)):
                raise InputError(
                    f"{where}: features.{key} = {mine!r}, and {value!r} of its teacher {other.name}: a view would be another sound for "
                    "each; expected the same of both"
                )
    if unlike and (reason := live(step, network)):
        stored = not live(step, dataclasses.replace(network, teacher_hears="views"))
        raise InputError(
            f"{where}: {reason}, so its teacher runs in every step, and step {unlike[0][1].name} has other features, which are not there "
            f"then; expected a teacher of the same features{', or teacher_hears = ' + repr('views') if stored else ''}"
        )
    if unlike and network.teacher_dropout and network.teacher_dropout_at == "output":
        raise InputError(
            f"{where}: teacher_dropout = {network.teacher_dropout:g} before the output layer of step {unlike[0][1].name}, which has other "
            "features; expected 0, or a teacher of the same features"
        )


def live(step: Step, network: TrainSettings) -> str:
    """Why the teachers of a step run in every step of a training, or may have to; "" where what they say is stored."""
    if step.base:
        return f"base = {step.base!r}"
    if step.cross_fitted:
        return "cross_fitted = true"
    if network.taught_on_augmented:
        return f"augment = {network.augment!r}"
    if network.teacher_dropout and network.teacher_dropout_at == "stages":
        return f"teacher_dropout = {network.teacher_dropout:g}"
    if network.mixup and taught_live(step.mix):
        return f"mixup = {network.mixup:g}, and mix {step.mix} learns more than logits"
    reads = step.mix.teacher_reads
    if reads is None or any(name.startswith("map") for name in reads):
        return f"mix {step.mix} reads the teacher's maps"
    return ""
