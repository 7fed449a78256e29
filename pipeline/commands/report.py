"""The table of all finished runs, and a page."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import click

from pipeline import places
from pipeline.commands.chosen import runs_of
from pipeline.commands.defaults import is_given, rooted
from pipeline.commands.options import corpus_options, losses_option
from pipeline.commands.types import PATH
from pipeline.corpus.windows import clip_of

SECTION = "Looking at what there is"
ORDER = 31
EXAMPLES = (
    "report",
    "report --losses soft --losses angle,area",
    "report --dataset synthetic --no-page",
    "report table.rkd.zip",
)


@click.command()
@click.argument("file", metavar="[FILE]", required=False, type=PATH)
@corpus_options
@losses_option
@click.option("--page/--no-page", default=True, help="Also the page with the pictures.")
def report(file: Path | None, dataset: str, data: Path | None, losses: tuple[str, ...], page: bool) -> None:
    """The table of all finished runs of a corpus: printed, as Markdown, CSV and LaTeX, and a page, in reports/.

    FILE: an archive of runs (audio-rkd archive), of this machine or another; its report is in reports/FILE.
    """
    from pipeline.losses import LossMix  # torch: --help does without

    for text in losses:
        LossMix.parse(text)
    if file is not None:
        if is_given("dataset") or is_given("data"):
            raise click.UsageError(f"{file} says of which corpus it is; expected it without --dataset and --data")
        of_archive(file, losses, page)
        return
    name, corpus = runs_of(dataset, data)
    audio = {clip_of(clip.name): clip.path for clip in corpus.clips} if corpus else {}
    write(name, places.reports(), losses, page, audio, places.reports())


def write(name: str, reports: Path, losses: tuple[str, ...], page: bool, audio: dict[str, Path], shown: Path) -> None:
    """Print and write the report of a corpus' runs. ``shown``: ``reports`` as people are told."""
    from pipeline import report as tables  # torch, both: --help does without

    wanted, runs = losses or None, places.runs()
    whole = tables.contents(runs, name, mixes=wanted) if page else None
    click.echo(tables.report(runs, reports, name, mixes=wanted, whole=whole))
    if page:
        from pipeline.figures.embeddings import remembered  # h5py and joblib: --no-page does without
        from pipeline.report import page as pages

        path = pages.write(runs, reports, name, mixes=wanted, embeddings=remembered, audio=audio, whole=whole)
        click.echo(f"page: {shown / path.relative_to(reports)}")


def of_archive(file: Path, losses: tuple[str, ...], page: bool) -> None:
    """The report of each corpus in an archive, whose runs are looked at in a folder of their own, named as where they are from."""
    from pipeline.runs.archive import unpack  # numpy: --help does without

    to = places.reports() / file.name.partition(".")[0]
    with tempfile.TemporaryDirectory(prefix="audio-rkd-") as place:
        names = unpack(file, Path(place))
        reports = to.absolute()
        with contextlib.chdir(place), rooted(".", "an archive"):
            for name in names:
                write(name, reports, losses, page, {}, to)
