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

from pipeline.commands.types import PATH, Whole
from pipeline.config import InputError
from pipeline.deploy import answers
from pipeline.files import RUNS
from pipeline.spelling import on_disk

if TYPE_CHECKING:
    from pipeline.deploy.prediction import Checkpoint, Prediction

SECTION = "Using a run"
ORDER = 41
EXAMPLES = (
    "predict RUN street.wav",
    "predict RUN OTHER-RUN sounds/ --top 1 --csv",
    "predict RUN --microphone",
)

STDIN = "-"


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN... [SOUND...]", type=PATH)
@click.option("--top", type=Whole(1, 1_000_000, "no corpus has more classes"), default=3, help="Classes shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, one line per sound.")
@click.option("--csv", "as_csv", is_flag=True, help="A line for each window and class shown.")
@click.option("--calibrated", is_flag=True, help="Probabilities at each run's temperature (audio-rkd calibrate).")
@click.option("--microphone", is_flag=True, help="Listen until Ctrl-C (needs the extra audio-rkd[mic]).")
def predict(paths: tuple[Path, ...], top: int, as_json: bool, as_csv: bool, calibrated: bool, microphone: bool) -> None:
    """What a trained run says of sounds: files of any format, rate and length, folders, or - for WAV on stdin.

    RUN is a run folder or its model.pt; of several runs the probabilities are averaged. Sounds longer than the clip
    length are heard in windows that overlap by half. A corpus' clip was heard in training by the runs of all folds
    but its own. A file that is no sound costs only itself; the exit code is 1 then.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other; expected one of them")
    with uncollected():
        folders, sounds = parted(paths)
    if not sounds and not microphone:
        raise click.UsageError(f"no sounds; expected files, folders or - behind {folders[-1]}, or --microphone")
    from pipeline import features  # numpy, and below torch: --help does without
    from pipeline.deploy import prediction

    members = prediction.ensemble(folders, calibrated)
    require_sounds(sounds)
    prediction.one_thread()
    prediction.share_memory()
    features.compile_kernels()
    if any(member.synthetic for member in members):
        click.echo("SYNTHETIC: trained on made-up sounds; it knows nothing of real ones.", err=True)
    as_text = partial(answers.as_text, dash=dash())
    written = answers.as_json if as_json else answers.as_csv if as_csv else as_text

    def show(name: str, answer: Prediction) -> None:
        say(written(name, answer, members[0].classes, top))

    if as_csv:
        click.echo(",".join(answers.COLUMNS))
    try:
        failed = sum(predicted(members, path, show) for path in sounds)
        if microphone:
            listen(members, show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("What was printed stands; the same command begins anew.") from None
    if failed:
        sys.exit(1)


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
        if RUN.fullmatch(real.name) or real.is_relative_to(RUNS.resolve()):
            reason = "no finished run: it has no model.pt" if path.exists() else "no such run"
            raise InputError(f"{path}: {reason}; expected runs as 'audio-rkd runs' lists them, then sounds")
        if not os.path.lexists(on_disk(path)):
            raise InputError(
                f"{path}: missing; expected a sound file, a folder of them, or a run. Nothing was predicted"
            )


def predicted(members: Sequence[Checkpoint], path: Path, show: Callable[[str, Prediction], None]) -> int:
    """Show what is in a file, folder or pipe; the number of files that could not be read, each with its line."""
    from pipeline.deploy import prediction, sounds  # torch: --help does without

    failed = 0
    try:
        files = [path] if str(path) == STDIN else sounds.sound_files(on_disk(path))
    except InputError as error:
        say(f"error: {error}", err=True)
        return 1
    for file in files:
        try:
            if str(file) == STDIN:
                answer = prediction.predict_stream(members, sys.stdin.buffer, STDIN)
            else:
                answer = prediction.predict_file(members, file)
        except InputError as error:
            say(f"error: {error}", err=True)
            failed += 1
        else:
            show(str(file), answer)
    return failed


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
