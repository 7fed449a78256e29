"""A run once more: the same bit for bit?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.commands.options import json_option
from pipeline.commands.showing import as_text
from pipeline.commands.types import PATH

SECTION = "Looking at what there is"
ORDER = 38
EXAMPLES = (
    "rerun runs/CORPUS/teacher-resnet18-default-1a2b3c4d/fold1-seed0",
    "rerun RUN --to /tmp/again --device cpu",
)


@click.command()
@click.argument("run", type=PATH)
@click.option("--to", type=PATH, help="Where the repetition goes; default: .again/ beside the run.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Default: the one recorded.")
@click.option("--archive", type=PATH, help="CIFAR-100's archive, of a run on images; default: where it lies in data/.")
@json_option
def rerun(run: Path, to: Path | None, device: str | None, archive: Path | None, as_json: bool) -> None:
    """Repeat a run from its record, and say whether it comes out the same bit for bit (exit code 1 if not)."""
    from pipeline.engine import rerun as repetition  # numpy and h5py: --help does without

    done = repetition.rerun(run, to, device=device, archive=archive, say=lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(as_text({"run": str(run), "folder": str(done.folder), "same": done.same, "lines": done.lines}))
    else:
        click.echo("\n".join([f"{run} again, in {done.folder}", *done.lines]))
    if not done.same:
        sys.exit(1)
