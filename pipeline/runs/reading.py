"""Run folders → records. The keys of ``config.json`` and ``result.json`` are known here and in ``writing`` alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline import config, label_sets, places
from pipeline.errors import Damaged
from pipeline.presets import Chosen
from pipeline.runs import folder as files
from pipeline.runs import lost, seal
from pipeline.runs.ancestry import path_of
from pipeline.runs.damage import spared
from pipeline.runs.record import UNFINISHED, Pack, Record, Result, Table

T = TypeVar("T")

#: Of the table "pack"; what else it holds is how the pack was chosen.
PACK_KEYS = ("runs", "layout", "device", "threads", "repeats", "teachers")


def find(root: Path, corpus: str | None = None, *, spare: bool = False) -> list[Record]:
    """The finished runs below ``root`` (of one corpus), by path; a renamed copy of a run folder counts.

    Raises ``InputError`` for a finished run whose files are damaged; with ``spare`` they are left out, and told at the command's end.
    So are unfinished ones that lack a file which they had, in either case.
    """
    every = files.run_folders(root, corpus)
    lost.tell(lost.file_of_run(folder, names) for folder, names in every)
    folders = [path for path, names in every if "result.json" in names]
    if not spare:
        return [read(folder) for folder in folders]
    return [record for folder in folders if (record := spared(partial(read, folder)))]


def read(folder: Path) -> Record:
    """The record of one run; one that has begun and is not finished has a result that says so.

    Raises ``InputError`` for a file that is missing, damaged or of another schema.
    """
    kept = files.read_config(folder)
    if files.finished(folder):
        whole = files.read_result(folder)
        result = checked(folder / "result.json", result_of, whole)
        if not (ours := str(kept.get(seal.IDENTITY) or "")):
            seal.unchecked[folder] = None
        elif seal.IDENTITY not in whole:
            reason = f"of another run ({seal.named('')}) than its config.json ({ours})"
            raise Damaged(f"{folder / 'result.json'}: {reason}; {files.remedy(folder)}")
    else:
        result = Result(UNFINISHED, epochs=len(files.read_metrics(folder)))
    record = checked(folder / "config.json", lambda values: record_of(folder, values, result), kept)
    if record.several_labels:
        label_sets.require(folder)
    return record


def checked(path: Path, build: Callable[[Table], T], kept: Table) -> T:
    try:
        return build(kept)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise files.damaged(path, f"{type(error).__name__}: {error}") from None


def result_of(kept: Table) -> Result:
    names = (
        "best_accuracy",
        "best_epoch",
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "ece",
        "nll",
        "agreement",
        "seconds",
        "runs_in_pack",
        "window_accuracy",
        "test_windows",
        "map",
        "best_map",
        "chance",
    )
    return Result(
        status=kept["status"],
        epochs=int(kept["epochs"]),
        test_clips=int(kept["test_clips"]),
        parameters=int(kept["parameters"]),
        failure=kept.get("failure") or "",
        finished=str(kept.get("finished") or ""),
        weights=kept.get("weights") or "",
        terms=kept.get("terms") or {},
        overflowed=kept.get("nll", 0.0) is None,
        **{name: kept.get(name) for name in names},
    )


def record_of(folder: Path, kept: Table, result: Result) -> Record:
    named = kept.get("teacher")
    settings = {name: config.completed(kept["settings"][name], kind) for name, kind in config.KINDS.items()}
    return Record(
        folder=folder,
        **{name: str(kept[name]) for name in ("role", "corpus", "dataset", "model", "preset")},
        synthetic=bool(kept["synthetic"]),
        fold=int(kept["fold"]),
        seed=int(kept["seed"]),
        recorded_mix=str(kept["mix"] or ""),
        recorded_settings=settings,
        result=result,
        all_folds=tuple(map(int, kept["all_folds"])),
        data={int(fold): str(digest) for fold, digest in kept["data"].items()},
        skipped={int(fold): int(count) for fold, count in kept["skipped"].items()},
        classes=texts(kept.get("classes")),
        shape=tuple(map(int, kept.get("shape") or ())),
        slug=kept.get("slug") or "",
        teacher=tuple(map(places.located, named))
        if isinstance(named, list)
        else places.located(named)
        if named
        else None,
        start=path_of(kept, "start"),
        base=path_of(kept, "base"),
        generation=int(kept.get("generation") or 0),
        lineage=tuple(map(places.located, kept.get("lineage") or ())),
        teacher_weights={places.located(run): digest for run, digest in (kept.get("teacher_weights") or {}).items()},
        experiment=kept.get("experiment"),
        step=kept.get("step"),
        pack=pack_of(kept.get("pack") or {}),
        trusted=bool(kept.get("trusted")),
        without=None if kept.get("without") is None else int(kept["without"]),
        crossed=bool(kept.get("cross_fitted")),
        firsts=tuple(map(places.located, kept.get("firsts") or ())),
        contents={places.located(path): str(digest) for path, digest in (kept.get("contents") or {}).items()},
        identity=str(kept.get(seal.IDENTITY) or ""),
        peer=path_of(kept, "peer"),
        several_labels=bool(kept.get("several_labels")),
        plugins={str(name): str(digest) for name, digest in (kept.get("plugins") or {}).items()},
        chosen=Chosen(str(by["corpus"]), tuple(map(int, by["folds"]))) if (by := kept.get("chosen")) else None,
    )


def texts(values: Sequence[object] | None) -> tuple[str, ...]:
    return tuple(map(str, values or ()))


def pack_of(kept: Table) -> Pack:
    repeats = kept.get("repeats")
    return Pack(
        kept.get("runs"),
        kept.get("layout") or "",
        kept.get("device") or "",
        kept.get("threads"),
        places.located(repeats) if repeats else None,
        {key: value for key, value in kept.items() if key not in PACK_KEYS},
        kept.get("teachers") == "live",
    )
