"""The files of a run folder, and reading them; ``record`` gives them types."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import Damaged, InputError
from pipeline.runs import seal

SCHEMA = 1
#: Of a finished run: "did not train" is no better than chance; "outputs untrained" has a mix without a term on the
#: outputs, so its accuracy says nothing of it.
#: "all folds" was trained on every clip: nothing was held out that could be tested.
STATUSES = ("trained", "outputs untrained", "did not train", "failed", "all folds")

#: Keys that the other modules rely on; a file without one of them is damaged.
CONFIG_KEYS = (
    "schema",
    "role",
    "model",
    "corpus",
    "dataset",
    "synthetic",
    "fold",
    "seed",
    "mix",
    "settings",
    "preset",
    "data",
    "skipped",
    "all_folds",
)
RESULT_KEYS = ("accuracy", "best_accuracy", "best_epoch", "epochs", "test_clips", "parameters", "status")

#: What training leaves in a run's folder.
FILES = ("config.json", "environment.json", "metrics.jsonl", "model.pt", "predictions.npz", "result.json")

#: What other commands leave there: a temperature, a threshold.
BESIDE = ("calibration.json", "refusal.json")

FOLDER = re.compile(r"fold(\d+)-seed(\d+)")


class Predictions(NamedTuple):
    """The held-out fold's clean clips, in the order of their names, and what the last epoch's network says."""

    clips: np.ndarray
    """(clips,) text."""
    labels: np.ndarray
    """(clips,) int64; (clips, classes) where clips have several labels, 1 for each class of a clip."""
    logits: np.ndarray
    """(clips, classes) float32."""
    sources: np.ndarray
    """(clips,) text: the recording a clip was cut from."""


def finished(folder: Path) -> bool:
    """Whether the run in ``folder`` wrote its last file."""
    return (folder / "result.json").is_file()


def remedy(folder: Path) -> str:
    """What to do about a file in ``folder`` that is damaged or missing.

    A folder is given up for removal only where its name and everything in it are a run's: a user's own folder, with
    a copied ``model.pt`` or ``config.json`` in it, never is.
    """
    if FOLDER.fullmatch(folder.name) and folder.is_dir():
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        if names and names <= {*FILES, *BESIDE}:
            return f"remove the folder {folder} and run again"
    return "expected a run's folder as training left it, such as runs/CORPUS/…/fold1-seed0: name that one, or copy it whole"


def damaged(path: Path, reason: object) -> Damaged:
    return Damaged(f"{path}: damaged ({reason}); {remedy(path.parent)}")


def missing(path: Path) -> Damaged:
    return Damaged(f"{path}: no such file; {remedy(path.parent)}")


def content_of(path: Path) -> bytes:
    """Of a file of a run. Only regular files are opened: a pipe would be waited for."""
    try:
        if path.is_file():
            return path.read_bytes()
    except FileNotFoundError:
        pass
    raise damaged(path, "no regular file") if path.exists() else missing(path)


def read_json(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """The object in a JSON file of a run; ``InputError`` if it is missing, not JSON, or lacks one of ``keys``."""
    return parsed(path, content_of(path), keys)


def parsed(path: Path, content: bytes, keys: Iterable[str]) -> dict[str, Any]:
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise damaged(path, f"expected an object, found {type(value).__name__}")
    lacking = [key for key in keys if key not in value]
    if lacking:
        raise damaged(path, f"no {', '.join(lacking)}")
    return value


def require_sealed(path: Path, content: bytes, identity: str | None = None, folder: Path | None = None) -> None:
    """``InputError`` where a file is not the one that ``result.json`` of its run names. ``identity``: that in the file."""
    folder = folder or path.parent
    try:
        reason = seal.difference(path, folder, hashlib.sha256(content).hexdigest(), identity)
    except ValueError as error:
        raise damaged(folder / "result.json", error) from None
    if reason:
        raise Damaged(f"{path}: {reason}; {remedy(folder)}")


def read_result(folder: Path) -> dict[str, Any]:
    """Accuracies in [0, 1] (None where a failed run has none), status, counts; see the module's top."""
    path = folder / "result.json"
    result = read_json(path, RESULT_KEYS)
    if result["status"] not in STATUSES:
        raise damaged(path, f"status {result['status']!r}: expected one of {', '.join(STATUSES)}")
    for key in ("map", "best_map") if result.get("map") is not None else ("accuracy", "best_accuracy"):
        value = result.get(key)
        by_window = key.startswith("best") and result.get("test_windows")  # so are epochs: none is the best of files
        if value is None and (by_window or result["status"] != "trained"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise damaged(path, f"{key} = {value!r}: expected a number in [0, 1]")
    try:
        seal.seal_of(folder)
    except ValueError as error:
        raise damaged(path, error) from None
    return result


def read_config(folder: Path) -> dict[str, Any]:
    """What the run was: keys as in ``CONFIG_KEYS``; folds in ``data`` and ``skipped`` are text keys."""
    path = folder / "config.json"
    content = content_of(path)
    values = parsed(path, content, ("schema",))
    if values["schema"] != SCHEMA:
        raise InputError(
            f"{path}: schema {values['schema']!r}, this version reads {SCHEMA}; update audio-rkd, or {remedy(folder)}"
        )
    values = parsed(path, content, CONFIG_KEYS)
    require_sealed(path, content, str(values.get("identity") or ""))
    return values


def read_environment(folder: Path) -> dict[str, Any]:
    path = folder / "environment.json"
    content = content_of(path)
    values = parsed(path, content, ("python", "packages"))
    require_sealed(path, content)
    return values


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The epochs' lines, in order. A last line cut off in the middle of writing is left out.

    Lines that were lost since are not there (``lost_epochs``); one that is not as it was written, or of another run, is damage.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    states = tuple(state_of(folder / name) for name in ("metrics.jsonl", "result.json", "config.json"))
    return [{**record} for record in metrics_of(folder, states)]


def state_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


@functools.lru_cache(maxsize=512)
def metrics_of(folder: Path, states: tuple[object, ...]) -> tuple[dict[str, Any], ...]:
    """``read_metrics`` of files in these ``states``; a report asks for the same lines again and again."""
    path = folder / "metrics.jsonl"
    *lines, _cut_off = path.read_bytes().split(b"\n")
    identity, checksums = expected_lines(folder)
    waiting = iter(checksums or ())
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise damaged(path, f"line {number} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise damaged(path, f"line {number}: expected an object, found {type(record).__name__}")
        theirs = record.pop(seal.IDENTITY, None)
        if identity and theirs is not None and theirs != identity:
            raise Damaged(f"{path}: line {number} is of another run ({theirs}) than {identity}; {remedy(folder)}")
        twice = bool(identity and records) and not_behind(record, records[-1])
        if twice or (checksums is not None and seal.line_checksum(line) not in waiting):
            raise damaged(path, f"line {number} is not one that was written, in the order of the epochs")
        records.append(record)
    return tuple(records)


def not_behind(record: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether an epoch's line stands behind that of a later epoch, or of the same."""
    earlier, epoch = before.get("epoch"), record.get("epoch")
    return isinstance(earlier, int) and isinstance(epoch, int) and epoch <= earlier


def expected_lines(folder: Path) -> tuple[str, list[str] | None]:
    """The identity that the lines of ``metrics.jsonl`` carry, and their checksums; None of a run that is not sealed."""
    try:
        if sealed := seal.seal_of(folder):
            return str(sealed[seal.IDENTITY]), str(sealed[seal.LINES]).split()
    except ValueError as error:
        raise damaged(folder / "result.json", error) from None
    try:
        return str(json.loads((folder / "config.json").read_bytes()).get(seal.IDENTITY) or ""), None
    except (OSError, ValueError, AttributeError, RecursionError):  # whoever reads the configuration says so
        return "", None


def lost_epochs(folder: Path, epochs: int) -> list[int]:
    """The epochs of a finished run of ``epochs`` that ``metrics.jsonl`` has no line of (any more)."""
    there = {record.get("epoch") for record in read_metrics(folder)}
    return [epoch for epoch in range(1, epochs + 1) if epoch not in there]


def read_rows(folder: Path) -> Predictions:
    """The held-out fold's predictions as they were made, a row per clip of the features: of windows of long files one each."""
    path = folder / "predictions.npz"
    content = content_of(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if name := packed.testzip():  # numpy itself may stop before the checksum
                raise ValueError(f"{name} has another checksum")
        with warnings.catch_warnings(), np.load(io.BytesIO(content), allow_pickle=False) as file:
            warnings.simplefilter("ignore")  # of odd headers, which are damaged ones
            predictions = Predictions(file["clips"], file["labels"], file["logits"], file["sources"])
            identity = str(file[seal.IDENTITY]) if seal.IDENTITY in file else ""
        rows = {len(part) for part in predictions}
    except Exception as error:  # a flipped bit may raise anything
        raise damaged(path, str(error) or type(error).__name__) from None
    if len(rows) != 1 or predictions.logits.ndim != 2:
        shapes = ", ".join(f"{name} {part.shape}" for name, part in predictions._asdict().items())
        raise damaged(path, f"{shapes}; expected as many of each")
    require_sealed(path, content, identity)
    return predictions


def unfinished(root: Path, corpus: str | None = None) -> list[Path]:
    """The folders named as runs, ``fold{k}-seed{s}``, that have no ``result.json``."""
    return [path for path, files in run_folders(root, corpus) if "result.json" not in files]


def run_folders(root: Path, corpus: str | None) -> list[tuple[Path, list[str]]]:
    """Folders with a ``result.json`` or a run's name, and their files' names; fold 10 after fold 9."""
    folders = []
    for folder, below, files in os.walk(root / corpus if corpus else root):
        below[:] = [name for name in below if not name.startswith(".")]
        if "result.json" in files or FOLDER.fullmatch(Path(folder).name):
            folders.append((Path(folder), files))
    return sorted(folders, key=lambda item: natural(item[0]))


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts fold10 after fold9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.as_posix())]
