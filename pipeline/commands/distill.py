"""Stage three: students under any mix of losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pipeline import config, places
from pipeline.commands.chosen import corpus_at_hand, logged, opened_corpus, with_teacher
from pipeline.commands.options import json_option, teacher_epoch_option, training_options, trust_option
from pipeline.commands.showing import as_text, require_explain
from pipeline.commands.types import PATH, Numbers, Whole
from pipeline.config import InputError
from pipeline.corpus import Corpus
from pipeline.corpus.clips import require_folds

if TYPE_CHECKING:
    from pipeline.losses import LossMix
    from pipeline.losses.explanation import Pair

SECTION = "The stages"
ORDER = 25
EXAMPLES = (
    "distill --losses soft --losses angle,area",
    "distill --losses angle:40,area:20,hinton@T=1.5 --seeds 0-4",
    "distill --losses hint:100..0@until=10,hinton@T=10..1",
    "distill --losses angle,area --explain",
    "distill --losses hinton --teacher teacher.npz",
)


@click.command()
@training_options
@teacher_epoch_option
@click.option(
    "--losses",
    multiple=True,
    default=("angle,area",),
    help="A mix such as angle,area or angle:40,area:20,hinton@T=1.5; may be repeated. A weight or a number may change "
    "over the epochs (hinton:4..1@T=10..1); of any term @from=5 and @until=30 say in which epochs it counts, @warm=20 lets its "
    "weight grow, @rows=labelled or unlabelled of which clips. All terms: docs/terms.md.",
)
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=PATH,
    help="A teacher file of any program in place of the fold's own teacher: FILE.npz or FILE.h5 (docs/teachers.md), a pattern, or a "
    "folder of them; each fold's students learn from those that have not seen it, several are an ensemble.",
)
@trust_option
@click.option(
    "--teacher-seeds",
    type=Numbers(),
    help="The fold's teachers of several seeds, for example 0-2, teach together (make teacher SEEDS=…).",
)
@click.option(
    "--teacher-set",
    "teacher_overrides",
    multiple=True,
    metavar="features.KEY=VALUE",
    help="What the fold's teachers hear in place of the student's features, for example features.use=melspectrogram (make teacher "
    "SET=… of the same); may be repeated.",
)
@click.option(
    "--cross-fitted",
    is_flag=True,
    help="What is said of a clip comes from a teacher that was not trained on its fold either: one teacher more per pair of folds, "
    "trained first; for terms on logits, above all those that correct the teacher (wrong=…).",
)
@click.option(
    "--teacher-onnx",
    type=PATH,
    help="An ONNX audio classifier as teacher: run over the corpus once, on samples, its answers kept as a teacher file.",
)
@click.option(
    "--teacher-rate",
    type=Whole(1000, 768_000, "no recorder takes more samples per second"),
    help="Of --teacher-onnx: samples per second that it takes; default: its metadata's sample_rate.",
)
@click.option(
    "--teacher-labels", type=PATH, help="Of --teacher-onnx: its classes, a line each; default: its metadata's classes."
)
@click.option(
    "--teacher-trained-on",
    metavar="FOLDS|none",
    help="Of --teacher-onnx: the folds of this corpus that it was trained on; default: its metadata's trained_on.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Print each term's formula, weight, layer and source, of the preset's networks; train nothing.",
)
@json_option
def distill(
    dataset: str,
    data: Path | None,
    preset: str,
    overrides: tuple[str, ...],
    losses: tuple[str, ...],
    explain: bool,
    as_json: bool,
    teacher_epoch: str | None,
    log: str | None,
    teachers: tuple[Path, ...],
    teacher_seeds: tuple[int, ...] | None,
    teacher_overrides: tuple[str, ...],
    teacher_onnx: Path | None,
    teacher_rate: int | None,
    teacher_labels: Path | None,
    teacher_trained_on: str | None,
    **how: Any,
) -> None:
    """Stage three: students under any mix of losses, each with the teacher of its own held-out fold, or with any other."""
    require_explain(explain, as_json)
    model = OfModel(teacher_onnx, teacher_rate, teacher_labels, teacher_trained_on)
    require_one_kind(teachers, teacher_seeds, teacher_overrides, model, teacher_epoch, how["cross_fitted"])
    from pipeline.losses import LossMix  # torch: --help does without

    mixes = [LossMix.parse(text) for text in losses]
    if explain:
        from pipeline.report import paper  # scipy: training does without

        settings = config.read(preset, with_teacher(overrides, teacher_epoch))
        pair = pair_of(dataset, data, settings, how["folds"] or (), mixes)
        texts = [mix.explain(paper.percent(paper.TABLE3, str(mix)), pair) for mix in mixes]
        show_mixes(mixes, texts, as_json)
        return
    from pipeline.experiments import stages  # h5py: --explain does without

    corpus = opened_corpus(dataset, data)
    require_folds(how["folds"] or (), corpus.folds, corpus.root)  # before a teacher's outputs are computed
    settings = config.for_corpus(config.read(preset, with_teacher(overrides, teacher_epoch)), corpus.seconds)
    heard = teacher_features(preset, overrides, teacher_overrides)
    files = given_files(teachers, model, corpus, settings, how["trust"], how["folds"] or ())
    taught: dict[str, Any] = {"files": files, "teacher_seeds": teacher_seeds or (), "teacher_features": heard}
    with logged(log, corpus.name):
        stages.train_students(corpus, settings, mixes, **taught, **how)


def teacher_features(preset: str, overrides: tuple[str, ...], own: tuple[str, ...]) -> dict[str, Any]:
    """The features of ``own`` settings, ``features.KEY=VALUE``, that are not the student's. ``InputError`` for other settings."""
    for override in own:
        if not override.strip().startswith("features.") or "=" not in override:
            raise InputError(
                f"--teacher-set {override}: expected features.KEY=VALUE; the teacher's own settings are the preset's: --set "
                "teacher.KEY=VALUE"
            )
    student = config.read(preset, overrides).features
    try:
        teacher = config.read(preset, (*overrides, *own)).features
    except InputError as error:
        text = str(error)
        for override in own:
            text = text.replace(f"--set {override}", f"--teacher-set {override}")
        raise InputError(text) from None
    names = [field.name for field in dataclasses.fields(teacher)]
    return {name: getattr(teacher, name) for name in names if getattr(teacher, name) != getattr(student, name)}


