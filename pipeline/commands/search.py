"""Settings chosen on inner folds: trials that never read the held-out fold"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipeline import config
from pipeline.commands.chosen import existing_corpus, opened_corpus
from pipeline.commands.options import (
    corpus_options,
    device_option,
    folds_option,
    jobs_option,
    json_option,
    minutes_option,
    set_option,
)
from pipeline.commands.showing import as_text, require_explain
from pipeline.commands.types import Numbers, Whole
from pipeline.config import InputError

#: What is searched where options are given, and no space.
DEFAULT = "strong"

SECTION = "The stages"
ORDER = 28
EXAMPLES = (
    "search",
    "search strong --explain",
    "search small --trials 20 --train --seeds 0-4",
    "search mine.toml --folds 1,2 --losses soft --losses angle,area",
)


@click.command()
@click.argument("space", metavar="[SPACE|FILE.toml]", required=False)
@corpus_options
@click.option("--preset", help="The settings that are not varied; default: the space's own.")
@set_option("student.epochs=30")
@folds_option
@click.option("--losses", multiple=True, help="In place of the space's: a mix, or several, one of which is chosen.")
@click.option(
    "--trials", type=Whole(1, 10_000, "each is several trainings"), help="How many; default: the space's own."
)
@click.option(
    "--trial-seeds", type=Numbers(), default="0", help="Trainings of a trial on each inner fold, for example 0-2."
)
@click.option(
    "--sampler-seed", type=Whole(0, 2**32 - 1, "samplers take 32 bits"), default=0, help="Of what is proposed."
)
@click.option(
    "--choose",
    type=click.Choice(["both", "nested", "preset"]),
    default="both",
    help="nested: for each held-out fold by the others alone; preset: one set of settings by all folds, optimistic.",
)
@click.option(
    "--train", is_flag=True, help="Train students with what was chosen, teachers before them, and print their rows."
)
@click.option("--seeds", type=Numbers(), default="0", help="Of --train: a student for each, for example 0-4.")
@click.option(
    "--explain", is_flag=True, help="Print the space, the trainings and the time they may take; train nothing."
)
@json_option
@device_option
@minutes_option
@jobs_option
def search(
    space: str | None,
    dataset: str,
    data: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    folds: tuple[int, ...] | None,
    losses: tuple[str, ...],
    trials: int | None,
    trial_seeds: tuple[int, ...],
    sampler_seed: int,
    choose: str,
    train: bool,
    seeds: tuple[int, ...],
    explain: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Try settings on the inner folds of each held-out fold, which is never read, and write what came out best as presets.

    SPACE says what is varied: the name of one that comes with the project, or a TOML file; default: strong. Alone: which there are.
    """
    from pipeline.search import planning  # torch: --help does without
    from pipeline.search import space as spaces

    if space is None and not options_given():
        return list_them(spaces.names(), as_json)
    require_train(train, explain, as_json)
    wanted = spaces.read(space or DEFAULT, losses, trials)
    settings = config.read(preset or wanted.preset, overrides)
    require_not_varied(wanted, overrides)
    planning.require_values(wanted, settings)
    from pipeline.engine.source import of_corpus, wanted_folds
    from pipeline.search import choice, explanation, nested, searching

    corpus = (existing_corpus if explain else opened_corpus)(dataset, data)
    settings = config.for_corpus(settings, corpus.seconds)
    chosen = wanted_folds(corpus, folds)
    held_out = [*(chosen if choose != "preset" else ()), *([None] if choose != "nested" else [])]
    search = planning.Search(wanted, settings, of_corpus(corpus, settings), corpus.folds, trial_seeds, sampler_seed)
    planning.require(search, held_out)
    if explain:
        return show_plan(wanted.name, explanation.explained(search, held_out), as_json)
    measured = {fold: searching.searched(search, fold, how) for fold in held_out}
    for fold, of_fold in measured.items():
        choice.write_preset(search, fold, of_fold)
        click.echo("\n".join(choice.lines(search, fold, of_fold)))
    if train:
        nested.train(search, measured, chosen, seeds, how)
        click.echo(report_of(search))


def list_them(titles: Mapping[str, str], as_json: bool) -> None:
    """Which spaces there are."""
    if as_json:
        named = [{"name": name, "title": title} for name, title in titles.items()]
        return click.echo(as_text({"spaces": named}))
    return click.echo("\n".join(f"{name:14} {title}".rstrip() for name, title in titles.items()))


def show_plan(space: str, text: str, as_json: bool) -> None:
    """``--explain``."""
    click.echo(as_text({"space": space, "lines": text.splitlines()}) if as_json else text)


def report_of(search: Any) -> str:
    from pipeline import places
    from pipeline.report import experiments
    from pipeline.search import nested

    return experiments.report(places.runs(), places.reports(), search.source.name, nested.experiment_of(search))


def given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def require_train(train: bool, explain: bool, as_json: bool) -> None:
    require_explain(explain, as_json)
    if given("seeds") and not train:
        raise click.UsageError("--seeds are of the students that --train trains; of the trials --trial-seeds")


def options_given() -> bool:
    return any(given(str(p.name)) for p in click.get_current_context().command.params if p.name != "as_json")


def require_not_varied(space: Any, overrides: tuple[str, ...]) -> None:
    """``InputError`` for a setting that is fixed and varied at once."""
    varied = {parameter.name for parameter in space.parameters}
    for override in overrides:
        if (name := override.partition("=")[0].replace(" ", "")) in varied:
            raise InputError(f"--set {override}: space {space.name} varies {name}; expected one of the two")
