"""What the options stand for: a corpus, the runs of one, an archive of images, a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from pipeline import config, goals, places
from pipeline.commands.defaults import is_given
from pipeline.commands.options import IMAGES, OF_IMAGES, logs
from pipeline.config import InputError
from pipeline.corpus import is_there, opening

if TYPE_CHECKING:
    from pipeline.corpus import Corpus
    from pipeline.images.archive import Archive


def opened_corpus(dataset: str, data: Path | None) -> Corpus:
    """The corpus asked for; the synthetic one is written first where it is not there yet."""
    corpus, note = opening.open_or_make(dataset, data)
    if note:
        click.echo(goals.here(note), err=True)
    return corpus


def existing_corpus(dataset: str, data: Path | None, of_runs: str = "") -> Corpus:
    """The corpus asked for, looked at only: nothing is written. ``of_runs``: that of the runs that were named, if any."""
    name, root = opening.chosen(dataset, data)
    if not is_there(name, root):
        if data is None and of_runs not in ("", name):
            raise InputError(
                f"the runs are of {of_runs}, and nothing is in {root}; expected the corpus that they were tested on: "
                "--dataset and --data"
            )
        if name != "synthetic":
            raise opening.absent(name, root)
        raise InputError(f"no corpus in {root} yet, and no features; expected those of an earlier step: make features")
    corpus, note = opening.looked_at(dataset, data)
    if note and name != "synthetic":
        click.echo(goals.here(note), err=True)
    return corpus


def corpus_at_hand(dataset: str, data: Path | None) -> Corpus | None:
    """The corpus asked for, looked at only: nothing is written. None where it lies nowhere, and no folder was named."""
    name, root = opening.chosen(dataset, data)
    if is_there(name, root):
        return opening.opened(name, root)
    if data is not None:
        raise opening.absent(name, root)
    return None


def runs_of(dataset: str, data: Path | None) -> tuple[str, Corpus | None]:
    """Of commands that read runs alone: the corpus' name, and itself where its folder is there."""
    from pipeline.report.status import corpus_with_runs  # torch: --help does without

    name, corpus, note = corpus_with_runs(dataset, data)
    if note:
        click.echo(goals.here(note), err=True)
    return name, corpus


def corpus_name(run: Path | None, dataset: str, data: Path | None) -> str:
    """The corpus whose runs are chosen from; empty where ``run`` is named."""
    return "" if run is not None else runs_of(dataset, data)[0]


def run_to_export(run: Path | None, dataset: str, data: Path | None, preset: str) -> Path:
    """The run named, or the best student's of the corpus, of ``preset`` where one is given; says which on stderr."""
    from pipeline.deploy import choosing  # torch: --help does without

    if run is not None and preset and is_given("preset"):
        raise click.UsageError(f"--preset {preset} chooses among runs; expected it without a run's folder ({run})")
    preset = "" if run is not None else preset
    try:
        corpus = corpus_name(run, dataset, data)
    except InputError:
        if preset:
            config.read(preset)  # where there is no run at all, a preset that does not exist is the nearer mistake
        raise
    folder, notes = choosing.chosen(run, places.runs(), corpus, preset)
    for note in notes:
        click.echo(goals.here(note), err=True)
    return folder


def chosen_archive(archive: Path | None, no_checksum: bool, split_seed: int, validation: int | None) -> Archive:
    """CIFAR-100's archive as ``archive_options`` describe it."""
    from pipeline.images import cifar  # numpy
    from pipeline.images.archive import Archive

    path = archive or cifar.find_cifar100(places.data())
    return Archive(path, None if no_checksum else cifar.MD5, split_seed, validation)


def refuse_archive_options() -> None:
    """``UsageError`` where an option that is CIFAR-100's alone was given for sounds: it would be ignored."""
    context = click.get_current_context()
    for name in OF_IMAGES:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} is for CIFAR-100; expected --dataset {IMAGES} with it")


def with_teacher(overrides: tuple[str, ...], teacher_epoch: str | None) -> tuple[str, ...]:
    """``--teacher-epoch`` as the setting that it is."""
    return (*overrides, f'student.teacher_epoch="{teacher_epoch}"') if teacher_epoch else overrides


@contextmanager
def logged(log: str | None, corpus: str, to: Path | None = None) -> Iterator[None]:
    """While the block trains, what its runs write also goes to TensorBoard's log, if ``log`` asks for it."""
    if log is None:
        yield
        return
    from pipeline.report import tensorboard  # torch: --help does without

    to = to or logs()
    to.mkdir(parents=True, exist_ok=True)
    click.echo(f"log in {to}; look at it with: tensorboard --logdir {to}", err=True)
    with tensorboard.logging(tensorboard.TensorBoardLog(to, places.runs()), places.runs() / corpus):
        yield
