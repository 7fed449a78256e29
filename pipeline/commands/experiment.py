"""Any experiment: steps of a TOML file, trained and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipeline import config, places, working_folder
from pipeline.commands.chosen import chosen_archive, corpus_at_hand, logged, opened_corpus, refuse_archive_options
from pipeline.commands.defaults import is_given
from pipeline.commands.options import (
    IMAGES,
    OF_IMAGES,
    archive_options,
    data_option,
    dataset_option,
    folds_option,
    json_option,
    pack_options,
    set_option,
    trust_option,
)
from pipeline.commands.showing import as_text, require_explain
from pipeline.commands.types import DataSet
from pipeline.config import InputError, Settings

if TYPE_CHECKING:
    from pipeline.corpus import Corpus
    from pipeline.engine.source import Source
    from pipeline.experiments.steps import Experiment

SECTION = "The stages"
ORDER = 29
EXAMPLES = (
    "experiment",
    "experiment table3 --explain",
    "experiment mine.toml --folds 1,2 --seeds 0-2",
    "experiment metric-learning --only generation --only '*+16-*' --explain",
)


@click.command()
@click.argument("name", metavar="[NAME|FILE.toml]", required=False)
@dataset_option(IMAGES)
@data_option
@click.option(
    "--preset",
    help="default, paper, demo, device, small, tiny, strong, or a TOML file; default: the experiment's own, else default.",
)
@set_option("student.lr=0.002, of a step step.student.batch=16")
@folds_option
@click.option(
    "--only",
    multiple=True,
    metavar="ROW",
    help="Of the rows that --explain names these alone; * stands for any letters; may be repeated.",
)
@click.option("--explain", is_flag=True, help="Print the steps, what each learns from and costs; train nothing.")
@json_option
@trust_option
@pack_options
@archive_options
def experiment(
    name: str | None,
    dataset: str,
    data: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    folds: tuple[int, ...] | None,
    only: tuple[str, ...],
    explain: bool,
    as_json: bool,
    trust: bool,
    seeds: tuple[int, ...],
    log: str | None,
    **how: Any,
) -> None:
    """An experiment by its name, or the TOML file of one: trains whatever is missing of its steps, and prints its row.

    Without a name: which experiments there are. Found by name are those of the project and of the folder experiments/.
    """
    from pipeline.experiments import changing, explanation, files, planning, reading  # torch: --help does without

    if name is None:
        return list_them(files.titles(), as_json)
    require_explain(explain, as_json)
    wanted = reading.read(name)
    of_tables, of_steps = changing.split(overrides)
    settings = config.read(preset or wanted.preset or working_folder.preset(), of_tables)
    wanted = asked(wanted, of_steps, only)
    if wanted.dataset and (dataset == "auto" or not is_given("dataset")):
        if dataset not in ("auto", wanted.dataset) and not is_given("data"):
            data = None  # of the data set that the working folder names
        dataset = require_dataset(wanted.dataset, name)
    planning.check(wanted, settings)
    of_images = {option: how.pop(option) for option in OF_IMAGES}
    require_fitting(dataset, data, folds, of_images)
    if explain:
        there = None if dataset == IMAGES else corpus_at_hand(dataset, data)
        classes = explanation.task_of(there, dataset, folds)[2]
        wanted = fitting(wanted, explanation.of_clips(settings, there, dataset), classes, there, dataset == IMAGES)
        text = explanation.explained(
            wanted, settings, there, folds=folds, seeds=seeds, dataset=dataset, root=places.runs()
        )
        plan = {"experiment": wanted.name, "title": wanted.title, "steps": [*wanted.steps], "lines": text.splitlines()}
        click.echo(as_text(plan) if as_json else text)
        return
    settings, source, held_out = trained_on(settings, dataset, data, folds, of_images)
    wanted = fitting(wanted, settings, source.classes, source, dataset == IMAGES)
    train_and_print(wanted, settings, source, {"folds": held_out, "seeds": seeds, "trust": trust}, log, how)


def asked(wanted: Experiment, of_steps: Sequence[str], only: Sequence[str]) -> Experiment:
    """With changes of steps, and of its rows those ``only``."""
    from pipeline.experiments import changing, choosing

    return choosing.only(changing.changed(wanted, of_steps), only)


def fitting(
    wanted: Experiment, settings: Settings, classes: Sequence[str], data: Corpus | Source | None, of_images: bool
) -> Experiment:
    """The rows that these networks, and data of these ``classes``, can give, in batches that they fill. ``data``: None where it is not at hand.

    ``InputError`` for a step that does not take clips with several labels, as these have.
    """
    from pipeline.experiments import changing, several
    from pipeline.images.cifar import SHAPE as IMAGE

    if data is not None and data.label_sets:
        several.require_steps(wanted, settings, data.name)
    shape = IMAGE if of_images else settings.features.shape
    return changing.runnable(changing.fitted(wanted, settings, classes), settings, classes, shape)


def train_and_print(
    wanted: Experiment, settings: Settings, source: Source, asked: dict[str, Any], log: str | None, how: dict[str, Any]
) -> None:
    """Train what is missing, and print the rows. ``asked``: folds, seeds and ``trust`` as ``plan`` takes them; ``how``: as ``train``."""
    from pipeline.engine.missing import RunsFailed, say, train
    from pipeline.experiments import balancing, cross_fitting, planning
    from pipeline.report import experiments as tables
    from pipeline.runs.experiments import NOTE, note_rows, place

    say_left_out(wanted.untrained)  # before anything trains: weights are measured behind teachers
    known = wanted.untrained
    wanted = balancing.balanced(wanted, settings, source, places.runs(), trust=asked["trust"], **how)
    levels, rows = planning.plan(wanted, settings, source.name, all_folds=source.folds, **asked)
    cross_fitting.say_price_of(levels, source.name)
    for line in wanted.notes:
        say(f"note: {line}")
    say_left_out({row: why for row, why in wanted.untrained.items() if row not in known})
    note = partial(note_rows, places.runs(), source.name, wanted.name, rows, wanted.untrained, part=wanted.part)
    failed: RunsFailed | None = None
    with logged(log, source.name):
        try:
            train(levels, source, **how)
        except RunsFailed as error:
            failed = error
        except BaseException as error:
            # What is finished has rows too. Where it is refused, a note that is there stays as it is.
            home = place(places.runs(), source.name, wanted.name)
            to_write = isinstance(error, KeyboardInterrupt) or not (home / NOTE).is_file()
            if to_write and any(home.rglob("result.json")):
                note()
            raise
    note()
    click.echo(tables.report(places.runs(), places.reports(), source.name, wanted.name))
    if failed:
        raise failed


def say_left_out(rows: Mapping[str, str]) -> None:
    """``rows``: of an experiment, and why each is not trained."""
    from pipeline.engine.missing import say

    for row, reason in rows.items():
        say(f"not trained: {row}: {reason}")


def list_them(titles: Mapping[str, str], as_json: bool) -> None:
    """Which experiments there are; ``InputError`` for options beside none."""
    require_no_options(click.get_current_context())
    if as_json:
        named = [{"name": name, "title": title} for name, title in titles.items()]
        return click.echo(as_text({"experiments": named}))
    width = max(map(len, titles))
    return click.echo("\n".join(f"{known:{width}} {title}".rstrip() for known, title in titles.items()))


def trained_on(
    settings: Settings, dataset: str, data: Path | None, folds: Sequence[int] | None, of_images: Mapping[str, Any]
) -> tuple[Settings, Source, tuple[int, ...]]:
    """The settings for the data set asked for, its features or images, and the folds that are held out one by one."""
    from pipeline.engine import source  # torch: --help does without

    if dataset == IMAGES:
        archive = chosen_archive(**{**of_images, "archive": of_images["archive"] or data})
        return settings, source.of_archive(archive), (0,)
    corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(settings, corpus.seconds)
    held_out = source.wanted_folds(corpus, folds)  # before features are asked for
    return settings, source.of_corpus(corpus, settings), held_out


def require_fitting(dataset: str, data: Path | None, folds: Sequence[int] | None, of_images: Mapping[str, Any]) -> None:
    """``UsageError`` or ``InputError`` for options that are of images where there are sounds, or the other way round."""
    if dataset != IMAGES:
        refuse_archive_options()
    elif folds:
        raise InputError("CIFAR-100 has one fold; expected no --folds")
    elif of_images["archive"] and data:
        raise click.UsageError("--archive and --data both name the archive; expected one of them")


def require_dataset(dataset: str, name: str) -> str:
    """The data set that an experiment's file names."""
    if dataset not in (known := DataSet(IMAGES).choices):
        raise InputError(f"experiment {name}: dataset = {dataset!r}: expected one of {', '.join(known)}")
    return dataset


def require_no_options(context: click.Context) -> None:
    """``InputError`` for options beside no experiment: they would be dropped without a word."""
    given = [
        key
        for key in context.params
        if key != "as_json" and context.get_parameter_source(key) is ParameterSource.COMMANDLINE
    ]
    if given:
        options = [parameter.opts[0] for parameter in context.command.params if parameter.name in given]
        raise InputError(
            f"{' '.join(options)} without an experiment; expected its name or file, for example experiment student"
        )
