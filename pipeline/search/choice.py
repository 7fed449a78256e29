"""What a search chose: a preset for each held-out fold, and one for all folds; each says which folds it was chosen by."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from pipeline import config
from pipeline.config import Settings
from pipeline.experiments.stages import as_options
from pipeline.files import write_atomic
from pipeline.losses import LossMix
from pipeline.presets import Chosen
from pipeline.search import planning, searching
from pipeline.search.planning import Search
from pipeline.search.record import Measured


def preset_file(search: Search, held_out: int | None) -> Path:
    """Beside the trials; the file's name is part of the path of all that is trained with it."""
    return search.folder / f"{search.space.name}-{'all' if held_out is None else f'fold{held_out}'}.toml"


def chosen_by(search: Search, held_out: int | None) -> Chosen:
    """The folds by which settings were chosen: those of the search, and of this data set those by which the preset was that it began from."""
    folds, before, of = search.inner(held_out), search.settings.chosen, search.source.data_set
    if before is None or before.corpus not in (of.corpus, of.dataset):
        return Chosen(search.source.name, folds)
    return Chosen(before.corpus, folds).over(before)


def is_optimistic(search: Search, held_out: int | None) -> bool:
    """Whether what the settings reach on the folds that they are for is: all folds, or one by which the search's own preset was chosen."""
    return held_out is None or held_out in chosen_by(search, held_out).folds


def write_preset(search: Search, held_out: int | None, measured: list[Measured]) -> Path:
    """The settings of the best trial as a preset: all that differs from ``default``, so that it needs no other file."""
    best = searching.best_of(measured)
    settings, mix = planning.settings_of(search, best.values)
    folds = search.validating(held_out)
    on = ", ".join(map(str, folds))
    by = chosen_by(search, held_out)
    optimistic = " What it reaches on these folds is optimistic." if held_out is None else ""
    never = f" Fold {held_out} was never read." if held_out is not None else ""
    if held_out is not None and is_optimistic(search, held_out):
        never += f" But preset {search.settings.preset} was chosen by it, so what it reaches there is optimistic."
    options = as_options(search.space.teacher_seeds, dict(search.space.teacher_features))
    lines = [
        f"# Chosen by audio-rkd search {search.space.name}, trial {best.trial + 1} of {search.space.trials}, by the {search.measure} on folds {on}:",
        f"# {100 * (best.score or 0):.1f} %.{never}{optimistic}",
        *([] if search.space.network == "teacher" else [f'# With it: LOSSES="{mix}"{options and f", {options}"}.']),
        f"chosen = {{corpus = {json.dumps(by.corpus)}, folds = [{', '.join(map(str, by.folds))}]}}",
        *tables_of(settings),
    ]
    path = preset_file(search, held_out)
    write_atomic(path, ("\n".join(lines) + "\n").encode())
    return path


def tables_of(settings: Settings) -> list[str]:
    """The tables of a preset, with what differs from ``default``. The clip length is the corpus' and stands in none."""
    base = config.read("default")
    lines: list[str] = []
    for name in config.KINDS:
        ours, theirs = (dataclasses.asdict(getattr(one, name)) for one in (settings, base))
        changed = {key: value for key, value in ours.items() if value != theirs[key] and key != "seconds"}
        if changed:
            lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in changed.items())]
    return lines


def chosen(search: Search, held_out: int | None, measured: list[Measured]) -> tuple[Settings, LossMix]:
    """The settings as their preset has them, and the mix."""
    _, mix = planning.settings_of(search, searching.best_of(measured).values)
    settings = config.read(str(preset_file(search, held_out)))
    return config.for_corpus(settings, search.settings.features.seconds), mix


def lines(search: Search, held_out: int | None, measured: list[Measured]) -> list[str]:
    """What was chosen, in words."""
    best = searching.best_of(measured)
    where = "all folds" if held_out is None else f"fold {held_out} held out"
    by = "chosen on these folds, optimistic" if held_out is None else "nested: by the other folds alone"
    if held_out is not None and is_optimistic(search, held_out):
        by = f"from preset {search.settings.preset}, which was chosen by this fold too: optimistic"
    folds = ", ".join(f"{100 * value:.1f} % on {fold}" for fold, value in best.folds.items())
    return [
        f"{where}: trial {best.trial + 1} of {search.space.trials}, {searching.percent(search, best)} ({folds}); {by}",
        f"    {searching.in_words(best.values)}",
        f"    {preset_file(search, held_out)}",
    ]
