"""Is everything that was written still as it was written?"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from pipeline import places
from pipeline.commands.options import json_option
from pipeline.commands.types import PATH

SECTION = "First steps"
ORDER = 13
EXAMPLES = ("check", "check runs/CORPUS --json", "check cache/CORPUS exports")


@click.command()
@click.argument("paths", metavar="[WHAT]...", nargs=-1, type=PATH)
@json_option
def check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Compare features, runs and exports with their digests and identities: nothing damaged, exchanged or lost.

    WHAT are files or folders; default: all in cache/, runs/, finals/ and exports/. A line for each finding, with its remedy; the exit code
    is 1 then. (verify looks at the corpus, doctor at the machine, check at what audio-rkd wrote.)
    """
    from pipeline.report import check as checking  # numpy and h5py: --help does without

    started = time.monotonic()
    written = (places.cache(), places.runs(), places.finals(), places.exports())
    looked_at = paths or tuple(place for place in written if place.is_dir())
    done = checking.check(looked_at)
    if as_json:
        click.echo(json.dumps(checking.as_json(done), indent=2))
    else:
        click.echo(checking.text(done, time.monotonic() - started))
    if done.findings:
        sys.exit(1)
