"""The students that the presets train, in one table: the paper's by ``soft``, ``small``, ``tiny`` and ``strong``, and their teachers.

What is missing is trained by the command line (in packs; a stop costs what came after the last checkpoint, and the same command goes
on), the most telling rows first; behind each the table is written again. At the end int8 and the time from sound to class are
measured. ``--to``: the Markdown file, of which what stands between the two marks is replaced, or all where it has none.

    python -m bench.students --dataset urbansound8k --data FOLDER --folds 1-3 --seeds "0 1 2" --to docs/students.md [--estimate]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import student_table
from bench.commands import called
from bench.student_times import Estimate, estimated
from pipeline import config, runs
from pipeline.commands.types import Numbers
from pipeline.config import FeatureSpec, InputError, Settings
from pipeline.corpus import Corpus, open_corpus, opening
from pipeline.engine.source import wanted_folds
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read, variant
from pipeline.files import write_atomic
from pipeline.runs import Record
from pipeline.runs.planned import PlannedRun

LABELS, TAUGHT = "ce", "ce:0.3,hinton:0.7@T=2"


@dataclass(frozen=True)
class Kind:
    """A row: which runs it is of."""

    name: str
    preset: str
    mix: str
    """"" of the preset's teachers."""
    sets: tuple[str, ...] = ()

    @property
    def student(self) -> str:
        """The preset that people know it by."""
        return self.name.partition(",")[0]


# ``tiny`` is ``small`` with another student, and so needs no teachers of its own.
TINY = ('student.model="tiny"',)

#: In the order in which they are trained: what each costs against what it tells.
KINDS = (
    Kind("small, labels alone", "small", LABELS),
    Kind("large, teacher of small and tiny", "small", ""),
    Kind("small, distilled", "small", TAUGHT),
    Kind("resnet18, teacher of default", "default", ""),
    Kind("default, soft", "default", "soft"),
    Kind("tiny, labels alone", "small", LABELS, TINY),
    Kind("tiny, distilled", "small", TAUGHT, TINY),
    Kind("large, teacher of strong", "strong", ""),
    Kind("strong, distilled", "strong", TAUGHT),
    Kind("strong, labels alone", "strong", LABELS),
)

#: Rows of which the first less the second is given.
PAIRS = (
    ("small, labels alone", "default, soft"),
    ("small, distilled", "default, soft"),
    ("small, distilled", "small, labels alone"),
    ("tiny, labels alone", "small, labels alone"),
    ("tiny, distilled", "small, distilled"),
    ("tiny, distilled", "tiny, labels alone"),
    ("strong, distilled", "default, soft"),
    ("strong, distilled", "strong, labels alone"),
    ("strong, distilled", "resnet18, teacher of default"),
    ("small, distilled", "strong, distilled"),
)


@dataclass(frozen=True)
class World:
    """What is asked for."""

    corpus: Corpus
    data: Path | None
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    sets: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = KINDS

    def settings(self, kind: Kind) -> Settings:
        return config.for_corpus(config.read(kind.preset, (*kind.sets, *self.sets)), self.corpus.seconds)

    def planned(self, kind: Kind) -> tuple[PlannedRun, ...]:
        """The runs of a row: a teacher of each fold has the seed that all students share."""
        settings = self.settings(kind)
        step = variant("student", "student", mix=None, each={"mix": [kind.mix]}) if kind.mix else read("teacher")
        seeds = self.seeds if kind.mix else (settings.student.teacher_seed,)
        levels, _ = plan(step, settings, self.corpus.name, folds=self.folds, seeds=seeds)
        return levels[-1].runs

    def missing(self, kind: Kind) -> list[PlannedRun]:
        return [run for run in self.planned(kind) if not runs.finished(run.folder)]

    def records(self, kind: Kind) -> list[Record]:
        """The finished runs of a row."""
        return [runs.read(run.folder) for run in self.planned(kind) if runs.finished(run.folder)]


