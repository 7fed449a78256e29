"""What distilled students listen to, beside their teacher and the same network on labels."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipeline import places
from pipeline.commands.options import jobs_option, json_option
from pipeline.commands.types import PATH, Whole

SECTION = "Looking at what there is"
ORDER = 37.7
EXAMPLES = ("explain RUN", "explain runs/CORPUS/student-cnn2-default-1a2b3c4d/angle50+soft1 --clips 20")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN...", type=PATH)
@click.option(
    "--clips",
    type=Whole(1, 100_000, "no fold has more"),
    default=10,
    help="Held-out clips that each network of a fold hears.",
)
@click.option("--layer", default="embedding", help="Which output is to stay as it is: embedding, hidden, map1, map2 …")
@click.option(
    "--steps",
    type=Whole(4, 100_000, "it has settled long before"),
    default=50,
    help="Steps of the search, which settles in 24.",
)
@click.option(
    "--copies",
    type=Whole(1, 10_000, "they are held in memory at once"),
    default=16,
    help="Noisy copies of a clip per step.",
)
@jobs_option
@json_option
def explain(paths: tuple[Path, ...], clips: int, layer: str, steps: int, copies: int, jobs: int, as_json: bool) -> None:
    """What networks listen to: how much noise each part of a clip bears before a network's answer changes.

    Each RUN is a run folder or a folder of runs. A distilled student is measured beside its teacher and beside the same network on
    labels alone, where there are such runs; kept epochs (--set student.keep=1,2,3,5,8,…, or the experiment explain) say how it came to
    that. Figures, a picture and words go to reports/CORPUS and onto the page of the report. What was measured is kept: the same
    command goes on where it was stopped.
    """
    from pipeline.figures.explained.discarded import USUAL  # torch: --help does without
    from pipeline.report.explaining import comparing, results

    search = USUAL._replace(steps=steps, copies=copies)
    explained, text = comparing.explain(
        paths, places.cache(), places.reports(), clips=clips, layer=layer, search=search, jobs=jobs
    )
    if as_json:
        told = results.as_json(explained)
        click.echo(json.dumps({key: value for key, value in told.items() if key not in ("drawn", "content")}, indent=2))
    else:
        click.echo(text, nl=False)
