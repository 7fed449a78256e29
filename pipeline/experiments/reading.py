"""An experiment's file → its steps, checked: what they are called, what they learn, and from whom."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import config, listed, models
from pipeline.bounds import SEED
from pipeline.config import InputError, TrainSettings
from pipeline.experiments import every_term, files
from pipeline.experiments.file_teachers import located, told_apart
from pipeline.experiments.own_features import table_of
from pipeline.experiments.peering import PEER, paired, peer_of
from pipeline.experiments.spreading import Spreads, each, mix_of, tied
from pipeline.experiments.steps import (
    PREVIOUS,
    TEACHER,
    Experiment,
    Step,
    is_own_teacher,
    require_known,
    require_no_cycle,
    require_parents,
)
from pipeline.losses import LossMix

#: The networks that are tables of the preset.
TABLES = ("teacher", "student")

KEYS = ("title", "preset", "dataset", "include", "step")
FIELDS = (
    *("name", "mix", "teacher", "start", "base", "network", "rounds", "seeds", "each", "balance", "cross_fitted"),
    *("features", "apart"),
)

#: The training settings that a step may have of its own; ``network`` stands for the model.
SETTINGS = tuple(field.name for field in dataclasses.fields(TrainSettings) if field.name != "model")

MOST_ROUNDS, MOST_STEPS, MOST_SEEDS = 1000, 10_000, 10_000
STEP_NAME = re.compile(r"[A-Za-z0-9][\w.+@ -]*")


def read(experiment: str) -> Experiment:
    """The experiment of that name, or in that file. Raises ``InputError``, one line, for whatever it cannot be."""
    path = files.located(experiment)
    return parsed(path, files.contents(path))


def variant(name: str, step: str, *before: dict[str, Any], **fields: Any) -> Experiment:
    """An experiment of this folder with other ``fields`` in one of its steps; None takes one out. ``before``: steps above all."""
    path = Path(__file__).parent / f"{name}.toml"
    tables = files.contents(path)
    tables["step"] = [*before, *tables["step"]]
    for table in tables["step"]:
        if table["name"] == step:
            table |= fields
            for field in [field for field, value in table.items() if value is None]:
                del table[field]
    return parsed(path, tables)


def parsed(path: Path, tables: Mapping[str, Any], inside: tuple[Path, ...] = ()) -> Experiment:
    """The experiment of a file's ``tables``. ``inside``: the files that include it."""
    require_known(tables, KEYS, str(path))
    for key in ("title", "preset", "dataset"):
        if not isinstance(tables.get(key, ""), str):
            raise InputError(f"{path}: {key} = {tables[key]!r}: expected text")
    own_tables, names = tables.get("step", []), tables.get("include", [])
    if not isinstance(own_tables, list) or not all(isinstance(table, dict) for table in own_tables):
        raise InputError(f"{path}: step = {own_tables!r}: expected tables [[step]]")
    steps = included(path, names, inside)
    steps |= included(path, [name for name in every_term.recipes(own_tables) if name not in names], inside)
    stated = own_steps(path, own_tables, steps)
    if not stated and not steps:
        raise InputError(f"{path}: no steps; expected at least one [[step]] with a name and a mix")
    if TEACHER in stated and TEACHER in steps:
        raise InputError(
            f"{path}: step {TEACHER}: an included experiment calls the fold's own teacher so; expected another name"
        )
    steps |= stated
    untrained = {row: why for table in own_tables for row, why in every_term.untrained(table).items()}
    if any(TEACHER in step.parents for step in stated.values()) and TEACHER not in steps:
        steps = {**read(TEACHER).steps, **steps}
    for step in stated.values():
        require_parents(step, steps, str(path))
    require_no_cycle(steps, str(path))
    about = (tables.get("preset"), tables.get("dataset"))
    return Experiment(path.stem, tables.get("title", ""), steps, *about, untrained)


