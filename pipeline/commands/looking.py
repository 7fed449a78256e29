"""``inspect``, ``retrieval``, ``doctor``, ``runs``, ``compare``, ``ensemble``, ``rerun`` and ``follow``: looking at what there is."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click

from pipeline.commands.options import (
    LOGS,
    Numbers,
    Real,
    corpus_options,
    existing_corpus,
    extra_is_there,
    runs_of,
    settings_options,
)
from pipeline.config import InputError
from pipeline.corpus import DATASETS

RUNS, CACHE, REPORTS = Path("runs"), Path("cache"), Path("reports")
STATUSES = ("trained", "outputs untrained", "did not train", "failed", "unfinished")

corpus_option = click.option(
    "--corpus", metavar="NAME", help="Only runs of this corpus: the name of its folder in runs/."
)


@click.command()
@settings_options
@click.option("--fold", type=int, help="Default: the first that is there.")
@click.option("--clip", help="One clip's five features, clean and noisy, as a picture.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the picture goes; default: reports/CORPUS/CLIP.png.",
)
@click.option(
    "--verify", is_flag=True, help="Compare features, labels and clip names with the stored digest."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def inspect(dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...], fold: int | None,
            clip: str | None, output: Path | None, verify: bool, as_json: bool) -> None:  # fmt: skip
    """What is in a fold's file: tree, axes, units, counts a class, values a feature, settings, versions."""
    from pipeline import cache, config
    from pipeline.report import inspection

    if clip and (verify or as_json):
        raise click.UsageError(
            "--clip draws one clip; --verify and --json are of a whole fold: give one or the other"
        )
    if output and not clip:
        raise click.UsageError("--output is where the picture of a clip goes; expected --clip NAME with it")
    corpus = existing_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, overrides), corpus.seconds)
    if fold is not None and fold not in corpus.folds:
        raise InputError(f"fold {fold}: {corpus.name} has the folds {', '.join(map(str, corpus.folds))}")
    paths = {k: cache.fold_path(CACHE, corpus.name, settings.features, k) for k in corpus.folds}
    present = [k for k, path in paths.items() if path.is_file()]
    if not present or (fold is not None and fold not in present):
        raise InputError(f"no features of fold {corpus.folds[0] if fold is None else fold} in "
                         f"{next(iter(paths.values())).parent}; make them first: make features")  # fmt: skip
    if clip:
        from pipeline.report.plots.clip import clip_picture

        holder = next((c.fold for c in corpus.clips if c.name == clip), present[0])
        target = output or REPORTS / corpus.name / f"{Path(clip).stem}.png"
        click.echo(clip_picture(paths[holder if fold is None else fold], clip, target))
        return
    found = inspection.inspect_fold(paths[present[0] if fold is None else fold], verify=verify)
    click.echo(json.dumps(found, indent=2) if as_json else inspection.fold_text(found))


@click.command()
@corpus_options
@click.option("--layer", type=click.Choice(["embedding", "hidden"]), default="embedding", show_default=True,
              help="Of the students: the flattened layer, or the one behind it. A teacher's is its embedding.")  # fmt: skip
@click.option("--losses", multiple=True, help="Only these mixes (and the baseline); may be repeated.")
def retrieval(dataset: str, data: Path | None, layer: str, losses: tuple[str, ...]) -> None:
    """Recall@1, 2, 4, 8 of the embeddings of the held-out clips: teacher, students, and what no training made."""
    from pipeline.losses import LossMix

    for text in losses:
        LossMix.parse(text)
    name, _ = runs_of(dataset, data)
    from pipeline.report import retrieval as stage

    click.echo(stage.report(RUNS, CACHE, REPORTS, name, layer=layer, mixes=losses), nl=False)


