"""A run as ONNX, float and int8, and as one file from samples to class."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import places
from pipeline.commands.chosen import run_to_export
from pipeline.commands.options import chosen_corpus_options, one_file_options, preset_of_runs_option
from pipeline.commands.types import PATH, Whole
from pipeline.config import InputError

SECTION = "Using a run"
ORDER = 42
EXAMPLES = ("export", "export RUN", "export --dataset esc50", "export RUN --rate 44100 --rate 48000 --half")


@click.command()
@click.argument("run", required=False, type=PATH)
@chosen_corpus_options
@preset_of_runs_option
@click.option(
    "--calibration",
    type=Whole(1, 1_000_000, "the scales of int8 are settled long before"),
    default=400,
    help="Samples of the training folds that fix the scales of int8.",
)
@one_file_options
def export(
    run: Path | None,
    dataset: str,
    data: Path | None,
    preset: str,
    calibration: int,
    rates: tuple[int, ...],
    half: bool,
) -> None:
    """A run as ONNX, in float and int8, with labels, feature settings and the proof; default: the best mix's.

    Of a student on the features of preset device also student-sound.onnx: from samples to class in one file.
    """
    from pipeline.deploy import export as exporting  # torch: --help does without

    folder = run_to_export(run, dataset, data, preset)
    place, proof = exporting.export(
        folder, places.cache(), places.exports(), calibration=calibration, rates=rates, half=half, data=data
    )
    click.echo(exporting.text(place, proof))
    if (rates or half) and (reason := proof["one_file"].get("refused")):
        asked = " ".join([*(f"--rate {rate}" for rate in rates), *(["--half"] if half else [])])
        raise InputError(f"{asked}: the run is exported, but not as one file: {reason}")
