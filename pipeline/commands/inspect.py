"""What is in a fold's file; a clip as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipeline import config, places
from pipeline.commands import doors
from pipeline.commands.chosen import existing_corpus
from pipeline.commands.options import Renamed, json_option, settings_options
from pipeline.commands.types import FOLD, PATH
from pipeline.config import InputError
from pipeline.corpus import part_name

SECTION = "Looking at what there is"
ORDER = 36
EXAMPLES = ("inspect", "inspect --folds 3 --verify", "inspect --clip 100032-3-0-0.wav")


@click.command()
@settings_options
@click.option(
    "--folds",
    "--fold",
    "fold",
    cls=Renamed,
    type=FOLD,
    help="One fold, or unlabelled: the clips without a label. Default: the first that is there.",
)
@click.option("--clip", help="One clip's features, clean, noisy and changed, as a picture.")
@click.option("--output", type=PATH, help="Where the picture goes; default: reports/CORPUS/CLIP.png.")
@click.option("--verify", is_flag=True, help="First audio-rkd check of the file: all its digests.")
@json_option
def inspect(
    dataset: str,
    data: Path | None,
    preset: str,
    overrides: tuple[str, ...],
    fold: int | None,
    clip: str | None,
    output: Path | None,
    verify: bool,
    as_json: bool,
) -> None:
    """What is in a fold's file: tree, axes, units, counts per class, values per feature, settings, versions."""
    from pipeline import cache  # h5py: --help does without
    from pipeline.report import inspection

    if clip and (verify or as_json):
        raise click.UsageError("--clip draws one clip; --verify and --json are of a whole fold: give one or the other")
    if output and not clip:
        raise click.UsageError("--output is where the picture of a clip goes; expected --clip NAME with it")
    corpus = existing_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, overrides), corpus.seconds)
    if fold is not None and fold not in corpus.parts:
        raise InputError(f"{part_name(fold)}: {corpus.name} has the folds {', '.join(map(str, corpus.folds))}")
    paths = {k: cache.fold_path(places.cache(), corpus.name, settings.features, k) for k in corpus.parts}
    present = [k for k, path in paths.items() if path.is_file()]
    if not present or (fold is not None and fold not in present):
        missing, folder = corpus.folds[0] if fold is None else fold, paths[corpus.folds[0]].parent
        raise InputError(f"no features of {part_name(missing)} in {folder}; make them first: make features")
    if clip:
        from pipeline.report.plots.clip import clip_picture  # matplotlib

        everything = (*corpus.clips, *corpus.unlabelled)
        holder = next((c.fold for c in everything if c.name == clip), present[0])
        target = output or places.reports() / corpus.name / f"{Path(clip).stem}.png"
        click.echo(clip_picture(paths[holder if fold is None else fold], clip, target))
        return
    if fold is None and (gone := [part_name(k) for k in paths if k not in present]):
        click.echo(f"note: no features of {', '.join(gone)} (make features); of all others see --folds", err=True)
    path = paths[present[0] if fold is None else fold]
    if verify:
        doors.check([path])
    contents = inspection.inspect_fold(path, verify=verify)
    click.echo(json.dumps(contents, indent=2) if as_json else inspection.fold_text(contents))