@click.command()
@corpus_options
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option(
    "--torch",
    "build",
    type=click.Choice(["cpu", "cuda"]),
    help="Only this: is the installed torch such a build?",
)
def doctor(dataset: str, data: Path | None, as_json: bool, build: str | None) -> None:
    """Is everything there and working? Libraries, device, folders, corpora, caches, runs, and what comes next.

    Exit code 1, and the remedy, where something is broken.
    """
    from pipeline import config
    from pipeline.corpus import opening
    from pipeline.files import CACHE, DATA, RUNS
    from pipeline.report import diagnosis, status

    if build:
        click.echo(diagnosis.require_build(build))
        return

    roots = {name: opening.chosen(name, None)[1] for name in DATASETS if name not in ("esc10", "folder")}
    own = ""
    if data is not None or dataset != "auto":
        name, root = opening.chosen(dataset, data)
        roots[name] = root
        own = name if data is not None else ""
    found = diagnosis.findings(roots, DATA, CACHE, RUNS, REPORTS, own)
    broken = [one for one in found if one.remedy]
    try:
        following = status.status(dataset, data, config.read()).splitlines()[-1].removeprefix("next").strip()
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
    from pipeline.report import listing

    found = listing.listing(RUNS, corpus, mix=mix, folds=folds or (), seeds=seeds or (), status=status)
    click.echo(json.dumps(found, indent=2) if as_json else listing.listing_text(found))


@click.command()
@click.argument("a")
@click.argument("b")
@corpus_option
def compare(a: str, b: str, corpus: str | None) -> None:
    """What differs between A and B, and the paired difference B less A with its interval.

    Each is a run folder, a folder of runs, a mix such as angle,area, or the word teacher.
    """
    from pipeline.report import comparison, listing

    listing.require(RUNS, corpus)
    sides = [comparison.side(text, RUNS, corpus) for text in (a, b)]
    click.echo(comparison.compare(*sides))


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
def ensemble(paths: tuple[Path, ...]) -> None:
    """What finished runs say together: the accuracy of their ensemble, one a fold, from their kept predictions.

    Each RUN is a run folder or a folder of runs; all runs of a fold vote with their class probabilities.
    """
    from pipeline.report import votes

    click.echo(votes.text(votes.records(paths)))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    help="Where the repetition goes; default: .again/ beside the run.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Default: the one recorded.")
@click.option("--archive", type=click.Path(path_type=Path), help="CIFAR-100's archive, of a run on images; default: where "
              "it lies in data/.")  # fmt: skip
def rerun(run: Path, to: Path | None, device: str | None, archive: Path | None) -> None:
    """Repeat a run from its record, and say whether it comes out the same bit for bit (exit code 1 if not)."""
    from pipeline.engine import rerun as stage

    done = stage.rerun(run, to, device=device, archive=archive, say=lambda line: click.echo(line, err=True))
    click.echo("\n".join([f"{run} again, in {done.folder}", *done.lines]))
    if not done.same:
        sys.exit(1)


@click.command()
@click.argument("paths", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@corpus_option
@click.option("--once", is_flag=True, help="One line, and the end.")
@click.option(
    "--every",
    type=Real(0.1, 86_400, "that is a day"),
    default=2.0,
    show_default=True,
    help="Seconds between looks.",
)
@click.option("--log", type=click.Choice(["tensorboard"]), callback=extra_is_there,
              help="Also write what there is, finished runs too, as a log (needs the extra: audio-rkd[tensorboard]).")  # fmt: skip
@click.option(
    "--to", type=click.Path(path_type=Path), default=LOGS, show_default=True, help="Where the log goes."
)
def follow(paths: tuple[Path, ...], corpus: str | None, once: bool, every: float, log: str | None, to: Path) -> None:  # fmt: skip
    """Runs under way in one line: how many, epoch, time left, mean and worst accuracy. RUN: a run, or a folder of runs.

    Ends when nothing has been under way for 15 seconds. Ctrl-C ends the view, not the runs.
    """
    from pipeline.report import following, listing

    listing.require(RUNS, corpus)
    root = RUNS / corpus if corpus else RUNS
    writer = None
    if log:
        to.mkdir(parents=True, exist_ok=True)
        writer = following.TensorBoardLog(to, RUNS)
        click.echo(f"log in {to}; look at it with: tensorboard --logdir {to}", err=True)
    live = sys.stdout.isatty() and not once

    def show(text: str) -> None:
        click.echo(f"\r\x1b[K{fitting(text)}" if live else text, nl=not live)

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


def fitting(text: str) -> str:
    """As much of a line as the terminal's width holds: what is wrapped cannot be drawn over."""
    width = shutil.get_terminal_size().columns - 1
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


COMMANDS = (inspect, retrieval, doctor, runs_, compare, ensemble, rerun, follow)
