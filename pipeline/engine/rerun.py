"""``rerun``: a run once more from its own record, and whether it comes out the same, bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cache, config, runs
from pipeline.config import (
    FeatureSpec,
    InputError,
    Settings,
    TrainSettings,
)
from pipeline.files import CACHE, DATA, RUNS
from pipeline.images.archive import Archive, archive_of
from pipeline.locks import locked
from pipeline.losses import LossMix
from pipeline.runs.planned import Files, PlannedRun, as_paths

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
    about = runs.read_config(folder)
    target = chosen_target(folder, to)
    require_own(target, folder, about)
    settings, files = recorded_settings(about, folder), recorded_files(about, folder, archive)
    run = PlannedRun(
        about.get("experiment", ""),
        about.get("step", ""),
        about["role"],
        about["corpus"],
        settings,
        about["fold"],
        about["seed"],
        LossMix.parse(about["mix"]),
        recorded_teachers(about, folder),
        about.get("generation", 0),
        at=target,
    )
    # torch comes here, so that bad input is answered at once.
    from pipeline.engine import packs, schedule
    from pipeline.engine.records import read_model

    # What is compared in the end: read now, so that damage is said before hours of training.
    read_model(folder), runs.read_predictions(folder), runs.read_result(folder), metrics(folder)
    pack = about.get("pack", {})
    again = packs.PlannedPack(
        (run,),
        files,
        {k: about[k] for k in ("corpus", "dataset", "synthetic", "all_folds")},
        device=schedule.chosen_device(device or pack.get("device", "auto")),
        layout=pack.get("layout", "loop"),
        checkpoint=target.parent / ".checkpoints" / f"{target.name}.pt",
        threads=int(pack.get("threads", 0)),
        measured={"repeats": str(folder)},
    )
    with locked(target, f"{target}"):
        require_own(target, folder, about)  # as it is now that nobody else writes there
        if runs.finished(target):
            shutil.rmtree(target)
        packs.train(again, say)
    same, lines = outcome(folder, target)
    if not same:
        lines += [f"differs too: {line}" for line in surroundings(folder, target)]
    return Repeated(target, same, tuple(lines))


def chosen_target(folder: Path, to: Path | None) -> Path:
    """Where the repetition goes: neither the run itself nor among the runs."""
    target = to or folder.parent / AGAIN / folder.name
    own, root = target.resolve(), RUNS.resolve()
    if own == folder.resolve() or folder.resolve().is_relative_to(own):
        raise InputError(f"--to {target} is the run itself, or above it; expected another folder")
    if own.is_relative_to(root) and not any(part.startswith(".") for part in own.relative_to(root).parts):
        raise InputError(
            f"--to {target} is among the runs, where tables would count it twice; expected a folder outside "
            f"{RUNS}, or one whose name begins with a dot"
        )
    return target


#: What a run and its repetition have in common, whatever machine and folder.
IDENTITY = ("role", "corpus", "fold", "seed", "mix", "settings")


def require_own(target: Path, folder: Path, about: dict[str, Any]) -> None:
    """``InputError`` where ``target`` holds anything but a repetition of this very run, finished or stopped."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / "config.json").is_file():
        raise InputError(
            f"{target} is there and is no run; expected a folder that is new, empty, or an earlier repetition "
            f"of {folder}: --to FOLDER names another"
        )
    record = runs.read_config(target)
    repeats = record.get("pack", {}).get("repeats")
    if not repeats or Path(repeats).resolve() != folder.resolve() or any(record[k] != about[k] for k in IDENTITY):
        what = f"repeats {repeats}" if repeats else "is a run of its own"
        raise InputError(
            f"{target} {what}, and is left as it is; expected a folder that is new, empty, or an earlier "
            f"repetition of {folder} as it is now: --to FOLDER names another, or remove that one"
        )


def recorded_settings(about: dict[str, Any], folder: Path) -> Settings:
    kinds = {"features": FeatureSpec, "teacher": TrainSettings, "student": TrainSettings}
    parts: dict[str, Any] = {
        name: config.build(kind, about["settings"][name], f"{folder}/config.json [{name}]")
        for name, kind in kinds.items()
    }
    return Settings(preset=about["preset"], **parts)


