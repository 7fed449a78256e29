"""``predict``, ``export`` and ``cost``: what a person does with a finished run."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import Whole, corpus_options, runs_of
from pipeline.config import InputError
from pipeline.files import inert
from pipeline.spelling import on_disk

if TYPE_CHECKING:
    from pipeline.deploy.prediction import Checkpoint, Prediction

STDIN = "-"
COLUMNS = ("file", "start_s", "end_s", "rank", "class", "probability")


def which_corpus(command: Any) -> Any:
    """Options that say which corpus' runs to choose from, where no run is named."""
    return corpus_options(command, "Whose runs to choose from where none is named. ")


def corpus_name(run: Path | None, dataset: str, data: Path | None) -> str:
    return "" if run is not None else runs_of(dataset, data)[0]


# -------------------------------------------------------------------------------------------------- predict


def parted(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The leading runs, and the sounds behind them."""
    from pipeline.models.saved import model_file

    count = next((i for i, path in enumerate(paths) if model_file(path) is None), len(paths))
    # The first is meant as a run in any case, so that the error is about what was meant.
    return list(paths[: max(1, count)]), list(paths[max(1, count) :])


def require_sounds(paths: Sequence[Path]) -> None:
    """``InputError`` where one of ``paths`` is not there, or is meant as a run: before anything is predicted.

    A run that is taken for a sound would be missing from the ensemble, and the answer come from the others.
    """
    from pipeline.models.saved import model_file
    from pipeline.runs.folder import FOLDER as RUN

    for path in paths:
        if str(path) == STDIN:
            continue
        own = Path(os.path.realpath(path))  # links that lead nowhere are told below
        if model_file(path):
            raise InputError(f"{path} is a run, behind sounds; expected the runs first: RUN... SOUND...")
        if RUN.fullmatch(own.name) or own.is_relative_to(Path("runs").resolve()):
            what = "no finished run: it has no model.pt" if path.exists() else "no such run"
            raise InputError(f"{path}: {what}; expected runs as 'audio-rkd runs' lists them, then sounds")
        if not os.path.lexists(on_disk(path)):
            raise InputError(
                f"{path}: missing; expected a sound file, a folder of them, or a run. Nothing was predicted"
            )


def top_classes(probabilities: Any, classes: Sequence[str], top: int) -> list[tuple[str, float]]:
    order = sorted(range(len(classes)), key=lambda i: -probabilities[i])[:top]
    return [(classes[i], float(probabilities[i])) for i in order]


def say(text: str, err: bool = False) -> None:
    """Print a line, whatever letters the terminal knows and whatever bytes a file's name has.

    What cannot be written is escaped as JSON escapes it, so that an object stays one; a long dash becomes a short one.
    """
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = "".join(letter if writable(letter, encoding) else escaped(letter) for letter in text)
    click.echo(text, err=err)


def writable(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def escaped(letter: str) -> str:
    return "-" if letter == "–" else json.dumps(letter)[1:-1]


def as_text(name: str, found: Prediction, classes: Sequence[str], top: int) -> str:
    def line(head: str, probabilities: Any) -> str:
        words = (f"{label} {100 * p:5.1f} %" for label, p in top_classes(probabilities, classes, top))
        return "   ".join([head, *words])

    values = found.probabilities
    if len(values) == 1:
        return line(name, values[0])
    lines = [line(f"{name}  (mean of {len(values)} windows)", values.mean(0))]
    return "\n".join(lines + [line(f"  {a:8.2f}–{b:.2f} s", p) for (a, b), p in zip(found.times, values)])


def as_csv(name: str, found: Prediction, classes: Sequence[str], top: int) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for (start, end), values in zip(found.times, found.probabilities):
        for rank, (label, p) in enumerate(top_classes(values, classes, top), 1):
            writer.writerow([inert(name), f"{start:.3f}", f"{end:.3f}", rank, inert(label), f"{p:.6f}"])
    return out.getvalue().rstrip("\n")


def as_json(name: str, found: Prediction, classes: Sequence[str], top: int) -> str:
    def ranked(probabilities: Any) -> list[dict[str, Any]]:
        return [{"class": label, "probability": p} for label, p in top_classes(probabilities, classes, top)]

    values = found.probabilities
    windows = [
        {"start_s": start, "end_s": end, "top": ranked(values[i]), "logits": found.logits[:, i].tolist()}
        for i, (start, end) in enumerate(found.times)
    ]
    return json.dumps({"file": name, "seconds": found.seconds, "top": ranked(values.mean(0)), "windows": windows},
                      ensure_ascii=False)  # fmt: skip


def listen(members: Sequence[Checkpoint], show: Any) -> None:
    """Predict from the microphone until Ctrl-C."""
    import dataclasses

    from pipeline.deploy import prediction

    spec = members[0].spec
    for count, samples in enumerate(prediction.microphone(spec)):
        start = count * (spec.samples // 2) / spec.sr
        found = prediction.predict(members, [samples])
        end = start + spec.seconds
        show(f"microphone {start:.1f}–{end:.1f} s", dataclasses.replace(found, times=((start, end),)))


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, metavar="RUN... [SOUND...]", type=click.Path(path_type=Path)
)
@click.option(
    "--top",
    type=Whole(1, 1_000_000, "no corpus has more classes"),
    default=3,
    show_default=True,
    help="Classes shown.",
)
@click.option("--json", "as_json_", is_flag=True, help="One JSON object a line, one line a sound.")
@click.option("--csv", "as_csv_", is_flag=True, help="A line for each window and class shown.")
@click.option("--microphone", is_flag=True, help="Listen until Ctrl-C (needs the extra audio-rkd[mic]).")
def predict(paths: tuple[Path, ...], top: int, as_json_: bool, as_csv_: bool, microphone: bool) -> None:
    """What a trained run says of sounds: files of any format, rate and length, folders, or - for WAV on stdin.

    RUN is a run folder or its model.pt; of several runs the probabilities are averaged. Sounds longer than the clip
    length are heard in windows that overlap by half. A corpus' clip was heard in training by the runs of all folds
    but its own. A file that is no sound costs only itself; the exit code is 1 then.
    """
    if as_json_ and as_csv_:
        raise click.UsageError("--json and --csv exclude each other; expected one of them")
    folders, sounds = parted(paths)
    if not sounds and not microphone:
        raise click.UsageError(
            f"no sounds; expected files, folders or - behind {folders[-1]}, or --microphone"
        )
    from pipeline.deploy import prediction

    members = prediction.ensemble(folders)
    require_sounds(sounds)
    prediction.one_thread()
    if any(member.synthetic for member in members):
        click.echo("SYNTHETIC: trained on made-up sounds; it knows nothing of real ones.", err=True)
    written: Callable[..., str] = as_json if as_json_ else as_csv if as_csv_ else as_text

    def show(name: str, found: prediction.Prediction) -> None:
        say(written(name, found, members[0].classes, top))

    if as_csv_:
        click.echo(",".join(COLUMNS))
    failed = sum(predicted(members, path, show) for path in sounds)
    if microphone:
        listen(members, show)
    if failed:
        sys.exit(1)


def predicted(members: Sequence[Checkpoint], path: Path, show: Any) -> int:
    """Show what is in a file, folder or pipe; the number of files that could not be read, each with its line."""
    from pipeline.deploy import prediction

    failed = 0
    try:
        files = [path] if str(path) == STDIN else prediction.sound_files(on_disk(path))
    except InputError as error:
        say(f"error: {error}", err=True)
        return 1
    for file in files:
        try:
            if str(file) == STDIN:
                found = prediction.predict_stream(members, sys.stdin.buffer, STDIN)
            else:
                found = prediction.predict_file(members, file)
        except InputError as error:
            say(f"error: {error}", err=True)
            failed += 1
        else:
            show(str(file), found)
    return failed


# ------------------------------------------------------------------------------------------- export, cost


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@which_corpus
@click.option("--calibration", type=Whole(1, 1_000_000, "the scales of int8 are settled long before"), default=400, show_default=True,
              help="Samples of the training folds that fix the scales of int8.")  # fmt: skip
def export(run: Path | None, dataset: str, data: Path | None, calibration: int) -> None:
    """A run as ONNX, in float and int8, with labels, feature settings and the proof; default: the best mix's."""
    from pipeline.deploy import export as exporting

    corpus = corpus_name(run, dataset, data)
    folder, notes = exporting.chosen(run, Path("runs"), corpus)
    for note in notes:
        click.echo(note, err=True)
    click.echo(
        exporting.text(*exporting.export(folder, Path("cache"), Path("exports"), calibration=calibration))
    )


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@which_corpus
@click.option(
    "--threads",
    type=Whole(1, 1024, "more threads than cores only wait"),
    default=1,
    show_default=True,
    help="Of the network.",
)
@click.option(
    "--batch",
    type=Whole(1, 65_536, "they are held in memory at once"),
    default=1,
    show_default=True,
    help="Clips a call.",
)
@click.option(
    "--repeats",
    type=Whole(10, 1_000_000, "the spread is settled long before"),
    default=200,
    show_default=True,
    help="Calls timed.",
)
def cost(run: Path | None, dataset: str, data: Path | None, threads: int, batch: int, repeats: int) -> None:
    """What a clip costs, teacher against student: parameters, bytes, multiply-adds, CPU time, features, accuracy."""
    from pipeline.deploy import cost as costs

    found = costs.measured(run, Path("runs"), Path("exports"), corpus_name(run, dataset, data),
                           threads=threads, batch=batch, repeats=repeats)  # fmt: skip
    click.echo(costs.report(found, Path("reports")), nl=False)


COMMANDS = (predict, export, cost)
