"""What a student of preset ``device`` loses or wins: fixed tuning and a floor against librosa's own features, paired by fold and seed.

Both presets are extracted, their teachers and students trained by the command line, which knows what is finished, so that the
same command goes on; then the students of ``device`` are compared with those of ``default``, mix by mix, on the same folds and
seeds, with the corrected t-test's interval. Written: the table, printed and as ``reports/CORPUS/device.md``.

    python -m bench.device --dataset urbansound8k --data ../shared/urbansound8k-3folds [--losses soft --losses angle] [--seeds 3]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.commands import called
from pipeline import places, runs
from pipeline.config import InputError
from pipeline.corpus import open_corpus, opening
from pipeline.figures import statistics
from pipeline.files import write_atomic
from pipeline.losses import LossMix
from pipeline.report.aggregation import counted, percents, ratio
from pipeline.runs import Record

BASELINE, DEVICE = "default", "device"

HEAD = ("mix", "runs", BASELINE, DEVICE, "difference, corrected 95 %")


def train(arguments: argparse.Namespace) -> None:
    """Every run that is missing, of the presets named."""
    where = ["--dataset", arguments.dataset, *(["--data", str(arguments.data)] if arguments.data else [])]
    seeds = ["--seeds", " ".join(map(str, range(arguments.seeds)))]
    folds = ["--folds", arguments.folds] if arguments.folds else []
    sets = [word for each in arguments.set for word in ("--set", each)]
    mixes = [word for each in arguments.losses for word in ("--losses", each)]
    for preset in (arguments.baseline, arguments.device):
        chosen = [*where, "--preset", preset, *sets]
        for command in (["features", *chosen], ["distill", *chosen, *folds, *seeds, *mixes]):
            if command[0] == "distill":
                require_done(["teacher", *chosen, *folds])
            require_done(command)


def require_done(words: Sequence[str]) -> None:
    """One command of the command line; ends with its exit code where it fails."""
    if code := called(words):
        sys.exit(code)


def row(mix: str, records: Sequence[Record], baseline: str, device: str) -> tuple[str, ...]:
    """A mix's cells: the means of both presets and their paired difference."""
    slug = LossMix.parse(mix).slug
    ours, theirs = (
        [r for r in records if r.is_student and r.preset == name and LossMix.parse(r.recorded_mix).slug == slug]
        for name in (device, baseline)
    )
    for part in (ours, theirs):
        if len(settings := sorted({r.folder.parent.parent.name for r in part})) > 1:
            raise InputError(
                f"{mix}: runs of {' and '.join(settings)}; expected one kind of settings a preset: other runs elsewhere"
            )
    values, base = (percents(counted(part), "accuracy") for part in (ours, theirs))
    compared = statistics.comparison(values, base, ratio(ours[0])) if values and base else None
    if compared is None:
        raise InputError(
            f"{mix}: no trained runs of both presets on the same folds and seeds; expected some to compare"
        )
    means = (f"{statistics.spread(each).mean:.2f} %" for each in (base, values))
    interval = "" if compared.low is None else f" [{compared.low:+.2f}, {compared.high:+.2f}]"
    return (mix, str(compared.n), *means, f"{compared.difference:+.2f}{interval}, {compared.units} folds")


def table(records: Sequence[Record], arguments: argparse.Namespace) -> str:
    """Markdown."""
    head = [
        name if name not in (BASELINE, DEVICE) else {BASELINE: arguments.baseline, DEVICE: arguments.device}[name]
        for name in HEAD
    ]
    rows = [row(mix, records, arguments.baseline, arguments.device) for mix in arguments.losses]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)) + "\n"


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="urbansound8k")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folds", default="", help='for example "1 2 3"; default: all')
    parser.add_argument(
        "--losses", action="append", default=[], help="a mix; may be given again; default: soft and angle"
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument(
        "--set", action="append", default=[], help="a setting of both presets, for example student.epochs=10"
    )
    parser.add_argument("--baseline", default=BASELINE, help="the preset that is compared with")
    parser.add_argument("--device", default=DEVICE, help="the preset that is compared")
    arguments = parser.parse_args(words)
    arguments.losses = arguments.losses or ["soft", "angle"]
    return arguments


def main(words: Sequence[str] | None = None) -> None:
    arguments = parsed(words)
    train(arguments)
    corpus = open_corpus(arguments.dataset, opening.chosen(arguments.dataset, arguments.data)[1])
    text = table(runs.find(places.runs(), corpus.name), arguments)
    write_atomic(places.reports() / corpus.name / "device.md", text.encode())
    print(text, end="")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
