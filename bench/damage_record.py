"""The record of ``bench.damage``, a line per ending: whoever is called again does the rest. And the table of it.

The record belongs to one state of the code: its place has a digest of that in its name.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from bench.damage import GOOD, Case, Ending, limited

BEGIN, END = "<!-- bench.damage -->", "<!-- end of bench.damage -->"

RECORD = "record.jsonl"

#: Cases of a command that a process takes at once: it has the undamaged answer from the first.
TAKEN = 16

#: Times that a case may begin without an end: what kills its process is no good ending.
BEGUN = 2


def code_digest() -> str:
    """Of all that a case runs."""
    root = Path(__file__).resolve().parents[1]
    files = [root / "cli.py", root / "tests" / "tiny.py", *root.glob("bench/damage*.py"), *root.glob("examples/*")]
    files += root.glob("pipeline/**/*.*[!c]")
    state = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        state.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return state.hexdigest()[:12]


def append(path: Path, entry: object) -> None:
    """A line, in one write: several processes write to the record."""
    with path.open("ab", buffering=0) as file:
        file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())


def read(path: Path) -> dict[Case, Ending]:
    """The endings so far; a case whose process died twice has one too."""
    ends: dict[Case, Ending] = {}
    begun: Counter[Case] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            case, *end = json.loads(line)
        except ValueError:  # cut off as it was killed
            continue
        begun[Case(*case)] += not end
        if end:
            ends[Case(*case)] = Ending(Case(*case), *end)
    killed = {case: Ending(case, "KILLED", "its process died") for case, count in begun.items() if count >= BEGUN}
    return killed | ends


def work(place: Path, cases: Sequence[Case]) -> None:
    """Some cases, in a process of its own."""
    for case in cases:
        append(place / RECORD, [case])
        one = limited(place / "world", case)
        append(place / RECORD, [case, one.end, one.last_line])
        print(f"{one.end:<15} {', '.join(case)}: {one.last_line[:150]}", flush=True)


def endings(place: Path, wanted: Sequence[Case], jobs: int) -> list[Ending]:
    """Of all ``wanted``, in their order: those on record, and the rest, which are tried by ``jobs`` processes."""
    known = read(place / RECORD)
    rest = [case for case in wanted if case not in known]
    print(f"{len(wanted)} cases, {len(wanted) - len(rest)} of them on record in {place / RECORD}", flush=True)
    by_command: dict[str, list[Case]] = {}
    for case in rest:
        by_command.setdefault(case.command, []).append(case)
    parts = [each[i : i + TAKEN] for each in by_command.values() for i in range(0, len(each), TAKEN)]
    try:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            for done in as_completed([pool.submit(work, place, part) for part in parts]):
                done.result()
    except BrokenProcessPool:
        raise SystemExit(
            "a process died in the middle of a case (memory, or a library): the same command goes on"
        ) from None
    known = read(place / RECORD)
    return [known[case] for case in wanted]


def table(endings: Iterable[Ending]) -> str:
    """Counts by kind of file, in Markdown."""
    by_kind: dict[str, Counter[str]] = {}
    for one in endings:
        by_kind.setdefault(one.case.kind, Counter())[one.end] += 1
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
