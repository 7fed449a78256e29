"""Damage every kind of file in every way, then give every command that reads it: each case has to end well.

    python -m bench.damage --to docs/reliability.md

A small world is made (features, teachers, students, an export, a stopped training, a stopped extraction). A case is a copy of it
with one file damaged, and one command. It ends as undamaged (the same answer, the same products), computed again (the same
products, and a line that says so), noted (the same figures, and a line on what is lost), or refused (one line, exit code 1).
Anything else is believed, or crashed, and makes this end with exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.damaged_world import COMMANDS, KINDS, Answer, Kind, made_world, run

GOOD = ("undamaged", "computed again", "noted", "refused")

BEGIN, END = "<!-- bench.damage -->", "<!-- end of bench.damage -->"

#: What says in an answer that something was done again, or is lacking.
AGAIN, NOTED = (
    re.compile(r"again|anew|computed|to train"),
    re.compile(r"[Ll]ost|[Uu]nfinished|no run|gone|\d findings?"),
)


class Case(NamedTuple):
    """One damage of one file, and the command that meets it."""

    kind: str
    damage: str
    command: str


class Ending(NamedTuple):
    case: Case
    end: str
    last_line: str


def flipped(content: bytes, bits: int, at: int | None = None) -> bytes:
    """``content`` with bits flipped from ``at`` on (default: the middle), eleven bytes apart."""
    damaged = bytearray(content)
    start = len(damaged) // 2 if at is None else at
    for i in range(bits):
        damaged[(start + 11 * i) % len(damaged)] ^= 1 << (i + 1)
    return bytes(damaged)


#: Name → the content that a file has afterwards; None: it is removed.
DAMAGES = {
    "cut": lambda content: content[: len(content) * 2 // 3],
    "emptied": lambda content: b"",
    "zeroed": lambda content: bytes(len(content)),
    "one bit": lambda content: flipped(content, 1),
    "three bits": lambda content: flipped(content, 3),
    "header": lambda content: flipped(content, 3, at=1),
    "removed": lambda content: None,
}


def cases(kinds: Iterable[str], every: int = 1) -> list[Case]:
    """All cases of ``kinds``, or each ``every``-th of them."""
    full = [
        Case(name, damage, command)
        for name in kinds
        for damage in (*DAMAGES, *(f"exchanged with {other}" for other in KINDS[name].others))
        for command in KINDS[name].commands
    ]
    return full[::every]


def damage(world: Path, case: Case) -> None:
    """Damage the file of a case in ``world``; by another file's content, which gets this one's in exchange."""
    kind = KINDS[case.kind]
    path = kind.file(world)
    content = path.read_bytes()
    if case.damage.startswith("exchanged"):
        other = kind.others[case.damage.removeprefix("exchanged with ")](world)
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return
    after = flipped(content, 3, kind.inside) if case.damage == "three bits" and kind.inside else None
    after = DAMAGES[case.damage](content) if after is None else after
    if after is None:
        path.unlink()
    else:
        path.write_bytes(after)


def ending(answer: Answer, whole: Answer, kind: Kind) -> str:
    """How a case ended, by what the command says of the undamaged world."""
    if answer.code:
        errors = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
        told = answer.command == "check" and re.search(r"\d findings?", answer.stdout)
        one_line = len(errors) == 1 and answer.stderr.splitlines()[-1] == errors[0]
        return "refused" if answer.code == 1 and (one_line or told) and "Traceback" not in answer.stderr else "CRASHED"
    if answer.products != whole.products:
        return "noted" if kind.free else "BELIEVED"
    text = answer.stdout + answer.stderr
    if answer.stdout == whole.stdout and answer.stderr == whole.stderr:
        return "undamaged"
    if AGAIN.search(text):
        return "computed again"
    return "noted" if NOTED.search(text) or kind.free else "BELIEVED"


def campaign(world: Path, wanted: Iterable[Case]) -> Iterator[Ending]:
    """Each case in a copy of ``world``."""
    whole: dict[tuple[str, str], Answer] = {}
    for case in wanted:
        with tempfile.TemporaryDirectory() as place:
            key = (case.kind if KINDS[case.kind].free else "", case.command)
            if key not in whole:
                copy = shutil.copytree(world, Path(place) / "whole", symlinks=True)
                whole[key] = run(copy, case.command)
            copy = shutil.copytree(world, Path(place) / "world", symlinks=True)
            damage(copy, case)
            answer = run(copy, case.command)
        end = ending(answer, whole[key], KINDS[case.kind])
        last_line = next((line for line in reversed((answer.stdout + answer.stderr).splitlines()) if line.strip()), "")
        yield Ending(case, end, last_line)


def table(endings: Iterable[Ending]) -> str:
    """Counts by kind of file, in Markdown."""
    by_kind = {
        kind: Counter(one.end for one in each)
        for kind, each in itertools.groupby(endings, key=lambda one: one.case.kind)
    }
    bad = sorted({end for counts in by_kind.values() for end in counts} - set(GOOD))
    columns = [*GOOD, *bad]
    lines = [f"| kind of file | cases | {' | '.join(columns)} |", f"| --- | ---: |{' ---: |' * len(columns)}"]
    for kind, counts in [*by_kind.items(), ("all", sum(by_kind.values(), Counter()))]:
        cells = " | ".join(str(counts[column]) for column in columns)
        lines.append(f"| {kind} | {sum(counts.values())} | {cells} |")
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """The table between its two marks in a document."""
    content = path.read_text(encoding="utf-8")
    before, _, rest = content.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), help="default: all")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th case")
    parser.add_argument("--to", type=Path, help="a document with the marks of the table")
    parser.add_argument("--world", type=Path, help="where the world is, or is to be made; default: a temporary folder")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        world = options.world or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "world"
        if not world.exists():
            made_world(world)
        endings = []
        for one in campaign(world, cases(options.kinds, options.every)):
            endings.append(one)
            print(
                f"{one.end:<15} {one.case.kind}, {one.case.damage}, {one.case.command}: {one.last_line[:150]}",
                flush=True,
            )
    text = table(endings)
    print(f"\n{text}\n\n{len(COMMANDS)} commands")
    if options.to:
        write(options.to, text)
    sys.exit(any(one.end not in GOOD for one in endings))


if __name__ == "__main__":
    main()
