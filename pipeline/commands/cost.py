"""What a clip costs: teacher, student, int8."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import places
from pipeline.commands.chosen import corpus_name
from pipeline.commands.options import chosen_corpus_options, json_option
from pipeline.commands.showing import show
from pipeline.commands.types import PATH, Whole

SECTION = "Using a run"
ORDER = 43
EXAMPLES = ("cost", "cost RUN --threads 2")


@click.command()
@click.argument("run", required=False, type=PATH)
@chosen_corpus_options
@click.option("--threads", type=Whole(1, 1024, "more threads than cores only wait"), default=1, help="Of the network.")
@click.option("--batch", type=Whole(1, 65_536, "they are held in memory at once"), default=1, help="Clips per call.")
@click.option(
    "--repeats",
    type=Whole(10, 1_000_000, "the spread is settled long before"),
    default=200,
    help="Calls timed.",
)
@json_option
def cost(
    run: Path | None, dataset: str, data: Path | None, threads: int, batch: int, repeats: int, as_json: bool
) -> None:
    """What a clip costs, teacher against student: parameters, bytes, multiply-adds, CPU time, features, accuracy."""
    from pipeline.deploy import cost as costs  # torch: --help does without

    corpus = corpus_name(run, dataset, data)
    measured = costs.measured(
        run, places.runs(), places.exports(), corpus, threads=threads, batch=batch, repeats=repeats
    )
    show(costs.report(measured, places.reports()), as_json, nl=False)
