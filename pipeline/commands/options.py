"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.config import InputError
from pipeline.corpus import DATASETS as CORPORA

if TYPE_CHECKING:
    from pipeline.corpus import Corpus

F = TypeVar("F", bound=Callable[..., Any])

DATASETS = ("auto", *CORPORA)

#: What --dataset auto is, and where --data is looked for: help of all commands that have them.
AUTO = "auto: UrbanSound8K where it lies in data/, else the built-in synthetic corpus."
FOLDER = "The corpus' folder; default: the data set's own name in data/."

RUNS, LOGS = Path("runs"), Path("reports") / "tensorboard"


def corpus_options(command: F, what: str = "") -> F:
    """Which corpus is meant: ``dataset`` and ``data``. ``what``: of it, for the help."""
    command = click.option("--data", type=click.Path(path_type=Path), help=FOLDER)(command)
    choice = click.Choice(DATASETS)
    return click.option("--dataset", type=choice, default="auto", show_default=True, help=f"{what}{AUTO}")(command)  # fmt: skip


def settings_options(command: F) -> F:
    command = click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE",
                           help="Change one setting, say student.lr=0.002; may be repeated.")(command)  # fmt: skip
    command = click.option("--preset", default="default", show_default=True,
                           help="default, paper, demo, or a TOML file.")(command)  # fmt: skip
    return corpus_options(command)


def opened_corpus(dataset: str, data: Path | None) -> Corpus:
    """The corpus asked for; the synthetic one is written first where it is not there yet."""
    from pipeline.corpus import opening

    corpus, note = opening.open_or_make(dataset, data)
    if note:
        click.echo(note, err=True)
    return corpus


def existing_corpus(dataset: str, data: Path | None) -> Corpus:
    """The corpus asked for; none is made."""
    from pipeline.corpus import open_corpus, opening

    name, root = opening.chosen(dataset, data)
    if name != "synthetic":
        return opened_corpus(dataset, data)
    if not root.is_dir():
        raise InputError(
            f"no corpus in {root} yet, and no features; expected those of an earlier step: make features"
        )
    return open_corpus(name, root)


def runs_of(dataset: str, data: Path | None) -> tuple[str, Corpus | None]:
    """Of commands that read runs alone: the corpus' name, and itself where its folder is there."""
    from pipeline.report.status import corpus_with_runs

    name, corpus, note = corpus_with_runs(dataset, data)
    if note:
        click.echo(note, err=True)
    return name, corpus


class Whole(click.IntRange):
    """A whole number from ``least`` to ``most``; ``why`` not more."""

    def __init__(self, least: int, most: int, why: str) -> None:
        super().__init__(least, most)
        self.why = why

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        return with_reason(self, super().convert, value, param, ctx)


class Real(click.FloatRange):
    """A finite number from ``least`` to ``most``; ``why`` not more."""

    def __init__(self, least: float, most: float, why: str) -> None:
        super().__init__(least, most)
        self.why = why

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        return with_reason(self, super().convert, value, param, ctx)


def with_reason(kind: Whole | Real, convert: Callable[..., Any], value: Any, param: Any, ctx: Any) -> Any:
    """The number that ``value`` is; too large a one is refused with the reason."""
    try:
        number = convert(value, param, ctx)
    except click.BadParameter as error:
        reason = f"{error.message.rstrip('.')} (at most {kind.max:,}: {kind.why})."
        raise click.BadParameter(reason, ctx, param) from None
    if number != number:
        kind.fail(f"{value!r} is no number.", param, ctx)
    return number


#: Of ``--jobs``: click's type for all commands that have it.
JOBS = Whole(-1, 4096, "each is a process of some 300 MB")

#: Folds or seeds that one call may name.
MOST_NUMBERS = 10_000


