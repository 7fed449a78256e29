"""What is tried next: a function of the space, the seed and the trials before, so that a search that was killed proposes the same."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config import InputError
from pipeline.extras import install_line
from pipeline.search.record import Measured
from pipeline.search.space import Parameter, Space, Value

#: Between the random numbers of one bracket and the next.
STRIDE = 1_000_003


def library() -> Any:
    """The module ``optuna``. ``InputError`` where it is not installed."""
    try:
        optuna: Any = importlib.import_module("optuna")
    except ModuleNotFoundError:
        raise InputError(
            f"a search needs optuna, which is not installed; install it: {install_line('search')}"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def proposals(space: Space, seed: int, before: Sequence[Measured], numbers: range) -> list[dict[str, Value]]:
    """The values of the trials ``numbers``. ``before``: all that was measured of those below, in the order of the record."""
    if space.sampler == "grid":
        return space.grid[numbers.start : numbers.stop]
    optuna = library()
    seed = (seed * STRIDE + numbers.start) % 2**32
    size = max(1, len(numbers))
    sampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if space.sampler == "random"
        else optuna.samplers.TPESampler(seed=seed, n_startup_trials=size, constant_liar=True)
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {parameter.name: distribution(parameter, optuna) for parameter in space.parameters}
    by_trial: dict[int, list[Measured]] = {}
    for one in before:
        by_trial.setdefault(one.trial, []).append(one)
    for measured in by_trial.values():
        study.add_trial(known(measured, distributions, optuna))
    asked = [study.ask(distributions).params for _ in numbers]
    return [{one.name: one.rounded(values[one.name]) for one in space.parameters} for values in asked]


def distribution(parameter: Parameter, optuna: Any) -> Any:
    kinds = optuna.distributions
    if parameter.choices:
        return kinds.CategoricalDistribution(parameter.choices)
    if parameter.whole:
        ends = int(parameter.low), int(parameter.high)
        return kinds.IntDistribution(*ends, log=parameter.log, step=int(parameter.step or 1))
    return kinds.FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def known(measured: Sequence[Measured], distributions: Mapping[str, Any], optuna: Any) -> Any:
    """A trial as optuna's: complete, stopped early, or refused."""
    last, states = measured[-1], optuna.trial.TrialState
    values = {one.epochs: one.score for one in measured if one.score is not None}
    state = states.FAIL if last.refused else states.COMPLETE if last.whole else states.PRUNED
    return optuna.trial.create_trial(
        state=state,
        params=dict(last.values),
        distributions=dict(distributions),
        intermediate_values={} if last.refused else values,
        **({"value": last.score} if last.whole else {}),
    )
