"""Everything once, on a built-in synthetic corpus: features, teachers, two students, the table, in minutes."""

from __future__ import annotations

import shlex

import click

from pipeline import commands
from pipeline.commands.types import JOBS

SECTION = "First steps"
ORDER = 10
EXAMPLES = ("demo", "demo --device cpu --jobs 2")

CORPUS = ("--dataset", "synthetic")
SETTINGS = (*CORPUS, "--preset", "demo")
FOLDS = ("--folds", "1 2")
LOSSES = ("--losses", "soft", "--losses", "angle,area")


@click.command()
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train; default: the commands' own."
)
@click.option("--jobs", type=JOBS, help="Processes; default: one per core.")
def demo(device: str | None, jobs: int | None) -> None:
    """Everything once, on made-up sounds: features, teachers of two folds, two mixes of students, the table and its page.

    Each step is printed as the command that it is, does what is missing, and can be stopped: the same command goes on. Its figures say
    nothing about real sounds. It is written into data/, cache/, runs/ and reports/ of the working folder.
    """
    processes = () if jobs is None else ("--jobs", str(jobs))
    how = (*(() if device is None else ("--device", device)), *processes)
    steps = (
        ("features", *SETTINGS, *processes),
        ("teacher", *SETTINGS, *FOLDS, *how),
        ("distill", *SETTINGS, *FOLDS, *LOSSES, *how),
        ("report", *CORPUS),
    )
    for name, *options in steps:
        click.echo(f"audio-rkd {shlex.join([name, *options])}", err=True)
        command = commands.load(name)
        with command.make_context(name, options) as context:  # not main: it would take Ctrl-C for its own
            command.invoke(context)
