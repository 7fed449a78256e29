"""Stage three: students under any mix of losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline import config
from pipeline.commands.chosen import logged, opened_corpus, with_teacher
from pipeline.commands.options import teacher_epoch_option, training_options

SECTION = "The stages"
ORDER = 25
EXAMPLES = (
    "distill --losses soft --losses angle,area",
    "distill --losses angle:40,area:20,hinton@T=1.5 --seeds 0-4",
    "distill --losses hint:100..0@until=10,hinton@T=10..1",
    "distill --losses angle,area --explain",
)


@click.command()
@training_options
@teacher_epoch_option
@click.option(
    "--losses",
    multiple=True,
    default=("angle,area",),
    help="A mix such as angle,area or angle:40,area:20,hinton@T=1.5; may be repeated. A weight or a number may change "
    "over the epochs (hinton:4..1@T=10..1); of any term @from=5 and @until=30 say in which epochs it counts, "
    "@rows=labelled or unlabelled of which clips. All terms: docs/terms.md.",
)
@click.option("--explain", is_flag=True, help="Print each term's formula, weight, layer and source; train nothing.")
def distill(
    dataset: str,
    data: Path | None,
    preset: str,
    overrides: tuple[str, ...],
    losses: tuple[str, ...],
    explain: bool,
    teacher_epoch: str | None,
    log: str | None,
    **how: Any,
) -> None:
    """Stage three: students under any mix of losses, each with the teacher of its own held-out fold."""
    from pipeline.losses import LossMix  # torch: --help does without

    mixes = [LossMix.parse(text) for text in losses]
    if explain:
        from pipeline.report import paper  # scipy: training does without

        click.echo("\n\n".join(mix.explain(paper.percent(paper.TABLE3, str(mix))) for mix in mixes))
        return
    from pipeline.experiments import stages  # h5py: --explain does without

    corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, with_teacher(overrides, teacher_epoch)), corpus.seconds)
    with logged(log, corpus.name):
        stages.train_students(corpus, settings, mixes, **how)