class Numbers(click.ParamType):
    """``1,2 5-7`` as (1, 2, 5, 6, 7)."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        for word in str(value).replace(",", " ").split():
            first, dash, last = word.partition("-")
            written = [first, last] if dash else [first]
            if not all(n.isdecimal() and n.isascii() for n in written):
                self.fail(f"{value!r}: expected whole numbers such as '1,2' or '1-3'", param, ctx)
            if max(map(len, written)) > 18:
                self.fail(f"{value!r}: expected numbers of at most 18 digits, as seeds have them", param, ctx)
            if dash and int(last) < int(first):
                self.fail(f"{value!r}: expected whole numbers such as '1,2' or '1-3'", param, ctx)
            if int(last or first) - int(first) + len(numbers) >= MOST_NUMBERS:
                self.fail(f"{value!r}: expected at most {MOST_NUMBERS:,} numbers: each is a run", param, ctx)
            numbers += range(int(first), int(last or first) + 1)
        if len(set(numbers)) != len(numbers):
            self.fail(f"{value!r} names a number twice", param, ctx)
        return tuple(numbers)


def one_a_core(_context: Any, _parameter: Any, jobs: int) -> int:
    """−1 is 0 to the training stage: a process a core, as in the other commands."""
    return max(0, jobs)


def extra_is_there(_context: Any, _parameter: Any, log: str | None) -> str | None:
    """Says before anything else is done that the extra for the log is not installed."""
    if log:
        from pipeline.report import following

        following.summary_writer()
    return log


@contextmanager
def logged(log: str | None, corpus: str, to: Path = LOGS) -> Iterator[None]:
    """While the block trains, what its runs write also goes to TensorBoard's log, if ``log`` asks for it."""
    if log is None:
        yield
        return
    from pipeline.report import following

    to.mkdir(parents=True, exist_ok=True)
    click.echo(f"log in {to}; look at it with: tensorboard --logdir {to}", err=True)
    with following.logging(following.TensorBoardLog(to, RUNS), RUNS / corpus):
        yield


def pack_options(command: F) -> F:
    """How runs are trained: ``log``, ``jobs``, ``checkpoint_minutes``, ``layout``, ``pack``, ``device``, and ``seeds``."""
    for option in (
        click.option("--log", type=click.Choice(["tensorboard"]), callback=extra_is_there,
                     help="Beside metrics.jsonl, log the terms of every epoch and the confusion matrix to "
                     "reports/tensorboard (needs the extra: audio-rkd[tensorboard])."),
        click.option("--scheduler", help="Address of a dask scheduler; default: dask workers on this machine."),
        click.option("--backend", type=click.Choice(["local", "dask"]), default="local", show_default=True,
                     help="Where packs are trained."),
        click.option("--jobs", type=JOBS, default=-1, show_default=True, callback=one_a_core,
                     help="Processes on a CPU; -1: one a core."),
        click.option("--checkpoint-minutes", type=Real(0, 1e6, "that is two years"), default=5.0, show_default=True,
                     help="How often an unfinished pack is saved."),
        click.option("--layout", default=None, help="How runs lie in memory; default: loop on a CPU, measured on a GPU."),
        click.option("--pack", type=Whole(1, 100_000, "no device holds more runs"), help="Runs trained as one; default: by a short measurement."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
                     help="auto: the GPU where torch sees one."),
        click.option("--seeds", type=Numbers(), default="0", show_default=True, help="A run for each, say 0,1,2 or 0-4."),
    ):  # fmt: skip
        command = option(command)
    return command


def training_options(command: F) -> F:
    folds = click.option(
        "--folds", type=Numbers(), help="Held-out folds, say 1,2 or 1-10; default: all there are."
    )
    return settings_options(folds(pack_options(command)))


def archive_options(command: F) -> F:
    """Where CIFAR-100 is and how it is split: ``archive``, ``no_checksum``, ``split_seed``, ``validation``."""
    for option in (
        click.option("--validation", type=Whole(0, 50_000, "so many training images there are"), help="CIFAR-100: training images kept aside; default: a tenth."),
        click.option("--split-seed", type=Whole(0, 2**63 - 1, "seeds have 63 bits"), default=0, show_default=True,
                     help="CIFAR-100: which training images are kept aside."),
        click.option("--no-checksum", is_flag=True, help="CIFAR-100: take an archive that is not the published one; its "
                     "figures are stamped SYNTHETIC."),
        click.option("--archive", type=click.Path(path_type=Path),
                     help="CIFAR-100's archive, or the folder it unpacks to; default: where it lies in data/."),
    ):  # fmt: skip
        command = option(command)
    return command


def teacher_epoch_option(command: F) -> F:
    return click.option("--teacher-epoch", type=click.Choice(["last", "best"]),
                        help="Which epoch's teacher teaches. best is stopped early by the held-out fold itself: optimistic, "
                        "and the table says so. Default: the preset's, last.")(command)  # fmt: skip


def with_teacher(overrides: tuple[str, ...], teacher_epoch: str | None) -> tuple[str, ...]:
    """``--teacher-epoch`` as the setting that it is."""
    return (*overrides, f"student.teacher_epoch={teacher_epoch}") if teacher_epoch else overrides