def show_mixes(mixes: Sequence[LossMix], texts: Sequence[str], as_json: bool) -> None:
    """``--explain``: what was written of each mix."""
    if not as_json:
        return click.echo("\n\n".join(texts))
    told = [
        {
            "mix": str(mix),
            "path_name": mix.slug,
            "terms": [
                {"name": term.name, "key": term.key, "weight": str(term).split("@")[0].partition(":")[2]}
                for term in mix.terms
            ],
            "lines": text.splitlines(),
        }
        for mix, text in zip(mixes, texts, strict=True)
    ]
    return click.echo(as_text({"mixes": told}))


def pair_of(
    dataset: str, data: Path | None, settings: config.Settings, folds: Sequence[int], mixes: Sequence[LossMix]
) -> Pair:
    """The networks of ``settings`` on the features of a corpus, as far as it is at hand, else of a published one of its name.

    ``InputError`` for ``folds`` that it does not have, and ``mixes`` that cannot be learned from its clips.
    """
    from pipeline.corpus.published import PUBLISHED
    from pipeline.losses.explanation import Pair
    from pipeline.losses.several import require_several

    corpus = corpus_at_hand(dataset, data) if data or dataset not in ("folder", "csv") else None
    for mix in mixes:
        if corpus:
            mix.require_classes(len(corpus.classes))
        if corpus and corpus.label_sets:
            require_several(mix, settings.student, "student", corpus.name)
    published = PUBLISHED.get(dataset)
    if there := corpus.folds if corpus else published.folds if published else ():
        require_folds(folds, there, corpus.root if corpus else f"the data set {dataset}")
    if seconds := corpus.seconds if corpus else published.seconds if published else None:
        settings = config.for_corpus(settings, seconds)
    classes = len(corpus.classes if corpus else published.classes if published else ()) or Pair.classes
    several = bool(corpus and corpus.label_sets)
    return Pair(settings.student.model, settings.teacher.model, settings.features.shape, classes, several)


class OfModel(NamedTuple):
    """What is said of an ONNX model."""

    path: Path | None
    rate: int | None
    labels: Path | None
    trained_on: str | None


def require_one_kind(
    teachers: tuple[Path, ...],
    seeds: tuple[int, ...] | None,
    heard: tuple[str, ...],
    model: OfModel,
    epoch: str | None,
    crossed: bool,
) -> None:
    """``UsageError`` for options of which one would be dropped without a word."""
    if (seeds or heard) and (teachers or model.path):
        raise click.UsageError(
            f"--teacher-{'seeds' if seeds else 'set'}: of the fold's own teachers; expected it without --teacher and --teacher-onnx"
        )
    if crossed and (teachers or model.path or seeds or heard):
        raise click.UsageError("--cross-fitted trains teachers of its own; expected it without another teacher")
    if not model.path and any(value is not None for value in model[1:]):
        raise click.UsageError(
            "--teacher-rate, --teacher-labels and --teacher-trained-on are of --teacher-onnx; expected that too"
        )
    if (teachers or model.path) and epoch:
        raise click.UsageError(
            f"--teacher-epoch {epoch} is of a run, and a teacher file has no epochs; expected one of them"
        )


def given_files(
    teachers: tuple[Path, ...],
    model: OfModel,
    corpus: Corpus,
    settings: config.Settings,
    trust: bool,
    folds: Sequence[int],
) -> tuple[Path, ...]:
    """The teacher files that are named, and that of an ONNX model, which is made where it is not there yet.

    ``folds``: those to hold out; none: all that are there.
    """
    from pipeline.experiments import file_teachers  # h5py

    files = file_teachers.files_alone(teachers)
    if model.path is None:
        return files
    from pipeline.deploy import onnx_asked, onnx_teacher
    from pipeline.engine.missing import say
    from pipeline.engine.source import of_corpus, wanted_folds

    clips = of_corpus(corpus, settings).clips
    alone = () if files else tuple(wanted_folds(corpus, folds))
    asked = onnx_asked.Asked(model.path, model.rate, model.labels, folds_of(model.trained_on), trust, alone)
    return (*files, onnx_teacher.teacher_file(asked, corpus, clips, settings.features, places.cache(), say))


def folds_of(trained_on: str | None) -> tuple[int, ...] | None:
    """None where nobody says; () of none."""
    if trained_on is None:
        return None
    folds: tuple[int, ...] = () if trained_on.strip() == "none" else Numbers().convert(trained_on, None, None)
    if not folds and trained_on.strip() != "none":
        raise click.UsageError("--teacher-trained-on without a fold; expected folds such as 2,3, or none")
    return folds