def recorded_files(about: dict[str, Any], folder: Path, archive: Path | None) -> Files:
    """What the run was trained on, compared with the digests in its record: the folds' files, or an archive."""
    if about["dataset"] == "cifar100":
        return recorded_images(about, folder, archive)
    if archive:
        raise InputError(
            f"--archive {archive}: {folder} was trained on sounds; expected --archive with runs on images only"
        )
    spec = config.build(FeatureSpec, about["settings"]["features"], f"{folder}/config.json [features]")
    paths = {fold: cache.fold_path(CACHE, about["corpus"], spec, int(fold)) for fold in about["data"]}
    missing = [fold for fold, path in paths.items() if not path.is_file()]
    if missing:
        parent = next(iter(paths.values())).parent
        raise InputError(
            f"no features of fold {', '.join(missing)} in {parent}; make them first: make features with the "
            f"same dataset and settings ({folder / 'config.json'} has them)"
        )
    now = {int(fold): cache.read_header(path).digest for fold, path in paths.items()}
    if reason := runs.outdated(runs.read(folder), data=now):
        raise InputError(f"{folder} {reason}, so it cannot be repeated; the corpus as it was then is needed")
    return tuple(paths.values())


def recorded_images(about: dict[str, Any], folder: Path, archive: Path | None) -> Archive:
    """The archive, from which the same images must come in the same parts."""
    from pipeline.images import samples as images
    from pipeline.images.cifar import find_cifar100

    found = archive_of(about["corpus"], archive or find_cifar100(DATA))
    if reason := runs.outdated(runs.read(folder), data=images.read(found).digests):
        raise InputError(
            f"{folder} {reason}, here of {found.path}, so it cannot be repeated; expected the archive as it "
            "was then: --archive"
        )
    return found


def recorded_teachers(about: dict[str, Any], folder: Path) -> tuple[Path, ...]:
    folders = as_paths(about.get("teacher"))
    for path in folders:
        if not runs.finished(path):
            raise InputError(
                f"no finished run in {path}, the teacher of {folder}; expected it where it was (work in the "
                "same folder), or train it again: make teacher"
            )
    if reason := runs.outdated(runs.read(folder), teachers=True):
        raise InputError(f"{folder} {reason}, so it cannot be repeated")
    return folders


def outcome(old: Path, new: Path) -> tuple[bool, list[str]]:
    """Whether epochs, weights, predictions and result are the same bit for bit, one line each."""
    import torch

    from pipeline.engine.records import read_model

    before, after = metrics(old), metrics(new)
    shorter = min(len(before), len(after))
    first = next((i for i in range(shorter) if before[i] != after[i]), None if len(before) == len(after) else shorter)
    checks = [(first is None, f"epochs: {len(after)}", "" if first is None else f"from epoch {first + 1} on")]
    states = [read_model(folder)["state"] for folder in (old, new)]
    gap = max(
        (float((states[0][k].double() - v.double()).abs().max()) for k, v in states[1].items() if k in states[0]),
        default=0.0,
    )
    equal = states[0].keys() == states[1].keys() and all(torch.equal(v, states[0][k]) for k, v in states[1].items())
    checks.append((equal, "weights", f"largest difference {gap:.2g}"))
    left, right = runs.read_predictions(old), runs.read_predictions(new)
    equal = all(np.array_equal(a, b) for a, b in zip(left, right))
    same_shape = left.logits.shape == right.logits.shape and left.logits.size
    gap = float(np.abs(left.logits - right.logits).max()) if same_shape else 0.0
    checks.append((equal, "predictions", f"largest difference of logits {gap:.2g}"))
    accuracies = [runs.read_result(folder)["accuracy"] for folder in (old, new)]
    checks.append((accuracies[0] == accuracies[1], f"accuracy: {accuracies[1]}", f"was {accuracies[0]}"))
    lines = [f"{what}: {'the same bit for bit' if same else f'DIFFERENT, {how}'}" for same, what, how in checks]
    return all(same for same, _, _ in checks), lines


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The epochs' records without how long they took."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in runs.read_metrics(folder)]


def surroundings(old: Path, new: Path) -> list[str]:
    """What else differs between the two: machine, versions, pack."""
    from pipeline.runs.differences import differences

    return [f"{key}: {was} → {now}" for key, was, now in differences([runs.read(old)], [runs.read(new)])]
