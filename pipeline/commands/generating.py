"""``ban`` and ``table4``: chains of students that teach each other, and the paper's second table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipeline.commands.options import (
    AUTO,
    FOLDER,
    Numbers,
    Whole,
    archive_options,
    logged,
    opened_corpus,
    pack_options,
)
from pipeline.config import InputError
from pipeline.corpus import DATASETS

if TYPE_CHECKING:
    from pipeline.images.archive import Archive

IMAGES = "cifar100"
RUNS, REPORTS = Path("runs"), Path("reports")

generations_option = click.option("--generations", type=Whole(1, 1000, "each is a training of its own"), default=3, show_default=True,
                                  help="Students in a row, behind the first teacher.")  # fmt: skip
set_option = click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE",
                          help="Change one setting, say teacher.epochs=10; may be repeated.")  # fmt: skip


def chosen_archive(
    archive: Path | None, no_checksum: bool, split_seed: int, validation: int | None
) -> Archive:
    from pipeline.files import DATA
    from pipeline.images import cifar
    from pipeline.images.archive import Archive

    path = archive or cifar.find_cifar100(DATA)
    return Archive(path, None if no_checksum else cifar.MD5, split_seed, validation)


def refuse_archive_options() -> None:
    """``UsageError`` where an option that is CIFAR-100's alone was given for sounds: it would be ignored."""
    context = click.get_current_context()
    for name in ("archive", "no_checksum", "split_seed", "validation"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} is for CIFAR-100; expected --dataset {IMAGES} with it"
            )


@click.command()
@click.option(
    "--dataset", type=click.Choice(["auto", *DATASETS, IMAGES]), default="auto", show_default=True, help=AUTO
)
@click.option("--data", type=click.Path(path_type=Path), help=FOLDER)
@click.option("--preset", help="default, paper, demo, cifar-paper, cifar-strong, or a TOML file; default: default, "
              "of CIFAR-100 cifar-paper.")  # fmt: skip
@set_option
@generations_option
@click.option("--losses", multiple=True, default=("none",), show_default=True,
              help="What joins labels and teacher's outputs, say angle or angle,area:40 (weights 20 by default); none is "
              "the baseline; may be repeated.")  # fmt: skip
@click.option("--model", type=click.Choice(["teacher", "student"]), default="teacher", show_default=True,
              help="Whose network and settings all generations have.")  # fmt: skip
@click.option("--teacher", "teachers", multiple=True, type=click.Path(path_type=Path),
              help="A folder with finished runs fold1-seed0 … that are generation 0; several are an ensemble that teaches; "
              "default: runs trained on the labels.")  # fmt: skip
@click.option("--folds", type=Numbers(), help="Held-out folds, say 1,2 or 1-10; default: all there are.")
@pack_options
@archive_options
def ban(dataset: str, data: Path | None, preset: str | None, overrides: tuple[str, ...], generations: int,
        losses: tuple[str, ...], model: str, teachers: tuple[Path, ...], folds: tuple[int, ...] | None,
        archive: Path | None, no_checksum: bool, split_seed: int, validation: int | None, log: str | None,
        **how: Any) -> None:  # fmt: skip
    """Born-again generations: each student teaches the next; their ensemble, and its difference to the baseline."""
    from pipeline import config
    from pipeline.experiments import generations as stage
    from pipeline.report import generations as tables

    mixes = [stage.chain_mix(text) for text in losses]
    settings = config.read(preset or ("cifar-paper" if dataset == IMAGES else "default"), overrides)
    for mix in mixes:
        mix.require_batch(getattr(settings, model).batch, f"{model}.batch")
    if dataset == IMAGES:
        if model != "teacher" or folds:
            raise InputError(
                "CIFAR-100 has one network and one fold; expected neither --model student nor --folds"
            )
        if archive and data:
            raise click.UsageError("--archive and --data both name the archive; expected one of them")
        settings = stage.chain_settings(settings, "teacher")
        source = stage.of_archive(chosen_archive(archive or data, no_checksum, split_seed, validation))
        held_out: tuple[int, ...] = (0,)
    else:
        refuse_archive_options()
        from pipeline.engine.missing import wanted_folds

        corpus = opened_corpus(dataset, data)
        settings = stage.chain_settings(config.for_corpus(settings, corpus.seconds), model)
        source, held_out = stage.of_corpus(corpus, settings), wanted_folds(corpus, folds)
    with logged(log, source.name):
        stage.train(
            source, settings, mixes, generations=generations, folds=held_out, teachers=teachers, **how
        )
    click.echo(tables.report(RUNS, REPORTS, source.name, generations=generations))


@click.command()
@click.option("--preset", default="paper", show_default=True, help="paper, strong, or a TOML file.")
@set_option
@generations_option
@click.option(
    "--losses", multiple=True, help="Only these rows, say none and angle; may be repeated; default: all."
)
@pack_options
@archive_options
def table4(preset: str, overrides: tuple[str, ...], generations: int, losses: tuple[str, ...], archive: Path | None,
           no_checksum: bool, split_seed: int, validation: int | None, log: str | None, **how: Any) -> None:  # fmt: skip
    """Table 4 of the paper: CIFAR-100, ResNet-56 teaching itself, ensembles of three generations."""
    from pipeline import config
    from pipeline.experiments import generations as stage
    from pipeline.report import generations as tables

    mixes = [stage.chain_mix(text) for text in losses or [row.mix for row in tables.TABLE4 if row.mix]]
    short = preset in ("paper", "strong")
    settings = config.read(f"cifar-{preset}" if short else preset, overrides)
    for mix in mixes:
        mix.require_batch(settings.teacher.batch, "teacher.batch")
    settings = stage.chain_settings(settings, "teacher")
    source = stage.of_archive(chosen_archive(archive, no_checksum, split_seed, validation))
    with logged(log, source.name):
        stage.train(source, settings, mixes, generations=generations, folds=(0,), **how)
    click.echo(tables.table4(RUNS, REPORTS, source.name, generations=generations))
