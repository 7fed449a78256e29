"""One run → ``exports/<corpus>/<model>-<mix>-<settings>-fold{k}-seed{s}/``: ONNX in float and int8, and the proof of both.

    model.onnx        "features" (batch, feature, bin, frame) raw → "logits" (batch, classes); standardisation inside
    model.int8.onnx   the same, quantised with clips of the training folds
    labels.json       class names in the order of the logits
    features.json     the settings and calls that make the input
    proof.json        worst logit difference, accuracies, sizes, which run it is, SHA-256 of each file beside it
    student-sound…    where the features allow it: samples → logits in one file, of several forms (``one_file``)

The folder is written under another name and renamed: it is there in full or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline import cache, features, places, runs
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus.windows import clip_of
from pipeline.deploy import calibrated
from pipeline.deploy.choosing import PROOF, best_student, chosen, digest_of, existing, folder_name, run_folder, signed
from pipeline.deploy.graph import INPUT, OUTPUT, Logits, graph
from pipeline.deploy.int8 import quantised, way_of
from pipeline.deploy.proving import HeldOut, held_out, of_files, scores
from pipeline.extras import install_line
from pipeline.models import Network
from pipeline.models.saved import network_of, require_classes, sound_features
from pipeline.plurals import many
from pipeline.runs import Record
from pipeline.runs.held_out import require_held_out
from pipeline.runs.weights import read_weights

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "FLOAT",
    "INPUT",
    "INT8",
    "OUTPUT",
    "PROOF",
    "Logits",
    "best_student",
    "chosen",
    "existing",
    "export",
    "folder_name",
    "graph",
    "held_out",
    "quantised",
    "require_extra",
    "session",
    "text",
]

#: Largest difference of a logit between torch and ONNX that counts as rounding.
TOLERANCE = 1e-4

FLOAT, INT8 = "model.onnx", "model.int8.onnx"


def require_extra() -> None:
    """``InputError`` with the line that installs them where onnx or onnxruntime is missing."""
    try:
        import onnx  # noqa: F401 (an extra)
        import onnxruntime  # noqa: F401 (an extra)
    except ImportError as error:
        remedy = f"install it: {install_line('export')}"
        raise InputError(f"ONNX needs the package {error.name}, which is not installed; {remedy}") from None


def session(model: bytes | Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU."""
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def onnx_logits(model: bytes, values: np.ndarray, batch: int = 64) -> np.ndarray:
    """(clips, classes) of raw features, in batches."""
    run = session(model).run
    return np.concatenate([run([OUTPUT], {INPUT: values[i : i + batch]})[0] for i in range(0, len(values), batch)])


@torch.inference_mode()
def torch_logits(network: Network, values: np.ndarray, batch: int = 64) -> np.ndarray:
    forward = Logits(network)
    return torch.cat([forward(part) for part in torch.from_numpy(values).split(batch)]).numpy()


def proof(network: Network, models: dict[str, bytes], data: HeldOut) -> dict[str, Any]:
    """Accuracies on the held-out clips, agreement, sizes; raises ``InputError`` where ONNX says something else."""
    expected = torch_logits(network, data.features)
    files = len({clip_of(name) for name in data.clips})
    floats, integers = (onnx_logits(models[name], data.features) for name in (FLOAT, INT8))
    worst = float(np.abs(floats - expected).max())
    if not worst < TOLERANCE:
        raise InputError(
            f"the ONNX model's logits differ from torch's by up to {worst:.2e}; expected less than {TOLERANCE:.0e}. "
            "Nothing was written; please report it with torch's and onnx's versions"
        )
    return {
        "held_out_clips": files,
        **({"held_out_windows": len(data.clips)} if files < len(data.clips) else {}),
        "calibration_clips": len(data.calibration),
        "worst_logit_difference": worst,
        "tolerance": TOLERANCE,
        **scores(expected, floats, integers, data),
        "worst_logit_difference_int8": float(np.abs(integers - floats).max()),
        "int8_in_float": way_of(models[INT8]),
        "bytes": {name: len(content) for name, content in models.items()},
    }


