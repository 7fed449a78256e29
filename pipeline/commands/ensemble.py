"""The accuracy of runs that vote, one line per fold."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import json_option
from pipeline.commands.showing import show
from pipeline.commands.types import PATH

SECTION = "Looking at what there is"
ORDER = 34
EXAMPLES = (
    "ensemble RUN OTHER-RUN",
    "ensemble runs/CORPUS/student-cnn2-default-1a2b3c4d/angle50+soft1",
)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN...", type=PATH)
@json_option
def ensemble(paths: tuple[Path, ...], as_json: bool) -> None:
    """What finished runs say together: the accuracy of their ensemble per fold, from their kept predictions.

    Each RUN is a run folder or a folder of runs; all runs of a fold vote with their class probabilities.
    """
    from pipeline.report import votes  # torch: --help does without

    show(votes.text(votes.records(paths)), as_json)
