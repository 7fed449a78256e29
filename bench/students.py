"""The students that the presets train, part by part in ``docs/students.md``: presets, searches, one ingredient less, Table 3, shares, features.

What is missing is trained by the command line, one training at a time, in packs; a stop, or a kill, costs what came after the last
checkpoint, and the same command goes on. The most telling parts and rows come first. Behind each row its part's table is written again,
between the part's two marks of the Markdown file ``--to``, with – where there are no runs yet; rows of the same settings share theirs. What
takes no training, times and int8, is measured when a part is trained.

    python -m bench.students --data FOLDER --folds 1-3 --seeds "0 1 2 3 4" --to docs/students.md [--only PART,…] [--estimate | --table]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from bench import student_nested, student_parts
from bench.commands import alone, called, numbers
from bench.student_document import placed
from bench.student_rows import PARTS, PRESETS, Part
from bench.student_times import Estimate, Known, estimated
from bench.student_world import World
from pipeline import places
from pipeline.config import InputError
from pipeline.corpus import open_corpus, opening
from pipeline.engine.source import wanted_folds
from pipeline.files import write_atomic

STUDENTS = sorted({row.student for row in PRESETS if row.mix})


def train(world: World, part: Part, to: Path, call: Callable[[list[str]], int]) -> list[str]:
    """Train what is missing of a part; the result names the rows of which a command failed. The others go on."""
    failed: list[str] = []
    for row in world.trained(part):
        if not world.missing(row):
            continue
        if any(call(words) for words in world.commands(row)):
            failed.append(row.name)
        write(world, part, to, costs=False)
    if part.space:
        search = student_nested.search_of(part.space, world)
        if student_nested.unfinished_cells(part.space, search, world):
            if any(call(words) for words in student_nested.commands(part.space, search, world)):
                failed.append(part.title)
            write(world, part, to, costs=False)
    return failed


def write(world: World, part: Part, to: Path, *, costs: bool) -> str:
    """The table of what there is now, into ``to``."""
    world.plans.clear()
    text = student_parts.text(part, world, costs=costs)
    write_atomic(to, placed(text, to, part.name).encode())
    return text


def require(world: World, parts: Sequence[Part], to: Path) -> None:
    """``InputError`` for what would end the program after hours: a file that takes no table, trials of no number."""
    for part in parts:
        placed("", to, part.name)
        if part.space:
            student_nested.search_of(part.space, world)


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="urbansound8k")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folds", type=numbers, default=(), help="for example 1-3; default: all there are")
    parser.add_argument(
        "--seeds",
        type=numbers,
        default="0 1 2 3 4",
        help="by which strong and soft are compared; other rows take the first three",
    )
    parser.add_argument(
        "--set", action="append", default=[], help="a setting of all rows, for example student.epochs=2"
    )
    parser.add_argument("--trials", type=int, help="of each search; default: as its space has them")
    parser.add_argument(
        "--only",
        default="",
        help=f"parts, of {', '.join(part.name for part in PARTS)}; or students of the presets, of {', '.join(STUDENTS)}",
    )
    parser.add_argument("--to", type=Path, default=Path("docs/students.md"))
    parser.add_argument("--estimate", action="store_true", help="say how long it takes, and train nothing")
    parser.add_argument("--table", action="store_true", help="the tables of what there is; train nothing")
    return parser.parse_args(words)


def asked_for(only: str) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The parts, and of the presets the students. ``InputError`` for a word that is neither."""
    words = [word for word in only.split(",") if word]
    names = [part.name for part in PARTS]
    if unknown := [word for word in words if word not in (*names, *STUDENTS)]:
        raise InputError(f"--only {unknown[0]}: expected some of {', '.join((*names, *STUDENTS))}")
    students = () if "presets" in words else tuple(word for word in words if word in STUDENTS)
    wanted = {*words, *(["presets"] if students else [])} or {*names}
    return tuple(part for part in PARTS if part.name in wanted), students


def world_of(chosen: argparse.Namespace, students: tuple[str, ...]) -> World:
    """``InputError`` for folds that are not there."""
    _, root = opening.chosen(chosen.dataset, chosen.data)
    corpus = open_corpus(chosen.dataset, root)
    sets = tuple(chosen.set)
    return World(corpus, chosen.data, wanted_folds(corpus, chosen.folds), chosen.seeds, sets, chosen.trials, students)


def main(words: Sequence[str] | None = None) -> None:
    chosen = parsed(words)
    parts, students = asked_for(chosen.only)
    world = world_of(chosen, students)
    if chosen.estimate:
        known = Known()
        for line in Estimate.lines([estimated(part, world, known) for part in parts]):
            print(line, flush=True)
        return
    require(world, parts, chosen.to)
    failed: list[str] = []
    lock = nullcontext(None) if chosen.table else alone(places.runs() / world.corpus.name / ".students.lock")
    with lock as held:
        for part in parts:
            if not chosen.table:
                failed += train(world, part, chosen.to, lambda command: called(command, held))
            print(write(world, part, chosen.to, costs=True), flush=True)
    if failed:
        raise InputError(f"not all of {'; '.join(failed)} were trained (see above); what is finished is in {chosen.to}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