def export(
    run: Path,
    cache_root: Path,
    exports_root: Path,
    *,
    calibration: int = 400,
    rates: Sequence[int] = (),
    half: bool = False,
    data: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Export a finished run; returns the folder and what is in its ``proof.json``.

    ``calibration``: samples of the training folds that fix int8's scales. ``rates``, ``half``: which forms of the one file are
    wanted beside those at the features' own rate in float32; ``data``: the corpus' folder where it is not in its usual place. Raises ``InputError`` for a missing
    extra, run or cache, a run of all folds, other features than the run's, a rate that cannot be resampled, and where the proof fails; not for a run that cannot be one file.
    """
    require_extra()
    from pipeline.deploy.one_file import forms, making  # onnx: an extra

    source = run_folder(run)
    file = run if run.is_file() else source / "model.pt"
    payload = require_classes(read_weights(file), source)
    record = dataclasses.replace(runs.read(source), fold=payload["fold"])  # what the weights held out
    require_held_out(record)
    spec = sound_features(payload, file)
    wanted = forms(spec, rates, half)
    sounds = held_out(record, spec, cache_root, calibration)
    model = graph(network := network_of(payload))
    of_run = calibrated.fitted(source, file)
    plain = {FLOAT: model.SerializeToString(), INT8: quantised(model, sounds.calibration)}
    contents = calibrated.marked(plain, of_run, record.several_labels)
    students = {False: contents[FLOAT], True: contents[INT8]}
    header = cache.read_header(cache.fold_path(cache_root, record.corpus, spec, record.fold))
    one_file = making.proven_forms(wanted, students, calibrated.member(file, of_run), header, data)
    proven = {
        **identity(record, source, file),
        **proof(network, contents, sounds),
        **calibrated.proof(of_run, *of_files(torch_logits(network, sounds.features), sounds)),
        making.ENTRY: making.entry(one_file),
        "versions": versions(),
    }
    contents |= {
        "labels.json": calibrated.labels(payload["classes"], record, of_run),
        "features.json": runs.json_bytes(described(payload, spec)),
        **one_file.files,
    }
    contents[PROOF] = runs.json_bytes(proven := signed(proven, contents))
    folder = exports_root / record.corpus / folder_name(record)
    write_folder(folder, contents)
    return folder, proven


def identity(record: Record, source: Path, file: Path) -> dict[str, Any]:
    """Which run was exported."""
    return {
        "run": places.recorded(source),
        "model_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "corpus": record.corpus,
        "dataset": record.dataset,
        "synthetic": record.synthetic,
        "role": record.role,
        "model": record.model,
        "mix": record.recorded_mix,
        "fold": record.fold,
        "seed": record.seed,
        "settings": digest_of(record),
        "generation": record.generation,
    }


def described(payload: dict[str, Any], spec: FeatureSpec) -> dict[str, Any]:
    """What goes into the student and comes out of it."""
    return {
        "input": {"name": INPUT, "shape": ["batch", *payload["shape"]], "type": "float32"},
        "output": {"name": OUTPUT, "shape": ["batch", len(payload["classes"])], "type": "float32"},
        "spec": dataclasses.asdict(spec),
        "features": features.describe(spec),
    }


def versions() -> dict[str, str]:
    import onnx  # extras, both
    import onnxruntime

    return {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def write_folder(folder: Path, contents: dict[str, bytes]) -> None:
    """Write a folder's files under another name and rename it; an older folder of the name gives way at the end."""
    unfinished, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old"))
    try:
        for name, content in contents.items():
            runs.write_atomic(unfinished / name, content)
        if folder.exists():
            folder.rename(old)
        unfinished.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in (unfinished, old):
            shutil.rmtree(leftover, ignore_errors=True)


def text(folder: Path, proof: dict[str, Any]) -> str:
    """The proof for a terminal."""
    from pipeline.deploy.one_file import making  # onnx: an extra

    sizes, windows = proof["bytes"], ""
    if count := proof.get("held_out_windows"):
        windows = f", the mean of {many(count, 'window')} (agreement is of these),"
    percents = {
        name: f"{100 * proof[name]:.2f} %" for name in proof if name.startswith(("accuracy", "map_", "agreement"))
    }
    measure, key, same = ("mAP", "map", "classes") if "map_float" in proof else ("accuracy", "accuracy", "class")
    lines = [
        f"run         {proof['run']}",
        f"folder      {folder}",
        f"difference  {proof['worst_logit_difference']:.1e} worst logit, torch against ONNX (allowed: {TOLERANCE:.0e})",
        f"float       {sizes[FLOAT]:>9,} bytes  {measure} {percents[f'{key}_float']}",
        f"int8        {sizes[INT8]:>9,} bytes  {measure} {percents[f'{key}_int8']}, "
        f"same {same} as float on {percents['agreement_int8']}",
        f"measured    on the {many(proof['held_out_clips'], 'clean clip')}{windows} of held-out fold {proof['fold']}; int8 calibrated with "
        f"{many(proof['calibration_clips'], 'sample')} of the other folds",
    ]
    if way := proof.get("int8_in_float"):  # proofs made before do not say it
        lines[4] += f"; in floating point: {way}"
    if proof["synthetic"]:
        lines.insert(0, "SYNTHETIC (made-up sounds: these figures say nothing about real ones)")
    proven_by = "held-out windows" if windows else "held-out clips"
    return "\n".join(lines + calibrated.lines(proof) + making.lines(proof[making.ENTRY], proven_by))
