"""A page in which an exported student hears: a dropped sound, the microphone, examples."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.chosen import corpus_name
from pipeline.commands.options import chosen_corpus_options
from pipeline.commands.types import PATH, Whole
from pipeline.files import CACHE, RUNS

SECTION = "Using a run"
ORDER = 42
EXAMPLES = ("web --preset device", "web RUN --examples 10")


@click.command()
@click.argument("run", required=False, type=PATH)
@chosen_corpus_options
@click.option(
    "--preset", default="", help="Whose runs to choose from where none is named: those of this preset; default: all."
)
@click.option(
    "--examples",
    type=Whole(0, 200, "each is a part of the page"),
    default=20,
    help="Clips of the held-out fold on the page, with Python's answers.",
)
def web(run: Path | None, dataset: str, data: Path | None, preset: str, examples: int) -> None:
    """A web page of an exported student: index.html for a server, and one file that opens from disk.

    The run must be exported as one file (export --preset device); onnxruntime-web is fetched once by npm.
    """
    from pipeline.deploy import export as exporting  # torch: --help does without

    exporting.require_extra()
    from pipeline import config
    from pipeline.deploy.web import making

    if run is not None and preset:
        raise click.UsageError(f"--preset {preset} chooses among runs; expected it without a run's folder ({run})")
    if preset:
        config.read(preset)  # whether there is one
    folder, notes = exporting.chosen(run, RUNS, corpus_name(run, dataset, data), preset)
    for note in notes:
        click.echo(note, err=True)
    say = lambda line: click.echo(line, err=True)
    place = making.write(folder, CACHE, Path("exports"), examples=examples, data=data, say=say)
    click.echo(f"page        {place / making.INDEX} (of a server: python3 -m http.server -d {place})")
    click.echo(
        f"one file    {place / making.WHOLE} ({(place / making.WHOLE).stat().st_size / 1e6:.1f} MB, opens from disk)"
    )
