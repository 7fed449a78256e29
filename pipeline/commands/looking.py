"""``retrieval``, ``doctor``, ``runs``, ``compare``, ``rerun`` and ``follow``: looking at what there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import Numbers
from pipeline.config import InputError
from pipeline.corpus import DATASETS

RUNS, CACHE, REPORTS = Path("runs"), Path("cache"), Path("reports")
STATUSES = ("trained", "did not train", "failed", "unfinished")

corpus_option = click.option(
    "--corpus", metavar="NAME", help="Only runs of this corpus: the name of its folder in runs/."
)


def which_corpus(command: Any) -> Any:
    command = click.option("--data", type=click.Path(path_type=Path), help="The corpus' folder.")(command)
    return click.option(
        "--dataset", type=click.Choice(["auto", *DATASETS]), default="auto", show_default=True
    )(command)


@click.command()
@which_corpus
@click.option("--layer", type=click.Choice(["embedding", "hidden"]), default="embedding", show_default=True,
              help="Of the students: the flattened layer, or the one behind it. A teacher's is its embedding.")  # fmt: skip
@click.option("--losses", multiple=True, help="Only these mixes (and the baseline); may be repeated.")
def retrieval(dataset: str, data: Path | None, layer: str, losses: tuple[str, ...]) -> None:
    """Recall@1, 2, 4, 8 of the embeddings of the held-out clips: teacher, students, and what no training made."""
    from pipeline.losses import LossMix

    for text in losses:
        LossMix.parse(text)
    from pipeline.stages import data as places
    from pipeline.stages import retrieval as stage

    corpus, note = places.open_or_make(dataset, data)
    if note:
        click.echo(note, err=True)
    click.echo(stage.report(RUNS, CACHE, REPORTS, corpus.name, layer=layer, mixes=losses), nl=False)


@click.command()
@which_corpus
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(dataset: str, data: Path | None, as_json: bool) -> None:
    """Is everything there and working? Libraries, device, folders, corpora, caches, runs, and what comes next.

    Exit code 1, and the remedy, where something is broken.
    """
    from pipeline import config, diagnosis
    from pipeline.stages import data as places

    roots = {name: places.chosen(name, None)[1] for name in places.FOLDERS if name != "esc10"}
    if data is not None:
        name, root = places.chosen(dataset, data)
        if not root.is_dir():
            raise InputError(f"no folder {root}; expected the data set {name} there")
        roots[name] = root
    found = diagnosis.findings(roots, places.DATA, places.CACHE, places.RUNS, REPORTS)
    broken = [one for one in found if one.remedy]
    try:
        following = places.status(dataset, data, config.read()).splitlines()[-1].removeprefix("next").strip()
    except (InputError, ImportError, OSError):
        following = "what is broken above"
    if as_json:
        listed = [
            {"subject": f.subject, "ok": not f.remedy, "text": f.text, "remedy": f.remedy} for f in found
        ]
        click.echo(json.dumps({"ok": not broken, "findings": listed, "next": following}, indent=2))
    else:
        click.echo("\n".join(one.line() for one in found))
        click.echo(f"next    {following}")
        click.echo(f"{len(broken)} of {len(found)} broken" if broken else "all well")
    if broken:
        sys.exit(1)


@click.command(name="runs")
@corpus_option
@click.option("--mix", help="Only this mix, say angle,area, or teacher.")
@click.option("--fold", "folds", type=Numbers(), help="Only these held-out folds, say 1,2 or 1-3.")
@click.option("--seed", "seeds", type=Numbers(), help="Only these seeds.")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs in this state.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def runs_(corpus: str | None, mix: str | None, folds: tuple[int, ...] | None, seeds: tuple[int, ...] | None,
          status: str | None, as_json: bool) -> None:  # fmt: skip
    """The runs that there are, finished or not, one a line."""
    from pipeline import comparison

    found = comparison.listing(RUNS, corpus, mix=mix, folds=folds or (), seeds=seeds or (), status=status)
    click.echo(json.dumps(found, indent=2) if as_json else comparison.listing_text(found))


@click.command()
@click.argument("a")
@click.argument("b")
@corpus_option
def compare(a: str, b: str, corpus: str | None) -> None:
    """What differs between A and B, and the paired difference B less A with its interval.

    Each is a run folder, a folder of runs, a mix such as angle,area, or the word teacher.
    """
    from pipeline import comparison

    comparison.require(RUNS, corpus)
    sides = [comparison.side(text, RUNS, corpus) for text in (a, b)]
    click.echo(comparison.compare(*sides))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    help="Where the repetition goes; default: .again/ beside the run.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Default: the one recorded.")
def rerun(run: Path, to: Path | None, device: str | None) -> None:
    """Repeat a run from its record, and say whether it comes out the same bit for bit (exit code 1 if not)."""
    from pipeline.stages import rerun as stage

    done = stage.rerun(run, to, device=device, say=lambda line: click.echo(line, err=True))
    click.echo("\n".join([f"{run} again, in {done.folder}", *done.lines]))
    if not done.same:
        sys.exit(1)


@click.command()
@click.argument("paths", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@corpus_option
@click.option("--once", is_flag=True, help="One line, and the end.")
@click.option(
    "--every", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--log", type=click.Choice(["tensorboard"]), help="Also write what there is, finished runs too, as a log "
              "(needs the extra: pip install 'audio-rkd[tensorboard]').")  # fmt: skip
@click.option(
    "--to", type=click.Path(path_type=Path), help="Where the log goes; default: reports/tensorboard."
)
def follow(paths: tuple[Path, ...], corpus: str | None, once: bool, every: float, log: str | None, to: Path | None) -> None:  # fmt: skip
    """Runs under way in one line: how many, epoch, mean and worst accuracy, time left. RUN: a run, or a folder of runs.

    Ends when nothing has been under way for a while. Ctrl-C ends the view, not the runs.
    """
    from pipeline import comparison, following

    comparison.require(RUNS, corpus)
    root = RUNS / corpus if corpus else RUNS
    writer = None
    if log:
        following.summary_writer()
        writer = following.TensorBoardLog(to or REPORTS / "tensorboard", RUNS)
        click.echo(f"log in {writer.folder}; look at it with: tensorboard --logdir {writer.folder}", err=True)
    live = sys.stdout.isatty() and not once

    def show(text: str) -> None:
        click.echo(f"\r\x1b[K{text}" if live else text, nl=not live)

    def look() -> tuple[list[Path], list[Path]]:
        return following.wanted(paths, root)

    if once:
        unfinished, finished = look()
        if writer:
            writer.write([*unfinished, *finished])
        show(following.line(unfinished, len(finished)))
        return
    try:
        following.follow(look, show, every=every, log=writer)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The runs go on.") from None
    finally:
        if live:
            click.echo()


COMMANDS = (retrieval, doctor, runs_, compare, rerun, follow)
