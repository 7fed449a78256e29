"""Every setting of the project, as frozen dataclasses read from a TOML file that refuses unknown keys.

A *preset* is one TOML file with the tables ``[features]``, ``[teacher]`` and ``[student]``; the ones that
come with the project lie in ``pipeline/presets``, which also layers one on another. What a number depends on is a
field here, and the digest of the fields is part of every cache's and run's path, so changed settings never meet old results.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipeline import listed, presets
from pipeline.digests import completed as completed
from pipeline.digests import digest as digest
from pipeline.digests import identifying as identifying
from pipeline.errors import InputError as InputError
from pipeline.feature_settings import EVERY_FEATURE as EVERY_FEATURE
from pipeline.feature_settings import FEATURES as FEATURES
from pipeline.feature_settings import LOUDEST as LOUDEST
from pipeline.feature_settings import VIEWS as VIEWS
from pipeline.feature_settings import FeatureSpec as FeatureSpec
from pipeline.feature_settings import view_index as view_index
from pipeline.feature_settings import view_name as view_name
from pipeline.feature_settings import view_names as view_names
from pipeline.folder_contents import with_contents
from pipeline.train_settings import NO_FOLD as NO_FOLD
from pipeline.train_settings import TrainSettings as TrainSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """One preset: what the three stages do. ``preset`` is a name for people and paths."""

    preset: str = "default"
    features: FeatureSpec = field(default_factory=FeatureSpec)
    teacher: TrainSettings = field(default_factory=TrainSettings)
    student: TrainSettings = field(default_factory=lambda: TrainSettings(model="cnn2"))
    chosen: presets.Chosen | None = field(default=None, compare=False)
    """The folds by which they were chosen, where the preset says so: what they reach there is optimistic."""
    asked_seconds: float | None = field(default=None, compare=False)
    """``features.seconds`` of an override: the clip length is the corpus', so this may only agree (``for_corpus``)."""


#: Table of a preset → what its keys are.
KINDS: dict[str, Any] = {"features": FeatureSpec, "teacher": TrainSettings, "student": TrainSettings}


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """``kind(**values)``, with a clear line for an unknown key or a value of the wrong type."""
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    clean: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key.lower(), known, n=1)
            expected = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise InputError(f"{where}: unknown key {key!r}; {expected}")
        wanted = str(known[key].type)
        names: dict[str, Any] = {
            "int": int,
            "float": (int, float),
            "str": str,
            "bool": bool,
            "float | str": (int, float, str),
            "str | list[str]": (str, list),
        }
        if not isinstance(value, names[wanted]) or (isinstance(value, bool) and wanted != "bool"):
            number = ", a number such as 0.2" if wanted == "float" else ""
            raise InputError(f"{where}: {key} = {value!r}: expected {wanted}{number}")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise InputError(f"{where}: {key} = {str(value)[:12]}…: expected a number of less than 300 digits")
        clean[key] = float(value) if wanted.startswith("float") and isinstance(value, int) else value
    try:
        return kind(**clean)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read(preset: str = "default", overrides: Iterable[str] = ()) -> Settings:
    """The settings of a preset's name or TOML file, with ``table.key=value`` overrides (TOML values).

    What a preset leaves out is as in ``default``, or as in what its ``extends`` names (``pipeline.presets``).
    Raises ``InputError`` for a preset, table, key or value that is not known.
    """
    overrides = tuple(overrides)
    try:
        layers = presets.layers(preset)
        chosen = [presets.chosen(values, path) for path, values in layers]
    except ValueError as error:
        raise InputError(str(error)) from None
    by: presets.Chosen | None = None
    for one in chosen:
        by = one.over(by) if one else by
    tables: dict[str, Any] = {}
    for path, values in layers:
        require_tables(values, str(path))
        tables = {name: tables.get(name, {}) | values.get(name, {}) for name in KINDS}
        built = built_tables(tables, str(path))
    if overrides:
        built = overridden(tables, overrides)
    asked = built["features"].seconds if any(map(sets_seconds, overrides)) else None
    return Settings(preset=path.stem, chosen=by, asked_seconds=asked, **built)


def overridden(tables: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``built_tables`` of a preset's tables with ``table.key=value`` overrides; an error names those without which the others
    are right, or all where each of several is wrong."""

    def changed(chosen: Sequence[str], named: Sequence[str]) -> dict[str, Any]:
        values = {name: dict(table) for name, table in tables.items()}
        for override in chosen:
            apply_override(values, override)
        where = ", ".join(f"--set {override}" for override in named)
        require_tables(values, where)
        return {name: build(kind, values[name], where) for name, kind in KINDS.items()}

    def are_right(chosen: Sequence[str]) -> bool:
        try:
            changed(chosen, ())
        except InputError:
            return False
        return True

    try:
        return changed(overrides, overrides)
    except InputError:
        blamed = [one for i, one in enumerate(overrides) if are_right([*overrides[:i], *overrides[i + 1 :]])]
        changed(overrides, blamed or overrides)  # raises the same, of these
        raise


def require_tables(tables: Mapping[str, Any], where: str) -> None:
    for table in tables:
        if table not in KINDS or not isinstance(tables[table], dict):
            raise InputError(f"{where}: unknown table [{table}]; expected {', '.join(KINDS)}")


def built_tables(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {name: build(kind, tables[name], f"{where} [{name}]") for name, kind in KINDS.items()}


def sets_seconds(override: str) -> bool:
    return override.partition("=")[0].replace(" ", "") == "features.seconds"


#: Settings of the data, which teachers and students have in common: an override without a table is of both.
OF_BOTH = ("unlabelled", "label_noise_fixed", "classes", "features_in")


def apply_override(tables: dict[str, Any], override: str) -> None:
    """Set ``table.key=value`` in ``tables``; the value is TOML, or a plain word."""
    target, equals, text = override.partition("=")
    table, dot, key = target.strip().partition(".")
    if equals and table in OF_BOTH and not dot:
        for network in ("teacher", "student"):
            apply_override(tables, f"{network}.{override.strip()}")
        return
    if not (equals and dot and key):
        raise InputError(f"{override!r}: expected TABLE.KEY=VALUE, for example student.lr=0.002")
    tables.setdefault(table, {})[key.strip()] = listed.as_text(key.strip(), value_of(text))


def value_of(text: str) -> Any:
    """The value of an override: TOML, or a plain word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # a number of thousands of digits, too
        return text.strip()


def for_corpus(settings: Settings, seconds: float) -> Settings:
    """``settings`` with the clip length of a corpus, and with what lies in the folders that they name.

    ``InputError`` where an override wants another length, and for a folder that cannot be read.
    """
    if settings.asked_seconds not in (None, seconds):
        raise InputError(
            f"features.seconds={settings.asked_seconds:g}: the clip length is the corpus', {seconds:g} s, and no "
            "setting; leave it out, or for a folder of your own write seconds into its corpus.toml"
        )
    features = settings.features
    backgrounds, rooms = (with_contents(name, getattr(features, name)) for name in ("backgrounds", "rooms"))
    features = dataclasses.replace(features, seconds=float(seconds), backgrounds=backgrounds, rooms=rooms)
    return dataclasses.replace(settings, features=features)
