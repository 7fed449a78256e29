"""The accuracy of runs on held-out clips in noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from pipeline import places
from pipeline.commands.chosen import existing_corpus
from pipeline.commands.options import corpus_options, json_option
from pipeline.commands.showing import show
from pipeline.commands.types import PATH

SECTION = "Looking at what there is"
ORDER = 37.5
EXAMPLES = (
    "noise",
    "noise RUN OTHER-RUN",
    "noise runs/CORPUS/student-cnn2-default-1a2b3c4d/angle50+soft1 --snr 30,20,10,0,-10",
)

#: No more decibels either way: beyond them nothing but the one is left in float32.
MOST = 120.0


class Decibels(click.ParamType):
    """``20,10,0`` as (20.0, 10.0, 0.0)."""

    name = "dB"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            levels = tuple(float(word) for word in str(value).replace(",", " ").split())
        except ValueError:
            levels = ()
        expected = f"expected decibels from -{MOST:g} to {MOST:g}, for example 20,10,0"
        if not levels or not all(math.isfinite(level) and abs(level) <= MOST for level in levels):
            self.fail(f"{value!r}: {expected}", param, ctx)
        if len(set(levels)) < len(levels) or len(levels) > 50:
            self.fail(f"{value!r} names a level twice, or more than 50; {expected}", param, ctx)
        return levels


@click.command()
@click.argument("paths", nargs=-1, metavar="[RUN...]", type=PATH)
@corpus_options
@click.option(
    "--snr", type=Decibels(), default="20,10,0", help="Signal-to-noise ratios in dB, for example 20,10,0 (the default)."
)
@json_option
def noise(paths: tuple[Path, ...], dataset: str, data: Path | None, snr: tuple[float, ...], as_json: bool) -> None:
    """How well runs name the clips they were tested on, in white noise of some signal-to-noise ratios.

    Each RUN is a run folder or a folder of runs; without any all runs of the corpus are asked. The clips are read from the corpus and their features computed on the
    fly; nothing is trained, and no cache is needed or written.
    """
    from pipeline.deploy import in_noise  # torch, both: --help does without
    from pipeline.report import votes

    named = votes.records(paths)
    corpus = existing_corpus(dataset, data, named[0].corpus if named else "")
    records = named or in_noise.of_corpus(places.runs(), corpus)
    show(in_noise.report(records, corpus, snr, places.reports()), as_json, nl=False)
