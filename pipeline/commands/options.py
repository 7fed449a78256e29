"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline import places
from pipeline.commands.defaults import of_its_dataset
from pipeline.commands.types import (
    JOBS,
    PATH,
    DataSet,
    Numbers,
    Real,
    TeacherEpoch,
    Whole,
)
from pipeline.corpus.corpus_toml import ASKED, COLUMNS, columns_of
from pipeline.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

#: The data set of images, and the options that it alone has.
IMAGES, OF_IMAGES = "cifar100", ("archive", "no_checksum", "split_seed", "validation")

#: What --dataset auto is: help of all commands that have it.
AUTO = "auto: UrbanSound8K where it lies in data/, else the built-in synthetic corpus."


def logs() -> Path:
    """Where TensorBoard's logs go."""
    return places.reports() / "tensorboard"


def one_a_core(_context: Any, _parameter: Any, jobs: int) -> int:
    """−1 is 0 to the training stage: one process per core, as in the other commands."""
    return max(0, jobs)


def extra_is_there(_context: Any, _parameter: Any, log: str | None) -> str | None:
    """Says before anything else is done that the extra for the log is not installed."""
    if log:
        from pipeline.report import tensorboard  # torch: --help does without

        tensorboard.summary_writer()
    return log


class Renamed(click.Option):
    """An option whose names behind the first are older: they are taken, and the help does not show them."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        names, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


def folder_of_runs(_context: Any, _parameter: Any, name: str | None) -> str | None:
    """The folder in runs/ that a name means: its own, or that of the data set of this name."""
    if name is None or (places.runs() / name).is_dir() or name not in DataSet().choices:
        return name
    own = {
        place
        for place in ("synthetic" if name == "auto" else name, *places_of(name))
        if (places.runs() / place).is_dir()
    }
    return min(own) if own else name


def places_of(dataset: str) -> tuple[str, ...]:
    from pipeline import corpus

    return () if dataset == "auto" else corpus.places(dataset)


def together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of the help."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def dataset_option(*others: str, purpose: str = "") -> Callable[[F], F]:
    """``dataset``. ``others``: names beside the corpora's; ``purpose``: what the corpus is for, in front of the help."""
    return click.option("--dataset", type=DataSet(*others), default="auto", help=f"{purpose}{AUTO}")


def set_option(example: str) -> Callable[[F], F]:
    """``overrides``: settings on top of the preset's."""
    words = f"Change one setting, for example {example}; may be repeated."
    return click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help=words)


def named_columns(context: click.Context, _parameter: Any, written: str | None) -> None:
    """Notes what the columns of the corpus' table are called while the command runs."""
    if written is not None:
        parts = re.split(rf",(?=\s*(?:{'|'.join(COLUMNS)})\s*=)", written)
        pairs = [(column.strip(), name) for column, _, name in (part.partition("=") for part in parts)]
        if len(dict(pairs)) < len(pairs):
            raise click.BadParameter(f"{written!r} names one purpose twice; expected each once")
        try:
            columns = columns_of(dict(pairs), f"--columns {written}")
        except InputError as error:
            raise click.BadParameter(str(error)) from None
        token = ASKED.set(replace(ASKED.get(), columns=columns))
        context.call_on_close(lambda: ASKED.reset(token))


def asked_windows(context: click.Context, _parameter: Any, asked: bool) -> None:
    """Notes that long recordings are several clips while the command runs."""
    if asked:
        token = ASKED.set(replace(ASKED.get(), windows=True))
        context.call_on_close(lambda: ASKED.reset(token))


