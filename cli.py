"""The command line: arguments, one call into ``pipeline.stages``, what is printed. ``audio-rkd`` runs it too.

Heavy libraries are imported inside the commands, so that ``--help`` and a finished stage answer at once.
"""

from __future__ import annotations

import pipeline.processes.shadowing  # noqa: F401 (first of all: it names files that are taken for modules)

# isort: split
from pipeline import signals

with signals.silent():
    from pathlib import Path
    from typing import Any

    import click

    from pipeline import __version__, config
    from pipeline.commands import corpora, deploying, generating, looking
    from pipeline.commands.errors import Group, guarded
    from pipeline.commands.options import (
        JOBS,
        Numbers,
        corpus_options,
        logged,
        opened_corpus,
        runs_of,
        settings_options,
        teacher_epoch_option,
        training_options,
        with_teacher,
    )


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="audio-rkd")
def main() -> None:
    """Compress audio classifiers by relational knowledge distillation.

    The stages in order: features, teacher, distill, report. Each does only what is missing, can be stopped at any
    time, and goes on with the same command. COMMAND --help says more, with examples.
    """


@main.command()
@settings_options
@click.option("--folds", type=Numbers(), help="Only these folds; default: all there are.")
@click.option("--jobs", type=JOBS, default=-1, show_default=True, help="Processes; -1: one a core.")
@click.option("--plain", is_flag=True, help="librosa's public functions one by one: the slow reference.")
@click.option("--deep", is_flag=True, help="Compare clips by SHA-256, not by size and time.")
@click.option("--compress", is_flag=True, help="gzip the features (for archives; slower to read).")
@click.option("--on-error", type=click.Choice(["finish", "skip"]), default="finish", show_default=True,
              help="finish: the other clips, then stop with failures.csv; skip: leave bad clips out, and say so in every table.")  # fmt: skip
@click.option("--backend", type=click.Choice(["loky", "dask", "sequential"]), default="loky", show_default=True,
              help="Who computes: processes of this machine, a dask cluster, or this process alone.")  # fmt: skip
@click.option("--scheduler", help="Address of a dask scheduler; default: dask workers on this machine.")
def features(dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...], folds: tuple[int, ...] | None,
             **options: Any) -> None:  # fmt: skip
    """Stage one: every clip, and its noisy copy, as five stacked LibROSA features; one HDF5 file a fold."""
    from pipeline.extraction import stage as extraction
    from pipeline.report.status import check_trainable

    corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, overrides), corpus.seconds)
    check_trainable(settings)
    extraction.run(corpus, settings.features, Path("cache"), folds=folds, **options)


@main.command()
@training_options
def teacher(dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...], log: str | None,
            **options: Any) -> None:  # fmt: skip
    """Stage two: a teacher per held-out fold, trained on the labels of the other folds."""
    from pipeline.engine import missing as training

    corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, overrides), corpus.seconds)
    with logged(log, corpus.name):
        training.train_teachers(corpus, settings, **options)


@main.command()
@training_options
@teacher_epoch_option
@click.option("--losses", multiple=True, default=("angle,area",), show_default=True,
              help="A mix such as angle,area or angle:40,area:20,hinton@T=1.5; may be repeated.")  # fmt: skip
@click.option(
    "--explain", is_flag=True, help="Print each term's formula, weight, layer and source; train nothing."
)
def distill(dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...], losses: tuple[str, ...],
            explain: bool, teacher_epoch: str | None, log: str | None, **options: Any) -> None:  # fmt: skip
    """Stage three: students under any mix of losses, each with the teacher of its own held-out fold."""
    from pipeline import losses as library

    if explain:
        click.echo("\n\n".join(library.LossMix.parse(text).explain() for text in losses))
        return
    mixes = [library.LossMix.parse(text) for text in losses]
    from pipeline.engine import missing as training

    corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, with_teacher(overrides, teacher_epoch)), corpus.seconds)
    with logged(log, corpus.name):
        training.train_students(corpus, settings, mixes, **options)


@main.command()
@training_options
@teacher_epoch_option
def table3(dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...], seeds: tuple[int, ...],
           teacher_epoch: str | None, log: str | None, **options: Any) -> None:  # fmt: skip
    """The paper's Table 3: trains whatever is missing of its rows, over folds and seeds, and prints the table.

    Where runs failed (their loss was not finite) the table is made all the same, and the exit code is 1.
    """
    from pipeline import losses as library
    from pipeline import report as tables
    from pipeline.engine import missing as training

    corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, with_teacher(overrides, teacher_epoch)), corpus.seconds)
    mixes = [library.LossMix.parse(row.mix) for row in library.TABLE3 if row.mix]
    for mix in mixes:
        mix.require_batch(settings.student.batch, "student.batch")
    failed: training.RunsFailed | None = None
    with logged(log, corpus.name):
        training.train_teachers(corpus, settings, seeds=(settings.student.teacher_seed,), **options)
        try:
            training.train_students(corpus, settings, mixes, seeds=seeds, **options)
        except training.RunsFailed as error:
            failed = error
    click.echo(tables.report(Path("runs"), Path("reports"), corpus.name, mixes=[str(mix) for mix in mixes]))
    if failed:
        raise failed


@main.command()
@corpus_options
@click.option("--losses", multiple=True, help="Only these mixes (and the baseline); may be repeated.")
@click.option("--page/--no-page", default=True, show_default=True, help="Also the page with the pictures.")
def report(dataset: str, data: Path | None, losses: tuple[str, ...], page: bool) -> None:
    """The table of all finished runs of a corpus: printed, as Markdown, CSV and LaTeX, and a page, in reports/."""
    from pipeline import losses as library
    from pipeline import report as tables

    for text in losses:
        library.LossMix.parse(text)
    name, corpus = runs_of(dataset, data)
    click.echo(tables.report(Path("runs"), Path("reports"), name, mixes=losses or None))
    if page:
        from pipeline.figures.embeddings import held_out
        from pipeline.report import page as pages

        audio = {clip.name: clip.path for clip in corpus.clips} if corpus else {}
        path = pages.write(
            Path("runs"), Path("reports"), name, mixes=losses or None, embeddings=held_out, audio=audio
        )
        click.echo(f"page: {path}")


@main.command()
@settings_options
def status(dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...]) -> None:
    """Where things stand: corpus, caches, runs, and the next command."""
    from pipeline.corpus.opening import absent, chosen
    from pipeline.report import status as standing

    if data is not None and not data.is_dir():
        raise absent(*chosen(dataset, data))
    click.echo(standing.status(dataset, data, config.read(preset, overrides)))


for command in (
    corpora.data,
    corpora.verify,
    generating.ban,
    generating.table4,
    *deploying.COMMANDS,
    *looking.COMMANDS,
):
    main.add_command(guarded(command))

if __name__ == "__main__":
    main()
