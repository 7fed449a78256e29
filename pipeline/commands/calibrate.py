"""The temperature of a run's probabilities, fitted without its held-out fold"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import device_option, jobs_option, minutes_option
from pipeline.commands.types import PATH

SECTION = "Using a run"
ORDER = 44.5
EXAMPLES = ("calibrate runs/CORPUS/student-…/MIX/fold1-seed0", "calibrate runs/CORPUS/student-…/MIX")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN...", type=PATH)
@device_option
@minutes_option
@jobs_option
def calibrate(paths: tuple[Path, ...], **how: Any) -> None:
    """Fit the temperature of runs, so that a probability of 0.8 is right eight times in ten, and keep it in calibration.json.

    RUN is a run folder, or a folder of several. It is fitted on what runs of the same settings say of their own folds, which are
    trained where they are missing: a student and a teacher for each pair of folds; the run's held-out fold is in none. From then on
    export writes it into its files, predict --calibrated takes it, and report tells the error before and after. Classes do not change.
    """
    from pipeline.report import votes  # torch: --help does without
    from pipeline.search import calibrating

    folders = [record.folder for record in votes.records(paths)]
    for folder in folders:
        calibrating.of_stages(folder)  # all of them before the first training
    for folder in folders:
        click.echo("\n".join(calibrating.lines(folder, calibrating.calibrated(folder, how))))
