"""The table of all finished runs, and a page."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pipeline import places
from pipeline.commands.chosen import runs_of
from pipeline.commands.defaults import is_given, rooted
from pipeline.commands.options import corpus_options, json_option, losses_option
from pipeline.commands.showing import as_text
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
@json_option
def report(
    file: Path | None, dataset: str, data: Path | None, losses: tuple[str, ...], page: bool, as_json: bool
) -> None:
    """The table of all finished runs of a corpus: printed, as Markdown, CSV and LaTeX, and a page, in reports/.

    FILE: an archive of runs (audio-rkd archive), of this machine or another; its report is in reports/FILE.
    """
    from pipeline.losses import LossMix  # torch: --help does without

    for text in losses:
        LossMix.parse(text)
    if file is not None:
        if is_given("dataset") or is_given("data"):
            raise click.UsageError(f"{file} says of which corpus it is; expected it without --dataset and --data")
        show(of_archive(file, losses, page, as_json), as_json)
        return
    name, corpus = runs_of(dataset, data)
    audio = {clip_of(clip.name): clip.path for clip in corpus.clips} if corpus else {}
    show([write(name, places.reports(), losses, page, audio, places.reports(), as_json)], as_json)


def show(tables: Sequence[dict[str, Any]], as_json: bool) -> None:
    """With ``--json`` the tables as one; of several corpora the rows, which name theirs, are behind each other."""
    if as_json:
        first, rows = tables[0], [row for table in tables for row in table["rows"]]
        click.echo(as_text({**first, "rows": rows, "notes": [note for table in tables for note in table["notes"]]}))


def write(
    name: str,
    reports: Path,
    losses: tuple[str, ...],
    page: bool,
    audio: dict[str, Path],
    shown: Path,
    as_json: bool,
) -> dict[str, Any]:
    """Print and write the report of a corpus' runs. ``shown``: ``reports`` as people are told."""
    from pipeline import report as tables  # torch, both: --help does without

    wanted, runs = losses or None, places.runs()
    whole = tables.contents(runs, name, mixes=wanted) if page else None
    table = tables.report(runs, reports, name, mixes=wanted, whole=whole)
    data: dict[str, Any] = {**table.data, "page": None}
    if not as_json:
        click.echo(table)
    if page:
        from pipeline.figures.embeddings import remembered  # h5py and joblib: --no-page does without
        from pipeline.report import page as pages

        also: dict[str, Any] = {"audio": audio, "whole": whole, "finals_root": places.finals()}
        path = pages.write(runs, reports, name, mixes=wanted, embeddings=remembered, **also)
        data["page"] = str(shown / path.relative_to(reports))
        if not as_json:
            click.echo(f"page: {data['page']}")
    return data


def of_archive(file: Path, losses: tuple[str, ...], page: bool, as_json: bool) -> list[dict[str, Any]]:
    """The report of each corpus in an archive, whose runs are looked at in a folder of their own, named as where they are from."""
    from pipeline.runs.archive import unpack  # numpy: --help does without

    to = places.reports() / file.name.partition(".")[0]
    with tempfile.TemporaryDirectory(prefix="audio-rkd-") as place:
        names = unpack(file, Path(place))
        reports = to.absolute()
        with contextlib.chdir(place), rooted(".", "an archive"):
            return [write(name, reports, losses, page, {}, to, as_json) for name in names]
