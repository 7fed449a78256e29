"""Which run is exported, in which folder, and whether it is there already."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import config, places, runs
from pipeline.config import InputError
from pipeline.files import differing
from pipeline.losses import LossMix
from pipeline.report.aggregation import at_chance, counted
from pipeline.runs import Record, seal
from pipeline.runs.folder import read_json
from pipeline.runs.held_out import of_all_folds
from pipeline.runs.paths import named_in_path
from pipeline.runs.weights import read_weights

PROOF = "proof.json"


def digest_of(record: Record) -> str:
    """Of a run's settings, and of a born-again run, and one that others than its fold's own teacher taught, also the runs and files
    that it goes back to."""
    if record.is_teacher_or_student:
        return record.digest
    before = [*record.lineage, *(path for path in record.teachers if path not in record.lineage)]
    return config.digest(record.digest, *map(places.recorded, before)) if before else record.digest


def folder_name(record: Record) -> str:
    """``<model>-<mix>-<digest of the settings>[-gen{g}]-fold{k}-seed{s}`` of a run."""
    mix = LossMix.parse(record.recorded_mix or "ce").slug
    born = f"-gen{record.generation}" if record.is_generation else ""
    return named_in_path(f"{record.model}-{mix}-{digest_of(record)}{born}-{record.name}", beside=20)


def best_student(records: Iterable[Record], corpus: str = "") -> Record:
    """The student to ship where none is named: of the mix with the highest mean accuracy, its first run.

    Mixes are compared by the mean of their folds' means, over the runs that count in the report (also those no better
    than chance), and only those that have as many folds as any. The first fold and seed stand for the mix: choosing
    among folds would choose the easiest clips. One that is no better than chance stands only where all are so.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        if record.is_distilled and counted([record]):
            taught_by = record.folder.parent.name if record.is_step else ""
            groups.setdefault((record.digest, record.recorded_mix, taught_by), []).append(record)
    if not groups:
        where = f" of {corpus}" if corpus else ""
        raise InputError(
            f"no student with an accuracy among the finished runs{where} (all stopped, or train no outputs); "
            "train some first: make distill, or name a run folder"
        )

    def standing(group: list[Record]) -> tuple[int, float]:
        by_fold: dict[int, list[float]] = {}
        for record in group:
            if record.result.score is not None:
                by_fold.setdefault(record.fold, []).append(record.result.score)
        return len(by_fold), float(np.mean([np.mean(values) for values in by_fold.values()]))

    best = max(groups.values(), key=standing)
    return min(best, key=lambda record: (at_chance(record), record.fold, record.seed))


def final_name(record: Record) -> str:
    """The folder of a student that was trained on all folds."""
    return named_in_path(f"final-{folder_name(record)}", 20)


def how_to_export(record: Record) -> str:
    """The command that exports a run: of a student of all folds the one that trained it, which then has nothing left to train."""
    if not of_all_folds(record):
        return f"audio-rkd export {record.folder}"
    named = {"--preset": record.preset, "--losses": record.mix_text, "--seeds": str(record.seed)}
    return " ".join(["audio-rkd final", *(f"{option} {shlex.quote(value)}" for option, value in named.items())])


def existing(exports_root: Path, record: Record) -> tuple[Path, dict[str, Any]] | None:
    """The export of this very run (by the hash of its ``model.pt``), or None."""
    whole = of_all_folds(record)
    folder = exports_root / record.corpus / (final_name(record) if whole else folder_name(record))
    score = "map" if record.several_labels else "accuracy"
    figures = ("weights",) if whole else ("model_sha256", f"{score}_float", f"{score}_int8")
    again = how_to_export(record)
    if not (folder / PROOF).is_file():
        if (folder / "model.onnx").is_file():
            raise InputError(
                f"{folder / PROOF}: no such file, and it names the files beside it; make the export again: {again}"
            )
        return None
    try:
        proof = read_json(folder / PROOF, (*figures, "bytes"))
    except InputError:
        raise InputError(f"{folder / PROOF}: damaged; make the export again: {again}") from None
    if seal.CONTENT in proof and proof[seal.CONTENT] != seal.content_of(proof):
        raise InputError(f"{folder / PROOF}: it does not say what was written; make the export again: {again}")
    if wrong := differing(folder, proof.get("sha256") or {}):
        raise InputError(f"{folder / wrong[0]}: not the file that proof.json names; make the export again: {again}")
    if whole:
        return (folder, proof) if proof["weights"] == record.result.weights else None
    same = proof["model_sha256"] == hashlib.sha256((record.folder / "model.pt").read_bytes()).hexdigest()
    return (folder, proof) if same else None


def signed(proof: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """``proof`` with the SHA-256 of each file beside it, and of what it says itself."""
    whole = {**proof, "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}}
    return {**whole, seal.CONTENT: seal.content_of(whole)}


def run_folder(path: Path) -> Path:
    """The finished run of a run folder or of the ``model.pt`` in it, with the record that others than predict need.

    Raises ``InputError`` as ``read_weights``, and for a ``model.pt`` without the run's other files.
    """
    read_weights(path)
    folder = path if path.is_dir() else path.parent
    for name in ("config.json", "result.json"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name}: no such file; a model.pt alone is enough for predict only: expected the folder of a "
                "finished run, such as runs/CORPUS/student-…/MIX/fold1-seed0"
            )
    return folder


def chosen(run: Path | None, runs_root: Path, corpus: str, preset: str = "") -> tuple[Path, Sequence[str]]:
    """The run to export, and lines for the user where it was not named; ``preset``: of whose runs one is chosen, "" for all."""
    if run is not None:
        return run, ()
    records = runs.find(runs_root, corpus)
    if preset:
        name = Path(preset).name.removesuffix(".toml")
        records = [record for record in records if record.preset == name]
        if not any(record.is_distilled for record in records):
            config.read(preset)  # whether there is one; runs stay when its file goes
            raise InputError(
                f"no finished student of preset {name} among the runs of {corpus}; train one: make distill PRESET={preset}"
            )
    best = best_student(records, corpus)
    lines = [
        f"best mix by {'mean average precision' if best.several_labels else 'mean accuracy'}: {best.recorded_mix}; its fold {best.fold}, seed {best.seed}"
    ]
    if at_chance(best):
        lines.append(
            f"note: on its {best.result.test_clips} held-out clips it is no better than chance"
            f"{'' if best.several_labels else ' by the binomial test'}, as all runs of this mix"
        )
    return best.folder, lines
