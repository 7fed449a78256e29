"""Born-again generations: students that teach each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline import config, places, working_folder
from pipeline.commands.chosen import (
    chosen_archive,
    logged,
    opened_corpus,
    refuse_archive_options,
)
from pipeline.commands.options import (
    IMAGES,
    archive_options,
    data_option,
    dataset_option,
    folds_option,
    generations_option,
    pack_options,
    set_option,
    trust_option,
)
from pipeline.commands.types import PATH
from pipeline.config import InputError

SECTION = "The stages"
ORDER = 27
EXAMPLES = (
    "ban --losses none --losses angle",
    "ban --model student --generations 2 --folds 1-3",
    "ban --teacher runs/CORPUS/teacher-resnet18-default-1a2b3c4d",
)


@click.command()
@dataset_option(IMAGES)
@data_option
@click.option(
    "--preset",
    help="default, paper, demo, cifar-paper, cifar-strong, or a TOML file; default: default, of CIFAR-100 cifar-paper.",
)
@set_option("teacher.epochs=10")
@generations_option
@click.option(
    "--losses",
    multiple=True,
    default=("none",),
    help="What joins labels and teacher's outputs, for example angle or angle,area:40 (weights 20 by default); none is the "
    "baseline; may be repeated.",
)
@click.option(
    "--model",
    type=click.Choice(["teacher", "student"]),
    default="teacher",
    help="Whose network and settings all generations have.",
)
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=PATH,
    help="A folder with finished runs fold1-seed0 … that are generation 0, or teacher files (FILE.npz, FILE.h5, a pattern, a "
    "folder of them); several are an ensemble that teaches; default: runs trained on the labels.",
)
@trust_option
@folds_option
@pack_options
@archive_options
def ban(
    dataset: str,
    data: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    generations: int,
    losses: tuple[str, ...],
    model: str,
    teachers: tuple[Path, ...],
    trust: bool,
    folds: tuple[int, ...] | None,
    archive: Path | None,
    no_checksum: bool,
    split_seed: int,
    validation: int | None,
    log: str | None,
    **how: Any,
) -> None:
    """Born-again generations: each student teaches the next; their ensemble, and its difference to the baseline."""
    from pipeline.engine.source import wanted_folds  # torch, all three: --help does without
    from pipeline.experiments import file_teachers
    from pipeline.experiments import generations as chains
    from pipeline.report import generations as tables

    mixes = [chains.chain_mix(text) for text in losses]
    settings = config.read(preset or ("cifar-paper" if dataset == IMAGES else working_folder.preset()), overrides)
    for mix in mixes:
        mix.require(getattr(settings, model), model)
    if dataset == IMAGES:
        if model != "teacher" or folds:
            raise InputError("CIFAR-100 has one network and one fold; expected neither --model student nor --folds")
        if archive and data:
            raise click.UsageError("--archive and --data both name the archive; expected one of them")
        settings = chains.chain_settings(settings, "teacher")
        source = chains.of_archive(chosen_archive(archive or data, no_checksum, split_seed, validation))
        held_out: tuple[int, ...] = (0,)
    else:
        refuse_archive_options()
        corpus = opened_corpus(dataset, data)
        mixes = [chains.chain_mix(text, several=bool(corpus.label_sets)) for text in losses]
        settings = chains.chain_settings(config.for_corpus(settings, corpus.seconds), model)
        held_out = wanted_folds(corpus, folds)  # before features are asked for
        source = chains.of_corpus(corpus, settings)
    how |= {"teachers": file_teachers.named(teachers), "trust": trust}
    with logged(log, source.name):
        chains.train(source, settings, mixes, generations=generations, folds=held_out, **how)
    click.echo(tables.report(places.runs(), places.reports(), source.name, generations=generations))
