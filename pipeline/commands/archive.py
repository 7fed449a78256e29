"""Runs, or all of a table, as one file that 'report FILE' reads anywhere."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import places
from pipeline.commands.chosen import runs_of
from pipeline.commands.defaults import is_given
from pipeline.commands.options import corpus_options
from pipeline.commands.types import PATH
from pipeline.plurals import many

SECTION = "Looking at what there is"
ORDER = 39.4
EXAMPLES = (
    "archive -o table.rkd.zip",
    "archive runs/CORPUS/student-…/soft1 -o soft.rkd.zip --no-weights",
)


@click.command()
@click.argument("folders", metavar="[RUN]...", nargs=-1, type=PATH)
@corpus_options
@click.option("-o", "--output", type=PATH, required=True, help="The file to write.")
@click.option("--weights/--no-weights", default=True, help="With model.pt of every run; tables do without.")
def archive(folders: tuple[Path, ...], dataset: str, data: Path | None, output: Path, weights: bool) -> None:
    """Runs as one file, with those that they go back to and the digests of all; 'audio-rkd report FILE' reads it anywhere.

    RUN are runs, or folders of them; default: all finished runs of the corpus, which is its table. The file is a zip: unpacked in a
    working folder its runs are there again.
    """
    from pipeline.runs import archive as archives  # numpy: --help does without

    if folders and (is_given("dataset") or is_given("data")):
        raise click.UsageError("--dataset and --data stand for all runs of a corpus; expected them without RUN")
    archives.require_target(output)
    root = places.runs()
    records = archives.chosen(folders or (root / runs_of(dataset, data)[0],), root)
    archives.write(output, records, root, weights=weights)
    size = output.stat().st_size / 1e6
    kept = "" if weights else ", without weights"
    click.echo(f"{output}: {many(len(records), 'run')}{kept}, {size:.1f} MB; audio-rkd report {output} reads it")
