"""What a search varies: a TOML file, read and checked before anything is trained.

title         what it is for
preset        the settings that everything else is taken from
network       "student" (the default), or "teacher": whose accuracy is maximised
losses        the students' mix, a number in it as {name} of the table [mix]; or a list of mixes, one of which is chosen
trials        how many settings are tried; of a grid all
sampler       "tpe" (the default), "random", or "grid": each combination of lists once
halving       of each bracket one in so many goes on from rung to rung; 1: none is stopped early
least_epochs  of the first rung
teacher_seeds, teacher_features  who teaches in place of the fold's own teacher, as distill's --teacher-seeds and --teacher-set:
              [0, 1, 2], {use = "melspectrogram", bins = 64}
validation    how many of the inner folds validate, in turn from the one behind the held-out one; 0: all

[student] [teacher] [mix]   a setting each: a list of values, or {low = 1e-4, high = 1e-2, log = true}, {low = 10, high = 50, step = 10}
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import string
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import InputError, TrainSettings
from pipeline.experiments.own_features import table_of
from pipeline.experiments.reading import seeds_of
from pipeline.experiments.stages import own_teachers
from pipeline.losses.library import suggestion

FOLDER = Path(__file__).parent
TABLES = ("student", "teacher", "mix")
SAMPLERS = ("tpe", "random", "grid")
#: Of each whole number: the least, the most, and why no more.
WHOLE = {
    "trials": (1, 10_000, "each is several trainings"),
    "halving": (1, 100, "a hundredth of the trials goes on"),
    "least_epochs": (1, 1_000_000, "so many epochs take years"),
    "validation": (0, 10_000, "so many folds no corpus has"),
}
#: Significant digits of a number that is drawn: it is written into presets and mixes as it was trained.
DIGITS = 4

Value = float | int | str | bool


@dataclass(frozen=True)
class Parameter:
    """One thing that is varied: one of ``choices``, or a number from ``low`` to ``high``."""

    name: str
    """``student.lr``, ``mix.T``, or ``losses``."""
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        how = ", in powers" if self.log else f", in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{how}"

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that have to be right one by one: all choices, or the lowest and the highest number."""
        return self.choices or tuple(int(end) if self.whole else end for end in (self.low, self.high))

    def rounded(self, value: Any) -> Value:
        """A drawn value as it is trained."""
        if self.choices or self.whole:
            return value if self.choices else int(value)
        return min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))


@dataclass(frozen=True)
class Space:
    """See the module's top."""

    name: str
    title: str = ""
    preset: str = "default"
    network: str = "student"
    losses: tuple[str, ...] = ("soft",)
    trials: int = 20
    sampler: str = "tpe"
    halving: int = 3
    least_epochs: int = 3
    validation: int = 0
    teacher_seeds: tuple[int, ...] = ()
    teacher_features: tuple[tuple[str, Any], ...] = ()
    parameters: tuple[Parameter, ...] = ()

    @property
    def told(self) -> dict[str, Any]:
        """As JSON, for its record and its digest; without what was not there in earlier versions, and says nothing."""
        later = ("teacher_seeds", "teacher_features")
        return {key: value for key, value in dataclasses.asdict(self).items() if value or key not in later}

    @property
    def taught_by(self) -> list[dict[str, Any]]:
        """The step of the teachers, as ``stages.own_teachers``."""
        return own_teachers(self.teacher_seeds, dict(self.teacher_features))

    @property
    def combinations(self) -> int:
        """How many trials the grid has."""
        return math.prod(len(parameter.choices) for parameter in self.parameters)

    @property
    def grid(self) -> list[dict[str, Value]]:
        """Each combination of the choices, the last parameter's changing fastest."""
        names = [parameter.name for parameter in self.parameters]
        return [dict(zip(names, values)) for values in itertools.product(*(one.choices for one in self.parameters))]

    def mix_of(self, values: Mapping[str, Value]) -> str:
        """The mix of one trial, as text."""
        text = str(values.get("losses", self.losses[0]))
        try:
            return text.format(**{name.removeprefix("mix."): value for name, value in values.items() if "mix." in name})
        except (ValueError, LookupError, MemoryError) as error:
            raise InputError(f"losses = {text!r}: {error}; expected names alone in braces, for example {{T}}") from None


