"""What a goal of make is given, parsed before its first step: make hands the calls of its goals to every step as AUDIO_RKD_GOALS.

So a mistake in what the last step takes costs no hour of the steps before it. Nothing is written, and no corpus is made.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline import commands, config, working_folder
from pipeline.commands import defaults
from pipeline.config import InputError, Settings

if TYPE_CHECKING:
    from pipeline.search.space import Space

#: Calls without the program's name, a line each.
VARIABLE = "AUDIO_RKD_GOALS"

#: Of commands whose default depends on something else: what they take without --preset.
PRESETS = {"ban": "", "search": ""}


def check_goals(running: str | None) -> None:
    """``InputError`` or ``UsageError`` for the first of make's calls that could not be given; the ``running`` command reads its own."""
    for line in os.environ.pop(VARIABLE, "").splitlines():
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise InputError(f"{line.strip()}: {error}; expected every quotation mark twice") from None
        if words and words[0] != running and commands.exists(words[0]):
            check_call(words[0], words[1:])


def check_call(name: str, words: Sequence[str]) -> None:
    """The same of one call: its options, then the values that click leaves to the command."""
    command = commands.load(name)
    if {"--help", "-h"} & set(words):
        return
    usual = defaults.of_command(name, working_folder.defaults())
    with command.make_context(f"audio-rkd {name}", list(words), default_map=usual) as context:
        params = context.params
    space = None
    if name == "search" and params["space"]:
        from pipeline.search import space as spaces

        space = spaces.read(params["space"], params["losses"], params["trials"])
        params = {**params, "preset": params["preset"] or space.preset}
    if "overrides" in params:
        check_training(name, params, space)
    elif params.get("dataset") in ("auto", "csv") and params.get("data") and (corpus := at_hand(params)):
        require_command(name, corpus)


def check_training(name: str, params: Mapping[str, Any], space: Space | None = None) -> None:
    """Settings, mixes, networks and folds of a command that trains. ``space``: what is searched."""
    preset = params["preset"] or PRESETS.get(name, "default") or working_folder.preset()
    images = params["dataset"] == "cifar100"
    settings = config.read("cifar-paper" if images and not params["preset"] else preset, params["overrides"])
    corpus = None
    if not images:
        corpus = at_hand(params)
        settings = config.for_corpus(settings, corpus.seconds) if corpus else settings
        if corpus and params.get("folds"):
            from pipeline.engine.source import wanted_folds

            wanted_folds(corpus, params["folds"])
    if name != "search":
        check_mixes(name, params, settings, len(corpus.classes) if corpus else None)
    if corpus and corpus.label_sets:
        require_command(name, corpus)
        check_several(name, params, settings, space, corpus.name)


def at_hand(params: Mapping[str, Any]) -> Any:
    """The corpus asked for, where it lies; what is wrong with it, or missing, is told by the step that needs it."""
    from pipeline.commands.chosen import corpus_at_hand

    try:
        return corpus_at_hand(params["dataset"], params["data"])
    except InputError:
        return None


def require_command(name: str, corpus: Any) -> None:
    """``InputError`` where a command does not take clips with several labels, and the corpus' have them."""
    if corpus.label_sets:
        from pipeline import label_sets

        with label_sets.commanded(name):
            label_sets.require(corpus.listing)


def check_several(name: str, params: Mapping[str, Any], settings: Settings, space: Space | None, where: str) -> None:
    """``InputError`` where a mix, or a setting of a network, does not take clips with several labels. ``where``: their corpus."""
    from pipeline.losses import LossMix
    from pipeline.losses.several import require_several

    require_several(LossMix.parse("ce"), settings.teacher, "teacher", where)
    if space:
        from pipeline.search.planning import require_several_taken

        require_several_taken(space, settings, where)
        return
    read = LossMix.parse
    if name == "ban":
        from pipeline.experiments.generations import chain_mix

        read = partial(chain_mix, several=True)
    if name == "final":
        from pipeline.commands.final import require_heard

        require_heard(params["unheard"], where)
    role = params.get("model") or "student"
    for text in params.get("losses", ()) if name != "search" else ():
        require_several(read(text), getattr(settings, role), role, where)


def check_mixes(name: str, params: Mapping[str, Any], settings: Settings, classes: int | None) -> None:
    """``InputError`` for networks and mixes that are none, and for mixes that these networks cannot be trained with."""
    from pipeline import models
    from pipeline.losses import LossMix

    network = getattr(settings, params.get("model") or "student")
    for model in (settings.teacher.model, network.model):
        models.require(model)
    read = LossMix.parse
    if name == "ban":
        from pipeline.experiments.generations import chain_mix as read
    mixes = [read(text) for text in params.get("losses", ())]
    for mix in mixes:
        mix.require(network, params.get("model") or "student")
        if classes:
            mix.require_classes(classes)
    if any(mix.reads is None or set(mix.reads) - {"embedding", "hidden", "logits"} for mix in mixes):
        from pipeline.training.fit import require_outputs  # torch: most mixes do without

        body = models.network(network.model, settings.features.shape, classes or 10, dropout=network.dropout)
        require_outputs(mixes, body)
