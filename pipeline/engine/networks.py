"""Whether the networks of runs that are to be trained, and those of their teachers, have what terms, adapters and dropout need: before
anything is trained. torch comes inside the functions, so that a finished stage answers at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import models, runs
from pipeline.engine import reusing, subsets
from pipeline.engine.source import Source
from pipeline.images.cifar import SHAPE as IMAGE
from pipeline.listed import modules
from pipeline.runs.planned import PlannedRun
from pipeline.teacher_files import is_teacher_file
from pipeline.teacher_files.reading import read as read_file

if TYPE_CHECKING:
    from pipeline.losses import LossMix
    from pipeline.losses.adapting import Shapes


def check(missing: Sequence[PlannedRun], planned: Mapping[Path, PlannedRun], source: Source) -> None:
    """``check_outputs``, ``check_teachers``, ``reusing.check`` and ``check_adapters``."""
    check_outputs(missing, source)
    check_teachers(missing, planned, source)
    reusing.check(missing, planned, source)
    check_adapters(missing, planned, source)


def check_outputs(planned: Sequence[PlannedRun], source: Source) -> None:
    """``InputError`` where a term of runs that are to be trained reads an output which their network does not have, where it has no
    place for the dropout that the settings ask for, and none of the modules that they freeze."""
    mixes: dict[tuple[str, float, str], list[LossMix]] = {}
    for run in planned:
        others = not {"embedding", "hidden", "logits"}.issuperset(run.mix.reads or ())  # every network has these
        if others or run.network.dropout or run.network.freeze or models.reuses(run.network.model):
            mixes.setdefault((run.network.model, run.network.dropout, run.network.freeze), []).append(run.mix)
    if not mixes:
        return
    from pipeline.models.freezing import require_modules
    from pipeline.training.fit import require_outputs

    spec = source.spec(planned[0].settings)
    for (model, dropout, freeze), terms in mixes.items():
        network = models.network(model, spec.shape if spec else IMAGE, len(source.classes), dropout=dropout)
        require_outputs(terms, network)
        require_modules(modules(freeze), network.body, model)


def check_teachers(missing: Sequence[PlannedRun], planned: Mapping[Path, PlannedRun], source: Source) -> None:
    """``InputError`` where a term of runs that are to be trained reads what several teachers at once do not have, and where a
    teacher's network has no place for the dropout that the settings ask for. ``planned``: by folder, teachers among them."""
    together = [run for run in missing if len(run.teachers) > 1]
    dropping = [run for run in missing if run.network.teacher_dropout and run.network.teacher_dropout_at == "stages"]
    if not (together or dropping):
        return
    from pipeline.losses.needs import needs_of
    from pipeline.training.dropout import require_places

    for run in together:
        needs_of([run.mix]).of_teacher(len(run.teachers), ", ".join(map(str, run.teachers)))
    folders = dict.fromkeys(teacher for run in dropping for teacher in run.teachers)
    taught_by = {planned[folder].network.model for folder in folders if folder in planned}
    taught_by |= {runs.read(folder).model for folder in folders if folder not in planned and runs.finished(folder)}
    spec = source.spec(missing[0].settings)
    for model in sorted(taught_by):
        require_places(models.network(model, spec.shape if spec else IMAGE, len(source.classes)))


def check_adapters(missing: Sequence[PlannedRun], planned: Mapping[Path, PlannedRun], source: Source) -> None:
    """``InputError`` where an adapter would have more weights than its student. Of several teachers at once, whose outputs are put
    together, whoever trains looks."""
    alike = {
        (
            run.network.model,
            run.network.classes,
            run.network.dropout,
            str(run.mix),
            run.settings.features,
            run.teachers,
        ): run
        for run in missing
        if run.mix.adapted and len(run.teachers) == 1 and not (run.base or models.reuses(run.network.model))
    }
    if not alike:
        return
    from pipeline import losses

    for run in alike.values():
        spec, count = source.spec(run.settings), subsets.count(run.network, source.classes)
        student = models.network(run.network.model, spec.shape if spec else IMAGE, count, dropout=run.network.dropout)
        if teacher := shapes_of(run.teachers[0], planned, source):
            losses.adapters([run.mix], [(run.seed, run.fold)], [student], teacher)


def shapes_of(teacher: Path, planned: Mapping[Path, PlannedRun], source: Source) -> Shapes:
    """The shapes of what a teacher says of a clip; {} where it is not there."""
    from pipeline.losses.adapting import shapes

    if is_teacher_file(teacher):
        return read_file(teacher).shapes
    if teacher in planned:
        run = planned[teacher]
        spec, count = source.spec(run.settings), subsets.count(run.network, source.classes)
        return shapes(models.network(run.network.model, spec.shape if spec else IMAGE, count))
    if not runs.finished(teacher):
        return {}
    record = runs.read(teacher)
    return shapes(models.network(record.model, record.shape, len(record.classes or source.classes)))