def commands(world: World, kind: Kind) -> list[list[str]]:
    """The commands that train a row."""
    where = ["--dataset", world.corpus.dataset, *(["--data", str(world.data)] if world.data else [])]
    sets = [word for each in (*kind.sets, *world.sets) for word in ("--set", each)]
    chosen = [*where, "--preset", kind.preset, *sets]
    folds = ["--folds", ",".join(map(str, world.folds))]
    if not kind.mix:
        seed = str(world.settings(kind).student.teacher_seed)
        return [["features", *chosen], ["teacher", *chosen, *folds, "--seeds", seed]]
    seeds = ["--seeds", ",".join(map(str, world.seeds))]
    return [["features", *chosen], ["distill", *chosen, *folds, *seeds, "--losses", kind.mix]]


def train(world: World, to: Path) -> list[str]:
    """Train what is missing; the result names the rows of which a command failed. The others go on."""
    failed: list[str] = []
    for kind in world.kinds:
        if not world.missing(kind):
            continue
        if any(called(words) for words in commands(world, kind)):
            failed.append(kind.name)
        write(world, to, costs=False)
    return failed


def write(world: World, to: Path, *, costs: bool) -> str:
    """The table of what there is, into ``to``."""
    rows = {kind.name: records for kind in world.kinds if (records := world.records(kind))}
    lacking = [f"{kind.name} ({len(left)} runs)" for kind in world.kinds if (left := world.missing(kind))]
    asked = [student_table.Asked(pair[0], pair[1]) for pair in PAIRS if rows.keys() >= {*pair}]
    text = student_table.text(rows, asked, lacking, world.corpus, costs=costs)
    write_atomic(to, student_table.placed(text, to).encode())
    return text


def estimate(world: World) -> list[Estimate]:
    """What is missing, and how long it takes; measured here and now."""
    extracted: set[FeatureSpec] = set()
    left = {kind.name: world.missing(kind) for kind in world.kinds}
    return [estimated(name, missing, world.corpus, extracted) for name, missing in left.items() if missing]


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="urbansound8k")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folds", default="", help="for example 1-3; default: all there are")
    parser.add_argument("--seeds", default="0 1 2", help='for example "0 1 2"')
    parser.add_argument(
        "--set", action="append", default=[], help="a setting of all rows, for example student.epochs=2"
    )
    parser.add_argument("--only", default="", help="students, for example small,tiny: these alone, with their teachers")
    parser.add_argument("--to", type=Path, default=Path("docs/students.md"))
    parser.add_argument("--estimate", action="store_true", help="say how long it takes, and train nothing")
    parser.add_argument("--table", action="store_true", help="the table of what there is; train nothing")
    return parser.parse_args(words)


def world_of(chosen: argparse.Namespace) -> World:
    """``InputError`` for folds that are not there and presets that have no row."""
    _, root = opening.chosen(chosen.dataset, chosen.data)
    corpus = open_corpus(chosen.dataset, root)
    folds, seeds = (Numbers().convert(text, None, None) if text else () for text in (chosen.folds, chosen.seeds))
    names = [name for name in chosen.only.split(",") if name]
    known = {kind.student for kind in KINDS if kind.mix}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--only {unknown[0]}: expected some of {', '.join(sorted(known))}")
    asked = [kind for kind in KINDS if kind.mix and (not names or kind.student in names)]
    presets = {kind.preset for kind in asked}
    kinds = tuple(kind for kind in KINDS if kind in asked or (not kind.mix and kind.preset in presets))
    return World(corpus, chosen.data, wanted_folds(corpus, folds), seeds or (0,), tuple(chosen.set), kinds)


def main(words: Sequence[str] | None = None) -> None:
    chosen = parsed(words)
    world = world_of(chosen)
    failed: list[str] = []
    if not chosen.table:
        for line in Estimate.lines(estimate(world)):
            print(line, file=sys.stderr, flush=True)
        if chosen.estimate:
            return
        failed = train(world, chosen.to)
    print(write(world, chosen.to, costs=True), end="")
    if failed:
        raise InputError(f"not all of {'; '.join(failed)} were trained (see above); what is finished is in {chosen.to}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
