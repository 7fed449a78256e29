"""Which terms learn from mixed inputs, and how: what a mix and the setting ``mixup`` must have in common. No torch here."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING

from pipeline.config import InputError, TrainSettings
from pipeline.losses.library import constant, load, names, teacher_reads
from pipeline.losses.signature import definition

if TYPE_CHECKING:
    from pipeline.losses.mix import LossMix, Term


def mixes_targets(term: Term) -> bool:
    """Whether a term's cost against two targets can be mixed: ``MIXES`` of its file."""
    return bool(constant(term.name, "MIXES", False))


def listens(term: Term) -> bool:
    """Whether a term reads what a teacher says."""
    return teacher_reads(term.name, dict(term.options)) != ()


def taught_live(mix: LossMix) -> bool:
    """Whether a teacher has to hear the mixed inputs themselves: a term learns more of it than targets that can be mixed."""
    return any(listens(term) and not mixes_targets(term) for term in mix.terms)


def live_anyway(how: TrainSettings) -> bool:
    """Whether teachers run in every step whatever the terms: inputs are augmented, or teachers drop values of their stages."""
    return how.taught_on_augmented or (how.teacher_dropout > 0 and how.teacher_dropout_at == "stages")


def require_heard(mix: LossMix, how: TrainSettings, dot: str = "") -> None:
    """``InputError`` where a term compares maps with those of a clip that is not augmented: other cells lie beside each other."""
    if how.augment == "none" or how.teacher_hears == "inputs":
        return
    for term in mix.terms:
        reads = teacher_reads(term.name, dict(term.options))
        if reads is None or any(name.startswith("map") for name in reads):
            raise InputError(
                f"{dot}teacher_hears = 'views': {term.key} of mix {mix} compares maps, and those of an input that {dot}augment = "
                f"{how.augment!r} changes lie elsewhere than the view's; expected 'inputs', or terms on outputs and embeddings"
            )


def needs_one_label(term: Term) -> bool:
    """Whether a term reads the label of each clip, and has no use for two: by its file, ``labels: Tensor | None`` where it may do
    without, or by an option that corrects teachers where they are wrong."""
    corrects = dict(term.options).get("wrong", "keep") != "keep"
    return corrects or (not mixes_targets(term) and not without_labels(term.name))


def without_labels(name: str) -> bool:
    """Whether a loss's function takes None for ``labels``, as its annotation says."""
    if function := definition(name):
        annotations = [one.annotation for one in function.args.args if one.arg == "labels"]
        return any("None" in ast.unparse(annotation) for annotation in annotations if annotation is not None)
    parameter = inspect.signature(load(name)).parameters.get("labels")
    return parameter is not None and "None" in str(parameter.annotation)


def require_mixable(mix: LossMix, how: TrainSettings, dot: str = "") -> None:
    """``InputError`` where a term of a mix cannot learn from mixed inputs. ``dot``: what stands before a setting's name."""
    if how.mixstyle and how.batch < 2:
        raise InputError(
            f"{dot}mixstyle = {how.mixstyle:g}: a batch of {how.batch} has nothing to mix; expected a batch of 2 at least, or 0"
        )
    if not how.mixup:
        return
    setting = f"{dot}mixup = {how.mixup:g}"
    if how.batch < 2:
        raise InputError(f"{setting}: a batch of {how.batch} has nothing to mix; expected a batch of 2 at least, or 0")
    for term in mix.terms:
        if needs_one_label(term):
            can = ", ".join(name for name in names() if constant(name, "MIXES", False))
            raise InputError(
                f"{setting}: {term.key} of mix {mix} needs one label of each clip, and a mixed input has two; expected 0, or terms such "
                f"as {can} without wrong, or relations"
            )
        weigh = dict(term.options).get("weigh", "off")
        if weigh != "off" and (taught_live(mix) or live_anyway(how)):
            raise InputError(
                f"{setting}: weigh={weigh} of {term.key} in mix {mix} asks how sure the teacher is of one label, and here the teacher hears "
                "mixtures of two clips; expected it without weigh, teachers that are stored (no augment, no other terms), or 0"
            )
        rows = dict(term.options).get("rows", "all")
        if rows != "all" and not mixes_targets(term):
            raise InputError(
                f"{setting}: {term.key} of mix {mix} chooses clips by their label, and a mixed input is of two clips; expected it "
                "without rows, or 0"
            )