def included(path: Path, names: Any, inside: tuple[Path, ...]) -> dict[str, Step]:
    """The steps of other experiments, under ``NAME/STEP``; the fold's own teacher keeps its name."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: include = {names!r}: expected a list of experiments, for example ['born-again']")
    steps: dict[str, Step] = {}
    around = (*inside, path.resolve())
    for name in names:
        other = files.located(name, path.parent)
        if other.resolve() in around:
            chain = " → ".join(file.stem for file in (*around, other))
            raise InputError(f"{path}: {chain}: an experiment that includes itself; expected an end")
        inner = parsed(other, files.contents(other), around).steps
        kept = {PREVIOUS, *(step.name for step in inner.values() if is_own_teacher(step))}
        for step in inner.values():
            moved = renamed(step, lambda old: old if old in kept else f"{other.stem}/{old}")  # noqa: B023 (called here)
            steps[moved.name] = moved
    return steps


def renamed(step: Step, name: Callable[[str], str]) -> Step:
    """The step with other names for itself and those before it."""
    others: dict[str, Any] = {
        field: name(old) for field in ("start", "base", "before", "peer") if (old := getattr(step, field))
    }
    return dataclasses.replace(step, name=name(step.name), teachers=tuple(map(name, step.teachers)), **others)


def own_steps(path: Path, tables: Sequence[dict[str, Any]], others: Mapping[str, Step]) -> dict[str, Step]:
    """The steps of a file's tables ``[[step]]``, those of ``each`` one by one. ``others``: those that it includes."""
    steps: dict[str, Step] = {}
    spreads: Spreads = {}
    before: list[Step] = []
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        where = f"{path}: step {name if isinstance(name, str) else number}"
        if not isinstance(name, str) or not STEP_NAME.fullmatch(name):
            raise InputError(f"{where}: name = {name!r}: expected a name of letters, digits, blanks and '-'")
        spread = paired(each(table, where, others))
        expanded = [
            step_of(path.stem, step_name, tied(values, table, spreads), before, f"{path}: step {step_name}")
            for step_name, values in spread
        ]
        spreads[name] = set(table.get("each", {})), spread
        for step in expanded:
            if step.name in steps or step.name in (PREVIOUS, PEER):
                raise InputError(f"{path}: two steps are called {step.name!r}; expected names of their own")
            located_files = located(step.files, path.parent, f"{path}: step {step.name}")
            steps[step.name] = dataclasses.replace(step, files=located_files)
        if len(steps) > MOST_STEPS:
            raise InputError(f"{path}: {len(steps):,} steps; expected at most {MOST_STEPS:,}: each is a training")
        before = expanded
    return steps


def step_of(experiment: str, name: str, fields: Mapping[str, Any], before: Sequence[Step], where: str) -> Step:
    """One step of checked fields."""
    require_known(fields, (*FIELDS, *SETTINGS), where)
    if "mix" not in fields:
        raise InputError(f"{where}: no mix; expected for example mix = 'ce:1,soft:1'")
    mix = mix_of(fields["mix"], where)
    balance = balance_of(flag_of("balance", fields, where), mix, where)
    settings = {field: setting_of(field, value, where) for field, value in fields.items() if field in SETTINGS}
    config.build(TrainSettings, settings if "epochs" in settings else settings | {"keep": ""}, where)
    peer = peer_of(name, fields, where)
    teachers, files = told_apart(() if peer else teachers_of(fields.get("teacher"), where))
    start = name_of("start", fields.get("start"), where)
    rounds = rounds_of(fields, PREVIOUS in (*teachers, start), before, where)
    return Step(
        experiment,
        name,
        str(fields["name"]),
        mix,
        network_of(fields.get("network", "student"), where),
        teachers,
        start,
        name_of("base", fields.get("base"), where),
        before[0].name if rounds else None,
        rounds,
        seeds_of(fields.get("seeds", []), where),
        tuple(sorted(settings.items())),
        balance,
        flag_of("cross_fitted", fields, where),
        files,
        table_of(fields.get("features", {}), where),
        apart_of(fields.get("apart", 0.0), balance, where),
        peer,
    )


