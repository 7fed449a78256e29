"""What stage one refuses of its arguments, before it touches anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import Corpus

BACKENDS = ("loky", "dask", "sequential")
ON_ERROR = ("finish", "skip")


def check(corpus: Corpus, spec: FeatureSpec, folds: Iterable[int] | None, how: Mapping[str, Any]) -> tuple[int, ...]:
    """The folds that are wanted; ``InputError`` for what ``extract_corpus`` would refuse of its arguments, ``how`` among them."""
    check_arguments(how["jobs"], how["backend"], how["on_error"], how["scheduler"])
    check_settings(corpus, spec, how["plain"])
    return chosen_folds(corpus, folds)


def check_settings(corpus: Corpus, spec: FeatureSpec, plain: bool) -> None:
    if plain and spec.engine != "librosa":
        raise InputError(
            f"--plain: takes librosa's functions one by one, and features.engine = {spec.engine!r}; expected one of the two"
        )
    if spec.backgrounds or spec.rooms:
        from pipeline.extraction import own_recordings  # soundfile: a finished stage does without

        own_recordings.check(corpus, spec)


def check_arguments(jobs: int, backend: str, on_error: str, scheduler: str | None) -> None:
    if jobs == 0:
        raise InputError("jobs = 0: expected a number of processes, or -1 for one per core")
    for name, value, allowed in (("backend", backend, BACKENDS), ("on-error", on_error, ON_ERROR)):
        if value not in allowed:
            raise InputError(f"--{name} {value}: expected one of {', '.join(allowed)}")
    if scheduler and backend != "dask":
        raise InputError(f"--scheduler {scheduler}: only --backend dask has a scheduler")


def chosen_folds(corpus: Corpus, folds: Iterable[int] | None) -> tuple[int, ...]:
    wanted = corpus.parts if folds is None else tuple(folds)
    for fold in wanted:
        if fold not in corpus.parts:
            raise InputError(f"fold {fold}: {corpus.name} has the folds {', '.join(map(str, corpus.folds))}")
    if not wanted:
        raise InputError(f"{corpus.name} has no folds in {corpus.root}, or none was asked for")
    return tuple(dict.fromkeys(wanted))
