"""``rerun``: a run once more from its own record, and whether it comes out the same, bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cache, places, runs
from pipeline.config import InputError
from pipeline.corpus.clips import part_names
from pipeline.images.archive import Archive, archive_of
from pipeline.locks import locked
from pipeline.losses import LossMix
from pipeline.plurals import many
from pipeline.runs import Record
from pipeline.runs.folder import lost_epochs
from pipeline.runs.planned import Files, PlannedRun
from pipeline.teacher_files import is_teacher_file

#: Beside the run. Its dot keeps tables from counting the repetition as a second run of the cell.
AGAIN = ".again"


@dataclass(frozen=True)
class Repeated:
    """Where the repetition is, and what it says."""

    folder: Path
    same: bool
    lines: tuple[str, ...]


def rerun(
    folder: Path, to: Path | None, *, device: str | None = None, archive: Path | None = None, say: Callable[[str], None]
) -> Repeated:
    """Repeat the run in ``folder`` with its settings, fold, seed, mix and teacher, on the features or images it had.

    ``device``: default as recorded. ``archive``: of images, default where it lies in data/. Raises ``InputError`` for
    no finished run, one whose files cannot be read, features, images or a teacher that are gone or changed, and a target
    that tables would count or that holds anything but a repetition of this run.
    """
    if not runs.finished(folder):
        raise InputError(
            f"{folder}: no finished run there (no result.json); expected a run folder such as "
            "runs/CORPUS/teacher-…/fold1-seed0"
        )
    record = runs.read(folder)
    target = chosen_target(folder, to)
    require_repetition(target, record)
    files, run = recorded_files(record, archive), planned(record, target)
    # torch comes here, so that bad input is answered at once.
    from pipeline.engine import packs, schedule, stopped
    from pipeline.engine.records import read_model

    # What is compared in the end: read now, so that damage is said before hours of training.
    read_model(folder), runs.read_rows(folder), metrics(folder)
    again = packs.PlannedPack(
        run.cohort,
        files,
        record.data_set,
        device=schedule.chosen_device(device or record.pack.device or "auto"),
        layout=record.pack.layout or "loop",
        checkpoint=target.parent / ".checkpoints" / f"{target.name}.pt",
        threads=record.pack.threads or 0,
        live=record.pack.live,
        repeats=folder,
    )
    with locked(target, f"{target}"):
        require_repetition(target, record)  # as it is now that nobody else writes there
        if runs.finished(target):
            shutil.rmtree(target)
        elif stopped.is_begun(target) and not again.checkpoint.is_file():
            say(stopped.nothing_left(again.checkpoint.parent, [run]))
        packs.train(again, say)
    same, lines = outcome(folder, target)
    if not same:
        lines += [f"differs too: {line}" for line in surroundings(folder, target)]
    return Repeated(target, same, tuple(lines))


def planned(record: Record, target: Path) -> PlannedRun:
    """The run of a record, to be trained again in ``target``."""
    files = {path: digest for path, digest in record.teacher_weights.items() if is_teacher_file(path)}
    contents = record.contents or files
    return PlannedRun(
        record.experiment or "",
        record.step or "",
        record.role,
        record.corpus,
        record.settings,
        record.fold,
        record.seed,
        LossMix.parse(record.recorded_mix),
        recorded_teachers(record),
        record.generation,
        start=record.start,
        base=record.base,
        at=target,
        firsts=record.firsts,
        contents=tuple(contents.items()),
        without=record.without,
        crossed=record.crossed,
        unlike=record.is_step,
        peer=peer_of(record),
    )


def peer_of(record: Record) -> str:
    """The step of the run that learned with it, which is trained once more beside it and left as it is; "" of one that had none."""
    if record.peer is None:
        return ""
    if not runs.finished(record.peer):
        raise InputError(
            f"no finished run in {record.peer}, which learned from {record.folder} while that learned from it; expected it where it was "
            "(work in the same folder), or train it again: the experiment that it is of"
        )
    return runs.read(record.peer).step or ""


def chosen_target(folder: Path, to: Path | None) -> Path:
    """Where the repetition goes: neither the run itself nor among the runs."""
    target = to or folder.parent / AGAIN / folder.name
    place, root = target.resolve(), places.runs().resolve()
    if place == folder.resolve() or folder.resolve().is_relative_to(place):
        raise InputError(f"--to {target} is the run itself, or above it; expected another folder")
    if place.is_relative_to(root) and not any(part.startswith(".") for part in place.relative_to(root).parts):
        raise InputError(
            f"--to {target} is among the runs, where tables would count it twice; expected a folder outside "
            f"{places.runs()}, or one whose name begins with a dot"
        )
    return target


def identity(record: Record) -> tuple[object, ...]:
    """What a run and its repetition have in common, whatever machine and folder."""
    of = (record.role, record.corpus, record.fold, record.seed)
    return (*of, record.recorded_mix, record.recorded_settings)


def require_repetition(target: Path, record: Record) -> None:
    """``InputError`` where ``target`` holds anything but a repetition of this very run, finished or stopped."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / "config.json").is_file():
        raise InputError(
            f"{target} is there and is no run; expected a folder that is new, empty, or an earlier repetition "
            f"of {record.folder}: --to FOLDER names another"
        )
    there = runs.read(target)
    repeats = there.pack.repeats
    if not repeats or repeats.resolve() != record.folder.resolve() or identity(there) != identity(record):
        kind = f"repeats {repeats}" if repeats else "is a run of its own"
        raise InputError(
            f"{target} {kind}, and is left as it is; expected a folder that is new, empty, or an earlier "
            f"repetition of {record.folder} as it is now: --to FOLDER names another, or remove that one"
        )


