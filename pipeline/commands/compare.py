"""What differs between two runs or mixes, and by how much."""

from __future__ import annotations

import click

from pipeline import places
from pipeline.commands.options import corpus_option, json_option
from pipeline.commands.showing import show

SECTION = "Looking at what there is"
ORDER = 33
EXAMPLES = ("compare soft angle,area", "compare teacher hinton --dataset esc50", "compare RUN OTHER-RUN")


@click.command()
@click.argument("a")
@click.argument("b")
@corpus_option
@json_option
def compare(a: str, b: str, corpus: str | None, as_json: bool) -> None:
    """What differs between A and B, and the paired difference B less A with its interval.

    Each is a run folder, a folder of runs, a mix such as angle,area, or the word teacher.
    """
    from pipeline.report import comparison, listing  # torch: --help does without

    listing.require(places.runs(), corpus)
    sides = [comparison.side(text, places.runs(), corpus) for text in (a, b)]
    show(comparison.compare(*sides), as_json)
