"""What is in a fold's file, for people: one screen of text. (The picture of one clip: ``pipeline.report.plots.clip``.)"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline import cache
from pipeline.cache import checking
from pipeline.config import FEATURES, InputError
from pipeline.corpus.clips import UNLABELLED, part_name
from pipeline.plurals import many
from pipeline.spelling import one_line

WIDTH = 110
SKIPPED_SHOWN = 5


def inspect_fold(path: Path, *, verify: bool = False) -> dict[str, Any]:
    """All that can be said of a fold's file, in JSON's types. Reads every feature, and checks them.

    ``tree``: dataset → shape, type, axes, unit, description. ``scales``: axis → first, last, n, unit.
    ``values``: feature → unit, call, min, mean, max, sd (of the finite values of all views), zeros (share of
    values exactly 0), nonfinite (their number). ``classes``: name → clips that have it. ``InputError`` for a file that is missing, damaged,
    foreign, or not what its digests say. ``verify``: though it was checked before.
    """
    header = cache.read_header(path)
    names = header.spec.names
    if damaged := cache.check(path, again=verify).damaged:
        raise InputError(f"{path}: {checking.words(damaged)}; {checking.remedy(path)}")
    values = statistics(cache.feature_blocks(path), names)
    with cache.opened(path) as file:
        tree, scales = datasets(file), axes(file)
    own = [header.label_sets[label] if header.label_sets else (label,) for label in header.labels if label >= 0]
    numbers = np.array([number for each in own for number in each], dtype=int)
    counts = np.bincount(numbers, minlength=len(header.classes)).tolist()
    about = zip(header.units, header.calls, strict=True)
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "compressed": header.compressed,
        "corpus": header.corpus,
        "dataset": header.dataset,
        "synthetic": header.synthetic,
        "fold": header.fold,
        "clips": len(header.clips),
        "recordings": len(set(header.sources)),
        "tree": tree,
        "scales": scales,
        "values": {
            name: {"unit": unit, "call": call, **values[name]} for name, (unit, call) in zip(names, about, strict=True)
        },
        "classes": dict(zip(header.classes, counts, strict=True)),
        **({"several_labels": True} if header.label_sets else {}),
        "spec": vars(header.spec).copy(),
        "row_of_c": {name: row_of_c(name, header.spec.bins) for name in names if name.startswith("chroma")},
        "versions": header.versions,
        "plain": header.plain,
        "skipped": [
            {"clip": s.clip, "path": s.file.path, "reason": s.reason, "expected": s.expected, "found": s.found}
            for s in header.skipped
        ],
        "digest": header.digest,
        "verified": True if verify else None,
    }


def statistics(
    blocks: Iterable[np.ndarray], names: Sequence[str] = FEATURES
) -> dict[str, dict[str, float | int | None]]:
    """Feature → min, mean, max, sd, zeros, nonfinite over blocks (clip, view, feature, bin, frame) of the features ``names``."""
    shape = len(names)
    count, zeros, total, squares = (np.zeros(shape) for _ in range(4))
    low, high, finite = np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape)
    over = (0, 1, 3, 4)
    for block in blocks:
        good = np.isfinite(block)
        count += block.size / shape
        finite += good.sum(over)
        zeros += (block == 0).sum(over)
        total += np.sum(block, axis=over, dtype=np.float64, where=good)
        squares += np.sum(np.square(block, dtype=np.float64), axis=over, where=good)
        low = np.minimum(low, np.min(block, axis=over, where=good, initial=np.inf))
        high = np.maximum(high, np.max(block, axis=over, where=good, initial=-np.inf))

    def row(i: int) -> dict[str, float | int | None]:
        if not finite[i]:
            return {
                "min": None,
                "mean": None,
                "max": None,
                "sd": None,
                "zeros": None,
                "nonfinite": int(count[i]),
            }
        mean = total[i] / finite[i]
        return {
            "min": float(low[i]),
            "mean": float(mean),
            "max": float(high[i]),
            "sd": float(np.sqrt(max(0.0, squares[i] / finite[i] - mean**2))),
            "zeros": float(zeros[i] / count[i]),
            "nonfinite": int(count[i] - finite[i]),
        }

    return {name: row(i) for i, name in enumerate(names)}


def row_of_c(name: str, bins: int) -> float:
    """The row of a chromagram of ``bins`` rows in which the pitch class C is; half a row is between two.

    The constant-Q chromagrams begin with C. The bank of ``chroma_stft`` begins with A and is rolled by 3 · (bins // 12)
    rows (``librosa.filters.chroma``), which are three semitones only where 12 divides ``bins``.
    """
    return bins / 4 - 3 * (bins // 12) if name == "chroma_stft" else 0.0


def datasets(file: h5py.File) -> dict[str, dict[str, Any]]:
    """Every dataset of a file that is no scale."""
    described: dict[str, dict[str, Any]] = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and not item.is_scale:
            text = h5py.check_string_dtype(item.dtype)
            described[name] = {
                "shape": list(item.shape),
                "type": "text" if text else str(item.dtype),
                "axes": [dim.label for dim in item.dims],
                "unit": str(item.attrs.get("units", "")),
                "description": str(item.attrs.get("description", "")),
            }

    file.visititems(visit)
    return described


def axes(file: h5py.File) -> dict[str, dict[str, Any]]:
    """Axis of ``features`` → what its scale says."""
    scales = {}
    for dim in file["features"].dims:
        scale = dim[0]
        values = scale.asstr()[()] if h5py.check_string_dtype(scale.dtype) else scale[()]
        scales[dim.label] = {
            "n": len(values),
            "first": values[0].item() if len(values) and hasattr(values[0], "item") else next(iter(values), None),
            "last": values[-1].item()
            if len(values) and hasattr(values[-1], "item")
            else next(iter(values[::-1]), None),
            "unit": str(scale.attrs["units"]),
            "description": str(scale.attrs["description"]),
        }
    return scales


def fold_text(info: dict[str, Any]) -> str:
    """One screen of what ``inspect_fold`` found."""
    synthetic = " SYNTHETIC" if info["synthetic"] else ""
    how = "librosa's functions one by one" if info["plain"] else "fast path"
    checked = {True: ", features, labels and clip names are as written", None: ""}[info["verified"]]
    lines = [
        f"{info['path']}   {info['bytes'] / 1e6:.1f} MB, {'gzip' if info['compressed'] else 'uncompressed'}{checked}",
        f"{info['corpus']}{synthetic} {part_name(info['fold'])}: {many(info['clips'], 'clip')} of {many(info['recordings'], 'recording')}, "
        f"{many(len(info['classes']), 'class')}, {many(len(info['skipped']), 'clip')} skipped; {how}",
        "",
        *tree_lines(info["tree"]),
        "",
        *(axis_line(name, scale) for name, scale in info["scales"].items()),
        "",
        f"{'feature':<15} {'min':>9} {'mean':>9} {'max':>9} {'sd':>9} {'zeros':>7} {'not finite':>10}  unit",
        *(value_line(name, value) for name, value in info["values"].items()),
        *chroma_lines(info["row_of_c"]),
        "",
        *listed("clips", clip_words(info)),
        *listed("settings", [f"{name} {value}" for name, value in info["spec"].items()]),
        *listed("versions", [f"{name} {value}" for name, value in info["versions"].items()]),
        f"digest    {info['digest']}",
    ]
    for skip in info["skipped"][:SKIPPED_SHOWN]:
        lines.append(f"skipped   {skip['path']}: {skip['reason']} (expected {skip['expected']}, found {skip['found']})")
    if len(info["skipped"]) > SKIPPED_SHOWN:
        lines.append(f"          and {len(info['skipped']) - SKIPPED_SHOWN} more: --json shows all")
    return "\n".join(map(one_line, lines))


def clip_words(info: dict[str, Any]) -> list[str]:
    """Clips by class, or that none has a label."""
    if info["fold"] == UNLABELLED:
        return [f"without a label {info['clips']}"]
    several = ["several labels each"] if info.get("several_labels") else []
    return [*several, *(f"{name} {count}" for name, count in info["classes"].items())]


def tree_lines(tree: dict[str, dict[str, Any]]) -> list[str]:
    """A line per dataset; the columns of a group in one line."""
    lines, groups = [], dict.fromkeys(name.split("/")[0] for name in tree if "/" in name)
    for name, data in tree.items():
        if "/" not in name:
            lines.append(f"{name:<10} {data['type']:<8} {sized(data)}  {data['description']}")
    for group in groups:
        columns = {name.partition("/")[2]: data for name, data in tree.items() if name.startswith(group + "/")}
        named = [name + (f" [{data['unit']}]" if data["unit"] else "") for name, data in columns.items()]
        lines.append(f"{group + '/':<10} {'columns':<8} {sized(next(iter(columns.values())))}  {', '.join(named)}")
    return lines


def sized(data: dict[str, Any]) -> str:
    return "(" + ", ".join(f"{axis} {n}" for axis, n in zip(data["axes"], data["shape"], strict=True)) + ")"


def axis_line(name: str, scale: dict[str, Any]) -> str:
    unit = f" {scale['unit']}" if scale["unit"] not in ("", "1") else ""
    ends = [
        f"{end:.3f}".rstrip("0").rstrip(".") if isinstance(end, float) else str(end)
        for end in (scale["first"], scale["last"])
    ]
    return f"axis {name:<12} {ends[0]} … {ends[1]}{unit}  ({scale['description']})"


def value_line(name: str, value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return f"{name:<15} {'no finite value':>39} {'':>7} {value['nonfinite']:>10}  {value['unit']}"
    numbers = " ".join(f"{value[key]:>9.4g}" for key in ("min", "mean", "max", "sd"))
    return f"{name:<15} {numbers} {value['zeros']:>7.2%} {value['nonfinite']:>10}  {value['unit']}"


def chroma_lines(row_of_c: dict[str, float]) -> list[str]:
    """A line where the chromagrams do not begin with the same pitch class."""
    off, others = row_of_c.get("chroma_stft", 0.0), [name for name in row_of_c if name != "chroma_stft"]
    if not off or not others:
        return []
    return [
        f"rows: pitch class C is row {off:g} of chroma_stft and row 0 of {' and '.join(others)}: {off:g} rows off "
        "(docs/features.md)"
    ]


def listed(title: str, words: list[str]) -> list[str]:
    return textwrap.wrap(", ".join(words), WIDTH, initial_indent=f"{title:<9} ", subsequent_indent=" " * 10)
