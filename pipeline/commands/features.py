"""Stage one: five LibROSA features of every clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline import config, goals, places, signals
from pipeline.commands import doors
from pipeline.commands.chosen import opened_corpus
from pipeline.commands.options import settings_options
from pipeline.commands.types import JOBS, Numbers
from pipeline.config import InputError, Settings

SECTION = "The stages"
ORDER = 23
EXAMPLES = (
    "features",
    "features --dataset esc50 --jobs 4",
    "features --dataset folder --data my-clips --on-error skip",
)

#: Fewest bins and frames that a network takes, where it is not 1: these halve their input two or three times.
SMALLEST = {"cnn2": 4, "cnn2_cosine": 4, "tiny": 8, "small": 8, "large": 8}


@click.command()
@settings_options
@click.option("--folds", type=Numbers(), help="Only these folds; default: all there are.")
@click.option("--jobs", type=JOBS, default=-1, help="Processes; -1: one per core.")
@click.option("--plain", is_flag=True, help="librosa's public functions one by one: the slow reference.")
@click.option(
    "--deep",
    is_flag=True,
    help="Compare all clips by SHA-256, also those of the same size and time, and check all features.",
)
@click.option("--compress", is_flag=True, help="gzip the features (for archives; slower to read).")
@click.option(
    "--on-error",
    type=click.Choice(["finish", "skip"]),
    default="finish",
    help="finish: the other clips, then stop with failures.csv; skip: leave bad clips out, and say so in every table.",
)
@click.option(
    "--backend",
    type=click.Choice(["loky", "dask", "sequential"]),
    default="loky",
    help="Who computes: processes of this machine, a dask cluster, or this process alone.",
)
@click.option("--scheduler", help="Address of a dask scheduler; default: dask workers on this machine.")
def features(
    dataset: str,
    data: Path | None,
    preset: str,
    overrides: tuple[str, ...],
    folds: tuple[int, ...] | None,
    **how: Any,
) -> None:
    """Stage one: every clip, its noisy copy and what features.views asks for, as stacked LibROSA features; one HDF5 file per fold."""
    from pipeline import cache  # h5py: --help does without
    from pipeline.corpus import storing, unused
    from pipeline.extraction import stage

    settings = config.read(preset, overrides)
    with storing.later() as to_store:  # of a command that is refused nothing is kept
        corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(settings, corpus.seconds)
    require_trainable(settings)
    stage.check(corpus, settings.features, folds, how)

    def stored() -> None:
        for store in to_store:
            store()

    if line := unused.left_unused(corpus):
        click.echo(f"note: {goals.here(line)}", err=True)
    paths = [cache.fold_path(places.cache(), corpus.name, settings.features, part) for part in folds or corpus.parts]
    if how["deep"] and (there := [path for path in paths if path.is_file()]):
        doors.check(there, stop=False)  # what is damaged is computed again
    with signals.ending("clips that are begun are finished and kept"):
        stage.run(corpus, settings.features, places.cache(), folds=folds, unrefused=stored, **how)


def require_trainable(settings: Settings) -> None:
    """``InputError`` where features are too small for a network of ``settings``: better before they are computed."""
    spec = settings.features
    for role in ("teacher", "student"):
        model = getattr(settings, role).model
        least = SMALLEST.get(model, 1)
        if spec.bins < least:
            raise InputError(
                f"features.bins = {spec.bins}: expected at least {least}, or the {role} ({model}) cannot take them: "
                f"--set features.bins={least}"
            )
        if spec.frames < least:
            raise InputError(
                f"features.hop_length = {spec.hop_length}: a clip of {spec.seconds:g} s at {spec.sr} Hz has {spec.frames} "
                f"frames, and the {role} ({model}) takes at least {least}; expected {spec.samples // (least - 1)} at most, for "
                f"example --set features.hop_length={1 << max(0, (spec.samples // (least - 1)).bit_length() - 1)}"
            )
