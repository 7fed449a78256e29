"""Runs whose terms need the output layer of their teacher: whether it has one that serves, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import models, runs
from pipeline.config import FeatureSpec, InputError
from pipeline.engine import subsets
from pipeline.engine.source import Source
from pipeline.images.cifar import SHAPE as IMAGE
from pipeline.losses.reused import asks_head, partner
from pipeline.runs.planned import PlannedRun
from pipeline.teacher_files import is_teacher_file


def check(missing: Sequence[PlannedRun], planned: Mapping[Path, PlannedRun], source: Source) -> None:
    """``InputError`` for a teacher that is a file or several runs, that has no single linear output layer, or whose layer reads something
    else than what its student learns. ``planned``: by folder, teachers among them."""
    asked: dict[tuple[str, str, int], str] = {}
    for run in missing:
        terms = [term.key for term in run.mix.terms if asks_head(term.name)]
        if not terms:
            continue
        for teacher in run.teachers:
            if is_teacher_file(teacher) or len(run.teachers) > 1:
                what = f"{teacher} is a file" if is_teacher_file(teacher) else f"there are {len(run.teachers)} of them"
                raise InputError(
                    f"{terms[0]} asks for the teacher's output layer, and {what}; expected one teacher that is a run, such as one of "
                    "resnet18, or other terms"
                )
            model, features = network_of(teacher, planned)
            if model and features == run.settings.features:
                classes = subsets.count(run.network, source.classes)
                asked.setdefault((run.network.model, model, classes), f"{terms[0]}: {teacher}")
    if not asked:
        return
    spec = source.spec(missing[0].settings)
    for (student, teacher_model, classes), where in asked.items():
        require_layer(student, teacher_model, spec.shape if spec else IMAGE, classes, where)


def network_of(teacher: Path, planned: Mapping[Path, PlannedRun]) -> tuple[str, FeatureSpec | None]:
    """Which network a teacher is, and the features that it reads; "" of one that is neither planned nor finished."""
    if teacher in planned:
        return planned[teacher].network.model, planned[teacher].settings.features
    if not runs.finished(teacher):
        return "", None
    record = runs.read(teacher)
    return record.model, record.settings.features


def require_layer(student: str, teacher: str, shape: Sequence[int], classes: int, where: str) -> None:
    """``InputError`` where a ``teacher`` network has no output layer that its ``student`` network could learn for."""
    # torch comes here and not at the top, so that a finished stage answers at once.
    from pipeline.losses.adapting import shapes
    from pipeline.training.dropout import output_layer

    network = models.network(teacher, shape, classes)
    theirs, layer = shapes(network), output_layer([network.eval()])
    if layer is None or layer[0].shape[-1] != theirs["embedding"][0]:
        what = (
            "no single linear output layer" if layer is None else "an output layer that reads less than its embedding"
        )
        raise InputError(
            f"{where} is a {teacher}, which has {what}; expected a teacher such as resnet18, or other terms"
        )
    if models.reuses(student):
        partner(shapes(models.network(student, shape, classes)), theirs, f"{where.partition(': ')[2]}, a {teacher}")