def setting_of(field: str, value: Any, where: str) -> Any:
    """A training setting as it is kept: lists of epochs and modules, and an epoch's number, are text there."""
    example = {"keep": "[5, 10]", "freeze": "['conv1', 'linear']"}.get(field, "")
    kept = listed.as_text(field, value)
    if example and not isinstance(kept, str):
        raise InputError(f"{where}: {field} = {value!r}: expected a list, for example {example}")
    return kept


def teachers_of(given: Any, where: str) -> tuple[str, ...]:
    """The names of the steps that teach."""
    names = [given] if isinstance(given, str) else [] if given is None else given
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or (given is not None and not names)
    ):
        raise InputError(f"{where}: teacher = {given!r}: expected the name of a step, a list of several, or none")
    if len(set(names)) < len(names):
        raise InputError(f"{where}: teacher = {given!r}: a step is named twice; expected different ones")
    return tuple(names)


def name_of(field: str, given: Any, where: str) -> str | None:
    if not (given is None or isinstance(given, str)):
        raise InputError(f"{where}: {field} = {given!r}: expected the name of a step, or none")
    return given


def rounds_of(fields: Mapping[str, Any], previous: bool, before: Sequence[Step], where: str) -> int:
    """How often the step is repeated; 0: it is trained once. ``previous``: whether it names the round before."""
    rounds: Any = fields.get("rounds", 0)
    if "rounds" in fields and not (type(rounds) is int and 1 <= rounds <= MOST_ROUNDS):
        raise InputError(f"{where}: rounds = {rounds!r}: expected a whole number from 1 to {MOST_ROUNDS:,}")
    if bool(rounds) != previous:
        raise InputError(
            f"{where}: expected rounds and teacher = 'previous' together, or start = 'previous': each round learns from the one "
            "before"
        )
    if rounds and len(before) != 1:
        above = "one of the steps of each" if before else "a step above it"
        raise InputError(
            f"{where}: 'previous' needs {above}, which goes before the first round; expected one step there"
        )
    return int(rounds)


def flag_of(field: str, fields: Mapping[str, Any], where: str) -> bool:
    if not isinstance(value := fields.get(field, False), bool):
        raise InputError(f"{where}: {field} = {value!r}: expected true or false")
    return value


def balance_of(balance: bool, mix: LossMix, where: str) -> bool:
    if balance and (not mix.has_base or len(mix.terms) != 2):
        raise InputError(f"{where}: balance with mix {mix}: expected a base and one term, for example 'soft:1,angle:1'")
    return balance


def apart_of(value: Any, balance: bool, where: str) -> float:
    if type(value) not in (int, float) or not (value == 0 or 1 < value < float("inf")) or (value and balance):
        raise InputError(
            f"{where}: apart = {value!r}: expected a number above 1, for example 3, in a step without balance"
        )
    return float(value)


def network_of(name: Any, where: str) -> str:
    name = name.replace("-", "_") if isinstance(name, str) else name
    name = name.replace("-", "_") if isinstance(name, str) else name
    base = name.partition("+")[0] if isinstance(name, str) else None
    if base not in (*TABLES, *models.names()):
        known = ", ".join((*TABLES, *models.names()))
        raise InputError(f"{where}: network = {name!r}: expected one of {known}")
    try:
        models.require(f"{models.names()[0]}{str(name).removeprefix(base)}")
    except InputError:
        raise InputError(
            f"{where}: network = {name!r}: expected the width of its embedding behind the +, for example {base}+16"
        ) from None
    return str(name)


def seeds_of(seeds: Any, where: str, key: str = "seeds") -> tuple[int, ...]:
    most = SEED[0]
    whole = isinstance(seeds, list) and all(type(seed) is int and 0 <= seed <= most for seed in seeds)
    if not whole or len(set(seeds)) != len(seeds) or len(seeds) > MOST_SEEDS:
        raise InputError(
            f"{where}: {key} = {seeds!r}: expected a list of different whole numbers, for example [0, 1, 2]"
        )
    return tuple(seeds)
