"""Damage every kind of file in every way, then give every command that reads it: each case has to end well.

    python -m bench.damage --to docs/reliability.md

A small world is made once (``damaged_making``). A case is a copy of it with one file damaged, and one command, in this process or in one
of ``--jobs``. It ends as undamaged (the same answer, the same products), computed again (the same products, and a line that says so),
noted (the same figures, and a line on what is lost), or refused (lines of error that name the file, exit code 1, nothing else
changed). Anything else is believed, or crashed, and makes this end with exit code 1. Each ending is a line of a record: killed and
called again, the rest is done (``damage_record``).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.damaged_running import Answer, run
from bench.damaged_world import COMMANDS, KINDS
from pipeline.files import sha256

GOOD = ("undamaged", "computed again", "noted", "refused")

#: What says in an answer that something was done again, or is lacking.
AGAIN, NOTED = (
    re.compile(r"again|anew|computed|to train|from the beginning"),
    re.compile(
        r"[Ll]ost|[Uu]nfinished|no run|no features|gone|not checked|without (identities|a checksum)|not shown|damaged|\d findings?"
    ),
)

#: Seconds that a case may take on a busy machine.
LIMIT = 600


class Case(NamedTuple):
    """One damage of one file, and the command that meets it."""

    kind: str
    damage: str
    command: str


class Ending(NamedTuple):
    case: Case
    end: str
    last_line: str


class TooLong(BaseException):
    """A case that does not end."""


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
    inside = case.damage == "three bits" and kind.inside
    after = flipped(content, 3, kind.inside % len(content)) if inside else DAMAGES[case.damage](content)
    if after is None:
        path.unlink()
    else:
        path.write_bytes(after)


def ending(answer: Answer, whole: Answer, case: Case, names: Iterable[str], changed: Iterable[str]) -> str:
    """How a case ended, by what the command says of the undamaged world.

    ``names``: by which an error may name what is damaged; ``changed``: the files of runs, exports and features that the command changed.
    """
    kind = KINDS[case.kind]
    if whole.code:
        return "INVALID"
    if answer.code:
        return refusal(answer, names, changed)
    if answer.products != whole.products:
        return "noted" if kind.free else "BELIEVED"
    if answer.stdout == whole.stdout and answer.stderr == whole.stderr:
        return "undamaged"
    before = {*whole.stdout.splitlines(), *whole.stderr.splitlines()}
    text = "\n".join(line for line in (answer.stdout + answer.stderr).splitlines() if line not in before)
    if AGAIN.search(text) and not kind.free:
        return "computed again"
    return "noted" if NOTED.search(text) or kind.free else "BELIEVED"


def refusal(answer: Answer, names: Iterable[str], changed: Iterable[str]) -> str:
    """Lines of error at the end, one of which names what is damaged."""
    lines = answer.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    told = answer.command.startswith("check") and re.search(r"\d findings?", answer.stdout)
    if answer.code != 1 or "Traceback" in answer.stderr or not (told or (errors and lines[-len(errors) :] == errors)):
        return "CRASHED"
    text = answer.stdout if told else "\n".join(errors)
    if not any(name in text for name in names):
        return "NOT NAMED"
    return "CHANGED" if any(changed) else "refused"


def states(world: Path) -> dict[str, tuple[int, int]]:
    """What is finished in a world: file → time of writing, and size."""
    kept = [path for top in ("runs", "exports") for path in world.glob(f"{top}/toy/**/*") if path.is_file()]
    kept += world.glob("cache/toy/f*/*.h5")
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in kept}


def partner_of(case: Case, world: Path) -> str:
    """The file that the damaged one was exchanged with; "" without one."""
    if not case.damage.startswith("exchanged"):
        return ""
    return str(KINDS[case.kind].others[case.damage.removeprefix("exchanged with ")](world).relative_to(world))


def names_of(case: Case, world: Path) -> list[str]:
    """By which an error may name what is damaged: the file, or the folder that is its run, its export or its fold."""
    kind = KINDS[case.kind]
    files = [kind.file(world)]
    if case.damage.startswith("exchanged"):
        files.append(kind.others[case.damage.removeprefix("exchanged with ")](world))
    words = [f"-{path.stem}-" for path in files if kind.free]  # the preset that a run's folder names
    return [*words, *(str(path.relative_to(world)) for path in files)] + [
        str(path.parent.relative_to(world)) for path in files if path.parent != world
    ]


#: Of this process: the undamaged answers to (world, kind of text or "", command).
undamaged: dict[tuple[Path, str, str], Answer] = {}


def judged(world: Path, case: Case) -> Ending:
    """One case in a copy of ``world``, beside the undamaged answer, which is had once per process."""
    free = KINDS[case.kind].free
    with tempfile.TemporaryDirectory() as place:
        key = (world, case.kind if free else "", case.command)
        if key not in undamaged:
            undamaged[key] = run(shutil.copytree(world, Path(place) / "whole", symlinks=True), case.command)
        copy = shutil.copytree(world, Path(place) / "world", symlinks=True)
        names = names_of(case, copy)
        content = KINDS[case.kind].file(copy)
        before_damage = sha256(content)
        damage(copy, case)
        if content.is_file() and sha256(content) == before_damage:  # exchanged with one that is the same
            return Ending(case, "undamaged", "the same bytes")
        before = states(copy)
        partner = partner_of(case, copy)
        left = sha256(copy / partner) if partner else ""
        answer = run(copy, case.command)
        if partner and answer.products.get(partner) == left:  # another command's to make again
            whole = undamaged[key].products
            answer = dataclasses.replace(answer, products={**answer.products, partner: whole.get(partner, left)})
        changed = [path for path, state in states(copy).items() if before.get(path, state) != state]
        changed += before.keys() - states(copy).keys()
    text = (answer.stdout + answer.stderr).replace(place, "…")
    last_line = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return Ending(case, ending(answer, undamaged[key], case, names, changed), last_line)


def limited(world: Path, case: Case) -> Ending:
    """``judged``, of a case that does not end, or raises what no command should, too."""

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        return judged(world, case)
    except TooLong:
        return Ending(case, "HUNG", f"after {LIMIT} s")
    finally:
        signal.alarm(0)


def campaign(world: Path, wanted: Iterable[Case]) -> Iterator[Ending]:
    """Each case in a copy of ``world``."""
    return (limited(world, case) for case in wanted)


def main() -> None:
    from bench import damage_record
    from bench.damaged_making import made_world

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), help="default: all")
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS), choices=list(COMMANDS), help="default: all")
    parser.add_argument("--damages", nargs="*", help="those that begin so, for example removed exchanged; default: all")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th case")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--to", type=Path, help="a document with the marks of the table")
    default = Path(tempfile.gettempdir()) / "audio-rkd-damage"
    parser.add_argument("--place", type=Path, default=default, help="of the world and the record")
    options = parser.parse_args()
    place = options.place / damage_record.code_digest()
    if not (place / "made").is_file():
        made_world(place / "world")
        (place / "made").touch()
    of_commands = [case for case in cases(options.kinds) if case.command in options.commands]
    ways = tuple(options.damages or ("",))
    wanted = [case for case in of_commands if case.damage.startswith(ways)][:: options.every]
    endings = damage_record.endings(place, wanted, options.jobs)
    whole = "" if len(endings) == len(cases(KINDS)) else f" of {len(cases(KINDS))}"
    kinds = len({one.case.kind for one in endings})
    text = f"{len(endings)} cases{whole} of {kinds} kinds of file.\n\n{damage_record.table(endings)}"
    bad = [one for one in endings if one.end not in GOOD]
    print(f"\n{text}\n\n{len(COMMANDS)} commands; record: {place / damage_record.RECORD}")
    print(
        "".join(f"{one.end}: {one.case.kind}, {one.case.damage}, {one.case.command}: {one.last_line}\n" for one in bad)
    )
    if options.to:
        damage_record.write(options.to, text)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
