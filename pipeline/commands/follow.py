"""Trainings under way, live: a line, and one per mix."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline import places
from pipeline.commands.options import corpus_option, extra_is_there, json_option, logs
from pipeline.commands.types import PATH, Real
from pipeline.files import plain

if TYPE_CHECKING:
    from pipeline.report.told import Told

SECTION = "Looking at what there is"
ORDER = 35
EXAMPLES = ("follow", "follow runs/CORPUS --every 10", "follow --once --log tensorboard")


@click.command()
@click.argument("paths", nargs=-1, metavar="[RUN]...", type=PATH)
@corpus_option
@click.option("--once", is_flag=True, help="Once, and the end.")
@click.option("--every", type=Real(0.1, 86_400, "that is a day"), default=2.0, help="Seconds between looks.")
@click.option(
    "--log",
    type=click.Choice(["tensorboard"]),
    callback=extra_is_there,
    help="Also write what there is, finished runs too, as a log (needs the extra: audio-rkd[tensorboard]).",
)
@click.option("--to", type=PATH, default=logs, show_default="reports/tensorboard", help="Where the log goes.")
@json_option
def follow(
    paths: tuple[Path, ...], corpus: str | None, once: bool, every: float, log: str | None, to: Path, as_json: bool
) -> None:
    """Runs under way: how many, epoch, time left, accuracy; and accuracy, loss and its terms per mix. RUN: a run, or a folder of runs.

    Ends when nothing has been under way for 15 seconds, so also when what is there was stopped. Ctrl-C ends the view, not the runs.
    """
    from pipeline.report import following, listing, tensorboard  # torch: --help does without

    listing.require(places.runs(), corpus)
    root = places.runs() / corpus if corpus else places.runs()
    writer = None
    if log:
        to.mkdir(parents=True, exist_ok=True)
        writer = tensorboard.TensorBoardLog(to, places.runs())
        click.echo(f"log in {to}; look at it with: tensorboard --logdir {to}", err=True)
    live = sys.stdout.isatty() and not once and not as_json

    drawn = 1

    def show(text: Told) -> None:
        nonlocal drawn
        if as_json:
            click.echo(json.dumps(plain(text.data)))
            return
        if not live:
            click.echo(text)
            return
        lines = seen_at_once(text.split("\n"))
        click.echo(over(drawn) + "\n".join(map(fitting, lines)), nl=False)
        drawn = len(lines)

    def look() -> tuple[list[Path], list[Path]]:
        return following.wanted(paths, root)

    if once:
        unfinished, finished = look()
        if writer:
            writer.write([*unfinished, *finished])
        show(following.line(unfinished, len(finished)))
        return
    try:
        following.follow(look, show, every=every, log=writer)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The runs go on.") from None
    finally:
        if live:
            click.echo()


def over(lines: int) -> str:
    """What brings the cursor back to the beginning of so many lines, and clears them."""
    return "\r\x1b[K" if lines == 1 else f"\r\x1b[{lines - 1}A\x1b[J"


def seen_at_once(lines: list[str]) -> list[str]:
    """As many lines as the terminal has: what is scrolled away cannot be drawn over."""
    most = max(2, shutil.get_terminal_size().lines - 1)
    return lines if len(lines) <= most else [*lines[: most - 1], f"  … and {len(lines) - most + 1} more"]


def fitting(text: str) -> str:
    """As much of a line as the terminal's width holds: what is wrapped cannot be drawn over."""
    width = shutil.get_terminal_size().columns - 1
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"
