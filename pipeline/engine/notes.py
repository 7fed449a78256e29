"""The note beside a pack's checkpoint: which runs it is of, and how they are trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import runs
from pipeline.files import as_signed, signed
from pipeline.runs.planned import PlannedRun, from_note

#: What its digest is of: the keys that every note has.
KEYS = ("cells", "layout", "measured")


def write(note: Path, planned: Sequence[PlannedRun], how: Mapping[str, Any]) -> None:
    """``how``: layout and measured, and whether teachers run in the step."""
    values = {"cells": [run.noted() for run in planned], **how}
    digest = signed({key: values[key] for key in KEYS})
    runs.write_atomic(note, runs.json_bytes({**values, **digest}))


def read(
    note: Path, planned: Sequence[PlannedRun], say: Callable[[str], None]
) -> tuple[tuple[PlannedRun, ...], dict[str, Any]]:
    """The runs and the layout that a note tells; none of one that tells of other runs, or is damaged, which is said."""
    known = {str(run.folder): run for run in planned}
    kinds = list({(run.experiment, run.step, run.settings): run for run in planned}.values())
    try:
        fields = require_whole(json.loads(note.read_text()))
        members = [known.get(cell["folder"]) or from_note(cell, kinds) for cell in fields["cells"]]
        how = {"layout": fields["layout"], "measured": fields["measured"], "live": bool(fields.get("live"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"{note}: not read ({type(error).__name__}: {error}); the runs of its checkpoint are packed anew")
        return (), {}
    known_members = tuple(run for run in members if run is not None)
    return (known_members, how) if len(known_members) == len(members) else ((), {})


def require_whole(fields: Any) -> Any:
    """What a note says; ``ValueError`` where it does not say what was written. Notes of before there was a digest are taken."""
    as_signed({key: fields[key] for key in (*KEYS, "content") if key in fields})
    return fields
