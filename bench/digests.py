"""What is in the files that the project writes, and digests of it: for ``bench.pins``.

Masked in texts: dates with a time (DATE, also as LaTeX), durations (TIME), the commit. Left out of JSON: the keys of ``WALL_CLOCK``; of
HDF5: modification times and versions; and the seals, digests of files that hold such times, whose other contents are compared one by
one. Whole: environment.json, which is only about the machine, and checks.json, of when files were looked at.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

WALL_CLOCK = {
    "seconds",
    "finished",
    "time",
    "commit",
    "changed",
    "run_steps_per_second",
    "measured",
    "versions",
    # Seals: ``content`` and ``lines`` of a result, the digest of a feature file's header.
    "content",
    "lines",
    "environment.json",
    "header_digest",
}
MASKS = (
    (r"\d{4}(-|\{-\})\d\d(-|\{-\})\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", "DATE"),
    (r"\b\d+(\.\d+)? (s|ms|min)\b", "TIME"),
    (r'"seconds": [\d.]+', '"seconds": TIME'),
    (r"\bcommit [0-9a-f]{7,40}\b( \(changed\)|\+)?", "COMMIT"),
)
FOLDERS = ("cache", "runs", "resumed", "reports", "exports", "said")
MACHINES = ("environment.json", "checks.json")
SUFFIXES = (".h5", ".npz", ".pt", ".onnx", ".json", ".jsonl", ".md", ".csv", ".tex", ".txt")


def masked(text: str) -> str:
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    return text


def unclocked(value: Any) -> Any:
    """A JSON value without the keys that wall-clock time decides."""
    if isinstance(value, dict):
        return {k: unclocked(v) for k, v in value.items() if k not in WALL_CLOCK}
    return [unclocked(v) for v in value] if isinstance(value, list) else value


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries as ``a/b``; tensors as arrays, everything else as text."""
    if isinstance(value, dict):
        return {key: leaf for k, v in value.items() for key, leaf in flat(v, f"{name}/{k}" if name else str(k)).items()}
    return {name: value.numpy() if hasattr(value, "numpy") else json.dumps(unclocked(value), sort_keys=True)}


def contents(path: Path) -> dict[str, Any]:
    """Name → array or text, of one file that the project wrote."""
    if path.suffix == ".h5":
        return features_file(path)
    if path.suffix == ".npz":
        with np.load(path) as file:
            return dict(file)
    if path.suffix == ".pt":
        import torch

        return flat(torch.load(path, map_location="cpu", weights_only=True))
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        shape = [n if isinstance(n, int) else 4 for n in given.shape]
        x = 10 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        return {out.name: y for out, y in zip(session.get_outputs(), session.run(None, {given.name: x}), strict=True)}
    text = path.read_text()
    if path.suffix == ".json":
        return flat(unclocked(json.loads(text)))
    if path.suffix == ".jsonl":
        return {f"epoch {n}": json.dumps(unclocked(json.loads(line))) for n, line in enumerate(text.splitlines(), 1)}
    return {"text": masked(text)}


def features_file(path: Path) -> dict[str, Any]:
    import h5py

    values: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "mtime" not in name:
            text = h5py.check_string_dtype(item.dtype) is not None
            values[name] = np.array(item.asstr()[:], dtype=np.str_) if text else item[:]

    with h5py.File(path) as file:
        file.visititems(visit)
        return values | {f"@{k}": str(v) for k, v in file.attrs.items() if k not in WALL_CLOCK}


def digests(values: dict[str, Any]) -> dict[str, str]:
    def one(value: Any) -> str:
        if isinstance(value, str):
            return hashlib.sha256(value.encode()).hexdigest()
        return hashlib.sha256(
            f"{value.dtype.str} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
        ).hexdigest()

    return {key: one(value) for key, value in sorted(values.items())}


def pins_of(work: Path) -> dict[str, dict[str, str]]:
    """File → name in it → digest, of all that was written below ``work``."""
    paths = [path for folder in FOLDERS for path in sorted((work / folder).rglob("*"))]
    return {
        str(path.relative_to(work)): digests(contents(path))
        for path in paths
        if path.suffix in SUFFIXES and path.name not in MACHINES and ".again" not in path.parts
    }


def difference(old: Any, new: Any) -> str:
    """How far apart two values of ``contents`` are, for people."""
    if isinstance(old, str) and isinstance(new, str):
        pairs = zip((*old.splitlines(), "(end)"), (*new.splitlines(), "(end)"), strict=False)
        return next((f"{a.strip()!r} → {b.strip()!r}" for a, b in pairs if a != b), "line ends")
    if isinstance(old, str) or isinstance(new, str) or old.dtype != new.dtype or old.shape != new.shape:
        kinds = (f"{v.dtype} {v.shape}" if isinstance(v, np.ndarray) else "text" for v in (old, new))
        return " → ".join(kinds)
    if old.dtype.kind not in "fiub":
        return f"{np.sum(old != new)} of {old.size} differ"
    return f"largest difference {np.abs(old.astype(np.float64) - new.astype(np.float64)).max():.3g}"


def changes(old: dict[str, dict[str, str]], work: Path, kept: Path) -> int:
    """Print a line per file of ``work``: the same, or what changed in it; the number of files that changed.

    ``kept`` has the files that the digests in ``old`` are of, so that the line can say how far apart arrays are.
    """
    new, changed = pins_of(work), 0
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path):
            print(f"{work.name:4}  same     {path}")
            continue
        changed += 1
        if path not in new or path not in old:
            note = "is not made any more" if path in old else "was not made before"
        else:
            note = "; ".join(notes(old[path], new[path], kept / path, work / path))
        print(f"{work.name:4}  CHANGED  {path}: {note}")
    print(f"{work.name}: {changed} of {len(old.keys() | new.keys())} files changed")
    return changed


def notes(before: dict[str, str], after: dict[str, str], old: Path, new: Path) -> list[str]:
    """What changed in one file."""
    values = contents(old) if old.is_file() else {}, contents(new)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        if key in before and key in after:
            if before[key] != after[key]:
                far = f", {difference(values[0][key], values[1][key])}" if key in values[0] else ""
                lines.append(f"{key} {before[key][:12]} → {after[key][:12]}{far}")
        elif key in after:
            lines.append(f"{key} is new")
        else:
            same = [k for k, digest in after.items() if digest == before[key] and k not in before]
            lines.append(f"{key} is called {same[0]} now" if same else f"{key} is gone")
    return lines
