"""A run as ONNX, float and int8."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.chosen import corpus_name
from pipeline.commands.options import chosen_corpus_options
from pipeline.commands.types import PATH, Whole
from pipeline.files import CACHE, RUNS

SECTION = "Using a run"
ORDER = 42
EXAMPLES = ("export", "export RUN", "export --dataset esc50")


@click.command()
@click.argument("run", required=False, type=PATH)
@chosen_corpus_options
@click.option(
    "--calibration",
    type=Whole(1, 1_000_000, "the scales of int8 are settled long before"),
    default=400,
    help="Samples of the training folds that fix the scales of int8.",
)
def export(run: Path | None, dataset: str, data: Path | None, calibration: int) -> None:
    """A run as ONNX, in float and int8, with labels, feature settings and the proof; default: the best mix's."""
    from pipeline.deploy import export as exporting  # torch: --help does without

    corpus = corpus_name(run, dataset, data)
    folder, notes = exporting.chosen(run, RUNS, corpus)
    for note in notes:
        click.echo(note, err=True)
    click.echo(exporting.text(*exporting.export(folder, CACHE, Path("exports"), calibration=calibration)))
