"""Accuracy on classes that were never trained on, from a few examples of each."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import class_subsets, places
from pipeline.commands.options import json_option
from pipeline.commands.showing import show
from pipeline.commands.types import PATH, Whole

SECTION = "Looking at what there is"
ORDER = 38
EXAMPLES = (
    "few-shot runs/CORPUS/experiment-fewshot",
    "few-shot RUN --way 3 --shot 1 --shot 5 --episodes 1000",
    "few-shot RUN --classes 80%:100%@1",
)


@click.command("few-shot")
@click.argument("paths", nargs=-1, required=True, metavar="RUN...", type=PATH)
@click.option(
    "--way", type=Whole(2, 1000, "no corpus has so many classes"), help="Classes; default: as trained, else 5."
)
@click.option(
    "--shot",
    "shots",
    type=Whole(1, 1000, "that is no longer few"),
    multiple=True,
    help="Clips that are shown of each class; default: as trained, else 1 and 5. May be repeated.",
)
@click.option(
    "--query",
    type=Whole(1, 1000, "more say nothing new"),
    help="Clips that are asked for of each; default: 15, or fewer where there are too few recordings.",
)
@click.option(
    "--classes",
    default="",
    help="Of the classes that they never saw, these alone: names, numbers, or a part of a drawn order such as 80%:100%@1.",
)
@click.option("--episodes", type=Whole(2, 100_000, "more say nothing new"), default=600, help="How many are drawn.")
@click.option("--layer", type=click.Choice(["embedding", "hidden"]), default="embedding", help="What is compared.")
@json_option
def few_shot(
    paths: tuple[Path, ...],
    way: int | None,
    shots: tuple[int, ...],
    query: int | None,
    classes: str,
    episodes: int,
    layer: str,
    as_json: bool,
) -> None:
    """Few-shot accuracy of finished runs on classes that they never saw, with the same episodes for all.

    Each RUN is a run folder or a folder of runs, trained on some of the classes (classes = "0%:50%@1").
    """
    from pipeline.report import few_shot as episodes_of  # torch: --help does without

    how = {
        "way": way or 0,
        "shots": list(dict.fromkeys(shots)),
        "queries": query or 0,
        "only": class_subsets.parsed(classes),
        "count": episodes,
        "layer": layer,
    }
    show(episodes_of.report(paths, places.reports(), **how), as_json, nl=False)  # type: ignore[arg-type]
