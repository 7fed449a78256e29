"""What runs say of the clips, as a teacher file."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.types import PATH

SECTION = "Using a run"
ORDER = 46
EXAMPLES = ("teacher-file runs/CORPUS/teacher-resnet18-default-1a2b3c4d/fold1-seed0 -o teacher.npz",)


@click.command("teacher-file")
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("-o", "--output", "target", required=True, type=PATH, help="The file: .npz, .h5 or .hdf5.")
@click.option("--maps", is_flag=True, help="Stage maps too, for terms that read them; they are large.")
@click.option(
    "--other-features",
    is_flag=True,
    help="For students of other features of the same clips and views: clips that change afterwards are then not noticed.",
)
def teacher_file(runs: tuple[Path, ...], target: Path, maps: bool, other_features: bool) -> None:
    """Write what runs say of the clips that they were trained on, for distill --teacher; of several folds, one run each.

    A folder of runs stands for all that are in it.
    """
    from pipeline.engine import file_teachers  # torch: --help does without

    for line in file_teachers.write_from_runs(
        file_teachers.in_folders(runs), target, maps=maps, other_features=other_features
    ):
        click.echo(line)