def names() -> dict[str, str]:
    """The spaces that come with the project → their titles."""
    return {path.stem: str(contents(path).get("title", "")) for path in sorted(FOLDER.glob("*.toml"))}


def read(name: str, losses: Sequence[str] = (), trials: int | None = None) -> Space:
    """The space of that name, or in that file. ``losses`` and ``trials``: in place of its own.

    Raises ``InputError``, one line, for whatever it cannot be.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        shipped = [known.stem for known in sorted(FOLDER.glob("*.toml"))]
        near = "" if name.endswith(".toml") else suggestion(name, shipped)
        raise InputError(f"no space {name!r}{near}; expected one of {', '.join(shipped)}, or the path of a .toml file")
    tables = contents(path)
    if losses:
        tables["losses"] = list(losses)
        tables["mix"] = {
            key: value for key, value in tables.get("mix", {}).items() if any(f"{{{key}}}" in text for text in losses)
        }
    if trials is not None:
        tables["trials"] = trials
    return parsed(path, tables)


def contents(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # Not TOML, not UTF-8, or a number of thousands of digits.
        raise InputError(f"{path}: not a TOML file: {error}") from None


def parsed(path: Path, tables: Mapping[str, Any]) -> Space:
    """The space of a file's ``tables``."""
    fields = [field.name for field in dataclasses.fields(Space) if field.name not in ("name", "parameters")]
    for key in tables:
        if key == "features":
            raise InputError(f"{path}: [features]: features are computed before a search; expected a preset for each")
        if key not in (*fields, *TABLES):
            raise InputError(f"{path}: unknown key {key!r}; expected one of {', '.join((*fields, *TABLES))}")
    values = {key: tables[key] for key in fields if key in tables}
    for key in ("title", "preset", "network", "sampler"):
        if not isinstance(values.get(key, ""), str):
            raise InputError(f"{path}: {key} = {values[key]!r}: expected text")
    for key, (least, most, why) in WHOLE.items():
        number = values.get(key, least)
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            raise InputError(f"{path}: {key} = {number!r}: expected a whole number from {least} to {most:,} ({why})")
    values["teacher_seeds"] = seeds_of(values.get("teacher_seeds", []), str(path), "teacher_seeds")
    values["teacher_features"] = table_of(values.get("teacher_features", {}), str(path), "teacher_features")
    values["losses"] = losses_of(path, values.get("losses", list(Space.losses)))
    parameters = [parameter for table in TABLES for parameter in parameters_of(path, table, tables.get(table, {}))]
    if len(values["losses"]) > 1:
        parameters.append(Parameter("losses", choices=values["losses"]))
    space = Space(path.stem, parameters=tuple(parameters), **values)
    require_fitting(space, path, "trials" in tables)
    if space.sampler == "grid" and "trials" not in tables:
        return dataclasses.replace(space, trials=space.combinations)
    return space