def recorded_files(record: Record, archive: Path | None) -> Files:
    """What the run was trained on, compared with the digests in its record: the folds' files, or an archive."""
    if record.is_of_images:
        return recorded_images(record, archive)
    folder = record.folder
    if archive:
        raise InputError(
            f"--archive {archive}: {folder} was trained on sounds; expected --archive with runs on images only"
        )
    features = record.settings.features
    paths = {fold: cache.fold_path(places.cache(), record.corpus, features, fold) for fold in record.data}
    missing = [fold for fold, path in paths.items() if not path.is_file()]
    if missing:
        parent = next(iter(paths.values())).parent
        raise InputError(
            f"no features of {part_names(missing)} in {parent}; make them first: make features with the "
            f"same dataset and settings ({folder / 'config.json'} has them)"
        )
    now = cache.read_digests(paths)
    if reason := runs.outdated(record, data=now):
        raise InputError(f"{folder} {reason}, so it cannot be repeated; the corpus as it was then is needed")
    return tuple(paths.values())


def recorded_images(record: Record, archive: Path | None) -> Archive:
    """The archive, from which the same images must come in the same parts."""
    from pipeline.images import samples as images
    from pipeline.images.cifar import find_cifar100

    source = archive_of(record.corpus, archive or find_cifar100(places.data()))
    if reason := runs.outdated(record, data=images.read(source).digests):
        raise InputError(
            f"{record.folder} {reason}, here of {source.path}, so it cannot be repeated; expected the archive as it "
            "was then: --archive"
        )
    return source


def recorded_teachers(record: Record) -> tuple[Path, ...]:
    for path in record.parents:
        if is_teacher_file(path) and not path.is_file():
            raise InputError(
                f"no teacher file {path}, from which {record.folder} learned; expected it where it was (work in the same folder)"
            )
        if not is_teacher_file(path) and not runs.finished(path):
            role = "the teacher of" if path in record.teachers else "which goes before"
            raise InputError(
                f"no finished run in {path}, {role} {record.folder}; expected it where it was (work in the "
                "same folder), or train it again: make teacher, or the experiment that it is of"
            )
    if reason := runs.outdated(record, teachers=True):
        raise InputError(f"{record.folder} {reason}, so it cannot be repeated")
    return record.teachers


def outcome(old: Path, new: Path) -> tuple[bool, list[str]]:
    """Whether epochs, weights, predictions and result are the same bit for bit, one line each."""
    import torch

    from pipeline.engine.records import read_model
    from pipeline.training.movement import FIRST, MOVED

    lost = lost_epochs(old, runs.read(old).result.epochs)
    before, after = metrics(old), [record for record in metrics(new) if record["epoch"] not in lost]
    if not any(MOVED in record for record in before):  # a run of before it was kept
        after = [{key: value for key, value in record.items() if key not in (FIRST, MOVED)} for record in after]
    beside = (
        f" ({many(len(lost), 'other is', 'others are')} lost from metrics.jsonl since, and not compared)"
        if lost
        else ""
    )
    shorter = min(len(before), len(after))
    first = next((i for i in range(shorter) if before[i] != after[i]), None if len(before) == len(after) else shorter)
    checks = [(first is None, f"epochs: {len(after)}{beside}", "" if first is None else f"from epoch {first + 1} on")]
    states = [read_model(folder)["state"] for folder in (old, new)]
    gap = max(
        (float((states[0][k].double() - v.double()).abs().max()) for k, v in states[1].items() if k in states[0]),
        default=0.0,
    )
    equal = states[0].keys() == states[1].keys() and all(torch.equal(v, states[0][k]) for k, v in states[1].items())
    checks.append((equal, "weights", f"largest difference {gap:.2g}"))
    left, right = runs.read_rows(old), runs.read_rows(new)
    equal = all(np.array_equal(a, b) for a, b in zip(left, right))
    same_shape = left.logits.shape == right.logits.shape and left.logits.size
    gap = float(np.abs(left.logits - right.logits).max()) if same_shape else 0.0
    checks.append((equal, "predictions", f"largest difference of logits {gap:.2g}"))
    records = [runs.read(folder) for folder in (old, new)]
    was, now = (record.result.score for record in records)
    measure = "mean average precision" if records[1].several_labels else "accuracy"
    checks.append((was == now, f"{measure}: {now}", f"was {was}"))
    lines = [f"{part}: {'the same bit for bit' if same else f'DIFFERENT, {how}'}" for same, part, how in checks]
    return all(same for same, _, _ in checks), lines


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The epochs' records without how long they took."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in runs.read_metrics(folder)]


def surroundings(old: Path, new: Path) -> list[str]:
    """What else differs between the two: machine, versions, pack."""
    from pipeline.runs.differences import differences

    return [f"{key}: {was} → {now}" for key, was, now in differences([runs.read(old)], [runs.read(new)])]
