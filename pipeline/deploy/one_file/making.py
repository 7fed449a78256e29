"""A run's one-file forms with their proof, or why there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from pipeline import __version__
from pipeline.audio.reading import ClipError
from pipeline.cache import Header
from pipeline.config import InputError
from pipeline.corpus import is_table, opening
from pipeline.deploy import export
from pipeline.deploy.answers import PRESENT
from pipeline.deploy.graph import ACTIVATION, SIGMOID, TEMPERATURE
from pipeline.deploy.int8 import IN_FLOAT
from pipeline.deploy.one_file import Form, graph, proof, unsuited
from pipeline.deploy.prediction import Checkpoint
from pipeline.spelling import on_disk

#: In ``proof.json``.
ENTRY = "one_file"

#: In a file's metadata: an answer whose largest probability is below it is none of the classes.
THRESHOLD = "none_of_these_below"


@dataclass(frozen=True)
class OneFile:
    """What becomes part of an export: files by name, and their entry in its proof."""

    files: dict[str, bytes] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    """Why there are no files, in a line."""


def proven_forms(
    wanted: Sequence[Form], students: Mapping[bool, bytes], member: Checkpoint, header: Header, data: Path | None
) -> OneFile:
    """The forms ``wanted`` of a run, proven on the sounds of its held-out fold.

    ``students``: the exported network in float32 (False) and int8 (True); ``header``: of the held-out fold's features; ``data``:
    the corpus' folder where it is not in its usual place. What cannot be made or proven is refused in ``refused``.
    """
    return proven_on(wanted, students, member, lambda: list(zip(sound_files(header, data), starts(header))))


def proven_on(
    wanted: Sequence[Form],
    students: Mapping[bool, bytes],
    member: Checkpoint,
    sounds: Callable[[], Sequence[tuple[Path, float]]],
    whose: str = "held-out",
) -> OneFile:
    """The same, proven on ``sounds``: files, and where in each the clip begins, in seconds. ``whose``: these clips, in words."""
    if reason := unsuited(member.spec):
        return OneFile(refused=reason)
    try:
        paths, begins = zip(*sounds())
        models = {form: model.SerializeToString() for form, model in built(wanted, students, member).items()}
        proven = proof.proven(models, export.session(students[False]), member, paths, begins, whose)
    except ClipError as error:
        return OneFile(refused=f"no proof without the sounds of its clips: {error}")
    except InputError as error:
        return OneFile(refused=str(error))
    return OneFile({form.file(member.spec): model for form, model in models.items()}, proven)


def built(wanted: Sequence[Form], students: Mapping[bool, bytes], member: Checkpoint) -> dict[Form, onnx.ModelProto]:
    """Every form, joined; a front serves the students of both kinds."""
    about = graph.described(
        member.spec,
        list(member.classes),
        version=__version__,
        corpus=member.corpus,
        synthetic=str(member.synthetic).lower(),
        network=member.name,
        **({} if member.temperature == 1 else {TEMPERATURE: repr(member.temperature)}),
        **({ACTIVATION: SIGMOID, "threshold": repr(PRESENT)} if member.several else {}),
        **({} if member.threshold is None else {THRESHOLD: repr(member.threshold)}),
    )
    parsed = {int8: onnx.ModelProto.FromString(model) for int8, model in students.items()}
    fronts = {
        (rate, half): graph.front(member.spec, rate, half=half)
        for rate, half in dict.fromkeys((form.rate, form.half) for form in wanted)
    }
    stayed = {
        int8: {one.key: one.value for one in model.metadata_props if one.key == IN_FLOAT}
        for int8, model in parsed.items()
    }
    return {
        form: graph.joined(fronts[form.rate, form.half], parsed[form.int8], form, about | stayed[form.int8])
        for form in wanted
    }


def sound_files(header: Header, data: Path | None) -> list[Path]:
    """The files that a fold's clips were computed from; ``InputError`` where one is missing or another one by now."""
    name, root = opening.chosen(header.dataset, data)
    root = root.parent if is_table(name) else root
    paths = []
    for file in header.files:
        path = on_disk(root / file.path)
        if not path.is_file() or path.stat().st_size != file.size:
            state = "another file than its features are of" if path.exists() else "no such file"
            raise InputError(
                f"{path}: {state}; expected the sounds of fold {header.fold}, on which it is proven: --data FOLDER"
            )
        paths.append(path)
    return paths


def starts(header: Header) -> list[float]:
    """Where each clip of a fold begins in its file, in seconds."""
    return [window.start for window in header.windows] or [0.0] * len(header.clips)


def lines(entry: Mapping[str, Any], proven_by: str = "held-out clips") -> list[str]:
    """Of a terminal: the proof of every file, or why there is none."""
    if "refused" in entry:
        return [f"one file    not written: {entry['refused']}"]
    python = entry["python_cpu_ms"]["median"]
    written = []
    for name, one in entry["files"].items():
        differences = ", ".join(f"{value:.0e} {length}" for length, value in one["worst_logit_difference"].items())
        same = ", ".join(f"{100 * share:.1f} % {length}" for length, share in one["equal_classes"].items())
        memory = f", {one['peak_mib']['session_and_run']:.0f} MiB" if one["peak_mib"] else ""
        written += [
            f"{name}  {one['bytes']:,} bytes, {one['cpu_ms']['median']:.1f} ms CPU (Python's features and student: {python:.1f})"
            f"{memory}",
            f"            same {one.get('compared', 'class')} as predict on {same}; worst logit difference {differences}",
        ]
    counts = entry["clips"]
    return [
        *written,
        f"            from sound to class, on {counts['whole']} whole and {counts['short']} short {proven_by}",
    ]


def entry(result: OneFile) -> dict[str, Any]:
    """The entry in ``proof.json``."""
    return {"refused": result.refused} if result.refused else result.proof