data_option = together(
    click.option(
        "--data",
        type=PATH,
        callback=of_its_dataset,
        help="The corpus' folder, or the table of its clips (csv); default: the data set's own name in data/.",
    ),
    click.option(
        "--columns",
        metavar="PURPOSE=NAME,…",
        expose_value=False,
        callback=named_columns,
        help="Of a table: what the columns are called that it does not call path, label, fold and recording, for example "
        "path=file,label=class.",
    ),
    click.option(
        "--windows",
        is_flag=True,
        expose_value=False,
        callback=asked_windows,
        help="Of a folder or a table: files that are longer than a clip are several clips (corpus.toml: windows = true).",
    ),
)
preset_option = click.option(
    "--preset", default="default", help="default, paper, demo, device, small, tiny, strong, or a TOML file."
)
folds_option = click.option(
    "--folds", type=Numbers(), help="Held-out folds, for example 1,2 or 1-10; default: all there are."
)
corpus_option = click.option(
    "--dataset",
    "--corpus",
    "corpus",
    cls=Renamed,
    metavar="NAME",
    callback=folder_of_runs,
    help="Only runs of this data set: its name, or that of its folder in runs/.",
)
losses_option = click.option("--losses", multiple=True, help="Only these mixes (and the baseline); may be repeated.")
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")
generations_option = click.option(
    "--generations",
    type=Whole(1, 1000, "each is a training of its own"),
    default=3,
    help="Students in a row, behind the first teacher.",
)
trust_option = click.option(
    "--trust-teacher",
    "trust",
    is_flag=True,
    help="Take a teacher file that does not say what its teacher was trained on; every table then says so.",
)
teacher_epoch_option = click.option(
    "--teacher-epoch",
    type=TeacherEpoch(),
    help="Which epoch's teacher teaches: last, best, or the number of one that it keeps (--set teacher.keep=5,10). best is "
    "stopped early by the held-out fold itself: optimistic, and the table says so. Default: the preset's, last.",
)

#: Which corpus is meant: ``dataset`` and ``data``.
corpus_options = together(dataset_option(), data_option)
#: Which corpus' runs to choose from, where no run is named.
chosen_corpus_options = together(dataset_option(purpose="Whose runs to choose from where none is named. "), data_option)
#: Which of these runs: ``preset``, "" for all.
preset_of_runs_option = click.option(
    "--preset", default="", help="Whose runs to choose from where none is named: those of this preset; default: all."
)
#: A corpus and how it is worked on: ``preset`` and ``overrides`` too.
settings_options = together(corpus_options, preset_option, set_option("student.lr=0.002"))

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="auto: the GPU where torch sees one.",
)
minutes_option = click.option(
    "--checkpoint-minutes",
    type=Real(0, 1e6, "that is two years"),
    default=5.0,
    help="How often an unfinished pack is saved.",
)
jobs_option = click.option(
    "--jobs", type=JOBS, default=-1, callback=one_a_core, help="Processes on a CPU; -1: one per core."
)

#: How runs are trained, and with which seeds.
pack_options = together(
    click.option("--seeds", type=Numbers(), default="0", help="A run for each, for example 0,1,2 or 0-4."),
    device_option,
    click.option(
        "--pack",
        type=Whole(1, 100_000, "no device holds more runs"),
        help="Runs trained as one; default: by a short measurement.",
    ),
    click.option("--layout", help="How runs lie in memory; default: loop on a CPU, measured on a GPU."),
    minutes_option,
    jobs_option,
    click.option("--backend", type=click.Choice(["local", "dask"]), default="local", help="Where packs are trained."),
    click.option("--scheduler", help="Address of a dask scheduler; default: dask workers on this machine."),
    click.option(
        "--log",
        type=click.Choice(["tensorboard"]),
        callback=extra_is_there,
        help="Beside metrics.jsonl, log the terms of every epoch and the confusion matrix to reports/tensorboard "
        "(needs the extra: audio-rkd[tensorboard]).",
    ),
)
training_options = together(settings_options, folds_option, pack_options)

#: Forms of the one file from sound to class.
one_file_options = together(
    click.option(
        "--rate",
        "rates",
        type=Whole(1000, 768_000, "no recorder takes more samples per second"),
        multiple=True,
        help="One file from sound to class also for samples at this rate, for example 44100; may be given again.",
    ),
    click.option(
        "--half",
        is_flag=True,
        help="One file from sound to class also with its banks in float16: two thirds of the size.",
    ),
)

#: Where CIFAR-100 is and how it is split: ``OF_IMAGES``.
archive_options = together(
    click.option(
        "--archive",
        type=PATH,
        help="CIFAR-100's archive, or the folder it unpacks to; default: where it lies in data/.",
    ),
    click.option(
        "--no-checksum",
        is_flag=True,
        help="CIFAR-100: take an archive that is not the published one; its figures are stamped SYNTHETIC.",
    ),
    click.option(
        "--split-seed",
        type=Whole(0, 2**63 - 1, "seeds have 63 bits"),
        default=0,
        help="CIFAR-100: which training images are kept aside.",
    ),
    click.option(
        "--validation",
        type=Whole(0, 50_000, "so many training images there are"),
        help="CIFAR-100: training images kept aside; default: a tenth.",
    ),
)
