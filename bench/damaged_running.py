"""A command in a world of ``bench.damage``, in this process: what it says, and what it leaves."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from click.testing import CliRunner

from bench.damaged_world import COMMANDS, EXPORT, SOUND
from pipeline.files import sha256
from tests.tiny import forget


@dataclass(frozen=True)
class Answer:
    """What a command said, and what it leaves: name → digest."""

    command: str
    code: int
    stdout: str
    stderr: str
    products: Mapping[str, str]


#: What of an answer says when, how long or how much at a time, and nothing of what was computed.
PASSING = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:+]*|\d+:\d\d left|[\d.,]+ (s|ms|MB|MiB|GB|run-steps/s|it/s)\b|[\d,]+ bytes|(?<=and student: )[\d.]+|/tmp/\S+|tcp://\S+"
)

#: Beginning of a command → what it leaves that has to be the same: of files with times in them, what counts. The first that fits.
PRODUCTS = {
    "features": ("cache/toy/f*/*.h5",),
    "other features": ("cache/toy/f*/*.h5",),
    "teacher-file": ("new.npz",),
    "search": ("runs/toy/search-*/fold*/trials.jsonl", "runs/toy/search-*/*.toml"),
    "balanced": ("runs/toy/experiment-balanced/*/*/model.pt",),
    "other balanced": ("runs/toy/experiment-balanced/*/*/model.pt",),
    "noisy": ("reports/toy/experiment-noisy-noise.csv",),
    "report of an archive": ("reports/table/table.csv",),
    "teacher": ("runs/toy/teacher-*-mine-*/*/model.pt",),
    "distill of npz": ("runs/toy/experiment-student/*/*/model.pt",),
    "distill of h5": ("runs/toy/experiment-student/*/*/model.pt",),
    "same distill of": ("runs/toy/experiment-student/*/*/model.pt",),
    **{f"{name} distill": ("runs/toy/student-*/*/*/model.pt",) for name in ("same", "new", "stopped")},
    "distill": ("runs/toy/student-*/*/*/model.pt",),
    "half": ("runs/toy/experiment-half/*/*/model.pt",),
    "whole": ("runs/toy/experiment-whole/*/*/model.pt",),
    "export": ("exports/toy/*/*.onnx",),
    "web": ("exports/toy/*/web/*.*", "exports/toy/*/web/examples/*"),
    "report": ("reports/toy/table.csv", "reports/toy/pictures/*/*.csv"),
    "retrieval": ("reports/toy/retrieval.csv",),
}

#: Of a report, what is drawn of lines that may be lost.
OF_LINES = "curves"


def run(world: Path, command: str) -> Answer:
    """A command in a world, in this process."""
    forget()
    with contextlib.chdir(world), workers_ended():
        arguments = [str(sorted(Path().glob(a))[0]) if "*" in a else a for a in COMMANDS[command]]
        if command.startswith("example"):
            code, stdout, stderr = example(arguments[0], next(world.glob(EXPORT)))
        elif command == "web":
            with without_network():
                code, stdout, stderr = invoke(arguments)
        else:
            code, stdout, stderr = invoke(arguments)
    patterns = next((each for name, each in PRODUCTS.items() if command.startswith(name)), ()) if code == 0 else ()
    products = {str(path.relative_to(world)): sha256(path) for pattern in patterns for path in world.glob(pattern)}
    products = {name: digest for name, digest in products.items() if not Path(name).name.startswith(OF_LINES)}
    texts = (PASSING.sub("…", text.replace(f"{world}/", "")) for text in (stdout, stderr))
    return Answer(command, code, *texts, products)


@contextlib.contextmanager
def workers_ended() -> Iterator[None]:
    """The worker processes end with the command, as its own process does: the next world is another folder, and theirs is gone."""
    try:
        yield
    finally:
        loky = sys.modules.get("joblib.externals.loky.reusable_executor")
        if loky and loky._executor is not None:
            loky._executor.shutdown(wait=True, kill_workers=True)


def invoke(arguments: list[str]) -> tuple[int, str, str]:
    import cli

    result = CliRunner().invoke(cli.main, arguments, prog_name="audio-rkd")
    stderr = result.stderr
    if result.exception and not isinstance(result.exception, SystemExit):
        stderr += "".join(traceback.format_exception(result.exception))
    return result.exit_code, result.stdout, stderr


def without_network() -> mock._patch:  # type: ignore[type-arg]
    """The page's runtime is two small files in place of those that npm fetches: they are damaged as any other, and never run."""
    from pipeline.deploy.web import runtime

    return mock.patch.object(runtime, "runtime", lambda *_: {runtime.SCRIPT: b"export {};", runtime.WASM: b"\0asm"})


def example(name: str, folder: Path) -> tuple[int, str, str]:
    """An example as it is called, in this process."""
    text = (Path(__file__).resolve().parents[1] / "examples" / name).read_text()
    out, arguments = io.StringIO(), [name, str(folder), "right.wav" if name.startswith("sound") else SOUND]
    with mock.patch.object(sys, "argv", arguments), contextlib.redirect_stdout(out):
        try:
            exec(compile(text, name, "exec"), {"__name__": "__main__"})
        except SystemExit as error:
            return (0, out.getvalue(), "") if not error.code else (1, out.getvalue(), str(error.code))
        except Exception:
            return 1, out.getvalue(), traceback.format_exc()
    return 0, out.getvalue(), ""
