"""Every setting in words: what it does (its field's docstring), its unit, and where its value is from (comments of the presets)."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import presets
from pipeline.config import KINDS, InputError, Settings, apply_override, read

#: Of settings that are numbers; the others are words, or counts of what their name says.
UNITS = {
    "seconds": "s",
    "sr": "Hz",
    "n_fft": "samples",
    "hop_length": "samples",
    "bins": "rows",
    "bins_per_octave": "bins per octave",
    "chroma_bins": "rows",
    "tuning": "bins",
    "noise_std": "of full scale",
    "floor": "of the loudest frame",
    "epochs": "epochs",
    "batch": "clips",
    "lr": "per step",
    "momentum": "share",
    "weight_decay": "per step",
    "step_epochs": "epochs",
    "gamma": "factor",
    "milestones": "epochs",
    "warmup_epochs": "epochs",
    "clip_norm": "norm of the gradient",
    "label_smoothing": "share",
    "beta2": "share",
    "average": "share",
    "dropout": "share",
    "teacher_dropout": "share",
    "input_noise": "of each input's deviation",
    "label_noise": "share of clips",
    "label_noise_fixed": "share of clips",
    "unlabelled": "share of clips",
    "unlabelled_threshold": "probability",
    "unlabelled_per_class": "clips",
    "keep": "epochs",
    "mixup": "Beta's parameter",
    "mixstyle": "share of batches",
    "mixstyle_alpha": "Beta's parameter",
}

#: Units that differ between tables.
OF_TABLE = {("features", "views"): "copies per clip"}

#: Columns of a line of what a setting does.
WIDTH = 100


class Line(NamedTuple):
    """One setting of a table."""

    table: str
    key: str
    value: Any
    unit: str
    origin: str
    """Where the value is from: "published", "ours", …, and what gives it: a preset's file, or ``--set``."""
    words: str


def lines(preset: str, overrides: tuple[str, ...] = ()) -> list[Line]:
    """Every setting of a preset with ``table.key=value`` overrides. ``InputError`` as ``config.read``."""
    settings = read(preset, overrides)
    origins = origins_of(preset, overrides)
    return [
        Line(
            table,
            field.name,
            getattr(getattr(settings, table), field.name),
            unit(table, field.name),
            origins.get((table, field.name), "ours: what the code takes"),
            words,
        )
        for table, kind in KINDS.items()
        for field, words in zip(dataclasses.fields(kind), docstrings(kind).values())
        if field.name != "version"
    ]


def unit(table: str, key: str) -> str:
    return OF_TABLE.get((table, key), UNITS.get(key, ""))


@functools.cache
def docstrings(kind: type) -> Mapping[str, str]:
    """Field → what stands below it in the class, as one line."""
    module = importlib.import_module(kind.__module__)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    below = dict(zip(body, [*body[1:], None]))
    words: dict[str, str] = {}
    for node, behind in below.items():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            constant = behind.value if isinstance(behind, ast.Expr) else None
            text = constant.value if isinstance(constant, ast.Constant) else ""
            words[node.target.id] = " ".join(str(text).split())
    return words


def origins_of(preset: str, overrides: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """(table, key) → the comment behind its value in the preset, or what it layers on, that gives it, and that file's name."""
    origins: dict[tuple[str, str], str] = {}
    for path, tables in presets.layers(preset):
        comments = dict(commented(path.read_text(encoding="utf-8-sig")))
        for table, values in tables.items():
            for key in values if isinstance(values, Mapping) else ():
                comment = comments.get((table, key), "")
                origins[table, key] = f"{comment or 'no word'} [{path.stem}]"
    changed: dict[str, Any] = {}
    for override in overrides:
        apply_override(changed, override)
    return origins | {(table, key): "[--set]" for table, values in changed.items() for key in values}


def commented(text: str) -> Iterator[tuple[tuple[str, str], str]]:
    """((table, key), comment) of the lines of a TOML file that have one; a # in a text begins none."""
    table = ""
    for line in text.splitlines():
        if header := re.match(r"\s*\[(\w+)\]", line):
            table = header[1]
        elif pair := re.match(r"\s*([\w-]+)\s*=\s*((?:\"[^\"]*\"|'[^']*'|[^#\"'])*)#\s*(.*)$", line):
            yield (table, pair[1]), pair[3].strip()


def toml_value(value: Any) -> str:
    """A setting's value as TOML writes it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def as_toml(preset: str, overrides: tuple[str, ...] = ()) -> str:
    """A preset in full, as a TOML file that reads back to the same settings; behind each value its unit and where it is from."""
    text = [f"# All settings of preset {preset}" + "".join(f" --set {one}" for one in overrides), 'extends = "default"']
    if chosen := read(preset).chosen:
        text.append(f"chosen = {{corpus = {json.dumps(chosen.corpus)}, folds = {list(chosen.folds)}}}")
    table = ""
    for line in lines(preset, overrides):
        if line.table != table:
            table = line.table
            text += ["", f"[{table}]"]
        text += [f"# {part}" for part in textwrap.wrap(line.words, WIDTH)]
        behind = f"{line.unit}; {line.origin}" if line.unit else line.origin
        text.append(f"{line.key} = {toml_value(line.value)}  # {behind}")
    return "\n".join(text)


def of_name_or_run(text: str) -> tuple[str, Settings]:
    """The settings of a preset's name, its TOML file, a run's folder, or one of runs that all have the same, and what to call them."""
    if not (folder := Path(text)).is_dir():
        return text, read(text)
    from pipeline import runs  # presets alone do without

    records = runs.find(folder)
    if not records:
        raise InputError(
            f"{text}: no finished run; expected the folder of one, fold1-seed0, of a mix's runs, or the name of a preset"
        )
    first = records[0].settings
    if other := next((r for r in records if any(getattr(r.settings, t) != getattr(first, t) for t in KINDS)), None):
        raise InputError(
            f"{text}: its runs have several settings, {records[0].folder} and {other.folder} others; expected one of these folders"
        )
    return text, first


def differences(first: str, second: str) -> list[tuple[str, Any, Any]]:
    """(table.key, value of the first, value of the second) of all settings that differ, between presets or runs."""
    (_, left), (_, right) = of_name_or_run(first), of_name_or_run(second)
    pairs = [
        (f"{table}.{field.name}", getattr(getattr(left, table), field.name), getattr(getattr(right, table), field.name))
        for table, kind in KINDS.items()
        for field in dataclasses.fields(kind)
    ]
    return [(key, a, b) for key, a, b in pairs if a != b]
