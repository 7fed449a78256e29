"""A page in which an exported student hears: a dropped sound, the microphone, examples."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import places
from pipeline.commands.chosen import run_to_export
from pipeline.commands.options import chosen_corpus_options, preset_of_runs_option
from pipeline.commands.types import PATH, Whole

SECTION = "Using a run"
ORDER = 42
EXAMPLES = ("web --preset device", "web RUN --examples 10")


@click.command()
@click.argument("run", required=False, type=PATH)
@chosen_corpus_options
@preset_of_runs_option
@click.option(
    "--examples",
    type=Whole(0, 200, "each is a part of the page"),
    default=20,
    help="Clips of the held-out fold on the page, with Python's answers; of a final student, which has heard all, of its first fold.",
)
def web(run: Path | None, dataset: str, data: Path | None, preset: str, examples: int) -> None:
    """A web page of an exported student: index.html for a server, and one file that opens from disk.

    The run must be exported as one file (export --preset device, or final --preset device, whose page knows "none of these"); onnxruntime-web is fetched once by npm.
    """
    from pipeline.deploy import export as exporting  # torch: --help does without

    exporting.require_extra()
    from pipeline.deploy.web import making

    folder = run_to_export(run, dataset, data, preset)
    say = lambda line: click.echo(line, err=True)
    place = making.write(folder, places.cache(), places.exports(), examples=examples, data=data, say=say)
    click.echo(f"page        {place / making.INDEX} (of a server: python3 -m http.server -d {place})")
    click.echo(
        f"one file    {place / making.WHOLE} ({(place / making.WHOLE).stat().st_size / 1e6:.1f} MB, opens from disk)"
    )
