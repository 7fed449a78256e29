"""What a run says of sounds."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline import goals, places
from pipeline.commands.types import PATH, Real, Whole
from pipeline.config import InputError
from pipeline.deploy import answers
from pipeline.files import write_atomic
from pipeline.progress import beside_a_bar, progress
from pipeline.spelling import on_disk, one_line

if TYPE_CHECKING:
    from pipeline.deploy.prediction import Checkpoint, Prediction

SECTION = "Using a run"
ORDER = 41
EXAMPLES = (
    "predict RUN street.wav",
    "predict RUN OTHER-RUN sounds/ --top 1 --csv",
    "predict RUN hours.wav --segments --audacity labels",
    "predict RUN --microphone",
)

STDIN = "-"


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN... [SOUND...]", type=PATH)
@click.option("--top", type=Whole(1, 1_000_000, "no corpus has more classes"), default=3, help="Classes shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, one line per sound.")
@click.option("--csv", "as_csv", is_flag=True, help="A line for each window and class shown.")
@click.option(
    "--segments", is_flag=True, help="Windows merged into events: class, start, end, score (also with --csv, --json)."
)
@click.option(
    "--threshold",
    type=Real(0, 1, "it is a probability"),
    help='Of --segments: what the likeliest class has at least; below is no event.  [default: where the run\'s "none of these" ends, else 0.5]',
)
@click.option(
    "--audacity",
    type=PATH,
    metavar="FOLDER",
    help="Of --segments: also a label track for Audacity per sound, FOLDER/NAME.txt.",
)
@click.option("--calibrated", is_flag=True, help="Probabilities at each run's temperature (audio-rkd calibrate).")
@click.option("--microphone", is_flag=True, help="Listen until Ctrl-C (needs the extra audio-rkd[mic]).")
def predict(
    paths: tuple[Path, ...],
    top: int,
    as_json: bool,
    as_csv: bool,
    segments: bool,
    threshold: float | None,
    audacity: Path | None,
    calibrated: bool,
    microphone: bool,
) -> None:
    """What a trained run says of sounds: files of any format, rate and length, folders, or - for WAV on stdin.

    RUN is a run folder or its model.pt; of several runs the probabilities are averaged. Sounds longer than the clip
    length are heard in windows that overlap by half. A corpus' clip was heard in training by the runs of all folds
    but its own. A file that is no sound costs only itself; the exit code is 1 then.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other; expected one of them")
    if not segments and (threshold is not None or audacity):
        raise click.UsageError("--threshold and --audacity are of events; expected --segments with them")
    if segments and microphone:
        raise click.UsageError("--segments is of whole sounds; expected it without --microphone")
    with uncollected():
        folders, sounds = parted(paths)
    if not sounds and not microphone:
        raise click.UsageError(f"no sounds; expected files, folders or - behind {folders[-1]}, or --microphone")
    from pipeline import features  # numpy, and below torch: --help does without
    from pipeline.deploy import prediction
    from pipeline.processes import heap

    members = prediction.ensemble(folders, calibrated)
    require_sounds(sounds)
    heap.keep_small(*prediction.HEAP)
    features.compile_kernels()
    warn(folders, any(member.synthetic for member in members))
    chosen = "json" if as_json else "csv" if as_csv else "text"
    if segments:
        show = event_writer(members[0].classes, chosen, threshold, audacity)
    else:
        show = window_writer(members[0].classes, chosen, top)
    try:
        failed = predict_all(members, sounds, show)
        if microphone:
            listen(members, show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("What was printed stands; the same command begins anew.") from None
    if failed:
        sys.exit(1)


def warn(folders: Sequence[Path], synthetic: bool) -> None:
    """What is known of the runs that answer: a threshold that is gone, made-up sounds."""
    from pipeline.runs import refusal

    for line in filter(None, map(refusal.lost_in, folders)):
        click.echo(f"note: {goals.here(line)}", err=True)
    if synthetic:
        click.echo("SYNTHETIC: trained on made-up sounds; it knows nothing of real ones.", err=True)


@contextmanager
def uncollected() -> Iterator[None]:
    """Nothing that torch's import makes is garbage, and to look through it for some takes a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def parted(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The leading runs, and the sounds behind them."""
    from pipeline.models.saved import model_file  # torch: --help does without

    count = next((i for i, path in enumerate(paths) if model_file(path) is None), len(paths))
    # The first is meant as a run in any case, so that the error is about what was meant.
    return list(paths[: max(1, count)]), list(paths[max(1, count) :])


def require_sounds(paths: Sequence[Path]) -> None:
    """``InputError`` where one of ``paths`` is not there, or is meant as a run: before anything is predicted.

    A run that is taken for a sound would be missing from the ensemble, and the answer come from the others.
    """
    from pipeline.models.saved import model_file  # torch: --help does without
    from pipeline.runs.folder import FOLDER as RUN

    for path in paths:
        if str(path) == STDIN:
            continue
        real = Path(os.path.realpath(path))  # links that lead nowhere are told below
        if model_file(path):
            raise InputError(f"{path} is a run, behind sounds; expected the runs first: RUN... SOUND...")
        if RUN.fullmatch(real.name) or real.is_relative_to(places.runs().resolve()):
            reason = "no finished run: it has no model.pt" if path.exists() else "no such run"
            raise InputError(f"{path}: {reason}; expected runs as 'audio-rkd runs' lists them, then sounds")
        if not os.path.lexists(on_disk(path)):
            raise InputError(
                f"{path}: missing; expected a sound file, a folder of them, or a run. Nothing was predicted"
            )


def window_writer(classes: Sequence[str], chosen: str, top: int) -> Callable[[str, Prediction], None]:
    """What is said of a sound, window by window; the head of a CSV is printed at once."""
    kinds: dict[str, Callable[..., str]] = {
        "json": answers.as_json,
        "csv": answers.as_csv,
        "text": partial(answers.as_text, dash=dash()),
    }
    if chosen == "csv":
        click.echo(",".join(answers.COLUMNS))
    return lambda name, answer: say(kinds[chosen](name, answer, classes, top))


def event_writer(
    classes: Sequence[str], chosen: str, threshold: float | None, tracks: Path | None
) -> Callable[[str, Prediction], None]:
    """The events of a sound. ``threshold``: None for that of the run's "none of these", or 0.5. ``tracks``: the folder of label tracks, one per sound."""
    from pipeline.deploy import segments  # torch: --help does without

    if chosen == "csv":
        click.echo(",".join(segments.COLUMNS))
    names: set[str] = set()

    def show(name: str, answer: Prediction) -> None:
        known = segments.THRESHOLD if answer.threshold is None else answer.threshold
        heard = segments.events(answer, classes, known if threshold is None else threshold)
        if chosen == "json":
            say(segments.as_json(name, heard, answer.seconds))
        elif text := segments.as_csv(name, heard) if chosen == "csv" else segments.as_text(name, heard, dash()):
            say(text)
        if tracks:
            track = segments.track_name("standard-input" if name == STDIN else Path(name).name, names)
            names.add(track)
            tracks.mkdir(parents=True, exist_ok=True)
            write_atomic(tracks / track, segments.as_labels(heard).encode())

    return show


def predict_all(members: Sequence[Checkpoint], paths: Sequence[Path], show: Callable[[str, Prediction], None]) -> int:
    """Show what is in files, folders and a pipe, with a bar that knows the time left; how many could not be read, each with its line."""
    from pipeline.deploy import prediction, sounds  # torch: --help does without

    each: list[Path | InputError] = []
    for path in paths:
        try:
            each += [path] if str(path) == STDIN else sounds.sound_files(on_disk(path))
            if path.is_dir() and (more := sounds.left_out(path)):
                say(one_line(more), err=True)
        except InputError as error:
            each.append(error)
    spec = members[0].spec
    counts = [sounds.window_count(one, spec) if isinstance(one, Path) and str(one) != STDIN else 1 for one in each]
    stream = sys.stderr if sum(counts) > prediction.GROUP else None  # over at once
    failed = 0
    with progress("predict", sum(counts), "window", stream) as tell:
        for one, count in zip(each, counts):
            if isinstance(one, InputError):
                say(one_line(f"error: {one}"), err=True)
                failed += 1
            else:
                failed += not predicted(members, one, show, count, tell)
    return failed


def predicted(
    members: Sequence[Checkpoint],
    path: Path,
    show: Callable[[str, Prediction], None],
    windows: int,
    tell: Callable[[int], None],
) -> bool:
    """Show what is said of a sound of so many windows, or why nothing is: whether it could be read."""
    from pipeline.deploy import prediction  # torch: --help does without

    told = 0

    def count(more: int) -> None:
        nonlocal told
        told += more
        tell(more)

    try:
        if str(path) == STDIN:
            answer = prediction.predict_stream(members, sys.stdin.buffer, STDIN, two_processes=True)
        else:
            answer = prediction.predict_file(members, path, count, two_processes=True)
    except InputError as error:
        say(one_line(f"error: {error}"), err=True)
        return False
    else:
        show(str(path), answer)
        return True
    finally:
        tell(max(0, windows - told))


def listen(members: Sequence[Checkpoint], show: Callable[[str, Prediction], None]) -> None:
    """Predict from the microphone until Ctrl-C."""
    from pipeline.deploy import prediction, sounds  # torch: --help does without

    spec = members[0].spec
    for count, samples in enumerate(sounds.microphone(spec)):
        start = count * (spec.samples // 2) / spec.sr
        end = start + spec.seconds
        answer = dataclasses.replace(prediction.predict(members, [samples]), times=((start, end),))
        show(f"microphone {start:.1f}{dash()}{end:.1f} s", answer)


def say(text: str, err: bool = False) -> None:
    """Print a line, whatever letters the terminal knows and whatever bytes a file's name has.

    What cannot be written is escaped as JSON escapes it, so that an object stays one, and a name what it was.
    """
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = "".join(letter if writable(letter, encoding) else json.dumps(letter)[1:-1] for letter in text)
    with beside_a_bar():
        click.echo(text, err=err)


def writable(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def dash() -> str:
    """Between two times: a long one where standard output has it."""
    return "–" if writable("–", sys.stdout.encoding or "utf-8") else "-"
