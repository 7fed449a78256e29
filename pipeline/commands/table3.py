"""The paper's Table 3, whatever is missing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline import config, places
from pipeline.commands.chosen import logged, opened_corpus, with_teacher
from pipeline.commands.options import teacher_epoch_option, training_options

SECTION = "The stages"
ORDER = 26
EXAMPLES = ("table3 --seeds 0-2", "table3 --dataset esc50 --folds 1,2")


@click.command()
@training_options
@teacher_epoch_option
def table3(
    dataset: str,
    data: Path | None,
    preset: str,
    overrides: tuple[str, ...],
    seeds: tuple[int, ...],
    teacher_epoch: str | None,
    log: str | None,
    **how: Any,
) -> None:
    """The paper's Table 3: trains whatever is missing of its rows, over folds and seeds, and prints the table.

    Where runs failed (their loss was not finite) the table is made all the same, and the exit code is 1.
    """
    from pipeline import report  # torch, all three: --help does without
    from pipeline.engine.missing import RunsFailed
    from pipeline.experiments import stages

    corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, with_teacher(overrides, teacher_epoch)), corpus.seconds)
    mixes = stages.table3_mixes()
    for mix in mixes:
        mix.require(settings.student, "student")
    failed: RunsFailed | None = None
    with logged(log, corpus.name):
        try:
            stages.train_table3(corpus, settings, seeds=seeds, **how)
        except RunsFailed as error:
            failed = error
    click.echo(report.report(places.runs(), places.reports(), corpus.name, mixes=[str(mix) for mix in mixes]))
    if failed:
        raise failed