def losses_of(path: Path, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise InputError(
            f"{path}: losses = {value!r}: expected a mix such as 'ce:0.3,hinton:{{taught}}', or a list of mixes"
        )
    if len(set(texts)) < len(texts):
        raise InputError(f"{path}: losses = {value!r}: a mix twice; expected each once")
    return tuple(texts)


def parameters_of(path: Path, table: str, values: Any) -> list[Parameter]:
    """The parameters of one table."""
    if not isinstance(values, dict):
        raise InputError(f"{path}: {table} = {values!r}: expected a table [{table}] of settings")
    kinds = {field.name: str(field.type) for field in dataclasses.fields(TrainSettings)}
    parameters = []
    for key, value in values.items():
        where = f"{path}: [{table}] {key} = {value!r}"
        if table != "mix" and key not in kinds:
            raise InputError(
                f"{path}: [{table}]: unknown key {key!r}{suggestion(key, kinds)}; expected a training setting"
            )
        if table == "mix" and not key.isidentifier():
            raise InputError(f"{where}: expected a name of letters, digits and '_', for example T")
        parameters.append(parameter_of(f"{table}.{key}", value, kinds.get(key) if table != "mix" else None, where))
    return parameters


def parameter_of(name: str, value: Any, kind: str | None, where: str) -> Parameter:
    """``kind``: the type of the setting; None: whatever the values are."""
    if isinstance(value, list):
        plain = all(isinstance(one, str | bool) or is_finite(one) for one in value)
        choices = tuple(float(one) if kind == "float" and type(one) is int else one for one in value if plain)
        if not choices or len({(type(one), one) for one in choices}) < len(value):
            raise InputError(f"{where}: expected a list of values, each once")
        return Parameter(name, choices=choices)
    expected = "expected a list of values, or {low = 1e-4, high = 1e-2, log = true}"
    if not isinstance(value, dict) or not {"low", "high"} <= value.keys() <= {"low", "high", "log", "step"}:
        raise InputError(f"{where}: {expected}")
    numbers = [value["low"], value["high"], value.get("step", 1)]
    if not all(type(number) in (int, float) and is_finite(number) for number in numbers):
        raise InputError(f"{where}: {expected}, of finite numbers")
    log = value.get("log", False)
    if not isinstance(log, bool) or (log and ("step" in value or value["low"] <= 0)):
        raise InputError(f"{where}: expected log = true with low above 0 and without step")
    if not value["low"] < value["high"] or numbers[2] <= 0:
        raise InputError(f"{where}: expected low below high, and a step above 0")
    whole = kind == "int" or (kind is None and all(type(number) is int for number in numbers))
    if whole and not all(type(number) is int for number in numbers):
        raise InputError(f"{where}: expected whole numbers")
    if kind in ("str", "bool"):
        raise InputError(f"{where}: {name} is no number; expected a list of values")
    return Parameter(name, (), value["low"], value["high"], log, value.get("step"), whole)


def is_finite(value: Any) -> bool:
    """Whether it is a number, and one that a float holds."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def require_fitting(space: Space, path: Path, trials_are_given: bool) -> None:
    """``InputError`` for what does not go together."""
    if space.network not in ("student", "teacher"):
        raise InputError(f"{path}: network = {space.network!r}: expected student or teacher")
    if space.sampler not in SAMPLERS:
        raise InputError(f"{path}: sampler = {space.sampler!r}: expected one of {', '.join(SAMPLERS)}")
    if not space.parameters:
        raise InputError(
            f"{path}: nothing is varied; expected a table [student], [teacher] or [mix], or several losses"
        )
    if space.sampler == "grid":
        for parameter in space.parameters:
            if not parameter.choices:
                raise InputError(
                    f"{path}: {parameter.name}: a grid has lists alone; expected a list, or sampler = 'tpe'"
                )
        most = WHOLE["trials"][1]
        if space.combinations > most:
            raise InputError(
                f"{path}: the grid has {space.combinations:,} trials; expected at most {most:,}, or sampler = 'tpe'"
            )
        if trials_are_given and space.trials > space.combinations:
            raise InputError(f"{path}: trials = {space.trials}: the grid has {space.combinations}; expected no more")
    if space.network == "teacher" and any(not one.name.startswith("teacher.") for one in space.parameters):
        raise InputError(f"{path}: network = 'teacher' learns the labels alone; expected [teacher] alone")
    if space.network == "teacher" and space.taught_by:
        raise InputError(
            f"{path}: network = 'teacher' has no teachers; expected no teacher_seeds, and no teacher_features"
        )
    known = {one.name.removeprefix("mix.") for one in space.parameters if one.name.startswith("mix.")}
    try:
        named = {
            field for text in space.losses for _, field, _, _ in string.Formatter().parse(text) if field is not None
        }
    except ValueError as error:
        raise InputError(
            f"{path}: losses = {list(space.losses)}: {error}; expected for example hinton:{{taught}}"
        ) from None
    if known != named:
        odd = ", ".join(sorted(known ^ named)) or "{}"
        raise InputError(
            f"{path}: {odd}: in [mix] or in losses alone; expected each {{name}} of losses in [mix], and no other"
        )
