"""A student to ship, trained on all folds."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline import config, places
from pipeline.commands.chosen import opened_corpus
from pipeline.commands.options import (
    Renamed,
    corpus_options,
    device_option,
    jobs_option,
    json_option,
    minutes_option,
    one_file_options,
    set_option,
)
from pipeline.commands.types import Whole
from pipeline.config import InputError

SECTION = "Using a run"
ORDER = 42.5
EXAMPLES = (
    "final",
    "final --preset tiny --losses ce:0.3,hinton:0.7@T=2",
    "final --rate 44100 --rate 48000",
)


def one_mix(_context: click.Context, _option: click.Parameter, mixes: tuple[str, ...]) -> tuple[str, ...]:
    """Of ``--losses``: refused where it is parsed, so that ``make final`` trains none of two."""
    if len(mixes) > 1:
        raise click.UsageError(f"--losses {' '.join(mixes)}: one student is shipped; expected one mix")
    return mixes


def require_heard(unheard: bool | None, corpus: str) -> None:
    """``InputError`` where a training without a class is asked for on clips with several labels."""
    if unheard:
        raise InputError(
            f"--unheard: a class is left out with its clips, and those of {corpus} have several classes each; expected --no-unheard"
        )


@click.command()
@corpus_options
@click.option("--preset", default="small", help="default, paper, demo, device, small, tiny, strong, or a TOML file.")
@set_option("student.lr=0.002")
@click.option(
    "--losses", multiple=True, default=("ce:0.3,hinton:0.7@T=2",), callback=one_mix, help="The student's mix: one."
)
@click.option(
    "--seeds",
    "--seed",
    "seed",
    cls=Renamed,
    type=Whole(0, 2**31 - 1, "seeds have 31 bits"),
    default=0,
    help="One seed, of teacher and student.",
)
@click.option(
    "--unheard/--no-unheard",
    default=None,
    help="Also train, for three classes in turn, a teacher and a student without the class, to see how many of its clips are refused.  "
    "[default: unheard; not of clips with several labels]",
)
@one_file_options
@device_option
@jobs_option
@minutes_option
@json_option
def final(
    dataset: str,
    data: Path | None,
    preset: str,
    overrides: tuple[str, ...],
    losses: tuple[str, ...],
    seed: int,
    unheard: bool | None,
    rates: tuple[int, ...],
    half: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """A student to ship: teacher and student trained on all folds, exported with proof, golden vectors and a model card.

    Its accuracy cannot be measured, for it has heard every clip: what to expect is what held-out runs of the same settings
    reached (make final trains these first). Answers that are less sure than 95 % of theirs on known classes are "none of these".
    """
    from pipeline.losses import LossMix  # torch: --help does without

    mix = LossMix.parse(losses[0])
    corpus = opened_corpus(dataset, data)
    if corpus.label_sets:
        require_heard(unheard, corpus.name)
    settings = config.for_corpus(config.read(preset, overrides), corpus.seconds)
    from pipeline.deploy.final import shipping, telling  # torch
    from pipeline.runs.refusal import Refusal

    named = {} if dataset == "auto" else {"DATASET": dataset}
    given = {"PRESET": preset, **named, "DATA": data, "LOSSES": losses[0], "SET": " ".join(overrides)}
    command = " ".join(
        ["make distill", *(f"{name}={shlex.quote(str(value))}" for name, value in given.items() if value)]
    )
    options: dict[str, Any] = {
        "seed": seed,
        "classes_left_out": unheard is not False,
        "rates": rates,
        "half": half,
        "command": command,
        "how": how,
    }
    done = shipping.final(corpus, settings, mix, places.exports(), **options)
    if as_json:
        told = {"run": str(done.run), "export": str(done.export), "expected": done.expected.told()}
        refusal = {"refusal": asdict(done.none)} if isinstance(done.none, Refusal) else {}
        click.echo(json.dumps({**told, **refusal, "proof": done.proof}, indent=2))
    else:
        click.echo(telling.text(done))
